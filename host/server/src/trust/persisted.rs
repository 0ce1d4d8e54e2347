//! What the host remembers of trust, in a file of its own: what was active, accepted, revoked and spent, and the head of the log then.
//!
//! Invariant: the log is the truth and the file is how far it has been read. Every change is a
//! record first (its member `state`), then in the file; a file that is missing, cut or not ours
//! costs a reading of the log, never a memory. A change that holds although the log took no record
//! of it is in the file too, which then tells that not everything is recorded. It is authenticated
//! with a key that is derived from the host's sealing key, so that nobody who can only write files
//! can make the host forget.

use crate::state_mac::StateMac;
use std::io;
use std::path::Path;

use portcullis_audit::disk::OsDisk;
use portcullis_files::{read_bounded, write_atomic};
use portcullis_keys::PublicKey;
use portcullis_tlog::checkpoint::Checkpoint;
use portcullis_tlog::{ReadError, Reader};
use portcullis_trust::TrustHistory;
use serde::{Deserialize, Serialize};

/// A history, and the signed head of the log in which all of it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PersistedState {
    /// The signed note of the log's head. Empty before there was one.
    pub head: String,
    /// Everything that must not be forgotten.
    pub history: TrustHistory,
    /// Origins of logs that this host must never sign again.
    pub retired: std::collections::BTreeSet<String>,
    /// Whether some of the history is in no record of the log: a start then finds out from the log itself
    /// what is. Absent from the file where it is not so.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unrecorded: bool,
}

/// What a file held.
pub enum LoadedState {
    /// There is none.
    Absent,
    /// A memory of this host's.
    State(Box<PersistedState>),
    /// Something else, and what is wrong with it.
    Corrupt(String),
}

/// How a log stands to what is remembered of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogContinuity {
    /// It continues what is remembered.
    Continues,
    /// It has fewer records than are remembered: it comes from an old copy.
    Behind {
        /// How many it has.
        has: u64,
        /// How many it had.
        had: u64,
    },
    /// Its directory holds no log. What is remembered is perhaps on a disk that is not mounted yet.
    Missing {
        /// How many records it had.
        had: u64,
    },
    /// It has other records than are remembered.
    Forked {
        /// The size at which they differ, or an earlier one.
        at: u64,
    },
    /// Another log has taken its place.
    Retired,
    /// Another log of this host's is remembered, and this one has records that nothing links to it.
    Unlinked {
        /// The origin that is remembered.
        other: String,
    },
}

impl PersistedState {
    /// Reads a file.
    pub fn read(path: &Path, mac: &StateMac) -> io::Result<LoadedState> {
        let bytes = match read_bounded(path, MAX_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.is_missing() => return Ok(LoadedState::Absent),
            Err(portcullis_files::ReadError::Io(error)) => return Err(error),
            Err(error) => return Ok(LoadedState::Corrupt(error.to_string())),
        };
        Ok(Self::parse(&bytes, mac)
            .map_or_else(LoadedState::Corrupt, |memory| LoadedState::State(Box::new(memory))))
    }

    fn parse(bytes: &[u8], mac: &StateMac) -> Result<Self, String> {
        mac.verify(bytes)
    }

    /// The bytes of the file.
    pub fn to_bytes(&self, mac: &StateMac) -> io::Result<Vec<u8>> {
        mac.authenticate(self)
    }

    /// How a log whose head is known stands to this memory.
    pub fn log_continuity(
        &self,
        log: &Reader<'_>,
        key: &PublicKey,
    ) -> Result<LogContinuity, ReadError> {
        let origin = &log.head().origin;
        if self.retired.contains(origin) {
            return Ok(LogContinuity::Retired);
        }
        let Some(remembered) = self.origin() else { return Ok(LogContinuity::Continues) };
        if remembered != origin {
            // A log that begins now follows the one that is remembered.
            let begins = log.head().size == 0;
            let other = remembered.to_owned();
            return Ok(if begins {
                LogContinuity::Continues
            } else {
                LogContinuity::Unlinked { other }
            });
        }
        let head = Checkpoint::verify(self.head.as_bytes(), key).map_err(ReadError::Checkpoint)?;
        if head.size > log.head().size {
            return Ok(LogContinuity::Behind { has: log.head().size, had: head.size });
        }
        Ok(if log.continues(&head)? {
            LogContinuity::Continues
        } else {
            LogContinuity::Forked { at: head.size }
        })
    }

    /// The log that is remembered.
    pub fn origin(&self) -> Option<&str> {
        self.head.lines().next()
    }

    /// Size of that log then.
    pub fn size(&self) -> u64 {
        self.head.lines().nth(1).and_then(|size| size.parse().ok()).unwrap_or(0)
    }

    /// Reads the log on from where this memory ends, and remembers its head. Says whether anything was new.
    pub fn replay_from(&mut self, log: &Reader<'_>) -> Result<bool, ReadError> {
        let from = if self.origin() == Some(&log.head().origin) { self.size() } else { 0 };
        let mut pieces = TrustHistory::default();
        log.scan(from, |_, leaf| {
            if let Some(piece) = state_delta(leaf) {
                pieces.merge(&piece);
            }
        })?;
        log.note().clone_into(&mut self.head);
        Ok(self.history.merge(&pieces))
    }
}

/// Opens a log's public part for reading.
pub fn reader<'a>(
    disk: &'a OsDisk,
    directory: &Path,
    key: &PublicKey,
) -> Result<Option<Reader<'a>>, ReadError> {
    if !holds_log(directory) {
        return Ok(None);
    }
    Reader::open(disk, &directory.join("log"), key).map(Some)
}

/// Whether a directory holds a log: each has a checkpoint before its first record.
pub fn holds_log(directory: &Path) -> bool {
    directory.join("log/checkpoint").exists()
}

/// Writes a file whole and durably, for its owner and the auditors' group.
pub fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_atomic(path, bytes, 0o640)
}

/// What a record tells to remember.
fn state_delta(leaf: &[u8]) -> Option<TrustHistory> {
    #[derive(Deserialize)]
    struct Leaf {
        t: String,
        #[serde(default)]
        state: Option<TrustHistory>,
    }
    // Most records are calls; theirs is the only text that others have a part in, and it is not looked at.
    if leaf.windows(STATE_MEMBER.len()).all(|window| window != STATE_MEMBER) {
        return None;
    }
    let leaf: Leaf = serde_json::from_slice(leaf).ok()?;
    KINDS.iter().any(|kind| leaf.t.starts_with(kind)).then_some(leaf.state)?
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

/// The member of a record that carries a piece of the history.
const STATE_MEMBER: &[u8] = b"\"state\":";
/// The records that may.
const KINDS: [&str; 4] = ["trust.", "release.", "break-glass.", "table."];

/// Room for tens of thousands of serials and revocations.
const MAX_BYTES: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use portcullis_keys::SymmetricKey;

    use super::*;

    fn mac(byte: u8) -> StateMac {
        StateMac::new(&SymmetricKey::from_bytes([byte; 32])).unwrap()
    }

    #[test]
    fn only_our_own_memory_is_believed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("memory");
        assert!(matches!(PersistedState::read(&path, &mac(1)), Ok(LoadedState::Absent)));
        let mut memory = PersistedState::default();
        memory.history.highest = 412;
        write_durably(&path, &memory.to_bytes(&mac(1)).unwrap()).unwrap();
        let Ok(LoadedState::State(read)) = PersistedState::read(&path, &mac(1)) else { panic!() };
        assert_eq!(*read, memory);
        assert!(
            matches!(PersistedState::read(&path, &mac(2)), Ok(LoadedState::Corrupt(_))),
            "another host's"
        );
        let bytes = std::fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[at] ^= 1;
            assert!(
                PersistedState::parse(&altered, &mac(1)).is_err() || at == bytes.len() - 1,
                "byte {at}"
            );
            assert!(
                at == bytes.len() - 1 || PersistedState::parse(&bytes[..at], &mac(1)).is_err(),
                "cut at {at}"
            );
        }
    }

    #[test]
    fn only_records_about_trust_are_believed() {
        let leaf = |kind: &str| {
            format!(r#"{{"v":1,"seq":7,"t":"{kind}","tenant":"x","at":1,"state":{{"highest":9}}}}"#)
        };
        assert_eq!(state_delta(leaf("release.active").as_bytes()).unwrap().highest, 9);
        assert_eq!(state_delta(leaf("hook.decision").as_bytes()), None);
        assert_eq!(state_delta(leaf("release.active").replace("state", "other").as_bytes()), None);
    }
}
