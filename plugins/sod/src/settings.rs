//! The settings, as `settings.schema.json` describes them.
//!
//! Invariant: this file only says the shape; what must hold between the parts is checked where they are compiled
//! (`compiled.rs`). Whatever a person may forget is optional here, so that its absence is named by its own path.

use std::collections::BTreeMap;

use jiff::Timestamp;
use portcullis_guest::{Effect, Severity};
use serde::Deserialize;

/// Settings of one binding.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Function name → the entitlements that give it.
    #[serde(deserialize_with = "portcullis_guest::unique")]
    pub(crate) functions: BTreeMap<String, Vec<String>>,
    /// Role name → the entitlements and roles it contains.
    #[serde(default, deserialize_with = "portcullis_guest::unique")]
    pub(crate) roles: BTreeMap<String, Vec<String>>,
    pub(crate) rules: Vec<Rule>,
    #[serde(default)]
    pub(crate) exceptions: Vec<Exception>,
    #[serde(default)]
    pub(crate) existing: Existing,
}

/// What to do about a conflict that the subject had before this call.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Existing {
    /// Record it and go on.
    Report,
    /// A person looks at it, unless the rule asks for less.
    #[default]
    Review,
    /// As if it were new: the rule's own action.
    Enforce,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    pub id: String,
    pub kind: Kind,
    pub a: Option<String>,
    pub b: Option<String>,
    pub set: Option<Vec<String>>,
    pub at_least: Option<u32>,
    pub scope: Option<Scope>,
    #[serde(default)]
    pub severity: Weight,
    #[serde(default)]
    pub action: Action,
    pub owner: Option<String>,
    pub expires: Option<Timestamp>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// Functions `a` and `b`.
    Pair,
    /// `at_least` functions of `set`.
    Cardinality,
}

/// Where a rule applies.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scope {
    #[serde(default)]
    pub of: Of,
    pub attribute: String,
    pub values: Vec<String>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Of {
    #[default]
    Subject,
    Resource,
}

/// What a new conflict means.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Action {
    #[default]
    Deny,
    Review,
    StepUp,
    /// Report only.
    Allow,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Weight {
    Info,
    Low,
    Medium,
    #[default]
    High,
    Critical,
}

/// A named person may have a conflict for a while.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exception {
    pub rule: String,
    pub subject: String,
    pub until: Option<Timestamp>,
    pub approver: Option<String>,
    pub control: Option<String>,
}

impl Action {
    pub fn effect(self) -> Effect {
        match self {
            Self::Deny => Effect::Deny,
            Self::Review => Effect::Review,
            Self::StepUp => Effect::StepUp,
            Self::Allow => Effect::Allow,
        }
    }
}

impl Weight {
    pub fn severity(self) -> Severity {
        match self {
            Self::Info => Severity::Info,
            Self::Low => Severity::Low,
            Self::Medium => Severity::Medium,
            Self::High => Severity::High,
            Self::Critical => Severity::Critical,
        }
    }
}
