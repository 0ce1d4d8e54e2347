//! What lies in an OCI registry: names, manifests, indexes, and how plugins and releases are written as them.
//!
//! Invariant: pure, bytes in and bytes out; everything that is read has one meaning (no member twice, no document that is a manifest and an
//! index), a bounded size and bounded counts, and names what it holds by SHA-256. Nothing here is trusted for having been read: whether a
//! plugin may run is said by the signatures inside, which are for `trust`. Calls nobody: the client is in `server`.
//!
//! Formats: OCI Image Format 1.1 and OCI Distribution 1.1 (<https://github.com/opencontainers>); CNCF TAG Runtime, *Wasm OCI Artifact
//! layout* (<https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/>).

mod challenge;
mod manifest;
mod plugin;
mod reference;
mod release;

pub use challenge::{Challenge, challenges};
pub use manifest::{
    DSSE, Descriptor, EMPTY, EMPTY_CONFIG, Image, Index, MAX_BYTES, ManifestError, TITLE, VERSION,
    named,
};
pub use plugin::{
    Component, ComponentFacts, MANIFEST_ARTIFACT, SUITE_ARTIFACT, WASM, WASM_CONFIG, attached,
    attachment, component, layer, subject,
};
pub use reference::{ImageRef, ReferenceError, Repository, TagOrDigest, referrers_tag};
pub use release::{Documents, MAX_PLUGINS, RELEASE_ARTIFACT, RELEASE_DOCUMENTS, Release, SETTINGS};

#[cfg(test)]
mod tests;
