//! From settings to what a call needs. Time zones are looked up here, once.
//!
//! Invariant: whatever compiles can be judged. Everything that does not hold is told, each by its path.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use portcullis_guest::{Call, Problems, Target};

use crate::settings::{
    AppliesTo, Item, Kind, Place, Settings, Sponsor, Tables, WhenMissing, default_self_attributes,
};

/// The settings, prepared for calls.
pub(crate) struct Compiled {
    pub applies_to: AppliesTo,
    pub tables: Tables,
    pub items: BTreeMap<Kind, Item>,
    pub zone: TimeZone,
    /// The attribute that names the facility, if any.
    pub facility: Option<String>,
    /// The zone of each facility.
    pub zones: BTreeMap<String, TimeZone>,
    pub sponsor: Option<Sponsor>,
    /// Attributes that name the subject.
    pub self_attributes: Vec<String>,
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
    check_tables(&settings, &mut problems);
    for (kind, item) in &settings.items {
        check_item(*kind, item, &settings.tables, &mut problems);
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
    let (mut facility, mut zones) = (None, BTreeMap::new());
    if let Some(given) = settings.zones {
        match &given.attribute {
            Some(attribute) if attribute.is_empty() => problems.at("zones.attribute", "is empty"),
            None if settings.tables.register.is_none() => {
                problems.at("zones.attribute", "is missing, and `tables.register` too");
            }
            _ => {}
        }
        facility = given.attribute;
        for (value, name) in given.by_value {
            let zone = self::zone(&format!("zones.by_value.{value}"), &name, &mut problems);
            zones.insert(value, zone);
        }
    }
    let self_attributes = match &settings.sponsor {
        Some(sponsor) => sponsor.self_attributes.clone(),
        None => default_self_attributes(),
    };
    let mut warn_days = settings.warn_days;
    warn_days.sort_unstable();
    problems.or(Compiled {
        applies_to: settings.applies_to,
        tables: settings.tables,
        items: settings.items,
        zone,
        facility,
        zones,
        sponsor: settings.sponsor,
        self_attributes,
        clock_skew_seconds: settings.clock_skew_seconds,
        longest_seconds: settings.longest_seconds,
        warn_days,
        access_end,
    })
}

impl Compiled {
    /// The time from the call to a moment, in milliseconds, less the clock skew.
    pub fn left_millis(&self, call: &Call, moment: Timestamp) -> i64 {
        let skew = i64::from(self.clock_skew_seconds).saturating_mul(1000);
        let now = i64::try_from(call.received).unwrap_or(i64::MAX);
        moment.as_millisecond().saturating_sub(skew).saturating_sub(now)
    }
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
    match &sponsor.attribute {
        Some(attribute) if attribute.is_empty() => problems.at("sponsor.attribute", "is empty"),
        None if settings.tables.register.is_none() => {
            problems.at("sponsor.attribute", "is missing, and `tables.register` too");
        }
        _ => {}
    }
    let has_roster = settings.tables.roster.is_some();
    if !has_roster && sponsor.status_attribute.is_some() == sponsor.active.is_empty() {
        problems.at("sponsor.active", "and `status_attribute` belong together: both or neither");
    }
    if has_roster && sponsor.active.is_empty() {
        problems.at("sponsor.active", "is empty, but `tables.roster` needs it");
    }
}

fn check_tables(settings: &Settings, problems: &mut Problems) {
    let Tables { register, training, licences, roster } = &settings.tables;
    let named = [
        ("register", register),
        ("training", training),
        ("licences", licences),
        ("roster", roster),
    ];
    for (table, name) in named {
        if name.as_deref().is_some_and(str::is_empty) {
            problems.at(format_args!("tables.{table}"), "is empty");
        }
    }
    if roster.is_some() && settings.sponsor.is_none() {
        problems.at("tables.roster", "needs `sponsor`, which says what it is looked up for");
    }
    if matches!(settings.applies_to.when_missing, WhenMissing::Register) && register.is_none() {
        problems.at("applies_to.when_missing", "is `register`, but `tables.register` is missing");
    }
}

fn check_item(kind: Kind, item: &Item, tables: &Tables, problems: &mut Problems) {
    let proofs = match kind {
        Kind::Training => Some(("training", &tables.training)),
        Kind::Licence => Some(("licences", &tables.licences)),
        _ => None,
    };
    let has_proofs = proofs.is_some_and(|(_, table)| table.is_some());
    let path = |member| format!("items.{}.{member}", kind.name());
    match &item.attribute {
        Some(attribute) if attribute.is_empty() => problems.at(path("attribute"), "is empty"),
        None if tables.register.is_none() && !has_proofs => {
            problems.at(path("attribute"), "is missing, and no table of `tables` has this item");
        }
        _ => {}
    }
    if item.required.iter().any(|name| name.trim().is_empty()) {
        problems.at(path("required"), "has an empty name");
    }
    if !item.required.is_empty() && !has_proofs {
        match proofs {
            Some((table, _)) => {
                problems.at(path("required"), format_args!("needs `tables.{table}`"));
            }
            None => problems.at(path("required"), "is for `training` and `licence` only"),
        }
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
