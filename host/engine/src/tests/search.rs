//! "Which ones?": asked in the same sandbox as everything else, and answered with at most a page of what is
//! well-formed.

use std::time::Duration;

use portcullis_model::{Entity, Limits, MAX_ID_BYTES, Page, Redacted, SearchPage, SearchTarget};

use super::guests::{
    FOREVER, NOTHING, PLENTY, attribute, engine, evaluating, limits, prepared, searching,
    searching_module, view,
};
use crate::inspect::CONTRACT;
use crate::{Fault, Plugin, PrepareError, componentize, inspect};

/// As many results as the page may have, each called by one letter from `a` on, of the type that the hook is
/// called, with the subject's attributes; what is next is `z` and where this page began.
const ALPHABET: &str = "(local $limit i32)
    (local.set $limit (i32.load offset=296 (local.get $call)))
    (loop $more
        (memory.copy (i32.add (i32.const 16384) (i32.mul (local.get $i) (i32.const 28)))
            (i32.add (local.get $call) (i32.const 28)) (i32.const 8))
        (i32.store8 offset=16392 (i32.mul (local.get $i) (i32.const 28)) (i32.const 1))
        (i32.store offset=16396 (i32.mul (local.get $i) (i32.const 28)) (i32.add (i32.const 3000) (local.get $i)))
        (i32.store offset=16400 (i32.mul (local.get $i) (i32.const 28)) (i32.const 1))
        (memory.copy (i32.add (i32.const 16404) (i32.mul (local.get $i) (i32.const 28)))
            (i32.add (local.get $call) (i32.const 92)) (i32.const 8))
        (i32.store8 offset=3000 (local.get $i) (i32.add (i32.const 97) (local.get $i)))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $more (i32.lt_u (local.get $i) (local.get $limit))))
    (i32.store (i32.const 1028) (i32.const 16384)) (i32.store (i32.const 1032) (local.get $limit))
    (i32.store8 (i32.const 1036) (i32.const 1))
    (i32.store (i32.const 1040) (i32.const 2048))
    (i32.store (i32.const 1044) (i32.add (i32.const 1)
        (if (result i32) (i32.load8_u offset=300 (local.get $call))
            (then (i32.load offset=308 (local.get $call))) (else (i32.const 0)))))
    (i32.store8 (i32.const 2048) (i32.const 122))
    (if (i32.load8_u offset=300 (local.get $call)) (then
        (memory.copy (i32.const 2049) (i32.load offset=304 (local.get $call)) (i32.load offset=308 (local.get $call)))))
    i32.const 1024";

fn find(plugin: &Plugin, page: &Page<'_>) -> Result<SearchPage, Fault> {
    let attribute = attribute();
    let view = portcullis_model::View {
        phase: Some(SearchTarget::Subject.phase()),
        ..view("1", &attribute)
    };
    plugin.find(&view, page, PLENTY).outcome
}

fn first(limit: u32) -> Page<'static> {
    Page { limit, after: None }
}

fn fault(found: &str, extra: &str) -> Fault {
    find(&prepared(&engine(), &searching(found, extra)), &first(3)).err().expect("a fault")
}

#[test]
fn what_is_found_comes_back_word_for_word() {
    let component = searching(ALPHABET, "");
    let inspection = inspect(&component).unwrap();
    assert!(inspection.searches);
    assert_eq!(inspection.exports, ["configure", "evaluate", "portcullis:policy/search@0.2.0"]);
    let plugin = prepared(&engine(), &component);
    assert!(plugin.searches());
    let entity = |id: &str| Entity {
        type_name: "okta.token".into(),
        id: Some(id.into()),
        attributes: vec![attribute()],
    };
    for (after, next) in [(None, "z"), (Some("XYZ"), "zXYZ"), (Some(""), "z")] {
        let found = find(&plugin, &Page { limit: 3, after }).ok().unwrap();
        assert!(found.results == ["a", "b", "c"].map(entity));
        assert_eq!(found.next.as_deref(), Some(next));
    }
    assert_eq!(find(&plugin, &first(1)).ok().unwrap().results.len(), 1);
    // Deciding goes on as before.
    assert!(plugin.evaluate(&view("1", &attribute()), PLENTY).outcome.is_ok());
}

#[test]
fn who_does_not_search_finds_nothing() {
    let component = evaluating(NOTHING, "");
    assert!(!inspect(&component).unwrap().searches);
    let plugin = prepared(&engine(), &component);
    assert!(!plugin.searches());
    assert!(find(&plugin, &first(3)).ok().unwrap() == SearchPage::default());
}

#[test]
fn a_search_of_another_shape_is_refused() {
    let other = CONTRACT.replace("record page { limit: u32,", "record page { limit: u64,");
    assert_ne!(other, CONTRACT);
    let component = componentize(&searching_module(&other, NOTHING, "")).unwrap();
    assert!(matches!(inspect(&component).unwrap_err(), PrepareError::WrongWorld { .. }));
}

#[test]
fn a_search_is_bounded_as_a_decision_is() {
    let engine = engine();
    let plugin = engine
        .prepare(&searching(FOREVER, ""), "", Limits { time_ms: 3, ..Limits::DEFAULT })
        .unwrap();
    let attribute = attribute();
    let runaway = plugin.find(&view("1", &attribute), &first(3), Duration::from_secs(3_600));
    assert_eq!(runaway.outcome.err(), Some(Fault::Deadline));
    assert!(runaway.elapsed < Duration::from_secs(60));
    let none_left = plugin.find(&view("1", &attribute), &first(3), Duration::ZERO);
    assert_eq!(none_left.outcome.err(), Some(Fault::Deadline));

    assert_eq!(fault("unreachable", ""), Fault::Trap("it gave up"));
    assert_eq!(
        fault(&format!("(drop (memory.grow (i32.const 255))) {NOTHING}"), ""),
        Fault::Memory
    );
    let dive = "(func $dive (result i64) (i64.add (call $dive) (i64.const 1)))";
    assert_eq!(fault(&format!("(drop (call $dive)) {NOTHING}"), dive), Fault::Stack);
    let error = "(i32.store8 (i32.const 1024) (i32.const 1)) (i32.store (i32.const 1028) (i32.const 2048))
        (i32.store (i32.const 1032) (i32.const 2)) (i32.store16 (i32.const 2048) (i32.const 0x6f6e)) i32.const 1024";
    assert_eq!(fault(error, ""), Fault::Error(Redacted::new("no".into())));
    // More text than its output limit.
    let long =
        "(i32.store8 (i32.const 1036) (i32.const 1)) (i32.store (i32.const 1040) (i32.const 2048))
        (i32.store (i32.const 1044) (i32.const 70000)) i32.const 1024";
    assert_eq!(fault(long, ""), Fault::Output);
    let notes =
        format!("(loop $more (call $note (i32.const 0) (i32.const 9)) (br $more)) {NOTHING}");
    let evaluation =
        prepared(&engine, &searching(&notes, "")).find(&view("1", &attribute), &first(3), PLENTY);
    assert_eq!((evaluation.outcome.err(), evaluation.notes.len()), (Some(Fault::Output), 64));
}

#[test]
fn a_page_that_cannot_be_used_is_a_fault() {
    // Four results where three were asked for.
    let more = ALPHABET.replace(
        "(i32.load offset=296 (local.get $call)))\n    (loop",
        "(i32.add (i32.const 1) (i32.load offset=296 (local.get $call))))\n    (loop",
    );
    assert_ne!(more, ALPHABET);
    assert_eq!(fault(&more, ""), Fault::Output);
    // All by the same name; without a name; with an attribute that is no JSON.
    let same = ALPHABET.replace("(i32.add (i32.const 97) (local.get $i))", "(i32.const 97)");
    assert_eq!(fault(&same, ""), Fault::Malformed);
    let nameless = ALPHABET.replace(
        "(i32.store8 offset=16392 (i32.mul (local.get $i) (i32.const 28)) (i32.const 1))",
        "",
    );
    assert_eq!(fault(&nameless, ""), Fault::Malformed);
    let plugin = prepared(&engine(), &searching(ALPHABET, ""));
    let wrong = portcullis_model::Attribute { name: "a".into(), value: "surgery".into() };
    assert_eq!(
        plugin.find(&view("1", &wrong), &first(3), PLENTY).outcome.err(),
        Some(Fault::Malformed)
    );
    // What is next must fit the next request.
    let long = "A".repeat(MAX_ID_BYTES);
    assert_eq!(find(&plugin, &Page { limit: 3, after: Some(&long) }).err(), Some(Fault::Malformed));
}

#[test]
fn searching_leaves_nothing_behind() {
    // Traps where an earlier search, or a decision, left its mark.
    let canary = format!(
        "(if (i64.ne (i64.load (i32.const 65536)) (i64.const 0)) (then unreachable))
         (i64.store (i32.const 65536) (i64.const 7)) {ALPHABET}"
    );
    // A local stands before everything else.
    let canary = canary.replace("(local $limit i32)", "");
    let canary = format!("(local $limit i32) {canary}");
    let plugin = engine().prepare(&searching(&canary, ""), "{}", limits()).unwrap();
    let expected = find(&plugin, &first(5)).ok().unwrap();
    for _ in 0..300 {
        assert!(find(&plugin, &first(5)).ok().unwrap() == expected);
    }
}
