//! Okta from outside: a harmless request of each inline hook, how it reads answers, and what it is known to send.
//!
//! Source: the OpenAPI specification of its management API, and "Inline hooks" of its concepts. Written from Okta's rules and not from
//! what our adapters write. No sample where a call would do something: a telephony hook sends a message.

use portcullis_model::Document;
use portcullis_model::json::Value;

use super::{Known, PlatformReaction, object};
use crate::kind::HookKind;

/// What stands in every sample where a person would.
const NOBODY: &str = "nobody@portcullis.invalid";

/// A harmless request with this event id, which is JSON text.
pub(super) fn sample(kind: HookKind, id: &str) -> Option<String> {
    let (event, rest, data) = match kind {
        HookKind::OktaToken => (
            "oauth2.tokens.transform",
            "",
            r#"{"context":{"protocol":{"type":"OAUTH2.0","client":{"id":"portcullis-hook-doctor","name":"portcullis hook doctor","type":"PUBLIC"}},"user":{"id":"portcullis-hook-doctor","profile":{"login":"NOBODY","locale":"en"}}},"access":{"claims":{"sub":"NOBODY"},"token":{"lifetime":{"expiration":3600}},"scopes":{}}}"#,
        ),
        HookKind::OktaSaml => (
            "saml.tokens.transform",
            "",
            r#"{"context":{"protocol":{"type":"SAML2.0","issuer":{"id":"portcullis-hook-doctor","name":"portcullis hook doctor"}},"user":{"id":"portcullis-hook-doctor","profile":{"login":"NOBODY","locale":"en"}}},"assertion":{"subject":{"nameId":"NOBODY"},"claims":{},"lifetime":{"expiration":300}}}"#,
        ),
        HookKind::OktaRegistration => (
            "user.pre-registration",
            r#""requestType":"self.service.registration","#,
            r#"{"userProfile":{"login":"NOBODY","email":"NOBODY"},"action":"ALLOW"}"#,
        ),
        HookKind::OktaUserImport => (
            "import.transform",
            "",
            r#"{"context":{"application":{"id":"portcullis-hook-doctor","name":"portcullis hook doctor"}},"action":{"result":"CREATE_USER"},"appUser":{"profile":{"userName":"NOBODY"}},"user":{"profile":{"login":"NOBODY"}}}"#,
        ),
        HookKind::OktaPasswordImport => (
            "user.credential.password.import",
            "",
            r#"{"context":{"credential":{"username":"NOBODY","password":"nobodys-password"}},"action":{"credential":"UNVERIFIED"}}"#,
        ),
        HookKind::OktaEvent => {
            return Some(format!(
                r#"{{"eventId":{id},"eventType":"com.okta.event_hook","eventTypeVersion":"1.0","contentType":"application/json","source":"portcullis hook doctor","data":{{"events":[{{"uuid":{id},"eventType":"portcullis.hook.doctor","outcome":{{"result":"SKIPPED"}}}}]}}}}"#
            ));
        }
        _ => return None,
    };
    let data = data.replace("NOBODY", NOBODY);
    Some(format!(
        r#"{{"eventId":{id},"eventType":"com.okta.{event}","eventTypeVersion":"1.0","contentType":"application/json",{rest}"source":"portcullis hook doctor","data":{data}}}"#
    ))
}

/// What Okta makes of an answer.
pub(super) fn taken(kind: HookKind, status: u16, body: &[u8]) -> PlatformReaction {
    if kind == HookKind::OktaEvent {
        // It has happened: an answer acknowledges.
        return if (200..300).contains(&status) {
            PlatformReaction::Proceeds
        } else {
            PlatformReaction::Rejects("its status is not 2xx")
        };
    }
    if body.len() > LARGEST {
        return PlatformReaction::Rejects("it is larger than 256 KB");
    }
    let document = match object(status, body) {
        Ok(document) => document,
        Err(taken) => return taken,
    };
    match read(kind, &document) {
        Ok(taken) => taken,
        Err(why) => PlatformReaction::Rejects(why),
    }
}

fn read(kind: HookKind, document: &Document) -> Result<PlatformReaction, &'static str> {
    let root = document.root();
    if root.get("error").is_some() {
        return Ok(PlatformReaction::Blocks);
    }
    let mut verified = false;
    let mut denied = false;
    if let Some(commands) = root.get("commands").filter(|commands| !commands.is_null()) {
        if !commands.is_array() {
            return Err("`commands` is not a list");
        }
        for each in commands.elements() {
            let name = each.get("type").and_then(Value::as_str).ok_or("a command has no type")?;
            let value = each.get("value").ok_or("a command has no value")?;
            command(kind, &name, value)?;
            let says = |member, word| {
                value.get(member).and_then(Value::as_str).is_some_and(|it| it == word)
            };
            verified |= says("credential", "VERIFIED");
            denied |= says("registration", "DENY");
        }
    }
    let stops = match kind {
        HookKind::OktaPasswordImport => !verified,
        HookKind::OktaRegistration => denied,
        _ => false,
    };
    Ok(if stops { PlatformReaction::Blocks } else { PlatformReaction::Proceeds })
}

fn command(kind: HookKind, name: &str, value: Value<'_>) -> Result<(), &'static str> {
    let name = name.strip_prefix("com.okta.").ok_or("a command is none that the hook knows")?;
    match (kind, name) {
        (HookKind::OktaToken, "identity.patch" | "access.patch") => operations(value),
        (HookKind::OktaSaml, "assertion.patch") if value.is_array() => Ok(()),
        (HookKind::OktaTelephony, "telephony.action") if value.is_array() => Ok(()),
        (
            HookKind::OktaUserImport,
            "appUser.profile.update" | "user.profile.update" | "action.update" | "user.update",
        )
        | (
            HookKind::OktaRegistration,
            "user.profile.update" | "user.progressive.profile.update" | "action.update",
        )
        | (HookKind::OktaPasswordImport, "action.update")
            if value.is_object() =>
        {
            Ok(())
        }
        _ => Err("a command is none that the hook knows"),
    }
}

/// One operation list of a token hook: `add`, `replace` or `remove` below `/claims/`, or `replace` of the lifetime.
fn operations(value: Value<'_>) -> Result<(), &'static str> {
    if !value.is_array() {
        return Err("a command's value is not a list of operations");
    }
    for operation in value.elements() {
        let text = |name| operation.get(name).and_then(Value::as_str).unwrap_or_default();
        let (op, path, given) = (text("op"), text("path"), operation.get("value"));
        let claim = path.strip_prefix("/claims/").is_some_and(|name| !name.is_empty());
        match &*op {
            "add" | "replace" if claim && given.is_none() => {
                return Err("an operation has no value");
            }
            "add" | "replace" if claim => {}
            "remove" if claim && given.is_some_and(|given| !given.is_null()) => {
                return Err("a removal has a value");
            }
            "remove" if claim => {}
            "replace" if path == "/token/lifetime/expiration" => {
                if !given
                    .and_then(Value::as_u64)
                    .is_some_and(|seconds| (300..=86_400).contains(&seconds))
                {
                    return Err("a lifetime is not 300 to 86,400 seconds");
                }
            }
            _ => return Err("an operation is none that the hook knows"),
        }
    }
    Ok(())
}

/// What Okta's documents and examples show of a request.
pub(super) fn known(kind: HookKind) -> Known {
    match kind {
        HookKind::OktaToken => &[ENVELOPE, REQUEST, SESSION, USER, TOKEN],
        HookKind::OktaSaml => &[ENVELOPE, REQUEST, SESSION, USER, SAML],
        HookKind::OktaRegistration => &[ENVELOPE, REQUEST, USER, REGISTRATION],
        HookKind::OktaUserImport => &[ENVELOPE, REQUEST, IMPORT],
        HookKind::OktaPasswordImport => &[ENVELOPE, REQUEST, PASSWORD],
        HookKind::OktaTelephony => &[ENVELOPE, REQUEST, TELEPHONY],
        // What an event tells depends on its type.
        _ => &[],
    }
}

/// The largest answer that Okta reads.
const LARGEST: usize = 256_000;

const ENVELOPE: &[&str] = &[
    "eventId",
    "eventTime",
    "eventType",
    "eventTypeVersion",
    "contentType",
    "cloudEventVersion",
    "source",
    "requestType",
];
const REQUEST: &[&str] = &[
    "data.context.request.id",
    "data.context.request.method",
    "data.context.request.url.value",
    "data.context.request.ipAddress",
];
const SESSION: &[&str] = &[
    "data.context.session.id",
    "data.context.session.userId",
    "data.context.session.login",
    "data.context.session.createdAt",
    "data.context.session.expiresAt",
    "data.context.session.status",
    "data.context.session.lastPasswordVerification",
    "data.context.session.lastFactorVerification",
    "data.context.session.amr",
    "data.context.session.idp.id",
    "data.context.session.idp.type",
    "data.context.session.mfaActive",
];
const USER: &[&str] = &[
    "data.context.user.id",
    "data.context.user.passwordChanged",
    "data.context.user.profile",
    "data.context.user._links.groups.href",
    "data.context.user._links.factors.href",
];
const TOKEN: &[&str] = &[
    "data.context.protocol.type",
    "data.context.protocol.request.scope",
    "data.context.protocol.request.state",
    "data.context.protocol.request.redirect_uri",
    "data.context.protocol.request.response_mode",
    "data.context.protocol.request.response_type",
    "data.context.protocol.request.client_id",
    "data.context.protocol.request.grant_type",
    "data.context.protocol.OriginalGrant.authorization",
    "data.context.protocol.OriginalGrant.refresh_token",
    "data.context.protocol.issuer.uri",
    "data.context.protocol.client.id",
    "data.context.protocol.client.name",
    "data.context.protocol.client.type",
    "data.context.policy.id",
    "data.context.policy.rule.id",
    "data.identity.claims",
    "data.identity.token.lifetime.expiration",
    "data.access.claims",
    "data.access.token.lifetime.expiration",
    "data.access.scopes",
    "data.refresh_token.jti",
];
const SAML: &[&str] = &[
    "data.context.protocol.type",
    "data.context.protocol.issuer.id",
    "data.context.protocol.issuer.name",
    "data.context.protocol.issuer.uri",
    "data.assertion.subject",
    "data.assertion.authentication",
    "data.assertion.conditions",
    "data.assertion.claims",
    "data.assertion.lifetime.expiration",
];
const REGISTRATION: &[&str] = &["data.userProfile", "data.userProfileUpdate", "data.action"];
const IMPORT: &[&str] = &[
    "data.context.conflicts",
    "data.context.matches",
    "data.context.policy",
    "data.context.application.id",
    "data.context.application.name",
    "data.context.application.label",
    "data.context.application.status",
    "data.context.job.id",
    "data.context.job.type",
    "data.action.result",
    "data.appUser.id",
    "data.appUser.profile",
    "data.user.id",
    "data.user.status",
    "data.user.profile",
    "data.user._links",
];
const PASSWORD: &[&str] = &[
    "data.context.credential.username",
    "data.context.credential.password",
    "data.action.credential",
];
const TELEPHONY: &[&str] = &[
    "data.userProfile.firstName",
    "data.userProfile.lastName",
    "data.userProfile.login",
    "data.userProfile.userId",
    "data.messageProfile.msgTemplate",
    "data.messageProfile.phoneNumber",
    "data.messageProfile.otpExpires",
    "data.messageProfile.deliveryChannel",
    "data.messageProfile.otpCode",
    "data.messageProfile.locale",
];
