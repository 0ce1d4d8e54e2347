//! What a suite reaches of what a plugin can see, say and be told to do.
//!
//! Invariant: counted is what plugins really said in calls that came to a decision, whether or not that was expected. A read counts as of
//! weight only where some decision came out otherwise without it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

use portcullis_engine::Plugin;
use portcullis_model::json::split_pointer;
use portcullis_model::{Call, Decision, Effect, Reads};
use serde_json::{Map, Value, json};

use crate::actual::Actual;
use crate::evaluate::{TestData, TestLimits};
use crate::format::{Aspect, CoverageText};
use crate::parse::SuiteError;
use crate::plan::{Plan, Step};
use crate::values::value;

/// What was reached.
pub struct Coverage {
    counts: BTreeMap<Aspect, Count>,
    demand: Vec<Aspect>,
}

struct Count {
    all: usize,
    /// What was not reached and is not excepted.
    missing: Vec<String>,
}

/// The author of the suite: it does not reach what it promises to.
pub struct Uncovered<'a> {
    aspect: Aspect,
    missing: &'a [String],
}

/// What was seen while cases ran.
#[derive(Default)]
pub(crate) struct Observed {
    hooks: BTreeSet<String>,
    codes: BTreeSet<String>,
    effects: BTreeSet<Effect>,
    changes: BTreeSet<String>,
    there: BTreeSet<String>,
    used_reads: BTreeSet<String>,
    measurements: usize,
    /// Every argument that a finding had: name and value.
    arguments: BTreeSet<(String, String)>,
    settings: BTreeSet<String>,
}

impl Observed {
    /// Notes what a case came to.
    pub fn note(&mut self, step: &Step, said: &Actual, settings: &str, terms: &TestLimits<'_>) {
        let Some(question) = &step.question else { return };
        let call = question.call();
        if let Actual::Found(_) = said {
            self.hooks.insert(call.hook.to_owned());
        }
        let Actual::Decision(decision) = said else { return };
        self.hooks.insert(call.hook.to_owned());
        self.settings.insert(settings.to_owned());
        for finding in &decision.findings {
            self.codes.insert(finding.code.clone());
            self.effects.insert(finding.effect);
            for argument in &finding.arguments {
                let text = match value(&argument.value) {
                    Value::String(text) => text,
                    other => other.to_string(),
                };
                self.arguments.insert((argument.name.clone().into(), text));
            }
        }
        if decision.findings.is_empty() {
            self.effects.insert(Effect::Abstain);
        }
        for change in &decision.changes {
            self.changes.extend(terms.emits.allowing(call.hook, change).map(str::to_owned));
        }
        self.there.extend(
            terms
                .reads
                .describe(call)
                .into_iter()
                .filter(|(_, there)| *there)
                .map(|(path, _)| path.to_owned()),
        );
    }

    /// Finds out which reads this decision rests on: asks again without each that is not yet known to be of weight.
    pub fn measure_reads(
        &mut self,
        plugin: &Plugin,
        (call, data): (&Call, &TestData<'_>),
        decision: &Decision,
        terms: &TestLimits<'_>,
        late: &dyn Fn() -> bool,
    ) {
        for path in terms.reads.paths() {
            if self.used_reads.contains(path)
                || !(self.there.contains(path) || path.starts_with(TABLES))
            {
                continue;
            }
            if self.measurements == MAX_MEASUREMENTS || late() {
                return;
            }
            self.measurements += 1;
            let others: Vec<_> =
                terms.reads.paths().iter().filter(|other| *other != path).cloned().collect();
            let Ok(less) = Reads::compile(&others, &[]) else { continue };
            if terms.decide(plugin, &less, call, data).as_ref() != Some(decision) {
                self.used_reads.insert(path.clone());
            }
        }
    }
}

impl Coverage {
    pub(crate) fn of(seen: &Observed, plan: &Plan, terms: &TestLimits<'_>) -> Self {
        let text = &plan.coverage;
        let mut counts = BTreeMap::new();
        let mut count = |aspect, all: Vec<(String, bool)>| {
            let missing =
                all.iter().filter(|(name, reached)| !reached && !text.except.contains(name));
            let missing = missing.map(|(name, _)| name.clone()).collect();
            counts.insert(aspect, Count { all: all.len(), missing });
        };
        let named = |name: &str, reached: bool| (name.to_owned(), reached);
        count(
            Aspect::Hooks,
            terms.hooks.iter().map(|hook| named(hook, seen.hooks.contains(hook))).collect(),
        );
        count(
            Aspect::Codes,
            terms.messages.codes().map(|code| named(code, seen.codes.contains(code))).collect(),
        );
        let effects = terms.emits.effects().iter();
        count(
            Aspect::Effects,
            effects.map(|effect| named(effect.name(), seen.effects.contains(effect))).collect(),
        );
        count(
            Aspect::Changes,
            terms.emits.changes().map(|it| named(it, seen.changes.contains(it))).collect(),
        );
        // Where there was no time to weigh them all, nobody is blamed.
        let weighed = seen.measurements < MAX_MEASUREMENTS;
        let read = |path: &String| {
            named(path, seen.used_reads.contains(path) || (!weighed && seen.there.contains(path)))
        };
        count(Aspect::Reads, terms.reads.paths().iter().map(read).collect());
        if let Some(rules) = &text.rules {
            let mut names = BTreeSet::new();
            for settings in plan
                .settings
                .iter()
                .filter(|(name, _)| seen.settings.contains(*name))
                .map(|(_, text)| text)
            {
                if let Ok(settings) = serde_json::from_str(settings) {
                    collect(
                        &settings,
                        &split_pointer(&rules.settings).unwrap_or_default(),
                        &mut names,
                    );
                }
            }
            let hit =
                |name: &String| seen.arguments.contains(&(rules.argument.clone(), name.clone()));
            count(Aspect::Rules, names.iter().map(|name| (name.clone(), hit(name))).collect());
        }
        Self { counts, demand: text.demand.clone() }
    }

    /// What the suite promises and does not reach.
    pub fn gaps(&self) -> impl Iterator<Item = Uncovered<'_>> {
        self.demand.iter().filter_map(|aspect| {
            let missing = self.counts.get(aspect)?.missing.as_slice();
            (!missing.is_empty()).then_some(Uncovered { aspect: *aspect, missing })
        })
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = "coverage\n".to_owned();
        for (aspect, count) in &self.counts {
            let reached = count.all - count.missing.len();
            let _ = write!(text, "  {:8} {reached} of {}", aspect.name(), count.all);
            if !count.missing.is_empty() {
                let word = if self.demand.contains(aspect) { "MISSING" } else { aspect.lack() };
                let _ = write!(text, "; {word}: {}", count.missing.join(", "));
            }
            text.push('\n');
        }
        text
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let count = |(aspect, count): (&Aspect, &Count)| {
            let value = json!({"all": count.all, "missing": count.missing, "demanded": self.demand.contains(aspect)});
            (aspect.name().to_owned(), value)
        };
        Value::Object(self.counts.iter().map(count).collect::<Map<_, _>>())
    }
}

impl fmt::Display for Uncovered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} without a case: {}", self.aspect.name(), self.missing.join(", "))
    }
}

impl CoverageText {
    pub(crate) fn check(&self) -> Result<(), SuiteError> {
        if self.demand.contains(&Aspect::Rules) && self.rules.is_none() {
            return Err(SuiteError::at(
                "coverage.demand",
                "it demands `rules`, but `coverage.rules` does not say where they are",
            ));
        }
        match &self.rules {
            Some(rules) if split_pointer(&rules.settings).is_none() => {
                Err(SuiteError::at("coverage.rules.settings", "it is not a JSON Pointer"))
            }
            _ => Ok(()),
        }
    }
}

impl Aspect {
    fn name(self) -> &'static str {
        match self {
            Self::Hooks => "hooks",
            Self::Codes => "codes",
            Self::Effects => "effects",
            Self::Changes => "changes",
            Self::Reads => "reads",
            Self::Rules => "rules",
        }
    }

    /// What it means that one is missing.
    fn lack(self) -> &'static str {
        match self {
            Self::Hooks => "never asked",
            Self::Codes | Self::Effects | Self::Changes => "never said",
            Self::Reads => "never of weight",
            Self::Rules => "never hit",
        }
    }
}

/// The texts at a pointer in which `*` stands for every element or member.
fn collect(value: &Value, tokens: &[std::borrow::Cow<'_, str>], names: &mut BTreeSet<String>) {
    let Some((token, rest)) = tokens.split_first() else {
        if let Value::String(name) = value {
            names.insert(name.clone());
        }
        return;
    };
    match (value, token.as_ref()) {
        (Value::Array(elements), "*") => {
            elements.iter().for_each(|element| collect(element, rest, names))
        }
        (Value::Object(members), "*") => {
            members.values().for_each(|member| collect(member, rest, names))
        }
        (Value::Array(elements), token) => {
            let element = token.parse::<usize>().ok().and_then(|index| elements.get(index));
            element.into_iter().for_each(|element| collect(element, rest, names));
        }
        (Value::Object(members), token) => {
            members.get(token).into_iter().for_each(|member| collect(member, rest, names));
        }
        _ => {}
    }
}

/// The beginning of a path that is a column of a table: not a part of the call.
const TABLES: &str = "tables.";

/// How often plugins are asked again to weigh their reads, in one suite.
const MAX_MEASUREMENTS: usize = 20_000;
