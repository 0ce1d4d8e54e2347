//! Microsoft Entra: what its custom authentication extensions share, the envelope of requests and the shape of answers; and beside
//! them the callouts of its governance products, which have envelopes of their own.
//!
//! Invariant: an answer to an authentication event has exactly one action. Whatever is not 200 is a failure for Entra, which ends the
//! sign-in or sign-up; what each kind does with it stands there. Sources: Microsoft's custom claims provider reference, and the other
//! pages of its custom authentication extensions; the statuses of errors and their body are those of its own server library.
//!
//! Reading. The subject is `authenticationContext.user`, by its `id`; its attributes are that object's members, and the client's
//! `locale`. The client application is the nearest actor, the resource application the resource, each by its `appId`.

pub(crate) mod attribute_collection;
pub(crate) mod entitlement;
pub(crate) mod lifecycle;
pub(crate) mod otp_send;
pub(crate) mod password_submit;
pub(crate) mod pim;
pub(crate) mod sign_in_log;
pub(crate) mod token_issuance;
pub(crate) mod verified_id;

use std::time::Duration;

use portcullis_model::json::{Value, build_object};
use portcullis_model::{
    Attribute, Attribution, Call, Cause, Document, Entity, Grant, Origin, Principal, PrincipalKind,
    Secrets,
};

use crate::adapter::{Behaviour, FailureBehaviour};
use crate::answer::{Answer, Slot};
use crate::json_body::{JsonBody, attributes, members, object, string};
pub(crate) use crate::reasons::{DENIED, UNCHECKED};
use crate::{HookRequest, ParseContext, ParseError};

/// An authentication event.
pub(crate) struct Event {
    /// The hook kind's name.
    pub(crate) hook: &'static str,
    /// `type`.
    pub(crate) name: &'static str,
    /// `data.@odata.type`.
    pub(crate) data: &'static str,
    /// The name of the call's action.
    pub(crate) action: &'static str,
}

/// The common members of all authentication events.
pub(crate) struct Heading {
    body: JsonBody,
    platform_tenant: Option<String>,
    user: Option<Principal>,
    client: Option<Principal>,
    resource: Option<Entity>,
    origin: Option<Origin>,
    locale: Option<Attribute>,
    context: Vec<Attribute>,
}

/// The members that a kind adds to the heading.
#[derive(Default)]
pub(crate) struct Particulars {
    /// The subject, if it is not `authenticationContext.user`.
    pub(crate) subject: Option<Principal>,
    /// The resource that would be granted.
    pub(crate) requested: Vec<Grant>,
    /// JSON Pointers to secrets in the payload.
    pub(crate) secrets: Vec<String>,
}

impl Event {
    /// Reads what all authentication events say.
    pub(crate) fn heading(
        &self,
        body: &[u8],
        frame: &ParseContext<'_>,
    ) -> Result<Heading, ParseError> {
        self.heading_of(document(body)?, frame)
    }

    /// Likewise, of a body that is parsed already.
    pub(crate) fn heading_of(
        &self,
        document: Document,
        frame: &ParseContext<'_>,
    ) -> Result<Heading, ParseError> {
        let root = document.root();
        let data = root.get("data").filter(|data| data.is_object());
        let context = data.and_then(|data| data.get("authenticationContext"));
        // Entra always sends one; it only tells calls apart, so that its absence stops nobody.
        let id = string(context, "correlationId").filter(|id| id.len() <= MAX_ID_BYTES);
        let event_id = id.unwrap_or_default();
        let body = JsonBody { document, event_id };
        let root = body.document.root();
        let data = body.data()?;

        let of_type = |object: Value<'_>, name: &str, detail: &'static str, wanted: &str| {
            let found =
                named(object, name).map_err(|()| body.refuse(Cause::SchemaMismatch, detail))?;
            let found = found
                .and_then(Value::as_str)
                .ok_or_else(|| body.refuse(Cause::SchemaMismatch, detail))?;
            let found = found.strip_prefix('#').unwrap_or(&found);
            if found.eq_ignore_ascii_case(wanted) {
                Ok(())
            } else {
                Err(body.refuse(Cause::UnknownEvent, detail))
            }
        };
        of_type(
            root,
            "type",
            "type",
            &format!("microsoft.graph.authenticationEvent.{}", self.name),
        )?;
        of_type(
            data,
            "@odata.type",
            "data.@odata.type",
            &format!("microsoft.graph.{}", self.data),
        )?;
        let platform_tenant = tenant(&body, data)?;

        let context = object(Some(data), "authenticationContext");
        let client = object(context, "client");
        let user = object(context, "user");
        let application = object(context, "clientServicePrincipal");
        let resource = object(context, "resourceServicePrincipal");

        // The only example of claim validation calls it `clientIp`.
        let ip = match string(client, "ip") {
            Some(ip) => Some(ip),
            None => string(client, "clientIp"),
        };
        let locale = members(client, &["locale"]).pop();
        let user = user.map(|_| Principal {
            kind: PrincipalKind::Person,
            type_name: "user".into(),
            id: string(user, "id"),
            attributes: attributes([user]),
            entitlements: Vec::new(),
        });
        let about = ["displayName", "appDisplayName", "id"];
        let client_id = string(application, "appId");
        let resource_id = string(resource, "appId");
        let client = application.map(|_| Principal {
            kind: PrincipalKind::Service,
            type_name: "application".into(),
            id: client_id,
            attributes: members(application, &about),
            entitlements: Vec::new(),
        });
        let resource = resource.map(|_| Entity {
            type_name: "application".into(),
            id: resource_id,
            attributes: members(resource, &about),
        });
        let context = members(context, &["protocol", "requestType"]);
        let entitlements = body.entitlements(&frame.settings.entitlements, &[])?;
        let user = user.map(|user| Principal { entitlements, ..user });
        let origin = ip.map(|ip| Origin { ip: Some(ip), ..Origin::default() });
        Ok(Heading { platform_tenant, user, client, resource, origin, locale, context, body })
    }
}

impl Heading {
    /// The body.
    pub(crate) fn body(&self) -> &JsonBody {
        &self.body
    }

    /// `data`, which was there when the heading was read.
    pub(crate) fn data(&self) -> Option<Value<'_>> {
        self.body.document.root().get("data")
    }

    /// The question.
    pub(crate) fn incoming(
        self,
        event: &Event,
        frame: &ParseContext<'_>,
        particulars: Particulars,
    ) -> HookRequest {
        let Particulars { subject, requested, secrets } = particulars;
        let mut subject = subject.or(self.user);
        if let (Some(subject), Some(locale)) = (&mut subject, self.locale)
            && subject.attributes.iter().all(|attribute| attribute.name != locale.name)
        {
            subject.attributes.push(locale);
        }
        let mut pointers = Secrets::default();
        secrets.into_iter().for_each(|pointer| pointers.add(pointer));
        let id = self.body.event_id;
        let call = Call {
            correlation: (!id.is_empty()).then(|| id.clone()),
            id,
            tenant: frame.tenant.to_owned(),
            hook: event.hook,
            phase: None,
            received: frame.received,
            seed: frame.seed,
            subject,
            actors: self.client.into_iter().collect(),
            action: Some(Entity {
                type_name: event.action.into(),
                id: None,
                attributes: self.context,
            }),
            resource: self.resource,
            requested,
            lifetimes: Vec::new(),
            origin: self.origin,
            purpose: None,
            proposed: Vec::new(),
            payload: self.body.document,
            secrets: pointers,
        };
        HookRequest { platform_tenant: self.platform_tenant, ..call.into() }
    }
}

/// The inputs of a call about an authentication event: `of_subject` and those of the heading.
pub(crate) fn inputs(of_subject: &[&'static str]) -> Vec<&'static str> {
    of_subject.iter().chain(HEADING_INPUTS).copied().collect()
}

/// Parses a body that is an object.
pub(crate) fn document(body: &[u8]) -> Result<Document, ParseError> {
    let refuse = |cause| ParseError { cause, detail: "the body".into(), event: None };
    let document = Document::parse(body).map_err(|error| refuse(error.cause))?;
    if document.root().is_object() { Ok(document) } else { Err(refuse(Cause::SchemaMismatch)) }
}

/// The member of that name, in whatever case, since Microsoft's own pages spell `@odata.type` in two ways. One that is there in
/// several is an error: which of them counts would be a guess.
pub(crate) fn named<'a>(object: Value<'a>, name: &str) -> Result<Option<Value<'a>>, ()> {
    let mut found = object
        .members()
        .filter(|(spelled, _)| spelled.eq_ignore_ascii_case(name))
        .map(|(_, value)| value);
    match (found.next(), found.next()) {
        (found, None) => Ok(found.filter(|value| !value.is_null())),
        _ => Err(()),
    }
}

/// An optional member of `parent`, in whatever case. One that is there in several is as good as
/// absent.
pub(crate) fn cased<'a>(parent: Option<Value<'a>>, name: &str) -> Option<Value<'a>> {
    named(parent?, name).ok()?
}

/// Likewise, an object.
pub(crate) fn cased_object<'a>(parent: Option<Value<'a>>, name: &str) -> Option<Value<'a>> {
    cased(parent, name).filter(|value| value.is_object())
}

/// Likewise, a string.
pub(crate) fn cased_text(parent: Option<Value<'_>>, name: &str) -> Option<String> {
    cased(parent, name)?.as_str().map(|text| text.into_owned())
}

/// Those members of an object, in whatever case, as attributes by these names.
pub(crate) fn cased_members(object: Option<Value<'_>>, names: &[&str]) -> Vec<Attribute> {
    let member = |name: &&str| {
        let value = named(object?, name).ok()??;
        Some(Attribute { name: (*name).into(), value: value.text() })
    };
    names.iter().filter_map(member).collect()
}

/// Whether an id can stand in an address as it is and lead nowhere else. Microsoft's are GUIDs.
pub(crate) fn is_plain_id(id: &str) -> bool {
    (1..=128).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// The platform's tenant: `data.tenantId`, or what `source` names. A body that names two is refused.
fn tenant(body: &JsonBody, data: Value<'_>) -> Result<Option<String>, ParseError> {
    let source = body.required(Some(body.document.root()), "source")?;
    let of_source =
        source.strip_prefix("/tenants/").and_then(|rest| rest.split('/').next()).map(str::to_owned);
    match (string(Some(data), "tenantId"), of_source) {
        (Some(own), Some(other)) if !own.eq_ignore_ascii_case(&other) => {
            Err(body
                .refuse(Cause::SchemaMismatch, "data.tenantId, which is not the tenant of source"))
        }
        (own, other) => Ok(own.or(other)),
    }
}

/// The answer to an authentication event: one action, and its further members as they are written.
pub(crate) fn act(response: &str, action: &str, members: &str) -> Answer {
    act_beside(response, action, members, "")
}

/// Likewise, with further members of `data`.
pub(crate) fn act_beside(response: &str, action: &str, members: &str, beside: &str) -> Answer {
    let body = build_object(|body| {
        body.object("data", |data| {
            data.display("@odata.type", format_args!("microsoft.graph.{response}"));
            data.array("actions", |list| {
                list.object(|one| {
                    one.display("@odata.type", format_args!("microsoft.graph.{action}"));
                    one.members(members);
                });
            });
            data.members(beside);
        });
    });
    Answer::ok(body, Slot::Nowhere)
}

/// The answer to a callout whose decision goes by a call of ours: heard, and no more.
pub(crate) fn accepted() -> Answer {
    Answer::json(202, "{}".into())
}

/// The behaviour of the governance products if a callout gets no valid answer.
pub(crate) fn resume_reactions() -> FailureBehaviour {
    let unknown = Behaviour::Undocumented(
        "the effect of a failed callout is not documented; a request that waits for a resume call \
         does not proceed before its own timeout",
    );
    FailureBehaviour {
        empty: unknown,
        client_error: unknown,
        server_error: unknown,
        timeout: unknown,
    }
}

/// The refusal by status: 401 for who is not proven, 400 for what cannot be read, 500 for what is not the caller's fault.
pub(crate) fn refused(cause: Cause) -> Answer {
    let status = match (cause, cause.attribution()) {
        (Cause::Unauthenticated, _) => 401,
        (_, Attribution::Caller) => 400,
        (_, Attribution::Host | Attribution::Plugin) => 500,
    };
    let what = match cause.attribution() {
        Attribution::Caller => "The host does not accept this request",
        Attribution::Host | Attribution::Plugin => "The host could not decide this request",
    };
    error(status, &format!("{what} ({}).", cause.code()))
}

/// A failing status, in the form of Microsoft's server library.
pub(crate) fn error(status: u16, text: &str) -> Answer {
    let body = build_object(|body| {
        body.texts("errors", [text]);
    });
    Answer::json(status, body)
}

/// What Entra does in an authentication event with what is no answer: error codes 1003002 to 1003009 of its sign-in log.
pub(crate) fn reactions(stopped: &'static str) -> FailureBehaviour {
    let stops = Behaviour::FailsClosed(stopped);
    FailureBehaviour { empty: stops, client_error: stops, server_error: stops, timeout: stops }
}

/// The longest that Entra waits: `timeoutInMilliseconds` of an extension is 200 to 2,000, and 1,000 where nobody sets it.
pub(crate) const LIMIT: Duration = Duration::from_secs(2);

/// The budget where a hook sets none: under the time-out that Entra has where nobody sets one, with a share for the network.
pub(crate) const BUDGET: Duration = Duration::from_millis(700);

/// The longest id that is taken, bytes. Entra's are GUIDs.
pub(crate) const MAX_ID_BYTES: usize = 256;

/// The inputs that the heading of an authentication event has.
const HEADING_INPUTS: &[&str] = &[
    "subject.attributes.locale",
    "actors.id",
    "actors.attributes.displayName",
    "actors.attributes.appDisplayName",
    "actors.attributes.id",
    "action.attributes.protocol",
    "action.attributes.requestType",
    "resource.id",
    "resource.attributes.displayName",
    "resource.attributes.appDisplayName",
    "resource.attributes.id",
    "correlation",
    "origin.ip",
];
