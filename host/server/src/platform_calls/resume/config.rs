//! `[resume.NAME]`: where a platform waits for calls of ours, and how we prove ourselves there.
//!
//! Invariant: no secret is a setting; it is in a file, which is read when a token is asked for, so that it can be replaced at any time.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::net::outbound::tokens::{ClientProof, TokenConfig};
use crate::net::outbound::{self, OutboundError};

/// One platform's interface.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResumeConfig {
    /// The address before every path, such as `https://graph.microsoft.com`.
    pub base_url: String,
    /// Where tokens are to be had (OAuth 2.0 client credentials), such as
    /// `https://login.microsoftonline.com/TENANT/oauth2/v2.0/token`.
    pub token_url: String,
    /// The application's id there.
    pub client_id: String,
    /// The file whose first line is its secret. Either this, or `client_key_file`.
    pub client_secret_file: Option<PathBuf>,
    /// The file with its key, with which it signs instead of showing a secret (`private_key_jwt`): RSA or P-256, PKCS #8 in PEM.
    pub client_key_file: Option<PathBuf>,
    /// That key's `kid`, where the issuer knows it by one.
    pub client_key_id: Option<String>,
    /// Its certificate, where the issuer knows it by that, as Entra does.
    pub client_certificate_file: Option<PathBuf>,
    /// The scope to ask for. Default: the base URL's `/.default`, as Microsoft has it.
    pub scope: Option<String>,
    /// The folder that holds calls until they are made. Default: `resume/NAME`.
    pub spool: Option<PathBuf>,
    /// Time for one attempt, milliseconds. Default 10,000.
    #[serde(default = "default_attempt_ms")]
    pub attempt_timeout_ms: u64,
    /// Time after which a call is given up, hours; the platform has given up long before. Default 72.
    #[serde(default = "default_give_up_hours")]
    pub max_age_hours: u64,
}

impl ResumeConfig {
    /// Checks it, and resolves its paths against the configuration's folder.
    pub fn check(&mut self, name: &str, base: &Path) -> Result<(), String> {
        for (member, url) in [("base_url", &mut self.base_url), ("token_url", &mut self.token_url)]
        {
            let wrong = |why: &str| format!("resume.{name}.{member}: {why}");
            let address = outbound::parse_url(url).map_err(|error| wrong(&error.to_string()))?;
            if address.query().is_some() {
                return Err(wrong("it has a query"));
            }
            url.truncate(url.trim_end_matches('/').len());
        }
        if self.client_id.is_empty() {
            return Err(format!("resume.{name}.client_id is empty"));
        }
        if !(100..=60_000).contains(&self.attempt_timeout_ms) {
            return Err(format!(
                "resume.{name}.attempt_timeout_ms is {}, not 100 to 60000",
                self.attempt_timeout_ms
            ));
        }
        if !(1..=720).contains(&self.max_age_hours) {
            return Err(format!(
                "resume.{name}.max_age_hours is {}, not 1 to 720",
                self.max_age_hours
            ));
        }
        if self.client_secret_file.is_some() == self.client_key_file.is_some() {
            return Err(format!(
                "resume.{name} needs either client_secret_file or client_key_file"
            ));
        }
        if self.client_key_file.is_none()
            && (self.client_key_id.is_some() || self.client_certificate_file.is_some())
        {
            return Err(format!(
                "resume.{name}: client_key_id and client_certificate_file need client_key_file"
            ));
        }
        let files = [
            &mut self.client_secret_file,
            &mut self.client_key_file,
            &mut self.client_certificate_file,
        ];
        for file in files.into_iter().flatten() {
            *file = base.join(&*file);
        }
        self.spool =
            Some(base.join(self.spool.take().unwrap_or_else(|| Path::new("resume").join(name))));
        Ok(())
    }

    /// As whom and where tokens are asked for.
    pub fn token(&self) -> Result<TokenConfig, OutboundError> {
        let proof = match (&self.client_secret_file, &self.client_key_file) {
            (_, Some(file)) => ClientProof::Key {
                file: file.clone(),
                kid: self.client_key_id.clone(),
                certificate: self.client_certificate_file.clone(),
            },
            (secret, None) => ClientProof::Secret(secret.clone().unwrap_or_default()),
        };
        let scope = self.scope.clone().unwrap_or_else(|| format!("{}/.default", self.base_url));
        let token_uri = outbound::parse_url(&self.token_url)?;
        Ok(TokenConfig { token_uri, client_id: self.client_id.clone(), proof, scope })
    }
}

fn default_attempt_ms() -> u64 {
    10_000
}

fn default_give_up_hours() -> u64 {
    72
}
