//! The parts of the benchmarks that `cargo xtask bench` puts together: a bare server, a load generator, and a plugin timer.
//!
//! Invariant: every loop is bounded in time or count, everything listens on and speaks to 127.0.0.1, and results are one line of
//! JSON each. Benchmarks report; tests judge.

mod calls;
mod floor;
mod load;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["floor"] => floor::serve(),
        ["load", address, path, secret_file, body_file, connections, milliseconds] => {
            load::run(address, path, secret_file, body_file, connections, milliseconds)
        }
        ["rules", component] => calls::rules(component),
        ["calls", component, settings, count] => calls::count(component, settings, count),
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
       portcullis-bench rules SOD-COMPONENT
       portcullis-bench calls COMPONENT SETTINGS-FILE COUNT";
