//! Where every crate comes from, under which licence, and how often: `cargo metadata` against
//! `deny.toml`.
//!
//! Advisories need a database from the network: `cargo deny check advisories` looks them up.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use portcullis_tests::checkout;
use serde_json::Value;

#[test]
fn every_crate_is_from_the_registry_under_an_allowed_licence_and_there_once() {
    let policy: toml::Table =
        fs::read_to_string(checkout().join("deny.toml")).unwrap().parse().unwrap();
    let allowed: BTreeSet<_> =
        policy["licenses"]["allow"].as_array().unwrap().iter().map(text).collect();
    let skipped: BTreeSet<_> = policy["bans"]["skip"]
        .as_array()
        .unwrap()
        .iter()
        .map(|skip| text(&skip["crate"]))
        .collect();

    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    let metadata = cargo
        .args(["metadata", "--locked", "--offline", "--format-version", "1"])
        // Crates of other platforms are not downloaded by a build.
        .args(["--filter-platform", &host()])
        .current_dir(checkout())
        .output()
        .unwrap();
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();

    let mut wrong = Vec::new();
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        let of = |member: &str| package[member].as_str();
        let (name, version) = (of("name").unwrap(), of("version").unwrap());
        versions.entry(name).or_default().insert(version);
        // A package without a source is in this checkout.
        if of("source").is_some_and(|source| !source.starts_with("registry+")) {
            wrong.push(format!("{name} {version} comes from {}", of("source").unwrap()));
        }
        let licence = of("license").unwrap_or_default();
        if !is_allowed(licence, &allowed) {
            wrong.push(format!("{name} {version} has the licence `{licence}`"));
        }
    }
    for (name, versions) in &versions {
        if versions.len() > 1 && !skipped.contains(*name) {
            wrong.push(format!("{name} is there in {versions:?}"));
        }
    }
    let elsewhere = |skip: &toml::Value| text(&skip["reason"]).contains("on other platforms");
    let here = policy["bans"]["skip"].as_array().unwrap().iter().filter(|skip| !elsewhere(skip));
    for name in here.map(|skip| text(&skip["crate"])) {
        let count = versions.get(name.as_str()).map_or(0, BTreeSet::len);
        if count < 2 {
            wrong.push(format!("{name} is there {count} times and need not be skipped"));
        }
    }
    assert!(wrong.is_empty(), "against deny.toml:\n{}", wrong.join("\n"));
}

#[test]
fn licence_expressions_are_read_as_spdx_has_them() {
    let allowed = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"];
    let allowed = allowed.map(String::from).into();
    for (expression, is) in [
        ("MIT", true),
        ("MIT/Apache-2.0", true),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("(GPL-3.0 OR MIT) AND Apache-2.0", true),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("MIT WITH LLVM-exception", false),
        ("", false),
    ] {
        assert_eq!(is_allowed(expression, &allowed), is, "{expression}");
    }
}

/// Whether a licence expression can be met with the allowed licences: `AND` binds more than `OR`.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<_> = spaced.split_whitespace().collect();
    let mut words = words.as_slice();
    either(&mut words, allowed) && words.is_empty()
}

fn either(words: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let mut met = both(words, allowed);
    while let [word, rest @ ..] = *words
        && *word == "OR"
    {
        *words = rest;
        met |= both(words, allowed);
    }
    met
}

fn both(words: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let mut met = single(words, allowed);
    while let [word, rest @ ..] = *words
        && *word == "AND"
    {
        *words = rest;
        met &= single(words, allowed);
    }
    met
}

fn single(words: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    match *words {
        ["(", rest @ ..] => {
            *words = rest;
            let met = either(words, allowed);
            *words = words.get(1..).unwrap_or_default();
            met
        }
        [licence, "WITH", exception, rest @ ..] => {
            *words = rest;
            allowed.contains(&format!("{licence} WITH {exception}"))
        }
        [licence, rest @ ..] => {
            *words = rest;
            allowed.contains(*licence)
        }
        [] => false,
    }
}

/// The platform that this was built for, as `rustc` names it.
fn host() -> String {
    let told = Command::new("rustc").arg("-vV").output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    told.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned()
}

fn text(value: &toml::Value) -> String {
    value.as_str().unwrap().to_owned()
}
