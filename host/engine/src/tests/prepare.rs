//! What does not become a plugin: wrong bytes, wrong imports, wrong world, bad manners while configuring.

use std::sync::Arc;

use portcullis_model::Limits;
use proptest::prelude::*;

use super::guests::{
    FOREVER, NOTHING, PLENTY, attribute, component, engine, evaluating, limits, module, module_for,
    prepared, view,
};
use crate::inspect::{CONTRACT, MAX_BYTES};
use crate::{CancelToken, Engine, Fault, PrepareError, componentize, inspect};

fn refused(component: &[u8]) -> PrepareError {
    let refused = inspect(component).expect_err("must be refused");
    assert_eq!(
        engine().prepare(component, "{}", limits()).err(),
        Some(refused.clone()),
        "both say the same"
    );
    assert!(refused.hint().is_some());
    refused
}

fn text(component: &str) -> Vec<u8> {
    wat::parse_str(component).unwrap()
}

#[test]
fn a_good_component_is_described() {
    let good = component("(call $note (i32.const 0) (i32.const 0)) i32.const 1024", NOTHING, "");
    let inspection = inspect(&good).unwrap();
    assert_eq!(inspection.bytes, good.len());
    assert_eq!(
        inspection.imports,
        ["portcullis:policy/types@0.2.0", "portcullis:policy/journal@0.2.0"]
    );
    assert_eq!(inspection.exports, ["configure", "evaluate"]);
    assert_eq!(inspection.memory_bytes, 2 * 65_536);
    let plugin = prepared(&engine(), &good);
    assert_eq!(plugin.component_digest(), inspection.digest);
}

#[test]
fn what_is_given_up_is_not_made_and_everybody_else_goes_on() {
    let (engine, given_up) = (engine(), CancelToken::default());
    let his = engine.with_cancel(&given_up);
    let good = evaluating(NOTHING, "");
    his.prepare(&good, "{}", limits()).unwrap();
    given_up.cancel();
    assert!(his.is_cancelled() && !engine.is_cancelled());
    assert_eq!(his.prepare(&good, "{}", limits()).err(), Some(PrepareError::Cancelled));
    engine.prepare(&good, "{}", limits()).unwrap();
}

#[test]
fn imports_outside_the_contract_are_refused_by_name() {
    for import in [
        "wasi:cli/environment@0.2.0",
        "portcullis:policy/journal@0.1.0",
        "portcullis:policy/secrets@0.2.0",
        "extra",
    ] {
        let component = text(&format!(r#"(component (import "{import}" (instance)))"#));
        assert_eq!(refused(&component), PrepareError::ForbiddenImport { import: import.into() });
    }
    let function = text(r#"(component (import "abort" (func)))"#);
    assert_eq!(refused(&function), PrepareError::ForbiddenImport { import: "abort".into() });
}

#[test]
fn another_world_is_refused() {
    assert!(matches!(refused(&text("(component)")), PrepareError::WrongWorld { .. }));
    let wrong_type = r#"(component
        (core module $m (func (export "f")))
        (core instance $i (instantiate $m))
        (func $f (canon lift (core func $i "f")))
        (export "configure" (func $f)) (export "evaluate" (func $f)))"#;
    assert!(matches!(refused(&text(wrong_type)), PrepareError::WrongWorld { .. }));
    // The same names, and one type another: bytes instead of text.
    let other = CONTRACT.replace("note: func(message: string)", "note: func(message: list<u8>)");
    assert_ne!(other, CONTRACT);
    let component = componentize(&module_for(&other, NOTHING, NOTHING, "")).unwrap();
    assert!(matches!(refused(&component), PrepareError::WrongWorld { .. }));
}

#[test]
fn what_is_switched_off_is_refused() {
    let switched_off = [
        "(func (drop (i32x4.splat (i32.const 1))))",
        "(global (mut v128) (v128.const i64x2 0 0))",
        "(func (result i32) (return_call $evaluate (i32.const 0)))",
        "(memory $second 1)",
        "(tag)",
        "(func (param externref))",
    ];
    for extra in switched_off {
        // The encoder may refuse it before we do; both are right.
        match componentize(&module(NOTHING, NOTHING, extra)) {
            Ok(component) => {
                assert!(matches!(refused(&component), PrepareError::Invalid { .. }), "{extra}")
            }
            Err(error) => assert!(matches!(error, PrepareError::Invalid { .. }), "{extra}"),
        }
    }
}

#[test]
fn what_is_not_a_component_is_refused() {
    assert_eq!(refused(&module(NOTHING, NOTHING, "")), PrepareError::CoreModule);
    assert!(matches!(refused(b""), PrepareError::Invalid { .. }));
    assert!(matches!(refused(b"#!/bin/sh\nexit 0\n"), PrepareError::Invalid { .. }));
    assert!(matches!(componentize(b"nonsense").unwrap_err(), PrepareError::Invalid { .. }));
    // A module that does not name its world is of ours, and has to export what that asks for.
    assert!(matches!(componentize(&text("(module)")).unwrap_err(), PrepareError::Invalid { .. }));
    assert!(matches!(refused(&text("(component)")), PrepareError::WrongWorld { .. }));
}

#[test]
fn a_truncated_file_is_refused_wherever_it_is_cut() {
    let whole = evaluating(NOTHING, "");
    for length in 0..whole.len() {
        if inspect(&whole[..length]).is_ok() {
            // All that is missing is whole custom sections (id 0), which only describe.
            assert_eq!(whole[length], 0, "{length} of {}", whole.len());
        }
    }
}

#[test]
fn what_is_too_large_or_too_complex_is_refused_before_it_is_compiled() {
    let too_large = vec![0; MAX_BYTES + 1];
    assert_eq!(
        refused(&too_large),
        PrepareError::TooLarge { bytes: MAX_BYTES + 1, most: MAX_BYTES }
    );
    assert!(matches!(componentize(&too_large).unwrap_err(), PrepareError::TooLarge { .. }));
    let many = "(func)".repeat(100_001);
    assert!(matches!(
        refused(&text(&format!("(component (core module {many}))"))),
        PrepareError::TooMany { what: "functions", count: 100_001, .. }
    ));
    let long = "nop ".repeat(1 << 20);
    assert!(matches!(
        refused(&text(&format!("(component (core module (func {long})))"))),
        PrepareError::TooMany { what: "bytes in one function", .. }
    ));
    let modules = "(core module)".repeat(65);
    assert!(matches!(
        refused(&text(&format!("(component {modules})"))),
        PrepareError::TooMany { what: "core modules", count: 65, .. }
    ));
}

#[test]
fn configuring_is_bounded_in_time_memory_and_stack() {
    let engine = engine();
    let configuring = |configure: &str, extra: &str| {
        engine.prepare(&component(configure, NOTHING, extra), "{}", limits()).err()
    };
    assert_eq!(configuring(FOREVER, ""), Some(PrepareError::Configure(Fault::Deadline)));
    let grow = format!("(drop (memory.grow (i32.const 255))) {NOTHING}");
    assert_eq!(configuring(&grow, ""), Some(PrepareError::Configure(Fault::Memory)));
    assert_eq!(
        configuring("unreachable", ""),
        Some(PrepareError::Configure(Fault::Trap("it gave up")))
    );
    let dive = "(func $dive (result i64) (i64.add (call $dive) (i64.const 1)))";
    assert_eq!(
        configuring(&format!("(drop (call $dive)) {NOTHING}"), dive),
        Some(PrepareError::Configure(Fault::Stack))
    );
    let at_start = "(func $start (loop $again (br $again))) (start $start)";
    assert_eq!(configuring(NOTHING, at_start), Some(PrepareError::Configure(Fault::Deadline)));
}

#[test]
fn a_memory_that_begins_beyond_the_limit_is_refused() {
    let small = Limits { memory_bytes: 65_536, ..limits() };
    let component = evaluating(NOTHING, "");
    assert_eq!(
        engine().prepare(&component, "{}", small).err(),
        Some(PrepareError::NoStart(Fault::Memory))
    );
}

#[test]
fn shared_code_does_not_lift_a_smaller_limit() {
    let component =
        component(&format!("(drop (memory.grow (i32.const 10))) {NOTHING}"), NOTHING, "");
    let small = Limits { memory_bytes: 11 * 65_536, ..limits() };
    let engine = engine();
    let _large = prepared(&engine, &component);
    assert_eq!(
        engine.prepare(&component, "{}", small).err(),
        Some(PrepareError::NoStart(Fault::Memory))
    );
    let enough = Limits { memory_bytes: 12 * 65_536, ..limits() };
    assert!(engine.prepare(&component, "{}", enough).is_ok());
}

#[test]
fn complaints_about_settings_are_the_plugins_words_and_in_no_log() {
    // Two complaints: the settings themselves, twice.
    let configure = "(i32.store8 (i32.const 1024) (i32.const 1))
        (i32.store (i32.const 1028) (i32.const 2048)) (i32.store (i32.const 1032) (i32.const 2))
        (i32.store (i32.const 2048) (local.get $settings)) (i32.store (i32.const 2052) (local.get $length))
        (i32.store (i32.const 2056) (local.get $settings)) (i32.store (i32.const 2060) (local.get $length))
        i32.const 1024";
    let component = component(configure, NOTHING, "");
    let refused = engine().prepare(&component, "no such\trule", limits()).err().unwrap();
    assert_eq!(refused.setting_errors(), ["no suchrule", "no suchrule"]);
    assert_eq!(refused.code(), "plugin-settings-refused");
    assert!(!format!("{refused} {refused:?} {:?}", refused.hint()).contains("rule\""));
    assert_eq!(refused.to_string(), "the plugin refuses its settings (2 complaints)");
}

#[test]
fn limits_beyond_the_ceiling_are_refused() {
    let component = evaluating(NOTHING, "");
    for limits in [
        Limits { memory_bytes: Limits::CEILING.memory_bytes + 1, ..Limits::DEFAULT },
        Limits { time_ms: 0, ..Limits::DEFAULT },
    ] {
        assert_eq!(engine().prepare(&component, "{}", limits).err(), Some(PrepareError::Limits));
    }
}

#[test]
fn code_is_shared_by_component_and_settings_and_freed_with_its_last_user() {
    let engine: Engine = engine();
    let component = evaluating(NOTHING, "");
    let prepare = |settings| engine.prepare(&component, settings, limits()).unwrap();
    let (one, same, other) = (prepare("1"), prepare("1"), prepare("2"));
    assert!(Arc::ptr_eq(one.code(), same.code()));
    assert!(!Arc::ptr_eq(one.code(), other.code()));
    let gone = Arc::downgrade(one.code());
    drop((one, same));
    assert!(gone.upgrade().is_none());
    assert!(prepare("1").evaluate(&view("1", &attribute()), PLENTY).outcome.is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Bytes that are nearly right: refused or run, never a panic that gets out, never an abort.
    #[test]
    fn altered_components_never_take_the_host_down(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)
    ) {
        let mut bytes = evaluating(NOTHING, "(table 4 funcref) (elem (i32.const 0) func $evaluate)");
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(plugin) = SHARED.with(|engine| engine.prepare(&bytes, "{}", Limits { time_ms: 20, ..Limits::DEFAULT })) {
            let _ = plugin.evaluate(&view("1", &attribute()), PLENTY).outcome;
        }
    }
}

thread_local! {
    static SHARED: Engine = engine();
}
