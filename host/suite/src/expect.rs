//! What is expected, and how what came differs from it.
//!
//! Invariant: an expectation always says something, and a change that nobody expected is a difference. Differences are told in the words of the
//! format.

use portcullis_model::{Change, Decision, Effect, Finding, SearchPage};

use crate::actual::Actual;
use crate::format::ExpectText;
use crate::memory_fixture::MemoryExpect;
use crate::parse::SuiteError;
use crate::values::{FindingTable, change_text, finding_text, value};

/// What is expected of one case.
#[derive(Default)]
pub(crate) struct Expect {
    verdict: Option<Effect>,
    findings: Option<Vec<FindingTable>>,
    changes: Vec<Change>,
    risk: Option<u8>,
    found: Option<Vec<String>>,
    fault: Option<String>,
    pub refused: Option<Vec<String>>,
    /// What is in memory after the call.
    pub memory: MemoryExpect,
}

impl Expect {
    /// Compiles it.
    pub fn compile(path: &str, text: &ExpectText) -> Result<Self, SuiteError> {
        let memory = MemoryExpect::compile(path, &text.remembers, &text.counts)?;
        let fails = text.found.is_some() || text.fault.is_some() || text.refused.is_some();
        let decides = text.verdict.is_some()
            || text.findings.is_some()
            || text.changes.is_some()
            || text.risk.is_some()
            || (!memory.is_empty() && !fails);
        if text.refused.is_some() && !memory.is_empty() {
            let what = "where settings are refused, nothing is called and nothing remembered";
            return Err(SuiteError::at(path, what));
        }
        let ways = [decides, text.found.is_some(), text.fault.is_some(), text.refused.is_some()];
        match ways.into_iter().filter(|way| *way).count() {
            1 => {}
            0 => return Err(SuiteError::at(path, "it does not expect anything")),
            _ => {
                return Err(SuiteError::at(
                    path,
                    "a decision, `found`, `fault` and `refused` exclude each other",
                ));
            }
        }
        if text.refused.as_ref().is_some_and(Vec::is_empty) {
            return Err(SuiteError::at(
                &format!("{path}.refused"),
                "it does not name what the settings should be refused for",
            ));
        }
        let mut changes = Vec::new();
        for (index, change) in text.changes.iter().flatten().enumerate() {
            let change = change.change();
            changes.push(
                change.map_err(|what| SuiteError::at(&format!("{path}.changes[{index}]"), what))?,
            );
        }
        let findings =
            text.findings.as_ref().map(|findings| findings.iter().map(|it| it.0.clone()).collect());
        Ok(Self {
            verdict: text.verdict,
            findings,
            changes,
            risk: text.risk,
            found: text.found.clone(),
            fault: text.fault.clone(),
            refused: text.refused.clone(),
            memory,
        })
    }

    /// What differs, a sentence each; nothing where all is as expected.
    pub fn differences(&self, said: &Actual) -> Vec<String> {
        match (said, &self.refused, &self.fault, &self.found) {
            (Actual::Refused(complaints), Some(wanted), ..) => wanted
                .iter()
                .filter(|wanted| !complaints.iter().any(|complaint| complaint.contains(*wanted)))
                .map(|wanted| {
                    format!(
                        "refused: expected `{wanted}` in what the plugin says about the \
                         settings: {}",
                        complaints.join("; ")
                    )
                })
                .collect(),
            (Actual::Fault { code, detail }, None, Some(wanted), _) => match code == wanted {
                true => Vec::new(),
                false => vec![format!("fault: expected `{wanted}`, but it is `{code}` ({detail})")],
            },
            (Actual::Found(found), None, None, Some(wanted)) => found_differences(wanted, found),
            (Actual::Decision(decision), None, None, None) => self.decision_differences(decision),
            (said, ..) => vec![format!("expected {}, but there is {}", self.what(), said.what())],
        }
    }

    fn what(&self) -> &'static str {
        match (&self.refused, &self.fault, &self.found) {
            (Some(_), ..) => "refused settings",
            (_, Some(_), _) => "a failure",
            (.., Some(_)) => "search results",
            _ => "a decision",
        }
    }

    fn decision_differences(&self, decision: &Decision) -> Vec<String> {
        let mut differences = Vec::new();
        if let Some(verdict) = self.verdict.filter(|verdict| *verdict != decision.verdict()) {
            differences.push(format!(
                "verdict: expected {}, but it is {}",
                verdict.name(),
                decision.verdict().name()
            ));
        }
        if let Some(wanted) = &self.findings {
            let mut left: Vec<&Finding> = decision.findings.iter().collect();
            // Those that say most are looked for first, so that a bare code does not take what another one needs.
            let mut order: Vec<_> = wanted.iter().collect();
            order.sort_by_key(|finding| std::cmp::Reverse(weight(finding)));
            for wanted in order {
                match left.iter().position(|finding| fits(wanted, finding)) {
                    Some(index) => drop(left.remove(index)),
                    None => differences
                        .push(format!("findings: expected {}, but it is missing", spelled(wanted))),
                }
            }
            for finding in left {
                differences.push(format!("findings: {} was not expected", finding_text(finding)));
            }
        }
        let mut left: Vec<&Change> = decision.changes.iter().collect();
        for wanted in &self.changes {
            match left.iter().position(|change| same(wanted, change)) {
                Some(index) => drop(left.remove(index)),
                None => differences
                    .push(format!("changes: expected {}, but it is missing", change_text(wanted))),
            }
        }
        for change in left {
            differences.push(format!("changes: {} was not expected", change_text(change)));
        }
        if self.risk.is_some() && self.risk != decision.risk {
            let risk =
                |risk: Option<u8>| risk.map_or_else(|| "none".to_owned(), |risk| risk.to_string());
            differences.push(format!(
                "risk: expected {}, but it is {}",
                risk(self.risk),
                risk(decision.risk)
            ));
        }
        differences
    }
}

fn found_differences(wanted: &[String], found: &SearchPage) -> Vec<String> {
    let found: Vec<_> =
        found.results.iter().map(|result| result.id.as_deref().unwrap_or_default()).collect();
    match found == wanted {
        true => Vec::new(),
        false => vec![format!(
            "found: expected [{}], but it is [{}]",
            wanted.join(", "),
            found.join(", ")
        )],
    }
}

fn weight(finding: &FindingTable) -> usize {
    let members = [finding.effect.is_some(), finding.severity.is_some(), finding.field.is_some()];
    members.into_iter().filter(|given| *given).count() + finding.arguments.len()
}

fn fits(wanted: &FindingTable, finding: &Finding) -> bool {
    let argument = |(name, wanted): (&String, &serde_json::Value)| {
        finding
            .arguments
            .iter()
            .any(|argument| argument.name == **name && value(&argument.value) == *wanted)
    };
    wanted.code == finding.code
        && wanted.effect.is_none_or(|effect| effect == finding.effect)
        && wanted.severity.is_none_or(|severity| severity == finding.severity)
        && wanted.field.as_ref().is_none_or(|field| Some(field) == finding.field.as_ref())
        && wanted.arguments.iter().all(argument)
}

/// Whether two changes are the same, however their JSON is spelled.
fn same(one: &Change, other: &Change) -> bool {
    change_text(one) == change_text(other)
}

fn spelled(finding: &FindingTable) -> String {
    let mut text = finding.code.clone();
    if let Some(effect) = finding.effect {
        text.push_str(&format!(" {}", effect.name()));
    }
    if let Some(severity) = finding.severity {
        text.push_str(&format!(" {}", severity.name()));
    }
    for (name, value) in &finding.arguments {
        text.push_str(&format!(" {name}={value}"));
    }
    if let Some(field) = &finding.field {
        text.push_str(&format!(" field={field}"));
    }
    text
}
