//! `entra.pim`: Privileged Identity Management is about to activate a role or a membership (Microsoft's preview of custom
//! extensions for it).
//!
//! Invariant: what PIM does with anything but an answer is not documented, and taken as going on; so every refusal, whoever is to
//! blame, is `200` with `Denied`.
//!
//! Reading. The body is the schedule request alone, in one of three forms: of a group, of an Entra role, of an Azure role (below
//! `properties`). The subject is the principal; the role or group is requested, and the resource is where: the group, the directory
//! scope or the Azure scope. The action is what is asked for (`selfActivate`), and its attributes are `status`, `accessId`,
//! `scheduleInfo` (when and how long) and `ticketInfo`. The purpose is the justification.

use std::borrow::Cow;
use std::time::Duration;

use portcullis_model::json::{Value, build_object};
use portcullis_model::{
    Call, Cause, Change, ChangeKind, Effect, Entity, Grant, GrantKind, Principal, PrincipalKind,
    Secrets,
};

use super::{DENIED, MAX_ID_BYTES, UNCHECKED, document, named};
use crate::adapter::{Adapter, Behaviour, DedupPolicy, FailureBehaviour, Shown};
use crate::answer::{Answer, Slot};
use crate::json_body::{JsonBody, members, object, string};
use crate::support::{FallbackTo, Support};
use crate::{
    HookRequest, HookSettings, Outcome, ParseContext, ParseError, Parsed, RenderError,
    RenderErrorKind, Request, SafeAnswerInput,
};

/// The hook kind.
pub(crate) struct Pim;

impl Adapter for Pim {
    fn inputs(&self, _settings: &HookSettings) -> Vec<&'static str> {
        INPUTS.to_vec()
    }

    fn required(&self) -> &'static [&'static str] {
        &["@odata.type", "principalId", "groupId", "roleDefinitionId"]
    }

    fn platform_limit(&self) -> Duration {
        LIMIT
    }

    fn default_budget(&self) -> Duration {
        BUDGET
    }

    fn failure_behaviour(&self) -> FailureBehaviour {
        let unknown = Behaviour::Undocumented(
            "the effect of a failed extension on an activation is not documented",
        );
        FailureBehaviour {
            empty: unknown,
            client_error: unknown,
            server_error: unknown,
            timeout: unknown,
        }
    }

    fn shown(&self) -> Shown {
        Shown::Person("where the role is activated (`reason`)")
    }

    fn description(&self) -> &'static str {
        "PIM waits 1 to 60 s for an extension, as it is set; the default budget fits the shortest \
         time. The effect of a failed extension is not documented, so a closed hook refuses with \
         `200` and `Denied`, whatever the cause: also an unauthenticated caller, which could be \
         PIM itself after a mistake in the set-up. Restricted is not offered. Open: `200` with \
         `Approved`, but 401 for an unauthenticated caller. `evaluationId`, which PIM logs, is the \
         record's reference."
    }

    fn dedup_policy(&self) -> DedupPolicy {
        DedupPolicy::ByIdAndBody
    }

    fn read(&self, request: &Request<'_>, frame: &ParseContext<'_>) -> Result<Parsed, ParseError> {
        Ok(Parsed::Single(parse(request.body, frame)?.into()))
    }

    fn write(&self, _incoming: &HookRequest, outcome: &Outcome<'_>) -> Result<Answer, RenderError> {
        let mut automatic = false;
        if matches!(outcome.verdict, Effect::Abstain | Effect::Allow | Effect::Review) {
            for (at, change) in (1..).zip(outcome.changes) {
                match change {
                    Change::AutoApprove => automatic = true,
                    _ => {
                        return Err(RenderError {
                            change: Some((at, change.kind())),
                            why: RenderErrorKind::Kind,
                        });
                    }
                }
            }
        }
        let (word, otherwise) = match outcome.verdict {
            Effect::StepUp | Effect::Deny => ("Denied", DENIED),
            // Who wants a person to look first is not overruled by who wants none asked.
            Effect::Abstain | Effect::Allow if automatic => {
                ("AutoApproved", "The request was checked. Nobody has to approve it.")
            }
            Effect::Abstain | Effect::Allow => ("Approved", "The request was checked."),
            Effect::Review => ("Approved", "The request was checked. Somebody has to approve it."),
        };
        let mut reasons: Vec<&str> = Vec::new();
        for reason in outcome.reasons {
            if !reasons.contains(&reason.text.as_str()) {
                reasons.push(&reason.text);
            }
        }
        if reasons.is_empty() {
            reasons.push(outcome.text.unwrap_or(otherwise));
        }
        // The last place says how many reasons are left out.
        let more = match reasons.len() > MAX_REASONS {
            true => {
                let left_out = reasons.len().saturating_sub(MAX_REASONS - 1);
                reasons.truncate(MAX_REASONS - 1);
                outcome.more(left_out)
            }
            false => None,
        };
        reasons.extend(more.as_deref());
        let last = match word {
            "Denied" => reasons.pop().map(|last| outcome.with_reference(Cow::Borrowed(last))),
            _ => None,
        };
        reasons.extend(last.as_deref());
        Ok(evaluation(word, &reasons))
    }

    fn safe_answer(&self, refusal: &SafeAnswerInput<'_>) -> Answer {
        let SafeAnswerInput { cause, incoming, .. } = *refusal;
        let text = refusal.text(UNCHECKED);
        if cause == Cause::NotDurable || incoming.is_none() {
            // There is no record whose reference could be put in.
            let body = evaluation_body(Some("unrecorded"), "Denied", &[&text]);
            return Answer::ok(body, Slot::Nowhere);
        }
        evaluation("Denied", &[&text])
    }

    fn platform_default(&self, _incoming: Option<&HookRequest>) -> Answer {
        evaluation("Approved", &["The request could not be checked and goes on without a check."])
    }

    fn effect_support(&self, effect: Effect) -> Support {
        match effect {
            Effect::Abstain | Effect::Allow => {
                Support::Native("`Approved`: the activation continues normally, including approval")
            }
            Effect::Review => Support::Native(
                "`Approved`, even if another plugin skips approval: the configured approvers have \
                 to approve",
            ),
            Effect::StepUp => Support::Native("`Denied`: the answer cannot ask for a factor"),
            Effect::Deny => Support::Native("`Denied`, with the texts as reasons"),
        }
    }

    fn change_support(&self, change: ChangeKind) -> Support {
        use Support::{Fallback, Native, Unsupported};
        match change {
            ChangeKind::AutoApprove => {
                Native("`AutoApproved`: the configured approvers are not asked")
            }
            ChangeKind::CapLifetime(_) => Fallback(
                &[FallbackTo::Deny],
                "an activation's time cannot be shortened, only refused",
            ),
            ChangeKind::DropGrant => Fallback(
                &[FallbackTo::Deny],
                "an activation is for one role or group: without that it is empty",
            ),
            ChangeKind::RequireApprovers => Fallback(
                &[FallbackTo::Deny],
                "the answer cannot name approvers; PIM's own settings do",
            ),
            ChangeKind::Statement => {
                Fallback(&[FallbackTo::Deny], "PIM carries out no obligations")
            }
            ChangeKind::Set(_) | ChangeKind::Remove(_) => {
                Unsupported("an activation is approved or denied unchanged")
            }
            ChangeKind::AddGrant => Unsupported("an activation is for one role or group"),
            ChangeKind::LinkUser | ChangeKind::CreateUser => Unsupported("the principal is known"),
            ChangeKind::Credential => Unsupported("no password is checked"),
            ChangeKind::Waive => crate::support::waived(),
        }
    }
}

/// The form of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Group,
    EntraRole,
    AzureRole,
}

fn parse(body: &[u8], frame: &ParseContext<'_>) -> Result<Call, ParseError> {
    let document = document(body)?;
    let id =
        document.root().get("id").and_then(Value::as_str).filter(|id| id.len() <= MAX_ID_BYTES);
    let event_id = id.map(|id| id.into_owned()).unwrap_or_default();
    let read = JsonBody { document, event_id };
    let root = read.document.root();
    let form = form(root).map_err(|(cause, detail)| read.refuse(cause, detail))?;
    let request =
        if form == Form::AzureRole { object(Some(root), "properties") } else { Some(root) };

    let needed = |name: &'static str| read.required(request, name);
    let principal = needed("principalId")?;
    let (kind, what, resource) = match form {
        Form::Group => (GrantKind::Group, needed("groupId")?, ("group", Some(needed("groupId")?))),
        Form::EntraRole => (
            GrantKind::Role,
            needed("roleDefinitionId")?,
            ("directory-scope", string(request, "directoryScopeId")),
        ),
        Form::AzureRole => (
            GrantKind::Role,
            needed("roleDefinitionId")?,
            ("azure-scope", string(request, "scope")),
        ),
    };
    let principal_kind = match string(request, "principalType").as_deref() {
        None | Some("User") => PrincipalKind::Person,
        Some("ServicePrincipal") => PrincipalKind::Service,
        Some("Device") => PrincipalKind::Device,
        Some(_) => PrincipalKind::Other,
    };
    let action = match string(request, "action") {
        Some(action) => Some(action),
        None => string(request, "requestType"),
    };
    let purpose = string(request, "justification");
    let entitlements = read.entitlements(&frame.settings.entitlements, &[])?;
    Ok(Call {
        correlation: None,
        tenant: frame.tenant.to_owned(),
        hook: "entra.pim",
        phase: None,
        received: frame.received,
        seed: frame.seed,
        subject: Some(Principal {
            kind: principal_kind,
            type_name: "principal".into(),
            id: Some(principal),
            attributes: Vec::new(),
            entitlements,
        }),
        actors: Vec::new(),
        action: Some(Entity {
            type_name: action.unwrap_or_else(|| "activation".into()),
            id: (!read.event_id.is_empty()).then(|| read.event_id.clone()),
            attributes: members(request, &["status", "accessId", "scheduleInfo", "ticketInfo"]),
        }),
        resource: Some(Entity {
            type_name: resource.0.into(),
            id: resource.1,
            attributes: Vec::new(),
        }),
        requested: vec![Grant { kind, id: what }],
        lifetimes: Vec::new(),
        origin: None,
        purpose,
        proposed: Vec::new(),
        id: read.event_id,
        payload: read.document,
        secrets: Secrets::default(),
    })
}

fn form(root: Value<'_>) -> Result<Form, (Cause, &'static str)> {
    let stated = named(root, "@odata.type").map_err(|()| (Cause::SchemaMismatch, "@odata.type"))?;
    // One that is no text says nothing; the members tell the form as well.
    let stated = stated.and_then(Value::as_str);
    let stated = stated.map(|stated| stated.trim_start_matches('#').to_ascii_lowercase());
    let has = |name: &str| root.get(name).is_some_and(|value| !value.is_null());
    let has_object = |name: &str| root.get(name).is_some_and(Value::is_object);
    match stated.as_deref() {
        Some("microsoft.graph.privilegedaccessgroupassignmentschedulerequest") => Ok(Form::Group),
        Some("microsoft.graph.unifiedroleassignmentschedulerequest") => Ok(Form::EntraRole),
        Some(_) => Err((Cause::UnknownEvent, "@odata.type")),
        None if has_object("properties") => Ok(Form::AzureRole),
        None if has("groupId") => Ok(Form::Group),
        None if has("roleDefinitionId") => Ok(Form::EntraRole),
        None => {
            Err((Cause::SchemaMismatch, "@odata.type, properties, groupId or roleDefinitionId"))
        }
    }
}

fn evaluation(word: &str, reasons: &[&str]) -> Answer {
    Answer::ok(evaluation_body(None, word, reasons), Slot::Member("evaluationId"))
}

fn evaluation_body(id: Option<&str>, word: &str, reasons: &[&str]) -> String {
    build_object(|body| {
        if let Some(id) = id {
            body.text("evaluationId", id);
        }
        body.text("evaluationOutcome", word).texts("reason", reasons);
    })
}

/// The longest that an extension can be set to wait.
const LIMIT: Duration = Duration::from_secs(60);

/// Under the least that an extension can be set to wait, 1 s.
const BUDGET: Duration = Duration::from_millis(800);

/// Reasons in one answer.
const MAX_REASONS: usize = 8;

/// The inputs that a call can have.
const INPUTS: &[&str] = &[
    "subject.id",
    "subject.entitlements",
    "action.id",
    "action.attributes.status",
    "action.attributes.accessId",
    "action.attributes.scheduleInfo",
    "action.attributes.ticketInfo",
    "resource.id",
    "requested",
    "purpose",
];
