//! What stands where in a request, and which answers there are.
//!
//! Invariant: a mapping that compiled has well-formed pointers, templates that are objects, and a denial that differs from the
//! allowance.

use std::borrow::Cow;
use std::sync::Arc;

use portcullis_model::json::{Value, split_pointer};
use portcullis_model::{
    AttributeFilter, Call, Cause, Document, Effect, Entity, Grant, GrantKind, Origin, Principal,
    PrincipalKind, Secrets,
};
use serde::Deserialize;

use super::template::Template;
use crate::json_body::{JsonBody, Strings, wanted_attributes};
use crate::{ParseContext, ParseError};

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
    source: MappingSource,
    subject: Option<Who>,
    actor: Option<Who>,
    allow: Template,
    deny: Template,
    step_up: Option<Template>,
    review: Option<Template>,
    deny_status: u16,
    failure_status: u16,
    record: Option<Arc<str>>,
}

#[derive(Debug)]
struct Who {
    kind: PrincipalKind,
    source: PrincipalSource,
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
    pub(super) fn answer(&self, verdict: Effect) -> (&Template, u16) {
        match verdict {
            Effect::Abstain | Effect::Allow => (&self.allow, 200),
            Effect::StepUp => (self.step_up.as_ref().unwrap_or(&self.deny), self.deny_status),
            Effect::Review => (self.review.as_ref().unwrap_or(&self.deny), self.deny_status),
            Effect::Deny => (&self.deny, self.deny_status),
        }
    }

    /// The inputs that a call can have: those that the operator mapped.
    pub(super) fn inputs(&self) -> Vec<&'static str> {
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
    pub(super) fn failure_status(&self) -> u16 {
        self.failure_status
    }

    /// The member that names the record.
    pub(super) fn record(&self) -> Option<Arc<str>> {
        self.record.clone()
    }

    /// Reads a request.
    pub(super) fn call(&self, body: &[u8], frame: &ParseContext<'_>) -> Result<Call, ParseError> {
        let refuse = |cause| ParseError { cause, detail: "the body".into(), event: None };
        let document = Document::parse(body).map_err(|error| refuse(error.cause))?;
        let id = at(&document, self.source.id.as_deref()).and_then(scalar);
        let id = id.filter(|id| (1..=MAX_ID_BYTES).contains(&id.len()));
        let event_id = id.unwrap_or_else(|| frame.own_id());
        let read = JsonBody { document, event_id };
        let missing = |pointer: &&String| at(&read.document, Some(pointer)).is_none();
        if let Some(missing) = self.source.required.iter().find(missing) {
            let detail = format!("{missing}, which the setting mapping.required names");
            return Err(read.refuse(Cause::SchemaMismatch, detail));
        }
        // What the operator does not require may be absent, and a value that is none is as good as
        // that.
        let string =
            |pointer: &Option<String>| at(&read.document, pointer.as_deref()).and_then(scalar);
        let attributes = |pointers: &[String]| {
            let objects = pointers.iter().filter_map(|pointer| at(&read.document, Some(pointer)));
            let objects: Vec<_> = objects.filter(|object| object.is_object()).collect();
            wanted_attributes(AttributeFilter::all(), objects.into_iter().map(Some))
        };
        let principal = |who: &Option<Who>, word: &str, entitlements| {
            let Who { kind, source } = who.as_ref()?;
            let type_name = word_or_pointer(&source.type_name, string);
            Some(Principal {
                kind: *kind,
                type_name: type_name.unwrap_or_else(|| word.to_owned()),
                id: string(&source.id),
                attributes: attributes(&source.attributes),
                entitlements,
            })
        };
        let entity = |source: &Option<EntitySource>, word: &str| {
            let source = source.as_ref()?;
            let type_name = word_or_pointer(&source.type_name, string);
            Some(Entity {
                type_name: type_name.unwrap_or_else(|| word.to_owned()),
                id: word_or_pointer(&source.id, string),
                attributes: attributes(&source.attributes),
            })
        };
        let entitlements = read.entitlements(&frame.settings.entitlements, &[])?;
        let mut requested = Vec::new();
        for GrantSource { kind, at: pointer } in &self.source.requested {
            let mut ids = Strings::default();
            if !ids.take_all(at(&read.document, Some(pointer))) {
                return Err(read.unreadable_place(pointer, "mapping.requested"));
            }
            requested.extend(ids.list().into_iter().map(|id| Grant { kind: *kind, id: id.into() }));
        }
        let from = &self.source.origin;
        let origin = Origin {
            ip: string(&from.ip),
            country: string(&from.country),
            asn: None,
            user_agent: string(&from.user_agent),
            device: string(&from.device),
            session: string(&from.session),
        };
        let known =
            [&origin.ip, &origin.country, &origin.user_agent, &origin.device, &origin.session];
        let is_known = known.into_iter().any(Option::is_some);
        let mut secrets = Secrets::default();
        frame.settings.secrets.iter().for_each(|pointer| secrets.add(pointer.clone()));
        Ok(Call {
            correlation: string(&self.source.correlation),
            tenant: frame.tenant.to_owned(),
            hook: "generic",
            phase: None,
            received: frame.received,
            seed: frame.seed,
            subject: principal(&self.subject, "user", entitlements),
            actors: principal(&self.actor, "client", Vec::new()).into_iter().collect(),
            action: entity(&self.source.action, "action"),
            resource: entity(&self.source.resource, "resource"),
            requested,
            lifetimes: Vec::new(),
            origin: is_known.then_some(origin),
            purpose: string(&self.source.purpose),
            proposed: Vec::new(),
            id: read.event_id,
            payload: read.document,
            secrets,
        })
    }
}

/// What a pointer leads to, where it is there and not `null`.
fn at<'a>(document: &'a Document, pointer: Option<&str>) -> Option<Value<'a>> {
    document.pointer(pointer?).filter(|value| !value.is_null())
}

/// A string, or a number as it is spelled: callers number what they call.
fn scalar(value: Value<'_>) -> Option<String> {
    value.as_str().map(Cow::into_owned).or_else(|| value.as_u64().map(|_| value.raw().to_owned()))
}

fn word_or_pointer(
    source: &Option<String>,
    string: impl Fn(&Option<String>) -> Option<String>,
) -> Option<String> {
    match source {
        Some(word) if !word.starts_with('/') => Some(word.clone()),
        pointer => string(pointer),
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

/// The longest event id, bytes.
const MAX_ID_BYTES: usize = 256;
