//! The table of meaning: what each hook kind can say of what plugins can want.
//!
//! Invariant: every effect and every change has exactly one saying for every hook kind. `native` is said in
//! the platform's own words; `mapped` only becomes something else where the binding names it; `unsayable` is
//! refused before a binding is active. `docs/hook-kinds.md` is this table; what it says is each kind's adapter.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use portcullis_model::{ChangeKind, Effect, Emits};

use crate::adapter::{FailureBehaviour, Shown};
use crate::kind::HookKind;
use crate::request::HookSettings;
use crate::support::waived;

pub use crate::support::{FallbackTo, Support};

/// A binding's mapping: effect or change, as manifests spell them without place (`step-up`, `drop-grant`,
/// `set:user`), to the name of a [`FallbackTo`].
pub type Mapping = BTreeMap<String, String>;

/// Operator: a binding that cannot say what its plugin may emit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CapabilityError {
    /// No words, no mapping.
    #[error("`{hook}` does not support `{what}`: {why}", hook = kind.name())]
    Unsupported {
        /// On which hook kind.
        kind: HookKind,
        /// The effect or change.
        what: String,
        /// Why.
        why: &'static str,
    },
    /// Has to be mapped, and is not.
    #[error("`{hook}` has no field for `{what}`, and the binding names no fallback for it: {why}", hook = kind.name())]
    Unmapped {
        /// On which hook kind.
        kind: HookKind,
        /// The effect or change.
        what: String,
        /// The possible targets.
        to: &'static [FallbackTo],
        /// Why it has to be.
        why: &'static str,
    },
    /// Mapped to something else than can be.
    #[error("`{mapped}` is not a fallback for `{what}` on `{hook}`", hook = kind.name())]
    InvalidFallback {
        /// On which hook kind.
        kind: HookKind,
        /// The effect or change.
        what: String,
        /// The target that the binding names.
        mapped: String,
        /// The possible targets.
        to: &'static [FallbackTo],
    },
    /// A mapping of something that needs none or is nothing.
    #[error("the fallback for `{what}` has no effect on `{hook}`", hook = kind.name())]
    UnusedFallback {
        /// On which hook kind.
        kind: HookKind,
        /// The effect or change that the binding maps.
        what: String,
    },
}

/// Returns the support of a hook kind for an effect.
pub fn effect(kind: HookKind, effect: Effect) -> Support {
    kind.adapter().effect_support(effect)
}

/// Returns the support of a hook kind for a change.
pub fn change(kind: HookKind, change: ChangeKind) -> Support {
    match change {
        // The host carries it out itself, whatever the platform.
        ChangeKind::Waive => waived(),
        _ => kind.adapter().change_support(change),
    }
}

/// Whether a binding can say everything that its plugin may emit.
///
/// # Errors
/// All complaints, effects first.
pub fn check_binding(
    kind: HookKind,
    emits: &Emits,
    mapping: &Mapping,
) -> Result<(), Vec<CapabilityError>> {
    let effects = emits.effects().iter().map(|&it| (it.name().to_owned(), effect(kind, it)));
    let changes =
        emits.change_kinds(kind.name()).into_iter().map(|it| (it.to_string(), change(kind, it)));
    let mut complaints: Vec<_> = effects
        .chain(changes)
        .filter_map(|(what, saying)| complaint(kind, what, saying, mapping))
        .collect();
    let needs_mapping = |what: &str| {
        sayings(kind).any(|(name, saying)| name == what && matches!(saying, Support::Fallback(..)))
    };
    let pointless = mapping.keys().filter(|what| !needs_mapping(what));
    complaints
        .extend(pointless.map(|what| CapabilityError::UnusedFallback { kind, what: what.clone() }));
    if complaints.is_empty() { Ok(()) } else { Err(complaints) }
}

/// The whole table as Markdown: `docs/hook-kinds.md`.
pub fn table() -> String {
    let mut text = String::from(HEAD);
    text.push_str(TEXTS);
    for kind in HookKind::ALL {
        let (reader, note) = match kind.adapter().shown() {
            Shown::Person(place) => ("the person", place),
            Shown::Application(place) => ("the application, which may show it", place),
            Shown::Operator(place) => ("an operator", place),
            Shown::Nobody(why) => ("**no person**", why),
        };
        let _ = writeln!(text, "| [`{0}`](#{1}) | {reader} | {note} |", kind.name(), anchor(kind));
    }
    for kind in HookKind::ALL {
        let name = kind.name();
        let _ = write!(text, "\n## `{name}`\n\n");
        let seconds = |time: Duration| time.as_secs_f64();
        let (limit, budget) = (seconds(kind.platform_limit()), seconds(kind.default_budget()));
        let about = kind.adapter().description();
        let about =
            format!("The platform waits {limit} s; the default budget is {budget} s. {about}");
        let _ = writeln!(text, "{}", wrap(&about));
        let required: Vec<_> = kind.required().iter().map(|member| format!("`{member}`")).collect();
        if !required.is_empty() {
            let required = format!(
                "The host refuses a request, and names the member, if one of these is missing or \
                 cannot be read: {}.",
                required.join(", ")
            );
            let _ = writeln!(text, "\n{}", wrap(&required));
        }
        let inputs = format!(
            "A plugin can read {} and the parts of the payload that its manifest names.",
            inputs(kind)
        );
        let _ = writeln!(text, "\n{}", wrap(&inputs));
        text.push_str("\n| answer | the platform |\n|---|---|\n");
        let FailureBehaviour { empty, client_error, server_error, timeout } =
            kind.failure_behaviour();
        for (answer, reaction) in [
            ("204, or no body", empty),
            ("4xx", client_error),
            ("5xx", server_error),
            ("no answer", timeout),
        ] {
            let _ = writeln!(text, "| {answer} | {reaction} |");
        }
        text.push_str("\n| effect or change | support | form, or reason |\n|---|---|---|\n");
        for (what, saying) in sayings(kind) {
            let (word, note) = match saying {
                Support::Native(how) => ("native".to_owned(), how),
                Support::Fallback(to, why) => (format!("fallback: {}", names(to)), why),
                Support::Unsupported(why) => ("unsupported".to_owned(), why),
            };
            let _ = writeln!(text, "| `{what}` | {word} | {note} |");
        }
    }
    text
}

impl CapabilityError {
    /// The code on the command line and in records.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unsupported { .. } => "unsupported",
            Self::Unmapped { .. } => "fallback-missing",
            Self::InvalidFallback { .. } => "fallback-wrong",
            Self::UnusedFallback { .. } => "fallback-unused",
        }
    }

    /// Returns the hint: what to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unsupported { .. } => {
                "bind the plugin to a hook kind that supports it, or remove it from the \
                 manifest's `emits`"
                    .into()
            }
            Self::Unmapped { what, to, .. } | Self::InvalidFallback { what, to, .. } => {
                format!("set the binding's fallback for `{what}` to {}", names(to))
            }
            Self::UnusedFallback { what, .. } => {
                format!("remove `{what}` from the binding's `fallback`")
            }
        })
    }
}

/// The inputs that calls of a kind can have, where its hook is set up for all of it.
fn inputs(kind: HookKind) -> String {
    if kind == HookKind::Generic {
        return "the places that the hook's `mapping` names".to_owned();
    }
    let everything = HookSettings { subject: Some(String::new()), ..HookSettings::default() };
    let mut inputs = kind.adapter().inputs(&everything);
    inputs.sort_unstable();
    let inputs: Vec<_> = inputs.iter().map(|input| format!("`{input}`")).collect();
    inputs.join(", ")
}

/// Breaks a paragraph into lines of at most [`COLUMNS`], at its spaces.
fn wrap(paragraph: &str) -> String {
    let (mut text, mut column) = (String::new(), 0);
    for word in paragraph.split(' ') {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > COLUMNS {
            text.push('\n');
            column = 0;
        }
        if column > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
    }
    text
}

/// The anchor of a kind's heading.
fn anchor(kind: HookKind) -> String {
    kind.name().replace('.', "")
}

/// Every effect and change there is, with its saying.
fn sayings(kind: HookKind) -> impl Iterator<Item = (String, Support)> {
    let effects = Effect::ALL.into_iter().map(move |it| (it.name().to_owned(), effect(kind, it)));
    effects.chain(ChangeKind::all().map(move |it| (it.to_string(), change(kind, it))))
}

fn complaint(
    kind: HookKind,
    what: String,
    saying: Support,
    mapping: &Mapping,
) -> Option<CapabilityError> {
    match (saying, mapping.get(&what)) {
        (Support::Native(_), _) => None,
        (Support::Unsupported(why), _) => Some(CapabilityError::Unsupported { kind, what, why }),
        (Support::Fallback(to, why), None) => {
            Some(CapabilityError::Unmapped { kind, what, to, why })
        }
        (Support::Fallback(to, _), Some(mapped)) if to.iter().any(|to| to.name() == mapped) => None,
        (Support::Fallback(to, _), Some(mapped)) => {
            Some(CapabilityError::InvalidFallback { kind, what, mapped: mapped.clone(), to })
        }
    }
}

fn names(to: &[FallbackTo]) -> String {
    let names: Vec<_> = to.iter().map(|to| format!("`{}`", to.name())).collect();
    names.join(" or ")
}

/// The width of the page's paragraphs.
const COLUMNS: usize = 100;

const HEAD: &str = "\
# Hook kinds

This page is generated from the code (`host/hooks/src/capabilities.rs` and each kind's adapter); a
test compares them.

*native*: the platform has a field for it. *fallback*: the platform has none, and the binding must
name the effect that replaces it (`fallback = { step-up = \"deny\" }`). *unsupported*:
`portcullis check` refuses a binding whose plugin may emit it.

Requests are read tolerantly. A member that is not listed as required may be absent, `null` or of
any JSON type, and counts only where it has the type that its contract gives it. The subject's
entitlements are read the same way at the places that a kind has by itself: a string is an
entitlement, and so is each string of a list; no other value is one. At a place that the setting
`entitlements` names (for `generic` also `requested`) any other value makes the host refuse the
request, since ignoring it could hide an entitlement of the subject. A refusal names the member in
the host's log, in the metric `portcullis_rejected_members_total`, at `/status` and in
`hook.rejected`.

The inputs that a plugin can read are spelled as in its manifest's `reads`. All others are absent
from every call of the kind, and `portcullis check` warns of a plugin that enforces and reads one.
`subject.entitlements` is present only where the kind has a place for it or the hook's setting
`entitlements` names one, and `subject.id` of `ping.pdp` where `subject` does.
";

const TEXTS: &str = "
## Texts for people

An answer that stops carries the message of the finding with the highest severity. Where other
findings stop the request too, the text has their number (\"There are 2 more reasons.\").
`okta.registration`, `entra.attribute-collection-submit` and `entra.pim` show several texts and
count only those that are left out. Where there is no decision, the answer has a fixed text. Both
end with the [help-desk reference](operating.md#when-a-person-calls-the-help-desk). The table lists
the readers:

| hook kind | the text reaches | place, or reason |
|---|---|---|
";

#[cfg(test)]
mod tests;
