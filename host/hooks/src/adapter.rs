//! What a hook kind is: one adapter each, a file of its own below its platform.
//!
//! Invariant: how a request of a kind is read and answered is behind [`Adapter`]; the pipeline and
//! the table of supported effects ask it. Adapters are pure: no I/O, no clock, no state. Settings
//! that only some kinds have are checked where the configuration is read, in the server.

use std::fmt;
use std::time::Duration;

use portcullis_model::{Call, Change, ChangeKind, Effect, Entity, SearchPage, SearchTarget};

use crate::answer::Answer;
use crate::outcome::Outcome;
use crate::render_error::RenderError;
use crate::request::{
    BatchContext, HookRequest, HookSettings, ParseContext, ParseError, Parsed, Request,
    SafeAnswerInput,
};
use crate::side_effect::SideEffect;
use crate::support::Support;

/// One hook kind.
pub(crate) trait Adapter: Sync {
    /// How long the platform waits before it goes on without us, at most.
    fn platform_limit(&self) -> Duration;

    /// The budget of a hook that sets none: well under the platform's limit, so that the network has its share.
    fn default_budget(&self) -> Duration;

    /// Returns the platform's behaviour if it gets no answer that it understands.
    fn failure_behaviour(&self) -> FailureBehaviour;

    /// Describes the safe answers, for people.
    fn description(&self) -> &'static str;

    /// Returns who reads the text that an answer or a resume call carries, and where.
    fn shown(&self) -> Shown;

    /// Where the hook is reached, given its path: whole paths, and the route that each of them is.
    fn routes(&self, path: &str) -> Vec<(String, &'static str)> {
        vec![(path.to_owned(), "")]
    }

    /// The methods that a route answers.
    fn methods(&self, _route: &'static str) -> Methods {
        Methods::Post
    }

    /// Returns the further settings that the kind needs.
    fn needs(&self) -> &'static [Need] {
        &[]
    }

    /// How a call is known again when the platform repeats it.
    fn dedup_policy(&self) -> DedupPolicy {
        DedupPolicy::ById
    }

    /// Whether an answer binds anybody. One that only tells that a message arrived does not, so that a hook which nothing enforces has no
    /// default to fall back to.
    fn is_binding(&self) -> bool {
        true
    }

    /// Whether the host may have a message to deliver before it answers ([`SideEffect::Deliver`]).
    fn may_deliver(&self) -> bool {
        false
    }

    /// Whether [`OnFailure::Restricted`](crate::OnFailure::Restricted) differs from closed here.
    fn offers_restricted(&self) -> bool {
        false
    }

    /// The members without which a request is refused, as their contract names them: those that no
    /// decision can be made without, and those whose text has to be a known word. Every other
    /// member may be absent, `null` or of any type.
    fn required(&self) -> &'static [&'static str];

    /// The inputs that a call of this kind can have, as a manifest spells it in `reads`;
    /// `attributes.*` where the platform or its customer names the attributes. Nothing else is ever
    /// in a call.
    fn inputs(&self, settings: &HookSettings) -> Vec<&'static str>;

    /// Returns the default places of the subject's entitlements in the body: JSON Pointers.
    fn default_entitlements(&self) -> &'static [&'static str] {
        &[]
    }

    /// The request's header that every answer repeats, where the contract wants one.
    fn echoed_header(&self) -> Option<&'static str> {
        None
    }

    /// Whether the platform goes on at that verdict, so that the answer is a permission. Where the platform asks us whether, and not
    /// whether anything is against it, nothing said is no permission.
    fn is_permit(&self, verdict: Effect) -> bool {
        verdict <= Effect::Allow
    }

    /// Answers what needs neither a proof of the caller nor a decision, such as a platform's first look at an endpoint.
    fn preflight(&self, _request: &Request<'_>, _settings: &HookSettings) -> Option<Answer> {
        None
    }

    /// Reads a request.
    fn read(&self, request: &Request<'_>, frame: &ParseContext<'_>) -> Result<Parsed, ParseError>;

    /// Writes an answer, without the record's reference.
    fn write(&self, incoming: &HookRequest, outcome: &Outcome<'_>) -> Result<Answer, RenderError>;

    /// Returns whether an answer leaves out a change, because the platform has nothing there that
    /// it could change and would lose nothing by it.
    fn skips(&self, _incoming: &HookRequest, _change: &Change) -> bool {
        false
    }

    /// What leaves instead of the safe answer, whatever that is set to: where the contract has an answer of its own for requests at
    /// fault, or the operator wrote the answers. Asked first.
    fn refuse(&self, _refusal: &SafeAnswerInput<'_>) -> Option<Answer> {
        None
    }

    /// Returns the answer where there is no decision. A hook that is open has another one.
    fn safe_answer(&self, refusal: &SafeAnswerInput<'_>) -> Answer;

    /// The platform's default, where the hook is open: what lets it go on as if there were no hook.
    fn platform_default(&self, incoming: Option<&HookRequest>) -> Answer;

    /// The work that the host does for the platform besides answering it.
    fn side_effect(&self, _incoming: &HookRequest, _outcome: &Outcome<'_>) -> Option<SideEffect> {
        None
    }

    /// One answer out of many, each with its reference.
    fn render_batch(&self, _answers: &[Vec<u8>], _batch: &BatchContext) -> Answer {
        Answer::status(500)
    }

    /// The question that a search asks about one candidate, in every member that a question about it alone would have.
    fn with_candidate(&self, search: &HookRequest, sought: SearchTarget, id: &str) -> HookRequest {
        let mut question = search.clone();
        fill_candidate(&mut question.call, sought, id);
        question
    }

    /// The answer to a search.
    fn render_search(&self, _incoming: &HookRequest, _found: &SearchPage) -> Answer {
        Answer::status(500)
    }

    /// Returns the support for an effect.
    fn effect_support(&self, effect: Effect) -> Support;

    /// Returns the support for a change.
    fn change_support(&self, change: ChangeKind) -> Support;
}

/// The methods that a route answers (RFC 9110 section 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Methods {
    /// `POST`.
    Post,
    /// `GET`, and `HEAD`, which every resource with `GET` has.
    Get,
    /// All three.
    GetAndPost,
}

impl Methods {
    /// Returns whether `GET` and `HEAD` are answered.
    pub fn has_get(self) -> bool {
        self != Self::Post
    }

    /// The value of `Allow`.
    pub fn allow(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Get => "GET, HEAD",
            Self::GetAndPost => "GET, HEAD, POST",
        }
    }
}

/// The reader of the text of an answer: the message of a finding, or a fixed text where there is no
/// decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The person, on a page of the platform: where.
    Person(&'static str),
    /// The person, if the application that gets the answer shows it: where the text stands.
    Application(&'static str),
    /// An operator alone reads it: where.
    Operator(&'static str),
    /// No person reads it: why.
    Nobody(&'static str),
}

/// A setting that a hook kind needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Keys that decrypt what it is sent.
    Decryption,
    /// Access to the platform's interface, to resume what waits for us.
    Resume,
}

/// Puts a candidate in the place that a search left open. A search that does not say of which type its subject or resource is
/// leaves nothing open.
pub(crate) fn fill_candidate(call: &mut Call, sought: SearchTarget, id: &str) {
    call.phase = None;
    let id = Some(id.to_owned());
    match sought {
        SearchTarget::Subject => {
            call.subject.iter_mut().for_each(|subject| subject.id.clone_from(&id))
        }
        SearchTarget::Resource => {
            call.resource.iter_mut().for_each(|resource| resource.id.clone_from(&id))
        }
        SearchTarget::Action => {
            let action =
                || Entity { type_name: ACTION.to_owned(), id: None, attributes: Vec::new() };
            call.action.get_or_insert_with(action).id = id;
        }
    }
}

/// The type of an action, where a hook kind's actions have none of their own.
pub(crate) const ACTION: &str = "action";

/// How a call is known again when the platform repeats it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DedupPolicy {
    /// By the platform's event id: it means one body, and the same id with another body is refused.
    ById,
    /// By id and body: the id alone is shared by several calls.
    ByIdAndBody,
    /// Not at all: every request is a question of its own.
    Never,
}

/// The platform's reactions to calls without an answer that it understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureBehaviour {
    /// To 204 or an empty body.
    pub empty: Behaviour,
    /// To 4xx.
    pub client_error: Behaviour,
    /// To 5xx.
    pub server_error: Behaviour,
    /// To silence, or an answer that comes too late.
    pub timeout: Behaviour,
}

impl FailureBehaviour {
    /// Returns whether the platform stops, by its documents, however its call fails.
    pub fn always_stop(&self) -> bool {
        [self.empty, self.client_error, self.server_error, self.timeout]
            .iter()
            .all(|reaction| matches!(reaction, Behaviour::FailsClosed(_)))
    }
}

/// The behaviour of a platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Goes on as if there were no hook: how.
    FailsOpen(&'static str),
    /// Stops: how.
    FailsClosed(&'static str),
    /// Its documents do not say; taken as going on: what is known.
    Undocumented(&'static str),
}

impl fmt::Display for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FailsOpen(how) => write!(f, "proceeds: {how}"),
            Self::FailsClosed(how) => write!(f, "stops: {how}"),
            Self::Undocumented(known) => write!(f, "may proceed: {known}"),
        }
    }
}
