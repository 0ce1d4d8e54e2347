//! Why a signed document or a component was not taken.
//!
//! Invariant: every way to fail has one stable code and one thing to do about it; the sentence names the
//! document at fault and what is wrong with it, and repeats no more than short, printable pieces of it.

use std::fmt::Write as _;

use crate::names::printable;

/// Why something was not taken: a code for programs, a sentence and a [`hint`](Refusal::hint) for the
/// operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
pub struct Refusal {
    code: RefusalCode,
    sentence: String,
}

impl Refusal {
    /// A refusal in the operator's words: lower case, no full stop.
    pub(crate) fn new(code: RefusalCode, sentence: impl Into<String>) -> Self {
        // What came from outside may be long or rewrite the line it stands in, whoever put it into the
        // sentence.
        Self { code, sentence: printable(&sentence.into(), MAX_SENTENCE_CHARS) }
    }

    /// Which refusal it is.
    pub fn kind(&self) -> RefusalCode {
        self.code
    }

    /// The stable code in records and output, such as `bad-signature`.
    pub fn code(&self) -> &'static str {
        self.code.name()
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(self.code.remedy().to_owned())
    }
}

/// Every way in which this room refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefusalCode {
    /// The author's or operator's TOML file does not say what its format needs.
    SourceMalformed,
    /// The envelope is not one, or is not spelled in the one way that is taken.
    EnvelopeMalformed,
    /// The envelope is for another type of document.
    WrongPayloadType,
    /// There is no signature.
    Unsigned,
    /// A signature is not that of the key it names, over these bytes.
    BadSignature,
    /// A signature names another key than the one that made it.
    KeyidMismatch,
    /// No signature is by a key that may sign this document.
    UnknownSigner,
    /// No signature on a manifest is by a publisher of the trust root.
    UnknownPublisher,
    /// Too few distinct keys signed.
    BelowThreshold,
    /// The trust root does not say what its format needs.
    RootMalformed,
    /// The release set needs a newer trust root.
    RootTooOld,
    /// The release set does not say what its format needs.
    ReleaseMalformed,
    /// The manifest does not say what its format needs.
    ManifestMalformed,
    /// Its time has not begun.
    NotYetValid,
    /// Its time is over.
    Expired,
    /// The release set does not list this manifest.
    ManifestNotInRelease,
    /// The publisher may not publish this.
    PublisherOverreach,
    /// The plugin asks for something that this host does not have.
    CapabilityUnavailable,
    /// The plugin is built for another contract.
    WorldUnsupported,
    /// The plugin asks for more than the host gives to anyone.
    LimitsTooHigh,
    /// The component has another size than its manifest says.
    SizeMismatch,
    /// The component is another one than its manifest says.
    DigestMismatch,
    /// The plugin is bound to a hook kind that its manifest does not name.
    HookNotDeclared,
    /// The settings are other ones than the release set says.
    SettingsMismatch,
}

impl RefusalCode {
    /// Every code, in the order in which the load algorithm meets them.
    pub const ALL: [Self; 24] = [
        Self::SourceMalformed,
        Self::EnvelopeMalformed,
        Self::WrongPayloadType,
        Self::Unsigned,
        Self::BadSignature,
        Self::KeyidMismatch,
        Self::UnknownSigner,
        Self::UnknownPublisher,
        Self::BelowThreshold,
        Self::RootMalformed,
        Self::RootTooOld,
        Self::ReleaseMalformed,
        Self::ManifestMalformed,
        Self::NotYetValid,
        Self::Expired,
        Self::ManifestNotInRelease,
        Self::PublisherOverreach,
        Self::CapabilityUnavailable,
        Self::WorldUnsupported,
        Self::LimitsTooHigh,
        Self::SizeMismatch,
        Self::DigestMismatch,
        Self::HookNotDeclared,
        Self::SettingsMismatch,
    ];

    /// The stable code in records and output.
    pub fn name(self) -> &'static str {
        match self {
            Self::SourceMalformed => "source-malformed",
            Self::EnvelopeMalformed => "envelope-malformed",
            Self::WrongPayloadType => "wrong-payload-type",
            Self::Unsigned => "unsigned",
            Self::BadSignature => "bad-signature",
            Self::KeyidMismatch => "keyid-mismatch",
            Self::UnknownSigner => "unknown-signer",
            Self::UnknownPublisher => "unknown-publisher",
            Self::BelowThreshold => "below-threshold",
            Self::RootMalformed => "root-malformed",
            Self::RootTooOld => "root-too-old",
            Self::ReleaseMalformed => "release-malformed",
            Self::ManifestMalformed => "manifest-malformed",
            Self::NotYetValid => "not-yet-valid",
            Self::Expired => "expired",
            Self::ManifestNotInRelease => "manifest-not-in-release",
            Self::PublisherOverreach => "publisher-overreach",
            Self::CapabilityUnavailable => "capability-unavailable",
            Self::WorldUnsupported => "world-unsupported",
            Self::LimitsTooHigh => "limits-too-high",
            Self::SizeMismatch => "size-mismatch",
            Self::DigestMismatch => "digest-mismatch",
            Self::HookNotDeclared => "hook-not-declared",
            Self::SettingsMismatch => "settings-mismatch",
        }
    }

    /// What it means, for the documentation.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::SourceMalformed => "a source file (TOML) does not say what its format needs",
            Self::EnvelopeMalformed => "the file is not a DSSE envelope in the one spelling that is taken",
            Self::WrongPayloadType => "the envelope is for another type of document",
            Self::Unsigned => "the envelope carries no signature",
            Self::BadSignature => "a signature is not that of the key it names, over these bytes",
            Self::KeyidMismatch => "a signature names another key than the one that made it",
            Self::UnknownSigner => "nobody who may sign this document has signed it",
            Self::UnknownPublisher => "no publisher of the trust root has signed the manifest",
            Self::BelowThreshold => "too few distinct keys have signed",
            Self::RootMalformed => "the trust root does not say what its format needs",
            Self::RootTooOld => "the release set needs a newer trust root than this host has",
            Self::ReleaseMalformed => "the release set does not say what its format needs",
            Self::ManifestMalformed => "the manifest does not say what its format needs",
            Self::NotYetValid => "the document's time has not begun",
            Self::Expired => "the document's time is over",
            Self::ManifestNotInRelease => "the release set does not list this manifest",
            Self::PublisherOverreach => "the publisher may not publish this plugin, hook kind or capability",
            Self::CapabilityUnavailable => "the plugin asks for a capability that this host does not have",
            Self::WorldUnsupported => "the plugin is built for another contract",
            Self::LimitsTooHigh => "the plugin asks for more memory, time or output than the host gives",
            Self::SizeMismatch => "the component has another size than its manifest says",
            Self::DigestMismatch => "the component is not the one that its manifest was signed for",
            Self::HookNotDeclared => "the plugin is bound to a hook kind that its manifest does not name",
            Self::SettingsMismatch => "the settings are not the ones that the release set was signed for",
        }
    }

    /// What to do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::SourceMalformed => "correct the source file and sign again",
            Self::EnvelopeMalformed => "fetch the file again; if it stays so, have it signed again with `portcullis`",
            Self::WrongPayloadType => "check that the setting or argument names the file you mean",
            Self::Unsigned => "have it signed by its publisher, or remove the file",
            Self::BadSignature => {
                "treat the file as altered: fetch it again from its publisher, and find out where it changed"
            }
            Self::KeyidMismatch => "have the signature made again, under the name of the key that makes it",
            Self::UnknownSigner => {
                "have it signed by a key that the trust root names for this, or pin the right trust root"
            }
            Self::UnknownPublisher => "if you mean to trust its signer, name them as a publisher in a new trust root",
            Self::BelowThreshold => {
                "have more of the role's keys add their signatures with `portcullis plugin sign` or `release sign`"
            }
            Self::RootMalformed => "correct the trust root and have it signed again",
            Self::RootTooOld => "install the newest trust root first",
            Self::ReleaseMalformed => "correct the release source and sign a new release set",
            Self::ManifestMalformed => "ask the publisher for a corrected and newly signed manifest",
            Self::NotYetValid => "check this machine's clock; otherwise wait, or have it signed with an earlier start",
            Self::Expired => "check this machine's clock; otherwise sign a new one with a later end",
            Self::ManifestNotInRelease => {
                "add the plugin to the release source and sign a new release set, or remove the file"
            }
            Self::PublisherOverreach => "refuse the plugin, or widen what the publisher may do in a new trust root",
            Self::CapabilityUnavailable => "use a version of the plugin that does without it, or a host that has it",
            Self::WorldUnsupported => "build the plugin against the contract in `wit/` of this host's version",
            Self::LimitsTooHigh => "ask the publisher for a manifest within the host's limits",
            Self::SizeMismatch => "fetch the component again: it is cut short or another file",
            Self::DigestMismatch => "fetch the component that the manifest was signed for; do not use this one",
            Self::HookNotDeclared => "bind the plugin to a hook of a kind it declares, in a new release set",
            Self::SettingsMismatch => {
                "restore the settings file that was signed, or sign a new release set with this one"
            }
        }
    }

    /// All codes as the Markdown table of `docs/trust.md`.
    pub fn table() -> String {
        let mut table = String::from("| code | what it means | what to do |\n|---|---|---|\n");
        for code in Self::ALL {
            // Writing to a string cannot fail.
            let _ = writeln!(table, "| `{}` | {} | {} |", code.name(), code.meaning(), code.remedy());
        }
        table
    }
}

/// Long enough for two digests and a name, short enough for a log line.
const MAX_SENTENCE_CHARS: usize = 600;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_code_is_its_own_and_the_page_lists_them() {
        let names: BTreeSet<_> = RefusalCode::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(names.len(), RefusalCode::ALL.len());
        assert!(RefusalCode::ALL.is_sorted_by(|a, b| a < b), "a code is listed twice");
        assert_eq!(RefusalCode::ALL.last().map(|last| *last as usize + 1), Some(RefusalCode::ALL.len()));
        let page = include_str!("../../../docs/trust.md");
        assert!(
            page.contains(&RefusalCode::table()),
            "docs/trust.md has another table than:\n{}",
            RefusalCode::table()
        );
    }
}
