//! The load: so many connections, each with one request at a time, for so long; every request a new event.
//!
//! Speaks just enough HTTP/1.1 by hand, blocking and on plain sockets, so that the generator costs little beside what it measures.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Done;

/// Runs the load and prints requests a second, latencies and failures.
pub fn run(address: &str, path: &str, secret_file: &str, body_file: &str, connections: &str, milliseconds: &str) -> Done {
    let body = std::fs::read_to_string(body_file)?;
    let secret = portcullis_keys::read_secret_file(Path::new(secret_file))?;
    let (before, after) = body.split_once(EVENT).ok_or("the body has no {event}")?;
    let length = before.len() + EVENT_DIGITS + after.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: {}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n",
        secret.trim_end()
    );
    let prefix = Arc::new(format!("{head}{before}"));
    let after = Arc::new(after.to_owned());
    let until = Instant::now() + Duration::from_millis(milliseconds.parse()?);
    let events = Arc::new(AtomicU64::new(u64::from(std::process::id()) << 32));
    let begin = Instant::now();
    let mut threads = Vec::new();
    for _ in 0..connections.parse()? {
        let (address, prefix, after, events) = (address.to_owned(), Arc::clone(&prefix), Arc::clone(&after), Arc::clone(&events));
        threads.push(thread::spawn(move || one(&address, &prefix, &after, &events, until)));
    }
    let mut times = Vec::new();
    let mut failures = 0;
    for thread in threads {
        match thread.join() {
            Ok(Ok(of_one)) => times.extend(of_one),
            _ => failures += 1,
        }
    }
    let took = begin.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |share: usize| times.get(times.len() * share / 1_000).copied().unwrap_or_default();
    let rate = f64::from(u32::try_from(times.len())?) / took;
    println!(
        r#"{{"requests":{},"per_second":{rate:.0},"p50_us":{},"p99_us":{},"failed_connections":{failures}}}"#,
        times.len(),
        at(500),
        at(990)
    );
    if failures > 0 { Err("connections failed".into()) } else { Ok(()) }
}

/// One connection's times in microseconds.
fn one(address: &str, prefix: &str, after: &str, events: &AtomicU64, until: Instant) -> Result<Vec<u64>, std::io::Error> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut request = Vec::with_capacity(prefix.len() + EVENT_DIGITS + after.len());
    let mut answer = vec![0; 16 << 10];
    let mut times = Vec::new();
    while Instant::now() < until {
        let event = events.fetch_add(1, Ordering::Relaxed);
        request.clear();
        request.extend_from_slice(prefix.as_bytes());
        write!(request, "{event:0width$}", width = EVENT_DIGITS)?;
        request.extend_from_slice(after.as_bytes());
        let begin = Instant::now();
        socket.write_all(&request)?;
        read_answer(&mut socket, &mut answer)?;
        times.push(u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    Ok(times)
}

/// Reads one answer whole; anything but `200` is an error.
fn read_answer(socket: &mut TcpStream, buffer: &mut [u8]) -> Result<(), std::io::Error> {
    let mut filled = 0;
    loop {
        let room = buffer.get_mut(filled..).unwrap_or_default();
        let read = socket.read(room)?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        filled += read;
        let text = buffer.get(..filled).unwrap_or_default();
        let Some(end) = text.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(text.get(..end).unwrap_or_default()).to_ascii_lowercase();
        if !head.starts_with("http/1.1 200") {
            return Err(std::io::Error::other(head));
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).and_then(|length| length.parse::<usize>().ok());
        if filled >= end + 4 + length.unwrap_or_default() {
            return Ok(());
        }
    }
}

/// Where the body wants the event id.
const EVENT: &str = "{event}";
/// Digits of an event id.
const EVENT_DIGITS: usize = 20;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
