//! Reference tables: the files that an operator replaces, and the versions that calls see.
//!
//! Invariant: a version is used only after its digest is durable on record. A file that cannot be used
//! changes nothing: the last good version stays, until its own age makes it stale. What a release
//! declares is followed, and nothing else. Reads block, so they run on a thread that may hang
//! ([`FileWorkers::tables`](crate::fs::file_worker::FileWorkers)), never on one that calls wait for.

pub mod lookups;
mod problem;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use portcullis_audit::Entry;
use portcullis_files::{Stamp, open_regular};
use portcullis_model::Millis;
use portcullis_model::json::{ObjectWriter, build_members, build_object};
use portcullis_store::tables::{
    Acceptance, CurrentTables, Declaration, Difference, LoadError, Offered, Table, TableSet,
    TableStatus, decide,
};
use portcullis_trust::{ReleaseSet, TableEntry};

use crate::recorder::Recorder;

pub use problem::{TableProblem, declarations};

/// The tables of the active release.
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
struct Followed {
    declaration: Declaration,
    entry: TableEntry,
    /// The file as it was when it was looked at last.
    seen: Option<Stamp>,
    problem: Option<TableProblem>,
}

/// What a look at one file came to.
enum Looked {
    /// It is as it was.
    Same,
    /// It is another version.
    Loaded(Box<Table>),
    /// It cannot be used.
    Problem(TableProblem),
}

impl Default for Tables {
    fn default() -> Self {
        Self { set: TableSet::new([]), followed: Mutex::default(), round: Mutex::default() }
    }
}

impl Tables {
    /// The versions that one call sees.
    pub fn current(&self) -> Arc<CurrentTables> {
        self.set.current()
    }

    /// Follows the tables of a set as well as those that are followed already: before it becomes active.
    /// Whether its declarations fit was checked with the set; one that does not is left out.
    pub fn add(&self, release: &ReleaseSet) {
        self.follow(release, true);
    }

    /// Follows the tables of a set and no others: once it is active.
    pub fn keep(&self, release: &ReleaseSet) {
        self.follow(release, false);
    }

    fn follow(&self, release: &ReleaseSet, others_too: bool) {
        let mut followed = self.followed();
        let mut next = BTreeMap::new();
        for (name, entry) in &release.tables {
            let Ok(declaration) = problem::declaration(entry) else { continue };
            let same = followed.remove(name).filter(|known| known.entry == *entry);
            let new = || Followed { declaration, entry: entry.clone(), seen: None, problem: None };
            next.insert(name.clone(), same.unwrap_or_else(new));
        }
        if others_too {
            for (name, known) in std::mem::take(&mut *followed) {
                next.entry(name).or_insert(known);
            }
        }
        self.set.declare(next.values().map(|known| known.declaration.clone()));
        *followed = next;
    }

    /// Looks at the files of all tables and uses the versions that are new. Blocks on the disk and on
    /// the log.
    pub fn poll(&self, folder: &Path, recorder: &Recorder) {
        let _round = self.round.lock().unwrap_or_else(PoisonError::into_inner);
        let tables: Vec<_> = {
            let followed = self.followed();
            let tables = followed.iter().map(|(name, known)| {
                (name.clone(), known.declaration.clone(), known.entry.clone(), known.seen)
            });
            tables.collect()
        };
        for (name, declaration, entry, seen) in tables {
            let path = folder.join(&entry.file);
            let stamp = Stamp::of(&path);
            let problem = match look(&path, stamp, seen, &declaration, recorder.clock.now()) {
                Looked::Same => continue,
                Looked::Problem(problem) => Some(problem),
                Looked::Loaded(table) => self.take(*table, &entry, recorder).err(),
            };
            if let Some(known) = self.followed().get_mut(&name).filter(|it| it.entry == entry) {
                // One that lasts is recorded once.
                if let Some(problem) = problem.as_ref().filter(|_| known.problem != problem) {
                    record_problem(recorder, &name, problem);
                }
                // A version that could not be recorded is looked at again.
                let is_lost = problem.as_ref().is_some_and(TableProblem::is_transient);
                known.seen = stamp.filter(|_| !is_lost);
                known.problem = problem;
            }
        }
    }

    /// Uses a version, or holds it, after it is on record.
    fn take(
        &self,
        table: Table,
        entry: &TableEntry,
        recorder: &Recorder,
    ) -> Result<(), TableProblem> {
        let (name, version) = (table.name().to_owned(), table.version());
        let confirmed = entry.version == Some(version);
        if entry.version.is_some() && !confirmed {
            return Err(TableProblem::NotPinned { version });
        }
        let current = self.current();
        let current = current.table(&name);
        if current
            .is_some_and(|it| it.version() == version && it.declaration() == table.declaration())
        {
            self.set.offer(table);
            return Ok(());
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
        if let Offered::Held(difference) = self.set.offer(table) {
            if !confirmed {
                tracing::warn!(
                    event = "table.held",
                    table = name,
                    %version,
                    lost = difference.lost,
                    changed = difference.changed,
                    "a version of a reference table waits for a confirmation, because it would \
                     change too many rows; the version before it stays in use. Check the file, and \
                     name its digest as `version` of the table in the next release set to confirm it"
                );
                return Err(TableProblem::Held { version });
            }
            // Nothing else takes versions meanwhile: the round is locked.
            let _ = self.set.confirm(&name, version);
        }
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
}

/// A moment as the tables know time.
pub fn timestamp(at: Millis) -> Timestamp {
    let millis = i64::try_from(at.0).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX)
}

/// Reads a file that is not as it was.
fn look(
    path: &Path,
    stamp: Option<Stamp>,
    seen: Option<Stamp>,
    declaration: &Declaration,
    now: Millis,
) -> Looked {
    let Some(found) = stamp else {
        return Looked::Problem(TableProblem::Unreadable("there is no such file".to_owned()));
    };
    if seen == Some(found) {
        return Looked::Same;
    }
    let read = open_regular(path).and_then(|file| file.take(declaration.max_bytes));
    let stream = match read {
        Ok(stream) => stream,
        Err(error) => return Looked::Problem(TableProblem::Unreadable(error.to_string())),
    };
    // The age counts from the file's last change. The file system's clock may be ahead.
    let (seconds, _) = found.changed();
    let changed = Timestamp::from_second(seconds).unwrap_or(Timestamp::MIN);
    match Table::load_stream(declaration, stream, changed.min(timestamp(now))) {
        Ok(table) => Looked::Loaded(Box::new(table)),
        Err(LoadError::Table(problems)) => {
            Looked::Problem(TableProblem::Rows(problems.to_string()))
        }
        Err(error) => Looked::Problem(TableProblem::Rows(error.to_string())),
    }
}

/// The record of a version. The keys of rows that would be lost name people: they are sealed.
fn version_record(kind: &'static str, table: &Table, held: Option<&Difference>) -> Entry {
    let write = |fields: &mut ObjectWriter<'_>| {
        fields.text("table", table.name()).display("version", table.version());
        fields.number("rows", table.rows()).number("bytes", table.bytes());
        if let Some(difference) = held {
            fields.number("lost", difference.lost).number("changed", difference.changed);
        }
    };
    let sealed = held.map(|difference| {
        build_object(|object| {
            object.texts("warning", [difference.warning().as_str()]);
        })
        .into_bytes()
    });
    Entry { kind, fields: build_members(write), sealed }
}

fn record_problem(recorder: &Recorder, name: &str, problem: &TableProblem) {
    if problem.is_recorded() {
        return;
    }
    tracing::warn!(
        event = "table.refused",
        table = name,
        code = problem.code(),
        %problem,
        hint = problem.hint(),
        "the file of a reference table cannot be used; the version before it stays in use until it \
         is stale"
    );
    let fields = build_members(|fields| {
        fields.text("table", name).text("code", problem.code());
    });
    let sealed = Some(problem.to_string().into_bytes());
    recorder.append(Entry { kind: RECORD_REFUSED, fields, sealed });
}

/// A version waits for a confirmation.
const RECORD_HELD: &str = "table.held";

/// Calls see a version from here on.
const RECORD_LOADED: &str = "table.loaded";

/// A file cannot be used.
const RECORD_REFUSED: &str = "table.refused";
