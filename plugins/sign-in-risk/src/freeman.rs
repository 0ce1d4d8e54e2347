//! The likelihood ratio of Freeman et al., *Who Are You? A Statistical Approach to Measuring User
//! Authenticity* (NDSS 2016, equation 7 without attack data), as Wiefling et al. published it with
//! the edge cases of their evaluation (ACM TOPS 2022, doi 10.1145/3546069; reference code
//! das-group/rba-algorithm, MIT).
//!
//! `S = Π_f [ p_f(x) / p_f(x|u) ] · (1/|U|) / (n_u/n)`: how much more likely the features of a
//! sign-in are for everybody than for this person. 1 means "says nothing"; more is riskier.
//!
//! Invariant: this is arithmetic over counts. It does not know where they come from
//! (`popularity.rs`), and it uses no operation that differs between machines.
//!
//! A feature has levels from the most exact to the least: an address has its network (ASN) and its
//! country. Its likelihood is the weighted sum over the levels:
//! - for the person, each level's share of the person's sign-ins, without smoothing;
//! - for everybody, the first level smoothed (below) and the others' shares without smoothing.
//!
//! Smoothing, with `N` sign-ins, `c` of the value, and `M` = 1 + the numbers of different values of
//! all less exact levels: `c/N · (1 − M/(N+M))`, and `1/(N+M)` for a value that was never seen. A
//! smoothed level counts twice, among all sign-ins and among those with the value.
//!
//! Edge case: where the person's likelihood is 0, a quarter of everybody's stands for it, so that a
//! feature that is new for the person multiplies the score by 4.

/// The weights of an address, its ASN and its country, as fitted by Wiefling et al.
pub(crate) const NETWORK_WEIGHTS: [f64; 3] = [0.6, 0.3, 0.1];

/// The weights of a user agent, its browser, its operating system and its kind of device, as fitted
/// by Wiefling et al.
pub(crate) const AGENT_WEIGHTS: [f64; 4] = [
    0.538_665_384_055_135_9,
    0.268_045_149_862_566_6,
    0.188_182_951_001_095_36,
    0.005_106_515_081_202_152_5,
];

/// One level of a feature: how often the attempt's value occurs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Level {
    pub weight: f64,
    /// In the person's sign-ins.
    pub own: u32,
    /// In everybody's sign-ins.
    pub all: u32,
}

/// One feature of an attempt.
#[derive(Clone, Debug)]
pub(crate) struct Feature {
    /// From the most exact to the least.
    pub levels: Vec<Level>,
    /// The sum of the numbers of different values of all levels but the first, in everybody's
    /// sign-ins.
    pub distinct_below: u32,
    /// The same sum over the sign-ins that have the attempt's value of the first level; 0 where
    /// there is none.
    pub distinct_below_value: u32,
}

/// The numbers of sign-ins and people.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Totals {
    /// The person's sign-ins in which `Level::own` is counted.
    pub own: u32,
    /// Everybody's sign-ins in which `Level::all` is counted.
    pub all: u32,
    /// The person's share of `all`: as many of them are the person's.
    pub own_of_all: u32,
    /// The number of people who signed in.
    pub users: u32,
}

/// The score, and each feature's factor in the order given. `None` where the person, or everybody,
/// has no sign-ins: then there is nothing to compare with.
pub(crate) fn score(features: &[Feature], totals: Totals) -> Option<(f64, Vec<f64>)> {
    if totals.own == 0 || totals.all == 0 || totals.own_of_all == 0 || totals.users == 0 {
        return None;
    }
    let ratios: Vec<f64> = features.iter().map(|feature| ratio(feature, totals)).collect();
    let attacked = 1.0 / f64::from(totals.users);
    let signs_in = f64::from(totals.own_of_all) / f64::from(totals.all);
    let product = ratios.iter().fold(1.0, |product, ratio| product * ratio);
    Some((product * (attacked / signs_in), ratios))
}

/// `p(x) / p(x|u)` of one feature.
fn ratio(feature: &Feature, totals: Totals) -> f64 {
    let (mut own, mut all) = (0.0, 0.0);
    for (index, level) in feature.levels.iter().enumerate() {
        own += level.weight * (f64::from(level.own) / f64::from(totals.own));
        all += level.weight
            * if index == 0 {
                smoothed(level.all, totals.all, feature.distinct_below)
                    * smoothed(level.all, level.all, feature.distinct_below_value)
            } else {
                f64::from(level.all) / f64::from(totals.all)
            };
    }
    if feature.levels.is_empty() {
        return 1.0;
    }
    if own == 0.0 {
        own = all / EDGE_CASE_DIVISOR;
    }
    all / own
}

/// The smoothed likelihood of a value that occurs `count` times in `total`.
fn smoothed(count: u32, total: u32, distinct_below: u32) -> f64 {
    let (total, unseen) = (f64::from(total), f64::from(distinct_below) + 1.0);
    if count == 0 {
        return 1.0 / (total + unseen);
    }
    f64::from(count) / total * (1.0 - unseen / (total + unseen))
}

/// A feature that is new for the person is 4 times as likely for everybody.
const EDGE_CASE_DIVISOR: f64 = 4.0;

#[cfg(test)]
mod tests;
