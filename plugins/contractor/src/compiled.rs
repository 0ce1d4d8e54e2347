//! From settings to what a call needs. Time zones are looked up here, once.
//!
//! Invariant: whatever compiles can be judged. Everything that does not hold is told, each by its path.

use std::collections::BTreeMap;

use jiff::tz::{TimeZone, TimeZoneDatabase};
use portcullis_guest::{Problems, Target};

use crate::settings::{AppliesTo, Item, Kind, Place, Settings, Sponsor};

/// The settings, prepared for calls.
pub(crate) struct Compiled {
    pub applies_to: AppliesTo,
    pub items: BTreeMap<Kind, Item>,
    pub zone: TimeZone,
    /// The attribute that names the facility, and the zone of each.
    pub zones: Option<(String, BTreeMap<String, TimeZone>)>,
    pub sponsor: Option<Sponsor>,
    pub clock_skew_seconds: u32,
    pub longest_seconds: Option<u32>,
    /// Ascending.
    pub warn_days: Vec<u16>,
    pub access_end: Vec<(Target, String)>,
}

/// Compiles settings.
pub(crate) fn compile(settings: Settings) -> Result<Compiled, Vec<String>> {
    let mut problems = Problems::default();
    check_people(&settings, &mut problems);
    for (kind, item) in &settings.items {
        if item.attribute.is_empty() {
            problems.at(format_args!("items.{}.attribute", kind.name()), "is empty");
        }
    }
    if !settings.items.values().any(|item| item.mandatory) {
        problems.at("items", "has nothing mandatory: without an end, access would never end");
    }
    if settings.clock_skew_seconds > MAX_SKEW {
        problems.at("clock_skew_seconds", format_args!("is above {MAX_SKEW}"));
    }
    if settings.longest_seconds.is_some_and(|seconds| seconds < MIN_LONGEST) {
        problems.at("longest_seconds", format_args!("is below {MIN_LONGEST}"));
    }
    let mut access_end = Vec::new();
    for (place, path) in settings.access_end {
        if path.strip_prefix('/').is_none_or(str::is_empty) {
            problems.at(
                format_args!("access_end.{}", place.target().name()),
                "is no JSON Pointer to a member, such as `/claims/accessEnd`",
            );
        }
        access_end.push((place.target(), path));
    }
    let zone = zone("zone", &settings.zone, &mut problems);
    let zones = settings.zones.map(|zones| {
        if zones.attribute.is_empty() {
            problems.at("zones.attribute", "is empty");
        }
        let by_value = zones.by_value.into_iter().map(|(value, name)| {
            let zone = self::zone(&format!("zones.by_value.{value}"), &name, &mut problems);
            (value, zone)
        });
        (zones.attribute, by_value.collect())
    });
    let mut warn_days = settings.warn_days;
    warn_days.sort_unstable();
    problems.or(Compiled {
        applies_to: settings.applies_to,
        items: settings.items,
        zone,
        zones,
        sponsor: settings.sponsor,
        clock_skew_seconds: settings.clock_skew_seconds,
        longest_seconds: settings.longest_seconds,
        warn_days,
        access_end,
    })
}

impl Place {
    pub fn target(self) -> Target {
        match self {
            Self::IdToken => Target::IdToken,
            Self::AccessToken => Target::AccessToken,
            Self::Assertion => Target::Assertion,
            Self::User => Target::User,
            Self::AppUser => Target::AppUser,
        }
    }
}

fn check_people(settings: &Settings, problems: &mut Problems) {
    if settings.applies_to.attribute.is_empty() {
        problems.at("applies_to.attribute", "is empty");
    }
    if settings.applies_to.values.is_empty() {
        problems.at("applies_to.values", "is empty: the plugin would be about nobody");
    }
    let Some(sponsor) = &settings.sponsor else { return };
    if sponsor.attribute.is_empty() {
        problems.at("sponsor.attribute", "is empty");
    }
    if sponsor.status_attribute.is_some() == sponsor.active.is_empty() {
        problems.at("sponsor.active", "and `status_attribute` belong together: both or neither");
    }
}

fn zone(path: &str, name: &str, problems: &mut Problems) -> TimeZone {
    TimeZoneDatabase::bundled().get(name).unwrap_or_else(|_| {
        problems.at(path, format_args!("is no IANA time zone: `{name}`"));
        TimeZone::UTC
    })
}

/// A clock that is off by more than ten minutes is not skewed but wrong.
const MAX_SKEW: u32 = 600;

/// No platform issues anything that lives for less.
const MIN_LONGEST: u32 = 60;
