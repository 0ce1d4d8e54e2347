//! `ping.sideband`: the sideband API of Ping's gateways: about a request on its way (`/sideband/request`), and about the response on
//! its way back (`/sideband/response`).
//!
//! Invariant: what goes on is everything that came, but for the changes: the gateway takes away what is not echoed. An answer without
//! `response` is an allowance in the first phase, so every refusal there has one, or is an HTTP error. Credentials among the headers, in the
//! query and in the body are secrets of the call, found when it is read.
//! Source: pingidentity/kong-plugin-ping-auth, whose client code is the best public specification.
//!
//! Reading. There is no subject: the credentials that pass through are not ours to believe. A client certificate makes its holder the
//! actor. The method is the action's id, the URL without query the resource's; the headers that are no secrets are the action's attributes
//! `header.NAME`, repeated ones joined by ", ".

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use portcullis_model::json::{
    ArrayWriter, ObjectWriter, Value, build_object, build_text, escape_token, split_pointer,
};
use portcullis_model::{
    Attribute, Attribution, Call, Cause, Change, ChangeKind, Document, Effect, Entity, Origin,
    Principal, PrincipalKind, Secrets, Target,
};

use super::secret::{is_secret_body, is_secret_header, is_secret_query};
use crate::adapter::{Adapter, Behaviour, DedupPolicy, FailureBehaviour, Shown};
use crate::answer::{Answer, Slot};
use crate::json_body::{JsonBody, object, spelled, string};
use crate::reasons::{DENIED, UNCHECKED};
use crate::support::{FallbackTo, Support};
use crate::{
    HookRequest, HookSettings, Outcome, ParseContext, ParseError, Parsed, RenderError,
    RenderErrorKind, Request, SafeAnswerInput,
};

/// The hook kind.
pub(crate) struct Sideband;

impl Adapter for Sideband {
    fn inputs(&self, _settings: &HookSettings) -> Vec<&'static str> {
        INPUTS.to_vec()
    }

    fn required(&self) -> &'static [&'static str] {
        &["method", "url", "headers", "response_code"]
    }

    fn platform_limit(&self) -> Duration {
        Duration::from_secs(10)
    }

    fn default_budget(&self) -> Duration {
        Duration::from_secs(2)
    }

    fn failure_behaviour(&self) -> FailureBehaviour {
        let stops = Behaviour::FailsClosed("the API's client gets 502");
        let error = Behaviour::FailsClosed(
            "the API's client gets 502, or the 413; a 429 would stop all calls for a while",
        );
        FailureBehaviour { empty: stops, client_error: error, server_error: stops, timeout: stops }
    }

    fn shown(&self) -> Shown {
        Shown::Application("`errorMessage` in the body that the client of the API gets")
    }

    fn description(&self) -> &'static str {
        "The gateway continues with the echoed request or response, so an answer that allows \
         repeats all of it. An invalid request gets 400, 401 or 413 with `{id, message}`, whatever \
         the safe answer is, because it cannot be echoed; a request that could not be read before \
         the failure gets 500, or 503 if there are too many calls. Closed: `200` with a `response` \
         of 503; in the response phase, this one replaces the response. Open: everything as it \
         came. Restricted is not offered. A denial is a `response` of 403. 429 is never sent: the \
         gateway would refuse all calls until `Retry-After`."
    }

    fn routes(&self, path: &str) -> Vec<(String, &'static str)> {
        let base = path.trim_end_matches('/');
        [REQUEST, RESPONSE].map(|route| (format!("{base}{route}"), route)).to_vec()
    }

    fn dedup_policy(&self) -> DedupPolicy {
        DedupPolicy::Never
    }

    fn read(&self, request: &Request<'_>, frame: &ParseContext<'_>) -> Result<Parsed, ParseError> {
        let refuse =
            |cause, detail: &'static str| ParseError { cause, detail: detail.into(), event: None };
        let document =
            Document::parse(request.body).map_err(|error| refuse(error.cause, "the body"))?;
        if !document.root().is_object() {
            return Err(refuse(Cause::SchemaMismatch, "the body, which must be an object"));
        }
        let read = JsonBody { document, event_id: format!("{:016x}", frame.seed) };
        Ok(Parsed::Single(parse(read, request.route == RESPONSE, frame)?))
    }

    fn write(&self, incoming: &HookRequest, outcome: &Outcome<'_>) -> Result<Answer, RenderError> {
        let refusal = match outcome.verdict {
            Effect::Abstain | Effect::Allow => None,
            Effect::StepUp => Some(("401", outcome.text_or(STRONGER))),
            Effect::Review | Effect::Deny => Some(("403", outcome.text_or(DENIED))),
        };
        if let Some((code, message)) = refusal {
            return Ok(stop(is_response(incoming), code, &message, &outcome.codes()));
        }
        let mut echo = Echo::of(incoming);
        for (at, change) in (1..).zip(outcome.changes) {
            echo.admit(change)
                .map_err(|why| RenderError { change: Some((at, change.kind())), why })?;
        }
        Ok(echo.answer())
    }

    fn refuse(&self, refusal: &SafeAnswerInput<'_>) -> Option<Answer> {
        let SafeAnswerInput { cause, detail, incoming, .. } = refusal;
        if cause.attribution() != Attribution::Caller && incoming.is_some() {
            return None;
        }
        let status = match cause {
            Cause::Unauthenticated => 401,
            Cause::BodyTooLarge => 413,
            Cause::Overload => 503,
            cause if cause.attribution() == Attribution::Caller => 400,
            _ => 500,
        };
        let message = if detail.is_empty() {
            cause.code().to_owned()
        } else {
            format!("{}: {detail}", cause.code())
        };
        let error = build_object(|error| {
            error.text("id", cause.code()).text("message", &message);
        });
        Some(Answer::json(status, error))
    }

    fn safe_answer(&self, refusal: &SafeAnswerInput<'_>) -> Answer {
        let SafeAnswerInput { cause, incoming, .. } = *refusal;
        let text = refusal.text(UNCHECKED);
        stop(incoming.is_some_and(is_response), "503", &text, &[cause.code()])
    }

    fn platform_default(&self, incoming: Option<&HookRequest>) -> Answer {
        match incoming {
            Some(incoming) => Echo::of(incoming).answer(),
            // Without the request there is nothing to echo, and an empty answer would take everything away.
            None => stop(false, "503", UNCHECKED, &[]),
        }
    }

    fn effect_support(&self, effect: Effect) -> Support {
        match effect {
            Effect::Abstain | Effect::Allow => {
                Support::Native("the request echoed, with the changes")
            }
            Effect::StepUp => Support::Native(
                "a `response` of 401 that challenges with `insufficient_user_authentication` (RFC \
                 9470)",
            ),
            Effect::Review => {
                Support::Fallback(&[FallbackTo::Deny], "a request cannot wait for a person")
            }
            Effect::Deny => Support::Native("a `response` of 403, with the text and the codes"),
        }
    }

    fn change_support(&self, change: ChangeKind) -> Support {
        use Support::{Fallback, Native, Unsupported};
        match change {
            ChangeKind::Set(Target::Request) => Native(
                "in the request phase: `/method`, `/url`, `/body` or `/headers/NAME`, to a string",
            ),
            ChangeKind::Remove(Target::Request) => {
                Native("in the request phase: `/headers/NAME` or `/body`")
            }
            ChangeKind::Set(Target::Response) => Native(
                "in the response phase: `/response_code`, `/body` or `/headers/NAME`, to a string",
            ),
            ChangeKind::Remove(Target::Response) => {
                Native("in the response phase: `/headers/NAME` or `/body`")
            }
            ChangeKind::Set(_) | ChangeKind::Remove(_) => {
                Unsupported("the hook changes a request and its response only")
            }
            ChangeKind::CapLifetime(_) => Unsupported("requests and responses have no lifetime"),
            ChangeKind::AddGrant => {
                Unsupported("the hook grants nothing; set a header that the API reads")
            }
            ChangeKind::DropGrant => Fallback(
                &[FallbackTo::Deny],
                "the hook grants nothing, so nothing can be taken away",
            ),
            ChangeKind::LinkUser | ChangeKind::CreateUser => Unsupported("a request makes no user"),
            ChangeKind::Credential => Unsupported("no password is checked"),
            ChangeKind::AutoApprove => Unsupported("no person approves a request"),
            ChangeKind::RequireApprovers => {
                Fallback(&[FallbackTo::Deny], "a request cannot wait for approvers")
            }
            ChangeKind::Statement => {
                Fallback(&[FallbackTo::Deny], "the gateway carries out no obligations")
            }
            ChangeKind::Waive => crate::support::waived(),
        }
    }
}

/// Reads one request.
fn parse(
    read: JsonBody,
    is_response: bool,
    frame: &ParseContext<'_>,
) -> Result<HookRequest, ParseError> {
    let root = Some(read.document.root());
    // An empty one is passed on as it is.
    let required =
        |name| string(root, name).ok_or_else(|| read.refuse(Cause::SchemaMismatch, name));
    let method = required("method")?;
    let url = required("url")?;
    let body = passed_on(root, "body").unwrap_or_default();
    let mut secrets = Secrets::default();
    frame.settings.secrets.iter().for_each(|pointer| secrets.add(pointer.clone()));
    let headers = Headers::read(root, "", &mut secrets)
        .ok_or_else(|| read.refuse(Cause::SchemaMismatch, "headers"))?;
    let mut action_attributes = named(&["http_version"], root);
    let mut origin = Origin { ip: string(root, "source_ip"), ..Origin::default() };
    let mut correlation = None;
    let certificate = object(root, "client_certificate");
    if is_response {
        if spelled(root, "response_code").is_none() {
            return Err(read.refuse(Cause::SchemaMismatch, "response_code"));
        }
        action_attributes.extend(named(&["response_code", "response_status"], root));
        let original = object(root, "request");
        // One that is not ours is as good as none: what it would have told is then absent, as from a gateway that keeps no state.
        if let Some(state) = state(root) {
            correlation = Some(state.id);
            origin.ip = state.ip;
            action_attributes.extend(
                state.headers.into_iter().map(|(name, value)| attribute("request", &name, &value)),
            );
        } else if original.is_some() {
            // Headers that cannot be read could be credentials, every one of them.
            let sent = Headers::read(original, "/request", &mut secrets).unwrap_or_else(|| {
                secrets.add("/request/headers".into());
                Headers::default()
            });
            action_attributes.extend(
                sent.public().iter().map(|(name, value)| attribute("request", name, value)),
            );
            origin.ip = string(original, "source_ip");
            if passed_on(original, "body").is_some_and(|body| is_secret_body(&body)) {
                secrets.add("/request/body".into());
            }
            if passed_on(original, "url").is_some_and(|url| is_secret_query(&url)) {
                secrets.add("/request/url".into());
            }
        }
    }
    let public = headers.public();
    origin.user_agent = public.get("user-agent").filter(|_| !is_response).cloned();
    action_attributes.extend(public.iter().map(|(name, value)| attribute("header", name, value)));
    if is_secret_query(&url) {
        secrets.add("/url".into());
    }
    if is_secret_body(&body) {
        secrets.add("/body".into());
    }
    let (place, query) = url.split_once(['?', '#']).unwrap_or((&url, ""));
    let (host, path) = parts(place);
    let mut resource_attributes =
        vec![json_attribute("host", &build_text(host)), json_attribute("path", &build_text(path))];
    if !query.is_empty() && !is_secret_query(&url) {
        resource_attributes.push(json_attribute("query", &build_text(query)));
    }
    let actor = certificate.map(|certificate| Principal {
        kind: PrincipalKind::Service,
        type_name: "client".into(),
        id: None,
        attributes: vec![json_attribute("client_certificate", certificate.raw())],
        entitlements: Vec::new(),
    });
    Ok(Call {
        correlation,
        tenant: frame.tenant.to_owned(),
        hook: "ping.sideband",
        phase: Some(if is_response { PHASE_RESPONSE } else { PHASE_REQUEST }.to_owned()),
        received: frame.received,
        seed: frame.seed,
        subject: None,
        actors: actor.into_iter().collect(),
        action: Some(Entity {
            type_name: "method".into(),
            id: Some(method),
            attributes: action_attributes,
        }),
        resource: Some(Entity {
            type_name: "url".into(),
            id: Some(place.to_owned()),
            attributes: resource_attributes,
        }),
        requested: Vec::new(),
        lifetimes: Vec::new(),
        origin: (origin.ip.is_some() || origin.user_agent.is_some()).then_some(origin),
        purpose: None,
        proposed: Vec::new(),
        id: read.event_id,
        payload: read.document,
        secrets,
    }
    .into())
}

/// Headers in the order sent: names in lower case.
#[derive(Default)]
struct Headers(Vec<(String, String)>);

impl Headers {
    /// The headers of a message that stands at `at`; which of them are secrets is added to
    /// `secrets`. None where they have a form in which no header could be told from another.
    ///
    /// The contract has a list of objects with one string each. An object alone, several members,
    /// numbers and lists of values are as easy to read, and go on in the contract's form.
    fn read(message: Option<Value<'_>>, at: &str, secrets: &mut Secrets) -> Option<Self> {
        let mut headers = Self::default();
        let Some(sent) =
            message.and_then(|message| message.get("headers")).filter(|sent| !sent.is_null())
        else {
            return Some(headers);
        };
        if sent.is_object() {
            headers.take(sent, &format!("{at}/headers"), secrets);
            return Some(headers);
        }
        if !sent.is_array() {
            return None;
        }
        for (number, header) in sent.elements().enumerate() {
            if !header.is_object() {
                return None;
            }
            headers.take(header, &format!("{at}/headers/{number}"), secrets);
        }
        Some(headers)
    }

    /// Takes the members of an object as headers.
    fn take(&mut self, object: Value<'_>, at: &str, secrets: &mut Secrets) {
        for (spelled, value) in object.members() {
            let name = spelled.to_ascii_lowercase();
            if is_secret_header(&name) {
                secrets.add(format!("{at}/{}", escape_token(&spelled)));
            }
            let values = match value.is_array() {
                true => value.elements().collect(),
                false => vec![value],
            };
            for value in values {
                let text = match value.as_str() {
                    Some(text) => text.into_owned(),
                    None if value.is_null() => String::new(),
                    None => value.raw().to_owned(),
                };
                self.0.push((name.clone(), text));
            }
        }
    }

    /// Those that are no secrets, repeated ones joined (RFC 9110 section 5.3).
    fn public(&self) -> BTreeMap<String, String> {
        let mut joined: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in self.0.iter().filter(|(name, _)| !is_secret_header(name)) {
            let known = joined.entry(name.clone()).or_default();
            if !known.is_empty() {
                known.push_str(", ");
            }
            known.push_str(value);
        }
        joined
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    /// The one value of a header, where the first was or at the end.
    fn set(&mut self, name: &str, value: String) {
        let at = self.0.iter().position(|(known, _)| known == name).unwrap_or(self.0.len());
        self.remove(name);
        self.0.insert(at.min(self.0.len()), (name.to_owned(), value));
    }

    fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
    }

    fn write(&self, list: &mut ArrayWriter<'_>) {
        for (name, value) in &self.0 {
            list.object(|header| {
                header.text(name, value);
            });
        }
    }
}

/// What goes on.
struct Echo<'a> {
    call: &'a Call,
    is_response: bool,
    headers: Headers,
    /// Strings that a change replaced.
    changed: BTreeMap<&'static str, String>,
    /// Names of headers that a change is about.
    touched: Vec<String>,
}

impl<'a> Echo<'a> {
    fn of(incoming: &'a HookRequest) -> Self {
        let call = &incoming.call;
        // They were read before, and what of them is secret was found then.
        let headers = Headers::read(Some(call.payload.root()), "", &mut Secrets::default());
        Self {
            call,
            is_response: is_response(incoming),
            headers: headers.unwrap_or_default(),
            changed: BTreeMap::new(),
            touched: Vec::new(),
        }
    }

    fn admit(&mut self, change: &Change) -> Result<(), RenderErrorKind> {
        let target = if self.is_response { Target::Response } else { Target::Request };
        match change.kind().target() {
            Some(wanted) if wanted == target => {}
            // The other phase's.
            Some(Target::Request | Target::Response) => return Err(RenderErrorKind::NoTarget),
            _ => return Err(RenderErrorKind::Kind),
        }
        match change {
            Change::Set { path, value, .. } => {
                let document =
                    Document::parse(value.as_bytes()).map_err(|_| RenderErrorKind::Value)?;
                let value = document.root().as_str().ok_or(RenderErrorKind::Value)?;
                self.set(path, &value)
            }
            Change::Remove { path, .. } => self.remove(path),
            _ => Err(RenderErrorKind::Kind),
        }
    }

    fn set(&mut self, path: &str, value: &str) -> Result<(), RenderErrorKind> {
        if let Some(name) = self.header(path)? {
            if !is_field_value(value) {
                return Err(RenderErrorKind::Value);
            }
            self.headers.set(&name, value.to_owned());
            return Ok(());
        }
        let (member, fits) = match path {
            "/body" => ("body", true),
            "/method" if !self.is_response => ("method", is_token(value)),
            "/url" if !self.is_response => ("url", is_url(value)),
            "/response_code" if self.is_response => ("response_code", is_status(value)),
            _ => return Err(RenderErrorKind::Place),
        };
        if !fits {
            return Err(RenderErrorKind::Value);
        }
        match self.changed.insert(member, value.to_owned()) {
            Some(earlier) if earlier != value => Err(RenderErrorKind::Conflict),
            _ => Ok(()),
        }
    }

    fn remove(&mut self, path: &str) -> Result<(), RenderErrorKind> {
        if path == "/body" {
            return self.set(path, "");
        }
        let name = self.header(path)?.ok_or(RenderErrorKind::Place)?;
        if !self.headers.has(&name) {
            return Err(RenderErrorKind::NoTarget);
        }
        self.headers.remove(&name);
        Ok(())
    }

    /// The header that a path is about, in lower case, where it is about one. Once each: the same name in another case is the same.
    fn header(&mut self, path: &str) -> Result<Option<String>, RenderErrorKind> {
        let tokens = split_pointer(path).ok_or(RenderErrorKind::Place)?;
        let [place, name] = tokens.as_slice() else { return Ok(None) };
        if place != "headers" || !is_token(name) {
            return Err(RenderErrorKind::Place);
        }
        let name = name.to_ascii_lowercase();
        if self.touched.contains(&name) {
            return Err(RenderErrorKind::Conflict);
        }
        self.touched.push(name.clone());
        Ok(Some(name))
    }

    fn answer(mut self) -> Answer {
        // A length that is no longer true would cut the body off.
        if let Some(body) = self.changed.get("body").filter(|_| self.headers.has("content-length"))
        {
            self.headers.set("content-length", body.len().to_string());
        }
        let root = self.call.payload.root();
        let sent = |name: &str| root.get(name).filter(|value| !value.is_null());
        let said = |name: &str| match self.changed.get(name) {
            Some(changed) => Cow::Borrowed(changed.as_str()),
            None => sent(name).and_then(Value::as_str).unwrap_or_default(),
        };
        // A body that came as something else than a string goes on as it came.
        let body = match sent("body").filter(|_| !self.changed.contains_key("body")) {
            Some(body) if body.as_str().is_none() => body.raw().to_owned(),
            _ => build_text(&said("body")),
        };
        let whole = build_object(|object| {
            if self.is_response {
                let code = match self.changed.get("response_code") {
                    Some(code) => Some(code.clone()),
                    None => spelled(Some(root), "response_code"),
                };
                object.text("response_code", &code.unwrap_or_default());
                // The old status' words would contradict a new one.
                let status =
                    sent("response_status").filter(|_| !self.changed.contains_key("response_code"));
                for (name, value) in
                    [("response_status", status), ("http_version", sent("http_version"))]
                {
                    if let Some(value) = value {
                        write_as_sent(object, name, value);
                    }
                }
            } else {
                for (name, value) in root.members() {
                    match &*name {
                        "method" | "url" => {
                            object.text(&name, &said(&name));
                        }
                        // Written last, in our words.
                        "body" | "headers" | "state" | RECORD | "response" => {}
                        _ => write_as_sent(object, &name, value),
                    }
                }
            }
            object.json("body", &body).array("headers", |list| self.headers.write(list));
            if !self.is_response
                && let Some(state) = State::of(self.call)
            {
                object.text("state", &state.text());
            }
        });
        Answer::ok(whole, Slot::Member(RECORD))
    }
}

/// Writes a member as it came; a string in our spelling.
fn write_as_sent(object: &mut ObjectWriter<'_>, name: &str, value: Value<'_>) {
    match value.as_str() {
        Some(value) => object.text(name, &value),
        None => object.json(name, value.raw()),
    };
}

/// What the response phase has to know of the request: opaque to the gateway, which sends it back. Without secrets.
struct State {
    id: String,
    ip: Option<String>,
    headers: BTreeMap<String, String>,
}

impl State {
    /// Nothing where it would be too large: then the gateway sends the whole request with the response.
    fn of(call: &Call) -> Option<Self> {
        let attributes = call.action.iter().flat_map(|action| &action.attributes);
        let header = |attribute: &Attribute| {
            let value =
                Document::parse(attribute.value.as_bytes()).ok()?.root().as_str()?.into_owned();
            Some((attribute.name.strip_prefix("header.")?.to_owned(), value))
        };
        let ip = call.origin.as_ref().and_then(|origin| origin.ip.clone());
        let headers: BTreeMap<_, _> = attributes.filter_map(header).collect();
        let room: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        (room <= LARGEST_STATE).then(|| Self { id: call.id.clone(), ip, headers })
    }

    fn text(&self) -> String {
        build_object(|object| {
            object.number("v", 1_u8).text("id", &self.id);
            if let Some(ip) = &self.ip {
                object.text("ip", ip);
            }
            object.object("headers", |headers| {
                for (name, value) in &self.headers {
                    headers.text(name, value);
                }
            });
        })
    }

    /// Nothing where it is not ours.
    fn parse(text: &str) -> Option<Self> {
        let document = Document::parse(text.as_bytes()).ok()?;
        let root = document.root();
        root.get("v").filter(|version| version.as_u64() == Some(1))?;
        let string = |value: Value<'_>| value.as_str().map(Cow::into_owned);
        let headers = root.get("headers")?.members();
        Some(Self {
            id: root.get("id").and_then(string)?,
            ip: root.get("ip").and_then(string),
            headers: headers
                .map(|(name, value)| Some((name.into_owned(), string(value)?)))
                .collect::<Option<_>>()?,
        })
    }
}

/// The state that a response came with.
fn state(response: Option<Value<'_>>) -> Option<State> {
    State::parse(&response?.get("state")?.as_str()?)
}

fn is_response(incoming: &HookRequest) -> bool {
    incoming.call.phase.as_deref() == Some(PHASE_RESPONSE)
}

/// What the API's client gets instead: in place of its request's answer, or of the response.
fn stop(is_response: bool, code: &str, message: &str, codes: &[&str]) -> Answer {
    let (status, challenge) = match code {
        "401" => ("UNAUTHORIZED", Some(CHALLENGE)),
        "403" => ("FORBIDDEN", None),
        _ => ("SERVICE UNAVAILABLE", None),
    };
    let body = build_object(|body| {
        body.text("errorMessage", message).json("status", code);
        if !codes.is_empty() {
            body.texts("codes", codes);
        }
    });
    let mut headers = Headers(vec![("content-type".to_owned(), Answer::CONTENT_TYPE.to_owned())]);
    headers
        .0
        .extend(challenge.map(|challenge| ("www-authenticate".to_owned(), challenge.to_owned())));
    let write_response = |response: &mut ObjectWriter<'_>| {
        response
            .text("response_code", code)
            .text("response_status", status)
            .text("http_version", "1.1")
            .array("headers", |list| headers.write(list))
            .text("body", &body);
    };
    let whole = build_object(|whole| match is_response {
        true => write_response(whole),
        false => {
            whole.object("response", write_response);
        }
    });
    Answer::ok(whole, Slot::Member(RECORD))
}

/// Host and path of an absolute URL; of another, all is path.
fn parts(url: &str) -> (&str, &str) {
    let Some((_, rest)) = url.split_once("://") else { return ("", url) };
    let end = rest.find('/').unwrap_or(rest.len());
    rest.split_at(end)
}

/// Members that are strings or whole numbers, as attributes.
fn named(names: &[&'static str], root: Option<Value<'_>>) -> Vec<Attribute> {
    let member = |name: &&str| Some(json_attribute(name, &build_text(&spelled(root, name)?)));
    names.iter().filter_map(member).collect()
}

/// A value that passes through as text: a string, or anything else as it is spelled.
fn passed_on(root: Option<Value<'_>>, name: &str) -> Option<String> {
    let value = root?.get(name).filter(|value| !value.is_null())?;
    Some(value.as_str().map_or_else(|| value.raw().to_owned(), Cow::into_owned))
}

fn attribute(message: &str, name: &str, value: &str) -> Attribute {
    json_attribute(&format!("{message}.{name}"), &build_text(value))
}

fn json_attribute(name: &str, value: &str) -> Attribute {
    Attribute { name: name.into(), value: value.into() }
}

/// RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(fits)
}

/// RFC 9110 section 5.5: no line ends where the gateway takes it for one line.
fn is_field_value(text: &str) -> bool {
    text.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte) || byte >= 0x80)
        && text.trim() == text
}

fn is_url(text: &str) -> bool {
    text.contains("://") && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_status(text: &str) -> bool {
    text.len() == 3
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && matches!(text.as_bytes(), [b'2'..=b'5', ..])
}

/// The text for an API's client if a step-up has no text.
const STRONGER: &str = "This needs a stronger sign-in. Please sign in again with a second factor.";
/// RFC 9470 section 3.
const CHALLENGE: &str = r#"Bearer error="insufficient_user_authentication""#;

const REQUEST: &str = "/sideband/request";
const RESPONSE: &str = "/sideband/response";
const PHASE_REQUEST: &str = "request";
const PHASE_RESPONSE: &str = "response";
/// The member that names the record. The gateway takes no notice of it.
const RECORD: &str = "record";

/// The most that a state holds of headers, bytes.
const LARGEST_STATE: usize = 16 << 10;

/// The inputs that a call can have.
const INPUTS: &[&str] = &[
    "correlation",
    "actors.attributes.client_certificate",
    "action.id",
    "action.attributes.*",
    "resource.id",
    "resource.attributes.host",
    "resource.attributes.path",
    "resource.attributes.query",
    "origin.ip",
    "origin.user-agent",
];
