//! What [`plugin!`](crate::plugin) calls: one configured plugin in a static, between the exports.
//!
//! Invariant: `evaluate` and `find` see exactly what `configure` made, because the host snapshots the instance in between.

use std::sync::OnceLock;

use crate::{Call, Decision, Found, Page, Plugin, Search, settings};

/// The plugin of this component, once it is configured.
pub struct Configured<P> {
    plugin: OnceLock<P>,
    arena_bytes: usize,
}

impl<P: Plugin> Configured<P> {
    /// Nothing configured yet; `room` bytes for each call.
    pub const fn new(room: usize) -> Self {
        Self { plugin: OnceLock::new(), arena_bytes: room }
    }

    /// The contract's `configure`.
    ///
    /// # Errors
    /// What is wrong with the settings, or that there is no memory left for a call.
    pub fn configure(&self, json: &str) -> Result<(), Vec<String>> {
        let plugin = settings::configure::<P>(json)?;
        self.plugin.set(plugin).map_err(|_| vec!["the plugin is configured already".to_owned()])?;
        if reserve(self.arena_bytes) {
            return Ok(());
        }
        Err(vec![format!(
            "the settings leave no {} bytes of memory for a call: raise `memory_bytes` in the manifest's limits",
            self.arena_bytes
        )])
    }

    /// The contract's `evaluate`.
    ///
    /// # Errors
    /// The plugin's own, or that it was never configured.
    pub fn evaluate(&self, call: Call) -> Result<Decision, String> {
        let decision = self.plugin()?.evaluate(&call);
        // The host throws this instance away: walking the call to free it would be work for nothing.
        std::mem::forget(call);
        decision
    }

    /// The contract's `find`.
    ///
    /// # Errors
    /// The plugin's own, or that it was never configured.
    pub fn find(&self, call: Call, page: Page) -> Result<Found, String>
    where
        P: Search,
    {
        let found = self.plugin()?.find(&call, &page);
        std::mem::forget(call);
        found
    }

    fn plugin(&self) -> Result<&P, String> {
        self.plugin.get().ok_or_else(|| "the plugin was not configured".to_owned())
    }
}

/// Reserves room for a call. Native tests run on the system's allocator, where there is nothing to reserve.
fn reserve(room: usize) -> bool {
    #[cfg(target_arch = "wasm32")]
    return crate::arena::reserve(room);
    #[cfg(not(target_arch = "wasm32"))]
    return room <= isize::MAX as usize;
}

/// What a call gets when [`plugin!`](crate::plugin) names no room: 512 KiB, which takes a hook body of 256 KiB twice.
pub const DEFAULT_ARENA_BYTES: usize = 512 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    struct Echo(String);

    impl Plugin for Echo {
        type Settings = String;

        fn configure(settings: String) -> Result<Self, Vec<String>> {
            Ok(Self(settings))
        }

        fn evaluate(&self, call: &Call) -> Result<Decision, String> {
            Err(format!("{} {}", self.0, call.hook))
        }
    }

    impl Search for Echo {
        fn find(&self, call: &Call, page: &Page) -> Result<Found, String> {
            Err(format!("{} {:?} {}", self.0, call.sought(), page.limit))
        }
    }

    #[test]
    fn configures_once_and_then_evaluates() {
        let exports = Configured::<Echo>::new(DEFAULT_ARENA_BYTES);
        let call = testing::call("okta.token").build();
        assert_eq!(exports.evaluate(call.clone()), Err("the plugin was not configured".to_owned()));
        assert_eq!(exports.configure("\"heard\""), Ok(()));
        let search = testing::call("authzen").search(crate::SearchTarget::Action, "action").build();
        let found = exports.find(search, Page { limit: 3, after: None });
        assert_eq!(found.err().as_deref(), Some("heard Some(Action) 3"));
        assert_eq!(exports.evaluate(call), Err("heard okta.token".to_owned()));
        assert!(exports.configure("\"again\"").is_err());
    }

    #[test]
    fn wrong_settings_configure_nothing() {
        let exports = Configured::<Echo>::new(DEFAULT_ARENA_BYTES);
        assert!(exports.configure("7").is_err());
        assert_eq!(exports.configure("\"heard\""), Ok(()));
    }
}
