//! An empty program. `cargo xtask demo` names it beside the host.
//!
//! Invariant: cargo counts the features that tests ask of a dependency only where an example, a test or a
//! benchmark is built. With this example, the demonstration compiles each dependency as the tests do, and
//! the two share what they build.

fn main() {}
