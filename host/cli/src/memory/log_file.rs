//! An exported log, event by event, with the reason of each that is not sent.
//!
//! Invariants:
//! - The file is read once, bounded, and is never written.
//! - The order is that of the events' own times, whatever the order in the file: plugins learn old
//!   events in this order.
//! - Only sign-ins are sent: events of other kinds have already had their effect, and a plugin on
//!   the same hook might act on them a second time.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use jiff::Timestamp;
use portcullis_files::read_text_bounded;
use portcullis_model::{Digest, sha256};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::csv_rows;
use crate::exit::{CliError, CliResult};

/// The platform whose log it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// Okta's System Log.
    Okta,
    /// Entra's sign-in log.
    Entra,
}

/// Why an event is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SkipReason {
    /// It is no JSON object.
    NotJson,
    /// It has no id.
    NoId,
    /// It has no time.
    NoTime,
    /// The file has its id twice.
    Repeated,
    /// It is no sign-in.
    NotSignIn,
    /// It is larger than the hook takes.
    TooLarge,
    /// It is older than what plugins learn from.
    TooOld,
}

/// Events that are not sent, by reason.
#[derive(Debug, Default)]
pub struct Skipped(BTreeMap<SkipReason, (usize, Vec<u64>)>);

/// An event that can be sent.
#[derive(Debug)]
pub struct Event<'t> {
    /// Its line in the file, from 1.
    pub line: u64,
    /// When it was.
    pub time: Timestamp,
    /// Its JSON.
    pub json: Cow<'t, str>,
}

/// The text of a log.
pub struct LogText {
    text: String,
    /// SHA-256 of the file.
    pub digest: Digest,
}

/// The events of a log.
pub struct LogEvents<'t> {
    /// Those that can be sent, in the order of their times.
    pub events: Vec<Event<'t>>,
    /// Those that cannot.
    pub skipped: Skipped,
    /// All events of the file.
    pub read: usize,
}

impl SkipReason {
    /// Its code.
    pub fn code(self) -> &'static str {
        match self {
            Self::NotJson => "not-json",
            Self::NoId => "no-id",
            Self::NoTime => "no-time",
            Self::Repeated => "repeated",
            Self::NotSignIn => "not-a-sign-in",
            Self::TooLarge => "too-large",
            Self::TooOld => "too-old",
        }
    }

    /// Describes it.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::NotJson => "it is no JSON object",
            Self::NoId => "it has no id",
            Self::NoTime => "it has no time",
            Self::Repeated => "the file has it twice",
            Self::NotSignIn => "it is no sign-in",
            Self::TooLarge => "it is larger than the hook accepts (`body_bytes`)",
            Self::TooOld => "it is older than 90 days",
        }
    }
}

impl Skipped {
    /// Adds an event.
    pub fn add(&mut self, reason: SkipReason, line: u64) {
        let (count, lines) = self.0.entry(reason).or_default();
        *count += 1;
        if lines.len() < MAX_LINES {
            lines.push(line);
        }
    }

    /// Each reason, with the number of its events and the first lines.
    pub fn all(&self) -> impl Iterator<Item = (SkipReason, usize, &[u64])> {
        self.0.iter().map(|(reason, (count, lines))| (*reason, *count, lines.as_slice()))
    }
}

impl LogText {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, is no text, or is too large: exit 64.
    pub fn read(path: &Path) -> CliResult<Self> {
        let text = read_text_bounded(path, MAX_LOG_BYTES).map_err(|error| {
            let message = format!("cannot read `{}`: {error}", path.display());
            CliError::configuration(message)
                .hint(Some("export the log in several files, and import the oldest one first"))
        })?;
        let digest = sha256(text.as_bytes());
        Ok(Self { text, digest })
    }

    /// Returns its events. Those larger than `max_bytes` are skipped.
    ///
    /// # Errors
    /// The file is in none of the forms of such a log: what is wrong, with the line.
    pub fn events(&self, platform: Platform, max_bytes: usize) -> Result<LogEvents<'_>, String> {
        let rows = self.rows(platform)?;
        let mut log =
            LogEvents { events: Vec::new(), skipped: Skipped::default(), read: rows.len() };
        let mut seen = HashSet::new();
        for (line, json) in rows {
            match check(platform, &json, max_bytes) {
                Ok((id, _)) if !seen.insert(id.clone()) => {
                    log.skipped.add(SkipReason::Repeated, line);
                }
                Ok((_, time)) => log.events.push(Event { line, time, json }),
                Err(reason) => log.skipped.add(reason, line),
            }
        }
        log.events.sort_by_key(|event| event.time);
        Ok(log)
    }

    fn rows(&self, platform: Platform) -> Result<Vec<(u64, Cow<'_, str>)>, String> {
        let text = self.text.strip_prefix('\u{feff}').unwrap_or(&self.text);
        match text.trim_start().as_bytes().first() {
            Some(b'[') => {
                let all: Vec<&RawValue> =
                    serde_json::from_str(text).map_err(|error| error.to_string())?;
                Ok(with_lines(text, all))
            }
            Some(b'{') => {
                let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
                let is_by_line = serde_json::from_str::<&RawValue>(first).is_ok();
                if is_by_line { Ok(by_line(text)) } else { pages(text) }
            }
            Some(_) if platform == Platform::Okta => {
                let rows = csv_rows::read(text)?;
                Ok(rows.into_iter().map(|(line, row)| (line, Cow::Owned(row))).collect())
            }
            Some(_) => Err("it is no JSON".to_owned()),
            None => Ok(Vec::new()),
        }
    }
}

/// One event a line, or one page of events.
fn by_line(text: &str) -> Vec<(u64, Cow<'_, str>)> {
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let events = lines.flat_map(|(number, line)| match page(line) {
        Some(page) => page.into_iter().map(|row| (number, Cow::Borrowed(row.get()))).collect(),
        None => vec![(number, Cow::Borrowed(line))],
    });
    events.collect()
}

/// Objects one after the other, each over several lines: pages of Graph, or events.
fn pages(text: &str) -> Result<Vec<(u64, Cow<'_, str>)>, String> {
    let mut all = Vec::new();
    for value in serde_json::Deserializer::from_str(text).into_iter::<&RawValue>() {
        let value = value.map_err(|error| error.to_string())?;
        match page(value.get()) {
            Some(rows) => all.extend(rows),
            None => all.push(value),
        }
    }
    Ok(with_lines(text, all))
}

/// The rows of a page as Graph returns it.
fn page(json: &str) -> Option<Vec<&RawValue>> {
    #[derive(Deserialize)]
    struct Page<'t> {
        #[serde(borrow)]
        value: Vec<&'t RawValue>,
    }
    serde_json::from_str::<Page<'_>>(json).ok().map(|page| page.value)
}

/// The values with their lines: each is a part of the text, and they are in order.
fn with_lines<'t>(text: &'t str, values: Vec<&'t RawValue>) -> Vec<(u64, Cow<'t, str>)> {
    let (mut line, mut at) = (1, 0);
    let numbered = values.into_iter().map(|value| {
        let begin = (value.get().as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
        let between = text.as_bytes().get(at..begin).unwrap_or_default();
        line += between.iter().filter(|byte| **byte == b'\n').count() as u64;
        at = at.max(begin);
        (line, Cow::Borrowed(value.get()))
    });
    numbered.collect()
}

/// The id and the time of an event that can be sent.
fn check(
    platform: Platform,
    json: &str,
    max_bytes: usize,
) -> Result<(String, Timestamp), SkipReason> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Members {
        uuid: Option<Value>,
        id: Option<Value>,
        published: Option<Value>,
        created_date_time: Option<Value>,
        event_type: Option<Value>,
    }
    let members: Members = serde_json::from_str(json).map_err(|_| SkipReason::NotJson)?;
    let (id, time) = match platform {
        Platform::Okta => (members.uuid, members.published),
        Platform::Entra => (members.id, members.created_date_time),
    };
    let text = |value: Option<Value>| match value {
        Some(Value::String(text)) if !text.is_empty() => Some(text),
        _ => None,
    };
    if platform == Platform::Okta {
        let kind = text(members.event_type).unwrap_or_default();
        if !SIGN_INS.iter().any(|known| kind.starts_with(known)) {
            return Err(SkipReason::NotSignIn);
        }
    }
    let id = text(id).ok_or(SkipReason::NoId)?;
    let time = text(time).and_then(|time| time.parse().ok()).ok_or(SkipReason::NoTime)?;
    if json.len() > max_bytes { Err(SkipReason::TooLarge) } else { Ok((id, time)) }
}

/// The beginnings of the types of Okta's events that are about sign-ins.
const SIGN_INS: [&str; 5] = [
    "user.session.start",
    "user.authentication.",
    "user.mfa.",
    "user.account.lock",
    "security.threat.",
];

/// The lines that are named for a reason.
const MAX_LINES: usize = 10;

/// The largest log, in bytes; a log and what is made of it are in memory at once.
const MAX_LOG_BYTES: u64 = 512 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn log(text: &str) -> LogText {
        LogText { text: text.to_owned(), digest: sha256(text.as_bytes()) }
    }

    fn shown(platform: Platform, text: &str) -> (Vec<u64>, Vec<(&'static str, Vec<u64>)>) {
        let log = log(text);
        let events = log.events(platform, 300).unwrap();
        let skipped = events.skipped.all();
        let skipped = skipped.map(|(reason, _, lines)| (reason.code(), lines.to_vec())).collect();
        (events.events.iter().map(|event| event.line).collect(), skipped)
    }

    fn okta(id: &str, kind: &str, day: u8) -> String {
        format!(
            r#"{{"uuid":"{id}","published":"2026-11-{day:02}T07:00:00Z","eventType":"{kind}"}}"#
        )
    }

    #[test]
    fn every_event_is_sent_in_order_or_named_with_its_line() {
        let start = "user.session.start";
        let lines = [
            okta("b", start, 2),
            okta("a", start, 1),
            "no json".to_owned(),
            okta("a", start, 1),
            okta("", start, 1),
            okta("c", "inline_hook.executed", 1),
            okta("d", start, 1).replace("published", "when"),
            okta(&"x".repeat(300), start, 1),
        ];
        let skipped = vec![
            ("not-json", vec![3]),
            ("no-id", vec![5]),
            ("no-time", vec![7]),
            ("repeated", vec![4]),
            ("not-a-sign-in", vec![6]),
            ("too-large", vec![8]),
        ];
        assert_eq!(shown(Platform::Okta, &lines.join("\n")), (vec![2, 1], skipped));
    }

    #[test]
    fn arrays_and_pages_are_read_with_their_lines() {
        let row = |id: &str| format!(r#"{{"id":"{id}","createdDateTime":"2026-11-20T07:00:00Z"}}"#);
        let (a, b) = (row("a"), row("b"));
        for text in [
            format!("[{a},\n{b}]"),
            format!("{{\"value\":[{a},\n{b}]}}"),
            format!("{a}\n{b}\n"),
            format!("{{\n\"value\":[{a}]}}\n{{\"value\":[{b}]}}").replace("{\n\"", "{\""),
        ] {
            assert_eq!(shown(Platform::Entra, &text), (vec![1, 2], Vec::new()), "{text}");
        }
        assert!(log("a,b\n").events(Platform::Entra, 300).is_err());
        assert_eq!(shown(Platform::Entra, ""), (Vec::new(), Vec::new()));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[\\[\\]{}\",:a-z0-9\n ]{0,60}") {
            for platform in [Platform::Okta, Platform::Entra] {
                drop(log(&text).events(platform, 300));
            }
        }
    }
}
