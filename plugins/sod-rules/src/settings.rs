//! The settings, as `settings.schema.json` describes them.
//!
//! Invariant: this file has the shape only; `compiled.rs` checks whether the parts fit together. A
//! member that a person may forget is optional here, so that its absence is named by its own path.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

use crate::unique::unique;

/// Settings of one binding.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Function name → the entitlements that give it.
    #[serde(default, deserialize_with = "unique")]
    pub functions: BTreeMap<String, Vec<String>>,
    /// Role name → the entitlements and roles it contains.
    #[serde(default, deserialize_with = "unique")]
    pub roles: BTreeMap<String, Vec<String>>,
    /// The rules.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// Exceptions from them.
    #[serde(default)]
    pub exceptions: Vec<Exception>,
    /// The consequence of a conflict from before the call.
    #[serde(default)]
    pub existing: Existing,
    /// The reference tables that are looked up.
    #[serde(default)]
    pub tables: TableNames,
}

/// The consequence of a conflict that the subject had before this call.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Existing {
    /// Record it and go on.
    Report,
    /// A person looks at it, unless the rule asks for less.
    #[default]
    Review,
    /// As if it were new: the rule's own action.
    Enforce,
}

/// One rule.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Its name.
    pub id: String,
    /// Its form.
    pub kind: RuleKind,
    /// A function of a pair.
    pub a: Option<String>,
    /// The other function of a pair.
    pub b: Option<String>,
    /// The functions of a rule about cardinality.
    pub set: Option<Vec<String>>,
    /// How many of these are too many.
    pub at_least: Option<u32>,
    /// Where it applies; everywhere without.
    pub scope: Option<Scope>,
    /// How bad a conflict is.
    #[serde(default)]
    pub severity: Severity,
    /// The consequence of a new conflict.
    #[serde(default)]
    pub action: Action,
    /// Who answers for it.
    pub owner: Option<String>,
    /// From then on it only reports.
    pub expires: Option<Timestamp>,
}

/// The form of a rule.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuleKind {
    /// Functions `a` and `b`.
    Pair,
    /// `at_least` functions of `set`.
    Cardinality,
}

/// Where a rule applies.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// Whose attribute it is.
    #[serde(default)]
    pub of: Of,
    /// The attribute's name.
    pub attribute: String,
    /// The rule applies where the attribute is one of these.
    pub values: Vec<String>,
}

/// Whose attribute a scope is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Of {
    /// The subject's.
    #[default]
    Subject,
    /// The resource's.
    Resource,
}

/// The consequence of a new conflict, from the mildest to the strictest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Report only.
    Allow,
    /// A second factor is needed.
    StepUp,
    /// A person looks at it.
    Review,
    /// Refused.
    #[default]
    Deny,
}

/// How bad a conflict is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Severity {
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
pub struct Exception {
    /// The rule's id.
    pub rule: String,
    /// The platform's id of the person.
    pub subject: String,
    /// Its end.
    pub until: Option<Timestamp>,
    /// Who approved it.
    pub approver: Option<String>,
    /// The compensating control.
    pub control: Option<String>,
}

/// The names of the reference tables that are looked up.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableNames {
    /// Exceptions, by person.
    pub exceptions: Option<String>,
    /// Pairs of entitlements that nobody may hold together.
    pub matrix: Option<String>,
    /// The entitlements and roles that a role contains.
    pub roles: Option<String>,
}

impl TableNames {
    /// Whether no table is looked up.
    pub fn is_empty(&self) -> bool {
        self.exceptions.is_none() && self.matrix.is_none() && self.roles.is_none()
    }
}

impl Action {
    /// The word in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::StepUp => "step-up",
            Self::Review => "review",
            Self::Deny => "deny",
        }
    }

    /// The action that a word names.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Allow, Self::StepUp, Self::Review, Self::Deny]
            .into_iter()
            .find(|action| action.name() == name)
    }
}

impl Severity {
    /// The word in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// The severity that a word names.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Info, Self::Low, Self::Medium, Self::High, Self::Critical]
            .into_iter()
            .find(|severity| severity.name() == name)
    }
}
