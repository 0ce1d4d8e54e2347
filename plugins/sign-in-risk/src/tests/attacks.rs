//! Attacks: bombing, stuffing, spraying, brute force; and what a success after them is worth.

use super::*;

const PEOPLE: [&str; 6] =
    ["00u1lee", "00u2ortega", "00u3okafor", "00u4kim", "00u5weber", "00u6silva"];

fn fail(plugin: &SignInRisk, world: &Ram, person: &str, at: u32, from: &Site<'_>) -> Decision {
    let id = format!("fail-{person}-{at}-{}", from.ip);
    send(plugin, world, event(&id, "user.session.start", "FAILURE", person, at, from), at + 1)
}

#[test]
fn push_bombing_is_seen_at_the_fifth_denial_and_a_success_is_worse() {
    let (plugin, world) = (plugin(json!({})), Ram::default());
    let now = habits(&plugin, &world, &PEOPLE);
    let deny = |number: u32| {
        let at = now + number * MINUTE;
        let id = format!("deny-{number}");
        send(
            &plugin,
            &world,
            event(&id, "user.mfa.okta_verify.deny_push", "FAILURE", "00u1lee", at, &ABROAD),
            at + 5,
        )
    };
    for number in 0..4 {
        assert_eq!(deny(number), Decision::default(), "denial {number}");
    }
    assert_eq!(deny(4).codes(), ["RISK_PUSH_BOMBING"]);
    // The person gives in.
    let at = now + 6 * MINUTE;
    send(
        &plugin,
        &world,
        event("approved", "user.authentication.auth_via_mfa", "SUCCESS", "00u1lee", at, &ABROAD),
        at,
    );
    let attacker = send(&plugin, &world, token("00u1lee", at + 10, ABROAD.ip), at + 10);
    assert_eq!((attacker.codes()[0], attacker.verdict()), ("RISK_HIGH", Effect::Deny));
    assert_eq!(attacker.codes()[1..3], ["RISK_PUSH_BOMBING", "RISK_SUCCESS_AFTER_ATTACK"]);
    // Long after the attack, the attacker's device and place are still strange.
    let later = sign_in(&plugin, &world, "00u1lee", now + 3 * DAY, &ABROAD);
    assert!(later.codes().contains(&"RISK_NEW_DEVICE"), "{:?}", later.codes());
    assert!(!later.codes().contains(&"RISK_PUSH_BOMBING"));
    let owner = sign_in(&plugin, &world, "00u1lee", now + 4 * DAY, &WARD);
    assert_eq!(owner.verdict(), Effect::Allow, "{:?}", owner.codes());
}

#[test]
fn a_bombed_person_still_gets_to_work() {
    let (plugin, world) = (plugin(json!({})), Ram::default());
    let now = habits(&plugin, &world, &PEOPLE);
    for number in 0..6 {
        let (id, at) = (format!("deny-{number}"), now + number * MINUTE);
        let kind = "user.mfa.okta_verify.deny_push";
        send(&plugin, &world, event(&id, kind, "FAILURE", "00u1lee", at, &ABROAD), at);
    }
    // On the ward the person is asked, and a second factor is believed; abroad it is not.
    for (place, at, expected) in [
        (&WARD, now + HOUR, Effect::Allow),
        (&ABROAD, now + 2 * HOUR, Effect::Deny),
        (&WARD, now + 3 * HOUR, Effect::Allow),
    ] {
        let asked = sign_in(&plugin, &world, "00u1lee", at, place);
        assert!(asked.verdict() > Effect::Allow, "{:?}", asked.codes());
        let factor = "user.authentication.auth_via_mfa";
        let id = format!("factor-{at}");
        send(&plugin, &world, event(&id, factor, "SUCCESS", "00u1lee", at + 60, place), at + 60);
        let next = send(&plugin, &world, token("00u1lee", at + 65, place.ip), at + 65);
        assert_eq!(next.verdict(), expected, "{:?}", next.codes());
    }
}

#[test]
fn slow_denials_are_no_bombing() {
    let (plugin, world) = (plugin(json!({})), Ram::default());
    for number in 0..20 {
        let at = MONDAY + number * 3 * MINUTE;
        let id = format!("deny-{number}");
        let decision = send(
            &plugin,
            &world,
            event(&id, "user.mfa.okta_verify.deny_push", "FAILURE", "00u1lee", at, &WARD),
            at,
        );
        assert_eq!(decision, Decision::default(), "four in ten minutes");
    }
}

#[test]
fn stuffing_is_seen_and_what_gets_through_is_stopped() {
    let (plugin, world) = (plugin(json!({})), Ram::default());
    let now = habits(&plugin, &world, &PEOPLE);
    let mut found = Vec::new();
    for number in 0..25 {
        let person = format!("00u-victim-{number}");
        let decision = fail(&plugin, &world, &person, now + number * 8, &ABROAD);
        found.push(decision.codes().contains(&"RISK_CREDENTIAL_STUFFING"));
    }
    assert_eq!(found.iter().position(|found| *found), Some(24), "at the 25th failure");
    let through = sign_in(&plugin, &world, "00u2ortega", now + HOUR, &ABROAD);
    assert_eq!(through.verdict(), Effect::Deny);
    assert!(through.codes().contains(&"RISK_SUCCESS_AFTER_ATTACK"));
    // Somebody new is not compared with a history, but the address is known.
    let new = sign_in(&plugin, &world, "00u-new", now + HOUR, &ABROAD);
    assert_eq!((new.codes()[0], new.verdict()), ("RISK_MEDIUM", Effect::StepUp));
    // Others are not concerned, and after six hours the address is an address again.
    assert_eq!(sign_in(&plugin, &world, "00u3okafor", now + HOUR, &WARD).codes(), ["RISK_LOW"]);
    let later = sign_in(&plugin, &world, "00u4kim", now + 8 * HOUR, &ABROAD);
    assert!(!later.codes().contains(&"RISK_CREDENTIAL_STUFFING"));
}

#[test]
fn spraying_is_seen_over_minutes() {
    let (plugin, world) = (plugin(json!({})), Ram::default());
    let mut codes = Vec::new();
    for round in 0..3 {
        for number in 0..5 {
            let person = format!("00u-victim-{number}");
            let at = MONDAY + (round * 5 + number) * MINUTE;
            codes.push(fail(&plugin, &world, &person, at, &ABROAD).codes().join(","));
        }
    }
    assert_eq!(codes.iter().position(|codes| codes.contains("RISK_PASSWORD_SPRAYING")), Some(14));
    // As many within one minute are a script that hangs, and 14 people with one typing error none.
    let world = Ram::default();
    for number in 0..15 {
        let person = format!("00u-victim-{}", number % 5);
        assert_eq!(fail(&plugin, &world, &person, MONDAY + number, &ABROAD), Decision::default());
    }
}

#[test]
fn an_address_of_many_people_is_no_source() {
    let plugin = plugin(json!({"tables": {"known_networks": "sites"}}));
    let world = Ram::default().with_row("sites", "203.0.113.", &[("kind", "vdi")]);
    for number in 0..60 {
        let person = format!("00u-{}", number % 30);
        let decision = fail(&plugin, &world, &person, MONDAY + number * 10, &ABROAD);
        assert_eq!(decision, Decision::default());
    }
}

#[test]
fn brute_force_from_many_addresses_asks_only_the_unusual_more() {
    let (plugin, world) = (plugin(json!({})), Ram::default());
    let now = habits(&plugin, &world, &PEOPLE);
    let mut codes = Vec::new();
    for number in 0..10 {
        let ip = format!("203.0.113.{}", number % 5);
        let from = Site { ip: &ip, asn: 64_900 + number % 3, ..ABROAD };
        codes
            .push(fail(&plugin, &world, "00u1lee", now + number * MINUTE, &from).codes().join(","));
    }
    assert_eq!(codes.iter().position(|codes| codes == "RISK_BRUTE_FORCE"), Some(9));
    let owner = sign_in(&plugin, &world, "00u1lee", now + HOUR, &WARD);
    assert_eq!(
        (owner.codes(), owner.verdict()),
        (vec!["RISK_LOW", "RISK_BRUTE_FORCE"], Effect::Allow)
    );
    let other = Site { ip: "203.0.113.77", ..ABROAD };
    let attacker = sign_in(&plugin, &world, "00u1lee", now + 2 * HOUR, &other);
    assert_eq!(attacker.verdict(), Effect::Deny);
    assert!(attacker.codes().contains(&"RISK_SUCCESS_AFTER_ATTACK"));
}

#[test]
fn lockouts_and_threats_count() {
    let (plugin, world) = (plugin(json!({})), Ram::default());
    let now = habits(&plugin, &world, &PEOPLE);
    let locked = send(
        &plugin,
        &world,
        event("lock", "user.account.lock", "FAILURE", "00u1lee", now, &WARD),
        now,
    );
    assert_eq!(locked.codes(), ["RISK_LOCKED_OUT"]);
    let mut threat = event("threat", "security.threat.detected", "SUCCESS", "", now, &ABROAD);
    threat.subject = None;
    assert_eq!(send(&plugin, &world, threat, now).codes(), ["RISK_THREAT_ADDRESS"]);
    let mine = sign_in(&plugin, &world, "00u1lee", now + HOUR, &WARD);
    assert_eq!(mine.codes(), ["RISK_LOW", "RISK_LOCKED_OUT"]);
    let threatened = sign_in(&plugin, &world, "00u2ortega", now + HOUR, &ABROAD);
    assert!(threatened.codes().contains(&"RISK_THREAT_ADDRESS"));
}
