//! One sign-in: which signals it raises, how many points they come to, and which band that is.
//!
//! Invariants:
//! - The points are the sum of the contributions, each group within its cap, at most 100; every
//!   contribution is told.
//! - A signal that is not known (no address, no user agent, no history) raises nothing.
//! - While a person's history is too short, nothing is compared with it; attacks, travel and the
//!   platform's own risk count from the first sign-in on.
//! - A sign-in becomes part of the history if it is worth it: in the band "low" or while learning,
//!   and not after an attack; or if a second factor confirmed it, and no burst of denied pushes
//!   came before, or it comes from where the person was before. A sign-in that is denied, or waits
//!   for a second factor, teaches nothing.

use crate::attacks::{self, Attack, Seen};
use crate::attempt::{Attempt, Known, PlatformRisk};
use crate::calibration;
use crate::compiled::Compiled;
use crate::features::Features;
use crate::history::History;
use crate::hours;
use crate::memory;
use crate::model::{Inputs, Model, UNKNOWN};
use crate::popularity::{self, Likelihood};
use crate::session::Session;
use crate::signals::{Contribution, Group, Signal};
use crate::travel::{self, Journey, Speed};
use crate::world::World;

/// A judged sign-in.
#[derive(Clone, Debug)]
pub(crate) struct Assessment {
    /// 0 to 100.
    pub points: u8,
    pub band: Band,
    /// The threshold of the band "medium" that applied.
    pub threshold: u8,
    /// In the order of [`Signal`].
    pub contributions: Vec<Contribution>,
    /// The history is too short to compare with.
    pub is_learning: bool,
    /// A second factor answers the demand of the band "medium".
    pub is_confirmed: bool,
    /// The stored history could not be read.
    pub is_unreadable: bool,
    /// The tables that are older than the release allows.
    pub stale: Vec<String>,
    /// The digest of the model, where it counts.
    pub model: Option<String>,
}

/// The risk in three steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Band {
    Low,
    Medium,
    High,
}

/// Judges an attempt of a subject, and remembers it if it is worth it. `person` is a hash,
/// `subject` the platform's id.
pub(crate) fn judge(
    mut attempt: Attempt,
    subject: &str,
    person: u64,
    compiled: &Compiled,
    world: &dyn World,
) -> Assessment {
    let settings = &compiled.settings;
    if let Some(session) = Session::recall(&attempt, world) {
        session.complete(&mut attempt, u32::from(settings.second_factor_minutes) * 60);
    }
    let known = attempt.look_up(compiled, Some(subject), world);
    let stored = memory::recall(world);
    let is_unreadable = stored.is_err();
    let history = stored.unwrap_or_default();
    let comparison = Comparison::new(&attempt, &known, &history, compiled, world);
    let mut contributions = comparison.contributions(&attempt, compiled);
    let attacks = attacks_on(&attempt, &known, &history, compiled, world);
    contributions.extend(attack_contributions(&attacks, &comparison, compiled));
    contributions.extend(platform_contributions(&attempt, &known, compiled));
    let mut model = None;
    if let Some(trees) = compiled.model.as_ref().filter(|_| !comparison.is_learning) {
        let log_odds = trees.log_odds(&comparison.inputs(&attempt, &history, compiled, world));
        let points = Model::points(log_odds, settings.points.model_most);
        contributions.push(Contribution::new(Signal::Model, points));
        model = Some(trees.digest().to_owned());
    }
    contributions.retain(|contribution| contribution.points > 0);
    contributions.sort_by_key(|contribution| contribution.signal);
    let points = total(&contributions, compiled);
    let threshold = calibration::medium_threshold(settings, world);
    let band = match points {
        points if points >= settings.bands.high => Band::High,
        points if points >= threshold => Band::Medium,
        _ => Band::Low,
    };
    let is_bombed = attacks.contains(&Attack::PushBombing) && !comparison.is_familiar;
    let is_confirmed = attempt.has_second_factor && !is_bombed;
    let assessment = Assessment {
        points,
        band,
        threshold,
        contributions,
        is_learning: comparison.is_learning,
        is_confirmed: is_confirmed && band == Band::Medium,
        is_unreadable,
        stale: known.stale,
        model,
    };
    if !comparison.is_learning && attacks.is_empty() {
        if band == Band::Low || is_confirmed {
            calibration::tally(points, person, attempt.seconds, settings, world);
        } else {
            calibration::wait(points, world);
        }
    }
    let is_worth_it = match band {
        Band::Low => {
            let is_told_apart = comparison.is_learning || !is_bare(&attempt, &history);
            is_confirmed || (attacks.is_empty() && is_told_apart)
        }
        Band::Medium => is_confirmed,
        Band::High => false,
    };
    if is_worth_it {
        remember(&attempt, history, person, compiled, world);
    }
    assessment
}

/// The result of comparing an attempt with the person's history.
struct Comparison {
    is_learning: bool,
    likelihood: Option<Likelihood>,
    is_new_device: bool,
    /// Also an address that the person did not use before, where its network is not known.
    is_new_network: bool,
    is_new_country: bool,
    /// The address is the hospital's own or one that the person used before, and the device is not
    /// new: whoever sends pushes from elsewhere is not there.
    is_familiar: bool,
    /// In thousandths, where there are enough sign-ins.
    hour_density: Option<u32>,
    is_on_shift: bool,
    journey: Journey,
    speed: Option<Speed>,
}

impl Comparison {
    fn new(
        attempt: &Attempt,
        known: &Known,
        history: &History,
        compiled: &Compiled,
        world: &dyn World,
    ) -> Self {
        let settings = &compiled.settings;
        let burst = compiled.burst();
        let is_learning = is_learning(history, attempt.seconds, compiled);
        let own: Vec<&Features> = history.sign_ins(burst).map(|(_, features)| features).collect();
        let features = &attempt.features;
        let compares = !is_learning && !own.is_empty();
        let is_place_new = compares && !known.is_shared_origin;
        let is_new = |value: u32, of: fn(&Features) -> u32| {
            value != 0
                && own.iter().any(|other| of(other) != 0)
                && !own.iter().any(|other| of(other) == value)
        };
        let country = |it: &Features| u32::from(u16::from_be_bytes(it.country));
        let (hour, minute) = compiled.hour(attempt.seconds);
        let enough = history.total() >= settings.hours.sign_ins;
        let last = history.last_place(burst).filter(|_| !known.is_shared_origin);
        let travelled = features.place.zip(last).map(|(place, (then, from))| {
            travel::judge(from, place, attempt.seconds.abs_diff(then), &settings.travel)
        });
        let is_new_device = is_place_new && is_new_device(features, &own);
        let is_own_address =
            features.address != 0 && own.iter().any(|other| other.address == features.address);
        Self {
            is_learning,
            likelihood: compares
                .then(|| popularity::likelihood(features, own.iter().copied(), world))
                .flatten(),
            is_new_device,
            is_familiar: known.is_shared_origin || (is_own_address && !is_new_device),
            is_new_network: is_place_new
                && (is_new(features.asn, |it| it.asn)
                    || (features.asn == 0 && is_new(features.address, |it| it.address))),
            is_new_country: is_place_new && is_new(country(features), country),
            hour_density: (compares && enough)
                .then(|| hours::density_permille(history.hours(), hour, minute))
                .flatten(),
            is_on_shift: known.is_on_shift,
            journey: travelled.map_or(Journey::Possible, |(journey, _)| journey),
            speed: travelled.map(|(_, speed)| speed),
        }
    }

    fn is_unusual_hour(&self, compiled: &Compiled) -> bool {
        let limit = u32::from(compiled.settings.hours.unusual_percent) * 10;
        !self.is_on_shift && self.hour_density.is_some_and(|density| density < limit)
    }

    fn contributions(&self, attempt: &Attempt, compiled: &Compiled) -> Vec<Contribution> {
        let points = &compiled.settings.points;
        let mut found = Vec::new();
        if let Some(likelihood) = &self.likelihood {
            let most = f64::from(points.likelihood_most);
            let scaled = libm::round(likelihood.ln_score * f64::from(points.likelihood));
            let part = |ln: f64| libm::round(ln * 100.0) as i32;
            found.push(
                Contribution::new(Signal::Unlikely, scaled.clamp(0.0, most) as u8)
                    .number("network", part(likelihood.ln_network))
                    .number("agent", part(likelihood.ln_agent)),
            );
        }
        let mut add = |is_raised: bool, signal, points| {
            if is_raised {
                found.push(Contribution::new(signal, points));
            }
        };
        add(self.is_new_device, Signal::NewDevice, points.new_device);
        add(self.is_new_network, Signal::NewNetwork, points.new_network);
        add(self.is_unusual_hour(compiled), Signal::UnusualHour, points.unusual_hour);
        if self.is_new_country {
            let country = String::from_utf8_lossy(&attempt.features.country).into_owned();
            found.push(
                Contribution::new(Signal::NewCountry, points.new_country).text("country", &country),
            );
        }
        match self.journey {
            Journey::Possible => {}
            Journey::Fast(speed) => found.push(journey(Signal::Velocity, points.velocity, speed)),
            Journey::Impossible(speed) => {
                found.push(journey(Signal::ImpossibleTravel, points.impossible_travel, speed));
            }
        }
        found
    }

    fn inputs(
        &self,
        attempt: &Attempt,
        history: &History,
        compiled: &Compiled,
        world: &dyn World,
    ) -> Inputs {
        let small = |value: u32, most: i32| i32::try_from(value).unwrap_or(most).min(most);
        let away = history.last_seen().map(|last| attempt.seconds.abs_diff(last) / 3_600);
        let likelihood = self.likelihood.map_or(0.0, |likelihood| likelihood.ln_score * 256.0);
        let window = compiled.burst().within_seconds;
        let denials = history.denials_before(attempt.seconds, window);
        Inputs {
            likelihood: libm::round(likelihood).clamp(-4_096.0, 4_096.0) as i32,
            is_new_device: self.is_new_device,
            is_new_network: self.is_new_network,
            is_new_country: self.is_new_country,
            hour_density: self.hour_density.map_or(UNKNOWN, |density| small(density, 1_000)),
            kmh: self.speed.map_or(UNKNOWN, |speed| small(speed.kmh, 20_000)),
            failures: small(attacks::failures(world), 1_000),
            denials: i32::try_from(denials).unwrap_or(i32::MAX),
            sign_ins: small(history.total().into(), 1_000),
            hours_away: away.map_or(UNKNOWN, |hours| small(hours, 2_160)),
        }
    }
}

/// Returns whether the history is too short: before the earliest of some days or some sign-ins, and
/// after a long absence.
fn is_learning(history: &History, at: u32, compiled: &Compiled) -> bool {
    let learning = &compiled.settings.learning;
    let days = |days: u16| u32::from(days) * 86_400;
    let (Some(first), Some(last)) = (history.first_seen(), history.last_seen()) else {
        return true;
    };
    let is_short =
        history.total() < learning.sign_ins && at.saturating_sub(first) < days(learning.days);
    is_short || at.saturating_sub(last) > days(learning.away_days)
}

/// Returns whether nothing is known of a sign-in but an address that the person did not use before:
/// its event has not arrived, and no table has the address. It cannot be told from an attacker's.
fn is_bare(attempt: &Attempt, history: &History) -> bool {
    let Features { address, asn, agent, device, .. } = attempt.features;
    asn == 0 && agent == 0 && device == 0 && !history.has_address(address)
}

/// Compares the platform's device ids, where both sides have them; else by browser, operating
/// system and kind of device.
fn is_new_device(features: &Features, own: &[&Features]) -> bool {
    if features.device != 0 && own.iter().any(|other| other.device != 0) {
        return !own.iter().any(|other| other.device == features.device);
    }
    features.family != 0
        && own.iter().any(|other| other.family != 0)
        && !own.iter().any(|other| other.family == features.family)
}

fn attacks_on(
    attempt: &Attempt,
    known: &Known,
    history: &History,
    compiled: &Compiled,
    world: &dyn World,
) -> Vec<Attack> {
    let seen = Seen::recall(&attempt.features, true, world);
    let mut attacks = seen.within(attempt.seconds, compiled.attack_seconds());
    if known.is_shared_origin {
        let is_of_source = |attack: &Attack| {
            matches!(attack, Attack::Spraying | Attack::Stuffing | Attack::Threat)
        };
        attacks.retain(|attack| !is_of_source(attack));
    }
    if history.is_bombed(attempt.seconds, compiled.burst()) {
        attacks.push(Attack::PushBombing);
    }
    attacks
}

fn attack_contributions(
    attacks: &[Attack],
    comparison: &Comparison,
    compiled: &Compiled,
) -> Vec<Contribution> {
    let points = &compiled.settings.points;
    let mut found: Vec<Contribution> = attacks
        .iter()
        .map(|attack| match attack {
            Attack::PushBombing => Contribution::new(Signal::PushBombing, points.push_bombing),
            Attack::BruteForce => Contribution::new(Signal::BruteForce, points.brute_force),
            Attack::LockedOut => Contribution::new(Signal::LockedOut, points.locked_out),
            Attack::Spraying => Contribution::new(Signal::Spraying, points.spraying),
            Attack::Stuffing => Contribution::new(Signal::Stuffing, points.stuffing),
            Attack::Threat => Contribution::new(Signal::Threat, points.threat),
        })
        .collect();
    // Somebody whose account is attacked from elsewhere still signs in as always, and an attacker
    // who got through does not look like that. A push is approved on the person's own telephone,
    // and lets in whoever sent it: only an address of the person's own, or the hospital's, tells
    // that this is another sign-in. Without that, an attacker could keep people from their work.
    let is_strange = comparison.is_new_device || comparison.is_new_network;
    let is_suspect = attacks.iter().any(|attack| match attack {
        Attack::PushBombing => !comparison.is_familiar,
        Attack::Spraying | Attack::Stuffing => true,
        Attack::BruteForce => is_strange || comparison.is_learning,
        Attack::LockedOut | Attack::Threat => false,
    });
    if is_suspect {
        found.push(Contribution::new(Signal::SuccessAfterAttack, points.success_after_attack));
    }
    found
}

fn platform_contributions(
    attempt: &Attempt,
    known: &Known,
    compiled: &Compiled,
) -> Vec<Contribution> {
    let points = &compiled.settings.points;
    let platform = match attempt.platform_risk {
        PlatformRisk::Low => 0,
        PlatformRisk::Medium => points.platform_medium,
        PlatformRisk::High => points.platform_high,
    };
    let proxy = if attempt.is_proxy && !known.is_shared_origin { points.proxy } else { 0 };
    vec![Contribution::new(Signal::Platform, platform), Contribution::new(Signal::Proxy, proxy)]
}

/// The sum, each group within its cap.
fn total(contributions: &[Contribution], compiled: &Compiled) -> u8 {
    let points = &compiled.settings.points;
    let of = |group: Group| -> u32 {
        let same = contributions.iter().filter(|it| it.signal.group() == group);
        same.map(|it| u32::from(it.points)).sum()
    };
    let sum = of(Group::Novelty).min(points.novelty_most.into())
        + of(Group::Attacks).min(points.attacks_most.into())
        + of(Group::Alone);
    u8::try_from(sum.min(100)).unwrap_or(100)
}

fn journey(signal: Signal, points: u8, speed: Speed) -> Contribution {
    let number = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
    Contribution::new(signal, points)
        .number("kilometres", number(speed.km))
        .number("speed", number(speed.kmh))
}

/// Adds a sign-in to the history. The tokens of one sign-in are one sign-in.
fn remember(
    attempt: &Attempt,
    mut history: History,
    person: u64,
    compiled: &Compiled,
    world: &dyn World,
) {
    let is_same = history.has_recent(&attempt.features, attempt.seconds, SAME_SIGN_IN_SECONDS);
    if attempt.features.is_empty() || is_same {
        return;
    }
    let (hour, _) = compiled.hour(attempt.seconds);
    history.add_sign_in(attempt.seconds, hour, attempt.features);
    memory::remember(&history, compiled, world);
    popularity::tally(&attempt.features, person, world);
}

/// Calls with the same features within half an hour are one sign-in.
pub(crate) const SAME_SIGN_IN_SECONDS: u32 = 1_800;
