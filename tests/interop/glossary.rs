//! The glossary: its terms are those of the code and of the pages, and the words that were given up
//! are in neither.
//!
//! Words are looked for, not meanings: a term that is used wrongly is not found here.

use std::fs;
use std::path::{Path, PathBuf};

use portcullis_tests::{below, checkout};

#[test]
fn the_glossary_is_in_order_and_has_the_words_of_the_formats() {
    let page = glossary();
    let terms: Vec<_> = terms(&page).iter().map(|term| term.to_lowercase()).collect();
    assert!(terms.len() >= 60, "{} terms", terms.len());
    assert!(terms.is_sorted() && terms.windows(2).all(|pair| pair[0] != pair[1]), "{terms:?}");
    for (file, words) in [
        ("host/model/src/decision.rs", &["abstain", "allow", "step-up", "review", "deny"][..]),
        ("host/trust/src/manifest.rs", &["journal", "search", "waive"]),
        ("host/model/src/decision.rs", &["enforce", "advise", "monitor"]),
    ] {
        let code = fs::read_to_string(checkout().join(file)).unwrap();
        for word in words {
            assert!(code.contains(&format!("\"{word}\"")), "{file} does not have `{word}`");
            assert!(page.contains(word), "the glossary does not have `{word}`");
        }
    }
}

#[test]
fn each_term_is_used_outside_the_glossary() {
    let page = glossary();
    let pages: Vec<_> = pages().iter().map(|page| words(&read(page))).collect();
    let pages = pages.concat();
    let code: String = sources().iter().map(|file| read(file).to_lowercase()).collect();
    let mut unused = Vec::new();
    for term in terms(&page).iter().flat_map(|cell| cell.split(", ")) {
        let plain = words(term);
        // As a name: `safe_answer`, `safe-answer`, `SafeAnswer`.
        let mut names = ["_", "-", ""].iter().map(|joint| plain.trim().replace(' ', joint));
        if !pages.contains(plain.trim_end()) && !names.any(|name| code.contains(&name)) {
            unused.push(term);
        }
    }
    assert!(unused.is_empty(), "terms that are used nowhere else: {unused:?}");
}

#[test]
fn no_given_up_word_is_left() {
    let page = glossary();
    let (_, table) = page.split_once(GIVEN_UP).unwrap();
    let given_up: Vec<_> =
        cells(table).into_iter().flat_map(|cell| cell.split(", ")).map(words).collect();
    assert!(given_up.len() > 20, "the table was not read: {given_up:?}");
    let mut left = Vec::new();
    for file in pages() {
        let text = words(&prose(&read(&file)));
        let found = given_up.iter().filter(|phrase| text.contains(*phrase));
        left.extend(found.map(|phrase| format!("{}: `{}`", file.display(), phrase.trim())));
    }
    // A single word can be a name in the code.
    let phrases: Vec<_> = given_up.iter().filter(|phrase| phrase.trim().contains(' ')).collect();
    for file in sources() {
        let text = words(&texts(&read(&file)));
        let found = phrases.iter().filter(|phrase| text.contains(**phrase));
        left.extend(found.map(|phrase| format!("{}: `{}`", file.display(), phrase.trim())));
    }
    assert!(left.is_empty(), "given-up words are left:\n{}", left.join("\n"));
}

fn glossary() -> String {
    read(&checkout().join("docs/glossary.md"))
}

/// The first column of the table of terms.
fn terms(page: &str) -> Vec<&str> {
    cells(page.split_once(GIVEN_UP).unwrap().0)
}

/// The first column of a table, without its heading.
fn cells(table: &str) -> Vec<&str> {
    let rows = table.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
    rows.map(|(cell, _)| cell).skip(1).collect()
}

/// Every page but the glossary itself, and the generated one about test runs.
fn pages() -> Vec<PathBuf> {
    let root = checkout();
    let outer = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"];
    let outer = outer.iter().map(|name| root.join(name));
    let inner = below(&root.join("docs")).into_iter().filter(|file| has_ending(file, "md"));
    let own = |file: &PathBuf| !file.ends_with("glossary.md") && !file.ends_with("long-tests.md");
    let found: Vec<_> = outer.chain(inner).filter(own).collect();
    assert!(found.len() > 15, "the pages are not where this test looks: {found:?}");
    found
}

/// The sources of the host, without its tests.
fn sources() -> Vec<PathBuf> {
    let host = checkout().join("host");
    let of_test = |file: &Path| {
        let inner = file.strip_prefix(&host).unwrap_or(file);
        inner.ends_with("tests.rs") || inner.iter().any(|folder| folder == "tests")
    };
    let files = below(&host).into_iter();
    let found: Vec<_> = files.filter(|file| has_ending(file, "rs") && !of_test(file)).collect();
    assert!(found.len() > 100, "the sources are not where this test looks: {}", found.len());
    found
}

fn has_ending(file: &Path, ending: &str) -> bool {
    file.extension().is_some_and(|extension| extension == ending)
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap()
}

/// A page without its code blocks and code spans.
fn prose(page: &str) -> String {
    let outside: Vec<_> = page.split("```").step_by(2).collect();
    outside.concat().split('`').step_by(2).collect::<Vec<_>>().join(" ")
}

/// A source without its comments, from its beginning to its unit tests.
fn texts(source: &str) -> String {
    let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines =
        source.lines().map(|line| if line.trim_start().starts_with("//") { "" } else { line });
    lines.collect::<Vec<_>>().join("\n")
}

/// The words of a text, in lower case, with one space before, between and after them. Names with
/// underscores and hyphens are one word each.
fn words(text: &str) -> String {
    let is_in_word = |letter: char| letter.is_alphanumeric() || "_-'".contains(letter);
    let lower = text.to_lowercase();
    let words = lower.split(|letter: char| !is_in_word(letter)).filter(|word| !word.is_empty());
    format!(" {} ", words.collect::<Vec<_>>().join(" "))
}

/// The heading of the second table.
const GIVEN_UP: &str = "\n## Given-up words\n";
