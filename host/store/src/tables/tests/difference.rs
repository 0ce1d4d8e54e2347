//! Differences between versions, against a model that compares multisets.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn watched(percent: u8) -> Declaration {
    let mut declaration = plain("csv");
    declaration.hold = Hold { above_percent: percent, watch: vec!["a".to_owned()] };
    declaration
}

fn csv(rows: &[(String, String, String)]) -> String {
    let lines = rows.iter().map(|(k, a, b)| format!("{k},{a},{b}\n"));
    format!("k,a,b\n{}", lines.collect::<String>())
}

type Groups = BTreeMap<String, Vec<String>>;

fn groups(rows: &[(String, String, String)]) -> Groups {
    let mut groups = Groups::new();
    for (k, a, _) in rows {
        groups.entry(k.clone()).or_default().push(a.clone());
    }
    groups
}

/// Rows lost and changed by taking equal rows away one by one.
fn model(old: &Groups, new: &Groups) -> (u32, u32) {
    let (mut lost, mut changed) = (0, 0);
    for (key, old) in old {
        let mut left = new.get(key).cloned().unwrap_or_default();
        let fewer = old.len().saturating_sub(left.len());
        let mut unmatched = 0;
        for value in old {
            match left.iter().position(|other| other == value) {
                Some(at) => drop(left.remove(at)),
                None => unmatched += 1,
            }
        }
        lost += fewer;
        changed += unmatched - fewer;
    }
    (lost.try_into().unwrap(), changed.try_into().unwrap())
}

fn rows() -> impl Strategy<Value = Vec<(String, String, String)>> {
    prop::collection::vec(("[a-e]", "[xyz]?", "[12]"), 0..25)
}

proptest! {
    #[test]
    fn differences_are_those_of_the_model(old in rows(), new in rows(), percent in 0u8..=100) {
        let declaration = watched(percent);
        let (was, is) = (load(&declaration, csv(&old)), load(&declaration, csv(&new)));
        let difference = Difference::between(&was, &is);
        let (lost, changed) = model(&groups(&old), &groups(&new));
        prop_assert_eq!((difference.lost, difference.changed), (lost, changed));
        let held = matches!(decide(&was, &is), Acceptance::Hold(_));
        let share = f64::from(lost + changed) / f64::from(was.rows().max(1)) * 100.0;
        prop_assert_eq!(held, share > f64::from(percent) + 1e-9, "{}", share);
        // The order of rows and unwatched columns do not count.
        let mut shuffled = new.clone();
        shuffled.reverse();
        shuffled.iter_mut().for_each(|row| row.2 = "3".to_owned());
        let other = Difference::between(&was, &load(&declaration, csv(&shuffled)));
        prop_assert_eq!((other.lost, other.changed), (lost, changed));
        prop_assert_eq!(Difference::between(&is, &is).affected.len(), 0);
    }
}

fn people(count: u32, state: impl Fn(u32) -> Option<&'static str>) -> String {
    let lines = (0..count).filter_map(|at| Some(format!("p{at},{},\n", state(at)?)));
    format!("k,a,b\n{}", lines.collect::<String>())
}

#[test]
fn a_version_is_held_above_the_share_and_not_at_it() {
    let declaration = watched(5);
    let old = load(&declaration, people(100, |_| Some("active")));
    let five = load(&declaration, people(100, |at| (at >= 5).then_some("active")));
    assert!(matches!(decide(&old, &five), Acceptance::Accept(_)));
    let mixed = load(
        &declaration,
        people(100, |at| match at {
            0..3 => None,
            3..6 => Some("terminated"),
            _ => Some("active"),
        }),
    );
    let Acceptance::Hold(difference) = decide(&old, &mixed) else { panic!() };
    assert_eq!((difference.lost, difference.changed, difference.more), (3, 3, 0));
    assert_eq!(
        difference.warning(),
        "the new version of the table `t` loses 3 and changes 3 of 100 rows (6.0 %)\n\
         - p0 loses its rows\n- p1 loses its rows\n- p2 loses its rows\n\
         - p3 changes\n- p4 changes\n- p5 changes"
    );
    assert!(!format!("{difference:?} {difference}").contains("p3"), "keys are personal data");
    // Rows that are added hold nothing.
    assert!(matches!(decide(&mixed, &old), Acceptance::Accept(_)), "3 of 97 rows changed");
    let grown = load(&declaration, people(1000, |_| Some("active")));
    assert!(matches!(decide(&old, &grown), Acceptance::Accept(_)));
}

#[test]
fn names_are_bounded() {
    let declaration = watched(5);
    let old = load(&declaration, people(1000, |_| Some("active")));
    let none = load(&declaration, people(0, |_| None));
    let Acceptance::Hold(difference) = decide(&old, &none) else { panic!() };
    assert_eq!(
        (difference.lost, difference.affected.len(), difference.more),
        (1000, MAX_NAMES, 900)
    );
    assert!(difference.warning().ends_with("\n- and 900 more"));
}

#[test]
fn keys_are_compared_by_their_rules_and_networks_by_value() {
    let mut declaration = watched(0);
    declaration.key.rules.case = CaseRule::Unicode;
    let old = load(&declaration, "k,a,b\nStraße,x,\n");
    let new = load(&declaration, "k,a,b\nSTRASSE ,x,\n");
    assert!(matches!(decide(&old, &new), Acceptance::Accept(_)));
    let networks = super::declaration(
        "name = 'n'\nformat = 'csv'\nmax_age_seconds = 60\nhold = { above_percent = 0 }\n\
         key = { columns = ['net'], kind = 'network' }\n\
         columns = [{ name = 'net', type = 'ip-network' }]",
    );
    let old = load(&networks, "net\n10.0.0.0/8\n10.1.0.0/16\n::ffff:192.0.2.0/120\n");
    let same = load(&networks, "net\n192.0.2.0/24\n10.1.0.0/16\n10.0.0.0/8\n");
    assert!(matches!(decide(&old, &same), Acceptance::Accept(_)));
    let wider = load(&networks, "net\n192.0.2.0/24\n10.0.0.0/8\n10.2.0.0/16\n");
    let Acceptance::Hold(difference) = decide(&old, &wider) else { panic!() };
    assert_eq!(difference.affected[0].key.expose(), &["10.1.0.0/16"]);
}

#[test]
fn versions_that_cannot_be_compared_are_held() {
    let old = load(&plain("csv"), "k,a,b\n1,2,3\n");
    let mut other = plain("csv");
    other.key.columns = vec!["a".to_owned()];
    let Acceptance::Hold(difference) = decide(&old, &load(&other, "k,a,b\n1,2,3\n")) else {
        panic!()
    };
    assert!(difference.to_string().contains("cannot be compared"));
    let mut typed = plain("csv");
    typed.columns[0].kind = ColumnType::Integer;
    assert!(matches!(decide(&old, &load(&typed, "k,a,b\n1,2,3\n")), Acceptance::Hold(_)));
    let mut watching = plain("csv");
    watching.columns[2].name = "c".to_owned();
    watching.columns[2].source = Some("b".to_owned());
    assert!(matches!(decide(&old, &load(&watching, "k,a,b\n1,2,3\n")), Acceptance::Accept(_)));
    watching.hold.watch = vec!["c".to_owned()];
    assert!(matches!(decide(&old, &load(&watching, "k,a,b\n1,2,3\n")), Acceptance::Hold(_)));
}
