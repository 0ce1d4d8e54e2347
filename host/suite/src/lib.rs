//! What a plugin is tried with before it decides: its settings held against their schema, and test suites as data.
//!
//! Invariant: a case goes the way of a real call: wire bytes through the hook kind's own adapter, cut down to what the manifest reads, into
//! a fresh sandbox with the manifest's limits, and what is said held against what the manifest emits. Everything is bounded; nothing
//! here reads a file, a clock that decides, or the network.
//!
//! The way of a suite: [`Suite::parse`] reads it, [`Suite::resolve`] puts the files that it names
//! into it, [`Suite::plan`] makes single cases of it, [`run()`] tries a plugin with them and gives
//! a [`Report`]. A resolved suite as [`Suite::bundle`] is one JSON text, which a manifest can name
//! by its digest. The format for people is in `docs/suites.md`.
//!
//! What it does not do: it signs nothing and activates nothing (`trust`, `server`), and does not combine the word of several plugins.

mod actual;
mod call;
mod call_text;
mod coverage;
mod draft;
mod evaluate;
mod expect;
mod explain;
mod fixture_text;
mod format;
mod memory_fixture;
mod memory_state;
mod parse;
mod plan;
mod reads;
mod report;
mod run;
mod schema;
mod seconds;
mod tables;
mod test_memory;
mod trace;
mod validator;
mod values;

#[cfg(test)]
mod fixture_tests;
#[cfg(test)]
mod tests;

pub use actual::Actual;
pub use call::TestCall;
pub use coverage::{Coverage, Uncovered};
pub use evaluate::{Answered, TestData, TestLimits};
pub use explain::{ExplainedFinding, Explanation};
pub use format::Suite;
pub use memory_state::MemoryState;
pub use parse::{SuiteError, Syntax};
pub use plan::Plan;
pub use report::{Outcome, Report};
pub use run::{RunBounds, run};
pub use schema::check_settings;
pub use tables::derived_declaration;
pub use test_memory::{TestMemory, TestMemoryError};
pub use trace::DataTrace;
pub use validator::{SchemaError, SettingError};
pub use values::{change_text, time};
