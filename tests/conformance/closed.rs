//! A closed `okta.token` hook: no answer leaves that Okta treats as "go on", whatever comes in; nothing of it
//! reaches a log; and what cannot be held to anybody is counted.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use portcullis_tests::{
    Binding, Host, Log, Raw, SECRET, SignIn, TestDeployment, audit_show, duties, event, log_event,
    traces, wrongly_signed,
};
use serde_json::{Value, json};

/// Stands in every body that is sent, right or wrong.
const MARKER: &str = "Zebulon-Quartermain-of-Ward-Nine";

#[test]
fn whatever_comes_in_nothing_goes_on_leaks_or_is_lost_count_of() {
    let mut deployment = TestDeployment::build(&[]);
    deployment.sign_plugin("sod", |source| {
        source.replace("\n[emits]", "requires = [\"subject.attributes.facility\"]\n\n[emits]")
    });
    deployment.configure("[trust]", "body_timeout_ms = 400\n\n[trust]");
    deployment.release(&[Binding::new("token", "sod", duties())]);
    let host = deployment.serve();

    let first = marked();
    let good = host.sign_in(&first);
    assert_eq!(good.without_reference(), "{}");
    let mut expected = BTreeMap::new();
    for (what, cause, request) in bad_requests(&host) {
        let answer = host
            .client()
            .say(&request)
            .unwrap_or_else(|error| panic!("{what}: no answer: {error}"));
        assert!(answer.stops_a_token(), "{what}: {answer:?}");
        assert!(answer.index().is_none(), "{what}: counted, not recorded");
        *expected.entry(cause.to_owned()).or_insert(0) += 1;
    }
    *expected.entry("body-incomplete".to_owned()).or_insert(0) += breaks_off(&host);
    recorded_failures(&deployment, &host, first.body["eventId"].as_str().unwrap());

    assert!(host.sign_in(&marked()).index().is_some(), "alive");
    let log = host.stop();
    assert_eq!(counted(&deployment, "token"), expected);
    leaks_nothing(&deployment, &log, good.index().unwrap());
}

/// What is wrong, its cause, and the bytes that go over the wire.
fn bad_requests(host: &Host) -> Vec<(String, &'static str, Vec<u8>)> {
    let ours = format!("authorization: {SECRET}\r\n");
    let mut requests = Vec::new();
    let body = marked().bytes();
    for (what, headers) in [
        ("a wrong secret", "authorization: a-secret-of-thirty-two-characterz\r\n".to_owned()),
        ("a secret cut short", format!("authorization: {}\r\n", SECRET.split_at(20).0)),
        ("a secret with more", format!("authorization: {SECRET} {MARKER}\r\n")),
        ("no secret", String::new()),
        ("an empty secret", "authorization:\r\n".to_owned()),
        ("two secrets", format!("{ours}{ours}")),
        ("the secret in another header", format!("x-authorization: {SECRET}\r\n")),
    ] {
        requests.push((what.to_owned(), "unauthenticated", request(host, &headers, &body)));
    }
    for (what, cause, body) in bad_bodies() {
        requests.push((what, cause, request(host, &ours, &body)));
    }
    let large =
        serde_json::to_vec(&json!({"eventId": "e", "padding": MARKER.repeat(10_000)})).unwrap();
    requests.push(("too large".to_owned(), "body-too-large", request(host, &ours, &large)));
    let mut chunks = format!(
        "POST /okta/token HTTP/1.1\r\nhost: {}\r\n{ours}transfer-encoding: chunked\r\n\r\n",
        host.address()
    );
    for chunk in large.chunks(20_000) {
        chunks.push_str(&format!("{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk)));
    }
    chunks.push_str("0\r\n\r\n");
    requests.push(("too large, undeclared".to_owned(), "body-too-large", chunks.into_bytes()));
    requests
}

/// Bodies that cannot be read as a call of this hook kind.
fn bad_bodies() -> Vec<(String, &'static str, Vec<u8>)> {
    let text = marked().body.to_string();
    let mut bodies: Vec<(String, &'static str, Vec<u8>)> = Vec::new();
    let mut add = |what: &str, cause, body: Vec<u8>| bodies.push((what.to_owned(), cause, body));
    add("nothing", "not-json", Vec::new());
    add("a word", "not-json", MARKER.as_bytes().to_vec());
    add("two documents", "not-json", format!("{text}{text}").into_bytes());
    add("a trailing comma", "not-json", format!("{},}}", text.trim_end_matches('}')).into_bytes());
    add("a comment", "not-json", format!("/* {MARKER} */{text}").into_bytes());
    add("cut short", "not-json", text.split_at(text.len() - 1).0.as_bytes().to_vec());
    add("a form", "not-json", format!("user={MARKER}&eventId=1").into_bytes());
    add("half a surrogate pair", "not-json", text.replacen(MARKER, "\\ud800", 1).into_bytes());
    add("a mark of byte order", "not-json", format!("\u{feff}{text}").into_bytes());

    let mut bytes = text.clone().into_bytes();
    let at = text.find(MARKER).unwrap();
    bytes[at + 3] = 0xff;
    add("not UTF-8", "not-utf8", bytes);
    add(
        "compressed",
        "not-utf8",
        [&[0x1f, 0x8b, 0x08][..], MARKER.as_bytes(), &[0xe2, 0x28]].concat(),
    );

    add(
        "a member twice",
        "duplicate-member",
        text.replacen("\"eventId\"", "\"eventId\":\"1\",\"eventId\"", 1).into_bytes(),
    );
    let spelled = text.replacen("\"uid\"", &format!("\"\\u0075id\":\"{MARKER}\",\"uid\""), 1);
    add("a claim twice, spelled differently", "duplicate-member", spelled.into_bytes());
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{}{}{}", open.repeat(20_000), json!(MARKER), close.repeat(20_000));
        add(
            "deep",
            "too-deep",
            text.replacen("\"data\":", &format!("\"deep\":{deep},\"data\":"), 1).into_bytes(),
        );
    }

    let whole = |body: Value| body.to_string().into_bytes();
    add("an array", "schema-mismatch", whole(json!([marked().body])));
    add("a string", "schema-mismatch", whole(json!(MARKER)));
    for (place, wrong) in [
        ("/eventType", json!(["com.okta.oauth2.tokens.transform"])),
        ("/eventType", Value::Null),
        ("/data", json!(MARKER)),
        ("/data", Value::Null),
    ] {
        let mut body = marked().body;
        *body.pointer_mut(place).unwrap() = wrong.clone();
        let shown: String = wrong.to_string().chars().take(40).collect();
        add(&format!("{place} is {shown}"), "schema-mismatch", whole(body));
    }
    for place in ["eventType", "data"] {
        let mut body = marked().body;
        body.as_object_mut().unwrap().remove(place);
        add(&format!("no {place}"), "schema-mismatch", whole(body));
    }
    for unknown in ["com.okta.import.transform", "com.okta.oauth2.tokens.transform2", MARKER, ""] {
        let mut body = marked().body;
        body["eventType"] = json!(unknown);
        add(&format!("the event type `{unknown}`"), "unknown-event", whole(body));
    }
    bodies
}

/// A body that breaks off: then silence, or the end of what the caller has to say. How many of them were
/// answered.
fn breaks_off(host: &Host) -> u64 {
    let body = marked().bytes();
    let mut whole = Raw::post("/okta/token", SECRET, &body);
    whole.length = Some(body.len() + 1);
    let silent = host.client().send(&whole).unwrap();
    assert!(silent.stops_a_token(), "a caller that says no more: {silent:?}");
    whole.body.truncate(0);
    assert!(
        host.client().send(&whole).unwrap().stops_a_token(),
        "a caller that says nothing after the head"
    );

    let mut socket = host.client().connect().unwrap();
    let ours = format!("authorization: {SECRET}\r\n");
    let mut cut = request(host, &ours, &body);
    cut.truncate(cut.len() - 1);
    socket.write_all(&cut).unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    let mut heard = Vec::new();
    // Whoever closes may hear nothing; what is heard must stop.
    drop(socket.read_to_end(&mut heard));
    let heard = String::from_utf8_lossy(&heard);
    assert!(
        heard.is_empty() || (heard.starts_with("HTTP/1.1 200 ") && heard.contains("\"error\"")),
        "{heard}"
    );
    3
}

/// Failures of calls that could be read: the safe answer too, and a record of their own.
fn recorded_failures(deployment: &TestDeployment, host: &Host, taken: &str) {
    let lacking = host.sign_in(&marked().without_claim("facility"));
    let reused = host.sign_in(&marked().event(taken).claim("nickname", "somebody else"));
    for (answer, cause) in [(lacking, "required-input-missing"), (reused, "event-id-reused")] {
        assert!(answer.stops_a_token(), "{cause}: {answer:?}");
        let record = deployment
            .until_record("hook.decision", |record| record["seq"].as_u64() == answer.index());
        assert_eq!(
            (&record["decision"]["safe"], &record["decision"]["cause"]),
            (&json!("closed"), &json!(cause))
        );
    }
}

/// Neither what was sent nor the secret stands in the host's log or in any leaf, plainly or as base64.
fn leaks_nothing(deployment: &TestDeployment, log: &Log, good: u64) {
    let leaves = deployment.must(&audit_show(&["--format", "json"]));
    let sealed = deployment.sealed(good).to_string();
    assert!(
        traces(sealed.as_bytes(), MARKER) > 0,
        "the search finds what is there: the sealed part has the body"
    );
    assert!(
        traces(BASE64.encode(format!("x{sealed}")).as_bytes(), MARKER) > 0,
        "also as base64, wherever it begins"
    );
    assert!(
        log.has("stop.draining") && leaves.contains("hook.rejected"),
        "there is something to search:\n{log}"
    );
    for (place, text) in [("log", &**log), ("leaves", &leaves)] {
        assert_eq!(traces(text.as_bytes(), MARKER), 0, "the marker is in the {place}:\n{text}");
        assert_eq!(traces(text.as_bytes(), SECRET), 0, "the secret is in the {place}");
    }
    assert_eq!(traces(sealed.as_bytes(), SECRET), 0, "nor is the secret sealed");
}

#[test]
fn too_much_at_once_and_no_release_stop_too() {
    let deployment = TestDeployment::build(&[]);
    deployment.configure("[trust]", "max_in_flight = 1\nbody_timeout_ms = 20_000\n\n[trust]");
    // One signature byte changed: there is nothing to go on with, so nothing goes on.
    deployment
        .write("release/release.json", wrongly_signed(&deployment.read("release/release.json")));
    let host = deployment.serve();
    host.wait_for(log_event("release.none").field("code", "bad-signature"));

    let without = host.sign_in(&marked());
    assert!(without.stops_a_token());
    // One call holds the only place.
    let mut held = host.client().connect().unwrap();
    let request = request(&host, &format!("authorization: {SECRET}\r\n"), &marked().bytes());
    let (most, rest) = request.split_at(request.len() - 1);
    held.write_all(most).unwrap();
    let begin = Instant::now();
    loop {
        let answer = host.sign_in(&marked());
        assert!(answer.stops_a_token(), "{answer:?}");
        if answer.index().is_none() {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "the held call never took its place");
    }
    held.write_all(rest).unwrap();
    let mut heard = vec![0; 64 << 10];
    let count = held.read(&mut heard).unwrap();
    let heard = String::from_utf8_lossy(&heard[..count]).into_owned();
    assert!(heard.contains("\"error\""), "the held call gets its answer: {heard}");

    host.stop();
    // The place of a call may be free a moment after its answer is heard, so the held one can be the one turned away.
    let turned_away = if heard.contains("debugContext") { 1 } else { 2 };
    assert_eq!(
        counted(&deployment, "token"),
        BTreeMap::from([("overload".to_owned(), turned_away)])
    );
    let record = deployment.record(without.index().unwrap());
    assert_eq!(
        record["decision"],
        json!({"safe": "closed", "cause": "no-active-release", "plugin": null})
    );
    assert_eq!(deployment.records_of("release.refused")[0]["code"], "bad-signature");
}

fn marked() -> SignIn {
    let named = SignIn::with_groups(&["ward-reader"])
        .claim("nickname", MARKER)
        .profile("firstName", MARKER);
    named.event(&format!("{}-{MARKER}", event()))
}

/// A whole request, with these headers besides the necessary ones.
fn request(host: &Host, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /okta/token HTTP/1.1\r\nhost: {}\r\n{headers}content-length: {}\r\n\r\n",
        host.address(),
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// What the log counted for a hook, by cause.
fn counted(deployment: &TestDeployment, hook: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    let mut minutes = std::collections::BTreeSet::new();
    for record in
        deployment.records_of("hook.rejected").into_iter().filter(|record| record["hook"] == hook)
    {
        let cause = record["cause"].as_str().unwrap().to_owned();
        let reason = (record["minute"].to_string(), cause.clone(), record["detail"].to_string());
        assert!(minutes.insert(reason), "one record a minute, hook and reason");
        *counts.entry(cause).or_insert(0) += record["count"].as_u64().unwrap();
    }
    counts
}
