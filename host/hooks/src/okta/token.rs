//! `okta.token`: Okta's token inline hook, `com.okta.oauth2.tokens.transform`.
//!
//! Invariant: no answer leaves here that Okta would skip; skipped means that the token is issued
//! unmodified. A change of a token that is not issued is left out, since with it Okta would skip
//! all the others.
//!
//! Reading. The subject is `data.context.user`; its attributes are the profile's members, then the access
//! token's claims, then the ID token's, a name from the first of them that has it, even where it is `null`
//! there. Without a user (client credentials) the subject is the client, as a service, with the claims as its
//! attributes. The client is the actor in both cases.

use std::time::Duration;

use portcullis_model::json::Value;
use portcullis_model::{
    Attribution, Call, Change, ChangeKind, Effect, Entity, Grant, GrantKind, Lifetime, Principal,
    PrincipalKind, Target,
};

use super::patch::{LIFETIME, Patch, expiration};
use super::{Context, INLINE_LIMIT, commands, envelope, go_on, stop, unchecked};
use crate::adapter::{Adapter, Behaviour, FailureBehaviour, Shown};
use crate::answer::Answer;
use crate::json_body::{members, object, string, wanted_attributes};
use crate::support::{FallbackTo, Support};
use crate::{
    HookRequest, HookSettings, OnFailure, Outcome, ParseContext, ParseError, Parsed, RenderError,
    RenderErrorKind, Request, SafeAnswerInput,
};

/// The hook kind.
pub(crate) struct Token;

impl Adapter for Token {
    fn inputs(&self, _settings: &HookSettings) -> Vec<&'static str> {
        INPUTS.to_vec()
    }

    fn required(&self) -> &'static [&'static str] {
        &["eventType", "data"]
    }

    fn platform_limit(&self) -> Duration {
        INLINE_LIMIT
    }

    fn default_budget(&self) -> Duration {
        Duration::from_secs(2)
    }

    fn failure_behaviour(&self) -> FailureBehaviour {
        let unmodified = Behaviour::FailsOpen("the token is issued unmodified");
        FailureBehaviour {
            empty: unmodified,
            client_error: unmodified,
            server_error: unmodified,
            timeout: unmodified,
        }
    }

    fn shown(&self) -> Shown {
        Shown::Application("`error_description` of the OAuth error that the application gets")
    }

    fn description(&self) -> &'static str {
        "Okta issues the token unmodified if the hook is late or answers anything but 200, so a \
         closed hook refuses with `200` and `error`, whatever the cause. Restricted: the shortest \
         lifetime and a claim `degraded`, for named applications; all others are refused. Open: \
         `200` and `{}`, but 401 for an unauthenticated caller."
    }

    fn offers_restricted(&self) -> bool {
        true
    }

    fn default_entitlements(&self) -> &'static [&'static str] {
        &[
            "/data/access/claims/groups",
            "/data/access/claims/roles",
            "/data/access/claims/entitlements",
            "/data/identity/claims/groups",
            "/data/identity/claims/roles",
            "/data/identity/claims/entitlements",
        ]
    }

    fn read(&self, request: &Request<'_>, frame: &ParseContext<'_>) -> Result<Parsed, ParseError> {
        Ok(Parsed::Single(parse(request.body, frame)?.into()))
    }

    fn write(&self, incoming: &HookRequest, outcome: &Outcome<'_>) -> Result<Answer, RenderError> {
        render(&incoming.call, outcome)
    }

    fn safe_answer(&self, refusal: &SafeAnswerInput<'_>) -> Answer {
        let SafeAnswerInput { on_failure, cause, incoming, .. } = *refusal;
        let restricted = match (on_failure, incoming) {
            // Where the request itself is wrong, nobody is owed a way around.
            (OnFailure::Restricted { applications }, Some(incoming))
                if cause.attribution() != Attribution::Caller =>
            {
                restricted(&incoming.call, applications)
            }
            _ => None,
        };
        restricted.unwrap_or_else(|| stop(&refusal.text(unchecked(cause, UNCHECKED))))
    }

    fn platform_default(&self, _incoming: Option<&HookRequest>) -> Answer {
        go_on()
    }

    fn skips(&self, incoming: &HookRequest, change: &Change) -> bool {
        let issued = match change.kind().target() {
            Some(Target::IdToken) => token(&incoming.call, "identity"),
            Some(Target::AccessToken) => token(&incoming.call, "access"),
            _ => return false,
        };
        issued.is_none()
    }

    fn effect_support(&self, effect: Effect) -> Support {
        match effect {
            Effect::Abstain | Effect::Allow => Support::Native("200, and the changes as commands"),
            Effect::Deny => {
                Support::Native("200 with `error`: no token is issued and the person sees the text")
            }
            Effect::StepUp => Support::Fallback(
                &[FallbackTo::Deny],
                "`acr` is reserved, and a hook cannot ask for a factor",
            ),
            Effect::Review => {
                Support::Fallback(&[FallbackTo::Deny], "a token cannot wait for a person")
            }
        }
    }

    fn change_support(&self, change: ChangeKind) -> Support {
        use Support::{Fallback, Native, Unsupported};
        match change {
            ChangeKind::Set(Target::IdToken | Target::AccessToken) => Native(
                "`add` or `replace` below `/claims/`; not on reserved claims; `sub` and `aud` in access tokens only",
            ),
            ChangeKind::Remove(Target::IdToken | Target::AccessToken) => Native(
                "`remove` below `/claims/`, of a claim in the request; not on reserved claims",
            ),
            ChangeKind::CapLifetime(Target::IdToken | Target::AccessToken) => Native(
                "`replace` of the expiration, 300 to 86,400 s; a cap under 300 s is a denial",
            ),
            ChangeKind::Set(_) | ChangeKind::Remove(_) | ChangeKind::CapLifetime(_) => {
                Unsupported("the hook changes ID tokens and access tokens only")
            }
            ChangeKind::AddGrant => Unsupported(
                "`scp`, `scope` and `groups` are reserved, so no value can be added to them",
            ),
            ChangeKind::DropGrant => Fallback(
                &[FallbackTo::Deny],
                "`scp`, `scope` and `groups` are reserved, so no value can be removed from them",
            ),
            ChangeKind::LinkUser | ChangeKind::CreateUser => {
                Unsupported("the user is known when a token is issued")
            }
            ChangeKind::Credential => Unsupported("no password is checked when a token is issued"),
            ChangeKind::AutoApprove => Unsupported("no person approves a token"),
            ChangeKind::RequireApprovers => {
                Fallback(&[FallbackTo::Deny], "a token cannot wait for approvers")
            }
            ChangeKind::Statement => {
                Fallback(&[FallbackTo::Deny], "Okta carries out no obligations")
            }
            ChangeKind::Waive => crate::support::waived(),
        }
    }
}

/// Reads a request.
fn parse(body: &[u8], frame: &ParseContext<'_>) -> Result<Call, ParseError> {
    let read = envelope(body, EVENT_TYPE, frame)?.body;
    let data = read.data()?;
    let Context { whole: context, profile, user_id, origin, correlation } = Context::read(data);
    // A user whose description cannot be read is somebody all the same, and no client.
    let is_person = context.and_then(|context| context.get("user")).is_some_and(is_there);
    let protocol = object(context, "protocol");
    let protocol_request = object(protocol, "request");
    let issuer = object(protocol, "issuer");
    let client = object(protocol, "client");
    let identity = object(Some(data), "identity");
    let access = object(Some(data), "access");
    let identity_claims = object(identity, "claims");
    let access_claims = object(access, "claims");
    let scopes = object(access, "scopes");

    let client_id = match string(client, "id") {
        Some(id) => Some(id),
        None => string(protocol_request, "client_id"),
    };
    let entitlements =
        read.entitlements(&frame.settings.entitlements, Token.default_entitlements())?;
    let actor = client_id.map(|id| Principal {
        kind: PrincipalKind::Service,
        type_name: "client".into(),
        id: Some(id),
        attributes: members(client, &["name", "type"]),
        entitlements: Vec::new(),
    });
    let subject = match (is_person, &actor) {
        (true, _) => Some(Principal {
            kind: PrincipalKind::Person,
            type_name: "user".into(),
            id: user_id,
            attributes: wanted_attributes(frame.wanted, [profile, access_claims, identity_claims]),
            entitlements,
        }),
        (false, Some(actor)) => {
            let attributes = wanted_attributes(frame.wanted, [access_claims, identity_claims]);
            Some(Principal { attributes, entitlements, ..actor.clone() })
        }
        (false, None) => None,
    };
    let issuer = string(issuer, "uri");
    let mut lifetimes = Vec::new();
    for (target, token) in [(Target::IdToken, identity), (Target::AccessToken, access)] {
        // One that cannot be read is not known; a cap of it cannot be said then, and stops.
        let seconds = token.and_then(expiration).and_then(Value::as_u64);
        let Some(seconds) = seconds.and_then(|seconds| u32::try_from(seconds).ok()) else {
            continue;
        };
        lifetimes.push(Lifetime { target, seconds, least: LIFETIME.0, most: LIFETIME.1 });
    }
    let requested = scopes.into_iter().flat_map(Value::members);
    let requested = requested
        .map(|(name, _)| Grant { kind: GrantKind::Scope, id: name.into_owned() })
        .collect();
    let action_attributes = members(protocol_request, &["grant_type", "response_type"]);

    Ok(Call {
        correlation,
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
        origin,
        ..read.call("okta.token", frame)
    })
}

/// Writes an answer.
fn render(call: &Call, outcome: &Outcome<'_>) -> Result<Answer, RenderError> {
    if outcome.verdict > Effect::Allow {
        return Ok(stop(&outcome.text_or(DENIED)));
    }
    let mut identity = Patch::new(Target::IdToken, token(call, "identity"));
    let mut access = Patch::new(Target::AccessToken, token(call, "access"));
    for (at, change) in (1..).zip(outcome.changes) {
        let patch = match change.kind().target() {
            Some(Target::IdToken) => Ok(&mut identity),
            Some(Target::AccessToken) => Ok(&mut access),
            _ => Err(RenderErrorKind::Kind),
        };
        patch
            .and_then(|patch| match change {
                Change::Set { path, value, .. } => patch.set(path, value),
                Change::Remove { path, .. } => patch.remove(path),
                Change::CapLifetime { seconds, .. } => patch.cap(*seconds),
                _ => Err(RenderErrorKind::Kind),
            })
            .map_err(|why| RenderError { change: Some((at, change.kind())), why })?;
    }
    let both: Vec<_> = [identity.finish(), access.finish()].into_iter().flatten().collect();
    commands(&both)
}

/// The least that lets care go on: each token for the shortest time, and marked, where the client is one of
/// `applications`. Nothing where that cannot be said; an answer that says less is no restriction.
fn restricted(call: &Call, applications: &[String]) -> Option<Answer> {
    let client = call.actors.first()?.id.as_ref()?;
    if !applications.contains(client) {
        return None;
    }
    let mut changes = Vec::new();
    for (target, name) in [(Target::IdToken, "identity"), (Target::AccessToken, "access")] {
        if token(call, name).is_some() {
            changes.push(Change::CapLifetime { target, seconds: LIFETIME.0 });
            changes.push(Change::Set {
                target,
                path: "/claims/degraded".into(),
                value: "true".into(),
            });
        }
    }
    render(call, &Outcome { verdict: Effect::Allow, changes: &changes, ..Outcome::default() })
        .ok()
        .filter(|_| !changes.is_empty())
}

/// `data.identity` or `data.access`: there where that token is issued, whatever it is.
fn token<'a>(call: &'a Call, name: &str) -> Option<Value<'a>> {
    call.payload.root().get("data")?.get(name).filter(|token| is_there(*token))
}

fn is_there(value: Value<'_>) -> bool {
    !value.is_null()
}

/// The text for a person if there is no decision.
const UNCHECKED: &str = "Your access could not be checked, so you are not signed in. Please try \
     again. If that does not help, call the help desk.";

/// The text for a person if a denial has no text.
const DENIED: &str =
    "You are not allowed to sign in here. Please call the help desk if you should be.";

pub(super) const EVENT_TYPE: &str = "com.okta.oauth2.tokens.transform";

/// The inputs that a call can have.
const INPUTS: &[&str] = &[
    "subject.id",
    "subject.attributes.*",
    "subject.entitlements",
    "actors.id",
    "actors.attributes.name",
    "actors.attributes.type",
    "action.attributes.grant_type",
    "action.attributes.response_type",
    "resource.id",
    "requested",
    "correlation",
    "origin.ip",
    "origin.session",
];
