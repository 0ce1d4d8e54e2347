//! `[binding.candidate]` of a release source: what is tried beside a live binding.
//!
//! Invariant: what the source leaves out is the live binding's own (plugin, settings, `say`), or is written out in the set (`stop`), so
//! that whoever reads the set sees all of it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::release::BindingSource;
use crate::refusal::Refusal;
use crate::release::ReleaseSet;
use crate::rollout::{Canary, Candidate, Stop};
use crate::strict;

/// The source of a candidate.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CandidateSource {
    /// The plugin's id; the live one's where it is not said.
    plugin: Option<String>,
    /// The file of its settings; the live one's where it is not said.
    pub(super) settings: Option<String>,
    #[serde(default)]
    say: BTreeMap<String, String>,
    #[serde(default)]
    shadow: bool,
    canary: Option<Canary>,
    #[serde(default)]
    stop: StopSource,
}

/// `stop`: what is not said is [`Stop::DEFAULT`]'s.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct StopSource {
    of: Option<u32>,
    differ: Option<u32>,
    fail: Option<u32>,
    slow: Option<u32>,
    slower_ms: Option<u32>,
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
            settings: strict::sha256(settings),
            say: self.say.clone(),
            shadow: self.shadow,
            canary: self.canary.clone(),
            stop: self.stop.filled(),
        })
    }
}

impl StopSource {
    fn filled(&self) -> Stop {
        let Stop { of, differ, fail, slow, slower_ms } = Stop::DEFAULT;
        let of = self.of.unwrap_or(of);
        // A default never exceeds what is looked at.
        Stop {
            of,
            differ: self.differ.unwrap_or(differ.min(of)),
            fail: self.fail.unwrap_or(fail.min(of)),
            slow: self.slow.unwrap_or(slow.min(of)),
            slower_ms: self.slower_ms.unwrap_or(slower_ms),
        }
    }
}
