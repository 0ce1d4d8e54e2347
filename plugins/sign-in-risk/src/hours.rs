//! The density of a person's sign-ins around an hour of the day.
//!
//! Invariant: hours are on a circle: 23:30 is near 00:30. Each hour with sign-ins has a von Mises
//! kernel of concentration 4 (a standard deviation of about two hours) around its middle; the
//! density at a time is the mean of the kernels over all sign-ins, as a share of a kernel's peak: 1
//! where every sign-in was at this time, near 0 where all were at the other end of the day.

/// The density at an hour and minute, in thousandths; `None` without sign-ins.
pub(crate) fn density_permille(hours: &[u8; 24], hour: usize, minute: u32) -> Option<u32> {
    let time = hour as f64 + f64::from(minute) / 60.0;
    let (mut sum, mut sign_ins) = (0.0, 0.0);
    for (middle, count) in hours.iter().enumerate() {
        let count = f64::from(*count);
        let angle = (time - (middle as f64 + 0.5)) * (core::f64::consts::TAU / 24.0);
        sum += count * libm::exp(CONCENTRATION * (libm::cos(angle) - 1.0));
        sign_ins += count;
    }
    (sign_ins > 0.0).then(|| libm::round(sum / sign_ins * 1_000.0) as u32)
}

const CONCENTRATION: f64 = 4.0;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(sign_ins: &[(usize, u8)], hour: usize) -> u32 {
        let mut hours = [0; 24];
        for (hour, count) in sign_ins {
            hours[*hour] = *count;
        }
        density_permille(&hours, hour, 30).unwrap()
    }

    #[test]
    fn a_day_has_no_end() {
        assert_eq!(at(&[(8, 40)], 8), 1_000);
        assert_eq!(at(&[(23, 40)], 0), at(&[(12, 40)], 13), "midnight is an hour like others");
        assert!(at(&[(8, 40)], 9) > 800 && at(&[(8, 40)], 11) > 200);
        assert!(at(&[(8, 40)], 20) < 1, "twelve hours off");
        // A nurse with half of the shifts by night is at home in both.
        assert!(at(&[(6, 20), (21, 20)], 6) >= 500 && at(&[(6, 20), (21, 20)], 21) >= 500);
        assert_eq!(density_permille(&[0; 24], 3, 0), None);
    }

    proptest! {
        #[test]
        fn a_density_is_a_share_and_turns_with_the_day(
            hours in prop::array::uniform24(any::<u8>()), hour in 0..24_usize, minute in 0..60_u32, turn in 0..24_usize,
        ) {
            prop_assume!(hours.iter().any(|count| *count > 0));
            let density = density_permille(&hours, hour, minute).unwrap();
            prop_assert!(density <= 1_000);
            let mut turned = hours;
            turned.rotate_right(turn);
            let other = density_permille(&turned, (hour + turn) % 24, minute).unwrap();
            prop_assert!(density.abs_diff(other) <= 1);
        }
    }
}
