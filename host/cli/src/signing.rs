//! Common parts of the commands that sign: reading keys and trust roots, adding signatures.
//!
//! Invariant: each trust root of a chain is verified by the one before it.

use std::path::{Path, PathBuf};

use portcullis_keys::SecretKey;
use portcullis_trust::{TrustRoot, add_signature, verify_pinned_root};

use crate::exit::{CliError, CliResult};
use crate::files;

/// Reads signing keys.
pub fn read_keys(files: &[PathBuf]) -> CliResult<Vec<SecretKey>> {
    files.iter().map(|file| Ok(SecretKey::read(file)?)).collect()
}

/// Adds the signatures of these keys.
pub fn add_all(mut envelope: Vec<u8>, keys: &[SecretKey]) -> CliResult<Vec<u8>> {
    for key in keys {
        envelope = add_signature(&envelope, key)?;
    }
    Ok(envelope)
}

/// Reads the first trust root of a chain, which its own keys verify.
pub fn pinned(path: &Path) -> CliResult<TrustRoot> {
    Ok(verify_pinned_root(&files::read(path)?)?)
}

/// The newest of a chain of trust roots, each verified by the one before.
pub fn chain(paths: &[PathBuf]) -> CliResult<TrustRoot> {
    let (first, rest) = paths
        .split_first()
        .ok_or_else(|| CliError::configuration("give a trust root with `--root`"))?;
    let mut root = pinned(first)?;
    for path in rest {
        root = root.next(&files::read(path)?)?;
    }
    Ok(root)
}
