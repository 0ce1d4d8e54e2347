//! The host's log on standard error: filter, format and escapes.
//!
//! Invariant: one event is one line. Untrusted text in it neither ends the line nor steers the
//! terminal that shows it: every such character is written as `\uXXXX`, which in JSON lines is the
//! same JSON. Standard error that cannot be written costs lines and nothing else.

use std::io::{self, Write};
use std::time::Duration;

use clap::ValueEnum;
use portcullis_model::escape::escape;
use portcullis_server::LogWriter;
use tracing_subscriber::EnvFilter;

/// How log lines are written.
#[derive(Clone, Copy, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

impl LogFormat {
    /// Sends the log of this process to standard error, filtered by `PORTCULLIS_LOG`, until the returned value is
    /// dropped at the end of the process.
    ///
    /// # Errors
    /// The machine has no thread to spare.
    pub fn start(self) -> io::Result<LogLines> {
        let lines = LogLines(LogWriter::start(io::stderr())?);
        let writer = lines.0.clone();
        let wanted = std::env::var("PORTCULLIS_LOG").unwrap_or_default();
        let (filter, wrong) = match EnvFilter::try_new(format!("{PEERS},{wanted}")) {
            Ok(filter) if !wanted.is_empty() => (filter, None),
            Ok(_) => (EnvFilter::new(format!("info,{PEERS}")), None),
            Err(error) => (EnvFilter::new(format!("info,{PEERS}")), Some(error)),
        };
        let logs = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(false)
            // Such an error would be reported on standard error, with a panic where that cannot be written either.
            .log_internal_errors(false)
            .with_writer(move || Escaped(writer.clone()));
        match self {
            Self::Text => logs.init(),
            Self::Json => logs.json().init(),
        }
        if let Some(error) = wrong {
            tracing::warn!(
                event = "log.filter-invalid",
                %error,
                "the host uses the default log filter, because PORTCULLIS_LOG is not a valid filter"
            );
        }
        Ok(lines)
    }
}

/// The log of this process; what waits is written when it is dropped.
#[derive(Clone)]
pub struct LogLines(LogWriter);

impl LogLines {
    /// Writes what waits, for a process that ends without dropping anything.
    pub fn flush(&self) {
        self.0.flush(FLUSH_LIMIT);
    }
}

impl Drop for LogLines {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Writes events escaped. Each write is one whole event with the line feed that ends it.
struct Escaped(LogWriter);

impl Write for Escaped {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.0.put(escaped_line(event));
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn escaped_line(event: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(event);
    let line = text.strip_suffix('\n').unwrap_or(&text);
    format!("{}\n", escape(line)).into_bytes()
}

/// How long the end of the process waits for standard error.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// Libraries that warn about what peers send: only their errors are logged unless `PORTCULLIS_LOG`
/// names the library itself, so that no unauthenticated client can fill the log.
const PEERS: &str = "h2=error,hyper=error,rustls=error,tokio_rustls=error";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_stands_in_it() {
        let line = escaped_line("WARN \u{1b}[2Jfile=a\nERROR forged \u{202e}\u{9b}\n".as_bytes());
        assert_eq!(
            String::from_utf8(line).unwrap(),
            "WARN \\u001b[2Jfile=a\\u000aERROR forged \\u202e\\u009b\n"
        );
    }
}
