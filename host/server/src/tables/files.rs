//! The files of reference tables, and the host's copies of them.
//!
//! Invariant: a file that changes while it is read is not used, and a copy is whole and has the
//! digest of its version. The age of data never counts from a later moment than the file's own two
//! times and the clock allow. Nothing here decides whether a version is used.

use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use portcullis_call_data::timestamp;
use portcullis_files::{
    MAX_ENTRIES, create_exclusive, create_private_folder, list_bounded, open_regular,
};
use portcullis_model::Digest;
use portcullis_store::tables::{self, Declaration, LoadError, Problem, Table};
use portcullis_trust::TrustRoot;
use sha2::{Digest as _, Sha256};

use super::signed::{Signed, Stamps, problem, read_signature};
use super::{TableContext, TableProblem};

/// The result of a look at one file.
pub enum Looked {
    /// It is as it was, or changes at this moment.
    Same,
    /// It is another version.
    Loaded(Box<Table>, Option<Signed>),
    /// It cannot be used.
    Problem(TableProblem),
}

/// Reads a file that is not as it was. Where it `settles`, a file is read once it has not changed
/// for [`SETTLED`], so that a copy in progress is not taken for a whole file. The signature of a
/// signed table is verified first, under one of these trust roots.
pub fn look(
    path: &Path,
    seen: Option<Stamps>,
    declaration: &Declaration,
    (context, roots): (&TableContext, &[Arc<TrustRoot>]),
    settles: bool,
) -> (Option<Stamps>, Looked) {
    let stamps = Stamps::of(path, declaration);
    (stamps, look_at(path, (stamps, seen), declaration, (context, roots), settles))
}

fn look_at(
    path: &Path,
    (stamps, seen): (Option<Stamps>, Option<Stamps>),
    declaration: &Declaration,
    (context, roots): (&TableContext, &[Arc<TrustRoot>]),
    settles: bool,
) -> Looked {
    let unreadable = |why: String| Looked::Problem(TableProblem::Unreadable(why));
    let Some(found) = stamps else {
        // Where nothing was received yet, nothing is wrong with what was.
        return match declaration.source {
            Some(_) => Looked::Same,
            None => unreadable("there is no such file".to_owned()),
        };
    };
    if seen == stamps {
        return Looked::Same;
    }
    // The file system's clock may be ahead.
    let now = timestamp(context.recorder.clock.now());
    if settles && now.as_second().abs_diff(found.changed()) < SETTLED.as_secs() {
        return Looked::Same;
    }
    let signed = match read_signature(path, declaration, context, roots) {
        Ok(signed) => signed,
        Err(problem) => return Looked::Problem(problem),
    };
    let read = open_regular(path).and_then(|file| file.take(declaration.max_bytes));
    let stream = match read {
        Ok(stream) => stream,
        Err(error) => return unreadable(error.to_string()),
    };
    let written = Timestamp::from_second(found.file.written()).unwrap_or(Timestamp::MIN);
    let issued = signed.as_ref().map_or(now, |it| timestamp(it.verified.signed.issued));
    let loaded = Table::load_stream(declaration, stream, written.min(now).min(issued));
    if Stamps::of(path, declaration) != stamps {
        return Looked::Same;
    }
    let problems = match loaded {
        Ok(table) => {
            let checked = signed.as_ref().map(|it| it.verified.signed.check_file(table.version()));
            return match checked {
                Some(Err(refusal)) => Looked::Problem(problem(&refusal)),
                _ => Looked::Loaded(Box::new(table), signed),
            };
        }
        Err(LoadError::Table(problems)) => problems,
        // The declaration was checked with the set.
        Err(error) => return unreadable(error.to_string()),
    };
    let is_read = |it: &tables::TableProblem| matches!(it.problem, Problem::Read(_));
    match problems.problems.iter().find(|it| is_read(it)) {
        Some(failed) => unreadable(failed.to_string()),
        None => Looked::Problem(TableProblem::Rows(problems)),
    }
}

/// Copies the file of a version, with the time of its data as the time of its last change.
///
/// # Errors
/// The disk, or the file is another version by now: nothing has changed.
pub fn copy_file(path: &Path, copy: &Path, version: Digest, data_at: Timestamp) -> io::Result<()> {
    if let Some(folder) = copy.parent() {
        create_private_folder(folder)?;
    }
    let mut from = open_regular(path).map_err(io::Error::other)?.file;
    let (mut to, temporary) = create_exclusive(copy, 0o600)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    let mut copied = || {
        loop {
            let length = from.read(&mut buffer)?;
            let Some(piece) = buffer.get(..length).filter(|piece| !piece.is_empty()) else {
                to.set_modified(SystemTime::from(data_at))?;
                return to.sync_all();
            };
            hash.update(piece);
            to.write_all(piece)?;
        }
    };
    let done = copied().and_then(|()| {
        if Digest(hash.finalize().into()) != version {
            return Err(io::Error::other("the file has changed meanwhile"));
        }
        std::fs::rename(&temporary, copy)
    });
    if done.is_err() {
        drop(std::fs::remove_file(&temporary));
    }
    done
}

/// Gives a copy the time of newer data that are the same bytes.
///
/// # Errors
/// There is no such file of the host's own.
pub fn set_data_time(copy: &Path, data_at: Timestamp) -> io::Result<()> {
    let file = open_regular(copy).map_err(io::Error::other)?.file;
    file.set_modified(SystemTime::from(data_at))
}

/// Removes the files that are not wanted. Files under temporary names stay: another thread may be
/// writing them.
pub fn remove_other_copies(folder: &Path, is_wanted: impl Fn(&str) -> bool) {
    // Without a folder there are no copies.
    let Ok(listing) = list_bounded(folder, &[], MAX_ENTRIES) else { return };
    for name in listing.names {
        if name.to_str().is_none_or(|name| !is_wanted(name))
            && let Err(error) = std::fs::remove_file(folder.join(&name))
        {
            tracing::warn!(
                event = "table.copy-not-removed",
                file = %folder.join(&name).display(),
                %error,
                "the host could not remove its copy of a reference table that no release declares any \
                 more; remove the file"
            );
        }
    }
}

/// For how long a file must not have changed.
const SETTLED: Duration = Duration::from_secs(2);
