//! Warnings about enforcing bindings whose plugin reads what its hook's kind never sends.
//!
//! Invariant: this refuses nothing: a plugin that serves several kinds may read what only one of
//! them sends. Which inputs those are is the hook kind's word
//! ([`HookKind::never_sends`](portcullis_hooks::HookKind::never_sends)).

use portcullis_hooks::{HELD, HookSettings};
use portcullis_trust::Manifest;

use crate::config::HookConfig;

/// Warnings about a plugin that enforces on this hook.
pub fn warnings(hook: &HookConfig, manifest: &Manifest) -> Vec<String> {
    let (name, kind, plugin) = (&hook.name, hook.kind.name(), &manifest.id);
    let required: Vec<_> = manifest.reads.required().collect();
    let needed = hook.kind.never_sends(&hook.settings, required.iter().copied());
    let read = manifest.reads.paths().iter().map(String::as_str);
    let mut blind = hook.kind.never_sends(&hook.settings, read);
    blind.retain(|path| !required.contains(path));
    let mut warnings = Vec::new();
    if !needed.is_empty() {
        let (inputs, remedy) = (listed(&needed), remedy(hook, &needed));
        warnings.push(format!(
            "hook `{name}`: `{plugin}` requires {inputs}, which {kind} never sends, so every call \
             gets its safe answer; {remedy}"
        ));
    }
    if !blind.is_empty() {
        let (inputs, remedy) = (listed(&blind), remedy(hook, &blind));
        let them = if blind.len() == 1 { "it" } else { "them" };
        warnings.push(format!(
            "hook `{name}`: `{plugin}` enforces and reads {inputs}, which {kind} never sends, so \
             it can never use {them}; {remedy}"
        ));
    }
    warnings
}

fn listed(paths: &[&str]) -> String {
    paths.iter().map(|path| format!("`{path}`")).collect::<Vec<_>>().join(", ")
}

/// The remedy for inputs that are never sent.
fn remedy(hook: &HookConfig, paths: &[&str]) -> String {
    let mut remedy = "bind it to a hook whose kind sends these inputs".to_owned();
    let with = HookSettings { entitlements: vec!["/".to_owned()], ..hook.settings.clone() };
    if paths.contains(&HELD) && hook.kind.never_sends(&with, [HELD]).is_empty() {
        remedy.push_str(", or set the hook's `entitlements` to their places in the body");
    }
    if hook.settings.mapping.is_some() {
        remedy.push_str(", or map it in the hook's `mapping`");
    }
    remedy
}
