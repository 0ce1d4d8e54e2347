//! From a call's text to what a plugin is asked: bytes as a platform sends them, or words of the model.
//!
//! Invariant: a payload goes through its hook kind's own adapter, and nothing that it says can be said beside it. What is no question is
//! refused by path.

use std::collections::BTreeMap;

use portcullis_hooks::{HookKind, HookRequest, HookSettings, ParseContext, Parsed, Request, read};
use portcullis_model::json::split_pointer;
use portcullis_model::{
    Attribute, AttributeFilter, Call, Document, Entity, Grant, Lifetime, Millis, Origin, Principal,
    PrincipalKind, SearchTarget, Secrets,
};
use serde_json::Value;

use crate::call_text::{CallText, GrantText, LifetimeText};
use crate::format::{EntityText, PrincipalKindText, PrincipalText, Suite};
use crate::parse::SuiteError;

/// What a plugin is asked. Without `Debug`: it names people.
pub enum TestCall {
    /// May they?
    Evaluate(Box<HookRequest>),
    /// Which ones? At most so many.
    Search(Box<HookRequest>, u32),
}

impl TestCall {
    /// The call.
    pub fn call(&self) -> &Call {
        match self {
            Self::Evaluate(incoming) | Self::Search(incoming, _) => &incoming.call,
        }
    }

    /// What one payload of a hook kind asks, as a host would hear it at that moment.
    ///
    /// # Errors
    /// Why it is no question.
    pub fn from_payload(
        kind: HookKind,
        payload: &[u8],
        received: Millis,
        seed: u64,
        question: usize,
    ) -> Result<Self, String> {
        let route = route(kind, None).unwrap_or_default();
        let wire = WireRequest { kind, route, headers: &BTreeMap::new(), question, payload };
        let settings = HookSettings::default();
        wire.parse(&ParseContext {
            tenant: TENANT,
            received,
            seed,
            settings: &settings,
            wanted: AttributeFilter::all(),
        })
    }
}

impl CallText {
    /// This call, with what `other` says of it instead.
    pub fn with_defaults(self, other: &Self) -> Self {
        let other = other.clone();
        Self {
            hook: other.hook.or(self.hook),
            received: other.received.or(self.received),
            seed: other.seed.or(self.seed),
            tenant: other.tenant.or(self.tenant),
            payload: other.payload.or(self.payload),
            question: other.question.or(self.question),
            route: other.route.or(self.route),
            headers: if other.headers.is_empty() { self.headers } else { other.headers },
            set_up: other.set_up.or(self.set_up),
            id: other.id.or(self.id),
            correlation: other.correlation.or(self.correlation),
            phase: other.phase.or(self.phase),
            subject: other.subject.or(self.subject),
            actors: other.actors.or(self.actors),
            action: other.action.or(self.action),
            resource: other.resource.or(self.resource),
            requested: other.requested.or(self.requested),
            lifetimes: other.lifetimes.or(self.lifetimes),
            origin: other.origin.or(self.origin),
            purpose: other.purpose.or(self.purpose),
            proposed: other.proposed.or(self.proposed),
            body: other.body.or(self.body),
        }
    }

    /// A call as a platform sends it.
    pub fn posted(
        &self,
        path: &str,
        kind: HookKind,
        received: Millis,
        seed: u64,
        payload: &[u8],
    ) -> Result<TestCall, SuiteError> {
        for (member, given) in [
            ("id", self.id.is_some()),
            ("correlation", self.correlation.is_some()),
            ("phase", self.phase.is_some()),
            ("subject", self.subject.is_some()),
            ("actors", self.actors.is_some()),
            ("action", self.action.is_some()),
            ("resource", self.resource.is_some()),
            ("requested", self.requested.is_some()),
            ("lifetimes", self.lifetimes.is_some()),
            ("origin", self.origin.is_some()),
            ("purpose", self.purpose.is_some()),
            ("body", self.body.is_some()),
        ] {
            if given {
                let what =
                    "the call has a payload and takes this from it; change the payload with `set`";
                return Err(SuiteError::at(&format!("{path}.{member}"), what));
            }
        }
        let set_up = self.set_up.clone().unwrap_or_default();
        let settings = HookSettings {
            path: PATH.to_owned(),
            entitlements: set_up.entitlements,
            subject: set_up.subject,
            secrets: set_up.secrets,
            ..HookSettings::default()
        };
        let route = route(kind, self.route.as_deref()).ok_or_else(|| {
            let routes: Vec<_> = kind.routes(PATH).into_iter().map(|(_, route)| route).collect();
            let what =
                format!("{} has no such route; its routes are {}", kind.name(), routes.join(", "));
            SuiteError::at(&format!("{path}.route"), what)
        })?;
        let wire = WireRequest {
            kind,
            route,
            headers: &self.headers,
            question: self.question.unwrap_or(1),
            payload,
        };
        let tenant = self.tenant.as_deref().unwrap_or(TENANT);
        let frame = ParseContext {
            tenant,
            received,
            seed,
            settings: &settings,
            wanted: AttributeFilter::all(),
        };
        wire.parse(&frame).map_err(|what| SuiteError::at(&format!("{path}.payload"), what))
    }
}

/// A request as a platform sends it.
struct WireRequest<'a> {
    kind: HookKind,
    route: &'static str,
    headers: &'a BTreeMap<String, String>,
    question: usize,
    payload: &'a [u8],
}

impl WireRequest<'_> {
    fn parse(&self, frame: &ParseContext<'_>) -> Result<TestCall, String> {
        let header = |name: &str| self.headers.get(name).map(String::as_str);
        let request = Request {
            get: false,
            route: self.route,
            header: &header,
            searches: true,
            body: self.payload,
        };
        let heard = read(self.kind, &request, frame).map_err(|malformed| malformed.to_string())?;
        match heard {
            Parsed::Single(incoming) => Ok(TestCall::Evaluate(Box::new(incoming))),
            Parsed::Search(incoming, page) => {
                Ok(TestCall::Search(Box::new(incoming), page.limit.unwrap_or(PAGE).max(1)))
            }
            Parsed::Batch(batch) => {
                let count = batch.items.len();
                let item = self
                    .question
                    .checked_sub(1)
                    .and_then(|index| batch.items.into_iter().nth(index));
                match item {
                    Some(Ok(incoming)) => Ok(TestCall::Evaluate(Box::new(incoming))),
                    Some(Err(_)) => {
                        Err(format!("question {} of the payload is malformed", self.question))
                    }
                    None => Err(format!(
                        "the payload has {count} questions, but no question {}",
                        self.question
                    )),
                }
            }
            Parsed::Immediate(_) => Err("the payload has nothing to decide".to_owned()),
        }
    }
}

/// One of a hook kind's routes; its first where none is named.
fn route(kind: HookKind, wanted: Option<&str>) -> Option<&'static str> {
    let mut routes = kind.routes(PATH).into_iter().map(|(_, route)| route);
    match wanted {
        Some(wanted) => routes.find(|route| *route == wanted),
        None => routes.next(),
    }
}

/// A call in words of the model.
pub(crate) fn from_model(
    suite: &Suite,
    path: &str,
    text: &CallText,
    kind: HookKind,
    received: Millis,
    seed: u64,
) -> Result<TestCall, SuiteError> {
    let principal =
        |name: &String| lookup(&suite.principals, path, "principal", name).map(principal);
    let body = text.body.as_ref().map_or_else(|| "null".to_owned(), Value::to_string);
    let payload = Document::parse(body.as_bytes()).map_err(|_| {
        SuiteError::at(&format!("{path}.body"), "it is not JSON that a host would accept")
    })?;
    let set_up = text.set_up.clone().unwrap_or_default();
    let mut secrets = Secrets::default();
    set_up.secrets.into_iter().for_each(|pointer| secrets.add(pointer));
    let grant = |grant: &GrantText| Grant { kind: grant.kind, id: grant.id.clone() };
    let lifetime = |it: &LifetimeText| Lifetime {
        target: it.target,
        seconds: it.seconds,
        least: it.least,
        most: it.most,
    };
    let call = Call {
        id: text.id.clone().unwrap_or_else(|| "event-1".to_owned()),
        correlation: text.correlation.clone(),
        tenant: text.tenant.clone().unwrap_or_else(|| TENANT.to_owned()),
        hook: kind.name(),
        phase: text.phase.clone(),
        received,
        seed,
        subject: text.subject.as_ref().map(principal).transpose()?,
        actors: text.actors.iter().flatten().map(principal).collect::<Result<_, _>>()?,
        action: text
            .action
            .as_ref()
            .map(|name| lookup(&suite.actions, path, "action", name).map(entity))
            .transpose()?,
        resource: text
            .resource
            .as_ref()
            .map(|name| lookup(&suite.resources, path, "resource", name).map(entity))
            .transpose()?,
        requested: text.requested.iter().flatten().map(grant).collect(),
        lifetimes: text.lifetimes.iter().flatten().map(lifetime).collect(),
        origin: text.origin.clone().map(|it| Origin {
            ip: it.ip,
            country: it.country,
            asn: it.asn,
            user_agent: it.user_agent,
            device: it.device,
            session: it.session,
        }),
        purpose: text.purpose.clone(),
        proposed: Vec::new(),
        payload,
        secrets,
    };
    let searches =
        call.phase.as_deref().is_some_and(|phase| SearchTarget::from_phase(phase).is_some());
    let incoming = Box::new(HookRequest::from(call));
    Ok(if searches { TestCall::Search(incoming, PAGE) } else { TestCall::Evaluate(incoming) })
}

fn principal(text: &PrincipalText) -> Principal {
    let kind = match text.kind {
        PrincipalKindText::Person => PrincipalKind::Person,
        PrincipalKindText::Service => PrincipalKind::Service,
        PrincipalKindText::Agent => PrincipalKind::Agent,
        PrincipalKindText::Device => PrincipalKind::Device,
        PrincipalKindText::Other => PrincipalKind::Other,
    };
    Principal {
        kind,
        type_name: text.type_name.clone(),
        id: text.id.clone(),
        attributes: attributes(&text.attributes),
        entitlements: text.entitlements.iter().map(|held| held.as_str().into()).collect(),
    }
}

fn entity(text: &EntityText) -> Entity {
    Entity {
        type_name: text.type_name.clone(),
        id: text.id.clone(),
        attributes: attributes(&text.attributes),
    }
}

fn attributes(named: &BTreeMap<String, Value>) -> Vec<Attribute> {
    named
        .iter()
        .map(|(name, value)| Attribute {
            name: name.as_str().into(),
            value: value.to_string().into(),
        })
        .collect()
}

/// The payload, with these values at these places.
pub(crate) fn edited(payload: String, set: &BTreeMap<String, Value>) -> Result<String, String> {
    if set.is_empty() {
        return Ok(payload);
    }
    let mut body: Value =
        serde_json::from_str(&payload).map_err(|_| "the payload is not JSON".to_owned())?;
    for (pointer, value) in set {
        let wrong = || format!("the payload has nothing at `{pointer}`");
        split_pointer(pointer).filter(|_| !pointer.is_empty()).ok_or_else(wrong)?;
        let (parent, member) = pointer.rsplit_once('/').ok_or_else(wrong)?;
        let member = member.replace("~1", "/").replace("~0", "~");
        match body.pointer_mut(parent) {
            Some(Value::Object(members)) => drop(members.insert(member, value.clone())),
            Some(Value::Array(elements)) => {
                let index = member.parse::<usize>().map_err(|_| wrong())?;
                *elements.get_mut(index).ok_or_else(wrong)? = value.clone();
            }
            _ => return Err(wrong()),
        }
    }
    Ok(body.to_string())
}

/// What is called that.
pub(crate) fn lookup<'a, T>(
    named: &'a BTreeMap<String, T>,
    path: &str,
    what: &str,
    name: &str,
) -> Result<&'a T, SuiteError> {
    named.get(name).ok_or_else(|| {
        SuiteError::at(&format!("{path}.{what}"), format!("there is no {what} `{name}`"))
    })
}

/// The hook's path, on which only its routes depend.
const PATH: &str = "/suite";
const TENANT: &str = "default";
/// The results that a search may have where its caller does not say.
const PAGE: u32 = 100;
