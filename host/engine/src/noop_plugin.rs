//! The plugin that does nothing: takes any settings, has no opinion of any call. What a plugin's own cost is measured against.
//!
//! Invariant: it is what a plugin must be and nothing more, so its call is the price of the sandbox.

use wit_component::StringEncoding;
use wit_parser::Resolve;

use crate::componentize;
use crate::error::{PrepareError, line};
use crate::inspect::CONTRACT;

/// The plugin that does nothing, as a component.
///
/// # Errors
/// None that is not a fault of this crate.
pub fn noop_plugin() -> Result<Vec<u8>, PrepareError> {
    let mut module = MODULE.to_vec();
    let embed = |module: &mut Vec<u8>| -> Result<(), Box<dyn std::error::Error>> {
        let mut resolve = Resolve::default();
        let package = resolve.push_str("policy.wit", CONTRACT)?;
        let world = resolve.select_world(&[package], Some("plugin"))?;
        Ok(wit_component::embed_component_metadata(module, &resolve, world, StringEncoding::UTF8)?)
    };
    embed(&mut module).map_err(|error| PrepareError::Invalid { why: line(&error.to_string()) })?;
    componentize(&module)
}

/// The core module: two pages of memory, a `cabi_realloc` that only goes up from 4096, and a `configure` and an `evaluate` that
/// point at zeros. The test below has it as text.
const MODULE: [u8; 145] = [
    0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00, 0x01, 0x14, 0x03, 0x60, 0x04, 0x7f, 0x7f, 0x7f,
    0x7f, 0x01, 0x7f, 0x60, 0x02, 0x7f, 0x7f, 0x01, 0x7f, 0x60, 0x01, 0x7f, 0x01, 0x7f, 0x03, 0x04,
    0x03, 0x00, 0x01, 0x02, 0x05, 0x03, 0x01, 0x00, 0x02, 0x06, 0x07, 0x01, 0x7f, 0x01, 0x41, 0x80,
    0x20, 0x0b, 0x07, 0x30, 0x04, 0x06, 0x6d, 0x65, 0x6d, 0x6f, 0x72, 0x79, 0x02, 0x00, 0x0c, 0x63,
    0x61, 0x62, 0x69, 0x5f, 0x72, 0x65, 0x61, 0x6c, 0x6c, 0x6f, 0x63, 0x00, 0x00, 0x09, 0x63, 0x6f,
    0x6e, 0x66, 0x69, 0x67, 0x75, 0x72, 0x65, 0x00, 0x01, 0x08, 0x65, 0x76, 0x61, 0x6c, 0x75, 0x61,
    0x74, 0x65, 0x00, 0x02, 0x0a, 0x2b, 0x03, 0x1d, 0x01, 0x01, 0x7f, 0x23, 0x00, 0x20, 0x02, 0x41,
    0x01, 0x6b, 0x6a, 0x41, 0x00, 0x20, 0x02, 0x6b, 0x71, 0x21, 0x04, 0x20, 0x04, 0x20, 0x03, 0x6a,
    0x24, 0x00, 0x20, 0x04, 0x0b, 0x05, 0x00, 0x41, 0x80, 0x08, 0x0b, 0x05, 0x00, 0x41, 0x80, 0x08,
    0x0b,
];

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"(module
        (memory (export "memory") 2)
        (global (mut i32) (i32.const 4096))
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (local i32)
            (local.set 4 (i32.and
                (i32.add (global.get 0) (i32.sub (local.get 2) (i32.const 1)))
                (i32.sub (i32.const 0) (local.get 2))))
            (global.set 0 (i32.add (local.get 4) (local.get 3)))
            (local.get 4))
        (func (export "configure") (param i32 i32) (result i32) (i32.const 1024))
        (func (export "evaluate") (param i32) (result i32) (i32.const 1024)))"#;

    #[test]
    fn the_bytes_are_what_the_text_says() {
        assert_eq!(wat::parse_str(TEXT).unwrap(), MODULE);
        assert!(crate::inspect(&noop_plugin().unwrap()).is_ok());
    }
}
