//! Reading a request of the sideband API.
//!
//! Invariant: credentials among the headers, in the query and in the body become secrets of the
//! call while it is read.

use std::borrow::Cow;

use portcullis_model::json::{Value, build_text};
use portcullis_model::{Attribute, Call, Cause, Entity, Origin, Principal, PrincipalKind, Secrets};

use super::super::secret::{is_secret_body, is_secret_query};
use super::headers::Headers;
use super::state::state;
use super::{PHASE_REQUEST, PHASE_RESPONSE};
use crate::json_body::{JsonBody, object, spelled, string};
use crate::request::{HookRequest, ParseContext, ParseError};

/// Reads one request.
pub(super) fn parse(
    read: JsonBody,
    is_response: bool,
    frame: &ParseContext<'_>,
) -> Result<HookRequest, ParseError> {
    let root = Some(read.document.root());
    // An empty one is passed on as it is.
    let required =
        |name| string(root, name).ok_or_else(|| read.refuse(Cause::SchemaMismatch, name));
    let method = required("method")?;
    let url = required("url")?;
    let body = passed_on(root, "body").unwrap_or_default();
    let mut secrets = Secrets::default();
    frame.settings.secrets.iter().for_each(|pointer| secrets.add(pointer.clone()));
    let headers = Headers::read(root, "", &mut secrets)
        .ok_or_else(|| read.refuse(Cause::SchemaMismatch, "headers"))?;
    let mut action_attributes = named(&["http_version"], root);
    let mut origin = Origin { ip: string(root, "source_ip"), ..Origin::default() };
    let mut correlation = None;
    let certificate = object(root, "client_certificate");
    if is_response {
        if spelled(root, "response_code").is_none() {
            return Err(read.refuse(Cause::SchemaMismatch, "response_code"));
        }
        action_attributes.extend(named(&["response_code", "response_status"], root));
        let original = object(root, "request");
        // One that is not ours is as good as none: what it would have told is then absent, as from
        // a gateway that keeps no state.
        if let Some(state) = state(root) {
            correlation = Some(state.id);
            origin.ip = state.ip;
            action_attributes.extend(
                state.headers.into_iter().map(|(name, value)| attribute("request", &name, &value)),
            );
        } else if original.is_some() {
            // Headers that cannot be read could be credentials, every one of them.
            let sent = Headers::read(original, "/request", &mut secrets).unwrap_or_else(|| {
                secrets.add("/request/headers".into());
                Headers::default()
            });
            action_attributes.extend(
                sent.public().iter().map(|(name, value)| attribute("request", name, value)),
            );
            origin.ip = string(original, "source_ip");
            if passed_on(original, "body").is_some_and(|body| is_secret_body(&body)) {
                secrets.add("/request/body".into());
            }
            if passed_on(original, "url").is_some_and(|url| is_secret_query(&url)) {
                secrets.add("/request/url".into());
            }
        }
    }
    let public = headers.public();
    origin.user_agent = public.get("user-agent").filter(|_| !is_response).cloned();
    action_attributes.extend(public.iter().map(|(name, value)| attribute("header", name, value)));
    if is_secret_query(&url) {
        secrets.add("/url".into());
    }
    if is_secret_body(&body) {
        secrets.add("/body".into());
    }
    let (place, query) = url.split_once(['?', '#']).unwrap_or((&url, ""));
    let (host, path) = parts(place);
    let mut resource_attributes =
        vec![json_attribute("host", &build_text(host)), json_attribute("path", &build_text(path))];
    if !query.is_empty() && !is_secret_query(&url) {
        resource_attributes.push(json_attribute("query", &build_text(query)));
    }
    let actor = certificate.map(|certificate| Principal {
        kind: PrincipalKind::Service,
        type_name: "client".into(),
        id: None,
        attributes: vec![json_attribute("client_certificate", certificate.raw())],
        entitlements: Vec::new(),
    });
    Ok(Call {
        correlation,
        tenant: frame.tenant.to_owned(),
        hook: "ping.sideband",
        phase: Some(if is_response { PHASE_RESPONSE } else { PHASE_REQUEST }.to_owned()),
        received: frame.received,
        seed: frame.seed,
        subject: None,
        actors: actor.into_iter().collect(),
        action: Some(Entity {
            type_name: "method".into(),
            id: Some(method),
            attributes: action_attributes,
        }),
        resource: Some(Entity {
            type_name: "url".into(),
            id: Some(place.to_owned()),
            attributes: resource_attributes,
        }),
        requested: Vec::new(),
        lifetimes: Vec::new(),
        origin: (origin.ip.is_some() || origin.user_agent.is_some()).then_some(origin),
        purpose: None,
        proposed: Vec::new(),
        id: read.event_id,
        payload: read.document,
        secrets,
    }
    .into())
}

/// Host and path of an absolute URL; of another, all is path.
fn parts(url: &str) -> (&str, &str) {
    let Some((_, rest)) = url.split_once("://") else { return ("", url) };
    let end = rest.find('/').unwrap_or(rest.len());
    rest.split_at(end)
}

/// Members that are strings or whole numbers, as attributes.
fn named(names: &[&'static str], root: Option<Value<'_>>) -> Vec<Attribute> {
    let member = |name: &&str| Some(json_attribute(name, &build_text(&spelled(root, name)?)));
    names.iter().filter_map(member).collect()
}

/// A value that passes through as text: a string, or anything else as it is spelled.
fn passed_on(root: Option<Value<'_>>, name: &str) -> Option<String> {
    let value = root?.get(name).filter(|value| !value.is_null())?;
    Some(value.as_str().map_or_else(|| value.raw().to_owned(), Cow::into_owned))
}

fn attribute(message: &str, name: &str, value: &str) -> Attribute {
    json_attribute(&format!("{message}.{name}"), &build_text(value))
}

fn json_attribute(name: &str, value: &str) -> Attribute {
    Attribute { name: name.into(), value: value.into() }
}
