//! Hook kinds: which platform's hook a request is for.
//!
//! Invariant: one name each. Everything else that differs by kind is in its adapter; `adapters` has
//! the list.

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
    /// Entra's custom claims provider: a token or an assertion is about to be issued.
    EntraTokenIssuanceStart,
    /// Entra, somebody signs up: before the form.
    EntraAttributeCollectionStart,
    /// Entra, somebody signs up: after the form.
    EntraAttributeCollectionSubmit,
    /// Entra has made a one-time code that is to be sent by mail.
    EntraOtpSend,
    /// Entra asks whether a password of the old directory is right.
    EntraPasswordSubmit,
    /// Entra asks whether a Verified ID's claims are right, to recover an account.
    EntraVerifiedId,
    /// Entra's Privileged Identity Management is about to activate a role or a membership.
    EntraPim,
    /// Entra's entitlement management has a request for an access package.
    EntraEntitlement,
    /// Entra's lifecycle workflows run a custom task.
    EntraLifecycle,
    /// Rows of Entra's sign-in log, sent by a program of the operator: sign-ins have happened.
    EntraSignInLog,
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
    pub const ALL: [Self; 21] = [
        Self::OktaEvent,
        Self::OktaPasswordImport,
        Self::OktaRegistration,
        Self::OktaSaml,
        Self::OktaTelephony,
        Self::OktaToken,
        Self::OktaUserImport,
        Self::EntraTokenIssuanceStart,
        Self::EntraAttributeCollectionStart,
        Self::EntraAttributeCollectionSubmit,
        Self::EntraOtpSend,
        Self::EntraPasswordSubmit,
        Self::EntraVerifiedId,
        Self::EntraPim,
        Self::EntraEntitlement,
        Self::EntraLifecycle,
        Self::EntraSignInLog,
        Self::PingSideband,
        Self::PingPdp,
        Self::Authzen,
        Self::Generic,
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
            Self::EntraTokenIssuanceStart => "entra.token-issuance-start",
            Self::EntraAttributeCollectionStart => "entra.attribute-collection-start",
            Self::EntraAttributeCollectionSubmit => "entra.attribute-collection-submit",
            Self::EntraOtpSend => "entra.otp-send",
            Self::EntraPasswordSubmit => "entra.password-submit",
            Self::EntraVerifiedId => "entra.verified-id",
            Self::EntraPim => "entra.pim",
            Self::EntraEntitlement => "entra.entitlement",
            Self::EntraLifecycle => "entra.lifecycle",
            Self::EntraSignInLog => "entra.sign-in-log",
            Self::PingSideband => "ping.sideband",
            Self::PingPdp => "ping.pdp",
            Self::Authzen => "authzen",
            Self::Generic => "generic",
        }
    }

    /// The hook kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for kind in HookKind::ALL {
            assert_eq!(HookKind::from_name(kind.name()), Some(kind));
        }
        assert_eq!(HookKind::from_name("okta.nothing"), None);
    }
}
