//! How much harm one plugin may do: how many runs at once, how many that wait, and how many failures until it is left alone.
//!
//! Invariant: `[plugins]` is the host's word for every binding; a signed binding can only make it tighter. Memory, time and output of one
//! run are the manifest's ([`portcullis_model::Limits`]).

use std::time::Duration;

use serde::Deserialize;

use crate::config::{Problems, within};

/// `[plugins]`: bounds of every binding, each for itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PluginsConfig {
    /// Runs of one binding at once outside the connections' threads. Default: `listen.workers`.
    pub concurrency: Option<usize>,
    /// Runs of one binding that may wait for one of those; a further call gets the safe answer at once. Default 64.
    pub queue: usize,
    /// Failures of one binding within the window that bring quarantine. Default 5.
    pub failure_threshold: u32,
    /// The part of its runs in the window that they must be, percent. Default 50.
    pub failure_rate_percent: u32,
    /// The window, milliseconds. Default 60,000.
    pub window_ms: u64,
    /// How long the first quarantine lasts, milliseconds; each further one is twice as long. Default 5,000.
    pub backoff_ms: u64,
    /// How long the longest lasts, milliseconds. Default 300,000.
    pub backoff_max_ms: u64,
}

/// The bounds of one binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PluginLimits {
    /// Runs at once outside the connections' threads.
    pub concurrency: usize,
    /// Runs that may wait for one of those.
    pub queue: usize,
    /// When it is left alone.
    pub errors: ErrorBudget,
}

/// How many failures are borne, and how long a plugin is left alone after more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorBudget {
    /// Failures within the window that bring quarantine.
    pub errors: u32,
    /// The part of all runs that they must be, percent.
    pub percent: u32,
    /// The window.
    pub window: Duration,
    /// How long the first quarantine lasts.
    pub backoff: Duration,
    /// How long the longest lasts.
    pub max_backoff: Duration,
}

impl Default for PluginsConfig {
    fn default() -> Self {
        Self {
            concurrency: None,
            queue: 64,
            failure_threshold: 5,
            failure_rate_percent: 50,
            window_ms: 60_000,
            backoff_ms: 5_000,
            backoff_max_ms: 300_000,
        }
    }
}

impl PluginsConfig {
    /// Adds what is out of bounds.
    pub fn check(&self, problems: &mut Problems) {
        let long = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        for (name, value, least, most) in [
            ("plugins.concurrency", self.concurrency.map_or(1, long), 1, 256),
            ("plugins.queue", long(self.queue), 0, 4_096),
            ("plugins.failure_threshold", self.failure_threshold.into(), 1, 1_000_000),
            ("plugins.failure_rate_percent", self.failure_rate_percent.into(), 1, 100),
            ("plugins.window_ms", self.window_ms, 1_000, 3_600_000),
            ("plugins.backoff_ms", self.backoff_ms, 100, 3_600_000),
            ("plugins.backoff_max_ms", self.backoff_max_ms, self.backoff_ms, 86_400_000),
        ] {
            problems.keep(within(name, value, least, most));
        }
    }

    /// The host's bounds, where a binding says nothing.
    pub fn limits(&self, workers: usize) -> PluginLimits {
        PluginLimits {
            concurrency: self.concurrency.unwrap_or(workers).max(1),
            queue: self.queue,
            errors: ErrorBudget {
                errors: self.failure_threshold,
                percent: self.failure_rate_percent,
                window: Duration::from_millis(self.window_ms),
                backoff: Duration::from_millis(self.backoff_ms),
                max_backoff: Duration::from_millis(self.backoff_max_ms),
            },
        }
    }
}

impl PluginLimits {
    /// Of the host's bounds and a binding's own, the tighter ones.
    pub fn min_with(mut self, signed: &portcullis_trust::SignedLimits) -> Self {
        let size = |count: Option<u32>| {
            count.and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX)
        };
        self.concurrency = self.concurrency.min(size(signed.concurrency));
        self.queue = self.queue.min(size(signed.queue));
        self.errors.errors = self.errors.errors.min(signed.failure_threshold.unwrap_or(u32::MAX));
        self.errors.percent =
            self.errors.percent.min(signed.failure_rate_percent.unwrap_or(u32::MAX));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_can_only_tighten() {
        let host = PluginsConfig::default().limits(4);
        assert_eq!((host.concurrency, host.queue, host.errors.errors), (4, 64, 5));
        let signed = portcullis_trust::SignedLimits {
            concurrency: Some(1),
            queue: Some(900),
            failure_threshold: Some(2),
            failure_rate_percent: None,
        };
        let both = host.min_with(&signed);
        assert_eq!(
            (both.concurrency, both.queue, both.errors.errors, both.errors.percent),
            (1, 64, 2, 50)
        );
        assert_eq!(host.min_with(&portcullis_trust::SignedLimits::default()), host);
    }

    #[test]
    fn everything_that_is_out_of_bounds_is_reported_with_the_line_to_write() {
        let checked = |config: &PluginsConfig| {
            let mut problems = Problems::default();
            config.check(&mut problems);
            problems.result()
        };
        assert!(checked(&PluginsConfig::default()).is_ok());
        let wrong = PluginsConfig {
            backoff_max_ms: 4_000,
            failure_threshold: 0,
            ..PluginsConfig::default()
        };
        assert_eq!(
            checked(&wrong).unwrap_err(),
            "2 problems\n  1. plugins.failure_threshold is 0, not 1 to 1000000: write `failure_threshold = 1`\
             \n  2. plugins.backoff_max_ms is 4000, not 5000 to 86400000: write \
             `backoff_max_ms = 5000`"
        );
    }
}
