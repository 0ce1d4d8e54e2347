//! Trying a plugin with a plan.
//!
//! Invariant: a case is asked as a host asks: on the view that the manifest's reads allow, in a fresh instance of a snapshot that was configured with the
//! case's settings, within the manifest's limits; and what is said counts only if the manifest emits it. Which settings a case has is all
//! that cases share; the steps of one share its memory. The whole ends in time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_engine::{Engine, Plugin, PrepareError};

use crate::actual::Actual;
use crate::call::TestCall;
use crate::coverage::{Coverage, Observed};
use crate::evaluate::{Answered, TestData, TestLimits};
use crate::explain::Explanation;
use crate::plan::{Case, Plan, Step};
use crate::report::{Outcome, Report};
use crate::schema::check_settings;
use crate::test_memory::{TestMemory, TestMemoryError};

/// How far a run goes.
#[derive(Clone, Copy, Debug)]
pub struct RunBounds {
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
    terms: &TestLimits<'_>,
    bounds: RunBounds,
) -> Report {
    #[expect(clippy::disallowed_methods, reason = "the limit is that of plugins that really run")]
    let until = Instant::now().checked_add(bounds.time);
    #[expect(clippy::disallowed_methods, reason = "the limit is that of plugins that really run")]
    let late = || engine.is_cancelled() || until.is_some_and(|until| Instant::now() >= until);
    let mut outcomes: Vec<Vec<Outcome>> = plan.cases.iter().map(|_| Vec::new()).collect();
    let mut seen = Observed::default();
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
        let plugin = if late() {
            Err(Actual::NotTried)
        } else {
            prepare(engine, component, settings, terms)
        };
        for (case, outcomes) in cases {
            let mut memory = memory(case, terms);
            for step in &case.steps {
                let answered = match (&plugin, &memory) {
                    _ if late() => Answered::without_run(Actual::NotTried),
                    (Err(said), _) => Answered::without_run(said.clone()),
                    (_, Err(error)) => {
                        Answered::without_run(Actual::fault("host-store-unavailable", error))
                    }
                    (Ok(plugin), Ok(memory)) => {
                        let data = data(step, memory.as_ref());
                        let answered = answer(step, plugin, terms, &data);
                        if bounds.coverage {
                            note(&mut seen, step, (plugin, name), &answered, terms, &data, &late);
                        }
                        answered
                    }
                };
                let kept = match (&mut memory, &answered.transaction) {
                    (Ok(Some(memory)), Some(transaction)) => {
                        memory.keep(transaction, answered.is_decided)
                    }
                    _ => Ok(()),
                };
                let mut outcome = outcome(case, step, answered, terms);
                outcome.differences.extend(kept.err().map(|error| error.to_string()));
                outcome.differences.extend(remembered(step, memory.as_ref().ok(), terms));
                outcomes.push(outcome);
            }
        }
    }
    let outcomes = outcomes.into_iter().flatten().collect();
    let coverage = bounds.coverage.then(|| Coverage::of(&seen, plan, terms));
    Report { suite: plan.name.clone(), outcomes, coverage }
}

/// The memory of a case, where the plugin has one.
fn memory(case: &Case, terms: &TestLimits<'_>) -> Result<Option<TestMemory>, TestMemoryError> {
    let first = case.steps.first().and_then(|step| step.question.as_ref());
    let call = first.filter(|_| terms.memory).map(TestCall::call);
    call.map(|call| TestMemory::new(&call.tenant, &case.memory, call.received)).transpose()
}

fn data<'a>(step: &Step, memory: Option<&'a TestMemory>) -> TestData<'a> {
    TestData { tables: Arc::clone(&step.tables), memory }
}

/// Notes what a call reached, and which of its reads its decision rests on.
fn note(
    seen: &mut Observed,
    step: &Step,
    (plugin, settings): (&Plugin, &str),
    answered: &Answered,
    terms: &TestLimits<'_>,
    data: &TestData<'_>,
    late: &dyn Fn() -> bool,
) {
    match (&answered.own, &step.question) {
        (Some(own), Some(question)) => {
            seen.note(step, &Actual::Decision(own.clone()), settings, terms);
            seen.measure_reads(plugin, (question.call(), data), own, terms, late);
        }
        // A decision that is a table's alone is not the plugin's.
        _ if matches!(answered.actual, Actual::Decision(_)) => {}
        _ => seen.note(step, &answered.actual, settings, terms),
    }
}

/// How memory differs from what is expected of it.
fn remembered(
    step: &Step,
    memory: Option<&Option<TestMemory>>,
    terms: &TestLimits<'_>,
) -> Vec<String> {
    let Some(question) = step.question.as_ref().filter(|_| !step.expect.memory.is_empty()) else {
        return Vec::new();
    };
    match memory {
        Some(Some(memory)) => step.expect.memory.differences(memory, question.call()),
        _ if terms.memory => Vec::new(),
        _ => vec!["memory: the manifest does not request the capability `memory`".to_owned()],
    }
}

fn prepare(
    engine: &Engine,
    component: &[u8],
    settings: &str,
    terms: &TestLimits<'_>,
) -> Result<Plugin, Actual> {
    if let Some(schema) = terms.schema {
        let complaints = check_settings(schema, settings, terms.reads)
            .map_err(|error| Actual::fault("settings-schema", error))?;
        if !complaints.is_empty() {
            return Err(Actual::Refused(complaints.iter().map(ToString::to_string).collect()));
        }
    }
    engine.prepare(component, settings, terms.limits).map_err(|refused| match &refused {
        PrepareError::Settings(_) => Actual::Refused(refused.setting_errors().to_vec()),
        _ => Actual::fault(refused.code(), &refused),
    })
}

fn answer(step: &Step, plugin: &Plugin, terms: &TestLimits<'_>, data: &TestData<'_>) -> Answered {
    let Some(question) = &step.question else { return Answered::without_run(Actual::Accepted) };
    let hook = question.call().hook;
    if !terms.hooks.iter().any(|named| named == hook) {
        let what = format!("the manifest does not name the hook kind `{hook}`");
        return Answered::without_run(Actual::fault("hook-not-declared", what));
    }
    terms.ask(plugin, question, data)
}

fn outcome(case: &Case, step: &Step, answered: Answered, terms: &TestLimits<'_>) -> Outcome {
    let Answered { actual, spent, trace, .. } = answered;
    let explanation = match (&actual, &step.question) {
        (Actual::Decision(decision), Some(question)) => {
            Some(Explanation::of(terms, question.call(), decision))
        }
        _ => None,
    };
    let call =
        step.question.as_ref().map(|question| (question.call().hook, question.call().received));
    let mut differences = step.expect.differences(&actual);
    if !case.memory.is_empty() && !terms.memory {
        let what = "memory: the manifest does not request the capability `memory`";
        differences.push(what.to_owned());
    }
    Outcome {
        name: step.name.clone(),
        settings: case.settings.clone(),
        call,
        differences,
        actual,
        explanation,
        trace,
        spent,
    }
}
