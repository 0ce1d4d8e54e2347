//! The adapter of each hook kind, and the functions by which the host uses it.
//!
//! Invariant: [`HookKind::adapter`] is the only list of adapters; no other code of this crate
//! chooses by kind what an adapter can say. Adapters do not use this file.

use std::time::Duration;

use portcullis_model::{Cause, Change, ChangeKind, Effect, SearchPage, SearchTarget};

use crate::adapter::{Adapter, DedupPolicy, FailureBehaviour, Methods, Need};
use crate::answer::Answer;
use crate::kind::HookKind;
use crate::outcome::Outcome;
use crate::render_error::RenderError;
use crate::request::{
    BatchContext, HookRequest, HookSettings, OnFailure, ParseContext, ParseError, Parsed, Request,
    SafeAnswerInput,
};
use crate::side_effect::SideEffect;
use crate::{authzen, entra, generic, inputs, okta, ping};

impl HookKind {
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
            Self::EntraSignInLog => &entra::sign_in_log::SignInLog,
            Self::PingSideband => &ping::sideband::Sideband,
            Self::PingPdp => &ping::pdp::Pdp,
            Self::Authzen => &authzen::Authzen,
            Self::Generic => &generic::Generic,
        }
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

    /// Whether [`OnFailure::Restricted`] means something here; elsewhere it is as closed.
    pub fn offers_restricted(self) -> bool {
        self.adapter().offers_restricted()
    }

    /// The places in the body that list what the subject holds, unless the hook says otherwise:
    /// JSON Pointers.
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

    /// Whether the platform goes on at that verdict. Where it asks us whether it may, nothing said
    /// is no permission.
    pub fn is_permit(self, verdict: Effect) -> bool {
        self.adapter().is_permit(verdict)
    }

    /// The behaviour of the platform when it gets no answer that it understands.
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

    /// Whether an answer of this kind binds anybody; one that does not is asked of nobody's
    /// default.
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

/// Answers what needs neither a proof of the caller nor a decision.
pub fn preflight(kind: HookKind, request: &Request<'_>, settings: &HookSettings) -> Option<Answer> {
    kind.adapter().preflight(request, settings)
}

/// Reads a request.
///
/// # Errors
/// [`ParseError`], with the cause to count and answer it by.
pub fn read(
    kind: HookKind,
    request: &Request<'_>,
    frame: &ParseContext<'_>,
) -> Result<Parsed, ParseError> {
    kind.adapter().read(request, frame)
}

/// Writes an answer, without the record's reference.
///
/// # Errors
/// [`RenderError`] where the platform would not do all of what the outcome wants. The server then
/// sends the [`safe_answer`] with [`Cause::UnsupportedChange`], or denies where it is
/// [`RenderErrorKind::TooShort`](crate::RenderErrorKind::TooShort).
pub fn write(
    kind: HookKind,
    incoming: &HookRequest,
    outcome: &Outcome<'_>,
) -> Result<Answer, RenderError> {
    // A waiver has had its effect: no platform is told of it.
    if outcome.changes.iter().any(|change| matches!(change, Change::Waive(_))) {
        let changes: Vec<_> = outcome
            .changes
            .iter()
            .filter(|change| !matches!(change, Change::Waive(_)))
            .cloned()
            .collect();
        return kind.adapter().write(incoming, &Outcome { changes: &changes, ..*outcome });
    }
    kind.adapter().write(incoming, outcome)
}

/// The changes of an outcome that [`write()`] leaves out because what they would change is not
/// there.
pub fn skipped(kind: HookKind, incoming: &HookRequest, outcome: &Outcome<'_>) -> Vec<ChangeKind> {
    let skips = |change: &&Change| kind.adapter().skips(incoming, change);
    outcome.changes.iter().filter(skips).map(Change::kind).collect()
}

/// The work that the host does for the platform besides answering it.
pub fn side_effect(
    kind: HookKind,
    incoming: &HookRequest,
    outcome: &Outcome<'_>,
) -> Option<SideEffect> {
    kind.adapter().side_effect(incoming, outcome)
}

/// The answer where the platform was about to hear that somebody took its message, and nobody did:
/// what makes it send the message itself.
pub fn render_undelivered(kind: HookKind, incoming: &HookRequest) -> Answer {
    safe_answer(kind, &OnFailure::Closed, Cause::MessageUndelivered, Some(incoming))
}

/// One answer out of many, each as it was [written](write()) and has its reference.
pub fn render_batch(kind: HookKind, answers: &[Vec<u8>], batch: &BatchContext) -> Answer {
    kind.adapter().render_batch(answers, batch)
}

/// The question that a search asks about one candidate: what it would be if somebody asked about
/// that one alone.
pub fn with_candidate(
    kind: HookKind,
    search: &HookRequest,
    sought: SearchTarget,
    id: &str,
) -> HookRequest {
    kind.adapter().with_candidate(search, sought, id)
}

/// The answer to a search.
pub fn render_search(kind: HookKind, incoming: &HookRequest, found: &SearchPage) -> Answer {
    kind.adapter().render_search(incoming, found)
}

/// The answer where there is no decision.
pub fn write_safe_answer(kind: HookKind, refusal: &SafeAnswerInput<'_>) -> Answer {
    let SafeAnswerInput { on_failure, cause, incoming, .. } = *refusal;
    if let Some(answer) = kind.adapter().refuse(refusal) {
        return answer;
    }
    if *on_failure != OnFailure::Open {
        return kind.adapter().safe_answer(refusal);
    }
    // Whoever cannot prove to be the platform learns nothing from the platform's default, and the
    // platform itself, with a wrong secret, treats a 401 as that default.
    if cause == Cause::Unauthenticated {
        Answer::status(401)
    } else {
        kind.adapter().platform_default(incoming)
    }
}

/// The answer to a request that is wrong as HTTP (its path, method or head) where a plain status
/// could make the platform go on: the kind states its refusals in a 200, or its platform's
/// documents do not say that every failure stops and the kind has an answer with a body. `None`
/// where a plain status is right: on open hooks, on hooks that bind nobody, and where any failure
/// stops.
pub fn stop_answer(kind: HookKind, refusal: &SafeAnswerInput<'_>) -> Option<Answer> {
    if *refusal.on_failure == OnFailure::Open || !kind.is_binding() {
        return None;
    }
    let answer = write_safe_answer(kind, refusal);
    let told = !kind.failure_behaviour().always_stop() && !answer.body().is_empty();
    (answer.status < 300 || told).then_some(answer)
}

/// [`write_safe_answer`] on a hook that sets nothing for its kind.
pub fn safe_answer(
    kind: HookKind,
    on_failure: &OnFailure,
    cause: Cause,
    incoming: Option<&HookRequest>,
) -> Answer {
    let settings = HookSettings::default();
    write_safe_answer(
        kind,
        &SafeAnswerInput {
            settings: &settings,
            on_failure,
            cause,
            detail: "",
            route: "",
            incoming,
            reference: None,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_budgets_leave_room_for_the_network() {
        for kind in HookKind::ALL {
            assert!(kind.default_budget() < kind.platform_limit());
        }
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
