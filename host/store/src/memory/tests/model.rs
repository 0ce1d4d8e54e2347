//! Any schedule of calls, commits, losses, flushes and crashes does what a simple model does.
//!
//! The model is the log: a list of operations, each with its place. What memory answers must be
//! what follows from that list, and every call that got a place must have read what the list before
//! its place says.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Begin {
        call: usize,
        subject: u8,
    },
    Recall {
        call: usize,
        scope: bool,
        key: u8,
    },
    Remember {
        call: usize,
        scope: bool,
        key: u8,
        value: u8,
        ttl: u32,
    },
    Forget {
        call: usize,
        scope: bool,
        key: u8,
    },
    Tally {
        call: usize,
        scope: bool,
        key: u8,
        window: u32,
    },
    Distinct {
        call: usize,
        scope: bool,
        key: u8,
        member: u8,
    },
    Finish {
        call: usize,
        only_tallies: bool,
    },
    Erase {
        subject: u8,
    },
    /// So many of the records that wait become durable.
    Durable {
        records: u64,
    },
    /// The log stops: records that are not durable are lost.
    Lose,
    /// The last record is superseded.
    Supersede,
    Flush {
        commits: Option<usize>,
    },
    Crash,
    Wait {
        ms: u64,
    },
}

#[derive(Clone, Debug, PartialEq)]
enum Done {
    Remember { owner: (bool, u8), key: u8, value: u8, expires_at: u64 },
    Forget { owner: (bool, u8), key: u8 },
    Tally { owner: (bool, u8), key: u8, at: u64 },
    Member { owner: (bool, u8), key: u8, member: u8, at: u64 },
    Erase { subject: u8 },
}

struct Entry {
    frame: Vec<u8>,
    done: Vec<Done>,
}

struct Running {
    transaction: Transaction,
    now: u64,
    subject: u8,
    done: Vec<Done>,
    recalled: Vec<((bool, u8), u8, Option<u8>)>,
}

struct World {
    view: FailingView,
    memory: Memory,
    namespace: Namespace,
    log: Vec<Entry>,
    durable: u64,
    calls: Vec<Option<Running>>,
    now: u64,
    conflicts: usize,
}

/// The value that the list says, at a time.
fn value(log: &[Entry], owner: (bool, u8), key: u8, now: u64) -> Option<u8> {
    let mut found = None;
    for done in log.iter().flat_map(|entry| &entry.done) {
        match done {
            Done::Remember { owner: o, key: k, value, expires_at } if (*o, *k) == (owner, key) => {
                found = Some((*value, *expires_at));
            }
            Done::Forget { owner: o, key: k } if (*o, *k) == (owner, key) => found = None,
            Done::Erase { subject } if owner == (false, *subject) => found = None,
            _ => {}
        }
    }
    found.filter(|(_, expires_at)| *expires_at > now).map(|(value, _)| value)
}

/// The times of events, and the last time of each member, that the list says.
fn events(log: &[Entry], owner: (bool, u8), key: u8) -> (Vec<u64>, BTreeMap<u8, u64>) {
    let (mut times, mut members) = (Vec::new(), BTreeMap::new());
    for done in log.iter().flat_map(|entry| &entry.done) {
        match done {
            Done::Tally { owner: o, key: k, at } if (*o, *k) == (owner, key) => times.push(*at),
            Done::Member { owner: o, key: k, member, at } if (*o, *k) == (owner, key) => {
                let last = members.entry(*member).or_insert(*at);
                *last = (*last).max(*at);
            }
            Done::Erase { subject } if owner == (false, *subject) => {
                times.clear();
                members.clear();
            }
            _ => {}
        }
    }
    (times, members)
}

const WINDOWS: [u32; 3] = [1, 30, 600];

fn scope(shared: bool) -> Scope {
    if shared { Scope::Shared } else { Scope::Subject }
}

/// In the shared scope an owner is a key.
fn owner(shared: bool, subject: u8, key: u8) -> (bool, u8) {
    if shared { (true, key) } else { (false, subject) }
}

impl World {
    fn new() -> Self {
        let view = FailingView::default();
        let memory = view.open().0;
        let namespace = memory.namespace(&name("risk"), Quota::default()).unwrap();
        let calls = (0..3).map(|_| None).collect();
        Self { view, memory, namespace, log: vec![], durable: 0, calls, now: NOW, conflicts: 0 }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Begin { call, subject } => {
                let name = format!("user {subject}");
                let transaction = self.memory.begin(&self.namespace, Some(&name), self.now);
                let (now, done, recalled) = (self.now, vec![], vec![]);
                self.calls[call] = Some(Running { transaction, now, subject, done, recalled });
            }
            Step::Recall { call, scope: shared, key } => {
                let Some(run) = &mut self.calls[call] else { return };
                let owner = owner(shared, run.subject, key);
                let got = run.transaction.recall(scope(shared), &[key]).unwrap();
                let got = got.map(|bytes| bytes[0]);
                let own = run.done.iter().rev().find_map(|done| match done {
                    Done::Remember { owner: o, key: k, value, .. } => {
                        ((*o, *k) == (owner, key)).then_some(Some(*value))
                    }
                    Done::Forget { owner: o, key: k } => ((*o, *k) == (owner, key)).then_some(None),
                    _ => None,
                });
                match own {
                    Some(own) => assert_eq!(got, own, "a call sees its own writes"),
                    None => {
                        assert_eq!(got, value(&self.log, owner, key, run.now));
                        run.recalled.push((owner, key, got));
                    }
                }
            }
            Step::Remember { call, scope: shared, key, value, ttl } => {
                let Some(run) = &mut self.calls[call] else { return };
                run.transaction.remember(scope(shared), &[key], &[value], ttl).unwrap();
                let expires_at = run.now + u64::from(ttl) * 1000;
                let owner = owner(shared, run.subject, key);
                run.done.push(Done::Remember { owner, key, value, expires_at });
            }
            Step::Forget { call, scope: shared, key } => {
                let Some(run) = &mut self.calls[call] else { return };
                run.transaction.forget(scope(shared), &[key]).unwrap();
                let owner = owner(shared, run.subject, key);
                run.done.push(Done::Forget { owner, key });
            }
            Step::Tally { call, scope: shared, key, window } => {
                let Some(run) = &mut self.calls[call] else { return };
                run.transaction.tally(scope(shared), &[key], window).unwrap();
                let owner = owner(shared, run.subject, key);
                run.done.push(Done::Tally { owner, key, at: run.now });
                // So that all windows that are compared are known.
                let longest = WINDOWS[2];
                run.transaction.tally(scope(shared), &[key], longest).unwrap();
                run.done.push(Done::Tally { owner, key, at: run.now });
            }
            Step::Distinct { call, scope: shared, key, member } => {
                let Some(run) = &mut self.calls[call] else { return };
                let longest = WINDOWS[2];
                run.transaction.tally_distinct(scope(shared), &[key], &[member], longest).unwrap();
                let owner = owner(shared, run.subject, key);
                run.done.push(Done::Member { owner, key, member, at: run.now });
            }
            Step::Finish { call, only_tallies } => {
                let Some(mut run) = self.calls[call].take() else { return };
                if only_tallies {
                    run.done
                        .retain(|done| matches!(done, Done::Tally { .. } | Done::Member { .. }));
                    let changes = run.transaction.tallies_only().unwrap();
                    self.append(&changes, run.done).unwrap();
                    return;
                }
                let (now, recalled) = (run.now, run.recalled);
                let changes = run.transaction.finish().unwrap();
                let stale = |log: &[Entry]| {
                    recalled.iter().any(|(owner, key, got)| value(log, *owner, *key, now) != *got)
                };
                // A call that sets nothing never conflicts.
                let sets =
                    |done: &Done| matches!(done, Done::Remember { .. } | Done::Forget { .. });
                let is_stale = run.done.iter().any(sets) && stale(&self.log);
                match self.append(&changes, run.done) {
                    Ok(()) => {
                        assert!(!is_stale, "a call that read what is no longer so got a place")
                    }
                    Err(_) => self.conflicts += 1,
                }
            }
            Step::Erase { subject } => {
                let changes = self.memory.erase_subject("north", &format!("user {subject}"));
                self.append(&changes, vec![Done::Erase { subject }]).unwrap();
            }
            Step::Durable { records } => {
                self.durable = (self.durable + records).min(self.log.len() as u64);
                self.memory.confirm_before(self.durable);
            }
            Step::Lose => {
                self.log.truncate(self.durable as usize);
                self.memory.abandon_from(self.durable);
            }
            Step::Supersede => {
                let last = self.log.len() as u64;
                if last > self.durable && !self.log[last as usize - 1].frame.is_empty() {
                    assert!(self.memory.abandon(last - 1));
                    let entry = self.log.last_mut().unwrap();
                    entry.done.clear();
                    entry.frame = Changes::default().encode();
                }
            }
            Step::Flush { commits } => {
                self.view.fail_after(commits);
                let flushed = self.memory.flush(self.now);
                assert!(commits != Some(0) || flushed.is_err() || flushed.unwrap().cells == 0);
                self.view.fail_after(None);
            }
            Step::Crash => {
                self.calls.iter_mut().for_each(|call| *call = None);
                self.log.truncate(self.durable as usize);
                let (memory, opened) = self.view.open();
                assert!(opened.applied <= self.durable);
                for position in opened.applied..self.durable {
                    let frame = &self.log[position as usize].frame;
                    memory.apply(position, &memory.read_changes(frame).unwrap()).unwrap();
                }
                memory.confirm_before(self.durable);
                self.namespace = memory.namespace(&name("risk"), Quota::default()).unwrap();
                self.memory = memory;
            }
            Step::Wait { ms } => self.now += ms,
        }
    }

    fn append(&mut self, changes: &Changes, done: Vec<Done>) -> Result<(), Conflict> {
        let position = self.log.len() as u64;
        match self.memory.sequence(changes, || Ok::<_, ()>((position, ()))) {
            Ok(()) => {
                self.log.push(Entry { frame: changes.encode(), done });
                Ok(())
            }
            Err(SequenceError::Conflict(conflict)) => Err(conflict),
            Err(other) => panic!("{other:?}"),
        }
    }

    /// Compares all that a call could read.
    fn compare(&self) {
        for subject in 0..3 {
            let user = format!("user {subject}");
            let mut reader = self.memory.begin(&self.namespace, Some(&user), self.now);
            for (shared, key) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
                let owner = owner(shared, subject, key);
                let got = reader.recall(scope(shared), &[key]).unwrap().map(|bytes| bytes[0]);
                assert_eq!(got, value(&self.log, owner, key, self.now));
                let (times, members) = events(&self.log, owner, key);
                for window in WINDOWS {
                    let span = u64::from(window) * 1000;
                    let (from, earliest) =
                        (self.now - span, self.now - span - (span / 16).max(1000));
                    let count = reader.count(scope(shared), &[key], window).unwrap() as usize;
                    let least = times.iter().filter(|at| **at > from).count();
                    let most = times.iter().filter(|at| **at >= earliest).count();
                    assert!(least <= count && count <= most, "{least} <= {count} <= {most}");
                    let count =
                        reader.count_distinct(scope(shared), &[key], window).unwrap() as usize;
                    let least = members.values().filter(|at| **at > from).count();
                    let most = members.values().filter(|at| **at >= from - 1000).count();
                    assert!(least <= count && count <= most, "{least} <= {count} <= {most}");
                }
            }
        }
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    let call = || 0_usize..3;
    let ttl = || prop_oneof![1_u32..5, 100_u32..200];
    prop_oneof![
        4 => (call(), 0_u8..3).prop_map(|(call, subject)| Step::Begin { call, subject }),
        4 => (call(), any::<bool>(), 0_u8..2).prop_map(
            |(call, scope, key)| Step::Recall { call, scope, key }),
        4 => (call(), any::<bool>(), 0_u8..2, any::<u8>(), ttl()).prop_map(
            |(call, scope, key, value, ttl)| Step::Remember { call, scope, key, value, ttl }),
        1 => (call(), any::<bool>(), 0_u8..2).prop_map(
            |(call, scope, key)| Step::Forget { call, scope, key }),
        3 => (call(), any::<bool>(), 0_u8..2, 1_u32..600).prop_map(
            |(call, scope, key, window)| Step::Tally { call, scope, key, window }),
        2 => (call(), any::<bool>(), 0_u8..2, any::<u8>()).prop_map(
            |(call, scope, key, member)| Step::Distinct { call, scope, key, member }),
        5 => (call(), prop::bool::weighted(0.15)).prop_map(
            |(call, only_tallies)| Step::Finish { call, only_tallies }),
        1 => (0_u8..3).prop_map(|subject| Step::Erase { subject }),
        3 => (1_u64..5).prop_map(|records| Step::Durable { records }),
        1 => Just(Step::Lose),
        1 => Just(Step::Supersede),
        2 => prop::option::weighted(0.3, 0_usize..2).prop_map(|commits| Step::Flush { commits }),
        1 => Just(Step::Crash),
        2 => (0_u64..4000).prop_map(|ms| Step::Wait { ms }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn memory_is_what_the_log_says(steps in prop::collection::vec(any_step(), 1..120)) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
            world.compare();
        }
        // Without a crash nothing is missing either once all is applied.
        world.take(&Step::Durable { records: 1000 });
        world.take(&Step::Flush { commits: None });
        prop_assert_eq!(world.memory.waiting(), 0);
        world.take(&Step::Crash);
        world.compare();
    }
}

#[test]
fn schedules_do_conflict() {
    let mut world = World::new();
    let (subject, scope, key) = (0, false, 0);
    for call in 0..2 {
        world.take(&Step::Begin { call, subject });
        world.take(&Step::Recall { call, scope, key });
        world.take(&Step::Remember { call, scope, key, value: 1, ttl: 9 });
    }
    for call in 0..2 {
        world.take(&Step::Finish { call, only_tallies: false });
    }
    assert_eq!((world.conflicts, world.log.len()), (1, 1));
}
