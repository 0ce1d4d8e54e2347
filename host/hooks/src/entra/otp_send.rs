//! `entra.otp-send`: Entra has made a one-time code, and somebody has to send it by mail.
//!
//! Invariant: `continueWithDefaultBehavior` says that the code is on its way, so it is only said where the host is to deliver it; the
//! code is a secret of the call and stands nowhere else. Entra makes the code and checks it.
//!
//! Reading. The subject is who gets the code, by the address (`otpContext.identifier`). Names below
//! `data` are taken in any case, and the code is a secret wherever it stands. The action's
//! attribute `requestType` says what for (`signUp`, …).

use std::borrow::Cow;
use std::time::Duration;

use portcullis_model::json::{Value, escape_token};
use portcullis_model::{Cause, ChangeKind, Effect, Principal, PrincipalKind, hex, sha256};

use super::{
    BUDGET, DENIED, Event, LIMIT, Particulars, act, cased_object, cased_text, error, refused,
};
use crate::adapter::{Adapter, Behaviour, DedupPolicy, FailureBehaviour, Shown};
use crate::answer::Answer;
use crate::json_body::spelling;
use crate::side_effect::{Message, SideEffect};
use crate::support::{FallbackTo, Support};
use crate::{
    HookRequest, HookSettings, Outcome, ParseContext, ParseError, Parsed, RenderError,
    RenderErrorKind, Request, SafeAnswerInput,
};

/// The hook kind.
pub(crate) struct OtpSend;

impl Adapter for OtpSend {
    fn inputs(&self, _settings: &HookSettings) -> Vec<&'static str> {
        super::inputs(&["subject.id", "subject.entitlements"])
    }

    fn required(&self) -> &'static [&'static str] {
        &[
            "type",
            "source",
            "data",
            "data.@odata.type",
            "data.tenantId",
            "data.otpContext.identifier",
            "data.otpContext.oneTimeCode",
        ]
    }

    fn platform_limit(&self) -> Duration {
        LIMIT
    }

    fn default_budget(&self) -> Duration {
        BUDGET
    }

    fn failure_behaviour(&self) -> FailureBehaviour {
        let stops = Behaviour::FailsClosed(
            "no code is sent, unless the listener has `fallbackToMicrosoftProviderOnError`, with \
             which Microsoft sends it",
        );
        FailureBehaviour { empty: stops, client_error: stops, server_error: stops, timeout: stops }
    }

    fn shown(&self) -> Shown {
        Shown::Nobody("Entra shows an error of its own")
    }

    fn description(&self) -> &'static str {
        "The answer confirms the delivery, so the host delivers the code first; a code that could \
         not be delivered is answered 500. A denial is 403, and a closed hook refuses with 401, \
         400 or 500: no code is sent, unless the listener has \
         `fallbackToMicrosoftProviderOnError`, with which Microsoft sends it; do not set it if a \
         denial must hold. Restricted is not offered. Open: 500 too, because no code was sent: \
         Microsoft's own provider is the platform's default, if it is set."
    }

    fn may_deliver(&self) -> bool {
        true
    }

    fn dedup_policy(&self) -> DedupPolicy {
        DedupPolicy::ByIdAndBody
    }

    fn read(&self, request: &Request<'_>, frame: &ParseContext<'_>) -> Result<Parsed, ParseError> {
        let heading = EVENT.heading(request.body, frame)?;
        let body = heading.body();
        let context = cased_object(heading.data(), "otpContext");
        let address = cased_text(context, "identifier").filter(|address| !address.is_empty());
        let address = address
            .ok_or_else(|| body.refuse(Cause::SchemaMismatch, "data.otpContext.identifier"))?;
        let code = code_place(heading.data())
            .ok_or_else(|| body.refuse(Cause::SchemaMismatch, "data.otpContext.oneTimeCode"))?;
        let subject = Principal {
            kind: PrincipalKind::Person,
            type_name: "user".into(),
            id: Some(address),
            attributes: Vec::new(),
            entitlements: body.entitlements(&frame.settings.entitlements, &[])?,
        };
        let particulars =
            Particulars { subject: Some(subject), secrets: vec![code], ..Particulars::default() };
        Ok(Parsed::Single(heading.incoming(&EVENT, frame, particulars)))
    }

    fn write(&self, _incoming: &HookRequest, outcome: &Outcome<'_>) -> Result<Answer, RenderError> {
        if outcome.verdict > Effect::Allow {
            return Ok(error(403, &outcome.text_or(DENIED)));
        }
        match outcome.changes.first() {
            Some(change) => {
                Err(RenderError { change: Some((1, change.kind())), why: RenderErrorKind::Kind })
            }
            None => Ok(act("OnOtpSendResponseData", "OtpSend.continueWithDefaultBehavior", "")),
        }
    }

    fn safe_answer(&self, refusal: &SafeAnswerInput<'_>) -> Answer {
        let SafeAnswerInput { cause, .. } = *refusal;
        refused(cause)
    }

    fn platform_default(&self, _incoming: Option<&HookRequest>) -> Answer {
        error(500, "The code was not checked and not sent.")
    }

    fn side_effect(&self, incoming: &HookRequest, outcome: &Outcome<'_>) -> Option<SideEffect> {
        if outcome.verdict > Effect::Allow {
            return None;
        }
        let call = &incoming.call;
        let to = call.subject.as_ref()?.id.clone()?;
        let code = code_place(call.payload.root().get("data"))?;
        let code = spelling(call.payload.pointer(&code)?)?;
        let locale = call.payload.pointer("/data/authenticationContext/client/locale");
        let key = sha256(format!("{}\n{to}\n{code}", call.id).as_bytes());
        Some(SideEffect::Deliver(Message {
            channel: "email",
            to,
            code,
            text: None,
            locale: locale.and_then(Value::as_str).map(|locale| locale.into_owned()),
            expires: None,
            // A second code for the same sign-in is another message.
            key: hex(&key.0).chars().take(32).collect(),
        }))
    }

    fn effect_support(&self, effect: Effect) -> Support {
        match effect {
            Effect::Abstain | Effect::Allow => {
                Support::Native("the host delivers the code, then `continueWithDefaultBehavior`")
            }
            Effect::Deny => Support::Native(
                "403: no code is sent, unless the listener is set to fall back to Microsoft's provider",
            ),
            Effect::StepUp => Support::Fallback(&[FallbackTo::Deny], "the code is the factor"),
            Effect::Review => {
                Support::Fallback(&[FallbackTo::Deny], "a code cannot wait for a person")
            }
        }
    }

    fn change_support(&self, change: ChangeKind) -> Support {
        use Support::{Fallback, Unsupported};
        match change {
            ChangeKind::DropGrant | ChangeKind::CapLifetime(_) => {
                Fallback(&[FallbackTo::Deny], "a code is sent or not")
            }
            ChangeKind::RequireApprovers => {
                Fallback(&[FallbackTo::Deny], "a code cannot wait for approvers")
            }
            ChangeKind::Statement => {
                Fallback(&[FallbackTo::Deny], "Entra carries out no obligations")
            }
            ChangeKind::Set(_) | ChangeKind::Remove(_) => Unsupported("the answer changes nothing"),
            ChangeKind::AddGrant => Unsupported("a code grants nothing"),
            ChangeKind::LinkUser | ChangeKind::CreateUser => {
                Unsupported("the answer names no user")
            }
            ChangeKind::Credential => Unsupported("Entra checks the code"),
            ChangeKind::AutoApprove => Unsupported("no person approves a code"),
            ChangeKind::Waive => crate::support::waived(),
        }
    }
}

/// A JSON Pointer to the one-time code, by the names that the request gives the places: Microsoft's
/// documents and its service do not agree in their case. None where there is no code, or more than
/// one.
fn code_place(data: Option<Value<'_>>) -> Option<String> {
    let context = only(data?, "otpContext")?;
    let code = only(data?.get(&context)?, "oneTimeCode")?;
    spelling(data?.get(&context)?.get(&code)?)?;
    Some(format!("/data/{}/{}", escape_token(&context), escape_token(&code)))
}

/// How the one member of that name is spelled.
fn only<'a>(object: Value<'a>, name: &str) -> Option<Cow<'a, str>> {
    let mut spelled = object
        .members()
        .filter(|(spelled, value)| spelled.eq_ignore_ascii_case(name) && !value.is_null());
    let (found, other) = (spelled.next(), spelled.next());
    found.filter(|_| other.is_none()).map(|(spelled, _)| spelled)
}

const EVENT: Event = Event {
    hook: "entra.otp-send",
    name: "emailOtpSend",
    data: "onOtpSendCalloutData",
    action: "one-time-code",
};
