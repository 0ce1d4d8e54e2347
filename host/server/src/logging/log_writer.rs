//! The way of log lines to standard error: a queue, and a thread of its own that writes.
//!
//! Invariant: no thread of the host waits for a log line or fails because of one. A full disk, a pipe whose reader has
//! ended and one whose reader has stopped reading cost lines, which are counted, and nothing else. Formatting and
//! filtering are the subscriber's matter.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use crate::clock::{elapsed_since, monotonic_now};

/// Puts log lines into the queue. A clone feeds the same queue.
#[derive(Clone)]
pub struct LogWriter {
    queue: Sender<Vec<u8>>,
    waiting: Arc<AtomicUsize>,
}

impl LogWriter {
    /// Starts the thread that writes lines to `out`.
    ///
    /// # Errors
    /// The machine has no thread to spare.
    pub fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, lines) = channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let its_waiting = Arc::clone(&waiting);
        // This is not a `Worker`: the thread writes until the process ends, and its output may
        // hang.
        thread::Builder::new()
            .name("log-lines".to_owned())
            .spawn(move || write_lines(out, &lines, &its_waiting))?;
        Ok(Self { queue, waiting })
    }

    /// Puts one line into the queue, where it has room; counts it as lost where not.
    pub fn put(&self, line: Vec<u8>) {
        let bytes = line.len();
        if self.waiting.fetch_add(bytes, Ordering::AcqRel) > MAX_WAITING_BYTES
            || self.queue.send(line).is_err()
        {
            self.waiting.fetch_sub(bytes, Ordering::AcqRel);
            LOST.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until every line in the queue is written, at most for `limit`. For the end of the process.
    pub fn flush(&self, limit: Duration) {
        let begin = monotonic_now();
        while self.waiting.load(Ordering::Acquire) > 0 && elapsed_since(begin) < limit {
            thread::sleep(FLUSH_POLL);
        }
    }
}

/// How many log lines could not be written since the process began.
pub fn lost_lines() -> u64 {
    LOST.load(Ordering::Relaxed)
}

fn write_lines(mut out: impl Write, lines: &Receiver<Vec<u8>>, waiting: &AtomicUsize) {
    for line in lines {
        if out.write_all(&line).and_then(|()| out.flush()).is_err() {
            LOST.fetch_add(1, Ordering::Relaxed);
        }
        waiting.fetch_sub(line.len(), Ordering::AcqRel);
    }
}

/// The lines that were lost, of the whole process: standard error is one.
static LOST: AtomicU64 = AtomicU64::new(0);
/// The most bytes that wait for standard error; further lines are lost. 1 MiB: some thousand lines.
const MAX_WAITING_BYTES: usize = 1 << 20;
/// How often the end of the process looks whether all is written.
const FLUSH_POLL: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use std::sync::mpsc::SyncSender;
    use std::sync::mpsc::sync_channel;

    use super::*;

    /// Takes lines only as fast as somebody takes them from it.
    struct Slow(SyncSender<Vec<u8>>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_for_which_there_is_no_room_are_lost_and_nobody_waits() {
        let (sender, receiver) = sync_channel(0);
        let writer = LogWriter::start(Slow(sender)).unwrap();
        let line = vec![b'x'; 1 << 16];
        let before = lost_lines();
        for _ in 0..100 {
            writer.put(line.clone());
        }
        assert!(lost_lines() - before >= 80, "{}", lost_lines() - before);
        // What waits is written in order once there is somebody to take it.
        let taken = std::iter::from_fn(|| receiver.recv_timeout(Duration::from_secs(5)).ok());
        assert!(taken.take(15).all(|taken| taken == line));
        // A reader that has ended costs the lines alone.
        drop(receiver);
        writer.flush(Duration::from_secs(10));
        let before = lost_lines();
        writer.put(line);
        writer.flush(Duration::from_secs(10));
        assert!(lost_lines() > before);
    }
}
