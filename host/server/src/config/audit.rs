//! `[audit]`: where the record goes, by which keys, and what it survives.
//!
//! Invariant: keys are named by their files and never stand in the configuration.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::problems::Problems;

/// The record.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// The directory; made at the first start.
    pub directory: PathBuf,
    /// The log's origin: the name of its key and of its checkpoints, such as `hospital.example/hooks/2026`.
    pub origin: String,
    /// The key that signs checkpoints.
    pub signing_key: PathBuf,
    /// The key that seals what a record must not show.
    pub sealing_key: PathBuf,
    /// The key of the pseudonyms.
    pub pseudonym_key: PathBuf,
    /// The failure that a record survives before its answer is sent. Default `disk`.
    #[serde(default)]
    pub commit: Commit,
    /// Size of a segment of the write-ahead log, bytes: a multiple of 4,096 from 2 MiB to 1 GiB. Two are written at the first start, and up to
    /// sixteen while the views are behind. Larger ones roll less often and make the next start after a crash longer. Default 16 MiB.
    #[serde(default = "default_segment_bytes")]
    pub segment_bytes: u64,
    /// A folder on another disk or machine for a second copy of the log's head and of what must not be forgotten: it finds out a host
    /// that was restored from an old backup. It must exist.
    #[serde(default)]
    pub state_copy: Option<PathBuf>,
    /// Whether the host refuses to start where the state copy cannot be read. Default `false`: it
    /// starts, and says so.
    #[serde(default)]
    pub state_copy_required: bool,
    /// Whether the directory must hold the log: the host then begins none. For a host whose first start is over.
    /// Default: where a disk on which it or the state would lie is to be mounted and is not, or the
    /// folder above it is not there.
    pub must_exist: Option<bool>,
    /// The log that the host goes on with when this one must not be signed any more.
    #[serde(default)]
    pub next: Option<NextLog>,
}

/// A log held ready.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NextLog {
    /// Its directory; made when it is needed.
    pub directory: PathBuf,
    /// Its origin.
    pub origin: String,
    /// The key that signs its checkpoints; the trust root lists it under `log`.
    pub signing_key: PathBuf,
}

/// The failure that a record survives before its answer is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Commit {
    /// A power loss: `fdatasync` before the answer.
    #[default]
    Disk,
    /// A crash of this process, not of the machine: the kernel has it before the answer, the disk soon after.
    Kernel,
}

impl Audit {
    /// Paths, from that folder.
    pub(super) fn resolve(&mut self, base: &Path) {
        for path in [
            &mut self.directory,
            &mut self.signing_key,
            &mut self.sealing_key,
            &mut self.pseudonym_key,
        ] {
            *path = base.join(&*path);
        }
        if let Some(copy) = &mut self.state_copy {
            *copy = base.join(&*copy);
        }
        if let Some(next) = &mut self.next {
            next.directory = base.join(&next.directory);
            next.signing_key = base.join(&next.signing_key);
        }
    }

    /// Whether it can be so.
    pub(super) fn check(&self, problems: &mut Problems) {
        let segment = self.segment_bytes;
        if !segment.is_multiple_of(4_096) || !(2 << 20..=1 << 30).contains(&segment) {
            problems.add(format!(
                "audit.segment_bytes {segment} is not a multiple of 4,096 from 2 MiB to 1 GiB: \
                 write `segment_bytes = {}`",
                default_segment_bytes()
            ));
        }
        if let Some(next) = &self.next
            && (next.directory == self.directory || next.origin == self.origin)
        {
            problems.add(
                "audit.next has the directory or the origin of the present log: set others"
                    .to_owned(),
            );
        }
        if self.state_copy_required && self.state_copy.is_none() {
            problems.add(
                "audit.state_copy_required needs audit.state_copy: write `state_copy = \"FOLDER\"`"
                    .to_owned(),
            );
        }
    }
}

fn default_segment_bytes() -> u64 {
    16 << 20
}
