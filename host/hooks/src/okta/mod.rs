//! Okta's inline hooks: what all of them share, the envelope of requests and the shape of answers.
//!
//! Invariant: what is sent is in the forms of Okta's contract, whatever its own examples show.

mod assertion;
pub(crate) mod event;
pub(crate) mod import;
pub(crate) mod password;
mod patch;
mod profile;
pub(crate) mod registration;
pub(crate) mod saml;
mod shape;
pub(crate) mod telephony;
pub(crate) mod token;

use std::borrow::Cow;
use std::time::Duration;

use portcullis_model::json::{Value, build_object};
use portcullis_model::{Cause, Document, Origin};

use crate::answer::{Answer, Slot};
use crate::json_body::{JsonBody, object, string};
use crate::{HookKind, ParseContext, ParseError, RenderError, RenderErrorKind};

/// The envelope of an event.
pub(crate) struct Envelope {
    /// The body, and the event's id: Okta's, or one of the host's own where Okta's cannot be read.
    pub(crate) body: JsonBody,
    /// Okta's id, by which a retry is known.
    pub(crate) sent_id: Option<String>,
}

/// Reads the envelope of an event of that type. An event without a readable `eventId` gets an id of
/// its own, which no other call has, so that it is decided and no retry of it is ever found.
pub(crate) fn envelope(
    body: &[u8],
    event_type: &str,
    frame: &ParseContext<'_>,
) -> Result<Envelope, ParseError> {
    let refuse =
        |cause, detail: &'static str| ParseError { cause, detail: detail.into(), event: None };
    let document = Document::parse(body).map_err(|error| refuse(error.cause, "the body"))?;
    let root = document.root();
    let sent_id = root
        .get("eventId")
        .or_else(|| only_spelling(root, "eventId"))
        .and_then(Value::as_str)
        .filter(|id| (1..=MAX_EVENT_ID_BYTES).contains(&id.len()))
        .map(Cow::into_owned);
    let found = root.get("eventType").and_then(Value::as_str);
    let problem = match found {
        None => Some(Cause::SchemaMismatch),
        Some(found) if found != event_type => Some(Cause::UnknownEvent),
        Some(_) => None,
    };
    if let Some(cause) = problem {
        let body = JsonBody { document, event_id: sent_id.unwrap_or_default() };
        let refused = body.refuse(cause, "eventType");
        return Err(ParseError { event: refused.event.filter(|id| !id.is_empty()), ..refused });
    }
    let event_id = sent_id.clone().unwrap_or_else(|| frame.own_id());
    Ok(Envelope { body: JsonBody { document, event_id }, sent_id })
}

/// The member of that name in another case, where there is exactly one.
fn only_spelling<'a>(object: Value<'a>, name: &str) -> Option<Value<'a>> {
    let mut found = object.members().filter(|(spelled, _)| spelled.eq_ignore_ascii_case(name));
    match (found.next(), found.next()) {
        (Some((_, value)), None) => Some(value),
        _ => None,
    }
}

/// `data.context`: who and where from, as far as the inline hooks say it alike.
pub(super) struct Context<'a> {
    /// All of it.
    pub(super) whole: Option<Value<'a>>,
    /// Of `user`, which is not there where nobody is known yet.
    pub(super) profile: Option<Value<'a>>,
    pub(super) user_id: Option<String>,
    pub(super) origin: Option<Origin>,
    /// `request.id`, which the System Log has as its transaction's id.
    pub(super) correlation: Option<String>,
}

impl<'a> Context<'a> {
    /// Reads what is there.
    pub(super) fn read(data: Value<'a>) -> Self {
        let whole = object(Some(data), "context");
        let request = object(whole, "request");
        let session = object(whole, "session");
        let user = object(whole, "user");
        let profile = object(user, "profile");
        let origin = Origin {
            ip: string(request, "ipAddress"),
            session: string(session, "id"),
            ..Origin::default()
        };
        Self {
            whole,
            profile,
            user_id: string(user, "id"),
            origin: (origin.ip.is_some() || origin.session.is_some()).then_some(origin),
            correlation: string(request, "id"),
        }
    }
}

/// The platform's default: nothing to say.
pub(crate) fn go_on() -> Answer {
    Answer::ok("{}".into(), Slot::DebugContext)
}

/// The text of a refusal without a decision: one that explains itself where that helps whoever
/// reads it.
pub(super) fn unchecked(cause: Cause, text: &'static str) -> &'static str {
    if cause == Cause::EventIdReused { EVENT_REUSED } else { text }
}

/// An answer with `error`.
pub(crate) fn stop(text: &str) -> Answer {
    let body = build_object(|body| {
        body.object("error", |error| {
            error.text("errorSummary", text);
        });
    });
    Answer::ok(body, Slot::DebugContext)
}

/// An answer with commands: their types and their values, which are JSON.
pub(crate) fn commands(commands: &[(&str, String)]) -> Result<Answer, RenderError> {
    if commands.is_empty() {
        return Ok(go_on());
    }
    let body = build_object(|body| {
        body.array("commands", |list| {
            for (name, value) in commands {
                list.object(|command| {
                    command.text("type", name).json("value", value);
                });
            }
        });
    });
    if body.len() > MAX_ANSWER_BYTES {
        return Err(RenderError { change: None, why: RenderErrorKind::TooLong });
    }
    Ok(Answer::ok(body, Slot::DebugContext))
}

/// Each hook's `eventType`, and the kind that it belongs to.
pub(crate) const EVENT_TYPES: [(&str, HookKind); 7] = [
    (event::EVENT_TYPE, HookKind::OktaEvent),
    (import::EVENT_TYPE, HookKind::OktaUserImport),
    (password::EVENT_TYPE, HookKind::OktaPasswordImport),
    (registration::EVENT_TYPE, HookKind::OktaRegistration),
    (saml::EVENT_TYPE, HookKind::OktaSaml),
    (telephony::EVENT_TYPE, HookKind::OktaTelephony),
    (token::EVENT_TYPE, HookKind::OktaToken),
];

/// The text that is read where an event id comes a second time with another body. Okta never sends
/// that by itself; a preview in its console does, when somebody edits the request and sends it
/// again.
pub(super) const EVENT_REUSED: &str = "This request could not be checked: its event id came a \
     moment ago with another body. In a preview of the Okta console, change eventId with each \
     edit, or wait 30 seconds.";

/// The command that decides, where a hook has one.
pub(super) const ACTION: &str = "com.okta.action.update";

/// How long Okta waits for an inline hook (inline hook concepts, time-out behaviour).
pub(crate) const INLINE_LIMIT: Duration = Duration::from_secs(3);

/// The longest answer: Okta's 256 KB, less room for the record's reference.
const MAX_ANSWER_BYTES: usize = 256_000 - 2_000;

/// The longest event id that is taken, bytes. Okta's have 22.
const MAX_EVENT_ID_BYTES: usize = 256;
