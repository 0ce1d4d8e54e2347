//! `okta.token`: Okta's token inline hook, `com.okta.oauth2.tokens.transform`.
//!
//! Invariant: no answer leaves here that Okta would skip; skipped means that the token is issued unmodified.
//!
//! Reading. The subject is `data.context.user`; its attributes are the profile's members, then the access
//! token's claims, then the ID token's, a name from the first of them that has it, even where it is `null`
//! there. Without a user (client credentials) the subject is the client, as a service, with the claims as its
//! attributes. The client is the actor in both cases.

use std::sync::Arc;

use portcullis_model::json::Value;
use portcullis_model::{
    Call, Cause, Change, Effect, Entity, Grant, GrantKind, Lifetime, Origin, Principal, PrincipalKind, Target,
};

use super::patch::{LIFETIME, Patch, expiration};
use super::{Envelope, attributes, commands, members, stop};
use crate::answer::Answer;
use crate::kind::HookKind;
use crate::{Frame, Malformed, Outcome, Unsayable, Why};

/// Reads a request.
pub(crate) fn parse(body: &[u8], frame: &Frame) -> Result<Call, Malformed> {
    let envelope = Envelope::parse(body, EVENT_TYPE)?;
    let data = envelope.data()?;
    let context = envelope.object(Some(data), "data.context")?;
    let request = envelope.object(context, "data.context.request")?;
    let session = envelope.object(context, "data.context.session")?;
    let user = envelope.object(context, "data.context.user")?;
    let profile = envelope.object(user, "data.context.user.profile")?;
    let protocol = envelope.object(context, "data.context.protocol")?;
    let asked = envelope.object(protocol, "data.context.protocol.request")?;
    let issuer = envelope.object(protocol, "data.context.protocol.issuer")?;
    let client = envelope.object(protocol, "data.context.protocol.client")?;
    let identity = envelope.object(Some(data), "data.identity")?;
    let access = envelope.object(Some(data), "data.access")?;
    let identity_claims = envelope.object(identity, "data.identity.claims")?;
    let access_claims = envelope.object(access, "data.access.claims")?;
    let scopes = envelope.object(access, "data.access.scopes")?;

    let client_id = match envelope.string(client, "data.context.protocol.client.id")? {
        Some(id) => Some(id),
        None => envelope.string(asked, "data.context.protocol.request.client_id")?,
    };
    let entitlements = envelope.entitlements(&frame.entitlements, HookKind::OktaToken.default_entitlements())?;
    let actor = client_id.map(|id| Principal {
        kind: PrincipalKind::Service,
        type_name: "client".into(),
        id: Some(id),
        attributes: members(client, &["name", "type"]),
        entitlements: Vec::new(),
    });
    let subject = match (user, &actor) {
        (Some(_), _) => Some(Principal {
            kind: PrincipalKind::Person,
            type_name: "user".into(),
            id: envelope.string(user, "data.context.user.id")?,
            attributes: attributes([profile, access_claims, identity_claims]),
            entitlements,
        }),
        (None, Some(actor)) => {
            Some(Principal { attributes: attributes([access_claims, identity_claims]), entitlements, ..actor.clone() })
        }
        (None, None) => None,
    };
    let origin = Origin {
        ip: envelope.string(request, "data.context.request.ipAddress")?,
        session: envelope.string(session, "data.context.session.id")?,
        ..Origin::default()
    };
    let issuer = envelope.string(issuer, "data.context.protocol.issuer.uri")?;
    let correlation = envelope.string(request, "data.context.request.id")?;
    let mut lifetimes = Vec::new();
    for (target, token, path) in [
        (Target::IdToken, identity, "data.identity.token.lifetime.expiration"),
        (Target::AccessToken, access, "data.access.token.lifetime.expiration"),
    ] {
        let Some(value) = token.and_then(expiration) else {
            continue;
        };
        let seconds = value.as_u64().and_then(|seconds| u32::try_from(seconds).ok());
        let seconds = seconds.ok_or_else(|| envelope.refuse(Cause::WrongShape, path))?;
        lifetimes.push(Lifetime { target, seconds, least: LIFETIME.0, most: LIFETIME.1 });
    }
    let requested = scopes.into_iter().flat_map(Value::members);
    let requested = requested.map(|(name, _)| Grant { kind: GrantKind::Scope, id: name.into_owned() }).collect();
    let action_attributes = members(asked, &["grant_type", "response_type"]);

    Ok(Call {
        correlation,
        tenant: frame.tenant.clone(),
        hook: HookKind::OktaToken.name(),
        phase: None,
        received: frame.received,
        seed: frame.seed,
        subject,
        actors: actor.into_iter().collect(),
        action: Some(Entity { type_name: "token".into(), id: None, attributes: action_attributes }),
        resource: issuer.map(|uri| Entity {
            type_name: "authorization-server".into(),
            id: Some(uri),
            attributes: Vec::new(),
        }),
        requested,
        lifetimes,
        origin: (origin.ip.is_some() || origin.session.is_some()).then_some(origin),
        purpose: None,
        proposed: Vec::new(),
        id: envelope.event_id,
        payload: Arc::new(envelope.document),
    })
}

/// Writes an answer.
pub(crate) fn render(call: &Call, outcome: &Outcome<'_>) -> Result<Answer, Unsayable> {
    if outcome.verdict > Effect::Allow {
        return Ok(stop(outcome.text.unwrap_or(DENIED)));
    }
    let mut identity = Patch::new(Target::IdToken, token(call, "identity"));
    let mut access = Patch::new(Target::AccessToken, token(call, "access"));
    for (at, change) in (1..).zip(outcome.changes) {
        let patch = match change.kind().target() {
            Some(Target::IdToken) => Ok(&mut identity),
            Some(Target::AccessToken) => Ok(&mut access),
            _ => Err(Why::Kind),
        };
        patch
            .and_then(|patch| match change {
                Change::Set { path, value, .. } => patch.set(path, value),
                Change::Remove { path, .. } => patch.remove(path),
                Change::CapLifetime { seconds, .. } => patch.cap(*seconds),
                _ => Err(Why::Kind),
            })
            .map_err(|why| Unsayable { change: Some((at, change.kind())), why })?;
    }
    let both: Vec<_> = [identity.finish(), access.finish()].into_iter().flatten().collect();
    commands(&both)
}

/// The least that lets care go on: each token for the shortest time, and marked, where the client is one of
/// `applications`. Nothing where that cannot be said; an answer that says less is no restriction.
pub(crate) fn restricted(call: &Call, applications: &[String]) -> Option<Answer> {
    let client = call.actors.first()?.id.as_ref()?;
    if !applications.contains(client) {
        return None;
    }
    let mut changes = Vec::new();
    for (target, name) in [(Target::IdToken, "identity"), (Target::AccessToken, "access")] {
        if token(call, name).is_some() {
            changes.push(Change::CapLifetime { target, seconds: LIFETIME.0 });
            changes.push(Change::Set { target, path: "/claims/degraded".into(), value: "true".into() });
        }
    }
    render(call, &Outcome { verdict: Effect::Allow, changes: &changes, text: None })
        .ok()
        .filter(|_| !changes.is_empty())
}

/// `data.identity` or `data.access`: there where that token is issued.
fn token<'a>(call: &'a Call, name: &str) -> Option<Value<'a>> {
    call.payload.root().get("data")?.get(name).filter(|token| token.is_object())
}

/// What a person reads where there is no decision.
pub(crate) const UNCHECKED: &str = "Access could not be checked. Please try again or call the help desk.";

/// What a person reads where a denial has no text.
const DENIED: &str = "Access is denied. Please call the help desk.";

const EVENT_TYPE: &str = "com.okta.oauth2.tokens.transform";
