//! A Python with the packages that a test wants: readers by another hand.

use std::env;
use std::process::{Command, Stdio};

/// A Python that has this module. `None`, and a line that says so, where there is none; where somebody relies on the result
/// (`PORTCULLIS_REQUIRE_INTEROP`), that is a failure.
pub fn python(module: &str) -> Option<String> {
    let python = env::var("PORTCULLIS_PYTHON").unwrap_or_else(|_| "python3".into());
    let mut import = Command::new(&python);
    let found = import.args(["-c", &format!("import {module}")]).stderr(Stdio::null()).status();
    if found.is_ok_and(|status| status.success()) {
        return Some(python);
    }
    assert!(env::var_os("PORTCULLIS_REQUIRE_INTEROP").is_none(), "python has no `{module}`");
    println!("skipped: python has no `{module}`");
    None
}
