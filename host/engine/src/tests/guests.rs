//! Plugins written by hand as core modules, so that each does exactly one bad thing.
//!
//! The offsets are those of the canonical ABI: a result's case is at 0 and its payload at 4; a decision is
//! its findings (pointer, length), its changes (pointer, length) and its risk (case, value); a finding takes
//! 32 bytes.

use std::time::Duration;

use portcullis_model::{Attribute, Limits, Millis, PrincipalKind, PrincipalView, View};
use wit_component::StringEncoding;
use wit_parser::Resolve;

use crate::inspect::CONTRACT;
use crate::{Engine, Options, Plugin, componentize};

/// `evaluate`: the empty decision, from memory that nobody wrote.
pub(crate) const NOTHING: &str = "i32.const 1024";

/// `evaluate` and `configure`: never comes back.
pub(crate) const FOREVER: &str = "(loop $again (br $again)) unreachable";

/// Enough for every good guest here.
pub(crate) const PLENTY: Duration = Duration::from_secs(5);

/// A core module with 2 pages of memory whose functions do what is given. Addresses below 4096 are free for
/// it to use.
pub(crate) fn module(configure: &str, evaluate: &str, extra: &str) -> Vec<u8> {
    module_for(CONTRACT, configure, evaluate, extra)
}

/// The same for another contract, whose functions are the same to a core module.
pub(crate) fn module_for(contract: &str, configure: &str, evaluate: &str, extra: &str) -> Vec<u8> {
    module_of("plugin", contract, configure, evaluate, extra)
}

/// The same for any world.
fn module_of(world: &str, contract: &str, configure: &str, evaluate: &str, extra: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
            (import "portcullis:policy/journal@0.2.0" "note" (func $note (param i32 i32)))
            (memory (export "memory") 2)
            (global $free (mut i32) (i32.const 4096))
            (func (export "cabi_realloc") (param i32 i32) (param $align i32) (param $size i32) (result i32)
                (local $at i32)
                (local.set $at (i32.and
                    (i32.add (global.get $free) (i32.sub (local.get $align) (i32.const 1)))
                    (i32.sub (i32.const 0) (local.get $align))))
                (global.set $free (i32.add (local.get $at) (local.get $size)))
                (local.get $at))
            (func (export "configure") (param $settings i32) (param $length i32) (result i32) (local $i i32)
                {configure})
            (func $evaluate (export "evaluate") (param $call i32) (result i32) (local $i i32)
                {evaluate})
            {extra})"#
    );
    let mut module = wat::parse_str(text).unwrap();
    let mut resolve = Resolve::default();
    let package = resolve.push_str("policy.wit", contract).unwrap();
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .unwrap();
    module
}

/// The same as a component.
pub(crate) fn component(configure: &str, evaluate: &str, extra: &str) -> Vec<u8> {
    componentize(&module(configure, evaluate, extra)).unwrap()
}

/// A component that takes any settings, does `evaluate`, and has `extra` besides.
pub(crate) fn evaluating(evaluate: &str, extra: &str) -> Vec<u8> {
    component(NOTHING, evaluate, extra)
}

/// A component that takes any settings, decides nothing, and does `find` when it is asked which ones: `$call` is
/// where the call lies, and behind it the page (limit at 296, after what at 300). Of a page found, the results
/// (pointer, length) are at 4 and what is next (case, pointer, length) at 12; a result takes 28 bytes: its type, its id
/// (case, pointer, length) and its attributes.
pub(crate) fn searching(find: &str, extra: &str) -> Vec<u8> {
    componentize(&searching_module(CONTRACT, find, extra)).unwrap()
}

/// The same as a core module, for any contract.
pub(crate) fn searching_module(contract: &str, find: &str, extra: &str) -> Vec<u8> {
    let find = format!(
        r#"(func (export "portcullis:policy/search@0.2.0#find") (param $call i32) (result i32) (local $i i32)
            {find})
        {extra}"#
    );
    module_of("search-plugin", contract, NOTHING, NOTHING, &find)
}

/// A small engine, in which `configure` gets 200 ms.
pub(crate) const OPTIONS: Options =
    Options { workers: 4, plugins: 4, configure_time: Duration::from_millis(200) };

/// An engine with [`OPTIONS`].
pub(crate) fn engine() -> Engine {
    Engine::new(OPTIONS).unwrap()
}

/// Prepared with the default limits and the time limit at its ceiling, so that a busy machine fails no test.
pub(crate) fn prepared(engine: &Engine, component: &[u8]) -> Plugin {
    engine.prepare(component, "{}", limits()).unwrap()
}

/// The default limits, with the most time.
pub(crate) fn limits() -> Limits {
    Limits { time_ms: Limits::CEILING.time_ms, ..Limits::DEFAULT }
}

/// A call by `id`, with one attribute.
pub(crate) fn view<'a>(id: &'a str, attribute: &'a Attribute) -> View<'a> {
    View {
        id,
        correlation: Some("correlation"),
        tenant: "default",
        hook: "okta.token",
        phase: None,
        received: Millis(1_700_000_000_000),
        seed: 7,
        subject: Some(PrincipalView {
            kind: PrincipalKind::Person,
            type_name: "user",
            id: Some(id),
            attributes: vec![attribute],
            entitlements: &[],
        }),
        actors: Vec::new(),
        action: None,
        resource: None,
        requested: &[],
        lifetimes: &[],
        origin: None,
        purpose: None,
        proposed: &[],
        payload: "null".into(),
    }
}

/// An attribute to give away.
pub(crate) fn attribute() -> Attribute {
    Attribute { name: "department".into(), value: "\"surgery\"".into() }
}
