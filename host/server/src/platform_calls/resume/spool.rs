//! The spool: calls that a platform waits for, on disk until they are made.
//!
//! Invariant: a call is on disk, sealed and durable, before the answer that promises it leaves, and stays there until its outcome
//! is recorded; a call that was never promised is taken away again. One file a call; a file that cannot be read is kept aside, never
//! deleted and never guessed at.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use portcullis_audit::{SealKey, Sealer, open_sealed};
use portcullis_files::{create_private_folder, read_bounded, remove_temporary_files, write_atomic};
use portcullis_hooks::Resume;
use portcullis_model::Millis;
use serde::{Deserialize, Serialize};

/// One platform's spool.
pub struct Spool {
    folder: PathBuf,
    tenant: String,
    key: SealKey,
    sealer: Sealer,
    waiting: AtomicUsize,
}

/// A call as it lies there.
#[derive(Clone, Serialize, Deserialize)]
pub struct Job {
    /// The hook whose decision it carries.
    pub hook: String,
    /// The path below the platform's interface.
    pub path: String,
    /// JSON.
    pub body: String,
    /// The decision's record.
    pub of: Option<u64>,
    /// When it was promised.
    pub at: u64,
}

/// A call on disk that has not been promised yet: dropped, it is taken away again.
pub struct Spooled {
    spool: Arc<Spool>,
    file: PathBuf,
    job: Option<Job>,
}

/// Why a call is not on disk.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Too many wait already.
    #[error("the spool already holds {MAX_WAITING} resume calls")]
    Full,
    /// It could not be sealed.
    #[error("a resume call could not be sealed")]
    Seal,
    /// The disk.
    #[error("a resume call could not be written: {0}")]
    Disk(#[from] io::Error),
}

impl Spool {
    /// Opens the folder, which is made where it is not there.
    pub fn open(folder: &Path, tenant: &str, key: &SealKey) -> io::Result<Self> {
        create_private_folder(folder)?;
        let (folder, tenant) = (folder.to_owned(), tenant.to_owned());
        Ok(Self {
            folder,
            tenant,
            sealer: Sealer::new(key.clone()),
            key: key.clone(),
            waiting: AtomicUsize::new(0),
        })
    }

    /// Returns the calls of the last run, oldest first, and the unreadable files, which are moved
    /// aside.
    pub fn pending(self: &Arc<Self>) -> io::Result<(Vec<Spooled>, Vec<PathBuf>)> {
        let (mut left, mut aside) = (Vec::new(), Vec::new());
        // Of calls that were never promised.
        remove_temporary_files(&self.folder)?;
        #[expect(clippy::disallowed_methods, reason = "the spool's own folder, of mode 0700")]
        let entries = fs::read_dir(&self.folder)?;
        let mut files: Vec<_> = entries.collect::<Result<_, _>>()?;
        files.sort_by_key(fs::DirEntry::file_name);
        for file in files.iter().map(fs::DirEntry::path) {
            if file.extension().is_none_or(|extension| extension != "sealed") {
                continue;
            }
            match self.read(&file) {
                Some(job) => {
                    self.waiting.fetch_add(1, Ordering::Relaxed);
                    left.push(Spooled { spool: Arc::clone(self), file, job: Some(job) });
                }
                None => {
                    fs::rename(&file, file.with_extension("unreadable"))?;
                    aside.push(file);
                }
            }
        }
        Ok((left, aside))
    }

    /// Puts a call on disk, durably. Blocks on the disk.
    pub fn write(
        self: &Arc<Self>,
        hook: &str,
        resume: Resume,
        of: Option<u64>,
        now: Millis,
    ) -> Result<Spooled, SpoolError> {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= MAX_WAITING {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(SpoolError::Full);
        }
        let job =
            Job { hook: hook.to_owned(), path: resume.path, body: resume.body, of, at: now.0 };
        let mut random = [0; 8];
        // Only tells files of one millisecond apart.
        let _ = aws_lc_rs::rand::fill(&mut random);
        let name = format!("{:013}-{:016x}.sealed", now.0, u64::from_be_bytes(random));
        // From here on, a failure takes away what is there.
        let spooled =
            Spooled { spool: Arc::clone(self), file: self.folder.join(name), job: Some(job) };
        let plain = serde_json::to_vec(&spooled.job).map_err(|_| SpoolError::Seal)?;
        let sealed = self.sealer.seal(&self.tenant, KIND, plain).map_err(|_| SpoolError::Seal)?;
        write_atomic(&spooled.file, &sealed.blob, 0o600)?;
        Ok(spooled)
    }

    fn read(&self, file: &Path) -> Option<Job> {
        let blob = read_bounded(file, MAX_CALL_BYTES).ok()?;
        let plain = open_sealed(&self.key, &self.tenant, KIND, &blob).ok()?;
        serde_json::from_slice(&plain).ok()
    }
}

impl Spooled {
    /// The call, which has been promised by now: it stays until it is done.
    pub fn commit(mut self) -> (Job, CommittedCall) {
        let job = self.job.take();
        let empty = || Job {
            hook: String::new(),
            path: String::new(),
            body: String::new(),
            of: None,
            at: 0,
        };
        (
            job.unwrap_or_else(empty),
            CommittedCall { spool: Arc::clone(&self.spool), file: self.file.clone() },
        )
    }
}

/// A promised call's place on disk.
pub struct CommittedCall {
    spool: Arc<Spool>,
    file: PathBuf,
}

impl CommittedCall {
    /// The call has been made or given up, and that is recorded.
    pub fn done(self) {
        if let Err(error) = fs::remove_file(&self.file) {
            tracing::warn!(
                file = %self.file.display(),
                %error,
                event = "resume.not-removed",
                "a finished resume call could not be removed from the spool; the next start makes \
                 it again"
            );
        }
    }
}

impl Drop for CommittedCall {
    fn drop(&mut self) {
        self.spool.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Spooled {
    fn drop(&mut self) {
        if self.job.is_some() {
            self.spool.waiting.fetch_sub(1, Ordering::Relaxed);
            drop(fs::remove_file(&self.file));
        }
    }
}

/// Calls of one platform that may wait at once; a further one is not promised.
const MAX_WAITING: usize = 10_000;

/// The largest sealed call that is read, bytes: many times the largest that is written.
const MAX_CALL_BYTES: u64 = 16 << 20;

/// The sealed content.
const KIND: &str = "pending resume call";

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_keys::SymmetricKey;

    fn spool(folder: &Path, key: u8) -> Arc<Spool> {
        Arc::new(
            Spool::open(folder, "north", &SealKey::new(SymmetricKey::from_bytes([key; 32])))
                .unwrap(),
        )
    }

    fn resume(path: &str) -> Resume {
        Resume { path: path.to_owned(), body: r#"{"who":"Mary Okoye"}"#.to_owned() }
    }

    fn files(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|it| it.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_promised_call_survives_and_another_does_not() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("a/b");
        let first = spool(&folder, 1);
        drop(first.write("hr", resume("/never"), None, Millis(1)).unwrap());
        assert_eq!(files(&folder), [] as [String; 0]);
        let (_, kept) = first.write("hr", resume("/one"), Some(7), Millis(2)).unwrap().commit();
        drop(first.write("hr", resume("/two"), None, Millis(3)).unwrap().commit());
        assert_eq!(files(&folder).len(), 2);
        for file in files(&folder) {
            let bytes = fs::read(folder.join(file)).unwrap();
            assert!(!bytes.windows(5).any(|it| it == b"Okoye"), "it lies there sealed");
        }
        // The process ends, and another begins.
        fs::write(folder.join(".x.0123456789abcdef.tmp"), "half").unwrap();
        let second = spool(&folder, 1);
        let (left, aside) = second.pending().unwrap();
        assert!(aside.is_empty());
        let jobs: Vec<_> = left.into_iter().map(Spooled::commit).collect();
        let paths: Vec<_> = jobs.iter().map(|(job, _)| (&*job.path, job.of, job.at)).collect();
        assert_eq!(paths, [("/one", Some(7), 2), ("/two", None, 3)]);
        kept.done();
        assert_eq!(second.pending().unwrap().0.into_iter().map(Spooled::commit).count(), 1);
        assert_eq!(files(&folder).len(), 1);
    }

    #[test]
    fn what_cannot_be_read_is_put_aside() {
        let home = tempfile::tempdir().unwrap();
        drop(spool(home.path(), 1).write("hr", resume("/one"), None, Millis(2)).unwrap().commit());
        let (left, aside) = spool(home.path(), 2).pending().unwrap();
        assert_eq!((left.len(), aside.len()), (0, 1));
        assert!(files(home.path())[0].ends_with(".unreadable"));
    }

    #[test]
    fn a_full_spool_says_so_and_forgets_nothing() {
        let home = tempfile::tempdir().unwrap();
        let spool = spool(home.path(), 1);
        spool.waiting.store(MAX_WAITING - 1, Ordering::Relaxed);
        let (_, kept) = spool.write("hr", resume("/one"), None, Millis(2)).unwrap().commit();
        assert!(matches!(
            spool.write("hr", resume("/two"), None, Millis(2)),
            Err(SpoolError::Full)
        ));
        kept.done();
        drop(spool.write("hr", resume("/two"), None, Millis(2)).unwrap());
        assert_eq!(spool.waiting.load(Ordering::Relaxed), MAX_WAITING - 1);
    }
}
