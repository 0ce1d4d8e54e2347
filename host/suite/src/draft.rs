//! The calls of a case before names are looked up: the names that are chosen for each, and the
//! place that chooses them.
//!
//! Invariant: a step is as its case says wherever it says nothing itself, and a case without steps
//! is one call.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::call_text::CallText;
use crate::fixture_text::{MemoryText, TableStateText};
use crate::format::{CaseText, ExpectText, MatrixText, StepText};
use crate::parse::SuiteError;
use crate::seconds::Seconds;

/// The names that are chosen for one call.
#[derive(Clone, Copy, Default)]
pub(crate) struct Choice<'a> {
    pub call: Option<&'a str>,
    pub principal: Option<&'a str>,
    pub action: Option<&'a str>,
    pub resource: Option<&'a str>,
    pub received: Option<&'a str>,
    pub settings: Option<&'a str>,
}

/// A case: its calls, and what they share.
pub(crate) struct Draft<'a> {
    pub settings: Option<&'a str>,
    pub memory: &'a [MemoryText],
    /// Of the case; each call has them too.
    pub tables: &'a BTreeMap<String, TableStateText>,
    pub has_steps: bool,
    pub calls: Vec<DraftedCall<'a>>,
}

/// One call.
pub(crate) struct DraftedCall<'a> {
    /// Where it is said.
    pub path: String,
    /// Of a step: its number from 1, and its own name.
    step: Option<(usize, &'a str)>,
    /// The time that passes before it.
    pub after: Seconds,
    pub choice: Choice<'a>,
    /// Members of the call that differ, the last of which hold.
    pub with: Vec<&'a CallText>,
    pub set: BTreeMap<String, Value>,
    pub tables: BTreeMap<String, TableStateText>,
    pub expect: &'a ExpectText,
}

impl<'a> Choice<'a> {
    /// The name of a combination.
    pub fn name(&self, matrix: &str) -> String {
        let parts =
            [self.call, self.principal, self.action, self.resource, self.received, self.settings];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        if parts.is_empty() { matrix.to_owned() } else { format!("{matrix}: {}", parts.join(", ")) }
    }
}

impl<'a> Draft<'a> {
    /// Of a case, or of the steps of one.
    pub fn of_case(path: &str, case: &'a CaseText) -> Result<Self, SuiteError> {
        let choice = Choice {
            call: case.call.as_deref(),
            principal: case.principal.as_deref(),
            action: case.action.as_deref(),
            resource: case.resource.as_deref(),
            received: case.received.as_deref(),
            settings: case.settings.as_deref(),
        };
        let whole = |expect: &'a ExpectText| DraftedCall {
            path: path.to_owned(),
            step: None,
            after: Seconds::default(),
            choice,
            with: case.with.iter().collect(),
            set: case.set.clone(),
            tables: case.tables.clone(),
            expect,
        };
        let calls = match (&case.expect, case.steps.as_slice()) {
            (Some(expect), []) => vec![whole(expect)],
            (None, []) => {
                return Err(SuiteError::at(path, "it has neither `expect` nor `steps`"));
            }
            (Some(_), _) => {
                let what = "a case with `steps` has none; write it into its steps";
                return Err(SuiteError::at(&format!("{path}.expect"), what));
            }
            (None, steps) => {
                let drafted = steps.iter().enumerate();
                let drafted = drafted.map(|(index, step)| whole(&step.expect).step(index, step));
                drafted.collect::<Result<_, _>>()?
            }
        };
        let (settings, has_steps) = (choice.settings, !case.steps.is_empty());
        let (memory, tables) = (case.memory.as_slice(), &case.tables);
        Ok(Self { settings, memory, tables, has_steps, calls })
    }

    /// Of one combination of a matrix.
    pub fn of_combination(
        path: &str,
        matrix: &'a MatrixText,
        choice: Choice<'a>,
        expect: &'a ExpectText,
    ) -> Self {
        let call = DraftedCall {
            path: path.to_owned(),
            step: None,
            after: Seconds::default(),
            choice,
            with: matrix.with.iter().collect(),
            set: matrix.set.clone(),
            tables: matrix.tables.clone(),
            expect,
        };
        let (settings, memory) = (choice.settings, matrix.memory.as_slice());
        let tables = &matrix.tables;
        Self { settings, memory, tables, has_steps: false, calls: vec![call] }
    }
}

impl<'a> DraftedCall<'a> {
    /// The full name, of the case's.
    pub fn name(&self, case: &str) -> String {
        match self.step {
            None => case.to_owned(),
            Some((number, "")) => format!("{case}, step {number}"),
            Some((number, own)) => format!("{case}, step {number}: {own}"),
        }
    }

    fn step(mut self, index: usize, step: &'a StepText) -> Result<Self, SuiteError> {
        self.path = format!("{}.steps[{index}]", self.path);
        if step.with.as_ref().is_some_and(|with| with.received.is_some()) {
            let what = "a step comes some time after the one before; write `after`";
            return Err(SuiteError::at(&format!("{}.with.received", self.path), what));
        }
        self.step = Some((index + 1, step.name.as_str()));
        self.after = step.after.unwrap_or_default();
        let choice = &mut self.choice;
        choice.call = step.call.as_deref().or(choice.call);
        choice.principal = step.principal.as_deref().or(choice.principal);
        choice.action = step.action.as_deref().or(choice.action);
        choice.resource = step.resource.as_deref().or(choice.resource);
        self.with.extend(&step.with);
        self.set.extend(step.set.clone());
        self.tables.extend(step.tables.clone());
        Ok(self)
    }
}
