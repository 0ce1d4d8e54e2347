//! The records of releases: what came into force, what did not, and what lies there and may not run.
//!
//! Invariant: nothing that an operator or a file's name says stands in a leaf; it is sealed.

use portcullis_audit::Entry;
use portcullis_model::json::quote;
use portcullis_trust::{Activation, TrustHistory};

use super::{RejectedComponent, ReleaseError};
use crate::bindings::generation::{Bindings, Generation};
use crate::trust::state::with_state_delta;

/// The record of a release that came into force.
pub fn activation_record(generation: &Generation, piece: &TrustHistory) -> Entry {
    let mut fields = format!(
        r#""generation":{},"set":"{}","expires":{},"bindings":["#,
        generation.number, generation.set, generation.expires
    );
    let mut comma = "";
    for bindings in &generation.hooks {
        for binding in bindings.with_candidates() {
            fields.push_str(&format!(r#"{comma}{{"hook":"{}","plugin":"#, binding.hook));
            quote(&mut fields, &binding.manifest().id);
            fields.push_str(&format!(
                r#","serial":{},"manifest":"{}","component":"{}","settings":"{}","snapshot":"{}","mode":"{}"}}"#,
                binding.manifest().serial,
                binding.verified.digest,
                binding.manifest().wasm,
                binding.settings,
                binding.plugin.snapshot_digest(),
                binding.mode_name
            ));
            comma = ",";
        }
    }
    fields.push(']');
    match generation.activation {
        Activation::New => {}
        Activation::Restart(_) => fields.push_str(r#","restart":true"#),
        Activation::Downgrade(document) => {
            fields.push_str(&format!(r#","downgrade":"{document}""#))
        }
    }
    if generation.is_last_good() {
        fields.push_str(r#","last_good":true"#);
    }
    // A history is written as plain JSON: this cannot fail.
    let fields = with_state_delta(&fields, piece).unwrap_or(fields);
    Entry { kind: "release.active", fields, sealed: Some(configure_notes(generation).into_bytes()) }
}

/// What plugins noted while they were configured: a list a binding.
fn configure_notes(generation: &Generation) -> String {
    let mut notes = String::from("[");
    for (position, binding) in
        generation.hooks.iter().flat_map(Bindings::with_candidates).enumerate()
    {
        notes.push_str(if position == 0 { "[" } else { ",[" });
        for (position, note) in binding.plugin.notes().iter().enumerate() {
            notes.push_str(if position == 0 { "" } else { "," });
            quote(&mut notes, note);
        }
        notes.push(']');
    }
    notes.push(']');
    notes
}

/// The record of a release that was refused.
pub fn rejection_record(error: &ReleaseError) -> Entry {
    let mut fields = format!(r#""code":"{}","plugin":"#, error.code());
    match error.plugin() {
        Some(plugin) => quote(&mut fields, plugin),
        None => fields.push_str("null"),
    }
    // Settings and file names may name people: the sentence is sealed.
    Entry { kind: "release.refused", fields, sealed: Some(error.to_string().into_bytes()) }
}

/// The record of folders that no longer hold the release in force.
pub fn altered_record(generation: u64, error: &ReleaseError) -> Entry {
    let Entry { fields, sealed, .. } = rejection_record(error);
    Entry {
        kind: "release.altered",
        fields: format!(r#""generation":{generation},{fields}"#),
        sealed,
    }
}

/// The record of a component that may not run.
pub fn rejected_component_record(stray: &RejectedComponent) -> Entry {
    let fields = format!(r#""code":"{}","component":"{}""#, stray.code, stray.component);
    let sealed = format!("{}: {}", stray.path.display(), stray.sentence);
    Entry { kind: "plugin.refused", fields, sealed: Some(sealed.into_bytes()) }
}
