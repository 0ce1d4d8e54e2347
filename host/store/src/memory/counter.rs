//! A counter of events in time slices.
//!
//! Invariant: slices are in order, do not overlap, and each covers `2^level` seconds, aligned to
//! that. Two slices become one only when the joint one is at least [`FINENESS`] times its width in
//! the past. So a count over a window never misses an event in the window, and includes no event
//! that is older than the window by more than a sixteenth of it, or than 1 s (whichever is more).
//! The caller gives the time; the counter keeps no clock.

use super::codec::{Malformed, Reader, put_number};

/// Events of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counter {
    /// The longest window, in seconds, that was ever counted over; older events are dropped.
    window: u32,
    slices: Vec<Slice>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slice {
    /// First second, since 1970.
    start: u32,
    level: u8,
    count: u32,
}

impl Counter {
    /// Adds events at a time (milliseconds since 1970), to be counted over `window` seconds.
    pub(super) fn add(&mut self, at: u64, amount: u32, window: u32) {
        let second = seconds(at);
        self.window = self.window.max(window);
        let place = self.slices.partition_point(|slice| slice.start <= second);
        let before = place.checked_sub(1).and_then(|before| self.slices.get_mut(before));
        match before.filter(|slice| slice.end() > u64::from(second)) {
            Some(slice) => slice.count = slice.count.saturating_add(amount),
            None => self.slices.insert(place, Slice { start: second, level: 0, count: amount }),
        }
        self.compact(second);
    }

    /// Returns the number of events in the `window` seconds before `now` (milliseconds since 1970),
    /// later ones included.
    pub(super) fn count(&self, now: u64, window: u32) -> u32 {
        let from = window_start(now, window);
        let within = self.slices.iter().rev().take_while(|slice| slice.end() * 1000 > from);
        within.fold(0, |sum, slice| sum.saturating_add(slice.count))
    }

    /// Whether no window that it was counted over has an event any more.
    pub(super) fn is_expired(&self, now: u64) -> bool {
        self.slices
            .last()
            .is_none_or(|last| (last.end() + u64::from(self.window)).saturating_mul(1000) <= now)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put_number(out, u64::from(self.window));
        let mut previous = 0;
        for slice in &self.slices {
            put_number(out, u64::from(slice.start.saturating_sub(previous)));
            // Together, so that most slices take one byte for both.
            put_number(out, u64::from(slice.count) << LEVEL_BITS | u64::from(slice.level));
            previous = slice.start;
        }
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let window = reader.number_u32()?;
        let mut slices: Vec<Slice> = Vec::new();
        let mut end = 0;
        let mut previous = 0_u32;
        while !reader.is_empty() {
            let start = previous.checked_add(reader.number_u32()?).ok_or(Malformed)?;
            let both = reader.number()?;
            let level = (both & ((1 << LEVEL_BITS) - 1)) as u8;
            let count = u32::try_from(both >> LEVEL_BITS).map_err(|_| Malformed)?;
            let slice = Slice { start, level, count };
            if !start.is_multiple_of(1 << level) || u64::from(start) < end {
                return Err(Malformed);
            }
            (previous, end) = (start, slice.end());
            slices.push(slice);
        }
        Ok(Self { window, slices })
    }

    /// Drops slices that no window reaches, and joins slices that are old enough.
    fn compact(&mut self, now: u32) {
        let now = u64::from(now);
        let window = u64::from(self.window);
        let mut kept: Vec<Slice> = Vec::with_capacity(self.slices.len());
        // A slice ends after its last event, so nothing that a window can reach is dropped.
        for slice in self.slices.iter().filter(|slice| slice.end() + window >= now) {
            let mut joined = *slice;
            while let Some(whole) = kept.last().and_then(|last| last.joined(&joined, now)) {
                joined = whole;
                kept.pop();
            }
            kept.push(joined);
        }
        self.slices = kept;
    }

    #[cfg(test)]
    fn slices(&self) -> usize {
        self.slices.len()
    }
}

impl Slice {
    /// The second after its last.
    fn end(&self) -> u64 {
        u64::from(self.start) + (1 << self.level)
    }

    /// The smallest aligned slice that covers this and the next one, if it is old enough.
    fn joined(&self, next: &Self, now: u64) -> Option<Self> {
        let differing = 32 - (self.start ^ next.start).leading_zeros();
        let level = u8::try_from(differing).ok()?.max(self.level).max(next.level);
        if level >= 32 {
            return None;
        }
        let start = self.start >> level << level;
        let whole = Self { start, level, count: self.count.saturating_add(next.count) };
        (whole.end() + (FINENESS << level) <= now).then_some(whole)
    }
}

/// The time before which no event is in a window; events later than [`seconds`] can tell count as
/// its last second.
pub(super) fn window_start(now: u64, window: u32) -> u64 {
    now.min(u64::from(u32::MAX) * 1000).saturating_sub(u64::from(window) * 1000)
}

/// Seconds since 1970; a time after the year 2105 counts as its end.
pub(super) fn seconds(at: u64) -> u32 {
    u32::try_from(at / 1000).unwrap_or(u32::MAX)
}

/// A slice of several seconds is at least this many times its width in the past.
const FINENESS: u64 = 16;

/// Bits of a level, which is below 32.
const LEVEL_BITS: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: u32 = 86_400;
    const START: u64 = 1_800_000_000_000;

    /// The number of events that a count must have, and that it may have at most.
    fn bounds(events: &[u64], now: u64, window: u32) -> (usize, usize) {
        let window = u64::from(window) * 1000;
        let extra = (window / FINENESS).max(1000);
        let since = |from: u64| events.iter().filter(|at| **at > from).count();
        (since(now - window), since(now - window - extra - 1))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn a_count_misses_nothing_and_has_little_more(
            steps in prop::collection::vec((0_u64..5_000_000, 0_u8..4), 1..300),
            windows in prop::collection::vec(1_u32..31 * DAY, 1..8),
            quiet in 0_u64..100_000_000,
        ) {
            let mut counter = Counter::default();
            let (mut now, mut events) = (START, Vec::new());
            let longest = 31 * DAY;
            for (step, scale) in steps {
                now += step >> (scale * 6);
                events.push(now);
                counter.add(now, 1, longest);
                let mut out = Vec::new();
                counter.write(&mut out);
                prop_assert_eq!(Counter::read(&out), Ok(counter.clone()));
                for window in &windows {
                    let (least, most) = bounds(&events, now, *window);
                    let count = counter.count(now, *window) as usize;
                    prop_assert!((least..=most).contains(&count), "{} {} {}", least, count, most);
                }
            }
            now += quiet;
            for window in windows {
                let (least, most) = bounds(&events, now, window);
                let count = counter.count(now, window) as usize;
                prop_assert!(least <= count && count <= most, "{} <= {} <= {}", least, count, most);
            }
            prop_assert!(counter.is_expired(now + u64::from(longest) * 1000 + 1_000_000_000));
        }

        #[test]
        fn any_order_and_any_bytes(
            times in prop::collection::vec(0_u64..u64::MAX, 0..40),
            bytes: Vec<u8>,
        ) {
            let mut counter = Counter::default();
            for at in &times {
                counter.add(*at, 1, DAY);
                prop_assert!(counter.count(*at, 1) >= 1);
            }
            let mut out = Vec::new();
            counter.write(&mut out);
            prop_assert_eq!(Counter::read(&out), Ok(counter));
            let _ = Counter::read(&bytes);
        }
    }

    #[test]
    fn a_busy_key_has_a_bounded_number_of_slices() {
        let mut counter = Counter::default();
        let mut most = 0;
        for second in 0..u64::from(40 * DAY) / 5 {
            counter.add(START + second * 5000, 3, 31 * DAY);
            most = most.max(counter.slices());
        }
        assert!((100..=330).contains(&most), "{most}");
        let mut out = Vec::new();
        counter.write(&mut out);
        assert!(out.len() < 2500, "{}", out.len());
    }

    #[test]
    fn rare_events_stay_exact() {
        let mut counter = Counter::default();
        for day in 0..10 {
            counter.add(START + day * 86_400_000, 1, 31 * DAY);
        }
        let now = START + 9 * 86_400_000;
        for days in 1..9 {
            assert_eq!(counter.count(now, days * DAY - 1), days);
        }
    }

    #[test]
    fn numbers_stop_at_their_limit() {
        let mut counter = Counter::default();
        counter.add(START, u32::MAX, 60);
        counter.add(START, 7, 60);
        counter.add(START + 1000, 7, 60);
        assert_eq!(counter.count(START + 1000, 60), u32::MAX);
    }
}
