//! HTTP/2 by hand (RFC 9113): frames as a test wants them, right or wrong, and what came back.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// A connection without TLS, spoken by hand.
pub struct Http2 {
    socket: TcpStream,
    unread: Vec<u8>,
    /// The answer on each stream.
    pub streams: BTreeMap<u32, Stream>,
    /// The error code of the first `GOAWAY`.
    pub goaway: Option<u32>,
    /// Whether the host ended the connection.
    pub closed: bool,
}

/// The answer on one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    /// The status, where it is one that HPACK has in its static table; else 1.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
    /// Whether the answer is whole.
    pub ended: bool,
    /// The code of `RST_STREAM`.
    pub reset: Option<u32>,
}

#[expect(clippy::unwrap_used, reason = "a connection that cannot be made is a failed test")]
impl Http2 {
    /// Connects and sends the preface with these settings (identifier and value).
    pub fn connect(address: &str, settings: &[(u16, u32)]) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend_from_slice(&name.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        let unread = Vec::new();
        let mut http2 =
            Self { socket, unread, streams: BTreeMap::new(), goaway: None, closed: false };
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let (settings, window) = (frame(4, 0, 0, &payload), frame(8, 0, 0, &[0, 0x10, 0, 0]));
        assert!(http2.write(&[&preface[..], &settings, &window].concat()));
        http2
    }

    /// Sends bytes. Returns whether the host still takes them.
    pub fn write(&mut self, bytes: &[u8]) -> bool {
        self.socket.write_all(bytes).is_ok()
    }

    /// Ends this side of the connection; the other one stays.
    pub fn end(&mut self) {
        self.socket.shutdown(std::net::Shutdown::Write).unwrap();
    }

    /// Reads until this holds or the connection ends. Returns whether it holds. Answers `SETTINGS`
    /// and `PING` meanwhile.
    pub fn until(&mut self, patience: Duration, holds: impl Fn(&Self) -> bool) -> bool {
        let begin = Instant::now();
        let mut chunk = [0; 64 << 10];
        while !holds(self) {
            let left = patience.saturating_sub(begin.elapsed());
            if left.is_zero() || self.closed {
                return false;
            }
            self.socket.set_read_timeout(Some(left)).unwrap();
            match self.socket.read(&mut chunk) {
                Ok(0) => self.closed = true,
                Ok(count) => {
                    self.unread.extend_from_slice(chunk.get(..count).unwrap_or_default());
                    while self.take_frame() {}
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => self.closed = true,
            }
        }
        true
    }

    /// How many streams have this whole answer.
    pub fn answered(&self, status: u16) -> usize {
        self.streams.values().filter(|stream| stream.ended && stream.status == status).count()
    }

    fn take_frame(&mut self) -> bool {
        let [a, b, c, kind, flags, d, e, f, g, ..] = *self.unread else { return false };
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        let id = u32::from_be_bytes([d & 0x7f, e, f, g]);
        if self.unread.len() < HEAD + length {
            return false;
        }
        let frame: Vec<u8> = self.unread.drain(..HEAD + length).collect();
        let payload = frame.get(HEAD..).unwrap_or_default();
        let number = |at: usize| {
            payload.get(at..at + 4).map_or(0, |it| u32::from_be_bytes(it.try_into().unwrap()))
        };
        let stream = self.streams.entry(id);
        match kind {
            DATA => {
                let stream = stream.or_default();
                stream.body.extend_from_slice(payload);
                stream.ended |= flags & END_STREAM != 0;
            }
            HEADERS => {
                let stream = stream.or_default();
                stream.status = status(payload);
                stream.ended |= flags & END_STREAM != 0;
            }
            RST_STREAM => stream.or_default().reset = Some(number(0)),
            SETTINGS if flags & ACK == 0 => {
                drop(self.socket.write_all(&self::frame(SETTINGS, ACK, 0, &[])))
            }
            PING if flags & ACK == 0 => {
                drop(self.socket.write_all(&self::frame(PING, ACK, 0, payload)))
            }
            GOAWAY => self.goaway = self.goaway.or(Some(number(4))),
            _ => {}
        }
        true
    }
}

/// A frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
    let mut frame = length.get(1..).unwrap_or_default().to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A request's header block: every field as it is, without an index (RFC 7541 section 6.2.2).
pub fn block(method: &str, path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    let own =
        [(":method", method), (":scheme", "http"), (":path", path), (":authority", "a.example")];
    for (name, value) in own.iter().chain(fields) {
        block.push(0);
        for text in [name, value] {
            string(&mut block, text);
        }
    }
    block
}

/// A header block in as many frames as it takes.
pub fn request(stream: u32, block: &[u8], ends_stream: bool) -> Vec<u8> {
    let mut parts = block.chunks(16_384).peekable();
    let mut bytes = Vec::new();
    let mut kind = HEADERS;
    while let Some(part) = parts.next() {
        let end = if parts.peek().is_none() { END_HEADERS } else { 0 };
        let ends = if kind == HEADERS && ends_stream { END_STREAM } else { 0 };
        bytes.extend(frame(kind, end | ends, stream, part));
        kind = CONTINUATION;
    }
    bytes
}

fn string(block: &mut Vec<u8>, text: &str) {
    let mut left = text.len();
    if left < 127 {
        block.push(left as u8);
    } else {
        block.push(127);
        left -= 127;
        while left >= 128 {
            block.push((left % 128) as u8 | 128);
            left /= 128;
        }
        block.push(left as u8);
    }
    block.extend_from_slice(text.as_bytes());
}

/// The status of a header block, where it is in HPACK's static table.
fn status(block: &[u8]) -> u16 {
    // A change of the table's size may come first.
    let first = block.iter().find(|byte| **byte & 0xe0 != 0x20).copied().unwrap_or_default();
    match first {
        0x88 => 200,
        0x89 => 204,
        0x8c => 400,
        0x8d => 404,
        0x8e => 500,
        _ => 1,
    }
}

/// `DATA`.
pub const DATA: u8 = 0;
/// `HEADERS`.
pub const HEADERS: u8 = 1;
/// `RST_STREAM`.
pub const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
/// `PING`.
pub const PING: u8 = 6;
const GOAWAY: u8 = 7;
/// `CONTINUATION`.
pub const CONTINUATION: u8 = 9;
/// The last frame of a stream.
pub const END_STREAM: u8 = 1;
/// The last frame of a header block.
pub const END_HEADERS: u8 = 4;
const ACK: u8 = 1;
const HEAD: usize = 9;
