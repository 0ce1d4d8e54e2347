//! The columns of a table in memory.
//!
//! Invariant: all columns of a table have the same number of cells, and a cell gives back the value
//! that was pushed. Bytes a row: text 1, 2 or 4 where texts repeat, else 5 and the text; integers
//! and instants 8; days 4; booleans 1; networks 17.

mod chunked;
mod text_column;
mod texts;

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;
use jiff::civil::{self, Date};
use jiff::{Span, Timestamp, Unit};

use self::chunked::Chunked;
use self::text_column::TextColumn;
use super::cell::Cell;
use super::column_kind::Kind;
use super::value::{ITEM_END, List, Value};

/// A column of cells.
pub(crate) enum CellColumn {
    Text(TextColumn),
    List(TextColumn),
    /// `i64::MIN` is an absent cell.
    Integer(Chunked<i64>),
    /// 0 false, 1 true, 2 absent.
    Boolean(Chunked<u8>),
    /// Days since 1970-01-01; `i32::MIN` is an absent cell.
    Date(Chunked<i32>),
    /// Microseconds since 1970; `i64::MIN` is an absent cell.
    Instant(Chunked<i64>),
    /// First address, and prefix length: 0 to 32 for IPv4, 64 to 192 for IPv6, 255 absent.
    Network(Chunked<u128>, Chunked<u8>),
}

impl CellColumn {
    pub fn new(kind: &Kind) -> Self {
        match kind {
            Kind::Text => Self::Text(TextColumn::new()),
            Kind::Integer => Self::Integer(Chunked::new()),
            Kind::Boolean { .. } => Self::Boolean(Chunked::new()),
            Kind::Date { .. } => Self::Date(Chunked::new()),
            Kind::Instant { .. } => Self::Instant(Chunked::new()),
            Kind::List { .. } => Self::List(TextColumn::new()),
            Kind::Network => Self::Network(Chunked::new(), Chunked::new()),
        }
    }

    /// Appends a cell; one of another type counts as absent. `None` where the column is full.
    pub fn push(&mut self, cell: &Cell<'_>) -> Option<()> {
        match (self, cell) {
            (Self::Text(column), Cell::Text(text)) => column.push(Some(text))?,
            (Self::List(column), Cell::List(joined)) => column.push(Some(joined))?,
            (Self::Text(column) | Self::List(column), _) => column.push(None)?,
            (Self::Integer(column), Cell::Integer(number)) => column.push(*number),
            (Self::Integer(column), _) => column.push(i64::MIN),
            (Self::Boolean(column), Cell::Boolean(is)) => column.push(u8::from(*is)),
            (Self::Boolean(column), _) => column.push(2),
            (Self::Date(column), Cell::Date(date)) => column.push(days(*date)),
            (Self::Date(column), _) => column.push(i32::MIN),
            (Self::Instant(column), Cell::Instant(at)) => column.push(at.as_microsecond()),
            (Self::Instant(column), _) => column.push(i64::MIN),
            (Self::Network(starts, prefixes), Cell::Network(network)) => {
                let (start, prefix) = pack(*network);
                starts.push(start);
                prefixes.push(prefix);
            }
            (Self::Network(starts, prefixes), _) => {
                starts.push(0);
                prefixes.push(NO_NETWORK);
            }
        }
        Some(())
    }

    /// Returns the value of a row, or none where the cell is absent.
    #[inline]
    pub fn get(&self, row: usize) -> Option<Value<'_>> {
        match self {
            Self::Text(column) => column.get(row).map(Value::Text),
            Self::List(column) => column.get(row).map(|joined| Value::List(List(joined))),
            Self::Integer(column) => {
                column.get(row).filter(|&number| number != i64::MIN).map(Value::Integer)
            }
            Self::Boolean(column) => match column.get(row)? {
                0 => Some(Value::Boolean(false)),
                1 => Some(Value::Boolean(true)),
                _ => None,
            },
            Self::Date(column) => date(column.get(row)?).map(Value::Date),
            Self::Instant(column) => {
                Timestamp::from_microsecond(column.get(row)?).ok().map(Value::Instant)
            }
            Self::Network(starts, prefixes) => {
                unpack(starts.get(row)?, prefixes.get(row)?).map(Value::Network)
            }
        }
    }

    /// Returns the text by which a cell is compared: the text itself, or the canonical form.
    pub fn text(&self, row: usize) -> Option<Cow<'_, str>> {
        Some(match self.get(row)? {
            Value::Text(text) => Cow::Borrowed(text),
            Value::Integer(number) => Cow::Owned(number.to_string()),
            Value::Boolean(is) => Cow::Borrowed(if is { "true" } else { "false" }),
            Value::Date(date) => Cow::Owned(date.to_string()),
            Value::Instant(at) => Cow::Owned(at.to_string()),
            Value::List(List(joined)) => Cow::Borrowed(joined),
            Value::Network(network) => Cow::Owned(network.to_string()),
        })
    }

    /// Returns the position of a row's text, where each row has one of its own.
    pub fn text_position(&self, row: usize) -> Option<u32> {
        match self {
            Self::Text(column) => column.position(row),
            _ => None,
        }
    }

    /// Returns the text at a position that [`Self::text_position`] returned.
    #[inline]
    pub fn text_at(&self, position: u32) -> Option<&str> {
        match self {
            Self::Text(column) => column.at(position),
            _ => None,
        }
    }

    /// Ends the adding of rows.
    pub fn finish(&mut self) {
        match self {
            Self::Text(column) | Self::List(column) => column.finish(),
            Self::Integer(column) | Self::Instant(column) => column.shrink(),
            Self::Boolean(column) => column.shrink(),
            Self::Date(column) => column.shrink(),
            Self::Network(starts, prefixes) => {
                starts.shrink();
                prefixes.shrink();
            }
        }
    }

    /// Returns the bytes that the column occupies.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Text(column) | Self::List(column) => column.bytes(),
            Self::Integer(column) | Self::Instant(column) => column.bytes(),
            Self::Boolean(column) => column.bytes(),
            Self::Date(column) => column.bytes(),
            Self::Network(starts, prefixes) => starts.bytes() + prefixes.bytes(),
        }
    }
}

impl Cell<'_> {
    /// Returns the text by which the cell is compared, as [`CellColumn::text`] does for a row.
    pub fn text(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Cell::Absent => return None,
            Cell::Text(text) => Cow::Borrowed(text),
            Cell::Integer(number) => Cow::Owned(number.to_string()),
            Cell::Boolean(is) => Cow::Borrowed(if *is { "true" } else { "false" }),
            Cell::Date(date) => Cow::Owned(date.to_string()),
            Cell::Instant(at) => Cow::Owned(at.to_string()),
            Cell::List(joined) => Cow::Borrowed(joined),
            Cell::Network(network) => Cow::Owned(network.to_string()),
        })
    }
}

fn days(date: Date) -> i32 {
    date.since((Unit::Day, EPOCH)).map_or(i32::MIN, |span| span.get_days())
}

fn date(days: i32) -> Option<Date> {
    EPOCH.checked_add(Span::new().try_days(days).ok()?).ok()
}

fn pack(network: IpNetwork) -> (u128, u8) {
    match network {
        IpNetwork::V4(v4) => (u128::from(u32::from(v4.network())), v4.prefix()),
        IpNetwork::V6(v6) => (u128::from(v6.network()), v6.prefix() + V6_PREFIX),
    }
}

fn unpack(start: u128, prefix: u8) -> Option<IpNetwork> {
    if let Some(prefix) = prefix.checked_sub(V6_PREFIX) {
        return IpNetwork::new(Ipv6Addr::from(start).into(), prefix).ok();
    }
    IpNetwork::new(Ipv4Addr::from(u32::try_from(start).ok()?).into(), prefix).ok()
}

const EPOCH: Date = civil::date(1970, 1, 1);
const V6_PREFIX: u8 = 64;
const NO_NETWORK: u8 = 255;
const _: () = assert!(ITEM_END.is_ascii());

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn days_and_networks_return(
            day in -700_000i32..2_000_000, v4: u32, v6: u128, length in 0u8..=128,
        ) {
            let day = date(day).unwrap();
            prop_assert_eq!(date(days(day)), Some(day));
            let v4 = IpNetwork::new(Ipv4Addr::from(v4).into(), length.min(32)).unwrap();
            let v4 = IpNetwork::new(v4.network(), v4.prefix()).unwrap();
            let v6 = IpNetwork::new(Ipv6Addr::from(v6).into(), length).unwrap();
            let v6 = IpNetwork::new(v6.network(), v6.prefix()).unwrap();
            for network in [v4, v6] {
                let (start, prefix) = pack(network);
                prop_assert_eq!(unpack(start, prefix), Some(network));
            }
        }
    }

    #[test]
    fn the_first_and_last_days_return() {
        for day in [Date::MIN, Date::MAX, Date::ZERO] {
            assert_eq!(date(days(day)), Some(day));
        }
        assert_eq!(date(i32::MIN), None);
        assert_eq!(unpack(0, NO_NETWORK), None);
    }
}
