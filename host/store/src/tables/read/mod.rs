//! Reading each format, with its bounds.
//!
//! Invariant: the bytes are not trusted. A reader holds no more than one row of CSV or JSON Lines,
//! reads at most `max_bytes` bytes, follows nothing out of them, and turns everything unexpected
//! into a problem with its place. The digest is of exactly the bytes that were read.

pub(crate) mod csv;
pub(crate) mod grid;
pub(crate) mod json_lines;
pub(crate) mod mmdb;
pub(crate) mod sqlite;
pub(crate) mod xlsx;

use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};

use portcullis_model::Digest;
use sha2::{Digest as _, Sha256};

use super::builder::Builder;
use super::error::{Problem, Stopped};

/// A stream with a bound, and the digest of its bytes.
pub(crate) struct Bounded<'s> {
    stream: &'s mut dyn Read,
    hash: Sha256,
    read: u64,
    max: u64,
    buffer: Box<[u8]>,
    filled: usize,
    used: usize,
}

impl<'s> Bounded<'s> {
    pub fn new(stream: &'s mut dyn Read, max: u64) -> Self {
        let buffer = vec![0; BUFFER].into_boxed_slice();
        Self { stream, hash: Sha256::new(), read: 0, max, buffer, filled: 0, used: 0 }
    }

    /// Returns the bytes that are buffered, after a read where there are none; nothing at the end.
    pub fn fill(&mut self, builder: &mut Builder<'_>) -> Result<&[u8], Stopped> {
        if self.used == self.filled {
            (self.used, self.filled) = (0, 0);
            // The first bytes come together, so that a byte order mark is never cut in two.
            let least = if self.read == 0 { FIRST_BYTES } else { 1 };
            while self.filled < least {
                let free = self.buffer.get_mut(self.filled..).unwrap_or_default();
                match self.stream.read(free) {
                    Ok(0) => break,
                    Ok(count) => self.filled = (self.filled + count).min(self.buffer.len()),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(builder.stop(None, Problem::Read(error.kind()))),
                }
            }
            self.read += u64::try_from(self.filled).unwrap_or(u64::MAX);
            if self.read > self.max {
                return Err(builder.stop(None, Problem::TooManyBytes(self.max)));
            }
            self.hash.update(self.buffer.get(..self.filled).unwrap_or_default());
        }
        Ok(self.buffer.get(self.used..self.filled).unwrap_or_default())
    }

    /// Takes buffered bytes away.
    pub fn consume(&mut self, count: usize) {
        self.used = (self.used + count).min(self.filled);
    }

    /// Reads all bytes for their digest only.
    pub fn skip_all(&mut self, builder: &mut Builder<'_>) -> Result<(), Stopped> {
        loop {
            match self.fill(builder)?.len() {
                0 => return Ok(()),
                count => self.consume(count),
            }
        }
    }

    /// Reads all bytes.
    pub fn read_all(
        &mut self,
        builder: &mut Builder<'_>,
        into: &mut Vec<u8>,
    ) -> Result<(), Stopped> {
        loop {
            let bytes = self.fill(builder)?;
            if bytes.is_empty() {
                return Ok(());
            }
            into.extend_from_slice(bytes);
            let count = bytes.len();
            self.consume(count);
        }
    }

    /// Returns digest and number of the bytes that were read.
    pub fn finish(self) -> (Digest, u64) {
        (Digest(self.hash.finalize().into()), self.read)
    }
}

/// Runs another crate's parser on bytes that are not trusted; a panic in it means damaged bytes.
/// Nothing that `work` touched is used after a panic.
fn fenced<T, E>(work: impl FnOnce() -> Result<T, E>) -> Option<Result<T, E>> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

/// Finds the declared columns among the names of an export's columns.
fn find_columns(
    builder: &mut Builder<'_>,
    place: Option<u64>,
    header: &[String],
) -> Result<Vec<usize>, Stopped> {
    let format = builder.plan.declaration.format;
    let mut found = Vec::new();
    for column in &builder.plan.declaration.columns {
        let source = column.source_in(format);
        let mut same = header.iter().enumerate().filter(|(_, name)| **name == source);
        let problem = match (same.next(), same.next()) {
            (None, _) => Problem::NoColumn(source),
            (Some(_), Some(_)) => Problem::TwoColumns(source),
            (Some((at, _)), None) => {
                found.push(at);
                continue;
            }
        };
        builder.problems.add(place, Some(&column.name), problem);
    }
    if builder.problems.is_empty() { Ok(found) } else { Err(Stopped) }
}

/// Bytes that are read at once.
const BUFFER: usize = 1 << 17;

/// Bytes of a byte order mark.
const FIRST_BYTES: usize = 3;

/// Bytes of a row.
const MAX_ROW_BYTES: usize = 1 << 20;

/// Cells of a row, also of columns that are not kept.
const MAX_CELLS: usize = 4096;
