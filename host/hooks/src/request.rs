//! What is heard: a request on its way to a call, or to several.
//!
//! Invariant: what cannot be read is [`ParseError`] and repeats nothing of the body; what was read
//! owns its text.

use std::borrow::Cow;
use std::sync::Arc;

use portcullis_model::{AttributeFilter, Call, Cause, HelpDeskReference, Millis};

use crate::answer::Answer;
use crate::jwe::Decryptor;
use crate::mapping::Mapping;
use crate::reasons::with_reference;

/// A request as it came over HTTP.
pub struct Request<'a> {
    /// Whether it is a `GET`; everything else that comes here is a `POST`.
    pub get: bool,
    /// Which of the kind's routes it came by.
    pub route: &'static str,
    /// Its headers, by lower-case name: the value where it is there once and is text.
    pub header: &'a dyn Fn(&str) -> Option<&'a str>,
    /// Whether an active binding can answer searches.
    pub searches: bool,
    /// Its body; empty for a greeting.
    pub body: &'a [u8],
}

/// What the server knows about a call before its body is read.
pub struct ParseContext<'a> {
    /// The tenant.
    pub tenant: &'a str,
    /// When it was received.
    pub received: Millis,
    /// The plugins' only randomness.
    pub seed: u64,
    /// What the operator set for the hook.
    pub settings: &'a HookSettings,
    /// Which attributes of the subject are read; a kind may leave others out.
    pub wanted: &'a AttributeFilter,
}

impl ParseContext<'_> {
    /// An id for a call whose platform gave it none: no other call has it.
    pub(crate) fn own_id(&self) -> String {
        format!("{:016x}", self.seed)
    }

    /// The randomness of one of several questions in a request: each has its own, and which follows from the frame's.
    pub(crate) fn seed_of(&self, part: usize) -> u64 {
        let mixed = (self.seed ^ part as u64).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 29)
    }
}

/// What an operator sets for a hook that concerns its wire contract.
#[derive(Clone, Debug, Default)]
pub struct HookSettings {
    /// The hook's path.
    pub path: String,
    /// JSON Pointers into the body to what the subject holds already: lists of strings, or a string. Where it is empty, the kind's own.
    pub entitlements: Vec<String>,
    /// `entra.password-submit`: what decrypts the password.
    pub decryptor: Option<Arc<Decryptor>>,
    /// `entra.password-submit`: the application that the password is encrypted for; where nothing, any that is consistent.
    pub audience: Option<String>,
    /// The URL by which callers know the hook, where its contract publishes one.
    pub public_url: Option<String>,
    /// A JSON Pointer into the body to the id of the subject, where its contract has no place for it.
    pub subject: Option<String>,
    /// JSON Pointers into the body to further secrets, besides those of the kind.
    pub secrets: Vec<String>,
    /// What stands where in the body, and what is answered, where the kind leaves both to the operator.
    pub mapping: Option<Arc<Mapping>>,
    /// `authzen`: which optional members its answers have.
    pub answer: AnswerParts,
}

/// Which optional members an answer has. Runners of test suites that compare whole bodies want none
/// of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerParts {
    /// `context`: why not, statements, the record's reference.
    pub context: bool,
    /// `page`, where a list is complete and nobody asked for a page. It is there always where a
    /// list goes on.
    pub page: bool,
}

impl Default for AnswerParts {
    fn default() -> Self {
        Self { context: true, page: true }
    }
}

/// What a request turned out to be.
pub enum Parsed {
    /// One question.
    Single(HookRequest),
    /// Several, answered together.
    Batch(Batch),
    /// "Which ones?": answered by a list.
    Search(HookRequest, PageRequest),
    /// Nothing to decide: answered as it stands.
    Immediate(Answer),
}

/// Several questions in one request.
pub struct Batch {
    /// Each question, or why it is none.
    pub items: Vec<Result<HookRequest, Box<UnparsedItem>>>,
    /// How far to go.
    pub until: ShortCircuit,
    /// The platform's id of all of it, where it may send the whole once more: then it hears the same. `None` where every request is a
    /// question of its own.
    pub id: Option<String>,
    /// The attributes and values that each question is about, where the answers are arranged by
    /// them; empty where they stand in the order of the questions.
    pub query: Vec<Vec<(String, String)>>,
}

/// One of several questions that could not be read as one.
pub struct UnparsedItem {
    /// Its part of the answer.
    pub answer: Answer,
    /// The problem with it.
    pub malformed: ParseError,
    /// What came, where a record of its own has to tell it; nothing where the answer tells the
    /// caller.
    pub question: Option<HookRequest>,
}

/// How the answers to several questions become one.
pub struct BatchContext {
    /// How far it went.
    pub until: ShortCircuit,
    /// [`Batch::query`].
    pub query: Vec<Vec<(String, String)>>,
}

/// How far to go in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShortCircuit {
    /// To the end.
    Never,
    /// To the first that is not allowed, itself included.
    OnDeny,
    /// To the first that is allowed, itself included.
    OnPermit,
}

/// How much of a list is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// At most so many, which may be none; nothing where the caller does not say.
    pub limit: Option<u32>,
    /// From here on: what an earlier answer said.
    pub token: Option<String>,
    /// The list that is asked for, without the page: the same text for the same question, whatever
    /// the order of its members and its white space. A token is good for its own list alone.
    pub of: String,
}

/// A request that could be read. Without `Debug`: it names people.
#[derive(Clone)]
pub struct HookRequest {
    /// It, in words that no platform owns. `received`, `seed` and `tenant` are those of the
    /// [`ParseContext`].
    pub call: Call,
    /// The platform's own tenant that the body says it is from; where the caller's token names one too, they must be the same.
    pub platform_tenant: Option<String>,
    /// How it is answered, where the operator wrote that.
    pub mapping: Option<Arc<Mapping>>,
    /// Which optional members its answer has.
    pub answer: AnswerParts,
}

/// Why there is no decision, and all that is known of the request.
pub struct SafeAnswerInput<'a> {
    /// What the operator set for the hook.
    pub settings: &'a HookSettings,
    /// The answer when there is no decision.
    pub on_failure: &'a OnFailure,
    /// Why.
    pub cause: Cause,
    /// What was wrong with a request at fault; empty where that is not known.
    pub detail: &'a str,
    /// Which of the kind's routes it came by.
    pub route: &'static str,
    /// The request, where it could be read.
    pub incoming: Option<&'a HookRequest>,
    /// The reference that the text ends with, where there is a record that it leads to.
    pub reference: Option<HelpDeskReference>,
}

impl SafeAnswerInput<'_> {
    /// Returns a text with the help-desk reference behind it. Texts of safe answers are English.
    pub(crate) fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        with_reference(Cow::Borrowed(text), self.reference, "en")
    }
}

/// What happens on a hook when there is no decision: budget exhausted, trap, bad output, conflict,
/// record not durable, no active release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// The answer that stops.
    Closed,
    /// The least that lets care go on, for these applications; all others are stopped. See
    /// [`HookKind::offers_restricted`](crate::HookKind::offers_restricted).
    Restricted {
        /// The platform's client ids.
        applications: Vec<String>,
    },
    /// The platform's default.
    Open,
}

/// Caller: a request that cannot be read. Holds nothing of the body but the event id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request is refused: {}: {detail}", cause.code())]
pub struct ParseError {
    /// One of the causes that name the caller.
    pub cause: Cause,
    /// The problem: the member as its contract names it, or the place that the operator
    /// configured, and perhaps more behind a comma. Never a caller's text.
    pub detail: Cow<'static, str>,
    /// The platform's event id, where it could be read and looks like one.
    pub event: Option<String>,
}

impl ParseError {
    /// The code in metrics and logs.
    pub fn code(&self) -> &'static str {
        self.cause.code()
    }

    /// The member that was wrong, without what else there is to say of it. There are only so many:
    /// the names in the contracts, and the places in the configuration.
    pub fn member(&self) -> Cow<'static, str> {
        match &self.detail {
            Cow::Borrowed(detail) => {
                Cow::Borrowed(detail.split_once(", ").map_or(*detail, |(member, _)| member))
            }
            Cow::Owned(detail) => {
                let member = detail.split_once(", ").map_or(detail.as_str(), |(member, _)| member);
                Cow::Owned(member.to_owned())
            }
        }
    }
}

impl From<Call> for HookRequest {
    fn from(call: Call) -> Self {
        Self { call, platform_tenant: None, mapping: None, answer: AnswerParts::default() }
    }
}
