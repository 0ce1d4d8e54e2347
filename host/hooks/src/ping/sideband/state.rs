//! The state that the gateway keeps from a request for its response.
//!
//! Invariant: it holds no secret and is bounded; a state that is not ours is as good as none.

use std::borrow::Cow;
use std::collections::BTreeMap;

use portcullis_model::json::{Value, build_object};
use portcullis_model::{Attribute, Call, Document};

/// The parts of the request that the response phase needs: opaque to the gateway, which sends them
/// back. Without secrets.
pub(super) struct State {
    pub(super) id: String,
    pub(super) ip: Option<String>,
    pub(super) headers: BTreeMap<String, String>,
}

impl State {
    /// Nothing where it would be too large: then the gateway sends the whole request with the
    /// response.
    pub(super) fn of(call: &Call) -> Option<Self> {
        let attributes = call.action.iter().flat_map(|action| &action.attributes);
        let header = |attribute: &Attribute| {
            let value =
                Document::parse(attribute.value.as_bytes()).ok()?.root().as_str()?.into_owned();
            Some((attribute.name.strip_prefix("header.")?.to_owned(), value))
        };
        let ip = call.origin.as_ref().and_then(|origin| origin.ip.clone());
        let headers: BTreeMap<_, _> = attributes.filter_map(header).collect();
        let room: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        (room <= LARGEST_STATE).then(|| Self { id: call.id.clone(), ip, headers })
    }

    pub(super) fn text(&self) -> String {
        build_object(|object| {
            object.number("v", 1_u8).text("id", &self.id);
            if let Some(ip) = &self.ip {
                object.text("ip", ip);
            }
            object.object("headers", |headers| {
                for (name, value) in &self.headers {
                    headers.text(name, value);
                }
            });
        })
    }

    /// Nothing where it is not ours.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let document = Document::parse(text.as_bytes()).ok()?;
        let root = document.root();
        root.get("v").filter(|version| version.as_u64() == Some(1))?;
        let string = |value: Value<'_>| value.as_str().map(Cow::into_owned);
        let headers = root.get("headers")?.members();
        Some(Self {
            id: root.get("id").and_then(string)?,
            ip: root.get("ip").and_then(string),
            headers: headers
                .map(|(name, value)| Some((name.into_owned(), string(value)?)))
                .collect::<Option<_>>()?,
        })
    }
}

/// The state that a response came with.
pub(super) fn state(response: Option<Value<'_>>) -> Option<State> {
    State::parse(&response?.get("state")?.as_str()?)
}

/// The most that a state holds of headers, bytes.
const LARGEST_STATE: usize = 16 << 10;
