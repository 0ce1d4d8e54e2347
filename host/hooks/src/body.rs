//! Reading a body: what all hook kinds share.
//!
//! Invariant: a request is read tolerantly: unknown members are ignored, and an optional part may be absent
//! or `null`; but a member that is used and has the wrong type refuses the request, since guessing would
//! decide on something else.

use std::borrow::Cow;
use std::collections::HashSet;

use foldhash::fast::RandomState;
use portcullis_model::json::Value;
use portcullis_model::{Attribute, Call, Cause, Document, Secrets, Text, Wanted};

use crate::heard::{Frame, Malformed};

/// A body, and the event that it is about.
pub(crate) struct Body {
    pub(crate) document: Document,
    pub(crate) event_id: String,
}

impl Body {
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
    pub(crate) fn string(
        &self,
        parent: Option<Value<'_>>,
        path: &'static str,
    ) -> Result<Option<String>, Malformed> {
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
        if into.push(value) {
            return Ok(());
        }
        if value.is_array() && value.elements().all(|element| into.push(element)) {
            return Ok(());
        }
        Err(self.refuse(Cause::WrongShape, path))
    }

    /// The entitlements that the hook's pointers, or those of its kind, lead to.
    pub(crate) fn entitlements(
        &self,
        pointers: &[String],
        default: &[&str],
    ) -> Result<Vec<Text>, Malformed> {
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

    /// A call about this body that says nothing yet but whose it is.
    pub(crate) fn call(self, hook: &'static str, frame: &Frame<'_>) -> Call {
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
    pub(crate) fn refuse(&self, cause: Cause, detail: &'static str) -> Malformed {
        let plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
        let event = self.event_id.bytes().all(plain).then(|| self.event_id.clone());
        Malformed { cause, detail, event }
    }
}

/// Strings in order, each once.
#[derive(Default)]
pub(crate) struct Strings<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

impl<'a> Strings<'a> {
    /// Adds a string; says whether it is one.
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

/// The member that the path ends in, where it is there and not `null`.
fn member<'a>(parent: Option<Value<'a>>, path: &str) -> Option<Value<'a>> {
    parent?.get(path.rsplit('.').next()?).filter(|value| !value.is_null())
}

/// The members of several objects as attributes; a name that an earlier object has is not taken from a later
/// one.
pub(crate) fn attributes<const N: usize>(objects: [Option<Value<'_>>; N]) -> Vec<Attribute> {
    wanted_attributes(Wanted::all(), objects)
}

/// [`attributes`], as far as they are wanted.
pub(crate) fn wanted_attributes<'a>(
    wanted: &Wanted,
    objects: impl IntoIterator<Item = Option<Value<'a>>>,
) -> Vec<Attribute> {
    let named = objects.into_iter().flatten().flat_map(Value::named);
    let named = named.filter_map(|(name, value)| {
        let spelled = name.as_str().filter(|spelled| wanted.has(spelled))?;
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
