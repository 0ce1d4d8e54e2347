//! The ledger: what callers know. Eight of them write down index and leaf hash of every answer that reached them whole; later the log is
//! held against that.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use portcullis_tests::{Answer, Host, SetOnDrop, SignIn, TestDeployment, event, leaf_hash};

/// What callers were told.
#[derive(Default)]
pub struct Ledger {
    /// Record's index → leaf hash of every answer that names its record.
    told: Mutex<BTreeMap<u64, String>>,
}

impl Ledger {
    /// Has eight callers sign people in without a pause, until `meanwhile` is done with the host.
    pub fn under_load<R>(&self, host: Host, meanwhile: impl FnOnce(Host) -> R) -> R {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let ends = SetOnDrop(&done);
            for _ in 0..CALLERS {
                let (mut client, mut request, done) =
                    (host.client(), host.request("token", &[]), &done);
                let sign_in = sign_in();
                scope.spawn(move || {
                    while !done.load(Ordering::Relaxed) {
                        request.body = sign_in.clone().event(&event()).bytes();
                        // A host that is gone hangs up; what did not arrive whole is no answer.
                        let Ok(answer) = client.send(&request) else { break };
                        self.note(&answer);
                    }
                });
            }
            let result = meanwhile(host);
            drop(ends);
            result
        })
    }

    /// Writes an answer down. A safe answer whose record is late names none, and nothing was promised.
    pub fn note(&self, answer: &Answer) {
        assert_eq!(answer.status, 200, "{answer:?}");
        let (Some(index), Some(leaf)) = (answer.index(), answer.leaf()) else {
            assert!(answer.stops_a_token(), "a decision that names no record: {answer:?}");
            return;
        };
        let before = self.told().insert(index, leaf.to_owned());
        assert!(before.is_none(), "two answers name record {index}");
    }

    /// Answers that name their record, so far.
    pub fn len(&self) -> usize {
        self.told().len()
    }

    /// Waits until there are this many.
    pub fn until(&self, count: usize) {
        let begin = Instant::now();
        while self.len() < count {
            assert!(begin.elapsed() < PATIENCE, "{} of {count} answers", self.len());
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Everything that anybody was told is in the log, to the byte.
    pub fn hold_against(&self, deployment: &TestDeployment) {
        let leaves = deployment.leaves();
        for (index, told) in self.told().iter() {
            let leaf = usize::try_from(*index).ok().and_then(|index| leaves.get(index));
            let found = leaf.map(|leaf| leaf_hash(leaf));
            assert_eq!(found.as_ref(), Some(told), "record {index} of {}: {leaf:?}", leaves.len());
        }
    }

    fn told(&self) -> MutexGuard<'_, BTreeMap<u64, String>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody with so much to say that a segment of the write-ahead log holds some sixty such calls.
pub fn sign_in() -> SignIn {
    SignIn::with_groups(&["nurses"]).claim("padding", "x".repeat(32 << 10))
}

const CALLERS: usize = 8;
const PATIENCE: Duration = Duration::from_secs(60);
