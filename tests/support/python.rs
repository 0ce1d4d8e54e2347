//! A Python with the packages that a test wants: readers by another hand.

use std::env;
use std::process::{Command, Stdio};

use crate::MissingTool;

/// A Python that has this module.
///
/// # Errors
/// There is none.
pub fn python(module: &'static str) -> Result<String, MissingTool> {
    let python = env::var("PORTCULLIS_PYTHON").unwrap_or_else(|_| "python3".into());
    let mut import = Command::new(&python);
    let found = import.args(["-c", &format!("import {module}")]).stderr(Stdio::null()).status();
    if found.is_ok_and(|status| status.success()) {
        return Ok(python);
    }
    Err(MissingTool {
        name: module,
        source: "the Python packages that `cargo xtask test` fetches, for the Python that PORTCULLIS_PYTHON names (`python/python` in the target directory)",
    })
}
