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

/// A plugin that misbehaves as the settings say for the entitlement that somebody signs in with,
/// and allows everybody else.
fn misbehaving_binding(hook: &str, misbehaviours: &Value) -> Binding {
    Binding::new(
        hook,
        "misbehaving",
        json!({"do": "by-entitlement", "misbehaviours": misbehaviours}),
    )
}

/// Somebody signs in with one entitlement.
fn with_group(entitlement: &str) -> SignIn {
    SignIn::with_groups(&[entitlement])
}

/// Signs in a person for whom no misbehaviour is set.
fn clean_sign_in() -> SignIn {
    with_group("nurses")
}
