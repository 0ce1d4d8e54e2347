//! What platforms and operators get for what they send: the ordinary, the wrong, and what stands in the
//! record afterwards.

mod audit;
mod break_glass;
mod check;
mod cli;
mod closed;
mod import;
mod modes;
mod open;
mod release;
mod retry;
mod rollback;
mod token;
mod trust;
