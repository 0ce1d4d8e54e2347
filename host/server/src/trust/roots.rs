//! The trust roots that this host has accepted, and the next ones as they arrive.
//!
//! Invariant: the newest root is reached from the pinned one, or from one that this host remembers by digest, by a chain without a gap; what
//! was accepted is kept in the host's own folder, as soon as that can be written, and remembered by digest, so no older root and no other
//! root of the same number is ever taken again. Reads files, so it never runs on a thread that serves connections.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis_files::{HeldFolder, read_bounded};
use portcullis_trust::{
    Envelope, Refusal, RefusalCode, RootMark, TrustHistory, TrustRoot, verify_pinned_root,
};

use crate::config::Trust;
use crate::error::StartError;
use crate::fs::folder::Folder;

/// The accepted roots.
#[derive(Clone)]
pub struct Roots {
    accepted: BTreeMap<u64, AcceptedRoot>,
    newest: Arc<TrustRoot>,
}

/// A root that was let in.
#[derive(Clone)]
struct AcceptedRoot {
    root: Arc<TrustRoot>,
    envelope: Vec<u8>,
    /// Whether it lies in the host's own folder.
    persisted: bool,
}

/// A file that claims to be a trust root. Nobody has looked at its signatures yet.
#[derive(Clone)]
struct RootCandidate {
    path: PathBuf,
    envelope: Vec<u8>,
    root: TrustRoot,
}

/// What lies in the folder of arriving roots, as far as it matters.
#[derive(Clone, Default)]
pub struct ArrivedRoots {
    candidates: Vec<RootCandidate>,
    /// The first file that should be a trust root and does not read as one.
    malformed: Option<RejectedRoot>,
    /// How many files the folder holds beside those that were read and held.
    pub unread: u64,
}

/// A file that should have been the next root, and why it is not.
#[derive(Clone)]
pub struct RejectedRoot {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub refusal: Refusal,
}

impl Roots {
    /// The active root: from the pinned file, what is remembered, and what lies in the folders.
    /// Writes nothing. Unless `takes_new` no root is taken that is newer than the remembered one
    /// and than the pinned one.
    pub fn load(
        trust: &Trust,
        history: &TrustHistory,
        arrived: &ArrivedRoots,
        takes_new: bool,
    ) -> Result<(Self, Option<RejectedRoot>), StartError> {
        let file = &trust.root;
        let refused = |refusal: Refusal| {
            start(file, format!("{refusal} [{}]", refusal.code()), refusal.hint())
        };
        let envelope = read(file).map_err(|why| start(file, why, None))?;
        let pinned = verify_pinned_root(&envelope).map_err(refused)?;
        let pin = mark(&pinned);
        let pinned = RootCandidate { path: file.clone(), envelope, root: pinned };
        let kept = ArrivedRoots::read(&kept_folder(trust), 0).candidates;
        let mut candidates = kept.clone();
        candidates.extend(arrived.candidates.iter().cloned());
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
            AcceptedRoot { root: Arc::clone(&newest), envelope: first.envelope, persisted: false };
        let mut roots = Self { accepted: BTreeMap::from([(newest.version, accepted)]), newest };
        // Those before the remembered one: a set that was let in under one of them may start again under it.
        for candidate in kept {
            if candidate.root.version < roots.newest.version {
                roots.add_older(candidate);
            }
        }
        candidates.push(pinned);
        let stopped = roots.advance(&mut candidates).or_else(|| arrived.malformed.clone());
        let agrees = roots.check_against_pin(pin, history.root, stopped.as_ref());
        agrees.map_err(|refusal| match refusal.kind() {
            RefusalCode::RootLost => {
                StartError::RootLost { path: file.clone(), refusal: Box::new(refusal) }
            }
            _ => refused(refusal),
        })?;
        Ok((roots, stopped))
    }

    /// Looks for the roots that follow. Gives those that were taken, in order, and why it went no further, where a file claims to be the
    /// next one and is not.
    pub fn load_new(
        &mut self,
        arrived: ArrivedRoots,
    ) -> (Vec<Arc<TrustRoot>>, Option<RejectedRoot>) {
        let before = self.newest.version;
        let ArrivedRoots { mut candidates, malformed, .. } = arrived;
        let stopped = self.advance(&mut candidates).or(malformed);
        (self.after(before), stopped)
    }

    /// The active root.
    pub fn newest(&self) -> &Arc<TrustRoot> {
        &self.newest
    }

    /// The accepted root of this number; the active one where that is not here any more.
    pub fn version(&self, version: u64) -> &Arc<TrustRoot> {
        self.accepted.get(&version).map_or(&self.newest, |accepted| &accepted.root)
    }

    /// The accepted roots after this number, the oldest first.
    pub fn after(&self, version: u64) -> Vec<Arc<TrustRoot>> {
        let after = self.accepted.range(version.saturating_add(1)..);
        after.map(|(_, accepted)| Arc::clone(&accepted.root)).collect()
    }

    /// Whether every accepted root lies in the host's own folder.
    pub fn are_persisted(&self) -> bool {
        self.accepted.values().all(|accepted| accepted.persisted)
    }

    /// Keeps what was accepted in the host's own folder, durably. Writes only what is not there.
    ///
    /// # Errors
    /// The disk refuses; what was not kept is kept by the next call.
    pub fn persist(&mut self, state: &HeldFolder) -> std::io::Result<()> {
        let folder = state.private_below(FOLDER)?;
        for (version, accepted) in &mut self.accepted {
            if !accepted.persisted {
                let path = folder.at(format!("{version:06}.json"));
                // A link is replaced, wherever it leads.
                let is_file = path.symlink_metadata().is_ok_and(|facts| facts.is_file());
                if !is_file || read(&path).ok().as_ref() != Some(&accepted.envelope) {
                    crate::trust::persisted::write_durably(&path, &accepted.envelope)?;
                }
                accepted.persisted = true;
            }
        }
        Ok(())
    }

    /// Walks from the newest root to the last that follows.
    fn advance(&mut self, candidates: &mut Vec<RootCandidate>) -> Option<RejectedRoot> {
        loop {
            let next = self.newest.version.checked_add(1)?;
            let (claim, rest): (Vec<_>, Vec<_>) = std::mem::take(candidates)
                .into_iter()
                .partition(|candidate| candidate.root.version == next);
            *candidates = rest;
            let mut taken: Option<RootCandidate> = None;
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
                        return Some(RejectedRoot { path: candidate.path, refusal });
                    }
                    Ok(_) => taken = Some(candidate),
                    Err(refusal) => stopped = Some(RejectedRoot { path: candidate.path, refusal }),
                }
            }
            let Some(RootCandidate { envelope, root, .. }) = taken else {
                return stopped.or_else(|| self.gap(candidates));
            };
            self.newest = Arc::new(root);
            let accepted =
                AcceptedRoot { root: Arc::clone(&self.newest), envelope, persisted: false };
            self.accepted.insert(next, accepted);
        }
    }

    /// A root that lies further on than the next: it cannot be reached.
    fn gap(&self, candidates: &[RootCandidate]) -> Option<RejectedRoot> {
        let further =
            candidates.iter().filter(|candidate| candidate.root.version > self.newest.version);
        let nearest = further.min_by_key(|candidate| candidate.root.version)?;
        let refusal = self.newest.next(&nearest.envelope).err()?;
        Some(RejectedRoot { path: nearest.path.clone(), refusal })
    }

    fn add_older(&mut self, candidate: RootCandidate) {
        let RootCandidate { envelope, .. } = candidate;
        let Ok(root) = verify_pinned_root(&envelope) else { return };
        let version = root.version;
        let accepted = AcceptedRoot { root: Arc::new(root), envelope, persisted: true };
        self.accepted.entry(version).or_insert(accepted);
    }

    /// Whether what was reached agrees with the pin and with what is remembered.
    fn check_against_pin(
        &self,
        pin: RootMark,
        known: Option<RootMark>,
        stopped: Option<&RejectedRoot>,
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

impl ArrivedRoots {
    /// Reads a folder: everything that claims to be a trust root later than this one. The lowest
    /// versions come first where there is more than can be held, and of these the smallest files.
    pub fn read(folder: &Path, newest: u64) -> Self {
        let found = Folder::read_newest(folder, &[".json"]).unwrap_or_default();
        let mut arrived = Self { unread: found.unlisted, ..Self::default() };
        let mut files = found.files;
        files.sort_by_key(|file| file.stamp.size());
        let mut left_to_read = MAX_READ_BYTES;
        for file in files {
            let size = file.stamp.size();
            let Some(left) = left_to_read.checked_sub(size) else {
                arrived.unread = arrived.unread.saturating_add(1);
                break;
            };
            left_to_read = left;
            // Larger than any envelope: it is none, and is not read.
            if size > Envelope::MAX_BYTES as u64 {
                continue;
            }
            let Ok(envelope) = file.bytes() else { continue };
            match TrustRoot::unverified(&envelope) {
                Ok(root) if root.version > newest => {
                    arrived.candidates.push(RootCandidate { path: file.path, envelope, root });
                    arrived.bound();
                }
                Ok(_) => {}
                Err(refusal) => {
                    if arrived.malformed.as_ref().is_none_or(|known| file.path < known.path) {
                        arrived.malformed = Some(RejectedRoot { path: file.path, refusal });
                    }
                }
            }
        }
        arrived
    }

    /// Drops the highest versions while there is more than is held.
    fn bound(&mut self) {
        let bytes = |it: &[RootCandidate]| it.iter().map(|it| it.envelope.len()).sum::<usize>();
        if bytes(&self.candidates) <= MAX_HELD_BYTES {
            return;
        }
        self.candidates.sort_by_key(|candidate| (candidate.root.version, candidate.envelope.len()));
        while bytes(&self.candidates) > MAX_HELD_BYTES {
            self.candidates.pop();
            self.unread = self.unread.saturating_add(1);
        }
    }
}

/// Where accepted roots are kept.
pub fn kept_folder(trust: &Trust) -> PathBuf {
    trust.state.join(FOLDER)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    read_bounded(path, Envelope::MAX_BYTES as u64).map_err(|error| error.to_string())
}

fn start(path: &Path, why: String, hint: Option<String>) -> StartError {
    StartError::File { what: "trust root", path: path.to_owned(), why, hint }
}

/// The folder of accepted roots, in the host's own.
const FOLDER: &str = "roots";
/// The most bytes of one folder that are read: thousands of trust roots.
const MAX_READ_BYTES: u64 = 256 << 20;
/// The most bytes of arriving trust roots that are held.
const MAX_HELD_BYTES: usize = 32 << 20;
