//! The settings, as `settings.schema.json` describes them.
//!
//! Invariant: this file only says the shape; what must hold between the parts is checked where they are compiled
//! (`compiled.rs`, `directory.rs`, `condition.rs`, `hours.rs`).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// Settings of one binding.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Who answers for the rules that name nobody.
    pub(crate) owner: String,
    pub(crate) rules: Vec<Rule>,
    #[serde(default)]
    pub(crate) subjects: Vec<Subject>,
    #[serde(default)]
    pub(crate) resources: Vec<Resource>,
    #[serde(default)]
    pub(crate) actions: Vec<Action>,
    /// Role → the roles that it includes.
    #[serde(default, deserialize_with = "portcullis_guest::unique")]
    pub(crate) roles: BTreeMap<String, Vec<String>>,
    /// The subject's attributes whose values are roles.
    #[serde(default = "role_attributes")]
    pub(crate) role_attributes: Vec<String>,
    #[serde(default)]
    pub(crate) properties: Properties,
    #[serde(default)]
    pub(crate) otherwise: Otherwise,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Subject {
    #[serde(rename = "type")]
    pub type_name: String,
    pub id: String,
    pub roles: Option<Vec<String>>,
    #[serde(default, deserialize_with = "portcullis_guest::unique")]
    pub attributes: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Resource {
    #[serde(rename = "type")]
    pub type_name: String,
    pub id: String,
    #[serde(default, deserialize_with = "portcullis_guest::unique")]
    pub attributes: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Action {
    pub name: String,
    #[serde(default, deserialize_with = "portcullis_guest::unique")]
    pub attributes: BTreeMap<String, Value>,
}

/// What the attributes that come with a call count, beside those of the settings.
#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Properties {
    pub subject: Weight,
    pub resource: Weight,
    pub action: Weight,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Weight {
    /// Nothing.
    Ignore,
    /// They are all that is known of what the settings do not list, and nothing for what they list.
    Unlisted,
    /// They fill in what the settings do not say.
    Fill,
    /// They win.
    Override,
}

/// What is said where no rule applies.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Otherwise {
    #[default]
    Deny,
    Abstain,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    pub id: String,
    pub effect: RuleEffect,
    pub owner: Option<String>,
    #[serde(default)]
    pub subject: Who,
    #[serde(default)]
    pub action: What,
    #[serde(default)]
    pub resource: Which,
    #[serde(default)]
    pub when: Vec<Condition>,
    pub hours: Option<Hours>,
    pub from: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RuleEffect {
    Allow,
    Deny,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Who {
    pub types: Option<Vec<String>>,
    pub ids: Option<Vec<String>>,
    pub roles: Option<Vec<String>>,
    pub listed: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct What {
    pub names: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Which {
    pub types: Option<Vec<String>>,
    pub ids: Option<Vec<String>>,
    pub listed: Option<bool>,
}

/// One comparison: `what`, and exactly one of the others but `if_absent`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Condition {
    pub what: String,
    pub is: Option<Value>,
    pub is_not: Option<Value>,
    #[serde(rename = "in")]
    pub is_in: Option<Vec<Value>>,
    pub not_in: Option<Vec<Value>>,
    pub same_as: Option<String>,
    pub not_same_as: Option<String>,
    pub less_than: Option<Value>,
    pub at_most: Option<Value>,
    pub more_than: Option<Value>,
    pub at_least: Option<Value>,
    pub starts_with: Option<String>,
    pub present: Option<bool>,
    /// What the comparison comes to where something of it is absent.
    pub if_absent: Option<bool>,
}

/// When a rule applies, by the clock on somebody's wall.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hours {
    /// IANA name.
    pub zone: String,
    pub days: Option<Vec<Day>>,
    pub from: String,
    pub until: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// Who somebody is, and what something is, is for the settings to say; how an action is meant, for the call.
impl Default for Properties {
    fn default() -> Self {
        Self { subject: Weight::Unlisted, resource: Weight::Unlisted, action: Weight::Fill }
    }
}

fn role_attributes() -> Vec<String> {
    vec!["role".to_owned(), "roles".to_owned()]
}
