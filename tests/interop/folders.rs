//! The folders of the server depend on one another in one direction only.
//!
//! `host/server/src/lib.rs` lists them so that each uses only those above it. A folder that uses
//! one below it would close a cycle sooner or later. Unit tests may use anything.

use std::fs;
use std::path::{Path, PathBuf};

use portcullis_tests::checkout;

#[test]
fn each_folder_of_the_server_uses_only_those_above_it() {
    let source = checkout().join("host/server/src");
    let library = fs::read_to_string(source.join("lib.rs")).unwrap();
    let order: Vec<_> = library
        .lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'))
        .collect();
    assert!(order.len() > 20, "{order:?}");
    let place = |folder: &str| {
        let place = order.iter().position(|known| *known == folder);
        place.unwrap_or_else(|| panic!("`{folder}` is not listed in lib.rs"))
    };
    let mut wrong = Vec::new();
    let mut used = 0;
    for file in sources(&source) {
        let relative = file.strip_prefix(&source).unwrap().to_str().unwrap().to_owned();
        let folder = relative.split(['/', '.']).next().unwrap();
        if folder == "lib" {
            continue;
        }
        for target in targets(&fs::read_to_string(&file).unwrap()) {
            used += 1;
            if place(&target) > place(folder) {
                wrong.push(format!("{relative} uses `{target}`, which is below `{folder}`"));
            }
        }
    }
    assert!(used > 300, "only {used} uses were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The folders that a file uses outside of its tests and comments.
fn targets(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let paths = lines.flat_map(|line| line.split("crate::").skip(1));
    // Folders in one pair of braces would not be seen.
    assert!(!code.contains("crate::{"), "use one line for each folder");
    let names = paths.map(|rest| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        rest.split_at(end).0.to_owned()
    });
    names.filter(|name| !name.is_empty()).collect()
}

/// Every source file below a folder but files of tests.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => sources(&path),
            false => vec![path],
        })
        .filter(|path| path.extension().is_some_and(|it| it == "rs") && !path.ends_with("tests.rs"))
        .collect()
}
