//! The parts of the benchmarks that `cargo xtask bench` puts together: rules and calls of one plugin without a server, a bare
//! server, and a load generator.
//!
//! Invariant: every loop is bounded in time or count, everything listens on and speaks to 127.0.0.1, and results are lines of text
//! or of JSON on standard output. What is measured is said in `docs/performance.md`.

mod counts;
mod floor;
mod language;
mod load;
mod parts;
mod rules;
mod sign_in;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["floor"] => floor::serve(),
        ["load", address, path, secret_file, body_file, connections, milliseconds] => {
            load::run(address, path, secret_file, body_file, connections, milliseconds)
        }
        ["rules", component, rounds] => rules::run(component, rounds),
        ["language", component, settings, calls] => language::run(component, settings, calls),
        ["parts", component, settings, body_file, scratch_file] => {
            parts::run(component, settings, body_file, scratch_file)
        }
        ["counts", component, settings, calls] => counts::run(component, settings, calls),
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// What every part gives back.
type Done<T = ()> = Result<T, Box<dyn std::error::Error>>;

const USAGE: &str = "\
usage: portcullis-bench floor
       portcullis-bench load ADDRESS PATH SECRET-FILE BODY-FILE CONNECTIONS MILLISECONDS
       portcullis-bench rules SOD-COMPONENT ROUNDS
       portcullis-bench parts COMPONENT SETTINGS-FILE BODY-FILE SCRATCH-FILE
       portcullis-bench counts COMPONENT SETTINGS-FILE CALLS
       portcullis-bench language COMPONENT SETTINGS-FILE CALLS";
