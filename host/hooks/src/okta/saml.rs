//! `okta.saml`: Okta's SAML assertion inline hook, `com.okta.saml.tokens.transform`.
//!
//! Invariant: no answer leaves here that Okta would skip; skipped means that the assertion leaves unmodified.
//!
//! Reading. The subject is `data.context.user`; its attributes are the profile's members, then the assertion's statements, each as its
//! plain value, or as the list of its values where there are several. The application that the assertion is for is the resource and what is
//! requested. The lifetime is that of the application's session: it ends by the assertion only where that says `sessionLifetime`, so
//! elsewhere it is without end.

use std::borrow::Cow;
use std::time::Duration;

use portcullis_model::json::{Value, build_array};
use portcullis_model::{
    Attribute, Attribution, Call, Change, ChangeKind, Effect, Entity, Grant, GrantKind, Lifetime,
    Principal, PrincipalKind, Target, Text,
};

use super::assertion::{LIFETIME, Patch, SESSION_LIFETIME};
use super::{Context, INLINE_LIMIT, commands, envelope, go_on, stop, unchecked};
use crate::adapter::{Adapter, Behaviour, FailureBehaviour, Shown};
use crate::answer::Answer;
use crate::json_body::{JsonBody, Strings, first_of_each, members, object, string};
use crate::support::{FallbackTo, Support};
use crate::{
    HookRequest, HookSettings, OnFailure, Outcome, ParseContext, ParseError, Parsed, RenderError,
    RenderErrorKind, Request, SafeAnswerInput,
};

/// The hook kind.
pub(crate) struct Saml;

impl Adapter for Saml {
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
        let unmodified = Behaviour::FailsOpen("the assertion is sent unmodified");
        FailureBehaviour {
            empty: unmodified,
            client_error: unmodified,
            server_error: unmodified,
            timeout: unmodified,
        }
    }

    fn shown(&self) -> Shown {
        Shown::Person(
            "on Okta's error page (`errorSummary`), by its release notes of 2019; its reference \
             describes an entry in the log only",
        )
    }

    fn description(&self) -> &'static str {
        "Okta sends the assertion unmodified if the hook is late or answers anything but 200, so a \
         closed hook refuses with `200` and `error`, whatever the cause. Okta's documents differ \
         about `error`: by the release notes of 2019 the person is refused and sees the text, by \
         the reference a failure is logged; try it in your own organisation before you rely on it. \
         Restricted: the shortest session and a statement `degraded`, for named applications (by \
         application id); all others are refused. Open: `200` and `{}`, but 401 for an \
         unauthenticated caller."
    }

    fn offers_restricted(&self) -> bool {
        true
    }

    fn default_entitlements(&self) -> &'static [&'static str] {
        &[
            "/data/assertion/claims/groups",
            "/data/assertion/claims/roles",
            "/data/assertion/claims/entitlements",
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

    fn effect_support(&self, effect: Effect) -> Support {
        match effect {
            Effect::Abstain | Effect::Allow => Support::Native("200, and the changes as commands"),
            Effect::Deny => Support::Native(
                "200 with `error`: no assertion is sent, as far as Okta's documents agree; see \
                 above",
            ),
            Effect::StepUp => {
                Support::Fallback(&[FallbackTo::Deny], "a hook cannot ask for a factor")
            }
            Effect::Review => {
                Support::Fallback(&[FallbackTo::Deny], "an assertion cannot wait for a person")
            }
        }
    }

    fn change_support(&self, change: ChangeKind) -> Support {
        use Support::{Fallback, Native, Unsupported};
        match change {
            ChangeKind::Set(Target::Assertion) => Native(
                "`add` of a statement `/claims/NAME`, from a plain value, a list of them, or \
                 Okta's form; `replace` of a present value below `/claims/`, `/subject/`, \
                 `/authentication/` and `/conditions/`, in the same shape",
            ),
            ChangeKind::CapLifetime(Target::Assertion) => Native(
                "`/authentication/sessionLifetime`, which becomes `SessionNotOnOrAfter`; 300 to 86,400 s; a cap under 300 s is a denial",
            ),
            ChangeKind::Remove(Target::Assertion) => {
                Fallback(&[FallbackTo::Deny], "an answer adds and replaces, and removes nothing")
            }
            ChangeKind::Set(_) | ChangeKind::Remove(_) | ChangeKind::CapLifetime(_) => {
                Unsupported("the hook changes the assertion only")
            }
            ChangeKind::AddGrant => Unsupported(
                "an assertion grants nothing by itself; set a statement that the application reads",
            ),
            ChangeKind::DropGrant => {
                Fallback(&[FallbackTo::Deny], "an answer removes no part of an assertion")
            }
            ChangeKind::LinkUser | ChangeKind::CreateUser => {
                Unsupported("the user is known when an assertion is made")
            }
            ChangeKind::Credential => {
                Unsupported("no password is checked when an assertion is made")
            }
            ChangeKind::AutoApprove => Unsupported("no person approves an assertion"),
            ChangeKind::RequireApprovers => {
                Fallback(&[FallbackTo::Deny], "an assertion cannot wait for approvers")
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
    let user = context.and_then(|context| context.get("user")).filter(|user| !user.is_null());
    let protocol = object(context, "protocol");
    let issuer = object(protocol, "issuer");
    let assertion = object(Some(data), "assertion");
    let authentication = object(assertion, "authentication");
    let authentication_context = object(authentication, "authnContext");
    let conditions = object(assertion, "conditions");
    let claims = object(assertion, "claims");

    let application = string(issuer, "id");
    let subject = match user {
        Some(_) => Some(Principal {
            kind: PrincipalKind::Person,
            type_name: "user".into(),
            id: user_id,
            attributes: attributes(profile, claims),
            entitlements: entitlements(&read, &frame.settings.entitlements)?,
        }),
        None => None,
    };
    let session = authentication.and_then(|it| it.get(SESSION_LIFETIME)).and_then(Value::as_u64);
    let seconds = session.and_then(|seconds| u32::try_from(seconds).ok()).unwrap_or(u32::MAX);
    let lifetime = assertion.map(|_| Lifetime {
        target: Target::Assertion,
        seconds,
        least: LIFETIME.0,
        most: LIFETIME.1,
    });
    let mut resource_attributes = members(issuer, &["name", "uri"]);
    resource_attributes.extend(members(conditions, &["audienceRestriction"]));

    Ok(Call {
        correlation,
        subject,
        action: Some(Entity {
            type_name: "assertion".into(),
            id: None,
            attributes: members(authentication_context, &["authnContextClassRef"]),
        }),
        resource: issuer.map(|_| Entity {
            type_name: "application".into(),
            id: application.clone(),
            attributes: resource_attributes,
        }),
        requested: application.into_iter().map(|id| Grant { kind: GrantKind::App, id }).collect(),
        lifetimes: lifetime.into_iter().collect(),
        origin,
        ..read.call("okta.saml", frame)
    })
}

/// The profile's members, then the statements that are not among them.
fn attributes(profile: Option<Value<'_>>, claims: Option<Value<'_>>) -> Vec<Attribute> {
    let mut named: Vec<(Cow<'_, str>, Text)> = profile
        .into_iter()
        .flat_map(Value::members)
        .map(|(name, value)| (name, value.text()))
        .collect();
    for (name, claim) in claims.into_iter().flat_map(Value::members) {
        named.push((name, plain(claim)));
    }
    let named = first_of_each(named).into_iter();
    named.map(|(name, value)| Attribute { name: name.into(), value }).collect()
}

/// The value of a statement, without how it is written: JSON text. A value in no form that Okta
/// documents stands as it came.
fn plain(claim: Value<'_>) -> Text {
    if !claim.is_object() {
        return claim.text();
    }
    let values = claim.get("attributeValues").into_iter().flat_map(Value::elements);
    let value = |value: Value<'_>| match value.is_object() {
        true => value.get("value").map_or("null".into(), Value::text),
        false => value.text(),
    };
    let values: Vec<_> = values.map(value).collect();
    match values.as_slice() {
        [] => "null".into(),
        [value] => value.clone(),
        several => build_array(|array| {
            array.jsons(several);
        })
        .into(),
    }
}

/// Reads the values that statements list, or plain lists elsewhere in the body.
fn entitlements(read: &JsonBody, pointers: &[String]) -> Result<Vec<Text>, ParseError> {
    let mut found = Strings::default();
    if pointers.is_empty() {
        for pointer in Saml.default_entitlements() {
            let place = read.document.pointer(pointer);
            found.take(place);
            let values = place.and_then(|place| place.get("attributeValues"));
            for element in values.into_iter().flat_map(Value::elements) {
                found.take(Some(element));
                found.take(element.get("value"));
            }
        }
    }
    for pointer in pointers {
        let place = read.document.pointer(pointer);
        let readable = match statement(place) {
            Some(values) => values
                .into_iter()
                .flat_map(Value::elements)
                .all(|element| found.take_all(element.get("value").or(Some(element)))),
            None => found.take_all(place),
        };
        if !readable {
            return Err(read.unreadable_place(pointer, "entitlements"));
        }
    }
    Ok(found.list())
}

/// The values of a statement, where the place is one in Okta's form; nothing where it has another.
fn statement(place: Option<Value<'_>>) -> Option<Option<Value<'_>>> {
    let values = place?.get("attributeValues").filter(|values| !values.is_null());
    match values {
        Some(values) => values.is_array().then_some(Some(values)),
        None => place?.get("attributes").map(|_| None),
    }
}

/// Writes an answer.
fn render(call: &Call, outcome: &Outcome<'_>) -> Result<Answer, RenderError> {
    if outcome.verdict > Effect::Allow {
        return Ok(stop(&outcome.text_or(DENIED)));
    }
    let mut patch = Patch::new(assertion(call));
    for (at, change) in (1..).zip(outcome.changes) {
        match change {
            Change::Set { target: Target::Assertion, path, value } => patch.set(path, value),
            Change::CapLifetime { target: Target::Assertion, seconds } => patch.cap(*seconds),
            _ => Err(RenderErrorKind::Kind),
        }
        .map_err(|why| RenderError { change: Some((at, change.kind())), why })?;
    }
    let command: Vec<_> = patch.finish().into_iter().collect();
    commands(&command)
}

/// The least that lets care go on: the shortest session, and marked, where the application is one of `applications`. Nothing where that
/// cannot be said; an answer that says less is no restriction.
fn restricted(call: &Call, applications: &[String]) -> Option<Answer> {
    let application = call.resource.as_ref()?.id.as_ref()?;
    if !applications.contains(application) {
        return None;
    }
    let degraded = Change::Set {
        target: Target::Assertion,
        path: "/claims/degraded".into(),
        value: "true".into(),
    };
    let changes =
        [degraded, Change::CapLifetime { target: Target::Assertion, seconds: LIFETIME.0 }];
    render(call, &Outcome { verdict: Effect::Allow, changes: &changes, ..Outcome::default() }).ok()
}

/// `data.assertion`.
fn assertion(call: &Call) -> Option<Value<'_>> {
    call.payload.root().get("data")?.get("assertion").filter(|assertion| assertion.is_object())
}

/// The text for a person if there is no decision.
const UNCHECKED: &str = "Your access could not be checked, so you are not signed in. Please try \
     again. If that does not help, call the help desk.";

/// The text for a person if a denial has no text.
const DENIED: &str =
    "You are not allowed to sign in here. Please call the help desk if you should be.";

pub(super) const EVENT_TYPE: &str = "com.okta.saml.tokens.transform";

/// The inputs that a call can have.
const INPUTS: &[&str] = &[
    "subject.id",
    "subject.attributes.*",
    "subject.entitlements",
    "action.attributes.authnContextClassRef",
    "resource.id",
    "resource.attributes.name",
    "resource.attributes.uri",
    "resource.attributes.audienceRestriction",
    "requested",
    "correlation",
    "origin.ip",
    "origin.session",
];
