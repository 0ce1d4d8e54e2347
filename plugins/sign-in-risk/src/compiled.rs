//! The settings, prepared for calls: the time zone is looked up and the model loaded, once.
//!
//! Invariant: settings that compile can be used for every call. All problems are told at once, each
//! by its path.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use portcullis_guest::Problems;

use crate::history::Burst;
use crate::model::Model;
use crate::settings::{ModelMode, Settings};

/// The settings, prepared for calls.
pub(crate) struct Compiled {
    pub settings: Settings,
    pub zone: TimeZone,
    /// `None` where the model does not count.
    pub model: Option<Model>,
}

impl Compiled {
    /// Checks and prepares settings.
    ///
    /// # Errors
    /// One sentence for each problem.
    pub(crate) fn new(settings: Settings) -> Result<Self, Vec<String>> {
        let mut problems = Problems::default();
        let zone = TimeZoneDatabase::bundled().get(&settings.zone).unwrap_or_else(|_| {
            problems.at("zone", format_args!("is no IANA time zone: `{}`", settings.zone));
            TimeZone::UTC
        });
        check_ranges(&settings, &mut problems);
        check_bands(&settings, &mut problems);
        check_names(&settings, &mut problems);
        let model = model(&settings, &mut problems);
        problems.or(Self { settings, zone, model })
    }

    /// The local hour of the day and the minutes after it, of a time in seconds.
    pub(crate) fn hour(&self, seconds: u32) -> (usize, u32) {
        let Ok(time) = Timestamp::from_second(i64::from(seconds)) else { return (0, 0) };
        let local = self.zone.to_datetime(time);
        let number = |value: i8| u8::try_from(value).unwrap_or(0);
        (usize::from(number(local.hour())), u32::from(number(local.minute())))
    }

    /// The burst of denied pushes that counts as bombing.
    pub(crate) fn burst(&self) -> Burst {
        let attacks = &self.settings.attacks;
        Burst {
            count: usize::from(attacks.denied_pushes),
            within_seconds: u32::from(attacks.denied_pushes_minutes) * 60,
            remembered_seconds: self.attack_seconds(),
        }
    }

    /// For how many seconds an attack is remembered.
    pub(crate) fn attack_seconds(&self) -> u32 {
        u32::from(self.settings.attacks.remembered_hours) * 3_600
    }
}

/// Repeats the ranges of the schema: a plugin that runs without its schema must not overflow.
fn check_ranges(settings: &Settings, problems: &mut Problems) {
    let (learning, travel, hours) = (&settings.learning, &settings.travel, &settings.hours);
    let (attacks, bands) = (&settings.attacks, &settings.bands);
    let ranges = [
        (
            "target_reauthentication_percent",
            u16::from(settings.target_reauthentication_percent),
            1,
            50,
        ),
        ("second_factor_minutes", settings.second_factor_minutes, 1, 1_440),
        ("remember_days", settings.remember_days, 1, 365),
        ("bands.medium", bands.medium.into(), 1, 100),
        ("bands.lowest_medium", bands.lowest_medium.into(), 1, 100),
        ("bands.highest_medium", bands.highest_medium.into(), 1, 100),
        ("bands.high", bands.high.into(), 1, 100),
        ("learning.days", learning.days, 1, 90),
        ("learning.sign_ins", learning.sign_ins, 1, 100),
        ("learning.away_days", learning.away_days, 1, 365),
        ("travel.impossible_km", travel.impossible_km, 50, 20_000),
        ("travel.impossible_kmh", travel.impossible_kmh, 100, 20_000),
        ("travel.impossible_minutes", travel.impossible_minutes, 1, 1_440),
        ("travel.velocity_kmh", travel.velocity_kmh, 100, 20_000),
        ("travel.velocity_km", travel.velocity_km, 10, 1_000),
        ("hours.unusual_percent", hours.unusual_percent.into(), 1, 50),
        ("hours.sign_ins", hours.sign_ins, 1, 255),
        ("hours.shift_margin_minutes", hours.shift_margin_minutes, 0, 240),
        ("attacks.denied_pushes", attacks.denied_pushes.into(), 2, 8),
        ("attacks.denied_pushes_minutes", attacks.denied_pushes_minutes.into(), 1, 60),
        ("attacks.spraying_people", attacks.spraying_people, 2, 1_000),
        ("attacks.spraying_failures", attacks.spraying_failures, 2, 10_000),
        ("attacks.spraying_minutes", attacks.spraying_minutes.into(), 1, 60),
        ("attacks.stuffing_people", attacks.stuffing_people, 2, 1_000),
        ("attacks.stuffing_failures", attacks.stuffing_failures, 2, 10_000),
        ("attacks.brute_force_addresses", attacks.brute_force_addresses, 2, 1_000),
        ("attacks.brute_force_failures", attacks.brute_force_failures, 2, 10_000),
        ("attacks.remembered_hours", attacks.remembered_hours.into(), 1, 48),
    ];
    for (path, value, least, most) in ranges {
        if !(least..=most).contains(&value) {
            problems.at(path, format_args!("is not within {least} and {most}"));
        }
    }
    let points = &settings.points;
    for (path, value) in [
        ("likelihood", points.likelihood),
        ("likelihood_most", points.likelihood_most),
        ("new_device", points.new_device),
        ("new_network", points.new_network),
        ("new_country", points.new_country),
        ("unusual_hour", points.unusual_hour),
        ("novelty_most", points.novelty_most),
        ("impossible_travel", points.impossible_travel),
        ("velocity", points.velocity),
        ("push_bombing", points.push_bombing),
        ("brute_force", points.brute_force),
        ("locked_out", points.locked_out),
        ("spraying", points.spraying),
        ("stuffing", points.stuffing),
        ("threat", points.threat),
        ("proxy", points.proxy),
        ("success_after_attack", points.success_after_attack),
        ("attacks_most", points.attacks_most),
        ("platform_medium", points.platform_medium),
        ("platform_high", points.platform_high),
        ("model_most", points.model_most),
    ] {
        if value > 100 {
            problems.at(format_args!("points.{path}"), "is above 100");
        }
    }
}

fn check_bands(settings: &Settings, problems: &mut Problems) {
    let bands = &settings.bands;
    if !(bands.lowest_medium..=bands.highest_medium).contains(&bands.medium) {
        problems.at("bands.medium", "is not within `lowest_medium` and `highest_medium`");
    }
    if bands.highest_medium >= bands.high {
        problems.at("bands.high", "is not above `highest_medium`: the band medium would be empty");
    }
}

fn check_names(settings: &Settings, problems: &mut Problems) {
    let tables = &settings.tables;
    for (path, name) in [
        ("tables.networks", &tables.networks),
        ("tables.known_networks", &tables.known_networks),
        ("tables.workstations", &tables.workstations),
        ("tables.shifts", &tables.shifts),
    ] {
        if name.as_ref().is_some_and(String::is_empty) {
            problems.at(path, "is empty; leave it out to read no such table");
        }
    }
    if settings.platform_risk.as_ref().is_some_and(|it| it.attribute.is_empty()) {
        problems.at("platform_risk.attribute", "is empty");
    }
    if let Some(second) = &settings.second_factor {
        if second.attribute.is_empty() {
            problems.at("second_factor.attribute", "is empty");
        }
        if second.values.is_empty() || second.values.iter().any(String::is_empty) {
            problems.at("second_factor.values", "has no value, or an empty one");
        }
    }
}

fn model(settings: &Settings, problems: &mut Problems) -> Option<Model> {
    let own;
    let table = match &settings.model.table {
        None => BUILT_IN,
        Some(text) => match STANDARD.decode(text) {
            Ok(bytes) => {
                own = bytes;
                own.as_slice()
            }
            Err(_) => {
                problems.at("model.table", "is not base64");
                return None;
            }
        },
    };
    let model = match Model::load(table) {
        Ok(model) => model,
        Err(error) => {
            problems.at("model.table", format_args!("is no model: {error}"));
            return None;
        }
    };
    (settings.model.mode == ModelMode::Points).then_some(model)
}

/// The model that `training/train.py` made.
const BUILT_IN: &[u8] = include_bytes!("model.bin");
