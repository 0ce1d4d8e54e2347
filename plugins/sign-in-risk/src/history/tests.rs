//! Order, bounds and the stored form.

use proptest::prelude::*;

use super::*;
use crate::features::Place;

const BURST: Burst = Burst { count: 5, within_seconds: 600, remembered_seconds: 21_600 };

/// Few different values, so that ties, repeated features and evictions are usual.
fn features() -> impl Strategy<Value = Features> {
    (0..24_u32, 0..3_u32, prop::option::of((-9000..=9000_i16, -18_000..=18_000_i16))).prop_map(
        |(address, asn, place)| Features {
            address,
            asn,
            country: *b"AT",
            place: place.and_then(|(lat, lon)| Place::from_hundredths(lat, lon)),
            ..Features::default()
        },
    )
}

#[derive(Clone, Debug)]
enum Step {
    SignIn(u32, usize, Features),
    Denial(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1_000..1_400_u32, 0..24_usize, features()).prop_map(|(at, hour, it)| Step::SignIn(at, hour, it)),
        1 => (1_000..4_000_u32).prop_map(Step::Denial),
    ];
    prop::collection::vec(step, 0..120)
}

fn after(steps: &[Step]) -> History {
    let mut history = History::default();
    for step in steps {
        match step {
            Step::SignIn(at, hour, features) => history.add_sign_in(*at, *hour, *features),
            Step::Denial(at) => history.add_denial(*at),
        }
    }
    history
}

fn shuffled() -> impl Strategy<Value = (Vec<Step>, Vec<Step>)> {
    steps().prop_flat_map(|steps| (Just(steps.clone()), Just(steps).prop_shuffle()))
}

proptest! {
    #[test]
    fn the_order_of_events_does_not_matter((steps, other) in shuffled()) {
        prop_assert_eq!(after(&steps), after(&other));
    }

    #[test]
    fn storing_between_events_does_not_matter(steps in steps(), at in 0..120_usize) {
        let (before, rest) = steps.split_at(at.min(steps.len()));
        let mut history = History::decode(&after(before).encode()).unwrap();
        for step in rest {
            match step {
                Step::SignIn(at, hour, features) => history.add_sign_in(*at, *hour, *features),
                Step::Denial(at) => history.add_denial(*at),
            }
        }
        prop_assert_eq!(history, after(&steps));
    }

    #[test]
    fn what_is_stored_is_bounded_and_reads_back(steps in steps()) {
        let history = after(&steps);
        let bytes = history.encode();
        prop_assert!(bytes.len() <= MAX_BYTES, "{} bytes", bytes.len());
        prop_assert_eq!(History::decode(&bytes), Ok(history));
    }

    #[test]
    fn other_bytes_are_refused_or_have_one_form(steps in steps(), at in any::<prop::sample::Index>(), bit in 0..8_u8, cut in 0..3_usize) {
        let mut bytes = after(&steps).encode();
        let index = at.index(bytes.len());
        bytes[index] ^= 1 << bit;
        bytes.truncate(bytes.len() - cut);
        if let Ok(history) = History::decode(&bytes) {
            prop_assert_eq!(history.encode(), bytes);
        }
    }

    #[test]
    fn garbage_never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..800)) {
        let _ = History::decode(&bytes);
        if let Some(first) = bytes.first_mut() {
            *first = 1;
        }
        let _ = History::decode(&bytes);
    }
}

#[test]
fn the_fullest_history_has_room() {
    let mut history = History::default();
    for second in 0..200_u32 {
        let features = Features { address: second % 15 + 1, ..Features::default() };
        history.add_sign_in(1_000 + second, 3, features);
        history.add_denial(second);
    }
    let bytes = history.encode();
    assert_eq!(history.sign_ins.len(), MAX_SIGN_INS);
    assert_eq!(history.tuples().len(), MAX_TUPLES);
    assert_eq!(bytes.len(), 685);
}

#[test]
fn a_late_sign_in_does_not_move_the_last_place_backwards() {
    let at =
        |latitude| Features { place: Place::from_degrees(latitude, 9.0), ..Features::default() };
    let mut history = History::default();
    history.add_sign_in(2_000, 1, at(50.0));
    history.add_sign_in(1_000, 1, at(10.0));
    assert_eq!(
        history.last_place(BURST).map(|(seconds, it)| (seconds, it.degrees().0)),
        Some((2_000, 50.0))
    );
    assert_eq!((history.first_seen(), history.last_seen()), (Some(1_000), Some(2_000)));
}

#[test]
fn a_sign_in_after_a_burst_of_denials_is_not_trusted() {
    let mut history = History::default();
    let known = Features { address: 1, ..Features::default() };
    let hostile = Features { address: 2, ..Features::default() };
    history.add_sign_in(10_000, 1, known);
    for second in [20_000, 20_100, 20_200, 20_300] {
        history.add_denial(second);
    }
    assert!(!history.is_bombed(20_300, BURST));
    // The success is known before the last denial that makes the burst.
    history.add_sign_in(20_700, 1, hostile);
    assert_eq!(history.sign_ins(BURST).count(), 2);
    history.add_denial(20_600);
    assert!(history.is_bombed(20_600, BURST) && history.is_bombed(42_200, BURST));
    assert!(!history.is_bombed(20_599, BURST) && !history.is_bombed(42_201, BURST));
    let trusted: Vec<_> = history.sign_ins(BURST).collect();
    assert_eq!(trusted, [(10_000, &known)]);
    assert_eq!(history.denials_before(20_600, 600), 5);
}

#[test]
fn another_version_is_told_from_garbage() {
    assert_eq!(History::decode(&[2, 0]), Err(DecodeError::Version(2)));
    assert_eq!(History::decode(&[]), Err(DecodeError::Malformed));
    assert_eq!(History::decode(&[1, 0]), Err(DecodeError::Malformed));
}
