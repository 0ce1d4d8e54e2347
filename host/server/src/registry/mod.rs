//! OCI registries: releases are pulled from them, plugins and releases are pushed to them.
//!
//! Invariant: a registry is a shelf, not an authority. What it gives is taken for what its signatures say, never for where it lay; every
//! byte is held against a digest and a size that were known before; and whatever a registry does (an older set, wrong bytes, endless
//! bytes, nothing at all), what is active and what lies on disk stay as they are. A host starts
//! from its own disk alone.
//!
//! The client is our own, on the host's own HTTP client (`outbound`): the oras project's `oci-client` brings `reqwest`, a second pool,
//! another way to find certificate authorities and some sixty crates, reads manifests and token answers without a bound, and sends a
//! password wherever a challenge points. What we need of the protocol is `client.rs`.

mod auth;
mod client;
mod error;
pub mod pull;
mod push;
mod status;

pub use crate::config::registry::{Access, RegistryConfig};
pub use client::Client;
pub use error::{PullError, RegistryError};
pub use pull::{
    InstallPaths, LOCK, LocalBlobs, RemoteRelease, download, install, root_name, staging,
};
pub use push::{PluginParts, PushedPlugin, ReleaseParts, push_plugin, push_release};
pub use status::{Outcome, RegistrySource, RegistryState};
