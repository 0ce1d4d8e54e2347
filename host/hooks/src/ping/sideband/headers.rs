//! The headers of a message in the sideband API.
//!
//! Invariant: a header that is a secret is never among the public ones.

use std::collections::BTreeMap;

use portcullis_model::Secrets;
use portcullis_model::json::{ArrayWriter, Value, escape_token};

use super::super::secret::is_secret_header;

/// Headers in the order sent: names in lower case.
#[derive(Default)]
pub(super) struct Headers(pub(super) Vec<(String, String)>);

impl Headers {
    /// The headers of a message that stands at `at`; which of them are secrets is added to
    /// `secrets`. None where they have a form in which no header could be told from another.
    ///
    /// The contract has a list of objects with one string each. An object alone, several members,
    /// numbers and lists of values are as easy to read, and go on in the contract's form.
    pub(super) fn read(
        message: Option<Value<'_>>,
        at: &str,
        secrets: &mut Secrets,
    ) -> Option<Self> {
        let mut headers = Self::default();
        let Some(sent) =
            message.and_then(|message| message.get("headers")).filter(|sent| !sent.is_null())
        else {
            return Some(headers);
        };
        if sent.is_object() {
            headers.take(sent, &format!("{at}/headers"), secrets);
            return Some(headers);
        }
        if !sent.is_array() {
            return None;
        }
        for (number, header) in sent.elements().enumerate() {
            if !header.is_object() {
                return None;
            }
            headers.take(header, &format!("{at}/headers/{number}"), secrets);
        }
        Some(headers)
    }

    /// Takes the members of an object as headers.
    pub(super) fn take(&mut self, object: Value<'_>, at: &str, secrets: &mut Secrets) {
        for (spelled, value) in object.members() {
            let name = spelled.to_ascii_lowercase();
            if is_secret_header(&name) {
                secrets.add(format!("{at}/{}", escape_token(&spelled)));
            }
            let values = match value.is_array() {
                true => value.elements().collect(),
                false => vec![value],
            };
            for value in values {
                let text = match value.as_str() {
                    Some(text) => text.into_owned(),
                    None if value.is_null() => String::new(),
                    None => value.raw().to_owned(),
                };
                self.0.push((name.clone(), text));
            }
        }
    }

    /// Those that are no secrets, repeated ones joined (RFC 9110 section 5.3).
    pub(super) fn public(&self) -> BTreeMap<String, String> {
        let mut joined: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in self.0.iter().filter(|(name, _)| !is_secret_header(name)) {
            let known = joined.entry(name.clone()).or_default();
            if !known.is_empty() {
                known.push_str(", ");
            }
            known.push_str(value);
        }
        joined
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    /// The one value of a header, where the first was or at the end.
    pub(super) fn set(&mut self, name: &str, value: String) {
        let at = self.0.iter().position(|(known, _)| known == name).unwrap_or(self.0.len());
        self.remove(name);
        self.0.insert(at.min(self.0.len()), (name.to_owned(), value));
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
    }

    pub(super) fn write(&self, list: &mut ArrayWriter<'_>) {
        for (name, value) in &self.0 {
            list.object(|header| {
                header.text(name, value);
            });
        }
    }
}
