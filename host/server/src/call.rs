//! One request on its way: its deadlines, what it may cost, and the ways in which it can end.
//!
//! Invariant: every way out goes through `leave`, and none of a decision's before its record is durable. What the record says is
//! `evidence`; in which order all this happens is `pipeline`.

use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::Incoming as Body;
use hyper::http::request::Parts;
use portcullis_audit::{Entry, Pending, Pseudonym, Receipt, Refused};
use portcullis_callers::Unproven;
use portcullis_hooks::{
    Answer, Errand, Frame, Heard, Incoming, Malformed, Message, OnFailure, Reference, Repeats, Request, Until,
};
use portcullis_model::{Cause, Effect, Millis};
use tokio::time::timeout_at;

use crate::afterwards::Afterwards;
use crate::ask::{self, Asked, Terms};
use crate::budget::{Budget, Ledger, Stage, micros};
use crate::caller::Proven;
use crate::crowd::Guest;
use crate::evidence::Evidence;
use crate::generation::{Binding, Bindings, Generation};
use crate::glass::Open;
use crate::host::{Hook, Host};
use crate::in_force::InForce;
use crate::metrics::nanos;
use crate::owed::Owed;
use crate::pipeline::{Decided, Failure};
use crate::refusals::Reason;
use crate::retry::{Answered, First, Flight, Turn};
use crate::rollout::Why;
use crate::search::Tally;
use crate::telemetry::{Outcome, Trace};

/// What goes back, and what is to be done once it has.
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Headers besides the content's type: lower-case names.
    pub headers: Vec<(&'static str, String)>,
    /// The body, reference included.
    pub body: Bytes,
    /// For when the last byte has left.
    pub afterwards: Afterwards,
}

/// One part of an answer to many questions.
pub struct Part {
    answer: Answer,
    /// Its record on the way to the disk; nothing where there is nothing to record.
    record: Option<PartRecord>,
}

/// The record of a part on its way.
struct PartRecord {
    incoming: Arc<Incoming>,
    verdict: Result<Effect, Failure>,
    appended: Result<Pending, Refused>,
}

/// One call on its way.
pub struct Call<'a> {
    /// The host.
    pub host: &'a Arc<Host>,
    /// What was in force when it began: it keeps to that to the end.
    pub in_force: &'a InForce,
    /// The hook.
    pub hook: &'a Arc<Hook>,
    /// The request's head.
    pub head: Parts,
    /// The generation that decides.
    pub generation: Option<Arc<Generation>>,
    /// The break-glass document in force when it began.
    pub glass: Option<Arc<Open>>,
    /// Its deadlines.
    pub budget: Budget,
    /// What is to be done after the reply.
    pub afterwards: Afterwards,
    /// Its trace, if it has one.
    pub trace: Option<Box<Trace>>,
    route: &'static str,
    began: Instant,
    /// The budget, while candidates have half of it.
    whole_budget: Option<Budget>,
    ledger: Ledger,
    received: Millis,
    /// The body's, where it has been made already.
    body_pseudonym: Option<Pseudonym>,
    /// What came of a search.
    pub searched: Option<Tally>,
    /// Who answers in a live binding's place, and why.
    cast: Vec<(Arc<Binding>, Why)>,
    /// What came of asking candidates, where that was no decision.
    pub fallen: Option<Fallen>,
}

/// An attempt with candidates that came to no decision: the live bindings decide as if there were none.
pub struct Fallen {
    /// Why it came to nothing.
    pub failure: Failure,
    /// Everybody who was asked in it.
    pub asked: Vec<Asked>,
}

impl<'a> Call<'a> {
    /// Its time starts now.
    pub fn begin(
        host: &'a Arc<Host>,
        in_force: &'a InForce,
        hook: &'a Arc<Hook>,
        route: &'static str,
        head: Parts,
    ) -> Self {
        let (start, received) = (host.clock.instant(), host.clock.now());
        let generation = in_force.generation.clone();
        let trace = host.telemetry.as_ref().and_then(|telemetry| {
            let number = generation.as_ref().map_or(0, |generation| generation.number);
            telemetry.begin(&head.headers, hook, number, start, received)
        });
        Self {
            host,
            in_force,
            hook,
            head,
            route,
            began: start,
            whole_budget: None,
            generation,
            trace,
            glass: hook.glass(),
            budget: Budget::start(start, &hook.config),
            ledger: Ledger::open(start),
            received,
            body_pseudonym: None,
            searched: None,
            cast: Vec::new(),
            fallen: None,
            afterwards: Afterwards::new(host),
        }
    }

    /// Everything since the last note was this stage's.
    pub fn note(&mut self, stage: Stage) {
        self.ledger.note(stage, self.host.clock.instant());
    }

    /// Reads the body whole. What is too large, or the body of somebody who is turned away, is read to its end and thrown away,
    /// within bounds: a caller that is still sending would not see its answer otherwise.
    pub async fn read(&self, body: &mut Body) -> Result<Bytes, Cause> {
        let until = self.body_until();
        let mut whole = Bytes::new();
        while let Some(frame) = timeout_at(until.into(), body.frame()).await.map_err(|_| Cause::BodyIncomplete)? {
            let Ok(part) = frame.map_err(|_| Cause::BodyIncomplete)?.into_data() else { continue };
            if whole.len() + part.len() > self.hook.config.body_bytes {
                return Err(Cause::BodyTooLarge);
            }
            // Most bodies come in one part and are not copied.
            whole = if whole.is_empty() { part } else { [whole, part].concat().into() };
        }
        Ok(whole)
    }

    /// Who calls. Waits for an issuer's keys at most a part of what the call has.
    pub async fn check_caller(&self, guest: &Guest) -> Result<Proven, Unproven> {
        let until = self.budget.keys_until();
        let proven = self.hook.caller.check(&self.head.headers, guest.peer(), self.received, until).await?;
        guest.prove();
        Ok(proven)
    }

    /// Whether everything that the body asks is asked for the tenant that the caller's token was issued in.
    pub fn check_tenant(&self, caller: &Proven, heard: &Heard) -> Result<(), Unproven> {
        let Some(proven) = caller.tenant() else { return Ok(()) };
        let same = |incoming: &Incoming| {
            // Ids of tenants are hexadecimal: their case means nothing.
            incoming.platform_tenant.as_ref().is_none_or(|named| named.eq_ignore_ascii_case(proven))
        };
        let all = match heard {
            Heard::One(incoming) | Heard::Which(incoming, _) => same(incoming),
            Heard::Many(batch) => batch.items.iter().flatten().all(same),
            Heard::Nothing(_) => true,
        };
        if all { Ok(()) } else { Err(Unproven::TenantDiffers) }
    }

    async fn discard(&self, body: &mut Body) {
        let until = self.body_until();
        let mut seen = 0;
        while let Ok(Some(Ok(frame))) = timeout_at(until.into(), body.frame()).await {
            seen += frame.data_ref().map_or(0, Bytes::len);
            if seen > MOST_DISCARDED {
                return;
            }
        }
    }

    /// When a body must be there: after its own limit, or when nothing would be left for plugins.
    fn body_until(&self) -> Instant {
        let limit = Duration::from_millis(self.in_force.config.listen.body_ms);
        (self.host.clock.instant() + limit).min(self.budget.plugins_until())
    }

    /// The answer to what needs neither proof nor decision.
    pub fn greet(&self) -> Option<Answer> {
        let (kind, settings) = (self.hook.config.kind, &self.hook.config.settings);
        self.with_request(&[], |request| portcullis_hooks::greet(kind, request, settings))
    }

    /// Makes questions of the body.
    pub fn hear(&mut self, body: &[u8]) -> Result<Heard, Malformed> {
        let frame = Frame {
            tenant: &self.host.config.tenant,
            received: self.received,
            seed: self.host.seed(),
            settings: &self.hook.config.settings,
        };
        let heard =
            self.with_request(body, |request| portcullis_hooks::read(self.hook.config.kind, request, &frame))?;
        let first = match &heard {
            Heard::One(incoming) | Heard::Which(incoming, _) => Some(incoming),
            Heard::Many(batch) => batch.items.iter().find_map(|item| item.as_ref().ok()),
            Heard::Nothing(_) => None,
        };
        if let Some(first) = first
            && self.host.moment.due(self.received)
            && let Some(time) = first.call.payload.pointer("/eventTime").and_then(portcullis_model::json::Value::as_str)
            && let Some(theirs) = portcullis_trust::time::read(&time)
        {
            // Who calls is proven by now; Okta says when the event was.
            self.host.moment.platform(theirs, self.received);
        }
        if let Some(first) = first.filter(|_| self.hook.drift.due()) {
            self.afterwards.unknown = Some(Arc::clone(&first.call.payload));
        }
        Ok(heard)
    }

    fn with_request<T>(&self, body: &[u8], what: impl FnOnce(&Request<'_>) -> T) -> T {
        let header = |name: &str| {
            let mut values = self.head.headers.get_all(name).iter();
            let (Some(value), None) = (values.next(), values.next()) else { return None };
            value.to_str().ok()
        };
        let get = self.head.method == Method::GET;
        let searches = self.bindings().is_some_and(|bindings| bindings.searchers().next().is_some());
        what(&Request { get, route: self.route, header: &header, searches, body })
    }

    /// The hook's bindings in force.
    pub fn bindings(&self) -> Option<&Bindings> {
        self.generation.as_ref()?.hooks.get(self.hook.number)
    }

    /// Whether this question was asked before.
    pub fn whose_turn(&mut self, caller: &Proven, incoming: &Incoming) -> Turn {
        // Of the whole body, secrets included: it is kept in memory only.
        let body = self.host.pseudonym("body", incoming.call.payload.text());
        let turn = self.turn(caller, &incoming.call.id, body);
        if incoming.call.secrets.is_empty() {
            self.body_pseudonym = Some(body);
        }
        turn
    }

    /// Whether all these questions were asked before, together.
    pub fn whose_turn_of(&self, caller: &Proven, id: &str, body: &[u8]) -> Turn {
        self.turn(caller, id, self.host.pseudonym("body", &String::from_utf8_lossy(body)))
    }

    fn turn(&self, caller: &Proven, id: &str, body: Pseudonym) -> Turn {
        let generation = self.generation.as_ref().map_or((0, 0), |generation| generation.key());
        let now = self.host.clock.instant();
        let (retries, serial) = (&self.host.retries, self.hook.serial);
        match self.hook.config.kind.repeats() {
            Repeats::Never => Turn::Alone,
            Repeats::ById => retries.turn(serial, caller.name(), id, body.bits(), generation, now),
            Repeats::ByIdAndBody => {
                retries.turn(serial, caller.name(), &format!("{id} {body}"), body.bits(), generation, now)
            }
        }
    }

    /// Waits for the first call's answer and gives it again, as a record of its own. `incoming` is the question, where it was one.
    pub async fn say_again(mut self, flight: Arc<Flight>, id: &str, incoming: Option<&Arc<Incoming>>) -> Reply {
        let answered = timeout_at(self.budget.plugins_until().into(), flight.answered()).await;
        let Some(answered) = answered.ok().flatten() else {
            // The first call was given up: there is nothing to say again.
            return match incoming {
                Some(incoming) => self.refuse(Failure::of(Cause::HostFault), incoming, Vec::new(), None).await,
                None => self.turn_away(Cause::HostFault, None).await,
            };
        };
        let mut fields = format!(r#""recv":{},"hook":"{}","duplicate_of":"#, self.received, self.hook.config.name);
        match answered.index {
            Some(index) => fields.push_str(&index.to_string()),
            None => fields.push_str("null"),
        }
        fields.push_str(&format!(
            r#","left":"{}","status":{}"#,
            crate::digest::sha256(&answered.body),
            answered.status
        ));
        let sealed = Some(id.as_bytes().to_vec());
        match self.commit(Entry { kind: "hook.duplicate", fields, sealed }).await {
            Some(_) => {
                self.hook.metrics.said_again();
                self.leave_with(answered.status, answered.headers, answered.body)
            }
            None => {
                let safe = self.unrecorded(incoming.map(|incoming| &**incoming), self.afterwards.index).await;
                self.leave(&safe)
            }
        }
    }

    /// Asks one enforcing binding, or the candidate that answers in its place; what is left of its instance is dropped after the reply.
    pub async fn ask(&mut self, binding: &Arc<Binding>, incoming: &Arc<Incoming>) -> Asked {
        let since = self.trace.is_some().then(|| self.host.clock.instant());
        let stands = self.stands(binding);
        let asked = stands.as_ref().map_or(binding, |(candidate, _)| candidate);
        let mut asked = ask::ask(self.host, asked, incoming, self.terms()).await;
        asked.cohort = stands.map(|(_, why)| why);
        if let (Some(trace), Some(since)) = (&mut self.trace, since) {
            trace.asked(&asked, since);
        }
        asked.binding.metrics.asked(&asked);
        asked
    }

    /// Within what plugins are asked.
    pub fn terms(&mut self) -> Terms<'_> {
        let open = self.hook.config.on_failure == OnFailure::Open;
        Terms { budget: &self.budget, open, remains: &mut self.afterwards.remains }
    }

    /// A plugin that is left alone because it failed too often, and without whose word there is no decision. Where the safe answer lets
    /// everything pass it is asked all the same.
    pub fn quarantined(&self) -> Option<Failure> {
        if self.hook.config.on_failure == OnFailure::Open {
            return None;
        }
        let now = self.host.clock.instant();
        let alone = |binding: &&Arc<Binding>| binding.breaker.refuses(now) && self.stands(binding).is_none();
        let binding = self.bindings()?.enforcing().find(alone)?;
        Some(Failure::of_plugin(Cause::PluginQuarantined, binding))
    }

    /// Chooses the candidates that answer this question in their live bindings' place. Where there are any, they and all others have half
    /// of what time is left, so that as much remains for the live ones.
    pub fn cast(&mut self, incoming: &Incoming) -> bool {
        (self.fallen, self.cast) = (None, Vec::new());
        let Some(bindings) = self.bindings().filter(|bindings| bindings.tries()) else { return false };
        let stands = |binding: &Arc<Binding>| {
            let rollout = binding.rollout.as_ref()?;
            Some((Arc::clone(&rollout.binding), rollout.answers(self.host, &incoming.call)?))
        };
        self.cast = bindings.enforcing().filter_map(stands).collect();
        if self.cast.is_empty() {
            return false;
        }
        self.whole_budget = Some(self.budget);
        self.budget = self.budget.halved(self.host.clock.instant());
        true
    }

    /// Takes the candidates' attempt if it came to a decision; else it is put aside, and there are none.
    pub fn uncast(&mut self, decided: Decided) -> Option<Decided> {
        self.cast.clear();
        self.budget = self.whole_budget.take().unwrap_or(self.budget);
        let Decided { outcome: Err(failure), asked, .. } = decided else { return Some(decided) };
        self.afterwards.remains.clear();
        self.fallen = Some(Fallen { failure, asked });
        None
    }

    fn stands(&self, binding: &Binding) -> Option<(Arc<Binding>, Why)> {
        let candidate = &binding.rollout.as_ref()?.binding;
        self.cast.iter().find(|(stands, _)| Arc::ptr_eq(stands, candidate)).cloned()
    }

    /// A refusal that nobody can be held to: counted, not recorded, and in the hook kind's own words. Its place is free before
    /// its bytes leave, so that nobody holds places by not reading.
    pub async fn turn_away(mut self, reason: impl Into<Reason>, unread: Option<&mut Body>) -> Reply {
        let reason = reason.into();
        self.host.refuse(self.hook, self.received, reason);
        self.traced(Outcome::Cause(reason.cause.code()));
        self.afterwards.place = None;
        if let Some(body) = unread {
            self.discard(body).await;
        }
        let answer = self.safe_answer(reason.cause, "", None);
        self.leave(&answer)
    }

    /// [`turn_away`](Self::turn_away), of a request that was read whole and is none.
    pub fn turn_away_malformed(mut self, malformed: &Malformed) -> Reply {
        self.host.refuse(self.hook, self.received, malformed.cause);
        self.traced(Outcome::Cause(malformed.cause.code()));
        self.afterwards.place = None;
        let answer = self.safe_answer(malformed.cause, malformed.detail, None);
        self.leave(&answer)
    }

    fn safe_answer(&self, cause: Cause, detail: &'static str, incoming: Option<&Incoming>) -> Answer {
        self.hook.safe_answer(self.generation.as_deref(), self.glass.as_deref(), cause, detail, self.route, incoming)
    }

    /// What leaves when there is no decision, and why.
    pub fn on_failure(&self, cause: Option<Cause>) -> &OnFailure {
        self.hook.on_failure(self.generation.as_deref(), cause, self.glass.as_deref())
    }

    fn errand(&self, cause: Cause, incoming: &Incoming) -> Option<Errand> {
        self.hook.errand(self.on_failure(Some(cause)), incoming)
    }

    /// The one place that turns a failure of a call into its answer and its record.
    pub async fn refuse(
        self,
        failure: Failure,
        incoming: &Arc<Incoming>,
        asked: Vec<Asked>,
        first: Option<First>,
    ) -> Reply {
        let answer = self.safe_answer(failure.cause, "", Some(incoming));
        let errand = self.errand(failure.cause, incoming);
        self.record_and_leave(Err(failure), answer, incoming, asked, first, errand).await
    }

    /// Seals, sequences and waits until the record is durable, has delivered what is to be delivered, and splices the reference in. A
    /// decision whose record is late is not given: the safe answer leaves, and the hook owes the log that fact before it decides again.
    pub async fn record_and_leave(
        mut self,
        verdict: Result<Effect, Failure>,
        answer: Answer,
        incoming: &Arc<Incoming>,
        asked: Vec<Asked>,
        first: Option<First>,
        errand: Option<Errand>,
    ) -> Reply {
        self.note(Stage::Decide);
        let delivery = match &errand {
            Some(Errand::Deliver(message)) => self.hook.courier(self.host, message.channel),
            _ => None,
        };
        let delivery = delivery.map(|courier| courier.name.as_str());
        let entry = self.entry(None, verdict.as_ref().copied(), &answer, incoming, &asked, delivery);
        let (answer, wire) = match self.commit(entry).await {
            Some(receipt) => match self.prepare(errand, answer, incoming, receipt.index).await {
                Some(answer) => {
                    self.count(verdict.as_ref().copied());
                    let wire = self.with_reference(&answer, receipt);
                    (answer, wire)
                }
                // Recorded, but the platform must not wait for what will never be done.
                None => self.leave_undone().await,
            },
            None => {
                let errand = self.errand(Cause::NotDurable, incoming);
                let safe = self.unrecorded(Some(incoming), self.afterwards.index).await;
                match self.prepare(errand, safe, incoming, 0).await {
                    Some(safe) => {
                        let wire = safe.body().to_vec();
                        (safe, wire)
                    }
                    None => self.leave_undone().await,
                }
            }
        };
        let (status, headers, wire) = (answer.status, answer.headers, Bytes::from(wire));
        if let Some(first) = first {
            let index = self.afterwards.index;
            first.settle(Answered { status, headers: headers.clone(), body: wire.clone(), index });
        }
        // Who only observes is asked about questions; a search is none, and has no answer to compare.
        if self.searched.is_none() {
            let index = self.afterwards.index;
            self.afterwards.observe(self.generation.as_ref(), self.hook, incoming, index);
            self.compare(incoming, asked, index);
        }
        self.leave_with(status, headers, wire)
    }

    /// Appends the record of one of many questions, and does not wait for it. Says whether the question was permitted.
    pub fn record_part(&mut self, number: usize, decided: Decided) -> (bool, Part) {
        let Decided { incoming, asked, outcome, .. } = decided;
        let cause = outcome.as_ref().err().map(|failure| failure.cause);
        let on_failure = self.hook.on_failure(self.generation.as_deref(), cause, self.glass.as_deref());
        let (verdict, permitted, answer) = match outcome {
            Ok((verdict, answer)) => (Ok(verdict), self.hook.config.kind.permits(verdict), answer),
            Err(failure) => {
                let answer = self.safe_answer(failure.cause, "", Some(&incoming));
                (Err(failure), *on_failure == OnFailure::Open, answer)
            }
        };
        let entry = self.entry(Some(number), verdict.as_ref().copied(), &answer, &incoming, &asked, None);
        let appended = self.append(entry);
        self.afterwards.observe(
            self.generation.as_ref(),
            self.hook,
            &incoming,
            appended.as_ref().ok().map(|it| it.index),
        );
        self.compare(&incoming, asked, appended.as_ref().ok().map(|it| it.index));
        (permitted, Part { answer, record: Some(PartRecord { incoming, verdict, appended }) })
    }

    /// What was said is compared with what the others would have said, after the reply.
    fn compare(&mut self, incoming: &Arc<Incoming>, asked: Vec<Asked>, index: Option<u64>) {
        let fallen = self.fallen.take();
        if let Some(bindings) = self.generation.as_ref().and_then(|generation| generation.hooks.get(self.hook.number)) {
            self.afterwards.compare(bindings, self.hook, incoming, asked, fallen, index);
        }
    }

    /// A part that could not be read as a question: counted, and answered as it stands.
    pub fn unread_part(&self, answer: Answer) -> Part {
        self.host.refuse(self.hook, self.received, Cause::WrongShape);
        Part { answer, record: None }
    }

    /// Waits until every part is durable, and makes one answer of them.
    pub async fn gather_and_leave(mut self, parts: Vec<Part>, until: Until, first: Option<First>) -> Reply {
        let before = self.host.clock.instant();
        let mut answers = Vec::with_capacity(parts.len());
        for Part { answer, record } in parts {
            let Some(PartRecord { incoming, verdict, appended }) = record else {
                answers.push(answer.body().to_vec());
                continue;
            };
            let index = appended.as_ref().ok().map(|pending| pending.index);
            self.afterwards.further.extend(index);
            answers.push(match self.durable(appended).await {
                Some(receipt) => {
                    self.count(verdict.as_ref().copied());
                    self.with_reference(&answer, receipt)
                }
                None => self.unrecorded(Some(&incoming), index).await.body().to_vec(),
            });
        }
        self.afterwards.commit_us = micros(self.host.clock.instant().saturating_duration_since(before));
        let answer = portcullis_hooks::gather(self.hook.config.kind, &answers, until);
        // An answer that asks for all of it once more is not one to be said again: whoever comes next is the first.
        if let Some(first) = first.filter(|_| answer.status < 500) {
            let (status, headers) = (answer.status, answer.headers.clone());
            first.settle(Answered { status, headers, body: Bytes::copy_from_slice(answer.body()), index: None });
        }
        self.leave(&answer)
    }

    /// The record of one question.
    fn entry(
        &mut self,
        part: Option<usize>,
        verdict: Result<Effect, &Failure>,
        answer: &Answer,
        incoming: &Incoming,
        asked: &[Asked],
        delivery: Option<&str>,
    ) -> Entry {
        let body_pseudonym = match self.body_pseudonym.take() {
            Some(made) => made,
            None => self.host.pseudonym("body", &crate::evidence::kept(incoming)),
        };
        let evidence = Evidence {
            host: self.host,
            hook: self.hook,
            incoming,
            part,
            searched: self.searched,
            body_pseudonym,
            generation: self.generation.as_ref().map_or(0, |generation| generation.number),
            asked,
            verdict,
            safe: self.hook.on_failure(
                self.generation.as_deref(),
                verdict.err().map(|failure| failure.cause),
                self.glass.as_deref(),
            ),
            fallen: self.fallen.as_ref().map(|fallen| &fallen.failure),
            glass: self.glass.as_deref(),
            delivery,
            answer,
            salt: self.host.salt(),
            trace: self.trace.as_ref().map(|trace| trace.context.trace_text()),
            ledger: &self.ledger,
        };
        Entry { kind: "hook.decision", fields: evidence.fields(), sealed: Some(evidence.sealed()) }
    }

    /// A recorded answer goes out.
    fn count(&mut self, verdict: Result<Effect, &Failure>) {
        match verdict {
            Ok(verdict) => {
                self.hook.metrics.decided(verdict);
                self.traced(Outcome::Verdict(verdict.name()));
            }
            Err(failure) => self.count_safe(failure.cause),
        }
    }

    /// A safe answer to a call that could be read goes out.
    fn count_safe(&mut self, cause: Cause) {
        self.hook.metrics.safe(cause);
        self.traced(Outcome::Cause(cause.code()));
    }

    fn traced(&mut self, outcome: Outcome) {
        if let Some(trace) = &mut self.trace {
            trace.outcome = outcome;
        }
    }

    fn with_reference(&self, answer: &Answer, receipt: Receipt) -> Vec<u8> {
        let leaf = BASE64.encode(receipt.leaf_hash);
        answer.with_reference(&Reference {
            log: self.host.log.origin(),
            index: receipt.index,
            leaf: &leaf,
            generation: self.generation.as_ref().map_or(0, |generation| generation.number),
            spent_us: micros(self.host.clock.instant().saturating_duration_since(self.began)),
        })
    }

    /// Appends a record and waits until it is durable, for as long as the budget lets it. `None` if it is not by then.
    async fn commit(&mut self, entry: Entry) -> Option<Receipt> {
        let before = self.host.clock.instant();
        let appended = self.append(entry);
        self.afterwards.index = appended.as_ref().ok().map(|pending| pending.index);
        others_first().await;
        let receipt = self.durable(appended).await;
        let after = self.host.clock.instant();
        self.afterwards.commit_us = micros(after.saturating_duration_since(before));
        if let Some(trace) = &mut self.trace {
            trace.committed(before, after);
        }
        receipt
    }

    fn append(&mut self, entry: Entry) -> Result<Pending, Refused> {
        // What an earlier call of this hook owes the log comes first.
        let appended = self.hook.owed.settle(self.host).and_then(|()| self.host.log.commit(entry));
        // Given back before the wait: sandboxes must not be held by a slow disk.
        self.afterwards.remains.clear();
        appended
    }

    async fn durable(&self, appended: Result<Pending, Refused>) -> Option<Receipt> {
        match appended {
            Ok(pending) => timeout_at(self.budget.record_until().into(), pending).await.ok().and_then(Result::ok),
            Err(refused) => {
                tracing::error!(hook = self.hook.config.name, %refused, "a record was not taken; the safe answer leaves");
                None
            }
        }
    }

    /// Does what has to be done before an answer leaves that promises it. The answer that leaves; nothing where none can that makes the
    /// platform wait.
    async fn prepare(
        &mut self,
        errand: Option<Errand>,
        answer: Answer,
        incoming: &Incoming,
        index: u64,
    ) -> Option<Answer> {
        let resume = match errand {
            None => return Some(answer),
            Some(Errand::Deliver(message)) => {
                let before = self.host.clock.instant();
                let answer = self.deliver(&message, answer, incoming, index).await;
                self.took(Stage::Errand, before);
                return Some(answer);
            }
            Some(Errand::Resume(resume)) => resume,
        };
        let (index, until, before) = (self.afterwards.index, self.budget.errand_until(), self.host.clock.instant());
        let spooled = self.host.resumes.put(self.host, self.hook, resume, index, until).await;
        self.took(Stage::Errand, before);
        let done = spooled.is_some();
        self.afterwards.resume = spooled.map(|spooled| (Arc::clone(self.hook), spooled));
        done.then_some(answer)
    }

    /// The platform is told that its call failed, whatever the hook's safe answer is: nothing that it would wait for follows.
    async fn leave_undone(&mut self) -> (Answer, Vec<u8>) {
        self.count_safe(Cause::HostFault);
        let failed = portcullis_hooks::safe_answer(self.hook.config.kind, &OnFailure::Closed, Cause::HostFault, None);
        self.owe(self.afterwards.index, Cause::HostFault, &failed).await;
        let wire = failed.body().to_vec();
        (failed, wire)
    }

    /// The safe answer in place of what could not be recorded in time; the hook owes the log that fact.
    async fn unrecorded(&mut self, incoming: Option<&Incoming>, index: Option<u64>) -> Answer {
        self.count_safe(Cause::NotDurable);
        let safe = self.safe_answer(Cause::NotDurable, "", incoming);
        self.owe(index, Cause::NotDurable, &safe).await;
        safe
    }

    /// What was done since then was this stage's.
    fn took(&mut self, stage: Stage, since: Instant) {
        let spent = self.host.clock.instant().saturating_duration_since(since);
        self.hook.metrics.took(stage, nanos(spent));
        if let Some(trace) = &mut self.trace {
            trace.took(stage, since, spent);
        }
    }

    /// Takes a message to whoever delivers it, once. The answer that leaves: the one that says so, or, where nobody took it, the one that
    /// makes the platform send it; the hook owes the log that fact.
    async fn deliver(&self, message: &Message, answer: Answer, incoming: &Incoming, index: u64) -> Answer {
        let Some(courier) = self.hook.courier(self.host, message.channel) else { return answer };
        let (now, until) = (self.host.clock.instant(), self.budget.delivery_until());
        let Err(error) = courier.deliver(&self.host.outbound, message, until, now).await else { return answer };
        tracing::warn!(
            hook = self.hook.config.name, delivery = courier.name, code = error.code(), %error, record = index,
            "nobody took a message; it is left to the platform"
        );
        let fallback = portcullis_hooks::undelivered(self.hook.config.kind, incoming);
        self.owe(Some(index), Cause::Undelivered, &fallback).await;
        self.hook.metrics.safe(Cause::Undelivered);
        fallback
    }

    async fn owe(&self, index: Option<u64>, cause: Cause, left: &Answer) {
        let answer = crate::digest::sha256(left.body());
        self.hook.owed.add(self.host, self.hook, Owed { index, cause, answer, at: self.host.clock.now() }).await;
    }

    /// The end of every way: what is to be done afterwards goes with the answer.
    pub fn leave(&mut self, answer: &Answer) -> Reply {
        self.leave_with(answer.status, answer.headers.clone(), Bytes::copy_from_slice(answer.body()))
    }

    fn leave_with(&mut self, status: u16, mut headers: Vec<(&'static str, String)>, body: Bytes) -> Reply {
        let mut afterwards = std::mem::replace(&mut self.afterwards, Afterwards::new(self.host));
        let ready = self.host.clock.instant();
        afterwards.ready = Some(ready);
        afterwards.measured = Some((Arc::clone(self.hook), self.began));
        for (stage, nanos) in self.ledger.entries() {
            self.hook.metrics.took(*stage, *nanos);
        }
        if let Some(mut trace) = self.trace.take() {
            trace.record = afterwards.index.or(afterwards.further.first().copied());
            trace.ready(&self.ledger, status, ready);
            afterwards.trace = Some(trace);
        }
        if let Some(name) = self.hook.config.kind.echoed_header()
            && let Some(value) = self.head.headers.get(name).and_then(|value| value.to_str().ok())
        {
            headers.push((name, value.to_owned()));
        }
        Reply { status, headers, body, afterwards }
    }
}

/// Lets calls go first that are ready to run on this thread, so that their records share a commit with this one. Without the look
/// at the sockets that tokio's own yielding takes.
async fn others_first() {
    let mut went = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut went, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// The most that is read of a body only to throw it away: 4 MiB.
const MOST_DISCARDED: usize = 4 << 20;
