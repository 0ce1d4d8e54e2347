//! The ratio against the authors' own scores, and its properties.

use std::collections::HashSet;

use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// 617 sign-ins of 40 people and 100 attempts, scored by the authors' reference code.
const VECTORS: &str = include_str!("../../tests/freeman-vectors.json");

const NETWORK: [&str; 3] = ["requestXRealIP", "ipASN", "ipCountry"];
const AGENT: [&str; 4] =
    ["trackingdatauserAgent", "browser_name_version", "os_name_version", "device_type"];

/// Counts of one feature by going through all rows.
fn count(
    rows: &[&Value],
    own: &[&Value],
    attempt: &Value,
    names: &[&str],
    weights: &[f64],
) -> Feature {
    let with = |rows: &[&Value], name: &str| {
        rows.iter().filter(|row| row[name] == attempt[name]).count() as u32
    };
    let distinct = |rows: &[&Value]| {
        let different = |name: &&str| {
            rows.iter().map(|row| row[*name].to_string()).collect::<HashSet<_>>().len() as u32
        };
        names[1..].iter().map(different).sum()
    };
    let same: Vec<&Value> =
        rows.iter().copied().filter(|row| row[names[0]] == attempt[names[0]]).collect();
    let levels = names.iter().zip(weights).map(|(name, weight)| Level {
        weight: *weight,
        own: with(own, name),
        all: with(rows, name),
    });
    Feature {
        levels: levels.collect(),
        distinct_below: distinct(rows),
        distinct_below_value: distinct(&same),
    }
}

#[test]
fn the_authors_scores_are_reproduced() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let weights = &vectors["weights"];
    for (names, ours) in [(&NETWORK[..], &NETWORK_WEIGHTS[..]), (&AGENT[..], &AGENT_WEIGHTS[..])] {
        for (name, weight) in names.iter().zip(ours) {
            assert_eq!(weights[names[0]][name].as_f64(), Some(*weight), "{name}");
        }
    }
    let rows: Vec<&Value> = vectors["history"].as_array().unwrap().iter().collect();
    let users: HashSet<String> = rows.iter().map(|row| row["userid"].to_string()).collect();
    let tests = vectors["tests"].as_array().unwrap();
    assert!(rows.len() >= 100 && tests.len() >= 20, "too few vectors");
    for test in tests {
        let attempt = &test["attempt"];
        let own: Vec<&Value> =
            rows.iter().copied().filter(|row| row["userid"] == attempt["userid"]).collect();
        let features = [
            count(&rows, &own, attempt, &NETWORK, &NETWORK_WEIGHTS),
            count(&rows, &own, attempt, &AGENT, &AGENT_WEIGHTS),
        ];
        let totals = Totals {
            own: own.len() as u32,
            all: rows.len() as u32,
            own_of_all: own.len() as u32,
            users: users.len() as u32,
        };
        let (score, _) = score(&features, totals).unwrap();
        let expected = test["score"].as_f64().unwrap();
        assert!((score - expected).abs() <= 1e-9 * expected, "{score} is not {expected}: {test}");
    }
}

#[test]
fn without_sign_ins_there_is_no_score() {
    let feature = Feature { levels: Vec::new(), distinct_below: 0, distinct_below_value: 0 };
    let full = Totals { own: 1, all: 1, own_of_all: 1, users: 1 };
    assert_eq!(
        score(std::slice::from_ref(&feature), full),
        Some((1.0, vec![1.0])),
        "no level says nothing"
    );
    for empty in [
        Totals { own: 0, ..full },
        Totals { all: 0, ..full },
        Totals { own_of_all: 0, ..full },
        Totals { users: 0, ..full },
    ] {
        assert!(score(std::slice::from_ref(&feature), empty).is_none());
    }
}

fn feature(own: u32, all: u32) -> Feature {
    let level = |weight| Level { weight, own, all };
    Feature {
        levels: NETWORK_WEIGHTS.map(level).to_vec(),
        distinct_below: 7,
        distinct_below_value: u32::from(all > 0) * 2,
    }
}

proptest! {
    /// The more often a person signed in like this, the lower the score.
    #[test]
    fn a_familiar_value_never_raises_the_score(
        own in 1..50_u32, all in 0..5_000_u32, more in 0..50_u32, users in 1..500_u32,
    ) {
        let totals = Totals { own: 100, all: 10_000, own_of_all: 100, users };
        let (less, _) = score(&[feature(own, all)], totals).unwrap();
        let (familiar, _) = score(&[feature(own + more, all)], totals).unwrap();
        prop_assert!(familiar <= less && familiar > 0.0 && less.is_finite());
    }

    /// A value that is new for the person counts by the edge case's factor, whatever else is.
    #[test]
    fn a_new_value_multiplies_by_four(all in 0..5_000_u32) {
        let totals = Totals { own: 100, all: 10_000, own_of_all: 100, users: 100 };
        let (_, ratios) = score(&[feature(0, all)], totals).unwrap();
        prop_assert!((ratios[0] - 4.0).abs() < 1e-12);
    }
}
