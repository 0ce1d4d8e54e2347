//! The distance and the speed of a journey between two sign-ins.
//!
//! Invariant: the distance is that of the great circle on a sphere of 6,371.0088 km (IUGG mean
//! radius), which is within 0.6 % of the ellipsoid's. Geolocation of addresses is wrong by far
//! more.

use crate::features::Place;
use crate::settings::Travel;

/// The judgement of a journey.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Journey {
    /// Nothing.
    Possible,
    /// Faster than an airliner.
    Fast(Speed),
    /// Far, fast and soon: nobody can have travelled it.
    Impossible(Speed),
}

/// A journey in numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Speed {
    pub km: u32,
    pub kmh: u32,
}

/// Judges a journey of so many seconds.
pub(crate) fn judge(from: Place, to: Place, seconds: u32, rules: &Travel) -> (Journey, Speed) {
    let km = distance_km(from, to);
    // Two sign-ins in the same second count as one second apart.
    let hours = f64::from(seconds.max(1)) / 3_600.0;
    let kmh = km / hours;
    let speed = Speed { km: libm::round(km) as u32, kmh: libm::round(kmh) as u32 };
    let impossible = km >= f64::from(rules.impossible_km)
        && kmh >= f64::from(rules.impossible_kmh)
        && seconds <= u32::from(rules.impossible_minutes) * 60;
    let fast = km >= f64::from(rules.velocity_km) && kmh >= f64::from(rules.velocity_kmh);
    let journey = match (impossible, fast) {
        (true, _) => Journey::Impossible(speed),
        (false, true) => Journey::Fast(speed),
        (false, false) => Journey::Possible,
    };
    (journey, speed)
}

/// The great-circle distance in kilometres (haversine formula).
fn distance_km(from: Place, to: Place) -> f64 {
    let ((lat1, lon1), (lat2, lon2)) = (from.degrees(), to.degrees());
    let (lat1, lat2) = (lat1.to_radians(), lat2.to_radians());
    let half = |angle: f64| {
        let sine = libm::sin(angle / 2.0);
        sine * sine
    };
    let chord =
        half(lat2 - lat1) + libm::cos(lat1) * libm::cos(lat2) * half((lon2 - lon1).to_radians());
    2.0 * EARTH_RADIUS_KM * libm::asin(libm::sqrt(chord.min(1.0)))
}

const EARTH_RADIUS_KM: f64 = 6_371.008_8;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn place(latitude: f64, longitude: f64) -> Place {
        Place::from_degrees(latitude, longitude).unwrap()
    }

    /// Airports by the coordinates of the `airportsdata` package, and geodesic distances on WGS 84
    /// by `geographiclib`, which this code shares nothing with.
    #[test]
    fn distances_are_those_of_the_ellipsoid_within_a_percent() {
        let pairs = [
            ((42.36, -71.01), (51.47, -0.46), 5_254.4),    // BOS LHR
            ((40.64, -73.78), (-33.95, 151.18), 16_012.9), // JFK SYD
            ((50.03, 8.54), (48.35, 11.79), 300.8),        // FRA MUC
            ((35.76, 140.39), (55.97, 37.41), 7_525.9),    // NRT SVO
            ((61.17, -150.00), (1.35, 103.99), 10_726.5),  // ANC SIN
            ((42.36, -71.01), (40.64, -73.78), 300.3),     // BOS JFK
            ((51.47, -0.46), (-34.82, -58.54), 11_110.3),  // LHR EZE
            ((35.55, 139.78), (35.76, 140.39), 59.7),      // HND NRT
        ];
        for (from, to, km) in pairs {
            let found = distance_km(place(from.0, from.1), place(to.0, to.1));
            assert!(
                (found - km).abs() <= km * 0.006 + 2.0,
                "{from:?} to {to:?}: {found}, not {km}"
            );
        }
    }

    #[test]
    fn the_rules_are_those_of_their_sources() {
        let rules = Travel::default();
        let (boston, london, new_york) =
            (place(42.36, -71.01), place(51.47, -0.46), place(40.64, -73.78));
        let judge = |from, to, minutes: u32| judge(from, to, minutes * 60, &rules).0;
        assert!(matches!(judge(boston, london, 90), Journey::Impossible(_)));
        assert!(matches!(judge(boston, london, 91), Journey::Fast(_)), "5,250 km in 91 minutes");
        assert_eq!(judge(boston, london, 420), Journey::Possible, "an airliner takes 7 hours");
        assert!(
            matches!(judge(boston, new_york, 15), Journey::Fast(_)),
            "300 km are not far enough"
        );
        assert_eq!(judge(boston, new_york, 60), Journey::Possible);
        assert_eq!(judge(boston, boston, 0), Journey::Possible);
    }

    proptest! {
        #[test]
        fn distances_are_symmetric_and_bounded(
            a in -90.0..90.0_f64, b in -180.0..180.0_f64, c in -90.0..90.0_f64, d in -180.0..180.0_f64,
        ) {
            let (Some(from), Some(to)) = (Place::from_degrees(a, b), Place::from_degrees(c, d)) else {
                return Ok(());
            };
            let (there, back) = (distance_km(from, to), distance_km(to, from));
            prop_assert!((there - back).abs() < 1e-6 && (0.0..=20_016.0).contains(&there));
            prop_assert!(distance_km(from, from) < 1e-6);
        }

        /// Less time never makes a journey less suspicious.
        #[test]
        fn less_time_is_never_less_suspicious(lon in -180.0..180.0_f64, seconds in 0..100_000_u32, less in 0..100_000_u32) {
            let rules = Travel::default();
            let rank = |seconds| match judge(place(48.0, 11.0), place(48.0, lon), seconds, &rules).0 {
                Journey::Possible => 0,
                Journey::Fast(_) => 1,
                Journey::Impossible(_) => 2,
            };
            prop_assert!(rank(seconds.saturating_sub(less)) >= rank(seconds));
        }
    }
}
