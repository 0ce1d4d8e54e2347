//! How commands end: exit codes, errors with hints, and results as text or JSON.

use std::fmt::Display;
use std::io::Write as _;
use std::process::ExitCode;

use clap::ValueEnum;
use portcullis_model::escape::{escape, escape_lines};

/// Why a command did not do what it was asked.
pub struct CliError {
    code: u8,
    message: String,
    hint: Option<String>,
}

/// What every command gives back.
pub type CliResult<T = ()> = Result<T, CliError>;

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Text for people.
    #[default]
    Text,
    /// JSON for programs, one value a line.
    Json,
}

impl CliError {
    /// Looked, and found wrong: exit 1.
    pub fn wrong(message: impl Display) -> Self {
        Self { code: 1, message: message.to_string(), hint: None }
    }

    /// An option has a value that nothing can have: exit 2, like all wrong usage.
    pub fn usage(message: impl Display) -> Self {
        Self { code: 2, message: message.to_string(), hint: None }
    }

    /// The thing that was asked for does not exist: exit 3.
    pub fn missing(message: impl Display) -> Self {
        Self { code: 3, message: message.to_string(), hint: None }
    }

    /// The thing that was asked for exists and cannot be proved yet: exit 4.
    pub fn not_yet(message: impl Display) -> Self {
        Self { code: 4, message: message.to_string(), hint: None }
    }

    /// Looked, and found some of the things that were looked for: exit 5.
    pub fn found(message: impl Display) -> Self {
        Self { code: 5, message: message.to_string(), hint: None }
    }

    /// The configuration, a key or another file that the operator gives is of no use: exit 64.
    pub fn configuration(message: impl Display) -> Self {
        Self { code: 64, message: message.to_string(), hint: None }
    }

    /// The host failed: exit 70.
    pub fn host(message: impl Display) -> Self {
        Self { code: 70, message: message.to_string(), hint: None }
    }

    /// Adds what to do.
    pub fn hint(mut self, hint: Option<impl Into<String>>) -> Self {
        self.hint = hint.map(Into::into);
        self
    }
}

impl CliError {
    /// Adds a line.
    pub fn below(mut self, line: &str) -> Self {
        self.message.push('\n');
        self.message.push_str(line);
        self
    }

    /// Returns what to do, where that is known.
    pub fn hint_line(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The problem as one of a list in JSON.
    pub fn json(&self, about: &str) -> serde_json::Value {
        serde_json::json!({
            "about": about, "code": null, "sentence": self.message, "hint": self.hint,
        })
    }
}

impl Display for CliError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<portcullis_trust::Refusal> for CliError {
    fn from(refusal: portcullis_trust::Refusal) -> Self {
        let sentence = refusal.to_string();
        Self::wrong(format!("{} [{}]", escape(&sentence), refusal.code())).hint(refusal.hint())
    }
}

impl From<portcullis_keys::KeyError> for CliError {
    fn from(error: portcullis_keys::KeyError) -> Self {
        let hint = error.hint();
        Self::configuration(escape(&error.to_string())).hint(hint)
    }
}

impl From<portcullis_engine::PrepareError> for CliError {
    fn from(refused: portcullis_engine::PrepareError) -> Self {
        let mut message = format!("{} [{}]", escape(&refused.to_string()), refused.code());
        for complaint in refused.setting_errors() {
            message.push_str(&format!("\n  {}", escape(complaint)));
        }
        Self::wrong(message).hint(refused.hint())
    }
}

/// A number of things in words: `1 plugin`, `2 plugins`.
pub fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Prints a result, with what could steer a terminal escaped; a reader that went away is no error.
/// Line feeds and tabs stay: whoever puts untrusted text into a result escapes it there.
pub fn print(text: impl Display) {
    let mut out = std::io::stdout().lock();
    let text = text.to_string();
    drop(writeln!(out, "{}", escape_lines(&text)).and_then(|()| out.flush()));
}

impl Format {
    /// Prints a result as a sentence or as JSON.
    pub fn print(self, text: impl Display, json: serde_json::Value) {
        match self {
            Self::Text => print(text),
            Self::Json => print(json),
        }
    }
}

/// Ends the program.
pub fn report(done: CliResult) -> ExitCode {
    let Err(failed) = done else { return ExitCode::SUCCESS };
    let mut err = std::io::stderr().lock();
    drop(writeln!(err, "error: {}", escape_lines(&failed.message)));
    if let Some(hint) = &failed.hint {
        drop(writeln!(err, "hint: {}", escape_lines(hint)));
    }
    ExitCode::from(failed.code)
}
