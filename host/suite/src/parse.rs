//! From text to a suite, and from a suite to the one text that a manifest can name.
//!
//! Invariant: an error says where: by line where the text has one, and by the path of the member. What is read is bounded in bytes, and what
//! YAML's anchors make of it too.

use std::fmt;

use portcullis_model::{Digest, Document, humanize, sha256};
use serde::Deserialize;

use crate::fixture_text::{RowsFormat, RowsText};
use crate::format::{Source, Suite};

/// How a suite is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// TOML 1.0.
    Toml,
    /// YAML 1.2.
    Yaml,
    /// JSON: a bundle.
    Json,
}

/// The author of the suite: it cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct SuiteError {
    /// In which line, where that is known, counted from 1.
    pub line: Option<u64>,
    /// At which member: `case[3].expect.verdict`. Empty where it is about the whole.
    pub path: String,
    /// What is wrong.
    pub what: String,
}

impl Syntax {
    /// By a file's name.
    pub fn of(file: &str) -> Option<Self> {
        match file.rsplit_once('.')?.1 {
            "toml" => Some(Self::Toml),
            "yaml" | "yml" => Some(Self::Yaml),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

impl Suite {
    /// Most bytes of a suite as its author writes it.
    pub const MAX_BYTES: usize = 1 << 20;

    /// Most bytes of a bundle, with all that the suite's files hold.
    pub const MAX_BUNDLE_BYTES: usize = 8 << 20;

    /// Reads a suite.
    ///
    /// # Errors
    /// [`SuiteError`], with path and line.
    pub fn parse(text: &str, syntax: Syntax) -> Result<Self, SuiteError> {
        let most = if syntax == Syntax::Json { Self::MAX_BUNDLE_BYTES } else { Self::MAX_BYTES };
        if text.len() > most {
            return Err(SuiteError::whole(format!(
                "it has {} bytes; at most {most} are allowed",
                text.len()
            )));
        }
        match syntax {
            Syntax::Toml => toml(text),
            Syntax::Yaml => yaml(text),
            Syntax::Json => json(text),
        }
    }

    /// Puts the files that it names into it. `read` gives what is in a file, whose name is relative to the suite's.
    ///
    /// # Errors
    /// [`SuiteError`]: a name that leads elsewhere, a file that cannot be read or is no text, or a source that is none.
    pub fn resolve(
        &mut self,
        read: &mut dyn FnMut(&str) -> Result<Vec<u8>, String>,
    ) -> Result<(), SuiteError> {
        let settings =
            self.settings.iter_mut().map(|(name, source)| (format!("settings.{name}"), source));
        let payloads =
            self.payloads.iter_mut().map(|(name, source)| (format!("payloads.{name}"), source));
        for (path, source) in settings.chain(payloads) {
            source.resolve(&path, read)?;
        }
        for (name, table) in &mut self.tables {
            let path = format!("tables.{name}");
            if let Some(declaration) = &mut table.declaration
                && let Some(file) = declaration.as_str()
            {
                let path = format!("{path}.declaration");
                let text = read_file(file, &path, read)?;
                *declaration = toml::from_str(&text).map_err(|error| {
                    let line = toml_line(&text, &error).map(|line| format!("line {line}: "));
                    let what = humanize(error.message());
                    SuiteError::at(&path, format!("`{file}`: {}{what}", line.unwrap_or_default()))
                })?;
            }
            table.rows.resolve(&path, read)?;
        }
        let cases = self.cases.iter_mut().enumerate().flat_map(|(index, case)| {
            let path = format!("case[{index}]");
            let steps = case.steps.iter_mut().enumerate();
            let of_step = |number| format!("{path}.steps[{number}]");
            let steps: Vec<_> =
                steps.map(|(number, step)| (of_step(number), &mut step.tables)).collect();
            std::iter::once((path, &mut case.tables)).chain(steps)
        });
        let matrices = self.matrices.iter_mut().enumerate();
        let matrices =
            matrices.map(|(index, matrix)| (format!("matrix[{index}]"), &mut matrix.tables));
        for (path, tables) in cases.chain(matrices) {
            for (name, state) in tables {
                if let Some(rows) = &mut state.rows {
                    rows.resolve(&format!("{path}.tables.{name}"), read)?;
                }
            }
        }
        Ok(())
    }

    /// One JSON text with everything in it; the same suite gives the same text. Resolve it first.
    ///
    /// # Errors
    /// [`SuiteError`], where it is larger than a host reads.
    pub fn bundle(&self) -> Result<Vec<u8>, SuiteError> {
        let text =
            serde_json::to_vec(self).map_err(|error| SuiteError::whole(error.to_string()))?;
        if text.len() > Self::MAX_BUNDLE_BYTES {
            let most = Self::MAX_BUNDLE_BYTES;
            return Err(SuiteError::whole(format!(
                "with its files it has {} bytes; at most {most} are allowed",
                text.len()
            )));
        }
        Ok(text)
    }

    /// What a manifest calls a bundle by.
    pub fn digest(bundle: &[u8]) -> Digest {
        sha256(bundle)
    }
}

impl Source {
    fn resolve(
        &mut self,
        path: &str,
        read: &mut dyn FnMut(&str) -> Result<Vec<u8>, String>,
    ) -> Result<(), SuiteError> {
        let given = [self.file.is_some(), self.text.is_some(), self.json.is_some()];
        if given.into_iter().filter(|given| *given).count() != 1 {
            return Err(SuiteError::at(
                path,
                "it must have exactly one of `file`, `text` and `json`",
            ));
        }
        let Some(file) = self.file.take() else { return Ok(()) };
        self.text = Some(read_file(&file, &format!("{path}.file"), read)?);
        Ok(())
    }

    /// What stands in it, resolved.
    pub fn content(&self) -> String {
        match (&self.text, &self.json) {
            (Some(text), _) => text.clone(),
            (None, Some(value)) => value.to_string(),
            (None, None) => String::new(),
        }
    }
}

impl RowsText {
    fn resolve(
        &mut self,
        path: &str,
        read: &mut dyn FnMut(&str) -> Result<Vec<u8>, String>,
    ) -> Result<(), SuiteError> {
        let Self::File(file) = self else { return Ok(()) };
        let path = format!("{path}.rows");
        let format = RowsFormat::of(file).ok_or_else(|| {
            let what = "it must end in `.csv`, `.jsonl` or `.ndjson`; export the rows as CSV";
            SuiteError::at(&path, what)
        })?;
        *self = Self::Text(format, read_file(file, &path, read)?);
        Ok(())
    }
}

impl SuiteError {
    pub(crate) fn whole(what: impl Into<String>) -> Self {
        Self { line: None, path: String::new(), what: what.into() }
    }

    pub(crate) fn at(path: &str, what: impl Into<String>) -> Self {
        Self { line: None, path: path.to_owned(), what: what.into() }
    }

    fn found(path: &serde_path_to_error::Path, line: Option<u64>, what: &str) -> Self {
        let path = path.to_string();
        Self { line, path: if path == "." { String::new() } else { path }, what: humanize(what) }
    }
}

impl fmt::Display for SuiteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the suite cannot be used: ")?;
        match (self.line, self.path.as_str()) {
            (Some(line), "") => write!(f, "line {line}: ")?,
            (Some(line), path) => write!(f, "line {line}, `{path}`: ")?,
            (None, "") => {}
            (None, path) => write!(f, "`{path}`: ")?,
        }
        f.write_str(&self.what)
    }
}

/// Reads a text file of the suite's folder.
fn read_file(
    file: &str,
    path: &str,
    read: &mut dyn FnMut(&str) -> Result<Vec<u8>, String>,
) -> Result<String, SuiteError> {
    let step = |part: &str| part.is_empty() || part == "." || part == "..";
    if file.contains('\\') || file.split('/').any(step) {
        return Err(SuiteError::at(path, "it leads out of the suite's folder"));
    }
    let bytes = read(file).map_err(|why| SuiteError::at(path, why))?;
    String::from_utf8(bytes).map_err(|_| SuiteError::at(path, "the file is not UTF-8"))
}

fn toml_line(text: &str, error: &toml::de::Error) -> Option<u64> {
    let before = text.get(..error.span()?.start)?;
    u64::try_from(before.matches('\n').count()).ok().map(|lines| lines + 1)
}

fn toml(text: &str) -> Result<Suite, SuiteError> {
    let line = |error: &toml::de::Error| toml_line(text, error);
    let reader = toml::Deserializer::parse(text).map_err(|error| SuiteError {
        line: line(&error),
        ..SuiteError::whole(humanize(error.message()))
    })?;
    serde_path_to_error::deserialize(reader).map_err(|error| {
        SuiteError::found(error.path(), line(error.inner()), error.inner().message())
    })
}

fn json(text: &str) -> Result<Suite, SuiteError> {
    // serde keeps the last of two equal members of a map: the strict parser is what refuses them.
    Document::parse(text.as_bytes()).map_err(|error| {
        SuiteError::whole(format!("{} at byte {}", error.cause.code().replace('-', " "), error.at))
    })?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let suite = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let line = u64::try_from(error.inner().line()).ok().filter(|line| *line > 0);
        SuiteError::found(error.path(), line, &error.inner().to_string())
    })?;
    Ok(suite)
}

fn yaml(text: &str) -> Result<Suite, SuiteError> {
    let mut place = None;
    let read = serde_saphyr::with_deserializer_from_str(text, |reader| {
        let mut track = serde_path_to_error::Track::new();
        Suite::deserialize(serde_path_to_error::Deserializer::new(reader, &mut track))
            .inspect_err(|_| place = Some(track.path()))
    });
    read.map_err(|error| {
        let line = error.location().map(|location| location.line());
        let what = error.without_snippet().to_string();
        // It says the line itself, at its end.
        let what = what.split(" at line ").next().unwrap_or_default();
        match &place {
            Some(path) => SuiteError::found(path, line, what),
            None => SuiteError { line, ..SuiteError::whole(humanize(what)) },
        }
    })
}
