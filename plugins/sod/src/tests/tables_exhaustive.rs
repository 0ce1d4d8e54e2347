//! Exceptions and tables against a judge that tries everything, in small worlds.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_guest::Attribute;
use portcullis_guest::testing::{TestTable, reset, set_table};
use proptest::prelude::*;

use super::exhaustive::world;
use super::*;

const DAY: u64 = 86_400_000;
/// Day 20 of the worlds' calendar, noon.
const NOW: u64 = 20 * DAY + DAY / 2;

/// An exception: its rule and, in days, from when until when; some of it may be missing.
#[derive(Clone, Debug)]
struct Exempted {
    rule: usize,
    in_table: bool,
    of_subject: bool,
    from: Option<u64>,
    until: Option<u64>,
    approver: Option<&'static str>,
    control: bool,
}

fn exempted() -> impl Strategy<Value = Exempted> {
    let approver = prop_oneof![
        4 => Just(Some("boss")), 1 => Just(None), 1 => Just(Some("U")), 1 => Just(Some("p-7")),
    ];
    let until = prop::option::weighted(0.9, 15..45_u64);
    let from = prop::option::of(15..25_u64);
    let whole = prop::bool::weighted(0.9);
    (0..6_usize, any::<bool>(), whole, from, until, approver, prop::bool::weighted(0.8)).prop_map(
        |(rule, in_table, of_subject, from, until, approver, control)| Exempted {
            rule,
            in_table,
            of_subject,
            from,
            until,
            approver,
            control,
        },
    )
}

/// A day of January or February 1970.
fn day(number: u64) -> String {
    if number < 31 {
        format!("1970-01-{:02}", number + 1)
    } else {
        format!("1970-02-{:02}", number - 30)
    }
}

impl Exempted {
    /// Whether the settings can hold it: they refuse one that lacks something.
    fn is_whole(&self) -> bool {
        self.until.is_some() && self.approver == Some("boss") && self.control
    }

    fn subject(&self) -> &'static str {
        if self.of_subject { "u" } else { "v" }
    }

    fn setting(&self) -> Value {
        let until = format!("{}T00:00:00Z", day(self.until.unwrap_or_default()));
        json!({"rule": format!("r{}", self.rule), "subject": self.subject(), "until": until,
               "approver": "boss", "control": "look"})
    }

    fn cells(&self) -> Vec<Attribute> {
        let mut cells = vec![Attribute::text("person", "P-7")];
        cells.push(Attribute::text("rule", &format!("r{}", self.rule)));
        cells.extend(self.from.map(|from| Attribute::text("from", &day(from))));
        cells.extend(self.until.map(|until| Attribute::text("until", &day(until))));
        cells.extend(self.approver.map(|approver| Attribute::text("approver", approver)));
        cells.extend(self.control.then(|| Attribute::text("control", "look")));
        cells
    }

    /// Why a row of the table does not hold; read off the page of the plugin.
    fn fault(&self) -> Option<&'static str> {
        match (self.approver, self.control, self.until) {
            (None, ..) => Some("SOD_EXCEPTION_NO_APPROVER"),
            (Some("U" | "p-7"), ..) => Some("SOD_EXCEPTION_SELF_APPROVED"),
            (_, false, _) => Some("SOD_EXCEPTION_NO_CONTROL"),
            (.., None) => Some("SOD_EXCEPTION_NO_END"),
            // The last day is a whole one.
            (.., Some(until)) if until < 20 => Some("SOD_EXCEPTION_ENDED"),
            _ if self.from.is_some_and(|from| from > 20) => Some("SOD_EXCEPTION_NOT_STARTED"),
            _ => None,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn exceptions_are_judged_as_somebody_would_who_tries_everything(
        world in world(),
        exceptions in prop::collection::vec(exempted(), 0..8),
    ) {
        let of_rule = |it: &Exempted| it.rule < world.rules.len();
        let usable = |it: &Exempted| it.in_table || (of_rule(it) && it.is_whole());
        let exceptions: Vec<_> = exceptions.into_iter().filter(usable).collect();
        let mut settings = world.settings();
        settings["tables"] = json!({"exceptions": "sod-exceptions"});
        settings["exceptions"] =
            exceptions.iter().filter(|it| !it.in_table).map(Exempted::setting).collect();
        let mut table = TestTable::new();
        for it in exceptions.iter().filter(|it| it.in_table) {
            table = table.row("P-7", it.cells()).of_subject(it.subject());
        }
        set_table("sod-exceptions", table);
        let call = world.call().received(NOW).build();
        let decision = testing::decide(&sod(&settings), &call);
        reset();

        let mut expected = BTreeSet::new();
        for (rule, existing, _) in world.judged() {
            let own = |it: &&Exempted| it.of_subject && format!("r{}", it.rule) == rule;
            let lasts = |it: &Exempted| it.until.is_some_and(|until| until * DAY > NOW);
            let in_settings = |it: &Exempted| !it.in_table && lasts(it);
            if exceptions.iter().filter(own).any(in_settings) {
                expected.insert((rule, "SOD_EXCEPTION"));
                continue;
            }
            let rows = || exceptions.iter().filter(own).filter(|it| it.in_table);
            let valid: Vec<_> = rows().filter(|it| it.fault().is_none()).collect();
            let Some(last) = valid.iter().filter_map(|it| it.until).max() else {
                expected.extend(rows().filter_map(|it| Some((rule.clone(), it.fault()?))));
                expected.insert((rule, if existing { "SOD_EXISTING" } else { "SOD_CONFLICT" }));
                continue;
            };
            if (last + 1) * DAY - NOW <= 14 * DAY {
                expected.insert((rule.clone(), "SOD_EXCEPTION_ENDING"));
            }
            expected.insert((rule, "SOD_EXCEPTION"));
        }
        let found: Vec<_> = decision
            .findings
            .iter()
            .map(|finding| (texts(finding, "rule").remove(0), finding.code.as_str()))
            .collect();
        let found: BTreeSet<_> = found.iter().map(|(rule, code)| (rule.clone(), *code)).collect();
        prop_assert_eq!(found, expected);
    }

}

proptest! {
    // Each case tries all 256 subsets.
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn tables_mean_the_same_as_settings_for_every_subset(
        pairs in prop::collection::btree_set((0..6_usize, 0..6_usize), 0..6),
        roles in prop::collection::btree_map(6..8_usize, 0..256_usize, 0..3),
    ) {
        let name = |at: usize| format!("e{at}");
        let bits = |set: usize| (0..8).filter(move |bit| set >> bit & 1 == 1);
        let pairs: BTreeMap<_, _> =
            pairs.into_iter().filter(|(a, b)| a != b).enumerate().collect();
        let mut matrix = TestTable::new();
        for (rule, (a, b)) in &pairs {
            let rule = format!("r{rule}");
            let cells = [("conflicts_with", name(*b)), ("rule", rule), ("owner", "o".to_owned())];
            let cells = cells.map(|(column, text)| Attribute::text(column, &text));
            matrix = matrix.row(&name(*a), cells);
        }
        set_table("sod-matrix", matrix);
        let mut hierarchy = TestTable::new();
        for (role, contents) in &roles {
            for member in bits(*contents) {
                let contains = Attribute::text("contains", &name(member));
                hierarchy = hierarchy.row(&name(*role), [contains]);
            }
        }
        set_table("role-hierarchy", hierarchy);
        let plugin = sod(&json!({"tables": {"matrix": "sod-matrix", "roles": "role-hierarchy"}}));

        for held in 0..256 {
            let call = testing::call("okta.token").subject("u").entitlements(bits(held).map(name));
            let decision = testing::decide(&plugin, &call.build());
            // Closed by repetition: two roles need two rounds.
            let mut all: BTreeSet<usize> = bits(held).collect();
            for _ in 0..2 {
                let inside = all.iter().filter_map(|it| roles.get(it)).flat_map(|it| bits(*it));
                all = inside.chain(all.iter().copied()).collect();
            }
            let expected: Vec<String> = pairs
                .iter()
                .filter(|(_, (a, b))| all.contains(a) && all.contains(b))
                .map(|(rule, _)| format!("r{rule}"))
                .collect();
            let found: Vec<String> =
                decision.findings.iter().map(|finding| texts(finding, "rule").remove(0)).collect();
            prop_assert_eq!(found, expected);
        }
        reset();
    }
}
