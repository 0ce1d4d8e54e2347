//! Running other programs: shown, bounded, and ended.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

/// Why a command cannot go on; printed once, at the end.
pub struct Error(pub String);

/// The result of every step.
pub type Result<T = ()> = std::result::Result<T, Error>;

impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// Prints what happens next.
pub fn step(text: &str) {
    println!("\n== {text}");
}

/// Runs a command to its end, and fails where it fails.
pub fn run_ok(command: &mut Command) -> Result {
    match status(command)? {
        Some(0) => Ok(()),
        _ => Err(Error(format!("failed: {}", spell(command)))),
    }
}

/// Runs a command to its end and tells its exit code.
pub fn status(command: &mut Command) -> Result<Option<i32>> {
    let status = command
        .status()
        .map_err(|error| Error(format!("cannot run {}: {error}", spell(command))))?;
    Ok(status.code())
}

/// Runs a command and takes what it prints; its failure is ours.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| Error(format!("cannot run {}: {error}", spell(command))))?;
    if !output.status.success() {
        return Err(Error(format!("failed: {}", spell(command))));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a quiet command succeeds.
pub fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// Runs a command for at most this long; `false` if it failed or had to be ended.
pub fn within(limit: Duration, command: &mut Command) -> bool {
    let Ok(child) = command.stdin(Stdio::null()).spawn() else { return false };
    let mut child = Running(child);
    let start = Instant::now();
    while start.elapsed() < limit {
        match child.0.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) => thread::sleep(Duration::from_millis(200)),
            Err(_) => return false,
        }
    }
    false
}

/// A process of ours: ended when dropped.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A directory of ours: removed when dropped.
pub struct Scratch(pub PathBuf);

impl Scratch {
    /// Makes one.
    pub fn new(name: &str) -> Result<Self> {
        let path = env::temp_dir().join(format!("portcullis-{name}-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// The checkout.
pub fn root() -> PathBuf {
    // Asked at run time: clones share a target directory, and what one of them built may run in another.
    let own =
        env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&own).parent().unwrap_or(Path::new(".")).to_owned()
}

/// Where cargo puts what it builds.
pub fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => root().join(directory),
        None => root().join("target"),
    }
}

/// The cargo that runs us, in the checkout.
pub fn cargo() -> Command {
    let mut cargo =
        Command::new(env::var_os("CARGO").unwrap_or_else(|| OsStr::new("cargo").to_owned()));
    cargo.current_dir(root());
    cargo
}

/// The same for the tests: crates of other projects as everywhere, ours not optimised.
///
/// Optimising ours would be three quarters of the time that a test run takes, since each crate is
/// compiled a second time with its unit tests. Nothing that a test checks depends on speed;
/// benchmarks run what users run. Crates of other projects keep their settings, so they are built
/// once for all commands.
pub fn test_cargo() -> Result<Command> {
    let members = ["tree", "--workspace", "--depth", "0", "--prefix", "none", "--locked"];
    let members = output(cargo().args(members))?;
    let mut cargo = cargo();
    for member in members.lines().filter_map(|line| line.split(' ').next()) {
        // This program is built already, and runs the test programs: it must not be replaced.
        if !member.is_empty() && member != "xtask" {
            // Every crate but ours by `"*"` would be shorter, and would optimise macros as well.
            let setting = format!("profile.release.package.{member}.opt-level=0");
            cargo.args(["--config", &setting]);
        }
    }
    Ok(cargo)
}

fn spell(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
