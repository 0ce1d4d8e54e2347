//! Every line of the host's log has a stable name: an `event` beside its sentence.

use std::fs;
use std::path::Path;

use portcullis_tests::{below, checkout};

#[test]
fn every_line_of_the_log_has_an_event() {
    let sources =
        ["host/server/src", "host/cli/src", "host/engine/src", "host/audit/src", "host/tlog/src"];
    let files = sources.iter().flat_map(|folder| below(&checkout().join(folder)));
    let mut count = 0;
    let mut without = Vec::new();
    for file in files.filter(|file| is_source(file)) {
        let text = fs::read_to_string(&file).unwrap();
        for level in ["info", "warn", "error"] {
            let call = format!("tracing::{level}!(");
            let mut parts = text.split(call.as_str());
            let mut line = parts.next().unwrap_or_default().matches('\n').count() + 1;
            for arguments in parts {
                count += 1;
                if !names_event(arguments) {
                    without.push(format!("{}:{line}", file.display()));
                }
                line += arguments.matches('\n').count();
            }
        }
    }
    assert!(count > 100, "the sources are not where this test looks: {count} lines");
    assert!(without.is_empty(), "these lines have no `event`: {without:#?}");
}

/// Whether the arguments of a macro have an `event`.
fn names_event(arguments: &str) -> bool {
    let (mut depth, mut in_text, mut escaped) = (1, false, false);
    let mut outside = String::new();
    for letter in arguments.chars() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if in_text => escaped = true,
            '"' => in_text = !in_text,
            _ if in_text => {}
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => outside.push(letter),
        }
        if depth == 0 {
            break;
        }
    }
    let mut words = outside.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
    words.any(|word| word == "event")
}

fn is_source(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "rs")
}
