//! The host's log on standard error: filter, format and escapes.
//!
//! Invariant: one event is one line. Untrusted text in it neither ends the line nor steers the
//! terminal that shows it: every such character is written as `\uXXXX`, which in JSON lines is the
//! same JSON.

use std::io::{self, Write};

use clap::ValueEnum;
use portcullis_model::escape::escape;
use tracing_subscriber::EnvFilter;

/// How log lines are written.
#[derive(Clone, Copy, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

impl LogFormat {
    /// Sends the log of this process to standard error, filtered by `PORTCULLIS_LOG`.
    pub fn start(self) {
        let wanted = std::env::var("PORTCULLIS_LOG").unwrap_or_default();
        let (filter, wrong) = match EnvFilter::try_new(format!("{PEERS},{wanted}")) {
            Ok(filter) if !wanted.is_empty() => (filter, None),
            Ok(_) => (EnvFilter::new(format!("info,{PEERS}")), None),
            Err(error) => (EnvFilter::new(format!("info,{PEERS}")), Some(error)),
        };
        let logs = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(false)
            .with_writer(|| Escaped(io::stderr()));
        match self {
            Self::Text => logs.init(),
            Self::Json => logs.json().init(),
        }
        if let Some(error) = wrong {
            tracing::warn!(
                event = "log.filter-invalid",
                %error,
                "PORTCULLIS_LOG cannot be read as a filter; the default is used"
            );
        }
    }
}

/// Writes events escaped. Each write is one whole event with the line feed that ends it.
struct Escaped<W>(W);

impl<W: Write> Write for Escaped<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        self.0.write_all(format!("{}\n", escape(line)).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Libraries that warn about what peers send: only their errors are logged unless `PORTCULLIS_LOG`
/// names the library itself, so that no unauthenticated client can fill the log.
const PEERS: &str = "h2=error,hyper=error,rustls=error,tokio_rustls=error";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_stands_in_it() {
        let mut out = Escaped(Vec::new());
        out.write_all("WARN \u{1b}[2Jfile=a\nERROR forged \u{202e}\u{9b}\n".as_bytes()).unwrap();
        let line = String::from_utf8(out.0).unwrap();
        assert_eq!(line, "WARN \\u001b[2Jfile=a\\u000aERROR forged \\u202e\\u009b\n");
    }
}
