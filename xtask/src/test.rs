//! `cargo xtask test`: every test there is, and one last line that counts them.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::build;
use crate::limited;
use crate::provision::{self, WasmTarget, wasm_target};
use crate::run::{Error, Result, cargo, run_ok, step, succeeds, target, test_cargo};

/// Builds everything and runs the tests whose names hold one of the filters, or all.
pub fn run(filters: &[&str]) -> Result {
    // Where somebody relies on the result, a check that cannot be made is a failure.
    let strict = env::var_os("CI").is_some();
    let mut skipped = Vec::new();
    // Tools that are missing here are counted by the tests that need them.
    provision::go_verifier();
    provision::programs();
    provision::registry();
    let python = provision::python_verifier();
    if filters.is_empty() {
        skipped.extend(lint()?);
    }
    let built = build::for_tests()?;
    skipped.extend(built.languages.skipped.iter().map(String::as_str));
    let sdks = if filters.is_empty() { built.languages.test(&built.portcullis)? } else { (0, 0) };
    step("running the tests");
    let mut cargo = test_cargo()?;
    cargo.args([
        "test",
        "--release",
        "--locked",
        "--workspace",
        "--exclude",
        "xtask",
        "--no-fail-fast",
    ]);
    // Several filters go to each test program: cargo itself takes one.
    cargo.arg("--").args(filters);
    cargo.env("PORTCULLIS_BIN", &built.portcullis).env("PORTCULLIS_PLUGINS", &built.plugins);
    cargo.env("CARGO_TARGET_DIR", target());
    if let Some(python) = python {
        cargo.env("PORTCULLIS_PYTHON", python);
    }
    cargo.envs(built.languages.tools());
    let (runner, value) = limited::runner()?;
    cargo.env(runner, value);
    let tools = MissingTools::allow(&mut cargo, !strict)?;
    let counted = count(&mut cargo)?;
    let tests = tools.skipped()?;
    skipped.extend(tests.lines());
    for reason in &skipped {
        println!("skipped: {reason}");
    }
    let (sdks_passed, sdks_failed) = sdks;
    let (passed, failed) = (counted.passed + sdks_passed, counted.failed + sdks_failed);
    let failed = failed + if strict { skipped.len() } else { 0 };
    println!("\n{passed} passed, {failed} failed, {} skipped", skipped.len() + counted.ignored);
    let wrong = failed > 0 || !counted.ended_well || passed == 0;
    if wrong { Err(Error("the tests did not pass".to_owned())) } else { Ok(()) }
}

/// Builds the host, the tests and the plugins in Rust, and runs the tests whose names hold one of
/// the filters: no lints and no other languages. It installs nothing but a missing wasm target.
pub fn quick(filters: &[&str]) -> Result {
    let built = build::quick()?;
    let mut cargo = test_cargo()?;
    cargo.args(["test", "--release", "--locked", "--workspace", "--exclude", "xtask"]);
    cargo.args(["--quiet", "--no-fail-fast", "--"]).args(filters);
    cargo.env("PORTCULLIS_BIN", &built.portcullis).env("PORTCULLIS_PLUGINS", &built.plugins);
    cargo.env("CARGO_TARGET_DIR", target());
    let (runner, value) = limited::runner()?;
    cargo.env(runner, value);
    let tools = MissingTools::allow(&mut cargo, true)?;
    let counted = count(&mut cargo)?;
    let tests = tools.skipped()?;
    tests.lines().for_each(|reason| println!("skipped: {reason}"));
    let skipped = tests.lines().count() + counted.ignored;
    println!("\n{} passed, {} failed, {skipped} skipped", counted.passed, counted.failed);
    if counted.passed + counted.failed == 0 {
        return Err(Error("no test has such a name".to_owned()));
    }
    if counted.ended_well { Ok(()) } else { Err(Error("the tests did not pass".to_owned())) }
}

/// Checks formatting, lints and pages of the code. Returns the checks that are skipped because a
/// component is missing.
pub fn lint() -> Result<Vec<&'static str>> {
    let mut skipped = Vec::new();
    if succeeds(cargo().args(["fmt", "--version"])) {
        step("formatting");
        run_ok(cargo().args(["fmt", "--all", "--check"]))?;
    } else {
        skipped.push("formatting: rustfmt is missing (`rustup component add rustfmt`)");
    }
    if succeeds(cargo().args(["clippy", "--version"])) {
        step("lints");
        let what = ["clippy", "--release", "--locked", "--workspace", "--all-targets"];
        run_ok(cargo().args(what).args(["--", "-D", "warnings"]))?;
        if let WasmTarget::Toolchain = wasm_target()? {
            step("lints of what runs in the sandbox");
            let mut cargo = cargo();
            cargo.args(["clippy", "--profile", "plugin", "--locked"]);
            cargo.args(["--target", "wasm32-unknown-unknown"]);
            for package in build::sandboxed().chain([VERIFIER]) {
                cargo.args(["--package", package]);
            }
            cargo.env("CARGO_TARGET_DIR", target().join("wasm")).args(["--", "-D", "warnings"]);
            run_ok(&mut cargo)?;
        } else {
            println!(
                "not made: lints for wasm32 (Debian's compiler, which builds the plugins, has no \
                 clippy)"
            );
        }
    } else {
        skipped.push("lints: clippy is missing (`rustup component add clippy`)");
    }
    check_verifier()?;
    step("pages of the code");
    let what = ["doc", "--release", "--locked", "--workspace", "--no-deps", "--quiet"];
    let mut cargo = cargo();
    cargo
        .env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private_intra_doc_links")
        .args(what)
        .arg("--document-private-items");
    run_ok(&mut cargo)?;
    Ok(skipped)
}

/// The file in which tests say that a tool is missing on this machine, if they may be skipped.
struct MissingTools(PathBuf);

impl MissingTools {
    /// Has the tests that this command runs skip what they cannot do, or fail.
    fn allow(cargo: &mut Command, skip: bool) -> Result<Self> {
        let file = target().join("skipped-tests");
        fs::write(&file, "")?;
        if skip {
            cargo.env("PORTCULLIS_SKIP_MISSING", "1").env("PORTCULLIS_SKIPPED", &file);
        } else {
            cargo.env_remove("PORTCULLIS_SKIP_MISSING");
        }
        Ok(Self(file))
    }

    /// A line for each test, or part of one, that was skipped.
    fn skipped(&self) -> Result<String> {
        Ok(fs::read_to_string(&self.0)?)
    }
}

/// The reading half of the log, which auditors can run in a sandbox too.
const VERIFIER: &str = "portcullis-tlog";

/// Builds the reading half of the log for wasm32, where auditors run it: without files,
/// threads and C code. The plugins' profile and directory are used, so that little is built twice.
fn check_verifier() -> Result<()> {
    let wasm = wasm_target()?;
    step("the log's verifier for wasm32");
    let mut cargo = build::wasm_cargo(wasm);
    cargo.args(["build", "--profile", "plugin", "--locked", "--package", VERIFIER]);
    cargo.args(["--target", "wasm32-unknown-unknown"]);
    run_ok(cargo.env("CARGO_TARGET_DIR", target().join("wasm")))
}

#[derive(Default)]
struct Counted {
    passed: usize,
    failed: usize,
    ignored: usize,
    ended_well: bool,
}

/// Shows what the test runner prints and adds up its summaries.
fn count(cargo: &mut Command) -> Result<Counted> {
    let mut child = cargo.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut counted = Counted::default();
    if let Some(printed) = child.stdout.take() {
        for line in BufReader::new(printed).lines() {
            let line = line?;
            println!("{line}");
            let Some(summary) = line.strip_prefix("test result: ") else { continue };
            let numbers = summary
                .split("; ")
                .flat_map(|part| part.split(". "))
                .filter_map(|part| part.split_once(' '));
            for (number, what) in numbers {
                let Ok(number) = number.parse::<usize>() else { continue };
                match what {
                    "passed" => counted.passed += number,
                    "failed" => counted.failed += number,
                    "ignored" => counted.ignored += number,
                    _ => {}
                }
            }
        }
    }
    counted.ended_well = child.wait()?.success();
    Ok(counted)
}
