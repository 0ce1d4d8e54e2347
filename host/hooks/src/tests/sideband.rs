//! The sideband API: everything is echoed but what was changed, credentials are secrets wherever they stand, and what goes wrong stops.

use portcullis_model::{Change, Effect, Target};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::requests::tell;
use super::{SETTINGS, golden, json, post, posted, reasons, text};
use crate::HookKind::PingSideband;
use crate::{Answer, HookRequest, Outcome, RenderError, RenderErrorKind, write};

const REQUEST: &str = "/sideband/request";
const RESPONSE: &str = "/sideband/response";

fn request() -> Value {
    json!({
        "source_ip": "192.0.2.44", "source_port": "50312", "method": "PUT", "http_version": "1.1",
        "url": "https://fhir.hospital.example:443/Patient/42?_summary=true",
        "body": "{\"resourceType\":\"Patient\",\"code\":\"x\"}",
        "headers": [
            {"host": "fhir.hospital.example"}, {"content-length": "35"}, {"accept": "application/fhir+json"},
            {"Authorization": "Bearer s3cr3t-bearer"}, {"x-purpose": "treatment"}, {"cookie": "sid=s3cr3t-cookie"},
            {"accept": "application/json"}, {"user-agent": "cart/7"}, {"x-hospital-token": "s3cr3t-own"},
        ],
        "client_certificate": {"kty": "EC", "crv": "P-256", "x": "AA", "y": "BB", "x5c": ["MIIB"]},
        "of_next_year": [1, null],
    })
}

fn response(with: Value) -> Value {
    let mut body = json!({
        "method": "PUT", "url": "https://fhir.hospital.example:443/Patient/42", "http_version": "1.1", "body": "{\"id\":42}",
        "response_code": "201", "response_status": "CREATED",
        "headers": [{"content-type": "application/fhir+json"}, {"set-cookie": "sid=s3cr3t-set"}, {"content-length": "9"}],
    });
    body.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
    body
}

/// A request of each route.
pub(super) fn bodies() -> [(&'static str, Value); 3] {
    let original = response(json!({ "request": request() }));
    [(REQUEST, request()), (RESPONSE, response(json!({"state": "theirs"}))), (RESPONSE, original)]
}

fn ask(route: &'static str, body: &Value) -> HookRequest {
    posted(PingSideband, route, &body.to_string())
}

fn allow(incoming: &HookRequest, changes: &[Change]) -> Result<Answer, RenderError> {
    write(
        PingSideband,
        incoming,
        &Outcome { verdict: Effect::Allow, changes, ..Outcome::default() },
    )
}

fn set(target: Target, path: &str, value: Value) -> Change {
    Change::Set { target, path: path.into(), value: value.to_string() }
}

fn remove(target: Target, path: &str) -> Change {
    Change::Remove { target, path: path.into() }
}

#[test]
fn reads_what_the_contract_says() {
    golden("sideband-request.call.txt", &tell(&ask(REQUEST, &request()).call));
    let state = json(&allow(&ask(REQUEST, &request()), &[]).unwrap())["state"].clone();
    golden(
        "sideband-response-state.call.txt",
        &tell(&ask(RESPONSE, &response(json!({"state": state}))).call),
    );
    golden(
        "sideband-response-original.call.txt",
        &tell(&ask(RESPONSE, &response(json!({"request": request()}))).call),
    );
    for least in [
        json!({"method": "GET", "url": ""}),
        json!({"method": "GET", "url": "/x", "headers": {}, "body": null, "source_ip": null}),
    ] {
        ask(REQUEST, &least);
    }
    for (pointer, value) in [
        ("method", json!(null)),
        ("method", json!(1)),
        ("url", json!(null)),
        ("headers", json!("x")),
        ("headers", json!(["a"])),
    ] {
        let mut body = request();
        body[pointer] = value;
        let refused = post(PingSideband, REQUEST, &body.to_string(), &SETTINGS).err().unwrap();
        assert_eq!(refused.member(), pointer);
    }
    // As easy to read, and echoed: headers in the contract's form, all else as it came.
    for (pointer, value, echoed) in [
        ("body", json!({"a": 1}), json!({"a": 1})),
        ("body", json!(7.5), json!(7.5)),
        ("headers", json!({"A": "b"}), json!([{"a": "b"}])),
        (
            "headers",
            json!([{"a": 1}, {"B": ["x", null]}]),
            json!([{"a": "1"}, {"b": "x"}, {"b": ""}]),
        ),
        ("source_ip", json!(["192.0.2.1"]), json!(["192.0.2.1"])),
        ("client_certificate", json!("x"), json!("x")),
    ] {
        let mut body = request();
        body[pointer] = value;
        let incoming = ask(REQUEST, &body);
        assert_eq!(json(&allow(&incoming, &[]).unwrap())[pointer], echoed, "{pointer}");
    }
    let mut numbered = response(json!({"response_code": 201, "http_version": 1.1}));
    let back = json(&allow(&ask(RESPONSE, &numbered), &[]).unwrap());
    assert_eq!((&back["response_code"], &back["http_version"]), (&json!("201"), &json!(1.1)));
    // Headers of the original request that cannot be read could all be credentials.
    numbered["request"] =
        json!({"headers": ["authorization: Bearer s3cr3t"], "body": {"password": "s3cr3t"}});
    let secrets = ask(RESPONSE, &numbered).call.secrets;
    for place in ["/request/headers", "/request/body"] {
        assert!(secrets.pointers().contains(&place), "{place}");
    }
    for state in [
        json!(1),
        json!("foreign"),
        json!("{}"),
        json!(r#"{"v":2,"id":"a","headers":{}}"#),
        json!(r#"{"v":1,"id":"a","headers":{"a":1}}"#),
    ] {
        let body = response(json!({"state": state}));
        let call = ask(RESPONSE, &body).call;
        assert!(
            call.correlation.is_none() && call.origin.is_none(),
            "{state} is not ours and tells nothing"
        );
    }
}

#[test]
fn credentials_are_secrets_wherever_they_stand() {
    let secrets = |route, body: &Value| {
        ask(route, body)
            .call
            .secrets
            .pointers()
            .iter()
            .map(|it| (*it).to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        secrets(REQUEST, &request()),
        ["/headers/3/Authorization", "/headers/5/cookie", "/headers/8/x-hospital-token"]
    );
    let original = response(json!({"request": request()}));
    assert_eq!(
        secrets(RESPONSE, &original),
        [
            "/headers/1/set-cookie",
            "/request/headers/3/Authorization",
            "/request/headers/5/cookie",
            "/request/headers/8/x-hospital-token"
        ]
    );
    for (member, value, secret) in [
        ("url", "https://a.example/b?access_token=x", true),
        ("url", "https://a.example/b?x=1&Client%5FSecret=x", true),
        ("url", "https://a.example/cb?code=x", true),
        ("url", "https://a.example/token?x=1", false),
        ("body", "grant_type=password&username=u&password=p", true),
        ("body", "{\"user\":{\"newPassword\":\"p\"}}", true),
        ("body", "{\"coding\":[{\"code\":\"1234\"}]}", false),
        ("body", "<a><password>p</password></a>", true),
        ("body", "name=noor", false),
        ("body", "{\"broken\":\"password", true),
        ("body", "", false),
    ] {
        let mut body = request();
        body["headers"] = json!([]);
        body[member] = json!(value);
        let expected = if secret { vec![format!("/{member}")] } else { Vec::new() };
        assert_eq!(secrets(REQUEST, &body), expected, "{value}");
    }
    // Nothing of them is an attribute that a plugin could read as something else, nor in what the gateway keeps for us.
    let incoming = ask(REQUEST, &request());
    let state = json(&allow(&incoming, &[]).unwrap())["state"].to_string();
    for told in [tell(&incoming.call), state, tell(&ask(RESPONSE, &original).call)] {
        assert!(!told.contains("s3cr3t"), "{told}");
    }
    let mut token_in_url = request();
    token_in_url["url"] = json!("https://a.example/b?access_token=s3cr3t");
    assert!(!tell(&ask(REQUEST, &token_in_url).call).contains("s3cr3t"));
}

#[test]
fn answers_are_as_ever() {
    let (incoming, back) = (ask(REQUEST, &request()), ask(RESPONSE, &response(json!({}))));
    for (name, incoming) in [("request", &incoming), ("response", &back)] {
        for verdict in [Effect::Allow, Effect::StepUp, Effect::Deny] {
            let outcome = Outcome {
                verdict,
                text: Some("Nein: \"4b\"."),
                language: "de",
                reasons: &reasons(&["WARD"]),
                reference: None,
                changes: &[],
            };
            let answer = write(PingSideband, incoming, &outcome).unwrap();
            assert_eq!(answer.status, 200);
            golden(&format!("sideband-{name}-{}.json", verdict.name()), text(&answer));
        }
    }
    let changes = [
        set(Target::Request, "/headers/X-Portcullis", json!("checked")),
        set(Target::Request, "/headers/accept", json!("application/fhir+json")),
        remove(Target::Request, "/headers/Cookie"),
        set(Target::Request, "/url", json!("https://fhir.hospital.example/Patient/42/$redacted")),
        set(Target::Request, "/method", json!("POST")),
        set(Target::Request, "/body", json!("{\"é\":1}")),
    ];
    golden("sideband-request-changed.json", text(&allow(&incoming, &changes).unwrap()));
    let changes = [
        set(Target::Response, "/response_code", json!("200")),
        set(Target::Response, "/body", json!("")),
        remove(Target::Response, "/headers/set-cookie"),
        set(Target::Response, "/headers/cache-control", json!("no-store")),
    ];
    golden("sideband-response-changed.json", text(&allow(&back, &changes).unwrap()));
}

#[test]
fn what_the_gateway_would_not_do_is_named() {
    let (incoming, back) = (ask(REQUEST, &request()), ask(RESPONSE, &response(json!({}))));
    let why = |incoming, changes: &[Change]| allow(incoming, changes).err().unwrap().why;
    let (to, from) = (Target::Request, Target::Response);
    for path in [
        "",
        "/",
        "/source_ip",
        "/headers",
        "/headers/",
        "/headers/a b",
        "/headers/a/b",
        "/state",
        "headers/a",
        "/response_code",
    ] {
        assert_eq!(why(&incoming, &[set(to, path, json!("x"))]), RenderErrorKind::Place, "{path}");
    }
    for (path, value) in [
        ("/headers/x", json!("a\r\nset-cookie: b")),
        ("/headers/x", json!(" a")),
        ("/headers/x", json!(1)),
        ("/headers/x", json!(null)),
        ("/body", json!({})),
        ("/method", json!("GET /")),
        ("/method", json!("")),
        ("/url", json!("https://a.example/ b")),
        ("/url", json!("/relative")),
    ] {
        assert_eq!(
            why(&incoming, &[set(to, path, value.clone())]),
            RenderErrorKind::Value,
            "{path} {value}"
        );
    }
    for code in ["", "20", "2000", "abc", "100", "600", "999"] {
        assert_eq!(
            why(&back, &[set(from, "/response_code", json!(code))]),
            RenderErrorKind::Value,
            "{code}"
        );
    }
    assert_eq!(why(&incoming, &[remove(to, "/headers/none")]), RenderErrorKind::NoTarget);
    assert_eq!(why(&incoming, &[remove(to, "/url")]), RenderErrorKind::Place);
    assert_eq!(
        why(&incoming, &[set(from, "/body", json!("x"))]),
        RenderErrorKind::NoTarget,
        "the other phase's"
    );
    assert_eq!(
        why(&back, &[set(to, "/body", json!("x"))]),
        RenderErrorKind::NoTarget,
        "the other phase's"
    );
    assert_eq!(why(&incoming, &[set(Target::User, "/body", json!("x"))]), RenderErrorKind::Kind);
    let twice = [set(to, "/headers/X-A", json!("1")), set(to, "/headers/x-a", json!("2"))];
    assert_eq!(why(&incoming, &twice), RenderErrorKind::Conflict);
}

#[test]
fn a_large_request_is_sent_again_rather_than_kept() {
    let mut body = request();
    body["headers"] = json!([{"x-a": "a".repeat(20_000)}]);
    assert!(json(&allow(&ask(REQUEST, &body), &[]).unwrap()).get("state").is_none());
}

proptest! {
    /// What comes back is what came, by somebody else's parser: every member, every header in its order.
    #[test]
    fn everything_is_echoed(
        headers in prop::collection::vec(("[a-zA-Z-]{1,8}", any::<String>()), 0..8),
        body: String, url: String, method in "[A-Z]{1,6}", port: Option<u16>, more in "[g-l]{1,4}",
    ) {
        let sent: Vec<_> = headers.iter().map(|(name, value)| json!({name.as_str(): value})).collect();
        let mut request = json!({"method": method, "url": url, "body": body, "headers": sent, "http_version": "1.1", "source_port": port});
        request[&more] = json!({"deep": [body]});
        let answer = json(&allow(&ask(REQUEST, &request), &[]).unwrap());
        let mut echoed = answer.as_object().unwrap().clone();
        echoed.remove("state");
        let mut expected = request.as_object().unwrap().clone();
        expected["headers"] = headers.iter().map(|(name, value)| json!({name.to_ascii_lowercase(): value})).collect();
        prop_assert_eq!(Value::Object(echoed), Value::Object(expected));
    }
}
