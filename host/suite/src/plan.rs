//! From a suite to single cases: every name looked up, every matrix multiplied out, every payload read.
//!
//! Invariant: a plan has no open ends. A name that is none, a row that fits nothing, a combination of which nothing is expected and a payload
//! that is no request are refused here, by path, before any plugin runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portcullis_hooks::HookKind;
use portcullis_model::Millis;
use portcullis_store::memory::ImportItem;
use portcullis_store::tables::CurrentTables;

use crate::call::{TestCall, edited, from_model, lookup};
use crate::call_text::CallText;
use crate::draft::{Choice, Draft, DraftedCall};
use crate::expect::Expect;
use crate::format::{CaseText, CoverageText, ExpectText, MatrixText, Suite};
use crate::memory_fixture;
use crate::parse::SuiteError;
use crate::tables::TestTables;
use crate::values::{self, Names};

/// Cases, ready to be tried.
pub struct Plan {
    pub(crate) name: String,
    /// By name; `{}` under [`NO_SETTINGS`].
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) cases: Vec<Case>,
    pub(crate) coverage: CoverageText,
}

/// Calls that share a memory.
pub(crate) struct Case {
    /// The name of the settings.
    pub settings: String,
    /// What is in memory before.
    pub memory: Vec<ImportItem>,
    pub steps: Vec<Step>,
}

/// One question and what is expected.
pub(crate) struct Step {
    pub name: String,
    /// Nothing where the settings are to be refused.
    pub question: Option<TestCall>,
    /// The tables that it sees.
    pub tables: Arc<CurrentTables>,
    pub expect: Expect,
}

impl Plan {
    /// How many cases there are; each step of a case counts.
    pub fn cases(&self) -> usize {
        self.cases.iter().map(|case| case.steps.len()).sum()
    }
}

impl Suite {
    /// Most cases and steps, matrices multiplied out.
    pub const MAX_CASES: usize = 2_000;

    /// Most settings: a plugin is compiled for each.
    pub const MAX_SETTINGS: usize = 32;

    /// Makes single cases of it. Resolve it first.
    ///
    /// # Errors
    /// [`SuiteError`], with the path of what does not fit.
    pub fn plan(&self) -> Result<Plan, SuiteError> {
        if self.settings.len() > Self::MAX_SETTINGS {
            return Err(SuiteError::at(
                "settings",
                format!("there are more than {}", Self::MAX_SETTINGS),
            ));
        }
        let mut settings = BTreeMap::new();
        for (name, source) in &self.settings {
            if source.file.is_some() {
                return Err(SuiteError::at(
                    &format!("settings.{name}"),
                    "it names a file, but a bundle must hold everything itself",
                ));
            }
            settings.insert(name.clone(), source.content());
        }
        let tables = TestTables::new(&self.tables)?;
        let (cases, names) = (Vec::new(), BTreeSet::new());
        let mut planner = Planner { suite: self, tables, cases, names, calls: 0 };
        for (index, case) in self.cases.iter().enumerate() {
            planner.case(&format!("case[{index}]"), case)?;
        }
        for (index, matrix) in self.matrices.iter().enumerate() {
            planner.matrix(&format!("matrix[{index}]"), matrix)?;
        }
        if planner.cases.is_empty() {
            return Err(SuiteError::whole("it does not have a case"));
        }
        let cases = planner.cases;
        if cases.iter().any(|case| case.settings == NO_SETTINGS) {
            settings.entry(NO_SETTINGS.to_owned()).or_insert_with(|| "{}".to_owned());
        }
        self.coverage.check()?;
        Ok(Plan { name: self.name.clone(), settings, cases, coverage: self.coverage.clone() })
    }
}

struct Planner<'a> {
    suite: &'a Suite,
    tables: TestTables,
    cases: Vec<Case>,
    names: BTreeSet<String>,
    /// Cases and steps so far.
    calls: usize,
}

impl<'a> Planner<'a> {
    fn case(&mut self, path: &str, case: &'a CaseText) -> Result<(), SuiteError> {
        self.add(path, case.name.clone(), Draft::of_case(path, case)?)
    }

    fn matrix(&mut self, path: &str, matrix: &'a MatrixText) -> Result<(), SuiteError> {
        let rows = &matrix.expect;
        for (index, row) in rows.iter().enumerate() {
            for (axis, names, axes) in [
                ("call", &row.call, &matrix.calls),
                ("principal", &row.principal, &matrix.principals),
                ("action", &row.action, &matrix.actions),
                ("resource", &row.resource, &matrix.resources),
                ("received", &row.received, &matrix.received),
                ("settings", &row.settings, &matrix.settings),
            ] {
                if let Some(name) = names.0.iter().find(|name| !axes.contains(name)) {
                    let path = format!("{path}.expect[{index}].{axis}");
                    return Err(SuiteError::at(&path, format!("the matrix has no `{name}`")));
                }
            }
        }
        let mut used = vec![false; rows.len()];
        for call in each(&matrix.calls) {
            for principal in each(&matrix.principals) {
                for action in each(&matrix.actions) {
                    for resource in each(&matrix.resources) {
                        for received in each(&matrix.received) {
                            for settings in each(&matrix.settings) {
                                let choice = Choice {
                                    call,
                                    principal,
                                    action,
                                    resource,
                                    received,
                                    settings,
                                };
                                let expect = row(matrix, &choice, &mut used);
                                let name = choice.name(&matrix.name);
                                let expect = expect.ok_or_else(|| {
                                    SuiteError::at(
                                        path,
                                        format!(
                                            "`{name}` has no expectation, and there is no \
                                             `otherwise`"
                                        ),
                                    )
                                })?;
                                let draft = Draft::of_combination(path, matrix, choice, expect);
                                self.add(path, name, draft)?;
                            }
                        }
                    }
                }
            }
        }
        match used.iter().position(|used| !used) {
            Some(index) => Err(SuiteError::at(
                &format!("{path}.expect[{index}]"),
                "earlier rows match everything that this row matches",
            )),
            None => Ok(()),
        }
    }

    fn add(&mut self, path: &str, name: String, draft: Draft<'a>) -> Result<(), SuiteError> {
        if name.trim().is_empty() || !self.names.insert(name.clone()) {
            return Err(SuiteError::at(
                &format!("{path}.name"),
                format!("`{name}` is empty or is there twice"),
            ));
        }
        let settings = self.settings(path, draft.settings)?;
        if draft.has_steps {
            // What is wrong here is not the steps'.
            self.tables.with(draft.tables, path)?;
        }
        let mut clock = None;
        let mut steps = Vec::new();
        for call in draft.calls {
            self.calls += 1;
            if self.calls > Suite::MAX_CASES {
                let what = format!("there are more than {} cases and steps", Suite::MAX_CASES);
                return Err(SuiteError::at(path, what));
            }
            let path = call.path.as_str();
            let expect = Expect::compile(&format!("{path}.expect"), call.expect)?;
            if expect.refused.is_some() && (draft.has_steps || !draft.memory.is_empty()) {
                let what = "where settings are refused there is no call; write a case with neither \
                            `steps` nor `memory`";
                return Err(SuiteError::at(&format!("{path}.expect.refused"), what));
            }
            // Where the settings are refused there is nobody to ask.
            let question = if expect.refused.is_some() {
                None
            } else {
                Some(self.question(&call, &mut clock)?)
            };
            let tables = match call.tables.is_empty() {
                true => self.tables.current(),
                false => self.tables.with(&call.tables, path)?,
            };
            let name = call.name(&name);
            steps.push(Step { name, question, tables, expect });
        }
        let first = steps.first().and_then(|step| step.question.as_ref());
        let memory = match first.map(TestCall::call) {
            Some(call) if !draft.memory.is_empty() => {
                memory_fixture::items(path, draft.memory, call)?
            }
            _ => Vec::new(),
        };
        self.cases.push(Case { settings, memory, steps });
        Ok(())
    }

    fn settings(&self, path: &str, chosen: Option<&str>) -> Result<String, SuiteError> {
        let suite = self.suite;
        let default = || suite.settings.contains_key(DEFAULT_SETTINGS).then_some(DEFAULT_SETTINGS);
        match chosen.or(suite.defaults.settings.as_deref()).or_else(default) {
            None => Ok(NO_SETTINGS.to_owned()),
            Some(name) if suite.settings.contains_key(name) => Ok(name.to_owned()),
            Some(name) => Err(SuiteError::at(
                &format!("{path}.settings"),
                format!("there are no settings `{name}`"),
            )),
        }
    }

    fn received(&self, path: &str, text: &CallText) -> Result<Millis, SuiteError> {
        let clock = text.received.as_ref().or(self.suite.defaults.received.as_ref());
        let clock = clock.ok_or_else(|| {
            SuiteError::at(path, "it has no `received`, and the defaults have none either")
        })?;
        values::time(clock).ok_or_else(|| {
            SuiteError::at(
                &format!("{path}.received"),
                format!("`{clock}` is not a time; write it as `2026-11-25T10:00:00Z`"),
            )
        })
    }

    /// Makes a call. `clock` is the time of the call before it in the same case.
    fn question(
        &self,
        draft: &DraftedCall<'a>,
        clock: &mut Option<Millis>,
    ) -> Result<TestCall, SuiteError> {
        let (suite, defaults) = (self.suite, &self.suite.defaults);
        let (path, choice, set) = (draft.path.as_str(), draft.choice, &draft.set);
        let mut text = match choice.call.or(defaults.call.as_deref()) {
            Some(name) => lookup(&suite.calls, path, "call", name)?.clone(),
            None => CallText::default(),
        };
        for with in &draft.with {
            text = text.with_defaults(with);
        }
        let own = |chosen: Option<&str>, member: &mut Option<String>| {
            if let Some(chosen) = chosen {
                *member = Some(chosen.to_owned());
            }
        };
        own(choice.principal, &mut text.subject);
        own(choice.action, &mut text.action);
        own(choice.resource, &mut text.resource);
        own(choice.received, &mut text.received);
        let hook = text.hook.as_ref().or(defaults.hook.as_ref());
        let hook = hook.ok_or_else(|| {
            SuiteError::at(path, "it has no `hook`, and the defaults have none either")
        })?;
        let kind = HookKind::from_name(hook);
        let kind = kind.ok_or_else(|| {
            SuiteError::at(&format!("{path}.hook"), format!("there is no hook kind `{hook}`"))
        })?;
        let before = match *clock {
            Some(before) => before,
            None => self.received(path, &text)?,
        };
        let received = Millis(before.0.saturating_add(draft.after.millis()));
        *clock = Some(received);
        let seed = text.seed.or(defaults.seed).unwrap_or_default();
        let mut question = match &text.payload {
            Some(name) => {
                let payload = lookup(&suite.payloads, path, "payload", name)?;
                if payload.file.is_some() {
                    return Err(SuiteError::at(
                        &format!("payloads.{name}"),
                        "it names a file, but a bundle must hold everything itself",
                    ));
                }
                let body = edited(payload.content(), set)
                    .map_err(|what| SuiteError::at(&format!("{path}.set"), what))?;
                text.posted(path, kind, received, seed, body.as_bytes())?
            }
            None if set.is_empty() => from_model(self.suite, path, &text, kind, received, seed)?,
            None => {
                return Err(SuiteError::at(
                    &format!("{path}.set"),
                    "there is no payload to put it into",
                ));
            }
        };
        if let Some(proposed) = &text.proposed {
            let mut changes = Vec::new();
            for (index, change) in proposed.iter().enumerate() {
                let change = change.change();
                changes.push(
                    change.map_err(|what| {
                        SuiteError::at(&format!("{path}.proposed[{index}]"), what)
                    })?,
                );
            }
            match &mut question {
                TestCall::Evaluate(incoming) | TestCall::Search(incoming, _) => {
                    incoming.call.proposed = changes
                }
            }
        }
        Ok(question)
    }
}

/// Each name of an axis, or nothing once where it has none.
fn each(names: &[String]) -> Vec<Option<&str>> {
    if names.is_empty() {
        vec![None]
    } else {
        names.iter().map(|name| Some(name.as_str())).collect()
    }
}

/// What is expected of a combination: of the first row that fits.
fn row<'a>(
    matrix: &'a MatrixText,
    choice: &Choice<'_>,
    used: &mut [bool],
) -> Option<&'a ExpectText> {
    let fits = |names: &Names, chosen: Option<&str>| names.fit(chosen);
    for (row, used) in matrix.expect.iter().zip(used) {
        if fits(&row.call, choice.call)
            && fits(&row.principal, choice.principal)
            && fits(&row.action, choice.action)
            && fits(&row.resource, choice.resource)
            && fits(&row.received, choice.received)
            && fits(&row.settings, choice.settings)
        {
            *used = true;
            return Some(&row.then);
        }
    }
    matrix.otherwise.as_ref()
}

/// The settings of cases that choose none.
pub(crate) const DEFAULT_SETTINGS: &str = "default";
/// What settings are called where a suite has none; no name of its own can be that.
pub(crate) const NO_SETTINGS: &str = "";
