//! The support of a hook kind for an effect or a change, as its adapter states it.
//!
//! Invariant: a fallback is named by the binding and never chosen here. The table of all hook kinds
//! is `capabilities`.

use portcullis_model::Effect;

/// The support of a hook kind for an effect or a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// The platform has words for it: how.
    Native(&'static str),
    /// It has none, and the binding must name which of these it becomes: why.
    Fallback(&'static [FallbackTo], &'static str),
    /// It has none, and nothing comes near: why.
    Unsupported(&'static str),
}

/// The possible targets of a fallback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FallbackTo {
    /// The answer that stops.
    Deny,
    /// An `error` that the platform logs; it goes on nevertheless.
    Report,
    /// A line of our own record; the platform is told nothing.
    Record,
}

impl FallbackTo {
    /// The word in a binding's mapping.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Report => "report",
            Self::Record => "record",
        }
    }

    /// The verdict that stands for it in an [`Outcome`](crate::Outcome): on every hook kind, the
    /// strictest thing it can say.
    pub fn verdict(self) -> Effect {
        match self {
            Self::Deny | Self::Report | Self::Record => Effect::Deny,
        }
    }
}

/// Returns how every hook kind carries out a waiver.
pub(crate) fn waived() -> Support {
    Support::Native(
        "the host sets the findings aside before it answers, and records them as `waived`",
    )
}
