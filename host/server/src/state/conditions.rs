//! What stands in the way at this moment, for whoever asks whether the host is ready.
//!
//! Invariant: what is noted here is taken back when it is over; nothing here is a history, that is the log's.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// What went wrong and is not over.
#[derive(Default)]
pub struct Conditions {
    stopping: AtomicBool,
    refused_release: Mutex<Option<&'static str>>,
    refused_configuration: Mutex<Option<String>>,
    unlisted_rejected: AtomicU64,
    altered_release: Mutex<Option<AlteredRelease>>,
    copy_failure: Mutex<Option<String>>,
}

/// Why the files of the active release would not be taken at the next start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlteredRelease {
    /// The stable code.
    pub code: &'static str,
    /// The problem.
    pub sentence: String,
}

impl Conditions {
    /// No further call is taken.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Whether no further call is taken.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// The release in the folders was refused, with this code; or it was not.
    pub fn set_refused_release(&self, refused: Option<&'static str>) {
        *self.refused_release.lock().unwrap_or_else(PoisonError::into_inner) = refused;
    }

    /// The code with which the release in the folders was refused.
    pub fn refused_release(&self) -> Option<&'static str> {
        *self.refused_release.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many files in the plugins' folder may not run and are named nowhere; says whether that is
    /// news.
    pub fn set_unlisted_rejected(&self, more: u64) -> bool {
        self.unlisted_rejected.swap(more, Ordering::AcqRel) != more
    }

    /// How many files in the plugins' folder may not run and are named nowhere.
    pub fn unlisted_rejected(&self) -> u64 {
        self.unlisted_rejected.load(Ordering::Acquire)
    }

    /// Notes whether the folders still hold the active release, whole and signed. Returns whether
    /// that is news.
    pub fn set_altered_release(&self, altered: Option<AlteredRelease>) -> bool {
        let mut known = self.altered_release.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *known != altered;
        *known = altered;
        changed
    }

    /// Returns what is wrong with the files of the active release.
    pub fn altered_release(&self) -> Option<AlteredRelease> {
        self.altered_release.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes why there is no copy of the active release; or that there is one. Returns whether
    /// that is news.
    pub fn set_copy_failure(&self, why: Option<String>) -> bool {
        let mut known = self.copy_failure.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *known != why;
        *known = why;
        changed
    }

    /// Returns why there is no copy of the active release.
    pub fn copy_failure(&self) -> Option<String> {
        self.copy_failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The configuration file was refused, and why; or it was not.
    pub fn set_refused_configuration(&self, refused: Option<String>) {
        *self.refused_configuration.lock().unwrap_or_else(PoisonError::into_inner) = refused;
    }

    /// Why the configuration file was refused.
    pub fn refused_configuration(&self) -> Option<String> {
        self.refused_configuration.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
