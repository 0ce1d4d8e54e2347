//! The life of an admitted hook call, top to bottom: caller, read, retry, propose, guard,
//! waive, combine, render, record, deliver, bytes out. Admission comes before, in
//! `http::preflight`.
//!
//! Invariants: whatever happens on the way, an answer leaves in time and in the platform's own
//! words, and no decision leaves before its record is durable. Every failure becomes a [`Failure`],
//! and `RequestContext::fail_safe` turns one into the answer and the record (`record_batch_item`
//! for an item of a batch). Each stage is a function of `context` or `decide`; what runs once the
//! response has left is in `post_response`.

use std::sync::Arc;

use hyper::body::{Body as _, Incoming as Body};
use portcullis_hooks::{
    Batch, BatchContext, HookRequest, PageRequest, ParseError, Parsed, ShortCircuit,
};
use portcullis_model::{Cause, Effect};

use crate::auth::Identity;
use crate::net::session::Session;
use crate::observe::budget::Stage;
use crate::recorder::CommitError;
use crate::request::admitted::Admitted;
use crate::request::context::account::Account;
use crate::request::context::{BatchItem, DecisionSummary, PlacedAnswer, Reply, RequestContext};
use crate::request::decide::{DecisionOutcome, Failure, decide};
use crate::request::search::{PageToken, SearchOutcome, search};
use crate::state::active::ActiveConfig;
use crate::state::dedup::Dedup;
use crate::state::host::Host;

/// Answers an admitted call. Earlier checks are in `http::preflight`: room for the call, and its
/// caller where that did not have to wait. Returns also whether the caller may still be sending the
/// body.
pub async fn handle(
    host: &Arc<Host>,
    active_config: &ActiveConfig,
    session: &Session,
    admitted: Admitted,
    account: Account,
) -> (Reply, bool) {
    let Admitted { hook, route, head, mut body, place, began, received, caller } = admitted;
    let mut call =
        RequestContext::new(host, active_config, &hook, route, head, (began, received), account);
    call.post_response.permit = Some(place);

    // The caller is authenticated before its body is read, so that unauthenticated requests cost
    // neither memory nor parsing.
    let caller = match caller {
        Some(caller) => caller,
        None => match call.check_caller(session).await {
            Ok(caller) => caller,
            Err(unauthenticated) => return (call.reject(unauthenticated), !body.is_end_stream()),
        },
    };
    let reply = handle_post(call, caller, &mut body).await;
    (reply, !body.is_end_stream())
}

/// Answers a call whose caller is known.
async fn handle_post(mut call: RequestContext<'_>, caller: Identity, body: &mut Body) -> Reply {
    if let Some(trace) = &mut call.trace {
        trace.mark_authenticated();
    }
    call.record_stage(Stage::Caller);
    let bytes = match call.read(body).await {
        Ok(bytes) => bytes,
        Err(cause) => return call.reject_authenticated(cause).await,
    };
    call.record_stage(Stage::Body);

    // Parse: from here on the request has a record.
    let parsed = match call.parse(&bytes) {
        Ok(parsed) => parsed,
        Err(malformed) => return call.reject_malformed(&malformed).await,
    };
    if let Err(differs) = call.check_tenant(&caller, &parsed) {
        return call.reject_authenticated(differs).await;
    }
    call.record_stage(Stage::Parse);
    match parsed {
        Parsed::Single(incoming) => handle_single(call, caller, incoming).await,
        Parsed::Batch(batch) => handle_batch(call, caller, batch, &bytes).await,
        Parsed::Search(incoming, page) => {
            // A token of another list would return that list's page as this one's.
            let Some(token) = PageToken::read(call.host, call.hook, &page) else {
                let detail = "page.token, which is not of this request".into();
                let malformed = ParseError { cause: Cause::SchemaMismatch, detail, event: None };
                return call.reject_malformed(&malformed).await;
            };
            handle_search(call, Arc::new(incoming), &page, token).await
        }
        Parsed::Immediate(answer) => call.respond(&answer),
    }
}

/// Answers one question.
async fn handle_single(
    mut call: RequestContext<'_>,
    caller: Identity,
    incoming: HookRequest,
) -> Reply {
    let incoming = Arc::new(incoming);

    // A retry gets the cached response, before any plugin runs, so that it costs nothing and
    // changes nothing.
    let first = match call.deduplicate(&caller, &incoming) {
        Dedup::New(first) => Some(first),
        Dedup::Untracked => None,
        Dedup::Duplicate(flight) => {
            return call.replay(flight, &incoming.call.id, Some(&incoming)).await;
        }
        Dedup::IdReused => {
            return call
                .fail_safe(Failure::of(Cause::EventIdReused), &incoming, Vec::new(), None)
                .await;
        }
    };
    let mut evaluations = 0;
    loop {
        call.begin_decision();
        let question = Arc::clone(&incoming);
        let DecisionOutcome { incoming, results, outcome, side_effect, skipped } =
            decide(&mut call, question).await;
        evaluations += 1;
        let (verdict, answer) = match outcome {
            Ok(decided) => decided,
            Err(failure) => return call.fail_safe(failure, &incoming, results, first).await,
        };

        // The record gets its place together with what the call changes in memory. Where other
        // calls changed that memory meanwhile, the question is evaluated again.
        let said = DecisionSummary { verdict: Ok(verdict), skipped: &skipped };
        let appended = call.append_decision(said, &answer, &incoming, &results, &side_effect);
        if let Err(CommitError::Conflict(_)) = appended {
            if call.may_evaluate_again(evaluations) {
                continue;
            }
            let failure = Failure::of(Cause::MemoryConflict);
            return call.fail_safe(failure, &incoming, results, first).await;
        }

        // The record is durable before the first byte of a decision leaves, and before a message
        // that it promises is on its way.
        let decided = PlacedAnswer { verdict: Ok(verdict), answer, results, side_effect };
        return call.record_and_respond(decided, &incoming, first, appended).await;
    }
}

/// Answers a batch: each question is decided and recorded by itself, and one answer has them all.
/// Items after the one that decides are not evaluated.
async fn handle_batch(
    mut call: RequestContext<'_>,
    caller: Identity,
    batch: Batch,
    bytes: &[u8],
) -> Reply {
    // A retry of the whole batch gets the cached response, and no question is evaluated twice.
    let first = match batch.id.as_deref().map(|id| (id, call.deduplicate_batch(&caller, id, bytes)))
    {
        Some((_, Dedup::New(first))) => Some(first),
        Some((_, Dedup::Untracked)) | None => None,
        Some((id, Dedup::Duplicate(flight))) => return call.replay(flight, id, None).await,
        // An event that only tells what has happened is never rejected: it would be lost.
        Some((_, Dedup::IdReused)) if !call.hook.config.kind.is_binding() => None,
        Some((_, Dedup::IdReused)) => return call.reject_authenticated(Cause::EventIdReused).await,
    };
    let mut parts = Vec::with_capacity(batch.items.len());
    for (number, item) in batch.items.into_iter().enumerate() {
        let (permitted, part) = match item {
            Ok(incoming) => decide_batch_item(&mut call, number, Arc::new(incoming)).await,
            Err(unread) => (false, call.unparsed_item(number, unread)),
        };
        parts.push(part);
        // The thread is other calls' too: a request holds it no longer at a time than one question
        // does.
        tokio::task::yield_now().await;
        match batch.until {
            ShortCircuit::OnDeny if !permitted => break,
            ShortCircuit::OnPermit if permitted => break,
            _ => {}
        }
    }
    let batch = BatchContext { until: batch.until, query: batch.query };
    call.respond_batch(parts, &batch, first).await
}

/// Decides one question of a batch and gives its record a place. Returns whether it was permitted.
async fn decide_batch_item(
    call: &mut RequestContext<'_>,
    number: usize,
    incoming: Arc<HookRequest>,
) -> (bool, BatchItem) {
    let mut evaluations = 0;
    loop {
        call.begin_decision();
        let decided = decide(call, Arc::clone(&incoming)).await;
        evaluations += 1;
        let again = call.may_evaluate_again(evaluations);
        // Where other calls changed its memory meanwhile, the question is evaluated again.
        if let Some(item) = call.record_batch_item(number, decided, again) {
            return item;
        }
    }
}

/// Answers a search: the permitted candidates, in one response with one record.
async fn handle_search(
    mut call: RequestContext<'_>,
    incoming: Arc<HookRequest>,
    page: &PageRequest,
    token: PageToken,
) -> Reply {
    let SearchOutcome { found, results } = search(&mut call, &incoming, page, token).await;
    call.record_stage(Stage::Search);
    match found {
        Ok(found) => {
            // A list decides nothing: what its results are allowed was decided one by one.
            let answer = portcullis_hooks::render_search(call.hook.config.kind, &incoming, &found);
            let said = DecisionSummary { verdict: Ok(Effect::Abstain), skipped: &[] };
            let appended = call.append_decision(said, &answer, &incoming, &results, &None);
            let verdict = Ok(Effect::Abstain);
            let decided = PlacedAnswer { verdict, answer, results, side_effect: None };
            call.record_and_respond(decided, &incoming, None, appended).await
        }
        Err(failure) => call.fail_safe(failure, &incoming, results, None).await,
    }
}
