//! `okta.event`: Okta's event hook, `com.okta.event_hook`: what the System Log tells of, in batches.
//!
//! Invariant: nothing that is answered here changes anything at Okta but whether the batch is sent once more: an empty `204` says that every
//! event in it is on record, `503` that the host could not see to that. An event hook has `GET` for its first look only.
//!
//! Reading. Each event of a batch is a question of its own, by its `uuid`, and its payload is that event alone. The subject is the event's
//! actor, the action its type and outcome, the resource its first target. The correlation is the transaction's id, which inline hooks have as
//! theirs. An event that cannot be read is counted and does not keep the others from being read.

use std::collections::BTreeSet;
use std::time::Duration;

use portcullis_model::json::{Value, quote};
use portcullis_model::{
    Call, Cause, ChangeKind, Document, Effect, Entity, Origin, Party, Principal, PrincipalKind,
};

use super::{INLINE_LIMIT, envelope};
use crate::adapter::{Adapter, Methods, Reaction, Reactions};
use crate::answer::Answer;
use crate::body::{Body, members};
use crate::say::{Saying, To};
use crate::{
    Batch, Frame, Heard, Incoming, Malformed, OnFailure, Outcome, Request, Settings, Unsayable,
    Until,
};

/// The hook kind.
pub(crate) struct Event;

impl Adapter for Event {
    fn platform_limit(&self) -> Duration {
        INLINE_LIMIT
    }

    fn default_budget(&self) -> Duration {
        Duration::from_secs(2)
    }

    fn reactions(&self) -> Reactions {
        Reactions {
            empty: Reaction::GoesOn("the batch has arrived; what it tells has happened already"),
            client_error: Reaction::GoesOn("the batch is lost: it is not sent again"),
            server_error: Reaction::GoesOn("the batch is sent once more, then lost"),
            silence: Reaction::GoesOn("the batch is sent once more, then lost"),
        }
    }

    fn about(&self) -> &'static str {
        "What an event tells has happened: nothing here decides, whatever a binding's mode. Every event of a batch is put before the hook's \
         plugins and has a record of its own; a batch that Okta sends again is known by its `eventId` for 30 s and not looked at twice. The answer is an \
         empty `204` once every record is durable, and `503` where the host could not see to that, so that Okta sends the batch once \
         more. Closed and open differ in that alone: an open hook always says `204`. The first look (`GET` with \
         `x-okta-verification-challenge`) is answered without proof and says nothing that the caller did not."
    }

    fn binds(&self) -> bool {
        false
    }

    fn methods(&self, _route: &'static str) -> Methods {
        Methods::GetAndPost
    }

    fn greet(&self, request: &Request<'_>, _settings: &Settings) -> Option<Answer> {
        let challenge =
            (request.header)("x-okta-verification-challenge").filter(|_| request.get)?;
        if !(1..=LONGEST_CHALLENGE).contains(&challenge.len()) {
            return None;
        }
        let mut body = String::from("{\"verification\":");
        quote(&mut body, challenge);
        body.push('}');
        Some(Answer::json(200, body))
    }

    fn read(&self, request: &Request<'_>, frame: &Frame<'_>) -> Result<Heard, Malformed> {
        let read = envelope(request.body, EVENT_TYPE)?;
        let events = read.data()?.get("events").filter(|events| events.is_array());
        let events = events.ok_or_else(|| read.refuse(Cause::WrongShape, "data.events"))?;
        let mut seen = BTreeSet::new();
        let mut items = Vec::new();
        for event in events.elements() {
            match parse(event, frame) {
                Ok(call) if seen.insert(call.id.clone()) => items.push(Ok(call.into())),
                Ok(_) => {}
                Err(_) => items.push(Err(arrived())),
            }
        }
        if items.is_empty() {
            return Ok(Heard::Nothing(arrived()));
        }
        Ok(Heard::Many(Batch { items, until: Until::End, id: Some(read.event_id) }))
    }

    fn write(&self, _incoming: &Incoming, _outcome: &Outcome<'_>) -> Result<Answer, Unsayable> {
        Ok(arrived())
    }

    fn safe(&self, _on_failure: &OnFailure, cause: Cause, _incoming: Option<&Incoming>) -> Answer {
        match cause.party() {
            Party::Caller if cause == Cause::CallerUnproven => Answer::status(401),
            Party::Caller => Answer::status(400),
            // It would fail the second time too.
            Party::Plugin => arrived(),
            Party::Host => once_more(),
        }
    }

    fn go_on(&self, _incoming: Option<&Incoming>) -> Answer {
        arrived()
    }

    /// A part that is not on record has a body.
    fn gather(&self, answers: &[Vec<u8>], _until: Until) -> Answer {
        if answers.iter().all(Vec::is_empty) { arrived() } else { Answer::status(503) }
    }

    fn effect(&self, effect: Effect) -> Saying {
        match effect {
            Effect::Abstain | Effect::Allow => Saying::Native("204; the record has it"),
            Effect::StepUp | Effect::Review | Effect::Deny => Saying::Mapped(
                &[To::Record],
                "what an event tells has happened: the finding stands in the record alone",
            ),
        }
    }

    fn change(&self, _change: ChangeKind) -> Saying {
        Saying::Mapped(
            &[To::Record],
            "what an event tells has happened: the wish stands in the record alone",
        )
    }
}

/// Reads one event.
fn parse(event: Value<'_>, frame: &Frame<'_>) -> Result<Call, Malformed> {
    let wrong = |detail| Malformed { cause: Cause::WrongShape, detail, event: None };
    let id =
        event.get("uuid").and_then(Value::as_str).filter(|id| (1..=LONGEST_ID).contains(&id.len()));
    let event_id = id.ok_or_else(|| wrong("data.events.uuid"))?.into_owned();
    let document = Document::parse(event.raw().as_bytes()).map_err(|_| wrong("data.events"))?;
    let read = Body { document, event_id };
    let event = Some(read.document.root());
    let actor = read.object(event, "actor")?;
    let client = read.object(event, "client")?;
    let agent = read.object(client, "client.userAgent")?;
    let place = read.object(client, "client.geographicalContext")?;
    let security = read.object(event, "securityContext")?;
    let device = read.object(event, "device")?;
    let authentication = read.object(event, "authenticationContext")?;
    let outcome = read.object(event, "outcome")?;
    let transaction = read.object(event, "transaction")?;
    let target =
        event.and_then(|event| event.get("target")?.index(0)).filter(|target| target.is_object());
    let Some(event_type) = read.string(event, "eventType")? else {
        return Err(read.refuse(Cause::WrongShape, "eventType"));
    };

    let mut action_attributes = members(event, &["published", "severity", "displayMessage"]);
    action_attributes.extend(members(outcome, &["result", "reason"]));
    let subject = match actor {
        Some(_) => {
            let type_name = read.string(actor, "actor.type")?.unwrap_or_default();
            Some(Principal {
                kind: if type_name == "User" {
                    PrincipalKind::Person
                } else {
                    PrincipalKind::Service
                },
                type_name,
                id: read.string(actor, "actor.id")?,
                attributes: members(actor, &["alternateId", "displayName"]),
                entitlements: Vec::new(),
            })
        }
        None => None,
    };
    let resource = match target {
        Some(_) => Some(Entity {
            type_name: read.string(target, "target.type")?.unwrap_or_default(),
            id: read.string(target, "target.id")?,
            attributes: members(target, &["alternateId", "displayName"]),
        }),
        None => None,
    };
    let asn = security
        .and_then(|it| it.get("asNumber")?.as_u64())
        .and_then(|number| u32::try_from(number).ok());
    let country = read.string(place, "client.geographicalContext.country")?;
    let origin = Origin {
        ip: read.string(client, "client.ipAddress")?,
        // Okta spells countries out, as a rule; the model has codes.
        country: country
            .filter(|name| name.len() == 2 && name.bytes().all(|byte| byte.is_ascii_uppercase())),
        asn,
        user_agent: read.string(agent, "client.userAgent.rawUserAgent")?,
        device: read.string(device, "device.id")?,
        session: read.string(authentication, "authenticationContext.externalSessionId")?,
    };

    Ok(Call {
        correlation: read.string(transaction, "transaction.id")?,
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

/// Okta shall send it once more; the body tells [`gather`](Adapter::gather) so.
fn once_more() -> Answer {
    Answer::json(503, "{}".into())
}

pub(super) const EVENT_TYPE: &str = "com.okta.event_hook";

/// The longest challenge that is repeated, bytes. Okta's have 64 at most.
const LONGEST_CHALLENGE: usize = 1_024;

/// The longest event id that is taken, bytes. Okta's have 36.
const LONGEST_ID: usize = 256;
