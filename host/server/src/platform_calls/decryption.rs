//! `decryption` of a hook: the keys that decrypt what its platform encrypts for it.
//!
//! Invariant: keys are in files of their own and can be replaced while the host serves; files that are of no use change nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis_hooks::Decryptor;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::error::StartError;
use crate::fs::replaceable::ReplaceableFiles;
use crate::start_problems::{DECRYPTION_KEY, StartProblems, key_file};

/// The settings of `decryption`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecryptionConfig {
    /// Files with RSA keys (PKCS#8, PEM): the current, and others while one rotates.
    pub key_files: Vec<PathBuf>,
    /// The application that is encrypted for, such as its id. Where it is not set, any that is consistent.
    pub audience: Option<String>,
}

/// A hook's keys.
pub struct DecryptionKeys {
    files: Vec<PathBuf>,
    watch: ReplaceableFiles,
    decryptor: Arc<Decryptor>,
}

impl DecryptionKeys {
    /// Reads them.
    pub fn load(config: &DecryptionConfig) -> Result<Self, StartError> {
        let watch = ReplaceableFiles::new(config.key_files.clone());
        let decryptor = Arc::new(read(&config.key_files)?);
        Ok(Self { files: config.key_files.clone(), watch, decryptor })
    }

    /// What decrypts with them, now and after they were replaced.
    pub fn decryptor(&self) -> Arc<Decryptor> {
        Arc::clone(&self.decryptor)
    }

    /// Takes up files that were replaced; says whether there were any.
    pub fn reload(&self, is_requested: bool) -> Result<bool, StartError> {
        if !self.watch.changed() && !is_requested {
            return Ok(false);
        }
        self.decryptor.replace(&read(&self.files)?);
        Ok(true)
    }
}

fn read(files: &[PathBuf]) -> Result<Decryptor, StartError> {
    let mut problems = StartProblems::default();
    let mut all = Vec::new();
    for path in files {
        all.extend(problems.keep(read_file(path)));
    }
    problems.result()?;
    let path = files.first().cloned().unwrap_or_default();
    Decryptor::from_pem(all.iter().map(|text| text.as_str())).map_err(|error| StartError::File {
        what: DECRYPTION_KEY,
        path,
        why: error.to_string(),
        hint: None,
    })
}

/// The text of a key, which is one: each for itself, so that the error names its file.
fn read_file(path: &Path) -> Result<Zeroizing<String>, StartError> {
    let text = portcullis_keys::read_secret_file(path)
        .map_err(|error| key_file(DECRYPTION_KEY, path, &error))?;
    Decryptor::from_pem([text.as_str()]).map_err(|error| {
        let hint = "`openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072` makes one";
        StartError::File {
            what: DECRYPTION_KEY,
            path: path.to_owned(),
            why: error.to_string(),
            hint: Some(hint.to_owned()),
        }
    })?;
    Ok(text)
}
