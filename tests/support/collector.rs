//! A stand-in for a trace collector: takes OTLP over HTTP and keeps what it was sent.

use std::io::{BufReader, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::service::{Request, listen};

/// A collector on a port of its own; it stays for as long as the tests run.
pub struct Collector {
    address: String,
    spans: Arc<Mutex<Vec<Value>>>,
}

impl Collector {
    /// Starts one that answers with this status.
    pub fn start(status: u16) -> Self {
        let spans = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&spans);
        let serve = move |socket| {
            let request = read(socket, status);
            let resources = request["resourceSpans"].as_array().cloned().unwrap_or_default();
            let scopes = resources
                .iter()
                .flat_map(|it| it["scopeSpans"].as_array().cloned().unwrap_or_default());
            let sent = scopes.flat_map(|it| it["spans"].as_array().cloned().unwrap_or_default());
            kept.lock().unwrap_or_else(PoisonError::into_inner).extend(sent);
        };
        Self { address: listen("127.0.0.1", serve), spans }
    }

    /// Where it is.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The spans so far.
    pub fn spans(&self) -> Vec<Value> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for this many spans that no other is the parent of here: one a call.
    pub fn until_calls(&self, count: usize) -> Vec<Value> {
        let begin = Instant::now();
        loop {
            let calls: Vec<_> = self.spans().into_iter().filter(|span| span["kind"] == 2).collect();
            if calls.len() >= count {
                return calls;
            }
            assert!(begin.elapsed() < PATIENCE, "{} of {count} calls", calls.len());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Reads one request and answers it; gives what its body says.
#[expect(clippy::unwrap_used, reason = "a collector that does not work is a failed test")]
fn read(mut socket: TcpStream, status: u16) -> Value {
    let request = Request::read(&mut BufReader::new(&mut socket)).unwrap();
    assert!(request.head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{}", request.head);
    assert_eq!(request.header("content-type"), "application/json");
    let answer = format!(
        "HTTP/1.1 {status} Whatever\r\ncontent-type: application/json\r\ncontent-length: \
         2\r\n\r\n{{}}"
    );
    socket.write_all(answer.as_bytes()).unwrap();
    serde_json::from_slice(&request.body).unwrap()
}

const PATIENCE: Duration = Duration::from_secs(20);
