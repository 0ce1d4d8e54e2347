//! The contract's types and glue, generated from `wit/policy.wit`.
//!
//! Invariant: nothing here is written by hand. Authors use the names that the crate root re-exports.

wit_bindgen::generate!({
    path: "../../wit/policy.wit",
    world: "plugin",
    pub_export_macro: true,
    export_macro_name: "export",
    default_bindings_module: "portcullis_guest::bindings",
    additional_derives: [PartialEq],
});

/// The same for plugins that search, with the same types.
pub mod search {
    wit_bindgen::generate!({
        path: "../../wit/policy.wit",
        world: "search-plugin",
        pub_export_macro: true,
        export_macro_name: "export",
        default_bindings_module: "portcullis_guest::bindings::search",
        additional_derives: [PartialEq],
        with: {
            "portcullis:policy/types@0.2.0": crate::bindings::portcullis::policy::types,
            "portcullis:policy/reference@0.2.0": crate::bindings::portcullis::policy::reference,
            "portcullis:policy/memory@0.2.0": crate::bindings::portcullis::policy::memory,
            "portcullis:policy/journal@0.2.0": crate::bindings::portcullis::policy::journal,
        },
    });
}
