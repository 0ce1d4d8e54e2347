//! Shorthands on the contract's types: reading JSON text, making findings and decisions.
//!
//! Invariant: reading never fails loudly and never guesses: what is absent, `null` or of another type is `None`, and the
//! plugin says what that means.

use std::borrow::Cow;

use crate::{
    Attribute, Change, Decision, Effect, Entity, Finding, Grant, GrantKind, Principal, Severity,
    Target,
};

/// The string that JSON text holds; `None` when it is anything else. Borrowed unless it has escapes.
pub fn text(json: &str) -> Option<Cow<'_, str>> {
    let json = json.trim_matches(WHITE);
    let inside = json.strip_prefix('"')?.strip_suffix('"')?;
    if inside.contains(['\\', '"']) {
        return serde_json::from_str(json).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inside))
}

/// The strings that JSON text holds: those of an array, or the one that stands alone. `None` when it is anything else,
/// an array with other members included.
pub fn strings(json: &str) -> Option<Vec<Cow<'_, str>>> {
    if let Some(alone) = text(json) {
        return Some(vec![alone]);
    }
    let list: Vec<String> = serde_json::from_str(json).ok()?;
    Some(list.into_iter().map(Cow::Owned).collect())
}

impl Attribute {
    /// A named string.
    pub fn text(name: &str, value: &str) -> Self {
        let mut json = String::with_capacity(value.len() + 2);
        quote(&mut json, value);
        Self { name: name.to_owned(), value: json }
    }

    /// A named array of strings.
    pub fn texts<'a>(name: &str, values: impl IntoIterator<Item = &'a str>) -> Self {
        let mut json = String::from("[");
        for value in values {
            if json.len() > 1 {
                json.push(',');
            }
            quote(&mut json, value);
        }
        json.push(']');
        Self { name: name.to_owned(), value: json }
    }

    /// A named whole number.
    pub fn number(name: &str, value: impl Into<i64>) -> Self {
        Self { name: name.to_owned(), value: value.into().to_string() }
    }
}

impl Principal {
    /// The JSON text of an attribute; `None` when it is absent or `null`.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        find(&self.attributes, name)
    }

    /// The attribute if it is a string.
    pub fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        self.attribute(name).and_then(text)
    }
}

impl Entity {
    /// The JSON text of an attribute; `None` when it is absent or `null`.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        find(&self.attributes, name)
    }

    /// The attribute if it is a string.
    pub fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        self.attribute(name).and_then(text)
    }
}

impl Finding {
    /// A finding without arguments, of severity `info`.
    pub fn new(code: &str, effect: Effect) -> Self {
        Self {
            code: code.to_owned(),
            effect,
            severity: Severity::Info,
            arguments: Vec::new(),
            field: None,
        }
    }

    /// With this severity.
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// With one more argument for its message.
    pub fn argument(mut self, argument: Attribute) -> Self {
        self.arguments.push(argument);
        self
    }
}

impl Decision {
    /// With one more finding.
    pub fn finding(mut self, finding: Finding) -> Self {
        self.findings.push(finding);
        self
    }

    /// With one more change.
    pub fn change(mut self, change: Change) -> Self {
        self.changes.push(change);
        self
    }

    /// The strictest effect among the findings: the verdict that the host will derive.
    pub fn verdict(&self) -> Effect {
        self.findings.iter().map(|finding| finding.effect).max().unwrap_or(Effect::Abstain)
    }

    /// The findings' codes, in their order.
    pub fn codes(&self) -> Vec<&str> {
        self.findings.iter().map(|finding| finding.code.as_str()).collect()
    }
}

/// Nothing found, nothing changed: the plugin abstains.
impl Default for Decision {
    fn default() -> Self {
        Self { findings: Vec::new(), changes: Vec::new(), risk: None }
    }
}

impl GrantKind {
    /// The word in settings, manifests and records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Entitlement => "entitlement",
            Self::Group => "group",
            Self::Role => "role",
            Self::Scope => "scope",
            Self::App => "app",
            Self::Claim => "claim",
        }
    }

    /// The kind that a word names.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Entitlement, Self::Group, Self::Role, Self::Scope, Self::App, Self::Claim]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

impl Effect {
    /// The word in settings, manifests and records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Abstain => "abstain",
            Self::Allow => "allow",
            Self::StepUp => "step-up",
            Self::Review => "review",
            Self::Deny => "deny",
        }
    }
}

impl Target {
    /// The word in settings, manifests and records.
    pub fn name(self) -> &'static str {
        match self {
            Self::IdToken => "id-token",
            Self::AccessToken => "access-token",
            Self::Assertion => "assertion",
            Self::User => "user",
            Self::AppUser => "app-user",
            Self::Request => "request",
            Self::Response => "response",
        }
    }
}

impl Grant {
    /// `kind:id`, the way people write a grant.
    pub fn spelled(&self) -> String {
        format!("{}:{}", self.kind.name(), self.id)
    }
}

fn find<'a>(attributes: &'a [Attribute], name: &str) -> Option<&'a str> {
    let value = attributes.iter().find(|attribute| attribute.name == name)?.value.as_str();
    (value.trim_matches(WHITE) != "null").then_some(value)
}

/// RFC 8259 section 7, the shortest way.
fn quote(json: &mut String, value: &str) {
    json.push('"');
    for character in value.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\u{8}' => json.push_str("\\b"),
            '\u{c}' => json.push_str("\\f"),
            control if control < ' ' => json.push_str(&format!("\\u{:04x}", u32::from(control))),
            plain => json.push(plain),
        }
    }
    json.push('"');
}

/// RFC 8259 section 2.
const WHITE: [char; 4] = [' ', '\t', '\n', '\r'];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_is_only_a_string() {
        assert_eq!(text("\"a\"").as_deref(), Some("a"));
        assert_eq!(text(" \"\" ").as_deref(), Some(""));
        for other in [
            "",
            "\"",
            "a",
            "1",
            "null",
            "true",
            "[\"a\"]",
            "{}",
            "\"a\"b\"",
            "\"a\\\"",
            "\"a\" \"b\"",
        ] {
            assert_eq!(text(other), None, "{other}");
        }
    }

    #[test]
    fn strings_are_an_array_of_strings_or_one() {
        assert_eq!(strings("[\"a\", \"b\"]").unwrap_or_default(), ["a", "b"]);
        assert_eq!(strings("\"a\"").unwrap_or_default(), ["a"]);
        assert_eq!(strings("[]"), Some(Vec::new()));
        for other in ["[1]", "[\"a\", null]", "{}", "7", "[\"a\""] {
            assert_eq!(strings(other), None, "{other}");
        }
    }

    #[test]
    fn the_strictest_finding_is_the_verdict() {
        assert_eq!(Decision::default().verdict(), Effect::Abstain);
        let decision = Decision::default()
            .finding(Finding::new("A", Effect::Review))
            .finding(Finding::new("B", Effect::Deny))
            .finding(Finding::new("C", Effect::Allow));
        assert_eq!(decision.verdict(), Effect::Deny);
        assert_eq!(decision.codes(), ["A", "B", "C"]);
    }

    proptest! {
        #[test]
        fn what_is_quoted_is_json_and_reads_back(value in any::<String>(), more in any::<Vec<String>>()) {
            let one = Attribute::text("name", &value);
            prop_assert_eq!(serde_json::from_str::<String>(&one.value).ok(), Some(value.clone()));
            let read = text(&one.value);
            prop_assert_eq!(read.as_deref(), Some(value.as_str()));
            let list = Attribute::texts("names", more.iter().map(String::as_str));
            prop_assert_eq!(serde_json::from_str::<Vec<String>>(&list.value).ok(), Some(more.clone()));
            let read = strings(&list.value).map(|list| list.into_iter().map(Cow::into_owned).collect::<Vec<_>>());
            prop_assert_eq!(read, Some(more));
        }
    }
}
