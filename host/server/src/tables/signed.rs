//! Signed reference tables: whose signature a version has, and that none older than the newest one
//! is used.
//!
//! Invariant: the time at which the newest used version of a table was signed is in the record of
//! that version, and never goes back, also over a restart or with files of an older backup. A
//! version whose signers' keys are revoked is not used any more. Reading the rows is for `files`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_files::{Stamp, read_bounded};
use portcullis_model::Millis;
use portcullis_store::tables::Declaration;
use portcullis_trust::{
    Envelope, Refusal, RefusalCode, TableVersion, TrustHistory, TrustRoot, VerifiedTableVersion,
};

use super::{TableContext, TableProblem};
use crate::trust::state::Learned;

/// The times at which the newest used versions of all tables were signed.
#[derive(Default)]
pub struct SignedTables {
    newest: Mutex<BTreeMap<String, Millis>>,
    /// The part that the keeper of the trust state has not been told yet.
    learned: Mutex<Learned>,
}

/// The signature of one version.
#[derive(Clone)]
pub struct Signed {
    /// Its statement, and its signers.
    pub verified: VerifiedTableVersion,
    /// The envelope, to be kept beside the host's copy of the rows.
    pub envelope: Arc<[u8]>,
}

/// A file and its signature as they were when they were looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamps {
    /// The file of the rows.
    pub file: Stamp,
    /// The signature, where there is one and the table needs it.
    pub signature: Option<Stamp>,
}

impl SignedTables {
    /// Returns the times that the host remembers.
    pub fn new(remembered: &BTreeMap<String, Millis>) -> Self {
        Self { newest: Mutex::new(remembered.clone()), learned: Mutex::default() }
    }

    /// Returns the time at which the newest used version of a table was signed.
    pub fn newest(&self, table: &str) -> Option<Millis> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).get(table).copied()
    }

    /// Notes that a version is about to be recorded, and returns the piece for its record: no head
    /// of the log that has the record is kept without it.
    pub fn announce(&self, table: &str, issued: Millis) -> TrustHistory {
        let piece =
            TrustHistory { tables: [(table.to_owned(), issued)].into(), ..TrustHistory::default() };
        self.learned.lock().unwrap_or_else(PoisonError::into_inner).known.merge(&piece);
        piece
    }

    /// Notes that the record of a version is durable.
    pub fn recorded(&self, piece: &TrustHistory) {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner).recorded.merge(piece);
        for (table, issued) in &piece.tables {
            self.raise(table, *issued);
        }
    }

    /// Notes that a version is used whose rows are on record already: only its signature is newer.
    pub fn raise(&self, table: &str, issued: Millis) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let known = newest.entry(table.to_owned()).or_default();
        *known = (*known).max(issued);
    }

    /// Takes the part that the keeper of the trust state has to remember.
    pub fn take_learned(&self) -> Learned {
        std::mem::take(&mut *self.learned.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Stamps {
    /// Returns the stamps of a file and, where the table needs one, of its signature; `None` where
    /// there is no file.
    pub fn of(path: &Path, declaration: &Declaration) -> Option<Self> {
        let signature = declaration.signed.then(|| Stamp::of(&signature_path(path))).flatten();
        Stamp::of(path).map(|file| Self { file, signature })
    }

    /// Returns the second at which either changed last.
    pub fn changed(&self) -> i64 {
        let (file, _) = self.file.changed();
        self.signature.map_or(file, |signature| file.max(signature.changed().0))
    }
}

/// Reads and verifies the signature beside a file, under the first of these trust roots that
/// accepts it; keys that the strictest root revokes count under none. `None` for a table that needs
/// no signature.
///
/// # Errors
/// The version must not be used, whatever its rows are.
pub fn read_signature(
    path: &Path,
    declaration: &Declaration,
    context: &TableContext,
    roots: &[Arc<TrustRoot>],
) -> Result<Option<Signed>, TableProblem> {
    if !declaration.signed {
        return Ok(None);
    }
    let name = declaration.name.as_str();
    let file = signature_path(path);
    let envelope = read_bounded(&file, MAX_SIGNATURE_BYTES).map_err(|error| {
        let file = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let why = if error.is_missing() {
            format!("there is no signature `{file}` beside the file [unsigned]")
        } else {
            format!("the signature `{file}` cannot be read: {error}")
        };
        TableProblem::Signature { why, is_transient: true }
    })?;
    let mut refused = None;
    for root in roots {
        let root = root.without_keys(&context.strictest.revoked_keys);
        match TableVersion::verify(&root, &envelope, name, context.now) {
            Ok(verified) => {
                if let Some(newest) = context.signed.newest(name) {
                    verified.signed.check_order(newest).map_err(|it| problem(&it))?;
                }
                return Ok(Some(Signed { verified, envelope: envelope.into() }));
            }
            Err(refusal) => drop(refused.get_or_insert(refusal)),
        }
    }
    let unrooted = || TableProblem::Signature {
        why: "there is no trust root to verify the signature with".to_owned(),
        is_transient: true,
    };
    Err(refused.map_or_else(unrooted, |it| problem(&it)))
}

/// The problem that a refusal of a signature is.
pub fn problem(refusal: &Refusal) -> TableProblem {
    let why = format!("{refusal} [{}]", refusal.code());
    match refusal.kind() {
        RefusalCode::TableVersionOlder => TableProblem::Older(why),
        // Only another file or another signature helps.
        RefusalCode::TableVersionMismatch => TableProblem::Signature { why, is_transient: false },
        _ => TableProblem::Signature { why, is_transient: true },
    }
}

/// Returns the place of the signature of a file: beside it, with the ending `.sig`.
pub fn signature_path(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(OsString::from(SIGNATURE_ENDING));
    PathBuf::from(name)
}

/// The ending of a signature's name.
pub const SIGNATURE_ENDING: &str = ".sig";

/// The largest signature that is read: an envelope with all the signatures that one may have.
pub const MAX_SIGNATURE_BYTES: u64 = 16 << 10;

const _: () = assert!(MAX_SIGNATURE_BYTES as usize > Envelope::MAX_SIGNATURES * 256);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_the_newest_version_never_goes_back() {
        let times = SignedTables::new(&[("roster".to_owned(), Millis(5))].into());
        assert_eq!((times.newest("roster"), times.newest("other")), (Some(Millis(5)), None));
        let newer = times.announce("roster", Millis(9));
        assert_eq!(times.newest("roster"), Some(Millis(5)), "it is not recorded yet");
        times.recorded(&newer);
        times.recorded(&times.announce("roster", Millis(7)));
        assert_eq!(times.newest("roster"), Some(Millis(9)));
        let Learned { known, recorded } = times.take_learned();
        assert_eq!(known.tables, [("roster".to_owned(), Millis(9))].into());
        assert_eq!(known, recorded);
        assert!(times.take_learned().known.is_empty());
    }

    #[test]
    fn a_signature_lies_beside_its_file() {
        assert_eq!(signature_path(Path::new("a/b.csv")), Path::new("a/b.csv.sig"));
    }
}
