//! `cargo xtask test`: every test there is, and one last line that counts them.

use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::build;
use crate::limited;
use crate::provision::{self, WasmTarget, wasm_target};
use crate::run::{Done, Fail, cargo, must, say, succeeds, target, test_cargo};

/// Builds everything and runs the tests whose names hold one of the filters, or all.
pub fn run(filters: &[&str]) -> Done {
    // Where somebody relies on the result, a check that cannot be made is a failure.
    let strict = env::var_os("CI").is_some();
    let mut skipped = Vec::new();
    let go = provision::go_verifier();
    let python = provision::python_verifier();
    let strace = provision::strace();
    let registry = provision::registry();
    if go.is_none() {
        skipped.push("the Go verifier: golang-go and golang-golang-x-mod-dev are missing");
    }
    if python.is_none() {
        skipped.push(
            "the Python verifiers of envelopes and roots: securesystemslib or tuf is missing",
        );
    }
    if !registry {
        skipped.push("the registry by another hand: docker-registry or skopeo is missing");
    }
    if !strace {
        skipped.push("the order of system calls: strace is missing");
    }
    if filters.is_empty() {
        skipped.extend(lint()?);
    }
    let built = build::for_tests()?;
    skipped.extend(built.languages.skipped.iter().map(String::as_str));
    let sdks = if filters.is_empty() { built.languages.test(&built.portcullis)? } else { (0, 0) };
    say("running the tests");
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
    if strict {
        cargo.env("PORTCULLIS_REQUIRE_LANGUAGES", "javascript,python,c");
        cargo.env("PORTCULLIS_REQUIRE_INTEROP", "1");
    }
    let counted = count(&mut cargo)?;
    for reason in &skipped {
        println!("skipped: {reason}");
    }
    let (sdks_passed, sdks_failed) = sdks;
    let (passed, failed) = (counted.passed + sdks_passed, counted.failed + sdks_failed);
    let failed = failed + if strict { skipped.len() } else { 0 };
    println!("\n{passed} passed, {failed} failed, {} skipped", skipped.len() + counted.ignored);
    let wrong = failed > 0 || !counted.ended_well || passed == 0;
    if wrong { Err(Fail("the tests did not pass".to_owned())) } else { Ok(()) }
}

/// Builds the host, the tests and the plugins in Rust, and runs the tests whose names hold one of
/// the filters: no lints and no other languages. It installs nothing but a missing wasm target.
pub fn quick(filters: &[&str]) -> Done {
    let built = build::quick()?;
    let mut cargo = test_cargo()?;
    cargo.args(["test", "--release", "--locked", "--workspace", "--exclude", "xtask"]);
    cargo.args(["--quiet", "--no-fail-fast", "--"]).args(filters);
    cargo.env("PORTCULLIS_BIN", &built.portcullis).env("PORTCULLIS_PLUGINS", &built.plugins);
    cargo.env("CARGO_TARGET_DIR", target());
    let (runner, value) = limited::runner()?;
    cargo.env(runner, value);
    let counted = count(&mut cargo)?;
    println!("\n{} passed, {} failed, {} skipped", counted.passed, counted.failed, counted.ignored);
    if counted.passed == 0 {
        return Err(Fail("no test has such a name".to_owned()));
    }
    if counted.ended_well { Ok(()) } else { Err(Fail("the tests did not pass".to_owned())) }
}

/// Checks formatting, lints and pages of the code. Returns the checks that are skipped because a
/// component is missing.
pub fn lint() -> Done<Vec<&'static str>> {
    let mut skipped = Vec::new();
    if succeeds(cargo().args(["fmt", "--version"])) {
        say("formatting");
        must(cargo().args(["fmt", "--all", "--check"]))?;
    } else {
        skipped.push("formatting: rustfmt is missing (`rustup component add rustfmt`)");
    }
    if succeeds(cargo().args(["clippy", "--version"])) {
        say("lints");
        let what = ["clippy", "--release", "--locked", "--workspace", "--all-targets"];
        must(cargo().args(what).args(["--", "-D", "warnings"]))?;
        if let WasmTarget::Toolchain = wasm_target()? {
            say("lints of what runs in the sandbox");
            let mut cargo = cargo();
            cargo.args(["clippy", "--profile", "plugin", "--locked"]);
            cargo.args(["--target", "wasm32-unknown-unknown"]);
            for package in build::sandboxed().chain([VERIFIER]) {
                cargo.args(["--package", package]);
            }
            cargo.env("CARGO_TARGET_DIR", target().join("wasm")).args(["--", "-D", "warnings"]);
            must(&mut cargo)?;
        } else {
            println!(
                "no lints for wasm32: Debian's compiler, which builds the plugins, has no clippy"
            );
        }
    } else {
        skipped.push("lints: clippy is missing (`rustup component add clippy`)");
    }
    check_verifier()?;
    say("pages of the code");
    let what = ["doc", "--release", "--locked", "--workspace", "--no-deps", "--quiet"];
    let mut cargo = cargo();
    cargo
        .env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private_intra_doc_links")
        .args(what)
        .arg("--document-private-items");
    must(&mut cargo)?;
    Ok(skipped)
}

/// The reading half of the log, which auditors can run in a sandbox too.
const VERIFIER: &str = "portcullis-tlog";

/// Checks that the reading half of the log builds for wasm32, where auditors run it: without files,
/// threads and C code. The plugins' profile and directory are used, so that little is built twice.
fn check_verifier() -> Done {
    let wasm = wasm_target()?;
    say("the log's verifier for wasm32");
    let mut cargo = build::wasm_cargo(wasm);
    cargo.args(["check", "--profile", "plugin", "--locked", "--package", VERIFIER]);
    cargo.args(["--target", "wasm32-unknown-unknown"]);
    must(cargo.env("CARGO_TARGET_DIR", target().join("wasm")))
}

#[derive(Default)]
struct Counted {
    passed: usize,
    failed: usize,
    ignored: usize,
    ended_well: bool,
}

/// Shows what the test runner prints and adds up its summaries.
fn count(cargo: &mut Command) -> Done<Counted> {
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
