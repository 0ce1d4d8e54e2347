//! The engine: runs plugins in WebAssembly sandboxes, one fresh instance a call.
//!
//! Invariant: the same snapshot and the same call give the same bytes, whatever ran before, beside, or in
//! another process; and nothing that a plugin does reaches another call, another plugin or the host, beyond
//! the time, memory and output that its limits allow. A plugin's only ways out are what it returns,
//! the notes that it takes, and the host functions that the call was given.
//!
//! The way of a plugin: [`inspect()`] says whether the bytes are a component of our world;
//! [`Engine::prepare`] has it made (`prepare`: its `configure` runs once, the memory that leaves is
//! kept as a *snapshot*, and that is compiled) in a confined [child process](prepare_plugin), or
//! finds it in the [`Cache`], and loads the code; [`Plugin::evaluate`] and [`Plugin::find`] start
//! from the snapshot at every call. This crate does not decide who may run (`trust`), cut
//! the call down to what the plugin reads or check what it said (`model`), or retry and refuse
//! (`server`).

#![cfg_attr(
    test,
    expect(clippy::disallowed_methods, reason = "tests read and write what they made themselves")
)]

mod bindings;
mod build_id;
mod cache;
mod cancel;
mod catch_panic;
mod child_confinement;
mod child_limits;
mod clock;
mod codec;
mod componentize;
mod engine;
mod entry;
mod error;
mod fault;
mod host_functions;
mod inspect;
mod kernel_clock;
mod lift;
mod lower;
mod meter;
mod noop_plugin;
mod options;
mod plugin;
mod prepare;
mod prepare_child;
mod reset;
mod sandbox;
mod snapshot;
mod store_state;
mod ticker;

#[cfg(test)]
mod tests;

pub use cache::Cache;
pub use cancel::CancelToken;
pub use child_confinement::{
    ConfinementReport, Layer as ConfinementLayer, PROBE, probe as probe_confinement,
};
pub use child_limits::{Confinement, PREPARE_COMMAND};
pub use componentize::componentize;
pub use engine::{Engine, EngineError, Preparations, PrepareSettings};
pub use error::PrepareError;
pub use fault::Fault;
pub use host_functions::{
    CallServices, Count, DataLimit, HostFunctionError, HostFunctions, Scope, SubjectMatch,
    TableRows,
};
pub use inspect::{Inspection, inspect};
pub use kernel_clock::kernel_clock_is_synchronised;
pub use meter::{Cost, Meter};
pub use noop_plugin::noop_plugin;
pub use options::Options;
pub use plugin::{Evaluation, Plugin, SpentInstance};
pub use prepare_child::prepare_plugin;
pub use reset::Reset;
