//! Evaluating one call as a host does.
//!
//! Invariant: a plugin gets the view that the manifest's reads allow, runs within its limits, and
//! its decision counts only if the manifest emits it.

use std::time::Duration;

use portcullis_engine::{CallServices, Evaluation, Fault, Plugin};
use portcullis_model::{Call, Decision, Emits, Limits, Messages, Page, Reads};

use crate::actual::Actual;

/// The inputs and outputs that a manifest allows.
#[derive(Clone, Copy)]
pub struct TestLimits<'a> {
    /// The hook kinds that it is made for.
    pub hooks: &'a [String],
    /// The inputs of a call that it reads.
    pub reads: &'a Reads,
    /// The effects and changes that it emits.
    pub emits: &'a Emits,
    /// The text for people.
    pub messages: &'a Messages,
    /// Whether it may take notes.
    pub journal: bool,
    /// The limits of one call.
    pub limits: Limits,
    /// The JSON Schema of its settings.
    pub schema: Option<&'a str>,
}

impl TestLimits<'_> {
    /// Asks a plugin about one call, as a host does: its view, its answer, and that held against
    /// the manifest.
    pub fn ask(&self, plugin: &Plugin, call: &Call) -> (Actual, Vec<String>, Duration) {
        let view = match self.reads.view(call) {
            Ok(view) => view,
            Err(missing) => {
                return (
                    Actual::fault("required-input-missing", missing),
                    Vec::new(),
                    Duration::ZERO,
                );
            }
        };
        let Evaluation { outcome, notes, elapsed: spent, .. } =
            retrying(|| plugin.evaluate_with(&view, plugin.time(), self.services()));
        let said = match outcome {
            Ok(decision) => match self.emits.check(call.hook, &decision, self.messages) {
                Ok(()) => Actual::Decision(decision),
                Err(overreach) => Actual::fault(overreach.code(), &overreach),
            },
            Err(fault) => Actual::failed(&fault),
        };
        (said, notes, spent)
    }

    /// Returns the host functions of each call.
    fn services(&self) -> CallServices {
        CallServices { journal: self.journal, functions: None }
    }

    /// Asks it which ones.
    pub fn find(
        &self,
        plugin: &Plugin,
        call: &Call,
        limit: u32,
    ) -> (Actual, Vec<String>, Duration) {
        let view = match self.reads.view(call) {
            Ok(view) => view,
            Err(missing) => {
                return (
                    Actual::fault("required-input-missing", missing),
                    Vec::new(),
                    Duration::ZERO,
                );
            }
        };
        let page = Page { limit, after: None };
        let Evaluation { outcome, notes, elapsed: spent, .. } =
            retrying(|| plugin.find_with(&view, &page, plugin.time(), self.services()));
        (outcome.map_or_else(|fault| Actual::failed(&fault), Actual::Found), notes, spent)
    }
}

/// Returns the decision of the plugin if it read less.
pub(crate) fn decide(plugin: &Plugin, reads: &Reads, call: &Call) -> Option<Decision> {
    let view = reads.view(call).ok()?;
    retrying(|| plugin.evaluate(&view, plugin.time())).outcome.ok()
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

/// How often a plugin is asked that was not done in its time.
const TRIES: usize = 3;
