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
    more_strays: AtomicU64,
    altered_release: Mutex<Option<Altered>>,
    not_kept: Mutex<Option<String>>,
}

/// Why the files of the release in force would not be taken at the next start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Altered {
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
    pub fn unlisted_rejected(&self) -> u64 {
        self.more_strays.load(Ordering::Acquire)
    }

    /// Notes whether the folders still hold the release in force, whole and signed. Returns whether
    /// that is news.
    pub fn altered(&self, altered: Option<Altered>) -> bool {
        let mut known = self.altered_release.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *known != altered;
        *known = altered;
        changed
    }

    /// Returns what is wrong with the files of the release in force.
    pub fn altered_release(&self) -> Option<Altered> {
        self.altered_release.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes why there is no copy of the release in force; or that there is one. Returns whether
    /// that is news.
    pub fn not_kept(&self, why: Option<String>) -> bool {
        let mut known = self.not_kept.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *known != why;
        *known = why;
        changed
    }

    /// Returns why there is no copy of the release in force.
    pub fn copy_failure(&self) -> Option<String> {
        self.not_kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
