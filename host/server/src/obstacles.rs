//! What stands in the way at this moment, for whoever asks whether the host is ready.
//!
//! Invariant: what is noted here is taken back when it is over; nothing here is a history, that is the log's.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// What went wrong and is not over.
#[derive(Default)]
pub struct Obstacles {
    stopping: AtomicBool,
    refused_release: Mutex<Option<&'static str>>,
    refused_configuration: Mutex<Option<String>>,
    more_strays: AtomicU64,
}

impl Obstacles {
    /// No further call is taken.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Whether no further call is taken.
    pub fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// The release in the folders was refused, with this code; or it was not.
    pub fn release(&self, refused: Option<&'static str>) {
        *self.refused_release.lock().unwrap_or_else(PoisonError::into_inner) = refused;
    }

    /// The code with which the release in the folders was refused.
    pub fn refused_release(&self) -> Option<&'static str> {
        *self.refused_release.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many files in the plugins' folder may not run and are named nowhere; says whether that is
    /// news.
    pub fn more_strays(&self, more: u64) -> bool {
        self.more_strays.swap(more, Ordering::AcqRel) != more
    }

    /// How many files in the plugins' folder may not run and are named nowhere.
    pub fn unnamed_strays(&self) -> u64 {
        self.more_strays.load(Ordering::Acquire)
    }

    /// The configuration file was refused, and why; or it was not.
    pub fn configuration(&self, refused: Option<String>) {
        *self.refused_configuration.lock().unwrap_or_else(PoisonError::into_inner) = refused;
    }

    /// Why the configuration file was refused.
    pub fn refused_configuration(&self) -> Option<String> {
        self.refused_configuration.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
