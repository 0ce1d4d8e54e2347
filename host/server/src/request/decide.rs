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
use crate::tables::texts::text_for;

/// Why there is no decision, and whose fault it is.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Why.
    pub cause: Cause,
    /// The id of the plugin that the failure is attributed to, if it is one.
    pub plugin: Option<String>,
}

/// The decision on one question: every result, and the verdict and answer, or why there is none.
pub struct DecisionOutcome {
    /// The question, with everything proposed.
    pub incoming: Arc<HookRequest>,
    /// The results of the enforcing bindings that were evaluated.
    pub results: Vec<BindingResult>,
    /// The verdict and the answer without the record's reference, or why there is none.
    pub outcome: Result<(Effect, Answer), Failure>,
    /// The side effect before or after that answer leaves.
    pub side_effect: Option<SideEffect>,
    /// The changes that the answer leaves out, since what they would change is not there.
    pub skipped: Vec<ChangeKind>,
}

/// The platform's answer to a decision.
struct Rendered {
    verdict: Effect,
    answer: Answer,
    side_effect: Option<SideEffect>,
    skipped: Vec<ChangeKind>,
}

/// Evaluates all enforcing bindings and combines their decisions. In its cohort a canary answers in
/// a live binding's place; where that comes to no decision, the live binding decides.
pub async fn decide(call: &mut RequestContext<'_>, incoming: Arc<HookRequest>) -> DecisionOutcome {
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
) -> DecisionOutcome {
    let mut results = Vec::new();
    let (outcome, side_effect, skipped) = match evaluate(call, &mut incoming, &mut results).await {
        Ok(Rendered { verdict, answer, side_effect, skipped }) => {
            (Ok((verdict, answer)), side_effect, skipped)
        }
        Err(failure) => (Err(failure), None, Vec::new()),
    };
    DecisionOutcome { incoming, results, outcome, side_effect, skipped }
}

/// Evaluates the bindings one after the other and renders what they decide together. `results` has
/// every binding that was evaluated, and `incoming` everything that was proposed, also after a
/// failure.
async fn evaluate(
    call: &mut RequestContext<'_>,
    incoming: &mut Arc<HookRequest>,
    results: &mut Vec<BindingResult>,
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
        results.push(call.evaluate(binding, incoming).await);
    }
    check_failed(results)?;
    let proposed = merge(changes(results))?;
    if !proposed.is_empty() {
        Arc::make_mut(incoming).call.proposed = proposed;
    }
    call.record_stage(Stage::Propose);

    // Guards see the call with everything proposed, so no earlier grant escapes them; they do not
    // see each other, so their order means nothing.
    for binding in bindings.iter().flat_map(|bindings| &bindings.guards) {
        results.push(call.evaluate(binding, incoming).await);
    }
    check_failed(results)?;
    call.record_stage(Stage::Guard);

    // Findings that a plugin with that right waives, or a break-glass document, are set aside; the
    // record lists them.
    set_aside_waived(results, call.break_glass.as_deref().map(ActiveOverride::waives));

    let rendered = render(call, incoming, results);
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
    results: &[BindingResult],
) -> Result<Rendered, Failure> {
    let hook = call.hook;
    let (combined, reasons, language) = combine_results(hook, results, &incoming.call)?;
    let text = reasons.first().map(|reason| reason.text.as_str());
    let (verdict, changes) = (combined.verdict, combined.changes.as_slice());
    let reference =
        (verdict > Effect::Allow).then(|| hook.help_desk_reference(&call.host.recorder, incoming));
    let outcome = Outcome { verdict, changes, text, language, reasons: &reasons, reference };
    let kind = hook.config.kind;
    let answer = portcullis_hooks::write(kind, incoming, &outcome)
        .map_err(|error| unsupported_change_failure(&error, results, &combined.changes))?;
    let side_effect = portcullis_hooks::side_effect(kind, incoming, &outcome);
    // A denial has no changes.
    let skipped = match verdict > Effect::Allow {
        true => Vec::new(),
        false => portcullis_hooks::skipped(kind, incoming, &outcome),
    };
    Ok(Rendered { verdict, answer, side_effect, skipped })
}

/// Where no delivery service takes a message of this channel, it is not recorded as delivered: the
/// platform is told to send it itself.
fn without_unknown_delivery(
    call: &RequestContext<'_>,
    incoming: &HookRequest,
    rendered: Rendered,
) -> Rendered {
    match &rendered.side_effect {
        Some(SideEffect::Deliver(message))
            if call.hook.delivery_service(call.host, message.channel).is_none() =>
        {
            let answer = portcullis_hooks::render_undelivered(call.hook.config.kind, incoming);
            Rendered { answer, side_effect: None, ..rendered }
        }
        _ => rendered,
    }
}

impl Failure {
    /// A failure that is no plugin's.
    pub fn of(cause: Cause) -> Self {
        Self { cause, plugin: None }
    }

    /// An enforcing plugin does not run.
    fn stopped(stopped: &StopReason) -> Self {
        Self { cause: stopped.cause, plugin: stopped.plugin.clone() }
    }

    /// A failure that is this plugin's.
    pub fn of_plugin(cause: Cause, binding: &Binding) -> Self {
        Self { cause, plugin: Some(binding.manifest().id.clone()) }
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
                Self { cause: Cause::UnsupportedChange, plugin: Some(plugin) }
            }
        }
    }
}

/// Fails with the first binding that failed; only enforcing ones are evaluated.
fn check_failed(results: &[BindingResult]) -> Result<(), Failure> {
    let failed = |result: &BindingResult| {
        Some(Failure::of_fault(result.outcome.as_ref().err()?, &result.binding))
    };
    results.iter().find_map(failed).map_or(Ok(()), Err)
}

fn changes(results: &[BindingResult]) -> impl Iterator<Item = &Change> {
    decisions(results).flat_map(|decision| &decision.changes)
}

fn decisions(results: &[BindingResult]) -> impl Iterator<Item = &Decision> {
    results.iter().filter_map(|result| result.outcome.as_ref().ok())
}

/// The combined decision, the texts of its reasons, and the tag of the first text's language.
type CombinedTexts<'a> = (Combined<'a>, Vec<Reason<'a>>, &'a str);

fn combine_results<'a>(
    hook: &Hook,
    results: &'a [BindingResult],
    call: &HookCall,
) -> Result<CombinedTexts<'a>, Failure> {
    let decisions: Vec<_> = results
        .iter()
        .filter_map(|result| {
            let decision: &Decision = result.outcome.as_ref().ok()?;
            Some(BindingDecision {
                plugin: &result.binding.manifest().id,
                decision,
                fallback: &result.binding.fallback,
            })
        })
        .collect();
    let combined = combine(hook.config.kind, &decisions, &call.lifetimes)?;
    let language = language(call);
    let reason = |(plugin, finding): &(&str, &'a Finding)| {
        let catalogue = results.iter().find(|result| result.binding.manifest().id == *plugin)?;
        let manifest = catalogue.binding.manifest();
        // A plugin that sees a secret could put it into an argument: its messages have none.
        let (arguments, field) = match manifest.reads.sees_secret(call) {
            true => (&[][..], None),
            false => (finding.arguments.as_slice(), finding.field.as_deref()),
        };
        let of_plugin = manifest.messages.fill(&finding.code, &language, arguments);
        // What a table's rule denies is in no manifest.
        let (tag, text) = of_plugin.or_else(|| {
            let (tag, text) = text_for(&finding.code, &language)?;
            Some((tag, text.to_owned()))
        })?;
        Some((tag, Reason { code: &finding.code, text, field }))
    };
    // Of what stops nobody, one text is enough.
    let most = if combined.verdict > Effect::Allow { portcullis_hooks::MAX_REASONS } else { 1 };
    let (tags, reasons): (Vec<_>, _) =
        combined.reasons.iter().filter_map(reason).take(most).unzip();
    Ok((combined, reasons, tags.first().copied().unwrap_or_default()))
}

/// Attributes an unsupported change to the first binding that proposed it.
fn unsupported_change_failure(
    error: &RenderError,
    results: &[BindingResult],
    merged: &[Change],
) -> Failure {
    let refused_change = error.change.and_then(|(number, _)| merged.get(number.checked_sub(1)?));
    let proposes = |result: &&BindingResult| {
        result
            .outcome
            .as_ref()
            .is_ok_and(|decision| decision.changes.iter().any(|it| Some(it) == refused_change))
    };
    let plugin = results.iter().find(proposes).map(|result| result.binding.manifest().id.clone());
    Failure { cause: Cause::UnsupportedChange, plugin }
}

/// The language that the subject's profile asks for.
fn language(call: &HookCall) -> String {
    let locale = call.subject.as_ref().and_then(|subject| {
        subject.attributes.iter().find(|attribute| attribute.name == *LANGUAGE)
    });
    locale
        .map_or_else(|| "en".to_owned(), |locale| locale.value.trim_matches('"').replace('_', "-"))
}
