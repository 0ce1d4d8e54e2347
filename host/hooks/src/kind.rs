//! Hook kinds: which platform's hook a request is for.
//!
//! Invariant: one name, one adapter each; everything else that differs by kind is asked of the adapter.

use std::time::Duration;

use portcullis_model::Effect;

use crate::adapter::{Adapter, Reactions, Repeats};
use crate::{authzen, generic, okta, ping};

/// A hook kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HookKind {
    /// Okta's token inline hook: a custom authorization server is about to issue tokens.
    OktaToken,
    /// Okta's user import inline hook: an application's user is about to be imported.
    OktaUserImport,
    /// Ping's sideband API: a gateway asks about a request on its way, and about the response on its way back.
    PingSideband,
    /// PingAuthorize's JSON PDP API: policy decisions, single and in batches.
    PingPdp,
    /// OpenID AuthZEN Authorization API 1.0.
    Authzen,
    /// JSON in a shape that the operator maps.
    Generic,
}

impl HookKind {
    /// Every hook kind.
    pub const ALL: [Self; 6] =
        [Self::OktaToken, Self::OktaUserImport, Self::PingSideband, Self::PingPdp, Self::Authzen, Self::Generic];

    /// The name in manifests, release sets, settings and records.
    pub fn name(self) -> &'static str {
        match self {
            Self::OktaToken => "okta.token",
            Self::OktaUserImport => "okta.user-import",
            Self::PingSideband => "ping.sideband",
            Self::PingPdp => "ping.pdp",
            Self::Authzen => "authzen",
            Self::Generic => "generic",
        }
    }

    /// Its adapter.
    pub(crate) fn adapter(self) -> &'static dyn Adapter {
        match self {
            Self::OktaToken => &okta::token::Token,
            Self::OktaUserImport => &okta::import::Import,
            Self::PingSideband => &ping::sideband::Sideband,
            Self::PingPdp => &ping::pdp::Pdp,
            Self::Authzen => &authzen::Authzen,
            Self::Generic => &generic::Generic,
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

    /// Whether the platform goes on at that verdict. Where it asks us whether it may, nothing said is no permission.
    pub fn permits(self, verdict: Effect) -> bool {
        self.adapter().permits(verdict)
    }

    /// What the platform does when it does not get an answer that it understands.
    pub fn reactions(self) -> Reactions {
        self.adapter().reactions()
    }

    /// The request's header that every answer repeats, where the contract wants one.
    pub fn echoed_header(self) -> Option<&'static str> {
        self.adapter().echoed_header()
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
