//! Clients without the secret that open what they can: the memory that they hold is bounded, and a
//! platform's calls go on meanwhile. A platform that opens much at once loses nothing.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use portcullis_tests::{
    Binding, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, Host, Http2, PING, RST_STREAM,
    SECRET, SignIn, TestDeployment, block, duties, frame, request,
};

fn deployment() -> TestDeployment {
    TestDeployment::build(&[Binding::new("token", "sod", duties())])
}

/// A call's header block.
fn call(secret: &str, more: &[(&str, &str)]) -> Vec<u8> {
    block("POST", "/okta/token", &[&[("authorization", secret)], more].concat())
}

/// Ids of a client's streams.
fn ids(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|number| 2 * number + 1)
}

#[test]
fn a_burst_on_a_fresh_connection_is_answered_whole() {
    let deployment = deployment();
    let host = deployment.serve();
    for count in [100, 110, 119, 125, 200, 1_000] {
        let mut http2 = Http2::connect(host.address(), &[]);
        // In one go, and nothing is read before.
        let burst = ids(count).flat_map(|id| {
            [request(id, &call(SECRET, &[]), false), frame(DATA, END_STREAM, id, b"{}")].concat()
        });
        let burst: Vec<u8> = burst.collect();
        assert!(http2.write(&burst));
        let all = http2.until(PATIENCE, |it| it.answered(200) == count as usize);
        assert!(all, "{count}: {} answers, GOAWAY {:?}", http2.answered(200), http2.goaway);
    }
    // More than are announced: each of them is refused by itself, and may be sent again.
    let mut http2 = Http2::connect(host.address(), &[]);
    let burst: Vec<u8> = ids(1_500).flat_map(|id| request(id, &call(SECRET, &[]), false)).collect();
    assert!(http2.write(&burst));
    let is_refused = |it: &Http2| it.streams.values().filter(|it| it.reset == Some(7)).count();
    assert!(http2.until(PATIENCE, |it| is_refused(it) == 1_500 - 1_024), "{}", is_refused(&http2));
    assert!(http2.write(&frame(DATA, END_STREAM, 1, b"{}")));
    assert!(http2.until(PATIENCE, |it| it.streams.get(&1).is_some_and(|it| it.ended)));
    assert_eq!((http2.goaway, http2.streams[&1].status), (None, 200), "the connection stands");
    drop(http2);
    assert!(host.sign_in(&SignIn::with_groups(&["ward-reader"])).index().is_some());
    drop(host.stop());
}

#[test]
fn calls_without_the_secret_are_answered_at_once_and_end_their_connection() {
    let deployment = deployment();
    // A body that is waited for outlasts the client's patience.
    deployment.configure("[trust]", "body_timeout_ms = 60000\n\n[trust]");
    let host = deployment.serve();
    let mut http2 = Http2::connect(host.address(), &[]);
    // Bodies that never end.
    let burst = ids(40).flat_map(|id| {
        [request(id, &call("wrong", &[]), false), frame(DATA, 0, id, b"{")].concat()
    });
    assert!(http2.write(&burst.collect::<Vec<u8>>()));
    assert!(http2.until(PATIENCE, |it| it.answered(200) == 40), "{}", http2.answered(200));
    let unproven =
        r#"portcullis_rejections_total{hook="token",kind="okta.token",reason="unauthenticated"}"#;
    assert_eq!(host.metric(unproven), 40.0, "for their heads, and not since no body came");
    assert!(
        http2
            .streams
            .values()
            .all(|stream| stream.body.starts_with(b"{\"error\"") || stream.body.is_empty())
    );
    // RFC 9113, 8.1: an answer before the request's end, then NO_ERROR.
    let reset = |it: &Http2| it.streams.values().filter(|it| it.reset == Some(0)).count();
    assert!(http2.until(PATIENCE, |it| reset(it) == 40), "{}", reset(&http2));
    assert!(http2.until(PATIENCE, |it| it.closed), "the connection ends");
    assert_eq!(http2.goaway, Some(0), "and not with an error");

    // Over HTTP/1.1 likewise.
    let mut client = host.client();
    let wrong = portcullis_tests::Raw::post("/okta/token", "wrong", b"{}");
    let answers: Vec<_> = (0..16).map(|_| client.send(&wrong).unwrap()).collect();
    assert!(answers.iter().all(portcullis_tests::Answer::stops_a_token));
    let closes = |answer: &portcullis_tests::Answer| answer.header("connection") == Some("close");
    assert!(!answers[..15].iter().any(closes) && closes(&answers[15]));
    drop(host.stop());
}

#[test]
fn control_frames_without_a_call_end_the_connection() {
    let deployment = deployment();
    let host = deployment.serve();
    for flood in [frame(PING, 0, 0, &[0; 8]), frame(4, 0, 0, &[]), frame(8, 0, 0, &[0, 0, 0, 1])] {
        let mut http2 = Http2::connect(host.address(), &[]);
        let part = flood.repeat(64);
        for _ in 0..200 {
            http2.write(&part);
            http2.until(Duration::from_millis(1), |it| it.closed);
        }
        assert!(http2.until(PATIENCE, |it| it.closed), "kind {}", flood[3]);
    }
    // Calls that are given up at once.
    let mut http2 = Http2::connect(host.address(), &[]);
    for id in ids(2_000) {
        let given_up =
            [request(id, &call("wrong", &[]), false), frame(RST_STREAM, 0, id, &[0, 0, 0, 8])];
        if !http2.write(&given_up.concat()) {
            break;
        }
    }
    assert!(http2.until(PATIENCE, |it| it.closed), "rapid resets");
    assert!(host.sign_in(&SignIn::with_groups(&["ward-reader"])).index().is_some());
    drop(host.stop());
}

#[test]
fn clients_without_the_secret_hold_a_bounded_amount_of_memory() {
    hold_memory(60);
}

#[test]
#[ignore = "long: a thousand connections"]
fn a_thousand_clients_without_the_secret_hold_a_bounded_amount_of_memory() {
    hold_memory(1_000);
}

/// Every way to hold memory, with so many connections each. The memory of the host grows by no more
/// than 256 KiB a connection and a constant.
fn hold_memory(connections: usize) {
    let deployment = deployment();
    // All are of one address, the platform too, and none is to be closed for that.
    let all = connections + 64;
    let limits = format!("max_connections = {all}\nmax_connections_per_source = {all}");
    deployment.configure("[trust]", &format!("body_timeout_ms = 20000\n{limits}\n\n[trust]"));
    let host = deployment.serve();
    for _ in 0..20 {
        host.sign_in(&SignIn::with_groups(&["ward-reader"]).event(&portcullis_tests::event()));
    }
    let before = resident(&host);
    let bound = connections * PER_CONNECTION + CONSTANT;
    for (what, hold) in ways() {
        let held: Vec<_> = (0..connections).map(|_| hold(&host)).collect();
        // The platform's calls go on, and are answered after everything that came before.
        for _ in 0..5 {
            let call = SignIn::with_groups(&["ward-reader"]).event(&portcullis_tests::event());
            assert!(host.sign_in(&call).index().is_some(), "{what}");
        }
        let grown = resident(&host).saturating_sub(before);
        println!("{what}: {} KiB more", grown >> 10);
        assert!(grown < bound, "{what}: {} KiB more, not {}", grown >> 10, bound >> 10);
        drop(held);
    }
    drop(host.stop());
}

type Way = (&'static str, fn(&Host) -> TcpStream);

fn ways() -> [Way; 8] {
    [
        ("HTTP/1.1, a head that does not end", |host| {
            let head = format!("POST /okta/token HTTP/1.1\r\nhost: a\r\nx: {}", "y".repeat(60_000));
            say(host, head.as_bytes())
        }),
        ("HTTP/1.1, a body that does not end", |host| {
            let fields = "host: a\r\nauthorization: wrong\r\ntransfer-encoding: chunked\r\n";
            let chunk = format!("8000\r\n{}\r\n", "y".repeat(0x8000));
            say(host, format!("POST /okta/token HTTP/1.1\r\n{fields}\r\n{chunk}").as_bytes())
        }),
        ("HTTP/1.1, a body to no hook", |host| {
            let fields = "host: a\r\ncontent-length: 250000\r\n";
            let body = "y".repeat(200_000);
            say(host, format!("POST /elsewhere HTTP/1.1\r\n{fields}\r\n{body}").as_bytes())
        }),
        ("HTTP/2, streams that do not end", |host| {
            let large = "y".repeat(12_000);
            let block = call("wrong", &[("x", &large)]);
            say_2(
                host,
                &[],
                &ids(100).flat_map(|id| request(id, &block, false)).collect::<Vec<_>>(),
            )
        }),
        ("HTTP/2, fields by reference", |host| {
            // One field of the dynamic table, then requests that have it thirteen times.
            let mut first = call("wrong", &[]);
            first.extend_from_slice(&[0x40, 1, b'x', 0x7f, 0x81, 0x1e]);
            first.extend_from_slice(&[b'y'; 4_000 - 32]);
            let mut other = call("wrong", &[]);
            other.extend_from_slice(&[0xbe; 13]);
            let block = |id| if id == 1 { &first } else { &other };
            let all = ids(1_000).flat_map(|id| frame(HEADERS, END_HEADERS, id, block(id)));
            say_2(host, &[], &all.collect::<Vec<_>>())
        }),
        ("HTTP/2, a header block that does not end", |host| {
            let mut bytes = frame(HEADERS, 0, 1, &call("wrong", &[]));
            // Fields of HPACK's static table: a byte each as sent, a hundred as held.
            bytes.extend(frame(CONTINUATION, 0, 1, &[0x90; 16_000]));
            bytes.extend(frame(CONTINUATION, 0, 1, &[0x90; 16_000]));
            say_2(host, &[], &bytes)
        }),
        ("HTTP/2, answers that nobody reads", |host| {
            // SETTINGS_INITIAL_WINDOW_SIZE is 0: no byte of a body may be sent.
            let block = call("wrong", &[]);
            let all = ids(1_000).flat_map(|id| request(id, &block, true));
            say_2(host, &[(4, 0)], &all.collect::<Vec<_>>())
        }),
        ("HTTP/2, bodies to no hook", |host| {
            let block = block("POST", "/elsewhere", &[]);
            let all = ids(8).flat_map(|id| {
                let data = frame(DATA, 0, id, &[b'y'; 8_000]);
                [request(id, &block, false), data].concat()
            });
            say_2(host, &[], &all.collect::<Vec<_>>())
        }),
    ]
}

fn say(host: &Host, bytes: &[u8]) -> TcpStream {
    let mut socket = host.client().connect().unwrap();
    socket.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    // A host that has read enough takes no more.
    drop(socket.write_all(bytes));
    socket
}

fn say_2(host: &Host, settings: &[(u16, u32)], bytes: &[u8]) -> TcpStream {
    let mut payload = Vec::new();
    for (name, value) in settings {
        payload.extend_from_slice(&name.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    }
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    say(host, &[&preface[..], &frame(4, 0, 0, &payload), bytes].concat())
}

/// Bytes of the host's memory that are in use.
fn resident(host: &Host) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", host.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

/// The memory that a connection may hold.
const PER_CONNECTION: usize = 256 << 10;
/// The memory that all of them may hold together besides.
const CONSTANT: usize = 64 << 20;
const PATIENCE: Duration = Duration::from_secs(20);
