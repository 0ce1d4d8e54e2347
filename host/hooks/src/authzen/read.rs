//! Reading AuthZEN requests.
//!
//! Invariant: unknown members are ignored; a required part that is missing or of the wrong type
//! refuses the request, or the one evaluation that has it. `null` is as good as absent. A part that
//! an evaluation has replaces the default whole, and nothing of the default is put into it.
//! Properties may be of any JSON type.
//!
//! The subject's, action's and resource's `properties` are their attributes; the action's name is its id. `context` stays in the
//! payload (`authzen:/context/…`), but for `purpose`. A question out of several has a payload of its own: the four parts as they are
//! after the defaults.

use portcullis_model::json::{Kind, Value, build_array, build_object, build_text};
use portcullis_model::{
    Call, Cause, Document, Entity, Origin, Principal, PrincipalKind, SearchTarget, Secrets,
};

use super::{
    Authzen, REQUEST_ID, SEARCH_ACTION as ACTION_ROUTE, SEARCH_RESOURCE, SEARCH_SUBJECT, failed,
};
use crate::adapter::{ACTION, Adapter, fill_candidate};
use crate::json_body::{JsonBody, attributes, object, string};
use crate::{
    Batch, HookRequest, PageRequest, ParseContext, ParseError, Parsed, Request, ShortCircuit,
    UnparsedItem,
};

/// One question.
pub(super) fn evaluation(
    request: &Request<'_>,
    frame: &ParseContext<'_>,
) -> Result<Parsed, ParseError> {
    let read = Read::new(request, frame)?;
    Ok(Parsed::Single(read.question(frame.seed, None)?))
}

/// Several questions, or one where there is no array of them.
pub(super) fn evaluations(
    request: &Request<'_>,
    frame: &ParseContext<'_>,
) -> Result<Parsed, ParseError> {
    let read = Read::new(request, frame)?;
    let body = &read.body;
    let until = until(body)?;
    let Some(evaluations) = present(body.document.root(), "evaluations") else {
        return Ok(Parsed::Single(read.question(frame.seed, None)?));
    };
    if !evaluations.is_array() {
        return Err(body.refuse(Cause::SchemaMismatch, "evaluations"));
    }
    let items: Vec<_> = evaluations.elements().take(MAX_EVALUATIONS + 1).collect();
    if items.is_empty() {
        return Ok(Parsed::Single(read.question(frame.seed, None)?));
    }
    if items.len() > MAX_EVALUATIONS {
        return Err(body.refuse(Cause::SchemaMismatch, "evaluations, of which there may be 256"));
    }
    // A default that is wrong is wrong for the request as a whole, whether or not an item uses it.
    for part in PARTS {
        read.optional(part)?;
    }
    let items = items.into_iter().enumerate().map(|(number, item)| {
        let question =
            read.item(item).and_then(|item| item.question(frame.seed_of(number), Some(number)));
        question.map_err(|malformed| {
            let message = format!("{}: {}", malformed.code(), malformed.detail);
            let answer = failed(frame.settings.answer, 400, &message, "");
            Box::new(UnparsedItem { answer, malformed, question: None })
        })
    });
    Ok(Parsed::Batch(Batch { id: None, items: items.collect(), until, query: Vec::new() }))
}

/// "Which ones?"
pub(super) fn search(
    request: &Request<'_>,
    frame: &ParseContext<'_>,
) -> Result<Parsed, ParseError> {
    let read = Read::new(request, frame)?;
    let sought = match request.route {
        SEARCH_SUBJECT => SearchTarget::Subject,
        SEARCH_RESOURCE => SearchTarget::Resource,
        _ => SearchTarget::Action,
    };
    let page = page(&read.body, sought)?;
    let mut incoming = read.open_question(frame.seed, None, request.route)?;
    incoming.call.phase = Some(sought.phase().to_owned());
    Ok(Parsed::Search(incoming, page))
}

/// The question about one candidate of a search. Its payload is that of an evaluation, so that a plugin which reads the body hears
/// the same as when it is asked about that one alone.
pub(super) fn candidate(search: &HookRequest, sought: SearchTarget, id: &str) -> HookRequest {
    let mut question = search.clone();
    fill_candidate(&mut question.call, sought, id);
    let (name, member) = match sought {
        SearchTarget::Subject => ("subject", "id"),
        SearchTarget::Resource => ("resource", "id"),
        SearchTarget::Action => ("action", "name"),
    };
    let root = search.call.payload.root();
    let filled = build_object(|object| {
        for part in PARTS {
            let sent = present(root, part);
            if part == name {
                let members = sent.into_iter().flat_map(Value::members);
                object.object(part, |filled| {
                    for (name, value) in members.filter(|(name, _)| name != member) {
                        filled.json(&name, value.raw());
                    }
                    filled.text(member, id);
                });
            } else if let Some(value) = sent {
                object.json(part, value.raw());
            }
        }
    });
    // What was parsed, cut down and filled in is JSON still.
    if let Ok(document) = Document::parse(filled.as_bytes()) {
        question.call.payload = document;
    }
    question
}

/// A request, or one of its evaluations.
struct Read<'a> {
    body: JsonBody,
    request_id: Option<String>,
    context: &'a ParseContext<'a>,
}

impl<'a> Read<'a> {
    fn new(request: &Request<'_>, frame: &'a ParseContext<'a>) -> Result<Self, ParseError> {
        let refuse =
            |cause, detail: &'static str| ParseError { cause, detail: detail.into(), event: None };
        let media_type = (request.header)("content-type").unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim();
        if !media_type.eq_ignore_ascii_case("application/json") {
            return Err(refuse(
                Cause::SchemaMismatch,
                "the content type, which must be application/json",
            ));
        }
        let document =
            Document::parse(request.body).map_err(|error| refuse(error.cause, "the body"))?;
        if !document.root().is_object() {
            return Err(refuse(Cause::SchemaMismatch, "the body, which must be an object"));
        }
        let request_id = (request.header)(REQUEST_ID)
            .filter(|id| (1..=MAX_REQUEST_ID_BYTES).contains(&id.len()));
        let request_id = request_id.map(str::to_owned);
        let event_id = request_id.clone().unwrap_or_else(|| frame.own_id());
        Ok(Self { body: JsonBody { document, event_id }, request_id, context: frame })
    }

    /// One of several evaluations, with the defaults of the request. A part that an item has stands
    /// for the whole of the default.
    fn item(&self, item: Value<'_>) -> Result<Self, ParseError> {
        if !item.is_object() {
            return Err(self
                .body
                .refuse(Cause::SchemaMismatch, "the evaluation, which must be an object"));
        }
        let whole = build_object(|object| {
            for part in PARTS {
                let default = || present(self.body.document.root(), part);
                if let Some(value) = present(item, part).or_else(default) {
                    object.json(part, value.raw());
                }
            }
        });
        let document = Document::parse(whole.as_bytes());
        let document = document.map_err(|error| self.body.refuse(error.cause, "the evaluation"))?;
        let body = JsonBody { document, event_id: self.body.event_id.clone() };
        Ok(Self { body, request_id: self.request_id.clone(), context: self.context })
    }

    /// The question: everything is there.
    fn question(self, seed: u64, number: Option<usize>) -> Result<HookRequest, ParseError> {
        self.open_question(seed, number, "")
    }

    /// The question, of which a search leaves open what it is for.
    fn open_question(
        self,
        seed: u64,
        number: Option<usize>,
        sought: &str,
    ) -> Result<HookRequest, ParseError> {
        let (read, root) = (&self.body, Some(self.body.document.root()));
        let subject = self.part(root, "subject")?;
        let action = if sought == ACTION_ROUTE { None } else { Some(self.part(root, "action")?) };
        let resource = self.part(root, "resource")?;
        let context = self.optional("context")?;
        let subject_properties = object(Some(subject), "properties");
        let action_properties = object(action, "properties");
        let resource_properties = object(Some(resource), "properties");

        let subject_type = read.required(Some(subject), "subject.type")?;
        let subject_id = match sought {
            SEARCH_SUBJECT => None,
            _ => Some(read.required(Some(subject), "subject.id")?),
        };
        let resource_type = read.required(Some(resource), "resource.type")?;
        let resource_id = match sought {
            SEARCH_RESOURCE => None,
            _ => Some(read.required(Some(resource), "resource.id")?),
        };
        let action = match action {
            Some(action) => Some(Entity {
                type_name: ACTION.into(),
                id: Some(read.required(Some(action), "action.name")?),
                attributes: attributes([action_properties]),
            }),
            None => None,
        };
        let entitlements =
            read.entitlements(&self.context.settings.entitlements, Authzen.default_entitlements())?;
        let origin = Origin {
            ip: string(subject_properties, "ip_address"),
            device: string(subject_properties, "device_id"),
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
        self.context.settings.secrets.iter().for_each(|pointer| secrets.add(pointer.clone()));
        let id = match number {
            Some(number) => format!("{}/{number}", read.event_id),
            None => read.event_id.clone(),
        };
        let answer = self.context.settings.answer;
        let call = Call {
            id,
            correlation: self.request_id,
            tenant: self.context.tenant.to_owned(),
            hook: "authzen",
            phase: None,
            received: self.context.received,
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
        };
        Ok(HookRequest { answer, ..call.into() })
    }

    fn part<'v>(
        &self,
        root: Option<Value<'v>>,
        name: &'static str,
    ) -> Result<Value<'v>, ParseError> {
        object(root, name).ok_or_else(|| self.body.refuse(Cause::SchemaMismatch, name))
    }

    /// A part that may be absent. The standard says that each is an object: one that is not could
    /// be meant as a condition, and to pass it over would decide without it.
    fn optional(&self, name: &'static str) -> Result<Option<Value<'_>>, ParseError> {
        match present(self.body.document.root(), name) {
            Some(value) if !value.is_object() => Err(self.body.refuse(Cause::SchemaMismatch, name)),
            optional => Ok(optional),
        }
    }
}

/// How far to go.
fn until(body: &JsonBody) -> Result<ShortCircuit, ParseError> {
    let options = object(Some(body.document.root()), "options");
    let Some(semantic) = options.and_then(|options| present(options, "evaluations_semantic"))
    else {
        return Ok(ShortCircuit::Never);
    };
    match semantic.as_str().as_deref() {
        Some("execute_all") => Ok(ShortCircuit::Never),
        Some("deny_on_first_deny") => Ok(ShortCircuit::OnDeny),
        Some("permit_on_first_permit") => Ok(ShortCircuit::OnPermit),
        // Taken for another, it could answer what was not asked.
        _ => Err(body.refuse(Cause::SchemaMismatch, "options.evaluations_semantic")),
    }
}

/// How much of a list. A token or a limit that cannot be read refuses: to pass it over would tell
/// another part of the list than was asked for.
fn page(body: &JsonBody, sought: SearchTarget) -> Result<PageRequest, ParseError> {
    let page = match present(body.document.root(), "page") {
        Some(page) if !page.is_object() => return Err(body.refuse(Cause::SchemaMismatch, "page")),
        page => page,
    };
    let token = match page.and_then(|page| present(page, "token")) {
        None => None,
        Some(token) => {
            let text = token.as_str().map(|text| text.into_owned());
            text.map(Some).ok_or_else(|| body.refuse(Cause::SchemaMismatch, "page.token"))?
        }
    };
    let limit = match page.and_then(|page| present(page, "limit")) {
        None => None,
        Some(limit) => {
            let whole = limit.as_u64();
            let whole = whole.ok_or_else(|| body.refuse(Cause::SchemaMismatch, "page.limit"))?;
            Some(u32::try_from(whole).unwrap_or(u32::MAX))
        }
    };
    let token = token.filter(|token| !token.is_empty());
    Ok(PageRequest { limit, token, of: list_of(body, sought) })
}

/// The list that a search asks for: what is sought, and the parts that say whose. The id of what is
/// sought means nothing, and how a page is to be cut is not part of the list.
fn list_of(body: &JsonBody, sought: SearchTarget) -> String {
    build_object(|object| {
        object.text("for", sought.phase());
        for part in PARTS {
            let Some(value) = present(body.document.root(), part) else { continue };
            let is_sought = matches!(
                (sought, part),
                (SearchTarget::Subject, "subject") | (SearchTarget::Resource, "resource")
            );
            object.json(part, &canonical(value, if is_sought { Some("id") } else { None }));
        }
    })
}

/// JSON text that is the same for the same value: without white space, names in order, strings
/// spelled one way. Numbers stay as they are spelled. `without` is a member to leave out.
fn canonical(value: Value<'_>, without: Option<&str>) -> String {
    match value.kind() {
        Kind::Object => {
            let mut members: Vec<_> =
                value.members().filter(|(name, _)| Some(&**name) != without).collect();
            members.sort_by(|(one, _), (other, _)| one.cmp(other));
            build_object(|object| {
                for (name, value) in members {
                    object.json(&name, &canonical(value, None));
                }
            })
        }
        Kind::Array => build_array(|array| {
            array.jsons(value.elements().map(|element| canonical(element, None)));
        }),
        Kind::String => build_text(&value.as_str().unwrap_or_default()),
        Kind::Null | Kind::Bool | Kind::Number => value.raw().to_owned(),
    }
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
const PARTS: [&str; 4] = ["subject", "action", "resource", "context"];

/// Evaluations in one request. Each is asked, recorded and answered by itself, within one budget.
const MAX_EVALUATIONS: usize = 256;

/// The longest request id that is taken for the event's, bytes.
const MAX_REQUEST_ID_BYTES: usize = 256;
