//! Reference tables: the files that an operator replaces, and the versions that calls see.
//!
//! Invariant: a version is used only after its digest is durable on record. A file that cannot be used
//! changes nothing: the last good version stays, also through a restart, until its own age makes it
//! stale. Each generation has its own tables, so that no call sees the rules of another release. Reads block, so they run on a thread that may hang
//! ([`FileWorkers::tables`](crate::fs::file_worker::FileWorkers)), never on one that calls wait for.

pub mod lookups;
mod problem;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use portcullis_audit::Entry;
use portcullis_files::{Stamp, create_exclusive, create_private_folder, open_regular};
use portcullis_model::json::{ObjectWriter, build_members, build_object};
use portcullis_model::{Digest, Millis};
use portcullis_store::tables::{
    Acceptance, CurrentTables, Declaration, Difference, LoadError, Offered, Problem, Table,
    TableSet, TableStatus, decide,
};
use portcullis_trust::{ReleaseSet, TableEntry};
use sha2::{Digest as _, Sha256};

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
}

/// The result of a look at one file.
enum Looked {
    /// It is as it was, or changes at this moment.
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
    /// The tables that a release declares, with the versions of the release before it where both declare
    /// a table alike and this one allows the version. Whether the declarations fit was checked with the
    /// set; one that does not is left out, and look-ups in it are denied.
    pub fn of(release: &ReleaseSet, before: Option<&Self>) -> Self {
        let mut followed = BTreeMap::new();
        for (name, entry) in &release.tables {
            let Ok(declaration) = problem::declaration(entry) else { continue };
            let entry = entry.clone();
            let new = Followed { declaration, entry, seen: None, problem: None, held: None };
            followed.insert(name.clone(), new);
        }
        let set = TableSet::new(followed.values().map(|known| known.declaration.clone()));
        if let Some(before) = before {
            let (current, earlier) = (before.current(), before.followed());
            for (name, known) in &mut followed {
                let Some(table) = current.table(name) else { continue };
                let allowed = known.entry.version.is_none_or(|it| it == table.version());
                let adopted = allowed && set.adopt(Arc::clone(table));
                if let Some(same) = earlier.get(name).filter(|it| it.entry == known.entry)
                    && adopted
                {
                    *known = same.clone();
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

    /// Looks at the files of all tables and uses the versions that are new. Blocks on the disk and on
    /// the log.
    pub fn poll(&self, folders: &TableFolders, recorder: &Recorder) {
        let _round = self.round.lock().unwrap_or_else(PoisonError::into_inner);
        let tables: Vec<_> =
            self.followed().iter().map(|(name, known)| (name.clone(), known.clone())).collect();
        for (name, known) in tables {
            let Followed { declaration, entry, seen, .. } = &known;
            let (path, copy) = (folders.files.join(&entry.file), folders.copies.join(&name));
            if self.current().table(&name).is_none() {
                self.use_copy(&copy, &known, recorder);
            }
            let replaces = self.current().table(&name).is_some();
            let stamp = Stamp::of(&path);
            let now = recorder.clock.now();
            let problem = match look(&path, stamp, *seen, declaration, now, replaces) {
                Looked::Same => continue,
                Looked::Problem(problem) => Some(problem),
                Looked::Loaded(table) => {
                    let version = table.version();
                    let taken = self.take(*table, &known, recorder);
                    if taken.is_ok() {
                        keep_copy(&path, &copy, version);
                    }
                    taken.err()
                }
            };
            if let Some(known) = self.followed().get_mut(&name) {
                // One that lasts is recorded once.
                if let Some(problem) = problem.as_ref().filter(|_| known.problem != problem) {
                    record_problem(recorder, &name, problem);
                }
                known.held = match problem {
                    Some(TableProblem::Held { version }) => Some(version),
                    _ => None,
                };
                // A version that could not be read or recorded is looked at again.
                let is_lost = problem.as_ref().is_some_and(TableProblem::is_transient);
                known.seen = stamp.filter(|_| !is_lost);
                known.problem = problem;
            }
        }
    }

    /// Uses the host's copy of the version that it used last, where the release allows it.
    fn use_copy(&self, copy: &Path, known: &Followed, recorder: &Recorder) {
        let (stamp, now) = (Stamp::of(copy), recorder.clock.now());
        if stamp.is_none() {
            return;
        }
        let looked = look(copy, stamp, None, &known.declaration, now, false);
        // Where it cannot be used any more, the file is the first version.
        if let Looked::Loaded(table) = looked {
            let _ = self.take(*table, known, recorder);
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
            self.set.offer(table);
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
        if let Offered::Held(_) = self.set.offer(table) {
            // Confirmed by the release. Nothing else takes versions meanwhile: the round is locked.
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

/// Reads a file that is not as it was. One that `replaces` a version is read once it has not changed for
/// [`SETTLED`], so that a copy in progress is not taken for a whole file.
fn look(
    path: &Path,
    stamp: Option<Stamp>,
    seen: Option<Stamp>,
    declaration: &Declaration,
    now: Millis,
    replaces: bool,
) -> Looked {
    let unreadable = |why: String| Looked::Problem(TableProblem::Unreadable(why));
    let Some(found) = stamp else { return unreadable("there is no such file".to_owned()) };
    if seen == Some(found) {
        return Looked::Same;
    }
    // The age counts from the file's last change. The file system's clock may be ahead.
    let (seconds, _) = found.changed();
    let changed = Timestamp::from_second(seconds).unwrap_or(Timestamp::MIN);
    let (now, least) = (timestamp(now), SETTLED.as_secs());
    if replaces && now.as_second().abs_diff(changed.as_second()) < least {
        return Looked::Same;
    }
    let read = open_regular(path).and_then(|file| file.take(declaration.max_bytes));
    let stream = match read {
        Ok(stream) => stream,
        Err(error) => return unreadable(error.to_string()),
    };
    let loaded = Table::load_stream(declaration, stream, changed.min(now));
    if Stamp::of(path) != stamp {
        return Looked::Same;
    }
    let problems = match loaded {
        Ok(table) => return Looked::Loaded(Box::new(table)),
        Err(LoadError::Table(problems)) => problems,
        Err(error) => return Looked::Problem(TableProblem::Rows(error.to_string())),
    };
    let is_read =
        |it: &portcullis_store::tables::TableProblem| matches!(it.problem, Problem::Read(_));
    match problems.problems.iter().find(|it| is_read(it)) {
        Some(failed) => unreadable(failed.to_string()),
        None => Looked::Problem(TableProblem::Rows(problems.to_string())),
    }
}

/// Keeps a copy of a version that is used. Where that fails, the next start has one comparison less and
/// says so.
fn keep_copy(path: &Path, copy: &Path, version: Digest) {
    let kept = copy_of(path, copy, version);
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

fn copy_of(path: &Path, copy: &Path, version: Digest) -> std::io::Result<()> {
    if let Some(folder) = copy.parent() {
        create_private_folder(folder)?;
    }
    let mut from = open_regular(path).map_err(std::io::Error::other)?.file;
    let (mut to, temporary) = create_exclusive(copy, 0o600)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    let mut copied = || {
        loop {
            let length = from.read(&mut buffer)?;
            let Some(piece) = buffer.get(..length).filter(|piece| !piece.is_empty()) else {
                return to.sync_all();
            };
            hash.update(piece);
            to.write_all(piece)?;
        }
    };
    let done = copied().and_then(|()| {
        if Digest(hash.finalize().into()) != version {
            return Err(std::io::Error::other("the file has changed meanwhile"));
        }
        std::fs::rename(&temporary, copy)
    });
    if done.is_err() {
        drop(std::fs::remove_file(&temporary));
    }
    done
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

/// For how long the file of a new version must not have changed.
const SETTLED: Duration = Duration::from_secs(2);
