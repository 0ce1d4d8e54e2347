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

/// A text with what differs in every deployment replaced: digests and keys by `…`, times by `TIME`,
/// and the number behind each of these texts by `N`. Every other number stays, so that a status, a
/// version or a count that changes is found.
pub fn normal(text: &str, volatile: &[&str]) -> String {
    let mut out = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let of_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let ends = rest.find(|letter: char| !of_word(letter)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(ends);
        let is_hexadecimal = word.len() >= 8 && word.bytes().all(|it| it.is_ascii_hexdigit());
        let is_number = !word.is_empty() && word.bytes().all(|it| it.is_ascii_digit());
        if let Some(length) = time_at(rest) {
            out.push_str("TIME");
            rest = rest.split_at(length).1;
            continue;
        } else if is_hexadecimal {
            out.push('…');
        } else if is_number && volatile.iter().any(|before| out.ends_with(before)) {
            out.push('N');
        } else {
            out.push_str(word);
        }
        let mark = after.chars().next().map_or(0, char::len_utf8);
        let (mark, after) = after.split_at(mark);
        out.push_str(mark);
        rest = after;
    }
    out
}

/// The length of the time that a text begins with, such as 2026-11-30T19:33:49Z.
fn time_at(text: &str) -> Option<usize> {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00Z";
    let fits = |(is, shape): (u8, &u8)| match shape {
        b'0' => is.is_ascii_digit(),
        other => is == *other,
    };
    (text.len() >= SHAPE.len() && text.bytes().zip(SHAPE).all(fits)).then_some(SHAPE.len())
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
