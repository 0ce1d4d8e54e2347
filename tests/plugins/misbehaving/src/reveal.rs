//! Everything of a call that a plugin can see, as JSON.

use portcullis_guest::{Attribute, Call, Change, Entity, Principal};
use serde_json::{Value, json};

/// All of it; what is absent is `null` or empty.
pub fn reveal(call: &Call) -> Value {
    let origin = call.origin.as_ref().map(|origin| {
        json!({
            "ip": origin.ip, "country": origin.country, "asn": origin.asn,
            "user_agent": origin.user_agent, "device": origin.device, "session": origin.session,
        })
    });
    json!({
        "id": call.id,
        "correlation": call.correlation,
        "tenant": call.tenant,
        "hook": call.hook,
        "phase": call.phase,
        "received": call.received,
        "seed": call.seed,
        "subject": call.subject.as_ref().map(principal),
        "actors": call.actors.iter().map(principal).collect::<Vec<_>>(),
        "action": call.action.as_ref().map(entity),
        "resource": call.resource.as_ref().map(entity),
        "requested": call.requested.iter().map(|grant| grant.spelled()).collect::<Vec<_>>(),
        "lifetimes": call.lifetimes.iter().map(|lifetime| json!([lifetime.target.name(), lifetime.seconds, lifetime.least, lifetime.most])).collect::<Vec<_>>(),
        "origin": origin,
        "purpose": call.purpose,
        "proposed": call.proposed.iter().map(change).collect::<Vec<_>>(),
        "payload": json_text(&call.payload),
    })
}

fn principal(principal: &Principal) -> Value {
    json!({
        "type": principal.type_name, "id": principal.id,
        "attributes": attributes(&principal.attributes), "entitlements": principal.entitlements,
    })
}

fn entity(entity: &Entity) -> Value {
    json!({ "type": entity.type_name, "id": entity.id, "attributes": attributes(&entity.attributes) })
}

fn attributes(attributes: &[Attribute]) -> Value {
    attributes
        .iter()
        .map(|attribute| (attribute.name.clone(), json_text(&attribute.value)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn change(change: &Change) -> Value {
    match change {
        Change::Set(edit) => json!(["set", edit.target.name(), edit.path, json_text(&edit.value)]),
        Change::Remove(place) => json!(["remove", place.target.name(), place.path]),
        Change::CapLifetime(cap) => json!(["cap-lifetime", cap.target.name(), cap.seconds]),
        Change::AddGrant(grant) => json!(["add-grant", grant.spelled()]),
        Change::DropGrant(grant) => json!(["drop-grant", grant.spelled()]),
        other => json!([format!("{other:?}")]),
    }
}

fn json_text(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| json!({ "not-json": text }))
}
