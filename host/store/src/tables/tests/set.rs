//! The set of tables: one version for a call, and the rules for look-ups.

use std::sync::Arc;

use super::*;

fn roster(rows: u32) -> Table {
    let lines = (0..rows).map(|at| format!("p{at},active,\n"));
    load(&plain("csv"), format!("k,a,b\n{}", lines.collect::<String>()))
}

#[test]
fn a_call_keeps_the_versions_with_which_it_began() {
    let set = TableSet::new([plain("csv")]);
    assert!(set.current().table("t").is_none());
    assert!(set.put(Arc::new(roster(100))));
    let before = set.current();
    assert!(set.put(Arc::new(roster(50))));
    assert_eq!(set.current().table("t").unwrap().rows(), 50);
    assert_eq!(before.table("t").unwrap().rows(), 100);
}

#[test]
fn a_version_of_another_declaration_changes_nothing() {
    assert!(!TableSet::new([]).put(Arc::new(roster(1))));
    let mut other = plain("csv");
    other.max_age_seconds = 61;
    let set = TableSet::new([other.clone()]);
    assert!(!set.put(Arc::new(roster(100))));
    assert!(set.current().table("t").is_none());
    assert!(set.put(Arc::new(load(&other, "k,a,b\np1,active,\n"))));
    let at = time("2026-11-30T12:01:01Z");
    assert!(!set.current().status(at)[0].stale);
    assert!(matches!(set.current().find("t", &["p1"], at), Found::Rows { stale: false, .. }));
}

fn found(tables: &CurrentTables, key: &str, at: &str) -> String {
    match tables.find("t", &[key], time(at)) {
        Found::Rows { rows, stale, .. } => format!("{rows:?} {stale}"),
        other => format!("{other:?}"),
    }
}

#[test]
fn the_rules_of_a_table_decide_what_a_plugin_gets() {
    const FRESH: &str = "2026-11-30T12:01:00Z";
    const STALE: &str = "2026-11-30T12:01:01Z";
    let mut declaration = plain("csv");
    let tables = |declaration: &Declaration| {
        let set = TableSet::new([declaration.clone()]);
        assert_eq!(
            found(&set.current(), "1", FRESH),
            match declaration.stale {
                StaleRule::TreatAsAbsent => "Absent(NotLoaded)",
                StaleRule::Deny | StaleRule::UseAndFlag => "Deny(NotLoaded)",
            }
        );
        set.put(Arc::new(load(declaration, "k,a,b\n1,x,\n2,x,\n2,y,\n")));
        set.current()
    };
    declaration.several_matches = SeveralRule::Deny;
    let deny = tables(&declaration);
    assert_eq!(found(&deny, "1", FRESH), "[0] false");
    assert_eq!(found(&deny, "2", FRESH), "Deny(SeveralMatches)");
    assert_eq!(found(&deny, "3", FRESH), "Deny(NoMatch)");
    assert_eq!(found(&deny, "1", STALE), "Deny(Stale)");
    declaration.several_matches = SeveralRule::TreatAsAbsent;
    declaration.no_match = NoMatchRule::TreatAsAbsent;
    declaration.stale = StaleRule::TreatAsAbsent;
    let absent = tables(&declaration);
    assert_eq!(found(&absent, "2", FRESH), "Absent(SeveralMatches)");
    assert_eq!(found(&absent, "3", FRESH), "Absent(NoMatch)");
    assert_eq!(found(&absent, "1", STALE), "Absent(Stale)");
    declaration.several_matches = SeveralRule::UseAll;
    declaration.stale = StaleRule::UseAndFlag;
    let all = tables(&declaration);
    assert_eq!(found(&all, "2", FRESH), "[1, 2] false");
    assert_eq!(found(&all, "2", STALE), "[1, 2] true");
    // A clock that goes back makes nothing stale.
    assert_eq!(found(&all, "1", "2020-01-01T00:00:00Z"), "[0] false");
    assert!(matches!(all.find("gone", &["1"], now()), Found::Deny(WithoutRows::NotLoaded)));
    let status = &all.status(time(STALE))[0];
    assert_eq!((status.name.as_str(), status.rows, status.stale), ("t", 3, true));
    assert_eq!(status.version, Some(all.table("t").unwrap().version()));
}
