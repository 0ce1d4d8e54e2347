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

use portcullis_model::json::{Value, quote};
use portcullis_model::{Cause, Document, Origin};

use crate::answer::{Answer, Slot};
use crate::body::Body;
use crate::{HookKind, Malformed, Unsayable, Why};

/// Reads the envelope of an event of that type.
pub(crate) fn envelope(body: &[u8], event_type: &str) -> Result<Body, Malformed> {
    let refuse = |cause, detail| Malformed { cause, detail, event: None };
    let document = Document::parse(body).map_err(|error| refuse(error.cause, "the body"))?;
    let id = document.root().get("eventId").and_then(Value::as_str);
    let Some(event_id) =
        id.filter(|id| (1..=LONGEST_EVENT_ID).contains(&id.len())).map(Cow::into_owned)
    else {
        return Err(refuse(Cause::WrongShape, "eventId"));
    };
    let found = document.root().get("eventType").and_then(Value::as_str);
    let problem = match found {
        None => Some((Cause::WrongShape, "eventType")),
        Some(found) if found != event_type => Some((Cause::UnknownEvent, "eventType")),
        Some(_) => None,
    };
    let body = Body { document, event_id };
    match problem {
        None => Ok(body),
        Some((cause, detail)) => Err(body.refuse(cause, detail)),
    }
}

/// `data.context`: who and where from, as far as the inline hooks say it alike.
pub(super) struct Context<'a> {
    /// All of it.
    pub(super) whole: Option<Value<'a>>,
    /// `user`, which is not there where nobody is known yet.
    pub(super) user: Option<Value<'a>>,
    pub(super) profile: Option<Value<'a>>,
    pub(super) user_id: Option<String>,
    pub(super) origin: Option<Origin>,
    /// `request.id`, which the System Log has as its transaction's id.
    pub(super) correlation: Option<String>,
}

impl<'a> Context<'a> {
    /// Reads what is there.
    pub(super) fn read(read: &Body, data: Value<'a>) -> Result<Self, Malformed> {
        let whole = read.object(Some(data), "data.context")?;
        let request = read.object(whole, "data.context.request")?;
        let session = read.object(whole, "data.context.session")?;
        let user = read.object(whole, "data.context.user")?;
        let profile = read.object(user, "data.context.user.profile")?;
        let origin = Origin {
            ip: read.string(request, "data.context.request.ipAddress")?,
            session: read.string(session, "data.context.session.id")?,
            ..Origin::default()
        };
        Ok(Self {
            whole,
            user,
            profile,
            user_id: read.string(user, "data.context.user.id")?,
            origin: (origin.ip.is_some() || origin.session.is_some()).then_some(origin),
            correlation: read.string(request, "data.context.request.id")?,
        })
    }
}

/// The platform's default: nothing to say.
pub(crate) fn go_on() -> Answer {
    Answer::ok("{}".into(), Slot::DebugContext)
}

/// An answer with `error`.
pub(crate) fn stop(text: &str) -> Answer {
    let mut body = String::from("{\"error\":{\"errorSummary\":");
    quote(&mut body, text);
    body.push_str("}}");
    Answer::ok(body, Slot::DebugContext)
}

/// An answer with commands: their types and their values, which are JSON.
pub(crate) fn commands(commands: &[(&str, String)]) -> Result<Answer, Unsayable> {
    if commands.is_empty() {
        return Ok(go_on());
    }
    let mut body = String::from("{\"commands\":[");
    for (index, (name, value)) in commands.iter().enumerate() {
        body.push_str(if index == 0 { "{\"type\":\"" } else { ",{\"type\":\"" });
        body.push_str(name);
        body.push_str("\",\"value\":");
        body.push_str(value);
        body.push('}');
    }
    body.push_str("]}");
    if body.len() > LONGEST_ANSWER {
        return Err(Unsayable { change: None, why: Why::TooLong });
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

/// The command that decides, where a hook has one.
pub(super) const ACTION: &str = "com.okta.action.update";

/// How long Okta waits for an inline hook (inline hook concepts, time-out behaviour).
pub(crate) const INLINE_LIMIT: Duration = Duration::from_secs(3);

/// The longest answer: Okta's 256 KB, less room for the record's reference.
const LONGEST_ANSWER: usize = 256_000 - 2_000;

/// The longest event id that is taken, bytes. Okta's have 22.
const LONGEST_EVENT_ID: usize = 256;
