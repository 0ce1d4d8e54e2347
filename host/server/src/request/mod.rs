//! A request: from its body to its record and its response.
//!
//! Invariant: every request gets a response. Start with [`pipeline`].

pub mod admitted;
pub mod comparison;
pub mod context;
pub mod decide;
pub mod decision_record;
mod observed_memory;
pub mod pipeline;
pub mod post_response;
pub mod search;
pub mod starting;
