//! A stand-in for what the host calls: a token endpoint and an interface, on 127.0.0.1, which remembers what it heard.

use std::collections::VecDeque;
use std::io::{BufReader, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::service::{Request, listen};

/// The stand-in; it listens until the test's process ends.
pub struct FakePlatform {
    address: String,
    shared: Arc<Mutex<Shared>>,
}

/// A request that it heard.
#[derive(Clone, Debug)]
pub struct ReceivedRequest {
    /// The path.
    pub path: String,
    /// Its `authorization`.
    pub authorization: String,
    /// The body.
    pub body: String,
}

#[derive(Default)]
struct Shared {
    heard: Vec<ReceivedRequest>,
    /// What it answers next, instead of 204: a status and further header lines.
    next: VecDeque<(u16, String)>,
    /// What it answers when nothing is next.
    otherwise: u16,
    tokens: usize,
    expires: u64,
}

impl FakePlatform {
    /// Begins to listen: tokens last an hour, and everything is taken with 204.
    pub fn start() -> Self {
        let shared =
            Arc::new(Mutex::new(Shared { otherwise: 204, expires: 3_600, ..Shared::default() }));
        let own = Arc::clone(&shared);
        Self { address: listen("127.0.0.1", move |socket| drop(serve(socket, &own))), shared }
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers the next calls of the interface with these, each with further header lines.
    pub fn next(&self, answers: &[(u16, &str)]) {
        self.shared()
            .next
            .extend(answers.iter().map(|(status, header)| (*status, (*header).to_owned())));
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
    pub fn heard(&self) -> Vec<ReceivedRequest> {
        self.shared().heard.iter().filter(|heard| heard.path != "/token").cloned().collect()
    }

    /// The forms that the token endpoint heard.
    pub fn token_requests(&self) -> Vec<String> {
        self.shared()
            .heard
            .iter()
            .filter(|heard| heard.path == "/token")
            .map(|heard| heard.body.clone())
            .collect()
    }

    /// Waits until the interface has heard so much, and gives it.
    pub fn until(&self, count: usize) -> Vec<ReceivedRequest> {
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
    while let Some(request) = Request::read(&mut reader) {
        let (path, authorization) = (request.path().to_owned(), request.header("authorization"));
        let answer = {
            let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
            shared.heard.push(ReceivedRequest {
                path: path.clone(),
                authorization,
                body: request.text(),
            });
            if path == "/token" {
                shared.tokens += 1;
                let (token, expires) = (shared.tokens, shared.expires);
                let text = format!(
                    r#"{{"access_token":"token-{token}","token_type":"Bearer","expires_in":{expires}}}"#
                );
                format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{text}",
                    text.len()
                )
            } else {
                let otherwise = shared.otherwise;
                let (status, headers) =
                    shared.next.pop_front().unwrap_or((otherwise, String::new()));
                let length = if status == 204 { "" } else { "content-length: 0\r\n" };
                format!("HTTP/1.1 {status} X\r\n{headers}{length}\r\n")
            }
        };
        socket.write_all(answer.as_bytes())?;
    }
    Ok(())
}

const PATIENCE: Duration = Duration::from_secs(30);
