//! The trust roots that this host has accepted, and the next ones as they arrive.
//!
//! Invariant: the newest root is reached from the pinned one, or from one that this host remembers by digest, by a chain without a gap; what
//! was accepted is kept in the host's own folder before it is used, so no older root and no other root of the same number is ever
//! taken again. Reads files, so it never runs on a thread that serves connections.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis_trust::{Envelope, History, Refusal, RootMark, TrustRoot, verify_pinned_root};

use crate::config::Trust;
use crate::error::StartError;

/// The accepted roots.
#[derive(Clone)]
pub struct Roots {
    accepted: BTreeMap<u64, Accepted>,
    newest: Arc<TrustRoot>,
}

/// A root that was let in.
#[derive(Clone)]
struct Accepted {
    root: Arc<TrustRoot>,
    envelope: Vec<u8>,
    /// Whether it lies in the host's own folder.
    kept: bool,
}

/// A file that claims to be a trust root. Nobody has looked at its signatures yet.
#[derive(Clone)]
struct Candidate {
    path: PathBuf,
    envelope: Vec<u8>,
    root: TrustRoot,
}

/// A file that should have been the next root, and why it is not.
pub struct Stopped {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub refusal: Refusal,
}

impl Roots {
    /// The root in force: from the pinned file, what is remembered, and what lies in the folders. Writes nothing. Unless `takes_new`
    /// no root is taken that is newer than the remembered one and than the pinned one.
    pub fn load(
        trust: &Trust,
        history: &History,
        takes_new: bool,
    ) -> Result<(Self, Option<Stopped>), StartError> {
        let file = &trust.root;
        let refused = |refusal: Refusal| {
            start(file, format!("{refusal} [{}]", refusal.code()), refusal.hint())
        };
        let envelope = read(file).map_err(|why| start(file, why, None))?;
        let pinned = verify_pinned_root(&envelope).map_err(refused)?;
        let pin = mark(&pinned);
        let pinned = Candidate { path: file.clone(), envelope, root: pinned };
        let mut candidates = candidates(&kept_folder(trust));
        candidates.extend(self::candidates(&trust.roots));
        if let (Some(known), false) = (history.root, takes_new) {
            let newest = known.version.max(pin.version);
            candidates.retain(|candidate| candidate.root.version <= newest);
        }
        // A root that the host remembers needs no walk from the pin: its digest is known.
        let place =
            candidates.iter().position(|candidate| Some(mark(&candidate.root)) == history.root);
        let first = place.map_or_else(|| pinned.clone(), |place| candidates.swap_remove(place));
        let newest = Arc::new(first.root);
        let accepted =
            Accepted { root: Arc::clone(&newest), envelope: first.envelope, kept: false };
        let mut roots = Self { accepted: BTreeMap::from([(newest.version, accepted)]), newest };
        // Those before the remembered one: a set that was let in under one of them may start again under it.
        for candidate in self::candidates(&kept_folder(trust)) {
            if candidate.root.version < roots.newest.version {
                roots.keep_older(candidate);
            }
        }
        candidates.push(pinned);
        let stopped = roots.walk(&mut candidates).or_else(|| malformed(&trust.roots));
        roots.agrees(pin, history.root, stopped.as_ref()).map_err(refused)?;
        Ok((roots, stopped))
    }

    /// Looks for the roots that follow. Gives those that were taken, in order, and why it went no further, where a file claims to be the
    /// next one and is not.
    pub fn follow(&mut self, trust: &Trust) -> (Vec<Arc<TrustRoot>>, Option<Stopped>) {
        let before = self.newest.version;
        let stopped = self.walk(&mut candidates(&trust.roots)).or_else(|| malformed(&trust.roots));
        let new = self
            .accepted
            .range(before.saturating_add(1)..)
            .map(|(_, accepted)| Arc::clone(&accepted.root));
        (new.collect(), stopped)
    }

    /// The root in force.
    pub fn newest(&self) -> &Arc<TrustRoot> {
        &self.newest
    }

    /// The accepted root of this number; the one in force where that is not here any more.
    pub fn at(&self, version: u64) -> &Arc<TrustRoot> {
        self.accepted.get(&version).map_or(&self.newest, |accepted| &accepted.root)
    }

    /// Keeps what was accepted in the host's own folder, durably.
    pub fn keep(&mut self, trust: &Trust) -> std::io::Result<()> {
        let folder = kept_folder(trust);
        fs::create_dir_all(&folder)?;
        for (version, accepted) in &mut self.accepted {
            if !accepted.kept {
                let path = folder.join(format!("{version:06}.json"));
                if fs::read(&path).ok().as_ref() != Some(&accepted.envelope) {
                    crate::memory::replace(&path, &accepted.envelope)?;
                }
                accepted.kept = true;
            }
        }
        Ok(())
    }

    /// Walks from the newest root to the last that follows.
    fn walk(&mut self, candidates: &mut Vec<Candidate>) -> Option<Stopped> {
        loop {
            let next = self.newest.version.checked_add(1)?;
            let (claim, rest): (Vec<_>, Vec<_>) = std::mem::take(candidates)
                .into_iter()
                .partition(|candidate| candidate.root.version == next);
            *candidates = rest;
            let mut taken: Option<Candidate> = None;
            let mut stopped = None;
            for candidate in claim {
                match self.newest.next(&candidate.envelope) {
                    Ok(_)
                        if taken
                            .as_ref()
                            .is_some_and(|taken| taken.root.digest != candidate.root.digest) =>
                    {
                        let refusal =
                            Refusal::root_forked(next, "both are signed as they should be");
                        return Some(Stopped { path: candidate.path, refusal });
                    }
                    Ok(_) => taken = Some(candidate),
                    Err(refusal) => stopped = Some(Stopped { path: candidate.path, refusal }),
                }
            }
            let Some(Candidate { envelope, root, .. }) = taken else {
                return stopped.or_else(|| self.gap(candidates));
            };
            self.newest = Arc::new(root);
            let accepted = Accepted { root: Arc::clone(&self.newest), envelope, kept: false };
            self.accepted.insert(next, accepted);
        }
    }

    /// A root that lies further on than the next: it cannot be reached.
    fn gap(&self, candidates: &[Candidate]) -> Option<Stopped> {
        let further =
            candidates.iter().filter(|candidate| candidate.root.version > self.newest.version);
        let nearest = further.min_by_key(|candidate| candidate.root.version)?;
        let refusal = self.newest.next(&nearest.envelope).err()?;
        Some(Stopped { path: nearest.path.clone(), refusal })
    }

    fn keep_older(&mut self, candidate: Candidate) {
        let Candidate { envelope, .. } = candidate;
        let Ok(root) = verify_pinned_root(&envelope) else { return };
        let version = root.version;
        let accepted = Accepted { root: Arc::new(root), envelope, kept: true };
        self.accepted.entry(version).or_insert(accepted);
    }

    /// Whether what was reached agrees with the pin and with what is remembered.
    fn agrees(
        &self,
        pin: RootMark,
        known: Option<RootMark>,
        stopped: Option<&Stopped>,
    ) -> Result<(), Refusal> {
        for wanted in [Some(pin), known].into_iter().flatten() {
            match self.accepted.get(&wanted.version) {
                Some(accepted) if mark(&accepted.root) == wanted => {}
                Some(_) => {
                    return Err(Refusal::root_forked(wanted.version, "the pinned one is not it"));
                }
                // Older than all that are here: it was left behind long ago.
                None if wanted.version < self.newest.version => {}
                None => {
                    let refusal = stopped.map(|stopped| stopped.refusal.clone());
                    let lost = || Refusal::root_lost(wanted.version, self.newest.version);
                    return Err(refusal.filter(|_| known != Some(wanted)).unwrap_or_else(lost));
                }
            }
        }
        Ok(())
    }
}

/// A root by number and digest.
pub fn mark(root: &TrustRoot) -> RootMark {
    RootMark { version: root.version, digest: root.digest }
}

/// Everything in a folder that claims to be a trust root. What does not is passed over.
fn candidates(folder: &Path) -> Vec<Candidate> {
    let candidate = |(path, envelope): (PathBuf, Vec<u8>)| {
        let root = TrustRoot::unverified(&envelope).ok()?;
        Some(Candidate { path, envelope, root })
    };
    files(folder).filter_map(candidate).collect()
}

/// The first file that should be a trust root and does not read as one.
fn malformed(folder: &Path) -> Option<Stopped> {
    files(folder).find_map(|(path, envelope)| {
        let refusal = TrustRoot::unverified(&envelope).err()?;
        Some(Stopped { path, refusal })
    })
}

/// The JSON files of a folder, in the order of their names.
fn files(folder: &Path) -> impl Iterator<Item = (PathBuf, Vec<u8>)> {
    let json = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "json");
    let mut paths: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(json)
        .collect();
    paths.sort();
    paths
        .into_iter()
        .take(MOST_FILES)
        .filter_map(|path| read(&path).ok().map(|envelope| (path, envelope)))
}

fn kept_folder(trust: &Trust) -> PathBuf {
    trust.state.join("roots")
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let size = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > Envelope::MAX_BYTES as u64 {
        return Err(format!(
            "it has {size} bytes; the largest accepted is {}",
            Envelope::MAX_BYTES
        ));
    }
    fs::read(path).map_err(|error| error.to_string())
}

fn start(path: &Path, why: String, hint: Option<String>) -> StartError {
    StartError::File { what: "trust root", path: path.to_owned(), why, hint }
}

/// Files of one folder that are looked at.
const MOST_FILES: usize = 1_000;
