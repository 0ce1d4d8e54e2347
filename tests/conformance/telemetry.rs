//! Traces, the drift alarm and logs: what leaves the host besides answers and records, and what never does.

use portcullis_tests::{
    Binding, CONFLICT, Collector, Host, Log, Raw, SECRET, SignIn, TestDeployment, duties, event,
    log_event,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const MARKER: &str = "Zebulon-Quartermain-of-Ward-Nine";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

#[test]
fn a_call_is_a_trace_in_its_callers_context() {
    let collector = Collector::start(200);
    let deployment = traced(&collector, "0.0");
    let host = deployment.serve();
    let allowed = with_parent(
        &host,
        &SignIn::with_groups(&["ward-reader"]).profile("firstName", MARKER),
        "01",
    );
    let denied =
        with_parent(&host, &SignIn::with_groups(&CONFLICT).profile("firstName", MARKER), "01");
    assert!(denied.stops_a_token());
    // Not sampled by the caller, and chance never has it.
    with_parent(&host, &SignIn::with_groups(&[]), "00");
    host.sign_in(&SignIn::with_groups(&[]));
    // A stranger's wish counts for nothing.
    let mut wrong = Raw::post(
        "/okta/token",
        "a-secret-of-thirty-two-characterz",
        &SignIn::with_groups(&[]).bytes(),
    );
    wrong.headers.push(parent("01"));
    assert!(host.client().send(&wrong).unwrap().stops_a_token());
    let calls = collector.until_calls(2);
    let log = host.stop();
    assert_eq!(collector.until_calls(2).len(), 2, "no other call is traced");

    let spans = collector.spans();
    for (call, answer, verdict) in [(&calls[0], &allowed, "abstain"), (&calls[1], &denied, "deny")]
    {
        assert_eq!((&call["traceId"], &call["parentSpanId"]), (&json!(TRACE), &json!(PARENT)));
        assert_eq!(
            (&call["traceState"], &call["name"]),
            (&json!("vendor=1"), &json!("hook token"))
        );
        let attributes = attributes(call);
        assert_eq!(attributes["portcullis.verdict"], json!({"stringValue": verdict}));
        assert_eq!(attributes["portcullis.generation"], json!({"intValue": "1"}));
        assert_eq!(
            attributes["portcullis.record"],
            json!({"intValue": answer.index().unwrap().to_string()})
        );
        let below: Vec<_> =
            spans.iter().filter(|span| span["parentSpanId"] == call["spanId"]).collect();
        let names: Vec<_> = below.iter().map(|span| span["name"].as_str().unwrap()).collect();
        for stage in [
            "caller",
            "body",
            "parse",
            "propose",
            "guard",
            "render",
            "commit",
            "write",
            "plugin org.portcullis.sod",
        ] {
            assert!(names.contains(&stage), "{stage} is missing: {names:?}");
        }
        for span in &below {
            let time =
                |span: &Value, end: &str| span[end].as_str().unwrap().parse::<u64>().unwrap();
            assert!(time(span, "startTimeUnixNano") >= time(call, "startTimeUnixNano"), "{span}");
            assert!(time(span, "startTimeUnixNano") <= time(span, "endTimeUnixNano"), "{span}");
        }
        // From the record back to the trace: by what is sealed, since it is the caller's text.
        assert_eq!(deployment.sealed(answer.index().unwrap())["trace"], json!(TRACE));
        assert!(!deployment.record(answer.index().unwrap()).to_string().contains(TRACE));
    }
    let all = json!(spans).to_string();
    assert!(!all.contains(MARKER) && !all.contains(SECRET) && !all.contains("noor"), "{all}");
    assert!(!log.contains(TRACE) && !log.contains(MARKER));
}

#[test]
fn chance_traces_calls_without_a_context_and_failures_are_errors() {
    let collector = Collector::start(200);
    let deployment = traced(&collector, "1.0");
    let host = deployment.serve();
    host.sign_in(&SignIn::with_groups(&[]));
    assert!(host.post("token", b"no json").stops_a_token());
    let calls = collector.until_calls(2);
    assert!(calls.iter().all(|call| call.get("parentSpanId").is_none()));
    assert_ne!(calls[0]["traceId"], calls[1]["traceId"]);
    let refused = calls.iter().find(|call| call["status"]["code"] == 2).unwrap();
    assert_eq!(attributes(refused)["portcullis.cause"], json!({"stringValue": "not-json"}));
    drop(host.stop());
}

#[test]
fn a_collector_that_takes_nothing_costs_traces_and_no_answers() {
    let collector = Collector::start(503);
    let deployment = traced(&collector, "1.0");
    let host = deployment.serve();
    for _ in 0..20 {
        assert!(host.sign_in(&SignIn::with_groups(&[]).event(&event())).index().is_some());
    }
    host.wait_for("telemetry.unavailable");
    assert!(host.metric("portcullis_traces_dropped_total") > 0.0);
    assert_eq!(host.metric("portcullis_traces_exported_total"), 0.0);
    drop(host.stop());
    // One that nobody has ever heard of does not keep the host from starting or stopping.
    deployment.configure(collector.address(), "127.0.0.1:1");
    let host = deployment.serve();
    assert!(host.sign_in(&SignIn::with_groups(&[]).event(&event())).index().is_some());
    drop(host.stop());
    deployment.configure("http://127.0.0.1:1", "http://collector.example:4318");
    let ran = deployment.run(&["check", "--config", "portcullis.toml"]);
    assert_eq!(ran.code, 64);
    assert!(ran.err.contains("telemetry.otlp"), "{}", ran.err);
}

#[test]
fn a_member_that_is_not_known_raises_the_alarm_once() {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    let host = deployment.serve();
    host.sign_in(&SignIn::with_groups(&[]));
    assert!(deployment.records_of("hook.drift").is_empty());
    let mut newer = SignIn::with_groups(&[]).event(&event());
    newer.body["data"]["context"]["device"] = json!({"owner": MARKER});
    newer.body["data"]["context"][MARKER] = json!(1);
    for _ in 0..3 {
        assert!(
            host.sign_in(&newer.clone().event(&event())).index().is_some(),
            "it is answered all the same"
        );
    }
    let said =
        deployment.until_record("hook.drift", |record| record["member"] == "data.context.device");
    assert_eq!((&said["hook"], &said["kind"]), (&json!("token"), &json!("okta.token")));
    let hidden = deployment.until_record("hook.drift", |record| {
        record["member"].as_str().unwrap().starts_with("data.context.sha256:")
    });
    assert_eq!(deployment.sealed(hidden["seq"].as_u64().unwrap())["member"], MARKER);
    let status = host.admin("/status").json.to_string();
    assert!(status.contains("data.context.sha256:") && !status.contains("Zebulon"), "{status}");
    assert_eq!(host.metric(r#"portcullis_unknown_members{hook="token",kind="okta.token"}"#), 2.0);
    let log = host.stop();
    assert_eq!(deployment.records_of("hook.drift").len(), 2);
    assert!(log.has(log_event("hook.drift").field("member", "data.context.device")), "{log}");
    assert!(!log.contains("Zebulon"), "{log}");
    assert!(!deployment.leaves().concat().contains("Zebulon"));
}

#[test]
fn logs_are_json_where_asked_and_never_hold_a_secret_or_a_person() {
    let log = log_without_secrets(|deployment| Host::start_with_text_log(&deployment.path("")));
    assert!(log.lines().all(|line| serde_json::from_str::<Value>(line).is_err()), "{log}");
    let log = log_without_secrets(TestDeployment::serve);
    for line in log.lines() {
        let line: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line["level"].is_string(), "{line}");
        assert!(line["timestamp"].is_string(), "{line}");
        assert!(line["fields"]["message"].is_string(), "{line}");
    }
}

/// The log of a host that heard secrets and names in every way, none of which is in it.
fn log_without_secrets(serve: impl Fn(&TestDeployment) -> Host) -> Log {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    let host = serve(&deployment);
    let marked =
        SignIn::with_groups(&CONFLICT).profile("firstName", MARKER).claim("nickname", MARKER);
    assert!(host.sign_in(&marked.clone().event(&event())).stops_a_token());
    host.post("token", MARKER.as_bytes());
    let wrong = Raw::post("/okta/token", &format!("{MARKER}-{SECRET}"), &marked.bytes());
    host.client().send(&wrong).unwrap();
    // What is wrong with a configuration is said without the line that is wrong.
    let good = deployment.read("portcullis.toml");
    deployment.write("portcullis.toml", format!("{good}\nsecret = \"{SECRET}\" {MARKER}"));
    host.reload_until(["config.refused"]);
    let log = host.stop();
    assert!(log.lines().count() > 3, "{log}");
    for secret in [SECRET, MARKER, deployment.read("secrets/token").trim(), "noor.haddad"] {
        assert!(!log.contains(secret), "`{secret}` is in the log:\n{log}");
    }
    log
}

/// A deployment whose traces go to a collector.
fn traced(collector: &Collector, ratio: &str) -> TestDeployment {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    let telemetry = format!(
        "[telemetry]\notlp = \"http://{}\"\nsample_ratio = {ratio}\n\n[admin]",
        collector.address()
    );
    deployment.configure("[admin]", &telemetry);
    deployment
}

fn with_parent(host: &Host, sign_in: &SignIn, flags: &str) -> portcullis_tests::Answer {
    let mut request = host.request("token", &sign_in.clone().event(&event()).bytes());
    request.headers.push(parent(flags));
    request.headers.push(("tracestate".to_owned(), "vendor=1".to_owned()));
    host.client().send(&request).unwrap()
}

fn parent(flags: &str) -> (String, String) {
    ("traceparent".to_owned(), format!("00-{TRACE}-{PARENT}-{flags}"))
}

fn attributes(span: &Value) -> BTreeMap<String, Value> {
    let list = span["attributes"].as_array().into_iter().flatten();
    list.map(|it| (it["key"].as_str().unwrap().to_owned(), it["value"].clone())).collect()
}
