//! A stand-in for what the host calls: a token endpoint and an interface, on 127.0.0.1, which remembers what it heard.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The stand-in; it listens until the test's process ends.
pub struct StandIn {
    address: String,
    shared: Arc<Mutex<Shared>>,
}

/// A request that it heard.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The path.
    pub path: String,
    /// Its `authorization`.
    pub authorization: String,
    /// The body.
    pub body: String,
}

#[derive(Default)]
struct Shared {
    heard: Vec<Heard>,
    /// What it answers next, instead of 204: a status and further header lines.
    next: VecDeque<(u16, String)>,
    /// What it answers when nothing is next.
    otherwise: u16,
    tokens: usize,
    expires: u64,
}

#[expect(clippy::unwrap_used, reason = "a stand-in that cannot stand is a failed test")]
impl StandIn {
    /// Begins to listen: tokens last an hour, and everything is taken with 204.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Mutex::new(Shared { otherwise: 204, expires: 3_600, ..Shared::default() }));
        let own = Arc::clone(&shared);
        thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&own);
                thread::spawn(move || drop(serve(socket, &shared)));
            }
        });
        Self { address, shared }
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers the next calls of the interface with these, each with further header lines.
    pub fn next(&self, answers: &[(u16, &str)]) {
        self.shared().next.extend(answers.iter().map(|(status, header)| (*status, (*header).to_owned())));
    }

    /// Answers so when nothing is next.
    pub fn otherwise(&self, status: u16) {
        self.shared().otherwise = status;
    }

    /// The seconds that tokens last from now on.
    pub fn tokens_last(&self, seconds: u64) {
        self.shared().expires = seconds;
    }

    /// What the interface heard so far; token requests are not among it.
    pub fn heard(&self) -> Vec<Heard> {
        self.shared().heard.iter().filter(|heard| heard.path != "/token").cloned().collect()
    }

    /// The forms that the token endpoint heard.
    pub fn asked(&self) -> Vec<String> {
        self.shared().heard.iter().filter(|heard| heard.path == "/token").map(|heard| heard.body.clone()).collect()
    }

    /// Waits until the interface has heard so much, and gives it.
    pub fn until(&self, count: usize) -> Vec<Heard> {
        let begin = Instant::now();
        loop {
            let heard = self.heard();
            if heard.len() >= count {
                return heard;
            }
            assert!(begin.elapsed() < PATIENCE, "only {} calls came: {heard:?}", heard.len());
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn serve(mut socket: TcpStream, shared: &Mutex<Shared>) -> std::io::Result<()> {
    let mut reader = BufReader::new(socket.try_clone()?);
    loop {
        let (mut line, mut length, mut authorization) = (String::new(), 0, String::new());
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header)? == 0 || header == "\r\n" {
                break;
            }
            let (name, value) = header.split_once(':').unwrap_or_default();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap_or_default(),
                "authorization" => authorization = value.trim().to_owned(),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let body = String::from_utf8_lossy(&body).into_owned();
        let answer = {
            let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
            shared.heard.push(Heard { path: path.clone(), authorization, body });
            if path == "/token" {
                shared.tokens += 1;
                let (token, expires) = (shared.tokens, shared.expires);
                let text =
                    format!(r#"{{"access_token":"token-{token}","token_type":"Bearer","expires_in":{expires}}}"#);
                format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{text}",
                    text.len()
                )
            } else {
                let otherwise = shared.otherwise;
                let (status, headers) = shared.next.pop_front().unwrap_or((otherwise, String::new()));
                let length = if status == 204 { "" } else { "content-length: 0\r\n" };
                format!("HTTP/1.1 {status} X\r\n{headers}{length}\r\n")
            }
        };
        socket.write_all(answer.as_bytes())?;
    }
}

const PATIENCE: Duration = Duration::from_secs(30);
