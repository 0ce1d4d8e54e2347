//! Runs test programs under a limit of file descriptors: a host must serve where it has few, so the
//! tests have few as well.
//!
//! Invariant: the black-box tests run with at most [`DESCRIPTORS`], soft and hard. The tests that
//! need more are in one list, each with the reason, and run afterwards without that limit; every
//! other program runs as it is.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use crate::run::{Error, Result, output, status};

/// The word by which cargo has this program run a test program.
pub const RUN_TEST: &str = "run-test";

/// Tests of the black-box program that need more descriptors, and why.
const NEED_MORE: [(&str, &str); 4] = [
    ("hostile::deadlines::", "300 callers at once, each with a connection of its own"),
    ("hostile::floods::", "60 clients of one address beside the platform"),
    ("hostile::proxies::", "a crowd of clients behind one proxy"),
    ("faults::shortage::", "lowers and raises the host's own limit"),
];

/// The environment variable by which cargo runs test programs through this one, and its value.
pub fn runner() -> Result<(String, OsString)> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let about = output(Command::new(rustc).arg("-vV"))?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.ok_or_else(|| Error("rustc -vV names no host".to_owned()))?;
    let name = format!("CARGO_TARGET_{}_RUNNER", host.to_uppercase().replace('-', "_"));
    let mut value = std::env::current_exe()?.into_os_string();
    value.push(" ");
    value.push(RUN_TEST);
    Ok((name, value))
}

/// Runs a test program with its arguments.
pub fn run(program: &str, arguments: &[&str]) -> Result {
    let name = Path::new(program).file_name().unwrap_or_default().to_string_lossy();
    if !name.starts_with("blackbox-") {
        // Comes back only where it could not be run.
        return Err(ended_in_time(program).args(arguments).exec().into());
    }
    let mut first = limited(program);
    first.args(arguments);
    for (test, _) in NEED_MORE {
        first.args(["--skip", test]);
    }
    let mut good = status(&mut first)? == Some(0);
    let wanted = need_more(program, arguments)?;
    if !wanted.is_empty() {
        println!("\nwithout a limit of {DESCRIPTORS} file descriptors:");
        for (prefix, why) in &NEED_MORE {
            println!("  {prefix}: {why}");
        }
        let mut second = ended_in_time(program);
        second.arg("--exact").args(wanted);
        good &= status(&mut second)? == Some(0);
    }
    if good { Ok(()) } else { Err(Error(format!("{name} failed"))) }
}

/// A command that runs a program under the limit of descriptors, and for at most [`MAX_TIME`].
fn limited(program: &str) -> Command {
    let script =
        format!("ulimit -n {DESCRIPTORS}; exec timeout --kill-after=10 {MAX_TIME} \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script, program]);
    command
}

/// A command that runs a program for at most [`MAX_TIME`]. The program's last lines name the tests that ran.
fn ended_in_time(program: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=10", MAX_TIME, program]);
    command
}

/// Returns the full names of the tests in the list that these arguments of a test program select.
fn need_more(program: &str, arguments: &[&str]) -> Result<Vec<String>> {
    let listed =
        output(Command::new(program).args(arguments).args(["--list", "--format", "terse"]))?;
    let names = listed.lines().filter_map(|line| line.strip_suffix(": test"));
    let needs = |name: &&str| NEED_MORE.iter().any(|(prefix, _)| name.starts_with(prefix));
    Ok(names.filter(needs).map(str::to_owned).collect())
}

/// The limit of descriptors of the black-box tests, and of every host that they start.
pub const DESCRIPTORS: u32 = 256;

/// The time that one test program may take: three times what the longest takes on two cores.
const MAX_TIME: &str = "2400s";
