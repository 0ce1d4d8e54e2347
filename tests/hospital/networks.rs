//! The networks, places and browsers from which people, and attackers, sign in.
//!
//! Invariant: no address is one of the public Internet (RFC 1918, RFC 5737, and 240.0.0.0/4).
//! Places are real cities, as a table of addresses (GeoIP) would have them.

use portcullis_tests::Origin;

use super::dice::Dice;

/// A network: the first two numbers of its addresses, and what tables say of it.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    pub prefix: (u8, u8),
    pub asn: u32,
    pub country: Country,
    pub place: (f64, f64),
}

/// A country as Okta spells it, and its code.
#[derive(Clone, Copy, Debug)]
pub struct Country(pub &'static str, pub &'static str);

const US: Country = Country("United States", "US");
const BOSTON: (f64, f64) = (42.36, -71.06);

const fn network(first: u8, second: u8, asn: u32, country: Country, place: (f64, f64)) -> Network {
    Network { prefix: (first, second), asn, country, place }
}

/// Providers of homes around the hospital.
pub const HOMES: [Network; 6] = [
    network(10, 1, 65_001, US, BOSTON),
    network(10, 2, 65_002, US, (42.27, -71.80)),
    network(10, 3, 65_003, US, (42.64, -71.31)),
    network(10, 4, 65_004, US, (42.06, -71.25)),
    network(10, 5, 65_005, US, (42.47, -70.95)),
    network(10, 6, 65_006, US, (41.82, -71.42)),
];

/// Mobile carriers. Their gateways are not where their customers are: each has three.
pub const CARRIERS: [[Network; 3]; 3] = [
    [
        network(10, 51, 65_051, US, BOSTON),
        network(10, 52, 65_051, US, (40.71, -74.01)),
        network(10, 53, 65_051, US, (42.65, -73.75)),
    ],
    [
        network(10, 54, 65_054, US, BOSTON),
        network(10, 55, 65_054, US, (39.95, -75.17)),
        network(10, 56, 65_054, US, (41.76, -72.67)),
    ],
    [
        network(10, 57, 65_057, US, (42.99, -71.46)),
        network(10, 58, 65_057, US, BOSTON),
        network(10, 59, 65_057, US, (40.71, -74.01)),
    ],
];

/// Hotels and conference centres; the first ten are in the country.
pub const HOTELS: [Network; 14] = [
    network(10, 101, 65_101, US, (41.88, -87.63)),
    network(10, 102, 65_102, US, (33.75, -84.39)),
    network(10, 103, 65_103, US, (39.74, -104.99)),
    network(10, 104, 65_104, US, (37.77, -122.42)),
    network(10, 105, 65_105, US, (29.76, -95.37)),
    network(10, 106, 65_101, US, (28.54, -81.38)),
    network(10, 107, 65_102, US, (38.91, -77.04)),
    network(10, 108, 65_103, US, (36.17, -115.14)),
    network(10, 109, 65_101, US, (32.72, -117.16)),
    network(10, 110, 65_104, US, (47.61, -122.33)),
    network(10, 111, 65_111, Country("Canada", "CA"), (43.65, -79.38)),
    network(10, 112, 65_112, Country("United Kingdom", "GB"), (51.51, -0.13)),
    network(10, 113, 65_113, Country("Germany", "DE"), (52.52, 13.40)),
    network(10, 114, 65_114, Country("Spain", "ES"), (41.39, 2.17)),
];

/// A carrier's network around a hotel of the country. Abroad telephones roam, and their traffic
/// leaves through the gateways at home.
pub fn roaming(carrier: usize, hotel: usize) -> Option<Network> {
    if HOTELS[hotel].country.1 != US.1 {
        return None;
    }
    let second = u8::try_from(150 + hotel * CARRIERS.len() + carrier).ok()?;
    Some(Network { prefix: (10, second), place: HOTELS[hotel].place, ..CARRIERS[carrier][0] })
}

/// Hosting providers and VPN exits, from which attackers come; the first five are in the country.
pub const HOSTING: [Network; 12] = [
    network(240, 1, 64_901, US, (39.04, -77.49)),
    network(240, 2, 64_902, US, (32.78, -96.80)),
    network(240, 3, 64_903, US, (34.05, -118.24)),
    network(240, 4, 64_904, US, (25.76, -80.19)),
    network(240, 5, 64_905, US, (45.52, -122.68)),
    network(240, 6, 64_906, Country("Russia", "RU"), (55.75, 37.62)),
    network(240, 7, 64_907, Country("Netherlands", "NL"), (52.37, 4.90)),
    network(240, 8, 64_908, Country("Nigeria", "NG"), (6.52, 3.38)),
    network(240, 9, 64_909, Country("Brazil", "BR"), (-23.55, -46.63)),
    network(240, 10, 64_910, Country("Vietnam", "VN"), (21.03, 105.85)),
    network(240, 11, 64_911, Country("Romania", "RO"), (44.43, 26.10)),
    network(240, 12, 64_912, Country("India", "IN"), (19.08, 72.88)),
];

/// The hospital's egress addresses, its VDI's the last one.
pub const CAMPUS: [&str; 3] = ["192.0.2.44", "192.0.2.45", "192.0.2.60"];

impl Network {
    /// An address of the network.
    pub fn address(&self, host: i64) -> String {
        let (first, second) = self.prefix;
        format!("{first}.{second}.{}.{}", (host >> 8) & 0xff, host & 0xff)
    }

    /// A sign-in from an address of the network. The platform's own geolocation differs from the
    /// table's by up to 30 km.
    pub fn origin(&self, host: i64, agent: &str, device: Option<&str>, dice: &mut Dice) -> Origin {
        let mut near = |degrees: f64| degrees + dice.between(-20, 21) as f64 / 100.0;
        Origin {
            ip: self.address(host),
            agent: agent.to_owned(),
            device: device.map(str::to_owned),
            asn: self.asn,
            country: self.country.0.to_owned(),
            place: (near(self.place.0), near(self.place.1)),
        }
    }
}

/// A sign-in on the campus.
pub fn campus(ip: &str, agent: &str, device: Option<&str>) -> Origin {
    Origin {
        ip: ip.to_owned(),
        agent: agent.to_owned(),
        device: device.map(str::to_owned),
        asn: 64_500,
        country: US.0.to_owned(),
        place: (42.34, -71.10),
    }
}

/// The rows of the table `networks`.
pub fn network_rows() -> String {
    let away = (0..HOTELS.len())
        .flat_map(|hotel| (0..CARRIERS.len()).filter_map(move |carrier| roaming(carrier, hotel)));
    let fixed = HOMES.iter().chain(CARRIERS.as_flattened()).chain(&HOTELS).chain(&HOSTING);
    let all = fixed.copied().chain(away);
    let mut rows = String::from("192.0.2.0/24,64500,US,42.34,-71.10\n");
    for Network { prefix: (first, second), asn, country, place } in all {
        rows.push_str(&format!(
            "{first}.{second}.0.0/16,{asn},{},{},{}\n",
            country.1, place.0, place.1
        ));
    }
    rows
}

/// The great-circle distance in kilometres (spherical law of cosines).
pub fn kilometres(from: (f64, f64), to: (f64, f64)) -> f64 {
    let (a, b) = (from.0.to_radians(), to.0.to_radians());
    let turn = (to.1 - from.1).to_radians();
    6_371.0 * (a.sin() * b.sin() + a.cos() * b.cos() * turn.cos()).clamp(-1.0, 1.0).acos()
}

/// A kind of browser. Its version is that of the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Browser {
    /// Edge on the hospital's Windows computers; all are updated on the same day.
    Managed,
    Chrome,
    Mac,
    IPhone,
    Android,
    /// Rarely used by staff; common among attackers.
    LinuxFirefox,
}

impl Browser {
    /// The user agent on a day. People update some days after a release (`lag`).
    pub fn agent(self, day: i64, lag: i64) -> String {
        let since = (day - lag).max(0);
        // Chromium has a new version every four weeks, Safari one every six.
        let chromium = 130 + (since + 20) / 28;
        let safari = 1 + (since + 25) / 42;
        match self {
            Self::Managed => {
                let edge = 130 + (day + 17) / 28;
                format!(
                    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{edge}.0.0.0 Safari/537.36 Edg/{edge}.0.0.0"
                )
            }
            Self::Chrome => format!(
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{chromium}.0.0.0 Safari/537.36"
            ),
            Self::Mac => format!(
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.{safari} Safari/605.1.15"
            ),
            Self::IPhone => format!(
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_{safari} like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.{safari} Mobile/15E148 Safari/604.1"
            ),
            Self::Android => format!(
                "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{chromium}.0.0.0 Mobile Safari/537.36"
            ),
            Self::LinuxFirefox => {
                "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0".to_owned()
            }
        }
    }
}
