//! `ping.sideband`: what a gateway gets about requests and responses, and that no credential which passes through is kept.

use portcullis_tests::{Answer, Binding, Host, Raw, SECRET, TestDeployment, hide_references};
use serde_json::{Value, json};

/// A deployment whose plugin reads this besides what every call has.
fn deployment(reads: &[&str], misbehaviour: Value) -> TestDeployment {
    let changes = [
        "set:request:/headers/*",
        "remove:request:/headers/*",
        "set:request:/url",
        "set:response:/*",
    ];
    let binding =
        Binding::new("asked", "misbehaving", misbehaviour).fallback(&[("review", "deny")]);
    TestDeployment::speaking("ping.sideband", "/gw", "", (reads, &changes), &[binding])
}

/// What of a call is no secret, and what may be one and is named.
const PLAIN: [&str; 2] = ["action.attributes.*", "correlation"];
const NAMED: [&str; 2] = ["ping.sideband:/headers/*/authorization", "ping.sideband:/body"];

fn request() -> Value {
    json!({
        "source_ip": "192.0.2.10", "source_port": "54321", "method": "GET", "url": "https://api.hospital.example:443/charts/1?x=1", "body": "",
        "headers": [
            {"host": "api.hospital.example"}, {"authorization": "Bearer c4n4ry-bearer"}, {"cookie": "sid=c4n4ry-cookie"}, {"x-multi": "one"}, {"x-multi": "two"},
        ],
        "http_version": "1.1",
    })
}

fn post(host: &Host, phase: &str, body: &Value) -> Answer {
    let raw = Raw::post(&format!("/gw/sideband/{phase}"), "", body.to_string().as_bytes());
    host.client().send(&raw.header("authorization", SECRET)).unwrap()
}

#[test]
fn what_passes_is_echoed_and_no_credential_is_kept() {
    // It names one of them, so it gets it, and says all that it sees.
    let deployment = deployment(&NAMED, json!({"do": "reveal"}));
    let host = deployment.serve();
    let answer = post(&host, "request", &request());
    assert_eq!(answer.status, 200);
    for (member, value) in request().as_object().unwrap() {
        assert_eq!(&answer.json[member], value, "{member}");
    }
    assert!(answer.json.get("response").is_none());
    let state = answer.json["state"].as_str().unwrap().to_owned();
    assert!(!state.contains("c4n4ry"));
    let index = answer.index_at("/record").unwrap();

    let back = json!({
        "method": "GET", "url": "https://api.hospital.example:443/charts/1", "body": "{\"access_token\":\"c4n4ry-body\"}", "response_code": "200",
        "response_status": "OK", "headers": [{"content-type": "application/json"}, {"set-cookie": "sid=c4n4ry-set"}], "http_version": "1.1", "state": state,
    });
    let answer = post(&host, "response", &back);
    for member in ["response_code", "response_status", "headers", "body", "http_version"] {
        assert_eq!(answer.json[member], back[member], "{member}");
    }
    let back_index = answer.index_at("/record").unwrap();
    host.stop();

    let record = deployment.record(index);
    assert_eq!(record["not_replayable"], "secret");
    let sealed = deployment.sealed(index).to_string();
    assert!(sealed.contains("api.hospital.example") && sealed.contains("[secret]"), "{sealed}");
    for index in [index, back_index] {
        let sealed = deployment.sealed(index).to_string();
        assert!(!sealed.contains("c4n4ry"), "{sealed}");
    }
    // It names one, and sees it, so that nothing of what it said freely is kept.
    let told = &deployment.sealed(index)["plugins"][0];
    assert_eq!((&told["withheld"], told.get("notes")), (&json!("secret"), None), "{told}");
    assert_eq!(deployment.verify().code, 0);
}

#[test]
fn a_plugin_that_names_no_secret_sees_none() {
    let deployment = deployment(
        &["action.attributes.*", "correlation", "ping.sideband:"],
        json!({"do": "reveal"}),
    );
    let host = deployment.serve();
    let first = post(&host, "request", &request());
    let back = json!({
        "method": "GET", "url": "https://api.hospital.example:443/charts/1", "body": "{}", "response_code": "200", "headers": [], "state": first.json["state"],
    });
    let second = post(&host, "response", &back);
    host.stop();
    let seen = |answer: &Answer| -> Value {
        let sealed = deployment.sealed(answer.index_at("/record").unwrap());
        let note = sealed["plugins"][0]["notes"][0].as_str();
        serde_json::from_str(note.unwrap_or_else(|| panic!("{sealed}"))).unwrap()
    };
    let (request, response) = (seen(&first), seen(&second));
    assert!(!request.to_string().contains("c4n4ry"), "{request}");
    assert_eq!(
        request["payload"]["headers"][1],
        json!({"authorization": null}),
        "there, and not to be seen"
    );
    assert_eq!(request["action"]["attributes"]["header.x-multi"], "one, two");
    assert_eq!(
        (&response["phase"], &response["origin"]["ip"]),
        (&json!("response"), &json!("192.0.2.10")),
        "known from the state"
    );
    assert_eq!(response["action"]["attributes"]["request.x-multi"], "one, two");
    assert_eq!(response["correlation"], request["id"], "both phases are one passage");
}

#[test]
fn changes_denials_and_errors_in_the_gateways_words() {
    let changing = deployment(
        &PLAIN,
        json!({"do": "all", "misbehaviours": [
            {"do": "set", "target": "request", "path": "/headers/x-checked", "value": "yes"}, {"do": "remove", "target": "request", "path": "/headers/x-multi"},
        ]}),
    );
    let host = changing.serve();
    let answer = post(&host, "request", &request());
    let headers = answer.json["headers"].as_array().unwrap();
    assert_eq!(headers.last().unwrap(), &json!({"x-checked": "yes"}));
    assert!(headers.iter().all(|header| header.get("x-multi").is_none()));
    // There is nothing to change in a response that this plugin knows of: what cannot be said is not left out.
    let back = json!({"method": "GET", "url": "https://a.example/", "body": "", "response_code": "200", "headers": [], "request": request()});
    let answer = post(&host, "response", &back);
    assert_eq!((answer.status, &answer.json["response_code"]), (200, &json!("503")));
    host.stop();

    let denying = deployment(&PLAIN, json!({"do": "deny", "why": "so"}));
    let host = denying.serve();
    let denied = post(&host, "request", &request());
    let response = &denied.json["response"];
    assert_eq!(
        (denied.status, &response["response_code"], &response["response_status"]),
        (200, &json!("403"), &json!("FORBIDDEN"))
    );
    let body: Value = serde_json::from_str(response["body"].as_str().unwrap()).unwrap();
    let message = hide_references(&body["errorMessage"]);
    assert_eq!(message, "Denied: so. Help-desk reference: REFERENCE.");
    assert_eq!(
        post(&host, "response", &back).json["response_code"],
        "403",
        "in place of the response, not beside it"
    );
    for (body, status) in [("", 400), ("[]", 400), ("{\"method\":1}", 400)] {
        let raw = Raw::post("/gw/sideband/request", SECRET, body.as_bytes());
        let answer = host.client().send(&raw).unwrap();
        assert_eq!(answer.status, status);
        assert!(
            answer.json["id"].is_string() && answer.json["message"].is_string(),
            "{}",
            answer.json
        );
    }
    let unauthenticated = host
        .client()
        .send(&Raw::post("/gw/sideband/request", "not the secret at all", b"{}"))
        .unwrap();
    assert_eq!(
        (unauthenticated.status, &unauthenticated.json["id"]),
        (401, &json!("unauthenticated"))
    );
    let large = format!("{{\"body\":\"{}\"}}", "x".repeat(256 << 10));
    assert_eq!(
        host.client()
            .send(&Raw::post("/gw/sideband/request", SECRET, large.as_bytes()))
            .unwrap()
            .status,
        413
    );
    host.stop();
}

#[test]
fn what_a_plugin_that_sees_a_secret_puts_into_an_answer_is_not_kept() {
    // As it could in base64, which nobody would find again.
    let misbehaviour = json!({"do": "set", "target": "request", "path": "/headers/x-copied", "value": "YzRuNHJ5LWJlYXJlcg=="});
    for (reads, kept) in [(&PLAIN[..], true), (&NAMED[..], false)] {
        let deployment = deployment(reads, misbehaviour.clone());
        let host = deployment.serve();
        let answer = post(&host, "request", &request());
        assert!(answer.json["headers"].to_string().contains("YzRuNHJ5"), "it leaves");
        host.stop();
        let sealed = deployment.sealed(answer.index_at("/record").unwrap());
        assert_eq!(sealed.to_string().contains("YzRuNHJ5"), kept, "{sealed}");
        assert_eq!(sealed["answer"].is_object(), kept);
    }
}

#[test]
fn a_closed_gateway_stops_whatever_the_plugin_does() {
    for misbehaviour in ["trap", "loop-forever", "error", "undeclared-code"] {
        let deployment = deployment(&PLAIN, json!({"do": misbehaviour}));
        let host = deployment.serve();
        let answer = post(&host, "request", &request());
        assert_eq!(
            (answer.status, &answer.json["response"]["response_code"]),
            (200, &json!("503")),
            "{misbehaviour}"
        );
        host.stop();
    }
}

/// The gateway adds `/sideband/request` and `/sideband/response` to its service URL. Every other
/// path gets a status with which the gateway stops, and is never decided.
#[test]
fn the_paths_are_those_that_a_gateway_makes_of_its_service_url() {
    let deployment_at = |path: &str| {
        let binding = Binding::new("asked", "misbehaving", json!({"do": "allow"}))
            .fallback(&[("review", "deny")]);
        TestDeployment::speaking("ping.sideband", path, "", (&PLAIN, &[]), &[binding])
    };
    let send = |host: &Host, path: &str| {
        let raw = Raw::post(path, "", request().to_string().as_bytes());
        host.client().send(&raw.header("authorization", SECRET)).unwrap()
    };
    for (path, base) in [("/", ""), ("/gw", "/gw"), ("/gw/", "/gw"), ("/a/b", "/a/b")] {
        let deployment = deployment_at(path);
        let host = deployment.serve();
        let first = send(&host, &format!("{base}/sideband/request"));
        assert_eq!(first.status, 200, "{path}: {first:?}");
        let back = json!({
            "method": "GET", "url": "https://api.hospital.example:443/charts/1", "body": "{}", "response_code": "200",
            "response_status": "OK", "headers": [], "http_version": "1.1", "state": first.json["state"],
        });
        let raw = Raw::post(&format!("{base}/sideband/response"), "", back.to_string().as_bytes());
        let second = host.client().send(&raw.header("authorization", SECRET)).unwrap();
        assert_eq!((second.status, &second.json["response_code"]), (200, &json!("200")), "{path}");
        for wrong in [
            "",
            "/",
            "/sideband",
            "/sideband/",
            "/sideband/requests",
            "/request",
            "/sideband//request",
        ] {
            let other = format!("{base}{wrong}");
            let answer = send(&host, if other.is_empty() { "/" } else { &other });
            assert!(answer.status >= 400, "{other}: {answer:?}");
        }
        let get = host.client().get(&format!("{base}/sideband/request")).unwrap();
        assert_eq!((get.status, get.header("allow")), (405, Some("POST")), "{path}");
        host.stop();
        assert_eq!(deployment.records_of("hook.decision").len(), 2, "{path}");
    }
}
