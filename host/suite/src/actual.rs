//! The result of one test call.
//!
//! Invariant: a fault keeps its stable code. What was expected is in `expect`.

use std::fmt::Display;

use portcullis_engine::Fault;
use portcullis_model::{Decision, SearchPage};

/// The result of one call. Without `Debug`: it may name people.
#[derive(Clone)]
pub enum Actual {
    /// A decision that the manifest allows.
    Decision(Decision),
    /// Search results.
    Found(SearchPage),
    /// There is no decision.
    Fault {
        /// The stable code.
        code: &'static str,
        /// A sentence.
        detail: String,
    },
    /// The settings were refused.
    Refused(Vec<String>),
    /// The settings were taken, and nothing was asked.
    Accepted,
    /// There was no time left.
    NotTried,
}

impl Actual {
    pub(crate) fn fault(code: &'static str, detail: impl Display) -> Self {
        Self::Fault { code, detail: detail.to_string() }
    }

    pub(crate) fn failed(fault: &Fault) -> Self {
        // Its author reads this, who may see what it says of fixtures.
        match fault {
            Fault::Error(text) => Self::fault(fault.code(), text.expose()),
            _ => Self::fault(fault.code(), fault),
        }
    }

    pub(crate) fn what(&self) -> String {
        match self {
            Self::Decision(_) => "a decision".to_owned(),
            Self::Found(_) => "search results".to_owned(),
            Self::Fault { code, detail } => format!("a failure, `{code}` ({detail})"),
            Self::Refused(complaints) => format!("refused settings ({})", complaints.join("; ")),
            Self::Accepted => "nothing wrong with the settings".to_owned(),
            Self::NotTried => "no time left".to_owned(),
        }
    }
}
