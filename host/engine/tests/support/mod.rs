//! What the example and the tests with real plugins share: a call to make many times, and a count of page faults.

use std::fs;

use portcullis_model::{
    Attribute, Grant, GrantKind, Lifetime, Millis, PrincipalKind, PrincipalView, Target, Text, View,
};

/// Somebody with 60 entitlements and 8 attributes, as in the design's figures.
pub struct Person {
    attributes: Vec<Attribute>,
    entitlements: Vec<Text>,
    requested: Vec<Grant>,
    lifetimes: Vec<Lifetime>,
}

impl Person {
    /// Entitlements `entitlement-0` to `entitlement-59`.
    pub fn new() -> Self {
        let attribute = |n: usize| Attribute {
            name: format!("attribute{n}").into(),
            value: format!("\"value {n}\"").into(),
        };
        Self {
            attributes: (0..8).map(attribute).collect(),
            entitlements: (0..60).map(|n| format!("entitlement-{n}").into()).collect(),
            requested: vec![Grant { kind: GrantKind::Scope, id: "openid".into() }],
            lifetimes: vec![Lifetime {
                target: Target::AccessToken,
                seconds: 3_600,
                least: 300,
                most: 86_400,
            }],
        }
    }

    /// Their signing in.
    pub fn view(&self) -> View<'_> {
        View {
            id: "event",
            correlation: None,
            tenant: "default",
            hook: "okta.token",
            phase: None,
            received: Millis(1_700_000_000_000),
            seed: 1,
            subject: Some(PrincipalView {
                kind: PrincipalKind::Person,
                type_name: "user",
                id: Some("00u1"),
                attributes: self.attributes.iter().collect(),
                entitlements: &self.entitlements,
            }),
            actors: Vec::new(),
            action: None,
            resource: None,
            requested: &self.requested,
            lifetimes: &self.lifetimes,
            origin: None,
            purpose: None,
            proposed: &[],
            payload: "null".into(),
        }
    }
}

/// Page faults of this thread that needed no disk; `None` where the system does not tell.
pub fn minor_faults() -> Option<u64> {
    let stat = fs::read_to_string("/proc/thread-self/stat").ok()?;
    // proc(5): the second field is a name in parentheses, which may hold spaces; `minflt` is the eighth after it.
    stat.rsplit_once(')')?.1.split_whitespace().nth(7)?.parse().ok()
}
