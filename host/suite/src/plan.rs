//! From a suite to single cases: every name looked up, every matrix multiplied out, every payload read.
//!
//! Invariant: a plan has no open ends. A name that is none, a row that fits nothing, a combination of which nothing is expected and a payload
//! that is no request are refused here, by path, before any plugin runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portcullis_hooks::{Frame, Heard, HookKind, Incoming, Request, Settings, read};
use portcullis_model::json::split_pointer;
use portcullis_model::{
    Attribute, Call, Document, Entity, Grant, Lifetime, Millis, Origin, Principal, PrincipalKind, Secrets, Sought,
};
use serde_json::Value;

use crate::expect::Expect;
use crate::format::{
    CallText, CaseText, CoverageText, EntityText, ExpectText, MatrixText, PrincipalKindText, PrincipalText, Suite,
};
use crate::parse::SuiteError;
use crate::words::{self, Names};

/// Cases, ready to be tried.
pub struct Plan {
    pub(crate) name: String,
    /// By name; `{}` under [`NO_SETTINGS`].
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) cases: Vec<Case>,
    pub(crate) coverage: CoverageText,
}

/// One question and what is expected.
pub(crate) struct Case {
    pub name: String,
    /// The name of the settings.
    pub settings: String,
    /// Nothing where the settings are to be refused.
    pub question: Option<Question>,
    pub expect: Expect,
}

/// What a plugin is asked. Without `Debug`: it names people.
pub enum Question {
    /// May they?
    Whether(Box<Incoming>),
    /// Which ones? At most so many.
    Which(Box<Incoming>, u32),
}

impl Question {
    /// The call.
    pub fn call(&self) -> &Call {
        match self {
            Self::Whether(incoming) | Self::Which(incoming, _) => &incoming.call,
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
        let wire = Wire { kind, route: "", headers: &BTreeMap::new(), question, payload };
        let settings = Settings::default();
        wire.hear(&Frame { tenant: TENANT, received, seed, settings: &settings })
    }
}

impl Plan {
    /// How many cases there are.
    pub fn cases(&self) -> usize {
        self.cases.len()
    }
}

impl Suite {
    /// Most cases, matrices multiplied out.
    pub const MOST_CASES: usize = 2_000;

    /// Most settings: a plugin is compiled for each.
    pub const MOST_SETTINGS: usize = 32;

    /// Makes single cases of it. Resolve it first.
    ///
    /// # Errors
    /// [`SuiteError`], with the path of what does not fit.
    pub fn plan(&self) -> Result<Plan, SuiteError> {
        if self.settings.len() > Self::MOST_SETTINGS {
            return Err(SuiteError::at("settings", format!("there are more than {}", Self::MOST_SETTINGS)));
        }
        let mut settings = BTreeMap::new();
        for (name, source) in &self.settings {
            if source.file.is_some() {
                return Err(SuiteError::at(
                    &format!("settings.{name}"),
                    "it names a file, and a bundle holds everything itself",
                ));
            }
            settings.insert(name.clone(), source.content());
        }
        let mut planner = Planner { suite: self, cases: Vec::new(), names: BTreeSet::new() };
        for (index, case) in self.cases.iter().enumerate() {
            planner.case(&format!("case[{index}]"), case)?;
        }
        for (index, matrix) in self.matrices.iter().enumerate() {
            planner.matrix(&format!("matrix[{index}]"), matrix)?;
        }
        if planner.cases.is_empty() {
            return Err(SuiteError::whole("it has no case"));
        }
        let cases = planner.cases;
        if cases.iter().any(|case| case.settings == NO_SETTINGS) {
            settings.entry(NO_SETTINGS.to_owned()).or_insert_with(|| "{}".to_owned());
        }
        self.coverage.check()?;
        Ok(Plan { name: self.name.clone(), settings, cases, coverage: self.coverage.clone() })
    }
}

/// What is chosen for one case beside its call.
#[derive(Clone, Copy, Default)]
struct Choice<'a> {
    call: Option<&'a str>,
    principal: Option<&'a str>,
    action: Option<&'a str>,
    resource: Option<&'a str>,
    received: Option<&'a str>,
    settings: Option<&'a str>,
}

struct Planner<'a> {
    suite: &'a Suite,
    cases: Vec<Case>,
    names: BTreeSet<String>,
}

impl<'a> Planner<'a> {
    fn case(&mut self, path: &str, case: &'a CaseText) -> Result<(), SuiteError> {
        let choice = Choice {
            call: case.call.as_deref(),
            principal: case.principal.as_deref(),
            action: case.action.as_deref(),
            resource: case.resource.as_deref(),
            received: case.received.as_deref(),
            settings: case.settings.as_deref(),
        };
        self.add(path, case.name.clone(), choice, case.with.as_ref(), &case.set, &case.expect)
    }

    fn matrix(&mut self, path: &str, matrix: &'a MatrixText) -> Result<(), SuiteError> {
        let rows = &matrix.expect;
        for (index, row) in rows.iter().enumerate() {
            for (axis, names, axes) in [
                ("call", &row.call, &matrix.calls),
                ("principal", &row.principal, &matrix.principals),
                ("action", &row.action, &matrix.actions),
                ("resource", &row.resource, &matrix.resources),
                ("received", &row.received, &matrix.received),
                ("settings", &row.settings, &matrix.settings),
            ] {
                if let Some(name) = names.0.iter().find(|name| !axes.contains(name)) {
                    let path = format!("{path}.expect[{index}].{axis}");
                    return Err(SuiteError::at(&path, format!("the matrix has no `{name}`")));
                }
            }
        }
        let mut used = vec![false; rows.len()];
        for call in each(&matrix.calls) {
            for principal in each(&matrix.principals) {
                for action in each(&matrix.actions) {
                    for resource in each(&matrix.resources) {
                        for received in each(&matrix.received) {
                            for settings in each(&matrix.settings) {
                                let choice = Choice { call, principal, action, resource, received, settings };
                                let expect = row(matrix, &choice, &mut used);
                                let name = choice.name(&matrix.name);
                                let expect = expect.ok_or_else(|| {
                                    SuiteError::at(
                                        path,
                                        format!("nothing is expected of `{name}`, and there is no `otherwise`"),
                                    )
                                })?;
                                self.add(path, name, choice, matrix.with.as_ref(), &matrix.set, expect)?;
                            }
                        }
                    }
                }
            }
        }
        match used.iter().position(|used| !used) {
            Some(index) => {
                Err(SuiteError::at(&format!("{path}.expect[{index}]"), "it fits nothing that an earlier row leaves"))
            }
            None => Ok(()),
        }
    }

    fn add(
        &mut self,
        path: &str,
        name: String,
        choice: Choice<'a>,
        with: Option<&CallText>,
        set: &BTreeMap<String, Value>,
        expect: &ExpectText,
    ) -> Result<(), SuiteError> {
        if self.cases.len() == Suite::MOST_CASES {
            return Err(SuiteError::at(path, format!("there are more than {} cases", Suite::MOST_CASES)));
        }
        if name.trim().is_empty() || !self.names.insert(name.clone()) {
            return Err(SuiteError::at(&format!("{path}.name"), format!("`{name}` is empty or stands there twice")));
        }
        let settings = self.settings(path, choice.settings)?;
        let expect = Expect::compile(&format!("{path}.expect"), expect)?;
        // Where the settings are refused there is nobody to ask.
        let question = if expect.refused.is_some() { None } else { Some(self.question(path, choice, with, set)?) };
        self.cases.push(Case { name, settings, question, expect });
        Ok(())
    }

    fn settings(&self, path: &str, chosen: Option<&str>) -> Result<String, SuiteError> {
        let suite = self.suite;
        let default = || suite.settings.contains_key(DEFAULT_SETTINGS).then_some(DEFAULT_SETTINGS);
        match chosen.or(suite.defaults.settings.as_deref()).or_else(default) {
            None => Ok(NO_SETTINGS.to_owned()),
            Some(name) if suite.settings.contains_key(name) => Ok(name.to_owned()),
            Some(name) => Err(SuiteError::at(&format!("{path}.settings"), format!("there are no settings `{name}`"))),
        }
    }

    fn question(
        &self,
        path: &str,
        choice: Choice<'a>,
        with: Option<&CallText>,
        set: &BTreeMap<String, Value>,
    ) -> Result<Question, SuiteError> {
        let (suite, defaults) = (self.suite, &self.suite.defaults);
        let mut text = match choice.call.or(defaults.call.as_deref()) {
            Some(name) => lookup(&suite.calls, path, "call", name)?.clone(),
            None => CallText::default(),
        };
        if let Some(with) = with {
            text = text.under(with);
        }
        let own = |chosen: Option<&str>, member: &mut Option<String>| {
            if let Some(chosen) = chosen {
                *member = Some(chosen.to_owned());
            }
        };
        own(choice.principal, &mut text.subject);
        own(choice.action, &mut text.action);
        own(choice.resource, &mut text.resource);
        own(choice.received, &mut text.received);
        let hook = text.hook.as_ref().or(defaults.hook.as_ref());
        let hook = hook.ok_or_else(|| SuiteError::at(path, "it has no `hook`, and neither have the defaults"))?;
        let kind = HookKind::from_name(hook);
        let kind =
            kind.ok_or_else(|| SuiteError::at(&format!("{path}.hook"), format!("there is no hook kind `{hook}`")))?;
        let clock = text.received.as_ref().or(defaults.received.as_ref());
        let clock = clock.ok_or_else(|| SuiteError::at(path, "it has no `received`, and neither have the defaults"))?;
        let received = words::time(clock).ok_or_else(|| {
            SuiteError::at(&format!("{path}.received"), format!("`{clock}` is no time such as `2026-11-25T10:00:00Z`"))
        })?;
        let seed = text.seed.or(defaults.seed).unwrap_or_default();
        let mut question = match &text.payload {
            Some(name) => {
                let payload = lookup(&suite.payloads, path, "payload", name)?;
                if payload.file.is_some() {
                    return Err(SuiteError::at(
                        &format!("payloads.{name}"),
                        "it names a file, and a bundle holds everything itself",
                    ));
                }
                let body =
                    edited(payload.content(), set).map_err(|what| SuiteError::at(&format!("{path}.set"), what))?;
                text.from_wire(path, kind, received, seed, body.as_bytes())?
            }
            None if set.is_empty() => self.from_model(path, &text, kind, received, seed)?,
            None => return Err(SuiteError::at(&format!("{path}.set"), "there is no payload to put it into")),
        };
        if let Some(proposed) = &text.proposed {
            let mut changes = Vec::new();
            for (index, change) in proposed.iter().enumerate() {
                let change = change.change();
                changes.push(change.map_err(|what| SuiteError::at(&format!("{path}.proposed[{index}]"), what))?);
            }
            match &mut question {
                Question::Whether(incoming) | Question::Which(incoming, _) => incoming.call.proposed = changes,
            }
        }
        Ok(question)
    }

    fn from_model(
        &self,
        path: &str,
        text: &CallText,
        kind: HookKind,
        received: Millis,
        seed: u64,
    ) -> Result<Question, SuiteError> {
        let suite = self.suite;
        let principal = |name: &String| lookup(&suite.principals, path, "principal", name).map(principal);
        let body = text.body.as_ref().map_or_else(|| "null".to_owned(), Value::to_string);
        let payload = Document::parse(body.as_bytes())
            .map_err(|_| SuiteError::at(&format!("{path}.body"), "it is no JSON that a host would read"))?;
        let set_up = text.set_up.clone().unwrap_or_default();
        let mut secrets = Secrets::default();
        set_up.secrets.into_iter().for_each(|pointer| secrets.add(pointer));
        let grant = |grant: &crate::format::GrantText| Grant { kind: grant.kind, id: grant.id.clone() };
        let lifetime = |it: &crate::format::LifetimeText| Lifetime {
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
            payload: Arc::new(payload),
            secrets,
        };
        let searches = call.phase.as_deref().is_some_and(|phase| Sought::from_phase(phase).is_some());
        let incoming = Box::new(Incoming::from(call));
        Ok(if searches { Question::Which(incoming, PAGE) } else { Question::Whether(incoming) })
    }
}

impl CallText {
    /// This call, with what `other` says of it instead.
    fn under(self, other: &Self) -> Self {
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

    fn from_wire(
        &self,
        path: &str,
        kind: HookKind,
        received: Millis,
        seed: u64,
        payload: &[u8],
    ) -> Result<Question, SuiteError> {
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
                let what = "the call has a payload and takes this from it; change the payload with `set`";
                return Err(SuiteError::at(&format!("{path}.{member}"), what));
            }
        }
        let set_up = self.set_up.clone().unwrap_or_default();
        let settings = Settings {
            path: PATH.to_owned(),
            entitlements: set_up.entitlements,
            subject: set_up.subject,
            secrets: set_up.secrets,
            ..Settings::default()
        };
        let wanted = self.route.as_deref().unwrap_or_default();
        let route = kind.routes(PATH).into_iter().map(|(_, route)| route).find(|route| *route == wanted);
        let route = route.or_else(|| wanted.is_empty().then_some("")).ok_or_else(|| {
            SuiteError::at(&format!("{path}.route"), format!("{} has no route `{wanted}`", kind.name()))
        })?;
        let wire = Wire { kind, route, headers: &self.headers, question: self.question.unwrap_or(1), payload };
        let tenant = self.tenant.as_deref().unwrap_or(TENANT);
        let frame = Frame { tenant, received, seed, settings: &settings };
        wire.hear(&frame).map_err(|what| SuiteError::at(&format!("{path}.payload"), what))
    }
}

/// A request as a platform sends it.
struct Wire<'a> {
    kind: HookKind,
    route: &'static str,
    headers: &'a BTreeMap<String, String>,
    question: usize,
    payload: &'a [u8],
}

impl Wire<'_> {
    fn hear(&self, frame: &Frame<'_>) -> Result<Question, String> {
        let header = |name: &str| self.headers.get(name).map(String::as_str);
        let request = Request { get: false, route: self.route, header: &header, searches: true, body: self.payload };
        let heard = read(self.kind, &request, frame).map_err(|malformed| malformed.to_string())?;
        match heard {
            Heard::One(incoming) => Ok(Question::Whether(Box::new(incoming))),
            Heard::Which(incoming, page) => Ok(Question::Which(Box::new(incoming), page.limit.unwrap_or(PAGE).max(1))),
            Heard::Many(batch) => {
                let count = batch.items.len();
                let item = self.question.checked_sub(1).and_then(|index| batch.items.into_iter().nth(index));
                match item {
                    Some(Ok(incoming)) => Ok(Question::Whether(Box::new(incoming))),
                    Some(Err(_)) => Err(format!("its question {} is malformed", self.question)),
                    None => Err(format!("it has {count} questions, and no question {}", self.question)),
                }
            }
            Heard::Nothing(_) => Err("it holds nothing to decide".to_owned()),
        }
    }
}

impl<'a> Choice<'a> {
    fn name(&self, matrix: &str) -> String {
        let parts = [self.call, self.principal, self.action, self.resource, self.received, self.settings];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        if parts.is_empty() { matrix.to_owned() } else { format!("{matrix}: {}", parts.join(", ")) }
    }
}

/// Each name of an axis, or nothing once where it has none.
fn each(names: &[String]) -> Vec<Option<&str>> {
    if names.is_empty() { vec![None] } else { names.iter().map(|name| Some(name.as_str())).collect() }
}

/// What is expected of a combination: of the first row that fits.
fn row<'a>(matrix: &'a MatrixText, choice: &Choice<'_>, used: &mut [bool]) -> Option<&'a ExpectText> {
    let fits = |names: &Names, chosen: Option<&str>| names.fit(chosen);
    for (row, used) in matrix.expect.iter().zip(used) {
        if fits(&row.call, choice.call)
            && fits(&row.principal, choice.principal)
            && fits(&row.action, choice.action)
            && fits(&row.resource, choice.resource)
            && fits(&row.received, choice.received)
            && fits(&row.settings, choice.settings)
        {
            *used = true;
            return Some(&row.then);
        }
    }
    matrix.otherwise.as_ref()
}

fn lookup<'a, T>(named: &'a BTreeMap<String, T>, path: &str, what: &str, name: &str) -> Result<&'a T, SuiteError> {
    named.get(name).ok_or_else(|| SuiteError::at(&format!("{path}.{what}"), format!("there is no {what} `{name}`")))
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
        entitlements: text.entitlements.clone(),
    }
}

fn entity(text: &EntityText) -> Entity {
    Entity { type_name: text.type_name.clone(), id: text.id.clone(), attributes: attributes(&text.attributes) }
}

fn attributes(named: &BTreeMap<String, Value>) -> Vec<Attribute> {
    named.iter().map(|(name, value)| Attribute { name: name.clone(), value: value.to_string() }).collect()
}

/// The payload, with these values at these places.
fn edited(payload: String, set: &BTreeMap<String, Value>) -> Result<String, String> {
    if set.is_empty() {
        return Ok(payload);
    }
    let mut body: Value = serde_json::from_str(&payload).map_err(|_| "the payload is no JSON".to_owned())?;
    for (pointer, value) in set {
        let wrong = || format!("the payload has no place `{pointer}`");
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

/// The settings of cases that choose none.
pub(crate) const DEFAULT_SETTINGS: &str = "default";
/// What settings are called where a suite has none; no name of its own can be that.
pub(crate) const NO_SETTINGS: &str = "";
const TENANT: &str = "default";
/// The hook's path, on which only its routes depend.
const PATH: &str = "/suite";
/// The results that a search may have where its caller does not say.
const PAGE: u32 = 100;
