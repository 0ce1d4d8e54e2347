//! Sends a plan to a host over sockets, in the order of time, with the host's clock moved.
//!
//! Invariants:
//! - The calls of one person, and those of one run of an attack, are sent one after the other.
//!   Calls of different people in the same step (a minute; ten in the first days) are sent at the
//!   same time, since their order does not matter.
//! - No event is published after the time at which it is delivered.
//! - People who are stopped do as they are told: they sign in with a second factor, and request the
//!   token again.

use std::sync::mpsc;
use std::thread;

use portcullis_tests::{
    Answer, Client, Host, MovedClock, Origin, Raw, SECRET, SignIn as TokenBody, SystemEvent,
    delivery, event, rfc3339,
};
use serde_json::{Value, json};

use super::attackers::{Act, ActKind};
use super::days::SignIn;
use super::people::{DAY, MINUTE};
use super::plan::Plan;

/// The answers to a plan.
#[derive(Default)]
pub struct Seen {
    /// Of each sign-in, by its place in the plan.
    pub sign_ins: Vec<(usize, Outcome)>,
    /// Of each request of an attacker: the run, the attempt, and whether it got the token.
    pub tokens: Vec<(usize, usize, bool)>,
    pub calls: usize,
}

/// The outcome of a sign-in of the hospital's people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The first request for a token was stopped, or the second one of the same session.
    pub is_challenged: bool,
    /// No second factor helped.
    pub is_refused: bool,
    /// The place of the first stop in the log.
    pub record: Option<u64>,
}

/// A call that is due.
#[derive(Clone, Copy)]
enum Item<'a> {
    SignIn(usize, &'a SignIn),
    Again(&'a SignIn),
    Act(usize, &'a Act),
}

/// Runs a plan.
pub fn run(plan: &Plan, host: &Host, clock: &MovedClock) -> Seen {
    let steps = steps(plan);
    let mut all = Seen::default();
    thread::scope(|scope| {
        let (finished, done) = mpsc::channel::<()>();
        let mut lanes = Vec::new();
        for _ in 0..LANES {
            let (send, receive) = mpsc::channel::<(i64, Vec<Item<'_>>)>();
            let finished = finished.clone();
            let lane = scope.spawn(move || {
                let mut lane = Lane {
                    plan,
                    client: host.client(),
                    host,
                    seen: Seen::default(),
                    late: Vec::new(),
                };
                for (at, items) in receive {
                    lane.step(at, &items);
                    finished.send(()).unwrap();
                }
                lane.seen
            });
            lanes.push((send, lane));
        }
        for (at, items) in steps {
            let at = plan.begin + at;
            clock.ahead(at - portcullis_tests::now());
            let mut split = vec![Vec::new(); LANES];
            for item in items {
                split[item.lane()].push(item);
            }
            let mut running = 0;
            for ((send, _), items) in lanes.iter().zip(split) {
                if !items.is_empty() {
                    send.send((at, items)).unwrap();
                    running += 1;
                }
            }
            for _ in 0..running {
                // A lane that panicked sends nothing; its join says why.
                if done.recv_timeout(std::time::Duration::from_secs(120)).is_err() {
                    break;
                }
            }
        }
        for (send, lane) in lanes {
            drop(send);
            let seen = lane.join().unwrap();
            all.sign_ins.extend(seen.sign_ins);
            all.tokens.extend(seen.tokens);
            all.calls += seen.calls;
        }
    });
    all.tokens.sort_unstable();
    all
}

/// The calls of each step, by the end of the step in seconds from the plan's beginning.
fn steps(plan: &Plan) -> std::collections::BTreeMap<i64, Vec<Item<'_>>> {
    let mut due: Vec<(i64, Item<'_>)> = Vec::new();
    for (place, sign_in) in plan.sign_ins.iter().enumerate() {
        due.push((sign_in.at, Item::SignIn(place, sign_in)));
        if let Some(later) = sign_in.again {
            due.push((sign_in.at + later, Item::Again(sign_in)));
        }
    }
    for (run, all) in plan.runs.iter().enumerate() {
        due.extend(all.acts.iter().map(|act| (act.at, Item::Act(run, act))));
    }
    due.sort_by_key(|(at, _)| *at);
    let mut steps = std::collections::BTreeMap::<i64, Vec<Item<'_>>>::new();
    for (at, item) in due {
        let length = if at < plan.size.history * DAY { 10 * MINUTE } else { MINUTE };
        steps.entry(at - at % length + length).or_default().push(item);
    }
    steps
}

impl Item<'_> {
    fn lane(&self) -> usize {
        match self {
            Self::SignIn(_, sign_in) | Self::Again(sign_in) => sign_in.person % LANES,
            Self::Act(run, _) => run % LANES,
        }
    }
}

/// A connection, and its part of the calls.
struct Lane<'a> {
    plan: &'a Plan,
    client: Client,
    host: &'a Host,
    seen: Seen,
    /// Events that are not delivered yet.
    late: Vec<Value>,
}

impl Lane<'_> {
    /// The calls of a step, at a time in seconds since 1970.
    fn step(&mut self, at: i64, items: &[Item<'_>]) {
        let now = rfc3339(at);
        let mut failures: Vec<Value> = Vec::new();
        for (place, item) in items.iter().enumerate() {
            match item {
                Item::SignIn(number, sign_in) => self.sign_in(*number, sign_in, &now),
                Item::Again(sign_in) => {
                    let person = &self.plan.people[sign_in.person].id;
                    // Somebody who is not signed in requests nothing more.
                    let answer = self.token(
                        person,
                        &sign_in.session,
                        &sign_in.from,
                        sign_in.groups.is_entra,
                        &now,
                    );
                    let _ = is_stopped(&answer);
                }
                Item::Act(run, act) => {
                    if let Some(event) = self.failure(act) {
                        failures.push(event);
                        let goes_on = items.get(place + 1).is_some_and(|next| {
                            matches!(next, Item::Act(other, act) if other == run && !matches!(act.kind, ActKind::Token { .. }))
                        });
                        if !goes_on || failures.len() == MOST_EVENTS {
                            self.deliver(&std::mem::take(&mut failures), &now);
                        }
                    } else {
                        let got = self.attack(act, &now);
                        self.seen.tokens.push((*run, act.attempt, got));
                    }
                }
            }
        }
        self.deliver_late(&now);
    }

    /// Okta collects events for some seconds and delivers them together.
    fn deliver_late(&mut self, now: &str) {
        let events = std::mem::take(&mut self.late);
        self.deliver(&events, now);
    }

    /// Somebody signs in, and does as told.
    fn sign_in(&mut self, number: usize, sign_in: &SignIn, now: &str) {
        let person = self.plan.people[sign_in.person].id.clone();
        let (session, from, is_entra) = (&sign_in.session, &sign_in.from, sign_in.groups.is_entra);
        let at = rfc3339(self.plan.begin + sign_in.at);
        let told = |kind, result, published: &str| {
            SystemEvent { kind, result, person: &person, session: Some(session), published }
                .body(from)
        };
        let mut events = Vec::new();
        if sign_in.is_mistyped {
            events.push(told("user.session.start", "FAILURE", &at));
        }
        events.push(told("user.session.start", "SUCCESS", &at));
        if sign_in.is_event_early && !is_entra {
            self.deliver(&events, now);
        }
        let answer = self.token(&person, session, from, is_entra, now);
        let mut undelivered = if sign_in.is_event_early || is_entra { Vec::new() } else { events };
        let mut outcome = Outcome::default();
        if is_stopped(&answer) {
            outcome.is_challenged = true;
            outcome.record = answer.index();
            if !is_entra {
                undelivered.push(told("user.authentication.auth_via_mfa", "SUCCESS", now));
                self.deliver(&std::mem::take(&mut undelivered), now);
            }
            let answer = self.token(&person, session, from, is_entra, now);
            outcome.is_refused = is_stopped(&answer);
        }
        self.seen.sign_ins.push((number, outcome));
        self.late.append(&mut undelivered);
        if self.late.len() >= MOST_EVENTS {
            self.deliver_late(now);
        }
    }

    /// An attacker requests a token; returns whether it is issued.
    fn attack(&mut self, act: &Act, now: &str) -> bool {
        let ActKind::Token { is_event_early, is_push_approved, is_own_session } = act.kind else {
            return false;
        };
        let person = &self.plan.people[act.person.unwrap()];
        let (id, session) = (person.id.clone(), &act.session);
        let told = |kind| {
            SystemEvent {
                kind,
                result: "SUCCESS",
                person: &id,
                session: Some(session),
                published: now,
            }
            .body(&act.from)
        };
        let mut events = vec![told("user.session.start")];
        if is_push_approved {
            events.push(told("user.authentication.auth_via_mfa"));
        }
        // The events of a session that goes on were delivered when it began.
        let has_events = !person.uses_entra && !is_own_session;
        if has_events && is_event_early {
            self.deliver(&events, now);
        }
        let answer = self.token(&id, session, &act.from, person.uses_entra, now);
        if has_events && !is_event_early {
            self.deliver(&events, now);
        }
        !is_stopped(&answer)
    }

    fn failure(&self, act: &Act) -> Option<Value> {
        let (kind, session) = match act.kind {
            ActKind::Fail => ("user.session.start", None),
            ActKind::DeniedPush => ("user.mfa.okta_verify.deny_push", Some(act.session.as_str())),
            ActKind::Token { .. } => return None,
        };
        let person = act.person.map_or("unknown", |person| &self.plan.people[person].id);
        let published = &rfc3339(self.plan.begin + act.at);
        let event = SystemEvent { kind, result: "FAILURE", person, session, published };
        let mut body = event.body(&act.from);
        if act.person.is_none() {
            body["actor"]["alternateId"] = json!(format!("nobody.{}@ward.test", act.attempt));
        }
        Some(body)
    }

    /// Requests a token from the hook of the person's platform. Where the host could not decide, as
    /// on a disk that hangs, people try again.
    fn token(
        &mut self,
        person: &str,
        session: &str,
        from: &Origin,
        is_entra: bool,
        now: &str,
    ) -> Answer {
        for _ in 0..TRIES {
            let answer = self.request(person, session, from, is_entra, now);
            if answer.status != 500 && !answer.summary().contains(UNDECIDED) {
                return answer;
            }
        }
        self.request(person, session, from, is_entra, now)
    }

    fn request(
        &mut self,
        person: &str,
        session: &str,
        from: &Origin,
        is_entra: bool,
        now: &str,
    ) -> Answer {
        if is_entra {
            let mut body = entra_body();
            body["data"]["authenticationContext"]["correlationId"] = json!(event());
            body["data"]["authenticationContext"]["client"]["ip"] = json!(from.ip);
            body["data"]["authenticationContext"]["user"]["id"] = json!(person);
            return self.post("entra", body.to_string().into_bytes());
        }
        let mut sign_in = TokenBody::with_groups(&["ward-reader"]);
        sign_in.body["eventTime"] = json!(now);
        let context = &mut sign_in.body["data"]["context"];
        context["user"]["id"] = json!(person);
        context["session"]["id"] = json!(session);
        context["session"]["userId"] = json!(person);
        context["request"]["ipAddress"] = json!(from.ip);
        self.post("token", sign_in.bytes())
    }

    /// Delivers events; once more where the host asks for it, as Okta does.
    fn deliver(&mut self, events: &[Value], now: &str) {
        if events.is_empty() {
            return;
        }
        let body = delivery(events, now);
        let mut answer = self.post("event", body.clone());
        for _ in 0..TRIES {
            if answer.status == 503 {
                answer = self.post("event", body.clone());
            }
        }
        assert_eq!(answer.status, 204, "{}", answer.json);
    }

    fn post(&mut self, hook: &str, body: Vec<u8>) -> Answer {
        self.seen.calls += 1;
        let request = Raw::post(&format!("/okta/{hook}"), SECRET, &body);
        // A connection that the host has closed meanwhile is opened again, as clients do.
        self.client.send(&request).unwrap_or_else(|_| {
            self.client = self.host.client();
            self.client.send(&request).unwrap()
        })
    }
}

/// Whether a token is not issued; an answer that is no decision fails the test.
fn is_stopped(answer: &Answer) -> bool {
    assert!(matches!(answer.status, 200 | 403), "{} {}", answer.status, answer.json);
    answer.status == 403 || answer.stops_a_token()
}

fn entra_body() -> Value {
    let text = include_str!("../../host/hooks/tests/payloads/entra/token-issuance.json");
    serde_json::from_str(text).unwrap()
}

/// Connections.
const LANES: usize = 6;

/// How often people try again.
const TRIES: usize = 3;

/// The text of a safe answer.
const UNDECIDED: &str = "could not be checked";

/// The most events of one delivery.
const MOST_EVENTS: usize = 10;
