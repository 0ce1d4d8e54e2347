//! Golden files: what third parties see, to the letter. `BLESS=1` writes them anew.

use std::{env, fs};

use crate::checkout;

/// Holds a text against the golden file of this name.
#[expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a golden file that is missing or differs is a failed test"
)]
pub fn golden(name: &str, text: &str) {
    let file = checkout().join("tests/golden").join(name);
    if env::var_os("BLESS").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
        return;
    }
    let wanted = fs::read_to_string(&file)
        .unwrap_or_else(|_| panic!("`{}` is missing: run with BLESS=1", file.display()));
    let differs = text.lines().zip(wanted.lines()).position(|(is, was)| is != was);
    let line = differs.unwrap_or_else(|| text.lines().count().min(wanted.lines().count()));
    let (is, was) = (text.lines().nth(line), wanted.lines().nth(line));
    assert!(
        text == wanted,
        "`{name}` differs in line {}:\n is {is:?}\nwas {was:?}\nif that is meant, run with BLESS=1",
        line + 1
    );
}

/// A text with every digest and key replaced by `…`, and every number by `0`: what is left is the same in
/// every house.
pub fn normal(text: &str) -> String {
    let word = |word: &str| {
        let hexadecimal = word.len() >= 8 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        match () {
            () if hexadecimal => "…".to_owned(),
            // A time, such as 2026-11-30T19:33:49Z, has letters in it.
            () if word.starts_with(|letter: char| letter.is_ascii_digit())
                && word.bytes().all(|byte| byte.is_ascii_digit() || b"TZ".contains(&byte)) =>
            {
                "0".to_owned()
            }
            () => word.to_owned(),
        }
    };
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(|letter: char| !letter.is_ascii_alphanumeric()) {
        let (before, after) = rest.split_at(at);
        let mark = after.chars().next().map_or(0, char::len_utf8);
        let (mark, after) = after.split_at(mark);
        out.push_str(&word(before));
        out.push_str(mark);
        rest = after;
    }
    out + &word(rest)
}

/// Holds a part of a page of the documentation against what a test found. It stands between
/// `<!-- NAME -->` and `<!-- end of NAME -->`.
#[expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a part that is missing or differs is a failed test"
)]
pub fn golden_part(page: &str, name: &str, text: &str) {
    let file = checkout().join("docs").join(page);
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->\n"));
    let whole = fs::read_to_string(&file).unwrap();
    let parts = whole.split_once(&begin).and_then(|(before, rest)| {
        let (part, after) = rest.split_once(&end)?;
        Some((before, part, after))
    });
    let Some((before, part, after)) = parts else { panic!("`{page}` has no part `{name}`") };
    if env::var_os("BLESS").is_some() {
        fs::write(&file, [before, &begin, text, &end, after].concat()).unwrap();
        return;
    }
    let differs = text.lines().zip(part.lines()).find(|(is, was)| is != was);
    assert!(
        text == part,
        "`{name}` in `{page}` differs: {differs:?}\nif that is meant, run with BLESS=1"
    );
}
