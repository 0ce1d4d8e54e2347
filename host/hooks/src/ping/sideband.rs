//! `ping.sideband`: the sideband API of Ping's gateways: about a request on its way (`/sideband/request`), and about the response on
//! its way back (`/sideband/response`).
//!
//! Invariant: what goes on is everything that came, but for the changes: the gateway takes away what is not echoed. An answer without
//! `response` is an allowance in the first phase, so every refusal there has one, or is an HTTP error. Credentials among the headers, in the
//! query and in the body are secrets of the call, found when it is read.
//! Source: pingidentity/kong-plugin-ping-auth, whose client code is the best public specification.
//!
//! Reading. There is no subject: the credentials that pass through are not ours to believe. A client certificate makes its holder the
//! actor. The method is the action's id, the URL without query the resource's; the headers that are no secrets are the action's attributes
//! `header.NAME`, repeated ones joined by ", ".

mod echo;
mod headers;
mod read;
mod state;

use std::time::Duration;

use portcullis_model::json::{ObjectWriter, build_object};
use portcullis_model::{Attribution, Cause, ChangeKind, Document, Effect, Target};

use echo::Echo;
use headers::Headers;
use read::parse;

use crate::adapter::{Adapter, Behaviour, DedupPolicy, FailureBehaviour, Shown};
use crate::answer::{Answer, Slot};
use crate::json_body::JsonBody;
use crate::reasons::{DENIED, UNCHECKED};
use crate::support::{FallbackTo, Support};
use crate::{
    HookRequest, HookSettings, Outcome, ParseContext, ParseError, Parsed, RenderError, Request,
    SafeAnswerInput,
};

/// The hook kind.
pub(crate) struct Sideband;

impl Adapter for Sideband {
    fn inputs(&self, _settings: &HookSettings) -> Vec<&'static str> {
        INPUTS.to_vec()
    }

    fn required(&self) -> &'static [&'static str] {
        &["method", "url", "headers", "response_code"]
    }

    fn platform_limit(&self) -> Duration {
        Duration::from_secs(10)
    }

    fn default_budget(&self) -> Duration {
        Duration::from_secs(2)
    }

    fn failure_behaviour(&self) -> FailureBehaviour {
        let stops = Behaviour::FailsClosed("the API's client gets 502");
        let error = Behaviour::FailsClosed(
            "the API's client gets 502, or the 413; a 429 would stop all calls for a while",
        );
        FailureBehaviour { empty: stops, client_error: error, server_error: stops, timeout: stops }
    }

    fn shown(&self) -> Shown {
        Shown::Application("`errorMessage` in the body that the client of the API gets")
    }

    fn description(&self) -> &'static str {
        "The gateway continues with the echoed request or response, so an answer that allows \
         repeats all of it. An invalid request gets 400, 401 or 413 with `{id, message}`, whatever \
         the safe answer is, because it cannot be echoed; a request that could not be read before \
         the failure gets 500, or 503 if there are too many calls. Closed: `200` with a `response` \
         of 503; in the response phase, this one replaces the response. Open: everything as it \
         came. Restricted is not offered. A denial is a `response` of 403. 429 is never sent: the \
         gateway would refuse all calls until `Retry-After`."
    }

    fn routes(&self, path: &str) -> Vec<(String, &'static str)> {
        let base = path.trim_end_matches('/');
        [REQUEST, RESPONSE].map(|route| (format!("{base}{route}"), route)).to_vec()
    }

    fn dedup_policy(&self) -> DedupPolicy {
        DedupPolicy::Never
    }

    fn read(&self, request: &Request<'_>, frame: &ParseContext<'_>) -> Result<Parsed, ParseError> {
        let refuse =
            |cause, detail: &'static str| ParseError { cause, detail: detail.into(), event: None };
        let document =
            Document::parse(request.body).map_err(|error| refuse(error.cause, "the body"))?;
        if !document.root().is_object() {
            return Err(refuse(Cause::SchemaMismatch, "the body, which must be an object"));
        }
        let read = JsonBody { document, event_id: format!("{:016x}", frame.seed) };
        Ok(Parsed::Single(parse(read, request.route == RESPONSE, frame)?))
    }

    fn write(&self, incoming: &HookRequest, outcome: &Outcome<'_>) -> Result<Answer, RenderError> {
        let refusal = match outcome.verdict {
            Effect::Abstain | Effect::Allow => None,
            Effect::StepUp => Some(("401", outcome.text_or(STRONGER))),
            Effect::Review | Effect::Deny => Some(("403", outcome.text_or(DENIED))),
        };
        if let Some((code, message)) = refusal {
            return Ok(stop(is_response(incoming), code, &message, &outcome.codes()));
        }
        let mut echo = Echo::of(incoming);
        for (at, change) in (1..).zip(outcome.changes) {
            echo.admit(change)
                .map_err(|why| RenderError { change: Some((at, change.kind())), why })?;
        }
        Ok(echo.answer())
    }

    fn refuse(&self, refusal: &SafeAnswerInput<'_>) -> Option<Answer> {
        let SafeAnswerInput { cause, detail, incoming, .. } = refusal;
        if cause.attribution() != Attribution::Caller && incoming.is_some() {
            return None;
        }
        let status = match cause {
            Cause::Unauthenticated => 401,
            Cause::BodyTooLarge => 413,
            Cause::Overload => 503,
            cause if cause.attribution() == Attribution::Caller => 400,
            _ => 500,
        };
        let message = if detail.is_empty() {
            cause.code().to_owned()
        } else {
            format!("{}: {detail}", cause.code())
        };
        let error = build_object(|error| {
            error.text("id", cause.code()).text("message", &message);
        });
        Some(Answer::json(status, error))
    }

    fn safe_answer(&self, refusal: &SafeAnswerInput<'_>) -> Answer {
        let SafeAnswerInput { cause, incoming, .. } = *refusal;
        let text = refusal.text(UNCHECKED);
        stop(incoming.is_some_and(is_response), "503", &text, &[cause.code()])
    }

    fn platform_default(&self, incoming: Option<&HookRequest>) -> Answer {
        match incoming {
            Some(incoming) => Echo::of(incoming).answer(),
            // Without the request there is nothing to echo, and an empty answer would take everything away.
            None => stop(false, "503", UNCHECKED, &[]),
        }
    }

    fn effect_support(&self, effect: Effect) -> Support {
        match effect {
            Effect::Abstain | Effect::Allow => {
                Support::Native("the request echoed, with the changes")
            }
            Effect::StepUp => Support::Native(
                "a `response` of 401 that challenges with `insufficient_user_authentication` (RFC \
                 9470)",
            ),
            Effect::Review => {
                Support::Fallback(&[FallbackTo::Deny], "a request cannot wait for a person")
            }
            Effect::Deny => Support::Native("a `response` of 403, with the text and the codes"),
        }
    }

    fn change_support(&self, change: ChangeKind) -> Support {
        use Support::{Fallback, Native, Unsupported};
        match change {
            ChangeKind::Set(Target::Request) => Native(
                "in the request phase: `/method`, `/url`, `/body` or `/headers/NAME`, to a string",
            ),
            ChangeKind::Remove(Target::Request) => {
                Native("in the request phase: `/headers/NAME` or `/body`")
            }
            ChangeKind::Set(Target::Response) => Native(
                "in the response phase: `/response_code`, `/body` or `/headers/NAME`, to a string",
            ),
            ChangeKind::Remove(Target::Response) => {
                Native("in the response phase: `/headers/NAME` or `/body`")
            }
            ChangeKind::Set(_) | ChangeKind::Remove(_) => {
                Unsupported("the hook changes a request and its response only")
            }
            ChangeKind::CapLifetime(_) => Unsupported("requests and responses have no lifetime"),
            ChangeKind::AddGrant => {
                Unsupported("the hook grants nothing; set a header that the API reads")
            }
            ChangeKind::DropGrant => Fallback(
                &[FallbackTo::Deny],
                "the hook grants nothing, so nothing can be taken away",
            ),
            ChangeKind::LinkUser | ChangeKind::CreateUser => Unsupported("a request makes no user"),
            ChangeKind::Credential => Unsupported("no password is checked"),
            ChangeKind::AutoApprove => Unsupported("no person approves a request"),
            ChangeKind::RequireApprovers => {
                Fallback(&[FallbackTo::Deny], "a request cannot wait for approvers")
            }
            ChangeKind::Statement => {
                Fallback(&[FallbackTo::Deny], "the gateway carries out no obligations")
            }
            ChangeKind::Waive => crate::support::waived(),
        }
    }
}

fn is_response(incoming: &HookRequest) -> bool {
    incoming.call.phase.as_deref() == Some(PHASE_RESPONSE)
}

/// What the API's client gets instead: in place of its request's answer, or of the response.
fn stop(is_response: bool, code: &str, message: &str, codes: &[&str]) -> Answer {
    let (status, challenge) = match code {
        "401" => ("UNAUTHORIZED", Some(CHALLENGE)),
        "403" => ("FORBIDDEN", None),
        _ => ("SERVICE UNAVAILABLE", None),
    };
    let body = build_object(|body| {
        body.text("errorMessage", message).json("status", code);
        if !codes.is_empty() {
            body.texts("codes", codes);
        }
    });
    let mut headers = Headers(vec![("content-type".to_owned(), Answer::CONTENT_TYPE.to_owned())]);
    headers
        .0
        .extend(challenge.map(|challenge| ("www-authenticate".to_owned(), challenge.to_owned())));
    let write_response = |response: &mut ObjectWriter<'_>| {
        response
            .text("response_code", code)
            .text("response_status", status)
            .text("http_version", "1.1")
            .array("headers", |list| headers.write(list))
            .text("body", &body);
    };
    let whole = build_object(|whole| match is_response {
        true => write_response(whole),
        false => {
            whole.object("response", write_response);
        }
    });
    Answer::ok(whole, Slot::Member(RECORD))
}

/// The text for an API's client if a step-up has no text.
const STRONGER: &str = "This needs a stronger sign-in. Please sign in again with a second factor.";
/// RFC 9470 section 3.
const CHALLENGE: &str = r#"Bearer error="insufficient_user_authentication""#;

const REQUEST: &str = "/sideband/request";
const RESPONSE: &str = "/sideband/response";
const PHASE_REQUEST: &str = "request";
const PHASE_RESPONSE: &str = "response";
/// The member that names the record. The gateway takes no notice of it.
const RECORD: &str = "record";

/// The inputs that a call can have.
const INPUTS: &[&str] = &[
    "correlation",
    "actors.attributes.client_certificate",
    "action.id",
    "action.attributes.*",
    "resource.id",
    "resource.attributes.host",
    "resource.attributes.path",
    "resource.attributes.query",
    "origin.ip",
    "origin.user-agent",
];
