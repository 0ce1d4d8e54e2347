//! The Merkle tree of RFC 6962: hashing, the growing edge, and building and checking of inclusion
//! and consistency proofs.
//!
//! Invariant: pure functions over hashes. The hashes of inner nodes come from a [`Nodes`]; nothing
//! here reads files.

use sha2::{Digest as _, Sha256};

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// Returns `SHA-256(0x00 || entry)` (RFC 6962, 2.1).
pub fn leaf_hash(entry: &[u8]) -> Hash {
    Sha256::new().chain_update([0x00]).chain_update(entry).finalize().into()
}

/// Returns `SHA-256(0x01 || left || right)` (RFC 6962, 2.1).
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([0x01]).chain_update(left).chain_update(right).finalize().into()
}

/// Returns the root of the tree without leaves: `SHA-256("")`.
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// Returns the hash over `2^k` neighbouring hashes. `None`: their number is no power of two.
pub fn perfect_root(hashes: &[Hash]) -> Option<Hash> {
    if !hashes.len().is_power_of_two() {
        return None;
    }
    let mut row = hashes.to_vec();
    while row.len() > 1 {
        row = row.as_chunks::<2>().0.iter().map(|[left, right]| node_hash(left, right)).collect();
    }
    row.first().copied()
}

/// The growing edge of a tree: the roots of the perfect subtrees that its size is made of, largest
/// first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Hash>,
}

impl Frontier {
    /// Returns the number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf's hash.
    pub fn push(&mut self, leaf: Hash) {
        self.push_subtree(0, leaf);
    }

    /// Adds the root of a perfect subtree of `2^level` leaves; only sound where the size is a
    /// multiple of `2^level`.
    pub fn push_subtree(&mut self, level: u32, root: Hash) {
        self.size = self.size.saturating_add(1 << level);
        let mut carried = root;
        for _ in 0..(self.size >> level).trailing_zeros() {
            match self.peaks.pop() {
                Some(left) => carried = node_hash(&left, &carried),
                None => break,
            }
        }
        self.peaks.push(carried);
    }

    /// Returns the root.
    pub fn root(&self) -> Hash {
        join(&self.peaks)
    }
}

/// Hashes of the perfect subtrees of a tree.
pub trait Nodes {
    /// Why a hash cannot be had.
    type Error;

    /// Returns the hash over leaves `index * 2^level` to `(index + 1) * 2^level`, all of which
    /// exist.
    fn node(&self, level: u32, index: u64) -> Result<Hash, Self::Error>;
}

/// Returns the path from leaf `index` to the root of the tree of `size` leaves (RFC 6962, 2.1.1).
/// It is empty if `index` is not in the tree.
pub fn inclusion_proof<N: Nodes>(nodes: &N, index: u64, size: u64) -> Result<Vec<Hash>, N::Error> {
    let mut proof = Vec::new();
    let (mut low, mut high) = (0, size);
    while index < size && high - low > 1 {
        let middle = low + split(high - low);
        if index < middle {
            proof.push(range_root(nodes, middle, high)?);
            high = middle;
        } else {
            proof.push(range_root(nodes, low, middle)?);
            low = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// Returns the proof that the tree of `old` leaves begins the tree of `new` leaves (RFC 6962,
/// 2.1.2). It is empty for `old` 0 or `old >= new`.
pub fn consistency_proof<N: Nodes>(nodes: &N, old: u64, new: u64) -> Result<Vec<Hash>, N::Error> {
    let mut proof = Vec::new();
    if old == 0 || old >= new {
        return Ok(proof);
    }
    let (mut low, mut high) = (0, new);
    while old != high {
        let middle = low + split(high - low);
        if old <= middle {
            proof.push(range_root(nodes, middle, high)?);
            high = middle;
        } else {
            proof.push(range_root(nodes, low, middle)?);
            low = middle;
        }
    }
    if low > 0 {
        proof.push(range_root(nodes, low, high)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Returns whether `proof` leads from `leaf` at `index` to `root` of the tree of `size` leaves
/// (RFC 9162, 2.1.3.2).
pub fn check_inclusion(index: u64, size: u64, leaf: &Hash, proof: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Returns whether `proof` shows that the tree of `new` leaves continues the tree of `old` leaves
/// (RFC 9162, 2.1.4.2).
pub fn check_consistency(
    old: u64,
    old_root: &Hash,
    new: u64,
    new_root: &Hash,
    proof: &[Hash],
) -> bool {
    if old >= new || old == 0 {
        let same = old == new && old_root == new_root;
        return proof.is_empty() && (same || (old == 0 && new > 0 && *old_root == empty_root()));
    }
    let (mut node, mut last) = (old - 1, new - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let mut path = proof.iter();
    let first = if old.is_power_of_two() { Some(old_root) } else { path.next() };
    let Some(first) = first.copied() else { return false };
    let (mut old_hash, mut new_hash) = (first, first);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && old_hash == *old_root && new_hash == *new_root
}

/// Returns the root over leaves `low` to `high`, where `low` is a multiple of the smallest power of
/// two that is at least `high - low`.
fn range_root<N: Nodes>(nodes: &N, mut low: u64, high: u64) -> Result<Hash, N::Error> {
    let mut peaks = Vec::new();
    while low < high {
        let level = (high - low).ilog2();
        peaks.push(nodes.node(level, low >> level)?);
        low += 1 << level;
    }
    Ok(join(&peaks))
}

/// Joins the roots of perfect subtrees, largest first, to one root.
fn join(peaks: &[Hash]) -> Hash {
    let joined = peaks.iter().rev().copied().reduce(|right, left| node_hash(&left, &right));
    joined.unwrap_or_else(empty_root)
}

/// Returns the largest power of two smaller than `width`, which is at least 2 (the *k* of RFC 6962,
/// 2.1).
fn split(width: u64) -> u64 {
    1 << (width - 1).ilog2()
}

#[cfg(test)]
mod tests;
