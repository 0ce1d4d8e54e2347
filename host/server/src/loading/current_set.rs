//! The set that lies in the release folder at present.
//!
//! Invariant: nothing of it is active yet. What is read here says only whether the folder changed
//! and which set it holds.

use portcullis_model::{Digest, Millis, sha256};
use portcullis_trust::{Envelope, ReleaseSet, TrustRoot, verify_release};

use super::read;
use crate::config::ReleasePaths;

/// The digest of the signed bytes of the set that lies there.
pub fn current_set_digest(paths: &ReleasePaths) -> Option<Digest> {
    set_digest(&read::read_set(paths).ok()?)
}

/// The digest of the signed bytes of a set.
pub fn set_digest(set: &[u8]) -> Option<Digest> {
    Envelope::parse(set).ok().map(|envelope| sha256(envelope.unverified_payload()))
}

/// The set that lies there, where it is signed and its time is not over.
pub fn verified_current_set(
    paths: &ReleasePaths,
    root: &TrustRoot,
    now: Millis,
) -> Option<ReleaseSet> {
    verify_release(root, &set_bytes(paths)?, now).ok()
}

/// The set's file, whatever it holds.
pub fn set_bytes(paths: &ReleasePaths) -> Option<Vec<u8>> {
    read::read_set(paths).ok()
}
