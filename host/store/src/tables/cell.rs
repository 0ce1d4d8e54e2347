//! From a cell of an export to a typed value.
//!
//! Invariant: a cell that is not exactly what the declaration says is a [`CellProblem`], never a
//! guess: `1.0` is no text, `31/12` no month, a time that does not exist on a day with a change of
//! clocks is read by the stated rule. Problems name the rule and never show the cell.

use std::borrow::Cow;
use std::fmt::Write as _;

use ipnetwork::IpNetwork;
use jiff::Timestamp;
use jiff::civil::{self, Date};

use super::column_kind::Kind;
use super::value::ITEM_END;

/// A cell as a reader found it.
pub(crate) enum Raw<'a> {
    Absent,
    Text(Cow<'a, str>),
    /// A number with its spelling.
    Number(&'a str),
    Integer(i64),
    Boolean(bool),
    /// A date and time without a zone, as spreadsheets hold them.
    Civil(civil::DateTime),
    Items(Vec<String>),
    Network(IpNetwork),
    /// A value that no column type takes, such as an object or a fraction.
    Other,
}

/// A typed cell. Text is borrowed from the reader.
pub(crate) enum Cell<'a> {
    Absent,
    Text(Cow<'a, str>),
    Integer(i64),
    Boolean(bool),
    Date(Date),
    Instant(Timestamp),
    /// Items with [`ITEM_END`] between them.
    List(String),
    Network(IpNetwork),
}

/// Why a cell is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CellProblem {
    /// An absent cell in a required column.
    #[error("is empty, and the column is required")]
    Missing,
    /// A value that another row has.
    #[error("is the same as in row {0}, and the column is unique")]
    Repeated(u64),
    /// A cell that is too long.
    #[error("is longer than {MAX_TEXT_BYTES} bytes")]
    TooLong,
    /// Control characters.
    #[error("contains a control character")]
    Control,
    /// A cell that is not UTF-8.
    #[error("is not UTF-8: export the table as UTF-8")]
    NotUtf8,
    /// An error value of a spreadsheet.
    #[error("is an error value of the spreadsheet")]
    SpreadsheetError,
    /// Not a text.
    #[error("is no text")]
    NotText,
    /// Not a whole number.
    #[error("is no whole number between -(2^63 - 1) and 2^63 - 1")]
    NotInteger,
    /// Not a boolean.
    #[error("is none of the texts for true and false")]
    NotBoolean,
    /// Not a date.
    #[error("is no date in the declared format")]
    NotDate,
    /// Not an instant.
    #[error("is no instant in the declared format")]
    NotInstant,
    /// Not a list of texts.
    #[error("is no list of texts")]
    NotList,
    /// Not a network.
    #[error("is no IP network in CIDR notation")]
    NotNetwork,
    /// A network with host bits.
    #[error("has bits beyond its prefix length: write the first address of the network")]
    HostBits,
    /// The column holds more text than it can.
    #[error("does not fit: the column has 4 GiB of text")]
    ColumnFull,
}

/// Reads a cell as the type of its column.
pub(crate) fn read<'a>(kind: &Kind, raw: Raw<'a>) -> Result<Cell<'a>, CellProblem> {
    let text = match raw {
        Raw::Absent => return Ok(Cell::Absent),
        Raw::Text(text) => {
            if text.len() > MAX_TEXT_BYTES {
                return Err(CellProblem::TooLong);
            }
            if text.contains(is_refused) {
                return Err(CellProblem::Control);
            }
            if text.trim().is_empty() {
                return Ok(Cell::Absent);
            }
            text
        }
        other => return read_typed(kind, other),
    };
    let trimmed = text.trim();
    match kind {
        Kind::Text => Ok(Cell::Text(text)),
        Kind::Integer => integer(trimmed).map(Cell::Integer),
        Kind::Boolean { yes, no } => boolean(trimmed, yes, no).map(Cell::Boolean),
        Kind::Date { format: None } => {
            trimmed.parse().map(Cell::Date).or(Err(CellProblem::NotDate))
        }
        Kind::Date { format: Some(format) } => {
            Date::strptime(format, trimmed).map(Cell::Date).or(Err(CellProblem::NotDate))
        }
        Kind::Instant { local: None } => {
            trimmed.parse().or(Err(CellProblem::NotInstant)).and_then(instant)
        }
        Kind::Instant { local: Some((format, zone)) } => civil::DateTime::strptime(format, trimmed)
            .and_then(|moment| zone.to_ambiguous_timestamp(moment).compatible())
            .or(Err(CellProblem::NotInstant))
            .and_then(instant),
        Kind::List { separator } => Ok(list(text.split(separator.as_str()))),
        Kind::Network => network(trimmed).map(Cell::Network),
    }
}

/// Reads a value that has a type in the export already.
fn read_typed<'a>(kind: &Kind, raw: Raw<'a>) -> Result<Cell<'a>, CellProblem> {
    match (kind, raw) {
        (_, Raw::Absent) => Ok(Cell::Absent),
        (Kind::Text, Raw::Number(spelled)) if is_integer(spelled) => {
            Ok(Cell::Text(Cow::Borrowed(spelled)))
        }
        (Kind::Text, Raw::Integer(number)) => Ok(Cell::Text(Cow::Owned(number.to_string()))),
        (Kind::Integer, Raw::Number(spelled)) => integer(spelled).map(Cell::Integer),
        (Kind::Integer, Raw::Integer(number)) if number != i64::MIN => Ok(Cell::Integer(number)),
        (Kind::Boolean { .. }, Raw::Boolean(is)) => Ok(Cell::Boolean(is)),
        (Kind::Boolean { .. }, Raw::Integer(0)) => Ok(Cell::Boolean(false)),
        (Kind::Boolean { .. }, Raw::Integer(1)) => Ok(Cell::Boolean(true)),
        (Kind::Date { .. }, Raw::Civil(moment)) if moment.time() == civil::Time::midnight() => {
            Ok(Cell::Date(moment.date()))
        }
        (Kind::Instant { local: Some((_, zone)) }, Raw::Civil(moment)) => zone
            .to_ambiguous_timestamp(moment)
            .compatible()
            .or(Err(CellProblem::NotInstant))
            .and_then(instant),
        (Kind::List { .. }, Raw::Items(items)) => {
            if items.iter().map(String::len).sum::<usize>() > MAX_TEXT_BYTES {
                return Err(CellProblem::TooLong);
            }
            if items.iter().any(|item| item.contains(is_refused)) {
                return Err(CellProblem::Control);
            }
            Ok(list(items.iter().map(String::as_str)))
        }
        (Kind::Network, Raw::Network(network)) => Ok(Cell::Network(network)),
        (kind, _) => Err(mismatch(kind)),
    }
}

fn mismatch(kind: &Kind) -> CellProblem {
    match kind {
        Kind::Text => CellProblem::NotText,
        Kind::Integer => CellProblem::NotInteger,
        Kind::Boolean { .. } => CellProblem::NotBoolean,
        Kind::Date { .. } => CellProblem::NotDate,
        Kind::Instant { .. } => CellProblem::NotInstant,
        Kind::List { .. } => CellProblem::NotList,
        Kind::Network => CellProblem::NotNetwork,
    }
}

fn is_integer(spelled: &str) -> bool {
    let digits = spelled.strip_prefix('-').unwrap_or(spelled);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn integer(text: &str) -> Result<i64, CellProblem> {
    match text.parse() {
        Ok(number) if number != i64::MIN => Ok(number),
        _ => Err(CellProblem::NotInteger),
    }
}

fn boolean(text: &str, yes: &[String], no: &[String]) -> Result<bool, CellProblem> {
    let among = |words: &[String]| words.iter().any(|word| word.eq_ignore_ascii_case(text));
    match (among(yes), among(no)) {
        (true, false) => Ok(true),
        (false, true) => Ok(false),
        _ => Err(CellProblem::NotBoolean),
    }
}

/// Instants are kept to the microsecond: what is finer is cut off.
fn instant<'a>(instant: Timestamp) -> Result<Cell<'a>, CellProblem> {
    let micros = instant.as_nanosecond().div_euclid(1000);
    let micros = i64::try_from(micros).or(Err(CellProblem::NotInstant))?;
    Timestamp::from_microsecond(micros).map(Cell::Instant).or(Err(CellProblem::NotInstant))
}

fn list<'a, 'i>(items: impl Iterator<Item = &'i str>) -> Cell<'a> {
    let mut joined = String::new();
    for item in items.map(str::trim).filter(|item| !item.is_empty()) {
        let end = if joined.is_empty() { "" } else { ITEM_END_TEXT };
        let _ = write!(joined, "{end}{item}");
    }
    if joined.is_empty() { Cell::Absent } else { Cell::List(joined) }
}

/// Reads a network; an IPv4 network that is written as an IPv6 one becomes what it is.
fn network(text: &str) -> Result<IpNetwork, CellProblem> {
    let read: IpNetwork = text.parse().or(Err(CellProblem::NotNetwork))?;
    if read.network() != read.ip() {
        return Err(CellProblem::HostBits);
    }
    canonical(read).ok_or(CellProblem::NotNetwork)
}

/// Returns the IPv4 network that an IPv4-mapped IPv6 network stands for.
pub(crate) fn canonical(network: IpNetwork) -> Option<IpNetwork> {
    let IpNetwork::V6(v6) = network else { return Some(network) };
    match (v6.network().to_ipv4_mapped(), v6.prefix().checked_sub(96)) {
        (Some(v4), Some(prefix)) => IpNetwork::new(v4.into(), prefix).ok(),
        _ => Some(network),
    }
}

/// Line ends and tabs stand in cells of people; other control characters mean another encoding.
fn is_refused(c: char) -> bool {
    c.is_control() && !matches!(c, '\t' | '\n' | '\r')
}

/// Bytes of a cell. What one call reads is bounded too, so that no cell may have nearly all of it.
pub(crate) const MAX_TEXT_BYTES: usize = 1 << 12;
const ITEM_END_TEXT: &str = "\u{1f}";
const _: () = assert!(ITEM_END as u32 == 0x1f);
