//! The attackers. Their parameters come from published rules, with noise, and not from the plugin's
//! settings.
//!
//! - Stuffing: 25 attempts or more on 15 people or more in 15 minutes, few tries each (Elastic,
//!   `credential_access_okta_credential_stuffing…`).
//! - Spraying: 15 attempts or more on 5 people or more, 2 to 6 each, over 5 minutes or more
//!   (Elastic, `…_password_spray_single_source`).
//! - Push bombing: about 5 denied pushes in about 10 minutes, then a success (Elastic, `…bombing`).
//! - Impossible travel: 500 km or more at 800 km/h or more, within 90 minutes of the person's own
//!   sign-in (Elastic, `initial_access_entra_id_signin_impossible_travel`).
//! - Session theft: the person's own session, on the device itself or copied from it.
//! - Slow insider: a colleague with the person's password, at a workstation of the same ward.
//!
//! Invariant: a run follows from the seed and the people's sign-ins. Each run has an address of its
//! own.

use portcullis_tests::Origin;

use super::days::SignIn;
use super::dice::Dice;
use super::networks::{Browser, CAMPUS, HOMES, HOSTING, Network, campus, kilometres};
use super::people::{DAY, HOUR, MINUTE, Person};

/// The kind of an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attack {
    Stuffing,
    Spraying,
    PushBombing,
    ImpossibleTravel,
    SessionTheft,
    SlowInsider,
}

/// One run of an attack.
#[derive(Clone, Debug)]
pub struct Run {
    pub attack: Attack,
    /// Ascending by time.
    pub acts: Vec<Act>,
}

/// One act of an attacker.
#[derive(Clone, Debug)]
pub struct Act {
    /// Seconds from the first midnight.
    pub at: i64,
    /// The number of the attempt in its run, from 1.
    pub attempt: usize,
    /// The person's number; `None` for a name that the platform does not know.
    pub person: Option<usize>,
    pub session: String,
    pub from: Origin,
    pub kind: ActKind,
}

/// The kind of an act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActKind {
    /// A wrong password.
    Fail,
    /// A push that the person denies.
    DeniedPush,
    /// A request for a token; before or after the event of its sign-in.
    Token { is_event_early: bool, is_push_approved: bool, is_own_session: bool },
}

/// How many runs of each attack.
pub const RUNS: [(Attack, usize); 6] = [
    (Attack::Stuffing, 30),
    (Attack::Spraying, 10),
    (Attack::PushBombing, 40),
    (Attack::ImpossibleTravel, 40),
    (Attack::SessionTheft, 20),
    (Attack::SlowInsider, 10),
];

/// The attackers of some days (`from` to `until`), `share` times as many as [`RUNS`].
pub fn runs(
    people: &[Person],
    sign_ins: &[SignIn],
    (from, until): (i64, i64),
    share: usize,
    dice: &mut Dice,
) -> Vec<Run> {
    let mut attackers = Attackers { people, sign_ins, dice: dice.fork(), number: 0 };
    let mut all = Vec::new();
    for (attack, count) in RUNS {
        for _ in 0..count * share {
            attackers.number += 1;
            let day = attackers.dice.between(from, until);
            let start = day * DAY + attackers.dice.between(0, DAY - 2 * HOUR);
            let acts = match attack {
                Attack::Stuffing => attackers.stuff(start),
                Attack::Spraying => attackers.spray(start),
                Attack::PushBombing => attackers.bomb(start),
                Attack::ImpossibleTravel => attackers.travel(from),
                Attack::SessionTheft => attackers.steal(from),
                Attack::SlowInsider => attackers.creep(start.min((until - 3) * DAY)),
            };
            all.push(Run { attack, acts });
        }
    }
    all
}

struct Attackers<'a> {
    people: &'a [Person],
    sign_ins: &'a [SignIn],
    dice: Dice,
    /// Of the run: its address and sessions.
    number: i64,
}

impl Attackers<'_> {
    /// A list of leaked passwords, most of which are wrong, and some of people who are none.
    fn stuff(&mut self, start: i64) -> Vec<Act> {
        let from = self.source();
        let attempts = self.dice.between(25, 61);
        let span = self.dice.between(5 * MINUTE, 15 * MINUTE);
        // One password at least is right in the last 40 %; two more may be anywhere.
        let mut right = vec![self.dice.between(attempts * 6 / 10, attempts)];
        right.extend((0..self.dice.between(0, 3)).map(|_| self.dice.between(0, attempts)));
        let mut acts = Vec::new();
        for attempt in 0..attempts {
            let is_right = right.contains(&attempt);
            let is_unknown = !is_right && self.dice.permille(300);
            let person = (!is_unknown).then(|| self.victim());
            let at = start + span * attempt / attempts;
            let kind = if is_right { self.token() } else { ActKind::Fail };
            acts.push(self.act(at, attempt + 1, person, &from, kind));
        }
        acts
    }

    /// A few passwords for each of several people, one of which is right.
    fn spray(&mut self, start: i64) -> Vec<Act> {
        let from = self.source();
        let (people, each) = (self.dice.between(5, 16), self.dice.between(3, 7));
        let victims: Vec<_> = (0..people).map(|_| self.victim()).collect();
        let span = self.dice.between(5 * MINUTE, 50 * MINUTE);
        let attempts = people * each;
        let right = self.dice.between(attempts / 2, attempts);
        let mut acts = Vec::new();
        for attempt in 0..attempts {
            let person = victims[usize::try_from(attempt % people).unwrap()];
            let at = start + span * attempt / attempts;
            let kind = if attempt == right { self.token() } else { ActKind::Fail };
            acts.push(self.act(at, attempt + 1, Some(person), &from, kind));
        }
        acts
    }

    /// The password is known. Pushes are sent until the person gives in.
    fn bomb(&mut self, start: i64) -> Vec<Act> {
        // One in five comes over a home near the person's own.
        let from = if self.dice.permille(200) { self.neighbour() } else { self.source() };
        let (person, denied) = (self.victim(), self.dice.between(4, 13));
        let span = self.dice.between(3 * MINUTE, 12 * MINUTE);
        let mut acts: Vec<_> = (0..denied)
            .map(|push| {
                let at = start + span * push / denied;
                self.act(at, push + 1, Some(person), &from, ActKind::DeniedPush)
            })
            .collect();
        let is_event_early = self.dice.permille(500);
        let kind = ActKind::Token { is_event_early, is_push_approved: true, is_own_session: false };
        let session = acts[0].session.clone();
        let mut last = self.act(start + span + MINUTE / 2, denied + 1, Some(person), &from, kind);
        last.session = session;
        acts.push(last);
        acts
    }

    /// The person was here, and minutes later the attacker is far away.
    fn travel(&mut self, first_day: i64) -> Vec<Act> {
        loop {
            let sign_in = self.some_sign_in(first_day);
            let minutes = self.dice.between(5, 90);
            let network = *self.dice.pick(&HOSTING);
            let km = kilometres(sign_in.from.place, network.place);
            if km < 500.0 || km * 60.0 / (minutes as f64) < 800.0 {
                continue;
            }
            // Half of them copy the person's browser (a phishing proxy does).
            let agent = if self.dice.permille(500) {
                sign_in.from.agent.clone()
            } else {
                self.agent(sign_in.at / DAY)
            };
            let host = 256 + self.number;
            let from = network.origin(host, &agent, None, &mut self.dice);
            let attempts = self.dice.between(1, 4);
            return (0..attempts)
                .map(|attempt| {
                    let at = sign_in.at + minutes * MINUTE + attempt * 3 * MINUTE;
                    let kind = self.token();
                    self.act(at, attempt + 1, Some(sign_in.person), &from, kind)
                })
                .collect();
        }
    }

    /// A session of the person on the same device: on the device itself, or copied to another
    /// network.
    fn steal(&mut self, first_day: i64) -> Vec<Act> {
        let sign_in = self.some_sign_in(first_day);
        let from = if self.dice.permille(500) {
            sign_in.from.clone()
        } else {
            let network = *self.dice.pick(&HOSTING);
            let device = sign_in.from.device.as_deref();
            network.origin(256 + self.number, &sign_in.from.agent, device, &mut self.dice)
        };
        let kind =
            ActKind::Token { is_event_early: true, is_push_approved: false, is_own_session: true };
        let at = sign_in.at + self.dice.between(10 * MINUTE, 100 * MINUTE);
        let mut act = self.act(at, 1, Some(sign_in.person), &from, kind);
        act.session = sign_in.session.clone();
        vec![act]
    }

    /// Once a day for three days, at a workstation of the person's ward.
    fn creep(&mut self, start: i64) -> Vec<Act> {
        let person = self.victim();
        let ward = self.people[person].ward;
        let device = format!("ward-{ward}-0");
        (0..3)
            .map(|day| {
                let agent = Browser::Managed.agent(start / DAY + day, 0);
                let from = campus(CAMPUS[ward % 2], &agent, Some(&device));
                let kind = self.token();
                self.act(start + day * DAY, 1 + day, Some(person), &from, kind)
            })
            .collect()
    }

    fn act(
        &self,
        at: i64,
        attempt: i64,
        person: Option<usize>,
        from: &Origin,
        kind: ActKind,
    ) -> Act {
        let attempt = usize::try_from(attempt).unwrap();
        let session = format!("666-{}-{attempt}", self.number);
        Act { at, attempt, person, session, from: from.clone(), kind }
    }

    fn token(&mut self) -> ActKind {
        ActKind::Token {
            is_event_early: self.dice.permille(500),
            is_push_approved: false,
            is_own_session: false,
        }
    }

    fn victim(&mut self) -> usize {
        loop {
            let person = self.dice.index(self.people.len());
            if !self.people[person].uses_entra {
                return person;
            }
        }
    }

    /// A sign-in after the first days, early enough that the attack's day is simulated.
    fn some_sign_in(&mut self, first_day: i64) -> SignIn {
        let last = self.sign_ins.last().map_or(0, |last| last.at) - 4 * HOUR;
        loop {
            let sign_in = self.dice.pick(self.sign_ins);
            if (first_day * DAY..last).contains(&sign_in.at) {
                return sign_in.clone();
            }
        }
    }

    fn source(&mut self) -> Origin {
        let network: Network = *self.dice.pick(&HOSTING);
        let agent = self.agent(14);
        network.origin(256 + self.number, &agent, None, &mut self.dice)
    }

    fn neighbour(&mut self) -> Origin {
        let network = *self.dice.pick(&HOMES);
        let agent = self.agent(14);
        network.origin(60_000 + self.number % 5_000, &agent, None, &mut self.dice)
    }

    fn agent(&mut self, day: i64) -> String {
        let browsers = [Browser::Chrome, Browser::Chrome, Browser::LinuxFirefox, Browser::Mac];
        self.dice.pick(&browsers).agent(day, 0)
    }
}
