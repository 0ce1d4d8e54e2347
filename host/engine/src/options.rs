//! The options of an engine: how many calls and plugins it has room for, and for how long a plugin
//! may configure itself.
//!
//! Invariant: each has a default that serves a host of its own. [`sandbox`](crate::sandbox) turns
//! them into the number of slots.

use std::time::Duration;

/// How an engine is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How many calls run at once, inline and offloaded together. Default: twice the number of
    /// processors. More calls than the slots made of it get
    /// [`Fault::NoSlot`](crate::Fault::NoSlot); more workers take more address space.
    pub workers: usize,
    /// How many plugins there are at once. Default: 16. With more of them slots change hands, which
    /// costs a few µs a call.
    pub plugins: usize,
    /// How long one `configure` may take. Default: 10 s, enough for ten thousand rules in an
    /// interpreted language.
    pub configure_time: Duration,
}

impl Default for Options {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            workers: processors.saturating_mul(2),
            plugins: 16,
            configure_time: Duration::from_secs(10),
        }
    }
}
