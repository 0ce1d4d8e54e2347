//! The wire contracts of identity platforms: bytes to model and back.
//!
//! Invariant: pure functions. Requests are read tolerantly, answers are written strictly: what a platform
//! would refuse as a whole, and then go on as if nothing had been said, never leaves. No I/O, no clock, no
//! plugin; who calls, and whether to believe it, is the server's business.

#![cfg_attr(
    test,
    expect(clippy::disallowed_methods, reason = "tests read and write what they made themselves")
)]

mod adapter;
mod adapters;
mod answer;
mod authzen;
pub mod capabilities;
mod entra;
mod generic;
mod inputs;
mod json_body;
mod jwe;
mod kind;
mod mapping;
mod member_names;
mod okta;
mod outcome;
mod ping;
pub mod platform_model;
mod reasons;
mod render_error;
mod request;
mod side_effect;
mod support;

pub use adapter::{Behaviour, DedupPolicy, FailureBehaviour, Methods, Need, Shown};
pub use adapters::{
    preflight, read, render_batch, render_search, render_undelivered, safe_answer, side_effect,
    skipped, stop_answer, with_candidate, write, write_safe_answer,
};
pub use answer::{Answer, RecordRef};
pub use inputs::HELD;
pub use jwe::{Decryptor, DecryptorError, Undecryptable};
pub use kind::HookKind;
pub use mapping::{
    AnswerSource, EntitySource, GrantSource, Mapping, MappingError, MappingSource, OriginSource,
    PrincipalSource,
};
pub use member_names::{UNKNOWN_MEMBER, is_shown_member, shown_member, shown_path};
pub use outcome::{Outcome, Reason};
pub use portcullis_model::SearchPage;
pub use reasons::MAX_REASONS;
pub use render_error::{RenderError, RenderErrorKind};
pub use request::{
    AnswerParts, Batch, BatchContext, HookRequest, HookSettings, OnFailure, PageRequest,
    ParseContext, ParseError, Parsed, Request, SafeAnswerInput, ShortCircuit, UnparsedItem,
};
pub use side_effect::{Message, Resume, SideEffect};

#[cfg(test)]
mod tests;
