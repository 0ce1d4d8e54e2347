//! Reading a request by a mapping.
//!
//! Invariant: a place that the operator does not require may be absent. The mapping was checked
//! before (`mapping`).

use std::borrow::Cow;

use portcullis_model::json::Value;
use portcullis_model::{
    AttributeFilter, Call, Cause, Document, Entity, Grant, Origin, Principal, Secrets,
};

use crate::json_body::{JsonBody, Strings, wanted_attributes};
use crate::mapping::{EntitySource, GrantSource, Mapping, Who};
use crate::request::{ParseContext, ParseError};

/// Reads a request.
pub(super) fn call(
    mapping: &Mapping,
    body: &[u8],
    frame: &ParseContext<'_>,
) -> Result<Call, ParseError> {
    let refuse = |cause| ParseError { cause, detail: "the body".into(), event: None };
    let document = Document::parse(body).map_err(|error| refuse(error.cause))?;
    let id = at(&document, mapping.source.id.as_deref()).and_then(scalar);
    let id = id.filter(|id| (1..=MAX_ID_BYTES).contains(&id.len()));
    let event_id = id.unwrap_or_else(|| frame.own_id());
    let read = JsonBody { document, event_id };
    let missing = |pointer: &&String| at(&read.document, Some(pointer)).is_none();
    if let Some(missing) = mapping.source.required.iter().find(missing) {
        let detail = format!("{missing}, which the setting mapping.required names");
        return Err(read.refuse(Cause::SchemaMismatch, detail));
    }
    // What the operator does not require may be absent, and a value that is none is as good as
    // that.
    let string = |pointer: &Option<String>| at(&read.document, pointer.as_deref()).and_then(scalar);
    let attributes = |pointers: &[String]| {
        let objects = pointers.iter().filter_map(|pointer| at(&read.document, Some(pointer)));
        let objects: Vec<_> = objects.filter(|object| object.is_object()).collect();
        wanted_attributes(AttributeFilter::all(), objects.into_iter().map(Some))
    };
    let principal = |who: &Option<Who>, word: &str, entitlements| {
        let Who { kind, source } = who.as_ref()?;
        let type_name = word_or_pointer(&source.type_name, string);
        Some(Principal {
            kind: *kind,
            type_name: type_name.unwrap_or_else(|| word.to_owned()),
            id: string(&source.id),
            attributes: attributes(&source.attributes),
            entitlements,
        })
    };
    let entity = |source: &Option<EntitySource>, word: &str| {
        let source = source.as_ref()?;
        let type_name = word_or_pointer(&source.type_name, string);
        Some(Entity {
            type_name: type_name.unwrap_or_else(|| word.to_owned()),
            id: word_or_pointer(&source.id, string),
            attributes: attributes(&source.attributes),
        })
    };
    let entitlements = read.entitlements(&frame.settings.entitlements, &[])?;
    let mut requested = Vec::new();
    for GrantSource { kind, at: pointer } in &mapping.source.requested {
        let mut ids = Strings::default();
        if !ids.take_all(at(&read.document, Some(pointer))) {
            return Err(read.unreadable_place(pointer, "mapping.requested"));
        }
        requested.extend(ids.list().into_iter().map(|id| Grant { kind: *kind, id: id.into() }));
    }
    let from = &mapping.source.origin;
    let origin = Origin {
        ip: string(&from.ip),
        country: string(&from.country),
        asn: None,
        user_agent: string(&from.user_agent),
        device: string(&from.device),
        session: string(&from.session),
    };
    let known = [&origin.ip, &origin.country, &origin.user_agent, &origin.device, &origin.session];
    let is_known = known.into_iter().any(Option::is_some);
    let mut secrets = Secrets::default();
    frame.settings.secrets.iter().for_each(|pointer| secrets.add(pointer.clone()));
    Ok(Call {
        correlation: string(&mapping.source.correlation),
        tenant: frame.tenant.to_owned(),
        hook: "generic",
        phase: None,
        received: frame.received,
        seed: frame.seed,
        subject: principal(&mapping.subject, "user", entitlements),
        actors: principal(&mapping.actor, "client", Vec::new()).into_iter().collect(),
        action: entity(&mapping.source.action, "action"),
        resource: entity(&mapping.source.resource, "resource"),
        requested,
        lifetimes: Vec::new(),
        origin: is_known.then_some(origin),
        purpose: string(&mapping.source.purpose),
        proposed: Vec::new(),
        id: read.event_id,
        payload: read.document,
        secrets,
    })
}

/// What a pointer leads to, where it is there and not `null`.
fn at<'a>(document: &'a Document, pointer: Option<&str>) -> Option<Value<'a>> {
    document.pointer(pointer?).filter(|value| !value.is_null())
}

/// A string, or a number as it is spelled: callers number what they call.
fn scalar(value: Value<'_>) -> Option<String> {
    value.as_str().map(Cow::into_owned).or_else(|| value.as_u64().map(|_| value.raw().to_owned()))
}

fn word_or_pointer(
    source: &Option<String>,
    string: impl Fn(&Option<String>) -> Option<String>,
) -> Option<String> {
    match source {
        Some(word) if !word.starts_with('/') => Some(word.clone()),
        pointer => string(pointer),
    }
}

/// The longest event id, bytes.
const MAX_ID_BYTES: usize = 256;
