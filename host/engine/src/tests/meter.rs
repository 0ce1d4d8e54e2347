//! What a call costs, counted: the same every time, more for more work, and the pages that it really changed.

use std::time::Duration;

use portcullis_model::{Attribute, Limits};

use crate::tests::guests::{NOTHING, PLENTY, component, evaluating, view};
use crate::{CallServices, Cost, Fault, Meter, noop_plugin};

fn attribute() -> Attribute {
    Attribute { name: "a".into(), value: "1".into() }
}

fn cost(evaluate: &str) -> Cost {
    let meter = Meter::new(PLENTY).unwrap();
    let measured = meter
        .measure(
            &evaluating(evaluate, ""),
            "{}",
            Limits::DEFAULT,
            &view("u1", &attribute()),
            CallServices::journal_only(),
        )
        .unwrap();
    measured.unwrap_or_else(|fault| panic!("{fault}")).1
}

#[test]
fn the_same_call_costs_the_same_and_more_work_costs_more() {
    let nothing = cost(NOTHING);
    assert_eq!(cost(NOTHING), nothing);
    let counting = cost(
        "(loop $again (local.set $i (i32.add (local.get $i) (i32.const 1))) (br_if $again (i32.lt_u (local.get $i) (i32.const 1000)))) i32.const 1024",
    );
    assert!(counting.fuel > nothing.fuel + 3_000, "{counting:?} against {nothing:?}");
    assert_eq!(counting.pages, nothing.pages, "counting writes nowhere");
}

#[test]
fn pages_that_are_written_and_memory_that_grows_are_counted() {
    let nothing = cost(NOTHING);
    assert_eq!((nothing.memory_bytes, nothing.grown_bytes), (2 << 16, 0));
    let writing = cost(
        "(i32.store (i32.const 69632) (i32.const 7)) (i32.store (i32.const 90112) (i32.const 7)) \
         i32.const 1024",
    );
    assert_eq!(writing.pages, nothing.pages + 2);
    let growing = cost(
        "(drop (memory.grow (i32.const 3))) (i32.store (i32.const 131072) (i32.const 7)) i32.const \
         1024",
    );
    assert_eq!(growing.grown_bytes, 3 << 16);
    assert!(growing.pages > nothing.pages, "{growing:?}");
}

#[test]
fn a_call_that_fails_or_never_ends_has_no_cost() {
    let meter = Meter::new(Duration::from_millis(200)).unwrap();
    let measure = |wasm: &[u8]| {
        let services = CallServices::journal_only();
        meter.measure(wasm, "{}", Limits::DEFAULT, &view("u1", &attribute()), services)
    };
    let trapped = measure(&evaluating("unreachable", "")).unwrap();
    assert!(matches!(trapped, Err(Fault::Trap(_))));
    let endless = measure(&evaluating("(loop $again (br $again)) unreachable", "")).unwrap();
    assert!(matches!(endless, Err(Fault::Deadline)));
    assert!(measure(&component("unreachable", NOTHING, "")).is_err(), "its `configure` gives up");
    assert!(measure(&noop_plugin().unwrap()).unwrap().is_ok());
}
