//! HTTP/2 as platforms speak it: many calls on one connection, whose caller may have to be looked up first, and a
//! connection that ends in order when the host does.

use std::time::Duration;

use portcullis_tests::{
    Binding, DATA, END_STREAM, Http2, Issuer, SECRET, SignIn, TestDeployment, block, duties, frame,
    request,
};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(20);

fn head(stream: u32, authorization: &str) -> Vec<u8> {
    let fields = [("authorization", authorization), ("content-type", "application/json")];
    request(stream, &block("POST", "/okta/token", &fields), false)
}

fn body(stream: u32) -> Vec<u8> {
    let body = SignIn::with_groups(&["ward-reader"]).event(&portcullis_tests::event()).bytes();
    frame(DATA, END_STREAM, stream, &body)
}

/// Whether a stream's answer is a decision that has its record.
fn is_decided(http2: &Http2, stream: u32) -> bool {
    let stream = http2.streams.get(&stream).cloned().unwrap_or_default();
    let json: Value = serde_json::from_slice(&stream.body).unwrap_or_default();
    stream.ended && stream.status == 200 && json.get("error").is_none()
}

#[test]
fn a_burst_whose_issuer_has_to_be_asked_for_its_keys_is_decided_whole() {
    const NAME: &str = "https://issuer.example";
    let mut issuer = Issuer::start(NAME);
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    deployment.configure(
        "caller = { secret_file = \"secrets/token\" }",
        &format!(
            "caller = {{ oauth = {{ issuer = \"{NAME}\", audiences = [\"hooks\"], clients = [\"platform\"], discovery = \"{}\" }} }}",
            issuer.discovery()
        ),
    );
    let host = deployment.serve();
    let claims = issuer.claims("hooks", json!({"client_id": "platform"}));
    // A key that the host has not seen yet: the caller of each call waits for the issuer.
    issuer.publish(&["second"]);
    let token = format!("Bearer {}", issuer.token("second", &claims));
    let mut http2 = Http2::connect(host.address(), &[]);
    // Every head before the first body: more calls wait for their bodies than an unauthenticated connection may have.
    let streams: Vec<u32> = (0..40).map(|number| 2 * number + 1).collect();
    let heads: Vec<u8> = streams.iter().flat_map(|stream| head(*stream, &token)).collect();
    let bodies: Vec<u8> = streams.iter().flat_map(|stream| body(*stream)).collect();
    assert!(http2.write(&[heads, bodies].concat()));
    http2.until(PATIENCE, |it| it.streams.values().filter(|it| it.ended).count() >= streams.len());
    for stream in &streams {
        assert!(is_decided(&http2, *stream), "{stream}: {:?}", http2.streams.get(stream));
    }
    host.stop();
}

#[test]
fn a_stop_tells_connections_to_end_and_answers_the_calls_in_progress() {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    deployment
        .configure("shutdown_delay_ms = 0", "shutdown_delay_ms = 60000\nbody_timeout_ms = 60000");
    let host = deployment.serve();
    let mut http2 = Http2::connect(host.address(), &[]);
    // One call is answered; a second one is in progress when the signal comes.
    assert!(http2.write(&[head(1, SECRET), body(1), head(3, SECRET)].concat()));
    assert!(http2.until(PATIENCE, |it| is_decided(it, 1)));
    assert_eq!(http2.goaway, None);
    host.signal("TERM");
    host.wait_for("stop.delay");
    // Its answer is a whole one, and the hook's safe one if the body is late.
    assert!(http2.write(&body(3)));
    assert!(http2.until(PATIENCE, |it| it.answered(200) == 2), "{:?}", http2.streams);
    // The answer is followed by GOAWAY, without an error and before the host accepts nothing more.
    assert!(http2.until(PATIENCE, |it| it.goaway.is_some()), "no GOAWAY");
    assert_eq!(http2.goaway, Some(0));
    // A new connection during the delay is served, and told to end as well.
    let mut second = Http2::connect(host.address(), &[]);
    assert!(second.write(&[head(1, SECRET), body(1)].concat()));
    assert!(second.until(PATIENCE, |it| is_decided(it, 1) && it.goaway == Some(0)));
    // A second signal ends the delay.
    host.signal("TERM");
    host.ended();
    assert_eq!(deployment.records().last().unwrap()["t"], json!("host.stop"));
}

#[test]
fn a_client_that_ends_its_side_gets_every_answer() {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    let host = deployment.serve();
    for (secret, count) in [(SECRET, 1), (SECRET, 40), ("wrong", 1), ("wrong", 12)] {
        let streams: Vec<u32> = (0..count).map(|number| 2 * number + 1).collect();
        let calls: Vec<_> =
            streams.iter().flat_map(|id| [head(*id, secret), body(*id)].concat()).collect();
        let mut http2 = Http2::connect(host.address(), &[]);
        assert!(http2.write(&calls));
        http2.end();
        // The connection ends by itself, with the last answer.
        http2.until(PATIENCE, |it| it.closed);
        assert_eq!(http2.answered(200), streams.len(), "{secret}: {:?}", http2.streams);
        for stream in &streams {
            assert_eq!(is_decided(&http2, *stream), secret == SECRET, "{:?}", http2.streams);
        }
        assert!(http2.closed, "{secret}: the connection stands");
    }
    // A call that breaks off keeps no connection open either.
    let mut http2 = Http2::connect(host.address(), &[]);
    assert!(http2.write(&head(1, SECRET)));
    http2.end();
    assert!(http2.until(PATIENCE, |it| it.closed));
    host.stop();
}

#[test]
fn a_head_that_is_too_large_is_answered_and_costs_no_earlier_call_its_answer() {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    let host = deployment.serve();
    let huge = "y".repeat(300 << 10);
    let too_large = |stream: u32| {
        let fields = [("authorization", SECRET), ("x", &*huge)];
        request(stream, &block("POST", "/okta/token", &fields), false)
    };
    // Before authentication: in the hook's own words, and the client may be sending its body still.
    let mut unauthenticated = Http2::connect(host.address(), &[]);
    unauthenticated.write(&[too_large(1), body(1)].concat());
    assert!(unauthenticated.until(PATIENCE, |it| it.streams.get(&1).is_some_and(|it| it.ended)));
    let answer: Value = serde_json::from_slice(&unauthenticated.streams[&1].body).unwrap();
    assert!(answer["error"].is_object(), "{answer}");
    assert!(
        unauthenticated.until(PATIENCE, |it| it.goaway == Some(0) && it.closed),
        "it ends in order"
    );
    // Afterwards the HTTP/2 library answers 431 by itself, and the calls beside it are decided.
    let mut platform = Http2::connect(host.address(), &[]);
    assert!(platform.write(&[head(1, SECRET), body(1)].concat()));
    assert!(platform.until(PATIENCE, |it| is_decided(it, 1)));
    platform.write(&[head(3, SECRET), body(3), too_large(5)].concat());
    assert!(platform.until(PATIENCE, |it| is_decided(it, 3)), "{:?}", platform.streams.get(&3));
    assert!(platform.until(PATIENCE, |it| it.streams.get(&5).is_some_and(|it| it.ended)));
    assert_eq!(platform.streams[&5].body, b"");
    host.stop();
}
