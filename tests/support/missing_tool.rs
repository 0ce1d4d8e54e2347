//! Tools that a test needs and a machine may lack: nothing is skipped without being counted.
//!
//! Invariant: a test without its tool fails, except where `PORTCULLIS_SKIP_MISSING=1` allows to
//! skip it; then a line in the file that `PORTCULLIS_SKIPPED` names has the test and the tool, and
//! `cargo xtask test` counts those lines. Only the standard library is used here: the tests of the
//! host's crates include this file by its path.

use std::env;
use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::thread;

/// The missing tool, and where it comes from.
#[derive(Clone, Copy, Debug)]
pub struct MissingTool {
    /// The tool that a test asked for.
    pub name: &'static str,
    /// Where it comes from, such as a Debian package.
    pub source: &'static str,
}

impl MissingTool {
    /// Counts the running test as skipped.
    ///
    /// # Panics
    /// Where skipping is not allowed: then the test has failed.
    #[track_caller]
    pub fn skip(self) {
        skip(self.name, self.source);
    }
}

/// Counts the running test, or a part of it, as skipped because of what is missing.
///
/// # Panics
/// Where skipping is not allowed: then the test has failed.
#[track_caller]
pub fn skip(missing: impl Display, source: &str) {
    assert!(
        env::var_os("PORTCULLIS_SKIP_MISSING").is_some_and(|allowed| allowed == "1"),
        "{missing} is missing: it comes with {source}; PORTCULLIS_SKIP_MISSING=1 skips the tests \
         that need it"
    );
    let test = thread::current();
    let line = format!("{}: {missing} is missing\n", test.name().unwrap_or("a test"));
    print!("SKIPPED {line}");
    if let Some(file) = env::var_os("PORTCULLIS_SKIPPED") {
        // One write a line, so that lines of several programs do not mix.
        let opened = OpenOptions::new().append(true).create(true).open(&file);
        let written = opened.and_then(|mut file| file.write_all(line.as_bytes()));
        assert!(written.is_ok(), "{} could not be written: {written:?}", file.display());
    }
}

/// Evaluates to the tool, or returns from the test where it is missing and the run allows that.
#[macro_export]
macro_rules! require_tool {
    ($found:expr) => {
        match $found {
            Ok(tool) => tool,
            Err(missing) => return missing.skip(),
        }
    };
}
