//! From a suite to single cases: every name looked up, every matrix multiplied out, every payload read.
//!
//! Invariant: a plan has no open ends. A name that is none, a row that fits nothing, a combination of which nothing is expected and a payload
//! that is no request are refused here, by path, before any plugin runs.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_hooks::HookKind;
use serde_json::Value;

use crate::call::{TestCall, edited, from_model, lookup};
use crate::expect::Expect;
use crate::format::{CallText, CaseText, CoverageText, ExpectText, MatrixText, Suite};
use crate::parse::SuiteError;
use crate::values::{self, Names};

/// Cases, ready to be tried.
pub struct Plan {
    pub(crate) name: String,
    /// By name; `{}` under [`NO_SETTINGS`].
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) cases: Vec<Case>,
    pub(crate) coverage: CoverageText,
}

/// One question and what is expected.
pub(crate) struct Case {
    pub name: String,
    /// The name of the settings.
    pub settings: String,
    /// Nothing where the settings are to be refused.
    pub question: Option<TestCall>,
    pub expect: Expect,
}

impl Plan {
    /// How many cases there are.
    pub fn cases(&self) -> usize {
        self.cases.len()
    }
}

impl Suite {
    /// Most cases, matrices multiplied out.
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
        let mut planner = Planner { suite: self, cases: Vec::new(), names: BTreeSet::new() };
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

/// What is chosen for one case beside its call.
#[derive(Clone, Copy, Default)]
struct Choice<'a> {
    call: Option<&'a str>,
    principal: Option<&'a str>,
    action: Option<&'a str>,
    resource: Option<&'a str>,
    received: Option<&'a str>,
    settings: Option<&'a str>,
}

struct Planner<'a> {
    suite: &'a Suite,
    cases: Vec<Case>,
    names: BTreeSet<String>,
}

impl<'a> Planner<'a> {
    fn case(&mut self, path: &str, case: &'a CaseText) -> Result<(), SuiteError> {
        let choice = Choice {
            call: case.call.as_deref(),
            principal: case.principal.as_deref(),
            action: case.action.as_deref(),
            resource: case.resource.as_deref(),
            received: case.received.as_deref(),
            settings: case.settings.as_deref(),
        };
        self.add(path, case.name.clone(), choice, case.with.as_ref(), &case.set, &case.expect)
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
                                self.add(
                                    path,
                                    name,
                                    choice,
                                    matrix.with.as_ref(),
                                    &matrix.set,
                                    expect,
                                )?;
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

    fn add(
        &mut self,
        path: &str,
        name: String,
        choice: Choice<'a>,
        with: Option<&CallText>,
        set: &BTreeMap<String, Value>,
        expect: &ExpectText,
    ) -> Result<(), SuiteError> {
        if self.cases.len() == Suite::MAX_CASES {
            return Err(SuiteError::at(
                path,
                format!("there are more than {} cases", Suite::MAX_CASES),
            ));
        }
        if name.trim().is_empty() || !self.names.insert(name.clone()) {
            return Err(SuiteError::at(
                &format!("{path}.name"),
                format!("`{name}` is empty or is there twice"),
            ));
        }
        let settings = self.settings(path, choice.settings)?;
        let expect = Expect::compile(&format!("{path}.expect"), expect)?;
        // Where the settings are refused there is nobody to ask.
        let question = if expect.refused.is_some() {
            None
        } else {
            Some(self.question(path, choice, with, set)?)
        };
        self.cases.push(Case { name, settings, question, expect });
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

    fn question(
        &self,
        path: &str,
        choice: Choice<'a>,
        with: Option<&CallText>,
        set: &BTreeMap<String, Value>,
    ) -> Result<TestCall, SuiteError> {
        let (suite, defaults) = (self.suite, &self.suite.defaults);
        let mut text = match choice.call.or(defaults.call.as_deref()) {
            Some(name) => lookup(&suite.calls, path, "call", name)?.clone(),
            None => CallText::default(),
        };
        if let Some(with) = with {
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
        let clock = text.received.as_ref().or(defaults.received.as_ref());
        let clock = clock.ok_or_else(|| {
            SuiteError::at(path, "it has no `received`, and the defaults have none either")
        })?;
        let received = values::time(clock).ok_or_else(|| {
            SuiteError::at(
                &format!("{path}.received"),
                format!("`{clock}` is not a time; write it as `2026-11-25T10:00:00Z`"),
            )
        })?;
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

impl<'a> Choice<'a> {
    fn name(&self, matrix: &str) -> String {
        let parts =
            [self.call, self.principal, self.action, self.resource, self.received, self.settings];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        if parts.is_empty() { matrix.to_owned() } else { format!("{matrix}: {}", parts.join(", ")) }
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
