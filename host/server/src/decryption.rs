//! `decryption` of a hook: the keys that decrypt what its platform encrypts for it.
//!
//! Invariant: keys are in files of their own and can be replaced while the host serves; files that are of no use change nothing.

use std::path::PathBuf;
use std::sync::Arc;

use portcullis_hooks::Decryptor;
use serde::Deserialize;

use crate::error::StartError;
use crate::watch::Watch;

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
    watch: Watch,
    decryptor: Arc<Decryptor>,
}

impl DecryptionKeys {
    /// Reads them.
    pub fn load(config: &DecryptionConfig) -> Result<Self, StartError> {
        let watch = Watch::new(config.key_files.clone());
        let decryptor = Arc::new(read(&config.key_files)?);
        Ok(Self { files: config.key_files.clone(), watch, decryptor })
    }

    /// What decrypts with them, now and after they were replaced.
    pub fn decryptor(&self) -> Arc<Decryptor> {
        Arc::clone(&self.decryptor)
    }

    /// Takes up files that were replaced; says whether there were any.
    pub fn reload(&self, asked: bool) -> Result<bool, StartError> {
        if !self.watch.changed() && !asked {
            return Ok(false);
        }
        self.decryptor.replace(&read(&self.files)?);
        Ok(true)
    }
}

fn read(files: &[PathBuf]) -> Result<Decryptor, StartError> {
    let mut all = Vec::new();
    for path in files {
        let wrong = |why: String, hint| StartError::File {
            what: "decryption key",
            path: path.clone(),
            why,
            hint,
        };
        let text = portcullis_keys::read_secret_file(path)
            .map_err(|error| wrong(error.to_string(), error.hint()))?;
        // Each for itself, so that the error names its file.
        Decryptor::from_pem([text.as_str()]).map_err(|error| {
            let hint = "`openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072` makes one"
                .to_owned();
            wrong(error.to_string(), Some(hint))
        })?;
        all.push(text);
    }
    let path = files.first().cloned().unwrap_or_default();
    Decryptor::from_pem(all.iter().map(|text| text.as_str())).map_err(|error| StartError::File {
        what: "decryption key",
        path,
        why: error.to_string(),
        hint: None,
    })
}
