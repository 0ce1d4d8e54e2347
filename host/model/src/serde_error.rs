//! Messages of parsers, in an operator's words.

use crate::renames;

/// A parser's message without the words and type names of Rust, on one line.
pub fn humanize(message: &str) -> String {
    let mut words = Vec::new();
    let mut rest = message.split_whitespace();
    while let Some(word) = rest.next() {
        let bare = word.trim_end_matches(',');
        match bare {
            "u64" | "u32" | "i64" => words.push(word.replace(bare, "a whole number")),
            "struct" => {
                let name = rest.next().unwrap_or_default();
                words.push(format!("an object{}", if name.ends_with(',') { "," } else { "" }));
            }
            "field" => words.push("member".to_owned()),
            "variant" => words.push("value".to_owned()),
            _ => words.push(word.to_owned()),
        }
    }
    let hint = renames::hint(message).unwrap_or_default();
    words.join(" ") + &hint
}
