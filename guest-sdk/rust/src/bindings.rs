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
