//! Every surface that untrusted bytes reach, as a function of those bytes that must never panic and whose claims are checked.
//!
//! The fuzz targets (`../fuzz_targets`, nightly) and the ordinary test (`tests/smoke.rs`, every run) call the same functions, so that
//! neither can rot. What is checked beside "no panic" stands with each function.

mod hooks;
mod json;
mod log;
mod memory;
mod trust;

pub use hooks::{import, token};
pub use json::json;
pub use log::{checkpoint, note, proof, recovery};
pub use trust::{envelope, release, source, statement};

/// What is done with untrusted bytes.
pub type Surface = fn(&[u8]);

/// Every surface and its name: the name of its fuzz target and of its corpus.
pub const SURFACES: [(&str, Surface); 12] = [
    ("json", json),
    ("token", token),
    ("import", import),
    ("envelope", envelope),
    ("statement", statement),
    ("release", release),
    ("source", source),
    ("note", note),
    ("checkpoint", checkpoint),
    ("proof", proof),
    ("recovery", recovery),
    ("component", component),
];

/// A component: looked at, never compiled. What passes imports nothing but the contract.
pub fn component(bytes: &[u8]) {
    if let Ok(inspection) = portcullis_engine::inspect(bytes) {
        assert!(inspection.imports.iter().all(|import| import.starts_with("portcullis:policy/")));
    }
}
