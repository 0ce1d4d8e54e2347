//! Trying a plugin with a plan.
//!
//! Invariant: a case is asked as a host asks: on the view that the manifest's reads allow, in a fresh instance of a snapshot that was configured with the
//! case's settings, within the manifest's limits; and what is said counts only if the manifest emits it. Which settings a case has is all
//! that cases share. The whole ends in time.

use std::time::{Duration, Instant};

use portcullis_engine::{Engine, Evaluation, Fault, Plugin, Refused};
use portcullis_model::{Call, Decision, Emits, Limits, Messages, Page, Reads};

use crate::call::TestCall;
use crate::coverage::{Coverage, Seen};
use crate::explain::Explanation;
use crate::plan::{Case, Plan};
use crate::report::{Outcome, Report, Said};
use crate::schema::check_settings;

/// What a manifest lets a plugin see and say.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    /// The hook kinds that it is made for.
    pub hooks: &'a [String],
    /// What it sees of a call.
    pub reads: &'a Reads,
    /// What it can say.
    pub emits: &'a Emits,
    /// The text for people.
    pub messages: &'a Messages,
    /// What one call may use.
    pub limits: Limits,
    /// The JSON Schema of its settings.
    pub schema: Option<&'a str>,
}

/// How far a run goes.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How long it may take; what is not tried by then has failed. Compiling counts.
    pub time: Duration,
    /// Whether to count what is reached, and to look for reads that are of no weight.
    pub coverage: bool,
}

/// Tries a plugin. Where the engine's preparations are given up, so is the rest of it, as if it were late.
pub fn run(
    plan: &Plan,
    engine: &Engine,
    component: &[u8],
    terms: &Terms<'_>,
    bounds: Bounds,
) -> Report {
    let until = Instant::now().checked_add(bounds.time);
    let late = || engine.is_given_up() || until.is_some_and(|until| Instant::now() >= until);
    let mut outcomes: Vec<Option<Outcome>> = plan.cases.iter().map(|_| None).collect();
    let mut seen = Seen::default();
    for (name, settings) in &plan.settings {
        let mut cases = plan
            .cases
            .iter()
            .zip(&mut outcomes)
            .filter(|(case, _)| case.settings == *name)
            .peekable();
        if cases.peek().is_none() {
            continue;
        }
        // A plugin takes memory and its making time: one at a time, and only while it is asked.
        let plugin =
            if late() { Err(Said::NotTried) } else { prepare(engine, component, settings, terms) };
        for (case, place) in cases {
            let said = match &plugin {
                _ if late() => (Said::NotTried, Duration::ZERO),
                Err(said) => (said.clone(), Duration::ZERO),
                Ok(plugin) => answer(case, plugin, terms),
            };
            if bounds.coverage {
                seen.note(case, &said.0, name, terms);
                if let (Ok(plugin), Said::Decision(decision), Some(question)) =
                    (&plugin, &said.0, &case.question)
                {
                    seen.weigh(plugin, question.call(), decision, terms, &late);
                }
            }
            *place = Some(outcome(case, said, terms));
        }
    }
    let outcomes = outcomes.into_iter().flatten().collect();
    let coverage = bounds.coverage.then(|| Coverage::of(&seen, plan, terms));
    Report { suite: plan.name.clone(), outcomes, coverage }
}

impl Terms<'_> {
    /// Asks a plugin about one call, as a host does: its view, its answer, and that held against the manifest.
    pub fn ask(&self, plugin: &Plugin, call: &Call) -> (Said, Vec<String>, Duration) {
        let view = match self.reads.view(call) {
            Ok(view) => view,
            Err(missing) => {
                return (
                    Said::fault("required-input-missing", missing),
                    Vec::new(),
                    Duration::ZERO,
                );
            }
        };
        let Evaluation { outcome, notes, spent, .. } =
            retrying(|| plugin.evaluate(&view, plugin.time()));
        let said = match outcome {
            Ok(decision) => match self.emits.check(call.hook, &decision, self.messages) {
                Ok(()) => Said::Decision(decision),
                Err(overreach) => Said::fault(overreach.code(), &overreach),
            },
            Err(fault) => Said::failed(&fault),
        };
        (said, notes, spent)
    }

    /// Asks it which ones.
    pub fn find(&self, plugin: &Plugin, call: &Call, limit: u32) -> (Said, Vec<String>, Duration) {
        let view = match self.reads.view(call) {
            Ok(view) => view,
            Err(missing) => {
                return (
                    Said::fault("required-input-missing", missing),
                    Vec::new(),
                    Duration::ZERO,
                );
            }
        };
        let page = Page { limit, after: None };
        let Evaluation { outcome, notes, spent, .. } =
            retrying(|| plugin.find(&view, &page, plugin.time()));
        (outcome.map_or_else(|fault| Said::failed(&fault), Said::Found), notes, spent)
    }
}

/// The plugin is pure: where a busy machine was late, it is asked again.
fn retrying<T>(mut ask: impl FnMut() -> Evaluation<T>) -> Evaluation<T> {
    let mut evaluation = ask();
    for _ in 1..TRIES {
        if !matches!(evaluation.outcome, Err(Fault::Deadline)) {
            break;
        }
        evaluation = ask();
    }
    evaluation
}

fn prepare(
    engine: &Engine,
    component: &[u8],
    settings: &str,
    terms: &Terms<'_>,
) -> Result<Plugin, Said> {
    if let Some(schema) = terms.schema {
        let complaints = check_settings(schema, settings, terms.reads)
            .map_err(|error| Said::fault("settings-schema", error))?;
        if !complaints.is_empty() {
            return Err(Said::Refused(complaints.iter().map(ToString::to_string).collect()));
        }
    }
    engine.prepare(component, settings, terms.limits).map_err(|refused| match &refused {
        Refused::Settings(_) => Said::Refused(refused.complaints().to_vec()),
        _ => Said::fault(refused.code(), &refused),
    })
}

fn answer(case: &Case, plugin: &Plugin, terms: &Terms<'_>) -> (Said, Duration) {
    let Some(question) = &case.question else { return (Said::Accepted, Duration::ZERO) };
    let hook = question.call().hook;
    if !terms.hooks.iter().any(|named| named == hook) {
        let what = format!("the manifest does not name the hook kind `{hook}`");
        return (Said::fault("hook-not-declared", what), Duration::ZERO);
    }
    let (said, _, spent) = match question {
        TestCall::Whether(incoming) => terms.ask(plugin, &incoming.call),
        TestCall::Which(incoming, limit) => terms.find(plugin, &incoming.call, *limit),
    };
    (said, spent)
}

fn outcome(case: &Case, (said, spent): (Said, Duration), terms: &Terms<'_>) -> Outcome {
    let explanation = match (&said, &case.question) {
        (Said::Decision(decision), Some(question)) => {
            Some(Explanation::of(terms, question.call(), decision))
        }
        _ => None,
    };
    let asked =
        case.question.as_ref().map(|question| (question.call().hook, question.call().received));
    let differences = case.expect.differences(&said);
    Outcome {
        name: case.name.clone(),
        settings: case.settings.clone(),
        asked,
        differences,
        said,
        explanation,
        spent,
    }
}

/// What the plugin would say if it saw less.
pub(crate) fn decide(plugin: &Plugin, reads: &Reads, call: &Call) -> Option<Decision> {
    let view = reads.view(call).ok()?;
    retrying(|| plugin.evaluate(&view, plugin.time())).outcome.ok()
}

/// How often a plugin is asked that was not done in its time.
const TRIES: usize = 3;
