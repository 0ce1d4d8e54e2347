//! Core module to component, for languages whose compilers stop at a core module (Rust, C).
//!
//! Invariant: adds nothing but the world's name: no adapter, no import. What comes out is still to be inspected like any
//! other component.

use wasmparser::{Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::catch_panic::catch_panic;
use crate::error::{PrepareError, line};
use crate::inspect::{CONTRACT, MAX_BYTES, SEARCH};

/// Makes a component of a core module.
///
/// A module that carries its world in a custom section, as `wit-bindgen` writes it, is taken at its word. One that carries
/// none (C) is of the world `plugin`, or of `search-plugin` where it exports that world's `find`.
///
/// # Errors
///
/// [`PrepareError::TooLarge`]; [`PrepareError::Invalid`] where it is no core module or its imports
/// and exports are not those of its world.
pub fn componentize(module: &[u8]) -> Result<Vec<u8>, PrepareError> {
    if module.len() > MAX_BYTES {
        return Err(PrepareError::TooLarge { bytes: module.len(), most: MAX_BYTES });
    }
    let encode = || {
        let mut module = module.to_vec();
        if let Some(world) = world_of(&module)? {
            let mut resolve = Resolve::default();
            let package = resolve.push_str("policy.wit", CONTRACT)?;
            let world = resolve.select_world(&[package], Some(world))?;
            embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
        }
        ComponentEncoder::default().validate(true).module(&module)?.encode()
    };
    match catch_panic(encode) {
        Some(Ok(component)) => Ok(component),
        Some(Err(error)) => Err(PrepareError::Invalid { why: line(&format!("{error:#}")) }),
        None => {
            Err(PrepareError::Invalid { why: "the component encoder does not support it".into() })
        }
    }
}

/// The world of a module that does not say it; `None` where it does, or is no core module, which the encoder then says.
fn world_of(module: &[u8]) -> wasmparser::Result<Option<&'static str>> {
    if !Parser::is_core_wasm(module) {
        return Ok(None);
    }
    let mut world = "plugin";
    for payload in Parser::new(0).parse_all(module) {
        match payload? {
            Payload::CustomSection(section) if section.name().starts_with(WORLD_SECTION) => {
                return Ok(None);
            }
            Payload::ExportSection(exports) => {
                for export in exports {
                    let interface = export?.name.strip_suffix("#find");
                    if interface == Some(SEARCH) {
                        world = "search-plugin";
                    }
                }
            }
            _ => {}
        }
    }
    Ok(Some(world))
}

/// What `wit-bindgen` and `wit-component` call the section that holds a module's world.
const WORLD_SECTION: &str = "component-type";
