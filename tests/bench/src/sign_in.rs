//! Somebody signs in: the call as a plugin sees it. What Okta sends for the load generator to repeat is `sign-in.json`.

use portcullis_model::{
    Attribute, Grant, GrantKind, Lifetime, Millis, PrincipalKind, PrincipalView, Target, Text, View,
};

/// A sign-in of somebody with these entitlements.
pub struct SignIn {
    attributes: Vec<Attribute>,
    entitlements: Vec<Text>,
    requested: Vec<Grant>,
    lifetimes: Vec<Lifetime>,
}

impl SignIn {
    /// Asks for `openid`, and for one role more if there is one.
    pub fn new(entitlements: Vec<String>, role: Option<String>) -> Self {
        let openid = Grant { kind: GrantKind::Scope, id: "openid".to_owned() };
        let role = role.map(|id| Grant { kind: GrantKind::Role, id });
        Self {
            attributes: vec![Attribute { name: "facility".into(), value: "\"north\"".into() }],
            entitlements: entitlements.into_iter().map(Text::from).collect(),
            requested: [openid].into_iter().chain(role).collect(),
            lifetimes: vec![Lifetime {
                target: Target::AccessToken,
                seconds: 3_600,
                least: 300,
                most: 86_400,
            }],
        }
    }

    /// With one attribute more.
    #[must_use]
    pub fn attribute(mut self, name: &str, text: &str) -> Self {
        self.attributes.push(Attribute { name: name.into(), value: format!("\"{text}\"").into() });
        self
    }

    /// What a plugin sees.
    pub fn view(&self) -> View<'_> {
        View {
            id: "event",
            correlation: None,
            tenant: "default",
            hook: "okta.token",
            phase: None,
            received: Millis(1_795_244_400_000),
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
