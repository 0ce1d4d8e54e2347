//! One request of a connection on its way to its answer.
//!
//! Invariant: a call runs as a task of its own, so that a panic ends that task only and its caller
//! gets the safe answer.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use portcullis_model::{Cause, sha256};
use tokio::task::JoinHandle;

use super::ConnectionContext;
use crate::clock::monotonic_now;
use crate::http::head_scanner::HeadReport;
use crate::http::preflight::{self, Preflight, ReadyResponse, preflight};
use crate::http::unknown_path;
use crate::logging::log_limit::LOG_LIMITS;
use crate::net::connection_limit::CallGuard;
use crate::records::corrections::Correction;
use crate::request::context::Reply;
use crate::request::context::account::{Account, Outstanding};
use crate::request::pipeline;
use crate::request::starting;
use crate::state::active::ActiveConfig;
use crate::state::frontend::Frontend;
use crate::state::host::{Hook, UndecidedRequest};

/// A request on its way to its answer.
pub(super) struct RequestStep {
    kind: StepKind,
    /// Whether the request has a body of which nothing was read.
    has_body: bool,
    active_config: Arc<ActiveConfig>,
    /// Keeps the connection from being evicted.
    call: CallGuard,
}

pub(super) enum StepKind {
    Answered(Box<ReadyResponse>),
    Call {
        call: JoinHandle<(Reply, bool)>,
        hook: Arc<Hook>,
        route: &'static str,
        /// The records that the call has given the log, for the case that it panics.
        account: Account,
    },
    Unknown(Incoming, StatusCode),
}

impl ConnectionContext {
    /// Does with a request what its head decides, without waiting.
    pub(super) fn begin(
        &self,
        request: Request<Incoming>,
        report: Option<&HeadReport>,
    ) -> RequestStep {
        let call = self.session.slot.begin_call();
        let active_config = self.frontend.active_config();
        let has_body = preflight::is_unread(request.body());
        let kind = match preflight(&self.frontend, &active_config, &self.session, report, request) {
            Preflight::Answered(answered) => StepKind::Answered(answered),
            Preflight::Unknown(body, status) => StepKind::Unknown(body, status),
            Preflight::Call(admitted) => {
                let (hook, route) = (Arc::clone(&admitted.hook), admitted.route);
                // A task of its own: a caller that hangs up does not take a call with it whose
                // record is already written, and a panic ends that task only.
                let (frontend, active_config) =
                    (Arc::clone(&self.frontend), Arc::clone(&active_config));
                let session = self.session.clone();
                let account = Account::default();
                let told = account.clone();
                // On the heap from the first: a call's state is some kilobytes, and a task is moved
                // several times before it runs.
                let answer = Box::pin(async move {
                    match frontend.host() {
                        Some(host) => {
                            pipeline::handle(host, &active_config, &session, *admitted, told).await
                        }
                        None => {
                            starting::handle(&frontend, &active_config, &session, *admitted, told)
                                .await
                        }
                    }
                });
                StepKind::Call { call: tokio::task::spawn_local(answer), hook, route, account }
            }
        };
        RequestStep { kind, has_body, active_config, call }
    }
}

impl RequestStep {
    /// How long its body is waited for beside the connection's other calls, where it is.
    pub(super) fn body_limit(&self) -> Option<Duration> {
        let limit = Duration::from_millis(self.active_config.config.listen.body_timeout_ms);
        matches!(self.kind, StepKind::Unknown(..)).then_some(limit)
    }

    /// The answer, and whether the peer may still be sending the request's body.
    pub(super) async fn finish(self, line: &ConnectionContext) -> (ReadyResponse, bool) {
        let Self { kind, has_body, active_config, call: guard } = self;
        let (answered, unread) = match kind {
            StepKind::Answered(answered) => (*answered, has_body),
            StepKind::Unknown(body, otherwise) => {
                let response = unknown_path::answer(
                    &line.frontend,
                    &active_config,
                    &line.session.slot,
                    body,
                    otherwise,
                )
                .await;
                (ReadyResponse::unauthenticated(response), has_body)
            }
            StepKind::Call { call, hook, route, account } => {
                let (reply, unread) = match call.await {
                    Ok(answered) => answered,
                    Err(_) => {
                        let reply =
                            panic_response(&line.frontend, &active_config, &hook, route, &account)
                                .await;
                        (reply, has_body)
                    }
                };
                (ReadyResponse::new(reply, &hook, !line.session.intake.is_authenticated()), unread)
            }
        };
        if answered.is_unauthenticated {
            line.session.intake.reject();
        }
        line.pending.hold(guard);
        (answered, unread)
    }
}

/// A defect of ours met by one call: the safe answer all the same. It is told to the log once,
/// whatever the call had told of another answer.
async fn panic_response(
    frontend: &Frontend,
    active_config: &ActiveConfig,
    hook: &Hook,
    route: &'static str,
    account: &Account,
) -> Reply {
    if LOG_LIMITS.allows("call.panicked", &hook.config.name, monotonic_now()) {
        tracing::error!(
            event = "call.panicked",
            hook = hook.config.name,
            "a call panicked; its caller got the safe answer"
        );
    }
    let cause = Cause::InternalError;
    let (generation, break_glass) = (active_config.generation.as_deref(), hook.break_glass());
    let answer = {
        let (detail, incoming, reference) = ("", None, None);
        let undecided = UndecidedRequest { cause, detail, route, incoming, reference };
        hook.safe_answer(generation, break_glass.as_deref(), undecided)
    };
    match (account.outstanding(), frontend.host()) {
        (Outstanding::Superseded(records), Some(host)) => {
            let (digest, at) = (sha256(answer.body()), frontend.clock.now());
            let owed = |record| Correction { record: Some(record), cause, answer: digest, at };
            hook.metrics.safe(cause);
            hook.corrections.add_all(&host.recorder, records.into_iter().map(owed).collect()).await;
        }
        (Outstanding::MetricsOnly, _) => hook.metrics.safe(cause),
        (Outstanding::Nothing, _) => {}
        // Without a host there is no log, and no record.
        (Outstanding::Rejection | Outstanding::Superseded(_), _) => frontend.reject(hook, cause),
    }
    answer.into()
}
