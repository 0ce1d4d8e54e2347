//! Reference tables: the files that an operator replaces, and the versions that calls see.
//!
//! Invariant: a version is used only after its digest is durable on record. A file that cannot be
//! used changes nothing: the last good version stays, also through a restart, until its own age
//! makes it stale. Each generation has its own tables, so that no call sees the rules of another
//! release. Reads block, so they run on a thread that may hang
//! ([`FileWorkers::tables`](crate::fs::file_worker::FileWorkers)), never on one that calls wait
//! for.

mod callers;
pub mod download;
mod files;
mod problem;
mod records;
mod signed;
mod sources;
pub mod texts;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use portcullis_files::write_atomic;
use portcullis_model::{Digest, Millis};
use portcullis_store::tables::{
    Acceptance, CurrentTables, Declaration, Table, TableSet, TableStatus, decide,
};
use portcullis_trust::{ReleaseSet, TableEntry, TrustHistory, TrustRoot};

use self::files::{Looked, copy_file, look, remove_other_copies, set_data_time};
use self::records::{RECORD_HELD, RECORD_LOADED, record_problem, version_record};
use self::signed::{SIGNATURE_ENDING, Signed, Stamps, signature_path};
use crate::fs::release_paths::TableFolders;
use crate::recorder::Recorder;

pub use callers::TableCallers;
pub use problem::{TableProblem, declarations, unread, warnings};
pub use signed::{MAX_SIGNATURE_BYTES, SignedTables};
pub use sources::TableSources;

/// The tables of one release.
pub struct Tables {
    set: TableSet,
    followed: Mutex<BTreeMap<String, Followed>>,
    /// Held while files are read, so that two rounds do not read the same one.
    round: Mutex<()>,
}

/// The parts of the host that reading tables needs, as they are at one moment.
pub struct TableContext {
    /// The folders of files and copies.
    pub folders: TableFolders,
    /// The log.
    pub recorder: Arc<Recorder>,
    /// The active trust root, and that of the active set.
    pub roots: Vec<Arc<TrustRoot>>,
    /// The trust root whose revocations hold.
    pub strictest: Arc<TrustRoot>,
    /// Trusted time.
    pub now: Millis,
    /// The times at which signed versions were signed.
    pub signed: Arc<SignedTables>,
    /// The sources of tables that the host downloads.
    pub sources: Arc<TableSources>,
}

/// A table, for status and readiness.
pub struct TableState {
    /// Its version, rows and age.
    pub status: TableStatus,
    /// The file that cannot be used, where that is so.
    pub problem: Option<TableProblem>,
}

/// A table whose file is followed.
#[derive(Clone)]
struct Followed {
    declaration: Declaration,
    entry: TableEntry,
    /// The file and its signature as they were when they were looked at last.
    seen: Option<Stamps>,
    problem: Option<TableProblem>,
    /// The version that waits and is on record.
    held: Option<Digest>,
    /// The host's copy as it was when it was read.
    copy_seen: Option<Stamps>,
    /// The version whose copy was written, or could not be.
    copied: Option<Copied>,
    /// The signature of the version that is used.
    signed: Option<Signed>,
}

/// A version of which the host has a copy.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Copied {
    version: Digest,
    data_at: Timestamp,
    signed_at: Option<Millis>,
}

/// The reason for which files are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PollFor {
    /// A release is about to become active, and may not: the host's copies stay as they are.
    Activation,
    /// The release is active.
    Changes,
}

impl Default for Tables {
    fn default() -> Self {
        Self { set: TableSet::new([]), followed: Mutex::default(), round: Mutex::default() }
    }
}

impl Tables {
    /// The tables that a release declares, with the versions of the release before it where both
    /// declare a table alike and this one allows the version. Whether the declarations fit was
    /// checked with the set; one that does not is left out, and look-ups in it are denied.
    pub fn of(release: &ReleaseSet, before: Option<&Self>) -> Self {
        let mut followed = BTreeMap::new();
        for (name, entry) in &release.tables {
            let Ok(declaration) = problem::declaration(entry) else { continue };
            followed.insert(name.clone(), Followed::new(declaration, entry.clone()));
        }
        let set = TableSet::new(followed.values().map(|known| known.declaration.clone()));
        if let Some(before) = before {
            let (current, earlier) = (before.current(), before.followed());
            for (name, known) in &mut followed {
                let Some(table) = current.table(name) else { continue };
                let allowed = known.entry.version.is_none_or(|it| it == table.version());
                let adopted = allowed && set.put(Arc::clone(table));
                let Some(same) = earlier.get(name).filter(|_| adopted) else { continue };
                if same.entry == known.entry {
                    *known = same.clone();
                } else {
                    (known.copied, known.copy_seen) = (same.copied, same.copy_seen);
                    known.signed.clone_from(&same.signed);
                }
            }
        }
        Self { set, followed: Mutex::new(followed), round: Mutex::default() }
    }

    /// Whether the release declares none.
    pub fn is_empty(&self) -> bool {
        self.followed().is_empty()
    }

    /// The versions that one call sees.
    pub fn current(&self) -> Arc<CurrentTables> {
        self.set.current()
    }

    /// Looks at the files of all tables and uses the versions that are new. Blocks on the disk and
    /// on the log.
    pub fn poll(&self, context: &TableContext, reason: PollFor) {
        let _round = self.round.lock().unwrap_or_else(PoisonError::into_inner);
        let _files = context.sources.hold_files();
        for (name, known) in self.followed_now() {
            let path = known.path(&context.folders);
            let copy = context.folders.copies.join(&name);
            self.withdraw_revoked(&name, &known, context);
            if self.current().table(&name).is_none() {
                self.use_copy(&copy, &name, &known, context);
            }
            // A call waits for the first version; a file that is being copied is read again. What
            // the host received is whole.
            let settles = known.entry.file.is_some()
                && (reason == PollFor::Changes || self.current().table(&name).is_some());
            let newest = context.roots.get(..1).unwrap_or_default();
            let (stamps, looked) =
                look(&path, known.seen, &known.declaration, (context, newest), settles);
            match looked {
                Looked::Same => {}
                Looked::Problem(problem) => {
                    self.note(&name, &known, stamps, Some(problem), &context.recorder)
                }
                Looked::Loaded(table, signed) => {
                    let problem = self.take(*table, signed, &known, context).err();
                    self.note(&name, &known, stamps, problem, &context.recorder);
                }
            }
            if reason == PollFor::Changes {
                self.keep_copy(&name, &path, &copy);
            }
        }
    }

    /// Takes a version out of use whose signers' keys are revoked by now, so that too few are left.
    fn withdraw_revoked(&self, name: &str, known: &Followed, context: &TableContext) {
        let Some(signed) = &known.signed else { return };
        let Err(refusal) = signed.verified.is_valid_under(&context.strictest) else { return };
        self.set.withdraw(name);
        tracing::error!(
            event = "table.withdrawn",
            table = name,
            code = refusal.code(),
            error = %refusal,
            "the version of a reference table is not used any more, because keys that signed it are \
             revoked; sign the table with another key"
        );
        if let Some(known) = self.followed().get_mut(name) {
            (known.signed, known.seen) = (None, None);
        }
    }

    /// Keeps copies of the versions that are used, and removes those of tables that the release
    /// does not declare: they hold personal data.
    pub fn keep_copies(&self, folders: &TableFolders) {
        let _round = self.round.lock().unwrap_or_else(PoisonError::into_inner);
        let followed = self.followed_now();
        for (name, known) in &followed {
            self.keep_copy(name, &known.path(folders), &folders.copies.join(name));
        }
        let is_wanted = |file: &str| {
            let signature = file.strip_suffix(SIGNATURE_ENDING);
            let signed =
                |name| followed.get(name).is_some_and(|it: &Followed| it.declaration.signed);
            followed.contains_key(file) || signature.is_some_and(signed)
        };
        remove_other_copies(&folders.copies, is_wanted);
        let is_received = |file: &str| {
            let name = file.strip_suffix(SIGNATURE_ENDING).unwrap_or(file);
            followed.get(name).is_some_and(|it| it.declaration.source.is_some())
        };
        remove_other_copies(&folders.received, is_received);
    }

    /// Notes the outcome of a look at a file.
    fn note(
        &self,
        name: &str,
        before: &Followed,
        stamps: Option<Stamps>,
        problem: Option<TableProblem>,
        recorder: &Recorder,
    ) {
        // One that lasts is recorded once.
        if let Some(problem) = problem.as_ref().filter(|_| before.problem != problem) {
            record_problem(recorder, name, problem);
        }
        let mut followed = self.followed();
        let Some(known) = followed.get_mut(name) else { return };
        known.held = match problem {
            Some(TableProblem::Held { version }) => Some(version),
            _ => None,
        };
        // A version that could not be read or recorded is looked at again.
        let is_lost = problem.as_ref().is_some_and(TableProblem::is_transient);
        known.seen = stamps.filter(|_| !is_lost);
        known.problem = problem;
    }

    /// Uses the host's copy of the version that it used last, where the release allows it.
    fn use_copy(&self, copy: &Path, name: &str, known: &Followed, context: &TableContext) {
        if Stamps::of(copy, &known.declaration).is_none() {
            return;
        }
        // A key that a later root merely leaves out has signed what was accepted before.
        let (stamps, looked) =
            look(copy, known.copy_seen, &known.declaration, (context, &context.roots), false);
        let mut copied = None;
        // Where it cannot be used any more, the file is the first version.
        if let Looked::Loaded(table, signed) = looked {
            let is = Copied::of(&table, signed.as_ref());
            match self.take(*table, signed, known, context) {
                Ok(()) => copied = Some(is),
                Err(problem) if problem.is_transient() => return,
                Err(_) => {}
            }
        }
        if let Some(known) = self.followed().get_mut(name) {
            known.copy_seen = stamps;
            known.copied = copied.or(known.copied);
        }
    }

    /// Keeps a copy of the version that is used, with the time of its data. Where that fails, the
    /// next start has one comparison less, and the host says so once.
    fn keep_copy(&self, name: &str, path: &Path, copy: &Path) {
        let current = self.current();
        let Some(table) = current.table(name) else { return };
        let (signed, copied) = match self.followed().get(name) {
            Some(known) => (known.signed.clone(), known.copied),
            None => (None, None),
        };
        let is = Copied::of(table, signed.as_ref());
        if copied == Some(is) {
            return;
        }
        let is_there = copied.is_some_and(|it| it.version == is.version);
        let renewed = is_there && set_data_time(copy, is.data_at).is_ok();
        let kept = if renewed { Ok(()) } else { copy_file(path, copy, is.version, is.data_at) };
        let kept = kept.and_then(|()| match &signed {
            Some(signed) => write_atomic(&signature_path(copy), &signed.envelope, 0o600),
            None => Ok(()),
        });
        if let Some(known) = self.followed().get_mut(name) {
            known.copied = Some(is);
        }
        if let Err(error) = kept {
            tracing::warn!(
                event = "table.not-kept",
                file = %copy.display(),
                %error,
                "the host could not keep a copy of a reference table: a start cannot compare the next \
                 version with this one; check the disk of trust.state"
            );
        }
    }

    /// Uses a version, or holds it, after it is on record.
    fn take(
        &self,
        table: Table,
        signed: Option<Signed>,
        known: &Followed,
        context: &TableContext,
    ) -> Result<(), TableProblem> {
        let recorder = &context.recorder;
        let (name, version) = (table.name().to_owned(), table.version());
        let confirmed = known.entry.version == Some(version);
        if known.entry.version.is_some() && !confirmed {
            return Err(TableProblem::NotPinned { version });
        }
        let current = self.current();
        let current = current.table(&name);
        if current.is_some_and(|it| it.version() == version) {
            // Only its age is new, or its signature.
            self.set.put(Arc::new(table));
            self.set_signed(&name, signed, context);
            return Ok(());
        }
        if known.held == Some(version) && !confirmed {
            return Err(TableProblem::Held { version });
        }
        let held = match current.map(|current| decide(current, &table)) {
            Some(Acceptance::Hold(difference)) if !confirmed => Some(difference),
            _ => None,
        };
        let kind = if held.is_some() { RECORD_HELD } else { RECORD_LOADED };
        let piece = match (&signed, &held) {
            (Some(signed), None) => context.signed.announce(&name, signed.verified.signed.issued),
            _ => TrustHistory::default(),
        };
        let signature = signed.as_ref().map(|it| (it, &piece));
        let record = version_record(kind, &table, held.as_ref(), signature);
        if let Err(error) = recorder.append_durable(record) {
            return Err(TableProblem::NotRecorded(error.to_string()));
        }
        context.signed.recorded(&piece);
        let rows = table.rows();
        if let Some(difference) = held {
            tracing::warn!(
                event = "table.held",
                table = name,
                %version,
                lost = difference.lost,
                changed = difference.changed,
                "a version of a reference table waits for a confirmation, because it would change too \
                 many rows; the version before it stays in use. Check the file, and name its digest \
                 as `version` of the table in the next release set to confirm it"
            );
            return Err(TableProblem::Held { version });
        }
        // The version was loaded by the declaration of this set.
        self.set.put(Arc::new(table));
        self.set_signed(&name, signed, context);
        tracing::info!(
            event = "table.loaded",
            table = name,
            %version,
            rows,
            "the host uses this version of the reference table"
        );
        Ok(())
    }

    /// Returns the declaration of a table.
    pub fn declaration(&self, name: &str) -> Option<Declaration> {
        self.followed().get(name).map(|known| known.declaration.clone())
    }

    /// Returns the problem of a table's file, as it was read last, and the version that is used.
    pub fn outcome(&self, name: &str) -> (Option<TableProblem>, Option<Arc<Table>>) {
        let problem = self.followed().get(name).and_then(|known| known.problem.clone());
        (problem, self.current().table(name).cloned())
    }

    /// Returns the declarations of the tables, by name.
    pub fn declarations(&self) -> Vec<Declaration> {
        self.followed().values().map(|known| known.declaration.clone()).collect()
    }

    /// The state of every table, by name.
    pub fn states(&self, now: Timestamp, sources: &TableSources) -> Vec<TableState> {
        let followed = self.followed();
        let states = self.current().status(now).into_iter().map(|status| {
            let problem = followed.get(&status.name).and_then(|known| known.problem.clone());
            let of_source = || sources.problem(&status.name).map(TableProblem::Source);
            let problem = problem.or_else(of_source);
            TableState { status, problem }
        });
        states.collect()
    }

    /// Notes the signature of the version that is used.
    fn set_signed(&self, name: &str, signed: Option<Signed>, context: &TableContext) {
        if let Some(signed) = &signed {
            context.signed.raise(name, signed.verified.signed.issued);
        }
        if let Some(known) = self.followed().get_mut(name) {
            known.signed = signed;
        }
    }

    fn followed(&self) -> MutexGuard<'_, BTreeMap<String, Followed>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what is followed, so that nothing waits for the lock while a file is read.
    fn followed_now(&self) -> BTreeMap<String, Followed> {
        self.followed().clone()
    }
}

impl Followed {
    /// Returns the place of the file.
    fn path(&self, folders: &TableFolders) -> PathBuf {
        match &self.entry.file {
            Some(file) => folders.files.join(file),
            None => folders.received.join(&self.declaration.name),
        }
    }

    fn new(declaration: Declaration, entry: TableEntry) -> Self {
        let (seen, problem, held, copy_seen) = (None, None, None, None);
        let (copied, signed) = (None, None);
        Self { declaration, entry, seen, problem, held, copy_seen, copied, signed }
    }
}

impl Copied {
    fn of(table: &Table, signed: Option<&Signed>) -> Self {
        let signed_at = signed.map(|it| it.verified.signed.issued);
        Self { version: table.version(), data_at: table.data_at(), signed_at }
    }
}
