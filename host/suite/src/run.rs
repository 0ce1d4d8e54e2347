//! Trying a plugin with a plan.
//!
//! Invariant: a case is asked as a host asks: on the view that the manifest's reads allow, in a fresh instance of a snapshot that was configured with the
//! case's settings, within the manifest's limits; and what is said counts only if the manifest emits it. Which settings a case has is all
//! that cases share. The whole ends in time.

use std::time::{Duration, Instant};

use portcullis_engine::{Engine, Plugin, PrepareError};

use crate::actual::Actual;
use crate::call::TestCall;
use crate::coverage::{Coverage, Observed};
use crate::evaluate::TestLimits;
use crate::explain::Explanation;
use crate::plan::{Case, Plan};
use crate::report::{Outcome, Report};
use crate::schema::check_settings;

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
    let mut outcomes: Vec<Option<Outcome>> = plan.cases.iter().map(|_| None).collect();
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
        for (case, place) in cases {
            let said = match &plugin {
                _ if late() => (Actual::NotTried, Duration::ZERO),
                Err(said) => (said.clone(), Duration::ZERO),
                Ok(plugin) => answer(case, plugin, terms),
            };
            if bounds.coverage {
                seen.note(case, &said.0, name, terms);
                if let (Ok(plugin), Actual::Decision(decision), Some(question)) =
                    (&plugin, &said.0, &case.question)
                {
                    seen.measure_reads(plugin, question.call(), decision, terms, &late);
                }
            }
            *place = Some(outcome(case, said, terms));
        }
    }
    let outcomes = outcomes.into_iter().flatten().collect();
    let coverage = bounds.coverage.then(|| Coverage::of(&seen, plan, terms));
    Report { suite: plan.name.clone(), outcomes, coverage }
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

fn answer(case: &Case, plugin: &Plugin, terms: &TestLimits<'_>) -> (Actual, Duration) {
    let Some(question) = &case.question else { return (Actual::Accepted, Duration::ZERO) };
    let hook = question.call().hook;
    if !terms.hooks.iter().any(|named| named == hook) {
        let what = format!("the manifest does not name the hook kind `{hook}`");
        return (Actual::fault("hook-not-declared", what), Duration::ZERO);
    }
    let (said, _, spent) = match question {
        TestCall::Evaluate(incoming) => terms.ask(plugin, &incoming.call),
        TestCall::Search(incoming, limit) => terms.find(plugin, &incoming.call, *limit),
    };
    (said, spent)
}

fn outcome(case: &Case, (said, spent): (Actual, Duration), terms: &TestLimits<'_>) -> Outcome {
    let explanation = match (&said, &case.question) {
        (Actual::Decision(decision), Some(question)) => {
            Some(Explanation::of(terms, question.call(), decision))
        }
        _ => None,
    };
    let call =
        case.question.as_ref().map(|question| (question.call().hook, question.call().received));
    let differences = case.expect.differences(&said);
    Outcome {
        name: case.name.clone(),
        settings: case.settings.clone(),
        call,
        differences,
        actual: said,
        explanation,
        spent,
    }
}
