//! Requests that are wrong as HTTP: on a closed hook whose platform could go on they get the answer
//! that stops, everywhere else what RFC 9110 and RFC 9112 say. The table of what is left is part of
//! the documentation.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use portcullis_tests::{
    Answer, Binding, Client, Host, Http2, Raw, SECRET, SignIn, TestDeployment, batch, block,
    duties, frame, golden_part, request,
};
use serde_json::{Value, json};

/// The expected outcome of a case.
enum Expected {
    /// The answer that makes Okta stop.
    Stops,
    /// Something else, and why that cannot be avoided or is right.
    Else(&'static str),
}

use Expected::{Else, Stops};

/// A request over HTTP/1.1 as bytes, or over HTTP/2 as bytes of the first stream.
enum Sent {
    One(Vec<u8>),
    Two(Vec<u8>),
}

fn closed_deployment() -> TestDeployment {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    deployment.configure("[trust]", "header_timeout_ms = 700\nbody_timeout_ms = 700\n\n[trust]");
    deployment
}

#[test]
fn whatever_a_closed_hook_is_sent_the_answer_stops_where_that_is_possible() {
    let deployment = closed_deployment();
    let host = deployment.serve();
    let mut table =
        String::from("| request | answer | why not the answer that stops |\n|---|---|---|\n");
    for (title, cases) in
        [("Paths", paths()), ("Methods", methods()), ("Heads", heads()), ("HTTP/2", http2())]
    {
        table.push_str(&format!("| **{title}** | | |\n"));
        for (what, sent, expected) in cases {
            let answer = match &sent {
                Sent::One(bytes) => over_http1(&host, bytes),
                Sent::Two(bytes) => over_http2(&host, bytes),
            };
            let why = match expected {
                Stops => {
                    assert!(answer.starts_with("200, stops"), "{what}: {answer}");
                    ""
                }
                Else(why) => {
                    assert!(!answer.starts_with("200, stops"), "{what}: {answer}");
                    why
                }
            };
            table.push_str(&format!("| {what} | {answer} | {why} |\n"));
        }
    }
    golden_part("http.md", "answers of a closed hook", &table);
    assert!(host.sign_in(&SignIn::with_groups(&["ward-reader"])).index().is_some(), "alive");
    let log = host.stop();
    assert!(log.has("http.faulty-request"), "{log}");
    assert!(log.has("http.unknown-path"), "{log}");
    let causes: Vec<_> = deployment
        .records_of("hook.rejected")
        .iter()
        .map(|record| record["cause"].as_str().unwrap().to_owned())
        .collect();
    for cause in ["wrong-path", "wrong-method", "head-too-large", "bad-request"] {
        assert!(causes.iter().any(|it| it == cause), "{cause} is counted: {causes:?}");
    }
}

type Case = (String, Sent, Expected);

fn paths() -> Vec<Case> {
    let spelled = [
        "/okta/token/",
        "//okta/token",
        "/okta//token",
        "/okta/./token",
        "/x/../okta/token",
        "/okta%2Ftoken",
        "/okta/%74oken",
        "/okta/%2574oken",
        "/OKTA/TOKEN",
        "/okta/token;a=b",
        "/okta/token%20",
        "/okta/token%3Fa=b",
        "okta/token",
    ];
    let mut cases: Vec<Case> = spelled
        .iter()
        .map(|path| (format!("`{path}`"), Sent::One(post(path, "", &call())), Stops))
        .collect();
    let mut add =
        |what: &str, bytes, expected| cases.push((what.to_owned(), Sent::One(bytes), expected));
    add("another path, with a call of Okta in the body", post("/hooks/token", "", &call()), Stops);
    let strange = json!({"eventType": "com.okta.something.new"}).to_string();
    add("the same, of a type that is not known", post("/", "", strange.as_bytes()), Stops);
    let large =
        json!({"data": "x".repeat(300 << 10), "eventType": "com.okta.saml.tokens.transform"});
    add(
        "the same, whose type comes after 300 KiB",
        post("/", "", large.to_string().as_bytes()),
        Stops,
    );
    let many = "x: y\r\n".repeat(260);
    let long = format!("x: {}\r\n", "y".repeat(70 << 10));
    for (what, fields) in [
        ("more than 256 fields", many.as_str()),
        ("a head of 70 KiB", &long),
        ("a NUL in a field", "x: a\0b\r\n"),
        ("`Content-Length: -1` besides", "content-length: -1\r\n"),
    ] {
        let what = format!("another path, with a call of Okta and {what}");
        add(&what, post("/hooks/token", fields, &call()), Stops);
    }
    let none = "it is no call of Okta";
    add(
        "another path, with more than 256 fields and other JSON",
        post("/x", &many, b"{}"),
        Else(none),
    );
    add("another path, with other JSON", post("/hooks/token", "", b"{\"a\":1}"), Else(none));
    add("another path, without a body", post("/hooks/token", "", b""), Else(none));
    add("`GET` of another path", bytes("GET", "/hooks/token", "host: a\r\n"), Else(none));
    cases
}

fn methods() -> Vec<Case> {
    let mut cases: Vec<Case> =
        ["GET", "PUT", "OPTIONS", "DELETE", "TRACE", "PATCH", "CONNECT", "post", "X"]
            .iter()
            .map(|method| {
                (
                    format!("`{method}`"),
                    Sent::One(bytes(method, "/okta/token", "host: a\r\n")),
                    Stops,
                )
            })
            .collect();
    let why = "an answer to `HEAD` has no content (RFC 9110, 9.3.2)";
    cases.push((
        "`HEAD`".to_owned(),
        Sent::One(bytes("HEAD", "/okta/token", "host: a\r\n")),
        Else(why),
    ));
    let why = "`CONNECT` names no path (RFC 9110, 9.3.6)";
    let connect = b"CONNECT a.example:443 HTTP/1.1\r\nhost: a.example:443\r\n\r\n".to_vec();
    cases.push(("`CONNECT a.example:443`".to_owned(), Sent::One(connect), Else(why)));
    cases
}

fn heads() -> Vec<Case> {
    let with = |fields: &str| post("/okta/token", fields, &call());
    let without_host = |fields: &str, body: &str| {
        format!("POST /okta/token HTTP/1.1\r\n{fields}\r\n{body}").into_bytes()
    };
    let line =
        |version: &str| format!("POST /okta/token {version}\r\nhost: a\r\n\r\n").into_bytes();
    let many = "x: y\r\n".repeat(260);
    let mut cases: Vec<Case> = Vec::new();
    let mut add =
        |what: &str, bytes, expected| cases.push((what.to_owned(), Sent::One(bytes), expected));
    add("more than 256 fields", with(&many), Stops);
    add("a head of 70 KiB", with(&format!("x: {}\r\n", "y".repeat(70 << 10))), Stops);
    add("a head of 1 MiB", with(&format!("x: {}\r\n", "y".repeat(1 << 20))), Stops);
    add(
        "a target of 70 KiB",
        post(&format!("/okta/token?{}", "y".repeat(70 << 10)), "", b"{}"),
        Stops,
    );
    add("no `Host`", without_host("content-length: 2\r\n", "{}"), Stops);
    add("two `Host`s", with("host: b\r\n"), Stops);
    add("a `Host` that is none", without_host("host: a b\r\ncontent-length: 2\r\n", "{}"), Stops);
    let both = "host: a\r\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n";
    add(
        "`Transfer-Encoding` and `Content-Length`",
        without_host(both, "2\r\n{}\r\n0\r\n\r\n"),
        Stops,
    );
    let turned = "host: a\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n";
    add("the same in the other order", without_host(turned, "2\r\n{}\r\n0\r\n\r\n"), Stops);
    for length in ["1000000000000000000000000000000", "-1", "+5", "5, 6", ""] {
        let fields = format!("host: a\r\ncontent-length: {length}\r\n");
        add(&format!("`Content-Length: {length}`"), without_host(&fields, "{}"), Stops);
    }
    let differ = "host: a\r\ncontent-length: 2\r\ncontent-length: 3\r\n";
    add("two different `Content-Length`s", without_host(differ, "{}"), Stops);
    for coding in ["xchunked", "chunked, gzip", "gzip"] {
        let fields = format!("host: a\r\ntransfer-encoding: {coding}\r\n");
        add(&format!("`Transfer-Encoding: {coding}`"), without_host(&fields, "0\r\n\r\n"), Stops);
    }
    let chunked = "host: a\r\ntransfer-encoding: chunked\r\n";
    add("a chunk whose size is no number", without_host(chunked, "zz\r\n{}\r\n0\r\n\r\n"), Stops);
    add("a NUL in a field", with("x: a\0b\r\n"), Stops);
    add("a field over two lines", with("x: a\r\n b\r\n"), Stops);
    add("a space before a colon", with("x : a\r\n"), Stops);
    add("a line that is no field", with("nonsense\r\n"), Stops);
    for version in ["HTTP/1.2", "HTTP/2.0", "HTTP/3.0", "HTTPS/1.1", ""] {
        let what = if version.is_empty() { "HTTP/0.9" } else { version };
        add(&format!("`{what}`"), line(version), Stops);
    }
    add("a head that breaks off", b"POST /okta/token HTTP/1.1\r\nhost: a\r\nx-".to_vec(), Stops);
    let none = "nothing says that it is for the hook";
    add("garbage", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(), Else(none));
    add("a request line that breaks off", b"POST ".to_vec(), Else(none));
    cases
}

fn http2() -> Vec<Case> {
    let secret = [("authorization", SECRET), ("content-type", "application/json")];
    let post = |path: &str, fields: &[(&str, &str)]| {
        let head = request(1, &block("POST", path, &[&secret[..], fields].concat()), false);
        [head, frame(portcullis_tests::DATA, portcullis_tests::END_STREAM, 1, b"{}")].concat()
    };
    let many: Vec<_> = (0..260).map(|_| ("x", "y")).collect();
    let (large, largest, beyond) =
        ("y".repeat(70 << 10), "y".repeat(120 << 10), "y".repeat(300 << 10));
    let mut cases: Vec<Case> = Vec::new();
    let mut add =
        |what: &str, bytes, expected| cases.push((what.to_owned(), Sent::Two(bytes), expected));
    add("`/okta/token/`", post("/okta/token/", &[]), Stops);
    add("`GET`", request(1, &block("GET", "/okta/token", &secret), true), Stops);
    add("`X`", request(1, &block("X", "/okta/token", &secret), true), Stops);
    add("more than 256 fields", post("/okta/token", &many), Stops);
    add("a head of 70 KiB", post("/okta/token", &[("x", &large)]), Stops);
    add("a head of 120 KiB", post("/okta/token", &[("x", &largest)]), Stops);
    add("two `host` fields", post("/okta/token", &[("host", "a"), ("host", "b")]), Stops);
    add("a head of 300 KiB", post("/okta/token", &[("x", &beyond)]), Stops);
    add(
        "a target of 300 KiB",
        post(&format!("/okta/token?{beyond}"), &[]),
        Else("its path is not among the 12 KiB of the head that are decoded"),
    );
    let malformed = "a malformed request ends its stream or its connection (RFC 9113, 8.1.1)";
    add("a field name in upper case", post("/okta/token", &[("X-A", "b")]), Else(malformed));
    add("a field `connection`", post("/okta/token", &[("connection", "close")]), Else(malformed));
    add("`te: gzip`", post("/okta/token", &[("te", "gzip")]), Else(malformed));
    add("a line feed in a field", post("/okta/token", &[("x", "a\nb")]), Else(malformed));
    add(
        "a wrong `content-length`",
        post("/okta/token", &[("content-length", "7")]),
        Else(malformed),
    );
    add("two `:path`s", post("/okta/token", &[(":path", "/okta/token")]), Else(malformed));
    cases
}

/// A call of Okta's token hook, without the secret.
fn call() -> Vec<u8> {
    SignIn::with_groups(&["ward-reader"]).bytes()
}

fn post(path: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: a\r\nauthorization: {SECRET}\r\n{fields}content-length: \
         {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn bytes(method: &str, path: &str, fields: &str) -> Vec<u8> {
    format!("{method} {path} HTTP/1.1\r\n{fields}\r\n").into_bytes()
}

/// The answer over HTTP/1.1, in a few words.
fn over_http1(host: &Host, bytes: &[u8]) -> String {
    let mut socket = host.client().connect().unwrap();
    // A host that has read enough answers and ends the connection: what counts is its answer.
    drop(socket.write_all(bytes));
    if !bytes.windows(4).any(|four| four == b"\r\n\r\n") {
        drop(socket.shutdown(Shutdown::Write));
    }
    let all = until_answered(&mut socket, bytes.starts_with(b"HEAD "));
    let text = String::from_utf8_lossy(&all).into_owned();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return "the connection is closed".to_owned();
    };
    in_words(head.split(' ').nth(1).unwrap_or_default(), body.as_bytes())
}

/// One answer, or what comes until the connection ends.
fn until_answered(socket: &mut TcpStream, has_no_content: bool) -> Vec<u8> {
    let mut all = Vec::new();
    let mut chunk = [0; 8 << 10];
    while let Ok(count @ 1..) = socket.read(&mut chunk) {
        all.extend_from_slice(&chunk[..count]);
        let text = String::from_utf8_lossy(&all);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        if has_no_content || body.len() >= length.unwrap_or(0) {
            break;
        }
    }
    all
}

/// The answer over HTTP/2, in a few words.
fn over_http2(host: &Host, bytes: &[u8]) -> String {
    let mut http2 = Http2::connect(host.address(), &[]);
    http2.write(bytes);
    http2.until(PATIENCE, |it| {
        it.goaway.is_some_and(|code| code != 0)
            || it.closed
            || it.streams.get(&1).is_some_and(|stream| stream.ended || stream.reset.is_some())
    });
    let stream = http2.streams.get(&1).cloned().unwrap_or_default();
    match (stream.ended, http2.goaway.filter(|code| *code != 0)) {
        (true, _) if stream.status == 1 => "431".to_owned(),
        (true, _) => in_words(&stream.status.to_string(), &stream.body),
        (false, Some(_)) => "the connection ends with an error (`GOAWAY`)".to_owned(),
        (false, None) if http2.closed => "the connection ends (`GOAWAY`)".to_owned(),
        (false, None) => "the stream ends with an error (`RST_STREAM`)".to_owned(),
    }
}

fn in_words(status: &str, body: &[u8]) -> String {
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    match (status, json.get("error").is_some_and(Value::is_object)) {
        ("200", true) => "200, stops".to_owned(),
        ("200", false) if body.is_empty() => "200 without content".to_owned(),
        (status, _) => status.to_owned(),
    }
}

#[test]
fn an_answer_to_a_faulty_request_comes_at_once_and_ends_the_connection() {
    let deployment = closed_deployment();
    let host = deployment.serve();
    let mut socket = host.client().connect().unwrap();
    // A good call first, on the same connection.
    let good = SignIn::with_groups(&["ward-reader"]).bytes();
    socket.write_all(&post("/okta/token", "", &good)).unwrap();
    let (first, keeps) = read(&mut socket);
    assert!(first.index().is_some() && keeps, "{first:?}");
    socket.write_all(b"POST /okta/token HTTP/1.1\r\nhost: a\r\nx y: 1\r\n\r\n").unwrap();
    let (second, keeps) = read(&mut socket);
    assert!(second.stops_a_token() && !keeps, "{second:?}");
    assert!(second.header("date").is_some(), "RFC 9110, 6.6.1: {}", second.head);
    let mut rest = Vec::new();
    socket.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
    drop(host.stop());
}

#[test]
fn a_call_without_the_secret_is_answered_before_its_body_comes() {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    // A body that is waited for outlasts the client's patience.
    deployment.configure("[trust]", "body_timeout_ms = 60000\n\n[trust]");
    let host = deployment.serve();
    let mut socket = host.client().connect().unwrap();
    let head = "POST /okta/token HTTP/1.1\r\nhost: a\r\nauthorization: wrong\r\ncontent-length: \
                200000\r\n\r\n{";
    socket.write_all(head.as_bytes()).unwrap();
    assert!(read(&mut socket).0.stops_a_token());
    let unproven =
        r#"portcullis_rejections_total{hook="token",kind="okta.token",reason="unauthenticated"}"#;
    assert_eq!(host.metric(unproven), 1.0, "for its head, and not since its body did not come");
    drop(host.stop());
}

#[test]
fn open_hooks_and_hooks_that_nothing_enforces_answer_faults_with_a_plain_status() {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    deployment.configure("path = \"/okta/token\"", "path = \"/okta/token\"\non_failure = \"open\"");
    let host = deployment.serve();
    let status = |bytes: &[u8]| host.client().say(bytes).unwrap();
    for path in ["/okta/token", "/okta/import"] {
        let answer = status(&bytes("PUT", path, "host: a\r\ncontent-length: 0\r\n"));
        assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")), "{path}");
        assert_eq!(status(&bytes("POST", path, "content-length: 0\r\n")).status, 400, "{path}");
        let many = format!("host: a\r\n{}", "x: y\r\n".repeat(300));
        assert_eq!(status(&bytes("POST", path, &many)).status, 431, "{path}");
        assert_eq!(status(&bytes("GET", &format!("{path}/"), "host: a\r\n")).status, 404, "{path}");
    }
    // All token hooks are open, and nobody said anything of SAML.
    assert_eq!(status(&post("/elsewhere", "", &call())).status, 404);
    let saml = json!({"eventType": "com.okta.saml.tokens.transform"}).to_string();
    let answer = status(&post("/elsewhere", "", saml.as_bytes()));
    assert!(answer.status == 200 && answer.json["error"].is_object(), "{answer:?}");
    assert_eq!(host.metric(r#"portcullis_unrouted_requests_total{answer="stop"}"#), 1.0);
    assert!(host.metric(r#"portcullis_unrouted_requests_total{answer="not-found"}"#) >= 3.0);
    drop(host.stop());
}

#[test]
fn every_closed_okta_hook_has_an_answer_of_its_own_kind() {
    let deployment = TestDeployment::build(&[]);
    for kind in ["saml", "registration", "telephony"] {
        deployment.add_hook(kind, &format!("okta.{kind}"), "");
    }
    deployment.add_hook("password", "okta.password-import", "");
    // Without a release nothing can be let through: every hook is closed.
    deployment.write("release/release.json", "{}");
    let host = deployment.serve();
    for (hook, stops) in [
        ("token", "/error/errorSummary"),
        ("saml", "/error/errorSummary"),
        ("import", "/error/errorSummary"),
        ("telephony", "/error/errorSummary"),
        ("registration", "/commands/0/value/registration"),
        ("password", "/commands/0/value/credential"),
    ] {
        for (method, path) in [("GET", format!("/okta/{hook}")), ("POST", format!("/okta/{hook}/"))]
        {
            let answer = host.client().say(&bytes(method, &path, "host: a\r\n")).unwrap();
            let said = answer.json.pointer(stops).and_then(Value::as_str);
            assert!(answer.status == 200 && said.is_some(), "{hook} {method}: {answer:?}");
            assert!(!matches!(said, Some("ALLOW" | "VERIFIED")), "{hook}: {answer:?}");
        }
    }
    drop(host.stop());
}

#[test]
fn head_and_allow_are_as_the_standard_says() {
    let mut deployment = TestDeployment::build(&[]);
    deployment.sign_root(|source| source.replace(r#""okta.*""#, r#""okta.*", "authzen""#));
    deployment.write_secret("secrets/pdp", SECRET);
    let hook = "\n[[hook]]\nname = \"pdp\"\nkind = \"authzen\"\npath = \"/pdp\"\n\
        public_url = \"https://pdp.example/pdp\"\ncaller = { secret_file = \"secrets/pdp\" }\n";
    deployment.write("portcullis.toml", deployment.read("portcullis.toml") + hook);
    deployment.add_hook("event", "okta.event", "");
    deployment.release(&[]);
    let host = deployment.serve();
    let ask = |method: &str, path: &str, fields: &str| {
        let mut socket = host.client().connect().unwrap();
        let fields = format!("host: a\r\nconnection: close\r\nx-request-id: 7\r\n{fields}");
        socket.write_all(&bytes(method, path, &fields)).unwrap();
        let mut all = String::new();
        socket.read_to_string(&mut all).unwrap();
        let (head, body) = all.split_once("\r\n\r\n").unwrap();
        let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
        let field = |name: &str| {
            head.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                .map(str::to_owned)
        };
        (status, field("allow"), field("content-length"), body.to_owned(), field("x-request-id"))
    };
    let metadata = "/.well-known/authzen-configuration/pdp";
    let challenge = "x-okta-verification-challenge: abc\r\n";
    for (path, fields) in [(metadata, ""), ("/okta/event", challenge)] {
        let (status, _, length, body, _) = ask("GET", path, fields);
        assert_eq!((status, length.as_deref()), (200, Some(&*body.len().to_string())), "{path}");
        let head = ask("HEAD", path, fields);
        assert_eq!((head.0, head.2, head.3), (200, length, String::new()), "{path}");
    }
    for (path, allow) in [
        (metadata, "GET, HEAD"),
        ("/okta/event", "GET, HEAD, POST"),
        ("/pdp/access/v1/evaluation", "POST"),
        ("/pdp/access/v1/search/subject", "POST"),
    ] {
        for method in ["PUT", "DELETE", "OPTIONS", "TRACE", "X"] {
            let answer = ask(method, path, "");
            assert_eq!((answer.0, answer.1.as_deref()), (405, Some(allow)), "{method} {path}");
        }
    }
    for method in ["GET", "HEAD"] {
        let answer = ask(method, "/pdp/access/v1/evaluation", "");
        assert_eq!((answer.0, answer.1.as_deref()), (405, Some("POST")));
        assert_eq!(answer.4.as_deref(), Some("7"), "an AuthZEN answer repeats the request's id");
    }
    let posted = host.client().send(&Raw::post(metadata, SECRET, b"{}")).unwrap();
    assert_eq!((posted.status, posted.header("allow")), (405, Some("GET, HEAD")));
    let event = batch(&["user.session.start"]).to_string();
    assert_eq!(host.post("event", event.as_bytes()).status, 204);
    drop(host.stop());
}

fn read(socket: &mut TcpStream) -> (Answer, bool) {
    Client::read(socket).unwrap()
}

const PATIENCE: Duration = Duration::from_secs(10);
