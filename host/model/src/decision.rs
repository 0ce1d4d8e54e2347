//! Decisions: what one plugin found and wants. The host derives the verdict.
//!
//! Invariant: effects are ordered, and the strictest among a call's findings is its verdict.

use crate::call::Attribute;
use crate::change::Change;

/// How strict a finding is; ordered, strictest last.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Nothing to say.
    #[default]
    Abstain,
    /// Let it go on.
    Allow,
    /// Ask for a stronger proof first.
    StepUp,
    /// Let a named person look first.
    Review,
    /// Stop it.
    Deny,
}

/// How bad a finding is, for people.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth a line.
    Info,
    /// Small.
    Low,
    /// Middling.
    Medium,
    /// Serious.
    High,
    /// Wake somebody.
    Critical,
}

/// Whether a binding's decisions bind.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Recorded.
    Monitor,
    /// Recorded and put before a person to act on.
    Advise,
    /// Reaches the answer, and only its failures do.
    Enforce,
}

/// One thing a plugin found.
#[derive(Clone, PartialEq, Eq)]
pub struct Finding {
    /// A code of the manifest's message catalogue.
    pub code: String,
    /// How strict.
    pub effect: Effect,
    /// How bad.
    pub severity: Severity,
    /// What fills the message. May name people: sealed.
    pub arguments: Vec<Attribute>,
    /// Which form field it is about, where the hook has a form.
    pub field: Option<String>,
}

/// What one plugin decided.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// What it found.
    pub findings: Vec<Finding>,
    /// What it wants changed.
    pub changes: Vec<Change>,
    /// How risky, 0 to 100.
    pub risk: Option<u8>,
}

impl Decision {
    /// The strictest effect among the findings.
    pub fn verdict(&self) -> Effect {
        self.findings.iter().map(|finding| finding.effect).max().unwrap_or_default()
    }
}

impl Effect {
    /// Every effect, mildest first.
    pub const ALL: [Self; 5] = [Self::Abstain, Self::Allow, Self::StepUp, Self::Review, Self::Deny];

    /// The word in manifests, records and `wit/policy.wit`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Abstain => "abstain",
            Self::Allow => "allow",
            Self::StepUp => "step-up",
            Self::Review => "review",
            Self::Deny => "deny",
        }
    }
}

impl Severity {
    /// The word in records and `wit/policy.wit`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl Mode {
    /// The word in release sets and records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Monitor => "monitor",
            Self::Advise => "advise",
            Self::Enforce => "enforce",
        }
    }
}
