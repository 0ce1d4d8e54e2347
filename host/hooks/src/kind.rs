//! Hook kinds: which platform's hook a request is for.
//!
//! Invariant: one name, one adapter each; everything else that differs by kind is asked of the adapter.

use std::time::Duration;

use portcullis_model::Effect;

use crate::adapter::{Adapter, DedupPolicy, FailureBehaviour, Methods, Need};
use crate::request::HookSettings;
use crate::{authzen, entra, generic, inputs, okta, ping};

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
    pub const ALL: [Self; 20] = [
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
            Self::PingSideband => "ping.sideband",
            Self::PingPdp => "ping.pdp",
            Self::Authzen => "authzen",
            Self::Generic => "generic",
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
            Self::EntraTokenIssuanceStart => &entra::token_issuance::TokenIssuance,
            Self::EntraAttributeCollectionStart => &entra::attribute_collection::START,
            Self::EntraAttributeCollectionSubmit => &entra::attribute_collection::SUBMIT,
            Self::EntraOtpSend => &entra::otp_send::OtpSend,
            Self::EntraPasswordSubmit => &entra::password_submit::PasswordSubmit,
            Self::EntraVerifiedId => &entra::verified_id::VerifiedId,
            Self::EntraPim => &entra::pim::Pim,
            Self::EntraEntitlement => &entra::entitlement::Entitlement,
            Self::EntraLifecycle => &entra::lifecycle::Lifecycle,
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

    /// The Okta hook kind whose requests have this `eventType`. `None` where the type is none of
    /// a hook that is known.
    pub fn from_event_type(event_type: &str) -> Option<Self> {
        okta::EVENT_TYPES.iter().find(|(known, _)| *known == event_type).map(|(_, kind)| *kind)
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

    /// Those of a manifest's `reads` or `requires` that no call of this kind ever has, whatever the
    /// platform sends, with these settings of the hook. A payload pointer of another kind is none
    /// of them: it is for that kind's calls.
    pub fn never_sends<'p>(
        self,
        settings: &HookSettings,
        paths: impl IntoIterator<Item = &'p str>,
    ) -> Vec<&'p str> {
        inputs::never_sent(self, settings, paths)
    }

    /// The members without which a request is refused, as their contract names them.
    pub fn required(self) -> &'static [&'static str] {
        self.adapter().required()
    }

    /// Whether the operator has to set that up, for the kind to work at all.
    pub fn needs(self, need: Need) -> bool {
        self.adapter().needs().contains(&need)
    }

    /// How a call is known again when the platform repeats it.
    pub fn dedup_policy(self) -> DedupPolicy {
        self.adapter().dedup_policy()
    }

    /// Whether the platform goes on at that verdict. Where it asks us whether it may, nothing said is no permission.
    pub fn is_permit(self, verdict: Effect) -> bool {
        self.adapter().is_permit(verdict)
    }

    /// What the platform does when it does not get an answer that it understands.
    pub fn failure_behaviour(self) -> FailureBehaviour {
        self.adapter().failure_behaviour()
    }

    /// The methods that a route answers.
    pub fn methods(self, route: &'static str) -> Methods {
        self.adapter().methods(route)
    }

    /// The request's header that every answer repeats, where the contract wants one.
    pub fn echoed_header(self) -> Option<&'static str> {
        self.adapter().echoed_header()
    }

    /// Whether an answer of this kind binds anybody; one that does not is asked of nobody's default.
    pub fn is_binding(self) -> bool {
        self.adapter().is_binding()
    }

    /// Whether the host may have a message to deliver before it answers.
    pub fn may_deliver(self) -> bool {
        self.adapter().may_deliver()
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

    #[test]
    fn every_okta_kind_has_one_event_type() {
        for kind in HookKind::ALL {
            let types = okta::EVENT_TYPES.iter().filter(|(_, of)| *of == kind).count();
            assert_eq!(types, usize::from(kind.name().starts_with("okta.")), "{kind:?}");
        }
        let token = HookKind::from_event_type("com.okta.oauth2.tokens.transform");
        assert_eq!(token, Some(HookKind::OktaToken));
        assert_eq!(HookKind::from_event_type("com.okta.oauth2.tokens.transform2"), None);
    }
}
