//! Answers while the host starts: each hook's safe answer, at once.
//!
//! Invariant: a call is admitted, its caller is checked and its body is read within the same limits
//! as in the pipeline; each safe answer is owed to the log, which gets an `answer.gap` record
//! before it gets the next decision. Nothing here waits for the log, the release or a folder.

use std::time::{Duration, Instant};

use hyper::body::{Body as _, Incoming as Body};
use hyper::http::request::Parts;
use portcullis_hooks::{
    Answer, Batch, BatchContext, HookRequest, OnFailure, ParseContext, Parsed, ShortCircuit,
};
use portcullis_model::{AttributeFilter, Cause, Millis};

use crate::auth::Identity;
use crate::clock::monotonic_now;
use crate::net::session::Session;
use crate::observe::budget::Budget;
use crate::records::rejections::Reason;
use crate::request::admitted::Admitted;
use crate::request::context::account::Account;
use crate::request::context::{Reply, body, tenant_matches};
use crate::state::active::ActiveConfig;
use crate::state::frontend::Frontend;
use crate::state::host::{Hook, UndecidedRequest};

/// One call that came before the host was complete.
pub struct StartupCall<'a> {
    frontend: &'a Frontend,
    active_config: &'a ActiveConfig,
    hook: &'a Hook,
    route: &'static str,
    head: Parts,
    received: Millis,
    budget: Budget,
    /// The records of its answer.
    account: Account,
}

/// Answers a call that has its place. Returns also whether the caller may still be sending the
/// body.
pub async fn handle(
    frontend: &Frontend,
    active_config: &ActiveConfig,
    session: &Session,
    admitted: Admitted,
    account: Account,
) -> (Reply, bool) {
    let Admitted { hook, route, head, mut body, place, began, received, caller } = admitted;
    let times = (began, received);
    let call = StartupCall::new(frontend, active_config, &hook, route, head, times, account);
    let answer = call.respond_to(session, caller, &mut body).await;
    drop(place);
    (call.respond(answer), !body.is_end_stream())
}

impl<'a> StartupCall<'a> {
    /// Its time has started.
    pub fn new(
        frontend: &'a Frontend,
        active_config: &'a ActiveConfig,
        hook: &'a Hook,
        route: &'static str,
        head: Parts,
        (began, received): (Instant, Millis),
        account: Account,
    ) -> Self {
        let budget = Budget::start(began, &hook.config);
        Self { frontend, active_config, hook, route, head, received, budget, account }
    }

    /// The answer to what needs neither proof nor decision.
    pub fn preflight(&self) -> Option<Reply> {
        let (kind, settings) = (self.hook.config.kind, &self.hook.config.settings);
        let greeting = body::with_request(&self.head, self.route, false, &[], |request| {
            portcullis_hooks::preflight(kind, request, settings)
        });
        greeting.map(|greeting| self.respond(greeting))
    }

    /// A refusal that is counted and not recorded, as in the pipeline.
    pub fn reject_caller(&self, reason: Reason) -> Reply {
        self.respond(self.reject(reason))
    }

    fn respond(&self, answer: Answer) -> Reply {
        let mut reply = Reply::from(answer);
        if let Some(name) = self.hook.config.kind.echoed_header()
            && let Some(value) = self.head.headers.get(name)
        {
            // As it came: it is the caller's text, in whatever encoding.
            reply.headers.push((name, value.clone()));
        }
        reply
    }

    async fn respond_to(
        &self,
        session: &Session,
        caller: Option<Identity>,
        body: &mut Body,
    ) -> Answer {
        let caller = match caller {
            Some(caller) => caller,
            None => {
                let (authenticator, until) = (&self.hook.authenticator, self.budget.keys_until());
                let headers = &self.head.headers;
                match authenticator.check(headers, session.peer(), self.received, until).await {
                    Ok(caller) => caller,
                    Err(unauthenticated) => return self.reject(unauthenticated),
                }
            }
        };
        session.authenticate(&self.hook.config.name, caller.name());
        let most = self.hook.config.body_bytes;
        let bytes = match body::read_whole(body, self.body_until(), most).await {
            Ok(bytes) => bytes,
            Err(cause) => return self.reject(cause),
        };
        let frame = ParseContext {
            tenant: &self.active_config.config.tenant,
            received: self.received,
            // Only plugins use it, and none runs.
            seed: 0,
            settings: &self.hook.config.settings,
            wanted: AttributeFilter::all(),
        };
        let kind = self.hook.config.kind;
        let parsed = body::with_request(&self.head, self.route, false, &bytes, |request| {
            portcullis_hooks::read(kind, request, &frame)
        });
        let parsed = match parsed {
            Ok(parsed) => parsed,
            Err(malformed) => {
                self.account.rejected();
                self.frontend.reject(self.hook, &malformed);
                return self.safe(malformed.cause, &malformed.detail, None);
            }
        };
        if let Err(differs) = tenant_matches(&caller, &parsed) {
            return self.reject(differs);
        }
        match parsed {
            Parsed::Single(incoming) | Parsed::Search(incoming, _) => {
                self.respond_unrecorded(&incoming)
            }
            Parsed::Batch(batch) => self.batch(batch),
            Parsed::Immediate(answer) => answer,
        }
    }

    /// Many questions: each gets its safe answer and is owed to the log by itself.
    fn batch(&self, batch: Batch) -> Answer {
        let permitted = *self.on_failure() == OnFailure::Open;
        let Batch { items, until, query, .. } = batch;
        let mut answers = Vec::with_capacity(items.len());
        for item in items {
            let (permits, answer) = match item {
                Ok(incoming) => (permitted, self.respond_unrecorded(&incoming)),
                Err(unread) => {
                    // The pipeline records it where its answer does not tell the caller.
                    match unread.question {
                        Some(_) => self.add_correction(),
                        None => {
                            self.account.rejected();
                            self.frontend.reject(self.hook, &unread.malformed);
                        }
                    }
                    (false, unread.answer)
                }
            };
            answers.push(answer.body().to_vec());
            match until {
                ShortCircuit::OnDeny if !permits => break,
                ShortCircuit::OnPermit if permits => break,
                _ => {}
            }
        }
        portcullis_hooks::render_batch(
            self.hook.config.kind,
            &answers,
            &BatchContext { until, query },
        )
    }

    /// The safe answer to one question. The hook owes the log that fact.
    fn respond_unrecorded(&self, incoming: &HookRequest) -> Answer {
        // A platform that would wait for a call of ours is told that its call failed: no call can
        // be kept yet.
        let answer = match self.hook.side_effect(self.on_failure(), incoming, None) {
            Some(_) => {
                let kind = self.hook.config.kind;
                portcullis_hooks::safe_answer(kind, &OnFailure::Closed, Cause::InternalError, None)
            }
            None => self.safe(Cause::Starting, "", Some(incoming)),
        };
        self.add_correction();
        answer
    }

    /// A safe answer leaves that no record tells of: the hook owes the log that fact.
    fn add_correction(&self) {
        self.account.rejected();
        self.hook.metrics.safe(Cause::Starting);
        self.hook.corrections.count(Cause::Starting, self.received);
    }

    fn reject(&self, reason: impl Into<Reason>) -> Answer {
        let reason = reason.into();
        let cause = reason.cause;
        self.account.rejected();
        self.frontend.reject(self.hook, reason);
        self.safe(cause, "", None)
    }

    fn safe(&self, cause: Cause, detail: &str, incoming: Option<&HookRequest>) -> Answer {
        // No record is written of this answer, so no reference would lead to one.
        let (route, reference) = (self.route, None);
        let undecided = UndecidedRequest { cause, detail, route, incoming, reference };
        self.hook.safe_answer(None, None, undecided)
    }

    fn on_failure(&self) -> &OnFailure {
        self.hook.on_failure(None, Some(Cause::Starting), None)
    }

    fn body_until(&self) -> Instant {
        let limit = Duration::from_millis(self.active_config.config.listen.body_timeout_ms);
        (monotonic_now() + limit).min(self.budget.plugins_until())
    }
}
