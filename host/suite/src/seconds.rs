//! Lengths of time as authors write them: `90s`, `10m`, `2d`, `1d12h`.
//!
//! Invariant: a length is a whole number of seconds of at most ten years, and its text reads back
//! as the same length.

use std::fmt;
use std::str::FromStr;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A length of time, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seconds(pub u32);

impl Seconds {
    /// The same in milliseconds.
    pub fn millis(self) -> u64 {
        u64::from(self.0) * 1_000
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.0;
        for (unit, seconds) in UNITS {
            let count = left / seconds;
            left %= seconds;
            if count > 0 || (seconds == 1 && self.0 == 0) {
                write!(f, "{count}{unit}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is no length of time; write it as `90s`, `10m` or `1d12h`");
        let (mut total, mut digits) = (0_u64, String::new());
        for letter in text.chars().filter(|letter| *letter != ' ') {
            if letter.is_ascii_digit() && digits.len() < MAX_DIGITS {
                digits.push(letter);
                continue;
            }
            let unit = UNITS.iter().find(|(unit, _)| *unit == letter).ok_or_else(wrong)?;
            let count: u64 = digits.parse().map_err(|_| wrong())?;
            total += count * u64::from(unit.1);
            digits.clear();
        }
        if text.trim().is_empty() || !digits.is_empty() {
            return Err(wrong());
        }
        let total = u32::try_from(total).ok().filter(|total| *total <= MAX_SECONDS);
        total.map(Self).ok_or_else(|| format!("`{text}` is longer than ten years"))
    }
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, writer: S) -> Result<S::Ok, S::Error> {
        writer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        String::deserialize(reader)?.parse().map_err(D::Error::custom)
    }
}

/// Letters of units, and their seconds.
const UNITS: [(char, u32); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// Ten years.
const MAX_SECONDS: u32 = 10 * 366 * 86_400;

/// Digits of one number.
const MAX_DIGITS: usize = 9;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_are_read_by_their_units() {
        for (text, seconds) in
            [("90s", 90), ("10m", 600), ("2d", 172_800), ("1d 12h", 129_600), ("0s", 0)]
        {
            assert_eq!(text.parse(), Ok(Seconds(seconds)), "{text}");
        }
        for text in ["", " ", "10", "m", "10 minutes", "-1s", "1w", "1.5h", "9999999999s", "4000d"]
        {
            assert!(text.parse::<Seconds>().is_err(), "{text}");
        }
        assert_eq!(Seconds(129_600).to_string(), "1d12h");
    }

    proptest! {
        #[test]
        fn a_length_reads_back(seconds in 0..=MAX_SECONDS, text in "\\PC{0,12}") {
            let length = Seconds(seconds);
            prop_assert_eq!(length.to_string().parse(), Ok(length));
            drop(text.parse::<Seconds>());
        }
    }
}
