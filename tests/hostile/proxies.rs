//! Connections that a proxy passes on: the header is believed from a listed proxy alone, and
//! demanded from it.

use std::io::{Read as _, Write as _};
use std::thread;
use std::time::{Duration, Instant};

use portcullis_tests::{Binding, Host, Raw, SECRET, SignIn, TestDeployment, duties, read};

fn serve(listen: &str) -> (TestDeployment, Host) {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    deployment.configure("[trust]", &format!("{listen}\n\n[trust]"));
    let host = deployment.serve();
    (deployment, host)
}

/// A PROXY protocol header, version 2, for a client over TCP and IPv4.
fn header(client: [u8; 4]) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    bytes.extend(client);
    bytes.extend([10, 0, 0, 1, 0xc0, 1, 1, 0xbb]);
    bytes
}

/// Sends bytes and a sign-in; the status of the answer, or nothing where the connection was closed.
fn status_after(host: &Host, before: &[u8]) -> Option<u16> {
    let mut socket = host.client().connect().unwrap();
    let body = SignIn::with_groups(&["ward-reader"]).bytes();
    let request = Raw::post("/okta/token", SECRET, &body);
    socket.write_all(before).ok()?;
    socket.write_all(&request.bytes(host.address())).ok()?;
    read(&mut socket).ok().map(|(answer, _)| answer.status)
}

#[test]
fn a_listed_proxy_is_believed_and_must_send_a_header() {
    let (_deployment, host) = serve("proxies = [\"127.0.0.1\"]\nproxy_protocol = true");
    assert_eq!(status_after(&host, &header([203, 0, 113, 9])), Some(200));
    // Its own connections, such as health checks.
    assert_eq!(status_after(&host, b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"), Some(200));
    let wrong: [&[u8]; 4] = [
        b"",
        b"PROXY TCP4 203.0.113.9 10.0.0.1 1 2\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c123456789012",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x05",
    ];
    for wrong in wrong {
        assert_eq!(status_after(&host, wrong), None, "{wrong:?}");
    }
    host.wait_for("connection.no-proxy-header");
    host.stop();
}

#[test]
fn clients_behind_a_proxy_are_counted_and_not_the_proxy() {
    let (_deployment, host) = serve(
        "proxies = [\"127.0.0.1\"]\nproxy_protocol = true\nmax_connections = 64\nmax_connections_per_source = 2",
    );
    let silent = |client: [u8; 4]| {
        let mut socket = host.client().connect().unwrap();
        // Part of a head: the client has sent bytes, and no call.
        socket.write_all(&[&header(client)[..], b"POST /okta/token HT"].concat()).unwrap();
        socket
    };
    let mut first: Vec<_> = (0..2).map(|number| silent([203, 0, 113, number])).collect();
    let others: Vec<_> = (0..20).map(|number| silent([198, 51, number, 1])).collect();
    assert_eq!(status_after(&host, &header([203, 0, 114, 9])), Some(200), "another source");
    // A third client of the first source takes the place of one of its own slow senders.
    assert_eq!(status_after(&host, &header([203, 0, 113, 7])), Some(200), "the same source");
    let is_open = |socket: &mut std::net::TcpStream| {
        socket.set_nonblocking(true).unwrap();
        let read = socket.read(&mut [0]);
        matches!(read, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    };
    // It is told to end before the newcomer is served, and ends a moment later.
    let mut count_open = || first.iter_mut().filter_map(|it| is_open(it).then_some(())).count();
    let begin = Instant::now();
    while count_open() == 2 && begin.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(count_open(), 1);
    let mut others = others;
    assert!(others.iter_mut().all(is_open), "other sources keep what they have");
    host.stop();
}

#[test]
fn a_client_behind_a_proxy_that_gets_no_place_leaves_a_line_in_the_log() {
    let (_deployment, host) = serve(
        "proxies = [\"127.0.0.1\"]\nproxy_protocol = true\nmax_connections = 64\nmax_connections_per_source = 2\nbody_timeout_ms = 60000",
    );
    // The host asks for the body: both have a call in progress, and none gives way.
    let calls: Vec<_> = (0..2)
        .map(|number| {
            let mut socket = host.client().connect().unwrap();
            let head = b"POST /elsewhere HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\nexpect: 100-continue\r\n\r\n";
            let begin = [&header([203, 0, 113, number])[..], &head[..]].concat();
            socket.write_all(&begin).unwrap();
            let mut asked = [0; 25];
            socket.read_exact(&mut asked).unwrap();
            assert!(asked.starts_with(b"HTTP/1.1 100 "), "{}", String::from_utf8_lossy(&asked));
            socket
        })
        .collect();
    assert_eq!(status_after(&host, &header([203, 0, 113, 7])), None);
    host.wait_for("connection.rejected");
    assert_eq!(host.metric("portcullis_connections_closed_total{reason=\"source-limit\"}"), 1.0);
    assert_eq!(status_after(&host, &header([203, 0, 114, 7])), Some(200), "another source");
    drop(calls);
    host.stop();
}

#[test]
fn a_header_from_anybody_else_is_no_header() {
    let (_deployment, host) = serve("proxies = [\"192.0.2.1\"]\nproxy_protocol = true");
    assert_eq!(status_after(&host, b""), Some(200));
    assert_ne!(status_after(&host, &header([203, 0, 113, 9])), Some(200));
    host.stop();
}

#[test]
fn settings_that_cannot_be_are_refused() {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    deployment.configure("[trust]", "#listen\n\n[trust]");
    for (listen, why) in [
        ("proxy_protocol = true", "needs listen.proxies"),
        ("proxies = [\"10.0.0.1/8\", \"x\"]", "beyond its prefix length; `x` is not a network"),
        ("platform_networks = [\"10.0.0.0/40\"]", "not a prefix length"),
        ("max_connections_per_source = 0", "listen.max_connections_per_source is 0"),
        ("first_bytes_timeout_ms = 1", "listen.first_bytes_timeout_ms is 1"),
    ] {
        deployment.configure("#listen", listen);
        let ran = deployment.run(&["check", "--config", "portcullis.toml"]);
        assert_eq!(ran.code, 64, "{listen}: {ran:?}");
        assert!(ran.err.contains(why), "{listen}: {}", ran.err);
        deployment.configure(listen, "#listen");
    }
}

const PATIENCE: Duration = Duration::from_secs(20);
