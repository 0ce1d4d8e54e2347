//! One call cannot see another: a canary writes all over its instance and looks for what it, or anybody, left
//! there.

use std::thread;

use super::guests;
use super::guests::{PLENTY, attribute, engine, limits, prepared, view};
use crate::{Engine, Evaluation, Fault, Reset};

/// `evaluate` that traps when its second page, or its global, or memory that it grows, is not as the snapshot
/// left it; and then fills them all. Every fourth call it traps after filling, so that slots are also freed
/// by traps.
const CANARY: &str = "(local $end i32)
    (if (i32.ne (global.get $mark) (i32.const 41)) (then unreachable))
    (if (i32.ne (i32.load (i32.const 65536)) (i32.const 41)) (then unreachable))
    (drop (memory.grow (i32.const 3)))
    (local.set $i (i32.const 65544))
    (local.set $end (i32.mul (memory.size) (i32.const 65536)))
    (loop $more
        (if (i64.ne (i64.load (local.get $i)) (i64.const 0)) (then unreachable))
        (i64.store (local.get $i) (i64.const -6148914691236517206))
        (local.set $i (i32.add (local.get $i) (i32.const 512)))
        (br_if $more (i32.lt_u (local.get $i) (local.get $end))))
    (i32.store (i32.const 65536) (i32.const 666))
    (global.set $mark (i32.const 666))
    (if (i32.eq (i32.load8_u (i32.load (local.get $call))) (i32.const 116)) (then (drop (i32.load (i32.const -4)))))
    i32.const 1024";

/// What `configure` leaves for the canary to find.
const LEAVE: &str =
    "(global.set $mark (i32.const 41)) (i32.store (i32.const 65536) (i32.const 41)) i32.const 1024";

const EXTRA: &str = "(global $mark (mut i32) (i32.const 0))";

#[test]
fn a_canary_never_sees_another_call() {
    never_sees_another_call(&engine());
}

#[test]
fn a_canary_never_sees_another_call_where_slots_are_wiped_the_safe_way() {
    let engine = Engine::with_reset(guests::OPTIONS, Reset::Fallback { why: "a test" }).unwrap();
    never_sees_another_call(&engine);
}

fn never_sees_another_call(engine: &Engine) {
    let canary = prepared(engine, &guests::component(LEAVE, CANARY, EXTRA));
    // A second plugin with another image competes for the same slots.
    let other =
        engine.prepare(&guests::component(LEAVE, CANARY, EXTRA), "other", limits()).unwrap();
    let check = |Evaluation { outcome, .. }: Evaluation, traps: bool| match outcome {
        Ok(_) => assert!(!traps),
        Err(fault) => {
            assert_eq!((fault, traps), (Fault::Trap("memory access out of bounds"), true))
        }
    };
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for call in 0..2_500 {
                    // An id that begins with `t` tells the canary to trap once it has filled everything.
                    let traps = call % 4 == 0;
                    let id = if traps { "trap" } else { "call" };
                    let plugin = if call % 7 == 0 { &other } else { &canary };
                    check(plugin.evaluate(&view(id, &attribute()), PLENTY), traps);
                }
            });
        }
    });
}
