//! Matching people with rows, against a simple model.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug, Default)]
struct Person(BTreeMap<&'static str, String>);

impl Subject for Person {
    fn field(&self, name: &str) -> Option<Cow<'_, str>> {
        self.0.get(name).map(|value| Cow::Borrowed(value.as_str()))
    }
}

fn person(fields: &[(&'static str, &str)]) -> Person {
    Person(fields.iter().map(|&(name, value)| (name, value.to_owned())).collect())
}

fn roster() -> Declaration {
    let mut roster = plain("csv");
    roster.matching = vec![rule("id", "k", CaseRule::None), rule("mail", "a", CaseRule::Unicode)];
    roster
}

fn rule(subject: &str, column: &str, case: CaseRule) -> MatchRule {
    let rules = TextRules { case, ..TextRules::default() };
    MatchRule { subject: subject.to_owned(), column: column.to_owned(), rules, crosswalk: None }
}

fn outcome(matched: &Matched<'_>) -> (u8, Vec<u32>) {
    let (kind, rows) = match matched {
        Matched::One(rows, _) => (1, rows),
        Matched::Several(rows, _) => (2, rows),
        Matched::None | Matched::Deny(_) => return (0, Vec::new()),
    };
    (kind, rows.clone().map(|row| row.number()).collect())
}

proptest! {
    #[test]
    fn the_first_rule_that_finds_rows_decides(
        rows in prop::collection::vec(("[ab]", "[xXß]{0,2}"), 0..12),
        people in prop::collection::vec(
            (prop::option::of("[abc ]"), prop::option::of("[xXßsS]{0,4}")), 12,
        ),
    ) {
        let lines = rows.iter().map(|(k, a)| format!("{k},{a},\n"));
        let table = load(&roster(), format!("k,a,b\n{}", lines.collect::<String>()));
        for (id, mail) in people {
            let mut fields = Person::default();
            fields.0.extend(id.clone().map(|id| ("id", id)));
            fields.0.extend(mail.clone().map(|mail| ("mail", mail)));
            // The model folds by hand: sharp s is two letters.
            let fold = |text: &str| text.to_lowercase().replace('ß', "ss");
            let by = |test: &dyn Fn(&(String, String)) -> bool| -> Vec<u32> {
                (0..).zip(&rows).filter(|(_, row)| test(row)).map(|(at, _)| at).collect()
            };
            let mut found = by(&|row| id.as_ref().is_some_and(|id| id.trim() == row.0));
            if found.is_empty() {
                found = by(&|row| mail.as_ref().is_some_and(|mail| {
                    !mail.is_empty() && fold(mail) == fold(&row.1)
                }));
            }
            let keys: BTreeSet<_> = found.iter().map(|&at| &rows[at as usize].0).collect();
            let expected = match keys.len() {
                0 => (0, Vec::new()),
                // One person: all rows of the key, also those with another address.
                1 => (1, by(&|row| keys.contains(&row.0))),
                _ => (2, found),
            };
            let matched = table.match_subject(&fields, &CurrentTables::default(), now());
            prop_assert_eq!(outcome(&matched), expected, "{:?}", fields);
        }
    }
}

#[test]
fn blank_values_match_nobody() {
    let table = load(&roster(), "k,a,b\n1,,\n2,,\n");
    for fields in [person(&[]), person(&[("mail", "")]), person(&[("mail", " "), ("id", "\t")])] {
        let matched = table.match_subject(&fields, &CurrentTables::default(), now());
        assert!(matches!(matched, Matched::None), "{matched:?}");
    }
}

fn with_crosswalk() -> Declaration {
    let mut roster = roster();
    let crosswalk = Crosswalk { table: "ids".to_owned(), column: "a".to_owned() };
    roster.matching[0].crosswalk = Some(crosswalk);
    roster
}

fn ids() -> Declaration {
    let mut ids = plain("csv");
    ids.name = "ids".to_owned();
    ids.no_match = NoMatchRule::Deny;
    ids
}

#[test]
fn crosswalks_translate_and_their_own_rules_hold() {
    let roster = Arc::new(load(&with_crosswalk(), "k,a,b\n1,m,\n2,n,\n"));
    let ids_of = |declaration: &Declaration| {
        Arc::new(load(declaration, "k,a,b\nu1,1,\nu2,2,\nu3,1,\nu3,2,\nu4,9,\nu5,,\n"))
    };
    let tables = CurrentTables::of([Arc::clone(&roster), ids_of(&ids())]);
    let find = |tables: &CurrentTables, id: &str, at| match tables.find_subject(
        "t",
        &person(&[("id", id), ("mail", "N")]),
        at,
    ) {
        Found::Rows { rows, .. } => format!("{rows:?}"),
        other => format!("{other:?}"),
    };
    assert_eq!(find(&tables, "u1", now()), "[0]");
    assert_eq!(find(&tables, "u3", now()), "[0, 1]", "two people: `use-all` gives both");
    for unknown in ["u4", "u5", "u6"] {
        assert_eq!(find(&tables, unknown, now()), "[1]", "the next rule is tried");
    }
    // Ten minutes later both are stale. The roster may be used, the crosswalk may not.
    let mut lasting = with_crosswalk();
    lasting.stale = StaleRule::UseAndFlag;
    let roster = Arc::new(load(&lasting, "k,a,b\n1,m,\n2,n,\n"));
    let later = time("2026-11-30T12:10:00Z");
    let tables = CurrentTables::of([Arc::clone(&roster), ids_of(&ids())]);
    assert_eq!(find(&tables, "u1", later), "Deny(Stale)");
    let mut absent = ids();
    absent.stale = StaleRule::TreatAsAbsent;
    let tables = CurrentTables::of([Arc::clone(&roster), ids_of(&absent)]);
    assert_eq!(find(&tables, "u1", later), "[1]", "without the crosswalk the next rule is tried");
    let tables = CurrentTables::of([roster]);
    assert_eq!(find(&tables, "u1", now()), "Deny(NotLoaded)");
    let error = match_report(&tables, "t", [person(&[])], now()).unwrap_err();
    assert!(matches!(error, MatchError::Crosswalk { rule: 0, .. }), "{error}");
}

#[test]
fn a_report_counts_every_subject_once() {
    let table = Arc::new(load(&roster(), "k,a,b\n1,x@h,\n1,y@h,\n2,Z@H,\n3,z@h,\n4,w@h,\n"));
    let tables = CurrentTables::of([table]);
    let people = [
        person(&[("id", "1"), ("mail", "X@H")]),
        person(&[("id", "2"), ("mail", "x@h")]),
        person(&[("mail", "z@h")]),
        person(&[("mail", "Y@H")]),
        person(&[("mail", "nobody@h")]),
        person(&[]),
    ];
    let report = match_report(&tables, "t", &people, now()).unwrap();
    assert_eq!((report.subjects, report.one, report.several, report.none), (6, 3, 1, 2));
    assert_eq!((report.by_rule.as_slice(), report.contradicted), ([2, 2].as_slice(), 1));
    assert_eq!(report.unused_keys, 2, "3 and 4");
    let examples: Vec<_> = report.examples.iter().map(|example| &**example.expose()).collect();
    assert_eq!(examples, ["z@h", "nobody@h", "(no field of the rules)"]);
    assert!(!format!("{report:?}").contains("z@h"));
    assert_eq!(
        match_report(&tables, "gone", &people, now()),
        Err(MatchError::NoTable("gone".to_owned()))
    );
}
