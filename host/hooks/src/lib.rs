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
mod kind;
mod member_names;
mod okta;
mod ping;
pub mod platform_model;
mod reasons;
mod request;
mod side_effect;

use portcullis_model::{Cause, Change, ChangeKind, Effect, HelpDeskReference, SearchTarget};

pub use adapter::{Behaviour, DedupPolicy, FailureBehaviour, Methods, Need, Shown};
pub use answer::{Answer, RecordRef};
pub use entra::jwe::{Decryptor, DecryptorError, Undecryptable};
pub use generic::{
    AnswerSource, EntitySource, GrantSource, Mapping, MappingError, MappingSource, OriginSource,
    PrincipalSource,
};
pub use inputs::HELD;
pub use kind::HookKind;
pub use member_names::{UNKNOWN_MEMBER, is_shown_member, shown_member, shown_path};
pub use portcullis_model::SearchPage;
pub use reasons::MAX_GROUNDS;
pub use request::{
    AnswerParts, Batch, BatchContext, HookRequest, HookSettings, PageRequest, ParseContext,
    ParseError, Parsed, Request, SafeAnswerInput, ShortCircuit, UnparsedItem,
};
pub use side_effect::{Message, Resume, SideEffect};

/// The outcome to answer, after combination and mapping.
#[derive(Clone, Copy, Default)]
pub struct Outcome<'a> {
    /// The strictest effect. One that this hook kind cannot say, and that the binding maps, is said as it is
    /// mapped.
    pub verdict: Effect,
    /// The merged changes, without those that the binding maps.
    pub changes: &'a [Change],
    /// Text for people, from the message catalogue: of the first of the grounds. Answers show it
    /// through [`Outcome::shown_text`], which says how many more grounds there are.
    pub text: Option<&'a str>,
    /// The language of that text: a tag of the catalogue.
    pub language: &'a str,
    /// Every finding that the verdict rests on, the gravest first: for hook kinds that can point at
    /// more than one thing.
    pub reasons: &'a [Reason<'a>],
    /// The reference that the text of a denial ends with.
    pub reference: Option<HelpDeskReference>,
}

impl Outcome<'_> {
    /// The codes of the grounds, sorted, each once.
    pub fn codes(&self) -> Vec<&str> {
        let mut codes: Vec<_> = self.reasons.iter().map(|ground| ground.code).collect();
        codes.sort_unstable();
        codes.dedup();
        codes
    }
}

/// One finding that a verdict rests on.
#[derive(Clone)]
pub struct Reason<'a> {
    /// The finding's code.
    pub code: &'a str,
    /// Text for people, from the message catalogue.
    pub text: String,
    /// The form field that it is about, as the plugin says: to be held against the request's own fields before it is repeated.
    pub field: Option<&'a str>,
}

/// Plugin: a change that the platform would refuse, or that cannot be said in this answer. Repeats nothing
/// that the plugin wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{why}", change.map(|(at, kind)| format!("change {at}, a `{kind}`: ")).unwrap_or_default())]
pub struct RenderError {
    /// Which one, counted from 1, and of which kind; nothing where it is the answer as a whole.
    pub change: Option<(usize, ChangeKind)>,
    /// Why.
    pub why: RenderErrorKind,
}

/// Why a change is unsayable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderErrorKind {
    /// This hook kind has no words for it; see [`capabilities::change`].
    #[error("this hook kind does not support it")]
    Kind,
    /// Not a place that can be changed.
    #[error("this hook kind does not allow changes at its place")]
    Place,
    /// A claim or profile member that the platform keeps for itself.
    #[error("the platform reserves its place")]
    Reserved,
    /// The place, or what would have to stand around it, is not in the request.
    #[error("the request has nothing at its place")]
    NoTarget,
    /// The value is not JSON, or is `null`, with which the platform's contract does not say what happens.
    #[error("its value is not JSON, or is null")]
    Value,
    /// Less lifetime than the platform can say. The next stricter thing is a denial, and the pipeline makes
    /// it one.
    #[error("it leaves less lifetime than the platform accepts")]
    TooShort,
    /// Two changes that exclude each other.
    #[error("it excludes an earlier change")]
    Conflict,
    /// Longer than the platform accepts.
    #[error("the answer would be longer than the platform accepts")]
    TooLong,
    /// An obligation, where nothing makes the caller carry it out: a permission with it would be one without.
    #[error("it is an obligation, and nothing makes the caller carry it out")]
    Obligation,
}

/// What happens on a hook when there is no decision: budget exhausted, trap, bad output, conflict, record not
/// durable, no active release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// The answer that stops.
    Closed,
    /// The least that lets care go on, for these applications; all others are stopped. See
    /// [`HookKind::offers_restricted`].
    Restricted {
        /// The platform's client ids.
        applications: Vec<String>,
    },
    /// The platform's default.
    Open,
}

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

impl RenderError {
    /// The code in records.
    pub fn code(&self) -> &'static str {
        Cause::UnsupportedChange.code()
    }

    /// Returns the hint: what to do about it.
    pub fn hint(&self) -> Option<String> {
        match self.why {
            RenderErrorKind::Kind => {
                Some("run `portcullis check`, which names what this hook kind supports".into())
            }
            RenderErrorKind::Place => Some(
                "let the change name one claim or profile member, and use `cap-lifetime` for \
                 lifetimes"
                    .into(),
            ),
            RenderErrorKind::Reserved => Some("let the plugin use another name".into()),
            RenderErrorKind::NoTarget => Some("let the plugin read the place first".into()),
            RenderErrorKind::Value => Some("let the plugin remove it instead".into()),
            RenderErrorKind::TooShort => Some("let the plugin deny".into()),
            RenderErrorKind::Obligation => {
                Some("make the statement advice, or let the plugin deny".into())
            }
            RenderErrorKind::Conflict | RenderErrorKind::TooLong => None,
        }
    }
}

#[cfg(test)]
mod tests;
