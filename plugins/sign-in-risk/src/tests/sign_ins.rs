//! Decisions on sign-ins: habits, novelty, travel, tables, second factors, the model.

use super::*;

const PEOPLE: [&str; 6] =
    ["00u1lee", "00u2ortega", "00u3okafor", "00u4kim", "00u5weber", "00u6silva"];

fn accustomed(settings: Value) -> (SignInRisk, Ram, u32) {
    let (plugin, world) = (plugin(settings), Ram::default());
    let now = habits(&plugin, &world, &PEOPLE);
    (plugin, world, now)
}

#[test]
fn a_person_without_a_history_is_learned_and_not_compared() {
    let (plugin, world) = (plugin(json!({})), Ram::default());
    for sign_in_of in 0..10 {
        let at = MONDAY + sign_in_of * DAY;
        let decision = sign_in(&plugin, &world, "00u1lee", at, &WARD);
        assert_eq!(decision.codes(), ["RISK_LEARNING"], "sign-in {sign_in_of}");
        assert_eq!((decision.verdict(), points(&decision)), (Effect::Allow, 0));
    }
    let decision = sign_in(&plugin, &world, "00u1lee", MONDAY + 10 * DAY, &WARD);
    assert_eq!(decision.codes(), ["RISK_LOW"]);
    // Fourteen days end the learning too, whatever the number of sign-ins.
    sign_in(&plugin, &world, "00u2ortega", MONDAY, &WARD);
    let decision = sign_in(&plugin, &world, "00u2ortega", MONDAY + 14 * DAY - 10, &WARD);
    assert_eq!(decision.codes(), ["RISK_LEARNING"]);
    let decision = sign_in(&plugin, &world, "00u2ortega", MONDAY + 14 * DAY + HOUR, &WARD);
    assert_eq!(decision.codes()[0], "RISK_LOW");
    // After three months away it begins again.
    let decision = sign_in(&plugin, &world, "00u1lee", MONDAY + 101 * DAY, &ABROAD);
    assert_eq!(decision.codes()[0], "RISK_LEARNING");
}

#[test]
fn the_usual_is_allowed_and_the_strange_is_not() {
    let (plugin, world, now) = accustomed(json!({}));
    let usual = sign_in(&plugin, &world, "00u1lee", now, &WARD);
    assert_eq!((usual.codes(), usual.verdict()), (vec!["RISK_LOW"], Effect::Allow));
    let home = sign_in(&plugin, &world, "00u1lee", now + 10 * HOUR, &HOME);
    assert_eq!(home.verdict(), Effect::Allow, "{:?}", home.codes());
    let abroad = sign_in(&plugin, &world, "00u1lee", now + 11 * HOUR, &ABROAD);
    assert_eq!((abroad.codes()[0], abroad.verdict()), ("RISK_HIGH", Effect::Deny));
    for expected in [
        "RISK_IMPOSSIBLE_TRAVEL",
        "RISK_UNLIKELY",
        "RISK_NEW_DEVICE",
        "RISK_NEW_NETWORK",
        "RISK_NEW_COUNTRY",
    ] {
        assert!(signals(&abroad).contains(&expected), "{expected}: {:?}", abroad.codes());
    }
    assert_eq!(argument(&abroad, "RISK_NEW_COUNTRY", "country"), "\"RU\"");
    // A new telephone at home, a day later, is worth one question.
    let telephone = Site { agent: STRANGE, ip: "198.51.100.99", asn: 64_777, ..HOME };
    let telephone = sign_in(&plugin, &world, "00u2ortega", now + DAY, &telephone);
    assert_eq!((telephone.codes()[0], telephone.verdict()), ("RISK_MEDIUM", Effect::StepUp));
}

#[test]
fn each_point_is_told_and_within_its_cap() {
    let (plugin, world, now) = accustomed(json!({}));
    let abroad = sign_in(&plugin, &world, "00u1lee", now + 11 * HOUR, &ABROAD);
    let of = |code: &str| argument(&abroad, code, "points").parse::<u32>().unwrap();
    let novelty: u32 = signals(&abroad)
        .iter()
        .filter(|code| {
            ["RISK_NEW_DEVICE", "RISK_NEW_NETWORK", "RISK_NEW_COUNTRY", "RISK_UNUSUAL_HOUR"]
                .contains(code)
        })
        .map(|code| of(code))
        .sum();
    let rest: u32 = signals(&abroad).iter().map(|code| of(code)).sum::<u32>() - novelty;
    assert_eq!(u32::from(points(&abroad)), (novelty.min(60) + rest).min(100));
    assert_eq!(argument(&abroad, abroad.codes()[0], "points"), points(&abroad).to_string());
}

#[test]
fn what_is_refused_or_waits_teaches_nothing() {
    let (plugin, world, now) = accustomed(json!({}));
    let before = world.value("00u1lee", "history");
    let first = sign_in(&plugin, &world, "00u1lee", now, &ABROAD);
    for attempt in 1..20 {
        let again = sign_in(&plugin, &world, "00u1lee", now + attempt * MINUTE, &ABROAD);
        assert_eq!(points(&again), points(&first), "attempt {attempt}");
    }
    assert_eq!(world.value("00u1lee", "history"), before);
}

#[test]
fn a_second_factor_admits_and_then_it_is_usual() {
    let (plugin, world, now) = accustomed(json!({}));
    let new = Site { agent: STRANGE, ip: "198.51.100.99", asn: 64_777, ..HOME };
    let asked = sign_in(&plugin, &world, "00u1lee", now, &new);
    assert_eq!(asked.verdict(), Effect::StepUp);
    let factor = event(
        "factor",
        "user.authentication.auth_via_mfa",
        "SUCCESS",
        "00u1lee",
        now + MINUTE,
        &new,
    );
    send(&plugin, &world, factor, now + MINUTE + 1);
    let confirmed =
        send(&plugin, &world, token("00u1lee", now + 2 * MINUTE, new.ip), now + 2 * MINUTE);
    assert_eq!(confirmed.verdict(), Effect::Allow, "{:?}", confirmed.codes());
    // The next day the device and the network are known.
    let next = sign_in(&plugin, &world, "00u1lee", now + DAY, &new);
    assert_eq!(next.verdict(), Effect::Allow, "{:?}", next.codes());
    for known in ["RISK_NEW_DEVICE", "RISK_NEW_NETWORK"] {
        assert!(!signals(&next).contains(&known));
    }
}

#[test]
fn a_second_factor_of_another_address_confirms_nothing() {
    let (plugin, world, now) = accustomed(json!({}));
    let factor =
        event("factor", "user.authentication.auth_via_mfa", "SUCCESS", "00u1lee", now, &WARD);
    send(&plugin, &world, factor, now);
    // The session's cookie is used from abroad.
    let stolen = send(&plugin, &world, token("00u1lee", now + MINUTE, ABROAD.ip), now + MINUTE);
    assert!(!stolen.codes().contains(&"RISK_CONFIRMED"));
}

#[test]
fn the_platform_may_say_that_a_second_factor_was_used() {
    let settings = json!({"second_factor": {"attribute": "amr", "values": ["mfa"]}, "platform_risk": {"attribute": "riskLevel"}});
    let (plugin, world, now) = accustomed(settings);
    let call = |amr: Value| {
        let mut call = testing::call("authzen")
            .subject("00u1lee")
            .attribute("amr", amr)
            .attribute("riskLevel", "high")
            .build();
        call.origin = token("00u1lee", now, WARD.ip).origin;
        call
    };
    let asked = send(&plugin, &world, call(json!(["pwd"])), now);
    assert_eq!((asked.codes()[0], asked.verdict()), ("RISK_MEDIUM", Effect::StepUp));
    assert_eq!(argument(&asked, "RISK_PLATFORM", "points"), "40");
    let confirmed = send(&plugin, &world, call(json!(["pwd", "mfa"])), now);
    assert_eq!((confirmed.codes()[0], confirmed.verdict()), ("RISK_CONFIRMED", Effect::Allow));
}

#[test]
fn shared_origins_raise_no_device_place_or_travel() {
    let settings = json!({"tables": {"known_networks": "sites", "workstations": "workstations"}});
    let plugin = plugin(settings);
    let world = Ram::default().with_row("sites", "203.0.113.", &[("kind", "vdi")]).with_row(
        "workstations",
        "badge-7",
        &[("kind", "badge-tap")],
    );
    let now = habits(&plugin, &world, &PEOPLE);
    sign_in(&plugin, &world, "00u1lee", now, &WARD);
    let vdi = sign_in(&plugin, &world, "00u1lee", now + HOUR, &ABROAD);
    let raised = [
        "RISK_NEW_DEVICE",
        "RISK_NEW_NETWORK",
        "RISK_NEW_COUNTRY",
        "RISK_IMPOSSIBLE_TRAVEL",
        "RISK_VELOCITY",
    ];
    assert!(!vdi.codes().iter().any(|code| raised.contains(code)), "{:?}", vdi.codes());
    let elsewhere = Site { ip: "198.18.0.1", ..ABROAD };
    let badge = |device: &str| {
        let mut call = token("00u1lee", now + 2 * HOUR, elsewhere.ip);
        call.origin.as_mut().unwrap().device = Some(device.to_owned());
        call.origin.as_mut().unwrap().asn = Some(elsewhere.asn);
        call
    };
    let known = send(&plugin, &world, badge("badge-7"), now + 2 * HOUR);
    assert!(!known.codes().iter().any(|code| raised.contains(code)), "{:?}", known.codes());
    let other = send(&plugin, &world, badge("badge-8"), now + 2 * HOUR);
    assert!(other.codes().contains(&"RISK_NEW_DEVICE"), "{:?}", other.codes());
}

#[test]
fn people_travel_from_a_campus_and_not_from_a_gateway() {
    let plugin = plugin(json!({"tables": {"known_networks": "sites"}}));
    for (kind, is_journey) in [("campus", true), ("vdi", false)] {
        let world = Ram::default().with_row("sites", WARD.ip, &[("kind", kind)]);
        let now = habits(&plugin, &world, &PEOPLE);
        sign_in(&plugin, &world, "00u1lee", now, &WARD);
        let far = sign_in(&plugin, &world, "00u1lee", now + HOUR, &ABROAD);
        assert_eq!(far.codes().contains(&"RISK_IMPOSSIBLE_TRAVEL"), is_journey, "{kind}");
    }
}

#[test]
fn a_token_of_a_session_on_a_shared_device_raises_no_new_device() {
    let plugin = plugin(json!({"tables": {"workstations": "workstations"}}));
    let kind = [("kind", "badge-tap")];
    let world = Ram::default().with_row("workstations", "badge-7", &kind);
    let now = habits(&plugin, &world, &PEOPLE);
    for (number, (device, is_new)) in (0..).zip([("badge-7", false), ("badge-8", true)]) {
        let at = now + number * HOUR;
        let mut start = event(device, "user.session.start", "SUCCESS", "00u1lee", at, &ABROAD);
        start.origin.as_mut().unwrap().device = Some(device.to_owned());
        send(&plugin, &world, start, at);
        let decision = send(&plugin, &world, token("00u1lee", at + 2, ABROAD.ip), at + 2);
        assert_eq!(decision.codes().contains(&"RISK_NEW_DEVICE"), is_new, "{device}");
    }
}

#[test]
fn a_table_of_networks_says_where_an_address_is() {
    let plugin = plugin(json!({"tables": {"networks": "networks"}}));
    let row = [("asn", "64999"), ("country", "JP"), ("latitude", "35.7"), ("longitude", "139.7")];
    let world = Ram::default().with_row("networks", "203.0.113.", &row);
    let now = habits(&plugin, &world, &PEOPLE);
    sign_in(&plugin, &world, "00u1lee", now, &WARD);
    let far = send(&plugin, &world, token("00u1lee", now + HOUR, "203.0.113.9"), now + HOUR);
    assert_eq!(argument(&far, "RISK_NEW_COUNTRY", "country"), "\"JP\"");
    assert!(far.codes().contains(&"RISK_IMPOSSIBLE_TRAVEL"));
    assert!(!far.codes().contains(&"RISK_TABLE_STALE"));
    world.stale.set(true);
    let stale = send(&plugin, &world, token("00u1lee", now + HOUR, "203.0.113.9"), now + HOUR);
    assert_eq!(argument(&stale, "RISK_TABLE_STALE", "table"), "\"networks\"");
    assert_eq!(points(&stale), points(&far), "old rows are better than none");
}

#[test]
fn an_unusual_hour_is_usual_on_shift() {
    let plugin = plugin(json!({"tables": {"shifts": "rota"}}));
    let shift = [("from", "2026-12-21T23:00:00Z"), ("until", "2026-12-22T07:00:00Z")];
    let world = Ram::default().with_row("rota", "00u2ortega", &shift);
    let now = habits(&plugin, &world, &PEOPLE);
    assert_eq!(now, "2026-12-21T08:00:00Z".parse::<jiff::Timestamp>().unwrap().as_second() as u32);
    let night = now + 19 * HOUR;
    let alone = sign_in(&plugin, &world, "00u1lee", night, &WARD);
    assert_eq!(alone.codes(), ["RISK_LOW", "RISK_UNUSUAL_HOUR"]);
    let on_shift = sign_in(&plugin, &world, "00u2ortega", night, &WARD);
    assert_eq!(on_shift.codes(), ["RISK_LOW"]);
    // An hour after the shift still belongs to it, two do not.
    let late = now + 24 * HOUR + 30 * MINUTE - HOUR;
    assert_eq!(sign_in(&plugin, &world, "00u2ortega", late, &WARD).codes(), ["RISK_LOW"]);
}

#[test]
fn a_late_event_does_not_move_the_last_place_backwards() {
    let (plugin, world, now) = accustomed(json!({}));
    sign_in(&plugin, &world, "00u1lee", now, &WARD);
    // A second factor abroad, twelve hours ago, becomes known now.
    let late = event(
        "late",
        "user.authentication.auth_via_mfa",
        "SUCCESS",
        "00u1lee",
        now - 12 * HOUR,
        &ABROAD,
    );
    send(&plugin, &world, late, now + HOUR);
    let ward = sign_in(&plugin, &world, "00u1lee", now + 2 * HOUR, &WARD);
    assert!(!ward.codes().contains(&"RISK_IMPOSSIBLE_TRAVEL"), "{:?}", ward.codes());
    assert_eq!(ward.verdict(), Effect::Allow);
}

#[test]
fn an_unreadable_history_is_told_and_begins_anew() {
    let (plugin, world, now) = accustomed(json!({}));
    world.set("00u1lee", "history", &[9, 9, 9]);
    let decision = sign_in(&plugin, &world, "00u1lee", now, &WARD);
    assert_eq!(decision.codes(), ["RISK_LEARNING", "RISK_HISTORY_UNREADABLE"]);
    let decision = sign_in(&plugin, &world, "00u1lee", now + DAY, &WARD);
    assert_eq!(decision.codes(), ["RISK_LEARNING"]);
}

#[test]
fn the_model_adds_its_points_and_names_itself() {
    let (plugin, world, now) = accustomed(json!({"model": {"mode": "points"}}));
    let usual = sign_in(&plugin, &world, "00u1lee", now, &WARD);
    assert!(!usual.codes().contains(&"RISK_MODEL"), "{:?}", usual.codes());
    let abroad = sign_in(&plugin, &world, "00u1lee", now + 11 * HOUR, &ABROAD);
    assert!((1..=20).contains(&argument(&abroad, "RISK_MODEL", "points").parse().unwrap()));
    assert_eq!(argument(&abroad, "RISK_MODEL", "model").len(), 66);
}

#[test]
fn without_a_subject_or_an_address_nothing_is_said_or_compared() {
    let (plugin, world, now) = accustomed(json!({}));
    let nobody = testing::call("okta.token").build();
    assert_eq!(send(&plugin, &world, nobody, now), Decision::default());
    let bare = testing::call("okta.token").subject("00u1lee").build();
    let before = world.value("00u1lee", "history");
    let decision = send(&plugin, &world, bare, now);
    assert_eq!(decision.codes(), ["RISK_LOW"]);
    assert_eq!(world.value("00u1lee", "history"), before);
}

#[test]
fn a_call_costs_a_bounded_number_of_questions() {
    let (plugin, world, now) = accustomed(
        json!({"tables": {"networks": "a", "known_networks": "b", "workstations": "c", "shifts": "d"}, "model": {"mode": "points"}}),
    );
    send(&plugin, &world, token("00u1lee", now, WARD.ip), now);
    assert!(world.calls.get() <= 64, "{} questions", world.calls.get());
}

/// The numbers of README.md.
#[test]
fn the_example_of_the_readme_is_true() {
    let (plugin, world, now) = accustomed(json!({}));
    let morning = sign_in(&plugin, &world, "00u1lee", now, &WARD);
    assert_eq!(morning.codes(), ["RISK_LOW"]);
    let moscow = sign_in(&plugin, &world, "00u1lee", now + 50 * MINUTE, &ABROAD);
    assert_eq!((moscow.codes()[0], points(&moscow)), ("RISK_HIGH", 100));
    for (code, expected) in [
        ("RISK_IMPOSSIBLE_TRAVEL", "50"),
        ("RISK_NEW_DEVICE", "25"),
        ("RISK_NEW_NETWORK", "15"),
        ("RISK_NEW_COUNTRY", "20"),
    ] {
        assert_eq!(argument(&moscow, code, "points"), expected);
    }
    assert_eq!(argument(&moscow, "RISK_IMPOSSIBLE_TRAVEL", "kilometres"), "7223");
    assert_eq!(argument(&moscow, "RISK_IMPOSSIBLE_TRAVEL", "speed"), "8668");
    let android = "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Mobile Safari/537.36";
    let telephone = Site { agent: android, ip: "198.51.100.99", asn: 64_777, ..HOME };
    let noon = now + 4 * HOUR;
    let asked = sign_in(&plugin, &world, "00u1lee", noon, &telephone);
    assert_eq!((asked.codes()[0], asked.verdict()), ("RISK_MEDIUM", Effect::StepUp));
    assert!((40..=60).contains(&points(&asked)));
    let factor = event(
        "mfa",
        "user.authentication.auth_via_mfa",
        "SUCCESS",
        "00u1lee",
        noon + MINUTE,
        &telephone,
    );
    send(&plugin, &world, factor, noon + MINUTE);
    let next =
        send(&plugin, &world, token("00u1lee", noon + 2 * MINUTE, telephone.ip), noon + 2 * MINUTE);
    assert_eq!((next.codes()[0], next.verdict()), ("RISK_LOW", Effect::Allow));
}

#[test]
fn a_token_before_its_event_is_judged_by_its_address_and_teaches_nothing() {
    let (plugin, world, now) = accustomed(json!({}));
    let before = world.value("00u1lee", "history");
    let early = send(&plugin, &world, token("00u1lee", now, ABROAD.ip), now);
    assert!(early.codes().contains(&"RISK_NEW_NETWORK"), "{:?}", early.codes());
    assert_eq!((early.codes()[0], world.value("00u1lee", "history")), ("RISK_LOW", before));
    // With the event, the next token of the session is judged by everything.
    let late = event("late", "user.session.start", "SUCCESS", "00u1lee", now, &ABROAD);
    send(&plugin, &world, late, now + MINUTE);
    let next = send(&plugin, &world, token("00u1lee", now + MINUTE, ABROAD.ip), now + MINUTE);
    assert!(next.verdict() >= Effect::StepUp, "{:?}", next.codes());
    // At a usual address, a token before its event is as usual, and it is learned.
    let before = world.value("00u2ortega", "history");
    let usual = send(&plugin, &world, token("00u2ortega", now, WARD.ip), now);
    assert_eq!(usual.codes(), ["RISK_LOW"]);
    assert_ne!(world.value("00u2ortega", "history"), before);
}
