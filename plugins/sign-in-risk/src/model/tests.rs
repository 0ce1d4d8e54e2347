//! The evaluation against the training script's, and the checks of tables.

use proptest::prelude::*;

use super::*;

const BUILT_IN: &[u8] = include_bytes!("../model.bin");

/// The digest of the sums of 10,000 scattered inputs, and 1,000 inputs with the sums that
/// `training/train.py` computed from the table's bytes.
const SAMPLE: &str = include_str!("../../tests/model-sample.csv");

fn inputs(values: &[i64]) -> Inputs {
    let value = |index: usize| i32::try_from(values[index]).unwrap();
    Inputs {
        likelihood: value(0),
        is_new_device: values[1] == 1,
        is_new_network: values[2] == 1,
        is_new_country: values[3] == 1,
        hour_density: value(4),
        kmh: value(5),
        failures: value(6),
        denials: value(7),
        sign_ins: value(8),
        hours_away: value(9),
    }
}

#[test]
fn sums_are_those_of_the_training() {
    let model = Model::load(BUILT_IN).unwrap();
    let mut different = std::collections::BTreeSet::new();
    let mut lines = 0;
    for line in SAMPLE.lines().skip(2) {
        let values: Vec<i64> = line.split(',').map(|value| value.parse().unwrap()).collect();
        let sum = model.log_odds(&inputs(&values));
        assert_eq!(sum, values[10], "{line}");
        different.insert(sum);
        lines += 1;
    }
    assert_eq!(lines, 1_000);
    assert!(different.len() > 200, "a model that always says the same would pass");
}

#[test]
fn ten_thousand_scattered_inputs_give_the_bits_of_the_training() {
    let model = Model::load(BUILT_IN).unwrap();
    let mut state = 20_261_130_u64;
    let mut sums = Sha256::new();
    for _ in 0..10_000 {
        let mut values = [0_i64; FEATURES];
        for (index, value) in values.iter_mut().enumerate() {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            *value = (state >> 48) as i64 - (1 << 15);
            if (1..=3).contains(&index) {
                *value &= 1;
            }
        }
        sums.update(model.log_odds(&inputs(&values)).to_be_bytes());
    }
    let found: String = sums.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(SAMPLE.lines().next(), Some(format!("# {found}").as_str()));
}

#[test]
fn a_model_is_named_by_its_table() {
    let model = Model::load(BUILT_IN).unwrap();
    assert_eq!(model.digest().len(), 64);
    let mut other = BUILT_IN.to_vec();
    let last = other.len() - 1;
    other[last] ^= 1;
    assert_ne!(Model::load(&other).unwrap().digest(), model.digest());
}

#[test]
fn points_grow_with_the_odds() {
    let unit = 1 << BINARY_PLACES;
    assert_eq!(Model::points(-unit, 20), 0);
    assert_eq!(Model::points(unit, 20), 5);
    assert_eq!(Model::points(unit * 3, 20), 15);
    assert_eq!(Model::points(i64::MAX, 20), 20);
    assert_eq!(Model::points(i64::MIN, 20), 0);
}

fn table(trees: &[&[u8]]) -> Vec<u8> {
    let mut table = b"PGBT\x01".to_vec();
    table.push(FEATURES as u8);
    table.extend((trees.len() as u16).to_be_bytes());
    table.extend(0_i64.to_be_bytes());
    table.extend(trees.concat());
    table
}

fn leaf_bytes(value: i64) -> Vec<u8> {
    [&[LEAF][..], &value.to_be_bytes()].concat()
}

fn split_bytes(feature: u8, threshold: i32, greater: u16) -> Vec<u8> {
    [&[feature][..], &threshold.to_be_bytes(), &greater.to_be_bytes()].concat()
}

fn tree_bytes(nodes: &[Vec<u8>]) -> Vec<u8> {
    [&(nodes.len() as u16).to_be_bytes()[..], &nodes.concat()].concat()
}

#[test]
fn a_malformed_table_is_refused() {
    let whole = tree_bytes(&[split_bytes(0, 5, 2), leaf_bytes(1), leaf_bytes(2)]);
    assert!(Model::load(&table(&[&whole])).is_ok());
    for (nodes, why) in [
        (vec![split_bytes(0, 5, 0), leaf_bytes(1), leaf_bytes(2)], "a loop"),
        (vec![split_bytes(0, 5, 1), leaf_bytes(1), leaf_bytes(2)], "both ways to one leaf"),
        (vec![split_bytes(0, 5, 3), leaf_bytes(1), leaf_bytes(2)], "out of the tree"),
        (vec![split_bytes(10, 5, 2), leaf_bytes(1), leaf_bytes(2)], "no such feature"),
        (vec![leaf_bytes(1), leaf_bytes(2)], "a node that nothing reaches"),
        (vec![leaf_bytes((1 << 30) + 1)], "a leaf that is too great"),
        (vec![], "no node"),
    ] {
        let error = Model::load(&table(&[&tree_bytes(&nodes)])).err();
        assert_eq!(error, Some(LoadError::Tree(0)), "{why}");
    }
    let mut deep: Vec<Vec<u8>> = Vec::new();
    for depth in 0..10_u16 {
        // Each split's smaller side is a leaf, so its greater side is two nodes on.
        deep.extend([split_bytes(0, i32::from(depth), depth * 2 + 2), leaf_bytes(1)]);
    }
    deep.push(leaf_bytes(2));
    assert_eq!(Model::load(&table(&[&tree_bytes(&deep)])).err(), Some(LoadError::Tree(0)), "deep");
    assert!(
        Model::load(&table(&[&tree_bytes(
            &deep[2..]
                .iter()
                .enumerate()
                .map(|(index, node)| {
                    let is_split = index % 2 == 0 && index < 18;
                    if is_split { split_bytes(0, 1, index as u16 + 2) } else { node.clone() }
                })
                .collect::<Vec<_>>()
        )]))
        .is_ok(),
        "nine splits are not too deep"
    );
    let mut trailing = table(&[&whole]);
    trailing.push(0);
    assert_eq!(Model::load(&trailing).err(), Some(LoadError::Trailing));
    let mut features = table(&[]);
    features[5] = 9;
    assert_eq!(Model::load(&features).err(), Some(LoadError::Features(9)));
    let mut version = table(&[]);
    version[4] = 2;
    assert_eq!(Model::load(&version).err(), Some(LoadError::Header));
    let many: Vec<&[u8]> = vec![&whole; 501];
    assert_eq!(Model::load(&table(&many)).err(), Some(LoadError::Trees(501)));
}

proptest! {
    #[test]
    fn a_changed_table_is_refused_or_evaluates(at in any::<prop::sample::Index>(), bit in 0..8_u8, cut in 0..20_usize) {
        let mut bytes = BUILT_IN.to_vec();
        let index = at.index(bytes.len());
        bytes[index] ^= 1 << bit;
        bytes.truncate(bytes.len() - cut);
        if let Ok(model) = Model::load(&bytes) {
            model.log_odds(&inputs(&[0; 10]));
        }
    }

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Model::load(&bytes);
        let _ = Model::load(&[&b"PGBT\x01\x0a"[..], &bytes].concat());
    }
}
