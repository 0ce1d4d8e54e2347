//! `okta.registration`: Okta's registration inline hook, `com.okta.user.pre-registration`: self-service registration and progressive
//! profile.
//!
//! Invariant: a profile is only changed by the command of its form, and a denial never carries one: with `error` Okta runs no command.
//! A password is never set.
//!
//! Reading. A call without `requestType` is a self-service registration, as the Classic Engine sends it. The subject is who registers: what
//! the form says, over what the profile says where there is one already. What the form says alone is the action's.

use std::borrow::Cow;
use std::time::Duration;

use portcullis_model::json::{Kind, Value, build_object};
use portcullis_model::{
    Call, Cause, Change, ChangeKind, Effect, Entity, Principal, PrincipalKind, Target,
};

use super::profile::Profile;
use super::{ACTION, Context, INLINE_LIMIT, commands, envelope, go_on, unchecked};
use crate::adapter::{Adapter, Behaviour, FailureBehaviour, Shown};
use crate::answer::{Answer, Slot};
use crate::json_body::{attributes, object, string};
use crate::support::{FallbackTo, Support};
use crate::{
    HookRequest, HookSettings, Outcome, ParseContext, ParseError, Parsed, Reason, RenderError,
    RenderErrorKind, Request, SafeAnswerInput,
};

/// The hook kind.
pub(crate) struct Registration;

impl Adapter for Registration {
    fn inputs(&self, _settings: &HookSettings) -> Vec<&'static str> {
        INPUTS.to_vec()
    }

    fn required(&self) -> &'static [&'static str] {
        &["eventType", "data", "requestType"]
    }

    fn platform_limit(&self) -> Duration {
        INLINE_LIMIT
    }

    fn default_budget(&self) -> Duration {
        Duration::from_secs(2)
    }

    fn failure_behaviour(&self) -> FailureBehaviour {
        let denied = Behaviour::FailsClosed("the registration or the update is denied");
        FailureBehaviour {
            empty: Behaviour::FailsOpen("the registration or the update continues"),
            client_error: denied,
            server_error: denied,
            timeout: denied,
        }
    }

    fn shown(&self) -> Shown {
        Shown::Person(
            "beside the form field that a finding names (`errorCauses`); the sign-in \
                 widget shows a text of its own for findings that name no field",
        )
    }

    fn description(&self) -> &'static str {
        "This hook serves self-service registration, and progressive profile if the call's \
         `requestType` has it. A denial is `200` with the command `DENY` and `error`; a finding \
         with a `field` of the form becomes an `errorCauses` of that field, which the sign-in \
         widget shows beside it. A closed hook denies. Restricted is not offered. Open: `200` and \
         `{}`, but 401 for an unauthenticated caller, which denies."
    }

    fn read(&self, request: &Request<'_>, frame: &ParseContext<'_>) -> Result<Parsed, ParseError> {
        Ok(Parsed::Single(parse(request.body, frame)?.into()))
    }

    fn write(&self, incoming: &HookRequest, outcome: &Outcome<'_>) -> Result<Answer, RenderError> {
        render(&incoming.call, outcome)
    }

    fn safe_answer(&self, refusal: &SafeAnswerInput<'_>) -> Answer {
        let SafeAnswerInput { cause, .. } = *refusal;
        let text = refusal.text(unchecked(cause, UNCHECKED));
        deny(&Outcome { text: Some(&text), ..Outcome::default() }, None)
    }

    fn platform_default(&self, _incoming: Option<&HookRequest>) -> Answer {
        go_on()
    }

    fn effect_support(&self, effect: Effect) -> Support {
        match effect {
            Effect::Abstain | Effect::Allow => Support::Native("200, and the changes as commands"),
            Effect::Deny => Support::Native(
                "200 with `DENY` and `error`: the person is not registered and sees the text",
            ),
            Effect::StepUp => {
                Support::Fallback(&[FallbackTo::Deny], "a hook cannot ask for a factor")
            }
            Effect::Review => {
                Support::Fallback(&[FallbackTo::Deny], "a registration cannot wait for a person")
            }
        }
    }

    fn change_support(&self, change: ChangeKind) -> Support {
        use Support::{Fallback, Native, Unsupported};
        match change {
            ChangeKind::Set(Target::User) => Native(
                "`com.okta.user.profile.update`, or `com.okta.user.progressive.profile.update` in a progressive profile; the place is one \
                 profile member that Okta knows, never the password; the value is plain, or a list of plain values",
            ),
            ChangeKind::Remove(Target::User) => {
                Fallback(&[FallbackTo::Deny], "an answer sets profile members and removes none")
            }
            ChangeKind::Set(_) | ChangeKind::Remove(_) => {
                Unsupported("the hook changes the user only")
            }
            ChangeKind::CapLifetime(_) => Unsupported("a registered user has no lifetime"),
            ChangeKind::AddGrant => Unsupported(
                "a registration grants nothing by itself; set a profile member that a group rule \
                 reads",
            ),
            ChangeKind::DropGrant => {
                Fallback(&[FallbackTo::Deny], "an answer sets profile members and removes no group")
            }
            ChangeKind::LinkUser | ChangeKind::CreateUser => {
                Unsupported("Okta itself knows whether the user is new")
            }
            ChangeKind::Credential => Unsupported("no password is checked during a registration"),
            ChangeKind::AutoApprove => Unsupported("no person approves a registration"),
            ChangeKind::RequireApprovers => {
                Fallback(&[FallbackTo::Deny], "a registration cannot wait for approvers")
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
    let request_type = string(Some(read.document.root()), "requestType");
    let data = read.data()?;
    let (new, update) =
        (object(Some(data), "userProfile"), object(Some(data), "userProfileUpdate"));
    let progressive = match request_type.as_deref() {
        Some("self.service.registration") => false,
        Some("progressive.profile") => true,
        Some(_) => return Err(read.refuse(Cause::UnknownEvent, "requestType")),
        // Without a word about it the form says which it is.
        None => new.is_none() && update.is_some(),
    };
    let Context { profile, user_id, origin, correlation, .. } = Context::read(data);
    let form = if progressive { update } else { new };
    let entitlements = read.entitlements(&frame.settings.entitlements, &[])?;

    Ok(Call {
        correlation,
        phase: Some(if progressive { PROGRESSIVE } else { "self-service" }.into()),
        subject: Some(Principal {
            kind: PrincipalKind::Person,
            type_name: "user".into(),
            id: user_id,
            attributes: attributes([form, profile]),
            entitlements,
        }),
        action: Some(Entity {
            type_name: "registration".into(),
            id: None,
            attributes: attributes([form]),
        }),
        origin,
        ..read.call("okta.registration", frame)
    })
}

/// Writes an answer.
fn render(call: &Call, outcome: &Outcome<'_>) -> Result<Answer, RenderError> {
    if outcome.verdict > Effect::Allow {
        return Ok(deny(outcome, call.action.as_ref()));
    }
    let mut profile = Profile::default();
    for (at, change) in (1..).zip(outcome.changes) {
        match change {
            Change::Set { target: Target::User, path, .. } if is_password(path) => {
                Err(RenderErrorKind::Reserved)
            }
            Change::Set { target: Target::User, path, value } => {
                profile.set(path, value, is_attribute)
            }
            _ => Err(RenderErrorKind::Kind),
        }
        .map_err(|why| RenderError { change: Some((at, change.kind())), why })?;
    }
    if profile.is_empty() {
        return Ok(go_on());
    }
    let command = match call.phase.as_deref() {
        Some(PROGRESSIVE) => "com.okta.user.progressive.profile.update",
        _ => "com.okta.user.profile.update",
    };
    commands(&[(command, profile.json())])
}

/// The answer that denies. `form` holds the fields that there are: only these may be named in an answer, since a field's name is the plugin's
/// text otherwise.
fn deny(outcome: &Outcome<'_>, form: Option<&Entity>) -> Answer {
    let fields = form.map(|form| form.attributes.as_slice()).unwrap_or_default();
    let field_of = |reason: &Reason<'_>| {
        fields.iter().map(|field| field.name.as_str()).find(|name| Some(*name) == reason.field)
    };
    let causes: Vec<_> =
        outcome.reasons.iter().filter_map(|reason| Some((field_of(reason)?, reason))).collect();
    let is_cause = |reason: &Reason<'_>| field_of(reason).is_some();
    let text = match outcome.text {
        Some(text) => outcome.with_count(text, is_cause),
        None => outcome.text_or(DENIED),
    };
    let body = build_object(|body| {
        body.array("commands", |list| {
            list.object(|command| {
                command.text("type", ACTION).object("value", |value| {
                    value.text("registration", "DENY");
                });
            });
        });
        body.object("error", |error| {
            error.text("errorSummary", &text);
            if causes.is_empty() {
                return;
            }
            error.array("errorCauses", |list| {
                for (number, (field, reason)) in (1..).zip(&causes) {
                    // The sign-in widget shows causes only, so that the last one has to say what is
                    // not shown.
                    let summary = match number == causes.len() {
                        true => outcome.with_count(&reason.text, is_cause),
                        false => Cow::Borrowed(&*reason.text),
                    };
                    list.object(|cause| {
                        cause.text("errorSummary", &summary).text("reason", reason.code);
                        // Okta's examples say `userProfile` for a progressive profile too, although
                        // its request has `userProfileUpdate`.
                        cause
                            .text("locationType", "body")
                            .display("location", format_args!("data.userProfile.{field}"))
                            .text("domain", "end-user");
                    });
                }
            });
        });
    });
    Answer::ok(body, Slot::DebugContext)
}

/// Whether a path is the password's, however it is spelled.
fn is_password(path: &str) -> bool {
    path.trim_start_matches('/').eq_ignore_ascii_case("password")
}

/// The values that Okta's profile attributes can hold.
fn is_attribute(value: Value<'_>) -> bool {
    let plain = |value: Value<'_>| matches!(value.kind(), Kind::String | Kind::Number | Kind::Bool);
    plain(value) || (value.is_array() && value.elements().all(plain))
}

/// The phase of a progressive profile.
const PROGRESSIVE: &str = "progressive-profile";

/// The text for a person if there is no decision.
const UNCHECKED: &str = "Your details could not be checked, so nothing was saved. Please try \
     again. If that does not help, call the help desk.";

/// The text for a person if a denial has no text.
const DENIED: &str =
    "Your details were not accepted. Please check them and try again, or call the help desk.";

pub(super) const EVENT_TYPE: &str = "com.okta.user.pre-registration";

/// The inputs that a call can have.
const INPUTS: &[&str] = &[
    "subject.id",
    "subject.attributes.*",
    "subject.entitlements",
    "action.attributes.*",
    "correlation",
    "origin.ip",
    "origin.session",
];
