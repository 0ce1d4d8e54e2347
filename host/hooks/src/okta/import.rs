//! `okta.user-import`: Okta's user import inline hook, `com.okta.import.transform`.
//!
//! Invariant: what is sent is what Okta's contract has words for; it has none that stop an import. With
//! `error` Okta logs a failure event and goes on, so an answer with `error` carries no command.
//!
//! Reading. The subject is `data.user`, with an id only where Okta matched it; its attributes are the members
//! of its profile, then those of the application's user that are not among them. What the application's user
//! lists as `groups` is requested.

use std::sync::Arc;

use portcullis_model::json::{quote, split_pointer};
use portcullis_model::{Call, Change, Document, Effect, Entity, Grant, GrantKind, Principal, PrincipalKind, Target};

use super::{Envelope, Strings, attributes, commands, members, stop};
use crate::answer::Answer;
use crate::kind::HookKind;
use crate::{Frame, Malformed, Outcome, Unsayable, Why};

/// Reads a request.
pub(crate) fn parse(body: &[u8], frame: &Frame) -> Result<Call, Malformed> {
    let envelope = Envelope::parse(body, EVENT_TYPE)?;
    let data = envelope.data()?;
    let context = envelope.object(Some(data), "data.context")?;
    let application = envelope.object(context, "data.context.application")?;
    let job = envelope.object(context, "data.context.job")?;
    let action = envelope.object(Some(data), "data.action")?;
    let user = envelope.object(Some(data), "data.user")?;
    let profile = envelope.object(user, "data.user.profile")?;
    let app_user = envelope.object(Some(data), "data.appUser")?;
    let app_profile = envelope.object(app_user, "data.appUser.profile")?;

    let user_id = envelope.string(user, "data.user.id")?;
    let application_id = envelope.string(application, "data.context.application.id")?;
    let job_id = envelope.string(job, "data.context.job.id")?;
    let entitlements = envelope.entitlements(&frame.entitlements, HookKind::OktaUserImport.default_entitlements())?;
    let mut groups = Strings::default();
    envelope.strings(app_profile.and_then(|it| it.get("groups")), "data.appUser.profile.groups", &mut groups)?;
    let requested = groups.list().into_iter().map(|id| Grant { kind: GrantKind::Group, id }).collect();
    let subject = user.or(app_user).map(|_| Principal {
        kind: PrincipalKind::Person,
        type_name: "user".into(),
        id: user_id,
        attributes: attributes([profile, app_profile]),
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
        correlation: None,
        tenant: frame.tenant.clone(),
        hook: HookKind::OktaUserImport.name(),
        phase: None,
        received: frame.received,
        seed: frame.seed,
        subject,
        actors: Vec::new(),
        action: Some(Entity { type_name: "import".into(), id: job_id, attributes: action_attributes }),
        resource,
        requested,
        lifetimes: Vec::new(),
        origin: None,
        purpose: None,
        proposed: Vec::new(),
        id: envelope.event_id,
        payload: Arc::new(envelope.document),
    })
}

/// Writes an answer.
pub(crate) fn render(outcome: &Outcome<'_>) -> Result<Answer, Unsayable> {
    if outcome.verdict > Effect::Allow {
        return Ok(stop(outcome.text.unwrap_or(REPORTED)));
    }
    let mut answer = Wanted::default();
    for (at, change) in (1..).zip(outcome.changes) {
        answer.admit(change).map_err(|why| Unsayable { change: Some((at, change.kind())), why })?;
    }
    commands(&answer.commands())
}

/// What the answer shall say.
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

/// Profile members and their values, which are JSON.
#[derive(Default)]
struct Profile<'a>(Vec<(String, &'a str)>);

impl<'a> Wanted<'a> {
    fn admit(&mut self, change: &'a Change) -> Result<(), Why> {
        match change {
            Change::Set { target: Target::User, path, value } => self.user.set(path, value),
            Change::Set { target: Target::AppUser, path, value } => self.app_user.set(path, value),
            Change::CreateUser => self.decide(Action::Create),
            Change::LinkUser(id) if id.is_empty() => Err(Why::Value),
            Change::LinkUser(id) => self.decide(Action::Link(id)),
            _ => Err(Why::Kind),
        }
    }

    fn decide(&mut self, action: Action<'a>) -> Result<(), Why> {
        match &self.action {
            Some(earlier) if *earlier != action => Err(Why::Conflict),
            _ => {
                self.action = Some(action);
                Ok(())
            }
        }
    }

    fn commands(self) -> Vec<(&'static str, String)> {
        let mut commands = Vec::new();
        match self.action {
            Some(Action::Create) => commands.push((ACTION, r#"{"result":"CREATE_USER"}"#.to_owned())),
            Some(Action::Link(id)) => {
                commands.push((ACTION, r#"{"result":"LINK_USER"}"#.to_owned()));
                let mut value = String::from("{\"id\":");
                quote(&mut value, id);
                value.push('}');
                commands.push(("com.okta.user.update", value));
            }
            None => {}
        }
        let profiles =
            [("com.okta.appUser.profile.update", self.app_user), ("com.okta.user.profile.update", self.user)];
        let filled = profiles.into_iter().filter(|(_, profile)| !profile.0.is_empty());
        commands.extend(filled.map(|(name, profile)| (name, profile.json())));
        commands
    }
}

impl<'a> Profile<'a> {
    fn set(&mut self, path: &str, value: &'a str) -> Result<(), Why> {
        let tokens = split_pointer(path).ok_or(Why::Place)?;
        let [name] = tokens.as_slice() else {
            return Err(Why::Place);
        };
        if name.is_empty() {
            return Err(Why::Place);
        }
        Document::parse(value.as_bytes()).map_err(|_| Why::Value)?;
        match self.0.iter().find(|(earlier, _)| earlier == name) {
            Some((_, earlier)) if *earlier != value => Err(Why::Conflict),
            Some(_) => Ok(()),
            None => {
                self.0.push((name.to_string(), value));
                Ok(())
            }
        }
    }

    fn json(&self) -> String {
        let mut object = String::from("{");
        for (index, (name, value)) in self.0.iter().enumerate() {
            if index > 0 {
                object.push(',');
            }
            quote(&mut object, name);
            object.push(':');
            object.push_str(value);
        }
        object.push('}');
        object
    }
}

/// What administrators read in the platform's log where there is no decision.
pub(crate) const UNCHECKED: &str = "The import of this user could not be checked. The user was imported unchecked.";

/// What administrators read where a report has no text.
const REPORTED: &str = "The import of this user is against policy. The user was imported nevertheless.";

const EVENT_TYPE: &str = "com.okta.import.transform";

const ACTION: &str = "com.okta.action.update";
