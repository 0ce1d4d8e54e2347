//! The message that the gateway passes on: what came, but for the changes.
//!
//! Invariant: the gateway takes away what is not echoed, so everything that came is written again.

use std::borrow::Cow;
use std::collections::BTreeMap;

use portcullis_model::json::{ObjectWriter, Value, build_object, build_text, split_pointer};
use portcullis_model::{Call, Change, Document, Secrets, Target};

use super::headers::Headers;
use super::state::State;
use super::{RECORD, is_response};
use crate::answer::{Answer, Slot};
use crate::json_body::spelled;
use crate::render_error::RenderErrorKind;
use crate::request::HookRequest;

/// The request that continues.
pub(super) struct Echo<'a> {
    call: &'a Call,
    is_response: bool,
    headers: Headers,
    /// Strings that a change replaced.
    changed: BTreeMap<&'static str, String>,
    /// Names of headers that a change is about.
    touched: Vec<String>,
}

impl<'a> Echo<'a> {
    pub(super) fn of(incoming: &'a HookRequest) -> Self {
        let call = &incoming.call;
        // They were read before, and what of them is secret was found then.
        let headers = Headers::read(Some(call.payload.root()), "", &mut Secrets::default());
        Self {
            call,
            is_response: is_response(incoming),
            headers: headers.unwrap_or_default(),
            changed: BTreeMap::new(),
            touched: Vec::new(),
        }
    }

    pub(super) fn admit(&mut self, change: &Change) -> Result<(), RenderErrorKind> {
        let target = if self.is_response { Target::Response } else { Target::Request };
        match change.kind().target() {
            Some(wanted) if wanted == target => {}
            // The other phase's.
            Some(Target::Request | Target::Response) => return Err(RenderErrorKind::NoTarget),
            _ => return Err(RenderErrorKind::Kind),
        }
        match change {
            Change::Set { path, value, .. } => {
                let document =
                    Document::parse(value.as_bytes()).map_err(|_| RenderErrorKind::Value)?;
                let value = document.root().as_str().ok_or(RenderErrorKind::Value)?;
                self.set(path, &value)
            }
            Change::Remove { path, .. } => self.remove(path),
            _ => Err(RenderErrorKind::Kind),
        }
    }

    pub(super) fn set(&mut self, path: &str, value: &str) -> Result<(), RenderErrorKind> {
        if let Some(name) = self.header(path)? {
            if !is_field_value(value) {
                return Err(RenderErrorKind::Value);
            }
            self.headers.set(&name, value.to_owned());
            return Ok(());
        }
        let (member, fits) = match path {
            "/body" => ("body", true),
            "/method" if !self.is_response => ("method", is_token(value)),
            "/url" if !self.is_response => ("url", is_url(value)),
            "/response_code" if self.is_response => ("response_code", is_status(value)),
            _ => return Err(RenderErrorKind::Place),
        };
        if !fits {
            return Err(RenderErrorKind::Value);
        }
        match self.changed.insert(member, value.to_owned()) {
            Some(earlier) if earlier != value => Err(RenderErrorKind::Conflict),
            _ => Ok(()),
        }
    }

    pub(super) fn remove(&mut self, path: &str) -> Result<(), RenderErrorKind> {
        if path == "/body" {
            return self.set(path, "");
        }
        let name = self.header(path)?.ok_or(RenderErrorKind::Place)?;
        if !self.headers.has(&name) {
            return Err(RenderErrorKind::NoTarget);
        }
        self.headers.remove(&name);
        Ok(())
    }

    /// The header that a path is about, in lower case, where it is about one. Once each: the same
    /// name in another case is the same.
    pub(super) fn header(&mut self, path: &str) -> Result<Option<String>, RenderErrorKind> {
        let tokens = split_pointer(path).ok_or(RenderErrorKind::Place)?;
        let [place, name] = tokens.as_slice() else { return Ok(None) };
        if place != "headers" || !is_token(name) {
            return Err(RenderErrorKind::Place);
        }
        let name = name.to_ascii_lowercase();
        if self.touched.contains(&name) {
            return Err(RenderErrorKind::Conflict);
        }
        self.touched.push(name.clone());
        Ok(Some(name))
    }

    pub(super) fn answer(mut self) -> Answer {
        // A length that is no longer true would cut the body off.
        if let Some(body) = self.changed.get("body").filter(|_| self.headers.has("content-length"))
        {
            self.headers.set("content-length", body.len().to_string());
        }
        let root = self.call.payload.root();
        let sent = |name: &str| root.get(name).filter(|value| !value.is_null());
        let said = |name: &str| match self.changed.get(name) {
            Some(changed) => Cow::Borrowed(changed.as_str()),
            None => sent(name).and_then(Value::as_str).unwrap_or_default(),
        };
        // A body that came as something else than a string goes on as it came.
        let body = match sent("body").filter(|_| !self.changed.contains_key("body")) {
            Some(body) if body.as_str().is_none() => body.raw().to_owned(),
            _ => build_text(&said("body")),
        };
        let whole = build_object(|object| {
            if self.is_response {
                let code = match self.changed.get("response_code") {
                    Some(code) => Some(code.clone()),
                    None => spelled(Some(root), "response_code"),
                };
                object.text("response_code", &code.unwrap_or_default());
                // The old status' words would contradict a new one.
                let status =
                    sent("response_status").filter(|_| !self.changed.contains_key("response_code"));
                for (name, value) in
                    [("response_status", status), ("http_version", sent("http_version"))]
                {
                    if let Some(value) = value {
                        write_as_sent(object, name, value);
                    }
                }
            } else {
                for (name, value) in root.members() {
                    match &*name {
                        "method" | "url" => {
                            object.text(&name, &said(&name));
                        }
                        // Written last, in our words.
                        "body" | "headers" | "state" | RECORD | "response" => {}
                        _ => write_as_sent(object, &name, value),
                    }
                }
            }
            object.json("body", &body).array("headers", |list| self.headers.write(list));
            if !self.is_response
                && let Some(state) = State::of(self.call)
            {
                object.text("state", &state.text());
            }
        });
        Answer::ok(whole, Slot::Member(RECORD))
    }
}

/// Writes a member as it came; a string in our spelling.
pub(super) fn write_as_sent(object: &mut ObjectWriter<'_>, name: &str, value: Value<'_>) {
    match value.as_str() {
        Some(value) => object.text(name, &value),
        None => object.json(name, value.raw()),
    };
}

/// RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(fits)
}

/// RFC 9110 section 5.5: no line ends where the gateway takes it for one line.
fn is_field_value(text: &str) -> bool {
    text.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte) || byte >= 0x80)
        && text.trim() == text
}

fn is_url(text: &str) -> bool {
    text.contains("://") && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_status(text: &str) -> bool {
    text.len() == 3
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && matches!(text.as_bytes(), [b'2'..=b'5', ..])
}
