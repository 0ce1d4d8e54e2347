//! Dates, instants and times of day as text.
//!
//! Invariant: a text is read as a whole, in one spelling. The other SDKs read the same texts; jiff
//! alone reads more, such as basic format and zones in brackets.

use super::Date;

/// The day that text such as `2026-11-30` names. Years 1 to 9999.
pub fn parse_date(text: &str) -> Option<Date> {
    let mut reader = Reader(text.as_bytes());
    let date = reader.date()?;
    reader.0.is_empty().then_some(date)
}

/// The instant of a time with an offset, such as `2026-11-30T17:00:00+01:00` (RFC 3339), in
/// milliseconds. Parts of milliseconds are cut off, and a leap second counts as the second before
/// it.
pub fn parse_instant(text: &str) -> Option<i64> {
    let mut reader = Reader(text.as_bytes());
    let date = reader.date()?;
    reader.one_of(b"Tt")?;
    let (hour, _) = (reader.number(2)?, reader.one_of(b":")?);
    let (minute, _) = (reader.number(2)?, reader.one_of(b":")?);
    let second = reader.number(2)?;
    let mut millis = 0;
    if reader.one_of(b".").is_some() {
        let mut digits = 0;
        while let Some(digit) = reader.number(1) {
            // Hundreds, tens and ones; then nothing.
            millis += digit * [100, 10, 1].get(digits).unwrap_or(&0);
            digits += 1;
        }
        if !(1..=9).contains(&digits) {
            return None;
        }
    }
    let offset = match reader.one_of(b"Zz+-")? {
        b'Z' | b'z' => 0,
        sign => {
            let (hours, _) = (reader.number(2)?, reader.one_of(b":")?);
            let minutes = reader.number(2)?;
            if hours > 23 || minutes > 59 {
                return None;
            }
            if sign == b'-' { -(hours * 60 + minutes) } else { hours * 60 + minutes }
        }
    };
    if hour > 23 || minute > 59 || second > 60 || !reader.0.is_empty() {
        return None;
    }
    let days = i64::from((date - Date::constant(1970, 1, 1)).get_days());
    let minutes = (days * 24 + hour) * 60 + minute - offset;
    Some((minutes * 60 + second.min(59)) * 1_000 + millis)
}

/// Minutes since midnight, of text such as `07:30`.
pub(super) fn minutes(text: &str) -> Option<u16> {
    let mut reader = Reader(text.as_bytes());
    let (hour, _) = (reader.number(2)?, reader.one_of(b":")?);
    let minute = reader.number(2)?;
    let right = hour < 24 && minute < 60 && reader.0.is_empty();
    if right { u16::try_from(hour * 60 + minute).ok() } else { None }
}

/// The rest of a text.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn date(&mut self) -> Option<Date> {
        let (year, _) = (self.number(4)?, self.one_of(b"-")?);
        let (month, _) = (self.number(2)?, self.one_of(b"-")?);
        let day = self.number(2)?;
        let year = i16::try_from(year).ok().filter(|year| *year >= 1)?;
        Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
    }

    /// A number of so many digits.
    fn number(&mut self, digits: usize) -> Option<i64> {
        let (number, rest) = self.0.split_at_checked(digits)?;
        if !number.iter().all(u8::is_ascii_digit) {
            return None;
        }
        self.0 = rest;
        Some(number.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')))
    }

    fn one_of(&mut self, letters: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        if !letters.contains(first) {
            return None;
        }
        self.0 = rest;
        Some(*first)
    }
}
