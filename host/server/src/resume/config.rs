//! `[resume.NAME]`: where a platform waits for calls of ours, and how we prove ourselves there.
//!
//! Invariant: no secret is a setting; it is in a file, which is read when a token is asked for, so that it can be replaced at any time.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::outbound;

/// One platform's interface.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResumeConfig {
    /// What every path is put behind, such as `https://graph.microsoft.com`.
    pub base_url: String,
    /// Where tokens are to be had (OAuth 2.0 client credentials), such as
    /// `https://login.microsoftonline.com/TENANT/oauth2/v2.0/token`.
    pub token_url: String,
    /// The application's id there.
    pub client_id: String,
    /// The file that holds its secret; a final line break is not part of it.
    pub client_secret_file: PathBuf,
    /// The scope to ask for. Default: the base URL's `/.default`, as Microsoft has it.
    pub scope: Option<String>,
    /// The folder that holds calls until they are made. Default: `resume/NAME`.
    pub spool: Option<PathBuf>,
    /// Time for one attempt, milliseconds. Default 10,000.
    #[serde(default = "default_attempt_ms")]
    pub attempt_ms: u64,
    /// Time after which a call is given up, hours; the platform has given up long before. Default 72.
    #[serde(default = "default_give_up_hours")]
    pub give_up_hours: u64,
}

impl ResumeConfig {
    /// Checks it, and resolves its paths against the configuration's folder.
    pub fn check(&mut self, name: &str, base: &Path) -> Result<(), String> {
        for (member, url) in [("base_url", &mut self.base_url), ("token_url", &mut self.token_url)] {
            let wrong = |why: &str| format!("resume.{name}.{member}: {why}");
            let address = outbound::address(url).map_err(|error| wrong(&error.to_string()))?;
            if address.query().is_some() {
                return Err(wrong("it has a query"));
            }
            url.truncate(url.trim_end_matches('/').len());
        }
        if self.client_id.is_empty() {
            return Err(format!("resume.{name}.client_id is empty"));
        }
        if !(100..=60_000).contains(&self.attempt_ms) {
            return Err(format!("resume.{name}.attempt_ms is {}, not 100 to 60000", self.attempt_ms));
        }
        if !(1..=720).contains(&self.give_up_hours) {
            return Err(format!("resume.{name}.give_up_hours is {}, not 1 to 720", self.give_up_hours));
        }
        self.client_secret_file = base.join(&self.client_secret_file);
        self.spool = Some(base.join(self.spool.take().unwrap_or_else(|| Path::new("resume").join(name))));
        Ok(())
    }

    /// The scope to ask for.
    pub fn scope(&self) -> String {
        self.scope.clone().unwrap_or_else(|| format!("{}/.default", self.base_url))
    }
}

fn default_attempt_ms() -> u64 {
    10_000
}

fn default_give_up_hours() -> u64 {
    72
}
