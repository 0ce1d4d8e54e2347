//! Calls of Okta on a path that is no hook's get the answer that stops, however many clients send
//! bodies slowly at the same time.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use portcullis_tests::{
    Binding, DATA, Host, Http2, Raw, SECRET, SignIn, TestDeployment, block, duties, frame, read,
    request,
};
use serde_json::Value;

/// A host behind a proxy that tells whose the connections are.
fn serve(more: &str) -> (TestDeployment, Host) {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    let listen = "proxies = [\"127.0.0.1\"]\nproxy_protocol = true\nbody_timeout_ms = 20000";
    deployment.configure("[trust]", &format!("{listen}\n{more}\n\n[trust]"));
    let host = deployment.serve();
    (deployment, host)
}

/// Opens a connection, and sends what a proxy says of this client.
fn connect(host: &Host, client: [u8; 4]) -> TcpStream {
    let mut socket = host.client().connect().unwrap();
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    bytes.extend(client);
    bytes.extend([10, 0, 0, 1, 0xc0, 1, 1, 0xbb]);
    socket.write_all(&bytes).unwrap();
    socket
}

/// The head of a call to a path that is no hook's.
fn head(body: &[u8], more: &str) -> Vec<u8> {
    let fields = format!("content-type: application/json\r\ncontent-length: {}", body.len());
    format!("POST /hooks/token HTTP/1.1\r\nhost: a\r\n{fields}\r\n{more}\r\n").into_bytes()
}

/// Opens a connection of this client, and sends the head and the beginning of a body.
fn begin(host: &Host, client: [u8; 4], body: &[u8], sent: usize) -> TcpStream {
    let mut socket = connect(host, client);
    socket.write_all(&[&head(body, "")[..], &body[..sent]].concat()).unwrap();
    socket
}

/// Opens a connection of this client, and sends one byte of a body that the host has asked for.
fn send_slowly(host: &Host, client: [u8; 4]) -> TcpStream {
    let mut socket = connect(host, client);
    socket.write_all(&head(&call(), "expect: 100-continue\r\n")).unwrap();
    let mut asked = [0; 25];
    socket.read_exact(&mut asked).unwrap();
    assert!(asked.starts_with(b"HTTP/1.1 100 "), "{}", String::from_utf8_lossy(&asked));
    socket.write_all(&call()[..1]).unwrap();
    socket
}

fn call() -> Vec<u8> {
    SignIn::with_groups(&["ward-reader"]).bytes()
}

/// Calls of Okta stop, whether their bodies come with the head or a moment later.
fn calls_stop(host: &Host, client: [u8; 4]) {
    let call = call();
    for sent in [call.len(), 0, 20] {
        let mut socket = begin(host, client, &call, sent);
        if sent < call.len() {
            // The host has read the head by now, and waits for the body.
            std::thread::sleep(Duration::from_millis(100));
        }
        socket.write_all(&call[sent..]).unwrap();
        let (answer, _) = read(&mut socket).unwrap();
        assert!(answer.stops_a_token(), "{sent} bytes with the head: {answer:?}");
    }
}

/// A platform that knows the secret is decided on a new connection.
fn signs_in(host: &Host, client: [u8; 4]) {
    let mut socket = connect(host, client);
    let request = Raw::post("/okta/token", SECRET, &call());
    socket.write_all(&request.bytes(host.address())).unwrap();
    let (answer, _) = read(&mut socket).unwrap();
    assert!(answer.index().is_some() && !answer.stops_a_token(), "{answer:?}");
}

#[test]
fn slow_bodies_of_one_source_take_no_answer_from_it_or_from_others() {
    let (_deployment, host) = serve("");
    let slow: Vec<_> = (0..150).map(|_| send_slowly(&host, [203, 0, 113, 1])).collect();
    calls_stop(&host, [198, 51, 100, 1]);
    calls_stop(&host, [203, 0, 113, 2]);
    drop(slow);
    host.stop();
}

#[test]
fn slow_bodies_of_many_sources_take_no_answer_from_others() {
    // As many connections as a limit of 256 descriptors leaves, and nearly as many slow bodies.
    let (_deployment, host) = serve("max_connections = 86");
    let slow: Vec<_> = (0..80).map(|number| send_slowly(&host, [203, 0, number, 1])).collect();
    calls_stop(&host, [198, 51, 100, 1]);
    signs_in(&host, [198, 51, 101, 1]);
    // A sender whose place was taken is answered from the part that had come.
    host.wait_for("http.unknown-path-busy");
    drop(slow);
    host.stop();
}

#[test]
fn a_call_with_a_faulty_head_gets_its_answer_however_many_others_come() {
    let (_deployment, host) = serve("max_connections = 16\nworkers = 1");
    let mut socket = connect(&host, [203, 0, 113, 1]);
    let faulty = head(&call(), "x y: 1\r\n");
    socket.write_all(&[&faulty[..], &call()[..1]].concat()).unwrap();
    // There is one thread, and it took that connection first: it waits for the body by now.
    signs_in(&host, [198, 51, 100, 1]);
    signs_in(&host, [198, 51, 100, 1]);
    let others: Vec<_> = (0..40)
        .map(|number| {
            let mut other = connect(&host, [198, 51, number, 2]);
            // One that was closed for another already takes no more.
            drop(other.write_all(b"POST /hooks/token HT"));
            other
        })
        .collect();
    signs_in(&host, [198, 51, 100, 1]);
    socket.write_all(&call()[1..]).unwrap();
    let (answer, _) = read(&mut socket).unwrap();
    assert!(answer.stops_a_token(), "{answer:?}");
    drop(others);
    host.stop();
}

#[test]
fn over_http2_a_slow_body_is_waited_for_as_long_as_over_http1() {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    // A connection may be idle for a shorter time than a body may take.
    deployment.configure("[trust]", "header_timeout_ms = 500\nbody_timeout_ms = 4000\n\n[trust]");
    let host = deployment.serve();
    let mut http2 = Http2::connect(host.address(), &[]);
    let (call, wrong) = (call(), block("POST", "/hooks/token", &[]));
    let part = frame(DATA, 0, 1, &call[..call.len() - 1]);
    assert!(http2.write(&[request(1, &wrong, false), part].concat()));
    assert!(http2.until(PATIENCE, |it| it.answered(200) == 1), "{:?}", http2.streams);
    let answer: Value = serde_json::from_slice(&http2.streams[&1].body).unwrap();
    assert!(answer["error"].is_object(), "{answer}");
    host.stop();
}

const PATIENCE: Duration = Duration::from_secs(20);
