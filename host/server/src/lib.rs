//! The server: sockets to pipeline, pipeline to record.
//!
//! Read `pipeline.rs` first: it is the life of a hook call, top to bottom. `listener` brings calls to it, `host` holds what they
//! share, `release` makes generations, `housekeeping` does what nobody waits for. This crate knows all other rooms; none knows it.

#![cfg_attr(
    test,
    expect(clippy::disallowed_methods, reason = "tests read and write what they made themselves")
)]

mod admin;
mod auth;
mod bindings;
mod break_glass;
mod clock;
mod config;
mod digest;
mod error;
mod fs;
mod http;
mod loading;
mod logging;
pub mod net;
mod observe;
mod platform_calls;
mod records;
pub mod registry;
mod release;
mod request;
mod runtime;
mod start_problems;
mod state;
mod trust;
mod worker_pool;

pub use admin::Admin;
pub use auth::config::{
    CallerConfig, CertificateConfig, CredentialConfig, KeysConfig, OauthConfig, Place,
};
pub use bindings::combine::{Combined, Discord, Voice, combine, merge};
pub use bindings::generation::{Binding, Generation};
pub use break_glass::Watch as BreakGlassWatch;
pub use clock::Clock;
pub use config::engine::EngineConfig;
pub use config::{
    AfterGrace, Audit, Commit, Config, HookConfig, Listen, NextLog, ReleasePaths, Trust,
};
pub use error::{ConfigError, StartError};
pub use http::listener::Listener;
pub use http::sockets::{HookSocket, Passed, Sockets};
pub use loading::self_test::{Failed as SelfTestFailed, terms};
pub use loading::{
    Digests, FileIndex, Given, ReleaseError, Stray, Strays, check_capabilities, check_source,
};
pub use logging::log_writer::LogWriter;
pub use net::tls::TlsConfig;
pub use platform_calls::decryption::DecryptionConfig;
pub use platform_calls::resume::config::ResumeConfig;
pub use runtime::maintenance::{Housekeeping, Reload};
pub use runtime::prepared::{FallBack, Prepared, Refused, trusted_by};
pub use runtime::startup::{Outcome, Running, Startup};
pub use state::frontend::Frontend;
pub use state::host::{Configured, Host};
