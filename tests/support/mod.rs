//! The vocabulary of the black-box tests: a deployment (keys, signed release, configuration), a
//! host that serves it, calls and answers.
//!
//! Invariant: everything goes through the `portcullis` binary and real sockets on 127.0.0.1, as an operator and a platform would;
//! nothing here knows a crate of the host. What a test does not say is the ordinary.

#![expect(
    clippy::indexing_slicing,
    reason = "a test indexes what it made itself; a miss is a failed test"
)]

mod answer;
mod client;
mod clock;
mod collector;
mod delivery_service;
mod deployment;
mod entra;
mod fake_platform;
mod flood;
mod forge;
mod golden;
mod host;
mod http2;
mod issuer;
mod kinds;
mod lateness;
mod log;
mod missing_tool;
mod payload;
mod python;
mod record;
mod registry;
mod risk;
mod search;
mod service;
mod set_on_drop;
mod settings;
mod shelf;
mod tls;
mod wat_plugin;

pub use answer::{Answer, hide_reference, hide_references};
pub use client::{Begun, Client, Raw, read};
pub use clock::MovedClock;
pub use collector::Collector;
pub use delivery_service::{DeliveryService, Said};
pub use deployment::{Binding, Candidate, Ran, SECRET, TestDeployment};
pub use entra::{entra, entra_deployment};
pub use fake_platform::{FakePlatform, ReceivedRequest};
pub use flood::{Flood, Flooded, begin_connection};
pub use forge::{MANIFEST, RELEASE_SET, TRUST_ROOT, wrongly_signed};
pub use golden::{golden, golden_part, normal};
pub use host::Host;
pub use http2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, Http2, PING, RST_STREAM, Stream, block,
    frame, request,
};
pub use issuer::Issuer;
pub use kinds::with_list;
pub use lateness::Lateness;
pub use log::{Log, LogEvent, LogLine, log_event, release_active, release_refused};
pub use missing_tool::{MissingTool, skip};
pub use payload::{
    Import, SignIn, assertion, batch, event, message, password, progressive, registration,
};
pub use python::python;
pub use record::{audit_show, digest, leaf_hash};
pub use registry::{PASSWORD, Registry};
pub use risk::{Origin, RiskTables, SystemEvent, delivery, risk_deployment};
pub use search::{below, traces};
pub use set_on_drop::SetOnDrop;
pub use settings::{CONFLICT, charts, contract, duties, now, rfc3339};
pub use shelf::{Shelf, Trick};
pub use tls::{Authority, Pair, Secure, Trust, send_2_plain};
pub use wat_plugin::{WatPlugin, bomb};

use std::env;
use std::path::{Path, PathBuf};

/// The binary under test.
pub fn binary() -> PathBuf {
    from_environment("PORTCULLIS_BIN")
}

/// A component of the policy library or of the tests' own plugins.
pub fn component(name: &str) -> PathBuf {
    from_environment("PORTCULLIS_PLUGINS").join(format!("{name}.wasm"))
}

/// The checkout.
pub fn checkout() -> PathBuf {
    // Asked at run time: clones share a target directory, and what one of them built may run in another.
    let own =
        env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&own).parent().map(PathBuf::from).unwrap_or_default()
}

#[expect(clippy::expect_used, reason = "a test that cannot start must say so")]
fn from_environment(name: &str) -> PathBuf {
    env::var_os(name)
        .map(PathBuf::from)
        .expect("run `cargo xtask test`: it builds what the tests need")
}
