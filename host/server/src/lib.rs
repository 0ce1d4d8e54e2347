//! The server: from a socket to a decision and its record.
//!
//! Read [`request::pipeline`] first: it shows the stages of a request from top to bottom. The
//! folders below are listed so that each uses only those above it; `tests/interop/folders.rs`
//! checks that. A request goes through `net`, `http`, `auth`, `request`, `bindings` and `records`;
//! a release through `trust`, `loading`, `registry`, `release` and `state`.

#![cfg_attr(
    test,
    expect(clippy::disallowed_methods, reason = "tests read and write what they made themselves")
)]

// The host's clock, injected so that tests never wait for it.
mod clock;

// The errors of configuration and start.
mod error;

// All problems of the files that a configuration names.
mod start_problems;

// The authentication of files in the host's own folder.
mod state_mac;

// Threads that go on until they are stopped.
mod worker;

// Threads for work that may be slow.
mod worker_pool;

// The lines of the host's log.
mod logging;

// The memory of plugins.
mod memory;

// Appending to the audit log.
mod recorder;

// Files and folders that others may change.
mod fs;

// Sockets, connections, TLS and outbound calls.
pub mod net;

// Authentication of callers.
mod auth;

// Messages, resume calls and decryption for platforms.
mod platform_calls;

// `portcullis.toml`.
mod config;

// Corrections, rejections and other records besides decisions.
mod records;

// Metrics, traces, budgets and progress.
mod observe;

// Trust roots, revocations, history and trusted time.
mod trust;

// Reference tables.
mod tables;

// The plugins of a release on a hook.
mod bindings;

// Overrides that some people have signed.
mod break_glass;

// From release files to a generation.
mod loading;

// OCI registries.
pub mod registry;

// The host: the state that all requests share.
mod state;

// A request, from its body to its record and its response.
mod request;

// Connections and HTTP.
mod http;

// The admin listener.
mod admin;

// The listener for pushed tables.
mod table_push;

// The life of a release.
mod release;

// Start, maintenance, reload, stop.
mod runtime;

pub use admin::Admin;
pub use auth::config::{
    CallerConfig, CertificateConfig, CredentialConfig, KeysConfig, KeysLocation, OauthConfig,
};
pub use bindings::combine::{BindingDecision, CombineError, Combined, combine, merge};
pub use bindings::generation::{Binding, Generation};
pub use clock::Clock;
pub use config::engine::EngineConfig;
pub use config::{
    AfterGrace, Audit, Commit, Config, HookConfig, Listen, NextLog, ReleasePaths, Trust,
};
pub use error::{ConfigError, StartError};
pub use http::listener::Listener;
pub use http::sockets::{HookSocket, Passed, Sockets};
pub use loading::self_test::{SelfTestError, test_terms};
pub use loading::{
    DigestCache, FileIndex, RejectedComponent, RejectedComponents, ReleaseError, SourceFiles,
    check_capabilities, check_source,
};
pub use logging::log_writer::LogWriter;
pub use net::tls::TlsConfig;
pub use platform_calls::decryption::DecryptionConfig;
pub use platform_calls::resume::config::ResumeConfig;
pub use runtime::break_glass_thread::BreakGlassThread;
pub use runtime::maintenance::{Maintenance, Reload};
pub use runtime::prepared::{FallbackRelease, RefusedFallback, StartupCheck, trusted_by};
pub use runtime::startup::{Outcome, Running, Startup};
pub use state::frontend::Frontend;
pub use state::host::{Configured, Host};
