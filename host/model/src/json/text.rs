//! Strings: writing one as JSON, and reading the inside of one that the parser has accepted.
//!
//! Invariant: `unescape` undoes `quote`. Validity of escapes is the parser's business, not this file's.

/// Appends `text` as a JSON string, quotation marks included. Escapes only what RFC 8259 section 7 demands.
#[inline]
pub fn quote(out: &mut String, text: &str) {
    out.push('"');
    escape(out, text);
    out.push('"');
}

/// Appends the inside of a JSON string.
#[inline]
pub(super) fn escape(out: &mut String, text: &str) {
    // Nearly no text has such a byte.
    match has_special(text.as_bytes()) {
        false => out.push_str(text),
        true => escape_special(out, text),
    }
}

fn escape_special(out: &mut String, text: &str) {
    let mut rest = text;
    while let Some((before, special, after)) = split_special(rest) {
        out.push_str(before);
        match special {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            control => {
                out.push_str("\\u00");
                out.extend(
                    [control >> 4, control & 15]
                        .iter()
                        .filter_map(|&digit| char::from_digit(digit.into(), 16)),
                );
            }
        }
        rest = after;
    }
    out.push_str(rest);
}

/// The characters between the quotation marks of a valid JSON string.
pub(super) fn unescape(inner: &str) -> impl Iterator<Item = char> {
    let mut chars = inner.chars();
    std::iter::from_fn(move || match chars.next()? {
        '\\' => Some(match chars.next()? {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let mut unit = hexadecimal(&mut chars);
                if (0xD800..0xDC00).contains(&unit) {
                    let low = hexadecimal(&mut chars.by_ref().skip(2));
                    unit = 0x10000 + ((unit & 0x3FF) << 10) + (low & 0x3FF);
                }
                char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            itself => itself,
        }),
        plain => Some(plain),
    })
}

fn hexadecimal(chars: &mut impl Iterator<Item = char>) -> u32 {
    chars.take(4).fold(0, |unit, digit| unit << 4 | digit.to_digit(16).unwrap_or(0))
}

/// What stands before the first byte that needs an escape, that byte, and what follows. Such a byte is always
/// ASCII.
fn split_special(text: &str) -> Option<(&str, u8, &str)> {
    let at = text.bytes().position(is_special)?;
    let special = text.as_bytes().get(at)?;
    Some((text.get(..at)?, *special, text.get(at + 1..)?))
}

fn is_special(byte: u8) -> bool {
    matches!(byte, 0..0x20 | b'"' | b'\\')
}

/// Returns whether a byte needs an escape, eight of them at a time: most texts are names and codes.
#[inline]
fn has_special(text: &[u8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    // The high bit of a byte is set where the byte is less than `than`, and where a less one is
    // before it; never where none is.
    let less = |word: u64, than: u64| word.wrapping_sub(ONES * than) & !word & HIGHS;
    let is = |word: u64, byte: u8| less(word ^ (ONES * u64::from(byte)), 1);
    let found = |word| (less(word, 0x20) | is(word, b'"') | is(word, b'\\')) != 0;
    let (words, rest) = text.as_chunks();
    words.iter().any(|word| found(u64::from_ne_bytes(*word)))
        || rest.iter().copied().any(is_special)
}
