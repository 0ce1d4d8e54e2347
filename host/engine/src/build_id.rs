//! Which build of the program this is: what compiled code must not outlive.
//!
//! Invariant: two programs that differ have different ids. The linker writes one over the whole program (the ELF note `NT_GNU_BUILD_ID`);
//! where there is none, it is the digest of the program's file.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;

use sha2::{Digest as _, Sha256};

/// The id of the running program.
pub(crate) fn build_id() -> io::Result<Vec<u8>> {
    #[expect(clippy::disallowed_methods, reason = "the program itself, which runs already")]
    let file = File::open("/proc/self/exe")?;
    if let Some(id) = noted(&file).filter(|id| id.len() >= MIN_BYTES) {
        return Ok(id);
    }
    let mut hash = Sha256::new();
    let (mut part, mut file) = (vec![0; PART], &file);
    loop {
        match file.read(&mut part)? {
            0 => break,
            count => hash.update(part.get(..count).unwrap_or_default()),
        }
    }
    Ok(hash.finalize().to_vec())
}

/// The id that the linker has written, where the file is 64-bit little-endian ELF and has one (System V ABI, chapters 4 and 5).
fn noted(file: &File) -> Option<Vec<u8>> {
    let mut head = [0; 64];
    file.read_exact_at(&mut head, 0).ok()?;
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (offset, size, count) = (long(&head, 32)?, short(&head, 54)?, short(&head, 56)?);
    for number in 0..u64::from(count) {
        let mut segment = [0; 56];
        let at = offset.checked_add(number.checked_mul(size.into())?)?;
        file.read_exact_at(&mut segment, at).ok()?;
        let (at, bytes) = (long(&segment, 8)?, long(&segment, 32)?);
        if word(&segment, 0)? == NOTES && bytes <= MAX_NOTES {
            let mut notes = vec![0; usize::try_from(bytes).ok()?];
            file.read_exact_at(&mut notes, at).ok()?;
            if let Some(id) = in_notes(&notes) {
                return Some(id);
            }
        }
    }
    None
}

fn in_notes(mut notes: &[u8]) -> Option<Vec<u8>> {
    while !notes.is_empty() {
        let (name, content, kind) = (word(notes, 0)?, word(notes, 4)?, word(notes, 8)?);
        let (name, content) = (usize::try_from(name).ok()?, usize::try_from(content).ok()?);
        let begins = 12_usize.checked_add(name.checked_next_multiple_of(4)?)?;
        let ends = begins.checked_add(content)?;
        if kind == BUILD_ID && notes.get(12..)?.starts_with(b"GNU\0") {
            return notes.get(begins..ends).map(<[u8]>::to_vec);
        }
        notes = notes.get(begins.checked_add(content.checked_next_multiple_of(4)?)?..)?;
    }
    None
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..)?.first_chunk().copied()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..)?.first_chunk().copied()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..)?.first_chunk().copied()?))
}

/// Bytes that are read at once.
const PART: usize = 64 << 10;
/// `PT_NOTE`.
const NOTES: u32 = 4;
/// `NT_GNU_BUILD_ID`.
const BUILD_ID: u32 = 3;
/// A segment of notes has some hundred bytes.
const MAX_NOTES: u64 = 64 << 10;
/// Below this it is not a hash of anything.
const MIN_BYTES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_has_one() {
        assert!(build_id().unwrap().len() >= MIN_BYTES);
    }

    #[test]
    fn notes_are_read_by_their_lengths() {
        let note = |kind: u32, name: &[u8], content: &[u8]| {
            let length = |it: &[u8]| u32::try_from(it.len()).unwrap().to_le_bytes();
            let mut bytes = [length(name), length(content), kind.to_le_bytes()].concat();
            for part in [name, content] {
                bytes.extend_from_slice(part);
                bytes.resize(bytes.len().next_multiple_of(4), 0);
            }
            bytes
        };
        let other = note(1, b"GNU\0", b"12345");
        let ours = note(BUILD_ID, b"GNU\0", b"0123456789");
        assert_eq!(in_notes(&[other.clone(), ours.clone()].concat()).unwrap(), b"0123456789");
        assert_eq!(in_notes(&other), None);
        for cut in 1..ours.len() - 2 {
            assert_eq!(in_notes(&ours[..cut]), None, "cut at {cut}");
        }
        assert_eq!(in_notes(&[0xff; 40]), None);
    }
}
