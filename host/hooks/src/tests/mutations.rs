//! Every request of every kind with each of its members left out, `null`, and of every other JSON
//! type: it is decided, or refused by the name of a member that the kind says it cannot do without.

use std::sync::Arc;

use portcullis_model::Cause;
use serde_json::{Value, json};

use super::{OKTA, SETTINGS, TOKEN_OF_A_CLIENT, entra, generic, sideband};
use crate::{HookKind, HookSettings, ParseError, Parsed, Request, read};

/// A request: its kind, its route, its body, and the settings of its hook.
pub(crate) type SampleRequest = (HookKind, &'static str, Value, Arc<HookSettings>);

#[test]
fn a_member_of_another_shape_is_passed_over_or_named() {
    let (mut tried, mut refused) = (0, 0);
    for (kind, route, whole, settings) in requests() {
        assert!(malformed(kind, route, &whole, &settings).is_empty(), "{}", kind.name());
        for pointer in pointers(&whole) {
            for body in mutations(&whole, &pointer) {
                tried += 1;
                for malformed in malformed(kind, route, &body, &settings) {
                    refused += 1;
                    let by_shape =
                        matches!(malformed.cause, Cause::SchemaMismatch | Cause::UnknownEvent);
                    assert!(by_shape, "{} {pointer}: {malformed}", kind.name());
                    let member = malformed.member();
                    let known = kind.required().contains(&&*member)
                        || settings.entitlements.iter().any(|place| *place == member)
                        || member == "/user/id"
                        || member == "/roles";
                    assert!(known, "{} {pointer}: `{member}` is none of its required", kind.name());
                    let (named, mutated) = (plain(&member), plain(&pointer));
                    let inside = named == mutated
                        || named.starts_with(&format!("{mutated}."))
                        || mutated.starts_with(&format!("{named}."));
                    // The form of a request tells what it has to have.
                    let pim = kind == HookKind::EntraPim;
                    let form = pim
                        && (mutated.starts_with('@')
                            || named.starts_with('@')
                            || mutated == "properties")
                        || kind == HookKind::EntraEntitlement && mutated == "event"
                        // One of several requests that is none has no name of its own, or lacks
                        // what it needs.
                        || named.starts_with("the ")
                        || kind == HookKind::PingPdp && mutated.starts_with("requests");
                    assert!(inside || form, "{} {pointer}: refused for `{member}`", kind.name());
                }
            }
        }
    }
    assert!(tried > 8_000, "{tried} mutations");
    assert!(refused * 4 < tried, "{refused} of {tried} refused: most members are optional");
}

#[test]
fn every_required_member_is_missed() {
    for (kind, route, whole, settings) in requests() {
        for member in kind.required() {
            let mut places = pointers(&whole);
            places.retain(|pointer| plain(pointer) == plain(member));
            // Some are wanted on another route, or are refused only where they are there and say
            // something unknown.
            if places.is_empty() {
                continue;
            }
            let named = places.iter().flat_map(|place| mutations(&whole, place)).any(|body| {
                let found = malformed(kind, route, &body, &settings);
                found.iter().any(|it| plain(&it.member()) == plain(member))
            });
            assert!(named || is_needed_elsewhere(kind, route, member), "{} {member}", kind.name());
        }
    }
}

/// Members that another form or route of the kind needs.
fn is_needed_elsewhere(kind: HookKind, route: &str, member: &str) -> bool {
    match kind {
        HookKind::EntraEntitlement => true,
        HookKind::Authzen => route != "/access/v1/evaluation",
        HookKind::PingSideband => member == "response_code",
        // The password is missed first.
        HookKind::EntraPasswordSubmit => member == "data",
        _ => false,
    }
}

pub(crate) fn requests() -> Vec<SampleRequest> {
    let plain = Arc::new(SETTINGS.clone());
    let mut all: Vec<SampleRequest> = Vec::new();
    for (kind, body) in OKTA.into_iter().chain([(HookKind::OktaToken, TOKEN_OF_A_CLIENT)]) {
        all.push((kind, "", serde_json::from_str(body).unwrap(), Arc::clone(&plain)));
    }
    let progressive = include_str!("../../tests/payloads/registration-progressive.json");
    let events = include_str!("../../tests/payloads/events.json");
    for (kind, body) in [(HookKind::OktaRegistration, progressive), (HookKind::OktaEvent, events)] {
        all.push((kind, "", serde_json::from_str(body).unwrap(), Arc::clone(&plain)));
    }
    let rows = include_str!("../../tests/payloads/entra/sign-in-log.json");
    let rows = serde_json::from_str(rows).unwrap();
    all.push((HookKind::EntraSignInLog, "", rows, Arc::clone(&plain)));
    let decrypting = Arc::new(entra::settings());
    for (kind, body) in entra::bodies() {
        all.push((kind, "", body, Arc::clone(&decrypting)));
    }
    let question = json!({
        "subject": {"type": "user", "id": "noor", "properties": {"roles": ["nurse"], "ip_address": "192.0.2.1"}},
        "action": {"name": "read", "properties": {"x": false}},
        "resource": {"type": "chart", "id": "42", "properties": {"ward": "4b"}},
        "context": {"purpose": "treatment"},
    });
    let mut search = question.clone();
    search["page"] = json!({"token": "t", "limit": 3, "properties": {}});
    let mut several = question.clone();
    several["evaluations"] = json!([{"resource": {"type": "chart", "id": "43"}}, {}]);
    several["options"] = json!({"evaluations_semantic": "execute_all", "another": 1});
    for (route, body) in [
        ("/access/v1/evaluation", question),
        ("/access/v1/search/subject", search.clone()),
        ("/access/v1/search/action", search),
        ("/access/v1/evaluations", several),
    ] {
        all.push((HookKind::Authzen, route, body, Arc::clone(&plain)));
    }
    let one = json!({"domain": "d", "action": "a", "service": "s", "identityProvider": "i", "attributes": {"User": "u", "n": "1"}});
    let batch = json!({"requests": [one.clone(), {"attributes": {}}]});
    let query =
        json!({"query": [{"attribute": "Action", "values": ["edit", "view"]}], "context": one});
    for (route, body) in [
        ("/governance-engine", one.clone()),
        ("/governance-engine/batch", batch),
        ("/governance-engine/query", query),
    ] {
        all.push((HookKind::PingPdp, route, body, Arc::clone(&plain)));
    }
    for (route, body) in sideband::bodies() {
        all.push((HookKind::PingSideband, route, body, Arc::clone(&plain)));
    }
    let (body, settings) = generic::sample();
    all.push((HookKind::Generic, "", body, Arc::new(settings)));
    all
}

/// Why a request, or each part of it, is refused.
fn malformed(
    kind: HookKind,
    route: &'static str,
    body: &Value,
    settings: &HookSettings,
) -> Vec<ParseError> {
    let header = |name: &str| (name == "content-type").then_some("application/json");
    let body = body.to_string();
    let request =
        Request { get: false, route, header: &header, searches: true, body: body.as_bytes() };
    let frame = crate::ParseContext { settings, ..super::frame() };
    match read(kind, &request, &frame) {
        Ok(Parsed::Batch(batch)) => {
            batch.items.into_iter().filter_map(Result::err).map(|unread| unread.malformed).collect()
        }
        Ok(_) => Vec::new(),
        Err(malformed) => vec![malformed],
    }
}

/// The body without a member, and with it as every other type.
fn mutations(whole: &Value, pointer: &str) -> Vec<Value> {
    let values = [
        json!(null),
        json!(true),
        json!(7),
        json!(-1.5),
        json!(""),
        json!("x"),
        json!([]),
        json!({}),
        json!([1, null, "x"]),
        json!({"x": ["y"]}),
    ];
    let with = |value: Value| {
        let mut body = whole.clone();
        *body.pointer_mut(pointer).unwrap() = value;
        body
    };
    let mut bodies: Vec<_> = values.into_iter().map(with).collect();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let mut without = whole.clone();
    if let Some(members) = without.pointer_mut(parent).unwrap().as_object_mut() {
        members.remove(&name.replace("~1", "/").replace("~0", "~"));
        bodies.push(without);
    }
    bodies
}

/// Every member and element, as JSON Pointers.
fn pointers(whole: &Value) -> Vec<String> {
    fn below(value: &Value, at: &str, into: &mut Vec<String>) {
        let members = value.as_object().into_iter().flatten();
        let members =
            members.map(|(name, value)| (name.replace('~', "~0").replace('/', "~1"), value));
        let elements = value.as_array().into_iter().flatten().enumerate();
        let elements = elements.map(|(index, value)| (index.to_string(), value));
        for (name, value) in members.chain(elements) {
            let pointer = format!("{at}/{name}");
            below(value, &pointer, into);
            into.push(pointer);
        }
    }
    let mut all = Vec::new();
    below(whole, "", &mut all);
    all
}

/// A member's path: names in lower case joined by dots, without the places in lists.
fn plain(member: &str) -> String {
    let names = member.split('/').filter(|name| !name.is_empty() && name.parse::<usize>().is_err());
    let path = names.collect::<Vec<_>>().join(".").to_ascii_lowercase();
    // One of several requests stands for each; a query's context is a request too.
    for list in ["requests.", "evaluations."] {
        if let Some(inside) = path.strip_prefix(list) {
            return inside.to_owned();
        }
    }
    path.strip_prefix("properties.").map_or(path.clone(), str::to_owned)
}
