//! The features by which a sign-in is recognised: those that the history keeps and that are
//! compared.
//!
//! Invariant: a feature that is not known is 0 (a place: `None`), and no known feature is 0.
//! Features hold hashes and numbers, never the platform's text.

use crate::hash::{hash16, hash32};
use crate::user_agent::{DeviceClass, UserAgent};

/// The features of one sign-in. The order is that of the stored history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Features {
    /// The hash of the address (IPv6: of its /64).
    pub address: u32,
    /// The number of the network (autonomous system).
    pub asn: u32,
    /// ISO 3166-1 alpha-2, upper case; zeros where it is not known.
    pub country: [u8; 2],
    /// The hash of the whole user agent.
    pub agent: u32,
    /// The hash of the browser's name and major version.
    pub browser: u16,
    /// The hash of the operating system's name and version.
    pub system: u16,
    /// The kind of device as its number; 0 where it is not known.
    pub class: u8,
    /// The hash of the names of browser and operating system without versions, and of the kind of
    /// device: the device, where the platform names none.
    pub family: u16,
    /// The hash of the platform's id of the device.
    pub device: u32,
    /// The place of the address.
    pub place: Option<Place>,
}

/// A place on Earth, in hundredths of a degree (1.1 km at most).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    latitude: i16,
    longitude: i16,
}

impl Features {
    /// With the features that follow from a user agent.
    pub(crate) fn with_agent(mut self, text: &str) -> Self {
        let agent = UserAgent::parse(text);
        self.agent = hash32(text.as_bytes());
        self.browser = named(&agent.browser_and_version());
        self.system = named(&agent.system_and_version());
        self.class = agent.class as u8;
        let family = format!("{}/{}/{}", agent.browser, agent.system, agent.class as u8);
        self.family =
            if agent.class == DeviceClass::Unknown { 0 } else { hash16(family.as_bytes()) };
        self
    }

    /// With this country, if it is a code of two letters.
    pub(crate) fn with_country(mut self, code: &str) -> Self {
        if let &[first, second] = code.as_bytes()
            && first.is_ascii_alphabetic()
            && second.is_ascii_alphabetic()
        {
            self.country = [first.to_ascii_uppercase(), second.to_ascii_uppercase()];
        }
        self
    }

    /// With the platform's id of the device.
    pub(crate) fn with_device(mut self, id: &str) -> Self {
        self.device = hash32(id.as_bytes());
        self
    }

    /// With everything that another reading of the same sign-in knows and this one does not.
    pub(crate) fn filled_from(mut self, other: &Self) -> Self {
        if self.asn == 0 {
            self.asn = other.asn;
        }
        if self.country == [0, 0] {
            self.country = other.country;
        }
        if self.agent == 0 {
            self.agent = other.agent;
            self.browser = other.browser;
            self.system = other.system;
            self.class = other.class;
            self.family = other.family;
        }
        if self.device == 0 {
            self.device = other.device;
        }
        self.place = self.place.or(other.place);
        if self.address == 0 {
            self.address = other.address;
        }
        self
    }

    /// Returns whether nothing is known.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Place {
    /// A place in degrees; `None` where it is not on Earth.
    pub(crate) fn from_degrees(latitude: f64, longitude: f64) -> Option<Self> {
        let valid = latitude.is_finite()
            && longitude.is_finite()
            && latitude.abs() <= 90.0
            && longitude.abs() <= 180.0;
        // Null island is what geolocation services send when they do not know.
        if !valid || (latitude == 0.0 && longitude == 0.0) {
            return None;
        }
        Some(Self { latitude: hundredths(latitude), longitude: hundredths(longitude) })
    }

    /// A place as the history stores it; `None` where it is not on Earth.
    pub(crate) fn from_hundredths(latitude: i16, longitude: i16) -> Option<Self> {
        let valid = latitude.unsigned_abs() <= 9_000 && longitude.unsigned_abs() <= 18_000;
        valid.then_some(Self { latitude, longitude })
    }

    /// Latitude and longitude in hundredths of a degree.
    pub(crate) fn hundredths(self) -> (i16, i16) {
        (self.latitude, self.longitude)
    }

    /// Latitude and longitude in degrees.
    pub(crate) fn degrees(self) -> (f64, f64) {
        (f64::from(self.latitude) / 100.0, f64::from(self.longitude) / 100.0)
    }
}

fn hundredths(degrees: f64) -> i16 {
    // Within ±18,000, so the conversion is exact.
    libm::round(degrees * 100.0) as i16
}

fn named(text: &str) -> u16 {
    if text.is_empty() { 0 } else { hash16(text.as_bytes()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_is_set() {
        let known = Features::default().with_country("at").with_device("dev-7");
        assert_eq!((known.country, known.asn, known.agent), (*b"AT", 0, 0));
        for wrong in ["", "A", "AUT", "A1", "Österreich", "United States"] {
            assert!(Features::default().with_country(wrong).is_empty(), "{wrong}");
        }
        let more = Features { asn: 7, place: Place::from_degrees(1.0, 2.0), ..Features::default() };
        let filled = known.filled_from(&more);
        assert_eq!((filled.asn, filled.country, filled.place), (7, *b"AT", more.place));
    }

    #[test]
    fn a_place_is_on_earth() {
        assert_eq!(Place::from_degrees(42.363, -71.006).unwrap().degrees(), (42.36, -71.01));
        for (latitude, longitude) in [(0.0, 0.0), (90.1, 0.0), (1.0, -180.5), (f64::NAN, 1.0)] {
            assert_eq!(Place::from_degrees(latitude, longitude), None);
        }
    }
}
