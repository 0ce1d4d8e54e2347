//! No name that was given up is left: not of a record, a code, a metric, a setting, an option or a
//! signed member (`docs/renames.tsv`), and the command line answers each with the new one; nor of a
//! type or a source file (`old_names.tsv`).
//!
//! This looks for names that nothing else is called; a single common word (`say`, `calls`) is only
//! looked for where settings are read.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use portcullis_tests::{Binding, RELEASE_SET, TestDeployment, checkout, duties};
use serde_json::json;

#[test]
fn no_old_name_is_left() {
    let table = fs::read_to_string(checkout().join("docs/renames.tsv")).unwrap();
    let old: Vec<_> = table
        .lines()
        .skip(1)
        .map(|row| {
            let cells: Vec<_> = row.split('\t').collect();
            let (kind, old) = (cells[0], cells[1]);
            let name = match kind {
                "setting" | "signed-member" | "record-member" => old.rsplit('.').next().unwrap(),
                "option" => old.rsplit(' ').next().unwrap(),
                _ => old,
            };
            (kind, name)
        })
        .filter(|(kind, name)| is_telling(kind, name))
        .collect();
    assert!(old.len() > 50, "few names are looked for: {old:?}");
    let mut left = Vec::new();
    for file in texts(&checkout()) {
        let text = fs::read_to_string(&file).unwrap_or_default();
        for (kind, name) in &old {
            for (at, _) in text.match_indices(name) {
                if is_whole(&text, at, name) {
                    let line = text.split_at(at).0.matches('\n').count() + 1;
                    left.push(format!("{}:{line}: {kind} `{name}`", file.display()));
                }
            }
        }
    }
    assert!(left.is_empty(), "old names are left:\n{}", left.join("\n"));
}

#[test]
fn old_names_are_answered_with_the_new_ones() {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    let source = deployment.read("portcullis.toml");
    let old = format!("{}{}", "head", "_ms");
    deployment
        .write("portcullis.toml", source.replace("[listen]", &format!("[listen]\n{old} = 1000")));
    let ran = deployment.run(&["check", "--config", "portcullis.toml"]);
    assert_eq!(ran.code, 64, "{}", ran.err);
    let hint = format!("`{old}` is now called `header_timeout_ms`");
    assert!(ran.err.contains(&hint), "{}", ran.err);

    let option = format!("--{}", "lift");
    let ran = deployment.run(&["break-glass", "prepare", &option, "A", "--hook", "token"]);
    assert_eq!(ran.code, 2, "{}", ran.err);
    let hint = format!("hint: `{option}` is now called `--waive`");
    assert!(ran.err.contains(&hint), "{}", ran.err);

    let mut set = deployment.opened("release/release.json");
    let fallback = set["bindings"][0].as_object_mut().unwrap().remove("fallback");
    set["bindings"][0]["say"] = fallback.unwrap_or(json!({}));
    deployment
        .write("release/release.json", deployment.forge("release", RELEASE_SET, &set.to_string()));
    deployment.write("portcullis.toml", source);
    let ran = deployment.run(&["check", "--config", "portcullis.toml"]);
    assert!(ran.err.contains("`say` is now called `fallback`"), "{}", ran.err);
}

#[test]
fn no_old_name_of_a_type_or_a_file_is_left() {
    let table = fs::read_to_string(checkout().join("tests/interop/old_names.tsv")).unwrap();
    let rows: Vec<Vec<_>> = table.lines().skip(1).map(|row| row.split('\t').collect()).collect();
    let old = |kind: &str| -> Vec<_> {
        rows.iter().filter(|row| row[0] == kind).map(|row| row[1]).collect()
    };
    let (types, files) = (old("type"), old("file"));
    assert!(types.len() > 80 && files.len() > 40, "{table}");
    let sources = ["host", "guest-sdk", "plugins", "tests", "xtask"];
    let sources = sources.iter().flat_map(|folder| texts(&checkout().join(folder)));
    let mut left = Vec::new();
    for file in sources.filter(|file| file.extension().is_some_and(|it| it == "rs")) {
        let name = file.file_name().unwrap().to_str().unwrap();
        if files.contains(&name) {
            left.push(file.display().to_string());
        }
        let text = fs::read_to_string(&file).unwrap();
        let words: BTreeSet<_> =
            text.split(|letter: char| !letter.is_alphanumeric() && letter != '_').collect();
        let found = types.iter().filter(|old| words.contains(*old));
        left.extend(found.map(|old| format!("{}: `{old}`", file.display())));
    }
    assert!(left.is_empty(), "old names are left:\n{}", left.join("\n"));
}

/// Whether nothing else can be called so.
fn is_telling(kind: &str, name: &str) -> bool {
    match kind {
        // Many commands have a `--key` still.
        "option" => name != "--key",
        "record" | "metric" => true,
        // Their old words are ordinary ones elsewhere.
        "metric-label" | "status-member" => false,
        _ => name.contains(['_', '-']),
    }
}

fn is_whole(text: &str, at: usize, name: &str) -> bool {
    let of_name = |letter: char| letter.is_ascii_alphanumeric() || "_-".contains(letter);
    let (text_before, rest) = text.split_at(at);
    let before = text_before.chars().next_back();
    let after = rest.split_at(name.len()).1.chars().next();
    // An escaped line feed (`\n`) ends with a letter.
    let begins = !before.is_some_and(of_name) || text_before.ends_with("\\n");
    begins && !after.is_some_and(of_name)
}

/// The project's texts, but for what is built and what tells of old names.
fn texts(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !["target", ".git", "node_modules", "corpus"].contains(&name.as_str()) {
                found.extend(texts(&path));
            }
        } else if ["rs", "md", "toml", "json", "txt", "wit", "service", "py", "js"]
            .iter()
            .any(|end| name.ends_with(&format!(".{end}")))
            && !["Cargo.lock", "CHANGELOG.md", "renames.rs"].contains(&name.as_str())
        {
            found.push(path);
        }
    }
    found
}
