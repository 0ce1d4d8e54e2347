//! Okta's inline hooks: what all of them share, the envelope of requests and the shape of answers.
//!
//! Invariant: a request is read tolerantly: unknown members are ignored, and an optional part may be absent
//! or `null`; but a member that is used and has the wrong type refuses the request, since guessing would
//! decide on something else.

pub(crate) mod import;
mod patch;
pub(crate) mod token;

use std::borrow::Cow;

use portcullis_model::json::{Value, quote};
use portcullis_model::{Attribute, Cause, Document};

use crate::answer::Answer;
use crate::{Malformed, Unsayable, Why};

/// A request whose envelope is in order.
pub(crate) struct Envelope {
    pub(crate) document: Document,
    pub(crate) event_id: String,
}

impl Envelope {
    /// Reads the envelope of an event of that type.
    pub(crate) fn parse(body: &[u8], event_type: &str) -> Result<Self, Malformed> {
        let refuse = |cause, detail| Malformed { cause, detail, event: None };
        let document = Document::parse(body).map_err(|error| refuse(error.cause, "the body"))?;
        let id = document.root().get("eventId").and_then(Value::as_str);
        let Some(event_id) = id.filter(|id| (1..=LONGEST_EVENT_ID).contains(&id.len())).map(Cow::into_owned) else {
            return Err(refuse(Cause::WrongShape, "eventId"));
        };
        let found = document.root().get("eventType").and_then(Value::as_str);
        let problem = match found {
            None => Some((Cause::WrongShape, "eventType")),
            Some(found) if found != event_type => Some((Cause::UnknownEvent, "eventType")),
            Some(_) => None,
        };
        let envelope = Self { document, event_id };
        match problem {
            None => Ok(envelope),
            Some((cause, detail)) => Err(envelope.refuse(cause, detail)),
        }
    }

    /// `data`, which every request has.
    pub(crate) fn data(&self) -> Result<Value<'_>, Malformed> {
        let data = self.document.root().get("data").filter(|data| data.is_object());
        data.ok_or_else(|| self.refuse(Cause::WrongShape, "data"))
    }

    /// An optional object: the member of `parent` that the path ends in.
    pub(crate) fn object<'a>(
        &self,
        parent: Option<Value<'a>>,
        path: &'static str,
    ) -> Result<Option<Value<'a>>, Malformed> {
        match member(parent, path) {
            Some(value) if !value.is_object() => Err(self.refuse(Cause::WrongShape, path)),
            optional => Ok(optional),
        }
    }

    /// An optional string: the member of `parent` that the path ends in.
    pub(crate) fn string(&self, parent: Option<Value<'_>>, path: &'static str) -> Result<Option<String>, Malformed> {
        let Some(value) = member(parent, path) else {
            return Ok(None);
        };
        let text = value.as_str().ok_or_else(|| self.refuse(Cause::WrongShape, path))?;
        Ok(Some(text.into_owned()))
    }

    /// Appends an optional list of strings, or an optional string as a list of one; each string once.
    pub(crate) fn strings<'a>(
        &self,
        value: Option<Value<'a>>,
        path: &'static str,
        into: &mut Strings<'a>,
    ) -> Result<(), Malformed> {
        let Some(value) = value.filter(|value| !value.is_null()) else {
            return Ok(());
        };
        if let Some(text) = value.as_str() {
            into.push(text);
            return Ok(());
        }
        if !value.is_array() {
            return Err(self.refuse(Cause::WrongShape, path));
        }
        for element in value.elements() {
            into.push(element.as_str().ok_or_else(|| self.refuse(Cause::WrongShape, path))?);
        }
        Ok(())
    }

    /// The entitlements that the hook's pointers, or those of its kind, lead to.
    pub(crate) fn entitlements(&self, pointers: &[String], default: &[&str]) -> Result<Vec<String>, Malformed> {
        let mut found = Strings::default();
        if pointers.is_empty() {
            for pointer in default {
                self.strings(self.document.pointer(pointer), "the entitlements", &mut found)?;
            }
        }
        for pointer in pointers {
            self.strings(self.document.pointer(pointer), "the entitlements", &mut found)?;
        }
        Ok(found.list())
    }

    /// Refuses the request, by its event id where that is nothing but one.
    pub(crate) fn refuse(&self, cause: Cause, detail: &'static str) -> Malformed {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
        let event = self.event_id.bytes().all(plain).then(|| self.event_id.clone());
        Malformed { cause, detail, event }
    }
}

/// Strings in order, each once.
#[derive(Default)]
pub(crate) struct Strings<'a>(Vec<Cow<'a, str>>);

impl<'a> Strings<'a> {
    fn push(&mut self, text: Cow<'a, str>) {
        self.0.push(text);
    }

    /// Those, without the repetitions.
    pub(crate) fn list(self) -> Vec<String> {
        let named = self.0.into_iter().map(|text| (text, ())).collect();
        first_of_each(named).into_iter().map(|(text, ())| text.into_owned()).collect()
    }
}

/// The first of each name, in order. By sorting: quicker than a table for the dozens that a body has, and no caller
/// can choose names that make it slow.
fn first_of_each<'a, T>(named: Vec<(Cow<'a, str>, T)>) -> Vec<(Cow<'a, str>, T)> {
    let mut numbered: Vec<_> = named.into_iter().enumerate().collect();
    numbered.sort_unstable_by(|(at, (name, _)), (other_at, (other, _))| (name, at).cmp(&(other, other_at)));
    numbered.dedup_by(|(_, (name, _)), (_, (first, _))| name == first);
    numbered.sort_unstable_by_key(|(at, _)| *at);
    numbered.into_iter().map(|(_, named)| named).collect()
}

/// The member that the path ends in, where it is there and not `null`.
fn member<'a>(parent: Option<Value<'a>>, path: &str) -> Option<Value<'a>> {
    parent?.get(path.rsplit('.').next()?).filter(|value| !value.is_null())
}

/// The members of several objects as attributes; a name that an earlier object has is not taken from a later
/// one.
pub(crate) fn attributes<const N: usize>(objects: [Option<Value<'_>>; N]) -> Vec<Attribute> {
    let named = objects.into_iter().flatten().flat_map(Value::members).collect();
    let attribute =
        |(name, value): (Cow<'_, str>, Value<'_>)| Attribute { name: name.into_owned(), value: value.raw().to_owned() };
    first_of_each(named).into_iter().map(attribute).collect()
}

/// Those members of an object, where they are there and not `null`, as attributes.
pub(crate) fn members(object: Option<Value<'_>>, names: &[&str]) -> Vec<Attribute> {
    let member = |name: &&str| {
        let value = object?.get(name).filter(|value| !value.is_null())?;
        Some(Attribute { name: (*name).to_owned(), value: value.raw().to_owned() })
    };
    names.iter().filter_map(member).collect()
}

/// The platform's default: nothing to say.
pub(crate) fn go_on() -> Answer {
    Answer::ok("{}".into())
}

/// An answer with `error`.
pub(crate) fn stop(text: &str) -> Answer {
    let mut body = String::from("{\"error\":{\"errorSummary\":");
    quote(&mut body, text);
    body.push_str("}}");
    Answer::ok(body)
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
    Ok(Answer::ok(body))
}

/// The longest answer: Okta's 256 KB, less room for the record's reference.
const LONGEST_ANSWER: usize = 256_000 - 2_000;

/// The longest event id that is taken, bytes. Okta's have 22.
const LONGEST_EVENT_ID: usize = 256;
