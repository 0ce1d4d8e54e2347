//! A wall clock that a test moves while the host runs under it.
//!
//! Invariant: the host under test is the ordinary one; a library that is loaded before libc's moves
//! the clock for its process alone.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

use crate::{Host, TestDeployment, binary};

/// The clock of one deployment's hosts, ahead of the true time by what was set last.
pub struct MovedClock {
    folder: TempDir,
}

#[expect(clippy::unwrap_used, reason = "a clock that cannot be moved is a failed test")]
impl MovedClock {
    /// A clock that is right so far.
    pub fn new() -> Self {
        let clock = Self { folder: TempDir::new().unwrap() };
        let source = clock.folder.path().join("clock_shim.c");
        fs::write(&source, include_str!("clock_shim.c")).unwrap();
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-o"])
            .arg(clock.library())
            .arg(&source)
            .arg("-ldl")
            .status()
            .unwrap();
        assert!(compiled.success(), "the library that moves the clock does not compile");
        clock.ahead(0);
        clock
    }

    /// Sets it, seconds ahead of the true time; negative for behind. It is read at once.
    pub fn ahead(&self, seconds: i64) {
        // Written in place: running hosts have the file mapped.
        use std::os::unix::fs::FileExt;
        let options =
            fs::OpenOptions::new().write(true).create(true).truncate(false).open(self.offset());
        options.unwrap().write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }

    /// The time that it shows, seconds since 1970.
    pub fn now(&self) -> i64 {
        let bytes = fs::read(self.offset()).unwrap();
        let true_time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        i64::try_from(true_time).unwrap() + i64::from_ne_bytes(bytes.try_into().unwrap())
    }

    /// Serves a deployment by this clock.
    pub fn serve(&self, deployment: &TestDeployment) -> Host {
        Host::start_with(&deployment.path(""), self.command())
    }

    /// The program under test by this clock.
    pub fn command(&self) -> Command {
        let mut command = Command::new(binary());
        command.env("LD_PRELOAD", self.library()).env("TEST_CLOCK_OFFSET", self.offset());
        command
    }

    fn library(&self) -> PathBuf {
        self.folder.path().join("clock_shim.so")
    }

    fn offset(&self) -> PathBuf {
        self.folder.path().join("offset")
    }
}

impl Default for MovedClock {
    fn default() -> Self {
        Self::new()
    }
}
