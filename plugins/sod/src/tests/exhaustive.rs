//! The plugin against a judge that tries everything, in worlds small enough for that.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// A small world: which of six entitlements stand where. Bit by bit.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub functions: [u8; 5],
    role: u8,
    pub rules: Vec<(u8, u32)>,
    held: u8,
    requested: u8,
    added: u8,
    dropped: u8,
}

pub(super) fn world() -> impl Strategy<Value = World> {
    let rules = prop::collection::vec((1..32_u8, 2..4_u32), 0..6);
    (prop::array::uniform5(1..64_u8), 0..64_u8, rules, 0..128_u8, 0..128_u8, any::<u8>(), 0..16_u8)
        .prop_map(|(functions, role, rules, held, requested, added, dropped)| World {
            functions,
            role,
            rules: rules
                .into_iter()
                .filter(|(set, at_least)| set.count_ones() >= *at_least)
                .collect(),
            held,
            requested,
            added: added & 0b111_1111,
            dropped,
        })
}

impl World {
    /// Entitlement 6 is the role.
    fn id(bit: usize) -> String {
        if bit == 6 { "role".to_owned() } else { format!("e{bit}") }
    }

    fn ids(mask: u8) -> Vec<String> {
        (0..7).filter(|bit| mask >> bit & 1 == 1).map(Self::id).collect()
    }

    pub fn settings(&self) -> Value {
        let functions: serde_json::Map<String, Value> =
            (0..5).map(|at| (format!("f{at}"), json!(Self::ids(self.functions[at])))).collect();
        let rules: Vec<Value> = self.rules.iter().enumerate().map(|(at, (set, at_least))| {
            let set: Vec<String> = (0..5).filter(|bit| set >> bit & 1 == 1).map(|bit| format!("f{bit}")).collect();
            if *at_least == 2 && set.len() == 2 {
                json!({"id": format!("r{at}"), "kind": "pair", "a": set[0], "b": set[1], "owner": "o"})
            } else {
                json!({"id": format!("r{at}"), "kind": "cardinality", "set": set, "at_least": at_least, "owner": "o"})
            }
        }).collect();
        let mut settings = json!({"functions": functions, "rules": rules});
        if self.role > 0 {
            settings["roles"] = json!({"role": Self::ids(self.role)});
        }
        settings
    }

    pub fn call(&self) -> testing::CallBuilder {
        let mut call = testing::call("okta.token").subject("u").entitlements(Self::ids(self.held));
        for id in Self::ids(self.requested) {
            call = call.requested(GrantKind::Group, &id);
        }
        for id in Self::ids(self.added) {
            call = call.proposed(Change::AddGrant(grant(GrantKind::Group, &id)));
        }
        for id in Self::ids(self.dropped) {
            call = call.proposed(Change::DropGrant(grant(GrantKind::Group, &id)));
        }
        call
    }

    /// The functions of a rule that these entitlements give.
    fn given(&self, entitlements: u8, set: u8) -> u32 {
        let entitlements =
            if entitlements >> 6 & 1 == 1 { entitlements | self.role } else { entitlements };
        (0..5)
            .filter(|at| set >> at & 1 == 1 && self.functions[*at] & entitlements & 0b11_1111 != 0)
            .count() as u32
    }

    /// (rule, was it broken before, the size of the smallest set that breaks it), by trying every
    /// subset.
    pub fn judged(&self) -> BTreeSet<(String, bool, usize)> {
        let before = self.held & !self.dropped;
        let after = (self.held | self.requested | self.added) & !self.dropped;
        let broken = |with: u8, set, at_least| self.given(with, set) >= at_least;
        let judge = |(at, (set, at_least)): (usize, &(u8, u32))| {
            if !broken(after, *set, *at_least) {
                return None;
            }
            let existing = broken(before, *set, *at_least);
            let from = if existing { before } else { after };
            let subsets = (0..128_u8).filter(|subset| subset & !from == 0);
            let smallest =
                subsets.filter(|subset| broken(*subset, *set, *at_least)).map(u8::count_ones).min();
            Some((format!("r{at}"), existing, smallest.unwrap() as usize))
        };
        self.rules.iter().enumerate().filter_map(judge).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn judges_as_somebody_who_tries_everything(world in world()) {
        let decision = decide(&sod(&world.settings()), world.call());
        let found: BTreeSet<(String, bool, usize)> = decision
            .findings
            .iter()
            .map(|finding| (texts(finding, "rule").remove(0), finding.code == "SOD_EXISTING", texts(finding, "entitlements").len()))
            .collect();
        prop_assert_eq!(found, world.judged());
        for finding in &decision.findings {
            // What is named breaks the rule when it is all that the subject asks for.
            let rule: usize = texts(finding, "rule")[0].trim_start_matches('r').parse().unwrap();
            let (set, at_least) = world.rules[rule];
            let named = texts(finding, "entitlements").iter().fold(0_u8, |mask, name| {
                let id = name.strip_prefix("group:").unwrap_or(name);
                mask | 1 << (0..7).find(|bit| World::id(*bit) == id).unwrap()
            });
            prop_assert!(world.given(named, set) >= at_least);
        }
    }

    #[test]
    fn order_never_matters(world in world(), seed in any::<u64>()) {
        let mut settings = world.settings();
        let mut call = world.call().build();
        let before = testing::decide(&sod(&settings), &call);
        shuffle(settings["rules"].as_array_mut().unwrap(), seed);
        for list in settings["functions"].as_object_mut().unwrap().values_mut() {
            shuffle(list.as_array_mut().unwrap(), seed);
        }
        shuffle(&mut call.subject.as_mut().unwrap().entitlements, seed);
        shuffle(&mut call.requested, seed);
        shuffle(&mut call.proposed, seed);
        prop_assert!(testing::decide(&sod(&settings), &call) == before);
    }
}

/// Fisher and Yates, with a generator that repeats itself for the same seed.
fn shuffle<T>(list: &mut [T], seed: u64) {
    let mut state = seed | 1;
    for at in (1..list.len()).rev() {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        list.swap(at, (state >> 33) as usize % (at + 1));
    }
}
