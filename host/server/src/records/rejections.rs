//! Refusals that nobody proved to be a caller's, or that were no call: counted per minute, hook and
//! reason, not recorded one by one.
//!
//! Invariant: whatever outsiders send, the log grows by at most one record a minute, hook and
//! reason, and nobody can buy an `fsync`. What no durable record counts yet is written to the
//! emergency ring as its answer leaves: the end of the process takes no count away that was
//! written, and none is recorded twice.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis_audit::corrections::Count;
use portcullis_audit::{Entry as Record, MAX_RING_TEXT, Pending, Tally};
use portcullis_hooks::ParseError;
use portcullis_model::json::build_members;
use portcullis_model::{Cause, Millis, sha256};
use portcullis_tokens::AuthError;
use tokio::sync::oneshot;

use crate::recorder::Recorder;
use crate::recorder::open_tally::{OpenTally, poll_all};
use crate::records::corrections::{RING_WAIT, write_tally};

/// Counts.
#[derive(Default)]
pub struct Rejections {
    counts: Mutex<BTreeMap<Key, Counts>>,
    /// Calls whose answers wait for the ring.
    waiting: Mutex<Vec<oneshot::Sender<()>>>,
    /// Whether somebody is going to write the ring for them.
    is_write_requested: AtomicBool,
    /// Held while the ring is written, so that no older count replaces a newer one.
    writing: Mutex<()>,
}

/// What was counted of one hook and reason, and how much of it the log has.
struct Counts {
    reason: Reason,
    tally: OpenTally,
    /// By minute, what the log was not given.
    open: BTreeMap<u64, u64>,
    /// Minute and count of records on their way to the disk.
    given: Vec<((u64, u64), Pending)>,
}

/// One line of a finished minute.
pub struct RejectionCount {
    /// Start of the minute, milliseconds since the epoch.
    pub minute: Millis,
    /// The hook's name.
    pub hook: Arc<str>,
    /// Why.
    pub reason: Reason,
    /// How often.
    pub count: u64,
    /// Which counts these are from.
    key: Key,
    /// The tally of the emergency ring that has these.
    tally: u64,
}

/// Why a request was refused: a cause, and in which respect where there are several.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reason {
    /// Why.
    pub cause: Cause,
    /// In which respect: a code.
    pub detail: Option<&'static str>,
    /// The member that was missing or had another shape than its contract says: the contract's name
    /// of it, or the place that the operator configured.
    pub member: Option<Cow<'static, str>>,
}

impl From<Cause> for Reason {
    fn from(cause: Cause) -> Self {
        Self { cause, detail: None, member: None }
    }
}

impl From<&ParseError> for Reason {
    fn from(malformed: &ParseError) -> Self {
        let names = matches!(malformed.cause, Cause::SchemaMismatch | Cause::UnknownEvent);
        let member = names.then(|| malformed.member());
        Self { cause: malformed.cause, detail: None, member }
    }
}

impl From<AuthError> for Reason {
    fn from(auth_error: AuthError) -> Self {
        Self { cause: Cause::Unauthenticated, detail: Some(auth_error.code()), member: None }
    }
}

/// The hook's name, since its place is another's after a reload, and what the emergency ring calls
/// the reason: no two counts share a place there.
type Key = (Arc<str>, String);

impl Rejections {
    /// Counts one.
    pub fn count(&self, now: Millis, hook: &Arc<str>, reason: impl Into<Reason>) {
        let reason = reason.into();
        let mut counts = self.counts();
        let counts = match counts.entry((Arc::clone(hook), reason.ring_name())) {
            Entry::Vacant(vacant) => vacant.insert(Counts::new(reason)),
            Entry::Occupied(occupied) => {
                let counts = occupied.into_mut();
                // An earlier run's was kept without a member that is too long for the ring.
                if counts.reason.member.is_none() {
                    counts.reason = reason;
                }
                counts
            }
        };
        counts.tally.add(now);
        *counts.open.entry(now.0 / MINUTE).or_default() += 1;
    }

    /// Waits a moment for the emergency ring to hold all that was counted by now.
    pub async fn persist(self: &Arc<Self>, recorder: &Arc<Recorder>) {
        let (kept, waits) = oneshot::channel();
        {
            let mut waiting = self.waiting();
            // The ring's disk hangs: memory has the count, and whoever comes does not wait.
            if waiting.len() >= MAX_WAITING {
                return;
            }
            waiting.push(kept);
        }
        self.start_persist(recorder);
        drop(tokio::time::timeout(RING_WAIT, waits).await);
    }

    /// Has the emergency ring hold what was counted by now, and does not wait: for answers that
    /// must cost nothing.
    pub fn start_persist(self: &Arc<Self>, recorder: &Arc<Recorder>) {
        // One job is for all that come before it begins.
        if self.is_write_requested.swap(true, Ordering::AcqRel) {
            return;
        }
        let (theirs, its_recorder) = (Arc::clone(self), Arc::clone(recorder));
        let job = move || {
            theirs.is_write_requested.store(false, Ordering::Release);
            let waiting = std::mem::take(&mut *theirs.waiting());
            theirs.write(&its_recorder);
            drop(waiting);
        };
        if recorder.ring_lane.spawn(job).is_err() {
            self.is_write_requested.store(false, Ordering::Release);
        }
    }

    /// How many hooks and reasons have counts that the emergency ring does not hold yet.
    pub fn unpersisted_count(&self) -> usize {
        self.counts().values().filter(|counts| !counts.tally.is_persisted()).count()
    }

    /// Gives the log the minutes that are over; `everything` gives the present one too (at a stop).
    /// Blocks on the ring's disk.
    pub fn report(&self, recorder: &Recorder, everything: bool) {
        for counted in self.take(recorder.clock.now(), everything, recorder.log.health().durable) {
            let fields = counted.fields();
            let given = recorder.log.append(Record { kind: "hook.rejected", fields, sealed: None });
            self.mark_appended(counted, given.ok());
        }
        let writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        for tally in self.collect() {
            write_tally(recorder, &tally);
        }
        drop(writing);
        self.write(recorder);
        // A job that was lost keeps nobody waiting.
        self.waiting().clear();
    }

    /// Takes up what an earlier run counted. Calls of this run may have been counted before the log
    /// was open.
    pub fn restore(&self, tally: &Tally) {
        let Some(reason) = Reason::from_ring_name(&tally.cause) else { return };
        let restored = OpenTally::restored(tally);
        let open = BTreeMap::from([(tally.all.first / MINUTE, restored.unrecorded())]);
        let restored = Counts { reason, tally: restored, open, given: Vec::new() };
        let mut counts = self.counts();
        match counts.entry((Arc::from(tally.hook.as_str()), tally.cause.clone())) {
            Entry::Vacant(vacant) => drop(vacant.insert(restored)),
            Entry::Occupied(mut occupied) => {
                let early = occupied.insert(restored);
                occupied.get_mut().merge(early);
            }
        }
    }

    /// Takes the minutes that are over, for a log with so many durable records; `everything` takes
    /// the present one too.
    fn take(&self, now: Millis, everything: bool, durable: u64) -> Vec<RejectionCount> {
        let mut taken = Vec::new();
        for (key, counts) in self.counts().iter_mut() {
            let present = if everything { u64::MAX } else { now.0 / MINUTE };
            let open = counts.open.split_off(&present);
            for (minute, count) in std::mem::replace(&mut counts.open, open) {
                counts.tally.begins_at(durable);
                taken.push(RejectionCount {
                    minute: Millis(minute * MINUTE),
                    hook: Arc::clone(&key.0),
                    reason: counts.reason.clone(),
                    count,
                    key: key.clone(),
                    tally: counts.tally.id(),
                });
            }
        }
        taken
    }

    /// Notes the record that counts these, or takes them back.
    fn mark_appended(&self, counted: RejectionCount, record: Option<Pending>) {
        let RejectionCount { minute, count, key, .. } = counted;
        let minute = minute.0 / MINUTE;
        if let Some(counts) = self.counts().get_mut(&key) {
            match record {
                Some(record) => counts.given.push(((minute, count), record)),
                None => *counts.open.entry(minute).or_default() += count,
            }
        }
    }

    /// Sorts out what the log has by now: gives the tallies of which it has all.
    fn collect(&self) -> Vec<Tally> {
        let mut all = self.counts();
        for Counts { tally, open, given, .. } in all.values_mut() {
            poll_all(given, |(minute, count), durable| {
                if durable {
                    tally.record(count);
                } else {
                    *open.entry(minute).or_default() += count;
                }
            });
        }
        let done = all.extract_if(.., |_, counts| counts.tally.is_done());
        done.map(|((hook, name), counts)| counts.tally.tally(&hook, &name)).collect()
    }

    /// Writes the counts that the ring does not hold yet.
    fn write(&self, recorder: &Recorder) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let durable = recorder.log.health().durable;
        for (key, tally) in self.unpersisted(durable) {
            if write_tally(recorder, &tally) {
                self.mark_persisted(&key, &tally);
            }
        }
    }

    /// The tallies that the ring does not have as they are.
    fn unpersisted(&self, durable: u64) -> Vec<(Key, Tally)> {
        let mut unkept = Vec::new();
        for (key, counts) in self.counts().iter_mut().filter(|(_, it)| !it.tally.is_persisted()) {
            counts.tally.begins_at(durable);
            unkept.push((key.clone(), counts.tally.tally(&key.0, &key.1)));
        }
        unkept
    }

    /// The ring has this tally.
    fn mark_persisted(&self, key: &Key, tally: &Tally) {
        if let Some(counts) = self.counts().get_mut(key) {
            counts.tally.mark_persisted(tally.all.answers);
        }
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<Key, Counts>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<oneshot::Sender<()>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn new(reason: Reason) -> Self {
        Self { reason, tally: OpenTally::new(), open: BTreeMap::new(), given: Vec::new() }
    }

    /// Takes up what others counted, of which the log was given nothing.
    fn merge(&mut self, early: Self) {
        let answers = early.open.values().sum();
        self.tally.add_all(&Count { answers, ..early.tally.span() });
        for (minute, count) in early.open {
            *self.open.entry(minute).or_default() += count;
        }
        if early.reason.member.is_some() {
            self.reason = early.reason;
        }
    }
}

impl Reason {
    /// What the emergency ring calls it: a name of its own, also where the member is longer than
    /// the ring has room for.
    fn ring_name(&self) -> String {
        let cause = self.cause.code();
        let Some(detail) = self.detail.or(self.member.as_deref()) else {
            return format!("{RING_PREFIX}{cause}");
        };
        let name = format!("{RING_PREFIX}{cause}/{detail}");
        if name.len() <= MAX_RING_TEXT {
            return name;
        }
        let digest = sha256(detail.as_bytes()).to_string();
        let hex = digest.trim_start_matches("sha256:").get(..16).unwrap_or_default();
        format!("{RING_PREFIX}{cause}/{DIGEST}{hex}")
    }

    /// The reason that the emergency ring calls so. One that this version does not know is a fault
    /// of the host.
    fn from_ring_name(name: &str) -> Option<Self> {
        let name = name.strip_prefix(RING_PREFIX)?;
        let (cause, detail) = name.split_once('/').unwrap_or((name, ""));
        let cause = Cause::ALL.into_iter().find(|known| known.code() == cause);
        let auth_error = AuthError::ALL.into_iter().find(|known| known.code() == detail);
        let is_member = auth_error.is_none() && !detail.is_empty() && !detail.starts_with(DIGEST);
        let member = is_member.then(|| detail.to_owned().into());
        let cause = cause.unwrap_or(Cause::InternalError);
        Some(Self { cause, detail: auth_error.map(AuthError::code), member })
    }
}

/// Whether a tally of the emergency ring counts refusals.
pub fn is_kept(tally: &Tally) -> bool {
    tally.cause.starts_with(RING_PREFIX)
}

impl RejectionCount {
    /// The members of its record.
    pub fn fields(&self) -> String {
        build_members(|fields| {
            fields
                .number("minute", self.minute)
                .text("hook", &self.hook)
                .text("cause", self.reason.cause.code());
            if let Some(detail) = self.reason.detail {
                fields.text("detail", detail);
            }
            if let Some(member) = &self.reason.member {
                fields.text("detail", member);
            }
            fields
                .number("count", self.count)
                .display("tally", format_args!("{:016x}", self.tally));
        })
    }
}

const MINUTE: u64 = 60_000;
/// Answers that wait for the ring at once; a further one leaves without waiting.
const MAX_WAITING: usize = 1_024;
/// How the emergency ring tells refusals from answers that are owed.
const RING_PREFIX: &str = "refused:";
/// How a digest begins that stands for a member whose name is too long for the emergency ring.
const DIGEST: char = '#';

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_line_a_minute_hook_and_reason() {
        let refusals = Rejections::default();
        let (h0, h1) = (Arc::from("h0"), Arc::from("h1"));
        for n in 0..1_000_000 {
            refusals.count(Millis(n / 20), &h0, Cause::Unauthenticated);
        }
        refusals.count(Millis(60_001), &h0, Cause::NotJson);
        refusals.count(Millis(125_000), &h1, Cause::NotJson);
        let taken = refusals.take(Millis(125_000), false, 0);
        let lines: Vec<_> = taken.iter().map(RejectionCount::fields).collect();
        let tally = |line: usize| format!(r#","tally":"{:016x}""#, taken[line].tally);
        assert_eq!(
            lines,
            [
                format!(r#""minute":60000,"hook":"h0","cause":"not-json","count":1{}"#, tally(0)),
                format!(
                    r#""minute":0,"hook":"h0","cause":"unauthenticated","count":1000000{}"#,
                    tally(1)
                ),
            ]
        );
        for counted in taken {
            refusals.mark_appended(counted, None);
        }
        assert_eq!(
            refusals.take(Millis(125_000), true, 0).len(),
            3,
            "what was not taken comes back"
        );
        assert!(refusals.take(Millis(999_000), true, 0).is_empty());
    }

    #[test]
    fn what_the_ring_kept_is_given_to_the_log_of_the_next_run() {
        for reason in [Reason::from(Cause::NotJson), Reason::from(AuthError::ALL[1])] {
            let all = Count { answers: 12, first: 61_000, last: 190_000 };
            let tally = Tally {
                hook: "token".into(),
                cause: reason.ring_name(),
                id: 7,
                from: 3,
                all,
                recorded: 2,
            };
            assert!(is_kept(&tally));
            let refusals = Rejections::default();
            refusals.restore(&tally);
            let taken = refusals.take(Millis(500_000), false, 0);
            assert_eq!(taken.len(), 1);
            assert_eq!((taken[0].count, taken[0].reason.clone()), (10, reason));
            assert_eq!(taken[0].minute, Millis(60_000));
        }
        assert_eq!(Reason::from_ring_name("not-durable"), None);
    }
    #[test]
    fn what_an_earlier_run_counted_is_added_to_what_was_counted_before_the_log_was_open() {
        let tally = |cause: &str, id, answers| Tally {
            hook: "token".into(),
            cause: format!("{RING_PREFIX}{cause}"),
            id,
            from: 3,
            all: Count { answers, first: 61_000, last: 190_000 },
            recorded: 2,
        };
        let refusals = Rejections::default();
        refusals.count(Millis(300_000), &Arc::from("token"), Cause::InternalError);
        refusals.restore(&tally(Cause::InternalError.code(), 7, 12));
        // Two causes that this version does not know, which are one to it.
        refusals.restore(&tally("of-another-version", 8, 22));
        refusals.restore(&tally("of-yet-another", 9, 32));
        let unkept = refusals.unpersisted(50);
        assert_eq!(unkept.len(), 1, "the ring has the others as they are");
        let kept = &unkept[0].1;
        assert_eq!((kept.id, kept.from, kept.all.answers), (7, 3, 13));
        let taken = refusals.take(Millis(500_000), false, 50);
        assert_eq!(taken.iter().map(|it| it.count).sum::<u64>(), 1 + 10 + 20 + 30);
        let tallies: std::collections::BTreeSet<_> = taken.iter().map(|it| it.tally).collect();
        assert_eq!(tallies, [7, 8, 9].into(), "each record names the tally that it is about");
    }

    #[test]
    fn reasons_with_long_members_have_names_of_their_own_in_the_ring() {
        let refusals = Rejections::default();
        let reason = |member: &str| Reason {
            cause: Cause::SchemaMismatch,
            detail: None,
            member: Some(Cow::Owned(member.to_owned())),
        };
        let hook: Arc<str> = Arc::from("token");
        let long = ["a".repeat(200), "a".repeat(300), "\u{e9}".repeat(40)];
        for member in &long {
            refusals.count(Millis(1), &hook, reason(member));
        }
        refusals.count(Millis(1), &hook, Cause::SchemaMismatch);
        let tallies: Vec<_> = refusals.unpersisted(0).into_iter().map(|(_, tally)| tally).collect();
        assert_eq!(tallies.len(), 4);
        assert!(tallies.iter().all(|tally| tally.cause.len() <= MAX_RING_TEXT));
        // The next run counts on under the same names, and knows the member when it sees it again.
        let next = Rejections::default();
        tallies.iter().for_each(|tally| next.restore(tally));
        next.count(Millis(2), &hook, reason(&long[0]));
        let taken = next.take(Millis(500_000), false, 0);
        assert_eq!(taken.len(), 4);
        let again = taken.iter().find(|it| it.count == 2).unwrap();
        assert_eq!(again.reason.member.as_deref(), Some(&*long[0]));
    }
}
