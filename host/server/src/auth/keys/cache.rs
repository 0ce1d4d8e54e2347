//! Keys kept for the next start: an issuer that is down while the host restarts must not stop every sign-in.
//!
//! Invariant: a file counts only under a MAC of this host's key over its place, time and content,
//! so that whoever can write to the folder can at most take keys away, and not bring back older
//! ones ([`MinFetchTimes`]); and never beyond the age that the operator trusts, which counts from
//! when they were fetched.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_files::{Durability, create_private_folder, read_bounded, write_atomic_with};
use portcullis_keys::SymmetricKey;
use portcullis_model::{Millis, sha256};

use super::floor::MinFetchTimes;

/// The key of the MAC: derived, so that it serves no other end.
#[derive(Clone)]
pub struct CacheKey(hmac::Key);

/// The file of one issuer.
pub struct Cache {
    path: PathBuf,
    place: String,
    key: CacheKey,
    floors: Arc<MinFetchTimes>,
}

impl CacheKey {
    /// Derives it from a key of the host.
    pub fn derive(from: &SymmetricKey) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, from.expose());
        let derived = hmac::sign(&root, b"portcullis cache of issuers' keys, version 1");
        Self(hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()))
    }
}

impl Cache {
    /// The file for keys that come from there.
    pub fn new(folder: &Path, key: CacheKey, floors: Arc<MinFetchTimes>, place: &str) -> Self {
        let name = sha256(place.as_bytes()).to_string();
        let name = name.trim_start_matches("sha256:").get(..32).unwrap_or_default();
        let (path, place) = (folder.join(format!("issuer-{name}.keys")), place.to_owned());
        Self { path, place, key, floors }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps a document: one line of time and MAC, then its bytes. Replaces the one before whole.
    pub fn store(&self, fetched: Millis, document: &[u8]) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            create_private_folder(folder)?;
        }
        let mac = STANDARD.encode(hmac::sign(&self.key.0, &self.covered(fetched, document)));
        let line = format!("{fetched} {mac}\n");
        // A power loss can take it away: then the issuer is asked at the next start.
        write_atomic_with(&self.path, &[line.as_bytes(), document], 0o600, Durability::Cached)?;
        // Afterwards: a crash in between leaves newer keys than are listed, which are taken up.
        self.floors.raise(&self.place, fetched)
    }

    /// Returns the stored keys, if this host stored them.
    pub fn load_cached(&self) -> Option<(Millis, Vec<u8>)> {
        let bytes = read_bounded(&self.path, MAX_BYTES).ok()?;
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let (line, document) = bytes.split_at_checked(end)?;
        let document = document.get(1..)?;
        let (fetched, mac) = std::str::from_utf8(line).ok()?.split_once(' ')?;
        let (fetched, mac) = (Millis(fetched.parse().ok()?), STANDARD.decode(mac).ok()?);
        hmac::verify(&self.key.0, &self.covered(fetched, document), &mac).ok()?;
        if !self.floors.admits(&self.place, fetched) {
            tracing::warn!(
                event = "issuer-keys.older",
                issuer = self.place,
                "the stored keys of an issuer are older than keys that were stored before; the \
                 host ignores them and fetches new ones"
            );
            return None;
        }
        Some((fetched, document.to_vec()))
    }

    fn covered(&self, fetched: Millis, document: &[u8]) -> Vec<u8> {
        let length = (self.place.len() as u64).to_be_bytes();
        [&length[..], self.place.as_bytes(), &fetched.0.to_be_bytes(), document].concat()
    }
}

/// The largest file that is read: an answer of the issuer, and its line.
const MAX_BYTES: u64 = crate::net::outbound::MAX_RESPONSE_BYTES as u64 + 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state_mac::StateMac;
    use std::fs;

    #[test]
    fn only_what_this_host_kept_from_there_counts() {
        let folder = tempfile::tempdir().unwrap();
        let key = |byte| CacheKey::derive(&SymmetricKey::from_bytes([byte; 32]));
        let mac = StateMac::new(&SymmetricKey::from_bytes([9; 32])).unwrap();
        let floors = Arc::new(MinFetchTimes::read(folder.path(), mac));
        let place = "https://a.example/keys";
        let cache = Cache::new(&folder.path().join("made"), key(1), Arc::clone(&floors), place);
        assert!(cache.load_cached().is_none());
        cache.store(Millis(7), b"old").unwrap();
        let older = fs::read(cache.path()).unwrap();
        cache.store(Millis(42), b"{}\n{}").unwrap();
        assert_eq!(cache.load_cached().unwrap(), (Millis(42), b"{}\n{}".to_vec()));
        let text = fs::read_to_string(cache.path()).unwrap();
        for (what, forged) in [
            ("another time", text.replacen("42", "43", 1)),
            ("another document", text.replace("{}\n{}", "[]\n{}")),
            ("cut", text.trim_end_matches('}').to_owned()),
            ("no line", String::new()),
        ] {
            fs::write(cache.path(), forged).unwrap();
            assert!(cache.load_cached().is_none(), "{what}");
        }
        fs::write(cache.path(), &text).unwrap();
        assert!(cache.load_cached().is_some());
        let other = |place: &str, byte| Cache {
            path: cache.path.clone(),
            place: place.to_owned(),
            key: key(byte),
            floors: Arc::clone(&floors),
        };
        assert!(other("https://b.example/keys", 1).load_cached().is_none(), "another issuer's");
        assert!(other(place, 2).load_cached().is_none(), "another host's");
        fs::write(cache.path(), older).unwrap();
        assert!(cache.load_cached().is_none(), "an older file of this host");
    }
}
