//! The value of a cell: typed, borrowed from the table, and as JSON.
//!
//! Invariant: a value is what the declaration says that the column holds; an absent cell is `None`
//! and never an empty text. Cells are personal data: `Debug` shows the type and not the content.

use std::fmt;

use ipnetwork::IpNetwork;
use jiff::Timestamp;
use jiff::civil::Date;
use portcullis_model::json::{build_array, build_text};

/// The value of a cell.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Value<'t> {
    /// Text.
    Text(&'t str),
    /// A whole number.
    Integer(i64),
    /// True or false.
    Boolean(bool),
    /// A day.
    Date(Date),
    /// A moment, to the microsecond.
    Instant(Timestamp),
    /// Texts; at least one.
    List(List<'t>),
    /// A network.
    Network(IpNetwork),
}

/// The items of a list.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct List<'t>(pub(crate) &'t str);

impl<'t> Value<'t> {
    /// Returns the text, where it is one.
    pub fn as_text(&self) -> Option<&'t str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the value as JSON text: a string, a number, a boolean, or an array of strings. Dates
    /// are ISO 8601, instants RFC 3339 in UTC, networks CIDR.
    pub fn to_json(&self) -> String {
        match self {
            Self::Text(text) => build_text(text),
            Self::Integer(number) => number.to_string(),
            Self::Boolean(is) => is.to_string(),
            Self::Date(date) => build_text(&date.to_string()),
            Self::Instant(instant) => build_text(&instant.to_string()),
            Self::List(list) => build_array(|array| {
                array.texts(list.iter());
            }),
            Self::Network(network) => build_text(&network.to_string()),
        }
    }
}

impl<'t> List<'t> {
    /// Returns the items in their order.
    pub fn iter(&self) -> impl Iterator<Item = &'t str> + use<'t> {
        self.0.split(ITEM_END)
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Text(_) => "Text",
            Self::Integer(_) => "Integer",
            Self::Boolean(_) => "Boolean",
            Self::Date(_) => "Date",
            Self::Instant(_) => "Instant",
            Self::List(_) => "List",
            Self::Network(_) => "Network",
        };
        write!(f, "{kind}([redacted])")
    }
}

impl fmt::Debug for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("List([redacted])")
    }
}

/// Stands between the items of a list in memory; no cell may contain it.
pub(crate) const ITEM_END: char = '\u{1f}';
