//! `[binding.candidate]` of a release source: what is tried beside a live binding.
//!
//! Invariant: what the source leaves out is the live binding's own (plugin, settings, `fallback`),
//! or is written out in the set (`abort`), so that whoever reads the set sees all of it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::release::BindingSource;
use crate::refusal::Refusal;
use crate::release::ReleaseSet;
use crate::rollout::{Abort, Canary, Candidate};

/// The source of a candidate.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CandidateSource {
    /// The plugin's id; the live one's where it is not said.
    plugin: Option<String>,
    /// The file of its settings; the live one's where it is not said.
    pub(super) settings: Option<String>,
    #[serde(default)]
    fallback: BTreeMap<String, String>,
    #[serde(default)]
    shadow: bool,
    canary: Option<Canary>,
    #[serde(default)]
    abort: AbortSource,
}

/// `abort`: what is not said is [`Abort::DEFAULT`]'s.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AbortSource {
    window: Option<u32>,
    max_differences: Option<u32>,
    max_failures: Option<u32>,
    max_slower: Option<u32>,
    slower_by_ms: Option<u32>,
}

impl CandidateSource {
    /// The candidate of this binding, with the bytes of the files that it names.
    pub(super) fn to_candidate<'f>(
        &self,
        live: &BindingSource,
        file: &impl Fn(&String) -> Result<&'f Vec<u8>, Refusal>,
    ) -> Result<Candidate, Refusal> {
        let settings = self.settings.as_ref().or(live.settings.as_ref());
        let settings =
            settings.map_or(Ok(ReleaseSet::NO_SETTINGS), |path| file(path).map(Vec::as_slice))?;
        Ok(Candidate {
            plugin: self.plugin.as_ref().unwrap_or(&live.plugin).clone(),
            settings: portcullis_model::sha256(settings),
            fallback: self.fallback.clone(),
            shadow: self.shadow,
            canary: self.canary.clone(),
            abort: self.abort.filled(),
        })
    }
}

impl AbortSource {
    fn filled(&self) -> Abort {
        let Abort { window, max_differences, max_failures, max_slower, slower_by_ms } =
            Abort::DEFAULT;
        let window = self.window.unwrap_or(window);
        // A default never exceeds what is looked at.
        Abort {
            window,
            max_differences: self.max_differences.unwrap_or(max_differences.min(window)),
            max_failures: self.max_failures.unwrap_or(max_failures.min(window)),
            max_slower: self.max_slower.unwrap_or(max_slower.min(window)),
            slower_by_ms: self.slower_by_ms.unwrap_or(slower_by_ms),
        }
    }
}
