//! Who may sign what, and what is signed: keys and thresholds, envelopes, the trust root, manifests and
//! release sets.
//!
//! Invariant: nothing is believed before its signatures are counted, and the bytes that were verified are the
//! bytes that are parsed. Pure: bytes in, verdicts out; no I/O, and no clock of its own (`now` is passed in).
//! Whether a component keeps to what its manifest says is for `engine` and `server`.

mod break_glass;
mod chain;
mod document;
mod downgrade;
mod dsse;
mod history;
mod manifest;
mod names;
mod refusal;
mod release;
mod revoked;
mod rollout;
mod root;
mod source;
mod strict_json;
mod table_version;
pub mod time;
mod time_documents;
mod validity;
mod verify;

pub use break_glass::BreakGlass;
pub use downgrade::Downgrade;
pub use dsse::{Envelope, Signature, Verified, add_signature, pae, sign};
pub use history::{Activation, Active, RootMark, TimeDocuments, TrustHistory};
pub use manifest::{Capability, Manifest, PassedSuite, SettingsSchema};
pub use names::{ChangeName, HookPattern};
pub use refusal::{Refusal, RefusalCode};
pub use release::{Binding, PluginEntry, ReleaseSet, TableEntry};
pub use revoked::RevokedPlugins;
pub use rollout::{Abort, Canary, Candidate, SignedLimits};
pub use root::{Publisher, Role, TrustRoot};
pub use source::{
    BindingSource, ManifestSource, PublisherSource, ReleaseSource, RoleSource, RootSource,
};
pub use table_version::{TableVersion, VerifiedTableVersion};
pub use time_documents::{ClockConfirmation, TimeReset};
pub use validity::CLOCK_TOLERANCE;
pub use verify::{
    VerifiedManifest, VerifiedPlugin, release_is_valid_under, verify_binding, verify_issued,
    verify_manifest, verify_pinned_root, verify_plugin, verify_release, verify_revocations,
    verify_root,
};
