//! How connections end over HTTP/1.1: a client that has ended its side still gets its answer, and
//! nothing follows an answer that ends a connection (RFC 9112 section 9.6).

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use portcullis_tests::{Binding, Host, Raw, SECRET, SignIn, TestDeployment, duties, read};

fn deployment() -> TestDeployment {
    TestDeployment::build(&[Binding::new("token", "sod", duties())])
}

/// Sends bytes, ends the client's side after this time, and returns everything that comes back.
fn half_closed(address: &str, bytes: &[u8], after: Duration) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.write_all(bytes).unwrap();
    std::thread::sleep(after);
    socket.shutdown(Shutdown::Write).unwrap();
    all(&mut socket)
}

fn all(socket: &mut TcpStream) -> String {
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A sign-in with this secret and further fields.
fn sign_in(secret: &str, fields: &str) -> Vec<u8> {
    let body = SignIn::with_groups(&["ward-reader"]).bytes();
    let head = format!(
        "POST /okta/token HTTP/1.1\r\nhost: a\r\nauthorization: {secret}\r\n{fields}content-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), &body].concat()
}

fn answers(text: &str) -> usize {
    text.matches("HTTP/1.1 200 OK").count()
}

#[test]
fn a_client_that_has_ended_its_side_gets_its_answer() {
    let deployment = deployment();
    let host = deployment.serve();
    let permits = Duration::ZERO;
    for round in 0..20 {
        let close = ["", "connection: close\r\n"][round % 2];
        let answer = half_closed(host.address(), &sign_in(SECRET, close), permits);
        assert!(answers(&answer) == 1 && answer.contains("debugContext"), "{round}: {answer:?}");
        let stopped = half_closed(host.address(), &sign_in("wrong", close), permits);
        assert!(answers(&stopped) == 1 && stopped.contains("errorSummary"), "{stopped:?}");
    }
    let later = half_closed(host.address(), &sign_in(SECRET, ""), Duration::from_millis(2));
    assert!(later.contains("debugContext"), "{later:?}");
    let two = [sign_in(SECRET, ""), sign_in(SECRET, "")].concat();
    assert_eq!(answers(&half_closed(host.address(), &two, permits)), 2, "pipelined");
    for path in ["/health", "/ready", "/metrics", "/status"] {
        let probe = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
        let answer = half_closed(host.admin_address(), probe.as_bytes(), permits);
        assert!(answers(&answer) == 1, "{path}: {answer:?}");
    }
    // What was answered was recorded, and counts as delivered.
    assert_eq!(
        host.metric(r#"portcullis_response_write_failures_total{hook="token",kind="okta.token"}"#),
        0.0
    );
    host.stop();
}

#[test]
fn a_client_that_has_ended_its_side_gets_its_safe_answer_while_the_host_starts() {
    let deployment = deployment();
    // A log that is a file: the start goes on until it is a folder.
    deployment.write("audit", "in the way");
    let host = Host::begin_with(
        &deployment.path(""),
        std::process::Command::new(portcullis_tests::binary()),
    );
    for _ in 0..20 {
        let answer = half_closed(host.address(), &sign_in(SECRET, ""), Duration::ZERO);
        assert!(answers(&answer) == 1 && answer.contains("errorSummary"), "{answer:?}");
    }
    host.kill();
}

#[test]
fn nothing_follows_an_answer_that_ends_the_connection() {
    let deployment = deployment();
    let host = deployment.serve();
    let mut socket = host.client().connect().unwrap();
    // More rejected calls at once than a connection without authentication may have.
    let rejected = sign_in("wrong", "").repeat(20);
    socket.write_all(&rejected).unwrap();
    let text = all(&mut socket);
    let (before, after) = text.rsplit_once("connection: close").unwrap();
    assert!(!before.contains("connection: close") && !after.contains("HTTP/1."), "{after:?}");
    // A call whose body has not come whole when it is rejected ends the connection as well.
    assert!((1..=16).contains(&answers(&text)), "{text}");

    // HTTP/1.0 ends with its first answer, whatever follows.
    let one = b"GET /okta/token HTTP/1.0\r\n\r\nGET /okta/token HTTP/1.0\r\n\r\nnonsense\r\n\r\n";
    let mut socket = host.client().connect().unwrap();
    socket.write_all(one).unwrap();
    let text = all(&mut socket);
    assert_eq!(text.matches("HTTP/1.").count(), 1, "{text:?}");

    // A client that asks for the end gets it.
    let mut socket = host.client().connect().unwrap();
    let last = [sign_in(SECRET, "connection: close\r\n"), sign_in(SECRET, "")].concat();
    socket.write_all(&last).unwrap();
    let text = all(&mut socket);
    assert_eq!(answers(&text), 1, "{text:?}");

    // And a connection that is kept has its further answers.
    let mut socket = host.client().connect().unwrap();
    let call = Raw::post("/okta/token", SECRET, &SignIn::with_groups(&["ward-reader"]).bytes());
    for _ in 0..3 {
        socket.write_all(&call.bytes("a")).unwrap();
        assert!(read(&mut socket).unwrap().0.index().is_some());
    }
    host.stop();
}
