//! `cargo xtask test --long`: the tests that take too long for every run, and a dated table of what
//! they saw.
//!
//! Invariant: a long test is an ordinary one that says `#[ignore = "long: …"]`; each runs alone,
//! and the table has what it printed. A test that fails is in the table, and fails the command.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::build::Built;
use crate::run::{Error, Result, output, root, step, target};

/// One long test that was run.
struct Ran {
    name: String,
    passed: bool,
    seconds: u64,
    /// The lines that it printed.
    printed: Vec<String>,
}

/// Runs the long tests whose names hold one of the filters, or all, and writes
/// `docs/long-tests.md`.
pub fn run(built: &Built, filters: &[&str]) -> Result {
    let program = blackbox()?;
    let listed = output(test(&program, built).args(["--ignored", "--list", "--format", "terse"]))?;
    let names = listed.lines().filter_map(|line| line.strip_suffix(": test"));
    let wanted = |name: &&str| filters.is_empty() || filters.iter().any(|it| name.contains(it));
    let names: Vec<_> = names.filter(wanted).collect();
    if names.is_empty() {
        return Err(Error("no long test has such a name".to_owned()));
    }
    let mut all = Vec::new();
    for name in names {
        step(name);
        let begin = Instant::now();
        let mut command = test(&program, built);
        command.args(["--ignored", "--exact", "--nocapture", name]).stderr(Stdio::inherit());
        let ended = command.output()?;
        let text = String::from_utf8_lossy(&ended.stdout).into_owned();
        print!("{text}");
        let noise = ["running ", "test ", "test result", "failures:"];
        let told = |line: &&str| {
            !line.trim().is_empty() && !noise.iter().any(|start| line.starts_with(start))
        };
        all.push(Ran {
            name: name.to_owned(),
            passed: ended.status.success(),
            seconds: begin.elapsed().as_secs(),
            printed: text.lines().filter(told).map(str::to_owned).collect(),
        });
    }
    fs::write(root().join("docs/long-tests.md"), table(&all))?;
    let failed = all.iter().filter(|ran| !ran.passed).count();
    println!(
        "\n{} passed, {failed} failed; docs/long-tests.md has what they saw",
        all.len() - failed
    );
    if failed == 0 { Ok(()) } else { Err(Error("a long test did not pass".to_owned())) }
}

/// The black-box program that was built last.
fn blackbox() -> Result<std::path::PathBuf> {
    let folder = target().join("release/deps");
    let mut newest = None;
    for entry in fs::read_dir(&folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("blackbox-") && !name.contains('.') {
            newest = newest.max(Some((entry.metadata()?.modified()?, entry.path())));
        }
    }
    newest.map(|(_, path)| path).ok_or_else(|| Error("no black-box program was built".to_owned()))
}

fn test(program: &std::path::Path, built: &Built) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(root().join("tests"))
        .env("CARGO_MANIFEST_DIR", root().join("tests"))
        .env("PORTCULLIS_BIN", &built.portcullis)
        .env("PORTCULLIS_PLUGINS", &built.plugins);
    command
}

fn table(all: &[Ran]) -> String {
    let mut text = format!(
        "# Long tests\n\n`cargo xtask test --long` runs them and writes this page. The last run was on {}, \
         with {}.\n\n| test | result | seconds | what it saw |\n|---|---|---|---|\n",
        today(),
        machine()
    );
    for ran in all {
        let result = if ran.passed { "passed" } else { "failed" };
        let printed = ran.printed.join("<br>").replace('|', "\\|");
        text.push_str(&format!("| `{}` | {result} | {} | {printed} |\n", ran.name, ran.seconds));
    }
    text
}

/// The date, as the machine's own `date` has it.
fn today() -> String {
    let date = output(Command::new("date").args(["-u", "+%F"])).unwrap_or_default();
    if date.trim().is_empty() {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        return format!("second {} since 1970", since.as_secs());
    }
    date.trim().to_owned()
}

fn machine() -> String {
    let processors = std::thread::available_parallelism().map_or(1, Into::into);
    let commit =
        output(Command::new("git").current_dir(root()).args(["rev-parse", "--short", "HEAD"]));
    format!("{processors} processors, at commit {}", commit.unwrap_or_default().trim())
}
