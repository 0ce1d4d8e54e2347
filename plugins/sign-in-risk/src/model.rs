//! The learned model: gradient-boosted trees as integer tables, evaluated without floats.
//!
//! Invariants:
//! - The same table and inputs give the same sum on every machine: inputs and thresholds are `i32`,
//!   leaves and sums fixed-point numbers of 20 binary places in `i64`.
//! - A table that loads is finite and whole: each tree's nodes stand in preorder, every node is
//!   reached exactly once, and an evaluation takes at most [`MAX_DEPTH`] steps a tree.
//! - The model is named by the SHA-256 digest of its table.
//!
//! The table, integers in big-endian order: `PGBT`, version `1` (1 byte), number of features (1),
//! number of trees (2), bias (8); for each tree the number of nodes (2) and each node: a feature's
//! index (1), its threshold (4) and the index of the node for greater values (2) — for values up to
//! the threshold it is the next node; or `255` (1) and the leaf's value (8).
//! `training/train.py` writes it.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::history::Reader;

/// The number of inputs of a model ([`Inputs::values`]).
pub(crate) const FEATURES: usize = 10;

/// A loaded model.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    bias: i64,
    trees: Vec<Vec<Node>>,
    digest: String,
}

/// The inputs of a model, in whole numbers. A value that is not known is −1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inputs {
    /// The likelihood's logarithm in 256ths, −4,096 to 4,096; 0 where there is none.
    pub likelihood: i32,
    pub is_new_device: bool,
    pub is_new_network: bool,
    pub is_new_country: bool,
    /// The hour's density in thousandths.
    pub hour_density: i32,
    /// Kilometres an hour since the last sign-in, at most 20,000.
    pub kmh: i32,
    /// Failures of the person in the last 30 minutes, at most 1,000.
    pub failures: i32,
    /// Denied pushes of the person in the last 10 minutes.
    pub denials: i32,
    /// The person's sign-ins, at most 1,000.
    pub sign_ins: i32,
    /// Hours since the person's last sign-in, at most 2,160.
    pub hours_away: i32,
}

/// The reason why a table is no model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoadError {
    /// It does not begin like one, or has another version.
    Header,
    /// It was trained for another number of features.
    Features(u8),
    /// It has more than [`MAX_TREES`] trees.
    Trees(u16),
    /// The tree of this number is cut off or malformed.
    Tree(usize),
    /// Bytes follow the last tree.
    Trailing,
}

#[derive(Clone, Copy, Debug)]
enum Node {
    Split { feature: usize, threshold: i32, greater: usize },
    Leaf(i64),
}

impl Model {
    /// Reads and checks a table.
    ///
    /// # Errors
    /// A table that does not have the form above.
    pub(crate) fn load(table: &[u8]) -> Result<Self, LoadError> {
        let mut reader = Reader(table);
        let header = reader.take::<5>().filter(|header| header == b"PGBT\x01");
        header.ok_or(LoadError::Header)?;
        let features = reader.u8().ok_or(LoadError::Header)?;
        if usize::from(features) != FEATURES {
            return Err(LoadError::Features(features));
        }
        let trees = reader.u16().ok_or(LoadError::Header)?;
        if trees > MAX_TREES {
            return Err(LoadError::Trees(trees));
        }
        let bias = reader.take().map(i64::from_be_bytes).ok_or(LoadError::Header)?;
        if bias.unsigned_abs() > MAX_VALUE {
            return Err(LoadError::Header);
        }
        let mut model = Self { bias, trees: Vec::new(), digest: digest(table) };
        for number in 0..usize::from(trees) {
            model.trees.push(tree(&mut reader).ok_or(LoadError::Tree(number))?);
        }
        if reader.0.is_empty() { Ok(model) } else { Err(LoadError::Trailing) }
    }

    /// The log-odds that an attempt is hostile, with 20 binary places.
    pub(crate) fn log_odds(&self, inputs: &Inputs) -> i64 {
        let values = inputs.values();
        self.trees.iter().fold(self.bias, |sum, tree| sum.saturating_add(leaf(tree, &values)))
    }

    /// The points for log-odds, 0 to `most`: 5 for each unit above 0.
    pub(crate) fn points(log_odds: i64, most: u8) -> u8 {
        let points = log_odds.saturating_mul(5) >> BINARY_PLACES;
        u8::try_from(points.clamp(0, i64::from(most))).unwrap_or(most)
    }

    /// The SHA-256 digest of the table, in hexadecimal digits.
    pub(crate) fn digest(&self) -> &str {
        &self.digest
    }
}

impl Inputs {
    /// In the order of the features of `training/train.py`.
    fn values(&self) -> [i32; FEATURES] {
        [
            self.likelihood,
            i32::from(self.is_new_device),
            i32::from(self.is_new_network),
            i32::from(self.is_new_country),
            self.hour_density,
            self.kmh,
            self.failures,
            self.denials,
            self.sign_ins,
            self.hours_away,
        ]
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("it does not begin like a model of version 1"),
            Self::Features(features) => {
                write!(f, "it was trained for {features} features, not {FEATURES}")
            }
            Self::Trees(trees) => write!(f, "it has {trees} trees, more than {MAX_TREES}"),
            Self::Tree(number) => write!(f, "its tree {number} is cut off or malformed"),
            Self::Trailing => f.write_str("bytes follow its last tree"),
        }
    }
}

/// Reads one tree; `None` where it is cut off or malformed.
fn tree(reader: &mut Reader<'_>) -> Option<Vec<Node>> {
    let count = reader.u16().filter(|count| (1..=MAX_NODES).contains(count))?;
    let mut nodes = Vec::new();
    for _ in 0..count {
        nodes.push(match reader.u8()? {
            LEAF => {
                let value = i64::from_be_bytes(reader.take()?);
                (value.unsigned_abs() <= MAX_VALUE).then_some(Node::Leaf(value))?
            }
            feature => {
                let feature = usize::from(feature);
                (feature < FEATURES).then_some(())?;
                let threshold = i32::from_be_bytes(reader.take()?);
                Node::Split { feature, threshold, greater: usize::from(reader.u16()?) }
            }
        });
    }
    (end_of(&nodes, 0, 0)? == nodes.len()).then_some(nodes)
}

/// The index after the last node below a node; `None` where nodes are not in preorder or too deep.
fn end_of(nodes: &[Node], index: usize, depth: usize) -> Option<usize> {
    match nodes.get(index)? {
        Node::Leaf(_) => Some(index + 1),
        Node::Split { .. } if depth >= MAX_DEPTH => None,
        Node::Split { greater, .. } => {
            let end = end_of(nodes, index + 1, depth + 1)?;
            (end == *greater).then_some(())?;
            end_of(nodes, *greater, depth + 1)
        }
    }
}

/// The value of the leaf that the inputs lead to. A checked tree always leads to one.
fn leaf(tree: &[Node], values: &[i32; FEATURES]) -> i64 {
    let mut index = 0;
    while let Some(node) = tree.get(index) {
        index = match node {
            Node::Leaf(value) => return *value,
            Node::Split { feature, threshold, greater } => {
                let value = values.get(*feature).copied().unwrap_or(UNKNOWN);
                if value <= *threshold { index + 1 } else { *greater }
            }
        };
    }
    0
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Stands for an input that is not known.
pub(crate) const UNKNOWN: i32 = -1;

/// The most trees; 100 are usual.
const MAX_TREES: u16 = 500;

/// The most nodes of a tree: depth 9, all full.
const MAX_NODES: u16 = 1_023;

/// The most splits from root to leaf.
const MAX_DEPTH: usize = 9;

/// The greatest leaf and bias: log-odds of 1,024.
const MAX_VALUE: u64 = 1 << 30;

/// Binary places of leaves and sums.
const BINARY_PLACES: u32 = 20;

/// Marks a leaf.
const LEAF: u8 = 255;

#[cfg(test)]
mod tests;
