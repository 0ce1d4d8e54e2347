//! Asking one binding, for a decision or for a page of a search: its view of the call, the inline
//! slice, a lane, and its answer held against its manifest.
//!
//! Invariant: a plugin sees only what its manifest reads and says only what its manifest emits; anything else is its failure. A
//! plugin holds a connection's thread for at most [`SLICE`]; one that needs longer is discarded (it is pure) and run again in its
//! binding's own lane with what is left, where it keeps nobody else waiting. While a call waits for a lane it holds no sandbox.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use portcullis_call_data::{CallData, DataAccess, ReadLog, RunData, SharedRun};
use portcullis_engine::{
    CallServices, Evaluation, Fault, HostFunctionError, Plugin, SpentInstance,
};
use portcullis_hooks::HookRequest;
use portcullis_model::{
    Cause, Decision, Effect, Finding, Page, Redacted, SearchPage, View, waiver,
};
use portcullis_store::memory::{Changes, ChangesError, Transaction};
use portcullis_store::tables::CurrentTables;
use portcullis_trust::Capability;
use tokio::time::timeout_at;

use crate::bindings::breaker::BreakerPermit;
use crate::bindings::breaker_records;
use crate::bindings::candidate::CohortMatch;
use crate::bindings::generation::Binding;
use crate::clock::monotonic_now;
use crate::memory::HostMemory;
use crate::observe::budget::Budget;
use crate::recorder::Recorder;

/// What one binding said, and what it cost.
pub struct BindingResult<T = Decision> {
    /// Who.
    pub binding: Arc<Binding>,
    /// Its decision (or the page that it found), or what went wrong.
    pub outcome: Result<T, BindingError>,
    /// Findings that a waiver has taken out of its decision: a plugin's, or a break-glass
    /// document's.
    pub waived: Vec<Finding>,
    /// Its journal.
    pub notes: Vec<String>,
    /// Its reads of tables and memory.
    pub reads: ReadLog,
    /// Its memory, with what the run changes, where it has one.
    pub memory: Option<Transaction>,
    /// The versions of tables that its call saw.
    pub tables: Arc<CurrentTables>,
    /// The code of the fault that a table's denial stands for.
    pub masked_fault: Option<&'static str>,
    /// Time spent, all runs together, waiting included.
    pub spent: Duration,
    /// What the last run took by itself.
    pub last_run: Duration,
    /// Why a candidate was asked in the live binding's place, where one was.
    pub cohort: Option<CohortMatch>,
}

/// What went wrong with one binding.
pub struct BindingError {
    /// Why there is no decision.
    pub cause: Cause,
    /// The precise code, for the leaf.
    pub code: &'static str,
    /// For the sealed part only.
    pub detail: Redacted<String>,
}

impl<T> BindingResult<T> {
    /// One that could not be asked.
    fn from_error(binding: &Arc<Binding>, fault: BindingError, spent: Duration) -> Self {
        Self::new(binding, Err(fault), Vec::new(), spent)
    }

    /// What a run came to.
    pub fn new(
        binding: &Arc<Binding>,
        outcome: Result<T, BindingError>,
        notes: Vec<String>,
        spent: Duration,
    ) -> Self {
        let binding = Arc::clone(binding);
        let (waived, reads) = (Vec::new(), ReadLog::default());
        Self {
            binding,
            outcome,
            waived,
            notes,
            reads,
            memory: None,
            tables: Arc::default(),
            masked_fault: None,
            spent,
            last_run: spent,
            cohort: None,
        }
    }
}

impl BindingResult {
    /// Returns its verdict, or the code of what went wrong.
    pub fn verdict(&self) -> Result<Effect, &'static str> {
        self.outcome.as_ref().map(Decision::verdict).map_err(|fault| fault.code)
    }

    /// Counts it.
    pub fn count(&self) {
        let verdict = self.masked_fault.map_or_else(|| self.verdict(), Err);
        self.binding.metrics.evaluated(verdict, self.spent);
    }

    /// Returns what the run changes in memory: everything, where its decision is part of one that
    /// `is_decided`, and else only what it counted.
    ///
    /// # Errors
    /// [`ChangesError`].
    pub fn memory_changes(&self, is_decided: bool) -> Result<Changes, ChangesError> {
        match &self.memory {
            Some(memory) if is_decided && self.outcome.is_ok() && self.masked_fault.is_none() => {
                memory.finish()
            }
            Some(memory) => memory.tallies_only(),
            None => Ok(Changes::default()),
        }
    }

    /// Denies where a table does, whatever the plugin made of that: also where it failed, or was
    /// not done. To be called once the breaker knows how the run went.
    pub fn apply_denial(&mut self) {
        let Some(denial) = self.reads.denial() else { return };
        let finding = denial.finding();
        match &mut self.outcome {
            Ok(decision) => decision.findings.push(finding),
            // It stops its hook by itself.
            Err(fault) if fault.cause == Cause::PluginRevoked => {}
            Err(fault) => {
                self.masked_fault = Some(fault.code);
                let findings = vec![finding];
                self.outcome = Ok(Decision { findings, ..Decision::default() });
            }
        }
    }
}

/// Takes the findings out of the decisions that one of them waives, or an open break-glass document
/// does. The record lists them as waived.
pub fn set_aside_waived(results: &mut [BindingResult], by_document: Option<&BTreeSet<String>>) {
    let decisions = results.iter().filter_map(|result| result.outcome.as_ref().ok());
    let mut codes: BTreeSet<String> =
        waiver::waived_codes(decisions).into_iter().map(String::from).collect();
    codes.extend(by_document.into_iter().flatten().cloned());
    if codes.is_empty() {
        return;
    }
    for BindingResult { outcome, waived, .. } in results {
        if let Ok(decision) = outcome {
            waived.extend(waiver::set_aside(decision, &codes));
        }
    }
}

/// Within what somebody is asked.
pub struct EvaluationLimits<'a> {
    /// The call's deadlines.
    pub budget: &'a Budget,
    /// Whether a quarantined plugin is asked all the same: where the safe answer lets everything pass, what it would stop must not pass
    /// because it failed for others.
    pub ignores_quarantine: bool,
    /// What remains of instances, to be dropped after the reply.
    pub spent_instances: &'a mut Vec<SpentInstance>,
    /// The tables that the call sees, and the bytes that it may still read.
    pub data: DataAccess,
}

/// Asks for a decision, within the call's budget.
pub async fn evaluate(
    recorder: &Arc<Recorder>,
    binding: &Arc<Binding>,
    incoming: &Arc<HookRequest>,
    terms: EvaluationLimits<'_>,
) -> BindingResult {
    let run = SharedRun::default();
    let (access, shared, memory) = (terms.data.clone(), run.clone(), Arc::clone(&recorder.memory));
    let tables = Arc::clone(&access.tables);
    let evaluate = move |binding: &Arc<Binding>, incoming: &HookRequest, allowance| {
        evaluate_once(binding, incoming, allowance, (&access, &memory), &shared)
    };
    let mut result = run_bounded(recorder, binding, incoming, terms, evaluate).await;
    // The reads and counts of a run for which nothing waits any more count too.
    let RunData { reads, memory } = run.take();
    result.reads.append(reads);
    result.memory = memory.or(result.memory);
    result.tables = tables;
    result.apply_denial();
    result
}

/// Asks for a page of a search, in the same way.
pub async fn search(
    recorder: &Arc<Recorder>,
    binding: &Arc<Binding>,
    incoming: &Arc<HookRequest>,
    terms: EvaluationLimits<'_>,
    limit: u32,
    after: Option<String>,
) -> BindingResult<SearchPage> {
    let run_data = SharedRun::default();
    let (access, shared) = (terms.data.clone(), run_data.clone());
    let memory = Arc::clone(&recorder.memory);
    let find = move |binding: &Arc<Binding>, incoming: &HookRequest, allowance| {
        let page = Page { limit, after: after.as_deref() };
        let services = services(binding, incoming, (&access, &memory), &shared);
        let find =
            |plugin: &Plugin, view: &View<'_>| plugin.find_with(view, &page, allowance, services);
        let (mut result, rest) = run(binding, incoming, find, |_| Ok(()));
        result.reads = shared.take().reads;
        (result, rest)
    };
    let mut result = run_bounded(recorder, binding, incoming, terms, find).await;
    // A search decides nothing, so it leaves nothing in memory.
    result.reads.append(run_data.take().reads);
    // Where a table denies, nothing is found.
    let revoked = result.outcome.as_ref().is_err_and(|it| it.cause == Cause::PluginRevoked);
    if result.reads.denial().is_some() && !revoked {
        result.outcome = Ok(SearchPage::default());
    }
    result
}

/// Runs one binding inline for a slice, and in its lane with what is left where that is not enough.
async fn run_bounded<T, W>(
    recorder: &Arc<Recorder>,
    binding: &Arc<Binding>,
    incoming: &Arc<HookRequest>,
    terms: EvaluationLimits<'_>,
    work: W,
) -> BindingResult<T>
where
    T: Send + 'static,
    W: Fn(&Arc<Binding>, &HookRequest, Duration) -> (BindingResult<T>, Option<SpentInstance>)
        + Send
        + 'static,
{
    let EvaluationLimits { budget, ignores_quarantine: open, spent_instances, .. } = terms;
    let start = monotonic_now();
    let pass = if open {
        Some(binding.breaker.acquire_ignoring_state(start))
    } else {
        binding.breaker.try_acquire(start)
    };
    let Some(pass) = pass else {
        return BindingResult::from_error(binding, quarantined(), Duration::ZERO);
    };
    let limit = Duration::from_millis(binding.manifest().limits.time_ms.into());
    let mut memory = None;
    // Who is on trial is not trusted with a connection's thread.
    if !binding.is_offloaded() && !pass.is_probe() {
        let slice = SLICE.min(limit).min(budget.left_for_plugins(start));
        let (result, rest) = work(binding, incoming, slice);
        match &result.outcome {
            Err(fault) if fault.code == Fault::Deadline.code() && slice < limit => {
                binding.record_overrun();
                // Its counts hold where no other run begins.
                memory = result.memory;
            }
            _ => {
                report_to_breaker(recorder, pass, &result, true);
                spent_instances.extend(rest);
                return result;
            }
        }
    }
    // Sandboxes must not be held by calls that wait: one plugin's queue would use them up for all others.
    spent_instances.clear();
    let work = {
        let (recorder, binding, incoming, budget) =
            (Arc::clone(recorder), Arc::clone(binding), Arc::clone(incoming), *budget);
        move || {
            // What is left is asked when the job begins: it may have waited. The instance is dropped here, so that nothing of the
            // lane's comes back to a connection's thread.
            let allowance = limit.min(budget.left_for_plugins(monotonic_now()));
            let (result, rest) = work(&binding, &incoming, allowance);
            drop(rest);
            report_to_breaker(
                &recorder,
                pass,
                &result,
                allowance >= limit || allowance >= budget.fair_share(),
            );
            result
        }
    };
    binding.metrics.offloaded();
    let fault = match binding.pool.submit(work) {
        Ok(result) => match timeout_at(budget.plugins_until().into(), result).await {
            Ok(Ok(mut result)) => {
                if result.spent < SLICE {
                    binding.record_quick_run();
                }
                result.spent = monotonic_now().saturating_duration_since(start);
                return result;
            }
            Ok(Err(_)) => BindingError::new(
                Cause::InternalError,
                "internal-error",
                "the plugin's lane lost the call",
            ),
            Err(_) => BindingError::new(
                Cause::BudgetExhausted,
                "budget-exhausted",
                "the budget ended before the plugin did",
            ),
        },
        Err(_) => BindingError::new(Cause::Overload, "overload", "the plugin's lane was full"),
    };
    let spent = monotonic_now().saturating_duration_since(start);
    BindingResult { memory, ..BindingResult::from_error(binding, fault, spent) }
}

/// Tells the binding's breaker how a run went, and the record what that changed. `full`: it had all the time that it may ask for. What is
/// not the plugin's doing (a read that the call lacks, a neighbour that took the time, no free sandbox) says nothing.
pub fn report_to_breaker<T>(
    recorder: &Recorder,
    pass: BreakerPermit,
    result: &BindingResult<T>,
    full: bool,
) {
    let good = match &result.outcome {
        Ok(_) => true,
        Err(fault) => match fault.cause {
            Cause::PluginFault if fault.code == Fault::Deadline.code() && !full => return,
            Cause::PluginFault | Cause::UndeclaredOutput => false,
            _ => return,
        },
    };
    if let Some(turn) = pass.record(monotonic_now(), good) {
        breaker_records::record(
            recorder,
            &result.binding,
            turn,
            result.outcome.as_ref().err().map(|fault| fault.code),
        );
    }
}

fn quarantined() -> BindingError {
    BindingError::new(
        Cause::PluginQuarantined,
        "plugin-quarantined",
        "the plugin failed too often and is quarantined",
    )
}

/// One run, on this thread. Its reads and changes are in the result; `shared` has those of a run
/// that is not over. A table's denial is not applied.
pub fn evaluate_once(
    binding: &Arc<Binding>,
    incoming: &HookRequest,
    allowance: Duration,
    data: (&DataAccess, &HostMemory),
    shared: &SharedRun,
) -> (BindingResult, Option<SpentInstance>) {
    let manifest = binding.manifest();
    let check = |decision: &Decision| {
        let checked = manifest.emits.check(incoming.call.hook, decision, &manifest.messages);
        checked.map_err(|overreach| {
            BindingError::new(Cause::UndeclaredOutput, "undeclared-output", &overreach.to_string())
        })
    };
    let services = services(binding, incoming, data, shared);
    let evaluate =
        |plugin: &Plugin, view: &View<'_>| plugin.evaluate_with(view, allowance, services);
    let (mut result, rest) = run(binding, incoming, evaluate, check);
    (result.reads, result.memory) = {
        let RunData { reads, memory } = shared.take();
        (reads, memory)
    };
    (result, rest)
}

/// Returns the host functions that the binding's manifest requests, for one run. `shared`, which is
/// emptied, gets its reads and changes: those of an earlier run of the call are discarded.
fn services(
    binding: &Binding,
    incoming: &HookRequest,
    (access, memory): (&DataAccess, &HostMemory),
    shared: &SharedRun,
) -> CallServices {
    let manifest = binding.manifest();
    let journal = manifest.capabilities.contains(&Capability::Journal);
    let memory = binding.begin_memory(memory, &incoming.call);
    let functions = CallData::new(access, manifest, &incoming.call, memory, shared);
    CallServices { journal, functions: functions.map(|functions| Arc::new(functions) as _) }
}

/// The plugin on its view of the call, and what it said if that passes.
fn run<T>(
    binding: &Arc<Binding>,
    incoming: &HookRequest,
    ask: impl FnOnce(&Plugin, &View<'_>) -> Evaluation<T>,
    check: impl FnOnce(&T) -> Result<(), BindingError>,
) -> (BindingResult<T>, Option<SpentInstance>) {
    let result = |outcome, notes, spent| BindingResult::new(binding, outcome, notes, spent);
    let revoked =
        || BindingError::new(Cause::PluginRevoked, "plugin-revoked", "the plugin is revoked");
    if binding.is_revoked() {
        return (result(Err(revoked()), Vec::new(), Duration::ZERO), None);
    }
    let view = match binding.manifest().reads.view(&incoming.call) {
        Ok(view) => view,
        Err(missing) => {
            let fault = BindingError::new(
                Cause::RequiredInputMissing,
                "required-input-missing",
                &missing.to_string(),
            );
            return (result(Err(fault), Vec::new(), Duration::ZERO), None);
        }
    };
    let Evaluation { outcome, notes, elapsed: spent, spent_instance } = ask(&binding.plugin, &view);
    let outcome = match outcome {
        // It was revoked while it ran: what it says counts no more.
        Ok(_) if binding.is_revoked() => Err(revoked()),
        Ok(said) => check(&said).map(|()| said),
        Err(fault) => Err(BindingError::from(fault)),
    };
    (result(outcome, notes, spent), Some(spent_instance))
}

impl From<Fault> for BindingError {
    fn from(fault: Fault) -> Self {
        let cause = match fault {
            Fault::NoSlot => Cause::Overload,
            // The host's own, not the plugin's: it must not end in quarantine.
            Fault::HostFunction(HostFunctionError::Unavailable) => Cause::InternalError,
            _ => Cause::PluginFault,
        };
        let code = fault.code();
        let detail =
            if let Fault::Error(text) = fault { text } else { Redacted::new(fault.to_string()) };
        Self { cause, code, detail }
    }
}

impl BindingError {
    /// With a detail for the sealed part.
    pub fn new(cause: Cause, code: &'static str, detail: &str) -> Self {
        Self { cause, code, detail: Redacted::new(detail.to_owned()) }
    }
}

/// How long a plugin may hold a connection's thread.
pub const SLICE: Duration = Duration::from_millis(2);
