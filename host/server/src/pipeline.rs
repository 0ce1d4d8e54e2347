//! The life of a hook call, top to bottom: admission, caller, parse, propose, guard, combine, render, record, bytes out.
//!
//! Invariants: whatever happens on the way, an answer leaves in time and in the platform's own words, and no decision leaves
//! before its record is durable. Every failure becomes a [`Failure`], and `Call::refuse` alone turns one into the answer and the
//! record. What runs after the reply is in `afterwards`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Request;
use hyper::body::Incoming as Body;
use portcullis_audit::{Entry, Receipt};
use portcullis_hooks::{Answer, Frame, Incoming, Outcome, Reference, Unsayable};
use portcullis_model::{Call as HookCall, Cause, Change, Decision, Effect, Millis, Party};
use tokio::sync::watch;
use tokio::time::timeout_at;

use crate::afterwards::Afterwards;
use crate::ask::{self, Asked};
use crate::budget::{Budget, Ledger, micros};
use crate::caller::Proven;
use crate::combine::{Combined, Discord, Voice, combine, merge};
use crate::evidence::Evidence;
use crate::generation::{Binding, Generation};
use crate::host::{Hook, Host};
use crate::owed::Owed;
use crate::retry::{Answered, First, Turn};

/// What goes back, and what is to be done once it has.
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// The body, reference included.
    pub body: Bytes,
    /// For when the last byte has left.
    pub afterwards: Afterwards,
}

/// Why there is no decision, and whose fault it is.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Why.
    pub cause: Cause,
    /// The plugin's id, where a plugin is to blame.
    pub culprit: Option<String>,
}

/// Answers one call of one hook.
pub async fn answer(host: &Arc<Host>, hook: &Hook, request: Request<Body>) -> Reply {
    let mut call = Call::begin(host, hook);
    let (head, mut body) = request.into_parts();

    // Admission comes before everything that costs: a caller that sends too much is told so at once.
    let place = match host.admission.enter() {
        Ok(place) => place,
        Err(cause) => return call.turn_away(cause, Some(&mut body)).await,
    };
    call.afterwards.place = Some(place);

    // The caller proves itself before its body is read, so that strangers cost neither memory nor parsing.
    let caller = match hook.caller.check(&head.headers) {
        Ok(caller) => caller,
        Err(cause) => return call.turn_away(cause, Some(&mut body)).await,
    };
    call.note("caller");
    let bytes = match call.read(&mut body).await {
        Ok(bytes) => bytes,
        Err(cause) => return call.turn_away(cause, Some(&mut body)).await,
    };
    call.note("body");

    // Bytes become a call. From here on there is something to record.
    let mut incoming = match call.parse(&bytes) {
        Ok(incoming) => Arc::new(incoming),
        Err(cause) => return call.turn_away(cause, None).await,
    };
    call.body_pseudonym = host.pseudonym("body", incoming.call.payload.text());
    call.note("parse");

    // A platform that asks again hears the same: before any plugin runs, so that a retry costs nothing and changes nothing.
    let first = match call.whose_turn(caller, &incoming) {
        Turn::First(first) => first,
        Turn::Again(answer) => return call.say_again(answer, &incoming).await,
        Turn::Reused => return call.refuse(Failure::of(Cause::EventReused), &incoming, Vec::new(), None).await,
    };
    let Some(generation) = call.generation.clone() else {
        return call.refuse(Failure::of(Cause::NoActiveRelease), &incoming, Vec::new(), Some(first)).await;
    };

    // Proposers first: they alone may want more than restrictions, and guards must see all of it.
    let bindings = generation.hooks.get(hook.number);
    let mut asked = Vec::new();
    for binding in bindings.iter().flat_map(|bindings| &bindings.proposers) {
        asked.push(call.ask(binding, &incoming).await);
    }
    if let Some(failure) = failure(&asked) {
        return call.refuse(failure, &incoming, asked, Some(first)).await;
    }
    match merge(changes(&asked)) {
        Ok(proposed) => incoming = with_proposed(incoming, proposed),
        Err(discord) => return call.refuse(discord.into(), &incoming, asked, Some(first)).await,
    }
    call.note("propose");

    // Guards see the call with everything proposed, so no earlier grant escapes them; they do not see each other, so order is nothing.
    for binding in bindings.iter().flat_map(|bindings| &bindings.guards) {
        asked.push(call.ask(binding, &incoming).await);
    }
    if let Some(failure) = failure(&asked) {
        return call.refuse(failure, &incoming, asked, Some(first)).await;
    }
    call.note("guard");

    // Many decisions become one outcome, and the outcome the platform's words, still without the record's reference.
    let rendered = decide(hook, &asked, &incoming.call).and_then(|(combined, text)| {
        let outcome = Outcome { verdict: combined.verdict, changes: &combined.changes, text: text.as_deref() };
        let answer = portcullis_hooks::render(hook.config.kind, &incoming, &outcome)
            .map_err(|unsayable| unsayable_failure(&unsayable, &asked, &combined.changes))?;
        Ok((combined.verdict, answer))
    });
    let (verdict, answer) = match rendered {
        Ok(rendered) => rendered,
        Err(failure) => return call.refuse(failure, &incoming, asked, Some(first)).await,
    };
    call.note("render");

    // The record is durable before the first byte of a decision leaves.
    call.record_and_leave(Ok(verdict), answer, &incoming, asked, Some(first)).await
}

/// One call on its way.
struct Call<'a> {
    host: &'a Arc<Host>,
    hook: &'a Hook,
    generation: Option<Arc<Generation>>,
    budget: Budget,
    ledger: Ledger,
    received: Millis,
    body_pseudonym: String,
    afterwards: Afterwards,
}

impl<'a> Call<'a> {
    fn begin(host: &'a Arc<Host>, hook: &'a Hook) -> Self {
        let start = host.clock.instant();
        Self {
            host,
            hook,
            generation: host.generation.load_full(),
            budget: Budget::start(start, &hook.config),
            ledger: Ledger::open(start),
            received: host.clock.now(),
            body_pseudonym: String::new(),
            afterwards: Afterwards::new(host),
        }
    }

    fn note(&mut self, stage: &'static str) {
        self.ledger.note(stage, self.host.clock.instant());
    }

    /// Reads the body whole. What is too large, or the body of somebody who is turned away, is read to its end and thrown away,
    /// within bounds: a caller that is still sending would not see its answer otherwise.
    async fn read(&self, body: &mut Body) -> Result<Bytes, Cause> {
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
        let limit = Duration::from_millis(self.host.config.listen.body_ms);
        (self.host.clock.instant() + limit).min(self.budget.plugins_until())
    }

    fn parse(&self, body: &Bytes) -> Result<Incoming, Cause> {
        let frame = Frame {
            tenant: self.host.config.tenant.clone(),
            received: self.received,
            seed: self.host.seed(),
            entitlements: self.hook.config.entitlements.clone(),
        };
        portcullis_hooks::parse(self.hook.config.kind, body, &frame).map_err(|malformed| malformed.cause)
    }

    fn whose_turn(&self, caller: Proven, incoming: &Incoming) -> Turn {
        let generation = self.generation.as_ref().map_or(0, |generation| generation.number);
        let now = self.host.clock.instant();
        self.host.retries.turn(self.hook.number, caller.0, &incoming.call.id, &self.body_pseudonym, generation, now)
    }

    /// Waits for the first call's answer and gives it again, as a record of its own.
    async fn say_again(mut self, mut answer: watch::Receiver<Option<Answered>>, incoming: &Arc<Incoming>) -> Reply {
        let settled = timeout_at(self.budget.plugins_until().into(), answer.wait_for(Option::is_some)).await;
        let answered = settled.ok().and_then(Result::ok).and_then(|answered| answered.clone());
        let Some(answered) = answered else {
            // The first call was given up: there is nothing to say again.
            return self.refuse(Failure::of(Cause::HostFault), incoming, Vec::new(), None).await;
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
        let sealed = Some(incoming.call.id.clone().into_bytes());
        match self.commit(Entry { kind: "hook.duplicate", fields, sealed }).await {
            Some(_) => self.leave(answered.status, answered.body),
            None => {
                let safe = self.unrecorded(incoming).await;
                self.leave(safe.status, Bytes::copy_from_slice(safe.body()))
            }
        }
    }

    /// Asks one enforcing binding; what is left of its instance is dropped after the reply.
    async fn ask(&mut self, binding: &Arc<Binding>, incoming: &Arc<Incoming>) -> Asked {
        let (asked, remains) = ask::ask(self.host, binding, incoming, &self.budget).await;
        self.afterwards.remains.extend(remains);
        asked
    }

    /// A refusal that nobody can be held to: counted, not recorded, and in the hook kind's own words. Its place is free before
    /// its bytes leave, so that nobody holds places by not reading.
    async fn turn_away(mut self, cause: Cause, unread: Option<&mut Body>) -> Reply {
        self.host.refusals.count(self.received, self.hook.number, cause);
        self.afterwards.place = None;
        if let Some(body) = unread {
            self.discard(body).await;
        }
        let answer = self.hook.safe_answer(self.generation.as_deref(), cause, None);
        self.leave(answer.status, Bytes::copy_from_slice(answer.body()))
    }

    /// The one place that turns a failure of a call into its answer and its record.
    async fn refuse(
        self,
        failure: Failure,
        incoming: &Arc<Incoming>,
        asked: Vec<Asked>,
        first: Option<First>,
    ) -> Reply {
        let answer = self.hook.safe_answer(self.generation.as_deref(), failure.cause, Some(incoming));
        self.record_and_leave(Err(failure), answer, incoming, asked, first).await
    }

    /// Seals, sequences and waits until the record is durable; then splices the reference in. A decision whose record is late is
    /// not given: the safe answer leaves, and the hook owes the log that fact before it decides again.
    async fn record_and_leave(
        mut self,
        verdict: Result<Effect, Failure>,
        answer: Answer,
        incoming: &Arc<Incoming>,
        asked: Vec<Asked>,
        first: Option<First>,
    ) -> Reply {
        self.note("decide");
        let evidence = Evidence {
            host: self.host,
            hook: self.hook,
            incoming,
            body_pseudonym: &self.body_pseudonym,
            generation: self.generation.as_ref().map_or(0, |generation| generation.number),
            asked: &asked,
            verdict: verdict.as_ref().copied(),
            safe: self.hook.on_failure(self.generation.as_deref()),
            answer: &answer,
            salt: self.host.salt(),
            ledger: &self.ledger,
        };
        let entry = Entry { kind: "hook.decision", fields: evidence.fields(), sealed: Some(evidence.sealed()) };
        let (answer, wire) = match self.commit(entry).await {
            Some(receipt) => {
                let leaf = BASE64.encode(receipt.leaf_hash);
                let reference = Reference { log: self.host.log.origin(), index: receipt.index, leaf: &leaf };
                let wire = answer.with_reference(&reference);
                (answer, wire)
            }
            None => {
                let safe = self.unrecorded(incoming).await;
                let wire = safe.body().to_vec();
                (safe, wire)
            }
        };
        let wire = Bytes::from(wire);
        if let Some(first) = first {
            first.settle(Answered { status: answer.status, body: wire.clone(), index: self.afterwards.index });
        }
        self.afterwards.observe(self.generation.as_ref(), self.hook, incoming);
        self.leave(answer.status, wire)
    }

    /// Appends a record and waits until it is durable, for as long as the budget lets it. `None` if it is not by then.
    async fn commit(&mut self, entry: Entry) -> Option<Receipt> {
        let before = self.host.clock.instant();
        // What an earlier call of this hook owes the log comes first.
        let appended = self.hook.owed.settle(self.host).and_then(|()| self.host.log.append(entry));
        // Given back before the wait: sandboxes must not be held by a slow disk.
        self.afterwards.remains.clear();
        let receipt = match appended {
            Ok(pending) => {
                self.afterwards.index = Some(pending.index);
                timeout_at(self.budget.record_until().into(), pending).await.ok().and_then(Result::ok)
            }
            Err(refused) => {
                tracing::error!(hook = self.hook.config.name, %refused, "a record was not taken; the safe answer leaves");
                None
            }
        };
        self.afterwards.commit_us = micros(self.host.clock.instant().saturating_duration_since(before));
        receipt
    }

    /// The safe answer in place of what could not be recorded in time; the hook owes the log that fact.
    async fn unrecorded(&self, incoming: &Incoming) -> Answer {
        let safe = self.hook.safe_answer(self.generation.as_deref(), Cause::NotDurable, Some(incoming));
        let (index, answer) = (self.afterwards.index, crate::digest::sha256(safe.body()));
        self.hook.owed.add(self.host, self.hook, Owed { index, answer, at: self.host.clock.now() }).await;
        safe
    }

    fn leave(&mut self, status: u16, body: Bytes) -> Reply {
        let mut afterwards = std::mem::replace(&mut self.afterwards, Afterwards::new(self.host));
        afterwards.ready = Some(self.host.clock.instant());
        Reply { status, body, afterwards }
    }
}

impl Failure {
    /// A failure that is no plugin's.
    pub fn of(cause: Cause) -> Self {
        Self { cause, culprit: None }
    }
}

impl From<Discord> for Failure {
    fn from(discord: Discord) -> Self {
        match discord {
            Discord::Conflict { .. } => Self::of(Cause::Conflict),
            Discord::Unsayable { plugin, .. } => Self { cause: Cause::Unsayable, culprit: Some(plugin) },
        }
    }
}

/// The first enforcing binding that failed; only those were asked.
fn failure(asked: &[Asked]) -> Option<Failure> {
    asked.iter().find_map(|asked| {
        let cause = asked.outcome.as_ref().err()?.cause;
        // Only what is a plugin's fault is put down to one: the record cannot be taken back.
        let culprit = (cause.party() == Party::Plugin).then(|| asked.binding.manifest().id.clone());
        Some(Failure { cause, culprit })
    })
}

fn changes(asked: &[Asked]) -> impl Iterator<Item = &Change> {
    asked.iter().filter_map(|asked| asked.outcome.as_ref().ok()).flat_map(|decision| &decision.changes)
}

fn decide<'a>(hook: &Hook, asked: &'a [Asked], call: &HookCall) -> Result<(Combined<'a>, Option<String>), Failure> {
    let voices: Vec<_> = asked
        .iter()
        .filter_map(|asked| {
            let decision: &Decision = asked.outcome.as_ref().ok()?;
            Some(Voice { plugin: &asked.binding.manifest().id, decision, say: &asked.binding.say })
        })
        .collect();
    let combined = combine(hook.config.kind, &voices, &call.lifetimes)?;
    let text = combined.spokesman.and_then(|(plugin, finding)| {
        let catalogue = asked.iter().find(|asked| asked.binding.manifest().id == plugin)?;
        catalogue.binding.manifest().messages.fill(&finding.code, &language(call), &finding.arguments)
    });
    Ok((combined, text))
}

/// Whose wish the platform would not take: of the first who has it, in the bindings' order.
fn unsayable_failure(unsayable: &Unsayable, asked: &[Asked], merged: &[Change]) -> Failure {
    let wish = unsayable.change.and_then(|(number, _)| merged.get(number.checked_sub(1)?));
    let wants = |asked: &&Asked| {
        asked.outcome.as_ref().is_ok_and(|decision| decision.changes.iter().any(|it| Some(it) == wish))
    };
    let culprit = asked.iter().find(wants).map(|asked| asked.binding.manifest().id.clone());
    Failure { cause: Cause::Unsayable, culprit }
}

/// The language that the subject's profile asks for.
fn language(call: &HookCall) -> String {
    let locale = call
        .subject
        .as_ref()
        .and_then(|subject| subject.attributes.iter().find(|attribute| attribute.name == "locale"));
    locale.map_or_else(|| "en".to_owned(), |locale| locale.value.trim_matches('"').replace('_', "-"))
}

fn with_proposed(incoming: Arc<Incoming>, proposed: Vec<Change>) -> Arc<Incoming> {
    if proposed.is_empty() {
        return incoming;
    }
    let mut own = Arc::unwrap_or_clone(incoming);
    own.call.proposed = proposed;
    Arc::new(own)
}

/// The most that is read of a body only to throw it away: 4 MiB.
const MOST_DISCARDED: usize = 4 << 20;
