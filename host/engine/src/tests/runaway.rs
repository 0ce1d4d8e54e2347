//! Guests that take too much: time, memory, stack, output; and guests that just fail.

use std::thread;
use std::time::Duration;

use portcullis_model::{Decision, Limits, Redacted};

use super::guests::{
    FOREVER, NOTHING, PLENTY, attribute, component, engine, evaluating, limits, prepared, view,
};
use crate::{Engine, Fault, Options};

/// What one call of a guest comes to.
fn outcome(evaluate: &str, extra: &str) -> Result<Decision, Fault> {
    let engine = engine();
    prepared(&engine, &evaluating(evaluate, extra))
        .evaluate(&view("1", &attribute()), PLENTY)
        .outcome
}

fn fault(evaluate: &str, extra: &str) -> Fault {
    outcome(evaluate, extra).err().expect("a fault")
}

#[test]
fn a_runaway_is_stopped_and_hurts_no_neighbour() {
    let engine = engine();
    let runaway = prepared(&engine, &evaluating(FOREVER, ""));
    let neighbour = prepared(&engine, &evaluating(NOTHING, ""));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let evaluation =
                        runaway.evaluate(&view("1", &attribute()), Duration::from_millis(2));
                    assert_eq!(evaluation.outcome.err(), Some(Fault::Deadline));
                    assert!(
                        evaluation.elapsed >= Duration::from_millis(2),
                        "{:?}",
                        evaluation.elapsed
                    );
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..500 {
                let evaluation = neighbour.evaluate(&view("1", &attribute()), PLENTY);
                assert!(evaluation.outcome.is_ok());
            }
        });
    });
}

#[test]
fn the_shorter_of_allowance_and_limit_counts() {
    let engine = engine();
    let limits = Limits { time_ms: 3, ..Limits::DEFAULT };
    let plugin = engine.prepare(&evaluating(FOREVER, ""), "", limits).unwrap();
    let evaluation = plugin.evaluate(&view("1", &attribute()), Duration::from_secs(3_600));
    assert_eq!(evaluation.outcome.err(), Some(Fault::Deadline));
    assert!(evaluation.elapsed < Duration::from_secs(60));
    let none_left = plugin.evaluate(&view("1", &attribute()), Duration::ZERO);
    assert_eq!(none_left.outcome.err(), Some(Fault::Deadline));
}

#[test]
fn memory_beyond_the_limit_is_a_fault_and_up_to_it_is_not() {
    // 16 MiB are 256 pages, and 2 are there from the start.
    let grow = |pages: u32| format!("(drop (memory.grow (i32.const {pages}))) {NOTHING}");
    assert_eq!(fault(&grow(255), ""), Fault::Memory);
    assert!(outcome(&grow(254), "").is_ok());
    assert_eq!(fault(&grow(65_535), ""), Fault::Memory);
    let step_by_step =
        format!("(loop $more (drop (memory.grow (i32.const 1))) (br $more)) {NOTHING}");
    assert_eq!(fault(&step_by_step, ""), Fault::Memory);
}

#[test]
fn deep_recursion_is_a_fault() {
    let dive = "(func $dive (param i64) (result i64)
        (i64.add (call $dive (i64.add (local.get 0) (i64.const 1))) (local.get 0)))";
    assert_eq!(fault(&format!("(drop (call $dive (i64.const 0))) {NOTHING}"), dive), Fault::Stack);
}

#[test]
fn a_trap_is_a_fault() {
    assert_eq!(fault("unreachable", ""), Fault::Trap("it gave up"));
    let outside = format!("(drop (i32.load (i32.const -8))) {NOTHING}");
    assert_eq!(fault(&outside, ""), Fault::Trap("memory access out of bounds"));
    let division = format!("(drop (i32.div_u (i32.const 1) (local.get $i))) {NOTHING}");
    assert_eq!(fault(&division, ""), Fault::Trap("arithmetic"));
}

/// `evaluate` that returns so many findings, all zeros, from a memory that has room for them.
fn findings(count: u32) -> String {
    format!(
        "(drop (memory.grow (i32.const 100)))
         (i32.store (i32.const 1028) (i32.const 65536)) (i32.store (i32.const 1032) (i32.const {count})) i32.const 1024"
    )
}

#[test]
fn output_beyond_the_limit_is_a_fault_and_up_to_it_is_not() {
    assert_eq!(outcome(&findings(100), "").ok().unwrap().findings.len(), 100);
    assert_eq!(fault(&findings(100_000), ""), Fault::Output);
    // One long text: an error of 64 KiB, and one byte more.
    let error = |bytes: u32| {
        format!(
            "(drop (memory.grow (i32.const 1)))
             (i32.store8 (i32.const 1024) (i32.const 1))
             (i32.store (i32.const 1028) (i32.const 65536)) (i32.store (i32.const 1032) (i32.const {bytes})) i32.const 1024"
        )
    };
    assert_eq!(fault(&error(65_536), ""), Fault::Error(Redacted::new("\0".repeat(65_536))));
    assert_eq!(fault(&error(65_537), ""), Fault::Output);
}

#[test]
fn what_is_not_well_formed_is_a_fault() {
    assert_eq!(fault(&findings(u32::MAX), ""), Fault::Malformed);
    assert_eq!(fault(&findings(10_000_000), ""), Fault::Malformed);
    assert_eq!(fault("i32.const -4", ""), Fault::Malformed);
    assert_eq!(fault("i32.const 1023", ""), Fault::Malformed);
    let no_such_case = "(i32.store8 (i32.const 1024) (i32.const 2)) i32.const 1024";
    assert_eq!(fault(no_such_case, ""), Fault::Malformed);
    let not_utf8 = "(i32.store8 (i32.const 1024) (i32.const 1)) (i32.store (i32.const 1028) (i32.const 2048))
        (i32.store (i32.const 1032) (i32.const 1)) (i32.store8 (i32.const 2048) (i32.const 255)) i32.const 1024";
    assert_eq!(fault(not_utf8, ""), Fault::Malformed);
    let no_such_effect = "(i32.store8 (i32.const 65544) (i32.const 5)) (i32.store (i32.const 1028) (i32.const 65536))
        (i32.store (i32.const 1032) (i32.const 1)) i32.const 1024";
    assert_eq!(fault(no_such_effect, ""), Fault::Malformed);
}

#[test]
fn an_allocator_that_lies_is_a_fault() {
    let engine = engine();
    // The host asks the plugin's own allocator for room for the call: outside its memory, and at the very end
    // of it.
    for free in [-65_536, 131_000] {
        let configure = format!("(global.set $free (i32.const {free})) {NOTHING}");
        let plugin = prepared(&engine, &component(&configure, NOTHING, ""));
        let evaluation = plugin.evaluate(&view("1", &attribute()), PLENTY);
        assert_eq!(evaluation.outcome.err(), Some(Fault::Malformed), "{free}");
    }
}

#[test]
fn an_error_keeps_its_text_to_itself() {
    let says_secret = r#"(i32.store8 (i32.const 1024) (i32.const 1)) (i32.store (i32.const 1028) (i32.const 2048))
        (i32.store (i32.const 1032) (i32.const 6)) i32.const 1024"#;
    let fault = fault(says_secret, r#"(data (i32.const 2048) "secret")"#);
    assert_eq!(fault, Fault::Error(Redacted::new("secret".into())));
    assert!(!format!("{fault} {fault:?} {:?}", fault.hint()).contains("secret"));
}

#[test]
fn notes_are_kept_and_bounded() {
    let engine = engine();
    let noting = |bytes: u32, times: u32| {
        let evaluate = format!(
            "(loop $more
                (call $note (i32.const 65536) (i32.const {bytes}))
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br_if $more (i32.lt_u (local.get $i) (i32.const {times}))))
             {NOTHING}"
        );
        prepared(&engine, &evaluating(&evaluate, "")).evaluate(&view("1", &attribute()), PLENTY)
    };
    let good = noting(1_000, 64);
    assert!(good.outcome.is_ok());
    assert_eq!(good.notes, vec!["\0".repeat(1_000); 64]);
    let too_often = noting(0, 65);
    assert_eq!((too_often.outcome.err(), too_often.notes.len()), (Some(Fault::Output), 64));
    let too_much = noting(1_025, 64);
    assert_eq!((too_much.outcome.err(), too_much.notes.len()), (Some(Fault::Output), 63));
    let permits = noting(65_537 - 1_000, 2);
    assert_eq!((permits.outcome.err(), permits.notes.len()), (Some(Fault::Output), 1));
}

#[test]
fn notes_taken_while_configuring_are_the_plugins_not_the_calls() {
    let engine = engine();
    let configure = "(call $note (local.get $settings) (local.get $length)) i32.const 1024";
    let plugin = engine.prepare(&component(configure, NOTHING, ""), "settings", limits()).unwrap();
    assert_eq!(plugin.notes(), ["settings"]);
    assert!(plugin.evaluate(&view("1", &attribute()), PLENTY).notes.is_empty());
}

#[test]
fn more_calls_than_slots_are_told_so_and_freed_slots_serve_again() {
    let options = Options { workers: 1, plugins: 1, configure_time: Duration::from_secs(1) };
    let engine = Engine::new(options).unwrap();
    let plugin = prepared(&engine, &evaluating(NOTHING, ""));
    let first = plugin.evaluate(&view("1", &attribute()), PLENTY);
    let second = plugin.evaluate(&view("2", &attribute()), PLENTY);
    let third = plugin.evaluate(&view("3", &attribute()), PLENTY);
    assert!(first.outcome.is_ok() && second.outcome.is_ok());
    assert_eq!(third.outcome.err(), Some(Fault::NoSlot));
    drop(first.spent_instance);
    assert!(plugin.evaluate(&view("4", &attribute()), PLENTY).outcome.is_ok());
}
