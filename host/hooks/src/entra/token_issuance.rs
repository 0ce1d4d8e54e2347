//! `entra.token-issuance-start`: Entra's custom claims provider, `microsoft.graph.authenticationEvent.tokenIssuanceStart`.
//!
//! Invariant: no answer leaves here that Entra would take for a failure although it was meant to let the token go: claims have
//! names, are texts or lists of texts, and are together no longer than Entra takes.
//!
//! Saying. An answer lists claims, and the application's claims mapping policy puts them into the tokens or the assertion; so a claim
//! for any of the three is said in the same words, and appears where that policy has it. Nothing says no: a failing status stops.

use std::collections::BTreeMap;

use portcullis_model::json::{Kind, build_members, split_pointer};
use portcullis_model::{Attribution, Change, ChangeKind, Document, Effect, Target};

use super::{BUDGET, DENIED, Event, LIMIT, Particulars, act, error, reactions, refused};
use crate::adapter::{Adapter, DedupPolicy, FailureBehaviour, Shown};
use crate::answer::Answer;
use crate::support::{FallbackTo, Support};
use crate::{
    HookRequest, HookSettings, OnFailure, Outcome, ParseContext, ParseError, Parsed, RenderError,
    RenderErrorKind, Request, SafeAnswerInput,
};
use std::time::Duration;

/// The hook kind.
pub(crate) struct TokenIssuance;

impl Adapter for TokenIssuance {
    fn inputs(&self, _settings: &HookSettings) -> Vec<&'static str> {
        super::inputs(&["subject.id", "subject.attributes.*", "subject.entitlements"])
    }

    fn required(&self) -> &'static [&'static str] {
        &["type", "source", "data", "data.@odata.type", "data.tenantId"]
    }

    fn platform_limit(&self) -> Duration {
        LIMIT
    }

    fn default_budget(&self) -> Duration {
        BUDGET
    }

    fn failure_behaviour(&self) -> FailureBehaviour {
        reactions("no token is issued, and the person sees an error")
    }

    fn shown(&self) -> Shown {
        Shown::Nobody("Entra shows an error of its own")
    }

    fn description(&self) -> &'static str {
        "An answer adds claims, which the application's claims mapping policy puts into tokens and \
         assertions; no answer can refuse the token. So a denial is 403, and a closed hook refuses \
         with 401, 400 or 500, which all stop. Restricted: a claim `degraded`, for named \
         applications; all others are refused. Open: `200` without claims, but 401 for an \
         unauthenticated caller."
    }

    fn dedup_policy(&self) -> DedupPolicy {
        DedupPolicy::ByIdAndBody
    }

    fn offers_restricted(&self) -> bool {
        true
    }

    fn read(&self, request: &Request<'_>, frame: &ParseContext<'_>) -> Result<Parsed, ParseError> {
        let heading = EVENT.heading(request.body, frame)?;
        Ok(Parsed::Single(heading.incoming(&EVENT, frame, Particulars::default())))
    }

    fn write(&self, _incoming: &HookRequest, outcome: &Outcome<'_>) -> Result<Answer, RenderError> {
        if outcome.verdict > Effect::Allow {
            return Ok(error(403, &outcome.text_or(DENIED)));
        }
        let mut claims = Claims::default();
        for (at, change) in (1..).zip(outcome.changes) {
            claims
                .admit(change)
                .map_err(|why| RenderError { change: Some((at, change.kind())), why })?;
        }
        claims.answer()
    }

    fn safe_answer(&self, refusal: &SafeAnswerInput<'_>) -> Answer {
        let SafeAnswerInput { on_failure, cause, incoming, .. } = *refusal;
        if let (OnFailure::Restricted { applications }, Some(incoming)) = (on_failure, incoming)
            // Where the request itself is wrong, nobody is owed a way around.
            && cause.attribution() != Attribution::Caller
            && let Some(client) = incoming.call.actors.first().and_then(|client| client.id.as_ref())
            && applications.contains(client)
        {
            return act(RESPONSE, PROVIDE, r#""claims":{"degraded":"true"}"#);
        }
        refused(cause)
    }

    fn platform_default(&self, _incoming: Option<&HookRequest>) -> Answer {
        act(RESPONSE, PROVIDE, r#""claims":{}"#)
    }

    fn effect_support(&self, effect: Effect) -> Support {
        match effect {
            Effect::Abstain | Effect::Allow => Support::Native("200 with `provideClaimsForToken`"),
            Effect::Deny => Support::Native(
                "403: no token is issued; Entra shows an error of its own, not the text",
            ),
            Effect::StepUp => {
                Support::Fallback(&[FallbackTo::Deny], "the answer cannot ask for a factor")
            }
            Effect::Review => {
                Support::Fallback(&[FallbackTo::Deny], "a token cannot wait for a person")
            }
        }
    }

    fn change_support(&self, change: ChangeKind) -> Support {
        use Support::{Fallback, Native, Unsupported};
        match change {
            ChangeKind::Set(Target::IdToken | Target::AccessToken | Target::Assertion) => Native(
                "a claim, at `/claims/NAME`: a text or a list of texts, all of them together at most 3,000 bytes. It appears \
                 where the claims mapping policy has it, whichever of the three is named",
            ),
            ChangeKind::Remove(Target::IdToken | Target::AccessToken | Target::Assertion) => {
                Fallback(&[FallbackTo::Deny], "an answer adds claims and removes none")
            }
            ChangeKind::CapLifetime(Target::IdToken | Target::AccessToken | Target::Assertion) => {
                Fallback(&[FallbackTo::Deny], "lifetimes are set by policy, not by an answer")
            }
            ChangeKind::Set(_) | ChangeKind::Remove(_) | ChangeKind::CapLifetime(_) => {
                Unsupported("the hook adds claims to tokens and assertions only")
            }
            ChangeKind::AddGrant => {
                Unsupported("an answer grants nothing; set a claim that the application reads")
            }
            ChangeKind::DropGrant => {
                Fallback(&[FallbackTo::Deny], "an answer removes no scope, role or group")
            }
            ChangeKind::LinkUser | ChangeKind::CreateUser => {
                Unsupported("the user is known when a token is issued")
            }
            ChangeKind::Credential => Unsupported("no password is checked when a token is issued"),
            ChangeKind::AutoApprove => Unsupported("no person approves a token"),
            ChangeKind::RequireApprovers => {
                Fallback(&[FallbackTo::Deny], "a token cannot wait for approvers")
            }
            ChangeKind::Statement => {
                Fallback(&[FallbackTo::Deny], "Entra carries out no obligations")
            }
            ChangeKind::Waive => crate::support::waived(),
        }
    }
}

/// Claims and their values, which are JSON.
#[derive(Default)]
struct Claims(BTreeMap<String, String>);

impl Claims {
    fn admit(&mut self, change: &Change) -> Result<(), RenderErrorKind> {
        let Change::Set {
            target: Target::IdToken | Target::AccessToken | Target::Assertion,
            path,
            value,
        } = change
        else {
            return Err(RenderErrorKind::Kind);
        };
        let tokens = split_pointer(path).ok_or(RenderErrorKind::Place)?;
        let ["claims", name] = tokens.iter().map(|token| &**token).collect::<Vec<_>>()[..] else {
            return Err(RenderErrorKind::Place);
        };
        if name.is_empty() {
            return Err(RenderErrorKind::Place);
        }
        let document = Document::parse(value.as_bytes()).map_err(|_| RenderErrorKind::Value)?;
        let root = document.root();
        let texts =
            root.is_array() && root.elements().all(|element| element.kind() == Kind::String);
        if root.kind() != Kind::String && !texts {
            return Err(RenderErrorKind::Value);
        }
        match self.0.get(name) {
            Some(earlier) if earlier != root.raw() => Err(RenderErrorKind::Conflict),
            Some(_) => Ok(()),
            None => {
                self.0.insert(name.to_owned(), root.raw().to_owned());
                Ok(())
            }
        }
    }

    fn answer(&self) -> Result<Answer, RenderError> {
        // As they are spelled: never less than what Entra counts.
        let bytes: usize = self.0.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > MAX_CLAIMS {
            return Err(RenderError { change: None, why: RenderErrorKind::TooLong });
        }
        let members = build_members(|members| {
            members.object("claims", |claims| {
                for (name, value) in &self.0 {
                    claims.json(name, value);
                }
            });
        });
        Ok(act(RESPONSE, PROVIDE, &members))
    }
}

const EVENT: Event = Event {
    hook: "entra.token-issuance-start",
    name: "tokenIssuanceStart",
    data: "onTokenIssuanceStartCalloutData",
    action: "token",
};

const RESPONSE: &str = "onTokenIssuanceStartResponseData";

const PROVIDE: &str = "tokenIssuanceStart.provideClaimsForToken";

/// The names and values of all claims, bytes: Entra's 3 KB, whichever of the two it means (error 1003025).
const MAX_CLAIMS: usize = 3_000;
