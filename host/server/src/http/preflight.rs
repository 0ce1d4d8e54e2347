//! Everything about a request that its head decides: where it goes, whether its method and its head
//! are valid, whether there is room for it, and who sent it.
//!
//! Invariant: this waits for nothing, and what it answers keeps nothing of the request. On a hook
//! whose platform could go on otherwise a faulty request gets the hook's safe answer, whatever its
//! method, the spelling of its path or its size; on every other hook it gets the status that
//! RFC 9110 names. A call goes on from here with its place and, unless keys must be waited for, its
//! caller. What becomes of a call is `pipeline`.

use crate::clock::monotonic_now;
use crate::request::admitted::Admitted;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use hyper::body::{Body as _, Incoming};
use hyper::header::{
    ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode, Version};
use portcullis_hooks::Answer;
use portcullis_model::{Cause, Millis};

use super::by_hand::{self, plain};
use super::head;
use super::head_scanner::HeadReport;
use crate::logging::log_limit::LOG_LIMITS;
use crate::net::session::Session;
use crate::observe::budget::Budget;
use crate::records::rejections::Reason;
use crate::records::unrouted_counts::Unrouted;
use crate::request::context::account::Account;
use crate::request::context::{Reply, RequestContext};
use crate::request::post_response::PostResponse;
use crate::request::starting::StartupCall;
use crate::state::active::{ActiveConfig, Target};
use crate::state::frontend::Frontend;
use crate::state::host::Hook;

/// What becomes of a request.
pub enum Preflight {
    /// It is answered.
    Answered(Box<ReadyResponse>),
    /// It is a call.
    Call(Box<Admitted>),
    /// It belongs to no hook, and its body may tell that a platform called the wrong path.
    Unknown(Incoming, StatusCode),
}

/// What becomes of a head that the HTTP library refused.
pub enum RejectedHead {
    /// It is answered.
    Answered(Response<Bytes>),
    /// It is a `POST` that belongs to no hook, and what follows may tell that a platform called the wrong path.
    Unknown,
}

/// An answer that is ready, and what is to be done once it has left.
pub struct ReadyResponse {
    /// The answer.
    pub response: Response<Bytes>,
    /// What is to be done once it has left.
    pub post_response: Option<PostResponse>,
    /// Whether the caller was not authenticated, or nobody asked who it was.
    pub is_unauthenticated: bool,
    /// Whether HTTP/1.1 needs it written by hand: a 200 to `CONNECT` begins a tunnel otherwise
    /// (RFC 9110 section 9.3.6).
    pub by_hand: bool,
}

/// What a request comes to.
pub fn preflight(
    frontend: &Frontend,
    active_config: &ActiveConfig,
    session: &Session,
    report: Option<&HeadReport>,
    request: Request<Incoming>,
) -> Preflight {
    let (head, body) = request.into_parts();
    let fault = head::defect(head.version, &head.headers, report);
    let (hook, route, cause) = match active_config.target(head.uri.path()) {
        Target::Hook(hook, route) => (hook, route, fault),
        // The spelling counts only where an answer stops; elsewhere it is another path.
        Target::NonCanonical(hook, route)
            if stops(active_config, hook, route, Cause::WrongPath).is_some() =>
        {
            (hook, route, fault.or(Some(Cause::WrongPath)))
        }
        Target::NonCanonical(..) | Target::NotFound => {
            let status = fault.map_or(StatusCode::NOT_FOUND, head::status);
            if head.method == Method::POST {
                return Preflight::Unknown(body, status);
            }
            return Preflight::answered(not_routed(frontend, status));
        }
    };
    let methods = hook.config.kind.methods(route);
    let reads = head.method == Method::GET || head.method == Method::HEAD;
    // A `POST` where there is none is a call to the kind, which answers it in its own words.
    let known = if reads { methods.has_get() } else { head.method == Method::POST };
    let cause = cause.or((!known).then_some(Cause::WrongMethod));
    if let Some(cause) = cause {
        return Preflight::answered(faulty(frontend, active_config, hook, route, &head, cause));
    }
    let (began, received) = (monotonic_now(), frontend.received_at());
    if reads {
        return Preflight::answered(answer_get(
            frontend,
            active_config,
            hook,
            route,
            head,
            (began, received),
        ));
    }

    // Admission comes before everything that costs: a caller that sends too much is told so at once.
    let turn_away = |head, reason: Reason, is_unauthenticated| {
        let reply = match frontend.host() {
            Some(host) => RequestContext::new(
                host,
                active_config,
                hook,
                route,
                head,
                (began, received),
                Account::default(),
            )
            .reject(reason),
            None => StartupCall::new(
                frontend,
                active_config,
                hook,
                route,
                head,
                (began, received),
                Account::default(),
            )
            .reject_caller(reason),
        };
        Preflight::answered(ReadyResponse::new(reply, hook, is_unauthenticated))
    };
    let place = match frontend.admission.try_acquire() {
        Ok(place) => place,
        // Nobody asked who it was, so this says nothing about the connection.
        Err(cause) => return turn_away(head, cause.into(), false),
    };
    let until = Budget::start(began, &hook.config).keys_until();
    let caller =
        match poll_once(hook.authenticator.check(&head.headers, session.peer(), received, until)) {
            Some(Ok(caller)) => Some(caller),
            Some(Err(auth_error)) => {
                drop(place);
                return turn_away(head, auth_error.into(), true);
            }
            None => None,
        };
    if let Some(caller) = &caller {
        session.authenticate(&hook.config.name, caller.name());
    }
    let hook = Arc::clone(hook);
    let call = Admitted { hook, route, head, body, place, began, received, caller };
    Preflight::Call(Box::new(call))
}

/// What becomes of a head that the HTTP library refused over HTTP/1.1 with this status.
pub fn rejected_head(
    frontend: &Frontend,
    active_config: &ActiveConfig,
    status: StatusCode,
    line: &[u8],
) -> RejectedHead {
    let cause = match status {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE | StatusCode::URI_TOO_LONG => {
            Cause::HeadTooLarge
        }
        StatusCode::INTERNAL_SERVER_ERROR => Cause::InternalError,
        _ => Cause::BadRequest,
    };
    let words = by_hand::method_and_path(line);
    let target = words.as_ref().map(|(_, path)| active_config.target(path));
    if let Some(Target::Hook(hook, route) | Target::NonCanonical(hook, route)) = target {
        if let Some(answer) = stops(active_config, hook, route, cause) {
            log_faulty(frontend, hook, cause);
            return RejectedHead::Answered(response(answer));
        }
    } else if words.is_some_and(|(method, _)| method == "POST") {
        return RejectedHead::Unknown;
    }
    RejectedHead::Answered(not_routed(frontend, status).response)
}

/// The safe answer, where a plain status could make the hook's platform go on.
fn stops(
    active_config: &ActiveConfig,
    hook: &Hook,
    route: &'static str,
    cause: Cause,
) -> Option<Answer> {
    hook.stop_answer(
        active_config.generation.as_deref(),
        hook.break_glass().as_deref(),
        cause,
        route,
    )
}

/// The answer to a request that is wrong as HTTP.
fn faulty(
    frontend: &Frontend,
    active_config: &ActiveConfig,
    hook: &Hook,
    route: &'static str,
    head: &Parts,
    cause: Cause,
) -> ReadyResponse {
    let stop = stops(active_config, hook, route, cause);
    let by_hand = stop.is_some() && head.method == Method::CONNECT;
    let mut response = match stop {
        Some(answer) => {
            log_faulty(frontend, hook, cause);
            response(answer)
        }
        None => plain(head::status(cause)),
    };
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        let allow = hook.config.kind.methods(route).allow();
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    }
    if let Some(name) = hook.config.kind.echoed_header()
        && let Some(value) = head.headers.get(name)
    {
        response.headers_mut().insert(name, value.clone());
    }
    let ends = matches!(cause, Cause::BadRequest | Cause::HeadTooLarge);
    if ends && head.version < Version::HTTP_2 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    without_body(&mut response, &head.method);
    ReadyResponse { response, post_response: None, is_unauthenticated: true, by_hand }
}

/// The answer to a `GET` or `HEAD`: a platform's first look at an endpoint needs no proof and no
/// decision, and tells nothing.
fn answer_get(
    frontend: &Frontend,
    active_config: &ActiveConfig,
    hook: &Arc<Hook>,
    route: &'static str,
    head: Parts,
    begin: (Instant, Millis),
) -> ReadyResponse {
    let method = head.method.clone();
    let greeting = match frontend.host() {
        Some(host) => {
            let mut call = RequestContext::new(
                host,
                active_config,
                hook,
                route,
                head,
                begin,
                Account::default(),
            );
            call.preflight().map(|greeting| call.respond(&greeting))
        }
        None => {
            StartupCall::new(frontend, active_config, hook, route, head, begin, Account::default())
                .preflight()
        }
    };
    let mut answered = match greeting {
        Some(greeting) => ReadyResponse::new(greeting, hook, true),
        // `GET` is answered where it asks what the kind knows; this one does not.
        None => {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED);
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
            ReadyResponse::unauthenticated(response)
        }
    };
    without_body(&mut answered.response, &method);
    answered
}

/// The answer to a request that belongs to no hook.
pub fn not_routed(frontend: &Frontend, status: StatusCode) -> ReadyResponse {
    let what = if status == StatusCode::NOT_FOUND { Unrouted::NotFound } else { Unrouted::Bad };
    frontend.unrouted.count(what);
    ReadyResponse::unauthenticated(plain(status))
}

impl Preflight {
    fn answered(answered: ReadyResponse) -> Self {
        Self::Answered(Box::new(answered))
    }
}

impl ReadyResponse {
    /// An answer to a request whose caller nobody asked for.
    pub fn unauthenticated(response: Response<Bytes>) -> Self {
        Self { response, post_response: None, is_unauthenticated: true, by_hand: false }
    }

    /// The answer of a call.
    pub fn new(reply: Reply, hook: &Hook, is_unauthenticated: bool) -> Self {
        let mut response = Response::new(reply.body);
        *response.status_mut() =
            StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(Answer::CONTENT_TYPE));
        for (name, value) in reply.headers {
            headers.insert(name, value);
        }
        if response.status() == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, hook.authenticator.challenge().clone());
        }
        Self { response, post_response: reply.post_response, is_unauthenticated, by_hand: false }
    }
}

/// An answer without a call.
pub fn response(answer: Answer) -> Response<Bytes> {
    let mut response = Response::new(Bytes::copy_from_slice(answer.body()));
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(Answer::CONTENT_TYPE));
    response
}

/// `HEAD` is answered as `GET` is, without the content (RFC 9110 section 9.3.2).
fn without_body(response: &mut Response<Bytes>, method: &Method) {
    if *method == Method::HEAD {
        let length = response.body().len();
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        *response.body_mut() = Bytes::new();
    }
}

/// Counts and logs a request that got a hook's safe answer because it is wrong as HTTP.
fn log_faulty(frontend: &Frontend, hook: &Hook, cause: Cause) {
    frontend.reject(hook, cause);
    if LOG_LIMITS.allows(FAULTY, &hook.config.name, monotonic_now()) {
        tracing::warn!(
            event = FAULTY,
            hook = hook.config.name,
            cause = cause.code(),
            "a request to the hook is not valid; it got the hook's safe answer"
        );
    }
}

/// Whether a request's body has something to be read.
pub fn is_unread(body: &Incoming) -> bool {
    !body.is_end_stream()
}

/// The outcome of what does not have to wait.
fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => None,
    }
}

/// The event of a request that is wrong as HTTP and got a hook's safe answer.
const FAULTY: &str = "http.faulty-request";
