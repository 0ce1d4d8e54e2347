//! A clock that starts wrong, jumps, creeps and is set back, and who may say that it is right.

use proptest::prelude::*;

use super::*;

const NOON: u64 = 1_793_534_400_000;
const MINUTE: u64 = 60_000;
const DAY: u64 = 24 * 60 * MINUTE;

/// A machine whose clocks a test moves.
struct Bench {
    machine: ClockMachine,
    wall: u64,
    monotonic: u64,
}

impl Bench {
    fn start(floor: u64, issued: Option<u64>, wall: u64) -> Self {
        let reading = ClockReading::first(Millis(wall));
        let documents: Vec<_> = issued.map(Millis).into_iter().collect();
        let machine = ClockMachine::new(Millis(floor), &documents, reading);
        Self { machine, wall, monotonic: 0 }
    }

    fn reading(&self) -> ClockReading {
        let monotonic = Duration::from_millis(self.monotonic);
        ClockReading { wall: Millis(self.wall), monotonic }
    }

    /// Both clocks run, in steps of half a minute.
    fn run(&mut self, time: u64) {
        for _ in 0..time.div_ceil(MINUTE / 2) {
            self.wall += MINUTE / 2;
            self.monotonic += MINUTE / 2;
            self.machine.evaluate(self.reading());
        }
    }

    /// The wall clock is set.
    fn set(&mut self, wall: u64) -> ClockState {
        self.wall = wall;
        self.machine.evaluate(self.reading());
        self.machine.state
    }

    fn platform(&mut self, event_time: u64) -> ClockState {
        self.machine.observe_platform(Millis(event_time), self.reading());
        self.machine.state
    }

    fn time(&self) -> u64 {
        self.machine.time.0
    }
}

#[test]
fn a_clock_that_starts_ahead_leaves_no_trace_when_it_is_right_again() {
    let mut ahead = Bench::start(NOON, Some(NOON - DAY), NOON + 400 * DAY);
    assert_eq!(ahead.machine.state, ClockState::Unconfirmed);
    ahead.run(60 * MINUTE);
    assert_eq!(ahead.time(), NOON + 60 * MINUTE, "time goes on without the clock");
    assert_eq!(ahead.machine.held, Some(Millis(NOON)), "nothing expires");
    // The next start knows the time of the last record.
    let right = Bench::start(ahead.time(), Some(NOON - DAY), NOON + 61 * MINUTE);
    assert_eq!((right.machine.state, right.time()), (ClockState::Trusted, right.wall));
    assert!(right.machine.alarms.is_empty());
}

#[test]
fn a_first_start_believes_no_clock_that_is_far_ahead_of_its_documents() {
    let ahead = Bench::start(0, Some(NOON), NOON + 400 * DAY);
    assert_eq!((ahead.machine.state, ahead.time()), (ClockState::Unconfirmed, NOON));
    let right = Bench::start(0, Some(NOON), NOON + DAY / 2);
    assert_eq!((right.machine.state, right.time()), (ClockState::Trusted, NOON + DAY / 2));
    // A document from the future raises nothing either.
    let odd = Bench::start(0, Some(NOON + 400 * DAY), NOON);
    assert_eq!((odd.machine.state, odd.time()), (ClockState::Trusted, NOON));
    let bare = Bench::start(0, None, NOON);
    assert_eq!((bare.machine.state, bare.time()), (ClockState::Trusted, NOON));
}

#[test]
fn a_host_that_was_off_for_a_month_believes_its_clock_when_a_platform_agrees() {
    let mut host = Bench::start(NOON, Some(NOON), NOON + 30 * DAY);
    assert_eq!(host.machine.state, ClockState::Unconfirmed);
    for odd in [NOON, NOON + 30 * DAY - 6 * MINUTE, NOON + 30 * DAY + 6 * MINUTE, 5, u64::MAX] {
        assert_eq!(host.platform(odd), ClockState::Unconfirmed, "{odd}");
        assert!(host.time() < NOON + MINUTE);
    }
    assert_eq!(host.platform(NOON + 30 * DAY - MINUTE), ClockState::Trusted);
    assert_eq!(host.time(), NOON + 30 * DAY, "the clock's time, not the platform's");
    let by = Confirmation::Platform;
    let clock = Millis(NOON + 30 * DAY);
    let confirmed = ClockAlarm::Confirmed { by, clock, before: Millis(NOON) };
    assert_eq!(host.machine.alarms.last(), Some(&confirmed));
}

#[test]
fn a_fresh_document_confirms_and_an_old_one_or_one_of_the_future_does_not() {
    let far = NOON + 30 * DAY;
    for (issued, state) in [
        (far - DAY - 1, ClockState::Unconfirmed),
        (far + 6 * MINUTE, ClockState::Unconfirmed),
        (far - DAY, ClockState::Trusted),
        (far + MINUTE, ClockState::Trusted),
    ] {
        let mut host = Bench::start(NOON, Some(NOON), far);
        host.machine.observe_document(Millis(issued), host.reading());
        assert_eq!(host.machine.state, state, "{issued}");
        assert!(host.time() == far || state == ClockState::Unconfirmed);
        // As at a start.
        assert_eq!(Bench::start(NOON, Some(issued), far).machine.state, state, "{issued}");
    }
}

#[test]
fn a_jump_in_any_number_of_steps_is_not_believed() {
    let mut host = Bench::start(NOON, None, NOON);
    host.run(60 * MINUTE);
    assert_eq!(host.set(host.wall + DAY * 9 / 10), ClockState::Trusted);
    host.run(60 * MINUTE);
    assert_eq!(host.set(host.wall + DAY * 9 / 10), ClockState::Unconfirmed);
    let time = host.time();
    // It comes back by itself when the clock is put right.
    host.run(5 * DAY);
    assert_eq!((host.machine.state, host.time()), (ClockState::Unconfirmed, time + 5 * DAY));
    assert_eq!(host.set(NOON + 5 * DAY + 121 * MINUTE), ClockState::Trusted);
    let kinds = host.machine.alarms.iter().map(std::mem::discriminant).count();
    assert_eq!(kinds, 2, "{:?}", host.machine.alarms);
}

#[test]
fn a_monotonic_clock_that_jumps_too_is_not_believed() {
    let mut host = Bench::start(NOON, None, NOON);
    host.run(60 * MINUTE);
    host.monotonic += 400 * DAY;
    assert_eq!(host.set(host.wall + 400 * DAY), ClockState::Unconfirmed);
    assert!(host.time() <= NOON + 121 * MINUTE);
}

#[test]
fn a_clock_that_is_set_back_brings_nothing_back() {
    let mut host = Bench::start(NOON, None, NOON);
    host.run(60 * MINUTE);
    let time = host.time();
    assert_eq!((host.set(NOON), host.time()), (ClockState::Trusted, time), "an hour back");
    host.run(60 * MINUTE);
    assert_eq!(host.time(), time, "until the clock has caught up");
    assert_eq!(host.set(NOON - 300 * DAY), ClockState::Behind);
    host.run(60 * MINUTE);
    assert_eq!(host.time(), time + 60 * MINUTE, "time goes on without the clock");
    assert_eq!(host.platform(host.wall), ClockState::Behind, "a platform takes nothing back");
    assert_eq!(host.set(time + 61 * MINUTE), ClockState::Trusted);
}

#[test]
fn a_time_reset_takes_time_back() {
    let mut host = Bench::start(NOON + 400 * DAY, Some(NOON), NOON);
    assert_eq!(host.machine.state, ClockState::Behind);
    host.machine.reset(Millis(NOON - MINUTE), host.reading());
    assert_eq!((host.machine.state, host.time()), (ClockState::Trusted, NOON));
    host.run(MINUTE);
    assert_eq!(host.time(), NOON + MINUTE);
    // The same floor with a clock that is far ahead of it says nothing of the clock.
    let mut ahead = Bench::start(NOON + 400 * DAY, None, NOON + 300 * DAY);
    ahead.machine.reset(Millis(NOON), ahead.reading());
    assert_eq!((ahead.machine.state, ahead.time()), (ClockState::Unconfirmed, NOON));
}

#[test]
fn a_platform_whose_clock_differs_is_told_once_and_changes_nothing() {
    let mut host = Bench::start(NOON, None, NOON);
    assert_eq!(host.platform(NOON + 20 * MINUTE), ClockState::Trusted);
    for _ in 0..2 {
        host.machine.evaluate_skew(host.reading());
    }
    assert_eq!(host.machine.alarms, [ClockAlarm::Skew { ahead: 20 * 60_000 }]);
    // An old event that is sent again does not hide it; one of this moment does, after a minute.
    host.run(2 * MINUTE);
    host.platform(host.wall);
    host.machine.evaluate_skew(host.reading());
    assert_eq!(host.machine.alarms.last(), Some(&ClockAlarm::NoSkew));
    host.platform(host.wall - 30 * MINUTE);
    host.machine.evaluate_skew(host.reading());
    assert_eq!(host.machine.alarms.len(), 2, "sent again");
    assert_eq!(host.time(), host.wall);
}

#[derive(Clone, Debug)]
enum Move {
    Run(u64),
    Set(u64),
    Platform(u64),
    Document(u64),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let time = || NOON - 500 * DAY..NOON + 500 * DAY;
    let one = prop_oneof![
        (1..600 * MINUTE).prop_map(Move::Run),
        time().prop_map(Move::Set),
        time().prop_map(Move::Platform),
        time().prop_map(Move::Document),
    ];
    prop::collection::vec(one, 0..40)
}

proptest! {
    /// Without a source that agrees with it, no clock moves trusted time further ahead of what was
    /// known than a day; and nothing takes it back.
    #[test]
    fn one_clock_alone_never_moves_time_by_more_than_a_day(moves in moves()) {
        let mut host = Bench::start(NOON, Some(NOON), NOON);
        let (mut before, mut elapsed) = (host.time(), 0);
        for step in moves {
            match step {
                Move::Run(time) => {
                    let from = host.monotonic;
                    host.run(time);
                    elapsed += host.monotonic - from;
                }
                Move::Set(wall) => drop(host.set(wall)),
                // Sources that do not agree with the clock.
                Move::Platform(time) if time.abs_diff(host.wall) > 5 * MINUTE => {
                    host.platform(time);
                }
                Move::Document(issued) if issued < NOON => {
                    host.machine.observe_document(Millis(issued), host.reading());
                }
                Move::Platform(_) | Move::Document(_) => {}
            }
            prop_assert!(host.time() >= before);
            prop_assert!(host.time() <= NOON + elapsed + DAY);
            before = host.time();
            let frozen = host.machine.held.is_some();
            prop_assert_eq!(frozen, host.machine.state == ClockState::Unconfirmed);
        }
    }

    /// Whatever is observed, trusted time is never above what some reading of the clock showed, or
    /// what has passed since the start.
    #[test]
    fn no_source_moves_time_past_the_clock(moves in moves()) {
        let mut host = Bench::start(NOON, Some(NOON), NOON);
        let (mut highest, mut elapsed) = (NOON, 0);
        for step in moves {
            match step {
                Move::Run(time) => {
                    let from = host.monotonic;
                    host.run(time);
                    elapsed += host.monotonic - from;
                }
                Move::Set(wall) => drop(host.set(wall)),
                Move::Platform(time) => drop(host.platform(time)),
                Move::Document(issued) => {
                    host.machine.observe_document(Millis(issued), host.reading());
                }
            }
            highest = highest.max(host.wall);
            prop_assert!(host.time() <= highest + elapsed);
        }
    }
}
