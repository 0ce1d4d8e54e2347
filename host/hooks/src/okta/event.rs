//! `okta.event`: Okta's event hook, `com.okta.event_hook`: what the System Log tells of, in batches.
//!
//! Invariant: nothing that is answered here changes anything at Okta but whether the batch is sent
//! once more: an empty `204` says that every event in it is on record, `503` that the host could
//! not see to that. A batch of a proven caller is never answered with 4xx, since Okta then drops it
//! for good. An event hook has `GET` for its first look only.
//!
//! Reading. Each event of a batch is a question of its own, by its `uuid`, and its payload is that
//! event alone. The subject is the event's actor, the action its type and outcome, the resource its
//! first target. The correlation is the transaction's id, which inline hooks have as theirs. An
//! event that cannot be read is on record as one, with what came, and does not keep the others from
//! being read.

use std::collections::BTreeSet;
use std::time::Duration;

use portcullis_model::json::{Value, build_object};
use portcullis_model::{
    Attribution, Call, Cause, ChangeKind, Document, Effect, Entity, Origin, Principal,
    PrincipalKind,
};

use super::{Envelope, INLINE_LIMIT, envelope};
use crate::adapter::{Adapter, Behaviour, FailureBehaviour, Methods, Shown};
use crate::answer::Answer;
use crate::json_body::{JsonBody, members, object, string};
use crate::support::{FallbackTo, Support};
use crate::{
    Batch, BatchContext, HookRequest, HookSettings, Outcome, ParseContext, ParseError, Parsed,
    RenderError, Request, SafeAnswerInput, ShortCircuit, UnparsedItem,
};

/// The hook kind.
pub(crate) struct Event;

impl Adapter for Event {
    fn inputs(&self, _settings: &HookSettings) -> Vec<&'static str> {
        INPUTS.to_vec()
    }

    fn required(&self) -> &'static [&'static str] {
        &["eventType", "data", "data.events", "data.events.eventType"]
    }

    fn platform_limit(&self) -> Duration {
        INLINE_LIMIT
    }

    fn default_budget(&self) -> Duration {
        Duration::from_secs(2)
    }

    fn failure_behaviour(&self) -> FailureBehaviour {
        FailureBehaviour {
            empty: Behaviour::FailsOpen("the batch has arrived; its events have already happened"),
            client_error: Behaviour::FailsOpen("the batch is lost: it is not sent again"),
            server_error: Behaviour::FailsOpen("the batch is sent once more, then lost"),
            timeout: Behaviour::FailsOpen("the batch is sent once more, then lost"),
        }
    }

    fn shown(&self) -> Shown {
        Shown::Nobody("the answer has no body")
    }

    fn description(&self) -> &'static str {
        "Events have already happened, so the hook decides nothing, whatever a binding's mode. The \
         plugins see every event of a batch, and each event has a record of its own; an event that \
         cannot be read has a record with the cause `schema-mismatch` instead. A retried batch is \
         recognised by its `eventId` for 30 s and not processed again. The answer is an empty \
         `204` once every record is durable. If the records could not be made durable, or the \
         batch could not be read or is larger than `body_bytes`, it is `503`, and Okta sends the \
         batch once more. An open hook differs from a closed one in one point: it always answers \
         `204`. An unauthenticated caller gets 401. The verification (`GET` with \
         `x-okta-verification-challenge`) is answered without authentication and repeats only the \
         caller's value."
    }

    fn is_binding(&self) -> bool {
        false
    }

    fn methods(&self, _route: &'static str) -> Methods {
        Methods::GetAndPost
    }

    fn preflight(&self, request: &Request<'_>, _settings: &HookSettings) -> Option<Answer> {
        let challenge =
            (request.header)("x-okta-verification-challenge").filter(|_| request.get)?;
        if !(1..=MAX_CHALLENGE_BYTES).contains(&challenge.len()) {
            return None;
        }
        let body = build_object(|body| {
            body.text("verification", challenge);
        });
        Some(Answer::json(200, body))
    }

    fn read(&self, request: &Request<'_>, frame: &ParseContext<'_>) -> Result<Parsed, ParseError> {
        let Envelope { body: read, sent_id } = envelope(request.body, EVENT_TYPE, frame)?;
        let events = read.data()?.get("events").filter(|events| events.is_array());
        let events = events.ok_or_else(|| read.refuse(Cause::SchemaMismatch, "data.events"))?;
        let mut seen = BTreeSet::new();
        let mut items = Vec::new();
        for (number, event) in events.elements().enumerate() {
            match parse(event, number, frame) {
                Ok(call) if seen.insert(call.id.clone()) => items.push(Ok(call.into())),
                Ok(_) => {}
                Err(malformed) => {
                    let question = unreadable(event, number, frame).map(HookRequest::from);
                    items.push(Err(Box::new(UnparsedItem {
                        answer: arrived(),
                        malformed,
                        question,
                    })));
                }
            }
        }
        if items.is_empty() {
            return Ok(Parsed::Immediate(arrived()));
        }
        Ok(Parsed::Batch(Batch {
            items,
            until: ShortCircuit::Never,
            id: sent_id,
            query: Vec::new(),
        }))
    }

    fn write(
        &self,
        _incoming: &HookRequest,
        _outcome: &Outcome<'_>,
    ) -> Result<Answer, RenderError> {
        Ok(arrived())
    }

    fn safe_answer(&self, refusal: &SafeAnswerInput<'_>) -> Answer {
        let SafeAnswerInput { cause, .. } = *refusal;
        match cause.attribution() {
            Attribution::Caller if cause == Cause::Unauthenticated => Answer::status(401),
            // It would fail the second time too.
            Attribution::Plugin => arrived(),
            // 4xx would be the last of the batch.
            Attribution::Caller | Attribution::Host => is_repeat(),
        }
    }

    fn platform_default(&self, _incoming: Option<&HookRequest>) -> Answer {
        arrived()
    }

    /// A part that is not on record has a body.
    fn render_batch(&self, answers: &[Vec<u8>], _batch: &BatchContext) -> Answer {
        if answers.iter().all(Vec::is_empty) { arrived() } else { Answer::status(503) }
    }

    fn effect_support(&self, effect: Effect) -> Support {
        match effect {
            Effect::Abstain | Effect::Allow => Support::Native("204; the finding is in the record"),
            Effect::StepUp | Effect::Review | Effect::Deny => Support::Fallback(
                &[FallbackTo::Record],
                "the event has already happened: the finding is in the record only",
            ),
        }
    }

    fn change_support(&self, _change: ChangeKind) -> Support {
        Support::Fallback(
            &[FallbackTo::Record],
            "the event has already happened: the change is in the record only",
        )
    }
}

/// The body of one event, by its `uuid` or, without one, by an id of its own.
fn body(event: Value<'_>, number: usize, frame: &ParseContext<'_>) -> Option<JsonBody> {
    let id = event
        .get("uuid")
        .and_then(Value::as_str)
        .filter(|id| (1..=MAX_ID_BYTES).contains(&id.len()));
    let event_id = id.map_or_else(|| format!("{}/{number}", frame.own_id()), |id| id.into_owned());
    Some(JsonBody { document: Document::parse(event.raw().as_bytes()).ok()?, event_id })
}

/// The record of an event that cannot be read: the bytes that came, and nothing that they tell.
fn unreadable(event: Value<'_>, number: usize, frame: &ParseContext<'_>) -> Option<Call> {
    let call = body(event, number, frame)?.call("okta.event", frame);
    Some(Call { seed: frame.seed_of(number), ..call })
}

/// Reads one event.
fn parse(event: Value<'_>, number: usize, frame: &ParseContext<'_>) -> Result<Call, ParseError> {
    let wrong =
        || ParseError { cause: Cause::SchemaMismatch, detail: "data.events".into(), event: None };
    let read = body(event, number, frame).filter(|_| event.is_object()).ok_or_else(wrong)?;
    let event = Some(read.document.root());
    let actor = object(event, "actor");
    let client = object(event, "client");
    let agent = object(client, "userAgent");
    let place = object(client, "geographicalContext");
    let security = object(event, "securityContext");
    let device = object(event, "device");
    let authentication = object(event, "authenticationContext");
    let outcome = object(event, "outcome");
    let transaction = object(event, "transaction");
    let target =
        event.and_then(|event| event.get("target")?.index(0)).filter(|target| target.is_object());
    let event_type = read.required(event, "data.events.eventType")?;

    let mut action_attributes = members(event, &["published", "severity", "displayMessage"]);
    action_attributes.extend(members(outcome, &["result", "reason"]));
    let subject = match actor {
        Some(_) => {
            let type_name = string(actor, "type").unwrap_or_default();
            Some(Principal {
                kind: if type_name == "User" {
                    PrincipalKind::Person
                } else {
                    PrincipalKind::Service
                },
                type_name,
                id: string(actor, "id"),
                attributes: members(actor, &["alternateId", "displayName"]),
                entitlements: Vec::new(),
            })
        }
        None => None,
    };
    let resource = target.map(|_| Entity {
        type_name: string(target, "type").unwrap_or_default(),
        id: string(target, "id"),
        attributes: members(target, &["alternateId", "displayName"]),
    });
    let asn = security
        .and_then(|it| it.get("asNumber")?.as_u64())
        .and_then(|number| u32::try_from(number).ok());
    let country = string(place, "country");
    let origin = Origin {
        ip: string(client, "ipAddress"),
        // Okta spells countries out, as a rule; the model has codes.
        country: country
            .filter(|name| name.len() == 2 && name.bytes().all(|byte| byte.is_ascii_uppercase())),
        asn,
        user_agent: string(agent, "rawUserAgent"),
        device: string(device, "id"),
        session: string(authentication, "externalSessionId"),
    };

    Ok(Call {
        correlation: string(transaction, "id"),
        subject,
        action: Some(Entity { type_name: event_type, id: None, attributes: action_attributes }),
        resource,
        origin: Some(origin),
        ..read.call("okta.event", frame)
    })
}

/// The batch, or one event of it, has arrived.
fn arrived() -> Answer {
    Answer::status(204)
}

/// Okta shall send it once more; the body tells [`gather`](Adapter::render_batch) so.
fn is_repeat() -> Answer {
    Answer::json(503, "{}".into())
}

pub(super) const EVENT_TYPE: &str = "com.okta.event_hook";

/// The longest challenge that is repeated, bytes. Okta's have 64 at most.
const MAX_CHALLENGE_BYTES: usize = 1_024;

/// The longest event id that is taken, bytes. Okta's have 36.
const MAX_ID_BYTES: usize = 256;

/// The inputs that a call can have.
const INPUTS: &[&str] = &[
    "subject.id",
    "subject.attributes.alternateId",
    "subject.attributes.displayName",
    "action.attributes.published",
    "action.attributes.severity",
    "action.attributes.displayMessage",
    "action.attributes.result",
    "action.attributes.reason",
    "resource.id",
    "resource.attributes.alternateId",
    "resource.attributes.displayName",
    "correlation",
    "origin.ip",
    "origin.country",
    "origin.asn",
    "origin.user-agent",
    "origin.device",
    "origin.session",
];
