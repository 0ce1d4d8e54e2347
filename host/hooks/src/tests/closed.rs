//! No answer of a closed hook is one on which the caller goes on, whatever the cause: held against a model of each caller that is
//! written here, from its contract, and knows nothing of the adapters.

use std::sync::Arc;

use portcullis_model::Cause;
use serde_json::Value;

use super::{SETTINGS, post, posted};
use crate::{
    Answer, HookKind, HookRequest, HookSettings, Mapping, MappingSource, OnFailure, Parsed,
    SafeAnswerInput, stop_answer, write_safe_answer,
};

/// AuthZEN: `decision: true` in a 200 permits; a list in a 200 is believed.
fn authzen_goes_on(answer: &Answer) -> bool {
    let body = body(answer);
    let permits = |answer: &Value| answer["decision"] == true;
    let some = body["evaluations"].as_array().is_some_and(|answers| answers.iter().any(permits));
    answer.status == 200 && (permits(&body) || some || body["results"].is_array())
}

/// PingAuthorize's clients go by either member.
fn pdp_goes_on(answer: &Answer) -> bool {
    let body = body(answer);
    let permits = |answer: &Value| answer["authorized"] == true || answer["decision"] == "PERMIT";
    let some = body["responses"].as_array().is_some_and(|answers| answers.iter().any(permits));
    answer.status < 400 && (permits(&body) || some)
}

/// The gateway's client code: below 400, JSON, and in the request phase no `response`; in the response phase it takes what is there.
fn sideband_goes_on(answer: &Answer, is_response: bool) -> bool {
    let Ok(body) = serde_json::from_slice::<Value>(answer.body()) else { return false };
    if answer.status >= 400 {
        return false;
    }
    if !is_response {
        return body.get("response").is_none_or(Value::is_null);
    }
    let code: u16 =
        body["response_code"].as_str().and_then(|code| code.parse().ok()).unwrap_or_default();
    body["headers"].is_array() && code < 400
}

/// A flow that looks at the body alone.
fn generic_goes_on(answer: &Answer) -> bool {
    body(answer)["allowed"] == true
}

fn body(answer: &Answer) -> Value {
    serde_json::from_slice(answer.body()).unwrap_or_default()
}

fn closed(
    kind: HookKind,
    settings: &HookSettings,
    route: &'static str,
    incoming: Option<&HookRequest>,
) -> Vec<(Cause, Answer)> {
    let refuse = |cause| {
        let refusal = SafeAnswerInput {
            settings,
            on_failure: &OnFailure::Closed,
            cause,
            detail: "",
            route,
            incoming,
            reference: None,
        };
        (cause, write_safe_answer(kind, &refusal))
    };
    Cause::ALL.into_iter().map(refuse).collect()
}

const QUESTION: &str = r#"{"subject":{"type":"user","id":"a"},"action":{"name":"b"},"resource":{"type":"c","id":"d"},"evaluations":[{}]}"#;

#[test]
fn no_closed_authzen_hook_permits() {
    for (route, is_search) in [
        ("/access/v1/evaluation", false),
        ("/access/v1/evaluations", false),
        ("/access/v1/search/subject", true),
        ("/access/v1/search/action", true),
        ("", false),
    ] {
        let incoming = match post(
            HookKind::Authzen,
            if route.is_empty() { "/access/v1/evaluation" } else { route },
            QUESTION,
            &SETTINGS,
        ) {
            Ok(Parsed::Single(incoming) | Parsed::Search(incoming, _)) => incoming,
            Ok(Parsed::Batch(mut batch)) => batch.items.remove(0).ok().unwrap(),
            _ => panic!("{route}"),
        };
        for incoming in [None, Some(&incoming)] {
            for (cause, answer) in closed(HookKind::Authzen, &SETTINGS, route, incoming) {
                assert!(!authzen_goes_on(&answer), "{route} {cause:?}");
                assert!(
                    !is_search || answer.status >= 400,
                    "a list that is empty by mistake is a wrong answer"
                );
            }
        }
    }
    let open = SafeAnswerInput {
        settings: &SETTINGS,
        on_failure: &OnFailure::Open,
        cause: Cause::InternalError,
        detail: "",
        route: "/access/v1/evaluation",
        incoming: None,
        reference: None,
    };
    assert!(
        authzen_goes_on(&write_safe_answer(HookKind::Authzen, &open)),
        "the model can see a permission"
    );
}

#[test]
fn no_closed_pdp_authorizes() {
    let incoming = posted(HookKind::PingPdp, "/governance-engine", r#"{"attributes":{}}"#);
    for route in ["/governance-engine", "/governance-engine/batch", ""] {
        for incoming in [None, Some(&incoming)] {
            for (cause, answer) in closed(HookKind::PingPdp, &SETTINGS, route, incoming) {
                assert!(!pdp_goes_on(&answer), "{route} {cause:?}");
            }
        }
    }
    let open = SafeAnswerInput {
        settings: &SETTINGS,
        on_failure: &OnFailure::Open,
        cause: Cause::InternalError,
        detail: "",
        route: "",
        incoming: Some(&incoming),
        reference: None,
    };
    assert!(
        pdp_goes_on(&write_safe_answer(HookKind::PingPdp, &open)),
        "the model can see a permission"
    );
}

#[test]
fn no_closed_gateway_goes_on() {
    for (route, is_response) in [("/sideband/request", false), ("/sideband/response", true)] {
        let body = r#"{"method":"GET","url":"https://a.example/b","headers":[{"host":"a"}],"response_code":"200","body":""}"#;
        let incoming = posted(HookKind::PingSideband, route, body);
        for incoming in [None, Some(&incoming)] {
            for (cause, answer) in closed(HookKind::PingSideband, &SETTINGS, route, incoming) {
                assert!(!sideband_goes_on(&answer, is_response), "{route} {cause:?}");
            }
        }
        let open = SafeAnswerInput {
            settings: &SETTINGS,
            on_failure: &OnFailure::Open,
            cause: Cause::InternalError,
            detail: "",
            route,
            incoming: Some(&incoming),
            reference: None,
        };
        assert!(
            sideband_goes_on(&write_safe_answer(HookKind::PingSideband, &open), is_response),
            "the model can see an allowance"
        );
        let blind = SafeAnswerInput { incoming: None, ..open };
        assert!(
            !sideband_goes_on(&write_safe_answer(HookKind::PingSideband, &blind), is_response),
            "nothing to echo"
        );
    }
}

#[test]
fn no_closed_flow_goes_on() {
    let mut source = MappingSource::default();
    source.answer.allow = Some(r#"{"allowed":true}"#.into());
    source.answer.deny = Some(r#"{"allowed":false,"why":"{text}","codes":"{codes}"}"#.into());
    for failure_status in [None, Some(403), Some(503)] {
        source.answer.failure_status = failure_status;
        let settings = HookSettings {
            mapping: Some(Arc::new(Mapping::compile(source.clone()).unwrap())),
            ..HookSettings::default()
        };
        let Ok(Parsed::Single(incoming)) = post(HookKind::Generic, "", "{}", &settings) else {
            panic!()
        };
        for incoming in [None, Some(&incoming)] {
            for (cause, answer) in closed(HookKind::Generic, &settings, "", incoming) {
                assert!(!generic_goes_on(&answer), "{cause:?}");
                assert_eq!(
                    (answer.status, &body(&answer)["allowed"]),
                    (failure_status.unwrap_or(200), &Value::Bool(false))
                );
                assert_eq!(body(&answer)["codes"][0], cause.code());
            }
            let open = SafeAnswerInput {
                settings: &settings,
                on_failure: &OnFailure::Open,
                cause: Cause::InternalError,
                detail: "",
                route: "",
                incoming,
                reference: None,
            };
            assert!(
                generic_goes_on(&write_safe_answer(HookKind::Generic, &open)),
                "the model can see an allowance"
            );
            let stranger = SafeAnswerInput { cause: Cause::Unauthenticated, ..open };
            assert_eq!(write_safe_answer(HookKind::Generic, &stranger).status, 401);
        }
    }
}

/// A request that is wrong as HTTP: the kinds that state their refusals in a 200 answer it so.
#[test]
fn only_kinds_whose_platform_could_go_on_answer_faulty_http_themselves() {
    let answered = |kind: &HookKind, on_failure| {
        let refusal = SafeAnswerInput {
            settings: &SETTINGS,
            on_failure,
            cause: Cause::WrongMethod,
            detail: "",
            route: "",
            incoming: None,
            reference: None,
        };
        // Other kinds may tell the fault with a status that stops their platform.
        stop_answer(*kind, &refusal).is_some_and(|answer| answer.status == 200)
    };
    let closed = |kind: &HookKind| answered(kind, &OnFailure::Closed);
    let named: Vec<_> = HookKind::ALL.into_iter().filter(closed).map(|kind| kind.name()).collect();
    assert_eq!(
        named,
        [
            "okta.password-import",
            "okta.registration",
            "okta.saml",
            "okta.telephony",
            "okta.token",
            "okta.user-import",
            "entra.pim",
        ]
    );
    assert!(!HookKind::ALL.into_iter().any(|kind| answered(&kind, &OnFailure::Open)));
}
