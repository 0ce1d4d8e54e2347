//! Refusals that nobody proved to be a caller's, or that were no call: counted per minute, hook and
//! reason, not recorded one by one.
//!
//! Invariant: whatever outsiders send, the log grows by at most one record a minute, hook and
//! reason, and nobody can buy an `fsync`. What no durable record counts yet is written to the
//! emergency ring as its answer leaves: the end of the process takes no count away that was
//! written, and none is recorded twice.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis_audit::corrections::{self, Count};
use portcullis_audit::{Entry, Pending, Tally};
use portcullis_callers::Unproven;
use portcullis_hooks::Malformed;
use portcullis_model::json::quote;
use portcullis_model::{Cause, Millis};
use tokio::sync::oneshot;

use crate::host::Host;
use crate::owed::{RING_WAIT, poll, write_tally};

/// Counts.
#[derive(Default)]
pub struct Refusals {
    counts: Mutex<BTreeMap<Key, Counts>>,
    /// Calls whose answers wait for the ring.
    waiting: Mutex<Vec<oneshot::Sender<()>>>,
    /// Whether somebody is going to write the ring for them.
    asked: AtomicBool,
    /// Held while the ring is written, so that no older count replaces a newer one.
    writing: Mutex<()>,
}

/// What was counted of one hook and reason, and how much of it the log has.
struct Counts {
    /// The tally that the ring keeps them in.
    id: u64,
    /// No record about them stands before this place of the log.
    from: Option<u64>,
    all: Count,
    /// By minute, what the log was not given.
    open: BTreeMap<u64, u64>,
    /// Minute and count of records on their way to the disk.
    given: Vec<(u64, u64, Pending)>,
    recorded: u64,
    /// How many of them the ring holds.
    kept: u64,
}

/// One line of a finished minute.
pub struct Counted {
    /// Start of the minute, milliseconds since the epoch.
    pub minute: Millis,
    /// The hook's name.
    pub hook: Arc<str>,
    /// Why.
    pub reason: Reason,
    /// How often.
    pub count: u64,
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
    /// The member that was missing or had another shape than its contract says: the contract's name of it, or the
    /// place that the operator configured.
    pub member: Option<Cow<'static, str>>,
}

impl From<Cause> for Reason {
    fn from(cause: Cause) -> Self {
        Self { cause, detail: None, member: None }
    }
}

impl From<&Malformed> for Reason {
    fn from(malformed: &Malformed) -> Self {
        let names = matches!(malformed.cause, Cause::WrongShape | Cause::UnknownEvent);
        let member = names.then(|| malformed.member());
        Self { cause: malformed.cause, detail: None, member }
    }
}

impl From<Unproven> for Reason {
    fn from(unproven: Unproven) -> Self {
        Self { cause: Cause::CallerUnproven, detail: Some(unproven.code()), member: None }
    }
}

/// Hook's name and reason. By name: a hook's place is another's after a reload.
type Key = (Arc<str>, Reason);

impl Refusals {
    /// Counts one.
    pub fn count(&self, now: Millis, hook: &Arc<str>, reason: impl Into<Reason>) {
        let mut counts = self.counts();
        let counts = counts.entry((Arc::clone(hook), reason.into())).or_insert_with(Counts::new);
        counts.all.add(now.0);
        *counts.open.entry(now.0 / MINUTE).or_default() += 1;
    }

    /// Waits a moment for the emergency ring to hold all that was counted by now.
    pub async fn keep(host: &Arc<Host>) {
        let (kept, waits) = oneshot::channel();
        {
            let mut waiting = host.refusals.waiting();
            // The ring's disk hangs: memory has the count, and whoever comes does not wait.
            if waiting.len() >= MAX_WAITING {
                return;
            }
            waiting.push(kept);
        }
        Self::have_kept(host);
        drop(tokio::time::timeout(RING_WAIT, waits).await);
    }

    /// Has the emergency ring hold what was counted by now, and does not wait: for answers that
    /// must cost nothing.
    pub fn have_kept(host: &Arc<Host>) {
        // One job is for all that come before it begins.
        if host.refusals.asked.swap(true, Ordering::AcqRel) {
            return;
        }
        let theirs = Arc::clone(host);
        let job = move || {
            theirs.refusals.asked.store(false, Ordering::Release);
            let waiting = std::mem::take(&mut *theirs.refusals.waiting());
            theirs.refusals.write(&theirs);
            drop(waiting);
        };
        if host.ring_lane.start_job(job).is_err() {
            host.refusals.asked.store(false, Ordering::Release);
        }
    }

    /// How many hooks and reasons have counts that the emergency ring does not hold yet.
    pub fn unkept(&self) -> usize {
        self.counts().values().filter(|counts| !counts.is_kept()).count()
    }

    /// Gives the log the minutes that are over; `everything` gives the present one too (at a stop).
    /// Blocks on the ring's disk.
    pub fn report(&self, host: &Host, everything: bool) {
        for counted in self.take(host.clock.now(), everything) {
            let fields = counted.fields();
            let given = host.log.append(Entry { kind: "hook.refused", fields, sealed: None });
            self.given(counted, given.ok());
        }
        let writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        for tally in self.collect() {
            write_tally(host, &tally);
        }
        drop(writing);
        self.write(host);
        // A job that was lost keeps nobody waiting.
        self.waiting().clear();
    }

    /// Takes up what an earlier run counted.
    pub fn restore(&self, tally: &Tally) {
        let Some(reason) = Reason::kept_as(&tally.cause) else { return };
        let left = tally.all.answers.saturating_sub(tally.recorded);
        let counts = Counts {
            id: tally.id,
            from: Some(tally.from),
            all: tally.all,
            open: BTreeMap::from([(tally.all.first / MINUTE, left)]),
            given: Vec::new(),
            recorded: tally.recorded,
            kept: tally.all.answers,
        };
        self.counts().insert((Arc::from(tally.hook.as_str()), reason), counts);
    }

    /// Takes the minutes that are over; `everything` takes the present one too.
    fn take(&self, now: Millis, everything: bool) -> Vec<Counted> {
        let mut taken = Vec::new();
        for ((hook, reason), counts) in self.counts().iter_mut() {
            let present = if everything { u64::MAX } else { now.0 / MINUTE };
            let open = counts.open.split_off(&present);
            for (minute, count) in std::mem::replace(&mut counts.open, open) {
                taken.push(Counted {
                    minute: Millis(minute * MINUTE),
                    hook: Arc::clone(hook),
                    reason: reason.clone(),
                    count,
                    tally: counts.id,
                });
            }
        }
        taken
    }

    /// Notes the record that counts these, or takes them back.
    fn given(&self, counted: Counted, record: Option<Pending>) {
        let Counted { minute, hook, reason, count, .. } = counted;
        let minute = minute.0 / MINUTE;
        if let Some(counts) = self.counts().get_mut(&(hook, reason)) {
            match record {
                Some(record) => counts.given.push((minute, count, record)),
                None => *counts.open.entry(minute).or_default() += count,
            }
        }
    }

    /// Sorts out what the log has by now: gives the tallies of which it has all.
    fn collect(&self) -> Vec<Tally> {
        let mut all = self.counts();
        for counts in all.values_mut() {
            for (minute, count, record) in std::mem::take(&mut counts.given) {
                let mut record = Some(record);
                match (poll(&mut record), record) {
                    (Some(Ok(())), _) => counts.recorded += count,
                    (Some(Err(_)), _) => *counts.open.entry(minute).or_default() += count,
                    (None, Some(record)) => counts.given.push((minute, count, record)),
                    (None, None) => {}
                }
            }
        }
        let is_done = |counts: &Counts| counts.recorded >= counts.all.answers;
        let done: Vec<_> =
            all.iter().filter(|(_, it)| is_done(it)).map(|(key, _)| key.clone()).collect();
        done.into_iter().filter_map(|key| Some(all.remove(&key)?.tally(&key))).collect()
    }

    /// Writes the counts that the ring does not hold yet.
    fn write(&self, host: &Host) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut unkept = Vec::new();
        for (key, counts) in self.counts().iter_mut().filter(|(_, it)| !it.is_kept()) {
            counts.from.get_or_insert_with(|| host.log.health().next);
            unkept.push((key.clone(), counts.tally(key)));
        }
        for (key, tally) in unkept {
            if write_tally(host, &tally)
                && let Some(counts) = self.counts().get_mut(&key)
            {
                counts.kept = tally.all.answers;
            }
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
    fn new() -> Self {
        Self {
            id: corrections::tally_id(),
            from: None,
            all: Count::default(),
            open: BTreeMap::new(),
            given: Vec::new(),
            recorded: 0,
            kept: 0,
        }
    }

    fn is_kept(&self) -> bool {
        self.kept == self.all.answers
    }

    fn tally(&self, (hook, reason): &Key) -> Tally {
        Tally {
            hook: hook.to_string(),
            cause: reason.kept_name(),
            id: self.id,
            from: self.from.unwrap_or(0),
            all: self.all,
            recorded: self.recorded,
        }
    }
}

impl Reason {
    /// What the emergency ring calls it.
    fn kept_name(&self) -> String {
        let cause = self.cause.code();
        let member = self.member.as_deref().filter(|member| member.len() <= MAX_KEPT_MEMBER);
        match self.detail.or(member) {
            Some(detail) => format!("{KEPT}{cause}/{detail}"),
            None => format!("{KEPT}{cause}"),
        }
    }

    /// The reason that the emergency ring calls so. One that this version does not know is a fault
    /// of the host.
    fn kept_as(name: &str) -> Option<Self> {
        let name = name.strip_prefix(KEPT)?;
        let (cause, detail) = name.split_once('/').unwrap_or((name, ""));
        let cause = Cause::ALL.into_iter().find(|known| known.code() == cause);
        let unproven = Unproven::ALL.into_iter().find(|known| known.code() == detail);
        let member = (unproven.is_none() && !detail.is_empty()).then(|| detail.to_owned().into());
        let cause = cause.unwrap_or(Cause::HostFault);
        Some(Self { cause, detail: unproven.map(Unproven::code), member })
    }
}

/// Whether a tally of the emergency ring counts refusals.
pub fn is_kept(tally: &Tally) -> bool {
    tally.cause.starts_with(KEPT)
}

impl Counted {
    /// The members of its record.
    pub fn fields(&self) -> String {
        let mut fields = String::new();
        // Writing to a string cannot fail; the name was checked with the configuration.
        let _ = write!(
            fields,
            r#""minute":{},"hook":"{}","cause":"{}","#,
            self.minute,
            self.hook,
            self.reason.cause.code()
        );
        if let Some(detail) = self.reason.detail {
            let _ = write!(fields, r#""detail":"{detail}","#);
        }
        if let Some(member) = &self.reason.member {
            fields.push_str(r#""detail":"#);
            quote(&mut fields, member);
            fields.push(',');
        }
        let _ = write!(fields, r#""count":{},"tally":"{:016x}""#, self.count, self.tally);
        fields
    }
}

const MINUTE: u64 = 60_000;
/// Answers that wait for the ring at once; a further one leaves without waiting.
const MAX_WAITING: usize = 1_024;
/// How the emergency ring tells refusals from answers that are owed.
const KEPT: &str = "refused:";
/// The longest name of a member that the emergency ring keeps, bytes; a count with a longer one is kept without.
const MAX_KEPT_MEMBER: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_line_a_minute_hook_and_reason() {
        let refusals = Refusals::default();
        let (h0, h1) = (Arc::from("h0"), Arc::from("h1"));
        for n in 0..1_000_000 {
            refusals.count(Millis(n / 20), &h0, Cause::CallerUnproven);
        }
        refusals.count(Millis(60_001), &h0, Cause::NotJson);
        refusals.count(Millis(125_000), &h1, Cause::NotJson);
        let taken = refusals.take(Millis(125_000), false);
        let lines: Vec<_> = taken.iter().map(Counted::fields).collect();
        let tally = |line: usize| format!(r#","tally":"{:016x}""#, taken[line].tally);
        assert_eq!(
            lines,
            [
                format!(
                    r#""minute":0,"hook":"h0","cause":"caller-unproven","count":1000000{}"#,
                    tally(0)
                ),
                format!(r#""minute":60000,"hook":"h0","cause":"not-json","count":1{}"#, tally(1)),
            ]
        );
        for counted in taken {
            refusals.given(counted, None);
        }
        assert_eq!(refusals.take(Millis(125_000), true).len(), 3, "what was not taken comes back");
        assert!(refusals.take(Millis(999_000), true).is_empty());
    }

    #[test]
    fn what_the_ring_kept_is_given_to_the_log_of_the_next_run() {
        for reason in [Reason::from(Cause::NotJson), Reason::from(Unproven::ALL[1])] {
            let all = Count { answers: 12, first: 61_000, last: 190_000 };
            let tally = Tally {
                hook: "token".into(),
                cause: reason.kept_name(),
                id: 7,
                from: 3,
                all,
                recorded: 2,
            };
            assert!(is_kept(&tally));
            let refusals = Refusals::default();
            refusals.restore(&tally);
            let taken = refusals.take(Millis(500_000), false);
            assert_eq!(taken.len(), 1);
            assert_eq!((taken[0].count, taken[0].reason.clone()), (10, reason));
            assert_eq!(taken[0].minute, Millis(60_000));
        }
        assert_eq!(Reason::kept_as("not-durable"), None);
    }
}
