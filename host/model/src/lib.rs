//! The terms that the other crates share: calls, decisions, JSON and digests.
//!
//! Invariant: pure data and pure functions. Nothing here does I/O, knows a platform or knows WebAssembly, and nothing here
//! panics on input. The wire formats of platforms live in `hooks`, the sandbox in `engine`.

mod call;
mod cause;
mod change;
mod decision;
mod digest;
mod emits;
pub mod escape;
mod grant;
mod help_desk;
mod hex;
pub mod json;
mod limits;
pub mod messages;
mod millis;
mod reads;
mod redacted;
pub mod renames;
mod search;
mod serde_error;
pub mod waiver;

pub use call::{Attribute, Call, Entity, Lifetime, Origin, Principal, PrincipalKind, Secrets};
pub use cause::{Attribution, Cause};
pub use change::{Change, ChangeKind, Credential, Statement};
pub use decision::{Decision, Effect, Finding, Mode, Severity};
pub use digest::{Digest, sha256, sha256_of};
pub use emits::{Emits, EmitsError, Overreach};
pub use grant::{Grant, GrantKind, Target};
pub use help_desk::{HelpDeskReference, HelpDeskReferenceError};
pub use hex::{hex, parse_hex, push_hex};
pub use json::{Document, Text};
pub use limits::Limits;
pub use messages::{MessageProblem, Messages, MessagesError};
pub use millis::Millis;
pub use reads::{
    AttributeFilter, EntityView, MissingRead, OriginView, PrincipalView, Reads, ReadsError,
    TableColumns, View,
};
pub use redacted::Redacted;
pub use search::{MAX_ID_BYTES, Page, SearchPage, SearchPageError, SearchTarget};
pub use serde_error::humanize;
