//! `[registry]`: where releases are pulled from, and as whom.
//!
//! Invariant: the password is in a file and read when it is needed; it goes over TLS or to this machine alone, and only to the registry
//! itself or to the token endpoint that the operator named.

use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_registry::ImageRef;
use serde::Deserialize;

use crate::net::outbound;

/// The settings.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryConfig {
    /// The release to follow, by tag: `registry.example/hospital/hooks:live`.
    pub release: String,
    /// As whom; with `password_file`. Default: as nobody.
    pub username: Option<String>,
    /// The file whose first line is the password or access token.
    pub password_file: Option<PathBuf>,
    /// The token service of the registry, if it is on another host: the password is sent there
    /// only.
    pub token_realm: Option<String>,
    /// Certificate authorities to believe, PEM. Default: those of `outbound.ca_file`, else the machine's.
    pub ca_file: Option<PathBuf>,
    /// Speaks plain HTTP, to a registry on this machine. Default: no.
    #[serde(default)]
    pub plain_http: bool,
    /// Also to one on another machine. Settings then cross the network in the clear, and they name people. Default: no.
    #[serde(default)]
    pub allow_remote_plaintext: bool,
    /// How often to look, milliseconds; somewhat more or less each time. Default 60,000.
    #[serde(default = "default_poll_ms")]
    pub poll_ms: u64,
    /// Time for one request with its whole answer, milliseconds. Default 60,000.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
    /// The folder in which what arrives is kept until it is whole and proven. Default `incoming` beside the release set.
    pub staging: Option<PathBuf>,
}

/// How a registry is spoken to, wherever it is.
#[derive(Clone, Debug)]
pub struct Access {
    /// As whom, and the file with the password.
    pub credential: Option<(String, PathBuf)>,
    /// The token endpoint that may see the password.
    pub token_realm: Option<String>,
    /// Certificate authorities to believe.
    pub ca_file: Option<PathBuf>,
    /// Plain HTTP.
    pub plain_http: bool,
    /// Plain HTTP to another machine.
    pub allow_remote_plaintext: bool,
    /// Time for one request with its whole answer.
    pub timeout: Duration,
}

impl RegistryConfig {
    /// Checks it, and resolves its paths against the configuration's folder.
    pub fn check(
        &mut self,
        base: &Path,
        set: &Path,
        default_ca: Option<&PathBuf>,
    ) -> Result<(), String> {
        let reference = self.reference()?;
        for path in self.password_file.iter_mut().chain(&mut self.ca_file) {
            *path = base.join(&*path);
        }
        self.ca_file = self.ca_file.take().or_else(|| default_ca.cloned());
        self.staging = Some(match &self.staging {
            Some(staging) => base.join(staging),
            None => set.with_file_name("incoming"),
        });
        if self.username.is_some() != self.password_file.is_some() {
            return Err(
                "registry.username and registry.password_file must be set together".to_owned()
            );
        }
        if !(500..=86_400_000).contains(&self.poll_ms) {
            return Err(format!("registry.poll_ms is {}, not 500 to 86400000", self.poll_ms));
        }
        if !(100..=600_000).contains(&self.timeout_ms) {
            return Err(format!("registry.timeout_ms is {}, not 100 to 600000", self.timeout_ms));
        }
        self.access().check(&reference.repository.host).map_err(|why| format!("registry: {why}"))
    }

    /// The release to follow.
    pub fn reference(&self) -> Result<ImageRef, String> {
        let reference: ImageRef =
            self.release.parse().map_err(|error| format!("registry.release: {error}"))?;
        if reference.tag().is_none() {
            return Err("registry.release has a digest, which never changes; use a tag".to_owned());
        }
        Ok(reference)
    }

    /// How it is spoken to.
    pub fn access(&self) -> Access {
        Access {
            credential: self.username.clone().zip(self.password_file.clone()),
            token_realm: self.token_realm.clone(),
            ca_file: self.ca_file.clone(),
            plain_http: self.plain_http,
            allow_remote_plaintext: self.allow_remote_plaintext,
            timeout: Duration::from_millis(self.timeout_ms),
        }
    }
}

impl Access {
    /// Whether a registry may be spoken to so.
    pub fn check(&self, host: &str) -> Result<(), String> {
        let local = outbound::is_loopback(bare(host));
        if self.allow_remote_plaintext && !self.plain_http {
            return Err("allow_remote_plaintext needs plain_http".to_owned());
        }
        if self.plain_http && !local {
            if !self.allow_remote_plaintext {
                return Err(format!(
                    "plain_http would send plain HTTP to `{host}`; use TLS, or also set \
                     allow_remote_plaintext to allow that"
                ));
            }
            if self.credential.is_some() {
                return Err("a password must not leave this machine over plain HTTP".to_owned());
            }
        }
        if let Some(realm) = &self.token_realm {
            outbound::parse_url(realm)
                .map_err(|error| format!("token_realm `{realm}`: {error}"))?;
        }
        if let Some((name, _)) = &self.credential
            && (name.is_empty() || name.contains(':') || name.chars().any(char::is_control))
        {
            return Err("username is empty, or has a colon in it".to_owned());
        }
        Ok(())
    }
}

/// A host without its port.
fn bare(host: &str) -> &str {
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or_default(),
    }
}

fn default_poll_ms() -> u64 {
    60_000
}

fn default_timeout_ms() -> u64 {
    60_000
}
