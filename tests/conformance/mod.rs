//! What platforms and operators get for what they send: the ordinary, the wrong, and what stands in the
//! record afterwards.

mod assertion;
mod audit;
mod check;
mod cli;
mod closed;
mod events;
mod import;
mod modes;
mod open;
mod password;
mod registration;
mod release;
mod retry;
mod telephony;
mod token;
