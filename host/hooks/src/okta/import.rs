//! `okta.user-import`: Okta's user import inline hook, `com.okta.import.transform`.
//!
//! Invariant: what is sent is what Okta's contract has words for; it has none that stop an import. With
//! `error` Okta logs a failure event and goes on, so an answer with `error` carries no command.
//!
//! Reading. The subject is `data.user`, with an id only where Okta matched it; its attributes are the members
//! of its profile, then those of the application's user that are not among them. What the application's user
//! lists as `groups` is requested.

use std::time::Duration;

use portcullis_model::json::build_object;
use portcullis_model::{
    Call, Change, ChangeKind, Effect, Entity, Grant, GrantKind, Principal, PrincipalKind, Target,
};

use super::profile::Profile;
use super::{ACTION, INLINE_LIMIT, commands, envelope, go_on, stop, unchecked};
use crate::adapter::{Adapter, Behaviour, FailureBehaviour, Shown};
use crate::answer::Answer;
use crate::json_body::{Strings, members, object, string, wanted_attributes};
use crate::support::{FallbackTo, Support};
use crate::{
    HookRequest, HookSettings, Outcome, ParseContext, ParseError, Parsed, RenderError,
    RenderErrorKind, Request, SafeAnswerInput,
};

/// The hook kind.
pub(crate) struct Import;

impl Adapter for Import {
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
        let imported = Behaviour::FailsOpen("the user is imported");
        FailureBehaviour {
            empty: imported,
            client_error: imported,
            server_error: imported,
            timeout: imported,
        }
    }

    fn shown(&self) -> Shown {
        Shown::Operator("in Okta's System Log (`errorSummary`); no person waits for an import")
    }

    fn description(&self) -> &'static str {
        "Okta imports the user whatever the answer is: no answer stops an import. The strictest \
         answer is `200` with `error`, which Okta logs as a failure. A mapped effect and a closed \
         hook's safe answer are of this form, without commands. Restricted is not offered. Open: \
         `200` and `{}`, but 401 for an unauthenticated caller."
    }

    fn read(&self, request: &Request<'_>, frame: &ParseContext<'_>) -> Result<Parsed, ParseError> {
        Ok(Parsed::Single(parse(request.body, frame)?.into()))
    }

    fn write(&self, _incoming: &HookRequest, outcome: &Outcome<'_>) -> Result<Answer, RenderError> {
        render(outcome)
    }

    fn safe_answer(&self, refusal: &SafeAnswerInput<'_>) -> Answer {
        let SafeAnswerInput { cause, .. } = *refusal;
        stop(&refusal.text(unchecked(cause, UNCHECKED)))
    }

    fn platform_default(&self, _incoming: Option<&HookRequest>) -> Answer {
        go_on()
    }

    fn effect_support(&self, effect: Effect) -> Support {
        match effect {
            Effect::Abstain | Effect::Allow => Support::Native("200, and the changes as commands"),
            Effect::StepUp | Effect::Review | Effect::Deny => Support::Fallback(
                &[FallbackTo::Report],
                "an import cannot be stopped: with `error`, Okta logs a failure and imports the user",
            ),
        }
    }

    fn change_support(&self, change: ChangeKind) -> Support {
        use Support::{Fallback, Native, Unsupported};
        match change {
            ChangeKind::Set(Target::User) => {
                Native("`com.okta.user.profile.update`; the place is one profile member")
            }
            ChangeKind::Set(Target::AppUser) => {
                Native("`com.okta.appUser.profile.update`; the place is one profile member")
            }
            ChangeKind::Remove(Target::User | Target::AppUser) => {
                Fallback(&[FallbackTo::Report], "an answer sets profile members and removes none")
            }
            ChangeKind::Set(_) | ChangeKind::Remove(_) => {
                Unsupported("the hook changes the user and the application's user only")
            }
            ChangeKind::CapLifetime(_) => Unsupported("an imported user has no lifetime"),
            ChangeKind::AddGrant => Unsupported(
                "an import grants nothing by itself; set a profile member that a group rule reads",
            ),
            ChangeKind::DropGrant => Fallback(
                &[FallbackTo::Report],
                "an answer sets profile members and removes no group",
            ),
            ChangeKind::LinkUser => {
                Native("`com.okta.action.update` with `LINK_USER`, and `com.okta.user.update`")
            }
            ChangeKind::CreateUser => Native("`com.okta.action.update` with `CREATE_USER`"),
            ChangeKind::Credential => Unsupported("no password is checked during an import"),
            ChangeKind::AutoApprove => Unsupported("no person approves an import"),
            ChangeKind::RequireApprovers => {
                Fallback(&[FallbackTo::Report], "an import cannot wait for approvers")
            }
            ChangeKind::Statement => {
                Fallback(&[FallbackTo::Report], "Okta carries out no obligations")
            }
            ChangeKind::Waive => crate::support::waived(),
        }
    }
}

/// Reads a request.
fn parse(body: &[u8], frame: &ParseContext<'_>) -> Result<Call, ParseError> {
    let read = envelope(body, EVENT_TYPE, frame)?.body;
    let data = read.data()?;
    let context = object(Some(data), "context");
    let application = object(context, "application");
    let job = object(context, "job");
    let action = object(Some(data), "action");
    let user = object(Some(data), "user");
    let profile = object(user, "profile");
    let app_user = object(Some(data), "appUser");
    let app_profile = object(app_user, "profile");

    let user_id = string(user, "id");
    let application_id = string(application, "id");
    let job_id = string(job, "id");
    let entitlements =
        read.entitlements(&frame.settings.entitlements, Import.default_entitlements())?;
    let mut groups = Strings::default();
    groups.take(app_profile.and_then(|it| it.get("groups")));
    let requested = groups
        .list()
        .into_iter()
        .map(|id| Grant { kind: GrantKind::Group, id: id.into() })
        .collect();
    let subject = user.or(app_user).map(|_| Principal {
        kind: PrincipalKind::Person,
        type_name: "user".into(),
        id: user_id,
        attributes: wanted_attributes(frame.wanted, [profile, app_profile]),
        entitlements,
    });
    let mut action_attributes = members(action, &["result"]);
    action_attributes.extend(members(context, &["conflicts", "matches"]));
    let resource = application.map(|_| Entity {
        type_name: "application".into(),
        id: application_id,
        attributes: members(application, &["name", "label", "status"]),
    });

    Ok(Call {
        subject,
        action: Some(Entity {
            type_name: "import".into(),
            id: job_id,
            attributes: action_attributes,
        }),
        resource,
        requested,
        ..read.call("okta.user-import", frame)
    })
}

/// Writes an answer.
fn render(outcome: &Outcome<'_>) -> Result<Answer, RenderError> {
    if outcome.verdict > Effect::Allow {
        return Ok(stop(&outcome.text_or(REPORTED)));
    }
    let mut answer = Wanted::default();
    for (at, change) in (1..).zip(outcome.changes) {
        answer
            .admit(change)
            .map_err(|why| RenderError { change: Some((at, change.kind())), why })?;
    }
    commands(&answer.commands())
}

/// The content of the answer.
#[derive(Default)]
struct Wanted<'a> {
    user: Profile<'a>,
    app_user: Profile<'a>,
    action: Option<Action<'a>>,
}

#[derive(PartialEq, Eq)]
enum Action<'a> {
    Create,
    Link(&'a str),
}

impl<'a> Wanted<'a> {
    fn admit(&mut self, change: &'a Change) -> Result<(), RenderErrorKind> {
        match change {
            Change::Set { target: Target::User, path, value } => {
                self.user.set(path, value, |_| true)
            }
            Change::Set { target: Target::AppUser, path, value } => {
                self.app_user.set(path, value, |_| true)
            }
            Change::CreateUser => self.decide(Action::Create),
            Change::LinkUser(id) if id.is_empty() => Err(RenderErrorKind::Value),
            Change::LinkUser(id) => self.decide(Action::Link(id)),
            _ => Err(RenderErrorKind::Kind),
        }
    }

    fn decide(&mut self, action: Action<'a>) -> Result<(), RenderErrorKind> {
        match &self.action {
            Some(earlier) if *earlier != action => Err(RenderErrorKind::Conflict),
            _ => {
                self.action = Some(action);
                Ok(())
            }
        }
    }

    fn commands(self) -> Vec<(&'static str, String)> {
        let mut commands = Vec::new();
        match self.action {
            Some(Action::Create) => {
                commands.push((ACTION, r#"{"result":"CREATE_USER"}"#.to_owned()))
            }
            Some(Action::Link(id)) => {
                commands.push((ACTION, r#"{"result":"LINK_USER"}"#.to_owned()));
                let value = build_object(|value| {
                    value.text("id", id);
                });
                commands.push(("com.okta.user.update", value));
            }
            None => {}
        }
        let profiles = [
            ("com.okta.appUser.profile.update", self.app_user),
            ("com.okta.user.profile.update", self.user),
        ];
        let filled = profiles.into_iter().filter(|(_, profile)| !profile.is_empty());
        commands.extend(filled.map(|(name, profile)| (name, profile.json())));
        commands
    }
}

/// The text in the platform's log if there is no decision.
const UNCHECKED: &str = "Portcullis could not check this user, and Okta imported the user \
     unchecked. Please check the user by hand.";

/// The text in the platform's log if a report has no text.
const REPORTED: &str = "A rule forbids this user, but Okta imported the user, since no answer \
     stops an import. Please check the user by hand.";

pub(super) const EVENT_TYPE: &str = "com.okta.import.transform";

/// The inputs that a call can have.
const INPUTS: &[&str] = &[
    "subject.id",
    "subject.attributes.*",
    "subject.entitlements",
    "action.id",
    "action.attributes.result",
    "action.attributes.conflicts",
    "action.attributes.matches",
    "resource.id",
    "resource.attributes.name",
    "resource.attributes.label",
    "resource.attributes.status",
    "requested",
];
