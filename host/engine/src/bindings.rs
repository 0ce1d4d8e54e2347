//! Typed calls across the sandbox's wall, generated from `wit/policy.wit`.
//!
//! Invariant: calls are lowered from borrowed text, so that nothing is copied before it is in the plugin's
//! memory. Only `journal` is ever linked: `reference` and `memory` have no store yet, and `inspect` refuses
//! who imports them.

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "portcullis:policy/plugin",
    imports: { default: trappable },
    ownership: Borrowing { duplicate_if_necessary: true },
});
