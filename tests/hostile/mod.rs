//! Hostile plugins and registries: whatever they do, the answer is the hook's own, the record says what happened and whose fault it was, and
//! nobody else notices.

mod composition;
mod connection_floods;
mod deadlines;
mod floods;
mod folders;
mod hidden_documents;
mod minimum_necessary;
mod misbehaviour;
mod planted_links;
mod preparation_limits;
mod proxies;
mod quarantine;
mod registry;
mod runaway;
mod superseded_release;
mod unknown_paths;

use portcullis_tests::{Binding, SignIn};
use serde_json::{Value, json};

/// Mischief that does what it is told of the entitlement that somebody signs in with, and allows everybody else.
fn told(hook: &str, deeds: &Value) -> Binding {
    Binding::new(hook, "mischief", json!({"do": "by-entitlement", "deeds": deeds}))
}

/// Somebody signs in with one entitlement.
fn with(entitlement: &str) -> SignIn {
    SignIn::with_groups(&[entitlement])
}

/// Somebody of whom nothing was told.
fn anybody() -> SignIn {
    with("nurses")
}
