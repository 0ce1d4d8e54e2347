//! What was found: one line a thing that was looked at, with what to change.

use std::time::Duration;

/// One thing that was looked at.
pub struct Check {
    /// What.
    pub what: &'static str,
    /// How it is.
    pub result: CheckResult,
    /// What is to be said of it.
    pub detail: String,
    /// What to change.
    pub hint: Option<String>,
}

/// How something is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum CheckResult {
    /// As it should be.
    Ok,
    /// Worth a look.
    Warning,
    /// Wrong.
    Error,
    /// Not looked at.
    Skipped,
}

/// What was found so far.
#[derive(Default)]
pub struct Findings {
    /// In the order in which they were found.
    pub all: Vec<Check>,
    /// Whether a call was decided, so that it has a record.
    pub recorded: bool,
}

impl Findings {
    /// It is as it should be.
    pub fn ok(&mut self, what: &'static str, said: String) {
        self.all.push(Check { what, result: CheckResult::Ok, detail: said, hint: None });
    }

    /// It is worth a look.
    pub fn warn(&mut self, what: &'static str, said: String, hint: &str) {
        self.all.push(Check {
            what,
            result: CheckResult::Warning,
            detail: said,
            hint: Some(hint.to_owned()),
        });
    }

    /// It is wrong.
    pub fn error(&mut self, what: &'static str, said: String, hint: &str) {
        self.all.push(Check {
            what,
            result: CheckResult::Error,
            detail: said,
            hint: Some(hint.to_owned()),
        });
    }

    /// Whether this is wrong.
    pub fn has_errors(&self, what: &str) -> bool {
        self.all.iter().any(|check| check.what == what && check.result == CheckResult::Error)
    }

    /// It was not looked at.
    pub fn skip(&mut self, what: &'static str, said: &str) {
        self.all.push(Check {
            what,
            result: CheckResult::Skipped,
            detail: said.to_owned(),
            hint: None,
        });
    }
}

impl CheckResult {
    /// As it is shown.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warn",
            Self::Error => "FAIL",
            Self::Skipped => "skip",
        }
    }
}

/// Text for people.
pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
