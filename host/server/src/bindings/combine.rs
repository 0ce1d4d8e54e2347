//! Merge and combine: many decisions become one outcome.
//!
//! Invariants, property-tested: the order of bindings never changes the result; a guard can only
//! make it stricter; what one place would get from two plugins is a conflict unless it is the same;
//! what a hook kind cannot say becomes the next stricter thing that the binding names, never
//! nothing. Pure: no I/O, no clock. Waived findings have been set aside before.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use portcullis_hooks::HookKind;
use portcullis_hooks::capabilities::{self, Support};
use portcullis_model::{Change, Decision, Effect, Finding, Grant, Lifetime, Target};

/// What one enforcing binding said, and how its binding maps what the hook kind cannot say.
pub struct BindingDecision<'a> {
    /// The plugin's id.
    pub plugin: &'a str,
    /// Its decision.
    pub decision: &'a Decision,
    /// The binding's `fallback` map: utterance → what is said instead.
    pub fallback: &'a BTreeMap<String, String>,
}

/// What the host made of all decisions.
pub struct Combined<'a> {
    /// The verdict, after mapping.
    pub verdict: Effect,
    /// The changes that leave, merged, in a fixed order.
    pub changes: Vec<Change>,
    /// The findings that the verdict rests on and their plugins; a person sees the message of the first.
    pub reasons: Vec<(&'a str, &'a Finding)>,
}

/// Why there is no outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CombineError {
    /// Two plugins want different things in one place.
    Conflict {
        /// The place, in manifest words.
        place: String,
    },
    /// The hook kind cannot say this and the binding names nothing instead.
    Unsupported {
        /// Which plugin.
        plugin: String,
        /// What it wanted to say.
        utterance: String,
    },
}

/// Merges changes: `drop-grant` beats `add-grant`, the shortest lifetime wins, approvers add up, two different wishes for one place conflict.
pub fn merge<'a>(
    changes: impl IntoIterator<Item = &'a Change>,
) -> Result<Vec<Change>, CombineError> {
    let all: BTreeSet<&Change> = changes.into_iter().collect();
    let dropped: BTreeSet<&Grant> = all
        .iter()
        .filter_map(|change| if let Change::DropGrant(grant) = change { Some(grant) } else { None })
        .collect();
    let mut caps: BTreeMap<Target, u32> = BTreeMap::new();
    let mut approvers: BTreeSet<&String> = BTreeSet::new();
    let mut waived: BTreeSet<&String> = BTreeSet::new();
    let mut merged: Vec<Change> = Vec::with_capacity(all.len());
    for change in &all {
        match change {
            Change::AddGrant(grant) if dropped.contains(grant) => {}
            Change::CapLifetime { target, seconds } => {
                caps.entry(*target)
                    .and_modify(|least| *least = (*least).min(*seconds))
                    .or_insert(*seconds);
            }
            Change::RequireApprovers(names) => approvers.extend(names),
            Change::Waive(codes) => waived.extend(codes),
            other => merged.push((*other).clone()),
        }
    }
    if !approvers.is_empty() {
        merged.retain(|change| *change != Change::AutoApprove);
        merged.push(Change::RequireApprovers(approvers.into_iter().cloned().collect()));
    }
    if !waived.is_empty() {
        merged.push(Change::Waive(waived.into_iter().cloned().collect()));
    }
    merged
        .extend(caps.into_iter().map(|(target, seconds)| Change::CapLifetime { target, seconds }));
    merged.sort();
    match conflict(&merged) {
        Some(place) => Err(CombineError::Conflict { place }),
        None => Ok(merged),
    }
}

/// Combines the voices of all enforcing bindings into one outcome that this hook kind can say.
pub fn combine<'a>(
    kind: HookKind,
    decisions: &[BindingDecision<'a>],
    lifetimes: &[Lifetime],
) -> Result<Combined<'a>, CombineError> {
    let mut verdict = Effect::Abstain;
    let mut spoken: Vec<(Effect, &'a str, &'a Finding)> = Vec::new();
    let mut sayable: Vec<&Change> = Vec::new();
    for voice in decisions {
        for finding in &voice.decision.findings {
            let effect = match map(
                voice,
                &finding.effect.name(),
                capabilities::effect(kind, finding.effect),
            )? {
                Mapped::Unchanged => finding.effect,
                Mapped::Fallback(verdict) => verdict,
            };
            verdict = verdict.max(effect);
            spoken.push((effect, voice.plugin, finding));
        }
        // A waiver has had its effect: no platform is told of it.
        let sent = |change: &&Change| !matches!(change, Change::Waive(_));
        for change in voice.decision.changes.iter().filter(sent) {
            match map(voice, &change.kind(), capabilities::change(kind, change.kind()))? {
                Mapped::Unchanged => sayable.push(change),
                Mapped::Fallback(stricter) => verdict = verdict.max(stricter),
            }
        }
    }
    let changes = merge(sayable)?;
    if changes.iter().any(|change| too_short(change, lifetimes)) {
        verdict = Effect::Deny;
    }
    // Severity, then code and plugin, so that the order of bindings cannot choose the text.
    spoken.retain(|(effect, ..)| *effect == verdict);
    spoken.sort_by(|(_, plugin, finding), (_, other_plugin, other)| {
        (other.severity, &finding.code, *plugin).cmp(&(
            finding.severity,
            &other.code,
            *other_plugin,
        ))
    });
    let reasons = spoken.into_iter().map(|(_, plugin, finding)| (plugin, finding)).collect();
    Ok(Combined { verdict, changes, reasons })
}

enum Mapped {
    Unchanged,
    Fallback(Effect),
}

fn map(
    voice: &BindingDecision<'_>,
    what: &dyn Display,
    saying: Support,
) -> Result<Mapped, CombineError> {
    let what = || what.to_string();
    match saying {
        Support::Native(_) => Ok(Mapped::Unchanged),
        Support::Fallback(allowed, _) => {
            let named = voice
                .fallback
                .get(&what())
                .and_then(|word| allowed.iter().find(|to| to.name() == word));
            let unnamed =
                || CombineError::Unsupported { plugin: voice.plugin.to_owned(), utterance: what() };
            named.map(|to| Mapped::Fallback(to.verdict())).ok_or_else(unnamed)
        }
        Support::Unsupported(_) => {
            Err(CombineError::Unsupported { plugin: voice.plugin.to_owned(), utterance: what() })
        }
    }
}

/// Less than the least that can be said is a denial, not a longer life.
fn too_short(change: &Change, lifetimes: &[Lifetime]) -> bool {
    let Change::CapLifetime { target, seconds } = change else { return false };
    lifetimes.iter().any(|lifetime| lifetime.target == *target && *seconds < lifetime.least)
}

/// The first place that two of these merged changes fight over.
fn conflict(merged: &[Change]) -> Option<String> {
    let mut places: Vec<(Target, &str)> = Vec::new();
    let mut identities = 0;
    let mut credentials = 0;
    for change in merged {
        match change {
            Change::Set { target, path, .. } | Change::Remove { target, path } => {
                if places.iter().any(|(other, at)| other == target && overlaps(at, path)) {
                    return Some(format!("{}:{path}", target.name()));
                }
                places.push((*target, path));
            }
            Change::LinkUser(_) | Change::CreateUser => identities += 1,
            Change::Credential(_) => credentials += 1,
            _ => {}
        }
    }
    if identities > 1 {
        return Some("link-user".to_owned());
    }
    (credentials > 1).then(|| "credential".to_owned())
}

/// Whether one JSON Pointer is the other or stands above it.
fn overlaps(one: &str, other: &str) -> bool {
    let below = |short: &str, long: &str| {
        long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    below(one, other) || below(other, one)
}

#[cfg(test)]
mod tests;
