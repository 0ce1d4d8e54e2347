//! Reference tables: the files that an operator replaces, and the versions that calls see.
//!
//! Invariant: a version is used only after its digest is durable on record. A file that cannot be
//! used changes nothing: the last good version stays, also through a restart, until its own age
//! makes it stale. Each generation has its own tables, so that no call sees the rules of another
//! release. Reads block, so they run on a thread that may hang
//! ([`FileWorkers::tables`](crate::fs::file_worker::FileWorkers)), never on one that calls wait
//! for.

mod files;
mod problem;
mod records;
pub mod texts;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use portcullis_files::Stamp;
use portcullis_model::Digest;
use portcullis_store::tables::{
    Acceptance, CurrentTables, Declaration, Table, TableSet, TableStatus, decide,
};
use portcullis_trust::{ReleaseSet, TableEntry};

use self::files::{Looked, copy_file, look, remove_other_copies, set_data_time};
use self::records::{RECORD_HELD, RECORD_LOADED, record_problem, version_record};
use crate::fs::release_paths::TableFolders;
use crate::recorder::Recorder;

pub use problem::{TableProblem, declarations, unread};

/// The tables of one release.
pub struct Tables {
    set: TableSet,
    followed: Mutex<BTreeMap<String, Followed>>,
    /// Held while files are read, so that two rounds do not read the same one.
    round: Mutex<()>,
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
    /// The file as it was when it was looked at last.
    seen: Option<Stamp>,
    problem: Option<TableProblem>,
    /// The version that waits and is on record.
    held: Option<Digest>,
    /// The host's copy as it was when it was read.
    copy_seen: Option<Stamp>,
    /// The version whose copy was written, or could not be, and the time of its data.
    copied: Option<(Digest, Timestamp)>,
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
    pub fn poll(&self, folders: &TableFolders, recorder: &Recorder, reason: PollFor) {
        let _round = self.round.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, known) in self.followed_now() {
            let (path, copy) = (folders.files.join(&known.entry.file), folders.copies.join(&name));
            if self.current().table(&name).is_none() {
                self.use_copy(&copy, &name, &known, recorder);
            }
            // A call waits for the first version; a file that is being copied is read again.
            let settles = reason == PollFor::Changes || self.current().table(&name).is_some();
            let stamp = Stamp::of(&path);
            let now = recorder.clock.now();
            match look(&path, stamp, known.seen, &known.declaration, now, settles) {
                Looked::Same => {}
                Looked::Problem(problem) => {
                    self.note(&name, &known, stamp, Some(problem), recorder)
                }
                Looked::Loaded(table) => {
                    let problem = self.take(*table, &known, recorder).err();
                    self.note(&name, &known, stamp, problem, recorder);
                }
            }
            if reason == PollFor::Changes {
                self.keep_copy(&name, &path, &copy);
            }
        }
    }

    /// Keeps copies of the versions that are used, and removes those of tables that the release
    /// does not declare: they hold personal data.
    pub fn keep_copies(&self, folders: &TableFolders) {
        let _round = self.round.lock().unwrap_or_else(PoisonError::into_inner);
        let followed = self.followed_now();
        for (name, known) in &followed {
            self.keep_copy(
                name,
                &folders.files.join(&known.entry.file),
                &folders.copies.join(name),
            );
        }
        remove_other_copies(&folders.copies, |name| followed.contains_key(name));
    }

    /// Notes the outcome of a look at a file.
    fn note(
        &self,
        name: &str,
        before: &Followed,
        stamp: Option<Stamp>,
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
        known.seen = stamp.filter(|_| !is_lost);
        known.problem = problem;
    }

    /// Uses the host's copy of the version that it used last, where the release allows it.
    fn use_copy(&self, copy: &Path, name: &str, known: &Followed, recorder: &Recorder) {
        let Some(stamp) = Stamp::of(copy) else { return };
        let now = recorder.clock.now();
        let looked = look(copy, Some(stamp), known.copy_seen, &known.declaration, now, false);
        let mut copied = None;
        // Where it cannot be used any more, the file is the first version.
        if let Looked::Loaded(table) = looked {
            let is = (table.version(), table.data_at());
            match self.take(*table, known, recorder) {
                Ok(()) => copied = Some(is),
                Err(problem) if problem.is_transient() => return,
                Err(_) => {}
            }
        }
        if let Some(known) = self.followed().get_mut(name) {
            known.copy_seen = Some(stamp);
            known.copied = copied.or(known.copied);
        }
    }

    /// Keeps a copy of the version that is used, with the time of its data. Where that fails, the
    /// next start has one comparison less, and the host says so once.
    fn keep_copy(&self, name: &str, path: &Path, copy: &Path) {
        let current = self.current();
        let Some(table) = current.table(name) else { return };
        let is = (table.version(), table.data_at());
        let copied = self.followed().get(name).and_then(|known| known.copied);
        if copied == Some(is) {
            return;
        }
        let is_there = copied.is_some_and(|(version, _)| version == is.0);
        let renewed = is_there && set_data_time(copy, is.1).is_ok();
        let kept = if renewed { Ok(()) } else { copy_file(path, copy, is.0, is.1) };
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
        known: &Followed,
        recorder: &Recorder,
    ) -> Result<(), TableProblem> {
        let (name, version) = (table.name().to_owned(), table.version());
        let confirmed = known.entry.version == Some(version);
        if known.entry.version.is_some() && !confirmed {
            return Err(TableProblem::NotPinned { version });
        }
        let current = self.current();
        let current = current.table(&name);
        if current.is_some_and(|it| it.version() == version) {
            // Only its age is new.
            self.set.put(Arc::new(table));
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
        let recorded = recorder.append_durable(version_record(kind, &table, held.as_ref()));
        if let Err(error) = recorded {
            return Err(TableProblem::NotRecorded(error.to_string()));
        }
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
        tracing::info!(
            event = "table.loaded",
            table = name,
            %version,
            rows,
            "the host uses this version of the reference table"
        );
        Ok(())
    }

    /// The state of every table, by name.
    pub fn states(&self, now: Timestamp) -> Vec<TableState> {
        let followed = self.followed();
        let states = self.current().status(now).into_iter().map(|status| {
            let problem = followed.get(&status.name).and_then(|known| known.problem.clone());
            TableState { status, problem }
        });
        states.collect()
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
    fn new(declaration: Declaration, entry: TableEntry) -> Self {
        let (seen, problem, held, copy_seen, copied) = (None, None, None, None, None);
        Self { declaration, entry, seen, problem, held, copy_seen, copied }
    }
}
