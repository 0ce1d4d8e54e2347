//! Reading a body: what all hook kinds share.
//!
//! Invariant: a request is read tolerantly. A member without which no decision can be made refuses
//! the request and is named; every other member may be absent, `null` or of any JSON type, and
//! counts only where it has the type that its contract gives it. The entitlements of the subject
//! follow the same rule at the places that a hook kind knows by itself: a value that is no string
//! is no entitlement. A place that the operator configured is different. It is where the
//! entitlements are, so that a value that cannot be read there refuses the request: to go on would
//! be to overlook what somebody holds.

use std::borrow::Cow;
use std::collections::HashSet;

use foldhash::fast::RandomState;
use portcullis_model::json::Value;
use portcullis_model::{Attribute, AttributeFilter, Call, Cause, Document, Secrets, Text};

use crate::request::{ParseContext, ParseError};

/// A body, and the event that it is about.
pub(crate) struct JsonBody {
    pub(crate) document: Document,
    pub(crate) event_id: String,
}

impl JsonBody {
    /// `data`, which every request has.
    pub(crate) fn data(&self) -> Result<Value<'_>, ParseError> {
        object(Some(self.document.root()), "data")
            .ok_or_else(|| self.refuse(Cause::SchemaMismatch, "data"))
    }

    /// A string without which no decision can be made: the member of `parent` that the path ends
    /// in. An empty one is none.
    pub(crate) fn required(
        &self,
        parent: Option<Value<'_>>,
        path: &'static str,
    ) -> Result<String, ParseError> {
        let name = path.rsplit('.').next().unwrap_or(path);
        string(parent, name)
            .filter(|text| !text.is_empty())
            .ok_or_else(|| self.refuse(Cause::SchemaMismatch, path))
    }

    /// The entitlements that the hook's pointers lead to or, where it has none, those of its kind.
    pub(crate) fn entitlements(
        &self,
        pointers: &[String],
        default: &[&str],
    ) -> Result<Vec<Text>, ParseError> {
        let mut found = Strings::default();
        if pointers.is_empty() {
            for pointer in default {
                found.take(self.document.pointer(pointer));
            }
        }
        for pointer in pointers {
            let place = self.document.pointer(pointer);
            if !found.take_all(place) {
                return Err(self.unreadable_place(pointer, "entitlements"));
            }
        }
        Ok(found.list())
    }

    /// Refuses a request whose value at a place that the operator configured cannot be read. The
    /// pointer is the operator's text and no caller's.
    pub(crate) fn unreadable_place(&self, pointer: &str, setting: &str) -> ParseError {
        let detail = format!("{pointer}, which the setting {setting} names as strings");
        self.refuse(Cause::SchemaMismatch, detail)
    }

    /// A call about this body that says nothing yet but whose it is.
    pub(crate) fn call(self, hook: &'static str, frame: &ParseContext<'_>) -> Call {
        Call {
            id: self.event_id,
            correlation: None,
            tenant: frame.tenant.to_owned(),
            hook,
            phase: None,
            received: frame.received,
            seed: frame.seed,
            subject: None,
            actors: Vec::new(),
            action: None,
            resource: None,
            requested: Vec::new(),
            lifetimes: Vec::new(),
            origin: None,
            purpose: None,
            proposed: Vec::new(),
            payload: self.document,
            secrets: Secrets::default(),
        }
    }

    /// Refuses the request, by its event id where that is nothing but one.
    pub(crate) fn refuse(&self, cause: Cause, detail: impl Into<Cow<'static, str>>) -> ParseError {
        let plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
        let event = self.event_id.bytes().all(plain).then(|| self.event_id.clone());
        ParseError { cause, detail: detail.into(), event }
    }
}

/// Strings in order, each once.
#[derive(Default)]
pub(crate) struct Strings<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

impl<'a> Strings<'a> {
    /// Adds a string, or those elements of a list that are strings; everything else is passed over.
    pub(crate) fn take(&mut self, value: Option<Value<'a>>) {
        let Some(value) = value else { return };
        if !self.push(value) {
            for element in value.elements() {
                self.push(element);
            }
        }
    }

    /// Adds a string, or the strings of a list. Returns false where the value is something else, or
    /// the list has an element that is; `null` is as good as absent.
    pub(crate) fn take_all(&mut self, value: Option<Value<'a>>) -> bool {
        let Some(value) = value.filter(|value| !value.is_null()) else { return true };
        let whole = |element: Value<'a>| element.is_null() || self.push(element);
        match value.is_array() {
            true => value.elements().all(whole),
            false => self.push(value),
        }
    }

    /// Adds a string. Returns whether it is one.
    fn push(&mut self, value: Value<'a>) -> bool {
        let text = value.as_str();
        let is_one = text.is_some();
        self.0.extend(text.map(|text| (text, value)));
        is_one
    }

    /// Those, without the repetitions.
    pub(crate) fn list(self) -> Vec<Text> {
        first_of_each(self.0).into_iter().filter_map(|(_, value)| value.string()).collect()
    }
}

/// The first of each name, in order. The table's hash is keyed, so that no caller can choose names that make it slow.
pub(crate) fn first_of_each<'a, T>(mut named: Vec<(Cow<'a, str>, T)>) -> Vec<(Cow<'a, str>, T)> {
    let mut seen = HashSet::with_capacity_and_hasher(named.len(), RandomState::default());
    named.retain(|(name, _)| seen.insert(name.clone()));
    named
}

/// An optional member that is an object. A value of another type is as good as absent.
pub(crate) fn object<'a>(parent: Option<Value<'a>>, name: &str) -> Option<Value<'a>> {
    parent?.get(name).filter(|value| value.is_object())
}

/// An optional member that is a string. A value of another type is as good as absent.
pub(crate) fn string(parent: Option<Value<'_>>, name: &str) -> Option<String> {
    parent?.get(name)?.as_str().map(Cow::into_owned)
}

/// An optional member that is a string, or a whole number as it is spelled: platforms disagree with
/// their own documents about codes and numbers. An empty string is none.
pub(crate) fn spelled(parent: Option<Value<'_>>, name: &str) -> Option<String> {
    spelling(parent?.get(name)?)
}

/// Likewise, of a value.
pub(crate) fn spelling(value: Value<'_>) -> Option<String> {
    match value.as_str() {
        Some(text) => Some(text.into_owned()).filter(|text| !text.is_empty()),
        None => value.as_u64().map(|_| value.raw().to_owned()),
    }
}

/// The members of several objects as attributes; a name that an earlier object has is not taken from a later
/// one.
pub(crate) fn attributes<const N: usize>(objects: [Option<Value<'_>>; N]) -> Vec<Attribute> {
    wanted_attributes(AttributeFilter::all(), objects)
}

/// [`attributes`], as far as they are wanted.
pub(crate) fn wanted_attributes<'a>(
    wanted: &AttributeFilter,
    objects: impl IntoIterator<Item = Option<Value<'a>>>,
) -> Vec<Attribute> {
    let named = objects.into_iter().flatten().flat_map(Value::named);
    let named = named.filter_map(|(name, value)| {
        let spelled = name.as_str().filter(|spelled| wanted.contains(spelled))?;
        Some((spelled, (name, value)))
    });
    let named = named.collect();
    let attribute = |(_, (name, value)): (_, (Value<'_>, Value<'_>))| {
        Some(Attribute { name: name.string()?, value: value.text() })
    };
    first_of_each(named).into_iter().filter_map(attribute).collect()
}

/// Those members of an object, where they are there and not `null`, as attributes.
pub(crate) fn members(object: Option<Value<'_>>, names: &[&str]) -> Vec<Attribute> {
    let member = |name: &&str| {
        let value = object?.get(name).filter(|value| !value.is_null())?;
        Some(Attribute { name: (*name).into(), value: value.text() })
    };
    names.iter().filter_map(member).collect()
}
