//! The load: so many connections, each with one request at a time, for so long; every request a new event.
//!
//! Speaks just enough HTTP/1.1 by hand, on one thread that never sleeps: it looks at its sockets in turn. So the generator costs the
//! same for every server, wakes nobody, and sees an answer when it is there. It takes a core of its own, for the given time.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::Done;

/// Runs the load and prints requests a second and latencies. Any answer but `200` is an error.
pub fn run(
    address: &str,
    path: &str,
    secret_file: &str,
    body_file: &str,
    connections: &str,
    milliseconds: &str,
) -> Done {
    let request = Request::new(address, path, Path::new(secret_file), Path::new(body_file))?;
    let count: usize = connections.parse()?;
    let mut connections = (0..count).map(|_| Connection::open(address)).collect::<Result<Vec<_>, _>>()?;
    // Another start of the generator has other events.
    let mut event = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?;
    let mut times = Vec::with_capacity(1 << 20);
    let begun = Instant::now();
    let until = begun + Duration::from_millis(milliseconds.parse()?);
    let mut waiting = count;
    while waiting > 0 {
        waiting = 0;
        for connection in &mut connections {
            match connection.sent {
                Some(sent) => {
                    if connection.answered()? {
                        times.push(sent.elapsed());
                        connection.sent = None;
                    } else if sent.elapsed() > PATIENCE {
                        return Err("an answer took too long".into());
                    }
                    waiting += 1;
                }
                None if Instant::now() < until => {
                    event += 1;
                    connection.send(&request, event)?;
                    waiting += 1;
                }
                None => {}
            }
        }
    }
    let took = begun.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |share: usize| times.get(times.len() * share / 1_000).copied().unwrap_or_default().as_micros();
    let rate = f64::from(u32::try_from(times.len())?) / took;
    println!("requests {} per_second {rate:.0} p50_us {} p99_us {}", times.len(), at(500), at(990));
    Ok(())
}

/// A request, but for its event id.
struct Request {
    before: Vec<u8>,
    after: Vec<u8>,
}

impl Request {
    fn new(address: &str, path: &str, secret_file: &Path, body_file: &Path) -> Done<Self> {
        let body = std::fs::read_to_string(body_file)?;
        let secret = portcullis_keys::read_secret_file(secret_file)?;
        let (before, after) = body.trim_end().split_once(EVENT).ok_or("the body has no {event}")?;
        let length = before.len() + EVENT_DIGITS + after.len();
        let before = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: {}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{before}",
            secret.trim_end()
        );
        Ok(Self { before: before.into_bytes(), after: after.as_bytes().to_vec() })
    }
}

/// One connection, with at most one request under way.
struct Connection {
    socket: TcpStream,
    sent: Option<Instant>,
    request: Vec<u8>,
    answer: Vec<u8>,
    filled: usize,
}

impl Connection {
    fn open(address: &str) -> std::io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, sent: None, request: Vec::new(), answer: vec![0; 16 << 10], filled: 0 })
    }

    fn send(&mut self, request: &Request, event: u64) -> std::io::Result<()> {
        self.request.clear();
        self.request.extend_from_slice(&request.before);
        write!(self.request, "{event:0width$}", width = EVENT_DIGITS)?;
        self.request.extend_from_slice(&request.after);
        self.filled = 0;
        self.sent = Some(Instant::now());
        // A whole request fits the socket's buffer, since the last one was answered.
        self.socket.write_all(&self.request)
    }

    /// Takes what has come; whether the answer is there whole.
    fn answered(&mut self) -> Done<bool> {
        match self.socket.read(self.answer.get_mut(self.filled..).unwrap_or_default()) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.to_string().into()),
            Ok(read) => self.filled += read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let text = self.answer.get(..self.filled).unwrap_or_default();
        let Some(end) = text.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(false) };
        let head = str::from_utf8(text.get(..end).unwrap_or_default())?;
        if !head.starts_with("HTTP/1.1 200") {
            return Err(head.into());
        }
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")).ok_or("an answer without length")?;
        let body = text.get(end + 4..).unwrap_or_default();
        if body.starts_with(b"{\"error\"") {
            return Err(String::from_utf8_lossy(body).into_owned().into());
        }
        Ok(body.len() >= length.parse()?)
    }
}

/// Where the body wants the event id.
const EVENT: &str = "{event}";
/// Digits of an event id.
const EVENT_DIGITS: usize = 20;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
