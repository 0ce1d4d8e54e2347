//! Search: the ones about whom the answer would be yes.
//!
//! Bindings that search propose candidates; each of them is then decided like a question of its own, by every enforcing binding of
//! the hook, and only those that are permitted are told.
//!
//! Invariants: search never contradicts evaluation, because it is evaluation; results come in the
//! order of their ids, each once, whoever proposed them; and a page is bounded by its limit, by
//! [`MAX_CANDIDATES`] and by the call's budget, and says where to go on. A search holds its
//! connection's thread no longer at a time than a call does.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use portcullis_call_data::{Denial, ReadLog};
use portcullis_hooks::{HookRequest, OnFailure, PageRequest};
use portcullis_model::json::quote;
use portcullis_model::{Cause, Decision, Entity, MAX_ID_BYTES, SearchPage, SearchTarget};

use crate::bindings::evaluate::{self, BindingResult, SLICE};
use crate::bindings::generation::Binding;
use crate::clock::monotonic_now;
use crate::request::context::RequestContext;
use crate::request::decide::{Failure, decide};
use crate::state::host::{Hook, Host};

/// What came of a search, and who proposed what: for the record. Of bindings that could not find there is the fault.
pub struct SearchOutcome {
    /// A page of those about whom the answer would be yes, or why there is none.
    pub found: Result<SearchPage, Failure>,
    /// Every binding that proposed, once.
    pub results: Vec<BindingResult>,
}

/// What came of a search, in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SearchCounts {
    /// What was searched.
    pub target: SearchTarget,
    /// How many candidates were decided.
    pub evaluated: usize,
    /// How many of them are told.
    pub returned: usize,
}

/// Searches. The call says what for, by its phase.
pub async fn search(
    call: &mut RequestContext<'_>,
    incoming: &Arc<HookRequest>,
    page: &PageRequest,
    token: PageToken,
) -> SearchOutcome {
    let mut search = match Search::new(call, incoming, page, token.after) {
        Ok(search) => search,
        Err(cause) => return SearchOutcome { found: Err(Failure::of(cause)), results: Vec::new() },
    };
    let found = search.run(call).await;
    let Search { binding_results, evaluated: judged, results, target: sought, .. } = search;
    call.search_counts =
        Some(SearchCounts { target: sought, evaluated: judged, returned: results.len() });
    let next = |next: Option<String>| {
        next.map(|after| PageToken { after: Some(after) }.text(call.host, call.hook, page))
    };
    let found = found.map(|end| SearchPage { results, next: next(end) });
    SearchOutcome { found, results: binding_results }
}

/// A search on its way.
struct Search<'a> {
    incoming: &'a Arc<HookRequest>,
    target: SearchTarget,
    of_type: String,
    searchers: Vec<Arc<Binding>>,
    limit: usize,
    /// Everything up to this id is done with.
    after: Option<String>,
    results: Vec<Entity>,
    /// Of the results' ids.
    bytes: usize,
    evaluated: usize,
    binding_results: Vec<BindingResult>,
    /// When the thread was last free for others.
    yielded: Instant,
}

/// What became of one candidate.
enum CandidateOutcome {
    Permitted,
    NotPermitted,
    /// There was no time or no room to ask about it.
    NotEvaluated(Cause),
}

impl<'a> Search<'a> {
    fn new(
        call: &RequestContext<'_>,
        incoming: &'a Arc<HookRequest>,
        page: &PageRequest,
        after: Option<String>,
    ) -> Result<Self, Cause> {
        let question = &incoming.call;
        let sought = question
            .phase
            .as_deref()
            .and_then(SearchTarget::from_phase)
            .ok_or(Cause::InternalError)?;
        let of_type = match sought {
            SearchTarget::Subject => {
                question.subject.as_ref().map(|subject| subject.type_name.clone())
            }
            SearchTarget::Resource => {
                question.resource.as_ref().map(|resource| resource.type_name.clone())
            }
            SearchTarget::Action => {
                Some(question.action.as_ref().map_or(ACTION, |action| &action.type_name).to_owned())
            }
        };
        Ok(Self {
            incoming,
            target: sought,
            of_type: of_type.ok_or(Cause::SchemaMismatch)?,
            searchers: call
                .bindings()
                .ok_or_else(|| call.host.no_release_cause())?
                .searchers()
                .cloned()
                .collect(),
            limit: page.limit.unwrap_or(DEFAULT_PAGE).min(MAX_PAGE) as usize,
            after,
            results: Vec::new(),
            bytes: 0,
            evaluated: 0,
            binding_results: Vec::new(),
            yielded: monotonic_now(),
        })
    }

    /// Candidates, page by page, until there are no more or it is enough. Gives where to go on; nothing at the end.
    async fn run(&mut self, call: &mut RequestContext<'_>) -> Result<Option<String>, Failure> {
        if self.limit == 0 {
            // Nothing is wanted now; whoever goes on begins where this would have.
            return Ok(Some(self.after.take().unwrap_or_default()));
        }
        for _ in 0..MAX_ROUNDS {
            let (candidates, end) = self.candidates(call).await?;
            for id in candidates {
                if self.is_full() || self.evaluated == MAX_CANDIDATES {
                    return Ok(self.after.clone());
                }
                match self.evaluate(call, &id).await {
                    CandidateOutcome::Permitted => {
                        self.bytes += id.len();
                        let (type_name, id) = (self.of_type.clone(), Some(id.clone()));
                        self.results.push(Entity { type_name, id, attributes: Vec::new() });
                    }
                    CandidateOutcome::NotPermitted => {}
                    // What was decided by now is told; who wants more asks again, with a budget of its own.
                    CandidateOutcome::NotEvaluated(_) if self.evaluated > 0 => {
                        return Ok(self.after.clone());
                    }
                    CandidateOutcome::NotEvaluated(cause) => return Err(Failure::of(cause)),
                }
                self.evaluated += 1;
                self.after = Some(id);
            }
            match end {
                None => return Ok(None),
                Some(end) => self.after = Some(end),
            }
        }
        Ok(self.after.clone())
    }

    fn is_full(&self) -> bool {
        self.results.len() == self.limit || self.bytes >= MAX_RESULT_BYTES
    }

    /// What the bindings propose next, all of it up to the end that is given with it; no end where nobody has more.
    async fn candidates(
        &mut self,
        call: &mut RequestContext<'_>,
    ) -> Result<(BTreeSet<String>, Option<String>), Failure> {
        let mut candidates = BTreeSet::new();
        let mut end: Option<String> = None;
        // One more than is wanted tells whether that is all.
        let limit =
            u32::try_from(self.limit - self.results.len()).unwrap_or(MAX_PAGE).saturating_add(1);
        for binding in self.searchers.clone() {
            let found = evaluate::search(
                &call.host.recorder,
                &binding,
                self.incoming,
                call.limits(),
                limit,
                self.after.clone(),
            );
            let BindingResult { outcome, notes, spent, reads, .. } = found.await;
            call.post_response.spent_instances.clear();
            let found = match outcome {
                Ok(found) => {
                    let findings = reads.denial().map(Denial::finding).into_iter().collect();
                    let decision = Decision { findings, ..Decision::default() };
                    self.record_result(&binding, Ok(decision), notes, reads, spent);
                    found
                }
                Err(fault) => {
                    let failure = Failure::of_fault(&fault, &binding);
                    self.record_result(&binding, Err(fault), notes, reads, spent);
                    return Err(failure);
                }
            };
            if found.results.iter().any(|result| result.type_name != self.of_type) {
                return Err(Failure::of_plugin(Cause::UndeclaredOutput, &binding));
            }
            candidates.extend(found.results.into_iter().filter_map(|result| result.id));
            // Beyond the nearest end somebody has not looked yet.
            end = match (end, found.next) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
        if let Some(end) = &end {
            candidates.retain(|id| id <= end);
        }
        Ok((candidates, end))
    }

    /// One candidate, as a question of its own.
    async fn evaluate(&mut self, call: &mut RequestContext<'_>, id: &str) -> CandidateOutcome {
        let now = monotonic_now();
        if now.saturating_duration_since(self.yielded) >= SLICE {
            tokio::task::yield_now().await;
            self.yielded = monotonic_now();
        }
        let question =
            portcullis_hooks::with_candidate(call.hook.config.kind, self.incoming, self.target, id);
        let decided = decide(call, Arc::new(question)).await;
        // Sandboxes are given back at once: a search asks more often than there are any.
        call.post_response.spent_instances.clear();
        // That was about one of many.
        call.canary_failure = None;
        let over = call.budget.left_for_plugins(monotonic_now()).is_zero();
        match decided.outcome {
            Ok((verdict, _)) if call.hook.config.kind.is_permit(verdict) => {
                CandidateOutcome::Permitted
            }
            Ok(_) => CandidateOutcome::NotPermitted,
            // A plugin that was stopped because the search's time is over says nothing about the candidate.
            Err(_) if over => CandidateOutcome::NotEvaluated(Cause::BudgetExhausted),
            Err(Failure { cause: Cause::Overload, .. }) => {
                CandidateOutcome::NotEvaluated(Cause::Overload)
            }
            // As it would be answered by itself.
            Err(failure) if *call.on_failure(Some(failure.cause)) == OnFailure::Open => {
                CandidateOutcome::Permitted
            }
            Err(_) => CandidateOutcome::NotPermitted,
        }
    }

    /// Remembers that a binding proposed: once, however often it was asked.
    fn record_result(
        &mut self,
        binding: &Arc<Binding>,
        outcome: Result<Decision, evaluate::BindingError>,
        notes: Vec<String>,
        reads: ReadLog,
        spent: std::time::Duration,
    ) {
        match self.binding_results.iter_mut().find(|result| Arc::ptr_eq(&result.binding, binding)) {
            Some(known) => {
                known.spent += spent;
                known.notes.extend(notes);
                known.notes.truncate(MAX_NOTES);
                known.reads.append(reads);
                if outcome.is_err() {
                    known.outcome = outcome;
                }
            }
            None => {
                let mut result = BindingResult::new(binding, outcome, notes, spent);
                result.reads = reads;
                self.binding_results.push(result);
            }
        }
    }
}

/// Where a page begins. As text it is a token that is good for its own list alone: the id behind
/// which the page begins, behind a keyed hash of that id, the hook and the list. It holds no state,
/// and outlives a restart with the same key.
pub struct PageToken {
    /// Everything up to this id is done with; `None` at the beginning.
    after: Option<String>,
}

impl PageToken {
    /// Reads the token of a page. `None` where it is not of this list.
    pub fn read(host: &Host, hook: &Hook, page: &PageRequest) -> Option<Self> {
        let Some(token) = &page.token else { return Some(Self { after: None }) };
        let bytes = BASE64.decode(token).ok()?;
        let (tag, after) = bytes.split_at_checked(TAG)?;
        let after = std::str::from_utf8(after).ok().filter(|after| after.len() <= MAX_ID_BYTES)?;
        verify_slices_are_equal(tag, &Self::tag(host, hook, page, after)).ok()?;
        Some(Self { after: (!after.is_empty()).then(|| after.to_owned()) })
    }

    /// The token, for this list.
    fn text(&self, host: &Host, hook: &Hook, page: &PageRequest) -> String {
        let after = self.after.as_deref().unwrap_or_default();
        let mut bytes = Self::tag(host, hook, page, after).to_vec();
        bytes.extend_from_slice(after.as_bytes());
        BASE64.encode(bytes)
    }

    fn tag(host: &Host, hook: &Hook, page: &PageRequest, after: &str) -> [u8; TAG] {
        // Each part in quotation marks, so that no two of them run together.
        let mut of = String::new();
        for part in [&hook.config.name, after, &page.of] {
            quote(&mut of, part);
        }
        host.recorder.pseudonym("page-token", &of).bits().to_be_bytes()
    }
}

/// Bytes of a token's keyed hash.
const TAG: usize = 16;

/// Results in an answer whose caller does not say how many it wants.
pub const DEFAULT_PAGE: u32 = 100;

/// Most results in one answer, whatever the caller wants.
pub const MAX_PAGE: u32 = 1_000;

/// A page with so many bytes of ids is full: the answer has to fit the record's sealed part, beside the largest body.
pub const MAX_RESULT_BYTES: usize = 64 << 10;

/// Most candidates that are decided for one answer.
pub const MAX_CANDIDATES: usize = 4_000;

/// Most pages of candidates that are asked for in one answer.
const MAX_ROUNDS: usize = 64;

/// Most notes of one plugin that are kept of a search.
const MAX_NOTES: usize = 64;

/// The type of an action that a search does not mention.
const ACTION: &str = "action";
