//! Evidence for one record that stands alone (C2SP tlog-proof): its place, the path from it to the
//! root, and the signed checkpoint.
//!
//! Invariant: a proof is checked before it is returned, and checking needs nothing but its text,
//! the record's bytes and the log's vkey.

use std::fmt::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_keys::PublicKey;

use crate::checkpoint::Checkpoint;
use crate::note::NoteError;
use crate::reader::{ReadError, Reader, unreadable};
use crate::source::Source;
use crate::tree::{Hash, check_inclusion, inclusion_proof, leaf_hash};

/// A record and the proof that the log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// The exact bytes of the record.
    pub leaf: Vec<u8>,
    /// The content of a `.tlog-proof` file.
    pub proof: String,
}

/// Why a proof does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Not the form of a proof.
    #[error("not a proof: {0}")]
    Malformed(&'static str),
    /// Its checkpoint is not the log's.
    #[error("the proof's checkpoint is not accepted: {0}")]
    Checkpoint(NoteError),
    /// The path does not lead from this record to the checkpoint's root.
    #[error("the proof is not of this record")]
    OtherRecord,
}

impl ProofError {
    /// Returns the stable name of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "proof-malformed",
            Self::Checkpoint(_) => "proof-checkpoint",
            Self::OtherRecord => "proof-other-record",
        }
    }
}

/// Proves that record `index` is in the log.
pub fn prove(
    disk: &dyn Source,
    dir: &Path,
    key: &PublicKey,
    index: u64,
) -> Result<Proven, ReadError> {
    let reader = Reader::open(disk, dir, key)?;
    let leaf = reader.verified(index)?.into_leaf();
    let path = inclusion_proof(&reader.tiles, index, reader.head().size)
        .map_err(|error| unreadable(&reader.log, &error))?;
    let mut proof = format!("{HEADER}\nindex {index}\n");
    for hash in &path {
        // Writing to a string does not fail.
        let _ = writeln!(proof, "{}", STANDARD.encode(hash));
    }
    proof.push('\n');
    proof.push_str(&reader.note);
    match check_proof(&proof, &leaf, key) {
        Ok(_) => Ok(Proven { leaf, proof }),
        Err(error) => Err(ReadError::Damaged(format!(
            "record {index} does not lead to the checkpoint: {error}"
        ))),
    }
}

/// Checks a proof of the record with these bytes; returns its place and the checkpoint that covers
/// it.
pub fn check_proof(
    proof: &str,
    leaf: &[u8],
    key: &PublicKey,
) -> Result<(u64, Checkpoint), ProofError> {
    let (head, note) =
        proof.split_once("\n\n").ok_or(ProofError::Malformed("it has no empty line"))?;
    let mut lines = head.split('\n').peekable();
    if lines.next() != Some(HEADER) {
        return Err(ProofError::Malformed("it does not begin with `c2sp.org/tlog-proof@v1`"));
    }
    if let Some(extra) = lines
        .next_if(|line| line.starts_with("extra "))
        .and_then(|line| line.strip_prefix("extra "))
    {
        STANDARD
            .decode(extra)
            .map_err(|_| ProofError::Malformed("its extra data is not base64"))?;
    }
    let index = lines.next().and_then(|line| line.strip_prefix("index ")).and_then(|text| {
        let index: u64 = text.parse().ok()?;
        (index.to_string() == text).then_some(index)
    });
    let index = index.ok_or(ProofError::Malformed("it names no index"))?;
    let mut path = Vec::new();
    for line in lines {
        let hash: Option<Hash> = STANDARD.decode(line).ok().and_then(|bytes| bytes.try_into().ok());
        path.push(
            hash.filter(|_| path.len() < MAX_PATH)
                .ok_or(ProofError::Malformed("a line is not a hash"))?,
        );
    }
    let head = Checkpoint::verify(note.as_bytes(), key).map_err(ProofError::Checkpoint)?;
    if check_inclusion(index, head.size, &leaf_hash(leaf), &path, &head.root) {
        Ok((index, head))
    } else {
        Err(ProofError::OtherRecord)
    }
}

const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// The longest path, in hashes: that of a tree of 2^64 leaves.
const MAX_PATH: usize = 64;
