//! What platforms and operators get for what they send: the ordinary, the wrong, and what stands in the
//! record afterwards.

mod audit;
mod authzen;
mod check;
mod cli;
mod closed;
mod entra;
mod entra_resume;
mod generic;
mod import;
mod modes;
mod open;
mod pdp;
mod release;
mod retry;
mod sideband;
mod token;
