//! Plugins written by hand as core modules, each of which does one thing that nobody's toolchain would.

use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::Resolve;

use crate::{MANIFEST, TestDeployment, checkout, digest};

/// A plugin by hand: takes any settings and decides nothing, unless it is told otherwise.
#[derive(Default)]
pub struct WatPlugin {
    configure: String,
    memory: Option<String>,
    extra: String,
}

#[expect(clippy::unwrap_used, reason = "a guest that cannot be made is a failed test")]
impl WatPlugin {
    /// What it does to be configured, as WebAssembly text.
    #[must_use]
    pub fn configure(mut self, text: &str) -> Self {
        self.configure = text.to_owned();
        self
    }

    /// How many pages of memory it begins with.
    #[must_use]
    pub fn pages(mut self, pages: u32) -> Self {
        self.memory = Some(pages.to_string());
        self
    }

    /// Further parts of the module.
    #[must_use]
    pub fn extra(mut self, text: &str) -> Self {
        self.extra = text.to_owned();
        self
    }

    /// The component.
    pub fn component(&self) -> Vec<u8> {
        let (memory, configure, extra) =
            (self.memory.as_deref().unwrap_or("2"), &self.configure, &self.extra);
        // A result's case is at 0 and its payload at 4: what was never written is "good, and nothing".
        let text = format!(
            r#"(module
                (memory (export "memory") {memory})
                (global $free (mut i32) (i32.const 4096))
                (func (export "cabi_realloc") (param i32 i32) (param $align i32) (param $size i32) (result i32)
                    (local $at i32)
                    (local.set $at (i32.and
                        (i32.add (global.get $free) (i32.sub (local.get $align) (i32.const 1)))
                        (i32.sub (i32.const 0) (local.get $align))))
                    (global.set $free (i32.add (local.get $at) (local.get $size)))
                    (local.get $at))
                (func (export "configure") (param i32 i32) (result i32) {configure} i32.const 1024)
                (func (export "evaluate") (param i32) (result i32) i32.const 1024)
                {extra})"#
        );
        let mut module = wat::parse_str(text).unwrap();
        let mut resolve = Resolve::default();
        let contract = std::fs::read_to_string(checkout().join("wit/policy.wit")).unwrap();
        let package = resolve.push_str("policy.wit", &contract).unwrap();
        let world = resolve.select_world(&[package], Some("plugin")).unwrap();
        wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
            .unwrap();
        ComponentEncoder::default().module(&module).unwrap().encode().unwrap()
    }
}

/// As many as fit into a component that is small enough to be taken.
const FUNCTIONS: u32 = 30;

/// A plugin that is small enough to be taken and takes a compiler minutes and gigabytes: functions as long as they may be, of which every
/// instruction hangs on the one before.
pub fn bomb() -> Vec<u8> {
    let mut functions = String::new();
    for function in 0..FUNCTIONS {
        functions.push_str(&format!("(func $bomb{function} (param $x i64)"));
        for place in 0..34_000 {
            let at = place % 4_000 * 8;
            functions.push_str(&format!(
                "(i64.store (i32.const {at}) (local.tee $x (i64.xor (i64.rotl (local.get $x) (i64.load (i32.const {at}))) (i64.const {place}))))"
            ));
        }
        functions.push(')');
    }
    // Called, so that nobody takes them for dead.
    let calls: String =
        (0..FUNCTIONS).map(|function| format!("(call $bomb{function} (i64.const 1))")).collect();
    WatPlugin::default().configure(&calls).extra(&functions).component()
}

#[expect(clippy::unwrap_used, reason = "a manifest that does not read is a failed test")]
impl TestDeployment {
    /// Puts any bytes where the release finds them, under a manifest that the publisher has signed for them: what a careless or hostile
    /// publisher could do, whom `plugin sign` would not let. `name` is a twin of `misbehaving`.
    pub fn plant(&self, name: &str, bytes: &[u8]) {
        self.sign_plugin(name, |source| source);
        let (component, manifest) = (
            format!("release/plugins/{name}.wasm"),
            format!("release/plugins/{name}.manifest.json"),
        );
        let former = std::fs::read(self.path(&component)).unwrap();
        let hex = |bytes: &[u8]| digest(bytes).trim_start_matches("sha256:").to_owned();
        let statement = self.opened_text(&manifest);
        let size = |bytes: &[u8]| format!("\"wasm_size\":{}", bytes.len());
        assert!(
            statement.contains(&hex(&former)) && statement.contains(&size(&former)),
            "{statement}"
        );
        let statement =
            statement.replace(&hex(&former), &hex(bytes)).replace(&size(&former), &size(bytes));
        self.write(&component, bytes);
        self.write(&manifest, self.forge("publisher", MANIFEST, &statement));
    }
}
