//! The life of a hook call, top to bottom: admission, caller, read, propose, guard, combine, render, record, bytes out.
//!
//! Invariants: whatever happens on the way, an answer leaves in time and in the platform's own words, and no decision leaves
//! before its record is durable. Every failure becomes a [`Failure`], and `Call::refuse` alone turns one into the answer and the
//! record. The means are in `call`; what runs after the reply is in `afterwards`.

use std::sync::Arc;

use hyper::body::Incoming as Body;
use hyper::{Method, Request};
use portcullis_hooks::{Answer, Batch, Heard, Incoming, Outcome, Unsayable, Until};
use portcullis_model::{Call as HookCall, Cause, Change, Decision, Effect, Party};

use crate::ask::Asked;
use crate::call::{Call, Reply};
use crate::caller::Proven;
use crate::combine::{Combined, Discord, Voice, combine, merge};
use crate::generation::Bindings;
use crate::host::{Hook, Host};
use crate::retry::Turn;

/// Why there is no decision, and whose fault it is.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Why.
    pub cause: Cause,
    /// The plugin's id, where a plugin is to blame.
    pub culprit: Option<String>,
}

/// What was decided of one question: what everybody said, and the verdict and answer, or why there is none.
pub struct Decided {
    /// The question, with everything proposed.
    pub incoming: Arc<Incoming>,
    /// Every enforcing binding that was asked.
    pub asked: Vec<Asked>,
    /// The verdict and the answer without the record's reference, or why there is none.
    pub outcome: Result<(Effect, Answer), Failure>,
}

/// Answers one request that came to a hook by one of its routes. Nothing for a `GET` that the hook kind does not know.
pub async fn answer(host: &Arc<Host>, hook: &Hook, route: &'static str, request: Request<Body>) -> Option<Reply> {
    let (head, mut body) = request.into_parts();
    let mut call = Call::begin(host, hook, route, head);

    // A platform's first look at an endpoint needs no proof and no decision, and learns nothing.
    if let Some(greeting) = call.greet() {
        return Some(call.leave(&greeting));
    }
    if call.head.method == Method::GET {
        return None;
    }
    Some(answer_call(call, &mut body).await)
}

/// Answers what is posted.
async fn answer_call(mut call: Call<'_>, body: &mut Body) -> Reply {
    let (host, hook) = (call.host, call.hook);

    // Admission comes before everything that costs: a caller that sends too much is told so at once.
    let place = match host.admission.enter() {
        Ok(place) => place,
        Err(cause) => return call.turn_away(cause, Some(body)).await,
    };
    call.afterwards.place = Some(place);

    // The caller proves itself before its body is read, so that strangers cost neither memory nor parsing.
    let caller = match hook.caller.check(&call.head.headers) {
        Ok(caller) => caller,
        Err(cause) => return call.turn_away(cause, Some(body)).await,
    };
    call.note("caller");
    let bytes = match call.read(body).await {
        Ok(bytes) => bytes,
        Err(cause) => return call.turn_away(cause, Some(body)).await,
    };
    call.note("body");

    // Bytes become questions. From here on there is something to record.
    let heard = match call.hear(&bytes) {
        Ok(heard) => heard,
        Err(cause) => return call.turn_away(cause, None).await,
    };
    call.note("parse");
    match heard {
        Heard::One(incoming) => answer_one(call, caller, incoming).await,
        Heard::Many(batch) => answer_many(call, batch).await,
        Heard::Which(incoming, _) => {
            call.refuse(Failure::of(Cause::HostFault), &Arc::new(incoming), Vec::new(), None).await
        }
        Heard::Nothing(answer) => call.leave(&answer),
    }
}

/// One question, one answer.
async fn answer_one(mut call: Call<'_>, caller: Proven, incoming: Incoming) -> Reply {
    let incoming = Arc::new(incoming);

    // A platform that asks again hears the same: before any plugin runs, so that a retry costs nothing and changes nothing.
    let first = match call.whose_turn(caller, &incoming) {
        Turn::First(first) => Some(first),
        Turn::Alone => None,
        Turn::Again(answer) => return call.say_again(answer, &incoming).await,
        Turn::Reused => return call.refuse(Failure::of(Cause::EventReused), &incoming, Vec::new(), None).await,
    };
    let Decided { incoming, asked, outcome } = decide(&mut call, incoming).await;

    // The record is durable before the first byte of a decision leaves.
    match outcome {
        Ok((verdict, answer)) => call.record_and_leave(Ok(verdict), answer, &incoming, asked, first).await,
        Err(failure) => call.refuse(failure, &incoming, asked, first).await,
    }
}

/// Many questions, decided and recorded each for itself, in one answer. What lies behind the deciding one is not asked.
async fn answer_many(mut call: Call<'_>, batch: Batch) -> Reply {
    let mut parts = Vec::with_capacity(batch.items.len());
    for (number, item) in batch.items.into_iter().enumerate() {
        let (permitted, part) = match item {
            Ok(incoming) => {
                let decided = decide(&mut call, Arc::new(incoming)).await;
                call.record_part(number, decided)
            }
            Err(unread) => (false, call.unread_part(unread)),
        };
        parts.push(part);
        match batch.until {
            Until::FirstDeny if !permitted => break,
            Until::FirstPermit if permitted => break,
            _ => {}
        }
    }
    call.gather_and_leave(parts, batch.until).await
}

/// Asks everybody, and makes one outcome of what they say.
pub async fn decide(call: &mut Call<'_>, mut incoming: Arc<Incoming>) -> Decided {
    let hook = call.hook;
    let mut asked = Vec::new();
    macro_rules! give_up {
        ($failure:expr) => {
            return Decided { incoming, asked, outcome: Err($failure) }
        };
    }
    let Some(generation) = call.generation.clone() else { give_up!(Failure::of(Cause::NoActiveRelease)) };

    // Without the word of a plugin that was revoked there is no decision.
    let stopped = || generation.hooks.get(hook.number).and_then(Bindings::stopped).map(Failure::revoked);
    if let Some(failure) = stopped() {
        give_up!(failure);
    }

    // Proposers first: they alone may want more than restrictions, and guards must see all of it.
    let bindings = generation.hooks.get(hook.number);
    for binding in bindings.iter().flat_map(|bindings| &bindings.proposers) {
        asked.push(call.ask(binding, &incoming).await);
    }
    if let Some(failure) = failure(&asked) {
        give_up!(failure);
    }
    match merge(changes(&asked)) {
        Ok(proposed) => incoming = with_proposed(incoming, proposed),
        Err(discord) => give_up!(discord.into()),
    }
    call.note("propose");

    // Guards see the call with everything proposed, so no earlier grant escapes them; they do not see each other, so order is nothing.
    for binding in bindings.iter().flat_map(|bindings| &bindings.guards) {
        asked.push(call.ask(binding, &incoming).await);
    }
    if let Some(failure) = failure(&asked) {
        give_up!(failure);
    }
    call.note("guard");

    // What some people have signed that may be passed over for a while is passed over, and stands in the record.
    if let Some(open) = &call.glass {
        asked.iter_mut().for_each(|asked| asked.lift(open));
    }

    // Many decisions become one outcome, and the outcome the platform's words, still without the record's reference.
    let outcome = combined(hook, &asked, &incoming.call).and_then(|(combined, text)| {
        let outcome = Outcome { verdict: combined.verdict, changes: &combined.changes, text: text.as_deref() };
        let answer = portcullis_hooks::write(hook.config.kind, &incoming, &outcome)
            .map_err(|unsayable| unsayable_failure(&unsayable, &asked, &combined.changes))?;
        Ok((combined.verdict, answer))
    });
    call.note("render");
    // It may have been revoked meanwhile: calls in flight are no exception.
    if let Some(failure) = stopped() {
        give_up!(failure);
    }
    Decided { incoming, asked, outcome }
}

impl Failure {
    /// A failure that is no plugin's.
    pub fn of(cause: Cause) -> Self {
        Self { cause, culprit: None }
    }

    /// A plugin that was to bind is revoked.
    fn revoked(plugin: &str) -> Self {
        Self { cause: Cause::PluginRevoked, culprit: Some(plugin.to_owned()) }
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

fn combined<'a>(hook: &Hook, asked: &'a [Asked], call: &HookCall) -> Result<(Combined<'a>, Option<String>), Failure> {
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
