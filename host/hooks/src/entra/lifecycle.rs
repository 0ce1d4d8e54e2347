//! `entra.lifecycle`: a lifecycle workflow runs a custom task for a joiner, mover or leaver, and waits for a call of ours.
//!
//! Invariants: the answer only says that the call was heard; whether the task is done goes by the
//! resume call, and where nothing waits (a task that is launched and not waited for: no
//! `callbackUriPath`) there is none. The address of that call is made of the body's ids, which are
//! plain ids, and never of the path that the body names. Sources: Microsoft's page on Logic Apps
//! for lifecycle workflows, and the Graph page on resuming a task.
//!
//! Reading. The subject is `data.subject`, the action the task, the resource the workflow.

use std::time::Duration;

use portcullis_model::json::{Value, build_object};
use portcullis_model::{
    Attribution, Call, Cause, ChangeKind, Effect, Entity, Principal, PrincipalKind, Secrets,
};

use super::{
    BUDGET, LIMIT, accepted, cased_members, cased_object, cased_text, document, is_plain_id,
    refused, resume_reactions,
};
use crate::adapter::{Adapter, DedupPolicy, FailureBehaviour, Need, Shown};
use crate::answer::Answer;
use crate::json_body::{JsonBody, attributes};
use crate::side_effect::{Resume, SideEffect};
use crate::support::{FallbackTo, Support};
use crate::{
    HookRequest, HookSettings, Outcome, ParseContext, ParseError, Parsed, RenderError,
    RenderErrorKind, Request, SafeAnswerInput,
};

/// The hook kind.
pub(crate) struct Lifecycle;

impl Adapter for Lifecycle {
    fn inputs(&self, _settings: &HookSettings) -> Vec<&'static str> {
        INPUTS.to_vec()
    }

    fn required(&self) -> &'static [&'static str] {
        &["data", "data.taskProcessingResult.id", "data.task.id", "data.workflow.id"]
    }

    fn platform_limit(&self) -> Duration {
        LIMIT
    }

    fn default_budget(&self) -> Duration {
        BUDGET
    }

    fn failure_behaviour(&self) -> FailureBehaviour {
        resume_reactions()
    }

    fn shown(&self) -> Shown {
        Shown::Nobody("the resume call has `Completed` or `Failed` and no field for a text")
    }

    fn description(&self) -> &'static str {
        "The answer is 202 at once, and the decision follows in a resume call (`[resume]` in the \
         settings): `Completed`, or `Failed`. With `Failed` the task fails and, unless it is set \
         to continue on error, the workflow ends. Closed: `Failed`; an unauthenticated caller gets \
         401 and an unreadable request 400. If the platform launches the extension without waiting \
         for it, the decision is in the record only and there is no resume call. Restricted is not \
         offered. Open: 202, and `Completed`; 401 for an unauthenticated caller."
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Resume]
    }

    fn dedup_policy(&self) -> DedupPolicy {
        DedupPolicy::ByIdAndBody
    }

    fn read(&self, request: &Request<'_>, frame: &ParseContext<'_>) -> Result<Parsed, ParseError> {
        Ok(Parsed::Single(parse(request.body, frame)?.into()))
    }

    fn write(&self, _incoming: &HookRequest, outcome: &Outcome<'_>) -> Result<Answer, RenderError> {
        match outcome.changes.first().filter(|_| outcome.verdict <= Effect::Allow) {
            Some(change) => {
                Err(RenderError { change: Some((1, change.kind())), why: RenderErrorKind::Kind })
            }
            None => Ok(accepted()),
        }
    }

    fn safe_answer(&self, refusal: &SafeAnswerInput<'_>) -> Answer {
        let SafeAnswerInput { cause, incoming, .. } = *refusal;
        if incoming.is_some() && cause.attribution() != Attribution::Caller {
            accepted()
        } else {
            refused(cause)
        }
    }

    fn platform_default(&self, _incoming: Option<&HookRequest>) -> Answer {
        accepted()
    }

    fn side_effect(&self, incoming: &HookRequest, outcome: &Outcome<'_>) -> Option<SideEffect> {
        let call = &incoming.call;
        if !waits(data_of(call.payload.root())) {
            return None;
        }
        let (workflow, task) =
            (call.resource.as_ref()?.id.as_ref()?, call.action.as_ref()?.id.as_ref()?);
        let status = if outcome.verdict > Effect::Allow { "Failed" } else { "Completed" };
        Some(SideEffect::Resume(Resume {
            path: format!(
                "/v1.0/identityGovernance/lifecycleWorkflows/workflows/{workflow}/tasks/{task}/taskProcessingResults/{}/resume",
                call.id
            ),
            body: build_object(|body| {
                body.text("source", "Portcullis").text("type", "lifecycleEvent");
                body.object("data", |data| {
                    data.text("operationStatus", status);
                });
            }),
        }))
    }

    fn effect_support(&self, effect: Effect) -> Support {
        match effect {
            Effect::Abstain | Effect::Allow => Support::Native("a resume call with `Completed`"),
            Effect::Deny => Support::Native("a resume call with `Failed`"),
            Effect::StepUp => {
                Support::Fallback(&[FallbackTo::Deny], "a workflow cannot ask for a factor")
            }
            Effect::Review => {
                Support::Fallback(&[FallbackTo::Deny], "the resume call cannot wait for a person")
            }
        }
    }

    fn change_support(&self, change: ChangeKind) -> Support {
        use Support::{Fallback, Unsupported};
        match change {
            ChangeKind::DropGrant | ChangeKind::CapLifetime(_) => {
                Fallback(&[FallbackTo::Deny], "a task is completed or fails as a whole")
            }
            ChangeKind::RequireApprovers => {
                Fallback(&[FallbackTo::Deny], "the resume call cannot wait for approvers")
            }
            ChangeKind::Statement => {
                Fallback(&[FallbackTo::Deny], "Entra carries out no obligations")
            }
            ChangeKind::Set(_) | ChangeKind::Remove(_) => {
                Unsupported("the resume call changes nothing")
            }
            ChangeKind::AddGrant => Unsupported("a task grants nothing by itself"),
            ChangeKind::LinkUser | ChangeKind::CreateUser => Unsupported("the user is known"),
            ChangeKind::Credential => Unsupported("no password is checked"),
            ChangeKind::AutoApprove => Unsupported("no person approves a task"),
            ChangeKind::Waive => crate::support::waived(),
        }
    }
}

fn data_of(root: Value<'_>) -> Option<Value<'_>> {
    cased_object(Some(root), "data")
}

/// Whether the platform waits for a resume call: only then does it say where to.
fn waits(data: Option<Value<'_>>) -> bool {
    cased_text(data, "callbackUriPath").is_some_and(|path| !path.is_empty())
}

fn parse(body: &[u8], frame: &ParseContext<'_>) -> Result<Call, ParseError> {
    let mut read = JsonBody { document: document(body)?, event_id: String::new() };
    let plain_id = |of| cased_text(of, "id").filter(|id| is_plain_id(id));
    let result = cased_object(data_of(read.document.root()), "taskProcessingResult");
    read.event_id = plain_id(result).unwrap_or_default();
    let id = read.event_id.clone();

    let data = data_of(read.document.root());
    if data.is_none() {
        return Err(read.refuse(Cause::SchemaMismatch, "data"));
    }
    let (task, workflow) = (cased_object(data, "task"), cased_object(data, "workflow"));
    let (task_id, workflow_id) = (plain_id(task), plain_id(workflow));
    // Only a resume call needs them.
    if waits(data) {
        for (found, path) in [
            (!id.is_empty(), "data.taskProcessingResult.id"),
            (task_id.is_some(), "data.task.id"),
            (workflow_id.is_some(), "data.workflow.id"),
        ] {
            if !found {
                return Err(read.refuse(Cause::SchemaMismatch, path));
            }
        }
    }
    let subject = cased_object(data, "subject");
    let subject = match subject {
        None => None,
        Some(_) => Some(Principal {
            kind: PrincipalKind::Person,
            type_name: "user".into(),
            id: cased_text(subject, "id"),
            attributes: attributes([subject]),
            entitlements: read.entitlements(&frame.settings.entitlements, &[])?,
        }),
    };
    Ok(Call {
        correlation: None,
        tenant: frame.tenant.to_owned(),
        hook: "entra.lifecycle",
        phase: None,
        received: frame.received,
        seed: frame.seed,
        subject,
        actors: Vec::new(),
        action: Some(Entity {
            type_name: "workflow-task".into(),
            id: task_id,
            attributes: cased_members(task, &["displayName"]),
        }),
        resource: Some(Entity {
            type_name: "workflow".into(),
            id: workflow_id,
            attributes: cased_members(workflow, &["displayName", "workflowVersion"]),
        }),
        requested: Vec::new(),
        lifetimes: Vec::new(),
        origin: None,
        purpose: None,
        proposed: Vec::new(),
        id,
        payload: read.document,
        secrets: Secrets::default(),
    })
}

/// The inputs that a call can have.
const INPUTS: &[&str] = &[
    "subject.id",
    "subject.attributes.*",
    "subject.entitlements",
    "action.id",
    "action.attributes.displayName",
    "resource.id",
    "resource.attributes.displayName",
    "resource.attributes.workflowVersion",
];
