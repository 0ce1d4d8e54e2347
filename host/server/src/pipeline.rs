//! The life of a hook call that has its place, top to bottom: caller, read, retry, propose, guard, waive,
//! combine, render, record, deliver, bytes out. Admission comes before, in `http::preflight`.
//!
//! Invariants: whatever happens on the way, an answer leaves in time and in the platform's own words, and no decision leaves
//! before its record is durable. Every failure becomes a [`Failure`], and `Call::refuse` alone turns one into the answer and the
//! record. The means are in `call`; what runs after the reply is in `afterwards`.

use std::sync::Arc;

use hyper::body::{Body as _, Incoming as Body};
use portcullis_hooks::{
    Answer, Batch, Errand, Gathering, Ground, Heard, Incoming, Malformed, Outcome, Page, Unsayable,
    Until,
};
use portcullis_model::{
    Call as HookCall, Cause, Change, ChangeKind, Decision, Effect, Finding, Party,
};

use crate::ask::{AskFault, Asked, set_aside_waived};
use crate::budget::Stage;
use crate::call::account::Account;
use crate::call::{Call, Reply};
use crate::caller::Proven;
use crate::combine::{Combined, Discord, Voice, combine, merge};
use crate::generation::{Binding, Bindings, LANGUAGE, Stopped};
use crate::host::{Hook, Host};
use crate::http::preflight::Admitted;
use crate::http::session::Session;
use crate::in_force::InForce;
use crate::retry::Turn;
use crate::search::{PageToken, Searched, search};

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
    /// What is to be done before or after that answer leaves.
    pub errand: Option<Errand>,
    /// The changes that the answer leaves out, since what they would change is not there.
    pub skipped: Vec<ChangeKind>,
}

/// Answers a call that has its place. What was decided of the request before is in
/// `http::preflight`: whether there was room for it, and who sent it, where that did not have to
/// wait. Returns also whether the caller may still be sending the body.
pub async fn answer(
    host: &Arc<Host>,
    in_force: &InForce,
    session: &Session,
    admitted: Admitted,
    account: Account,
) -> (Reply, bool) {
    let Admitted { hook, route, head, mut body, place, began, received, caller } = admitted;
    let mut call = Call::begin(host, in_force, &hook, route, head, (began, received), account);
    call.afterwards.place = Some(place);

    // The caller is authenticated before its body is read, so that unauthenticated requests cost
    // neither memory nor parsing.
    let caller = match caller {
        Some(caller) => caller,
        None => match call.check_caller(session).await {
            Ok(caller) => caller,
            Err(unproven) => return (call.turn_away(unproven), !body.is_end_stream()),
        },
    };
    let reply = answer_call(call, caller, &mut body).await;
    (reply, !body.is_end_stream())
}

/// Answers a call whose caller is known.
async fn answer_call(mut call: Call<'_>, caller: Proven, body: &mut Body) -> Reply {
    if let Some(trace) = &mut call.trace {
        trace.prove();
    }
    call.note(Stage::Caller);
    let bytes = match call.read(body).await {
        Ok(bytes) => bytes,
        Err(cause) => return call.turn_away_proven(cause).await,
    };
    call.note(Stage::Body);

    // Bytes become questions. From here on there is something to record.
    let heard = match call.hear(&bytes) {
        Ok(heard) => heard,
        Err(malformed) => return call.turn_away_malformed(&malformed).await,
    };
    if let Err(differs) = call.check_tenant(&caller, &heard) {
        return call.turn_away_proven(differs).await;
    }
    call.note(Stage::Parse);
    match heard {
        Heard::One(incoming) => answer_one(call, caller, incoming).await,
        Heard::Many(batch) => answer_many(call, caller, batch, &bytes).await,
        Heard::Which(incoming, page) => {
            // A page of another list would be told as one of this.
            let Some(token) = PageToken::read(call.host, call.hook, &page) else {
                let detail = "page.token, which is not of this request".into();
                let malformed = Malformed { cause: Cause::WrongShape, detail, event: None };
                return call.turn_away_malformed(&malformed).await;
            };
            answer_which(call, Arc::new(incoming), &page, token).await
        }
        Heard::Nothing(answer) => call.leave(&answer),
    }
}

/// One question, one answer.
async fn answer_one(mut call: Call<'_>, caller: Proven, incoming: Incoming) -> Reply {
    let incoming = Arc::new(incoming);

    // A platform that asks again hears the same: before any plugin runs, so that a retry costs nothing and changes nothing.
    let first = match call.whose_turn(&caller, &incoming) {
        Turn::First(first) => Some(first),
        Turn::Alone => None,
        Turn::Again(flight) => {
            return call.say_again(flight, &incoming.call.id, Some(&incoming)).await;
        }
        Turn::Reused => {
            return call.refuse(Failure::of(Cause::EventReused), &incoming, Vec::new(), None).await;
        }
    };
    let Decided { incoming, asked, outcome, errand, skipped } = decide(&mut call, incoming).await;

    // The record is durable before the first byte of a decision leaves, and before a message that it promises is on its way.
    match outcome {
        Ok((verdict, answer)) => {
            let verdict = (Ok(verdict), skipped.as_slice());
            call.record_and_leave(verdict, answer, &incoming, asked, first, errand).await
        }
        Err(failure) => call.refuse(failure, &incoming, asked, first).await,
    }
}

/// Many questions, decided and recorded each for itself, in one answer. What lies behind the deciding one is not asked.
async fn answer_many(mut call: Call<'_>, caller: Proven, batch: Batch, bytes: &[u8]) -> Reply {
    // The platform may send the whole once more: it hears the same, and no question is asked twice.
    let first = match batch.id.as_deref().map(|id| (id, call.whose_turn_of(&caller, id, bytes))) {
        Some((_, Turn::First(first))) => Some(first),
        Some((_, Turn::Alone)) | None => None,
        Some((id, Turn::Again(flight))) => return call.say_again(flight, id, None).await,
        // What only tells that things have happened is never turned away: it would be lost.
        Some((_, Turn::Reused)) if !call.hook.config.kind.binds() => None,
        Some((_, Turn::Reused)) => return call.turn_away_proven(Cause::EventReused).await,
    };
    let mut parts = Vec::with_capacity(batch.items.len());
    for (number, item) in batch.items.into_iter().enumerate() {
        let (permitted, part) = match item {
            Ok(incoming) => {
                let decided = decide(&mut call, Arc::new(incoming)).await;
                call.record_part(number, decided)
            }
            Err(unread) => (false, call.unread_part(number, unread)),
        };
        parts.push(part);
        // The thread is other calls' too: a request holds it no longer at a time than one question does.
        tokio::task::yield_now().await;
        match batch.until {
            Until::FirstDeny if !permitted => break,
            Until::FirstPermit if permitted => break,
            _ => {}
        }
    }
    let batch = Gathering { until: batch.until, query: batch.query };
    call.gather_and_leave(parts, &batch, first).await
}

/// "Which ones?": those about whom the answer would be yes, in one answer with one record.
async fn answer_which(
    mut call: Call<'_>,
    incoming: Arc<Incoming>,
    page: &Page,
    token: PageToken,
) -> Reply {
    let Searched { found, asked } = search(&mut call, &incoming, page, token).await;
    call.note(Stage::Search);
    match found {
        Ok(found) => {
            // A list decides nothing: what its results are allowed was decided one by one.
            let answer = portcullis_hooks::list(call.hook.config.kind, &incoming, &found);
            let verdict = (Ok(Effect::Abstain), [].as_slice());
            call.record_and_leave(verdict, answer, &incoming, asked, None, None).await
        }
        Err(failure) => call.refuse(failure, &incoming, asked, None).await,
    }
}

/// Asks everybody, and makes one outcome of what they say. In its cohort a canary answers in a live binding's place; where that comes to
/// no decision it is as if there were no canary, and the live one decides.
pub async fn decide(call: &mut Call<'_>, incoming: Arc<Incoming>) -> Decided {
    if call.cast(&incoming) {
        // On the heap: calls without canaries should not carry it.
        let decided = Box::pin(decide_as_cast(call, Arc::clone(&incoming))).await;
        if let Some(decided) = call.uncast(decided) {
            return decided;
        }
    }
    decide_as_cast(call, incoming).await
}

/// The same, with whoever was chosen to answer.
async fn decide_as_cast(call: &mut Call<'_>, mut incoming: Arc<Incoming>) -> Decided {
    let hook = call.hook;
    let mut asked = Vec::new();
    macro_rules! give_up {
        ($failure:expr) => {
            return Decided {
                incoming,
                asked,
                outcome: Err($failure),
                errand: None,
                skipped: Vec::new(),
            }
        };
    }
    let Some(generation) = call.generation.clone() else {
        give_up!(Failure::of(call.host.undecided()))
    };

    // Without the word of a plugin that does not run there is no decision.
    let stopped =
        || generation.hooks.get(hook.number).and_then(Bindings::stopped).map(Failure::stopped);
    if let Some(failure) = stopped() {
        give_up!(failure);
    }

    // Nor without the word of one that failed too often: the safe answer leaves at once, before anybody spends the call's time.
    if let Some(failure) = call.quarantined() {
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
    call.note(Stage::Propose);

    // Guards see the call with everything proposed, so no earlier grant escapes them; they do not see each other, so order is nothing.
    for binding in bindings.iter().flat_map(|bindings| &bindings.guards) {
        asked.push(call.ask(binding, &incoming).await);
    }
    if let Some(failure) = failure(&asked) {
        give_up!(failure);
    }
    call.note(Stage::Guard);

    // Findings that a plugin with that right waives, or a break-glass document, are set aside; the
    // record lists them.
    set_aside_waived(&mut asked, call.glass.as_deref());

    // Many decisions become one outcome, and the outcome the platform's words, still without the record's reference.
    let outcome =
        combined(hook, &asked, &incoming.call).and_then(|(combined, grounds, language)| {
            let text = grounds.first().map(|ground| ground.text.as_str());
            let (verdict, changes) = (combined.verdict, combined.changes.as_slice());
            let outcome = Outcome { verdict, changes, text, language, grounds: &grounds };
            let answer = portcullis_hooks::write(hook.config.kind, &incoming, &outcome)
                .map_err(|unsayable| unsayable_failure(&unsayable, &asked, &combined.changes))?;
            let errand = portcullis_hooks::errand(hook.config.kind, &incoming, &outcome);
            // A denial has no changes.
            let skipped = match verdict > Effect::Allow {
                true => Vec::new(),
                false => portcullis_hooks::skipped(hook.config.kind, &incoming, &outcome),
            };
            Ok((combined.verdict, answer, errand, skipped))
        });
    call.note(Stage::Render);
    // It may have been revoked meanwhile: calls in flight are no exception.
    if let Some(failure) = stopped() {
        give_up!(failure);
    }
    let (outcome, errand, skipped) = match outcome {
        // What nobody would take must not be recorded as being on its way.
        Ok((verdict, _, Some(Errand::Deliver(message)), skipped))
            if hook.courier(call.host, message.channel).is_none() =>
        {
            let left = portcullis_hooks::undelivered(hook.config.kind, &incoming);
            (Ok((verdict, left)), None, skipped)
        }
        Ok((verdict, answer, errand, skipped)) => (Ok((verdict, answer)), errand, skipped),
        Err(failure) => (Err(failure), None, Vec::new()),
    };
    Decided { incoming, asked, outcome, errand, skipped }
}

impl Failure {
    /// A failure that is no plugin's.
    pub fn of(cause: Cause) -> Self {
        Self { cause, culprit: None }
    }

    /// A plugin that was to bind does not run.
    fn stopped(stopped: &Stopped) -> Self {
        Self { cause: stopped.cause, culprit: stopped.plugin.clone() }
    }

    /// A failure that is this plugin's.
    pub fn of_plugin(cause: Cause, binding: &Binding) -> Self {
        Self { cause, culprit: Some(binding.manifest().id.clone()) }
    }

    /// What a binding's fault comes to. Only what is a plugin's fault is put down to one: the record cannot be taken back.
    pub fn of_fault(fault: &AskFault, binding: &Binding) -> Self {
        match fault.cause.party() {
            Party::Plugin => Self::of_plugin(fault.cause, binding),
            _ => Self::of(fault.cause),
        }
    }
}

impl From<Discord> for Failure {
    fn from(discord: Discord) -> Self {
        match discord {
            Discord::Conflict { .. } => Self::of(Cause::Conflict),
            Discord::Unsayable { plugin, .. } => {
                Self { cause: Cause::Unsayable, culprit: Some(plugin) }
            }
        }
    }
}

/// The first enforcing binding that failed; only those were asked.
fn failure(asked: &[Asked]) -> Option<Failure> {
    asked
        .iter()
        .find_map(|asked| Some(Failure::of_fault(asked.outcome.as_ref().err()?, &asked.binding)))
}

fn changes(asked: &[Asked]) -> impl Iterator<Item = &Change> {
    decisions(asked).flat_map(|decision| &decision.changes)
}

fn decisions(asked: &[Asked]) -> impl Iterator<Item = &Decision> {
    asked.iter().filter_map(|asked| asked.outcome.as_ref().ok())
}

/// What was combined, the texts of its grounds, and the tag of the first text's language.
type Told<'a> = (Combined<'a>, Vec<Ground<'a>>, &'a str);

fn combined<'a>(hook: &Hook, asked: &'a [Asked], call: &HookCall) -> Result<Told<'a>, Failure> {
    let voices: Vec<_> = asked
        .iter()
        .filter_map(|asked| {
            let decision: &Decision = asked.outcome.as_ref().ok()?;
            Some(Voice {
                plugin: &asked.binding.manifest().id,
                decision,
                fallback: &asked.binding.fallback,
            })
        })
        .collect();
    let combined = combine(hook.config.kind, &voices, &call.lifetimes)?;
    let language = language(call);
    let ground = |(plugin, finding): &(&str, &'a Finding)| {
        let catalogue = asked.iter().find(|asked| asked.binding.manifest().id == *plugin)?;
        let manifest = catalogue.binding.manifest();
        // What sees a secret could say it in an argument: its messages go without.
        let (arguments, field) = match manifest.reads.sees_secret(call) {
            true => (&[][..], None),
            false => (finding.arguments.as_slice(), finding.field.as_deref()),
        };
        let (tag, text) = manifest.messages.fill(&finding.code, &language, arguments)?;
        Some((tag, Ground { code: &finding.code, text, field }))
    };
    // Of what stops nobody, one text is enough.
    let most = if combined.verdict > Effect::Allow { portcullis_hooks::MAX_GROUNDS } else { 1 };
    let (tags, grounds): (Vec<_>, _) =
        combined.grounds.iter().filter_map(ground).take(most).unzip();
    Ok((combined, grounds, tags.first().copied().unwrap_or_default()))
}

/// Whose wish the platform would not take: of the first who has it, in the bindings' order.
fn unsayable_failure(unsayable: &Unsayable, asked: &[Asked], merged: &[Change]) -> Failure {
    let wish = unsayable.change.and_then(|(number, _)| merged.get(number.checked_sub(1)?));
    let wants = |asked: &&Asked| {
        asked
            .outcome
            .as_ref()
            .is_ok_and(|decision| decision.changes.iter().any(|it| Some(it) == wish))
    };
    let culprit = asked.iter().find(wants).map(|asked| asked.binding.manifest().id.clone());
    Failure { cause: Cause::Unsayable, culprit }
}

/// The language that the subject's profile asks for.
fn language(call: &HookCall) -> String {
    let locale = call.subject.as_ref().and_then(|subject| {
        subject.attributes.iter().find(|attribute| attribute.name == *LANGUAGE)
    });
    locale
        .map_or_else(|| "en".to_owned(), |locale| locale.value.trim_matches('"').replace('_', "-"))
}

fn with_proposed(incoming: Arc<Incoming>, proposed: Vec<Change>) -> Arc<Incoming> {
    if proposed.is_empty() {
        return incoming;
    }
    let mut own = Arc::unwrap_or_clone(incoming);
    own.call.proposed = proposed;
    Arc::new(own)
}
