//! Every line of the host's log has a stable name: an `event` beside its sentence.

use std::fs;
use std::path::{Path, PathBuf};

use portcullis_tests::{below, checkout};

#[test]
fn every_line_of_the_log_has_an_event() {
    let mut count = 0;
    let mut without = Vec::new();
    for file in sources() {
        let text = fs::read_to_string(&file).unwrap();
        for level in ["debug", "info", "warn", "error"] {
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

/// A misspelt event would otherwise be found only after the patience of the test that waits for it,
/// and one that must not be there never.
#[test]
fn every_event_that_a_test_names_is_one_of_the_host() {
    let sources: String = sources().iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let tests = ["conformance", "faults", "hostile", "interop"];
    let files = tests.iter().flat_map(|folder| below(&checkout().join("tests").join(folder)));
    let calls =
        ["wait_for(", "wait_for_within(", "wait_for_times(", "log_event(", "reload_until(["];
    let (mut count, mut unknown) = (0, Vec::new());
    for file in files.filter(|file| is_source(file) && !file.ends_with("log_events.rs")) {
        let text = fs::read_to_string(&file).unwrap();
        for call in calls.iter().chain(&[".has(", ".count(", ".first(", ".all("]) {
            for rest in text.split(call).skip(1) {
                let end = if call.ends_with('[') { ']' } else { ')' };
                let first = rest.split(end).next().unwrap_or_default();
                // A description in another call's arguments is found by its own name.
                if !first.trim_start().starts_with('"') {
                    continue;
                }
                for event in first.split('"').skip(1).step_by(2).filter(|it| it.contains('.')) {
                    count += 1;
                    if !is_event(&sources, event) {
                        unknown.push(format!("{event} in {}", file.display()));
                    }
                }
            }
        }
    }
    assert!(count > 100, "the tests are not where this test looks: {count} events");
    assert!(unknown.is_empty(), "the host has no such events: {unknown:#?}");
}

fn sources() -> Vec<PathBuf> {
    let folders =
        ["host/server/src", "host/cli/src", "host/engine/src", "host/audit/src", "host/tlog/src"];
    let files = folders.iter().flat_map(|folder| below(&checkout().join(folder)));
    files.filter(|file| is_source(file)).collect()
}

/// Returns whether a line of the host has this event: as its `event`, or by a constant.
fn is_event(sources: &str, event: &str) -> bool {
    let name = format!("\"{event}\"");
    let before = sources.match_indices(&name).map(|(at, _)| sources.split_at(at).0.trim_end());
    let ends = ["event =", ": &str =", "allows(", "let event =", "let (event,"];
    before.into_iter().any(|before| ends.iter().any(|end| before.ends_with(end)))
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
