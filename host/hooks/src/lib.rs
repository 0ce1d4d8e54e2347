//! The wire contracts of identity platforms: bytes to model and back.
//!
//! Invariant: pure functions. Requests are read tolerantly, answers are written strictly: what a platform
//! would refuse as a whole, and then go on as if nothing had been said, never leaves. No I/O, no clock, no
//! plugin; who calls, and whether to believe it, is the server's business.

mod answer;
mod kind;
mod okta;
pub mod say;

use portcullis_model::{Call, Cause, Change, ChangeKind, Effect, Millis, Party};

pub use answer::{Answer, Reference};
pub use kind::HookKind;

/// A request that could be read. Without `Debug`: it names people.
#[derive(Clone)]
pub struct Incoming {
    /// It, in words that no platform owns. `received`, `seed` and `tenant` are those of the [`Frame`].
    pub call: Call,
}

/// What the server knows about a call before the body is read.
pub struct Frame {
    /// The tenant.
    pub tenant: String,
    /// When it was received.
    pub received: Millis,
    /// The plugins' only randomness.
    pub seed: u64,
    /// JSON Pointers into the body to what the subject holds already: lists of strings, or a string. Where it
    /// is empty, [`HookKind::default_entitlements`].
    pub entitlements: Vec<String>,
}

/// Caller: a request that cannot be read. Holds nothing of the body but the event id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request is refused: {}: {detail}", cause.code())]
pub struct Malformed {
    /// One of the causes that name the caller.
    pub cause: Cause,
    /// What was wrong, in words of this file, such as the member with the wrong type.
    pub detail: &'static str,
    /// The platform's event id, where it could be read and looks like one.
    pub event: Option<String>,
}

/// What to answer, after combination and mapping.
pub struct Outcome<'a> {
    /// The strictest effect. One that this hook kind cannot say, and that the binding maps, is said as it is
    /// mapped.
    pub verdict: Effect,
    /// The merged changes, without those that the binding maps.
    pub changes: &'a [Change],
    /// Text for people, from the message catalogue.
    pub text: Option<&'a str>,
}

/// Plugin: a change that the platform would refuse, or that cannot be said in this answer. Repeats nothing
/// that the plugin wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{why}", change.map(|(at, kind)| format!("change {at}, a `{kind}`: ")).unwrap_or_default())]
pub struct Unsayable {
    /// Which one, counted from 1, and of which kind; nothing where it is the answer as a whole.
    pub change: Option<(usize, ChangeKind)>,
    /// Why.
    pub why: Why,
}

/// Why a change is unsayable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// This hook kind has no words for it; see [`say::change`].
    #[error("this hook kind cannot say it")]
    Kind,
    /// The request has no such token.
    #[error("that token is not being issued")]
    NoToken,
    /// Not a place that can be changed.
    #[error("its place is none that this hook kind lets change")]
    Place,
    /// A claim that the platform keeps for itself.
    #[error("the platform reserves that claim")]
    Reserved,
    /// The place, or what would have to stand around it, is not in the request.
    #[error("there is nothing at its place in the request")]
    NoTarget,
    /// The value is not JSON, or is `null`, with which the platform's contract does not say what happens.
    #[error("its value is not json, or is null")]
    Value,
    /// Less lifetime than the platform can say. The next stricter thing is a denial, and the pipeline makes
    /// it one.
    #[error("it leaves less lifetime than the platform can say")]
    TooShort,
    /// Two changes that exclude each other.
    #[error("it excludes an earlier change")]
    Conflict,
    /// Longer than the platform accepts.
    #[error("the answer would be longer than the platform accepts")]
    TooLong,
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

/// Reads a request.
///
/// # Errors
/// [`Malformed`], with the cause to count and answer it by.
pub fn parse(kind: HookKind, body: &[u8], frame: &Frame) -> Result<Incoming, Malformed> {
    let call = match kind {
        HookKind::OktaToken => okta::token::parse(body, frame),
        HookKind::OktaUserImport => okta::import::parse(body, frame),
    }?;
    Ok(Incoming { call })
}

/// Writes an answer, without the record's reference.
///
/// # Errors
/// [`Unsayable`] where the platform would not do all of what the outcome wants. The server then sends the
/// [`safe_answer`] with [`Cause::Unsayable`], or denies where it is [`Why::TooShort`].
pub fn render(kind: HookKind, incoming: &Incoming, outcome: &Outcome<'_>) -> Result<Answer, Unsayable> {
    match kind {
        HookKind::OktaToken => okta::token::render(&incoming.call, outcome),
        HookKind::OktaUserImport => okta::import::render(outcome),
    }
}

/// The answer where there is no decision. `incoming` is the request, where it could be read.
pub fn safe_answer(kind: HookKind, on_failure: &OnFailure, cause: Cause, incoming: Option<&Incoming>) -> Answer {
    if *on_failure == OnFailure::Open {
        // Whoever cannot prove to be the platform learns nothing from the platform's default, and the
        // platform itself, with a wrong secret, treats a 401 as that default.
        return if cause == Cause::CallerUnproven { Answer::unauthorized() } else { okta::go_on() };
    }
    let call = incoming.map(|incoming| &incoming.call);
    match (kind, on_failure, call) {
        (HookKind::OktaToken, OnFailure::Restricted { applications }, Some(call)) // Where the request itself is wrong, nobody is owed a way around.
            if cause.party() != Party::Caller => {
            okta::token::restricted(call, applications).unwrap_or_else(|| okta::stop(okta::token::UNCHECKED))
        }
        (HookKind::OktaToken, ..) => okta::stop(okta::token::UNCHECKED),
        (HookKind::OktaUserImport, ..) => okta::stop(okta::import::UNCHECKED),
    }
}

impl Malformed {
    /// The code in metrics and logs.
    pub fn code(&self) -> &'static str {
        self.cause.code()
    }
}

impl Unsayable {
    /// The code in records.
    pub fn code(&self) -> &'static str {
        Cause::Unsayable.code()
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self.why {
            Why::Kind => Some("run `portcullis check`, which names what this hook kind can say".into()),
            Why::NoToken => Some("let the plugin look at `lifetimes`, which names the tokens being issued".into()),
            Why::Place => {
                Some("let it name one claim or profile member; lifetimes are capped by `cap-lifetime`".into())
            }
            Why::Reserved => Some("let the plugin use a claim with another name".into()),
            Why::NoTarget => Some("let the plugin read the place first".into()),
            Why::Value => Some("let the plugin remove it instead".into()),
            Why::TooShort => Some("let the plugin deny".into()),
            Why::Conflict | Why::TooLong => None,
        }
    }
}

#[cfg(test)]
mod tests;
