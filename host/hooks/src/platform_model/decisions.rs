//! Decision points from outside: AuthZEN, and Ping's PDP and gateways. A harmless question of each, how the one who asks reads an
//! answer, and what it is known to send.
//!
//! Source: OpenID AuthZEN Authorization API 1.0; PingAuthorize's JSON PDP API; Ping's sideband API, as its gateways' own code sends
//! and reads it. What is asked about there (`attributes`, `properties`, `context`) is the caller's own and never unknown.

use portcullis_model::json::Value;

use super::{Known, PlatformReaction, object};
use crate::kind::HookKind;

/// A harmless question with this id in it, which is JSON text.
pub(super) fn sample(kind: HookKind, id: &str) -> Option<String> {
    match kind {
        HookKind::Authzen => Some(format!(
            r#"{{"subject":{{"type":"user","id":"portcullis-hook-doctor"}},"action":{{"name":"portcullis-hook-doctor"}},"resource":{{"type":"portcullis-hook-doctor","id":{id}}}}}"#
        )),
        HookKind::PingPdp => Some(format!(
            r#"{{"domain":"portcullis.invalid","service":"portcullis-hook-doctor","action":"portcullis-hook-doctor","attributes":{{"event":{id}}}}}"#
        )),
        HookKind::PingSideband => Some(format!(
            r#"{{"source_ip":"192.0.2.1","source_port":"1024","method":"GET","url":"https://portcullis.invalid:443/hook-doctor","body":"","headers":[{{"host":"portcullis.invalid"}},{{"x-event":{id}}}],"http_version":"1.1"}}"#
        )),
        _ => None,
    }
}

/// What the one who asked makes of an answer.
pub(super) fn taken(kind: HookKind, status: u16, body: &[u8]) -> PlatformReaction {
    let document = match object(status, body) {
        Ok(document) => document,
        Err(taken) => return taken,
    };
    let root = document.root();
    match kind {
        HookKind::Authzen => evaluated(root),
        HookKind::PingPdp => decided(root),
        HookKind::PingSideband => passed(root),
        // What an operator maps cannot be known here.
        _ => PlatformReaction::Proceeds,
    }
}

/// AuthZEN, section 6.2: `decision` is a boolean, and nothing else is needed.
fn evaluated(root: Value<'_>) -> PlatformReaction {
    match root.get("decision").map(Value::raw) {
        Some("true") => PlatformReaction::Proceeds,
        Some("false") => PlatformReaction::Blocks,
        _ => PlatformReaction::Rejects("`decision` is not true or false"),
    }
}

/// The JSON PDP API: `decision` is one of four words, and `authorized` says whether it permits.
fn decided(root: Value<'_>) -> PlatformReaction {
    let permits = match root.get("decision").and_then(Value::as_str).as_deref() {
        Some("PERMIT") => true,
        Some("DENY" | "INDETERMINATE" | "NOT_APPLICABLE") => false,
        _ => return PlatformReaction::Rejects("`decision` is none of its four words"),
    };
    match (root.get("authorized").map(Value::raw), permits) {
        (Some("true"), true) => PlatformReaction::Proceeds,
        (Some("false"), false) => PlatformReaction::Blocks,
        _ => PlatformReaction::Rejects("`authorized` does not say what `decision` says"),
    }
}

/// The sideband API, request phase: a `response` is given to the API's client; without one, the request goes on as it is echoed.
fn passed(root: Value<'_>) -> PlatformReaction {
    let headers = |message: Value<'_>| message.get("headers").is_none_or(Value::is_array);
    if let Some(response) = root.get("response").filter(|response| !response.is_null()) {
        let code = response.get("response_code").and_then(Value::as_str);
        let code = code
            .and_then(|code| code.parse().ok())
            .is_some_and(|code: u16| (100..600).contains(&code));
        return if code && headers(response) {
            PlatformReaction::Blocks
        } else {
            PlatformReaction::Rejects(
                "its `response` has no `response_code`, or headers that are no list",
            )
        };
    }
    let text = |name| root.get(name).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    if text("method") && text("url") && headers(root) {
        PlatformReaction::Proceeds
    } else {
        PlatformReaction::Rejects("it echoes no request, and so takes it away")
    }
}

/// What they are known to send.
pub(super) fn known(kind: HookKind) -> Known {
    match kind {
        HookKind::Authzen => &[QUESTION, &["evaluations", "options", "page"]],
        HookKind::PingPdp => &[PDP],
        HookKind::PingSideband => &[MESSAGE],
        _ => &[],
    }
}

const QUESTION: &[&str] = &["subject", "action", "resource", "context"];
const PDP: &[&str] = &["domain", "service", "identityProvider", "action", "attributes", "requests"];
const MESSAGE: &[&str] = &[
    "source_ip",
    "source_port",
    "method",
    "url",
    "body",
    "headers",
    "http_version",
    "client_certificate",
    "response_code",
    "response_status",
    "request",
    "state",
];
