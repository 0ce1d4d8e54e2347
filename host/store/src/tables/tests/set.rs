//! The set of tables: one version for a call, held versions, and the rules for look-ups.

use super::*;

fn roster(rows: u32) -> Table {
    let lines = (0..rows).map(|at| format!("p{at},active,\n"));
    load(&plain("csv"), format!("k,a,b\n{}", lines.collect::<String>()))
}

#[test]
fn a_held_version_waits_for_its_own_digest() {
    let set = TableSet::new([plain("csv")]);
    assert_eq!(set.offer(roster(100)), Offered::Accepted(None));
    let before = set.current();
    let half = roster(50);
    let version = half.version();
    let Offered::Held(difference) = set.offer(half) else { panic!() };
    assert_eq!((difference.lost, difference.new), (50, version));
    assert_eq!(set.current().table("t").unwrap().rows(), 100);
    assert_eq!(set.held()[0].table.version(), version);
    let other = before.table("t").unwrap().version();
    assert_eq!(
        set.confirm("t", other).unwrap_err(),
        ConfirmError::OtherVersion { table: "t".to_owned(), held: version, confirmed: other }
    );
    assert_eq!(set.confirm("t", version).unwrap().rows(), 50);
    assert_eq!(set.current().table("t").unwrap().rows(), 50);
    assert_eq!(before.table("t").unwrap().rows(), 100, "a call keeps its versions");
    let error = set.confirm("t", version).unwrap_err();
    assert_eq!(error, ConfirmError::NothingHeld("t".to_owned()));
}

#[test]
fn the_next_offer_replaces_what_is_held() {
    let set = TableSet::new([plain("csv")]);
    set.offer(roster(100));
    let half = roster(50).version();
    assert!(matches!(set.offer(roster(50)), Offered::Held(_)));
    assert!(matches!(set.offer(roster(40)), Offered::Held(_)));
    assert!(matches!(set.confirm("t", half), Err(ConfirmError::OtherVersion { .. })));
    assert_eq!(set.offer(roster(100)), Offered::Renewed, "the export was repaired");
    assert!(set.held().is_empty());
    assert!(matches!(set.offer(roster(10)), Offered::Held(_)));
    assert!(matches!(set.offer(roster(101)), Offered::Accepted(Some(_))));
    assert!(set.held().is_empty());
}

#[test]
fn declarations_decide_which_tables_there_are() {
    let set = TableSet::new([]);
    assert_eq!(set.offer(roster(1)), Offered::Undeclared);
    set.declare([plain("csv")]);
    set.offer(roster(100));
    set.offer(roster(1));
    set.declare([plain("csv")]);
    assert_eq!(set.held().len(), 1, "the same declaration keeps what is held");
    let mut other = plain("csv");
    other.max_age_seconds = 61;
    set.declare([other.clone()]);
    assert!(set.held().is_empty());
    assert_eq!(set.current().table("t").unwrap().rows(), 100);
    assert_eq!(set.offer(roster(100)), Offered::Undeclared, "it was loaded by the old declaration");
    // The new rules hold for the version that is there already.
    let at = time("2026-11-30T12:01:01Z");
    assert!(set.current().table("t").unwrap().stale(at));
    assert!(!set.current().status(at)[0].stale);
    assert!(matches!(set.current().find("t", &["p1"], at), Found::Rows { stale: false, .. }));
    set.declare([]);
    assert!(set.current().table("t").is_none());
    assert!(set.current().status(now()).is_empty());
}

fn found(tables: &CurrentTables, key: &str, at: &str) -> String {
    match tables.find("t", &[key], time(at)) {
        Found::Rows { rows, stale } => format!("{rows:?} {stale}"),
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
        set.offer(load(declaration, "k,a,b\n1,x,\n2,x,\n2,y,\n"));
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
