//! The breaker against an independent model of it, and what it promises at its edges.

use super::*;
use proptest::prelude::*;

const BUDGET: ErrorBudget = ErrorBudget {
    errors: 3,
    percent: 50,
    window: Duration::from_secs(10),
    backoff: Duration::from_secs(4),
    max_backoff: Duration::from_secs(30),
};

/// Everything that ever happened, looked at anew for each question.
#[derive(Default)]
struct Model {
    /// Second, and whether it was good; since the plugin was last asked again.
    runs: Vec<(u64, bool)>,
    began: u64,
    until: Option<u64>,
    trying: bool,
    level: u32,
    ended: Option<u64>,
}

impl Model {
    fn may(&mut self, now: u64) -> bool {
        match self.until {
            None => true,
            Some(_) if self.trying => false,
            Some(until) => {
                self.trying = until <= now;
                self.trying
            }
        }
    }

    fn note(&mut self, now: u64, good: bool) {
        if self.trying {
            self.trying = false;
            if good {
                (self.until, self.ended) = (None, Some(now));
                self.runs.clear();
            } else {
                self.level += 1;
                self.shut(now);
            }
            return;
        }
        if self.runs.is_empty() {
            self.began = now;
        }
        self.runs.push((now, good));
        let slot = |at: u64| at - self.began;
        let recent: Vec<_> =
            self.runs.iter().filter(|(at, _)| slot(now) - slot(*at) < 10).collect();
        let bad = recent.iter().filter(|(_, good)| !good).count();
        if !good && bad >= 3 && bad * 2 >= recent.len() {
            self.level =
                if self.ended.is_some_and(|ended| now - ended < 30) { self.level + 1 } else { 0 };
            self.shut(now);
        }
    }

    fn shut(&mut self, now: u64) {
        self.until = Some(now + (4 << self.level.min(10)).min(30));
    }
}

proptest! {
    #[test]
    fn it_does_what_the_model_does(steps in prop::collection::vec((0..6u64, any::<bool>(), 0..10u8), 1..200)) {
        let start = Instant::now();
        let (breaker, mut model) = (Breaker::new(BUDGET), Model::default());
        let mut second = 0;
        for (pause, good, chance) in steps {
            second += pause;
            let now = start + Duration::from_secs(second);
            let pass = breaker.try_acquire(now);
            prop_assert_eq!(pass.is_some(), model.may(second), "at {}", second);
            let Some(pass) = pass else { continue };
            prop_assert_eq!(pass.is_probe(), model.trying);
            // Somebody hangs up in the middle of it.
            if chance == 0 {
                model.trying = false;
                continue;
            }
            pass.record(now, good);
            model.note(second, good);
        }
    }
}

#[test]
fn failures_that_are_few_among_many_change_nothing() {
    let start = Instant::now();
    let breaker = Breaker::new(BUDGET);
    for run in 0..10_000 {
        assert_eq!(
            breaker.try_acquire(start).unwrap().record(start, run % 3 != 0),
            None,
            "run {run}"
        );
    }
}

#[test]
fn what_began_before_says_nothing_afterwards() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let breaker = Breaker::new(BUDGET);
    let early: Vec<_> = (0..8).map(|_| breaker.try_acquire(start).unwrap()).collect();
    let mut turns = early.into_iter().map(|pass| pass.record(start, false));
    let first = Some(Transition::Quarantined { failures: 3, runs: 3, for_: BUDGET.backoff });
    assert_eq!(turns.by_ref().take(3).collect::<Vec<_>>(), [None, None, first]);
    assert_eq!(breaker.state(at(1)), BreakerState::Open(Duration::from_secs(3)));
    let late = turns.next().unwrap();
    assert_eq!(late, None, "it is quarantined already");
    assert!(breaker.try_acquire(at(3)).is_none());
    let probe = breaker.try_acquire(at(4)).unwrap();
    assert!(probe.is_probe() && breaker.try_acquire(at(4)).is_none(), "one at a time");
    assert!(turns.all(|turn| turn.is_none()), "what began before is no trial");
    // One that is given up puts it back.
    drop(probe);
    assert_eq!(breaker.state(at(4)), BreakerState::HalfOpenDue);
    let failed = breaker.try_acquire(at(5)).unwrap().record(at(5), false);
    assert_eq!(failed, Some(Transition::ProbeFailed { for_: Duration::from_secs(8) }));
    // A hook that is open asks on; only the trial counts.
    assert_eq!(breaker.acquire_ignoring_state(at(6)).record(at(6), true), None);
    let recovered = breaker.acquire_ignoring_state(at(13)).record(at(13), true);
    assert_eq!(
        recovered,
        Some(Transition::Recovered { probes: 2, after: Duration::from_secs(13) })
    );
    assert_eq!(breaker.state(at(13)), BreakerState::Closed);
}

#[test]
fn it_is_left_alone_twice_as_long_each_time_and_no_longer_than_the_longest() {
    let start = Instant::now();
    let breaker = Breaker::new(BUDGET);
    let mut now = start;
    for _ in 0..3 {
        breaker.try_acquire(now).unwrap().record(now, false);
    }
    let mut waits = Vec::new();
    for _ in 0..5 {
        let BreakerState::Open(left) = breaker.state(now) else { panic!() };
        waits.push(left.as_secs());
        now += left;
        breaker.try_acquire(now).unwrap().record(now, false);
    }
    assert_eq!(waits, [4, 8, 16, 30, 30]);
}
