//! Tables and memory, as the author of a suite writes them.
//!
//! Invariant: as in `format.rs`: this file says only the shape, and an unknown member is refused.
//! A bundle has no names of files: rows that were in a file are in it as text.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, IntoDeserializer as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::seconds::Seconds;

/// A reference table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TableText {
    /// Its declaration: the name of a file, or its members. What is left out is derived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declaration: Option<Value>,
    /// Its rows.
    pub rows: RowsText,
}

/// Rows: a list, the name of a file beside the suite, or the text of such a file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RowsText {
    List(Vec<Map<String, Value>>),
    File(String),
    Text(RowsFormat, String),
}

/// The format of rows as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowsFormat {
    Csv,
    JsonLines,
}

/// The difference of a table in one case or step: its state by itself, or a table of members.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct TableStateText {
    pub state: TableState,
    /// Other rows than the suite's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<RowsText>,
}

/// Whether a table can be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TableState {
    /// It is as old as it may be, or younger.
    #[default]
    Loaded,
    /// It is older.
    Stale,
    /// No version was loaded yet.
    Absent,
}

/// An entry of the memory before a case: a value, a count of events, or members of a set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct MemoryText {
    pub scope: ScopeText,
    /// The id of the subject; that of the first call where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    pub key: String,
    /// Text, or another JSON value, which is remembered as JSON text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// Bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
    /// The time that a value still lives; 30 days where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Seconds>,
    /// So many events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// These members.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<Vec<String>>,
    /// The window with which the plugin counts them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Seconds>,
    /// How long before the first call they were counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age: Option<Seconds>,
}

/// The owner of a memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ScopeText {
    #[default]
    Subject,
    Shared,
}

/// A value that is expected after a call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RemembersText {
    pub scope: ScopeText,
    /// The id of the subject; that of the call where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    pub key: String,
    /// As in [`MemoryText`]; any value where neither this nor `base64` is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
    /// Nothing is remembered under the key.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub absent: bool,
}

/// A count that is expected after a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CountsText {
    #[serde(default)]
    pub scope: ScopeText,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    pub key: String,
    pub window: Seconds,
    /// So many events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// So many different members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distinct: Option<u32>,
}

impl RowsFormat {
    /// By a file's name.
    pub fn of(file: &str) -> Option<Self> {
        match file.rsplit_once('.')?.1 {
            "csv" => Some(Self::Csv),
            "jsonl" | "ndjson" => Some(Self::JsonLines),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::JsonLines => "json-lines",
        }
    }
}

impl Serialize for RowsText {
    fn serialize<S: Serializer>(&self, writer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::List(rows) => rows.serialize(writer),
            Self::File(file) => file.serialize(writer),
            Self::Text(format, text) => BTreeMap::from([(format.name(), text)]).serialize(writer),
        }
    }
}

impl<'de> Deserialize<'de> for RowsText {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct ListFileOrText;
        impl<'de> Visitor<'de> for ListFileOrText {
            type Value = RowsText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of rows, a file's name, or a table with `csv` or `json-lines`")
            }

            fn visit_str<E: Error>(self, file: &str) -> Result<RowsText, E> {
                Ok(RowsText::File(file.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<RowsText, A::Error> {
                let mut rows = Vec::new();
                while let Some(row) = elements.next_element()? {
                    rows.push(row);
                }
                Ok(RowsText::List(rows))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<RowsText, A::Error> {
                let one = members.next_entry::<String, String>()?;
                let (name, text) = one.ok_or_else(|| A::Error::missing_field("csv"))?;
                let formats = [RowsFormat::Csv, RowsFormat::JsonLines];
                let format = formats.into_iter().find(|format| format.name() == name);
                let format =
                    format.ok_or_else(|| A::Error::unknown_field(&name, &["csv", "json-lines"]))?;
                if members.next_key::<String>()?.is_some() {
                    return Err(A::Error::custom(
                        "it must have exactly one of `csv`, `json-lines`",
                    ));
                }
                Ok(RowsText::Text(format, text))
            }
        }
        reader.deserialize_any(ListFileOrText)
    }
}

impl<'de> Deserialize<'de> for TableStateText {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Members {
            #[serde(default)]
            state: TableState,
            #[serde(default)]
            rows: Option<RowsText>,
        }
        struct WordOrMembers;
        impl<'de> Visitor<'de> for WordOrMembers {
            type Value = TableStateText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`loaded`, `stale`, `absent`, or a table with `rows`")
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<TableStateText, E> {
                let state = TableState::deserialize(word.into_deserializer())?;
                Ok(TableStateText { state, rows: None })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TableStateText, A::Error> {
                let Members { state, rows } =
                    Members::deserialize(MapAccessDeserializer::new(map))?;
                Ok(TableStateText { state, rows })
            }
        }
        reader.deserialize_any(WordOrMembers)
    }
}
