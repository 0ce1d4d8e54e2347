//! Reading AuthZEN requests.
//!
//! Invariant: unknown members are ignored; a required part that is missing, or any part of the wrong type, refuses the request, or the
//! one evaluation that has it. `null` is as good as absent.
//!
//! The subject's, action's and resource's `properties` are their attributes; the action's name is its id. `context` stays in the
//! payload (`authzen:/context/…`), but for `purpose`. A question out of several has a payload of its own: the four parts as they are
//! after the defaults.

use portcullis_model::json::Value;
use portcullis_model::{
    Call, Cause, Document, Entity, Origin, Principal, PrincipalKind, Secrets, Sought,
};

use super::{
    Authzen, REQUEST_ID, SEARCH_ACTION as ACTION_ROUTE, SEARCH_RESOURCE, SEARCH_SUBJECT, failed,
};
use crate::adapter::{ACTION, Adapter, fill_in};
use crate::body::{Body, attributes};
use crate::object::Object;
use crate::{Batch, Frame, Heard, Incoming, Malformed, Page, Request, Until};

/// One question.
pub(super) fn evaluation(request: &Request<'_>, frame: &Frame<'_>) -> Result<Heard, Malformed> {
    let read = Read::new(request, frame)?;
    Ok(Heard::One(read.question(frame.seed, None)?))
}

/// Several questions, or one where there is no array of them.
pub(super) fn evaluations(request: &Request<'_>, frame: &Frame<'_>) -> Result<Heard, Malformed> {
    let read = Read::new(request, frame)?;
    let body = &read.body;
    let until = until(body)?;
    let Some(evaluations) = present(body.document.root(), "evaluations") else {
        return Ok(Heard::One(read.question(frame.seed, None)?));
    };
    if !evaluations.is_array() {
        return Err(body.refuse(Cause::WrongShape, "evaluations"));
    }
    let items: Vec<_> = evaluations.elements().take(MOST_EVALUATIONS + 1).collect();
    if items.is_empty() {
        return Ok(Heard::One(read.question(frame.seed, None)?));
    }
    if items.len() > MOST_EVALUATIONS {
        return Err(body.refuse(Cause::WrongShape, "evaluations, of which there may be 256"));
    }
    // A default that is wrong is wrong for the request as a whole, whether or not an item uses it.
    for part in PARTS {
        body.object(Some(body.document.root()), part.name)?;
    }
    let items = items.into_iter().enumerate().map(|(number, item)| {
        let question =
            read.item(item).and_then(|item| item.question(frame.seed_of(number), Some(number)));
        question.map_err(|malformed| {
            failed(400, &format!("{}: {}", malformed.code(), malformed.detail))
        })
    });
    Ok(Heard::Many(Batch { id: None, items: items.collect(), until }))
}

/// "Which ones?"
pub(super) fn search(request: &Request<'_>, frame: &Frame<'_>) -> Result<Heard, Malformed> {
    let read = Read::new(request, frame)?;
    let sought = match request.route {
        SEARCH_SUBJECT => Sought::Subject,
        SEARCH_RESOURCE => Sought::Resource,
        _ => Sought::Action,
    };
    let page = page(&read.body)?;
    let mut incoming = read.open_question(frame.seed, None, request.route)?;
    incoming.call.phase = Some(sought.phase().to_owned());
    Ok(Heard::Which(incoming, page))
}

/// The question about one candidate of a search. Its payload is that of an evaluation, so that a plugin which reads the body hears
/// the same as when it is asked about that one alone.
pub(super) fn candidate(search: &Incoming, sought: Sought, id: &str) -> Incoming {
    let mut question = search.clone();
    fill_in(&mut question.call, sought, id);
    let (name, member) = match sought {
        Sought::Subject => ("subject", "id"),
        Sought::Resource => ("resource", "id"),
        Sought::Action => ("action", "name"),
    };
    let root = search.call.payload.root();
    let mut object = Object::new();
    for part in PARTS {
        let sent = present(root, part.name);
        object = if part.name == name {
            let members =
                sent.into_iter().flat_map(Value::members).filter(|(name, _)| name != member);
            let filled = members
                .fold(Object::new(), |filled, (name, value)| filled.json(&name, value.raw()));
            object.json(part.name, &filled.text(member, id).end())
        } else {
            object.some(sent, |object, value| object.json(part.name, value.raw()))
        };
    }
    // What was parsed, cut down and filled in is JSON still.
    if let Ok(document) = Document::parse(object.end().as_bytes()) {
        question.call.payload = document;
    }
    question
}

/// A request, or one of its evaluations.
struct Read<'a> {
    body: Body,
    request_id: Option<String>,
    frame: &'a Frame<'a>,
}

impl<'a> Read<'a> {
    fn new(request: &Request<'_>, frame: &'a Frame<'a>) -> Result<Self, Malformed> {
        let refuse = |cause, detail| Malformed { cause, detail, event: None };
        let media_type = (request.header)("content-type").unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim();
        if !media_type.eq_ignore_ascii_case("application/json") {
            return Err(refuse(
                Cause::WrongShape,
                "the content type, which must be application/json",
            ));
        }
        let document =
            Document::parse(request.body).map_err(|error| refuse(error.cause, "the body"))?;
        if !document.root().is_object() {
            return Err(refuse(Cause::WrongShape, "the body, which must be an object"));
        }
        let request_id =
            (request.header)(REQUEST_ID).filter(|id| (1..=LONGEST_REQUEST_ID).contains(&id.len()));
        let request_id = request_id.map(str::to_owned);
        let event_id = request_id.clone().unwrap_or_else(|| format!("{:016x}", frame.seed));
        Ok(Self { body: Body { document, event_id }, request_id, frame })
    }

    /// One of several evaluations, with the defaults of the request. A part that an item has stands for the whole of the default,
    /// but for the members that every such part needs (AZ-CERT, batch with default value merging).
    fn item(&self, item: Value<'_>) -> Result<Self, Malformed> {
        if !item.is_object() {
            return Err(self
                .body
                .refuse(Cause::WrongShape, "the evaluation, which must be an object"));
        }
        let mut object = Object::new();
        for part in PARTS {
            let (own, default) =
                (present(item, part.name), present(self.body.document.root(), part.name));
            object = match (own, default) {
                (Some(own), Some(default)) if own.is_object() => {
                    object.json(part.name, &part.filled(own, default))
                }
                (Some(value), _) | (None, Some(value)) => object.json(part.name, value.raw()),
                (None, None) => object,
            };
        }
        let document = Document::parse(object.end().as_bytes());
        let document = document.map_err(|error| self.body.refuse(error.cause, "the evaluation"))?;
        let body = Body { document, event_id: self.body.event_id.clone() };
        Ok(Self { body, request_id: self.request_id.clone(), frame: self.frame })
    }

    /// The question: everything is there.
    fn question(self, seed: u64, number: Option<usize>) -> Result<Incoming, Malformed> {
        self.open_question(seed, number, "")
    }

    /// The question, of which a search leaves open what it is for.
    fn open_question(
        self,
        seed: u64,
        number: Option<usize>,
        sought: &str,
    ) -> Result<Incoming, Malformed> {
        let (read, root) = (&self.body, Some(self.body.document.root()));
        let subject = self.part(root, "subject")?;
        let action = if sought == ACTION_ROUTE { None } else { Some(self.part(root, "action")?) };
        let resource = self.part(root, "resource")?;
        let context = read.object(root, "context")?;
        let subject_properties = read.object(Some(subject), "subject.properties")?;
        let action_properties = read.object(action, "action.properties")?;
        let resource_properties = read.object(Some(resource), "resource.properties")?;

        let subject_type = self.required(subject, "subject.type")?;
        let subject_id = match sought {
            SEARCH_SUBJECT => None,
            _ => Some(self.required(subject, "subject.id")?),
        };
        let resource_type = self.required(resource, "resource.type")?;
        let resource_id = match sought {
            SEARCH_RESOURCE => None,
            _ => Some(self.required(resource, "resource.id")?),
        };
        let action = match action {
            Some(action) => Some(Entity {
                type_name: ACTION.into(),
                id: Some(self.required(action, "action.name")?),
                attributes: attributes([action_properties]),
            }),
            None => None,
        };
        let entitlements =
            read.entitlements(&self.frame.settings.entitlements, Authzen.default_entitlements())?;
        let origin = Origin {
            ip: read.string(subject_properties, "subject.properties.ip_address")?,
            device: read.string(subject_properties, "subject.properties.device_id")?,
            ..Origin::default()
        };
        // Not a member that the standard names, so one of another type is merely something else.
        let purpose = context
            .and_then(|context| context.get("purpose")?.as_str())
            .map(|text| text.into_owned());
        let subject = Principal {
            kind: principal_kind(&subject_type),
            type_name: subject_type,
            id: subject_id,
            attributes: attributes([subject_properties]),
            entitlements,
        };
        let resource = Entity {
            type_name: resource_type,
            id: resource_id,
            attributes: attributes([resource_properties]),
        };

        let mut secrets = Secrets::default();
        self.frame.settings.secrets.iter().for_each(|pointer| secrets.add(pointer.clone()));
        let id = match number {
            Some(number) => format!("{}/{number}", read.event_id),
            None => read.event_id.clone(),
        };
        Ok(Call {
            id,
            correlation: self.request_id,
            tenant: self.frame.tenant.to_owned(),
            hook: "authzen",
            phase: None,
            received: self.frame.received,
            seed,
            subject: Some(subject),
            actors: Vec::new(),
            action,
            resource: Some(resource),
            requested: Vec::new(),
            lifetimes: Vec::new(),
            origin: (origin.ip.is_some() || origin.device.is_some()).then_some(origin),
            purpose,
            proposed: Vec::new(),
            payload: self.body.document,
            secrets,
        }
        .into())
    }

    fn part<'v>(
        &self,
        root: Option<Value<'v>>,
        name: &'static str,
    ) -> Result<Value<'v>, Malformed> {
        self.body.object(root, name)?.ok_or_else(|| self.body.refuse(Cause::WrongShape, name))
    }

    fn required(&self, part: Value<'_>, path: &'static str) -> Result<String, Malformed> {
        let text = self.body.string(Some(part), path)?.filter(|text| !text.is_empty());
        text.ok_or_else(|| self.body.refuse(Cause::WrongShape, path))
    }
}

/// A part of a question.
struct Part {
    name: &'static str,
    /// What it cannot be without.
    required: &'static [&'static str],
}

impl Part {
    /// An item's own part, with what it needs and lacks out of the default.
    fn filled(&self, own: Value<'_>, default: Value<'_>) -> String {
        let kept = |name: &str| !self.required.contains(&name) || present(own, name).is_some();
        let mut object = Object::new();
        for (name, value) in own.members().filter(|(name, _)| kept(name)) {
            object = object.json(&name, value.raw());
        }
        for name in self.required.iter().filter(|name| present(own, name).is_none()) {
            object =
                object.some(present(default, name), |object, value| object.json(name, value.raw()));
        }
        object.end()
    }
}

/// How far to go.
fn until(body: &Body) -> Result<Until, Malformed> {
    let options = body.object(Some(body.document.root()), "options")?;
    match body.string(options, "options.evaluations_semantic")?.as_deref() {
        None | Some("execute_all") => Ok(Until::End),
        Some("deny_on_first_deny") => Ok(Until::FirstDeny),
        Some("permit_on_first_permit") => Ok(Until::FirstPermit),
        // Taken for another, it could answer what was not asked.
        Some(_) => Err(body.refuse(Cause::WrongShape, "options.evaluations_semantic")),
    }
}

/// How much of a list.
fn page(body: &Body) -> Result<Page, Malformed> {
    let page = body.object(Some(body.document.root()), "page")?;
    let token = body.string(page, "page.token")?.filter(|token| !token.is_empty());
    let limit = match page.and_then(|page| present(page, "limit")) {
        None => None,
        Some(limit) => {
            let whole = limit.as_u64().filter(|limit| *limit > 0);
            let whole = whole.ok_or_else(|| body.refuse(Cause::WrongShape, "page.limit"))?;
            Some(u32::try_from(whole).unwrap_or(u32::MAX))
        }
    };
    Ok(Page { limit, token })
}

/// A member that is there and not `null`.
fn present<'a>(object: Value<'a>, name: &str) -> Option<Value<'a>> {
    object.get(name).filter(|value| !value.is_null())
}

/// By the words that are in use; the standard leaves them to its users.
fn principal_kind(type_name: &str) -> PrincipalKind {
    match type_name {
        "user" | "person" | "identity" | "employee" => PrincipalKind::Person,
        "service" | "workload" | "client" | "application" | "machine" => PrincipalKind::Service,
        "agent" => PrincipalKind::Agent,
        "device" => PrincipalKind::Device,
        _ => PrincipalKind::Other,
    }
}

/// What a question consists of.
const PARTS: [Part; 4] = [
    Part { name: "subject", required: &["type", "id"] },
    Part { name: "action", required: &["name"] },
    Part { name: "resource", required: &["type", "id"] },
    Part { name: "context", required: &[] },
];

/// Evaluations in one request. Each is asked, recorded and answered by itself, within one budget.
const MOST_EVALUATIONS: usize = 256;

/// The longest request id that is taken for the event's, bytes.
const LONGEST_REQUEST_ID: usize = 256;
