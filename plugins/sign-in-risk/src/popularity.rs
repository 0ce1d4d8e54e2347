//! The popularity of a sign-in's features among everybody: counters in shared memory.
//!
//! Invariants:
//! - Shared memory holds numbers by bucket, and no value of a person: an address, a user agent and
//!   so on count in the bucket of their hash.
//! - It is bounded: at most 21,765 counters ([`Level::buckets`]), whatever is signed in from.
//! - It ages: a sign-in counts for 28 days.
//!
//! Limits. Two values in one bucket count together, so a rare value can look as common as another
//! one; with as many values as buckets that is so for 63 %. The host counts different values
//! exactly up to 512, and above that within 13 % in 19 of 20 cases. The numbers below one value
//! (its different networks, browsers, …) are taken for 1 each, since a user agent has one browser
//! and an address one network. A counter counts up to a 16th of its window too long, and never too
//! short.

use crate::features::Features;
use crate::freeman::{self, AGENT_WEIGHTS, Feature, NETWORK_WEIGHTS, Totals};
use crate::world::{Scope, World};

/// The time for which a sign-in counts, in seconds: 28 days, the window of all counters here.
pub(crate) const WINDOW: u32 = 28 * 86_400;

/// One level of a feature.
#[derive(Clone, Copy)]
struct Level {
    /// The beginning of its counters' keys.
    name: &'static str,
    value: fn(&Features) -> u32,
    /// The most counters.
    buckets: u32,
}

/// An address, from the most exact to the least.
const NETWORK: [Level; 3] = [
    Level { name: "address", value: |it| it.address, buckets: 16_384 },
    Level { name: "asn", value: |it| it.asn, buckets: 2_048 },
    Level { name: "country", value: country, buckets: 676 },
];

/// A user agent, from the most exact to the least.
const AGENT: [Level; 4] = [
    Level { name: "agent", value: |it| it.agent, buckets: 2_048 },
    Level { name: "browser", value: |it| u32::from(it.browser), buckets: 512 },
    Level { name: "system", value: |it| u32::from(it.system), buckets: 92 },
    Level { name: "class", value: |it| u32::from(it.class), buckets: 5 },
];

/// The likelihood of a sign-in for everybody in comparison with the person.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Likelihood {
    /// The natural logarithm of the score; above 0 is likelier for everybody.
    pub ln_score: f64,
    /// The same of the address alone, and of the user agent alone.
    pub ln_network: f64,
    pub ln_agent: f64,
}

/// Compares a sign-in with the person's trusted sign-ins. `None` where there is nothing to compare.
pub(crate) fn likelihood<'a>(
    features: &Features,
    own: impl Iterator<Item = &'a Features>,
    world: &dyn World,
) -> Option<Likelihood> {
    let own: Vec<&Features> = own.collect();
    let shared = |key: &str| world.count(Scope::Shared, key, WINDOW);
    let totals = Totals {
        own: u32::try_from(own.len()).unwrap_or(u32::MAX),
        all: shared(SIGN_INS),
        own_of_all: world.count(Scope::Subject, SIGN_INS, WINDOW),
        users: world.count_distinct(Scope::Shared, PEOPLE, WINDOW),
    };
    let network = feature(&NETWORK, &NETWORK_WEIGHTS, features, &own, world);
    let agent = feature(&AGENT, &AGENT_WEIGHTS, features, &own, world);
    let (score, ratios) = freeman::score(&[network, agent], totals)?;
    let ln = |ratio: Option<&f64>| libm::log(*ratio.unwrap_or(&1.0));
    Some(Likelihood {
        ln_score: libm::log(score),
        ln_network: ln(ratios.first()),
        ln_agent: ln(ratios.get(1)),
    })
}

/// Counts a sign-in that is worth remembering. `person` is a hash.
pub(crate) fn tally(features: &Features, person: u64, world: &dyn World) {
    world.tally(Scope::Subject, SIGN_INS, WINDOW);
    world.tally(Scope::Shared, SIGN_INS, WINDOW);
    world.tally_distinct(Scope::Shared, PEOPLE, &format!("{person:016x}"), WINDOW);
    for levels in [&NETWORK[..], &AGENT[..]] {
        for (index, level) in levels.iter().enumerate() {
            let value = (level.value)(features);
            if value == 0 {
                continue;
            }
            world.tally(Scope::Shared, &level.key(value), WINDOW);
            if index > 0 {
                world.tally_distinct(
                    Scope::Shared,
                    &level.distinct(),
                    &format!("{value:08x}"),
                    WINDOW,
                );
            }
        }
    }
}

impl Level {
    fn key(&self, value: u32) -> String {
        format!("popular/{}/{:x}", self.name, value % self.buckets)
    }

    fn distinct(&self) -> String {
        format!("different/{}", self.name)
    }
}

/// The counts of one feature. Without its most exact level it says nothing; other levels that are
/// not known are left out on both sides of the ratio.
fn feature(
    levels: &[Level],
    weights: &[f64],
    features: &Features,
    own: &[&Features],
    world: &dyn World,
) -> Feature {
    let mut counted = Feature { levels: Vec::new(), distinct_below: 0, distinct_below_value: 0 };
    if levels.first().is_none_or(|level| (level.value)(features) == 0) {
        return counted;
    }
    for (index, (level, weight)) in levels.iter().zip(weights).enumerate() {
        if index > 0 {
            let different = world.count_distinct(Scope::Shared, &level.distinct(), WINDOW);
            counted.distinct_below = counted.distinct_below.saturating_add(different);
        }
        let value = (level.value)(features);
        if value == 0 {
            continue;
        }
        let same = own.iter().filter(|other| (level.value)(other) == value).count();
        let all = world.count(Scope::Shared, &level.key(value), WINDOW);
        if index == 0 && all > 0 {
            counted.distinct_below_value =
                u32::try_from(levels.len().saturating_sub(1)).unwrap_or(0);
        }
        counted.levels.push(freeman::Level {
            weight: *weight,
            own: u32::try_from(same).unwrap_or(u32::MAX),
            all,
        });
    }
    counted
}

fn country(features: &Features) -> u32 {
    let [first, second] = features.country.map(|letter| u32::from(letter.saturating_sub(b'A')));
    if features.country == [0, 0] { 0 } else { first * 26 + second + 1 }
}

/// The counters of all sign-ins, shared and of the person.
const SIGN_INS: &str = "sign-ins";

/// The different people.
const PEOPLE: &str = "people";
