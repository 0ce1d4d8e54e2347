//! `sign-in-risk` in the host: the known device, the impossible journey, push bombing and the shift
//! change, from Okta's bodies to the answers that people see.
//!
//! The clock is moved, so that days pass between calls; nobody waits.

use portcullis_tests::{
    Answer, Host, MovedClock, Origin, RiskTables, SignIn, SystemEvent, TestDeployment, event,
    rfc3339, risk_deployment,
};
use serde_json::{Value, json};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

const WARD_PC: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36";
const TELEPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1";
const STRANGE: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0";

/// A hospital, its clock, and how far the clock was moved.
struct Hospital {
    host: Host,
    deployment: TestDeployment,
    clock: MovedClock,
    ahead: i64,
}

impl Hospital {
    fn open() -> Self {
        let tables = RiskTables {
            networks: "192.0.2.0/24,64500,US,42.34,-71.10\n198.51.100.0/24,64501,US,42.40,-71.20\n\
                       203.0.113.0/24,64999,RU,55.75,37.62\n"
                .to_owned(),
            known_networks: "192.0.2.44/32,campus\n".to_owned(),
            workstations: "ward-pc-7,shared\n".to_owned(),
            shifts: String::new(),
        };
        let (deployment, clock) = (risk_deployment(&tables, json!({})), MovedClock::new());
        let host = clock.serve(&deployment);
        Self { host, deployment, clock, ahead: 0 }
    }

    /// Time passes.
    fn pass(&mut self, seconds: i64) {
        self.ahead += seconds;
        self.clock.ahead(self.ahead);
    }

    fn time(&self) -> String {
        rfc3339(self.clock.now())
    }

    fn event(&self, person: &str, session: &str, kind: &str, result: &str, from: &Origin) -> Value {
        let published = &self.time();
        SystemEvent { kind, result, person, session: Some(session), published }.body(from)
    }

    fn deliver(&self, events: &[Value]) {
        let answer = self.host.deliver(events, &self.time());
        assert_eq!((answer.status, answer.body.len()), (204, 0));
    }

    /// The token of a session is requested.
    fn token(&self, person: &str, session: &str, from: &Origin) -> Answer {
        self.host.sign_in(&token(person, session, from, self.clock.now()))
    }

    /// A person signs in: the event arrives, then the token is requested.
    fn sign_in(&self, person: &str, session: &str, from: &Origin) -> Answer {
        self.deliver(&[self.event(person, session, "user.session.start", "SUCCESS", from)]);
        self.token(person, session, from)
    }

    /// Three weeks of ordinary working days.
    fn live(&mut self, person: &str, from: &Origin) {
        for day in 0..21 {
            self.pass(DAY);
            let answer = self.sign_in(person, &format!("{person}-{day}"), from);
            assert!(!answer.stops_a_token(), "day {day}: {}", answer.json);
        }
    }

    fn codes(&self, answer: &Answer) -> Vec<String> {
        let record = self.deployment.record(answer.index().unwrap());
        let codes = record["bindings"][0]["codes"].as_array().unwrap().clone();
        codes.iter().map(|code| code.as_str().unwrap().to_owned()).collect()
    }
}

fn token(person: &str, session: &str, from: &Origin, at: i64) -> SignIn {
    let mut sign_in = SignIn::with_groups(&["ward-reader"]).event(&event()).at(at);
    let context = &mut sign_in.body["data"]["context"];
    context["user"]["id"] = json!(person);
    context["session"]["id"] = json!(session);
    context["session"]["userId"] = json!(person);
    context["request"]["ipAddress"] = json!(from.ip);
    sign_in
}

fn origin(ip: &str, agent: &str, asn: u32, country: &str, place: (f64, f64)) -> Origin {
    Origin {
        ip: ip.to_owned(),
        agent: agent.to_owned(),
        device: None,
        asn,
        country: country.to_owned(),
        place,
    }
}

fn home() -> Origin {
    origin("198.51.100.7", TELEPHONE, 64_501, "United States", (42.40, -71.20))
}

fn campus() -> Origin {
    origin("192.0.2.44", WARD_PC, 64_500, "United States", (42.34, -71.10))
}

fn abroad() -> Origin {
    origin("203.0.113.9", STRANGE, 64_999, "Russia", (55.75, 37.62))
}

#[test]
fn a_known_device_signs_in_without_friction_and_an_impossible_journey_is_stopped() {
    let mut hospital = Hospital::open();
    hospital.live("00unoor", &home());
    hospital.pass(DAY);
    let usual = hospital.sign_in("00unoor", "monday", &home());
    assert!(!usual.stops_a_token());
    assert_eq!(hospital.codes(&usual), ["RISK_LOW"]);

    hospital.pass(50 * MINUTE);
    let journey = hospital.sign_in("00unoor", "moscow", &abroad());
    assert!(journey.stops_a_token());
    assert!(journey.summary().starts_with("This sign-in was stopped"), "{}", journey.summary());
    let codes = hospital.codes(&journey);
    for code in ["RISK_HIGH", "RISK_IMPOSSIBLE_TRAVEL", "RISK_NEW_COUNTRY", "RISK_NEW_DEVICE"] {
        assert!(codes.iter().any(|it| it == code), "{code} is not in {codes:?}");
    }
    let sealed = hospital.deployment.sealed(journey.index().unwrap()).to_string();
    assert!(sealed.contains("kilometres"), "the record says how far and how fast");

    // It taught nothing: the journey is as impossible the next time, also before its event.
    hospital.pass(5 * MINUTE);
    assert!(hospital.token("00unoor", "moscow-2", &abroad()).stops_a_token());
    hospital.pass(5 * MINUTE);
    assert!(!hospital.sign_in("00unoor", "tuesday", &home()).stops_a_token());
}

#[test]
fn a_new_telephone_is_asked_for_a_second_factor_once() {
    let mut hospital = Hospital::open();
    hospital.live("00uada", &home());
    hospital.pass(DAY);
    // Another telephone, in another network of the country.
    let new = origin("192.0.2.200", STRANGE, 64_500, "United States", (42.34, -71.10));
    let asked = hospital.sign_in("00uada", "new", &new);
    assert!(asked.stops_a_token());
    assert!(asked.summary().contains("second factor"), "{}", asked.summary());
    hospital.pass(MINUTE);
    let factor = "user.authentication.auth_via_mfa";
    hospital.deliver(&[hospital.event("00uada", "new", factor, "SUCCESS", &new)]);
    assert!(!hospital.token("00uada", "new", &new).stops_a_token());
    hospital.pass(DAY);
    assert!(!hospital.sign_in("00uada", "new-2", &new).stops_a_token(), "it is known now");
}

#[test]
fn a_push_that_is_approved_after_many_were_denied_is_not_believed() {
    let mut hospital = Hospital::open();
    hospital.live("00ulee", &home());
    hospital.pass(DAY);
    for _ in 0..6 {
        hospital.pass(MINUTE);
        let denied = "user.mfa.okta_verify.deny_push";
        hospital.deliver(&[hospital.event("00ulee", "bomb", denied, "FAILURE", &abroad())]);
    }
    hospital.pass(MINUTE);
    let factor = "user.authentication.auth_via_mfa";
    hospital.deliver(&[hospital.event("00ulee", "bomb", factor, "SUCCESS", &abroad())]);
    let answer = hospital.sign_in("00ulee", "bomb", &abroad());
    assert!(answer.stops_a_token());
    let codes = hospital.codes(&answer);
    assert!(codes.iter().any(|it| it == "RISK_PUSH_BOMBING"), "{codes:?}");

    // The same events once more, late and in another order, change nothing; in a day it is over.
    hospital.pass(DAY);
    assert!(!hospital.sign_in("00ulee", "next day", &home()).stops_a_token());
}

#[test]
fn five_hundred_people_behind_one_address_are_not_slowed_down_at_shift_change() {
    const PEOPLE: usize = 500;
    let mut hospital = Hospital::open();
    let from = Origin { device: Some("ward-pc-7".to_owned()), ..campus() };
    let shift_change = |hospital: &mut Hospital, day: i64| {
        let at = hospital.clock.now();
        std::thread::scope(|scope| {
            for lane in 0..8 {
                let (hospital, from) = (&*hospital, &from);
                scope.spawn(move || {
                    let mut client = hospital.host.client();
                    for number in (lane..PEOPLE).step_by(8) {
                        let (person, session) = (format!("00u{number}"), format!("{number}-{day}"));
                        // One in ten mistypes the password first.
                        let results = if number.is_multiple_of(10) {
                            &["FAILURE", "SUCCESS"][..]
                        } else {
                            &["SUCCESS"]
                        };
                        let told: Vec<_> = results
                            .iter()
                            .map(|result| {
                                let kind = "user.session.start";
                                let published = &rfc3339(at);
                                let session = Some(session.as_str());
                                SystemEvent { kind, result, person: &person, session, published }
                                    .body(from)
                            })
                            .collect();
                        let body = portcullis_tests::delivery(&told, &rfc3339(at));
                        let answer = client.send(&hospital.host.request("event", &body)).unwrap();
                        assert_eq!(answer.status, 204, "{}", answer.json);
                        let body = token(&person, &session, from, at).bytes();
                        let answer = client.send(&hospital.host.request("token", &body)).unwrap();
                        let is_issued = answer.status == 200 && !answer.stops_a_token();
                        let record = || hospital.deployment.record(answer.index().unwrap());
                        assert!(is_issued, "{person}, day {day}: {}", record());
                    }
                });
            }
        });
    };
    for day in 0..2 {
        shift_change(&mut hospital, day);
        hospital.pass(DAY * 15);
    }
    let last = hospital.sign_in("00u7", "last", &from);
    assert_eq!(hospital.codes(&last), ["RISK_LOW"]);
}

#[test]
fn failures_of_an_attacker_fill_nobodys_memory() {
    let mut hospital = Hospital::open();
    hospital.live("00ulee", &home());
    // More failures, from more addresses, than a person's memory has room for entries.
    for wave in 0..16 {
        hospital.pass(3 * MINUTE);
        let from = |number| Origin { ip: format!("203.0.113.{}", wave * 16 + number), ..abroad() };
        let kind = "user.session.start";
        let failure = |number| hospital.event("00ulee", "x", kind, "FAILURE", &from(number % 16));
        hospital.deliver(&(0..32).map(failure).collect::<Vec<_>>());
    }
    let records = hospital.deployment.records_of("hook.decision");
    let faults: Vec<_> = records.iter().filter(|it| !it["decision"]["cause"].is_null()).collect();
    assert!(faults.is_empty(), "{} faults: {}", faults.len(), faults[0]);
    let usual = hospital.sign_in("00ulee", "usual", &home());
    assert!(!usual.stops_a_token(), "{}", usual.json);
}
