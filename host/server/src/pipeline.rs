//! The life of a hook call, top to bottom: admission, caller, parse, propose, guard, combine, render, record, bytes out.
//!
//! Invariants: whatever happens on the way, an answer leaves in time and in the platform's own words, and no decision leaves
//! before its record is durable. Every failure becomes a [`Failure`], and `Call::refuse` alone turns one into the answer and the
//! record. What runs after the reply is in `afterwards`.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::Request;
use hyper::body::Incoming as Body;
use portcullis_audit::Entry;
use portcullis_hooks::{Answer, Frame, Incoming, OnFailure, Outcome, Reference, Unsayable};
use portcullis_model::{Call as HookCall, Cause, Change, Decision, Effect, Millis, Mode};
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

    // Admission comes before everything that costs: a caller that sends too much is told so at once.
    let place = match host.admission.enter() {
        Ok(place) => place,
        Err(cause) => return call.turn_away(cause),
    };
    call.afterwards.place = Some(place);

    // The caller proves itself before its body is read, so that strangers cost neither memory nor parsing.
    let caller = match hook.caller.check(request.headers()) {
        Ok(caller) => caller,
        Err(cause) => return call.turn_away(cause),
    };
    call.note("caller");
    let body = match call.read(request.into_body()).await {
        Ok(body) => body,
        Err(cause) => return call.turn_away(cause),
    };
    call.note("body");

    call.body_pseudonym = host.pseudonym("body", &String::from_utf8_lossy(&body));

    // Bytes become a call. From here on there is something to record.
    let mut incoming = match call.parse(&body) {
        Ok(incoming) => Arc::new(incoming),
        Err(cause) => return call.turn_away(cause),
    };
    call.note("parse");

    // A platform that asks again hears the same: before any plugin runs, so that a retry costs nothing and changes nothing.
    let first = match call.whose_turn(caller, &incoming) {
        Turn::First(first) => first,
        Turn::Again(answer) => match call.say_again(answer, &incoming).await {
            Some(reply) => return reply,
            None => return call.refuse(Failure::of(Cause::HostFault), &incoming, Vec::new(), None).await,
        },
        Turn::Reused => return call.refuse(Failure::of(Cause::EventReused), &incoming, Vec::new(), None).await,
    };
    let Some(generation) = call.generation.clone() else {
        return call.refuse(Failure::of(Cause::NoActiveRelease), &incoming, Vec::new(), Some(first)).await;
    };

    // Proposers first: they alone may want more than restrictions, and guards must see all of it.
    let enforcing = |binding: &&Arc<Binding>| binding.mode == Mode::Enforce;
    let bindings = generation.hooks.get(hook.number).map(Vec::as_slice).unwrap_or_default();
    let mut asked = Vec::with_capacity(bindings.len());
    for binding in bindings.iter().filter(enforcing).filter(|binding| binding.proposes()) {
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
    for binding in bindings.iter().filter(enforcing).filter(|binding| !binding.proposes()) {
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

    async fn read(&self, body: Body) -> Result<Bytes, Cause> {
        let within = Duration::from_millis(self.host.config.listen.body_ms);
        let whole = Limited::new(body, self.hook.config.body_bytes).collect();
        match tokio::time::timeout(within, whole).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Cause::BodyTooLarge),
            Ok(Err(_)) | Err(_) => Err(Cause::BodyIncomplete),
        }
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

    /// Waits for the first call's answer and gives it again, as a record of its own. `None` when the first was given up.
    async fn say_again(
        &mut self,
        mut answer: tokio::sync::watch::Receiver<Option<Answered>>,
        incoming: &Incoming,
    ) -> Option<Reply> {
        let settled = timeout_at(self.budget.plugins_until().into(), answer.wait_for(Option::is_some)).await;
        let answered = settled.ok()?.ok()?.clone()?;
        let mut fields = format!(r#""recv":{},"hook":"{}","duplicate_of":"#, self.received, self.hook.config.name);
        match answered.index {
            Some(index) => fields.push_str(&index.to_string()),
            None => fields.push_str("null"),
        }
        let pending = self
            .host
            .log
            .append(Entry { kind: "hook.duplicate", fields, sealed: Some(incoming.call.id.clone().into_bytes()) })
            .ok()?;
        timeout_at(self.budget.record_until().into(), pending).await.ok()?.ok()?;
        Some(self.leave(answered.status, answered.body))
    }

    /// Asks one enforcing binding; what is left of its instance is dropped after the reply.
    async fn ask(&mut self, binding: &Arc<Binding>, incoming: &Arc<Incoming>) -> Asked {
        let (asked, remains) = ask::ask(self.host, binding, incoming, &self.budget).await;
        self.afterwards.remains.extend(remains);
        asked
    }

    /// A refusal that nobody can be held to: counted, not recorded, and in the hook kind's own words.
    fn turn_away(mut self, cause: Cause) -> Reply {
        self.host.refusals.count(self.received, self.hook.number, cause);
        let answer = portcullis_hooks::safe_answer(self.hook.config.kind, self.on_failure(), cause, None);
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
        let answer =
            portcullis_hooks::safe_answer(self.hook.config.kind, self.on_failure(), failure.cause, Some(incoming));
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
            safe: self.on_failure(),
            answer: &answer,
            ledger: &self.ledger,
        };
        let entry = Entry { kind: "hook.decision", fields: evidence.fields(), sealed: Some(evidence.sealed()) };
        let before = self.host.clock.instant();
        // What an earlier call of this hook owes the log comes first.
        let appended = self.hook.owed.settle(self.host).and_then(|()| self.host.log.append(entry));
        let index = appended.as_ref().ok().map(|pending| pending.index);
        let durable = match appended {
            Ok(pending) => timeout_at(self.budget.record_until().into(), pending).await.ok().and_then(Result::ok),
            Err(_) => None,
        };
        self.afterwards.commit_us = micros(self.host.clock.instant().saturating_duration_since(before));
        self.afterwards.index = index;
        let (answer, wire) = match durable {
            Some(receipt) => {
                let leaf = BASE64.encode(receipt.leaf_hash);
                let reference = Reference { log: self.host.log.origin(), index: receipt.index, leaf: &leaf };
                let wire = answer.with_reference(&reference);
                (answer, wire)
            }
            None => {
                let safe = portcullis_hooks::safe_answer(
                    self.hook.config.kind,
                    self.on_failure(),
                    Cause::NotDurable,
                    Some(incoming),
                );
                let hash = crate::digest::sha256(safe.body());
                self.hook.owed.add(self.host, self.hook, Owed { index, answer: hash, at: self.host.clock.now() });
                let wire = safe.body().to_vec();
                (safe, wire)
            }
        };
        let wire = Bytes::from(wire);
        if let Some(first) = first {
            first.settle(Answered { status: answer.status, body: wire.clone(), index });
        }
        self.afterwards.observe(self.generation.as_ref(), self.hook, incoming);
        self.leave(answer.status, wire)
    }

    /// A hook that nothing enforces has the platform's default as its safe answer: watching must never stop anybody.
    fn on_failure(&self) -> &'a OnFailure {
        let Some(generation) = &self.generation else { return &self.hook.config.on_failure };
        let bindings = generation.hooks.get(self.hook.number).map(Vec::as_slice).unwrap_or_default();
        let enforced = bindings.iter().any(|binding| binding.mode == Mode::Enforce);
        if enforced { &self.hook.config.on_failure } else { &OnFailure::Open }
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
        let fault = asked.outcome.as_ref().err()?;
        Some(Failure { cause: fault.cause, culprit: Some(asked.binding.manifest().id.clone()) })
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
