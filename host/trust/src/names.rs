//! The names that signed documents use: plugins, prefixes, hooks, hook kinds and patterns of them,
//! utterances.
//!
//! Invariant: a name that passed is short, lower-case ASCII with one spelling, so that equal names are equal
//! bytes and none can be mistaken for a path or another part of a sentence. Which hook kinds exist is for
//! `hooks`.

use std::fmt;

use portcullis_model::{ChangeKind, Effect};

/// One kind, such as `okta.token`, or all kinds of a platform, such as `okta.*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookPattern(String);

impl HookPattern {
    /// Reads a pattern. `None` if it is neither form; `*` alone is not one, because platforms are to be
    /// named.
    pub fn parse(text: &str) -> Option<Self> {
        let names_kinds = is_hook_kind(text) || text.strip_suffix(".*").is_some_and(is_dotted);
        names_kinds.then(|| Self(text.to_owned()))
    }

    /// Whether this hook kind is among those meant.
    pub fn covers(&self, kind: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(prefix) => kind.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty()),
            None => self.0 == kind,
        }
    }
}

impl fmt::Display for HookPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Something a plugin can say that a hook kind may not have words for: an effect or a kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeName {
    /// An effect, such as `review`.
    Effect(Effect),
    /// A kind of change, such as `drop-grant`.
    Change(ChangeKind),
}

impl ChangeName {
    /// Reads `review`, `drop-grant`, `set:access-token`, …
    pub fn parse(text: &str) -> Option<Self> {
        let effect = Effect::ALL.into_iter().find(|effect| effect.name() == text).map(Self::Effect);
        effect.or_else(|| text.parse().ok().map(Self::Change))
    }
}

/// Whether this is a plugin's id: reverse DNS, such as `org.hospital.sod`.
pub(crate) fn is_plugin_id(text: &str) -> bool {
    text.contains('.') && is_dotted(text)
}

/// Whether this is a prefix of plugin ids that ends where a name ends: `org.hospital.`, not `org.hosp`.
pub(crate) fn is_plugin_prefix(text: &str) -> bool {
    text.strip_suffix('.').is_some_and(is_dotted)
}

/// Whether this is a hook kind: a platform and an event, such as `okta.token`, or a standard that has one name.
pub(crate) fn is_hook_kind(text: &str) -> bool {
    text.contains('.') && is_dotted(text) || WITHOUT_PLATFORM.contains(&text)
}

/// Whether this is one word: the name of a hook in the host's configuration, or an answer in a binding's
/// `fallback`.
pub(crate) fn is_word(text: &str) -> bool {
    text.len() <= MAX_NAME_BYTES && is_label(text)
}

/// Whether this is a sentence or a name that a person wrote for other people: one line, nothing invisible, neither empty nor endless.
pub(crate) fn is_remark(text: &str) -> bool {
    !text.trim().is_empty()
        && text.chars().all(is_plain)
        && text.chars().count() <= MAX_REMARK_CHARS
}

/// A name, or a piece of somebody else's text, as it may stand in a sentence: short, one line, nothing
/// invisible, in backticks.
pub(crate) fn quoted(text: &str) -> String {
    format!("`{}`", printable(text, MAX_QUOTED_CHARS).replace('`', "'"))
}

/// `text` cut to `most` characters and without characters that could rewrite the line it stands in.
pub(crate) fn printable(text: &str, most: usize) -> String {
    let mut shown: String =
        text.chars().map(|c| if is_plain(c) { c } else { '\u{fffd}' }).take(most).collect();
    if text.chars().nth(most).is_some() {
        shown.push('…');
    }
    shown
}

fn is_plain(c: char) -> bool {
    !portcullis_model::escape::is_unsafe_to_show(c)
}

fn is_dotted(text: &str) -> bool {
    text.len() <= MAX_NAME_BYTES && text.split('.').all(is_label)
}

/// Letters, digits and inner hyphens, as in a host name.
fn is_label(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.bytes().all(fits) && !text.starts_with('-') && !text.ends_with('-')
}

/// The hook kinds that belong to no platform.
const WITHOUT_PLATFORM: [&str; 2] = ["authzen", "generic"];

/// Bounds every name; half of what a host name may have.
const MAX_NAME_BYTES: usize = 128;

/// Bounds who, why and under which ticket.
const MAX_REMARK_CHARS: usize = 200;

/// How much of somebody's text a sentence repeats.
const MAX_QUOTED_CHARS: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugin_ids_and_prefixes() {
        for good in ["org.hospital.sod", "org.sod", "a.b-c.d0"] {
            assert!(is_plugin_id(good), "{good}");
        }
        let long = format!("org.{}", "a".repeat(125));
        for wrong in [
            "", "sod", ".sod", "org.", "org..sod", "Org.sod", "org.-a", "org.a-", "org/sod",
            "org.é", "../x", &long,
        ] {
            assert!(!is_plugin_id(wrong), "{wrong}");
        }
        assert!(is_plugin_prefix("org.hospital."));
        for wrong in ["", ".", "org.hospital", "org..", "org.hospital.*"] {
            assert!(!is_plugin_prefix(wrong), "{wrong}");
        }
    }

    #[test]
    fn patterns_cover_kinds_at_dots() {
        let covers = |pattern, kind| HookPattern::parse(pattern).unwrap().covers(kind);
        assert!(covers("okta.*", "okta.token") && covers("okta.token", "okta.token"));
        assert!(covers("authzen", "authzen") && covers("generic", "generic"));
        for (pattern, kind) in
            [("okta.*", "oktaplus.token"), ("okta.*", "okta."), ("okta.token", "okta.token-x")]
        {
            assert!(!covers(pattern, kind), "{pattern} {kind}");
        }
        for wrong in ["*", ".*", "okta*", "okta.t*", "okta", "okta.*.x", ""] {
            assert_eq!(HookPattern::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn utterances_are_effects_and_changes() {
        assert_eq!(ChangeName::parse("review"), Some(ChangeName::Effect(Effect::Review)));
        assert_eq!(
            ChangeName::parse("drop-grant"),
            Some(ChangeName::Change(ChangeKind::DropGrant))
        );
        assert_eq!(ChangeName::parse("set"), None);
    }

    #[test]
    fn what_is_repeated_cannot_rewrite_the_line() {
        assert_eq!(quoted("a\u{1b}[2J\n\u{202e}b"), "`a\u{fffd}[2J\u{fffd}\u{fffd}b`");
        assert_eq!(printable(&"é".repeat(5), 3), "ééé…");
    }
}
