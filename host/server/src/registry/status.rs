//! The registry that a host follows, and how that goes.
//!
//! Invariant: what is noted here is of this moment and this process; what must last is in the record.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use portcullis_model::{Digest, Millis};
use portcullis_registry::ImageRef;

use super::client::Client;
use super::error::PullError;
use crate::config::registry::RegistryConfig;
use crate::error::StartError;
use crate::start_problems::key_file;

/// A registry that is followed.
pub struct RegistrySource {
    /// The client.
    pub client: Client,
    /// The tag.
    pub reference: ImageRef,
    /// The settings.
    pub config: RegistryConfig,
    state: Mutex<RegistryState>,
    counts: [AtomicU64; Outcome::ALL.len()],
}

/// What a look came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The tag leads to what is here.
    Current,
    /// Something new was put into the folders.
    Pulled,
    /// What the tag leads to is not taken.
    Refused,
    /// The registry gave nothing that could be judged.
    Failed,
}

/// How it goes.
#[derive(Clone, Debug, Default)]
pub struct RegistryState {
    /// What the last look came to.
    pub outcome: Option<Outcome>,
    /// Its code, where it did not go well.
    pub code: Option<&'static str>,
    /// When the registry last gave something that could be judged.
    pub contact: Option<Millis>,
    /// The artifact that the tag led to then.
    pub artifact: Option<Digest>,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Current, Self::Pulled, Self::Refused, Self::Failed];

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Pulled => "pulled",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

impl RegistrySource {
    /// Readies it; calls nobody.
    pub fn new(config: &RegistryConfig) -> Result<Self, StartError> {
        let wrong = |why| StartError::Registry { release: config.release.clone(), why };
        let reference = config.reference().map_err(wrong)?;
        if let Some(file) = &config.password_file {
            portcullis_keys::read_secret_lines(file)
                .map_err(|error| key_file("registry password", file, &error))?;
        }
        let client = Client::new(config.access())?;
        Ok(Self {
            client,
            reference,
            config: config.clone(),
            state: Mutex::default(),
            counts: Default::default(),
        })
    }

    /// How it goes.
    pub fn state(&self) -> RegistryState {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many looks came to this.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.counts.get(outcome as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Notes what the tag led to.
    pub fn set_artifact(&self, artifact: Digest) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).artifact = Some(artifact);
    }

    /// Notes what a look came to. Says whether that is another thing than the last time.
    pub fn record_outcome(&self, result: &Result<Outcome, PullError>, now: Millis) -> bool {
        let outcome = match result {
            Ok(outcome) => *outcome,
            Err(error) if error.is_refusal() => Outcome::Refused,
            Err(_) => Outcome::Failed,
        };
        if let Some(count) = self.counts.get(outcome as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let code = result.as_ref().err().map(PullError::code);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if outcome != Outcome::Failed {
            state.contact = Some(now);
        }
        let changed = (state.outcome, state.code) != (Some(outcome), code);
        (state.outcome, state.code) = (Some(outcome), code);
        changed
    }
}
