//! The whole plugin: events and calls in, decisions and memory out, over a memory in RAM.

use portcullis_guest::{Call, Decision, Effect, Entity, Origin, testing};
use serde_json::{Value, json};

use super::*;

mod attacks;
mod events;
mod host;
mod properties;
mod ram;
mod settings;
mod sign_ins;
mod simulation;

use ram::Ram;

const MANIFEST: &str = include_str!("../manifest.toml");

/// 2026-11-23T08:00:00Z, a Monday.
const MONDAY: u32 = 1_795_420_800;
const MINUTE: u32 = 60;
const HOUR: u32 = 3_600;
const DAY: u32 = 86_400;

const WARD_PC: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";
const TELEPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1";
const STRANGE: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0";

/// The origin of a sign-in.
#[derive(Clone, Copy)]
struct Site<'a> {
    ip: &'a str,
    asn: u32,
    country: &'a str,
    latitude: f64,
    longitude: f64,
    agent: &'a str,
}

const WARD: Site<'_> = Site {
    ip: "192.0.2.44",
    asn: 64_500,
    country: "United States",
    latitude: 42.34,
    longitude: -71.1,
    agent: WARD_PC,
};
const HOME: Site<'_> = Site {
    ip: "198.51.100.7",
    asn: 64_510,
    latitude: 42.5,
    longitude: -71.2,
    agent: TELEPHONE,
    ..WARD
};
const ABROAD: Site<'_> = Site {
    ip: "203.0.113.9",
    asn: 64_999,
    country: "Russia",
    latitude: 55.75,
    longitude: 37.62,
    agent: STRANGE,
};

/// A LogEvent as Okta's event hook delivers it, and the call that the host makes of it
/// (`host/hooks/src/okta/event.rs`).
fn event(id: &str, kind: &str, result: &str, person: &str, at: u32, from: &Site<'_>) -> Call {
    let time = jiff::Timestamp::from_second(i64::from(at)).unwrap().to_string();
    let payload = json!({
        "client": {"geographicalContext": {
            "country": from.country,
            "geolocation": {"lat": from.latitude, "lon": from.longitude},
        }},
        "securityContext": {"isProxy": false},
    });
    let mut call = testing::call("okta.event")
        .subject_of_type("User", person)
        .attribute("alternateId", format!("{person}@stclare.test"))
        .payload(&payload.to_string())
        .build();
    call.id = id.to_owned();
    call.action = Some(Entity {
        type_name: kind.to_owned(),
        id: None,
        attributes: vec![
            portcullis_guest::Attribute::text("published", &time),
            portcullis_guest::Attribute::text("result", result),
        ],
    });
    call.origin = Some(Origin {
        ip: Some(from.ip.to_owned()),
        country: None,
        asn: Some(from.asn),
        user_agent: Some(from.agent.to_owned()),
        device: None,
        session: Some(format!("session-{person}-{}", at / HOUR)),
    });
    call
}

/// The token hook's call of the same session: it has the address and the session only.
fn token(person: &str, at: u32, ip: &str) -> Call {
    let mut call =
        testing::call("okta.token").subject(person).received(u64::from(at) * 1_000).build();
    call.origin = Some(Origin {
        ip: Some(ip.to_owned()),
        country: None,
        asn: None,
        user_agent: None,
        device: None,
        session: Some(format!("session-{person}-{}", at / HOUR)),
    });
    call
}

fn plugin(settings: Value) -> SignInRisk {
    testing::configured(&settings.to_string())
}

/// Sends a call at a time, and checks that the manifest declares what the decision says.
fn send(plugin: &SignInRisk, world: &Ram, mut call: Call, at: u32) -> Decision {
    call.received = u64::from(at) * 1_000;
    let person = call.subject.as_ref().and_then(|subject| subject.id.clone());
    world.begin(person.as_deref(), at);
    let decision = plugin.decide(&call, world);
    testing::assert_declared(MANIFEST, &call.hook, &decision);
    decision
}

/// A sign-in with its event first, and the decision on its token.
fn sign_in(plugin: &SignInRisk, world: &Ram, person: &str, at: u32, from: &Site<'_>) -> Decision {
    let id = format!("{person}-{at}");
    send(plugin, world, event(&id, "user.session.start", "SUCCESS", person, at, from), at);
    send(plugin, world, token(person, at, from.ip), at + 2)
}

/// Twenty working days on the ward with one evening a week at home, for several people.
fn habits(plugin: &SignInRisk, world: &Ram, people: &[&str]) -> u32 {
    for day in 0..28 {
        for (number, person) in (0..).zip(people) {
            let at = MONDAY + day * DAY + number * 3 * MINUTE;
            if day % 7 < 5 {
                sign_in(plugin, world, person, at, &WARD);
            }
            if day % 7 == 3 {
                sign_in(plugin, world, person, at + 10 * HOUR, &HOME);
            }
        }
    }
    MONDAY + 28 * DAY
}

fn points(decision: &Decision) -> u8 {
    decision.risk.unwrap()
}

/// The codes that contributed.
fn signals(decision: &Decision) -> Vec<&str> {
    decision.codes().into_iter().skip(1).collect()
}

fn argument<'a>(decision: &'a Decision, code: &str, name: &str) -> &'a str {
    let finding = decision.findings.iter().find(|finding| finding.code == code).unwrap();
    &finding.arguments.iter().find(|argument| argument.name == name).unwrap().value
}
