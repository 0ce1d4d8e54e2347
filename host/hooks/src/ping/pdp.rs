//! `ping.pdp`: PingAuthorize's JSON PDP API: policy decisions, single (`/governance-engine`), in
//! batches (`/governance-engine/batch`) and as queries (`/governance-engine/query`).
//!
//! Invariant: `authorized` is true where the decision is `PERMIT`, and only a verdict `allow` is
//! one. No decision is `INDETERMINATE`. A query is decided combination by combination, each like a
//! request of its own, so that it never contradicts one.
//!
//! Reading. All that is known stands in `attributes`, as strings; they are the subject's
//! attributes. Which of them is its id, the operator says (`subject`). The action and the service
//! are the action's and the resource's ids. Reading queries is in `query`.

mod query;

use std::borrow::Cow;
use std::time::Duration;

use portcullis_model::json::{ObjectWriter, Value, build_object};
use portcullis_model::{
    Attribution, Call, Cause, Change, ChangeKind, Document, Effect, Entity, Millis, Principal,
    PrincipalKind, Secrets, Statement, Text,
};

use crate::adapter::{Adapter, Behaviour, DedupPolicy, FailureBehaviour, Shown};
use crate::answer::{Answer, Slot};
use crate::json_body::{JsonBody, Strings, attributes, members, object, string};
use crate::reasons::DENIED;
use crate::support::{FallbackTo, Support};
use crate::{
    Batch, BatchContext, HookRequest, HookSettings, OnFailure, Outcome, ParseContext, ParseError,
    Parsed, RenderError, RenderErrorKind, Request, SafeAnswerInput, ShortCircuit, UnparsedItem,
};

/// The hook kind.
pub(crate) struct Pdp;

impl Adapter for Pdp {
    fn inputs(&self, settings: &HookSettings) -> Vec<&'static str> {
        // The contract has no place for the subject's id.
        let id = settings.subject.is_some().then_some("subject.id");
        INPUTS.iter().copied().chain(id).collect()
    }

    fn required(&self) -> &'static [&'static str] {
        &["attributes", "requests", "the request", "query", "query.attribute", "query.values"]
    }

    fn platform_limit(&self) -> Duration {
        Duration::from_secs(10)
    }

    fn default_budget(&self) -> Duration {
        Duration::from_secs(2)
    }

    fn failure_behaviour(&self) -> FailureBehaviour {
        let stops = Behaviour::FailsClosed("only `PERMIT` authorizes");
        FailureBehaviour { empty: stops, client_error: stops, server_error: stops, timeout: stops }
    }

    fn shown(&self) -> Shown {
        Shown::Application("`payload` of the first statement, which the gateway passes on")
    }

    fn description(&self) -> &'static str {
        "The contract sets no time limit; this one is the host's. The caller asks for permission, \
         so only `allow` permits: `abstain` is `NOT_APPLICABLE`, also if no binding enforces. A \
         query is decided for each combination of its values, at most 256, and its answer lists \
         those that are permitted; an attribute without `values` gets 400, because the host has no \
         list of them. A request that is invalid as a whole gets 400, 401 or 413, whatever the \
         safe answer is. Closed: `200` with `INDETERMINATE` and `authorized: false`; a request \
         that could not be read before the failure gets 500, or 503 if there are too many calls. \
         Open: `PERMIT`. Restricted is not offered. `deploymentPackageId` is the generation, `id` \
         the record."
    }

    fn routes(&self, path: &str) -> Vec<(String, &'static str)> {
        let base = path.trim_end_matches('/');
        [SINGLE, BATCH, QUERY].map(|route| (format!("{base}{route}"), route)).to_vec()
    }

    fn dedup_policy(&self) -> DedupPolicy {
        DedupPolicy::Never
    }

    fn is_permit(&self, verdict: Effect) -> bool {
        verdict == Effect::Allow
    }

    fn read(&self, request: &Request<'_>, frame: &ParseContext<'_>) -> Result<Parsed, ParseError> {
        let refuse =
            |cause, detail: &'static str| ParseError { cause, detail: detail.into(), event: None };
        let document =
            Document::parse(request.body).map_err(|error| refuse(error.cause, "the body"))?;
        if request.route == SINGLE {
            return Ok(Parsed::Single(question(document, frame, None)?));
        }
        if request.route == QUERY {
            return query::read(&document, frame);
        }
        let requests = document.root().get("requests").filter(|requests| requests.is_array());
        let requests = requests.ok_or_else(|| refuse(Cause::SchemaMismatch, "requests"))?;
        let requests: Vec<_> = requests.elements().take(MOST_REQUESTS + 1).collect();
        if requests.is_empty() {
            let nothing = BatchContext { until: ShortCircuit::Never, query: Vec::new() };
            return Ok(Parsed::Immediate(self.render_batch(&[], &nothing)));
        }
        if requests.len() > MOST_REQUESTS {
            return Err(refuse(Cause::SchemaMismatch, "requests, of which there may be 256"));
        }
        let items = requests.into_iter().enumerate().map(|(number, item)| {
            let question = Document::parse(item.raw().as_bytes())
                .map_err(|error| refuse(error.cause, "the request"))
                .and_then(|document| question(document, frame, Some(number)));
            question.map_err(|malformed| {
                let wrong = format!("{}: {}", malformed.code(), malformed.detail);
                let answer = indeterminate(Some(frame.received), "BAD_REQUEST", "", &wrong);
                Box::new(UnparsedItem { answer, malformed, question: None })
            })
        });
        let (items, query) = (items.collect(), Vec::new());
        Ok(Parsed::Batch(Batch { id: None, items, until: ShortCircuit::Never, query }))
    }

    fn write(&self, incoming: &HookRequest, outcome: &Outcome<'_>) -> Result<Answer, RenderError> {
        let decision = match outcome.verdict {
            Effect::Allow => "PERMIT",
            Effect::Abstain => "NOT_APPLICABLE",
            Effect::StepUp | Effect::Review | Effect::Deny => "DENY",
        };
        let mut statements = Vec::new();
        let mut state = |name: &str, code: &str, payload: &str, obligatory: bool| {
            let number = statements.len() + 1;
            statements.push(build_object(|statement| {
                statement
                    .display("id", number)
                    .text("name", name)
                    .text("code", code)
                    .text("payload", payload)
                    .boolean("obligatory", obligatory)
                    .boolean("fulfilled", false)
                    .json("attributes", "{}");
            }));
        };
        match outcome.verdict {
            Effect::StepUp => state("Step-up", "step-up", &outcome.text_or(""), false),
            Effect::Review => state("Review", "review", &outcome.text_or(""), false),
            Effect::Deny => {
                // What PingAuthorize's own denials carry for the client.
                let message = outcome.text_or(DENIED);
                let reason = build_object(|reason| {
                    reason.number("status", 403_u16).text("message", &message);
                });
                state("Denied Reason", "denied-reason", &reason, false);
            }
            Effect::Abstain | Effect::Allow => {}
        }
        for (at, change) in (1..).zip(outcome.changes) {
            let Change::Statement(statement) = change else {
                return Err(RenderError {
                    change: Some((at, change.kind())),
                    why: RenderErrorKind::Kind,
                });
            };
            state(&statement.name, &statement.code, &payload_text(statement), statement.obligatory);
        }
        Ok(answer(Some(incoming.call.received), decision, &statements, |status| {
            status.text("code", "OKAY").texts("messages", outcome.codes()).json("errors", "[]");
        }))
    }

    fn refuse(&self, refusal: &SafeAnswerInput<'_>) -> Option<Answer> {
        let SafeAnswerInput { cause, detail, incoming, .. } = refusal;
        let open = *refusal.on_failure == OnFailure::Open && refusal.route == SINGLE;
        if cause.attribution() != Attribution::Caller && (incoming.is_some() || open) {
            return None;
        }
        let status = match cause {
            Cause::Unauthenticated => 401,
            Cause::BodyTooLarge => 413,
            Cause::Overload => 503,
            cause if cause.attribution() == Attribution::Caller => 400,
            _ => 500,
        };
        let what = if detail.is_empty() {
            cause.code().to_owned()
        } else {
            format!("{}: {detail}", cause.code())
        };
        let error = build_object(|error| {
            error.text("errorMessage", &what).number("status", status);
        });
        Some(Answer::json(status, error))
    }

    fn safe_answer(&self, refusal: &SafeAnswerInput<'_>) -> Answer {
        let SafeAnswerInput { cause, incoming, .. } = *refusal;
        let reference = refusal.text("");
        indeterminate(
            incoming.map(|incoming| incoming.call.received),
            "PROCESSING_ERROR",
            &reference,
            cause.code(),
        )
    }

    fn platform_default(&self, incoming: Option<&HookRequest>) -> Answer {
        answer(incoming.map(|incoming| incoming.call.received), "PERMIT", &[], |status| {
            status.text("code", "OKAY").texts("messages", ["degraded"]).json("errors", "[]");
        })
    }

    fn render_batch(&self, answers: &[Vec<u8>], batch: &BatchContext) -> Answer {
        if !batch.query.is_empty() {
            return query::answer(answers, &batch.query);
        }
        let whole = build_object(|whole| {
            whole.jsons("responses", answers.iter().map(|answer| String::from_utf8_lossy(answer)));
        });
        Answer::ok(whole, Slot::Nowhere)
    }

    fn effect_support(&self, effect: Effect) -> Support {
        Support::Native(match effect {
            Effect::Abstain => {
                "`NOT_APPLICABLE`, `authorized: false`, because no plugin permits the access"
            }
            Effect::Allow => "`PERMIT`, `authorized: true`",
            Effect::StepUp => "`DENY`, with a statement `step-up`",
            Effect::Review => "`DENY`, with a statement `review`",
            Effect::Deny => "`DENY`, with a statement `denied-reason`",
        })
    }

    fn change_support(&self, change: ChangeKind) -> Support {
        use Support::{Fallback, Native, Unsupported};
        match change {
            ChangeKind::Statement => {
                Native("in `statements`; a payload that is no string as its JSON text")
            }
            ChangeKind::DropGrant => {
                Fallback(&[FallbackTo::Deny], "an access is permitted or not, never less of it")
            }
            ChangeKind::RequireApprovers => {
                Fallback(&[FallbackTo::Deny], "a decision cannot wait for approvers")
            }
            ChangeKind::Set(_) | ChangeKind::Remove(_) => {
                Unsupported("a decision makes no change itself; a statement can request one")
            }
            ChangeKind::CapLifetime(_) => Unsupported("a decision has no lifetime"),
            ChangeKind::AddGrant | ChangeKind::AutoApprove => {
                Unsupported("a decision grants nothing beyond the access")
            }
            ChangeKind::LinkUser | ChangeKind::CreateUser => {
                Unsupported("a decision makes no user")
            }
            ChangeKind::Credential => Unsupported("no password is checked"),
            ChangeKind::Waive => crate::support::waived(),
        }
    }
}

/// Reads one request.
fn question(
    document: Document,
    frame: &ParseContext<'_>,
    part: Option<usize>,
) -> Result<HookRequest, ParseError> {
    let settings = frame.settings;
    let event_id = match part {
        Some(part) => format!("{:016x}/{part}", frame.seed),
        None => format!("{:016x}", frame.seed),
    };
    let read = JsonBody { document, event_id };
    let root = Some(read.document.root()).filter(|root| root.is_object());
    let root = Some(root.ok_or_else(|| {
        read.refuse(Cause::SchemaMismatch, "the request, which must be an object")
    })?);
    let sent = object(root, "attributes")
        .ok_or_else(|| read.refuse(Cause::SchemaMismatch, "attributes"))?;
    let action = string(root, "action");
    let service = string(root, "service");
    let subject =
        settings.subject.as_deref().and_then(|pointer| read.document.pointer(pointer)?.as_str());
    let subject = subject.map(Cow::into_owned).filter(|subject| !subject.is_empty());
    let mut entitlements: Vec<String> = Vec::new();
    for pointer in &settings.entitlements {
        let place = read.document.pointer(pointer).filter(|place| !place.is_null());
        let readable = match place.map(Value::as_str) {
            None => true,
            Some(Some(held)) => held_in(&held, &mut entitlements),
            // Not what the contract says, but no harder to read.
            Some(None) => {
                let mut found = Strings::default();
                let whole = found.take_all(place);
                entitlements.extend(found.list().into_iter().map(String::from));
                whole
            }
        };
        if !readable {
            return Err(read.unreadable_place(pointer, "entitlements"));
        }
    }
    entitlements.sort_unstable();
    entitlements.dedup();
    let subject = Principal {
        kind: if subject.is_some() { PrincipalKind::Person } else { PrincipalKind::Other },
        type_name: "subject".into(),
        id: subject,
        attributes: attributes([Some(sent)]),
        entitlements: entitlements.into_iter().map(Text::from).collect(),
    };
    let resource = Entity {
        type_name: "service".into(),
        id: service,
        attributes: members(root, &["domain", "identityProvider"]),
    };
    let mut secrets = Secrets::default();
    settings.secrets.iter().for_each(|pointer| secrets.add(pointer.clone()));
    Ok(Call {
        id: read.event_id,
        correlation: None,
        tenant: frame.tenant.to_owned(),
        hook: "ping.pdp",
        phase: None,
        received: frame.received,
        seed: part.map_or(frame.seed, |part| frame.seed_of(part)),
        subject: Some(subject),
        actors: Vec::new(),
        action: Some(Entity { type_name: "action".into(), id: action, attributes: Vec::new() }),
        resource: Some(resource),
        requested: Vec::new(),
        lifetimes: Vec::new(),
        origin: None,
        purpose: None,
        proposed: Vec::new(),
        payload: read.document,
        secrets,
    }
    .into())
}

/// Attributes are strings; one that holds several things is the text of a JSON array. Returns false
/// where that array has something else than strings in it.
fn held_in(held: &str, into: &mut Vec<String>) -> bool {
    let document =
        Document::parse(held.as_bytes()).ok().filter(|document| document.root().is_array());
    let Some(document) = document else {
        into.push(held.to_owned());
        return true;
    };
    let mut found = Strings::default();
    let whole = found.take_all(Some(document.root()));
    into.extend(found.list().into_iter().map(String::from));
    whole
}

/// Returns the answer without a decision. The message is left out where it is empty.
fn indeterminate(received: Option<Millis>, code: &str, message: &str, error: &str) -> Answer {
    answer(received, "INDETERMINATE", &[], |status| {
        let message = Some(message).filter(|message| !message.is_empty());
        status.text("code", code).texts("messages", message).texts("errors", [error]);
    })
}

fn answer(
    received: Option<Millis>,
    decision: &str,
    statements: &[String],
    write_status: impl FnOnce(&mut ObjectWriter<'_>),
) -> Answer {
    let body = build_object(|object| {
        if let Some(received) = received {
            object.text("timestamp", &timestamp(received));
        }
        object.text("decision", decision).boolean("authorized", decision == "PERMIT");
        object.jsons("statements", statements).object("status", write_status);
    });
    Answer::ok(body, Slot::Decision)
}

/// Returns a statement's payload as text: what a JSON string says, or else the JSON as it is.
fn payload_text(statement: &Statement) -> String {
    let document = Document::parse(statement.payload.as_bytes()).ok();
    let said = document.as_ref().and_then(|document| document.root().as_str());
    said.map_or_else(|| statement.payload.clone(), |said| said.into_owned())
}

/// RFC 3339, UTC. Days to dates as in Howard Hinnant's `civil_from_days`.
fn timestamp(at: Millis) -> String {
    let (seconds, millis) = (at.0 / 1_000, at.0 % 1_000);
    let (day, second) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March, in eras of 400 of them.
    let shifted = day + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

const SINGLE: &str = "/governance-engine";
const BATCH: &str = "/governance-engine/batch";
const QUERY: &str = "/governance-engine/query";

/// Requests in one batch. Each is asked, recorded and answered by itself, within one budget.
const MOST_REQUESTS: usize = 256;

/// The inputs that a call can have, besides the id of the subject.
const INPUTS: &[&str] = &[
    "subject.attributes.*",
    "subject.entitlements",
    "action.id",
    "resource.id",
    "resource.attributes.domain",
    "resource.attributes.identityProvider",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_dates() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_772_435_700_001, "2026-03-02T07:15:00.001Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(timestamp(Millis(millis)), text);
        }
    }
}
