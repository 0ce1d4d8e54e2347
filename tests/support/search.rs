//! Searching for what must be nowhere: in every form in which it could have got there.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

/// How often bytes hold a word: plainly, as JSON spells it, as UTF-16 of either order, as hexadecimal digits, or as base64 of either alphabet at
/// any of its three alignments.
pub fn traces(bytes: &[u8], word: &str) -> usize {
    let mut forms: Vec<Vec<u8>> =
        vec![word.into(), word.to_lowercase().into(), word.to_uppercase().into()];
    let quoted = serde_json::Value::from(word).to_string();
    forms.push(quoted.trim_matches('"').into());
    let escaped = word.encode_utf16().map(|unit| match char::from_u32(unit.into()) {
        Some(plain) if plain.is_ascii() && plain != '"' => plain.to_string(),
        _ => format!("\\u{unit:04x}"),
    });
    forms.push(escaped.collect::<String>().into());
    forms.push(word.encode_utf16().flat_map(u16::to_le_bytes).collect());
    forms.push(word.encode_utf16().flat_map(u16::to_be_bytes).collect());
    let hex: String = word.bytes().map(|byte| format!("{byte:02x}")).collect();
    forms.push(hex.to_uppercase().into());
    forms.push(hex.into());
    let wide: Vec<u8> = word.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for said in [word.as_bytes(), &wide] {
        for before in 0..3 {
            let padded = [&vec![b'x'; before], said].concat();
            for encoded in [STANDARD.encode(&padded), URL_SAFE.encode(&padded)] {
                // Characters that also depend on what stands before and after the word are left out.
                let (from, to) = ([0, 2, 3][before], encoded.trim_end_matches('=').len() - 1);
                forms.push(encoded.get(from..to).unwrap_or_default().into());
            }
        }
    }
    forms.sort();
    forms.dedup();
    forms.iter().map(|form| count(bytes, form)).sum()
}

/// Every file below a folder.
#[expect(clippy::unwrap_used, reason = "a folder that does not read is a failed test")]
pub fn below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() { files.extend(below(&entry)) } else { files.push(entry) }
    }
    files
}

fn count(bytes: &[u8], form: &[u8]) -> usize {
    let Some(first) = form.first() else { return 0 };
    let starts = bytes.iter().enumerate().filter(|(_, byte)| *byte == first);
    starts.filter(|(at, _)| bytes.get(*at..at + form.len()) == Some(form)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_found_in_every_form() {
        let word = "Kråke \"7\" x";
        let wide: Vec<u8> = word.encode_utf16().flat_map(u16::to_be_bytes).collect();
        for (form, bytes) in [
            ("plain", word.as_bytes().to_vec()),
            ("capitals", word.to_uppercase().into()),
            ("json", serde_json::json!([word]).to_string().into()),
            (
                "json in json",
                serde_json::json!(serde_json::json!("Kr\u{e5}ke").to_string()).to_string().into(),
            ),
            ("escaped json", "\"Kr\\u00e5ke \\u00227\\u0022 x\"".into()),
            ("utf-16", wide),
            ("hex", word.bytes().map(|byte| format!("{byte:02x}")).collect::<String>().into()),
            ("base64", STANDARD.encode(format!("a{word}b")).into()),
            ("base64 of json", STANDARD.encode(word).into()),
            ("base64url", URL_SAFE.encode(format!("ab{word}")).into()),
        ] {
            let word = if form == "json in json" { "Kråke" } else { word };
            assert!(traces(&[b"noise ", bytes.as_slice(), b" noise"].concat(), word) > 0, "{form}");
        }
        assert_eq!(traces("Krake 7 x".as_bytes(), word), 0);
    }
}
