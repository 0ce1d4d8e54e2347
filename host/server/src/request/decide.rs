//! The decision on one question: which bindings are asked, in which order, and what their decisions
//! come to.
//!
//! Invariant: no decision without every enforcing binding. Guards see everything that is proposed.
//! A failure becomes a [`Failure`] and nothing else; the caller turns it into the safe answer.

use std::sync::Arc;

use portcullis_hooks::{Answer, HookRequest, Outcome, Reason, RenderError, SideEffect};
use portcullis_model::{
    Attribution, Call as HookCall, Cause, Change, ChangeKind, Decision, Effect, Finding,
};

use crate::bindings::combine::{BindingDecision, CombineError, Combined, combine, merge};
use crate::bindings::evaluate::{BindingError, BindingResult, set_aside_waived};
use crate::bindings::generation::{Binding, Bindings, LANGUAGE, StopReason};
use crate::break_glass::ActiveOverride;
use crate::observe::budget::Stage;
use crate::request::context::RequestContext;
use crate::state::host::Hook;

/// Why there is no decision, and whose fault it is.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Why.
    pub cause: Cause,
    /// The plugin's id, where a plugin is to blame.
    pub culprit: Option<String>,
}

/// The decision on one question: every result, and the verdict and answer, or why there is none.
pub struct Decided {
    /// The question, with everything proposed.
    pub incoming: Arc<HookRequest>,
    /// Every enforcing binding that was asked.
    pub asked: Vec<BindingResult>,
    /// The verdict and the answer without the record's reference, or why there is none.
    pub outcome: Result<(Effect, Answer), Failure>,
    /// The side effect before or after that answer leaves.
    pub errand: Option<SideEffect>,
    /// The changes that the answer leaves out, since what they would change is not there.
    pub skipped: Vec<ChangeKind>,
}

/// The platform's answer to a decision.
struct Rendered {
    verdict: Effect,
    answer: Answer,
    errand: Option<SideEffect>,
    skipped: Vec<ChangeKind>,
}

/// Evaluates all enforcing bindings and combines their decisions. In its cohort a canary answers in
/// a live binding's place; where that comes to no decision, the live binding decides.
pub async fn decide(call: &mut RequestContext<'_>, incoming: Arc<HookRequest>) -> Decided {
    if call.select_canaries(&incoming) {
        // On the heap: calls without canaries should not carry it.
        let decided = Box::pin(decide_with_selected(call, Arc::clone(&incoming))).await;
        if let Some(decided) = call.accept_canary_attempt(decided) {
            return decided;
        }
    }
    decide_with_selected(call, incoming).await
}

/// Decides with the selected bindings.
async fn decide_with_selected(
    call: &mut RequestContext<'_>,
    mut incoming: Arc<HookRequest>,
) -> Decided {
    let mut asked = Vec::new();
    let (outcome, errand, skipped) = match evaluate(call, &mut incoming, &mut asked).await {
        Ok(Rendered { verdict, answer, errand, skipped }) => {
            (Ok((verdict, answer)), errand, skipped)
        }
        Err(failure) => (Err(failure), None, Vec::new()),
    };
    Decided { incoming, asked, outcome, errand, skipped }
}

/// Asks the bindings one after the other and renders what they decide together. `asked` has every
/// binding that was asked, and `incoming` everything that was proposed, also after a failure.
async fn evaluate(
    call: &mut RequestContext<'_>,
    incoming: &mut Arc<HookRequest>,
    asked: &mut Vec<BindingResult>,
) -> Result<Rendered, Failure> {
    let Some(generation) = call.generation.clone() else {
        return Err(Failure::of(call.host.no_release_cause()));
    };
    let hook = call.hook;
    let bindings = generation.hooks.get(hook.number);

    // A plugin that must decide and does not run leaves no decision.
    let check_stopped = || match bindings.and_then(Bindings::stopped) {
        Some(stopped) => Err(Failure::stopped(stopped)),
        None => Ok(()),
    };
    check_stopped()?;

    // Neither does one that is quarantined: the safe answer leaves at once, before anything spends
    // the call's time.
    if let Some(failure) = call.quarantined() {
        return Err(failure);
    }

    // Proposers first: they alone may want more than restrictions, and guards must see all of it.
    for binding in bindings.iter().flat_map(|bindings| &bindings.proposers) {
        asked.push(call.evaluate(binding, incoming).await);
    }
    check_failed(asked)?;
    let proposed = merge(changes(asked))?;
    if !proposed.is_empty() {
        Arc::make_mut(incoming).call.proposed = proposed;
    }
    call.record_stage(Stage::Propose);

    // Guards see the call with everything proposed, so no earlier grant escapes them; they do not
    // see each other, so their order means nothing.
    for binding in bindings.iter().flat_map(|bindings| &bindings.guards) {
        asked.push(call.evaluate(binding, incoming).await);
    }
    check_failed(asked)?;
    call.record_stage(Stage::Guard);

    // Findings that a plugin with that right waives, or a break-glass document, are set aside; the
    // record lists them.
    set_aside_waived(asked, call.glass.as_deref().map(ActiveOverride::waives));

    let rendered = render(call, incoming, asked);
    call.record_stage(Stage::Render);
    // A plugin may have been revoked during the call: calls in flight are no exception.
    check_stopped()?;
    rendered.map(|rendered| without_unknown_delivery(call, incoming, rendered))
}

/// Makes one outcome of many decisions, and the platform's answer of the outcome, still without the
/// record's reference.
fn render(
    call: &RequestContext<'_>,
    incoming: &HookRequest,
    asked: &[BindingResult],
) -> Result<Rendered, Failure> {
    let hook = call.hook;
    let (combined, grounds, language) = combine_results(hook, asked, &incoming.call)?;
    let text = grounds.first().map(|ground| ground.text.as_str());
    let (verdict, changes) = (combined.verdict, combined.changes.as_slice());
    let reference =
        (verdict > Effect::Allow).then(|| hook.help_desk_reference(&call.host.recorder, incoming));
    let outcome = Outcome { verdict, changes, text, language, reasons: &grounds, reference };
    let kind = hook.config.kind;
    let answer = portcullis_hooks::write(kind, incoming, &outcome)
        .map_err(|error| unsupported_change_failure(&error, asked, &combined.changes))?;
    let errand = portcullis_hooks::side_effect(kind, incoming, &outcome);
    // A denial has no changes.
    let skipped = match verdict > Effect::Allow {
        true => Vec::new(),
        false => portcullis_hooks::skipped(kind, incoming, &outcome),
    };
    Ok(Rendered { verdict, answer, errand, skipped })
}

/// Where no delivery service takes a message of this channel, it is not recorded as delivered: the
/// platform is told to send it itself.
fn without_unknown_delivery(
    call: &RequestContext<'_>,
    incoming: &HookRequest,
    rendered: Rendered,
) -> Rendered {
    match &rendered.errand {
        Some(SideEffect::Deliver(message))
            if call.hook.delivery_service(call.host, message.channel).is_none() =>
        {
            let answer = portcullis_hooks::render_undelivered(call.hook.config.kind, incoming);
            Rendered { answer, errand: None, ..rendered }
        }
        _ => rendered,
    }
}

impl Failure {
    /// A failure that is no plugin's.
    pub fn of(cause: Cause) -> Self {
        Self { cause, culprit: None }
    }

    /// An enforcing plugin does not run.
    fn stopped(stopped: &StopReason) -> Self {
        Self { cause: stopped.cause, culprit: stopped.plugin.clone() }
    }

    /// A failure that is this plugin's.
    pub fn of_plugin(cause: Cause, binding: &Binding) -> Self {
        Self { cause, culprit: Some(binding.manifest().id.clone()) }
    }

    /// Returns the failure of a binding's fault. It names the plugin only where the fault is the
    /// plugin's: a record cannot be taken back.
    pub fn of_fault(fault: &BindingError, binding: &Binding) -> Self {
        match fault.cause.attribution() {
            Attribution::Plugin => Self::of_plugin(fault.cause, binding),
            _ => Self::of(fault.cause),
        }
    }
}

impl From<CombineError> for Failure {
    fn from(error: CombineError) -> Self {
        match error {
            CombineError::Conflict { .. } => Self::of(Cause::Conflict),
            CombineError::Unsupported { plugin, .. } => {
                Self { cause: Cause::UnsupportedChange, culprit: Some(plugin) }
            }
        }
    }
}

/// Fails with the first binding that failed; only enforcing ones were asked.
fn check_failed(asked: &[BindingResult]) -> Result<(), Failure> {
    let failed = |asked: &BindingResult| {
        Some(Failure::of_fault(asked.outcome.as_ref().err()?, &asked.binding))
    };
    asked.iter().find_map(failed).map_or(Ok(()), Err)
}

fn changes(asked: &[BindingResult]) -> impl Iterator<Item = &Change> {
    decisions(asked).flat_map(|decision| &decision.changes)
}

fn decisions(asked: &[BindingResult]) -> impl Iterator<Item = &Decision> {
    asked.iter().filter_map(|asked| asked.outcome.as_ref().ok())
}

/// The combined decision, the texts of its reasons, and the tag of the first text's language.
type CombinedTexts<'a> = (Combined<'a>, Vec<Reason<'a>>, &'a str);

fn combine_results<'a>(
    hook: &Hook,
    asked: &'a [BindingResult],
    call: &HookCall,
) -> Result<CombinedTexts<'a>, Failure> {
    let decisions: Vec<_> = asked
        .iter()
        .filter_map(|asked| {
            let decision: &Decision = asked.outcome.as_ref().ok()?;
            Some(BindingDecision {
                plugin: &asked.binding.manifest().id,
                decision,
                fallback: &asked.binding.fallback,
            })
        })
        .collect();
    let combined = combine(hook.config.kind, &decisions, &call.lifetimes)?;
    let language = language(call);
    let ground = |(plugin, finding): &(&str, &'a Finding)| {
        let catalogue = asked.iter().find(|asked| asked.binding.manifest().id == *plugin)?;
        let manifest = catalogue.binding.manifest();
        // A plugin that sees a secret could put it into an argument: its messages have none.
        let (arguments, field) = match manifest.reads.sees_secret(call) {
            true => (&[][..], None),
            false => (finding.arguments.as_slice(), finding.field.as_deref()),
        };
        let (tag, text) = manifest.messages.fill(&finding.code, &language, arguments)?;
        Some((tag, Reason { code: &finding.code, text, field }))
    };
    // Of what stops nobody, one text is enough.
    let most = if combined.verdict > Effect::Allow { portcullis_hooks::MAX_GROUNDS } else { 1 };
    let (tags, grounds): (Vec<_>, _) =
        combined.reasons.iter().filter_map(ground).take(most).unzip();
    Ok((combined, grounds, tags.first().copied().unwrap_or_default()))
}

/// Attributes an unsupported change to the first binding that proposed it.
fn unsupported_change_failure(
    error: &RenderError,
    asked: &[BindingResult],
    merged: &[Change],
) -> Failure {
    let refused_change = error.change.and_then(|(number, _)| merged.get(number.checked_sub(1)?));
    let proposes = |asked: &&BindingResult| {
        asked
            .outcome
            .as_ref()
            .is_ok_and(|decision| decision.changes.iter().any(|it| Some(it) == refused_change))
    };
    let culprit = asked.iter().find(proposes).map(|asked| asked.binding.manifest().id.clone());
    Failure { cause: Cause::UnsupportedChange, culprit }
}

/// The language that the subject's profile asks for.
fn language(call: &HookCall) -> String {
    let locale = call.subject.as_ref().and_then(|subject| {
        subject.attributes.iter().find(|attribute| attribute.name == *LANGUAGE)
    });
    locale
        .map_or_else(|| "en".to_owned(), |locale| locale.value.trim_matches('"').replace('_', "-"))
}
