//! `generic`: JSON in whatever shape the caller has: the operator maps what stands where, and writes the answers.
//!
//! Invariant: the mapping is checked whole before anything is served, and no request can make an answer that its template does not
//! foresee. What the caller does with an HTTP error nobody knows, so every refusal of a closed hook is the operator's own denial.
//!
//! How a request is read by a mapping is in `read`; mappings and the templates of answers are in
//! [`crate::mapping`].

mod read;

use std::time::Duration;

use portcullis_model::{Cause, Change, ChangeKind, Effect, Target};

use crate::adapter::{Adapter, Behaviour, DedupPolicy, FailureBehaviour, Shown};
use crate::answer::{Answer, Slot};
use crate::mapping::Mapping;
use crate::mapping::template::{self, Filled};
use crate::reasons::UNCHECKED;
use crate::support::{FallbackTo, Support};
use crate::{
    HookRequest, HookSettings, OnFailure, Outcome, ParseContext, ParseError, Parsed, RenderError,
    RenderErrorKind, Request, SafeAnswerInput,
};

/// The hook kind.
pub(crate) struct Generic;

impl Adapter for Generic {
    fn inputs(&self, settings: &HookSettings) -> Vec<&'static str> {
        settings.mapping.as_ref().map(|mapping| mapping.inputs()).unwrap_or_default()
    }

    fn required(&self) -> &'static [&'static str] {
        &[]
    }

    fn platform_limit(&self) -> Duration {
        Duration::from_secs(30)
    }

    fn default_budget(&self) -> Duration {
        Duration::from_secs(2)
    }

    fn failure_behaviour(&self) -> FailureBehaviour {
        let unknown = Behaviour::Undocumented("the caller's own flow decides");
        FailureBehaviour {
            empty: unknown,
            client_error: unknown,
            server_error: unknown,
            timeout: unknown,
        }
    }

    fn shown(&self) -> Shown {
        Shown::Application(
            "at the place of `{text}` in the operator's template; if no template has it, the text \
             is not sent",
        )
    }

    fn description(&self) -> &'static str {
        "The caller sets its own time limit; this one is the host's. The setting `mapping` \
         describes requests and answers. Closed: the template `deny` with `failure_status`, \
         whatever the cause, also for an unauthenticated caller and an invalid request. Open: the \
         template `allow`, but 401 for an unauthenticated caller. Restricted is not offered."
    }

    fn dedup_policy(&self) -> DedupPolicy {
        DedupPolicy::Never
    }

    fn read(&self, request: &Request<'_>, frame: &ParseContext<'_>) -> Result<Parsed, ParseError> {
        let Some(mapping) = &frame.settings.mapping else {
            return Err(ParseError {
                cause: Cause::SchemaMismatch,
                detail: "mapping, a setting that this hook does not have".into(),
                event: None,
            });
        };
        let call = read::call(mapping, request.body, frame)?;
        Ok(Parsed::Single(HookRequest { mapping: Some(mapping.clone()), ..call.into() }))
    }

    fn write(&self, incoming: &HookRequest, outcome: &Outcome<'_>) -> Result<Answer, RenderError> {
        let mapping = incoming
            .mapping
            .as_ref()
            .ok_or(RenderError { change: None, why: RenderErrorKind::Kind })?;
        let text = outcome.shown_text();
        let filled = Filled {
            verdict: outcome.verdict.name(),
            text: text.as_deref(),
            codes: &outcome.codes(),
            id: &incoming.call.id,
        };
        let (template, status) = mapping.answer(outcome.verdict);
        let mut body = template.fill(&filled);
        if self.is_permit(outcome.verdict) {
            for (at, change) in (1..).zip(outcome.changes) {
                body = apply(&body, change)
                    .map_err(|why| RenderError { change: Some((at, change.kind())), why })?;
            }
        }
        Ok(answer(status, body, mapping))
    }

    fn refuse(&self, refusal: &SafeAnswerInput<'_>) -> Option<Answer> {
        let mapping = refusal.settings.mapping.as_ref()?;
        let open = *refusal.on_failure == OnFailure::Open;
        // Whoever is not proven to be the caller learns nothing from the answer that lets it go on.
        if open && refusal.cause == Cause::Unauthenticated {
            return Some(Answer::status(401));
        }
        let codes = [refusal.cause.code()];
        let verdict = if open { Effect::Allow } else { Effect::Deny };
        let text = refusal.text(UNCHECKED);
        let filled = Filled {
            verdict: verdict.name(),
            text: (!open).then_some(&*text),
            codes: if open { &[] } else { &codes },
            id: refusal.incoming.map_or("", |incoming| &incoming.call.id),
        };
        let (template, status) = mapping.answer(verdict);
        let status = if open { status } else { mapping.failure_status() };
        Some(answer(status, template.fill(&filled), mapping))
    }

    fn safe_answer(&self, _refusal: &SafeAnswerInput<'_>) -> Answer {
        // A hook of this kind has a mapping, and then this is never asked.
        Answer::status(503)
    }

    fn platform_default(&self, _incoming: Option<&HookRequest>) -> Answer {
        Answer::status(503)
    }

    fn effect_support(&self, effect: Effect) -> Support {
        Support::Native(match effect {
            Effect::Abstain | Effect::Allow => "the template `allow`, with the changes",
            Effect::StepUp => "the template `step_up`, or else `deny`",
            Effect::Review => "the template `review`, or else `deny`",
            Effect::Deny => "the template `deny`, with `deny_status`",
        })
    }

    fn change_support(&self, change: ChangeKind) -> Support {
        use Support::{Fallback, Native, Unsupported};
        match change {
            ChangeKind::Set(Target::Response) => Native(
                "a new member of the answer, or of an object that the template has; never a member \
                 that the template sets",
            ),
            ChangeKind::DropGrant => {
                Fallback(&[FallbackTo::Deny], "the answer has no grants that could be removed")
            }
            ChangeKind::RequireApprovers => {
                Fallback(&[FallbackTo::Deny], "an answer cannot wait for approvers")
            }
            ChangeKind::Statement => Fallback(
                &[FallbackTo::Deny],
                "the host does not know whether the caller carries out obligations",
            ),
            ChangeKind::Set(_) | ChangeKind::Remove(_) => {
                Unsupported("members can be added to the answer, and nothing else")
            }
            ChangeKind::CapLifetime(_) => {
                Unsupported("the host does not know which lifetimes the caller has")
            }
            ChangeKind::AddGrant => Unsupported("the answer has no grants; set a member of it"),
            ChangeKind::LinkUser | ChangeKind::CreateUser => {
                Unsupported("the host does not know the caller's format for it")
            }
            ChangeKind::Credential => Unsupported("no password is checked"),
            ChangeKind::AutoApprove => Unsupported("no person approves a request"),
            ChangeKind::Waive => crate::support::waived(),
        }
    }
}

fn answer(status: u16, body: String, mapping: &Mapping) -> Answer {
    let slot = mapping.record().map_or(Slot::Nowhere, Slot::Own);
    Answer::ok(body, slot).with_status(status)
}

fn apply(body: &str, change: &Change) -> Result<String, RenderErrorKind> {
    match change {
        Change::Set { target: Target::Response, path, value } => template::add(body, path, value),
        _ => Err(RenderErrorKind::Kind),
    }
}
