//! Asking one binding, for a decision or for a page of a search: its view of the call, the inline slice, the slow lane, and its answer held against its manifest.
//!
//! Invariant: a plugin sees only what its manifest reads and says only what its manifest emits; anything else is its failure. A
//! plugin holds a connection's thread for at most [`SLICE`]; one that needs longer is discarded (it is pure) and run again in the
//! slow lane with what is left.

use std::sync::Arc;
use std::time::Duration;

use portcullis_engine::{Evaluation, Fault, Plugin, Remains};
use portcullis_hooks::Incoming;
use portcullis_model::{Cause, Decision, Finding, Found, Page, Redacted, View};
use tokio::time::timeout_at;

use crate::budget::Budget;
use crate::generation::Binding;
use crate::glass::Open;
use crate::host::Host;

/// What one binding said, and what it cost.
pub struct Asked<T = Decision> {
    /// Who.
    pub binding: Arc<Binding>,
    /// Its decision (or the page that it found), or what went wrong.
    pub outcome: Result<T, AskFault>,
    /// Findings that a break-glass document has lifted out of its decision.
    pub lifted: Vec<Finding>,
    /// Its journal.
    pub notes: Vec<String>,
    /// Time spent, all runs together.
    pub spent: Duration,
}

/// What went wrong with one binding.
pub struct AskFault {
    /// Why there is no decision.
    pub cause: Cause,
    /// The precise code, for the leaf.
    pub code: &'static str,
    /// For the sealed part only.
    pub detail: Redacted<String>,
}

impl Asked {
    /// Takes out of its decision what a break-glass document lifts.
    pub fn lift(&mut self, open: &Open) {
        if let Ok(decision) = &mut self.outcome {
            self.lifted = open.lift(decision);
        }
    }
}

/// Asks for a decision, within the call's budget. What remains of the instances is handed back, to be dropped after the reply.
pub async fn ask(
    host: &Host,
    binding: &Arc<Binding>,
    incoming: &Arc<Incoming>,
    budget: &Budget,
) -> (Asked, Option<Remains>) {
    within(host, binding, incoming, budget, evaluate).await
}

/// Asks for a page of a search, in the same way.
pub async fn find(
    host: &Host,
    binding: &Arc<Binding>,
    incoming: &Arc<Incoming>,
    budget: &Budget,
    limit: u32,
    after: Option<String>,
) -> (Asked<Found>, Option<Remains>) {
    let find = move |binding: &Arc<Binding>, incoming: &Incoming, allowance| {
        let page = Page { limit, after: after.as_deref() };
        run(binding, incoming, |plugin, view| plugin.find(view, &page, allowance), |_| Ok(()))
    };
    within(host, binding, incoming, budget, find).await
}

/// Runs one binding inline for a slice, and in the slow lane with what is left where that is not enough.
async fn within<T, W>(
    host: &Host,
    binding: &Arc<Binding>,
    incoming: &Arc<Incoming>,
    budget: &Budget,
    work: W,
) -> (Asked<T>, Option<Remains>)
where
    T: Send + 'static,
    W: Fn(&Arc<Binding>, &Incoming, Duration) -> (Asked<T>, Option<Remains>) + Send + 'static,
{
    let start = host.clock.instant();
    let limit = Duration::from_millis(binding.manifest().limits.time_ms.into());
    let mut remains = None;
    if !binding.is_slow() {
        let slice = SLICE.min(limit).min(budget.left_for_plugins(start));
        let (asked, rest) = work(binding, incoming, slice);
        match &asked.outcome {
            Err(fault) if fault.code == Fault::Deadline.code() && slice < limit => {
                binding.overran();
                remains = rest;
            }
            _ => return (asked, rest),
        }
    }
    let work = {
        let (binding, incoming, budget, clock) =
            (Arc::clone(binding), Arc::clone(incoming), *budget, host.clock.clone());
        // What is left is asked when the job begins: it may have waited. The instance is dropped there, so that nothing of the
        // slow lane's comes back to a connection's thread.
        move || work(&binding, &incoming, limit.min(budget.left_for_plugins(clock.instant()))).0
    };
    binding.metrics.slow();
    let fault = match host.slow_lane.run(work) {
        Ok(result) => match timeout_at(budget.plugins_until().into(), result).await {
            Ok(Ok(mut asked)) => {
                if asked.spent < SLICE {
                    binding.was_quick();
                }
                asked.spent = host.clock.instant().saturating_duration_since(start);
                return (asked, remains);
            }
            Ok(Err(_)) => AskFault::new(Cause::HostFault, "host-fault", "the slow lane lost the call"),
            Err(_) => {
                AskFault::new(Cause::BudgetExhausted, "budget-exhausted", "the budget ended before the plugin did")
            }
        },
        Err(_) => AskFault::new(Cause::Overload, "overload", "the slow lane was full"),
    };
    let spent = host.clock.instant().saturating_duration_since(start);
    (Asked { binding: Arc::clone(binding), outcome: Err(fault), lifted: Vec::new(), notes: Vec::new(), spent }, remains)
}

/// One run, on this thread.
pub fn evaluate(binding: &Arc<Binding>, incoming: &Incoming, allowance: Duration) -> (Asked, Option<Remains>) {
    let manifest = binding.manifest();
    let check = |decision: &Decision| {
        let checked = manifest.emits.check(incoming.call.hook, decision, &manifest.messages);
        checked.map_err(|overreach| AskFault::new(Cause::PluginOverreach, "plugin-overreach", &overreach.to_string()))
    };
    run(binding, incoming, |plugin, view| plugin.evaluate(view, allowance), check)
}

/// The plugin on its view of the call, and what it said if that passes.
fn run<T>(
    binding: &Arc<Binding>,
    incoming: &Incoming,
    ask: impl FnOnce(&Plugin, &View<'_>) -> Evaluation<T>,
    check: impl FnOnce(&T) -> Result<(), AskFault>,
) -> (Asked<T>, Option<Remains>) {
    let asked =
        |outcome, notes, spent| Asked { binding: Arc::clone(binding), outcome, lifted: Vec::new(), notes, spent };
    let revoked = || AskFault::new(Cause::PluginRevoked, "plugin-revoked", "the plugin is revoked");
    if binding.is_revoked() {
        return (asked(Err(revoked()), Vec::new(), Duration::ZERO), None);
    }
    let view = match binding.manifest().reads.view(&incoming.call) {
        Ok(view) => view,
        Err(missing) => {
            let fault = AskFault::new(Cause::MissingRead, "missing-read", &missing.to_string());
            return (asked(Err(fault), Vec::new(), Duration::ZERO), None);
        }
    };
    let Evaluation { outcome, notes, spent, remains } = ask(&binding.plugin, &view);
    let outcome = match outcome {
        // It was revoked while it ran: what it says counts no more.
        Ok(_) if binding.is_revoked() => Err(revoked()),
        Ok(said) => check(&said).map(|()| said),
        Err(fault) => Err(AskFault::from(fault)),
    };
    (asked(outcome, notes, spent), Some(remains))
}

impl From<Fault> for AskFault {
    fn from(fault: Fault) -> Self {
        let cause = if matches!(fault, Fault::NoSlot) { Cause::Overload } else { Cause::PluginFault };
        let code = fault.code();
        let detail = if let Fault::Error(text) = fault { text } else { Redacted::new(fault.to_string()) };
        Self { cause, code, detail }
    }
}

impl AskFault {
    fn new(cause: Cause, code: &'static str, detail: &str) -> Self {
        Self { cause, code, detail: Redacted::new(detail.to_owned()) }
    }
}

/// How long a plugin may hold a connection's thread.
pub const SLICE: Duration = Duration::from_millis(2);
