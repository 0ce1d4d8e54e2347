//! MaxMind DB files: one row for each network with a record.
//!
//! Invariant: the search tree is walked with a bound before anything else: a tree whose branches
//! meet again could otherwise stand for more networks than any memory holds. The bytes are read in
//! place. A record is decoded along the declared paths only; the crate bounds what one decoding may
//! expand to. The file's time of building counts as the age of its data.

use std::borrow::Cow;

use jiff::Timestamp;
use maxminddb::{PathElement, Reader, WithinOptions};
use portcullis_model::json::split_pointer;
use serde::Deserialize;

use super::fenced;
use crate::tables::builder::Builder;
use crate::tables::cell::{Raw, canonical};
use crate::tables::declaration_check::NETWORK;
use crate::tables::error::{Problem, Stopped};

/// Reads all rows, and the time at which the file was built.
pub(crate) fn read(builder: &mut Builder<'_>, bytes: &[u8]) -> Result<Option<Timestamp>, Stopped> {
    let Some(read) = fenced(|| read_tree(builder, bytes)) else {
        return Err(builder.stop(None, DAMAGED));
    };
    read
}

fn read_tree(builder: &mut Builder<'_>, bytes: &[u8]) -> Result<Option<Timestamp>, Stopped> {
    let Ok(reader) = Reader::from_source(bytes) else { return Err(builder.stop(None, DAMAGED)) };
    let metadata = reader.metadata();
    let tree = Tree { bytes, nodes: metadata.node_count, record_bits: metadata.record_size };
    match tree.count(metadata.ip_version, u64::from(builder.plan.declaration.max_rows)) {
        Some(true) => {}
        Some(false) => return Err(builder.stop(None, Problem::TooMany("networks"))),
        None => return Err(builder.stop(None, DAMAGED)),
    }
    let format = builder.plan.declaration.format;
    let sources: Vec<String> =
        builder.plan.declaration.columns.iter().map(|column| column.source_in(format)).collect();
    let tokens: Vec<Option<Vec<String>>> =
        sources.iter().map(|source| (source != NETWORK).then(|| tokens_of(source))).collect();
    let paths: Vec<Option<Vec<PathElement<'_>>>> =
        tokens.iter().map(|tokens| tokens.as_deref().map(path)).collect();
    let Ok(networks) = reader.networks(WithinOptions::default()) else {
        return Err(builder.stop(None, DAMAGED));
    };
    let mut number = 0;
    for record in networks {
        number += 1;
        let Ok(record) = record else { return Err(builder.stop(Some(number), DAMAGED)) };
        let network = record.network().ok().and_then(canonical);
        let Some(network) = network else { return Err(builder.stop(Some(number), DAMAGED)) };
        builder.begin(number)?;
        for (column, path) in paths.iter().enumerate() {
            let raw = match path {
                None => Raw::Network(network),
                Some(path) => match record.decode_path::<Found<'_>>(path) {
                    Ok(None) => Raw::Absent,
                    Ok(Some(found)) => found.into(),
                    Err(_) => return Err(builder.stop(Some(number), DAMAGED)),
                },
            };
            builder.cell(column, Ok(raw));
        }
        builder.end();
    }
    let built = i64::try_from(metadata.build_epoch).ok();
    Ok(built.and_then(|second| Timestamp::from_second(second).ok()))
}

/// The binary tree of networks at the beginning of the file.
struct Tree<'b> {
    bytes: &'b [u8],
    nodes: u32,
    record_bits: u16,
}

impl Tree<'_> {
    /// Walks the tree without its aliases; false where it leads to more than `max` records or to as
    /// many paths, none where it leaves the file.
    fn count(&self, ip_version: u16, max: u64) -> Option<bool> {
        let depth = if ip_version == 4 { 32 } else { 128 };
        // The paths that a sound tree of this size has, aliases of the IPv4 part included.
        let mut steps = u64::from(self.nodes).saturating_mul(ALIASES).saturating_add(max * 2);
        let mut stack = vec![(0, 0)];
        while let Some((node, level)) = stack.pop() {
            steps = match steps.checked_sub(1) {
                Some(steps) => steps,
                None => return Some(false),
            };
            if node >= self.nodes {
                continue;
            }
            if level == depth {
                return None;
            }
            let (left, right) = self.children(node)?;
            stack.push((right, level + 1));
            stack.push((left, level + 1));
        }
        Some(true)
    }

    fn children(&self, node: u32) -> Option<(u32, u32)> {
        let size = usize::from(self.record_bits / 4);
        let start = usize::try_from(node).ok()?.checked_mul(size)?;
        let bytes = self.bytes.get(start..start.checked_add(size)?)?;
        let number =
            |bytes: &[u8]| bytes.iter().fold(0u32, |number, &byte| (number << 8) | u32::from(byte));
        match bytes {
            [left @ .., a, b, c] if left.len() == 3 => Some((number(left), number(&[*a, *b, *c]))),
            [a, b, c, middle, d, e, f] => {
                Some((number(&[middle >> 4, *a, *b, *c]), number(&[middle & 15, *d, *e, *f])))
            }
            [left @ .., a, b, c, d] if left.len() == 4 => {
                Some((number(left), number(&[*a, *b, *c, *d])))
            }
            _ => None,
        }
    }
}

/// A value of a record that a column can hold.
#[derive(Deserialize)]
#[serde(untagged)]
enum Found<'a> {
    Boolean(bool),
    Integer(i64),
    Text(#[serde(borrow)] Cow<'a, str>),
    Items(Vec<String>),
    Other(serde::de::IgnoredAny),
}

impl<'a> From<Found<'a>> for Raw<'a> {
    fn from(found: Found<'a>) -> Self {
        match found {
            Found::Boolean(is) => Self::Boolean(is),
            Found::Integer(number) => Self::Integer(number),
            Found::Text(text) => Self::Text(text),
            Found::Items(items) => Self::Items(items),
            Found::Other(_) => Self::Other,
        }
    }
}

fn tokens_of(pointer: &str) -> Vec<String> {
    split_pointer(pointer).unwrap_or_default().into_iter().map(Into::into).collect()
}

/// A path in a record; numbers are positions in arrays.
fn path(tokens: &[String]) -> Vec<PathElement<'_>> {
    let element = |token: &String| token.parse().map(PathElement::Index);
    tokens.iter().map(|token| element(token).unwrap_or_else(|_| PathElement::Key(token))).collect()
}

const DAMAGED: Problem = Problem::Damaged("MaxMind DB");

/// Visits a node: two for each of the documented paths to the IPv4 part (`::/96`, `::ffff:0:0/96`,
/// `2001::/32`, `2002::/16`), and as many again.
const ALIASES: u64 = 16;
