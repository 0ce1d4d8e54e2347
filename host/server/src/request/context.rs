//! One request on its way: its deadlines, what it may cost, what is made of its body, and whom it asks.
//!
//! Invariant: a call keeps to what was active when it began, to its end. The ways in which it
//! ends are `respond`'s; in which order all this happens is `pipeline`'s.

pub mod account;
mod batch;
pub mod body;
mod recording;
mod respond;
mod side_effects;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::Incoming as Body;
use hyper::http::request::Parts;
use portcullis_audit::{Pseudonym, Sequence};
use portcullis_call_data::DataAccess;
use portcullis_hooks::{
    Answer, DedupPolicy, HookRequest, OnFailure, ParseContext, ParseError, Parsed, Request,
};
use portcullis_model::{AttributeFilter, Cause, Effect, Millis};
use portcullis_tokens::AuthError;

use self::account::Account;
use crate::auth::Identity;
use crate::bindings::candidate::CohortMatch;
use crate::bindings::evaluate::{self, BindingResult, EvaluationLimits};
use crate::bindings::generation::{Binding, Bindings, Generation};
use crate::break_glass::ActiveOverride;
use crate::clock::monotonic_now;
use crate::net::session::Session;
use crate::observe::budget::{Budget, Stage, StageTimer};
use crate::observe::telemetry::Trace;
use crate::records::unread_entitlements;
use crate::request::decide::{DecisionOutcome, Failure};
use crate::request::post_response::PostResponse;
use crate::request::search::SearchCounts;
use crate::state::active::ActiveConfig;
use crate::state::dedup::Dedup;
use crate::state::host::{Hook, Host};

pub use batch::BatchItem;
pub use recording::{DecisionSummary, log_lost_changes};
pub use respond::{PlacedAnswer, Reply};

/// One call on its way.
pub struct RequestContext<'a> {
    /// The host.
    pub host: &'a Arc<Host>,
    /// What was active when it began: it keeps to that to the end.
    pub active_config: &'a ActiveConfig,
    /// The hook.
    pub hook: &'a Arc<Hook>,
    /// The request's head.
    pub head: Parts,
    /// The generation that decides.
    pub generation: Option<Arc<Generation>>,
    /// The active break-glass document when it began.
    pub break_glass: Option<Arc<ActiveOverride>>,
    /// Its deadlines.
    pub budget: Budget,
    /// What is to be done after the reply.
    pub post_response: PostResponse,
    /// Its trace, if it has one.
    pub trace: Option<Box<Trace>>,
    route: &'static str,
    began: Instant,
    /// The budget, while candidates have half of it.
    whole_budget: Option<Budget>,
    stages: StageTimer,
    received: Millis,
    /// The body's, where it has been made already.
    body_pseudonym: Option<Pseudonym>,
    /// What came of a search.
    pub search_counts: Option<SearchCounts>,
    /// Who answers in a live binding's place, and why.
    cast: Vec<(Arc<Binding>, CohortMatch)>,
    /// What came of asking candidates, where that was no decision.
    pub canary_failure: Option<CanaryFailure>,
    /// The versions of reference tables that it sees, once a plugin was asked, and the bytes that
    /// its plugins may still read.
    data: Option<DataAccess>,
    /// The place that its record was given.
    record: Option<Sequence>,
    /// The records of its answer that the log was given.
    account: Account,
    /// The outcomes to count in the metrics once its answer is made.
    outcomes: Vec<Counted>,
}

/// An outcome as the metrics count it.
#[derive(Clone, Copy)]
enum Counted {
    Verdict(Effect),
    Safe(Cause),
    Duplicate,
}

/// An attempt with candidates that came to no decision: the live bindings decide as if there were none.
pub struct CanaryFailure {
    /// Why it came to nothing.
    pub failure: Failure,
    /// Everybody who was asked in it.
    pub results: Vec<BindingResult>,
}

impl<'a> RequestContext<'a> {
    /// Its time starts when its head has arrived: as monotonic and as wall time.
    pub fn new(
        host: &'a Arc<Host>,
        active_config: &'a ActiveConfig,
        hook: &'a Arc<Hook>,
        route: &'static str,
        head: Parts,
        (start, received): (Instant, Millis),
        account: Account,
    ) -> Self {
        let generation = active_config.generation.clone();
        let trace = host.telemetry.as_ref().and_then(|telemetry| {
            let number = generation.as_ref().map_or(0, |generation| generation.number);
            let kind = hook.config.kind.name();
            telemetry.begin(&head.headers, (&hook.name, kind), number, (start, received))
        });
        Self {
            host,
            active_config,
            hook,
            head,
            route,
            began: start,
            whole_budget: None,
            generation,
            trace,
            break_glass: hook.break_glass(),
            budget: Budget::start(start, &hook.config),
            stages: StageTimer::start(start),
            received,
            body_pseudonym: None,
            search_counts: None,
            cast: Vec::new(),
            canary_failure: None,
            data: None,
            record: None,
            account,
            outcomes: Vec::new(),
            post_response: PostResponse::new(host),
        }
    }

    /// Everything since the last note was this stage's.
    pub fn record_stage(&mut self, stage: Stage) {
        self.stages.record(stage, monotonic_now());
    }

    /// Reads the body whole, within the hook's limit and time.
    pub async fn read(&self, body: &mut Body) -> Result<Bytes, Cause> {
        body::read_whole(body, self.body_until(), self.hook.config.body_bytes).await
    }

    /// Who calls. Waits for an issuer's keys at most a part of what the call has.
    pub async fn check_caller(&self, session: &Session) -> Result<Identity, AuthError> {
        let until = self.budget.keys_until();
        let identity = self
            .hook
            .authenticator
            .check(&self.head.headers, session.peer(), self.received, until)
            .await?;
        session.authenticate(&self.hook.config.name, identity.name());
        Ok(identity)
    }

    /// Whether everything that the body asks is asked for the tenant that the caller's token was issued in.
    pub fn check_tenant(&self, caller: &Identity, parsed: &Parsed) -> Result<(), AuthError> {
        tenant_matches(caller, parsed)
    }

    /// When a body must be there: after its own limit, or when nothing would be left for plugins.
    fn body_until(&self) -> Instant {
        let limit = Duration::from_millis(self.active_config.config.listen.body_timeout_ms);
        (monotonic_now() + limit).min(self.budget.plugins_until())
    }

    /// The answer to what needs neither proof nor decision.
    pub fn preflight(&self) -> Option<Answer> {
        let (kind, settings) = (self.hook.config.kind, &self.hook.config.settings);
        self.with_request(&[], |request| portcullis_hooks::preflight(kind, request, settings))
    }

    /// Makes questions of the body.
    pub fn parse(&mut self, body: &[u8]) -> Result<Parsed, ParseError> {
        let frame = ParseContext {
            tenant: &self.host.config.tenant,
            received: self.received,
            seed: self.host.seed(),
            settings: &self.hook.config.settings,
            wanted: match self.bindings() {
                Some(bindings) => bindings.attribute_filter(),
                None => AttributeFilter::all(),
            },
        };
        let parsed = self.with_request(body, |request| {
            portcullis_hooks::read(self.hook.config.kind, request, &frame)
        })?;
        let first = match &parsed {
            Parsed::Single(incoming) | Parsed::Search(incoming, _) => Some(incoming),
            Parsed::Batch(batch) => batch.items.iter().find_map(|item| item.as_ref().ok()),
            Parsed::Immediate(_) => None,
        };
        if let Some(first) = first
            && self.host.trust.time.observes_platform()
            && let Some(theirs) = self.platform_time(first)
        {
            // The caller is authenticated by now.
            self.host.trust.time.observe_platform(theirs);
        }
        if let Some(first) = first {
            unread_entitlements::log(&self.hook.config, first);
        }
        if let Some(first) = first.filter(|_| self.hook.drift.should_sample()) {
            self.post_response.drift_sample = Some(first.call.payload.clone());
        }
        Ok(parsed)
    }

    /// When the platform says that this event was. Only Okta's kinds have a member that the platform
    /// itself writes; elsewhere a member of that name could be anybody's.
    fn platform_time(&self, incoming: &HookRequest) -> Option<Millis> {
        if !self.hook.config.kind.name().starts_with("okta.") {
            return None;
        }
        let payload = &incoming.call.payload;
        let time = payload.pointer("/eventTime").or_else(|| payload.pointer("/published"))?;
        portcullis_trust::time::read(&time.as_str()?)
    }

    fn with_request<T>(&self, body: &[u8], what: impl FnOnce(&Request<'_>) -> T) -> T {
        let searches =
            self.bindings().is_some_and(|bindings| bindings.searchers().next().is_some());
        body::with_request(&self.head, self.route, searches, body, what)
    }

    /// The hook's active bindings.
    pub fn bindings(&self) -> Option<&Bindings> {
        self.generation.as_ref()?.hooks.get(self.hook.number)
    }

    /// Whether this question was asked before.
    pub fn deduplicate(&mut self, caller: &Identity, incoming: &HookRequest) -> Dedup {
        // Of the whole body, secrets included: it is kept in memory only.
        let body = self.host.recorder.pseudonym("body", incoming.call.payload.text());
        let turn = self.dedup_claim(caller, &incoming.call.id, body);
        if incoming.call.secrets.is_empty() {
            self.body_pseudonym = Some(body);
        }
        turn
    }

    /// Whether all these questions were asked before, together.
    pub fn deduplicate_batch(&self, caller: &Identity, id: &str, body: &[u8]) -> Dedup {
        self.dedup_claim(
            caller,
            id,
            self.host.recorder.pseudonym("body", &String::from_utf8_lossy(body)),
        )
    }

    fn dedup_claim(&self, caller: &Identity, id: &str, body: Pseudonym) -> Dedup {
        let generation = self.generation.as_ref().map_or((0, 0), |generation| generation.key());
        let now = monotonic_now();
        let (retries, serial) = (&self.host.limits.dedup, self.hook.serial);
        match self.hook.config.kind.dedup_policy() {
            DedupPolicy::Never => Dedup::Untracked,
            DedupPolicy::ById => {
                retries.claim(serial, caller.name(), id, body.bits(), generation, now)
            }
            DedupPolicy::ByIdAndBody => retries.claim(
                serial,
                caller.name(),
                &format!("{id} {body}"),
                body.bits(),
                generation,
                now,
            ),
        }
    }

    /// Asks one enforcing binding, or the candidate that answers in its place; what is left of its instance is dropped after the reply.
    pub async fn evaluate(
        &mut self,
        binding: &Arc<Binding>,
        incoming: &Arc<HookRequest>,
    ) -> BindingResult {
        let since = self.trace.is_some().then(monotonic_now);
        let stands = self.canary_for(binding);
        let evaluated = stands.as_ref().map_or(binding, |(candidate, _)| candidate);
        let mut result =
            evaluate::evaluate(&self.host.recorder, evaluated, incoming, self.limits()).await;
        result.cohort = stands.map(|(_, why)| why);
        if let Some(data) = &mut self.data {
            data.bytes_left = data.bytes_left.saturating_sub(result.reads.bytes());
        }
        if let (Some(trace), Some(since)) = (&mut self.trace, since) {
            let plugin = (Arc::clone(&result.binding.verified), result.binding.mode);
            let outcome = result.verdict().map_or_else(|code| code, Effect::name);
            trace.span_plugin(plugin, outcome, since, result.spent);
        }
        result.count();
        result
    }

    /// Within what plugins are asked.
    pub fn limits(&mut self) -> EvaluationLimits<'_> {
        let open = self.hook.config.on_failure == OnFailure::Open;
        let generation = self.generation.as_ref();
        let current =
            || DataAccess::of(generation.map_or_else(Arc::default, |it| it.tables.current()));
        let data = self.data.get_or_insert_with(current).clone();
        EvaluationLimits {
            budget: &self.budget,
            ignores_quarantine: open,
            spent_instances: &mut self.post_response.spent_instances,
            data,
        }
    }

    /// Begins a decision: its plugins may read as much as those of any other. All decisions of a
    /// request see the same versions of tables.
    pub fn begin_decision(&mut self) {
        self.data = self.data.take().map(|data| DataAccess::of(data.tables));
        self.post_response.spent_instances.clear();
    }

    /// A plugin that is quarantined because it failed too often, and without whose word there is no
    /// decision. Where the safe answer lets everything pass it is asked all the same.
    pub fn quarantined(&self) -> Option<Failure> {
        if self.hook.config.on_failure == OnFailure::Open {
            return None;
        }
        let now = monotonic_now();
        let alone = |binding: &&Arc<Binding>| {
            binding.breaker.would_reject(now) && self.canary_for(binding).is_none()
        };
        let binding = self.bindings()?.enforcing().find(alone)?;
        Some(Failure::of_plugin(Cause::PluginQuarantined, binding))
    }

    /// Chooses the candidates that answer this question in their live bindings' place. Where there are any, they and all others have half
    /// of what time is left, so that as much remains for the live ones.
    pub fn select_canaries(&mut self, incoming: &HookRequest) -> bool {
        (self.canary_failure, self.cast) = (None, Vec::new());
        let Some(bindings) = self.bindings().filter(|bindings| bindings.has_candidates()) else {
            return false;
        };
        let stands = |binding: &Arc<Binding>| {
            let rollout = binding.candidate.as_ref()?;
            Some((
                Arc::clone(&rollout.binding),
                rollout.cohort_match(&self.host.recorder, &incoming.call)?,
            ))
        };
        self.cast = bindings.enforcing().filter_map(stands).collect();
        if self.cast.is_empty() {
            return false;
        }
        self.whole_budget = Some(self.budget);
        self.budget = self.budget.halved(monotonic_now());
        true
    }

    /// Takes the candidates' attempt if it came to a decision; else it is put aside, and there are none.
    pub fn accept_canary_attempt(&mut self, decided: DecisionOutcome) -> Option<DecisionOutcome> {
        self.cast.clear();
        self.budget = self.whole_budget.take().unwrap_or(self.budget);
        let DecisionOutcome { outcome: Err(failure), results, .. } = decided else {
            return Some(decided);
        };
        self.post_response.spent_instances.clear();
        self.canary_failure = Some(CanaryFailure { failure, results });
        None
    }

    fn canary_for(&self, binding: &Binding) -> Option<(Arc<Binding>, CohortMatch)> {
        let candidate = &binding.candidate.as_ref()?.binding;
        self.cast.iter().find(|(stands, _)| Arc::ptr_eq(stands, candidate)).cloned()
    }
}

/// Whether everything that a body asks is asked for the tenant that the caller's token was issued in.
pub fn tenant_matches(caller: &Identity, parsed: &Parsed) -> Result<(), AuthError> {
    let Some(tenant) = caller.tenant() else { return Ok(()) };
    let same = |incoming: &HookRequest| {
        // Ids of tenants are hexadecimal: their case means nothing.
        incoming.platform_tenant.as_ref().is_none_or(|named| named.eq_ignore_ascii_case(tenant))
    };
    let all = match parsed {
        Parsed::Single(incoming) | Parsed::Search(incoming, _) => same(incoming),
        Parsed::Batch(batch) => batch.items.iter().flatten().all(same),
        Parsed::Immediate(_) => true,
    };
    if all { Ok(()) } else { Err(AuthError::TenantDiffers) }
}
