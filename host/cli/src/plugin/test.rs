//! `portcullis plugin test`: the suites beside a plugin, their snapshots, and what they reach.

use std::path::{Path, PathBuf};

use clap::Args;
use portcullis_files::read_text_bounded;
use portcullis_suite::Report;
use serde_json::json;

use super::project::{Project, try_suite};
use crate::exit::{CliError, CliResult, Format, print};
use crate::files;

/// Run suites.
#[derive(Args)]
pub struct Test {
    /// The plugin's folder.
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// The component. Default: the one that `plugin build` made.
    #[arg(long)]
    component: Option<PathBuf>,
    /// Run this suite instead of those beside the manifest. Repeat the option for several.
    #[arg(long = "suite")]
    suites: Vec<PathBuf>,
    /// Write the snapshots anew instead of comparing decisions with them.
    #[arg(long)]
    bless: bool,
    /// List every case, not only those that differ.
    #[arg(long)]
    all: bool,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Test {
    /// Does it.
    pub fn run(self) -> CliResult {
        let project = Project::open(&self.folder)?;
        let ready = project.ready(self.component.as_deref())?;
        let suites = if self.suites.is_empty() { project.suites()? } else { self.suites.clone() };
        let schema = ready.manifest.settings_schema.as_ref().map(|schema| schema.text.as_str());
        let mut failed = 0;
        for file in suites {
            let report = try_suite(&ready.source, &file, &ready.wasm, schema)?.report;
            let snapshot = self.snapshot(&file, &report)?;
            if !report.passed() || matches!(snapshot, Snapshot::Differs(_)) {
                failed += 1;
            }
            match self.format {
                Format::Text => print(format!("{}{}", report.text(self.all), snapshot.text(&file))),
                Format::Json => {
                    let mut told = report.json();
                    if let Some(members) = told.as_object_mut() {
                        members.insert("file".to_owned(), json!(file));
                        members.insert("snapshot".to_owned(), json!(snapshot.word()));
                    }
                    print(told);
                }
            }
        }
        match failed {
            0 => Ok(()),
            _ => {
                Err(CliError::wrong("the plugin does not decide as its suites expect").hint(Some(
                    "correct the plugin or the suite; if only the snapshot differs and \
                 the new decisions are right, run the command with `--bless`",
                )))
            }
        }
    }

    /// Holds what was said against the snapshot, or writes that.
    fn snapshot(&self, suite: &Path, report: &Report) -> CliResult<Snapshot> {
        let file = beside(suite);
        let now = report.snapshot();
        if self.bless {
            files::write(&file, now.as_bytes())?;
            return Ok(Snapshot::Written);
        }
        match read_text_bounded(&file, files::MAX_FILE_BYTES) {
            Ok(kept) if kept == now => Ok(Snapshot::Same),
            Ok(kept) => Ok(Snapshot::Differs(first_difference(&kept, &now))),
            Err(error) if error.is_missing() => Ok(Snapshot::None),
            Err(error) => {
                Err(CliError::configuration(format!("cannot read `{}`: {error}", file.display())))
            }
        }
    }
}

/// The state of the snapshot.
enum Snapshot {
    Same,
    Differs(String),
    None,
    Written,
}

impl Snapshot {
    fn word(&self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Differs(_) => "differs",
            Self::None => "none",
            Self::Written => "written",
        }
    }

    fn text(&self, suite: &Path) -> String {
        let file = beside(suite);
        match self {
            Self::Same => String::new(),
            Self::Differs(what) => {
                format!("\nthe snapshot {} differs from the decisions now:\n{what}", file.display())
            }
            Self::None => {
                format!("\nthe suite has no snapshot; `--bless` writes `{}`", file.display())
            }
            Self::Written => format!("\n{} written", file.display()),
        }
    }
}

/// `suite.snapshot.txt` beside `suite.toml`.
fn beside(suite: &Path) -> PathBuf {
    suite.with_extension("snapshot.txt")
}

/// The first place at which two texts differ, with the case that it is in.
fn first_difference(kept: &str, now: &str) -> String {
    let mut case = "";
    let (mut old, mut new) = (kept.lines(), now.lines());
    loop {
        let lines = (old.next(), new.next());
        match lines {
            (Some(before), Some(after)) if before == after => {
                if let Some(name) = after.strip_prefix("## ") {
                    case = name;
                }
            }
            (None, None) => return "  only the line ends differ".to_owned(),
            (before, after) => {
                let line = |line: Option<&str>| line.map_or("(end)", str::trim).to_owned();
                return format!("  {case}\n  - {}\n  + {}", line(before), line(after));
            }
        }
    }
}
