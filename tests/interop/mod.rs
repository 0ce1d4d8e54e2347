//! What others rely on besides the wire: pages whose commands work as written.

mod docs;
mod folders;
mod glossary;
mod log_events;
mod names;
mod skips;
mod supply_chain;
mod writing;
