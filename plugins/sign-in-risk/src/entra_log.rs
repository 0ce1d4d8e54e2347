//! Rows of Entra's sign-in log (Microsoft Graph `signIn`), in the form of `events.rs`.
//!
//! No hook of Entra tells of failures or of second factors; its log does, minutes to hours later.
//! The hook `entra.sign-in-log` takes its rows, each a call whose payload is the row.
//!
//! Invariant: a row without a time, and one whose error is neither a failure of the person
//! nor listed here (a conditional access policy, an outage), changes nothing.

use portcullis_guest::Call;
use serde_json::Value;

use crate::attempt::{Attempt, PlatformRisk, parse_time};
use crate::events::{Event, Kind};
use crate::features::Place;

/// Reads the row of a call. The host's subject is the row's user, whose memory is at hand.
pub(crate) fn parse_call(call: &Call) -> Option<Event> {
    let row: Value = serde_json::from_str(&call.payload).ok()?;
    let subject = call.subject.as_ref().and_then(|it| it.id.as_deref());
    let event = parse(&row)?;
    Some(Event { id: call.id.clone(), has_subject: subject.is_some(), ..event })
}

/// Reads a row; `None` where it says nothing about risk.
pub(crate) fn parse(row: &Value) -> Option<Event> {
    let text = |pointer: &str| {
        row.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty())
    };
    let kind = kind(row)?;
    let mut attempt =
        Attempt { seconds: parse_time(text("/createdDateTime")?)?, ..Attempt::default() };
    attempt.set_address(text("/ipAddress"));
    attempt.set_agent(text("/userAgent"));
    attempt.set_device(text("/deviceDetail/deviceId"));
    // Graph's name of the session in the beta version; rows of one sign-in share it.
    attempt.session = text("/sessionId").map(|id| crate::hash::hash64(id.as_bytes()));
    if let Some(country) = text("/location/countryOrRegion") {
        attempt.features = attempt.features.with_country(country);
    }
    let number = |pointer: &str| row.pointer(pointer).and_then(Value::as_f64);
    attempt.features.asn = row
        .pointer("/autonomousSystemNumber")
        .and_then(Value::as_u64)
        .and_then(|asn| u32::try_from(asn).ok())
        .unwrap_or(0);
    attempt.features.place = number("/location/geoCoordinates/latitude")
        .zip(number("/location/geoCoordinates/longitude"))
        .and_then(|(latitude, longitude)| Place::from_degrees(latitude, longitude));
    attempt.platform_risk =
        PlatformRisk::from_word(text("/riskLevelDuringSignIn").unwrap_or_default());
    let person = text("/userId").or_else(|| text("/userPrincipalName")).unwrap_or_default();
    let has_subject = text("/userId").is_some();
    let id = text("/id").unwrap_or_default();
    Some(Event { id: id.to_owned(), kind, person: person.to_owned(), has_subject, attempt })
}

/// Microsoft Entra authentication and authorization error codes (AADSTS).
fn kind(row: &Value) -> Option<Kind> {
    let code = row.pointer("/status/errorCode").and_then(Value::as_i64)?;
    let details = row.pointer("/status/additionalDetails").and_then(Value::as_str);
    match code {
        0 => {
            let demand = row.pointer("/authenticationRequirement").and_then(Value::as_str);
            let second = demand == Some("multiFactorAuthentication");
            Some(if second { Kind::SecondFactor } else { Kind::SignedIn })
        }
        // A wrong password; a wrong user name; a wrong on-premises password.
        50_126 | 50_034 | 50_055 | 80_012 => Some(Kind::Failed),
        // The second factor failed; "declined" is a denied push.
        500_121 => {
            let is_denied = details.is_some_and(|text| text.contains("declined"));
            Some(if is_denied { Kind::PushDenied } else { Kind::Failed })
        }
        50_053 => Some(Kind::LockedOut),
        _ => None,
    }
}
