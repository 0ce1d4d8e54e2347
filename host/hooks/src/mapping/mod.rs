//! What stands where in a request, and which answers there are.
//!
//! Invariant: a mapping that compiled has well-formed pointers, templates that are objects, and a denial that differs from the
//! allowance. How a request is read by one is in `generic`.

pub(crate) mod template;

use std::sync::Arc;

use portcullis_model::json::split_pointer;
use portcullis_model::{Effect, GrantKind, PrincipalKind};
use serde::Deserialize;

use template::Template;

/// A mapping as the operator writes it. Whatever begins with `/` is a JSON Pointer into the body.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MappingSource {
    /// The caller's id of the event.
    pub id: Option<String>,
    /// Its correlation id.
    pub correlation: Option<String>,
    /// What for.
    pub purpose: Option<String>,
    /// Who.
    pub subject: Option<PrincipalSource>,
    /// Through whom.
    pub actor: Option<PrincipalSource>,
    /// What is being done.
    pub action: Option<EntitySource>,
    /// To what.
    pub resource: Option<EntitySource>,
    /// What would be granted: kind of grant → a string or a list of strings.
    pub requested: Vec<GrantSource>,
    /// Where from.
    pub origin: OriginSource,
    /// Pointers that must lead to something.
    pub required: Vec<String>,
    /// The answers.
    pub answer: AnswerSource,
}

/// Who, as the operator writes it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PrincipalSource {
    /// `person`, `service`, `agent`, `device` or `other`. Default `person` for the subject, `service` for the actor.
    pub kind: Option<String>,
    /// The platform's own word: itself, or a pointer to it.
    #[serde(rename = "type")]
    pub type_name: Option<String>,
    /// A pointer to the id.
    pub id: Option<String>,
    /// Pointers to objects whose members are attributes.
    pub attributes: Vec<String>,
}

/// What is acted on, or the action, as the operator writes it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EntitySource {
    /// The platform's own word: itself, or a pointer to it.
    #[serde(rename = "type")]
    pub type_name: Option<String>,
    /// The id: itself, or a pointer to it.
    pub id: Option<String>,
    /// Pointers to objects whose members are attributes.
    pub attributes: Vec<String>,
}

/// What would be granted, as the operator writes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantSource {
    /// Of which kind.
    pub kind: GrantKind,
    /// A pointer to a string or a list of strings.
    pub at: String,
}

/// Where from, as the operator writes it: pointers to strings.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OriginSource {
    /// The client's address.
    pub ip: Option<String>,
    /// ISO 3166-1 alpha-2.
    pub country: Option<String>,
    /// The client's user agent.
    pub user_agent: Option<String>,
    /// The device's id.
    pub device: Option<String>,
    /// The session's id.
    pub session: Option<String>,
}

/// The answers, as the operator writes them: JSON text with placeholders.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AnswerSource {
    /// What lets the caller go on, with status 200.
    pub allow: Option<String>,
    /// What stops it.
    pub deny: Option<String>,
    /// What asks for a stronger proof. Default `deny`.
    pub step_up: Option<String>,
    /// What lets a person look first. Default `deny`.
    pub review: Option<String>,
    /// The status of everything but `allow`. Default 200.
    pub deny_status: Option<u16>,
    /// The status of `deny` where there is no decision. Default `deny_status`.
    pub failure_status: Option<u16>,
    /// The member that names the record; none where it is not set.
    pub record: Option<String>,
}

/// Operator: a mapping that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// A template that is none.
    #[error("mapping.answer.{name} {why}")]
    Template {
        /// Which.
        name: &'static str,
        /// The problem.
        why: &'static str,
    },
    /// A template that must be there.
    #[error("mapping.answer.{0} is missing, and the hook cannot answer without it")]
    NoTemplate(&'static str),
    /// Not a JSON Pointer.
    #[error("mapping.{0} is not a JSON Pointer, which begins with `/`")]
    Pointer(&'static str),
    /// Not a kind of principal.
    #[error("mapping.{0}.kind must be person, service, agent, device or other")]
    Kind(&'static str),
    /// Not a status that goes with a body.
    #[error("mapping.answer.{0} is not a status from 200 to 599 that has a body")]
    Status(&'static str),
    /// The caller could not tell a denial from an allowance.
    #[error(
        "mapping.answer.{0} is the same as mapping.answer.allow, so that a caller could not \
     tell a denial from a permission"
    )]
    Same(&'static str),
    /// The record's member is one that a template has.
    #[error("mapping.answer.record is a member that a template has, or empty")]
    Record,
}

/// A mapping, compiled.
#[derive(Debug)]
pub struct Mapping {
    pub(crate) source: MappingSource,
    pub(crate) subject: Option<Who>,
    pub(crate) actor: Option<Who>,
    allow: Template,
    deny: Template,
    step_up: Option<Template>,
    review: Option<Template>,
    deny_status: u16,
    failure_status: u16,
    record: Option<Arc<str>>,
}

/// A principal that is mapped.
#[derive(Debug)]
pub(crate) struct Who {
    pub(crate) kind: PrincipalKind,
    pub(crate) source: PrincipalSource,
}

impl Mapping {
    /// Checks a mapping whole.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn compile(source: MappingSource) -> Result<Self, Vec<MappingError>> {
        let mut wrong = check_pointers(&source);
        let answer = &source.answer;
        let mut compile = |name, template: &Option<String>| {
            let template = template.as_deref()?;
            Template::compile(name, template).map_err(|error| wrong.push(error)).ok()
        };
        let (allow, deny) = (compile("allow", &answer.allow), compile("deny", &answer.deny));
        let (step_up, review) =
            (compile("step_up", &answer.step_up), compile("review", &answer.review));
        for (name, template) in [("allow", &answer.allow), ("deny", &answer.deny)] {
            if template.is_none() {
                wrong.push(MappingError::NoTemplate(name));
            }
        }
        let deny_status = answer.deny_status.unwrap_or(200);
        let failure_status = answer.failure_status.unwrap_or(deny_status);
        let statuses =
            [("deny_status", answer.deny_status), ("failure_status", answer.failure_status)];
        for (name, status) in statuses {
            let fits =
                |status: u16| (200..=599).contains(&status) && !matches!(status, 204 | 205 | 304);
            if status.is_some_and(|status| !fits(status)) {
                wrong.push(MappingError::Status(name));
            }
        }
        let others = [("deny", &deny), ("step_up", &step_up), ("review", &review)];
        for (name, other) in others {
            // A status could tell them apart too, but not for a caller that looks at the body
            // alone.
            if let (Some(allow), Some(other)) = (&allow, other)
                && allow == other
                && !allow.tells_verdict()
            {
                wrong.push(MappingError::Same(name));
            }
        }
        let record = answer.record.clone();
        let templates = [&allow, &deny, &step_up, &review];
        if let Some(record) = &record {
            let taken = templates.into_iter().flatten().any(|template| template.has(record));
            if record.is_empty() || taken {
                wrong.push(MappingError::Record);
            }
        }
        let mut who = |name, source: &Option<PrincipalSource>, default| {
            let source = source.clone()?;
            let kind = match source.kind.as_deref() {
                None => default,
                Some("person") => PrincipalKind::Person,
                Some("service") => PrincipalKind::Service,
                Some("agent") => PrincipalKind::Agent,
                Some("device") => PrincipalKind::Device,
                Some("other") => PrincipalKind::Other,
                Some(_) => {
                    wrong.push(MappingError::Kind(name));
                    default
                }
            };
            Some(Who { kind, source })
        };
        let subject = who("subject", &source.subject, PrincipalKind::Person);
        let actor = who("actor", &source.actor, PrincipalKind::Service);
        match (allow, deny) {
            (Some(allow), Some(deny)) if wrong.is_empty() => Ok(Self {
                subject,
                actor,
                allow,
                deny,
                step_up,
                review,
                deny_status,
                failure_status,
                record: record.map(Arc::from),
                source,
            }),
            _ => Err(wrong),
        }
    }

    /// The template and the status for a verdict.
    pub(crate) fn answer(&self, verdict: Effect) -> (&Template, u16) {
        match verdict {
            Effect::Abstain | Effect::Allow => (&self.allow, 200),
            Effect::StepUp => (self.step_up.as_ref().unwrap_or(&self.deny), self.deny_status),
            Effect::Review => (self.review.as_ref().unwrap_or(&self.deny), self.deny_status),
            Effect::Deny => (&self.deny, self.deny_status),
        }
    }

    /// The inputs that a call can have: those that the operator mapped.
    pub(crate) fn inputs(&self) -> Vec<&'static str> {
        let source = &self.source;
        let (subject, actor) = (source.subject.as_ref(), source.actor.as_ref());
        let (action, resource) = (source.action.as_ref(), source.resource.as_ref());
        let all = [
            ("correlation", source.correlation.is_some()),
            ("purpose", source.purpose.is_some()),
            ("requested", !source.requested.is_empty()),
            ("subject.id", subject.is_some_and(|it| it.id.is_some())),
            ("subject.attributes.*", subject.is_some_and(|it| !it.attributes.is_empty())),
            ("subject.entitlements", subject.is_some()),
            ("actors.id", actor.is_some_and(|it| it.id.is_some())),
            ("actors.attributes.*", actor.is_some_and(|it| !it.attributes.is_empty())),
            ("action.id", action.is_some_and(|it| it.id.is_some())),
            ("action.attributes.*", action.is_some_and(|it| !it.attributes.is_empty())),
            ("resource.id", resource.is_some_and(|it| it.id.is_some())),
            ("resource.attributes.*", resource.is_some_and(|it| !it.attributes.is_empty())),
            ("origin.ip", source.origin.ip.is_some()),
            ("origin.country", source.origin.country.is_some()),
            ("origin.user-agent", source.origin.user_agent.is_some()),
            ("origin.device", source.origin.device.is_some()),
            ("origin.session", source.origin.session.is_some()),
        ];
        all.into_iter().filter_map(|(input, mapped)| mapped.then_some(input)).collect()
    }

    /// The status of a denial that is no decision.
    pub(crate) fn failure_status(&self) -> u16 {
        self.failure_status
    }

    /// The member that names the record.
    pub(crate) fn record(&self) -> Option<Arc<str>> {
        self.record.clone()
    }
}

fn check_pointers(source: &MappingSource) -> Vec<MappingError> {
    let well_formed = |pointer: &str| pointer.starts_with('/') && split_pointer(pointer).is_some();
    let mut wrong = Vec::new();
    let mut check = |name, is_right: bool| {
        let error = MappingError::Pointer(name);
        if !is_right && !wrong.contains(&error) {
            wrong.push(error);
        }
    };
    let one = |pointer: &Option<String>| pointer.as_deref().is_none_or(well_formed);
    let all = |pointers: &[String]| pointers.iter().all(|pointer| well_formed(pointer));
    // A word that is no pointer stands for itself.
    let word = |word: &Option<String>| {
        word.as_deref()
            .is_none_or(|word| !word.is_empty() && (!word.starts_with('/') || well_formed(word)))
    };
    check("id", one(&source.id));
    check("correlation", one(&source.correlation));
    check("purpose", one(&source.purpose));
    for (id, type_name, attributes, who) in [
        ("subject.id", "subject.type", "subject.attributes", &source.subject),
        ("actor.id", "actor.type", "actor.attributes", &source.actor),
    ] {
        let Some(who) = who else { continue };
        check(id, one(&who.id));
        check(type_name, word(&who.type_name));
        check(attributes, all(&who.attributes));
    }
    for (id, type_name, attributes, what) in [
        ("action.id", "action.type", "action.attributes", &source.action),
        ("resource.id", "resource.type", "resource.attributes", &source.resource),
    ] {
        let Some(what) = what else { continue };
        check(id, word(&what.id));
        check(type_name, word(&what.type_name));
        check(attributes, all(&what.attributes));
    }
    for grant in &source.requested {
        check("requested.at", well_formed(&grant.at));
    }
    let from = &source.origin;
    for pointer in [&from.ip, &from.country, &from.user_agent, &from.device, &from.session] {
        check("origin", one(pointer));
    }
    check("required", all(&source.required));
    wrong
}
