//! The records of releases: what became active, what did not, and what lies there and may not run.
//!
//! Invariant: nothing that an operator or a file's name says stands in a leaf; it is sealed.

use portcullis_audit::Entry;
use portcullis_model::json::{build_array, build_members};
use portcullis_trust::{Activation, TrustHistory};

use super::{RejectedComponent, ReleaseError};
use crate::bindings::generation::{Bindings, Generation};
use crate::trust::state::with_state_delta;

/// The record of a release that became active.
pub fn activation_record(generation: &Generation, piece: &TrustHistory) -> Entry {
    let fields = build_members(|fields| {
        fields
            .number("generation", generation.number)
            .display("set", generation.set)
            .number("expires", generation.expires);
        fields.array("bindings", |list| {
            for binding in generation.hooks.iter().flat_map(Bindings::with_candidates) {
                list.object(|object| {
                    object
                        .text("hook", &binding.hook)
                        .text("plugin", &binding.manifest().id)
                        .number("serial", binding.manifest().serial)
                        .display("manifest", binding.verified.digest)
                        .display("component", binding.manifest().wasm)
                        .display("settings", binding.settings)
                        .display("snapshot", binding.plugin.snapshot_digest())
                        .text("mode", binding.mode_name);
                });
            }
        });
        match generation.activation {
            Activation::New => {}
            Activation::Restart(_) => {
                fields.boolean("restart", true);
            }
            Activation::Downgrade(document) => {
                fields.display("downgrade", document);
            }
        }
        if generation.is_last_good() {
            fields.boolean("last_good", true);
        }
    });
    // A history is written as plain JSON: this cannot fail.
    let fields = with_state_delta(&fields, piece).unwrap_or(fields);
    Entry { kind: "release.active", fields, sealed: Some(configure_notes(generation).into_bytes()) }
}

/// What plugins noted while they were configured: a list a binding.
fn configure_notes(generation: &Generation) -> String {
    build_array(|notes| {
        for binding in generation.hooks.iter().flat_map(Bindings::with_candidates) {
            notes.array(|list| {
                list.texts(binding.plugin.notes());
            });
        }
    })
}

/// The record of a release that was refused.
pub fn refusal_record(error: &ReleaseError) -> Entry {
    let fields = build_members(|fields| {
        fields.text("code", error.code()).text_or_null("plugin", error.plugin());
    });
    // Settings and file names may name people: the sentence is sealed.
    Entry { kind: "release.refused", fields, sealed: Some(error.to_string().into_bytes()) }
}

/// The record of folders that no longer hold the active release.
pub fn altered_record(generation: u64, error: &ReleaseError) -> Entry {
    let Entry { fields, sealed, .. } = refusal_record(error);
    Entry {
        kind: "release.altered",
        fields: build_members(|all| {
            all.number("generation", generation).members(&fields);
        }),
        sealed,
    }
}

/// The record of a component that may not run.
pub fn refused_component_record(stray: &RejectedComponent) -> Entry {
    let fields = build_members(|fields| {
        fields.text("code", stray.code).display("component", stray.component);
    });
    let sealed = format!("{}: {}", stray.path.display(), stray.sentence);
    Entry { kind: "plugin.refused", fields, sealed: Some(sealed.into_bytes()) }
}
