//! How far the start of the host has come: for the log, `/ready` and `/status`.
//!
//! Invariant: a start begins with [`Progress::default`] and ends once, with [`Progress::finish`].
//! Each step has one log line. The module decides nothing and holds no text of a caller or a
//! plugin.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::clock::{elapsed_since, monotonic_now};

/// The progress of one start.
pub struct Progress {
    finished: AtomicBool,
    begun: Instant,
    current: Mutex<Current>,
}

/// The step in progress.
struct Current {
    step: String,
    since: Instant,
    /// The failure of the last attempt, and how many attempts failed.
    failure: Option<Failure>,
    failures: u32,
}

#[derive(Clone)]
struct Failure {
    reason: String,
    hint: Option<String>,
}

/// The state of a start that has not finished.
pub struct Unfinished {
    /// The step in progress, such as "opening the audit log".
    pub step: String,
    /// Time since the step began.
    pub step_time: Duration,
    /// Time since the start began.
    pub total_time: Duration,
    /// Why the last attempt failed, where one did.
    pub failure: Option<String>,
    /// How to repair that, where it is known.
    pub hint: Option<String>,
    /// How many attempts failed.
    pub failures: u32,
}

impl Progress {
    /// Whether the start has not finished.
    pub fn is_starting(&self) -> bool {
        !self.finished.load(Ordering::Acquire)
    }

    /// Begins the next step.
    pub fn step(&self, step: impl Into<String>) {
        if !self.is_starting() {
            return;
        }
        let step = step.into();
        let mut current = self.current();
        // The steps of a further attempt say nothing new.
        if current.failure.is_none() {
            tracing::info!(event = "start.step", step, "the host began this step of its start");
        } else {
            tracing::debug!(event = "start.step", step, "the host began this step of its start");
        }
        (current.step, current.since) = (step, monotonic_now());
    }

    /// Notes that an attempt failed; another one follows.
    pub fn failed(&self, why: String, hint: Option<String>) {
        let mut current = self.current();
        current.failures = current.failures.saturating_add(1);
        current.failure = Some(Failure { reason: why, hint });
    }

    /// Forgets the failure of an earlier attempt, since this one succeeded.
    pub fn succeeded(&self) {
        self.current().failure = None;
    }

    /// Ends the start.
    pub fn finish(&self) {
        if !self.finished.swap(true, Ordering::AcqRel) {
            let total_ms = millis(elapsed_since(self.begun));
            tracing::info!(event = "start.finished", total_ms, "the host finished its start");
        }
    }

    /// The state, as long as the start has not finished.
    pub fn unfinished(&self) -> Option<Unfinished> {
        if !self.is_starting() {
            return None;
        }
        let current = self.current();
        let failure = current.failure.clone();
        Some(Unfinished {
            step: current.step.clone(),
            step_time: elapsed_since(current.since),
            total_time: elapsed_since(self.begun),
            hint: failure.as_ref().and_then(|failure| failure.hint.clone()),
            failure: failure.map(|failure| failure.reason),
            failures: current.failures,
        })
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Progress {
    fn default() -> Self {
        let now = monotonic_now();
        let step = "reading the configuration".to_owned();
        let current = Current { step, since: now, failure: None, failures: 0 };
        Self { finished: AtomicBool::new(false), begun: now, current: Mutex::new(current) }
    }
}

impl Unfinished {
    /// A sentence about it.
    pub fn sentence(&self) -> String {
        let (step, total) = (&self.step, millis(self.total_time));
        let mut sentence = format!("the host has been starting for {total} ms: {step}");
        if let Some(why) = &self.failure {
            sentence.push_str(&format!("; attempt {} failed: {why}", self.failures));
        }
        sentence
    }

    /// As `/status` and `/ready` show it.
    pub fn json(&self) -> Value {
        json!({
            "step": self.step, "step_ms": millis(self.step_time), "total_ms": millis(self.total_time),
            "failures": self.failures, "failure": self.failure, "hint": self.hint,
        })
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_tells_its_step_and_its_last_failure_until_it_has_finished() {
        let progress = Progress::default();
        progress.step("opening the audit log");
        progress.failed("No space left on device".to_owned(), Some("make room".to_owned()));
        let told = progress.unfinished().unwrap();
        assert_eq!(told.step, "opening the audit log");
        assert!(
            told.sentence()
                .ends_with("opening the audit log; attempt 1 failed: No space left on device")
        );
        assert_eq!((told.hint.as_deref(), told.failures), (Some("make room"), 1));
        progress.succeeded();
        assert_eq!(progress.unfinished().unwrap().failure, None);
        progress.finish();
        assert!(progress.unfinished().is_none() && !progress.is_starting());
        progress.step("a step after the end is none");
        assert!(progress.unfinished().is_none());
    }
}
