//! Typed calls across the sandbox's wall, generated from `wit/policy.wit`.
//!
//! Invariant: calls are lowered from borrowed text, so that nothing is copied before it is in the plugin's
//! memory. Every plugin is called by way of [`plain`]; those that search also by way of the world
//! that has it, with the same types.

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "portcullis:policy/search-plugin",
    imports: { default: trappable },
    ownership: Borrowing { duplicate_if_necessary: true },
});

/// What every plugin has.
pub(crate) mod plain {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "portcullis:policy/plugin",
        imports: { default: trappable },
        ownership: Borrowing { duplicate_if_necessary: true },
        with: {
            "portcullis:policy/types@0.2.0": super::portcullis::policy::types,
            "portcullis:policy/journal@0.2.0": super::portcullis::policy::journal,
            "portcullis:policy/reference@0.2.0": super::portcullis::policy::reference,
            "portcullis:policy/memory@0.2.0": super::portcullis::policy::memory,
        },
    });
}
