//! Okta System Log events, as the hook `okta.event` delivers them, in the form of `events.rs`.
//!
//! Invariant: an event type that is not listed here, or that has no time, changes nothing. The
//! subject is the event's actor; an actor that is no user has no memory of a person.

use portcullis_guest::{Call, PrincipalKind, text};
use serde_json::Value;

use crate::attempt::{Attempt, PlatformRisk, parse_time};
use crate::compiled::Compiled;
use crate::events::{Event, Kind};
use crate::features::Place;

/// Reads an event; `None` where it says nothing about risk.
pub(crate) fn parse(call: &Call, compiled: &Compiled) -> Option<Event> {
    let action = call.action.as_ref()?;
    let attribute = |name: &str| action.attribute(name).and_then(text).unwrap_or_default();
    let kind = kind(&action.type_name, &attribute("result"))?;
    let mut attempt = Attempt::from_call(call, compiled);
    attempt.seconds = parse_time(&attribute("published"))?;
    let payload: Value = serde_json::from_str(&call.payload).unwrap_or_default();
    add_payload(&mut attempt, &payload);
    let subject = call.subject.as_ref();
    let is_user = |id: &&str| !id.is_empty() && *id != UNKNOWN_ACTOR;
    let id = subject.and_then(|it| it.id.as_deref()).filter(is_user);
    let has_subject = id.is_some() && subject.is_some_and(|it| it.kind == PrincipalKind::Person);
    let name = subject.and_then(|it| it.text("alternateId")).unwrap_or_default();
    let person = id.map_or_else(|| name.into_owned(), str::to_owned);
    Some(Event { id: call.id.clone(), kind, person, has_subject, attempt })
}

/// The meaning of an event type and its outcome.
fn kind(event_type: &str, result: &str) -> Option<Kind> {
    let is_success = result == "SUCCESS" || result == "ALLOW";
    let is_failure = result == "FAILURE" || result == "DENY";
    match event_type {
        "user.session.start" | "user.authentication.sso" if is_success => Some(Kind::SignedIn),
        "user.authentication.auth_via_mfa" | "user.authentication.verify" if is_success => {
            Some(Kind::SecondFactor)
        }
        "user.session.start"
        | "user.authentication.auth_via_mfa"
        | "user.authentication.verify"
            if is_failure =>
        {
            Some(Kind::Failed)
        }
        "user.mfa.okta_verify.deny_push" => Some(Kind::PushDenied),
        "user.account.lock" => Some(Kind::LockedOut),
        "security.threat.detected" => Some(Kind::Threat),
        _ => None,
    }
}

/// Adds the parts that only the event's own text has: the place, the proxy, Okta's risk, and the
/// country where Okta spells it out.
fn add_payload(attempt: &mut Attempt, payload: &Value) {
    let place = payload.pointer("/client/geographicalContext/geolocation");
    let degree = |name: &str| place.and_then(|place| place.get(name)).and_then(Value::as_f64);
    if let (Some(latitude), Some(longitude)) = (degree("lat"), degree("lon")) {
        attempt.features.place = Place::from_degrees(latitude, longitude);
    }
    attempt.is_proxy =
        payload.pointer("/securityContext/isProxy").and_then(Value::as_bool).unwrap_or(false);
    if let Some(risk) = payload.pointer("/debugContext/debugData/risk").and_then(Value::as_str) {
        attempt.platform_risk = attempt.platform_risk.max(risk_level(risk));
    }
    if attempt.features.country == [0, 0]
        && let Some(name) = payload.pointer("/client/geographicalContext/country")
        && let Some(code) = name.as_str().and_then(country_code)
    {
        attempt.features = attempt.features.with_country(code);
    }
}

/// `{reasons=…, level=HIGH}`, as Okta writes it, or the level alone.
fn risk_level(text: &str) -> PlatformRisk {
    let level = text.split_once("level=").map_or(text, |(_, rest)| rest);
    let end = level.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(level.len());
    PlatformRisk::from_word(level.get(..end).unwrap_or_default())
}

/// The code of a country by the name that Okta writes. A country that is not listed is not known;
/// the table of networks then has it, if there is one.
fn country_code(name: &str) -> Option<&'static str> {
    COUNTRIES.iter().find(|(known, _)| *known == name).map(|(_, code)| *code)
}

/// An actor that Okta could not identify.
const UNKNOWN_ACTOR: &str = "unknown";

/// The countries with most of the internet's users and most of the attacks, by Okta's names.
const COUNTRIES: &[(&str, &str)] = &[
    ("Argentina", "AR"),
    ("Australia", "AU"),
    ("Austria", "AT"),
    ("Bangladesh", "BD"),
    ("Belarus", "BY"),
    ("Belgium", "BE"),
    ("Brazil", "BR"),
    ("Bulgaria", "BG"),
    ("Canada", "CA"),
    ("Chile", "CL"),
    ("China", "CN"),
    ("Colombia", "CO"),
    ("Croatia", "HR"),
    ("Czechia", "CZ"),
    ("Denmark", "DK"),
    ("Egypt", "EG"),
    ("Finland", "FI"),
    ("France", "FR"),
    ("Germany", "DE"),
    ("Greece", "GR"),
    ("Hong Kong", "HK"),
    ("Hungary", "HU"),
    ("India", "IN"),
    ("Indonesia", "ID"),
    ("Iran", "IR"),
    ("Ireland", "IE"),
    ("Israel", "IL"),
    ("Italy", "IT"),
    ("Japan", "JP"),
    ("Kenya", "KE"),
    ("Malaysia", "MY"),
    ("Mexico", "MX"),
    ("Morocco", "MA"),
    ("Netherlands", "NL"),
    ("New Zealand", "NZ"),
    ("Nigeria", "NG"),
    ("North Korea", "KP"),
    ("Norway", "NO"),
    ("Pakistan", "PK"),
    ("Philippines", "PH"),
    ("Poland", "PL"),
    ("Portugal", "PT"),
    ("Romania", "RO"),
    ("Russia", "RU"),
    ("Saudi Arabia", "SA"),
    ("Serbia", "RS"),
    ("Singapore", "SG"),
    ("Slovakia", "SK"),
    ("Slovenia", "SI"),
    ("South Africa", "ZA"),
    ("South Korea", "KR"),
    ("Spain", "ES"),
    ("Sweden", "SE"),
    ("Switzerland", "CH"),
    ("Taiwan", "TW"),
    ("Thailand", "TH"),
    ("Turkey", "TR"),
    ("Ukraine", "UA"),
    ("United Arab Emirates", "AE"),
    ("United Kingdom", "GB"),
    ("United States", "US"),
    ("Vietnam", "VN"),
];
