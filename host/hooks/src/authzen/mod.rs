//! `authzen`: OpenID AuthZEN Authorization API 1.0: evaluation, evaluations, the three searches, metadata.
//!
//! Invariant: a permission is `200` with `decision: true`, and only a verdict `allow` makes one: nothing said is no permission. What
//! is wrong with a request as a whole is an HTTP error whose body is a JSON string; what is wrong with one of several evaluations, and
//! every failure of ours after the request could be read, is `decision: false` with `context.error`.
//!
//! Reading is in `read`.

mod read;

use std::time::Duration;

use portcullis_model::json::{ObjectWriter, build_object, build_text};
use portcullis_model::{Attribution, Cause, Change, ChangeKind, Effect, SearchTarget};

use crate::adapter::{Adapter, Behaviour, DedupPolicy, FailureBehaviour, Methods, Shown};
use crate::answer::{Answer, Slot};
use crate::reasons::UNCHECKED;
use crate::support::{FallbackTo, Support};
use crate::{
    AnswerParts, BatchContext, HookRequest, HookSettings, OnFailure, Outcome, ParseContext,
    ParseError, Parsed, RenderError, RenderErrorKind, Request, SafeAnswerInput, SearchPage,
    ShortCircuit,
};

/// The hook kind.
pub(crate) struct Authzen;

impl Adapter for Authzen {
    fn inputs(&self, _settings: &HookSettings) -> Vec<&'static str> {
        INPUTS.to_vec()
    }

    fn required(&self) -> &'static [&'static str] {
        &[
            "subject",
            "subject.type",
            "subject.id",
            "action",
            "action.name",
            "resource",
            "resource.type",
            "resource.id",
            "context",
            "evaluations",
            "the evaluation",
            "options.evaluations_semantic",
            "page",
            "page.token",
            "page.limit",
        ]
    }

    fn platform_limit(&self) -> Duration {
        Duration::from_secs(10)
    }

    fn default_budget(&self) -> Duration {
        Duration::from_secs(2)
    }

    fn failure_behaviour(&self) -> FailureBehaviour {
        let stops = Behaviour::FailsClosed("only `decision: true` permits");
        FailureBehaviour { empty: stops, client_error: stops, server_error: stops, timeout: stops }
    }

    fn shown(&self) -> Shown {
        Shown::Application("`context.reason_user`, by the tag of its language")
    }

    fn description(&self) -> &'static str {
        "The standard sets no time limit; this one is the host's. The caller asks for permission, \
         so only `allow` permits: `abstain` is `decision: false`, also if no binding enforces. A \
         request that is invalid as a whole gets 400, 401 or 413 with a JSON string that names the \
         problem, whatever the safe answer is. Closed: `200` with `decision: false` and \
         `context.error`. A search, and a request that could not be read before the failure, gets \
         500, or 503 if there are too many calls, because an empty list would be a wrong answer. \
         Open: `decision: true` with `context.degraded`. Restricted is not offered."
    }

    fn routes(&self, path: &str) -> Vec<(String, &'static str)> {
        let base = path.trim_end_matches('/');
        let below = ENDPOINTS.iter().map(|(route, _)| (format!("{base}{route}"), *route));
        below.chain([(format!("{METADATA}{base}"), METADATA)]).collect()
    }

    fn dedup_policy(&self) -> DedupPolicy {
        DedupPolicy::Never
    }

    fn default_entitlements(&self) -> &'static [&'static str] {
        &[
            "/subject/properties/groups",
            "/subject/properties/roles",
            "/subject/properties/entitlements",
        ]
    }

    fn echoed_header(&self) -> Option<&'static str> {
        Some(REQUEST_ID)
    }

    fn is_permit(&self, verdict: Effect) -> bool {
        verdict == Effect::Allow
    }

    fn methods(&self, route: &'static str) -> Methods {
        if route == METADATA { Methods::Get } else { Methods::Post }
    }

    fn preflight(&self, request: &Request<'_>, settings: &HookSettings) -> Option<Answer> {
        (request.get && request.route == METADATA).then(|| metadata(settings, request.searches))
    }

    fn read(&self, request: &Request<'_>, frame: &ParseContext<'_>) -> Result<Parsed, ParseError> {
        match request.route {
            METADATA => Ok(Parsed::Immediate(
                error(405, "The metadata is read with GET. Please send that instead.")
                    .header("allow", Methods::Get.allow().into()),
            )),
            EVALUATION => read::evaluation(request, frame),
            EVALUATIONS => read::evaluations(request, frame),
            _ if !request.searches => Ok(Parsed::Immediate(error(
                404,
                "No plugin of this hook answers searches. Please ask about one candidate at a \
                 time.",
            ))),
            _ => read::search(request, frame),
        }
    }

    fn write(&self, incoming: &HookRequest, outcome: &Outcome<'_>) -> Result<Answer, RenderError> {
        let permitted = self.is_permit(outcome.verdict);
        let mut statements = Vec::new();
        for (at, change) in (1..).zip(outcome.changes) {
            let unsayable = |why| RenderError { change: Some((at, change.kind())), why };
            let Change::Statement(statement) = change else {
                return Err(unsayable(RenderErrorKind::Kind));
            };
            if statement.obligatory && permitted {
                return Err(unsayable(RenderErrorKind::Obligation));
            }
            statements.push(statement);
        }
        Ok(decision(incoming.answer, permitted, |context| {
            if !permitted {
                context.text("verdict", outcome.verdict.name());
                if !outcome.reasons.is_empty() {
                    context.texts("codes", outcome.codes());
                }
                if let Some(reason) = outcome.shown_text() {
                    context.object("reason_user", |by_language| {
                        by_language.text(outcome.shown_language(), &reason);
                    });
                }
            }
            if !statements.is_empty() {
                context.array("statements", |list| {
                    for statement in statements {
                        list.object(|object| {
                            object.text("name", &statement.name).text("code", &statement.code);
                            object.json("payload", &statement.payload);
                        });
                    }
                });
            }
        }))
    }

    fn refuse(&self, refusal: &SafeAnswerInput<'_>) -> Option<Answer> {
        let SafeAnswerInput { cause, detail, incoming, .. } = refusal;
        let what = if detail.is_empty() {
            cause.code().to_owned()
        } else {
            format!("{}: {detail}", cause.code())
        };
        let status = match cause {
            Cause::Unauthenticated => 401,
            Cause::BodyTooLarge => 413,
            Cause::Overload => 503,
            cause if cause.attribution() == Attribution::Caller => 400,
            _ => 500,
        };
        let answer = || match cause {
            Cause::Unauthenticated => {
                error(status, &what).header("www-authenticate", "Bearer".into())
            }
            Cause::Overload => error(status, &what).header("retry-after", "1".into()),
            _ => error(status, &what),
        };
        let readable = incoming.is_some_and(|incoming| incoming.call.phase.is_none());
        let open = *refusal.on_failure == OnFailure::Open && refusal.route == EVALUATION;
        (cause.attribution() == Attribution::Caller || !readable && !open).then(answer)
    }

    fn safe_answer(&self, refusal: &SafeAnswerInput<'_>) -> Answer {
        let SafeAnswerInput { cause, incoming, .. } = *refusal;
        failed(parts_of(incoming), 500, cause.code(), &refusal.text(UNCHECKED))
    }

    fn platform_default(&self, incoming: Option<&HookRequest>) -> Answer {
        decision(parts_of(incoming), true, |context| {
            context.boolean("degraded", true);
        })
    }

    fn render_batch(&self, answers: &[Vec<u8>], batch: &BatchContext) -> Answer {
        let mut answers: Vec<_> =
            answers.iter().map(|answer| String::from_utf8_lossy(answer).into_owned()).collect();
        let (reason, deciding) = match batch.until {
            ShortCircuit::Never => ("", ""),
            ShortCircuit::OnDeny => ("deny_on_first_deny", DENIED),
            ShortCircuit::OnPermit => ("permit_on_first_permit", PERMITTED),
        };
        if let Some(last) =
            answers.last_mut().filter(|last| !deciding.is_empty() && last.starts_with(deciding))
            && let Some(members) = last.strip_suffix("}}")
        {
            let mut explained = members.to_owned();
            ObjectWriter::members_of(&mut explained).text("code", "200").text("reason", reason);
            explained.push_str("}}");
            *last = explained;
        }
        let list = build_object(|object| {
            object.jsons("evaluations", &answers);
        });
        Answer::ok(list, Slot::Nowhere)
    }

    fn with_candidate(&self, search: &HookRequest, sought: SearchTarget, id: &str) -> HookRequest {
        read::candidate(search, sought, id)
    }

    fn render_search(&self, incoming: &HookRequest, found: &SearchPage) -> Answer {
        let actions = incoming.call.phase.as_deref() == Some(SearchTarget::Action.phase());
        let write_result = |object: &mut ObjectWriter<'_>, result: &portcullis_model::Entity| {
            let id = result.id.as_deref().unwrap_or_default();
            if actions {
                object.text("name", id);
            } else {
                object.text("type", &result.type_name).text("id", id);
            }
        };
        let has_page = incoming.call.payload.root().get("page").is_some();
        // A list that goes on has to say where, whatever is switched off.
        let paged = incoming.answer.page || found.next.is_some() || has_page;
        let context = incoming.answer.context;
        let list = build_object(|list| {
            if paged {
                list.object("page", |page| {
                    page.text("next_token", found.next.as_deref().unwrap_or_default());
                    page.number("count", found.results.len());
                });
            }
            list.array("results", |results| {
                for result in &found.results {
                    results.object(|object| write_result(object, result));
                }
            });
            if context {
                list.json("context", "{}");
            }
        });
        Answer::ok(list, if context { Slot::Within(RECORD) } else { Slot::Nowhere })
    }

    fn effect_support(&self, effect: Effect) -> Support {
        Support::Native(match effect {
            Effect::Abstain => "`decision: false`, because no plugin permits the access",
            Effect::Allow => "`decision: true`",
            Effect::StepUp | Effect::Review => {
                "`decision: false`; `context.verdict` tells callers that read it what would help"
            }
            Effect::Deny => "`decision: false`, with `codes` and `reason_user` in `context`",
        })
    }

    fn change_support(&self, change: ChangeKind) -> Support {
        use Support::{Fallback, Native, Unsupported};
        match change {
            ChangeKind::Statement => Native(
                "in `context.statements`; an obligation only with a denial, because callers need \
                 not carry it out",
            ),
            ChangeKind::DropGrant => {
                Fallback(&[FallbackTo::Deny], "an access is permitted or not, never less of it")
            }
            ChangeKind::RequireApprovers => {
                Fallback(&[FallbackTo::Deny], "a decision cannot wait for approvers")
            }
            ChangeKind::Set(_) | ChangeKind::Remove(_) => {
                Unsupported("a decision changes nothing of the request")
            }
            ChangeKind::CapLifetime(_) => Unsupported("a decision has no lifetime"),
            ChangeKind::AddGrant | ChangeKind::AutoApprove => {
                Unsupported("a decision grants nothing beyond the access")
            }
            ChangeKind::LinkUser | ChangeKind::CreateUser => {
                Unsupported("the subject is known when the request is sent")
            }
            ChangeKind::Credential => Unsupported("no password is checked"),
            ChangeKind::Waive => crate::support::waived(),
        }
    }
}

/// A decision. Its context is there even where it is empty, since the record's reference stands in
/// it, unless the operator switched it off.
fn decision(
    parts: AnswerParts,
    permitted: bool,
    write_context: impl FnOnce(&mut ObjectWriter<'_>),
) -> Answer {
    let body = build_object(|body| {
        body.boolean("decision", permitted);
        if parts.context {
            body.object("context", write_context);
        }
    });
    Answer::ok(body, if parts.context { Slot::Within(RECORD) } else { Slot::Nowhere })
}

/// No decision, where there is a place for one. The reason for the user is left out where it is
/// empty.
fn failed(parts: AnswerParts, status: u16, message: &str, reason: &str) -> Answer {
    decision(parts, false, |context| {
        context.object("error", |error| {
            error.number("status", status).text("message", message);
        });
        if !reason.is_empty() {
            context.object("reason_user", |by_language| {
                by_language.text("en", reason);
            });
        }
    })
}

fn parts_of(incoming: Option<&HookRequest>) -> AnswerParts {
    incoming.map(|incoming| incoming.answer).unwrap_or_default()
}

/// An error of the request as a whole.
fn error(status: u16, message: &str) -> Answer {
    Answer::json(status, build_text(message))
}

/// What can be asked here and where. Nothing where the operator did not say by which URL callers know the hook: an identifier that is
/// made up from a request's headers is one that a caller chose.
fn metadata(settings: &HookSettings, searches: bool) -> Answer {
    let Some(identifier) = &settings.public_url else {
        return error(
            404,
            "This hook publishes no metadata, because its setting `public_url` is missing.",
        );
    };
    let base = identifier.trim_end_matches('/');
    let answered = ENDPOINTS
        .iter()
        .filter(|(route, _)| searches || matches!(*route, EVALUATION | EVALUATIONS));
    let body = build_object(|object| {
        object.text("policy_decision_point", identifier);
        for (route, member) in answered {
            object.display(member, format_args!("{base}{route}"));
        }
    });
    Answer::ok(body, Slot::Nowhere)
}

/// Each endpoint, and its member of the metadata.
const ENDPOINTS: [(&str, &str); 5] = [
    (EVALUATION, "access_evaluation_endpoint"),
    (EVALUATIONS, "access_evaluations_endpoint"),
    (SEARCH_SUBJECT, "search_subject_endpoint"),
    (SEARCH_RESOURCE, "search_resource_endpoint"),
    (SEARCH_ACTION, "search_action_endpoint"),
];

const EVALUATION: &str = "/access/v1/evaluation";
const EVALUATIONS: &str = "/access/v1/evaluations";
const SEARCH_SUBJECT: &str = "/access/v1/search/subject";
const SEARCH_RESOURCE: &str = "/access/v1/search/resource";
const SEARCH_ACTION: &str = "/access/v1/search/action";
const METADATA: &str = "/.well-known/authzen-configuration";
/// Comes back with every answer.
const REQUEST_ID: &str = "x-request-id";
/// The member of `context` that names the record.
const RECORD: &str = "record";
/// The beginning of answers to evaluations.
const PERMITTED: &str = r#"{"decision":true,"#;
const DENIED: &str = r#"{"decision":false,"#;
/// The inputs that a call can have.
const INPUTS: &[&str] = &[
    "subject.id",
    "subject.attributes.*",
    "subject.entitlements",
    "action.id",
    "action.attributes.*",
    "resource.id",
    "resource.attributes.*",
    "correlation",
    "origin.ip",
    "origin.device",
    "purpose",
];
