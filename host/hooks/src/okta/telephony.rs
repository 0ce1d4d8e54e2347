//! `okta.telephony`: Okta's telephony inline hook, `com.okta.telephony.provider`.
//!
//! Invariant: `SUCCESSFUL` is only said where the host has a message to deliver, and the host says it only once somebody took the message;
//! in every other case the answer is `error`, with which Okta sends the code by its own provider. The code, and the text with it, stand
//! nowhere but in the call's payload, as its secrets, and in the message.
//!
//! Reading. The subject is whom the code is for, with the telephone number among their attributes; the message is the action. Codes and numbers
//! are taken as strings and as numbers, since Okta's own example has numbers.

use std::time::Duration;

use portcullis_model::json::{Value, build_array};
use portcullis_model::{
    Attribute, Call, Cause, ChangeKind, Effect, Entity, Principal, PrincipalKind, Secrets,
};

use super::{Context, INLINE_LIMIT, commands, envelope, stop, unchecked};
use crate::adapter::{Adapter, Behaviour, DedupPolicy, FailureBehaviour, Shown};
use crate::answer::Answer;
use crate::json_body::{attributes, members, object, spelled, spelling, string};
use crate::support::{FallbackTo, Support};
use crate::{
    HookRequest, HookSettings, Message, Outcome, ParseContext, ParseError, Parsed, RenderError,
    RenderErrorKind, Request, SafeAnswerInput, SideEffect,
};

/// The hook kind.
pub(crate) struct Telephony;

impl Adapter for Telephony {
    fn inputs(&self, _settings: &HookSettings) -> Vec<&'static str> {
        INPUTS.to_vec()
    }

    fn required(&self) -> &'static [&'static str] {
        &[
            "eventType",
            "data",
            "requestType",
            "data.messageProfile.phoneNumber",
            "data.messageProfile.otpCode",
            "data.messageProfile.deliveryChannel",
        ]
    }

    fn platform_limit(&self) -> Duration {
        INLINE_LIMIT
    }

    /// The time in which a delivery service has to accept the message.
    fn default_budget(&self) -> Duration {
        Duration::from_millis(2_500)
    }

    fn failure_behaviour(&self) -> FailureBehaviour {
        let failover =
            Behaviour::FailsOpen("Okta's own provider sends the code, heavily rate limited");
        FailureBehaviour {
            empty: failover,
            client_error: failover,
            server_error: failover,
            timeout: failover,
        }
    }

    fn shown(&self) -> Shown {
        Shown::Operator(
            "in Okta's System Log (`errorSummary`); the person gets the code from Okta's \
                 own provider",
        )
    }

    fn description(&self) -> &'static str {
        "If the verdict does not stop, the delivery service gets the message before the answer is \
         `SUCCESSFUL`; if it does not accept the message, or the hook has no delivery service, the \
         answer is `error`. No answer stops a code: after `error`, which a denial and a failure \
         get too, open or closed, Okta's own provider sends it. The code and the text are secrets: \
         only a plugin whose manifest reads `okta.telephony:/data/messageProfile/otpCode` sees the \
         code, it is not stored, and of the output of such a plugin only codes of findings are \
         stored. Restricted is not offered."
    }

    fn dedup_policy(&self) -> DedupPolicy {
        DedupPolicy::ById
    }

    fn may_deliver(&self) -> bool {
        true
    }

    fn read(&self, request: &Request<'_>, frame: &ParseContext<'_>) -> Result<Parsed, ParseError> {
        Ok(Parsed::Single(parse(request.body, frame)?.into()))
    }

    fn write(&self, incoming: &HookRequest, outcome: &Outcome<'_>) -> Result<Answer, RenderError> {
        if let Some(change) = outcome.changes.first() {
            return Err(RenderError {
                change: Some((1, change.kind())),
                why: RenderErrorKind::Kind,
            });
        }
        if outcome.verdict > Effect::Allow {
            return Ok(stop(&outcome.text_or(REPORTED)));
        }
        let Some(Message { channel, key, .. }) = message(&incoming.call) else {
            return Ok(stop(UNCHECKED));
        };
        let value = build_array(|list| {
            list.object(|sent| {
                sent.text("status", "SUCCESSFUL").text("provider", "portcullis");
                sent.text("transactionId", &key);
                sent.display("transactionMetadata", format_args!("channel={channel}"));
            });
        });
        commands(&[("com.okta.telephony.action", value)])
    }

    fn safe_answer(&self, refusal: &SafeAnswerInput<'_>) -> Answer {
        let SafeAnswerInput { cause, .. } = *refusal;
        let text = match cause {
            Cause::MessageUndelivered => UNDELIVERED,
            _ => unchecked(cause, UNCHECKED),
        };
        stop(&refusal.text(text))
    }

    fn platform_default(&self, _incoming: Option<&HookRequest>) -> Answer {
        stop(UNCHECKED)
    }

    fn side_effect(&self, incoming: &HookRequest, outcome: &Outcome<'_>) -> Option<SideEffect> {
        let allowed = outcome.verdict <= Effect::Allow && outcome.changes.is_empty();
        allowed.then(|| message(&incoming.call)).flatten().map(SideEffect::Deliver)
    }

    fn effect_support(&self, effect: Effect) -> Support {
        match effect {
            Effect::Abstain | Effect::Allow => Support::Native(
                "200 with `SUCCESSFUL`, once the delivery service accepted the message; else \
                 `error`",
            ),
            Effect::StepUp | Effect::Review | Effect::Deny => Support::Fallback(
                &[FallbackTo::Report],
                "a code cannot be stopped: with `error`, Okta's own provider sends it",
            ),
        }
    }

    fn change_support(&self, _change: ChangeKind) -> Support {
        Support::Unsupported("the message is delivered unchanged, or not at all")
    }
}

/// Reads a request.
fn parse(body: &[u8], frame: &ParseContext<'_>) -> Result<Call, ParseError> {
    let read = envelope(body, EVENT_TYPE, frame)?.body;
    let root = Some(read.document.root());
    // Okta's own example has none.
    let phase = match string(root, "requestType") {
        Some(request_type) => match request_type.strip_prefix(REQUEST_TYPE) {
            Some(phase) => Some(phase.to_owned()),
            None => return Err(read.refuse(Cause::UnknownEvent, "requestType")),
        },
        None => None,
    };
    let data = read.data()?;
    let Context { origin, correlation, .. } = Context::read(data);
    let user = object(Some(data), "userProfile");
    let message = object(Some(data), "messageProfile");
    if spelled(message, "phoneNumber").is_none() {
        return Err(read.refuse(Cause::SchemaMismatch, "data.messageProfile.phoneNumber"));
    }
    if spelled(message, "otpCode").is_none() {
        return Err(read.refuse(Cause::SchemaMismatch, "data.messageProfile.otpCode"));
    }
    if channel(message).is_none() {
        return Err(read.refuse(Cause::SchemaMismatch, "data.messageProfile.deliveryChannel"));
    }
    let mut own = attributes([user]);
    for attribute in members(message, &["phoneNumber", "locale"]) {
        if !own.iter().any(|Attribute { name, .. }| *name == attribute.name) {
            own.push(attribute);
        }
    }

    Ok(Call {
        correlation,
        phase,
        subject: Some(Principal {
            kind: PrincipalKind::Person,
            type_name: "user".into(),
            id: string(user, "userId"),
            attributes: own,
            entitlements: read.entitlements(&frame.settings.entitlements, &[])?,
        }),
        action: Some(Entity {
            type_name: "message".into(),
            id: None,
            attributes: members(message, &["deliveryChannel", "otpExpires"]),
        }),
        origin,
        secrets: Secrets::at(&["/data/messageProfile/msgTemplate", "/data/messageProfile/otpCode"]),
        ..read.call("okta.telephony", frame)
    })
}

/// The message that is to be delivered. There is one in every call that could be read.
fn message(call: &Call) -> Option<Message> {
    let message = call.payload.pointer("/data/messageProfile")?;
    let text = |name: &str| message.get(name).and_then(Value::as_str).map(|text| text.into_owned());
    Some(Message {
        channel: channel(Some(message))?,
        to: spelling(message.get("phoneNumber")?)?,
        code: spelling(message.get("otpCode")?)?,
        text: text("msgTemplate"),
        locale: text("locale"),
        expires: text("otpExpires"),
        key: call.id.clone(),
    })
}

/// How the code is to be told. A message without a channel is a text message.
fn channel(message: Option<Value<'_>>) -> Option<&'static str> {
    let Some(named) = message?.get("deliveryChannel").filter(|named| !named.is_null()) else {
        return Some("sms");
    };
    // One that is no text is none.
    let Some(named) = named.as_str() else { return Some("sms") };
    match named.to_ascii_lowercase().as_str() {
        "sms" => Some("sms"),
        "voice call" | "voice" | "call" => Some("voice"),
        _ => None,
    }
}

/// The text in the platform's log if there is no decision.
const UNCHECKED: &str = "Portcullis could not check this message and did not send it. Okta's own \
     provider sends the code.";

/// The text in the platform's log if no delivery service accepted the message.
const UNDELIVERED: &str =
    "No delivery service accepted this message. Okta's own provider sends the code.";

/// The text in the platform's log if a report has no text.
const REPORTED: &str = "A rule forbids this message, so Portcullis did not send it. Okta's own \
     provider sends the code.";

pub(super) const EVENT_TYPE: &str = "com.okta.telephony.provider";

/// The beginning of every request type.
const REQUEST_TYPE: &str = "com.okta.user.telephony.";

/// The inputs that a call can have.
const INPUTS: &[&str] = &[
    "subject.id",
    "subject.attributes.*",
    "subject.entitlements",
    "action.attributes.deliveryChannel",
    "action.attributes.otpExpires",
    "correlation",
    "origin.ip",
    "origin.session",
];
