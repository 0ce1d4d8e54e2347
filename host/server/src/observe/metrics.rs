//! Counts and times of what the host does, hook by hook and plugin by plugin.
//!
//! Invariant: to note something costs a few relaxed additions to cells that, up to [`SHARDS`] threads, no other thread writes: no lock,
//! no allocation, no text. How many cells there are depends on the configuration and the release alone, never on what comes in.
//! How they are shown is `admin/page`. (The crates for this keep labelled counters behind a map and a lock, and share their cells
//! between threads.)

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use portcullis_model::{Cause, Effect};
use portcullis_tokens::AuthError;

use crate::observe::budget::Stage;
use crate::records::rejected_members::RejectedMembers;
use crate::records::rejections::Reason;

/// What one hook did since the process began.
pub struct HookMetrics {
    /// The members for whose shape requests were rejected.
    pub members: RejectedMembers,
    cells: ShardedCells,
}

/// Counts of one binding since it became active, in all generations that bind it alike.
pub struct BindingMetrics {
    /// Its labels, ready to be shown.
    pub labels: String,
    /// Set at the first use, or at the activation to those of the same binding before.
    cells: OnceLock<Arc<ShardedCells>>,
}

/// A histogram as it stands.
pub struct Histogram {
    /// How many were no longer than each of [`BUCKETS`], and how many there were.
    pub cumulative: Vec<u64>,
    /// All of them together, nanoseconds.
    pub sum_ns: u64,
}

impl Default for HookMetrics {
    fn default() -> Self {
        Self { members: RejectedMembers::default(), cells: ShardedCells::new(HOOK_CELLS) }
    }
}

impl HookMetrics {
    /// A decision left.
    pub fn decided(&self, verdict: Effect) {
        self.cells.add(verdict as usize, 1);
    }

    /// A safe answer left, of a call that could be read.
    pub fn safe(&self, cause: Cause) {
        self.cells.add(SAFE + cause as usize, 1);
    }

    /// Something was refused that is counted and not recorded.
    pub fn rejected(&self, reason: &Reason) {
        self.cells.add(REJECTED + reason.cause as usize, 1);
        let auth_error =
            AuthError::ALL.iter().position(|auth_error| Some(auth_error.code()) == reason.detail);
        if let Some(auth_error) = auth_error {
            self.cells.add(AUTH_FAILURES + auth_error, 1);
        }
    }

    /// A platform asked again and heard the same.
    pub fn duplicate_served(&self) {
        self.cells.add(DUPLICATES, 1);
    }

    /// An answer could not be delivered.
    pub fn undelivered(&self) {
        self.cells.add(UNDELIVERED, 1);
    }

    /// A stage took so long.
    pub fn observe_stage(&self, stage: Stage, nanos: u64) {
        self.cells.time(TIMES + stage as usize * TIME_CELLS, nanos);
    }

    /// How many decisions of this verdict.
    pub fn decisions(&self, verdict: Effect) -> u64 {
        self.cells.sum(verdict as usize)
    }

    /// How many safe answers for this cause.
    pub fn safe_answers(&self, cause: Cause) -> u64 {
        self.cells.sum(SAFE + cause as usize)
    }

    /// How many refusals for this cause.
    pub fn rejections(&self, cause: Cause) -> u64 {
        self.cells.sum(REJECTED + cause as usize)
    }

    /// How many callers were not proven for this reason.
    pub fn auth_failures(&self, auth_error: AuthError) -> u64 {
        self.cells.sum(AUTH_FAILURES + auth_error as usize)
    }

    /// How many answers were given again.
    pub fn duplicates(&self) -> u64 {
        self.cells.sum(DUPLICATES)
    }

    /// How many answers were not delivered.
    pub fn undelivered_total(&self) -> u64 {
        self.cells.sum(UNDELIVERED)
    }

    /// What a stage took.
    pub fn times(&self, stage: Stage) -> Histogram {
        self.cells.times(TIMES + stage as usize * TIME_CELLS)
    }
}

impl BindingMetrics {
    /// Nothing yet.
    pub fn new(labels: String) -> Self {
        Self { labels, cells: OnceLock::new() }
    }

    /// Counts on from another generation's binding with the same labels, so that no counter of a
    /// series goes back. Has no effect once something is counted.
    pub fn continue_from(&self, before: &Self) {
        // Cells that are counted in already stay: only the continuity is lost.
        let _ = self.cells.set(Arc::clone(before.shared()));
    }

    fn cells(&self) -> &ShardedCells {
        self.shared()
    }

    fn shared(&self) -> &Arc<ShardedCells> {
        self.cells.get_or_init(|| Arc::new(ShardedCells::new(BINDING_CELLS)))
    }

    /// It was asked, and this came of it.
    pub fn evaluated(&self, outcome: Result<Effect, &'static str>, spent: Duration) {
        let outcome = match outcome {
            Ok(verdict) => verdict as usize,
            Err(fault) => {
                EFFECTS + FAULTS.iter().position(|code| *code == fault).unwrap_or(FAULTS.len())
            }
        };
        self.cells().add(outcome, 1);
        self.cells().time(BINDING_TIMES, nanos(spent));
    }

    /// It ran in a lane.
    pub fn offloaded(&self) {
        self.cells().add(OFFLOADED, 1);
    }

    /// It failed too often, and is left alone.
    pub fn quarantined(&self) {
        self.cells().add(QUARANTINES, 1);
    }

    /// How often it was left alone.
    pub fn quarantines(&self) -> u64 {
        self.cells().sum(QUARANTINES)
    }

    /// Every outcome, and how often.
    pub fn outcomes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let verdicts = Effect::ALL
            .into_iter()
            .map(|verdict| (verdict.name(), self.cells().sum(verdict as usize)));
        let faults = FAULTS.iter().copied().chain([OTHER]).enumerate();
        verdicts.chain(faults.map(|(place, code)| (code, self.cells().sum(EFFECTS + place))))
    }

    /// How often it ran in a lane.
    pub fn offloaded_runs(&self) -> u64 {
        self.cells().sum(OFFLOADED)
    }

    /// What it took.
    pub fn times(&self) -> Histogram {
        self.cells().times(BINDING_TIMES)
    }
}

/// Numbers that grow, in as many copies as threads may write at once.
struct ShardedCells {
    shards: Vec<Box<[CacheLine]>>,
}

/// Two cache lines: what one thread writes makes no other thread's memory stale, nor what is fetched beside it.
#[derive(Default)]
#[repr(align(128))]
struct CacheLine([AtomicU64; LINE_CELLS]);

impl ShardedCells {
    fn new(count: usize) -> Self {
        let shard = || (0..count.div_ceil(LINE_CELLS)).map(|_| CacheLine::default()).collect();
        Self { shards: (0..SHARDS).map(|_| shard()).collect() }
    }

    fn add(&self, cell: usize, amount: u64) {
        if let Some(cell) = self.shards.get(shard()).and_then(|shard| at(shard, cell)) {
            cell.fetch_add(amount, Ordering::Relaxed);
        }
    }

    fn time(&self, base: usize, nanos: u64) {
        let Some(shard) = self.shards.get(shard()) else { return };
        // The first bound that holds it: most times are short.
        let bucket =
            BUCKETS.iter().position(|bound| nanos <= bound * 1_000).unwrap_or(BUCKETS.len());
        if let (Some(count), Some(sum)) =
            (at(shard, base + bucket), at(shard, base + BUCKETS.len() + 1))
        {
            count.fetch_add(1, Ordering::Relaxed);
            sum.fetch_add(nanos, Ordering::Relaxed);
        }
    }

    fn sum(&self, cell: usize) -> u64 {
        self.shards
            .iter()
            .filter_map(|shard| at(shard, cell))
            .map(|cell| cell.load(Ordering::Relaxed))
            .sum()
    }

    fn times(&self, base: usize) -> Histogram {
        let mut so_far = 0;
        let cumulative = (0..=BUCKETS.len()).map(|bucket| {
            so_far += self.sum(base + bucket);
            so_far
        });
        Histogram { cumulative: cumulative.collect(), sum_ns: self.sum(base + BUCKETS.len() + 1) }
    }
}

fn at(shard: &[CacheLine], cell: usize) -> Option<&AtomicU64> {
    shard.get(cell / LINE_CELLS)?.0.get(cell % LINE_CELLS)
}

/// This thread's shard.
fn shard() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    MINE.with(|mine| {
        if mine.get() == usize::MAX {
            mine.set(THREADS.fetch_add(1, Ordering::Relaxed) % SHARDS);
        }
        mine.get()
    })
}

/// Labels as Prometheus reads them, without the braces.
pub fn labels(labels: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (position, (name, value)) in labels.iter().enumerate() {
        let comma = if position == 0 { "" } else { "," };
        let value = value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n");
        text.push_str(&format!("{comma}{name}=\"{value}\""));
    }
    text
}

/// Whole nanoseconds.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The upper bounds of the histograms' buckets, microseconds: from the time of a stage to the
/// limits of the platforms. The metrics page shows them in seconds.
pub const BUCKETS: [u64; 23] = [
    1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000,
    250_000, 500_000, 700_000, 800_000, 1_000_000, 2_000_000, 3_000_000,
];
/// The codes of faults that are told apart.
const FAULTS: [&str; 14] = [
    "plugin-trap",
    "plugin-deadline",
    "plugin-memory",
    "plugin-stack",
    "plugin-output",
    "plugin-malformed",
    "plugin-error",
    "undeclared-output",
    "required-input-missing",
    "plugin-quarantined",
    "host-no-slot",
    "budget-exhausted",
    "overload",
    "internal-error",
];
/// All other faults.
const OTHER: &str = "other";

/// Threads that write without meeting each other; further ones share.
const SHARDS: usize = 16;
/// Cells of a line.
const LINE_CELLS: usize = 16;
/// Cells of a histogram: buckets, what is above them, and the sum.
const TIME_CELLS: usize = BUCKETS.len() + 2;

// The cells of a hook: decisions by verdict, safe answers by cause, refusals by cause, strangers by what was wrong with their proof,
// repeats, lost answers, a histogram a stage.
const EFFECTS: usize = Effect::ALL.len();
const SAFE: usize = EFFECTS;
const REJECTED: usize = SAFE + Cause::ALL.len();
const AUTH_FAILURES: usize = REJECTED + Cause::ALL.len();
const DUPLICATES: usize = AUTH_FAILURES + AuthError::ALL.len();
const UNDELIVERED: usize = DUPLICATES + 1;
const TIMES: usize = UNDELIVERED + 1;
const HOOK_CELLS: usize = TIMES + Stage::ALL.len() * TIME_CELLS;

// The cells of a binding: answers by effect, faults by code, runs in its lane, quarantines, a histogram.
const OFFLOADED: usize = EFFECTS + FAULTS.len() + 1;
const QUARANTINES: usize = OFFLOADED + 1;
const BINDING_TIMES: usize = QUARANTINES + 1;
const BINDING_CELLS: usize = BINDING_TIMES + TIME_CELLS;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::time::Instant;

    #[test]
    fn every_word_has_a_cell_of_its_own() {
        let metrics = HookMetrics::default();
        for (times, cause) in (1..).zip(Cause::ALL) {
            for _ in 0..times {
                metrics.safe(cause);
                metrics.rejected(&cause.into());
            }
        }
        Effect::ALL.into_iter().for_each(|effect| metrics.decided(effect));
        for (times, cause) in (1..).zip(Cause::ALL) {
            assert_eq!(
                (metrics.safe_answers(cause), metrics.rejections(cause)),
                (times, times),
                "{cause:?}"
            );
        }
        assert!(Effect::ALL.into_iter().all(|effect| metrics.decisions(effect) == 1));
        for auth_error in AuthError::ALL {
            metrics.rejected(&auth_error.into());
        }
        assert!(
            AuthError::ALL.into_iter().all(|auth_error| metrics.auth_failures(auth_error) == 1)
        );
        assert_eq!((metrics.duplicates(), metrics.undelivered_total()), (0, 0));
        assert_eq!(FAULTS.iter().collect::<BTreeSet<_>>().len(), FAULTS.len());
    }

    #[test]
    fn threads_lose_no_count_and_buckets_add_up() {
        let metrics = HookMetrics::default();
        std::thread::scope(|scope| {
            for _ in 0..2 * SHARDS {
                scope.spawn(|| {
                    for nanos in (0..3_000_000_000_u64).step_by(10_000_019) {
                        metrics.observe_stage(Stage::Guard, nanos);
                    }
                });
            }
        });
        let each = 3_000_000_000_u64.div_ceil(10_000_019);
        let times = metrics.times(Stage::Guard);
        assert_eq!(times.cumulative.last(), Some(&(each * 2 * SHARDS as u64)));
        assert!(times.cumulative.is_sorted());
        assert_eq!(
            times.sum_ns,
            (0..each).map(|n| n * 10_000_019).sum::<u64>() * 2 * SHARDS as u64
        );
        // Bounds belong to their bucket.
        let exact = HookMetrics::default();
        exact.observe_stage(Stage::Parse, 1_000);
        exact.observe_stage(Stage::Parse, 1_001);
        assert_eq!(exact.times(Stage::Parse).cumulative.get(..2), Some(&[1, 2][..]));
        assert_eq!(exact.times(Stage::Guard).cumulative.last(), Some(&0), "another stage");
    }

    /// Not a promise about time, which depends on the machine: prints what a call pays (`--nocapture`), and fails only when it is
    /// off by far.
    #[test]
    fn a_call_pays_little() {
        let (metrics, calls) = (HookMetrics::default(), 100_u32);
        // The quickest of many short rounds: what others do on the machine is not what a call pays.
        let round = || {
            let begin = Instant::now();
            for _ in 0..calls {
                metrics.decided(Effect::Allow);
                for stage in Stage::ALL {
                    metrics.observe_stage(stage, 12_345);
                }
            }
            begin.elapsed() / calls
        };
        let each = (0..2_000).map(|_| round()).min().unwrap();
        println!("a call's own metrics cost {each:?}");
        assert!(each < Duration::from_micros(20), "{each:?}");
    }
}
