//! A decision in words: what was found and said to whom, what was changed, and what the plugin saw of the call and did not see.
//!
//! Invariant: messages are filled as the host fills them, so a plugin that sees a secret has its messages filled with nothing; of what a
//! plugin read, paths are named and never what stands there.

use std::fmt::Write as _;

use portcullis_model::escape::escape;
use portcullis_model::{Call, Decision, Effect, Finding, Severity};
use serde_json::{Map, Value, json};

use crate::evaluate::TestLimits;
use crate::values::{change_text, finding_line, value};

/// A decision in words.
pub struct Explanation {
    /// The strictest effect.
    pub verdict: Effect,
    /// What was found.
    pub findings: Vec<ExplainedFinding>,
    /// What is to be changed, a line each.
    pub changes: Vec<String>,
    /// How risky, 0 to 100.
    pub risk: Option<u8>,
    /// What the plugin reads and the call had.
    pub saw: Vec<String>,
    /// What the plugin reads and the call had not.
    pub absent: Vec<String>,
    /// What the call had and the plugin does not read.
    pub kept: Vec<String>,
}

/// A finding, with its message in every language that there is.
pub struct ExplainedFinding {
    /// The code.
    pub code: String,
    /// How strict.
    pub effect: Effect,
    /// How bad.
    pub severity: Severity,
    /// What fills the message.
    pub arguments: Vec<(String, Value)>,
    /// Which form field it is about.
    pub field: Option<String>,
    /// Language and text.
    pub texts: Vec<(String, String)>,
}

impl Explanation {
    /// Of a decision on a call.
    pub fn of(terms: &TestLimits<'_>, call: &Call, decision: &Decision) -> Self {
        let secret = terms.reads.sees_secret(call);
        let told = terms.reads.describe(call);
        let paths = |wanted: bool| {
            told.iter()
                .filter(move |(_, there)| *there == wanted)
                .map(|(path, _)| (*path).to_owned())
        };
        let mut changes: Vec<_> = decision.changes.iter().map(change_text).collect();
        changes.sort();
        Self {
            verdict: decision.verdict(),
            findings: decision
                .findings
                .iter()
                .map(|finding| ExplainedFinding::of(terms, finding, secret))
                .collect(),
            changes,
            risk: decision.risk,
            saw: paths(true).collect(),
            absent: paths(false).collect(),
            kept: terms.reads.withheld(call),
        }
    }

    /// For people, each line indented by this much.
    pub fn text(&self, indent: &str) -> String {
        let mut text = String::new();
        let mut line = |words: std::fmt::Arguments<'_>| {
            // Text of a plugin begins no line of its own.
            let _ = writeln!(text, "{indent}{}", escape(&words.to_string()));
        };
        line(format_args!("verdict  {}", self.verdict.name()));
        for finding in &self.findings {
            line(format_args!("finding  {}", finding.line()));
            for (language, message) in &finding.texts {
                line(format_args!("         {language}: {message}"));
            }
        }
        for change in &self.changes {
            line(format_args!("change   {change}"));
        }
        if let Some(risk) = self.risk {
            line(format_args!("risk     {risk}"));
        }
        line(format_args!("saw      {}", list(&self.saw)));
        if !self.absent.is_empty() {
            line(format_args!("absent   {}", list(&self.absent)));
        }
        text
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let findings: Vec<_> = self.findings.iter().map(ExplainedFinding::json).collect();
        json!({
            "verdict": self.verdict.name(), "findings": findings, "changes": self.changes, "risk": self.risk,
            "saw": self.saw, "absent": self.absent, "kept": self.kept,
        })
    }
}

impl ExplainedFinding {
    fn of(terms: &TestLimits<'_>, finding: &Finding, secret: bool) -> Self {
        let arguments = if secret { &[][..] } else { finding.arguments.as_slice() };
        let text = |language: &str| {
            let (tag, text) = terms.messages.fill(&finding.code, language, arguments)?;
            Some((tag.to_owned(), text))
        };
        Self {
            code: finding.code.clone(),
            effect: finding.effect,
            severity: finding.severity,
            arguments: finding
                .arguments
                .iter()
                .map(|it| (it.name.clone().into(), value(&it.value)))
                .collect(),
            field: finding.field.clone(),
            texts: terms.messages.languages(&finding.code).filter_map(text).collect(),
        }
    }

    fn line(&self) -> String {
        let arguments = self.arguments.iter().map(|(name, value)| (name.as_str(), value));
        finding_line(&self.code, self.effect, self.severity, arguments, self.field.as_deref())
    }

    fn json(&self) -> Value {
        let arguments: Map<_, _> = self.arguments.iter().cloned().collect();
        let texts: Map<_, _> =
            self.texts.iter().map(|(tag, text)| (tag.clone(), Value::from(text.clone()))).collect();
        json!({
            "code": self.code, "effect": self.effect.name(), "severity": self.severity.name(), "arguments": arguments,
            "field": self.field, "texts": texts,
        })
    }
}

fn list(paths: &[String]) -> String {
    if paths.is_empty() { "nothing".to_owned() } else { paths.join(", ") }
}
