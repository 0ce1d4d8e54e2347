//! Callers' tokens: what an OAuth bearer says, whether it is meant for us, and whether its issuer signed it.
//!
//! Invariant: bytes in, verdict out; no I/O, no clock, and no panic whatever the bytes are. A caller is proven only by a token whose issuer,
//! audience, client, tenant and times are the expected ones *and* whose signature holds under a key that its issuer published for that
//! very algorithm. What costs little is checked first, so that junk buys neither signature work nor a look at the issuer.
//! Fetching, caching and refreshing keys is the server's.

mod algorithm;
mod auth_error;
mod discovery;
mod issuer;
mod jwks;
mod token;

pub use algorithm::Algorithm;
pub use auth_error::AuthError;
pub use discovery::Discovery;
pub use issuer::{Client, Issuer};
pub use jwks::{Key, KeySet, KeySetError};
pub use token::Token;
