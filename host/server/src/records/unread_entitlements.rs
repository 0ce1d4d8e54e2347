//! Values at a kind's own places of entitlements that are no entitlements: numbers, objects and the
//! like.
//!
//! Invariant: such a value changes no decision and refuses nothing, since a claim of that name may
//! mean anything. It is logged at `debug`, by the place and never by its content, so that an
//! operator who misses an entitlement finds out why. At a place that the setting `entitlements`
//! names such a value refuses the request, which is `portcullis_hooks`' matter.

use portcullis_hooks::HookRequest;
use portcullis_model::json::Value;

use crate::clock::monotonic_now;
use crate::config::HookConfig;
use crate::logging::log_limit::LOG_LIMITS;

/// Logs the places of a call at which a value is passed over, where `debug` is logged.
pub fn log(hook: &HookConfig, incoming: &HookRequest) {
    if !tracing::enabled!(tracing::Level::DEBUG) || !hook.settings.entitlements.is_empty() {
        return;
    }
    for place in hook.kind.default_entitlements() {
        let value = incoming.call.payload.pointer(place);
        if value.is_some_and(is_unread)
            && LOG_LIMITS.allows(PASSED_OVER, &hook.name, monotonic_now())
        {
            tracing::debug!(
                event = PASSED_OVER,
                hook = hook.name,
                place,
                "a value in the entitlements is neither a string nor a list of strings and was \
                 ignored; list its place in hook.entitlements to reject such requests"
            );
        }
    }
}

/// Whether a value is neither a string nor a list of strings, or has a part that is neither.
fn is_unread(value: Value<'_>) -> bool {
    let is_read = |value: Value<'_>| value.is_null() || value.as_str().is_some();
    // A statement of Okta's SAML kind lists its values in a member of its own.
    let is_statement = value.get("attributeValues").is_some();
    match value.is_array() {
        true => !value.elements().all(is_read),
        false => !is_read(value) && !is_statement,
    }
}

/// The event of a value that is no entitlement.
const PASSED_OVER: &str = "hook.entitlement-passed-over";

#[cfg(test)]
mod tests {
    use portcullis_model::Document;

    use super::*;

    #[test]
    fn what_is_no_string_is_passed_over() {
        for (json, expected) in [
            (r#""nurse""#, false),
            (r#"["nurse", null]"#, false),
            ("[]", false),
            ("null", false),
            (r#"{"attributeValues": [{"value": "nurse"}]}"#, false),
            ("7", true),
            ("[1001, 1002]", true),
            (r#"["nurse", 7]"#, true),
            (r#"{"app": ["read"]}"#, true),
        ] {
            let document = Document::parse(format!("{{\"a\":{json}}}").as_bytes()).unwrap();
            let value = document.pointer("/a").unwrap();
            assert_eq!(is_unread(value), expected, "{json}");
        }
    }
}
