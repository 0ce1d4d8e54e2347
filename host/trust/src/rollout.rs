//! What a binding of a release set may say of its plugin's bounds, and of a candidate that runs beside it.
//!
//! Invariant: all of it is signed with the set. Bounds only tighten what the host's configuration allows. A candidate is listed, signed
//! and verified as any live plugin; whom it answers and what ends its trial by itself stands in the set, written out. What a host does
//! with it is for `server`.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_model::{Digest, Mode};
use serde::{Deserialize, Serialize};

use crate::refusal::{Refusal, malformed};

/// Bounds of one binding. What is not said is the host's; what is said counts where it is tighter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SignedLimits {
    /// Runs at once outside the connections' threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Runs that may wait for one of those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<u32>,
    /// Failures in the host's window that bring quarantine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_threshold: Option<u32>,
    /// The part of all runs that they must be, percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_rate_percent: Option<u32>,
}

/// Another plugin, or other settings, beside the live ones of a binding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// The plugin's id: among the set's `candidates`, or else among its `plugins`.
    pub plugin: String,
    /// The digest of its settings' bytes.
    pub settings: Digest,
    /// What is said instead of what the hook kind cannot say; empty: what the live binding says.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fallback: BTreeMap<String, String>,
    /// It is asked after the reply, and binds nobody.
    #[serde(default, skip_serializing_if = "is_false")]
    pub shadow: bool,
    /// It answers for some, in the live one's place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    /// What ends it by itself.
    pub abort: Abort,
}

/// For whom a candidate answers: for those who are all of what is said here.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Canary {
    /// So many of a hundred subjects: always the same ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<u32>,
    /// Who comes through one of these applications, or wants to one of them: the platform's ids.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub applications: BTreeSet<String>,
    /// Whose attribute `department` is one of these.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub departments: BTreeSet<String>,
}

/// The divergence budget: when more of the last `window` compared calls went wrong than is said
/// here, the candidate is asked no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Abort {
    /// How many of the calls compared last are looked at.
    pub window: u32,
    /// Most in which verdict, findings or changes differ.
    pub max_differences: u32,
    /// Most in which the candidate failed.
    pub max_failures: u32,
    /// Most in which the candidate was slower by more than `slower_by_ms`.
    pub max_slower: u32,
    /// Milliseconds.
    pub slower_by_ms: u32,
}

impl Abort {
    /// What is signed where a source does not say it.
    pub const DEFAULT: Self =
        Self { window: 200, max_differences: 4, max_failures: 2, max_slower: 40, slower_by_ms: 5 };
}

impl SignedLimits {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Checks the limits of a binding on `hook` (quoted).
    pub(crate) fn check(&self, hook: &str) -> Result<(), Refusal> {
        let of = [
            ("concurrency", self.concurrency, 1, 256),
            ("queue", self.queue, 0, 4_096),
            ("failure_threshold", self.failure_threshold, 1, 1_000_000),
            ("failure_rate_percent", self.failure_rate_percent, 1, 100),
        ];
        for (name, said, least, most) in of {
            if let Some(said) = said.filter(|said| !(least..=most).contains(said)) {
                return Err(malformed(format!(
                    "`bounds.{name}` of a binding on {hook} is {said}, not {least} to {most}"
                )));
            }
        }
        Ok(())
    }
}

impl Candidate {
    /// Checks a candidate of a binding on `hook` (quoted) with `mode`; whether its plugin is listed
    /// is for the set.
    pub(crate) fn check(&self, hook: &str, mode: Mode) -> Result<(), Refusal> {
        let wrong =
            |what: String| Err(malformed(format!("the candidate of a binding on {hook}: {what}")));
        match (&self.canary, self.shadow) {
            (None, true) => {}
            (Some(canary), false) => {
                if mode != Mode::Enforce {
                    return wrong(format!(
                        "a `canary` answers in the place of its binding, but the mode of this \
                         one is {}",
                        mode.name()
                    ));
                }
                if let Err(what) = canary.check() {
                    return wrong(what);
                }
            }
            _ => return wrong("it must be either `shadow` or `canary`".to_owned()),
        }
        let Abort { window, max_differences, max_failures, max_slower, slower_by_ms } = self.abort;
        if !(1..=MAX_COMPARED).contains(&window) {
            return wrong(format!("`abort.window` is {window}, not 1 to {MAX_COMPARED}"));
        }
        for (name, said) in [
            ("max_differences", max_differences),
            ("max_failures", max_failures),
            ("max_slower", max_slower),
        ] {
            if said > window {
                return wrong(format!(
                    "`abort.{name}` is {said}, more than `abort.window`, so it would stop nothing"
                ));
            }
        }
        if slower_by_ms > MAX_SLOWER_MS {
            return wrong(format!(
                "`abort.slower_by_ms` is {slower_by_ms}, not 0 to {MAX_SLOWER_MS}"
            ));
        }
        Ok(())
    }
}

impl Canary {
    fn check(&self) -> Result<(), String> {
        if self.percent.is_none() && self.applications.is_empty() && self.departments.is_empty() {
            return Err("`canary` does not select any calls: set `percent`, `applications` or \
                 `departments`"
                .to_owned());
        }
        if let Some(percent) = self.percent.filter(|percent| !(1..=100).contains(percent)) {
            return Err(format!("`canary.percent` is {percent}, not 1 to 100"));
        }
        for (name, words) in
            [("applications", &self.applications), ("departments", &self.departments)]
        {
            if words.len() > MAX_NAMES
                || words.iter().any(|word| word.is_empty() || word.len() > MAX_NAME_CHARS)
            {
                return Err(format!(
                    "`canary.{name}` has more than {MAX_NAMES} members, or one that is empty or longer than {MAX_NAME_CHARS} bytes"
                ));
            }
        }
        Ok(())
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// Calls that a divergence budget can look back on: one bit each and more is kept in memory.
const MAX_COMPARED: u32 = 10_000;
/// A platform waits for no answer longer than that.
const MAX_SLOWER_MS: u32 = 10_000;
/// Applications or departments of a cohort.
const MAX_NAMES: usize = 256;
/// Bytes of one of them.
const MAX_NAME_CHARS: usize = 256;
