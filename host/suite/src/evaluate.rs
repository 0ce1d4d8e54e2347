//! Evaluating one call as a host does.
//!
//! Invariant: a plugin gets the view that the manifest's reads allow, runs within its limits, and
//! its decision counts only if the manifest emits it. It sees the tables and the memory that it is
//! given, and changes nothing: the owner of the memory keeps the changes.

use std::sync::Arc;
use std::time::Duration;

use portcullis_call_data::{CallData, DataAccess, RunData, SharedRun};
use portcullis_engine::{CallServices, Evaluation, Fault, Plugin};
use portcullis_model::{Call, Decision, Emits, Limits, Messages, Page, Reads, SearchPage, View};
use portcullis_store::memory::Transaction;
use portcullis_store::tables::CurrentTables;

use crate::actual::Actual;
use crate::call::TestCall;
use crate::test_memory::{TestMemory, TestMemoryError};
use crate::trace::DataTrace;

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
    /// Whether it has a memory.
    pub memory: bool,
    /// The limits of one call.
    pub limits: Limits,
    /// The JSON Schema of its settings.
    pub schema: Option<&'a str>,
}

/// The tables and the memory that a call sees.
#[derive(Clone, Default)]
pub struct TestData<'a> {
    /// One version of every table.
    pub tables: Arc<CurrentTables>,
    /// The memory; a plugin that uses one without it fails.
    pub memory: Option<&'a TestMemory>,
}

/// The result of one call.
pub struct Answered {
    /// The result, with the denial of a table.
    pub actual: Actual,
    /// The decision of the plugin alone.
    pub(crate) own: Option<Decision>,
    /// Its notes.
    pub notes: Vec<String>,
    /// The time that it took.
    pub spent: Duration,
    /// Its look-ups and operations on memory.
    pub trace: DataTrace,
    /// Its changes of memory; none for a search.
    pub transaction: Option<Transaction>,
    /// Whether memory keeps all of that, and not only tallies.
    pub is_decided: bool,
}

impl TestLimits<'_> {
    /// Asks a plugin about one call, as a host does: its view, its answer, and that held against
    /// the manifest.
    pub fn ask(&self, plugin: &Plugin, question: &TestCall, data: &TestData<'_>) -> Answered {
        let call = question.call();
        let view = match self.reads.view(call) {
            Ok(view) => view,
            Err(missing) => {
                return Answered::without_run(Actual::fault("required-input-missing", missing));
            }
        };
        match question {
            TestCall::Evaluate(_) => self.evaluate(plugin, call, &view, data),
            TestCall::Search(_, limit) => self.find(plugin, call, &view, *limit, data),
        }
    }

    fn evaluate(
        &self,
        plugin: &Plugin,
        call: &Call,
        view: &View<'_>,
        data: &TestData<'_>,
    ) -> Answered {
        let run = SharedRun::default();
        let asked = retrying(|| {
            let services = self.services(self.reads, call, data, &run)?;
            Ok(plugin.evaluate_with(view, plugin.time(), services))
        });
        let Evaluation { outcome, notes, elapsed: spent, .. } = match asked {
            Ok(evaluation) => evaluation,
            Err(error) => return Answered::without_run(Actual::fault(NO_STORE, error)),
        };
        let RunData { reads, memory } = run.take();
        let own = match outcome {
            Ok(decision) => match self.emits.check(call.hook, &decision, self.messages) {
                Ok(()) => Ok(decision),
                Err(overreach) => Err(Actual::fault(overreach.code(), &overreach)),
            },
            Err(fault) => Err(Actual::failed(&fault)),
        };
        let is_decided = own.is_ok();
        let denial = reads.denial().map(|denial| denial.finding());
        let mut masked = None;
        let (own, actual) = match (own, denial) {
            (Ok(own), denial) => {
                let mut decision = own.clone();
                decision.findings.extend(denial);
                (Some(own), Actual::Decision(decision))
            }
            (Err(Actual::Fault { code, .. }), Some(finding)) => {
                masked = Some(code);
                let findings = vec![finding];
                (None, Actual::Decision(Decision { findings, ..Decision::default() }))
            }
            (Err(actual), _) => (None, actual),
        };
        let trace = DataTrace::new(&reads, memory.as_ref(), masked, is_decided);
        Answered { actual, own, notes, spent, trace, transaction: memory, is_decided }
    }

    fn find(
        &self,
        plugin: &Plugin,
        call: &Call,
        view: &View<'_>,
        limit: u32,
        data: &TestData<'_>,
    ) -> Answered {
        let run = SharedRun::default();
        let page = Page { limit, after: None };
        let asked = retrying(|| {
            let services = self.services(self.reads, call, data, &run)?;
            Ok(plugin.find_with(view, &page, plugin.time(), services))
        });
        let Evaluation { outcome, notes, elapsed: spent, .. } = match asked {
            Ok(evaluation) => evaluation,
            Err(error) => return Answered::without_run(Actual::fault(NO_STORE, error)),
        };
        let RunData { reads, memory } = run.take();
        let actual = match outcome {
            // Where a table denies, nothing is found.
            _ if reads.denial().is_some() => Actual::Found(SearchPage::default()),
            Ok(found) => Actual::Found(found),
            Err(fault) => Actual::failed(&fault),
        };
        let trace = DataTrace::new(&reads, memory.as_ref(), None, true);
        let (own, transaction) = (None, None);
        Answered { actual, own, notes, spent, trace, transaction, is_decided: false }
    }

    /// Returns the host functions of one run of a call.
    ///
    /// # Errors
    /// The memory cannot be used.
    pub fn call_services(
        &self,
        call: &Call,
        data: &TestData<'_>,
    ) -> Result<CallServices, TestMemoryError> {
        self.services(self.reads, call, data, &SharedRun::default())
    }

    /// The same for a plugin that reads `reads`; `run` gets what the run reads and changes.
    fn services(
        &self,
        reads: &Reads,
        call: &Call,
        data: &TestData<'_>,
        run: &SharedRun,
    ) -> Result<CallServices, TestMemoryError> {
        let memory = data.memory.filter(|_| self.memory);
        let transaction = memory.map(|memory| memory.begin(call)).transpose()?;
        let access = DataAccess::of(Arc::clone(&data.tables));
        let functions = CallData::for_reads(&access, reads, self.memory, call, transaction, run);
        let functions = functions.map(|functions| Arc::new(functions) as _);
        Ok(CallServices { journal: self.journal, functions })
    }

    /// Returns the decision of the plugin if it read less.
    pub(crate) fn decide(
        &self,
        plugin: &Plugin,
        reads: &Reads,
        call: &Call,
        data: &TestData<'_>,
    ) -> Option<Decision> {
        let view = reads.view(call).ok()?;
        let run = SharedRun::default();
        let asked = retrying(|| {
            let services = self.services(reads, call, data, &run)?;
            Ok(plugin.evaluate_with(&view, plugin.time(), services))
        });
        asked.ok()?.outcome.ok()
    }
}

impl Answered {
    pub(crate) fn without_run(actual: Actual) -> Self {
        Self {
            actual,
            own: None,
            notes: Vec::new(),
            spent: Duration::ZERO,
            trace: DataTrace::default(),
            transaction: None,
            is_decided: false,
        }
    }
}

/// A plugin decides the same again: where a busy machine was late, it is asked again.
fn retrying<T>(
    mut ask: impl FnMut() -> Result<Evaluation<T>, TestMemoryError>,
) -> Result<Evaluation<T>, TestMemoryError> {
    let mut evaluation = ask()?;
    for _ in 1..TRIES {
        if !matches!(evaluation.outcome, Err(Fault::Deadline)) {
            break;
        }
        evaluation = ask()?;
    }
    Ok(evaluation)
}

/// How often a plugin is asked that was not done in its time.
const TRIES: usize = 3;

/// The code of a memory that cannot be used, as of a host's.
const NO_STORE: &str = "host-store-unavailable";
