//! The error of an outcome that an answer cannot express.
//!
//! Invariant: it names the change and its kind, and repeats nothing that a plugin wrote.

use portcullis_model::{Cause, ChangeKind};

/// Plugin: a change that the platform would refuse, or that cannot be said in this answer. Repeats
/// nothing that the plugin wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{why}", change.map(|(at, kind)| format!("change {at}, a `{kind}`: ")).unwrap_or_default())]
pub struct RenderError {
    /// Which one, counted from 1, and of which kind; nothing where it is the answer as a whole.
    pub change: Option<(usize, ChangeKind)>,
    /// Why.
    pub why: RenderErrorKind,
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

/// Why a change is unsayable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderErrorKind {
    /// This hook kind has no words for it; see
    /// [`capabilities::change`](crate::capabilities::change).
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
    /// The value is not JSON, or is `null`, with which the platform's contract does not say what
    /// happens.
    #[error("its value is not JSON, or is null")]
    Value,
    /// Less lifetime than the platform can say. The next stricter thing is a denial, and the
    /// pipeline makes it one.
    #[error("it leaves less lifetime than the platform accepts")]
    TooShort,
    /// Two changes that exclude each other.
    #[error("it excludes an earlier change")]
    Conflict,
    /// Longer than the platform accepts.
    #[error("the answer would be longer than the platform accepts")]
    TooLong,
    /// An obligation, where nothing makes the caller carry it out: a permission with it would be
    /// one without.
    #[error("it is an obligation, and nothing makes the caller carry it out")]
    Obligation,
}
