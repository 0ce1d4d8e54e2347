//! The same snapshot and the same call give the same bytes.

use std::time::Duration;

use portcullis_model::Limits;

use super::guests::{
    NOTHING, PLENTY, attribute, component, engine, evaluating, limits, prepared, view,
};

/// `evaluate` that returns as its error a hash over the first 64 KiB of its memory: the call as it was
/// lowered, the settings as `configure` kept them, and everything that anybody else might have left there.
const HASH_OF_MEMORY: &str = "(local $hash i64)
    (local.set $hash (i64.const -3750763034362895579))
    (loop $more
        (local.set $hash (i64.mul
            (i64.xor (local.get $hash) (i64.load8_u (local.get $i)))
            (i64.const 1099511628211)))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $more (i32.lt_u (local.get $i) (i32.const 65536))))
    (i64.store (i32.const 2048) (i64.and (local.get $hash) (i64.const 0x7f7f7f7f7f7f7f7f)))
    (i32.store8 (i32.const 1024) (i32.const 1))
    (i32.store (i32.const 1028) (i32.const 2048))
    (i32.store (i32.const 1032) (i32.const 8))
    i32.const 1024";

#[test]
fn a_thousand_runs_between_traps_and_in_two_engines_agree() {
    let hashing = evaluating(HASH_OF_MEMORY, "");
    let trapping = evaluating("(i64.store (i32.const 3000) (i64.const 77)) unreachable", "");
    let (first, second) = (engine(), engine());
    let snapshots = [prepared(&first, &hashing), prepared(&second, &hashing)];
    assert_eq!(snapshots[0].snapshot_digest(), snapshots[1].snapshot_digest());
    let bad = prepared(&first, &trapping);
    let attribute = attribute();
    let one = || view("one", &attribute);
    let expected = snapshots[0].evaluate(&one(), PLENTY).outcome.err().unwrap();
    let another =
        snapshots[0].evaluate(&view("another", &attribute), PLENTY).outcome.err().unwrap();
    assert_ne!(expected, another, "the hash must depend on the call");
    for run in 0..1_000 {
        if run % 3 == 0 {
            assert!(bad.evaluate(&one(), PLENTY).outcome.is_err());
        }
        if run % 50 == 0 {
            let cut_short = snapshots[0].evaluate(&one(), Duration::from_nanos(1));
            drop(cut_short);
        }
        let plugin = &snapshots[run % 2];
        assert_eq!(
            plugin.evaluate(&one(), PLENTY).outcome.err(),
            Some(expected.clone()),
            "run {run}"
        );
    }
}

#[test]
fn the_snapshot_depends_on_component_and_settings_alone() {
    // `configure` keeps where its settings lie, and how many bytes they are; it also takes memory.
    let keeping = "(i32.store (i32.const 3000) (local.get $settings)) (i32.store (i32.const 3004) (local.get $length))
        (drop (memory.grow (i32.const 3))) i32.const 1024";
    let component = component(keeping, HASH_OF_MEMORY, "");
    let engine = engine();
    let prepare = |settings, limits| engine.prepare(&component, settings, limits).unwrap();
    let plugin = prepare("{}", limits());
    let digest = plugin.snapshot_digest();
    drop(plugin);
    assert_eq!(prepare("{}", Limits::CEILING).snapshot_digest(), digest);
    assert_ne!(prepare("{ }", limits()).snapshot_digest(), digest);
    assert_ne!(digest, prepare("{}", limits()).component_digest());
}

#[test]
fn configure_is_remembered_and_not_run_again() {
    // Counts the runs of `configure` and of the start function in a global; `evaluate` tells both as its
    // risk.
    let counting =
        format!("(global.set $runs (i32.add (global.get $runs) (i32.const 1))) {NOTHING}");
    let telling = "(i32.store8 (i32.const 1044) (i32.const 1)) (i32.store8 (i32.const 1045) \
                   (global.get $runs)) i32.const 1024";
    let globals = "(global $runs (mut i32) (i32.const 0))
        (func $begin (global.set $runs (i32.add (global.get $runs) (i32.const 10)))) (start $begin)";
    let plugin = prepared(&engine(), &component(&counting, telling, globals));
    for _ in 0..3 {
        let decision = plugin.evaluate(&view("1", &attribute()), PLENTY).outcome.ok().unwrap();
        assert_eq!(decision.risk, Some(11));
    }
}

#[test]
fn nan_has_one_form() {
    // A signalling NaN with a payload, plus one: hardware would keep some of its bits.
    let adding = "(i32.store8 (i32.const 1044) (i32.const 1))
        (i32.store8 (i32.const 1045) (i32.eq (i32.const 0x7fc00000)
            (i32.reinterpret_f32 (f32.add (f32.reinterpret_i32 (i32.const 0xffa12345)) (f32.const 1)))))
        i32.const 1024";
    let decision =
        prepared(&engine(), &evaluating(adding, "")).evaluate(&view("1", &attribute()), PLENTY);
    assert_eq!(decision.outcome.ok().unwrap().risk, Some(1));
}
