//! The walls, tried from inside: every guest here is hostile in one way. See also
//! `host/engine/tests/plugins.rs` for guests that are not.

mod determinism;
mod guests;
mod isolation;
mod meter;
mod prepare;
mod runaway;
mod search;
mod words;
