//! When issuers' kept keys were fetched last, in the host's own folder.
//!
//! Invariant: keys that were kept earlier than the newest that this host has kept are not taken up
//! again, although they are this host's: an issuer may have withdrawn one of them since. The list
//! is authenticated like everything in that folder. Where it is lost, no kept keys are taken up:
//! the issuer is asked.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use portcullis_files::{Durability, HeldFolder, read_bounded, write_atomic_with};
use portcullis_model::Millis;
use serde::{Deserialize, Serialize};

use crate::state_mac::StateMac;

/// The list; one for all issuers.
pub struct MinFetchTimes {
    mac: StateMac,
    file: PathBuf,
    /// The host's own folder, once it is held: the list is written there and nowhere else.
    state_folder: OnceLock<Arc<HeldFolder>>,
    known: Mutex<StoredTimes>,
}

/// As it lies in the file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredTimes {
    /// The kind of this list: others in that folder are authenticated with the same key.
    kind: Kind,
    /// The place of keys → the time at which the newest stored keys were fetched.
    fetched: BTreeMap<String, Millis>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
enum Kind {
    #[default]
    #[serde(rename = "issuer-keys-fetched")]
    IssuerKeysFetched,
}

impl MinFetchTimes {
    /// Reads the list in the host's own folder. One that is not this host's is as none.
    pub fn read(state: &Path, mac: StateMac) -> Self {
        let file = state.join(FILE);
        let known = match read_bounded(&file, MAX_BYTES) {
            Ok(bytes) => mac.verify(&bytes).unwrap_or_else(|why| {
                tracing::error!(
                    event = "issuer-keys.list-corrupt",
                    file = %file.display(),
                    why,
                    "the list of stored issuers' keys failed its check; the host ignores stored \
                     keys and fetches new ones"
                );
                StoredTimes::default()
            }),
            Err(_) => StoredTimes::default(),
        };
        Self { mac, file, state_folder: OnceLock::new(), known: Mutex::new(known) }
    }

    /// Writes in the folder that is held open from here on, whatever its path names.
    pub fn attach_folder(&self, home: &Arc<HeldFolder>) {
        // It is held once a process.
        let _ = self.state_folder.set(Arc::clone(home));
    }

    /// Returns whether keys from there that were fetched then may be taken up.
    pub fn admits(&self, place: &str, fetched: Millis) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.fetched.get(place).is_some_and(|newest| fetched >= *newest)
    }

    /// Notes that keys from there were kept.
    ///
    /// # Errors
    /// The list could not be written: until it is, these keys can be exchanged for the ones before.
    pub fn raise(&self, place: &str, fetched: Millis) -> io::Result<()> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.fetched.contains_key(place) && known.fetched.len() >= MAX_PLACES {
            known.fetched.pop_first();
        }
        known.fetched.insert(place.to_owned(), fetched);
        let bytes = self.mac.authenticate(&*known)?;
        let place = self.state_folder.get().map_or_else(|| self.file.clone(), |home| home.at(FILE));
        write_atomic_with(&place, &[&bytes], 0o600, Durability::Synced)
    }
}

/// The list's file.
const FILE: &str = "issuer-keys";
/// The most issuers that are remembered: many times those of one configuration.
const MAX_PLACES: usize = 1_000;
/// The largest list that is read, bytes.
const MAX_BYTES: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_keys::SymmetricKey;

    #[test]
    fn older_keys_and_unknown_ones_are_not_admitted() {
        let home = tempfile::tempdir().unwrap();
        let floors = |key: u8| {
            MinFetchTimes::read(
                home.path(),
                StateMac::new(&SymmetricKey::from_bytes([key; 32])).unwrap(),
            )
        };
        let first = floors(1);
        assert!(!first.admits("a", Millis(7)), "nothing was kept");
        first.raise("a", Millis(7)).unwrap();
        first.raise("a", Millis(9)).unwrap();
        first.raise("b", Millis(3)).unwrap();
        let next = floors(1);
        assert!(next.admits("a", Millis(9)) && next.admits("b", Millis(3)));
        assert!(!next.admits("a", Millis(7)), "an older file was put back");
        // The clock was set back since: what was kept last counts.
        next.raise("a", Millis(5)).unwrap();
        assert!(next.admits("a", Millis(5)));
        assert!(!floors(2).admits("a", Millis(9)), "another host's");
    }
}
