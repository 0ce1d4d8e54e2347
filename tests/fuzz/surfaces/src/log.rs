//! The record's formats: notes, checkpoints, proofs, and what a crash may have left of the write-ahead log.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use portcullis_audit::checkpoint::Checkpoint;
use portcullis_audit::disk::Disk;
use portcullis_audit::prove::check_proof;
use portcullis_audit::tree::{Frontier, leaf_hash};
use portcullis_audit::verify::{VerifyOptions, verify};
use portcullis_audit::{Log, Options, SealKey, Sealer, note};
use portcullis_keys::{PublicKey, SecretKey, SymmetricKey};

use crate::memory::Memory;

/// A signed note: never ours, since whoever made it does not have our key.
pub fn note(bytes: &[u8]) {
    assert!(note::verify(bytes, KEY.public()).is_err());
    if let Some(key) = str::from_utf8(bytes).ok().and_then(|text| PublicKey::parse(text).ok()) {
        assert_eq!(PublicKey::parse(&key.to_string()).ok(), Some(key));
    }
}

/// The text of a note that we signed: read back as it was; as a checkpoint only in the one spelling.
pub fn checkpoint(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let text = format!("{text}\n");
    let signed = note::sign(&text, &**KEY);
    if let Ok(read) = note::verify(signed.as_bytes(), KEY.public()) {
        assert_eq!(read, text);
    }
    if let Ok(head) = Checkpoint::verify(signed.as_bytes(), KEY.public()) {
        assert_eq!(head.text(), text);
    }
}

/// The head of a proof, before the signed checkpoint of five leaves: it proves the fourth only as the fourth.
pub fn proof(bytes: &[u8]) {
    let Ok(head) = str::from_utf8(bytes) else { return };
    drop(check_proof(head, b"{}", KEY.public()));
    let mut tree = Frontier::default();
    (0..5).for_each(|number| tree.push(leaf_hash(&leaf(number))));
    let checkpoint = Checkpoint { origin: KEY.public().name().to_owned(), size: 5, root: tree.root() };
    let proof = format!("{head}\n\n{}", checkpoint.sign(&**KEY));
    if let Ok((index, covers)) = check_proof(&proof, &leaf(3), KEY.public()) {
        assert_eq!((index, covers), (3, checkpoint));
    }
}

/// A segment of the write-ahead log as a crash, or a bad disk, may have left it: the log opens on what it can vouch for or refuses; once it
/// has opened, it is whole, and opens again without finding anything more. The first bytes may claim a good frame: see [`framed`].
pub fn recovery(bytes: &[u8]) {
    let disk: Arc<dyn Disk> = Arc::new(Memory::new(&PathBuf::from(DIR)));
    let Ok((log, _)) = open(&disk) else { unopened() };
    drop(log);
    let segment = PathBuf::from(DIR).join("wal/0000.segment");
    let Ok(file) = disk.create(&segment) else { unopened() };
    let mut content = framed(bytes);
    content.resize(SEGMENT_BYTES, 0);
    let Ok(()) = file.write_at(&content, 0) else { unopened() };
    let Ok((log, found)) = open(&disk) else { return };
    assert_eq!(log.flush_checkpoint().ok(), Some(found.size));
    assert_eq!(log.close(), Ok(()));
    let whole = verify(disk.as_ref(), &PathBuf::from(DIR), KEY.public(), &VerifyOptions::default());
    // Leaves that the writer never made are damage to a verifier, not to the tree over them.
    assert!(whole.is_ok() || found.replayed > 0);
    let Ok((_, again)) = open(&disk) else { unopened() };
    assert_eq!((again.size, again.replayed, again.truncated_bytes, again.unclean), (found.size, 0, 0, false));
}

/// No change by chance hits a checksum: so in each block that begins with `P` the magic, the length and the checksum are put right, as
/// those of a frame whose payload has as many bytes as the block's next two say.
fn framed(bytes: &[u8]) -> Vec<u8> {
    let mut content = bytes.get(..bytes.len().min(MOST_BYTES)).unwrap_or_default().to_vec();
    for block in content.chunks_mut(4096).filter(|block| block.first() == Some(&b'P')) {
        let claimed =
            block.get(1..3).map_or(0, |two| two.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)));
        let length = claimed.min(block.len().saturating_sub(44));
        let Ok(four) = u32::try_from(length) else { continue };
        let Some(head) = block.get_mut(..12) else { continue };
        head.copy_from_slice(&[&b"\xF5PCWAL1\0"[..], &four.to_be_bytes()].concat());
        let Some((covered, rest)) = block.split_at_mut_checked(40 + length) else { continue };
        if let Some(crc) = rest.get_mut(..4) {
            crc.copy_from_slice(&crc32fast::hash(covered).to_be_bytes());
        }
    }
    content
}

fn open(disk: &Arc<dyn Disk>) -> Result<(Log, portcullis_audit::Recovery), portcullis_audit::AuditError> {
    let sealer = Sealer::new(SealKey::new(SymmetricKey::from_bytes([6; 32])));
    let options =
        Options::new(PathBuf::from(DIR), "t".to_owned(), Arc::clone(&**KEY) as Arc<_>, sealer, Arc::new(|| 1_000));
    Log::open_on(Arc::clone(disk), Options { segment_bytes: SEGMENT_BYTES as u64, max_segments: 2, ..options })
}

#[expect(clippy::panic, reason = "a finding")]
fn unopened() -> ! {
    panic!("a log that was in order does not open");
}

fn leaf(number: u8) -> Vec<u8> {
    format!("leaf {number}").into_bytes()
}

#[expect(clippy::expect_used, reason = "nothing of it comes from outside")]
static KEY: LazyLock<Arc<SecretKey>> =
    LazyLock::new(|| Arc::new(SecretKey::from_seed("log.example/2026", &[5; 32]).expect("a fixed key")));

const DIR: &str = "/log";
/// The smallest that there may be.
const SEGMENT_BYTES: usize = 2 << 20;
/// Of a segment; more says nothing more.
const MOST_BYTES: usize = 64 << 10;
