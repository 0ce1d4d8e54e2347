//! The log of a host: its lines by the names of their events and by their fields.
//!
//! Invariant: no test waits for the wording of a line. Wording may change with every version; an
//! `event` and its fields are what an operator's rules hold on to.

use std::fmt;
use std::ops::Deref;

use serde_json::Value;

/// The lines that a host has logged, as JSON. It is text as well, in which a test searches for what
/// must not be there.
#[derive(Clone, Debug, Default)]
pub struct Log(String);

/// One line of a log.
#[derive(Clone, Debug)]
pub struct LogLine {
    /// The level: `INFO`, `WARN`, …
    pub level: String,
    /// The fields, `event` among them.
    pub fields: Value,
}

/// Describes the lines that a test waits for or counts: an event, and what its fields hold.
#[derive(Clone, Debug)]
pub struct LogEvent {
    event: String,
    fields: Vec<(String, Wanted)>,
}

#[derive(Clone, Debug)]
enum Wanted {
    /// The field has this value.
    Value(Value),
    /// The field is text with this in it.
    Part(String),
}

/// Describes the lines with this event.
pub fn log_event(event: &str) -> LogEvent {
    LogEvent { event: event.to_owned(), fields: Vec::new() }
}

/// Describes the line that says that the release of this generation is active.
pub fn release_active(generation: u64) -> LogEvent {
    log_event("release.active").field("generation", generation)
}

/// Describes the line that says that a release was refused for this reason.
pub fn release_refused(code: &str) -> LogEvent {
    log_event("release.refused").field("code", code)
}

impl LogEvent {
    /// Only lines whose field has this value.
    #[must_use]
    pub fn field(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.push((name.to_owned(), Wanted::Value(value.into())));
        self
    }

    /// Only lines whose field has this in its text: a name, a path or a number, never wording.
    #[must_use]
    pub fn naming(mut self, name: &str, part: &str) -> Self {
        self.fields.push((name.to_owned(), Wanted::Part(part.to_owned())));
        self
    }

    fn describes(&self, line: &LogLine) -> bool {
        line.event() == self.event
            && self.fields.iter().all(|(name, wanted)| match wanted {
                Wanted::Value(value) => line.fields[name] == *value,
                Wanted::Part(part) => line.text(name).contains(part),
            })
    }
}

impl From<&str> for LogEvent {
    fn from(event: &str) -> Self {
        log_event(event)
    }
}

impl From<&LogEvent> for LogEvent {
    fn from(event: &LogEvent) -> Self {
        event.clone()
    }
}

impl fmt::Display for LogEvent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "`{}`", self.event)?;
        for (name, wanted) in &self.fields {
            match wanted {
                Wanted::Value(value) => write!(out, " with {name}={value}")?,
                Wanted::Part(part) => write!(out, " with `{part}` in {name}")?,
            }
        }
        Ok(())
    }
}

impl LogLine {
    /// The event; empty where the line has none.
    pub fn event(&self) -> &str {
        self.text("event")
    }

    /// A field that is text; empty where the line has no such field.
    pub fn text(&self, name: &str) -> &str {
        self.fields[name].as_str().unwrap_or_default()
    }

    /// A field that is a number; 0 where it is none.
    pub fn number(&self, name: &str) -> u64 {
        self.fields[name].as_u64().unwrap_or_default()
    }

    /// Reads a line of either format; of a line of text only the event.
    fn read(line: &str) -> Self {
        if let Ok(line) = serde_json::from_str::<Value>(line) {
            let level = line["level"].as_str().unwrap_or_default().to_owned();
            return Self { level, fields: line["fields"].clone() };
        }
        let event = line.split_once(" event=\"").and_then(|(_, rest)| rest.split('"').next());
        let level = line.split_whitespace().nth(1).unwrap_or_default().to_owned();
        Self { level, fields: serde_json::json!({"event": event}) }
    }
}

impl Log {
    /// The lines that a host has written.
    pub(crate) fn of(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The lines with this event.
    pub fn all(&self, event: impl Into<LogEvent>) -> Vec<LogLine> {
        let event = event.into();
        self.described(&event).collect()
    }

    /// The first line with this event.
    pub fn first(&self, event: impl Into<LogEvent>) -> Option<LogLine> {
        let event = event.into();
        self.described(&event).next()
    }

    /// A log is long and is searched often: only lines that hold the name are read.
    fn described(&self, event: &LogEvent) -> impl Iterator<Item = LogLine> {
        let lines = self.0.lines().filter(|line| line.contains(&event.event));
        lines.map(LogLine::read).filter(|line| event.describes(line))
    }

    /// Whether a line has this event.
    pub fn has(&self, event: impl Into<LogEvent>) -> bool {
        self.first(event).is_some()
    }

    /// How many lines have this event.
    pub fn count(&self, event: impl Into<LogEvent>) -> usize {
        self.all(event).len()
    }

    /// The lines after the first bytes, so many of them.
    #[must_use]
    pub fn after(&self, bytes: usize) -> Self {
        Self(self.0.get(bytes..).unwrap_or_default().to_owned())
    }
}

impl Deref for Log {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Log {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}
