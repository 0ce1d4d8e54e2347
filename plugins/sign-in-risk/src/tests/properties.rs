//! The memory after events: their order, their repetition, their lateness.

use proptest::prelude::*;

use super::*;

/// Few people, addresses and devices, so that thresholds are reached.
#[derive(Clone, Debug)]
struct Sent {
    id: u32,
    kind: usize,
    person: usize,
    address: usize,
    seconds_ago: u32,
}

const KINDS: [(&str, &str); 7] = [
    ("user.session.start", "FAILURE"),
    ("user.session.start", "SUCCESS"),
    ("user.authentication.auth_via_mfa", "SUCCESS"),
    ("user.authentication.auth_via_mfa", "FAILURE"),
    ("user.mfa.okta_verify.deny_push", "FAILURE"),
    ("user.account.lock", "FAILURE"),
    ("security.threat.detected", "SUCCESS"),
];

const PERSONS: [&str; 4] = ["00u1lee", "00u2ortega", "00u3okafor", "unknown"];

fn sent() -> impl Strategy<Value = Vec<Sent>> {
    let one =
        (0..10_usize, 0..4_usize, 0..9_usize, prop_oneof![4 => 0..600_u32, 1 => 0..86_400_u32])
            .prop_map(|(kind, person, address, seconds_ago)| Sent {
                id: 0,
                // Failures are the most usual.
                kind: kind.saturating_sub(3),
                person,
                address,
                seconds_ago,
            });
    prop::collection::vec(one, 0..60).prop_map(|mut all| {
        for (id, one) in (0..).zip(&mut all) {
            one.id = id;
        }
        all
    })
}

fn add(plugin: &SignInRisk, world: &Ram, sent: &Sent) {
    let ip = format!("203.0.113.{}", sent.address);
    let from = Site {
        ip: &ip,
        asn: 64_900 + sent.address as u32 % 4,
        agent: if sent.address.is_multiple_of(2) { STRANGE } else { TELEPHONE },
        ..ABROAD
    };
    let (kind, result) = KINDS[sent.kind];
    let at = MONDAY - sent.seconds_ago;
    let id = format!("event-{}", sent.id);
    let call = event(&id, kind, result, PERSONS[sent.person], at, &from);
    send(plugin, world, call, MONDAY);
}

/// The events in another order, some of them again.
fn delivered() -> impl Strategy<Value = (Vec<Sent>, Vec<Sent>)> {
    sent().prop_flat_map(|all| {
        let again = prop::sample::subsequence(all.clone(), 0..=all.len());
        (Just(all), again).prop_flat_map(|(all, again)| {
            let twice: Vec<Sent> = all.iter().chain(&again).cloned().collect();
            (Just(all), Just(twice).prop_shuffle())
        })
    })
}

proptest! {
    // Each case sends up to a hundred events.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn late_repeated_and_disordered_events_leave_the_same_memory((once, delivered) in delivered()) {
        let plugin = plugin(json!({}));
        let (orderly, other) = (Ram::default(), Ram::default());
        for sent in &once {
            add(&plugin, &orderly, sent);
        }
        for sent in &delivered {
            add(&plugin, &other, sent);
        }
        prop_assert_eq!(orderly.memory(), other.memory());
    }

    /// No event takes points away from an attempt that it does not confirm.
    #[test]
    fn failures_denials_and_threats_never_lower_the_points(all in sent()) {
        let plugin = plugin(json!({}));
        let world = Ram::default();
        for day in 0..12 {
            sign_in(&plugin, &world, "00u1lee", MONDAY - (20 - day) * DAY, &WARD);
        }
        let mut last = 0;
        for sent in all.iter().filter(|sent| !(1..=2).contains(&sent.kind)) {
            add(&plugin, &world, sent);
            // On a copy: the decision itself may teach.
            let copy = world.clone();
            let decision = send(&plugin, &copy, token("00u1lee", MONDAY, "203.0.113.1"), MONDAY);
            prop_assert!(points(&decision) >= last, "{:?}", decision.codes());
            last = points(&decision);
        }
    }

    #[test]
    fn no_payload_makes_it_fail(text in any::<String>(), published in any::<String>(), result in any::<String>(), ip in any::<String>()) {
        let (plugin, world) = (plugin(json!({})), Ram::default());
        for payload in [text.clone(), json!({"client": {"geographicalContext": {"geolocation": {"lat": text, "lon": 1e300}}}}).to_string()] {
            let mut call = event("e", "user.session.start", &result, "00u1lee", MONDAY, &WARD);
            call.payload = payload;
            call.origin.as_mut().unwrap().ip = Some(ip.clone());
            send(&plugin, &world, call.clone(), MONDAY);
            call.action.as_mut().unwrap().attributes = vec![portcullis_guest::Attribute::text("published", &published)];
            send(&plugin, &world, call, u32::MAX);
        }
    }
}

#[test]
fn an_event_of_the_future_counts_as_now_and_an_old_one_at_its_own_time() {
    let (plugin, world) = (plugin(json!({})), Ram::default());
    let factor = |id: &str, at: u32| {
        event(id, "user.authentication.auth_via_mfa", "SUCCESS", "00u1lee", at, &WARD)
    };
    let history = || {
        let stored = world.value("00u1lee", "history").unwrap();
        crate::history::History::decode(&stored).unwrap()
    };
    send(&plugin, &world, factor("old", MONDAY - DAY - 1), MONDAY);
    assert_eq!(history().last_seen(), Some(MONDAY - DAY - 1));
    send(&plugin, &world, factor("future", MONDAY + DAY), MONDAY);
    assert_eq!((history().last_seen(), history().total()), (Some(MONDAY), 2));
}
