//! The log of what a run has read: look-ups in tables and questions to memory, for the record.
//!
//! Invariant: the log has every answer that the plugin got, within bounds; what is left out is
//! counted. Decides nothing; it names the table whose rule denies the call.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use portcullis_model::json::{ObjectWriter, build_text};
use portcullis_model::{Attribute, Effect, Finding, Severity};
use portcullis_store::memory::{self, Answer, Scope};
use portcullis_store::tables::WithoutRows;

/// The look-ups and recollections of one run.
#[derive(Default)]
pub struct ReadLog {
    /// The versions that it saw, by table.
    pub(crate) versions: Vec<(String, String)>,
    /// Each look-up and its answer.
    pub(crate) reads: Vec<LookUp>,
    /// Each question to memory and its answer.
    memory: Vec<memory::Read>,
    pub(crate) bytes: usize,
    /// The first table whose rule denies the call.
    pub(crate) denied: Option<Denial>,
    /// Look-ups that are not kept.
    omitted: usize,
}

/// A table whose rule denies the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The table.
    pub table: String,
    /// Why.
    pub why: DenialReason,
}

/// Why a table denies a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenialReason {
    /// There are no rows, and its rule for that is to deny.
    WithoutRows(WithoutRows),
    /// Its rows are more than one call reads. That is the table's fault and not the plugin's.
    TooLarge,
}

/// A look-up and its answer. Without `Debug`: rows name people.
pub struct LookUp {
    /// The table.
    pub table: String,
    /// The key; absent where the rows of the subject were asked for.
    pub key: Option<String>,
    /// Whether the rows are of a version that is older than it may be.
    pub stale: bool,
    /// The columns that the plugin reads, with JSON values.
    pub rows: Vec<Vec<Attribute>>,
}

impl ReadLog {
    /// The first table whose rule denies the call.
    pub fn denial(&self) -> Option<&Denial> {
        self.denied.as_ref()
    }

    /// The versions that were seen: tables and digests.
    pub fn versions(&self) -> &[(String, String)] {
        &self.versions
    }

    /// The look-ups, in order.
    pub fn look_ups(&self) -> &[LookUp] {
        &self.reads
    }

    /// The bytes that were read.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds the look-ups of another run of the same search, as far as there is room.
    pub fn append(&mut self, other: Self) {
        for version in other.versions {
            if !self.versions.contains(&version) {
                self.versions.push(version);
            }
        }
        self.denied = self.denied.take().or(other.denied);
        let bytes = self.bytes.saturating_add(other.bytes);
        if bytes > MAX_READ_BYTES || self.reads.len() + other.reads.len() > MAX_READS {
            self.omitted += other.reads.len() + other.memory.len() + other.omitted;
            return;
        }
        self.bytes = bytes;
        self.reads.extend(other.reads);
        self.memory.extend(other.memory);
    }

    /// Adds what a run read of its memory.
    pub(crate) fn add_memory(&mut self, reads: &[memory::Read]) {
        self.bytes = self.bytes.saturating_add(reads.iter().map(memory::Read::bytes).sum());
        self.memory.extend_from_slice(reads);
    }

    /// Writes every look-up and its answer, for the sealed part. Of a `hushed` plugin, which sees a
    /// secret and could look it up, neither keys nor rows.
    pub fn write_sealed(&self, sealed: &mut ObjectWriter<'_>, hushed: bool) {
        if self.omitted > 0 {
            sealed.number("reads_omitted", self.omitted);
        }
        self.write_memory(sealed, hushed);
        if self.reads.is_empty() {
            return;
        }
        sealed.array("reads", |list| {
            for read in &self.reads {
                list.object(|object| {
                    object.text("table", &read.table).boolean("stale", read.stale);
                    if hushed {
                        return;
                    }
                    object.text_or_null("key", read.key.as_deref()).array("rows", |rows| {
                        for row in &read.rows {
                            rows.object(|columns| {
                                for cell in row {
                                    columns.json(&cell.name, &cell.value);
                                }
                            });
                        }
                    });
                });
            }
        });
    }
}

impl ReadLog {
    fn write_memory(&self, sealed: &mut ObjectWriter<'_>, hushed: bool) {
        if self.memory.is_empty() {
            return;
        }
        sealed.array("memory", |list| {
            for read in &self.memory {
                list.object(|object| {
                    let scope = match read.scope {
                        Scope::Subject => "subject",
                        Scope::Shared => "shared",
                    };
                    object.text("scope", scope);
                    if !hushed {
                        // The plugin gave it as text.
                        object.text("key", &String::from_utf8_lossy(&read.key));
                    }
                    match &read.answer {
                        Answer::Value(Some((value, version))) => {
                            object.number("version", *version);
                            if !hushed {
                                object.text("value", &BASE64.encode(value));
                            }
                        }
                        Answer::Value(None) => {
                            object.json("value", "null");
                        }
                        Answer::Count { window, count } => {
                            object.number("window", *window).number("count", *count);
                        }
                        Answer::Distinct { window, count } => {
                            object.number("window", *window).number("distinct", *count);
                        }
                    }
                });
            }
        });
    }
}

impl Denial {
    /// The finding that denies.
    pub fn finding(&self) -> Finding {
        let table = Attribute { name: "table".into(), value: build_text(&self.table).into() };
        Finding {
            code: self.code().to_owned(),
            effect: Effect::Deny,
            severity: Severity::High,
            arguments: vec![table],
            field: None,
        }
    }

    /// The stable code of the finding that denies.
    pub fn code(&self) -> &'static str {
        match self.why {
            DenialReason::WithoutRows(WithoutRows::NoMatch) => "TABLE_NO_MATCH",
            DenialReason::WithoutRows(WithoutRows::SeveralMatches) => "TABLE_SEVERAL_MATCHES",
            DenialReason::WithoutRows(WithoutRows::Stale) => "TABLE_STALE",
            DenialReason::WithoutRows(WithoutRows::NotLoaded) => "TABLE_NOT_LOADED",
            DenialReason::TooLarge => "TABLE_TOO_LARGE",
        }
    }
}

/// Most bytes that the plugins of one call read of tables and memory: names and values of cells,
/// keys, names of tables, remembered values.
pub const MAX_READ_BYTES: usize = 64 << 10;

/// Most look-ups of one run.
pub(crate) const MAX_READS: usize = 256;
