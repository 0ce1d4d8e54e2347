//! One sign-in, or one attempt, in the same form whichever platform tells of it.
//!
//! Invariant: what is not known is absent and raises no signal. Nothing here is a decision.

use std::net::IpAddr;

use portcullis_guest::{Attribute, Call, strings, text};

use crate::compiled::Compiled;
use crate::features::{Features, Place};
use crate::hash::{canonical, hash_address, hash64};
use crate::settings::Tables;
use crate::world::World;

/// A sign-in or an attempt.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attempt {
    /// Seconds since the Unix epoch.
    pub seconds: u32,
    pub features: Features,
    pub address: Option<IpAddr>,
    /// The platform's id of the device, for the table of workstations.
    pub device: Option<String>,
    /// The hash of the platform's id of the session.
    pub session: Option<u64>,
    pub platform_risk: PlatformRisk,
    /// The platform says that the address belongs to a proxy or anonymiser.
    pub is_proxy: bool,
    /// The platform says that this sign-in used a second factor.
    pub has_second_factor: bool,
    /// The session's event came from a device that the tables know as shared: token hooks do not
    /// name the device.
    pub is_shared_device: bool,
}

/// The platform's own risk. The numbers are stored with sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PlatformRisk {
    /// Not known, none or low.
    #[default]
    Low = 0,
    Medium = 1,
    High = 2,
}

/// The tables' knowledge of an attempt's origin.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// The address is the hospital's own, or its VDI's or VPN's; or the device is shared. Then no
    /// signal about device, place and source is raised.
    pub is_shared_origin: bool,
    /// The device is shared.
    pub is_shared_device: bool,
    pub is_on_shift: bool,
    /// The tables that are older than the release allows.
    pub stale: Vec<String>,
}

impl Attempt {
    /// Reads a call of a hook that decides.
    pub(crate) fn from_call(call: &Call, compiled: &Compiled) -> Self {
        let mut attempt = Self { seconds: seconds(call.received), ..Self::default() };
        if let Some(origin) = &call.origin {
            attempt.set_address(origin.ip.as_deref());
            attempt.session = origin.session.as_deref().map(|id| hash64(id.as_bytes()));
            attempt.set_device(origin.device.as_deref());
            attempt.features.asn = origin.asn.unwrap_or(0);
            if let Some(country) = &origin.country {
                attempt.features = attempt.features.with_country(country);
            }
            attempt.set_agent(origin.user_agent.as_deref());
        }
        let Some(subject) = &call.subject else { return attempt };
        if let Some(risk) = &compiled.settings.platform_risk {
            let word = subject.text(&risk.attribute).unwrap_or_default();
            attempt.platform_risk = PlatformRisk::from_word(&word);
        }
        if let Some(second) = &compiled.settings.second_factor {
            let values = subject.attribute(&second.attribute).and_then(strings).unwrap_or_default();
            attempt.has_second_factor =
                values.iter().any(|value| second.values.iter().any(|wanted| wanted == value));
        }
        attempt
    }

    /// Sets the address, if the text is one.
    pub(crate) fn set_address(&mut self, text: Option<&str>) {
        self.address = text.and_then(|text| text.parse().ok()).map(canonical);
        self.features.address = self.address.map_or(0, hash_address);
    }

    /// Sets the device, if there is one.
    pub(crate) fn set_device(&mut self, id: Option<&str>) {
        self.device = id.filter(|id| !id.is_empty()).map(str::to_owned);
        if let Some(id) = &self.device {
            self.features = self.features.with_device(id);
        }
    }

    /// Sets the user agent, if there is one.
    pub(crate) fn set_agent(&mut self, text: Option<&str>) {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            self.features = self.features.with_agent(text);
        }
    }

    /// Adds the tables' knowledge of the address, the device and the subject's shifts.
    pub(crate) fn look_up(
        &mut self,
        compiled: &Compiled,
        subject: Option<&str>,
        world: &dyn World,
    ) -> Known {
        let mut known = Known::default();
        let Tables { networks, known_networks, workstations, shifts } = &compiled.settings.tables;
        let mut rows = |table: &Option<String>, key: Option<&str>| {
            let (Some(table), Some(key)) = (table, key) else { return Vec::new() };
            let found = world.lookup(table, key);
            if found.stale {
                known.stale.push(table.clone());
            }
            found.rows
        };
        let address = self.address.map(|address| address.to_string());
        if let Some(row) = rows(networks, address.as_deref()).first() {
            self.add_network(row);
        }
        let sites = rows(known_networks, address.as_deref());
        let workstations = rows(workstations, self.device.as_deref());
        let shifts = rows(shifts, subject);
        known.is_shared_device = self.is_shared_device || !workstations.is_empty();
        known.is_shared_origin = known.is_shared_device || !sites.is_empty();
        if known.is_shared_origin && !sites.first().is_some_and(|row| is_campus(row)) {
            // A gateway's place is not the person's. People on a campus are there.
            self.features.place = None;
        }
        let margin = u32::from(compiled.settings.hours.shift_margin_minutes) * 60;
        known.is_on_shift = shifts.iter().any(|row| is_on_shift(row, self.seconds, margin));
        known
    }

    /// Adds the columns of a row of the table of networks that the platform did not send.
    fn add_network(&mut self, row: &[Attribute]) {
        let column = |name: &str| {
            row.iter().find(|column| column.name == name).map(|column| column.value.as_str())
        };
        if self.features.asn == 0 {
            let asn = column("asn").and_then(number);
            self.features.asn = asn.filter(|asn| *asn >= 1.0).map_or(0, |asn| asn as u32);
        }
        if self.features.country == [0, 0]
            && let Some(country) = column("country").and_then(text)
        {
            self.features = self.features.with_country(&country);
        }
        if self.features.place.is_none() {
            let (latitude, longitude) = (column("latitude"), column("longitude"));
            self.features.place = latitude
                .and_then(number)
                .zip(longitude.and_then(number))
                .and_then(|(latitude, longitude)| Place::from_degrees(latitude, longitude));
        }
    }
}

impl PlatformRisk {
    /// Reads a platform's word: Okta's `LOW`, `MEDIUM`, `HIGH`; Entra's `none`, `low`, `medium`,
    /// `high`, `hidden`. A word that is not known is low.
    pub(crate) fn from_word(word: &str) -> Self {
        if word.eq_ignore_ascii_case("high") {
            Self::High
        } else if word.eq_ignore_ascii_case("medium") {
            Self::Medium
        } else {
            Self::Low
        }
    }

    /// Reads a stored number; one that is not known is low.
    pub(crate) fn from_number(number: u8) -> Self {
        match number {
            2 => Self::High,
            1 => Self::Medium,
            _ => Self::Low,
        }
    }
}

/// Milliseconds as seconds, within what 32 bits hold (until 2106).
pub(crate) fn seconds(millis: u64) -> u32 {
    u32::try_from(millis / 1_000).unwrap_or(u32::MAX)
}

/// An RFC 3339 time as seconds.
pub(crate) fn parse_time(text: &str) -> Option<u32> {
    let time: jiff::Timestamp = text.parse().ok()?;
    u32::try_from(time.as_second()).ok()
}

/// A JSON number, or one in a string: tables from CSV have only text.
fn number(json: &str) -> Option<f64> {
    let text = text(json).unwrap_or_else(|| json.trim().into());
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// Whether the people at the addresses of a known network are in its place themselves.
fn is_campus(row: &[Attribute]) -> bool {
    let kind = row.iter().find(|column| column.name == "kind");
    kind.and_then(|kind| text(&kind.value)).is_some_and(|kind| kind == CAMPUS)
}

fn is_on_shift(row: &[Attribute], seconds: u32, margin: u32) -> bool {
    let time = |name: &str| {
        let column = row.iter().find(|column| column.name == name)?;
        parse_time(&text(&column.value)?)
    };
    time("from").zip(time("until")).is_some_and(|(from, until)| {
        seconds >= from.saturating_sub(margin) && seconds < until.saturating_add(margin)
    })
}

/// The kind of known networks whose addresses are where their people are; VPN and VDI are not.
const CAMPUS: &str = "campus";
