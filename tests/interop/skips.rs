//! No test passes because the machine lacks what it needs.

use std::fs;

use portcullis_tests::{below, checkout};

#[test]
fn a_test_is_skipped_only_where_it_is_counted() {
    let folders = ["conformance", "faults", "hostile", "interop", "support"];
    let mut files: Vec<_> =
        folders.iter().flat_map(|it| below(&checkout().join("tests").join(it))).collect();
    for one in fs::read_dir(checkout().join("host")).unwrap() {
        let tests = one.unwrap().path().join("tests");
        if tests.is_dir() {
            files.extend(below(&tests));
        }
    }
    let counted = checkout().join("tests/support/missing_tool.rs");
    let mut wrong = Vec::new();
    for file in files.iter().filter(|file| **file != counted) {
        let Ok(text) = fs::read_to_string(file) else { continue };
        for word in ["skipped", "SKIPPED"] {
            if text.contains(&format!("println!(\"{word}")) {
                wrong.push(file.display().to_string());
            }
        }
    }
    assert!(files.len() > 100, "the tests are not where this test looks: {}", files.len());
    assert!(wrong.is_empty(), "skipped without being counted (`require_tool!`): {wrong:#?}");
}
