//! A caller: one connection, spoken by hand, so that a test can also say what no client would.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::Answer;

/// A caller of one host.
pub struct Client {
    address: String,
    socket: Option<TcpStream>,
}

/// A request as a test wants it, right or wrong.
#[derive(Clone)]
pub struct Raw {
    /// Request path.
    pub path: String,
    /// Headers; `content-length` is added unless `length` says otherwise.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// What `content-length` claims, if not the truth.
    pub length: Option<usize>,
}

impl Client {
    /// A caller of the host at this address.
    pub fn new(address: &str) -> Self {
        Self { address: address.to_owned(), socket: None }
    }

    /// Sends a request, on the same connection as the last one where that still stands.
    pub fn send(&mut self, request: &Raw) -> std::io::Result<Answer> {
        let mut socket = match self.socket.take() {
            Some(socket) => socket,
            None => self.connect()?,
        };
        socket.write_all(&request.bytes(&self.address))?;
        let (answer, keeps) = read(&mut socket)?;
        if keeps {
            self.socket = Some(socket);
        }
        Ok(answer)
    }

    /// Whether a connection stands, as far as the client knows: the next request goes over it.
    pub fn is_connected(&self) -> bool {
        self.socket.is_some()
    }

    /// Says bytes on a new connection, whatever they are, and reads one answer.
    pub fn say(&self, bytes: &[u8]) -> std::io::Result<Answer> {
        let mut socket = self.connect()?;
        // A host that has heard enough answers and closes before all is said: what counts is the answer.
        let said = socket.write_all(bytes);
        read(&mut socket).map(|(answer, _)| answer).map_err(|error| said.err().unwrap_or(error))
    }

    /// Asks for a path, without any secret.
    pub fn get(&self, path: &str) -> std::io::Result<Answer> {
        self.say(format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.address).as_bytes())
    }

    /// Begins a call: its head is sent, and the host has taken the call up and asks for the body (RFC 9110, 10.1.1).
    pub fn begin(&self, request: &Raw) -> std::io::Result<Begun> {
        let mut socket = self.connect()?;
        let mut request = request.clone();
        request.headers.push(("expect".to_owned(), "100-continue".to_owned()));
        let bytes = request.bytes(&self.address);
        let (head, body) = bytes.split_at(bytes.len() - request.body.len());
        socket.write_all(head)?;
        let mut said = [0; CONTINUE.len()];
        socket.read_exact(&mut said)?;
        if said != *CONTINUE {
            return Err(std::io::Error::other(format!(
                "not asked for the body: {}",
                String::from_utf8_lossy(&said)
            )));
        }
        Ok(Begun { socket, body: body.to_vec() })
    }

    /// Reads one answer from a connection of [`connect`](Self::connect); whether it stands is the
    /// second part.
    pub fn read(socket: &mut TcpStream) -> std::io::Result<(Answer, bool)> {
        read(socket)
    }

    /// A new connection, for tests that speak to it themselves.
    pub fn connect(&self) -> std::io::Result<TcpStream> {
        let socket = TcpStream::connect(&self.address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket)
    }
}

/// A call in progress, whose body has not been sent.
pub struct Begun {
    socket: TcpStream,
    body: Vec<u8>,
}

impl Begun {
    /// Sends the body and reads the answer; whether the connection stands is the second part.
    pub fn finish(mut self) -> std::io::Result<(Answer, bool)> {
        self.socket.write_all(&self.body)?;
        read(&mut self.socket)
    }
}

impl Raw {
    /// A POST of a body, with a secret in `authorization`.
    pub fn post(path: &str, secret: &str, body: &[u8]) -> Self {
        let headers = vec![
            ("authorization".to_owned(), secret.to_owned()),
            ("content-type".to_owned(), "application/json".to_owned()),
        ];
        Self { path: path.to_owned(), headers, body: body.to_vec(), length: None }
    }

    /// With a header more, or another value of it.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Without a header.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self
    }

    /// The request as it is sent to this host.
    pub fn bytes(&self, host: &str) -> Vec<u8> {
        let mut bytes = format!("POST {} HTTP/1.1\r\nhost: {host}\r\n", self.path).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        bytes.extend_from_slice(
            format!("content-length: {}\r\n\r\n", self.length.unwrap_or(self.body.len()))
                .as_bytes(),
        );
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// Reads one answer; whether the connection stands is the second part.
pub fn read(socket: &mut impl Read) -> std::io::Result<(Answer, bool)> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 8 << 10];
    loop {
        if let Some((answer, keeps)) = parse(&bytes) {
            return Ok((answer, keeps));
        }
        let count = socket.read(&mut chunk)?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(chunk.get(..count).unwrap_or_default());
    }
}

fn parse(bytes: &[u8]) -> Option<(Answer, bool)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(bytes.get(..end)?).into_owned();
    let named = |line: &str| match line.split_once(':') {
        Some((name, value)) => format!("{}:{value}", name.to_ascii_lowercase()),
        None => line.to_owned(),
    };
    let head: Vec<_> = head.lines().map(named).collect();
    let head = head.join("\n");
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(Some(0), |length| length.parse().ok())?;
    let body = bytes.get(end + 4..)?.get(..length)?.to_vec();
    let json = serde_json::from_slice(&body).unwrap_or_default();
    let keeps = !head.contains("connection: close");
    Some((Answer { status, json, body, head }, keeps))
}

const PATIENCE: Duration = Duration::from_secs(10);
const CONTINUE: &[u8; 25] = b"HTTP/1.1 100 Continue\r\n\r\n";
