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

    /// The refusal of a second trust root of one number, which was accepted before or stands beside the first.
    pub fn root_forked(version: u64, which: &str) -> Self {
        Self::new(
            RefusalCode::RootForked,
            format!("there is another trust root {version}: {which}"),
        )
    }

    /// The refusal to go on without a trust root that was accepted before, or pinned; `newest` is the last that can be reached.
    pub fn root_lost(version: u64, newest: u64) -> Self {
        let sentence = format!(
            "the trust root {version} was accepted or pinned, and from {newest} no chain leads to \
             it"
        );
        Self::new(RefusalCode::RootLost, sentence)
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

/// One row a code, in the order in which the load algorithm meets them: its name in records and output, what it means, what to do.
macro_rules! codes {
    ($($(#[$doc:meta])* $code:ident = $name:literal, $meaning:literal, $remedy:literal;)*) => {
        /// Every way in which this crate refuses.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum RefusalCode {
            $($(#[$doc])* $code,)*
        }

        impl RefusalCode {
            /// Every code, in the order in which the load algorithm meets them.
            pub const ALL: &[Self] = &[$(Self::$code,)*];

            /// The stable code in records and output.
            pub fn name(self) -> &'static str {
                match self { $(Self::$code => $name,)* }
            }

            /// What it means, for the documentation.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$code => $meaning,)* }
            }

            /// What to do about it.
            pub fn remedy(self) -> &'static str {
                match self { $(Self::$code => $remedy,)* }
            }
        }
    };
}

codes! {
    /// The author's or operator's TOML file does not say what its format needs.
    SourceMalformed = "source-malformed",
        "a source file (TOML) does not follow its format",
        "correct the source file and sign again";
    /// The envelope is not one, or is not spelled in the one way that is taken.
    EnvelopeMalformed = "envelope-malformed",
        "the file is not a DSSE envelope in the canonical form",
        "fetch the file again; if that does not help, have it signed again with `portcullis`";
    /// The envelope is for another type of document.
    WrongPayloadType = "wrong-payload-type",
        "the envelope is for another type of document",
        "check that the setting or argument names the file you mean";
    /// There is no signature.
    Unsigned = "unsigned",
        "the envelope has no signature",
        "have the document signed by its publisher, or remove the file";
    /// A signature is not that of the key it names, over these bytes.
    BadSignature = "bad-signature",
        "too few signatures are valid, and one was not made by the key that it names, over \
         these bytes",
        "treat the file as altered: fetch it again from its publisher, and find out where it changed";
    /// A signature names another key than the one that made it.
    KeyidMismatch = "keyid-mismatch",
        "too few signatures count, and one names another key than the one that made it",
        "have the signature made again, under the name of the key that makes it";
    /// No signature is by a key that may sign this document.
    UnknownSigner = "unknown-signer",
        "the document has no signature of somebody who may sign it",
        "have the document signed by a key that the trust root names for it, or pin the right \
         trust root";
    /// No signature on a manifest is by a publisher of the trust root.
    UnknownPublisher = "unknown-publisher",
        "the manifest has no signature of a publisher that the trust root names",
        "if you trust the signer, name them as a publisher in a new trust root";
    /// Too few distinct keys signed.
    BelowThreshold = "below-threshold",
        "too few distinct keys have signed",
        "have more of the role's keys add their signatures: `portcullis root sign`, `plugin sign` or `release sign` with `--add-to`, or `signature add`";
    /// A signature that it needs is by a revoked key.
    RevokedKey = "revoked-key",
        "a signature that is needed is by a key that the trust root has revoked",
        "have the document signed by a key that is not revoked, and find out what else the \
         revoked key signed";
    /// The publisher's manifests need a reviewer, and too few have signed.
    ReviewMissing = "review-missing",
        "the publisher's manifests need a reviewer's signature, and it is missing",
        "have a reviewer read the plugin and add their signature with `portcullis plugin sign --add-to`";
    /// The reviewer and the author are one person.
    ReviewByAuthor = "review-by-author",
        "the reviewer has the same name or key as one of those who published it",
        "have somebody else review the plugin; publishers cannot review their own work";
    /// The trust root does not say what its format needs.
    RootMalformed = "root-malformed",
        "the trust root does not follow its format",
        "correct the trust root and have it signed again";
    /// The trust root does not have the number after its predecessor's.
    RootSkipped = "root-skipped",
        "the trust root does not follow the one before it",
        "put every trust root in between into the folder of trust roots; each is accepted by \
         means of the one before it";
    /// Too few root keys of the trust root before signed this one.
    RootUnchained = "root-unchained",
        "too few root keys of the trust root before have signed this one",
        "have root keys of the one before sign it too, with `portcullis root sign --add-to`; if \
         that is impossible, treat it as forged";
    /// There are two trust roots of one number.
    RootForked = "root-forked",
        "another trust root of the same number was accepted before",
        "treat it as forged, and find out who signed it; the one that was accepted first stays \
         active";
    /// A trust root that this host accepted is no longer there.
    RootLost = "root-lost",
        "this host accepted a newer trust root before, and that one is missing",
        "put the newer trust root back into the folder of trust roots";
    /// A trust root leaves out what the one before revoked.
    RevocationDropped = "revocation-dropped",
        "the trust root lacks a revocation of the one before",
        "add all revocations of the one before; `portcullis root sign --previous` does that";
    /// The release set needs a newer trust root.
    RootTooOld = "root-too-old",
        "the release set needs a newer trust root than this host has",
        "install the newest trust root first";
    /// The release set does not say what its format needs.
    ReleaseMalformed = "release-malformed",
        "the release set does not follow its format",
        "correct the release source and sign a new release set";
    /// The release set is not newer than what was active here before.
    ReleaseOlder = "release-older",
        "the release set is not newer than one that was active here before",
        "give the next release set a higher version; to go back on purpose, have a downgrade signed with `portcullis release downgrade`";
    /// A plugin's serial is below one that was active here, or below a signed floor.
    SerialOlder = "serial-older",
        "a plugin's serial is below the one that was active here before, or below the minimum \
         of a release set",
        "release a plugin with a higher serial; to go back on purpose, have a downgrade signed with `portcullis release downgrade`";
    /// The set was active here, has expired, and so has its grace.
    GraceOver = "grace-over",
        "the release set was active here, has expired, and its grace is over too",
        "sign a new release set";
    /// The downgrade does not say what its format needs.
    DowngradeMalformed = "downgrade-malformed",
        "the downgrade does not follow its format",
        "make the downgrade again with `portcullis release downgrade`";
    /// The downgrade is for another set or for another host's past.
    DowngradeMismatch = "downgrade-mismatch",
        "the downgrade is for another release set, or was made for a host that had seen less",
        "have a downgrade signed for this set, from the highest version that was active here";
    /// The trust root names nobody who may sign break-glass documents.
    BreakGlassUnavailable = "break-glass-unavailable",
        "the trust root has no role `break_glass`, so nobody may sign such a document",
        "give the role keys and a threshold in a new trust root";
    /// The break-glass document does not say what its format needs.
    BreakGlassMalformed = "break-glass-malformed",
        "the break-glass document does not follow its format",
        "make the document again with `portcullis break-glass prepare`";
    /// The break-glass document is for another tenant, or for a hook that this host does not have.
    BreakGlassElsewhere = "break-glass-wrong-target",
        "the break-glass document is for another tenant, or for a hook that this host does not have",
        "use the document that was made for this host's tenant and hook";
    /// The break-glass document was opened before.
    BreakGlassSpent = "break-glass-already-used",
        "the break-glass document was opened before, and each works only once",
        "use another document; you can have several signed in advance";
    /// The trust root names nobody who may sign versions of reference tables.
    DataUnavailable = "data-unavailable",
        "the trust root has no role `data`, so nobody may sign versions of reference tables",
        "give the role keys and a threshold in a new trust root, or declare the table without \
         `signed`";
    /// The signature of a table's version does not say what its format needs.
    TableVersionMalformed = "table-version-malformed",
        "the signature of a table's version does not follow its format",
        "sign the file again with `portcullis table sign`";
    /// The signature is for another table or for other bytes.
    TableVersionMismatch = "table-version-mismatch",
        "the signature is for another table, or for another version of the file",
        "sign this file for this table with `portcullis table sign`; if somebody else should have \
         signed it, find out where it changed";
    /// A version that was signed later was used here before.
    TableVersionOlder = "table-version-older",
        "the version of the table was signed before one that was used here",
        "export the table again and sign it; to return to older rows on purpose, sign that file \
         anew";
    /// The time reset or clock confirmation does not say what its format needs.
    TimeDocumentMalformed = "time-document-malformed",
        "the time reset or the clock confirmation does not follow its format",
        "make the document again with `portcullis trust time-reset` or `portcullis trust \
         confirm-clock`";
    /// The time reset or clock confirmation is for another host's log.
    TimeDocumentWrongTarget = "time-document-wrong-target",
        "the time reset or the clock confirmation is for the log of another host",
        "make a document with the public key of this host's log";
    /// The time reset or clock confirmation was used before.
    TimeDocumentUsed = "time-document-already-used",
        "the time reset or the clock confirmation, or a later one, was used here before, and \
         each works only once",
        "have another one signed: a time reset with a higher serial, a clock confirmation of this \
         moment";
    /// The manifest does not say what its format needs.
    ManifestMalformed = "manifest-malformed",
        "the manifest does not follow its format",
        "ask the publisher for a corrected and newly signed manifest";
    /// The manifest is revoked.
    RevokedManifest = "revoked-manifest",
        "the manifest is revoked",
        "publish a corrected plugin with a higher serial; a revocation is final";
    /// Its time has not begun.
    NotYetValid = "not-yet-valid",
        "the document is not valid yet",
        "check this machine's clock; if it is right, wait or have the document signed with an \
         earlier start";
    /// Its time is over.
    Expired = "expired",
        "the document has expired",
        "check this machine's clock; if it is right, sign a new document with a later end";
    /// The release set does not list this manifest.
    ManifestNotInRelease = "manifest-not-in-release",
        "the release set does not list this manifest",
        "add the plugin to the release source and sign a new release set, or remove the file";
    /// The publisher may not publish this.
    PublisherOverreach = "publisher-overreach",
        "the publisher may not publish this plugin, hook kind or capability",
        "do not use the plugin, or give the publisher the right in a new trust root";
    /// The plugin asks for something that this host does not have.
    CapabilityUnavailable = "capability-unavailable",
        "the plugin asks for a capability that this host lacks",
        "use a version of the plugin that does not need it, or a host that has it";
    /// The plugin is built for another contract.
    WorldUnsupported = "world-unsupported",
        "the plugin is built for another contract",
        "build the plugin against the contract in `wit/` of this host's version";
    /// The plugin asks for more than the host gives to anyone.
    LimitsTooHigh = "limits-too-high",
        "the plugin asks for more memory, time or output than the host gives",
        "ask the publisher for a manifest within the host's limits";
    /// The component has another size than its manifest says.
    SizeMismatch = "size-mismatch",
        "the component does not have the size that its manifest says",
        "fetch the component again; this one is incomplete or another file";
    /// The component is another one than its manifest says.
    DigestMismatch = "digest-mismatch",
        "the component is not the one that its manifest was signed for",
        "do not use this component; fetch the one that the manifest was signed for";
    /// The plugin is bound to a hook kind that its manifest does not name.
    HookNotDeclared = "hook-not-declared",
        "the plugin is bound to a hook kind that its manifest does not name",
        "bind the plugin to a hook of a kind that its manifest names, in a new release set";
    /// The settings are other ones than the release set says.
    SettingsMismatch = "settings-mismatch",
        "the settings are not the ones that the release set was signed for",
        "restore the settings file that was signed, or sign a new release set with this one";
}

impl RefusalCode {
    /// All codes as the Markdown table of `docs/trust.md`.
    pub fn table() -> String {
        let mut table = String::from("| code | what it means | what to do |\n|---|---|---|\n");
        for code in Self::ALL {
            // Writing to a string cannot fail.
            let _ =
                writeln!(table, "| `{}` | {} | {} |", code.name(), code.meaning(), code.remedy());
        }
        table
    }
}

/// Long enough for two digests and a name, short enough for a log line.
const MAX_SENTENCE_CHARS: usize = 600;

/// Refuses a release set that does not have its format.
pub(crate) fn malformed(what: impl AsRef<str>) -> Refusal {
    Refusal::new(
        RefusalCode::ReleaseMalformed,
        format!("the release set is malformed: {}", what.as_ref()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_code_is_its_own_and_the_page_lists_them() {
        let names: BTreeSet<_> = RefusalCode::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(names.len(), RefusalCode::ALL.len());
        let page = include_str!("../../../docs/trust.md");
        assert!(
            page.contains(&RefusalCode::table()),
            "docs/trust.md has another table than:\n{}",
            RefusalCode::table()
        );
    }
}
