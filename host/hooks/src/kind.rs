//! Hook kinds: which platform's hook a request is for.
//!
//! Invariant: one name, one adapter each; everything else that differs by kind is asked of the adapter.

use std::time::Duration;

use crate::adapter::{Adapter, Reactions, Repeats};
use crate::okta;

/// A hook kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HookKind {
    /// Okta's event hook: things have happened.
    OktaEvent,
    /// Okta's password import inline hook: somebody signs in whose password is still elsewhere.
    OktaPasswordImport,
    /// Okta's registration inline hook: somebody is about to register, or to complete their profile.
    OktaRegistration,
    /// Okta's SAML assertion inline hook: an assertion is about to leave for an application.
    OktaSaml,
    /// Okta's telephony inline hook: a one-time code is about to be sent.
    OktaTelephony,
    /// Okta's token inline hook: a custom authorization server is about to issue tokens.
    OktaToken,
    /// Okta's user import inline hook: an application's user is about to be imported.
    OktaUserImport,
}

impl HookKind {
    /// Every hook kind.
    pub const ALL: [Self; 7] = [
        Self::OktaEvent,
        Self::OktaPasswordImport,
        Self::OktaRegistration,
        Self::OktaSaml,
        Self::OktaTelephony,
        Self::OktaToken,
        Self::OktaUserImport,
    ];

    /// The name in manifests, release sets, settings and records.
    pub fn name(self) -> &'static str {
        match self {
            Self::OktaEvent => "okta.event",
            Self::OktaPasswordImport => "okta.password-import",
            Self::OktaRegistration => "okta.registration",
            Self::OktaSaml => "okta.saml",
            Self::OktaTelephony => "okta.telephony",
            Self::OktaToken => "okta.token",
            Self::OktaUserImport => "okta.user-import",
        }
    }

    /// Its adapter.
    pub(crate) fn adapter(self) -> &'static dyn Adapter {
        match self {
            Self::OktaEvent => &okta::event::Event,
            Self::OktaPasswordImport => &okta::password::PasswordImport,
            Self::OktaRegistration => &okta::registration::Registration,
            Self::OktaSaml => &okta::saml::Saml,
            Self::OktaTelephony => &okta::telephony::Telephony,
            Self::OktaToken => &okta::token::Token,
            Self::OktaUserImport => &okta::import::Import,
        }
    }

    /// The hook kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// How long the platform waits before it goes on without us.
    pub fn platform_limit(self) -> Duration {
        self.adapter().platform_limit()
    }

    /// The budget of a hook that sets none.
    pub fn default_budget(self) -> Duration {
        self.adapter().default_budget()
    }

    /// Whether [`OnFailure::Restricted`](crate::OnFailure::Restricted) means something here; elsewhere it is as closed.
    pub fn offers_restricted(self) -> bool {
        self.adapter().offers_restricted()
    }

    /// Where the body lists what the subject holds, unless the hook says otherwise: JSON Pointers.
    pub fn default_entitlements(self) -> &'static [&'static str] {
        self.adapter().default_entitlements()
    }

    /// How a call is known again when the platform repeats it.
    pub fn repeats(self) -> Repeats {
        self.adapter().repeats()
    }

    /// What the platform does when it does not get an answer that it understands.
    pub fn reactions(self) -> Reactions {
        self.adapter().reactions()
    }

    /// The request's header that every answer repeats, where the contract wants one.
    pub fn echoed_header(self) -> Option<&'static str> {
        self.adapter().echoed_header()
    }

    /// Whether an answer of this kind binds anybody; one that does not is asked of nobody's default.
    pub fn binds(self) -> bool {
        self.adapter().binds()
    }

    /// Whether the host may have a message to deliver before it answers.
    pub fn delivers(self) -> bool {
        self.adapter().delivers()
    }

    /// Where the hook is reached, given its path: whole paths, and the route that each of them is.
    pub fn routes(self, path: &str) -> Vec<(String, &'static str)> {
        self.adapter().routes(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_budgets_leave_room() {
        for kind in HookKind::ALL {
            assert_eq!(HookKind::from_name(kind.name()), Some(kind));
            assert!(kind.default_budget() < kind.platform_limit());
        }
        assert_eq!(HookKind::from_name("okta.nothing"), None);
    }
}
