//! The wire contracts of identity platforms: bytes to model and back.
//!
//! Invariant: pure functions. Requests are read tolerantly, answers are written strictly: what a platform
//! would refuse as a whole, and then go on as if nothing had been said, never leaves. No I/O, no clock, no
//! plugin; who calls, and whether to believe it, is the server's business.

#![cfg_attr(
    test,
    expect(clippy::disallowed_methods, reason = "tests read and write what they made themselves")
)]

mod adapter;
mod answer;
mod authzen;
pub mod capabilities;
mod entra;
mod generic;
mod inputs;
mod json_body;
mod jwe;
mod kind;
mod member_names;
mod okta;
mod outcome;
mod ping;
pub mod platform_model;
mod reasons;
mod render_error;
mod request;
mod side_effect;
mod support;

use portcullis_model::{Cause, Change, ChangeKind, SearchTarget};

pub use adapter::{Behaviour, DedupPolicy, FailureBehaviour, Methods, Need, Shown};
pub use answer::{Answer, RecordRef};
pub use generic::{
    AnswerSource, EntitySource, GrantSource, Mapping, MappingError, MappingSource, OriginSource,
    PrincipalSource,
};
pub use inputs::HELD;
pub use jwe::{Decryptor, DecryptorError, Undecryptable};
pub use kind::HookKind;
pub use member_names::{UNKNOWN_MEMBER, is_shown_member, shown_member, shown_path};
pub use outcome::{Outcome, Reason};
pub use portcullis_model::SearchPage;
pub use reasons::MAX_GROUNDS;
pub use render_error::{RenderError, RenderErrorKind};
pub use request::{
    AnswerParts, Batch, BatchContext, HookRequest, HookSettings, OnFailure, PageRequest,
    ParseContext, ParseError, Parsed, Request, SafeAnswerInput, ShortCircuit, UnparsedItem,
};
pub use side_effect::{Message, Resume, SideEffect};

/// Answers what needs neither a proof of the caller nor a decision.
pub fn preflight(kind: HookKind, request: &Request<'_>, settings: &HookSettings) -> Option<Answer> {
    kind.adapter().preflight(request, settings)
}

/// Reads a request.
///
/// # Errors
/// [`ParseError`], with the cause to count and answer it by.
pub fn read(
    kind: HookKind,
    request: &Request<'_>,
    frame: &ParseContext<'_>,
) -> Result<Parsed, ParseError> {
    kind.adapter().read(request, frame)
}

/// Writes an answer, without the record's reference.
///
/// # Errors
/// [`RenderError`] where the platform would not do all of what the outcome wants. The server then
/// sends the [`safe_answer`] with [`Cause::UnsupportedChange`], or denies where it is
/// [`RenderErrorKind::TooShort`].
pub fn write(
    kind: HookKind,
    incoming: &HookRequest,
    outcome: &Outcome<'_>,
) -> Result<Answer, RenderError> {
    // A waiver has had its effect: no platform is told of it.
    if outcome.changes.iter().any(|change| matches!(change, Change::Waive(_))) {
        let changes: Vec<_> = outcome
            .changes
            .iter()
            .filter(|change| !matches!(change, Change::Waive(_)))
            .cloned()
            .collect();
        return kind.adapter().write(incoming, &Outcome { changes: &changes, ..*outcome });
    }
    kind.adapter().write(incoming, outcome)
}

/// The changes of an outcome that [`write()`] leaves out because what they would change is not
/// there.
pub fn skipped(kind: HookKind, incoming: &HookRequest, outcome: &Outcome<'_>) -> Vec<ChangeKind> {
    let skips = |change: &&Change| kind.adapter().skips(incoming, change);
    outcome.changes.iter().filter(skips).map(Change::kind).collect()
}

/// The work that the host does for the platform besides answering it.
pub fn side_effect(
    kind: HookKind,
    incoming: &HookRequest,
    outcome: &Outcome<'_>,
) -> Option<SideEffect> {
    kind.adapter().side_effect(incoming, outcome)
}

/// The answer where the platform was about to hear that somebody took its message, and nobody did: what makes it send the message itself.
pub fn render_undelivered(kind: HookKind, incoming: &HookRequest) -> Answer {
    safe_answer(kind, &OnFailure::Closed, Cause::MessageUndelivered, Some(incoming))
}

/// One answer out of many, each as it was [written](write()) and has its reference.
pub fn render_batch(kind: HookKind, answers: &[Vec<u8>], batch: &BatchContext) -> Answer {
    kind.adapter().render_batch(answers, batch)
}

/// The question that a search asks about one candidate: what it would be if somebody asked about that one alone.
pub fn with_candidate(
    kind: HookKind,
    search: &HookRequest,
    sought: SearchTarget,
    id: &str,
) -> HookRequest {
    kind.adapter().with_candidate(search, sought, id)
}

/// The answer to a search.
pub fn render_search(kind: HookKind, incoming: &HookRequest, found: &SearchPage) -> Answer {
    kind.adapter().render_search(incoming, found)
}

/// The answer where there is no decision.
pub fn refuse(kind: HookKind, refusal: &SafeAnswerInput<'_>) -> Answer {
    let SafeAnswerInput { on_failure, cause, incoming, .. } = *refusal;
    if let Some(answer) = kind.adapter().refuse(refusal) {
        return answer;
    }
    if *on_failure != OnFailure::Open {
        return kind.adapter().safe_answer(refusal);
    }
    // Whoever cannot prove to be the platform learns nothing from the platform's default, and the platform itself, with a wrong
    // secret, treats a 401 as that default.
    if cause == Cause::Unauthenticated {
        Answer::status(401)
    } else {
        kind.adapter().platform_default(incoming)
    }
}

/// The answer to a request that is wrong as HTTP (its path, method or head) where a plain status
/// could make the platform go on: the kind states its refusals in a 200, or its platform's
/// documents do not say that every failure stops and the kind has an answer with a body. `None`
/// where a plain status is right: on open hooks, on hooks that bind nobody, and where any failure
/// stops.
pub fn stop_answer(kind: HookKind, refusal: &SafeAnswerInput<'_>) -> Option<Answer> {
    if *refusal.on_failure == OnFailure::Open || !kind.is_binding() {
        return None;
    }
    let answer = refuse(kind, refusal);
    let told = !kind.failure_behaviour().always_stop() && !answer.body().is_empty();
    (answer.status < 300 || told).then_some(answer)
}

/// [`refuse`] on a hook that sets nothing for its kind.
pub fn safe_answer(
    kind: HookKind,
    on_failure: &OnFailure,
    cause: Cause,
    incoming: Option<&HookRequest>,
) -> Answer {
    let settings = HookSettings::default();
    refuse(
        kind,
        &SafeAnswerInput {
            settings: &settings,
            on_failure,
            cause,
            detail: "",
            route: "",
            incoming,
            reference: None,
        },
    )
}

#[cfg(test)]
mod tests;
