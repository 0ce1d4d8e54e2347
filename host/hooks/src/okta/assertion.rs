//! A patch for a SAML assertion, in Okta's contract: `add` brings a new statement or the session's end, `replace` changes what is there;
//! one operation that fails fails all, and the assertion leaves unmodified.
//!
//! Invariant: an operation is only written when it succeeds on the request as the operations before it leave it, and when what it brings has
//! the shape of what stands there. Where Okta's documents are silent or contradict each other (an `add` on a statement that is there, a
//! statement's `attributes` as a whole) nothing is written.
//! Source: SAML hook responses of Okta's OpenAPI, and its examples.

use std::collections::BTreeMap;

use portcullis_model::Document;
use portcullis_model::json::{Kind, Value, build_array, build_object, build_text, split_pointer};

use super::shape::{Operations, Shape};
use crate::RenderErrorKind;

/// Operations on one assertion.
pub(super) struct Patch<'a> {
    /// `data.assertion`.
    assertion: Option<Value<'a>>,
    /// The parts that are touched, by section and name, as the operations leave them.
    parts: BTreeMap<(String, String), Shape>,
    /// The `attributes` of the statements whose attributes are touched, as JSON text, by name.
    attributes: BTreeMap<String, String>,
    operations: Operations,
    cap: Option<u32>,
}

impl<'a> Patch<'a> {
    /// No operations yet.
    pub(super) fn new(assertion: Option<Value<'a>>) -> Self {
        Self {
            assertion,
            parts: BTreeMap::new(),
            attributes: BTreeMap::new(),
            operations: Operations::default(),
            cap: None,
        }
    }

    /// Puts a value at a place.
    ///
    /// A statement may be given as Okta has it, or as a plain value or list of plain values, which becomes one: a claim of a token and a
    /// statement of an assertion can then be asked for in the same words.
    pub(super) fn set(&mut self, path: &str, value: &str) -> Result<(), RenderErrorKind> {
        let document = Document::parse(value.as_bytes()).map_err(|_| RenderErrorKind::Value)?;
        let value = document.root();
        let tokens = split_pointer(path).ok_or(RenderErrorKind::Place)?;
        let mut tokens = tokens.into_iter().map(|token| token.into_owned());
        let (Some(section), Some(name)) =
            (tokens.next(), tokens.next().filter(|name| !name.is_empty()))
        else {
            return Err(RenderErrorKind::Place);
        };
        let inner: Vec<_> = tokens.collect();
        match section.as_str() {
            "claims" => self.statement(path, name, &inner, value),
            "authentication" if name == SESSION_LIFETIME => Err(RenderErrorKind::Place),
            "authentication" | "conditions" | "subject" => {
                self.element(path, section, name, &inner, value)
            }
            _ => Err(RenderErrorKind::Place),
        }
    }

    /// Lets the application's session live no longer than that. One that lives no longer needs no operation.
    pub(super) fn cap(&mut self, seconds: u32) -> Result<(), RenderErrorKind> {
        let authentication = self.section("authentication")?;
        let present = authentication.get(SESSION_LIFETIME).and_then(Value::as_u64);
        if present.is_some_and(|present| u64::from(seconds) >= present) {
            return Ok(());
        }
        let (least, most) = LIFETIME;
        if seconds < least {
            return Err(RenderErrorKind::TooShort);
        }
        self.cap = Some(self.cap.unwrap_or(most).min(seconds));
        Ok(())
    }

    /// The command, where there is one: its type and its value.
    pub(super) fn finish(mut self) -> Option<(&'static str, String)> {
        if let Some(seconds) = self.cap {
            let there =
                self.section("authentication").is_ok_and(|it| it.get(SESSION_LIFETIME).is_some());
            let operation = if there { "replace" } else { "add" };
            self.operations.write(
                operation,
                "/authentication/sessionLifetime",
                Some(&seconds.to_string()),
            );
        }
        Some(("com.okta.assertion.patch", self.operations.finish()?))
    }

    /// A statement as a whole, or something inside one that is there.
    fn statement(
        &mut self,
        path: &str,
        name: String,
        inner: &[String],
        value: Value<'_>,
    ) -> Result<(), RenderErrorKind> {
        let sent = self.section("claims")?.get(&name);
        let place = ("claims".to_owned(), name);
        let touched = self.parts.contains_key(&place);
        if inner.is_empty() {
            let operation = match sent {
                Some(_) => "replace",
                // Okta does not say what a second `add` would do.
                None if touched => return Err(RenderErrorKind::Conflict),
                None => "add",
            };
            let (attributes, values) = statement(value, self.attributes_now(&place.1, sent))
                .ok_or(RenderErrorKind::Value)?;
            let text = build_object(|object| {
                object.json("attributes", &attributes).json("attributeValues", &values);
            });
            self.attributes.insert(place.1.clone(), attributes);
            return self.put(operation, path, place, &[], &text);
        }
        if sent.is_none() {
            return Err(if touched {
                RenderErrorKind::Conflict
            } else {
                RenderErrorKind::NoTarget
            });
        }
        let words: Vec<_> = inner.iter().map(String::as_str).collect();
        let text = match words.as_slice() {
            ["attributes", "NameFormat"] | ["attributeValues", _, "attributes", "xsi:type"] => {
                text(value)
            }
            ["attributeValues"] => values(value),
            ["attributeValues", _] => element(value),
            ["attributeValues", _, "value"] => plain(value).map(|(_, text)| text),
            _ => return Err(RenderErrorKind::Place),
        };
        let text = text.ok_or(RenderErrorKind::Value)?;
        self.part(&place, sent)
            .and_then(|part| part.below(inner))
            .ok_or(RenderErrorKind::NoTarget)?;
        if words.as_slice() == ["attributes", "NameFormat"]
            && let Some(now) = self.attributes_now(&place.1, sent)
        {
            let attributes = with_name_format(&now, &text).ok_or(RenderErrorKind::Value)?;
            self.attributes.insert(place.1.clone(), attributes);
        }
        self.put("replace", path, place, inner, &text)
    }

    /// A statement's `attributes` as JSON text: as the operations before leave them.
    fn attributes_now(&self, name: &str, sent: Option<Value<'_>>) -> Option<String> {
        let now = self.attributes.get(name).cloned();
        now.or_else(|| Some(sent?.get("attributes")?.raw().to_owned()))
    }

    /// Something of the subject, the authentication or the conditions: it keeps its shape.
    fn element(
        &mut self,
        path: &str,
        section: String,
        name: String,
        inner: &[String],
        value: Value<'_>,
    ) -> Result<(), RenderErrorKind> {
        let sent = self.section(&section)?.get(&name);
        let place = (section, name);
        let present = self
            .part(&place, sent)
            .and_then(|part| part.below(inner))
            .ok_or(RenderErrorKind::NoTarget)?;
        if !present.takes(&Shape::of(value)) {
            return Err(RenderErrorKind::Value);
        }
        self.put("replace", path, place, inner, value.raw())
    }

    /// Writes an operation and remembers what it leaves. `text` is JSON.
    fn put(
        &mut self,
        operation: &str,
        path: &str,
        place: (String, String),
        inner: &[String],
        text: &str,
    ) -> Result<(), RenderErrorKind> {
        let shape =
            Shape::of(Document::parse(text.as_bytes()).map_err(|_| RenderErrorKind::Value)?.root());
        match self.parts.get_mut(&place) {
            Some(part) => *part.below(inner).ok_or(RenderErrorKind::NoTarget)? = shape,
            None => drop(self.parts.insert(place, shape)),
        }
        self.operations.write(operation, path, Some(text));
        Ok(())
    }

    /// A part as it is now: as the request has it, where no operation has touched it.
    fn part(&mut self, place: &(String, String), sent: Option<Value<'_>>) -> Option<&mut Shape> {
        if !self.parts.contains_key(place) {
            self.parts.insert(place.clone(), Shape::of(sent?));
        }
        self.parts.get_mut(place)
    }

    fn section(&self, name: &str) -> Result<Value<'a>, RenderErrorKind> {
        let section = self.assertion.and_then(|assertion| assertion.get(name));
        section.filter(|section| section.is_object()).ok_or(RenderErrorKind::NoTarget)
    }
}

/// A statement's `attributes` and `attributeValues` as JSON texts. `present` are the attributes of
/// the statement that it replaces, which stay where the plugin names no other.
fn statement(value: Value<'_>, present: Option<String>) -> Option<(String, String)> {
    let named = value.get("attributes").filter(|_| value.is_object());
    let values = match value.kind() {
        Kind::Object => {
            let known =
                value.members().all(|(name, _)| matches!(&*name, "attributes" | "attributeValues"));
            values(value.get("attributeValues").filter(|_| known)?)?
        }
        Kind::Array => values(value)?,
        _ => format!("[{}]", element(value)?),
    };
    if named.is_some() {
        return Some((strings(named, "NameFormat", BASIC)?, values));
    }
    let present = present.and_then(|present| {
        let present = Document::parse(present.as_bytes()).ok()?;
        strings(Some(present.root()), "NameFormat", BASIC)
    });
    Some((present.or_else(|| strings(None, "NameFormat", BASIC))?, values))
}

/// A statement's `attributes` with another `NameFormat`. All of them are JSON texts.
fn with_name_format(attributes: &str, format: &str) -> Option<String> {
    let attributes = Document::parse(attributes.as_bytes()).ok()?;
    Some(build_object(|object| {
        for (name, value) in attributes.root().members() {
            object.json(&name, if name == "NameFormat" { format } else { value.raw() });
        }
    }))
}

/// A statement's values: at least one, each plain or as Okta has it.
fn values(list: Value<'_>) -> Option<String> {
    let elements: Vec<_> = list.elements().map(element).collect::<Option<_>>()?;
    (!elements.is_empty()).then(|| {
        build_array(|array| {
            array.jsons(&elements);
        })
    })
}

/// One value: `{attributes{xsi:type}, value}`.
fn element(value: Value<'_>) -> Option<String> {
    if !value.is_object() {
        let (kind, text) = plain(value)?;
        return Some(build_object(|object| {
            object.object("attributes", |attributes| {
                attributes.text("xsi:type", kind);
            });
            object.json("value", &text);
        }));
    }
    let known = value.members().all(|(name, _)| matches!(&*name, "attributes" | "value"));
    let (kind, text) = plain(value.get("value").filter(|_| known)?)?;
    let attributes = strings(value.get("attributes"), "xsi:type", kind)?;
    Some(build_object(|object| {
        object.json("attributes", &attributes).json("value", &text);
    }))
}

/// A plain value's XML Schema type and its text, which Okta has as a string whatever the type.
fn plain(value: Value<'_>) -> Option<(&'static str, String)> {
    let quoted = |kind| Some((kind, build_text(value.raw())));
    match value.kind() {
        Kind::String => Some(("xs:string", text(value)?)),
        Kind::Number if value.raw().contains(['.', 'e', 'E']) => quoted("xs:double"),
        Kind::Number => quoted("xs:integer"),
        Kind::Bool => quoted("xs:boolean"),
        Kind::Null | Kind::Array | Kind::Object => None,
    }
}

fn text(value: Value<'_>) -> Option<String> {
    Some(build_text(&value.as_str()?))
}

/// An object of strings as JSON text; without one, one with this member.
fn strings(object: Option<Value<'_>>, name: &str, default: &str) -> Option<String> {
    match object {
        Some(object) => {
            let strings = object.is_object()
                && object.members().all(|(_, member)| member.kind() == Kind::String);
            strings.then(|| object.raw().to_owned())
        }
        None => Some(build_object(|object| {
            object.text(name, default);
        })),
    }
}

/// The least and the most that a session is capped to, seconds. Okta names no bounds for assertions; a value that it would refuse would let
/// the assertion leave unmodified, so these are the bounds that it names for tokens. Its own example says 300.
pub(super) const LIFETIME: (u32, u32) = (300, 86_400);

/// The member that becomes `SessionNotOnOrAfter`.
pub(super) const SESSION_LIFETIME: &str = "sessionLifetime";

/// How a statement's name is to be understood, where the plugin does not say.
const BASIC: &str = "urn:oasis:names:tc:SAML:2.0:attrname-format:basic";
