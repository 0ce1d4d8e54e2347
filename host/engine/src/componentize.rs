//! Core module to component, for languages whose compilers stop at a core module (Rust, C).
//!
//! Invariant: adds nothing: no adapter, no import. What comes out is still to be inspected like any other
//! component.

use wit_component::ComponentEncoder;

use crate::guarded::guarded;
use crate::inspect::MOST_BYTES;
use crate::refused::{Refused, line};

/// Makes a component of a core module that carries its world in a custom section, as `wit-bindgen` writes it.
///
/// # Errors
///
/// [`Refused::TooLarge`]; [`Refused::Invalid`] where it is no core module or its imports and exports are not
/// those of the world it carries.
pub fn componentize(module: &[u8]) -> Result<Vec<u8>, Refused> {
    if module.len() > MOST_BYTES {
        return Err(Refused::TooLarge { bytes: module.len(), most: MOST_BYTES });
    }
    let encode = || ComponentEncoder::default().validate(true).module(module)?.encode();
    match guarded(encode) {
        Some(Ok(component)) => Ok(component),
        Some(Err(error)) => Err(Refused::Invalid { why: line(&format!("{error:#}")) }),
        None => Err(Refused::Invalid { why: "the component encoder does not support it".into() }),
    }
}
