//! What came of a suite: for people, for programs, and as the snapshot that is kept beside it.
//!
//! Invariant: the snapshot depends on what the plugin said alone, not on time or machine.

use std::fmt::Write as _;
use std::time::Duration;

use portcullis_model::Millis;
use serde_json::{Value, json};

use crate::actual::Actual;
use crate::coverage::Coverage;
use crate::explain::Explanation;
use crate::trace::DataTrace;
use crate::values::time_text;

/// What came of a suite.
pub struct Report {
    /// Its name.
    pub suite: String,
    /// Case by case, in the suite's order.
    pub outcomes: Vec<Outcome>,
    /// What was reached, where that was counted.
    pub coverage: Option<Coverage>,
}

/// What came of one case.
pub struct Outcome {
    /// Its name.
    pub name: String,
    /// The name of its settings.
    pub settings: String,
    /// The hook kind and the clock of the call, where one was made.
    pub call: Option<(&'static str, Millis)>,
    /// What differs from what is expected; nothing where it passed.
    pub differences: Vec<String>,
    /// What came.
    pub actual: Actual,
    /// A decision, in words.
    pub explanation: Option<Explanation>,
    /// What was looked up and remembered.
    pub trace: DataTrace,
    /// The time of the call.
    pub spent: Duration,
}

impl Report {
    /// Whether every case came as expected, and everything is reached that the suite demands.
    pub fn passed(&self) -> bool {
        self.failed() == 0
            && self.coverage.as_ref().is_none_or(|coverage| coverage.gaps().next().is_none())
    }

    /// How many cases differ.
    pub fn failed(&self) -> usize {
        self.outcomes.iter().filter(|outcome| !outcome.passed()).count()
    }

    /// Whether there was no time to try every case.
    pub fn late(&self) -> bool {
        self.outcomes.iter().any(|outcome| matches!(outcome.actual, Actual::NotTried))
    }

    /// The first thing that is wrong, in a sentence.
    pub fn first_failure(&self) -> Option<String> {
        let case = self.outcomes.iter().find(|outcome| !outcome.passed());
        case.map(|outcome| format!("case `{}`: {}", outcome.name, outcome.differences.join("; ")))
            .or_else(|| {
                self.coverage.as_ref()?.gaps().next().map(|lack| format!("coverage: {lack}"))
            })
    }

    /// For people: what failed and why, what was reached, and a last line that counts.
    pub fn text(&self, all: bool) -> String {
        let mut text = String::new();
        for outcome in self.outcomes.iter().filter(|outcome| all || !outcome.passed()) {
            let word = if outcome.passed() { "ok    " } else { "FAILED" };
            let _ = writeln!(text, "{word} {}", outcome.name);
            for difference in &outcome.differences {
                let _ = writeln!(text, "         {difference}");
            }
            if !outcome.passed() {
                text.push_str(
                    &outcome
                        .explanation
                        .as_ref()
                        .map(|it| it.text("         | "))
                        .unwrap_or_default(),
                );
                text.push_str(&outcome.trace.text("         | "));
            }
        }
        if let Some(coverage) = &self.coverage {
            text.push_str(&coverage.text());
        }
        let (cases, failed) = (self.outcomes.len(), self.failed());
        let _ = write!(
            text,
            "{}: {cases} cases, {} passed, {failed} failed",
            self.suite,
            cases - failed
        );
        text
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let outcome = |outcome: &Outcome| {
            let micros = u64::try_from(outcome.spent.as_micros()).unwrap_or(u64::MAX);
            json!({
                "name": outcome.name, "passed": outcome.passed(), "settings": outcome.settings,
                "differences": outcome.differences, "micros": micros,
                "decision": outcome.explanation.as_ref().map(Explanation::json),
                "data": outcome.trace.json(),
            })
        };
        json!({
            "suite": self.suite, "passed": self.passed(), "cases": self.outcomes.len(), "failed": self.failed(),
            "outcomes": self.outcomes.iter().map(outcome).collect::<Vec<_>>(),
            "coverage": self.coverage.as_ref().map(Coverage::json),
        })
    }

    /// What is kept beside the suite: every explanation, whole.
    pub fn snapshot(&self) -> String {
        let mut text = format!("# {}\n", self.suite);
        for outcome in &self.outcomes {
            let _ = writeln!(text, "\n## {}\n", outcome.name);
            if let Some((hook, received)) = outcome.call {
                let _ = writeln!(text, "    call     {hook} at {}", time_text(received));
            }
            if !outcome.settings.is_empty() {
                let _ = writeln!(text, "    settings {}", outcome.settings);
            }
            match (&outcome.explanation, &outcome.actual) {
                (Some(explanation), _) => text.push_str(&explanation.text("    ")),
                (None, Actual::Found(found)) => {
                    for result in &found.results {
                        let id = result.id.as_deref().unwrap_or_default();
                        let _ = writeln!(text, "    found    {} {id}", result.type_name);
                    }
                }
                (None, Actual::Refused(complaints)) => {
                    for complaint in complaints {
                        let _ = writeln!(text, "    refused  {complaint}");
                    }
                }
                (None, Actual::Fault { code, .. }) => {
                    let _ = writeln!(text, "    fault    {code}");
                }
                (None, said) => {
                    let _ = writeln!(text, "    {}", said.what());
                }
            }
            text.push_str(&outcome.trace.text("    "));
        }
        text
    }
}

impl Outcome {
    /// Whether it came as expected.
    pub fn passed(&self) -> bool {
        self.differences.is_empty()
    }
}
