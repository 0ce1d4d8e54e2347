//! The threshold of the band "medium", from a target rate of people who are asked for a factor.
//!
//! The points of people with a history are counted in shared memory, each person at most once a day
//! in each class of points. The threshold is the lowest at which no more than the target share lies
//! at or above it. Points that lead to a demand or a refusal are counted once a second factor has
//! confirmed the sign-in: the rate is that of people, and attackers do not get so far.
//!
//! Invariants:
//! - The threshold stays within the settings' bounds, however many attacks or quiet days there are:
//!   an attacker cannot raise it above `bands.highest_medium` by making noise.
//! - Sign-ins after an attack, and those that nobody confirmed, are not counted.
//! - A lower target never gives a lower threshold.

use crate::settings::Settings;
use crate::world::{Scope, World};

/// The threshold at present.
pub(crate) fn medium_threshold(settings: &Settings, world: &dyn World) -> u8 {
    let edges = edges(settings);
    let counts: Vec<u32> = (0..=edges.len())
        .map(|class| world.count_distinct(Scope::Shared, &key(class), WINDOW))
        .collect();
    threshold(settings, &edges, &counts)
}

/// Counts the points of a person, by hash, at a time in seconds.
pub(crate) fn tally(points: u8, person: u64, at: u32, settings: &Settings, world: &dyn World) {
    let class = edges(settings).iter().filter(|edge| points >= **edge).count();
    let member = format!("{person:016x}/{}", at / 86_400);
    world.tally_distinct(Scope::Shared, &key(class), &member, WINDOW);
}

/// Keeps the points of a sign-in that waits for its second factor.
pub(crate) fn wait(points: u8, world: &dyn World) {
    world.remember(Scope::Subject, WAITING, &[points], WAITING_SECONDS);
}

/// Counts the points of the sign-in that waited, now that a second factor has confirmed it.
pub(crate) fn confirm(person: u64, at: u32, settings: &Settings, world: &dyn World) {
    if let Some(&[points]) = world.recall(Scope::Subject, WAITING).as_deref() {
        tally(points, person, at, settings, world);
    }
}

/// The lowest edge with at most the target share at or above it; `counts` has one class more than
/// there are edges.
fn threshold(settings: &Settings, edges: &[u8], counts: &[u32]) -> u8 {
    let total: u64 = counts.iter().map(|count| u64::from(*count)).sum();
    if total < FEWEST {
        return settings.bands.medium;
    }
    let target = u64::from(settings.target_reauthentication_percent);
    let mut at_or_above = total;
    for (edge, below) in edges.iter().zip(counts) {
        at_or_above = at_or_above.saturating_sub(u64::from(*below));
        if at_or_above * 100 <= total * target {
            return *edge;
        }
    }
    settings.bands.highest_medium
}

/// The thresholds that are possible, ascending: steps of 5 points from the lowest to the highest.
fn edges(settings: &Settings) -> Vec<u8> {
    let bands = &settings.bands;
    let mut edges: Vec<u8> = (bands.lowest_medium..=bands.highest_medium).step_by(STEP).collect();
    if edges.last() != Some(&bands.highest_medium) {
        edges.push(bands.highest_medium);
    }
    edges
}

fn key(class: usize) -> String {
    format!("points/{class}")
}

/// The points of the person's sign-in that waits.
const WAITING: &str = "waiting";

/// For how long it waits, in seconds.
const WAITING_SECONDS: u32 = 3_600;

/// Points between two thresholds.
const STEP: usize = 5;

/// The fewest person-days from which a rate is taken.
const FEWEST: u64 = 500;

/// The time for which a person's day counts, in seconds: 28 days.
const WINDOW: u32 = 28 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn settings(target: u8) -> Settings {
        Settings { target_reauthentication_percent: target, ..Settings::default() }
    }

    fn threshold_of(target: u8, counts: [u32; 8]) -> u8 {
        let settings = settings(target);
        threshold(&settings, &edges(&settings), &counts)
    }

    #[test]
    fn the_threshold_follows_the_target_within_its_bounds() {
        assert_eq!(edges(&settings(5)), [30, 35, 40, 45, 50, 55, 60]);
        // 1,000 person-days: 60 at 30 and more, 50 at 35 and more.
        let counts = [940, 10, 10, 10, 10, 10, 5, 5];
        assert_eq!(threshold_of(6, counts), 30);
        assert_eq!(threshold_of(5, counts), 35);
        assert_eq!(threshold_of(1, counts), 55);
        assert_eq!(threshold_of(1, [0, 0, 0, 0, 0, 0, 0, 1_000]), 60, "never above the highest");
        assert_eq!(threshold_of(1, [1_000, 0, 0, 0, 0, 0, 0, 0]), 30, "never below the lowest");
        assert_eq!(threshold_of(5, [499, 0, 0, 0, 0, 0, 0, 0]), 40, "too few to tell");
    }

    proptest! {
        #[test]
        fn a_lower_target_never_asks_more_people(
            counts in prop::array::uniform8(0..10_000_u32), target in 1..50_u8, less in 0..50_u8,
        ) {
            let lower = target.saturating_sub(less).max(1);
            prop_assert!(threshold_of(lower, counts) >= threshold_of(target, counts));
        }

        #[test]
        fn the_target_is_kept_unless_the_bounds_forbid_it(counts in prop::array::uniform8(0..10_000_u32), target in 1..50_u8) {
            let total: u32 = counts.iter().sum();
            prop_assume!(total >= 500);
            let threshold = threshold_of(target, counts);
            let settings = settings(target);
            let above: u32 = edges(&settings).iter().zip(&counts[1..]).filter(|(edge, _)| **edge >= threshold).map(|(_, count)| count).sum();
            prop_assert!(threshold == 60 || u64::from(above) * 100 <= u64::from(total) * u64::from(target));
        }
    }
}
