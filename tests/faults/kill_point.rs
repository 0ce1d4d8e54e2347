//! Moments at which a life of the host ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use portcullis_tests::TestDeployment;

use super::Chance;
use super::answer_ledger::Ledger;

/// When a life ends.
pub enum Moment {
    /// After this pause.
    After(Duration),
    /// When the write-ahead log has just gone on to another segment.
    Roll,
    /// When a checkpoint is being put in its place, or was just now.
    Checkpoint,
    /// When this many answers have left since a checkpoint.
    SinceCheckpoint(usize),
}

impl Moment {
    /// Each kind in its turn, by chance within it.
    pub fn of_life(life: usize, chance: &mut Chance) -> Self {
        match life % 6 {
            0 | 3 => Self::After(Duration::from_micros(chance.below(20_000))),
            1 | 4 => Self::Roll,
            2 => Self::Checkpoint,
            _ => Self::SinceCheckpoint(usize::try_from(chance.below(30)).unwrap()),
        }
    }

    /// Waits for it, under load.
    pub fn wait(&self, deployment: &TestDeployment, ledger: &Ledger) {
        match self {
            Self::After(pause) => thread::sleep(*pause),
            Self::Roll => {
                let before = newest(&deployment.path("audit/wal"));
                until(|| newest(&deployment.path("audit/wal")) != before);
            }
            Self::Checkpoint => {
                let (kept, fresh) = (
                    deployment.path("audit/log/checkpoint"),
                    deployment.path("audit/log/.checkpoint"),
                );
                let before = fs::read(&kept).unwrap();
                until(|| fresh.exists() || fs::read(&kept).unwrap() != before);
            }
            Self::SinceCheckpoint(answers) => {
                Self::Checkpoint.wait(deployment, ledger);
                ledger.until(ledger.len() + answers);
            }
        }
    }
}

fn until(mut came: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !came() {
        assert!(begin.elapsed() < PATIENCE, "the moment never came");
        thread::sleep(Duration::from_micros(50));
    }
}

/// The file that was written last.
fn newest(folder: &Path) -> Option<PathBuf> {
    let written = |path: &PathBuf| {
        fs::metadata(path).and_then(|facts| facts.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
    };
    fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path())).max_by_key(written)
}

const PATIENCE: Duration = Duration::from_secs(60);
