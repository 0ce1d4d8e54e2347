//! `entra.verified-id`: somebody recovers an account with a Verified ID, and its claims are held against what the house knows
//! (preview; the only description is Microsoft's sample 7-AccountRecovery-ClaimsMatching).
//!
//! Invariant: `pass` is said only for a decision that lets go on; everything else is `failed`, or a status that stops.
//!
//! Reading. The subject is `authenticationContext.user`; its attributes are that object's members, then `additionalInfo`'s, then the
//! credential's claims, a name from the first that has it. A claim is what somebody showed, not what is known: plugins that
//! compare the two read claims from the payload.

use std::time::Duration;

use portcullis_model::json::{Value, build_members};
use portcullis_model::{Attribution, ChangeKind, Effect, Principal, PrincipalKind};

use super::{BUDGET, Event, LIMIT, Particulars, act, reactions, refused};
use crate::adapter::{Adapter, DedupPolicy, FailureBehaviour, Shown};
use crate::answer::Answer;
use crate::json_body::{attributes, object, string};
use crate::support::{FallbackTo, Support};
use crate::{
    HookRequest, HookSettings, Outcome, ParseContext, ParseError, Parsed, RenderError,
    RenderErrorKind, Request, SafeAnswerInput,
};

/// The hook kind.
pub(crate) struct VerifiedId;

impl Adapter for VerifiedId {
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
        reactions("the account is not recovered")
    }

    fn shown(&self) -> Shown {
        Shown::Nobody("the answer names the claims that failed and has no field for a text")
    }

    fn description(&self) -> &'static str {
        "A denial is `failed`, with the claims that the findings name as fields, or with all \
         claims if they name none. Closed: `failed`; an unauthenticated caller gets 401 and an \
         unreadable request 400, which stop too. Restricted is not offered. Open: `200` with \
         `pass`, but 401 for an unauthenticated caller; an open hook does not protect account \
         recovery during a failure."
    }

    fn dedup_policy(&self) -> DedupPolicy {
        DedupPolicy::ByIdAndBody
    }

    fn read(&self, request: &Request<'_>, frame: &ParseContext<'_>) -> Result<Parsed, ParseError> {
        let heading = EVENT.heading(request.body, frame)?;
        let body = heading.body();
        let shown = object(heading.data(), "verifiedIdClaimsContext");
        let claims = object(shown, "claims");
        let known = object(shown, "additionalInfo");
        let context = object(heading.data(), "authenticationContext");
        let user = object(context, "user");
        let subject = Principal {
            kind: PrincipalKind::Person,
            type_name: "user".into(),
            id: string(user, "id"),
            attributes: attributes([user, known, claims]),
            entitlements: body.entitlements(&frame.settings.entitlements, &[])?,
        };
        let particulars = Particulars { subject: Some(subject), ..Particulars::default() };
        Ok(Parsed::Single(heading.incoming(&EVENT, frame, particulars)))
    }

    fn write(&self, incoming: &HookRequest, outcome: &Outcome<'_>) -> Result<Answer, RenderError> {
        if outcome.verdict > Effect::Allow {
            let fields = outcome.reasons.iter().filter_map(|reason| reason.field);
            return Ok(failed(incoming, fields));
        }
        match outcome.changes.first() {
            Some(change) => {
                Err(RenderError { change: Some((1, change.kind())), why: RenderErrorKind::Kind })
            }
            None => Ok(self.platform_default(Some(incoming))),
        }
    }

    fn safe_answer(&self, refusal: &SafeAnswerInput<'_>) -> Answer {
        let SafeAnswerInput { cause, incoming, .. } = *refusal;
        match incoming {
            Some(incoming) if cause.attribution() != Attribution::Caller => {
                failed(incoming, std::iter::empty())
            }
            _ => refused(cause),
        }
    }

    fn platform_default(&self, _incoming: Option<&HookRequest>) -> Answer {
        act(RESPONSE, "verifiedIdClaimValidation.pass", "")
    }

    fn effect_support(&self, effect: Effect) -> Support {
        match effect {
            Effect::Abstain | Effect::Allow => Support::Native("`pass`"),
            Effect::Deny => {
                Support::Native("`failed`, with the claims that the findings name as fields")
            }
            Effect::StepUp => {
                Support::Fallback(&[FallbackTo::Deny], "the answer cannot ask for a factor")
            }
            Effect::Review => {
                Support::Fallback(&[FallbackTo::Deny], "a recovery cannot wait for a person")
            }
        }
    }

    fn change_support(&self, change: ChangeKind) -> Support {
        use Support::{Fallback, Unsupported};
        match change {
            ChangeKind::DropGrant | ChangeKind::CapLifetime(_) => {
                Fallback(&[FallbackTo::Deny], "a recovery passes or fails as a whole")
            }
            ChangeKind::RequireApprovers => {
                Fallback(&[FallbackTo::Deny], "a recovery cannot wait for approvers")
            }
            ChangeKind::Statement => {
                Fallback(&[FallbackTo::Deny], "Entra carries out no obligations")
            }
            ChangeKind::Set(_) | ChangeKind::Remove(_) => Unsupported("the answer changes nothing"),
            ChangeKind::AddGrant => Unsupported("a recovery grants nothing"),
            ChangeKind::LinkUser | ChangeKind::CreateUser => Unsupported("the user is known"),
            ChangeKind::Credential => Unsupported("no password is checked"),
            ChangeKind::AutoApprove => Unsupported("no person approves a recovery"),
            ChangeKind::Waive => crate::support::waived(),
        }
    }
}

/// `failed`, with those of the fields that are claims of the request; with all claims where none is.
fn failed<'a>(incoming: &HookRequest, fields: impl Iterator<Item = &'a str>) -> Answer {
    let claims = incoming.call.payload.pointer("/data/verifiedIdClaimsContext/claims");
    let mut names: Vec<_> =
        claims.into_iter().flat_map(Value::members).map(|(name, _)| name).collect();
    let fields: Vec<_> = fields.collect();
    if names.iter().any(|name| fields.contains(&&**name)) {
        names.retain(|name| fields.contains(&&**name));
    }
    let members = build_members(|members| {
        members.texts("failedClaims", &names);
    });
    act(RESPONSE, "verifiedIdClaimValidation.failed", &members)
}

const EVENT: Event = Event {
    hook: "entra.verified-id",
    name: "verifiedIdClaimValidation",
    data: "onVerifiedIdClaimValidationCalloutData",
    action: "account-recovery",
};

const RESPONSE: &str = "onVerifiedIdClaimValidationResponseData";
