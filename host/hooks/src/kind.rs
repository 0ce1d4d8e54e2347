//! Hook kinds: which platform's hook a request is for.
//!
//! Invariant: everything that differs by hook kind is asked of [`HookKind`] or of [`say`](crate::say),
//! nowhere else.

use std::time::Duration;

/// A hook kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HookKind {
    /// Okta's token inline hook: a custom authorization server is about to issue tokens.
    OktaToken,
    /// Okta's user import inline hook: an application's user is about to be imported.
    OktaUserImport,
}

impl HookKind {
    /// Every hook kind.
    pub const ALL: [Self; 2] = [Self::OktaToken, Self::OktaUserImport];

    /// The name in manifests, release sets, settings and records.
    pub fn name(self) -> &'static str {
        match self {
            Self::OktaToken => "okta.token",
            Self::OktaUserImport => "okta.user-import",
        }
    }

    /// The hook kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// How long the platform waits before it goes on without us. Okta: 3 s (inline hook concepts, time-out
    /// behaviour).
    pub fn platform_limit(self) -> Duration {
        match self {
            Self::OktaToken | Self::OktaUserImport => Duration::from_secs(3),
        }
    }

    /// The budget of a hook that sets none: well under the platform's limit, so that the network has its
    /// share.
    pub fn default_budget(self) -> Duration {
        match self {
            Self::OktaToken | Self::OktaUserImport => Duration::from_secs(2),
        }
    }

    /// Whether [`OnFailure::Restricted`](crate::OnFailure::Restricted) means something here; elsewhere it is
    /// as closed.
    pub fn offers_restricted(self) -> bool {
        self == Self::OktaToken
    }

    /// Where the body lists what the subject holds, unless the hook says otherwise: JSON Pointers.
    pub fn default_entitlements(self) -> &'static [&'static str] {
        match self {
            Self::OktaToken => &[
                "/data/access/claims/groups",
                "/data/access/claims/roles",
                "/data/access/claims/entitlements",
                "/data/identity/claims/groups",
                "/data/identity/claims/roles",
                "/data/identity/claims/entitlements",
            ],
            Self::OktaUserImport => &[],
        }
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
        assert_eq!(HookKind::from_name("okta.saml"), None);
    }
}
