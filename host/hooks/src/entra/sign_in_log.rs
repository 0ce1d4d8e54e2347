//! `entra.sign-in-log`: rows of Entra's sign-in log (Microsoft Graph `signIn`), in pages as Graph
//! returns them. No hook of Entra tells of failures and second factors; its log does, minutes to
//! hours later. A program of the operator reads the log and sends the rows: `portcullis memory
//! import`, or a scheduled job.
//!
//! Invariant: the answer changes nothing at Entra. An empty `204` means that every row is on
//! record, `503` that the page is to be sent again.
//!
//! Reading. Each row of a page is a call of its own, by its `id`, and its payload is that row
//! alone. The subject is the user by `userId`, the action `sign-in`, the resource the application.
//! A row that cannot be read has a record of its own, and does not keep the others from being read.

use std::collections::BTreeSet;
use std::time::Duration;

use portcullis_model::json::Value;
use portcullis_model::{
    Attribution, Call, Cause, ChangeKind, Document, Effect, Entity, Origin, Principal,
    PrincipalKind,
};

use super::{MAX_ID_BYTES, document};
use crate::adapter::{Adapter, Behaviour, DedupPolicy, FailureBehaviour, Shown};
use crate::answer::Answer;
use crate::json_body::{JsonBody, members, object, string};
use crate::support::{FallbackTo, Support};
use crate::{
    Batch, BatchContext, HookRequest, HookSettings, Outcome, ParseContext, ParseError, Parsed,
    RenderError, Request, SafeAnswerInput, ShortCircuit, UnparsedItem,
};

/// The hook kind.
pub(crate) struct SignInLog;

impl Adapter for SignInLog {
    fn inputs(&self, _settings: &HookSettings) -> Vec<&'static str> {
        INPUTS.to_vec()
    }

    fn required(&self) -> &'static [&'static str] {
        &["value", "value.id"]
    }

    fn platform_limit(&self) -> Duration {
        LIMIT
    }

    fn default_budget(&self) -> Duration {
        BUDGET
    }

    fn failure_behaviour(&self) -> FailureBehaviour {
        let again = Behaviour::FailsOpen("the sender sends the page again");
        FailureBehaviour {
            empty: Behaviour::FailsOpen("the page has arrived; its sign-ins have already happened"),
            client_error: Behaviour::FailsOpen("the sender reports the page as wrong"),
            server_error: again,
            timeout: again,
        }
    }

    fn shown(&self) -> Shown {
        Shown::Nobody("the answer has no body")
    }

    fn description(&self) -> &'static str {
        "The sender is a program of the operator: `portcullis memory import`, or a job that reads \
         Microsoft Graph (`auditLogs/signIns`) and sends the pages as they are. Sign-ins have \
         already happened, so the hook decides nothing, whatever a binding's mode. The plugins \
         see every row of a page, and each row has a record of its own; a row that cannot be read \
         has a record with the cause `schema-mismatch` instead. A page that comes again is \
         processed again: plugins know rows by their `id`. The answer is an empty `204` once every \
         record is durable, and `503` if the records could not be made durable. A page that cannot \
         be read gets 400, and one larger than `body_bytes` 503. An open hook always answers \
         `204`. An unauthenticated caller gets 401."
    }

    fn is_binding(&self) -> bool {
        false
    }

    fn dedup_policy(&self) -> DedupPolicy {
        DedupPolicy::Never
    }

    fn read(&self, request: &Request<'_>, frame: &ParseContext<'_>) -> Result<Parsed, ParseError> {
        let page = document(request.body)?;
        let rows = page.root().get("value").filter(|rows| rows.is_array());
        let rows = rows.ok_or(ParseError {
            cause: Cause::SchemaMismatch,
            detail: "value".into(),
            event: None,
        })?;
        let mut seen = BTreeSet::new();
        let mut items = Vec::new();
        for (number, row) in rows.elements().enumerate() {
            match parse(row, number, frame) {
                Ok(call) if seen.insert(call.id.clone()) => items.push(Ok(call.into())),
                Ok(_) => {}
                Err(malformed) => {
                    let question = unreadable(row, number, frame).map(HookRequest::from);
                    items.push(Err(Box::new(UnparsedItem {
                        answer: arrived(),
                        malformed,
                        question,
                    })));
                }
            }
        }
        if items.is_empty() {
            return Ok(Parsed::Immediate(arrived()));
        }
        Ok(Parsed::Batch(Batch { items, until: ShortCircuit::Never, id: None, query: Vec::new() }))
    }

    fn write(
        &self,
        _incoming: &HookRequest,
        _outcome: &Outcome<'_>,
    ) -> Result<Answer, RenderError> {
        Ok(arrived())
    }

    fn safe_answer(&self, refusal: &SafeAnswerInput<'_>) -> Answer {
        let SafeAnswerInput { cause, .. } = *refusal;
        match cause.attribution() {
            Attribution::Caller if cause == Cause::Unauthenticated => Answer::status(401),
            Attribution::Caller => Answer::status(400),
            // It would fail again.
            Attribution::Plugin => arrived(),
            Attribution::Host => again(),
        }
    }

    fn platform_default(&self, _incoming: Option<&HookRequest>) -> Answer {
        arrived()
    }

    /// A row that is not on record has a body.
    fn render_batch(&self, answers: &[Vec<u8>], _batch: &BatchContext) -> Answer {
        if answers.iter().all(Vec::is_empty) { arrived() } else { Answer::status(503) }
    }

    fn effect_support(&self, effect: Effect) -> Support {
        match effect {
            Effect::Abstain | Effect::Allow => Support::Native("204; the finding is in the record"),
            Effect::StepUp | Effect::Review | Effect::Deny => Support::Fallback(
                &[FallbackTo::Record],
                "the sign-in has already happened: the finding is in the record only",
            ),
        }
    }

    fn change_support(&self, _change: ChangeKind) -> Support {
        Support::Fallback(
            &[FallbackTo::Record],
            "the sign-in has already happened: the change is in the record only",
        )
    }
}

/// Reads one row.
fn parse(row: Value<'_>, number: usize, frame: &ParseContext<'_>) -> Result<Call, ParseError> {
    let wrong = |detail: &'static str| ParseError {
        cause: Cause::SchemaMismatch,
        detail: detail.into(),
        event: None,
    };
    if !row.is_object() {
        return Err(wrong("value"));
    }
    let id = id(row).ok_or_else(|| wrong("value.id"))?;
    let read = body(row, id).ok_or_else(|| wrong("value"))?;
    let row = Some(read.document.root());
    let location = object(row, "location");
    let mut action_attributes =
        members(row, &["createdDateTime", "authenticationRequirement", "riskLevelDuringSignIn"]);
    let status = object(row, "status");
    action_attributes.extend(members(status, &["errorCode", "failureReason", "additionalDetails"]));
    let user = string(row, "userId").filter(|id| !id.is_empty());
    let names = members(row, &["userPrincipalName", "userDisplayName"]);
    let subject = (user.is_some() || !names.is_empty()).then(|| Principal {
        kind: PrincipalKind::Person,
        type_name: "user".to_owned(),
        id: user,
        attributes: names,
        entitlements: Vec::new(),
    });
    let application = string(row, "appId").filter(|id| !id.is_empty());
    let resource = application.map(|id| Entity {
        type_name: "application".to_owned(),
        id: Some(id),
        attributes: members(row, &["appDisplayName"]),
    });
    let asn = row
        .and_then(|row| row.get("autonomousSystemNumber")?.as_u64())
        .and_then(|number| u32::try_from(number).ok());
    let text = |parent, name| string(parent, name).filter(|text| !text.is_empty());
    let origin = Origin {
        ip: text(row, "ipAddress"),
        country: text(location, "countryOrRegion")
            .filter(|code| code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_uppercase())),
        asn,
        user_agent: text(row, "userAgent"),
        device: text(object(row, "deviceDetail"), "deviceId"),
        session: text(row, "sessionId"),
    };
    Ok(Call {
        correlation: string(row, "correlationId"),
        subject,
        action: Some(Entity {
            type_name: "sign-in".to_owned(),
            id: None,
            attributes: action_attributes,
        }),
        resource,
        origin: Some(origin),
        seed: frame.seed_of(number),
        ..read.call(NAME, frame)
    })
}

/// The record of a row that cannot be read: the bytes that came.
fn unreadable(row: Value<'_>, number: usize, frame: &ParseContext<'_>) -> Option<Call> {
    let id = id(row).unwrap_or_else(|| format!("{}/{number}", frame.own_id()));
    Some(Call { seed: frame.seed_of(number), ..body(row, id)?.call(NAME, frame) })
}

/// The row's id, if it has one.
fn id(row: Value<'_>) -> Option<String> {
    string(Some(row), "id").filter(|id| (1..=MAX_ID_BYTES).contains(&id.len()))
}

fn body(row: Value<'_>, event_id: String) -> Option<JsonBody> {
    Some(JsonBody { document: Document::parse(row.raw().as_bytes()).ok()?, event_id })
}

/// The page, or one row of it, has arrived.
fn arrived() -> Answer {
    Answer::status(204)
}

/// The sender shall send the page again; the body tells [`Adapter::render_batch`] so.
fn again() -> Answer {
    Answer::json(503, "{}".into())
}

const NAME: &str = "entra.sign-in-log";

/// How long the sender waits: `portcullis memory import` does so.
const LIMIT: Duration = Duration::from_secs(30);

/// The default budget, for a page of many rows.
const BUDGET: Duration = Duration::from_secs(10);

/// The inputs that a call can have.
const INPUTS: &[&str] = &[
    "subject.id",
    "subject.attributes.userPrincipalName",
    "subject.attributes.userDisplayName",
    "action.attributes.createdDateTime",
    "action.attributes.authenticationRequirement",
    "action.attributes.riskLevelDuringSignIn",
    "action.attributes.errorCode",
    "action.attributes.failureReason",
    "action.attributes.additionalDetails",
    "resource.id",
    "resource.attributes.appDisplayName",
    "correlation",
    "origin.ip",
    "origin.country",
    "origin.asn",
    "origin.user-agent",
    "origin.device",
    "origin.session",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::frame;
    use crate::{HookKind, read};

    fn page(body: &str) -> Result<Parsed, ParseError> {
        let request = Request {
            get: false,
            route: "",
            header: &|_| None,
            searches: false,
            body: body.as_bytes(),
        };
        read(HookKind::EntraSignInLog, &request, &frame())
    }

    fn items(body: &str) -> Vec<Result<HookRequest, Box<UnparsedItem>>> {
        match page(body) {
            Ok(Parsed::Batch(batch)) => batch.items,
            _ => panic!("no batch"),
        }
    }

    #[test]
    fn each_row_is_a_call_with_its_own_id_person_and_origin() {
        let items = items(include_str!("../../tests/payloads/entra/sign-in-log.json"));
        assert_eq!(items.len(), 2);
        let call = &items[0].as_ref().ok().unwrap().call;
        assert_eq!((call.hook, call.id.as_str()), (NAME, "9e7769b1-0f42-45b4-907a-70c31012f037"));
        let subject = call.subject.as_ref().unwrap();
        assert_eq!(subject.id.as_deref(), Some("30000000-0000-0000-0000-000000000001"));
        let origin = call.origin.as_ref().unwrap();
        assert_eq!(
            (origin.ip.as_deref(), origin.country.as_deref()),
            (Some("192.0.2.44"), Some("US"))
        );
        assert_eq!((origin.asn, origin.session.as_deref()), (Some(64_500), Some("s-1")));
        assert_eq!(call.payload.root().get("id").unwrap().as_str().unwrap(), call.id);
        assert_ne!(call.seed, items[1].as_ref().ok().unwrap().call.seed);
    }

    #[test]
    fn a_row_that_cannot_be_read_does_not_hide_the_others() {
        let items = items(r#"{"value":[7,{"id":""},{"id":"a"},{"id":"a"},{"id":"b"}]}"#);
        let names: Vec<_> = items
            .iter()
            .map(|item| match item {
                Ok(request) => request.call.id.clone(),
                Err(unparsed) => format!("{} is wrong", unparsed.malformed.member()),
            })
            .collect();
        assert_eq!(names, ["value is wrong", "value.id is wrong", "a", "b"]);
    }

    #[test]
    fn a_page_without_rows_is_answered_at_once_and_one_without_value_is_refused() {
        assert!(matches!(page(r#"{"value":[]}"#), Ok(Parsed::Immediate(_))));
        assert_eq!(page("{}").err().unwrap().member(), "value");
    }
}
