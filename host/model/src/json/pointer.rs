//! JSON Pointer (RFC 6901): splitting, unescaping and escaping reference tokens.
//!
//! Invariant: a pointer has one spelling, so equal places are equal text. Following one is
//! [`Value::pointer`](super::Value).

use std::borrow::Cow;

/// The reference tokens of a pointer, unescaped; nothing where it is malformed. The empty pointer has none.
pub fn split_pointer(pointer: &str) -> Option<Vec<Cow<'_, str>>> {
    match pointer.strip_prefix('/') {
        Some(tokens) => tokens.split('/').map(unescape_token).collect(),
        None => pointer.is_empty().then(Vec::new),
    }
}

/// A member's name as a reference token: `~` and `/` escaped.
pub fn escape_token(name: &str) -> Cow<'_, str> {
    if name.contains(['~', '/']) {
        Cow::Owned(name.replace('~', "~0").replace('/', "~1"))
    } else {
        Cow::Borrowed(name)
    }
}

/// A reference token as an array index (RFC 6901 section 4): digits, no leading zero. `-` is none.
pub fn array_index(token: &str) -> Option<usize> {
    let canonical = token == "0" || !token.starts_with(['0', '+']);
    canonical.then(|| token.parse().ok())?
}

/// One token; nothing where a `~` is followed by neither `0` nor `1`.
pub(super) fn unescape_token(token: &str) -> Option<Cow<'_, str>> {
    let mut parts = token.split('~');
    let first = parts.next().unwrap_or_default();
    if first.len() == token.len() {
        return Some(Cow::Borrowed(token));
    }
    let mut name = first.to_owned();
    for part in parts {
        let (escaped, rest) = match part.strip_prefix('0') {
            Some(rest) => ('~', rest),
            None => ('/', part.strip_prefix('1')?),
        };
        name.push(escaped);
        name.push_str(rest);
    }
    Some(Cow::Owned(name))
}
