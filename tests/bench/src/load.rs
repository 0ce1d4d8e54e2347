//! The load: so many connections, each with one request at a time, for so long; every request a new event.
//!
//! Speaks just enough HTTP/1.1 by hand, on one thread, so that the generator costs little beside what it measures and the same for
//! every server.

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::timeout_at;

use crate::Done;

/// Runs the load and prints requests a second and latencies. Any answer but a `200` without `error` is an error.
pub fn run(
    address: &str,
    path: &str,
    secret_file: &str,
    body_file: &str,
    connections: &str,
    milliseconds: &str,
) -> Done {
    let request =
        Rc::new(Request::new(address, path, Path::new(secret_file), Path::new(body_file))?);
    let connections: u64 = connections.parse()?;
    let lasts = Duration::from_millis(milliseconds.parse()?);
    // Another start of the generator has other events, and so has each connection.
    let first = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut times = Vec::with_capacity(1 << 20);
    let begun = Instant::now();
    LocalSet::new().block_on(&runtime, async {
        let mut all = JoinSet::new();
        for connection in 0..connections {
            let (address, request, first) =
                (address.to_owned(), Rc::clone(&request), first + (connection << 32));
            all.spawn_local(async move {
                let done = timeout_at(
                    (begun + lasts + PATIENCE).into(),
                    one(&address, &request, first, begun + lasts),
                );
                done.await
                    .map_err(|_| ErrorKind::TimedOut.to_string())?
                    .map_err(|error| error.to_string())
            });
        }
        while let Some(ended) = all.join_next().await {
            times.extend(ended??);
        }
        Done::Ok(())
    })?;
    let took = begun.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |share: usize| {
        times.get(times.len() * share / 1_000).copied().unwrap_or_default().as_micros()
    };
    let rate = f64::from(u32::try_from(times.len())?) / took;
    println!("requests {} per_second {rate:.0} p50_us {} p99_us {}", times.len(), at(500), at(990));
    Ok(())
}

/// One connection's times.
async fn one(address: &str, request: &Request, first: u64, until: Instant) -> Done<Vec<Duration>> {
    let mut socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let (mut bytes, mut answer, mut times) = (Vec::new(), vec![0; 16 << 10], Vec::new());
    for event in first.. {
        let sent = Instant::now();
        if sent >= until {
            break;
        }
        request.spell(event, &mut bytes)?;
        socket.write_all(&bytes).await?;
        let mut filled = 0;
        while !whole(answer.get(..filled).unwrap_or_default())? {
            match socket.read(answer.get_mut(filled..).unwrap_or_default()).await? {
                0 => return Err(ErrorKind::UnexpectedEof.to_string().into()),
                read => filled += read,
            }
        }
        times.push(sent.elapsed());
    }
    Ok(times)
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

    fn spell(&self, event: u64, into: &mut Vec<u8>) -> Done {
        into.clear();
        into.extend_from_slice(&self.before);
        write!(into, "{event:0width$}", width = EVENT_DIGITS)?;
        into.extend_from_slice(&self.after);
        Ok(())
    }
}

/// Whether an answer is there whole.
fn whole(text: &[u8]) -> Done<bool> {
    let Some(end) = text.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(false) };
    let head = str::from_utf8(text.get(..end).unwrap_or_default())?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(head.into());
    }
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .ok_or("an answer without length")?;
    let body = text.get(end + 4..).unwrap_or_default();
    if body.starts_with(b"{\"error\"") {
        return Err(String::from_utf8_lossy(body).into_owned().into());
    }
    Ok(body.len() >= length.parse()?)
}

/// Where the body wants the event id.
const EVENT: &str = "{event}";
/// Digits of an event id.
const EVENT_DIGITS: usize = 20;
/// How long the last answers may take.
const PATIENCE: Duration = Duration::from_secs(5);
