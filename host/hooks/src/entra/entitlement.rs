//! `entra.entitlement`: entitlement management calls out at a stage of an access package's request or assignment, and waits for a call
//! of ours.
//!
//! Invariants: the answer only says that the call was heard; what was decided goes by the resume
//! call, and where nothing waits (an extension that is launched and not waited for: no
//! `CallbackUriPath`, no `CallbackConfiguration`) there is none. A request is denied only where the
//! platform can deny it, and where it cannot, nothing resumes it. No text of a body becomes part of
//! an address unless it is a plain id. Sources: Microsoft's Logic App templates for the form on the
//! wire, the Graph pages on resuming a request and on callback data, and the page on dynamic
//! approval.
//!
//! Reading. Members are taken in Pascal case, which the platform sends, and in camel case, which its pages show; attributes are in camel
//! case always. The subject is the assignment's target, by its object id, or the requestor where there is none; a requestor who is
//! somebody else is an actor. The access package is requested and the resource. The phase is the stage. A body of the retired
//! form (`Event`) is decided and recorded too, but nothing waits for it.

use std::time::Duration;

use portcullis_model::json::{ObjectWriter, Value, build_object};
use portcullis_model::{
    Attribute, Attribution, Call, Cause, Change, ChangeKind, Effect, Entity, Grant, GrantKind,
    Principal, PrincipalKind, Secrets,
};

use super::{
    BUDGET, LIMIT, MAX_ID_BYTES, accepted, cased, cased_members, cased_object, cased_text,
    document, is_plain_id, refused, resume_reactions,
};
use crate::adapter::{Adapter, DedupPolicy, FailureBehaviour, Need, Shown};
use crate::answer::{Answer, Slot};
use crate::json_body::{JsonBody, Strings};
use crate::side_effect::{Resume, SideEffect};
use crate::support::{FallbackTo, Support};
use crate::{
    HookRequest, HookSettings, Outcome, ParseContext, ParseError, Parsed, RenderError,
    RenderErrorKind, Request, SafeAnswerInput,
};

/// The hook kind.
pub(crate) struct Entitlement;

impl Adapter for Entitlement {
    fn inputs(&self, _settings: &HookSettings) -> Vec<&'static str> {
        INPUTS.to_vec()
    }

    fn required(&self) -> &'static [&'static str] {
        &["Stage", "AccessPackageAssignmentRequestId", "CustomExtensionStageInstanceId"]
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
        Shown::Operator(
            "`customExtensionStageInstanceDetail` of the resume call, which Entra keeps \
                 with the request",
        )
    }

    fn description(&self) -> &'static str {
        "The answer is 202 at once, and the decision follows in a resume call (`[resume]` in the \
         settings): without `state` to proceed, with `state` `Denied` to stop, which the platform \
         supports at the stage assignmentRequestCreated only. A denial at another stage is not \
         resumed: the request waits until the platform's own timeout. Closed: a denial in the same \
         way; an unauthenticated caller gets 401 and an unreadable request 400. If the platform \
         launches the extension without waiting for it, the decision is in the record only and \
         there is no resume call. Restricted is not offered. Open: 202, and a resume call that \
         proceeds; 401 for an unauthenticated caller. Connection tests are answered 200 without a \
         decision."
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Resume]
    }

    fn dedup_policy(&self) -> DedupPolicy {
        DedupPolicy::ByIdAndBody
    }

    fn read(&self, request: &Request<'_>, frame: &ParseContext<'_>) -> Result<Parsed, ParseError> {
        let document = document(request.body)?;
        let read = JsonBody { document, event_id: String::new() };
        let root = read.document.root();
        let stage = cased_text(Some(root), "Stage");
        let event = cased_text(Some(root), "Event");
        let is = |word: &Option<String>, test: &str| {
            word.as_ref().is_some_and(|word| word.eq_ignore_ascii_case(test))
        };
        if is(&stage, "CustomExtensionConnectionTest") || is(&event, "CustomActionConnectionTest") {
            return Ok(Parsed::Immediate(Answer::ok("{}".into(), Slot::Nowhere)));
        }
        match (stage, event) {
            (Some(stage), _) => Ok(Parsed::Single(parse(read, stage, frame)?.into())),
            (None, Some(event)) => Ok(Parsed::Single(parse_retired(read, event, frame)?.into())),
            (None, None) => Err(read.refuse(Cause::SchemaMismatch, "Stage")),
        }
    }

    fn write(&self, incoming: &HookRequest, outcome: &Outcome<'_>) -> Result<Answer, RenderError> {
        if outcome.verdict <= Effect::Allow {
            for (at, change) in (1..).zip(outcome.changes) {
                admit(incoming, change)
                    .map_err(|why| RenderError { change: Some((at, change.kind())), why })?;
            }
        }
        Ok(accepted())
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
        if !waits(call.payload.root()) {
            return None;
        }
        let id = call.action.as_ref()?.id.as_ref()?;
        let stage = call.phase.as_deref()?;
        let approvers: Vec<_> = outcome.changes.iter().filter_map(approvers_of).flatten().collect();
        let determining = stage.eq_ignore_ascii_case(DETERMINING);
        if outcome.verdict > Effect::Allow {
            let denies = stage.eq_ignore_ascii_case(CREATED);
            return denies.then(|| {
                resume(
                    call,
                    id,
                    stage,
                    r#""state":"Denied""#,
                    &outcome.text_or(
                        "The request is denied. Please call the help desk if you need this access.",
                    ),
                )
            });
        }
        if !determining {
            return Some(resume(call, id, stage, "", &outcome.text_or("The request was checked.")));
        }
        if !approvers.is_empty() {
            return Some(resume_with_stage(
                call,
                id,
                &approvers,
                &outcome
                    .text_or("The request was checked. The people named here have to approve it."),
            ));
        }
        // Who approves has to be said: a request that nobody said it of is not let through without approval.
        let nobody = outcome.changes.contains(&Change::AutoApprove);
        nobody.then(|| {
            resume(
                call,
                id,
                stage,
                "",
                &outcome.text_or("The request was checked. Nobody has to approve it."),
            )
        })
    }

    fn effect_support(&self, effect: Effect) -> Support {
        match effect {
            Effect::Abstain | Effect::Allow => Support::Native("a resume call that proceeds"),
            Effect::Deny => Support::Native(
                "a resume call with `state` `Denied` at assignmentRequestCreated; none at any other stage, so that the request waits",
            ),
            Effect::StepUp => {
                Support::Fallback(&[FallbackTo::Deny], "a request cannot ask for a factor")
            }
            Effect::Review => Support::Fallback(
                &[FallbackTo::Deny],
                "the resume call names approvers, not reviewers: see `require-approvers`",
            ),
        }
    }

    fn change_support(&self, change: ChangeKind) -> Support {
        use Support::{Fallback, Native, Unsupported};
        match change {
            ChangeKind::RequireApprovers => Native(
                "an approval stage with these users, by their object ids, at assignmentRequestDeterminingApprovalRequirements only",
            ),
            ChangeKind::AutoApprove => Native(
                "a resume call without an approval stage, at assignmentRequestDeterminingApprovalRequirements only",
            ),
            ChangeKind::DropGrant => Fallback(
                &[FallbackTo::Deny],
                "a request is for one access package: without that it is empty",
            ),
            ChangeKind::CapLifetime(_) => {
                Fallback(&[FallbackTo::Deny], "an assignment's time is set by its policy")
            }
            ChangeKind::Statement => {
                Fallback(&[FallbackTo::Deny], "Entra carries out no obligations")
            }
            ChangeKind::Set(_) | ChangeKind::Remove(_) => {
                Unsupported("a request proceeds or is denied as it is")
            }
            ChangeKind::AddGrant => Unsupported("a request is for one access package"),
            ChangeKind::LinkUser | ChangeKind::CreateUser => Unsupported("the user is known"),
            ChangeKind::Credential => Unsupported("no password is checked"),
            ChangeKind::Waive => crate::support::waived(),
        }
    }
}

fn parse(mut read: JsonBody, stage: String, frame: &ParseContext<'_>) -> Result<Call, ParseError> {
    let id = cased_text(Some(read.document.root()), "AccessPackageAssignmentRequestId");
    let id = id.filter(|id| is_plain_id(id));
    read.event_id = id.clone().unwrap_or_default();
    let root = Some(read.document.root());
    if !(1..=64).contains(&stage.len()) || !stage.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Err(read.refuse(Cause::SchemaMismatch, "Stage"));
    }
    // Only a resume call needs them.
    if waits(read.document.root()) {
        if id.is_none() {
            return Err(read.refuse(Cause::SchemaMismatch, "AccessPackageAssignmentRequestId"));
        }
        let instance = cased_text(root, "CustomExtensionStageInstanceId");
        if !instance.is_some_and(|instance| (1..=MAX_ID_BYTES).contains(&instance.len())) {
            return Err(read.refuse(Cause::SchemaMismatch, "CustomExtensionStageInstanceId"));
        }
    }
    let package = cased_object(root, "AccessPackage");
    let catalog = cased_object(root, "AccessPackageCatalog");
    let assignment = cased_object(root, "Assignment");
    let target = person(cased_object(assignment, "Target"));
    let requestor = person(cased_object(root, "Requestor"));
    let package_id = cased_text(package, "Id");
    let (subject, actor) = match (target, requestor) {
        (Some(target), Some(requestor)) if target.id == requestor.id => (Some(target), None),
        (Some(target), requestor) => (Some(target), requestor),
        (None, requestor) => (requestor, None),
    };
    let entitlements = read.entitlements(&frame.settings.entitlements, &[])?;
    let mut package_attributes = cased_members(package, &["displayName", "description"]);
    let catalogs = cased_members(catalog, &["id", "displayName"]).into_iter();
    package_attributes.extend(
        catalogs
            .map(|it| Attribute { name: format!("catalog.{}", &*it.name).into(), value: it.value }),
    );
    let mut action_attributes =
        cased_members(root, &["stage", "requestType", "state", "status", "answers"]);
    let policy = cased_object(assignment, "AssignmentPolicy");
    let policies = cased_members(policy, &["id", "displayName"]).into_iter();
    action_attributes.extend(
        policies
            .map(|it| Attribute { name: format!("policy.{}", &*it.name).into(), value: it.value }),
    );
    let mut phase = stage;
    lower_first(&mut phase);
    Ok(Call {
        phase: Some(phase),
        subject: subject.map(|subject| Principal { entitlements, ..subject }),
        actors: actor.into_iter().collect(),
        action: Some(Entity {
            type_name: "assignment-request".into(),
            id: id.clone(),
            attributes: action_attributes,
        }),
        requested: package_id
            .iter()
            .map(|id| Grant { kind: GrantKind::Entitlement, id: id.clone() })
            .collect(),
        resource: package.map(|_| Entity {
            type_name: "access-package".into(),
            id: package_id,
            attributes: package_attributes,
        }),
        ..bare(id.unwrap_or_default(), read, frame)
    })
}

/// Whether the platform waits for a resume call: only then does it say where to.
fn waits(root: Value<'_>) -> bool {
    let path = cased_text(Some(root), "CallbackUriPath").is_some_and(|path| !path.is_empty());
    path || cased_object(Some(root), "CallbackConfiguration").is_some()
}

/// The retired form, of extensions that are told and never answered.
fn parse_retired(
    mut read: JsonBody,
    event: String,
    frame: &ParseContext<'_>,
) -> Result<Call, ParseError> {
    let root = Some(read.document.root());
    let package_id = cased_text(root, "AccessPackageId");
    let user = cased_text(root, "UserId");
    let mut roles = Strings::default();
    for role in cased(root, "Roles").into_iter().flat_map(Value::elements) {
        roles.take(cased(Some(role), "Id"));
    }
    let requested =
        package_id.iter().map(|id| Grant { kind: GrantKind::Entitlement, id: id.clone() });
    let roles = roles.list().into_iter().map(|id| Grant { kind: GrantKind::Role, id: id.into() });
    let requested = requested.chain(roles).collect();
    let attributes = cased_members(root, &["userName", "userEmail"]);
    let entitlements = read.entitlements(&frame.settings.entitlements, &[])?;
    let of_package = cased_members(
        root,
        &["accessPackageName", "accessPackagePolicyName", "catalogId", "catalogName"],
    );
    let action_attributes =
        cased_members(root, &["event", "grantRequestCreatedDateTime", "connectedOrganizationName"]);
    // It has no id: what happened, to whom and when is the nearest.
    let when = cased_text(root, "GrantRequestCreatedDateTime").unwrap_or_default();
    let mut id = format!(
        "{event}:{}:{}:{when}",
        package_id.as_deref().unwrap_or(""),
        user.as_deref().unwrap_or("")
    );
    if id.len() > MAX_ID_BYTES {
        id.clear();
    }
    read.event_id.clone_from(&id);
    let mut phase = event;
    lower_first(&mut phase);
    Ok(Call {
        phase: Some(phase),
        subject: Some(Principal {
            kind: PrincipalKind::Person,
            type_name: "user".into(),
            id: user,
            attributes,
            entitlements,
        }),
        action: Some(Entity {
            type_name: "assignment-request".into(),
            id: None,
            attributes: action_attributes,
        }),
        requested,
        resource: Some(Entity {
            type_name: "access-package".into(),
            id: package_id,
            attributes: of_package,
        }),
        ..bare(id, read, frame)
    })
}

fn bare(id: String, read: JsonBody, frame: &ParseContext<'_>) -> Call {
    Call {
        id,
        correlation: None,
        tenant: frame.tenant.to_owned(),
        hook: "entra.entitlement",
        phase: None,
        received: frame.received,
        seed: frame.seed,
        subject: None,
        actors: Vec::new(),
        action: None,
        resource: None,
        requested: Vec::new(),
        lifetimes: Vec::new(),
        origin: None,
        purpose: None,
        proposed: Vec::new(),
        payload: read.document,
        secrets: Secrets::default(),
    }
}

fn person(of: Option<Value<'_>>) -> Option<Principal> {
    of?;
    let id = cased_text(of, "ObjectId").or_else(|| cased_text(of, "Id"));
    let attributes = cased_members(of, &["displayName", "connectedOrganization"]);
    let (kind, type_name) = (PrincipalKind::Person, "user".to_owned());
    Some(Principal { kind, type_name, id, attributes, entitlements: Vec::new() })
}

/// Whether a change can be said at the request's stage.
fn admit(incoming: &HookRequest, change: &Change) -> Result<(), RenderErrorKind> {
    let call = &incoming.call;
    let determining = waits(call.payload.root())
        && call.phase.as_deref().is_some_and(|stage| stage.eq_ignore_ascii_case(DETERMINING));
    match change {
        Change::RequireApprovers(_) | Change::AutoApprove if !determining => {
            Err(RenderErrorKind::Place)
        }
        Change::RequireApprovers(ids)
            if (1..=MAX_APPROVERS).contains(&ids.len()) && ids.iter().all(|id| is_plain_id(id)) =>
        {
            Ok(())
        }
        Change::RequireApprovers(_) => Err(RenderErrorKind::Value),
        Change::AutoApprove => Ok(()),
        _ => Err(RenderErrorKind::Kind),
    }
}

fn approvers_of(change: &Change) -> Option<&Vec<String>> {
    if let Change::RequireApprovers(ids) = change { Some(ids) } else { None }
}

/// The resume call, with further members of `data`.
fn resume(call: &Call, id: &str, stage: &str, members: &str, detail: &str) -> SideEffect {
    // The page on callbacks knows four types; the stages that it does not name go by their own.
    let kind = if stage.eq_ignore_ascii_case(DETERMINING) { CREATED } else { stage };
    let body = callback(kind, |data| {
        data.text("@odata.type", "microsoft.graph.accessPackageAssignmentRequestCallbackData");
        data.text("stage", stage);
        write_particulars(data, call, detail);
        data.members(members);
    });
    SideEffect::Resume(Resume {
        path: format!("/v1.0{BELOW}/assignmentRequests/{id}/resume"),
        body,
    })
}

/// The resume call that names who approves: in the beta of the interface only.
fn resume_with_stage(call: &Call, id: &str, approvers: &[&String], detail: &str) -> SideEffect {
    let body = callback(CREATED, |data| {
        data.text("@odata.type", "microsoft.graph.assignmentRequestApprovalStageCallbackData");
        data.text("stage", DETERMINING);
        write_particulars(data, call, detail);
        data.object("approvalStage", |stage| {
            stage
                .text("durationBeforeAutomaticDenial", APPROVAL_TIME)
                .boolean("isApproverJustificationRequired", false)
                .boolean("isEscalationEnabled", false);
            stage.array("primaryApprovers", |people| {
                for approver in approvers {
                    people.object(|person| {
                        person.text("@odata.type", "#microsoft.graph.singleUser");
                        person.boolean("isBackup", false).text("id", approver);
                    });
                }
            });
            stage
                .json("fallbackPrimaryApprovers", "[]")
                .json("escalationApprovers", "[]")
                .json("fallbackEscalationApprovers", "[]");
        });
    });
    let own = |segment: &str| format!("{BELOW}/{segment}/{id}/resume");
    // The page has us take the path of the body; it is taken where it is one of the two that there are.
    let named = ["CallbackUriPath", "callbackUriPath"]
        .iter()
        .find_map(|name| call.payload.root().get(name)?.as_str());
    let [old, new] = ["accessPackageAssignmentRequests", "assignmentRequests"].map(own);
    let path = if named.as_deref() == Some(new.as_str()) { new } else { old };
    SideEffect::Resume(Resume { path: format!("/beta{path}"), body })
}

/// Returns the body of a resume call.
fn callback(kind: &str, write_data: impl FnOnce(&mut ObjectWriter<'_>)) -> String {
    build_object(|body| {
        body.text("source", "Portcullis")
            .display(
                "type",
                format_args!("microsoft.graph.accessPackageCustomExtensionStage.{kind}"),
            )
            .object("data", write_data);
    })
}

fn write_particulars(data: &mut ObjectWriter<'_>, call: &Call, detail: &str) {
    let names = ["CustomExtensionStageInstanceId", "customExtensionStageInstanceId"];
    let instance =
        names.iter().find_map(|name| call.payload.root().get(name)?.as_str()).unwrap_or_default();
    data.text("customExtensionStageInstanceId", &instance);
    data.text("customExtensionStageInstanceDetail", detail);
}

fn lower_first(text: &mut str) {
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_lowercase();
    }
}

/// The one stage at which a request can be denied.
const CREATED: &str = "assignmentRequestCreated";

/// The stage at which the extension says who approves.
const DETERMINING: &str = "assignmentRequestDeterminingApprovalRequirements";

const BELOW: &str = "/identityGovernance/entitlementManagement";

/// How long named approvers have, as in Microsoft's example; then the request is denied.
const APPROVAL_TIME: &str = "P2D";

/// Approvers of one request.
const MAX_APPROVERS: usize = 20;

/// The inputs that a call can have.
const INPUTS: &[&str] = &[
    "subject.id",
    "subject.entitlements",
    "subject.attributes.displayName",
    "subject.attributes.connectedOrganization",
    "subject.attributes.userName",
    "subject.attributes.userEmail",
    "actors.id",
    "actors.attributes.displayName",
    "actors.attributes.connectedOrganization",
    "action.id",
    "action.attributes.*",
    "resource.id",
    "resource.attributes.*",
    "requested",
];
