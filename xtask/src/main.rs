//! `cargo xtask demo|test|quick|bench|lint`: everything a checkout can do, with what a fresh Debian
//! machine with Rust has.
//!
//! Invariant: no crates but the standard library, so that this builds at once; it runs the real commands and shows them, ends
//! every process that it started, and installs only what it says it installs.

mod bench;
mod build;
mod demo;
mod demo_env;
mod languages;
mod limited;
mod long;
mod provision;
mod run;
mod test;

use std::env;
use std::process::ExitCode;

use build::Profile;
use run::Error;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["demo"] => demo::run(None),
        ["demo", "--keep", directory] => demo::run(Some(directory)),
        ["test", "--long", filters @ ..] => {
            build::for_tests().and_then(|it| long::run(&it, filters))
        }
        ["test", filters @ ..] => test::run(filters),
        ["quick", filters @ ..] => test::quick(filters),
        [limited::RUN_TEST, program, arguments @ ..] => limited::run(program, arguments),
        ["lint"] => {
            test::lint().map(|skipped| skipped.iter().for_each(|it| println!("skipped: {it}")))
        }
        ["build"] => build::all().map(drop),
        ["bench", "rules"] => bench::rules(),
        ["bench", "call"] => bench::call(Profile::Release),
        ["bench", "call", "dist"] => bench::call(Profile::Dist),
        ["bench", "counts"] => bench::counts(),
        ["bench", "languages"] => bench::languages(),
        _ => Err(Error(USAGE.to_owned())),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Error(why)) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

const USAGE: &str = "\
usage: cargo xtask COMMAND

  demo [--keep DIR]   build everything, sign, serve on loopback, send real hook payloads, verify the record
  test [FILTER…]      every test; the last line counts them
  quick [FILTER…]     the tests with such names, without lints, other languages and packages
  test --long [FILTER…]  the tests that take too long for every run; writes docs/long-tests.md
  lint                rustfmt, clippy and rustdoc, as the tests run them
  build               everything as users run it: the host, plugins in all languages, tests, benchmarks
  bench rules         call time of `sod` with 10,000 rules against one rule
  bench call [dist]   requests a second against a bare HTTP server, in one run; of what the tests run, or of what hospitals do
  bench languages     what the same plugin costs in each language
  bench counts        system calls and page faults of one sandboxed call";
