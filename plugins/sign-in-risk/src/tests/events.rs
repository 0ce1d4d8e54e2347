//! The reading of events: Okta's and Entra's shapes.

use super::*;
use crate::entra_log;
use crate::events::{Event, Kind};
use crate::okta_event;

fn compiled() -> crate::compiled::Compiled {
    crate::compiled::Compiled::new(Settings::default()).unwrap()
}

fn parse(kind: &str, result: &str) -> Option<Event> {
    okta_event::parse(&event("e1", kind, result, "00u1lee", MONDAY, &WARD), &compiled())
}

#[test]
fn okta_events_that_speak_about_risk_are_read() {
    for (kind, result, expected) in [
        ("user.session.start", "SUCCESS", Some(Kind::SignedIn)),
        ("user.session.start", "FAILURE", Some(Kind::Failed)),
        ("user.session.start", "SKIPPED", None),
        ("user.authentication.sso", "SUCCESS", Some(Kind::SignedIn)),
        ("user.authentication.sso", "FAILURE", None),
        ("user.authentication.auth_via_mfa", "SUCCESS", Some(Kind::SecondFactor)),
        ("user.authentication.auth_via_mfa", "FAILURE", Some(Kind::Failed)),
        ("user.authentication.verify", "ALLOW", Some(Kind::SecondFactor)),
        ("user.mfa.okta_verify.deny_push", "FAILURE", Some(Kind::PushDenied)),
        ("user.account.lock", "FAILURE", Some(Kind::LockedOut)),
        ("security.threat.detected", "SUCCESS", Some(Kind::Threat)),
        ("inline_hook.executed", "FAILURE", None),
        ("user.session.end", "SUCCESS", None),
    ] {
        assert_eq!(parse(kind, result).map(|event| event.kind), expected, "{kind} {result}");
    }
}

#[test]
fn an_okta_event_has_its_own_time_place_and_person() {
    let event = parse("user.session.start", "SUCCESS").unwrap();
    let features = event.attempt.features;
    assert_eq!((event.attempt.seconds, event.has_subject), (MONDAY, true));
    assert_eq!((features.country, features.asn), (*b"US", 64_500));
    assert_eq!(features.place.unwrap().degrees(), (42.34, -71.1));
    let mut unknown = super::event("e2", "user.session.start", "FAILURE", "unknown", MONDAY, &WARD);
    let read = okta_event::parse(&unknown, &compiled()).unwrap();
    assert_eq!((read.has_subject, read.person.as_str()), (false, "unknown@stclare.test"));
    unknown.action.as_mut().unwrap().attributes.retain(|it| it.name != "published");
    assert!(okta_event::parse(&unknown, &compiled()).is_none(), "an event without a time");
    let mut risky = super::event("e3", "user.session.start", "SUCCESS", "00u1lee", MONDAY, &WARD);
    risky.payload = json!({"debugContext": {"debugData": {"risk": "{reasons=Anomalous Device, level=HIGH}"}}, "securityContext": {"isProxy": true}}).to_string();
    let read = okta_event::parse(&risky, &compiled()).unwrap();
    assert_eq!((read.attempt.platform_risk as u8, read.attempt.is_proxy), (2, true));
}

#[test]
fn the_risk_of_the_event_counts_for_the_token_of_its_session() {
    let (plugin, world) = (plugin(json!({})), Ram::default());
    let mut risky = super::event("e", "user.session.start", "SUCCESS", "00u1lee", MONDAY, &WARD);
    risky.payload = json!({"debugContext": {"debugData": {"risk": "{level=HIGH}"}}, "securityContext": {"isProxy": true}}).to_string();
    send(&plugin, &world, risky, MONDAY);
    let decision = send(&plugin, &world, token("00u1lee", MONDAY + 3, WARD.ip), MONDAY + 3);
    assert_eq!(decision.codes(), ["RISK_MEDIUM", "RISK_PLATFORM", "RISK_PROXY"]);
}

#[test]
fn entra_rows_become_the_same_events() {
    let row = |code: i64, more: Value| {
        let mut row = json!({
            "id": "9e7769b1", "createdDateTime": "2026-11-23T08:00:00Z", "userId": "30000000-0000",
            "userPrincipalName": "jun.lee@stclare.test", "ipAddress": "192.0.2.44",
            "status": {"errorCode": code, "failureReason": "Other.", "additionalDetails": null},
            "riskLevelDuringSignIn": "high", "userAgent": WARD_PC, "autonomousSystemNumber": 64_500,
            "deviceDetail": {"deviceId": "", "operatingSystem": "Windows10"},
            "location": {"city": "Boston", "countryOrRegion": "US", "geoCoordinates": {"latitude": 42.34, "longitude": -71.1}},
        });
        row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        entra_log::parse(&row)
    };
    let okta = parse("user.session.start", "SUCCESS").unwrap();
    let entra = row(0, json!({})).unwrap();
    assert_eq!((entra.kind, entra.attempt.features), (Kind::SignedIn, okta.attempt.features));
    assert_eq!((entra.attempt.seconds, entra.attempt.platform_risk as u8), (MONDAY, 2));
    let multi = json!({"authenticationRequirement": "multiFactorAuthentication"});
    let declined = json!({"status": {"errorCode": 500_121, "additionalDetails": "MFA denied; user declined the authentication"}});
    for (found, expected) in [
        (row(0, multi.clone()), Some(Kind::SecondFactor)),
        (row(50_126, multi.clone()), Some(Kind::Failed)),
        (row(50_053, json!({})), Some(Kind::LockedOut)),
        (row(500_121, json!({})), Some(Kind::Failed)),
        (row(500_121, declined), Some(Kind::PushDenied)),
        (row(50_074, json!({})), None),
        (row(1_003_004, json!({})), None),
        (row(0, json!({"createdDateTime": "yesterday"})), None),
    ] {
        assert_eq!(found.map(|event| event.kind), expected);
    }
    assert!(entra_log::parse(&json!([])).is_none());
}

/// The call that the host makes of a row (`host/hooks/src/entra/sign_in_log.rs`).
fn row_call(row: &Value) -> Call {
    let mut call = testing::call("entra.sign-in-log")
        .subject(row["userId"].as_str().unwrap())
        .payload(&row.to_string())
        .build();
    call.id = row["id"].as_str().unwrap().to_owned();
    call
}

#[test]
fn entra_rows_teach_like_events() {
    let (plugin, world) = (plugin(json!({})), Ram::default());
    for day in 0..12 {
        let at = MONDAY + day * DAY;
        let time = jiff::Timestamp::from_second(i64::from(at)).unwrap().to_string();
        let row = json!({
            "id": format!("row-{day}"), "createdDateTime": time, "userId": "u1", "ipAddress": "192.0.2.44",
            "status": {"errorCode": 0}, "authenticationRequirement": "multiFactorAuthentication",
        });
        for _ in 0..2 {
            send(&plugin, &world, row_call(&row), at + HOUR);
        }
    }
    let at = MONDAY + 12 * DAY;
    let mut call = testing::call("entra.token-issuance-start").subject("u1").build();
    call.origin = token("u1", at, "192.0.2.44").origin;
    call.origin.as_mut().unwrap().session = None;
    assert_eq!(send(&plugin, &world, call, at).codes(), ["RISK_LOW"]);
    let mut broken = row_call(&json!({"id": "x", "userId": "u1"}));
    broken.payload = "{".to_owned();
    assert_eq!(send(&plugin, &world, broken, at), Decision::default());
}

/// Sends events of 60 days, oldest first, all at one time; returns that time.
fn import(plugin: &SignInRisk, world: &Ram, person: &str, every: u32) -> u32 {
    let now = MONDAY + 80 * DAY;
    for day in (0..60).step_by(every as usize) {
        let at = now - 70 * DAY + day * DAY;
        for (kind, late) in [("user.session.start", 0), ("user.authentication.auth_via_mfa", 20)] {
            let id = format!("{kind}-{day}");
            send(plugin, world, event(&id, kind, "SUCCESS", person, at + late, &WARD), now);
        }
    }
    now
}

#[test]
fn an_imported_log_makes_known_devices_known_and_strange_ones_new() {
    let (plugin, world) = (plugin(json!({})), Ram::default());
    let now = import(&plugin, &world, "00u1lee", 1);
    let usual = sign_in(&plugin, &world, "00u1lee", now + HOUR, &WARD);
    assert_eq!(usual.codes(), ["RISK_LOW"]);
    let strange = sign_in(&plugin, &world, "00u1lee", now + 2 * HOUR, &ABROAD);
    let found = signals(&strange);
    assert!(found.contains(&"RISK_NEW_DEVICE") && found.contains(&"RISK_NEW_COUNTRY"), "{found:?}");
}

#[test]
fn an_import_that_is_repeated_changes_nothing() {
    for every in [1, 7] {
        let (plugin, world) = (plugin(json!({})), Ram::default());
        import(&plugin, &world, "00u1lee", every);
        let before = world.memory();
        import(&plugin, &world, "00u1lee", every);
        assert_eq!(world.memory(), before, "every {every} days");
    }
}

#[test]
fn old_events_without_a_trusted_sign_in_teach_nothing() {
    let (plugin, world) = (plugin(json!({})), Ram::default());
    let now = MONDAY + 100 * DAY;
    let mut risky = event("r", "user.session.start", "SUCCESS", "00u1lee", now - 10 * DAY, &ABROAD);
    risky.payload = json!({"securityContext": {"isProxy": true}}).to_string();
    send(&plugin, &world, risky, now);
    for (id, kind, result, days) in [
        ("a", "user.session.start", "FAILURE", 10),
        ("b", "user.account.lock", "FAILURE", 10),
        ("c", "security.threat.detected", "SUCCESS", 10),
        ("d", "user.session.start", "SUCCESS", 91),
    ] {
        send(&plugin, &world, event(id, kind, result, "00u1lee", now - days * DAY, &WARD), now);
    }
    assert_eq!(world.memory(), Ram::default().memory());
}

#[test]
fn an_old_burst_of_denied_pushes_is_known_to_the_sign_in_after_it() {
    let (plugin, world) = (plugin(json!({})), Ram::default());
    let now = import(&plugin, &world, "00u1lee", 1);
    let at = now - 5 * DAY;
    for number in 0..5 {
        let id = format!("deny-{number}");
        let kind = "user.mfa.okta_verify.deny_push";
        send(&plugin, &world, event(&id, kind, "FAILURE", "00u1lee", at + number, &ABROAD), now);
    }
    let id = "bombed";
    let kind = "user.authentication.auth_via_mfa";
    send(&plugin, &world, event(id, kind, "SUCCESS", "00u1lee", at + MINUTE, &ABROAD), now);
    let found = sign_in(&plugin, &world, "00u1lee", now + HOUR, &ABROAD);
    assert!(signals(&found).contains(&"RISK_NEW_DEVICE"), "{:?}", found.codes());
}
