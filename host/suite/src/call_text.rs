//! A call, as the author of a suite writes it.
//!
//! Invariant: as in `format.rs`: this file says only the shape, and an unknown member is refused.

use std::collections::BTreeMap;

use portcullis_model::{GrantKind, Target};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::values::ChangeText;

/// A call: a payload that the hook kind's adapter reads, or the members of the model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CallText {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hook: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,

    /// The name of a payload: bytes as the platform sends them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// Which question of a payload that holds several, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub question: Option<usize>,
    /// Which of the hook kind's routes it came by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The request's headers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// What an operator sets for the hook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_up: Option<SetUpText>,

    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// The name of a principal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Names of principals, nearest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actors: Option<Vec<String>>,
    /// The name of an action.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// The name of a resource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested: Option<Vec<GrantText>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetimes: Option<Vec<LifetimeText>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<OriginText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proposed: Option<Vec<ChangeText>>,
    /// The body, where the rest is said in words of the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
}

/// What an operator sets for a hook, as in its configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SetUpText {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entitlements: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GrantText {
    pub kind: GrantKind,
    pub id: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LifetimeText {
    pub target: Target,
    pub seconds: u32,
    #[serde(default)]
    pub least: u32,
    #[serde(default = "forever")]
    pub most: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct OriginText {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asn: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}

fn forever() -> u32 {
    u32::MAX
}
