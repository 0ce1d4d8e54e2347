//! The host's own folder, held by the one process that serves with it.
//!
//! Invariant: the folder is opened once, and everything is written into the folder that was opened, whatever is mounted over its path later. It is held before anything in it is read, until everything in it is written a last time, so that nobody writes over what another
//! host remembers. Who only looks (`check`, `break-glass list`) holds nothing.

use std::io;
use std::sync::Arc;

use portcullis_audit::disk::{Disk as _, Lock, OsDisk};
use portcullis_files::{HeldFolder, create_private_folder, remove_temporary_files};

use crate::config::Trust;
use crate::error::StartError;

/// The folder; given back when dropped.
pub struct StateDirLock {
    folder: Arc<HeldFolder>,
    _lock: Box<dyn Lock>,
}

impl StateDirLock {
    /// Holds it; one that is not there is made.
    pub fn acquire(trust: &Trust) -> Result<Self, StartError> {
        let path = &trust.state;
        let unusable = |error: io::Error| {
            let hint = Some(STATE_HINT.to_owned());
            StartError::File { what: "folder", path: path.clone(), why: error.to_string(), hint }
        };
        // One above it that is missing is not made: its disk may not be mounted yet.
        let above = path.parent().filter(|above| !above.as_os_str().is_empty());
        if let Some(above) = above.filter(|above| !above.is_dir()) {
            return Err(StartError::File {
                what: "folder",
                path: path.clone(),
                why: format!("its parent folder `{}` does not exist", above.display()),
                hint: Some("mount its disk, or create the parent folder".to_owned()),
            });
        }
        if create_private_folder(path).map_err(unusable)? {
            tracing::warn!(
                event = "trust.state-folder-closed",
                folder = %path.display(),
                "other users had access to the folder trust.state; the host set its mode to 0700"
            );
        }
        let folder = HeldFolder::open(path).map_err(unusable)?;
        let lock = OsDisk.lock(&folder.at(LOCK)).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => StartError::InUse(path.clone()),
            _ => StartError::File {
                what: "lock file",
                path: path.join(LOCK),
                why: error.to_string(),
                hint: Some(STATE_HINT.to_owned()),
            },
        })?;
        // Left by a host that was ended while it wrote: nobody else writes here.
        remove_temporary_files(&folder.at("")).map_err(unusable)?;
        Ok(Self { folder: Arc::new(folder), _lock: lock })
    }

    /// The folder, for whoever writes in it.
    pub fn folder(&self) -> &Arc<HeldFolder> {
        &self.folder
    }
}

/// The hint for a folder that cannot be written.
pub const STATE_HINT: &str = "remove what is not a folder at this path and allow the host to write \
                              it, or set another folder as `trust.state`";
/// Held by the one process that writes.
const LOCK: &str = "lock";
