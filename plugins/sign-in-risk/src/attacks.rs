//! Attacks that failed sign-ins tell of: spraying, stuffing and brute force.
//!
//! Invariant: a failure counts once, by its event's id, since every counter here counts different
//! members. A failure that arrives later than its window is not counted.
//!
//! The thresholds are those of Elastic's rules for Okta (elastic/detection-rules, Okta integration:
//! password spray from one source, credential stuffing, brute force from many sources). Their
//! duration of 5 minutes is counted as failures in 5 different minutes. Their conditions that most
//! people are tried few times are left out: they tell kinds of attacks apart, and with them the
//! result would depend on the order of events.
//!
//! An attack is remembered by the time at which the host noticed it, which later failures move on.
//!
//! A source is an address (IPv6: a /64). An address behind which many people are, as a known
//! network says, is no source.

use crate::attempt::Attempt;
use crate::compiled::Compiled;
use crate::features::Features;
use crate::hash::{hash32, hash64};
use crate::history::Reader;
use crate::settings::Attacks;
use crate::world::{Scope, World};

/// The times at which attacks were last seen, in seconds; 0 where none was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Against the person.
    pub brute_force: u32,
    pub locked_out: u32,
    /// From the address.
    pub spraying: u32,
    pub stuffing: u32,
    pub threat: u32,
}

/// An attack, as the events' findings name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Attack {
    PushBombing,
    BruteForce,
    LockedOut,
    Spraying,
    Stuffing,
    Threat,
}

impl Seen {
    /// The attacks that an attempt may be part of.
    pub(crate) fn recall(features: &Features, has_subject: bool, world: &dyn World) -> Self {
        let own = if has_subject { recall(Scope::Subject, PERSON, world) } else { Self::default() };
        let source = match features.address {
            0 => Self::default(),
            address => recall(Scope::Shared, &source_key(address), world),
        };
        Self {
            brute_force: own.brute_force,
            locked_out: own.locked_out,
            spraying: source.spraying,
            stuffing: source.stuffing,
            threat: source.threat,
        }
    }

    /// Those not older than `seconds` at a time.
    pub(crate) fn within(&self, at: u32, seconds: u32) -> Vec<Attack> {
        let all = [
            (Attack::BruteForce, self.brute_force),
            (Attack::LockedOut, self.locked_out),
            (Attack::Spraying, self.spraying),
            (Attack::Stuffing, self.stuffing),
            (Attack::Threat, self.threat),
        ];
        let recent = |time: u32| time > 0 && at.abs_diff(time) <= seconds;
        all.into_iter().filter(|(_, time)| recent(*time)).map(|(attack, _)| attack).collect()
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        for time in [self.brute_force, self.locked_out, self.spraying, self.stuffing, self.threat] {
            bytes.extend(time.to_be_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        (reader.u8()? == VERSION).then_some(())?;
        let seen = Self {
            brute_force: reader.u32()?,
            locked_out: reader.u32()?,
            spraying: reader.u32()?,
            stuffing: reader.u32()?,
            threat: reader.u32()?,
        };
        reader.0.is_empty().then_some(seen)
    }
}

/// A failed attempt of an event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure<'a> {
    /// The event's id.
    pub event: &'a str,
    /// A hash of who was attempted.
    pub person: u64,
    pub has_subject: bool,
    pub is_shared_origin: bool,
    /// The time at which the event was received, in seconds.
    pub received: u32,
}

/// Counts a failed attempt, and returns the attacks that it is now part of.
pub(crate) fn count_failure(
    attempt: &Attempt,
    failure: &Failure<'_>,
    compiled: &Compiled,
    world: &dyn World,
) -> Vec<Attack> {
    let Failure { event, person, has_subject, is_shared_origin, received } = *failure;
    let late_seconds = received.saturating_sub(attempt.seconds);
    let rules = &compiled.settings.attacks;
    let mut found = Vec::new();
    let event = format!("{:016x}", hash64(event.as_bytes()));
    if has_subject && late_seconds <= BRUTE_FORCE_WINDOW {
        let count = count_person(&attempt.features, &event, world);
        if count.is_brute_force(rules) {
            found.push(Attack::BruteForce);
        }
    }
    if attempt.features.address != 0 && !is_shared_origin {
        let person = format!("{person:016x}");
        let key = |what: &str| format!("source/{:08x}/{what}", attempt.features.address);
        let tally = |what: &str, member: &str, window: u32| {
            world.tally_distinct(Scope::Shared, &key(what), member, window)
        };
        if late_seconds <= STUFFING_WINDOW {
            let people = tally("stuffed", &person, STUFFING_WINDOW);
            let failures = tally("stuffings", &event, STUFFING_WINDOW);
            if is_stuffing(people, failures, rules) {
                found.push(Attack::Stuffing);
            }
        }
        if late_seconds <= SPRAYING_WINDOW {
            let people = tally("sprayed", &person, SPRAYING_WINDOW);
            let failures = tally("sprayings", &event, SPRAYING_WINDOW);
            let minute = (attempt.seconds / 60).to_string();
            let minutes = tally("minutes", &minute, SPRAYING_WINDOW);
            if is_spraying(people, failures, minutes, rules) {
                found.push(Attack::Spraying);
            }
        }
    }
    flag(&found, &attempt.features, received, compiled, world);
    found
}

/// Remembers attacks from an address, or against the subject, at a time in seconds.
pub(crate) fn flag(
    attacks: &[Attack],
    features: &Features,
    at: u32,
    compiled: &Compiled,
    world: &dyn World,
) {
    // In steps of ten minutes, so that a wave of failures does not write the value again and again.
    let time = (at - at % STEP).max(1);
    let ttl = compiled.attack_seconds().saturating_add(STEP);
    let (mut own, mut source) = (Seen::default(), Seen::default());
    for attack in attacks {
        match attack {
            Attack::PushBombing => {}
            Attack::BruteForce => own.brute_force = time,
            Attack::LockedOut => own.locked_out = time,
            Attack::Spraying => source.spraying = time,
            Attack::Stuffing => source.stuffing = time,
            Attack::Threat => source.threat = time,
        }
    }
    if own != Seen::default() {
        merge(Scope::Subject, PERSON, own, ttl, world);
    }
    if source != Seen::default() && features.address != 0 {
        merge(Scope::Shared, &source_key(features.address), source, ttl, world);
    }
}

/// The number of different failures of the person in the last half hour.
pub(crate) fn failures(world: &dyn World) -> u32 {
    world.count_distinct(Scope::Subject, FAILURES, BRUTE_FORCE_WINDOW)
}

/// Failures of one person within the window.
#[derive(Clone, Copy, Debug)]
struct Count {
    failures: u32,
    addresses: u32,
    networks: u32,
    countries: u32,
    agents: u32,
}

impl Count {
    fn is_brute_force(&self, rules: &Attacks) -> bool {
        self.addresses >= u32::from(rules.brute_force_addresses)
            && self.failures >= u32::from(rules.brute_force_failures)
            && (self.countries >= 2
                || self.networks >= 3
                || self.addresses >= 8
                || self.agents >= 3)
    }
}

fn count_person(features: &Features, event: &str, world: &dyn World) -> Count {
    // A value that is not known is no member, and the others are counted without it.
    let tally = |key: &str, value: u32| match value {
        0 => world.count_distinct(Scope::Subject, key, BRUTE_FORCE_WINDOW),
        _ => world.tally_distinct(Scope::Subject, key, &format!("{value:08x}"), BRUTE_FORCE_WINDOW),
    };
    let country = if features.country == [0, 0] { 0 } else { hash32(&features.country) };
    Count {
        failures: world.tally_distinct(Scope::Subject, FAILURES, event, BRUTE_FORCE_WINDOW),
        addresses: tally("failed/addresses", features.address),
        networks: tally("failed/networks", features.asn),
        countries: tally("failed/countries", country),
        agents: tally("failed/agents", features.agent),
    }
}

fn is_spraying(people: u32, failures: u32, minutes: u32, rules: &Attacks) -> bool {
    people >= u32::from(rules.spraying_people)
        && failures >= u32::from(rules.spraying_failures)
        && minutes >= u32::from(rules.spraying_minutes)
}

fn is_stuffing(people: u32, failures: u32, rules: &Attacks) -> bool {
    people >= u32::from(rules.stuffing_people) && failures >= u32::from(rules.stuffing_failures)
}

fn recall(scope: Scope, key: &str, world: &dyn World) -> Seen {
    world.recall(scope, key).and_then(|bytes| Seen::decode(&bytes)).unwrap_or_default()
}

fn merge(scope: Scope, key: &str, new: Seen, ttl: u32, world: &dyn World) {
    let old = recall(scope, key, world);
    let merged = Seen {
        brute_force: old.brute_force.max(new.brute_force),
        locked_out: old.locked_out.max(new.locked_out),
        spraying: old.spraying.max(new.spraying),
        stuffing: old.stuffing.max(new.stuffing),
        threat: old.threat.max(new.threat),
    };
    if merged != old {
        world.remember(scope, key, &merged.encode(), ttl);
    }
}

fn source_key(address: u32) -> String {
    format!("source/{address:08x}/attacks")
}

/// The person's attacks.
const PERSON: &str = "attacks";

/// The person's failures.
const FAILURES: &str = "failed";

/// Seconds.
const BRUTE_FORCE_WINDOW: u32 = 30 * 60;
const STUFFING_WINDOW: u32 = 15 * 60;
const SPRAYING_WINDOW: u32 = 60 * 60;

/// Attack times are rounded down to multiples of it, in seconds.
const STEP: u32 = 600;

/// The version of the stored form.
const VERSION: u8 = 1;
