//! The look-ups of a call and its operations on memory, for the author of a plugin.
//!
//! Invariant: it is told in the order in which the plugin asked, look-ups before memory. Recalls of
//! what the call itself remembered are left out, as in a record. It shows keys and values, so it is
//! for fixtures at an author's desk, and never for a host's log.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use portcullis_call_data::ReadLog;
use portcullis_model::escape::escape;
use portcullis_store::memory::{Answer, Read, Scope, Transaction, Write, WriteChange};
use serde_json::{Map, Value, json};

use crate::seconds::Seconds;

/// The look-ups and operations of one call. Without `Debug`: it names people.
#[derive(Default)]
pub struct DataTrace {
    look_ups: Vec<LookUp>,
    operations: Vec<Operation>,
    /// The table that denied, and the code.
    denied: Option<(String, &'static str)>,
    /// The code of the fault that a table's denial stands for.
    masked: Option<&'static str>,
    /// Whether values that were set and forgotten are dropped.
    is_dropped: bool,
}

struct LookUp {
    table: String,
    key: Option<String>,
    rows: usize,
    stale: bool,
}

struct Operation {
    name: &'static str,
    scope: Scope,
    key: String,
    /// The value; absent where there is none.
    value: Option<Vec<u8>>,
    /// Time to live, or the window.
    seconds: Option<u32>,
    member: Option<String>,
    count: Option<u32>,
}

impl DataTrace {
    pub(crate) fn new(
        reads: &ReadLog,
        memory: Option<&Transaction>,
        masked: Option<&'static str>,
        is_decided: bool,
    ) -> Self {
        let look_ups = reads.look_ups().iter().map(|it| LookUp {
            table: it.table.clone(),
            key: it.key.clone(),
            rows: it.rows.len(),
            stale: it.stale,
        });
        let (reads_of, writes) =
            memory.map_or((&[][..], &[][..]), |memory| (memory.reads(), memory.writes()));
        let is_dropped = !is_decided && writes.iter().any(|write| !write.change.is_tally());
        Self {
            look_ups: look_ups.collect(),
            operations: operations(reads_of, writes),
            denied: reads.denial().map(|denial| (denial.table.clone(), denial.code())),
            masked,
            is_dropped,
        }
    }

    /// Whether nothing was looked up or remembered.
    pub fn is_empty(&self) -> bool {
        self.look_ups.is_empty() && self.operations.is_empty()
    }

    /// For people, each line indented by this much.
    pub fn text(&self, indent: &str) -> String {
        let mut text = String::new();
        let mut line = |words: std::fmt::Arguments<'_>| {
            let _ = writeln!(text, "{indent}{}", escape(&words.to_string()));
        };
        for it in &self.look_ups {
            let key = it.key.as_deref().unwrap_or("(the subject)");
            let rows = match it.rows {
                0 => "no row".to_owned(),
                1 => "1 row".to_owned(),
                rows => format!("{rows} rows"),
            };
            let stale = if it.stale { ", stale" } else { "" };
            line(format_args!("lookup   {} {key}: {rows}{stale}", it.table));
        }
        if let Some((table, code)) = &self.denied {
            line(format_args!("denied   by the table {table}: {code}"));
        }
        if let Some(code) = self.masked {
            line(format_args!("fault    {code}, besides the table's denial"));
        }
        for operation in &self.operations {
            line(format_args!("{}", operation.text()));
        }
        if self.is_dropped {
            line(format_args!("dropped  what the call remembered and forgot; tallies are kept"));
        }
        text
    }

    /// For programs: `lookups` and `memory`.
    pub fn json(&self) -> Value {
        let look_up = |it: &LookUp| json!({"table": it.table, "key": it.key, "rows": it.rows, "stale": it.stale});
        let denied = self.denied.as_ref();
        let denied = denied.map(|(table, code)| json!({"table": table, "code": code}));
        json!({
            "lookups": self.look_ups.iter().map(look_up).collect::<Vec<_>>(),
            "denied": denied,
            "masked_fault": self.masked,
            "memory": self.operations.iter().map(Operation::json).collect::<Vec<_>>(),
            "dropped": self.is_dropped,
        })
    }
}

impl Operation {
    fn of_read(read: &Read, name: Option<&'static str>) -> Self {
        let mut operation = Self::new("recall", read.scope, &read.key);
        match &read.answer {
            Answer::Value(value) => {
                operation.value = value.as_ref().map(|(bytes, _)| bytes.clone())
            }
            Answer::Count { window, count } => {
                operation.name = name.unwrap_or("count");
                (operation.seconds, operation.count) = (Some(*window), Some(*count));
            }
            Answer::Distinct { window, count } => {
                operation.name = name.unwrap_or("count-distinct");
                (operation.seconds, operation.count) = (Some(*window), Some(*count));
            }
        }
        operation
    }

    /// Of a write that has no answer.
    fn of_write(write: &Write) -> Self {
        let mut operation = Self::new("forget", write.scope, &write.key);
        match &write.change {
            WriteChange::Forget => {}
            WriteChange::Remember { value, ttl } => {
                operation.name = "remember";
                (operation.value, operation.seconds) = (Some(value.clone()), Some(*ttl));
            }
            WriteChange::Tally { window } => {
                (operation.name, operation.seconds) = ("tally", Some(*window));
            }
            WriteChange::TallyDistinct { window, .. } => {
                (operation.name, operation.seconds) = ("tally-distinct", Some(*window));
            }
        }
        operation
    }

    fn new(name: &'static str, scope: Scope, key: &[u8]) -> Self {
        let key = String::from_utf8_lossy(key).into_owned();
        Self { name, scope, key, value: None, seconds: None, member: None, count: None }
    }

    fn text(&self) -> String {
        let mut text = format!("{:8} {} {}", self.name, scope_name(self.scope), self.key);
        if let Some(member) = &self.member {
            let _ = write!(text, " {member:?}");
        }
        match (self.name, &self.value) {
            ("forget", _) => {}
            ("recall", None) => text.push_str(" = nothing"),
            (_, Some(value)) => {
                let _ = write!(text, " = {}", bytes_text(value));
            }
            _ => {}
        }
        if let Some(seconds) = self.seconds {
            let word = if self.value.is_some() { "for" } else { "within" };
            let _ = write!(text, " {word} {}", Seconds(seconds));
        }
        if let Some(count) = self.count {
            let _ = write!(text, " = {count}");
        }
        text
    }

    fn json(&self) -> Value {
        let mut members = Map::new();
        members.insert("operation".to_owned(), self.name.into());
        members.insert("scope".to_owned(), scope_name(self.scope).into());
        members.insert("key".to_owned(), self.key.clone().into());
        if matches!(self.name, "recall" | "remember") {
            let text = self.value.as_deref().map(str::from_utf8);
            let (name, value) = match (text, &self.value) {
                (Some(Ok(text)), _) => ("value", Value::from(text)),
                (_, Some(bytes)) => ("base64", Value::from(BASE64.encode(bytes))),
                _ => ("value", Value::Null),
            };
            members.insert(name.to_owned(), value);
        }
        let seconds = if self.name == "remember" { "ttl" } else { "window" };
        for (name, number) in [(seconds, self.seconds), ("count", self.count)] {
            if let Some(number) = number {
                members.insert(name.to_owned(), number.into());
            }
        }
        if let Some(member) = &self.member {
            members.insert("member".to_owned(), member.clone().into());
        }
        Value::Object(members)
    }
}

/// Puts reads and writes into the order in which the plugin asked; a tally is one with its answer.
fn operations(reads: &[Read], writes: &[Write]) -> Vec<Operation> {
    let mut all = Vec::new();
    let mut writes = writes.iter().peekable();
    for (place, read) in reads.iter().enumerate() {
        let mut name = None;
        let mut member = None;
        while let Some(write) = writes.next_if(|write| write.reads_before <= place) {
            match &write.change {
                WriteChange::Tally { .. } => name = Some("tally"),
                WriteChange::TallyDistinct { member: added, .. } => {
                    name = Some("tally-distinct");
                    member = Some(String::from_utf8_lossy(added).into_owned());
                }
                _ => all.push(Operation::of_write(write)),
            }
        }
        all.push(Operation { member, ..Operation::of_read(read, name) });
    }
    all.extend(writes.map(Operation::of_write));
    all
}

/// A value on one line: as text, where it is one.
pub(crate) fn bytes_text(bytes: &[u8]) -> String {
    let text = str::from_utf8(bytes).ok().filter(|text| !text.contains(char::is_control));
    let Some(text) = text else { return format!("{} bytes", bytes.len()) };
    if text.chars().count() <= MAX_SHOWN {
        return format!("{text:?}");
    }
    let shown: String = text.chars().take(MAX_SHOWN).collect();
    format!("{shown:?}… ({} bytes)", bytes.len())
}

fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Subject => "subject",
        Scope::Shared => "shared",
    }
}

/// Characters of a value that a line shows.
const MAX_SHOWN: usize = 120;
