//! A stand-in for a trace collector: takes OTLP over HTTP and keeps what it was sent.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// A collector on a port of its own; it stays for as long as the tests run.
pub struct Collector {
    address: SocketAddr,
    spans: Arc<Mutex<Vec<Value>>>,
}

#[expect(clippy::unwrap_used, reason = "a collector that does not work is a failed test")]
impl Collector {
    /// Starts one that answers with this status.
    pub fn start(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let spans = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&spans);
        thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let body = read(socket, status);
                let request: Value = serde_json::from_slice(&body).unwrap();
                let resources = request["resourceSpans"].as_array().cloned().unwrap_or_default();
                let scopes = resources.iter().flat_map(|it| it["scopeSpans"].as_array().cloned().unwrap_or_default());
                let sent = scopes.flat_map(|it| it["spans"].as_array().cloned().unwrap_or_default());
                kept.lock().unwrap_or_else(PoisonError::into_inner).extend(sent);
            }
        });
        Self { address, spans }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
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

/// Reads one request and answers it; gives its body.
#[expect(clippy::unwrap_used, reason = "a collector that does not work is a failed test")]
fn read(mut socket: TcpStream, status: u16) -> Vec<u8> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 64 << 10]);
    let body = loop {
        let count = socket.read(&mut chunk).unwrap();
        assert!(count > 0, "an exporter that broke off");
        bytes.extend_from_slice(&chunk[..count]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        assert!(head.starts_with("post /v1/traces http/1.1"), "{head}");
        assert!(head.contains("content-type: application/json"), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let length: usize = length.parse().unwrap();
        if bytes.len() >= end + 4 + length {
            break bytes[end + 4..end + 4 + length].to_vec();
        }
    };
    let answer =
        format!("HTTP/1.1 {status} Whatever\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}");
    socket.write_all(answer.as_bytes()).unwrap();
    body
}

const PATIENCE: Duration = Duration::from_secs(20);
