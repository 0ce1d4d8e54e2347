//! What platforms and operators get for what they send: the ordinary, the wrong, and what stands in the
//! record afterwards.

mod audit;
mod check;
mod cli;
mod closed;
mod entra;
mod entra_resume;
mod import;
mod modes;
mod open;
mod release;
mod retry;
mod token;
