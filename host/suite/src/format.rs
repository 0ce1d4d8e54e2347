//! The shape of a suite, as its author writes it in TOML or YAML, and as a bundle has it in JSON.
//!
//! Invariant: an unknown member is refused wherever it stands, and this file says only the shape; what must hold between the parts is checked
//! in `plan.rs`. Whatever is left out means what its documentation says.

use std::collections::BTreeMap;

use portcullis_model::Effect;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::call_text::CallText;
use crate::fixture_text::{CountsText, MemoryText, RemembersText, TableStateText, TableText};
use crate::seconds::Seconds;
use crate::values::{ChangeText, FindingText, Names};

/// A suite: fixtures, and cases that use them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// What it is about.
    pub name: String,
    /// More about that.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    #[serde(default)]
    pub(crate) defaults: Defaults,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) settings: BTreeMap<String, Source>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) principals: BTreeMap<String, PrincipalText>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) actions: BTreeMap<String, EntityText>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) resources: BTreeMap<String, EntityText>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) payloads: BTreeMap<String, Source>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) calls: BTreeMap<String, CallText>,
    /// Reference tables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) tables: BTreeMap<String, TableText>,
    #[serde(default, rename = "case", skip_serializing_if = "Vec::is_empty")]
    pub(crate) cases: Vec<CaseText>,
    #[serde(default, rename = "matrix", skip_serializing_if = "Vec::is_empty")]
    pub(crate) matrices: Vec<MatrixText>,
    #[serde(default)]
    pub(crate) coverage: CoverageText,
}

/// What a case is unless it says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Defaults {
    /// The hook kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hook: Option<String>,
    /// The name of a call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// The clock, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received: Option<String>,
    /// The randomness; 0 where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The name of the settings; `default` where nothing is said and there are some of that name, else `{}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<String>,
}

/// JSON from somewhere: exactly one of the three.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Source {
    /// A file's name, relative to the suite's, without `..`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The text itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The value itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PrincipalText {
    #[serde(default)]
    pub kind: PrincipalKindText,
    /// The platform's own word.
    #[serde(default = "user", rename = "type")]
    pub type_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entitlements: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PrincipalKindText {
    #[default]
    Person,
    Service,
    Agent,
    Device,
    Other,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EntityText {
    #[serde(rename = "type")]
    pub type_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, Value>,
}

/// One call and what is expected of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CaseText {
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The name of a call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// The subject: the name of a principal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<String>,
    /// Members of the call that differ from the named one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<CallText>,
    /// What is put into the payload first, by JSON Pointer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, Value>,
    /// Tables that differ from the suite's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tables: BTreeMap<String, TableStateText>,
    /// What is in memory before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub memory: Vec<MemoryText>,
    /// Several calls, one after the other, instead of one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepText>,
    /// Missing where there are steps, which expect each something of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<ExpectText>,
}

/// One call of a case with several. What it leaves out is as the case says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StepText {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The time that passes before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Seconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub with: Option<CallText>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, Value>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tables: BTreeMap<String, TableStateText>,
    pub expect: ExpectText,
}

/// Every combination of what is named, and what is expected of each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MatrixText {
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub principals: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub received: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<CallText>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, Value>,
    /// Tables that differ from the suite's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tables: BTreeMap<String, TableStateText>,
    /// What is in memory before each combination.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub memory: Vec<MemoryText>,
    /// The first row that fits a combination says what is expected of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expect: Vec<RowText>,
    /// What is expected of those that no row fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub otherwise: Option<ExpectText>,
}

/// Which combinations, and what is expected of them. What is left out may be anything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RowText {
    #[serde(default, skip_serializing_if = "Names::is_any")]
    pub call: Names,
    #[serde(default, skip_serializing_if = "Names::is_any")]
    pub principal: Names,
    #[serde(default, skip_serializing_if = "Names::is_any")]
    pub action: Names,
    #[serde(default, skip_serializing_if = "Names::is_any")]
    pub resource: Names,
    #[serde(default, skip_serializing_if = "Names::is_any")]
    pub received: Names,
    #[serde(default, skip_serializing_if = "Names::is_any")]
    pub settings: Names,
    pub then: ExpectText,
}

/// What is expected.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ExpectText {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Effect>,
    /// Exactly these, in any order. Not looked at where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub findings: Option<Vec<FindingText>>,
    /// Exactly these, in any order. None where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<Vec<ChangeText>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub risk: Option<u8>,
    /// The ids that a search finds, in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<Vec<String>>,
    /// The code of the failure that there is instead of a decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// The settings are refused, and each of these stands in what is said of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<Vec<String>>,
    /// Values in memory after the call.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remembers: Vec<RemembersText>,
    /// Counts in memory after the call.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub counts: Vec<CountsText>,
}

/// What a suite promises to reach, and how rules are known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CoverageText {
    /// What must be reached whole.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub demand: Vec<Aspect>,
    /// What need not be: codes, changes, rules, paths.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<RulesText>,
}

/// What coverage is counted of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Aspect {
    /// Hook kinds of the manifest.
    Hooks,
    /// Finding codes that have messages.
    Codes,
    /// Effects in `emits`.
    Effects,
    /// Changes in `emits`.
    Changes,
    /// Paths in `reads`: there in some call, and of weight in some decision.
    Reads,
    /// Rules in the settings.
    Rules,
}

/// Where rules stand in settings, and how findings name them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RulesText {
    /// A JSON Pointer to their names, in which `*` stands for every element or member.
    pub settings: String,
    /// The argument of findings that names a rule.
    pub argument: String,
}

fn user() -> String {
    "user".to_owned()
}
