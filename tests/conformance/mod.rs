//! What platforms and operators get for what they send: the ordinary, the wrong, and what stands in the
//! record afterwards.

mod admin;
mod assertion;
mod audit;
mod authzen;
mod break_glass;
mod cache;
mod callers;
mod certification;
mod check;
mod cli;
mod closed;
mod doctor;
mod entra;
mod entra_resume;
mod events;
mod generic;
mod import;
mod modes;
mod open;
mod password;
mod pdp;
mod publish;
mod registration;
mod release;
mod reload;
mod retry;
mod rollback;
mod search;
mod sideband;
mod swap;
mod telemetry;
mod telephony;
mod tls;
mod token;
mod trust;
