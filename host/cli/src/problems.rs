//! Problems and warnings as text and as JSON: all of them, each with what to do about it.
//!
//! Invariant: what a problem quotes (the name of a file, what a plugin says) begins no line of its
//! own.

use std::fmt::Display;

use portcullis_model::escape::escape;
use portcullis_server::{ReleaseError, StartError};
use serde_json::{Value, json};

use crate::exit::CliError;

/// A problem that is one of perhaps several.
pub struct Problem {
    /// The part of a host that it is about.
    about: &'static str,
    /// The stable code, where it has one.
    code: Option<&'static str>,
    sentence: String,
    complaints: Vec<String>,
    hint: Option<String>,
}

impl Problem {
    /// A problem of a release.
    pub fn of_release(error: &ReleaseError) -> Self {
        Self {
            about: "release",
            code: Some(error.code()),
            sentence: error.to_string(),
            complaints: error.setting_errors().to_vec(),
            hint: error.hint(),
        }
    }

    /// A problem of the log, a folder, a file or a setting. Several in one stay a list.
    pub fn of_start(about: &'static str, error: &StartError) -> Vec<Self> {
        if let StartError::Several(several) = error {
            return several.iter().flat_map(|error| Self::of_start(about, error)).collect();
        }
        let (sentence, hint) = (error.to_string(), error.hint());
        vec![Self { about, code: None, sentence, complaints: Vec::new(), hint }]
    }

    /// The problem as JSON.
    pub fn json(&self) -> Value {
        json!({
            "about": self.about, "code": self.code, "sentence": self.sentence, "hint": self.hint,
        })
    }

    fn text(&self, indent: &str) -> String {
        let mut text = escape(&self.sentence).into_owned();
        if let Some(code) = self.code {
            text.push_str(&format!(" [{code}]"));
        }
        for complaint in &self.complaints {
            text.push_str(&format!("\n{indent}  {}", escape(complaint)));
        }
        text
    }
}

/// The problems as one text, and what to do where there is only one: else it stands below each.
fn told(problems: &[Problem]) -> (String, Option<String>) {
    if let [only] = problems {
        return (only.text(""), only.hint.clone());
    }
    let mut text = format!("{} problems", problems.len());
    for (number, problem) in (1..).zip(problems) {
        text.push_str(&format!("\n  {number}. {}", problem.text("     ")));
        if let Some(hint) = &problem.hint {
            text.push_str(&format!("\n     hint: {}", escape(hint)));
        }
    }
    (text, None)
}

/// The problems of a host's folders, its log and its release, in that order.
pub fn all(
    folders: Option<&StartError>,
    log: Option<&StartError>,
    release: &[ReleaseError],
) -> Vec<Problem> {
    let folders = folders.into_iter().flat_map(|error| Problem::of_start("folder", error));
    let log = log.into_iter().flat_map(|error| Problem::of_start("log", error));
    folders.chain(log).chain(release.iter().map(Problem::of_release)).collect()
}

/// A command that ends with these problems: 64 where one is not the release's.
pub fn failed(
    folders: Option<&StartError>,
    log: Option<&StartError>,
    release: &[ReleaseError],
) -> CliError {
    let (text, hint) = told(&all(folders, log, release));
    let is_configuration = folders.is_some() || log.is_some();
    let failed =
        if is_configuration { CliError::configuration(text) } else { CliError::wrong(text) };
    failed.hint(hint)
}

/// A warning as one line.
pub fn warning(text: impl Display) -> String {
    format!("warning: {}", escape(&text.to_string()))
}
