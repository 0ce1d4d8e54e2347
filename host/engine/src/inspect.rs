//! What a component is, before anything of it is compiled or run.
//!
//! Invariant: nothing that passes imports anything outside the contract, uses what the sandbox has
//! switched off, or is larger than this crate compiles. The sizes are checked first, so that
//! hostile bytes cost little.

use portcullis_model::{Digest, sha256};
use wasmparser::{ComponentExternalKind, Parser, Payload, Validator};
use wit_parser::Resolve;

use crate::catch_panic::catch_panic;
use crate::error::{PrepareError, line};
use crate::sandbox::FEATURES;

/// A component's outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// How many bytes.
    pub bytes: usize,
    /// What it imports, in its order: interfaces of the contract.
    pub imports: Vec<String>,
    /// What it exports, in its order.
    pub exports: Vec<String>,
    /// Whether it can be asked "which ones?": it is of the world `search-plugin`.
    pub searches: bool,
    /// The memory it begins with, bytes; `configure` may take more.
    pub memory_bytes: u64,
}

/// Most bytes a component may have: a Python plugin has 18.5 MB, a JavaScript one 12 MB.
pub(crate) const MAX_BYTES: usize = 32 << 20;

/// Looks at a component without compiling it.
///
/// # Errors
///
/// [`PrepareError`]: too large, not a component, over-complex, using what the sandbox has switched
/// off, importing what is not in the contract (`wasi:*` included), or not of the world
/// `portcullis:policy/plugin@0.2.0`, or, where it exports `search`, not of `search-plugin`.
pub fn inspect(component: &[u8]) -> Result<Inspection, PrepareError> {
    if component.len() > MAX_BYTES {
        return Err(PrepareError::TooLarge { bytes: component.len(), most: MAX_BYTES });
    }
    if Parser::is_core_wasm(component) {
        return Err(PrepareError::CoreModule);
    }
    let seen = survey(component).map_err(|error| match error {
        Surveyed::Refused(refused) => refused,
        Surveyed::Broken(error) => PrepareError::Invalid { why: line(&error.to_string()) },
    })?;
    for import in &seen.imports {
        check_import(import)?;
    }
    Validator::new_with_features(FEATURES)
        .validate_all(component)
        .map_err(|error| PrepareError::Invalid { why: line(&error.to_string()) })?;
    let searches = seen.exports.iter().any(|export| export == SEARCH);
    check_world(component, if searches { "search-plugin" } else { "plugin" })?;
    Ok(Inspection {
        digest: sha256(component),
        bytes: component.len(),
        imports: seen.imports,
        exports: seen.exports,
        searches,
        memory_bytes: seen.memory_bytes,
    })
}

/// Whether the contract has this import.
fn check_import(import: &str) -> Result<(), PrepareError> {
    if ALLOWED.contains(&import) {
        Ok(())
    } else {
        Err(PrepareError::ForbiddenImport { import: line(import) })
    }
}

/// Whether imports and exports have the types of one of our worlds.
fn check_world(component: &[u8], world: &str) -> Result<(), PrepareError> {
    let fits = || {
        let mut resolve = Resolve::default();
        let package = resolve.push_str("policy.wit", CONTRACT)?;
        let world = resolve.select_world(&[package], Some(world))?;
        wit_component::targets(&resolve, world, component)
    };
    match catch_panic(fits) {
        Some(Ok(())) => Ok(()),
        Some(Err(error)) => {
            Err(PrepareError::WrongWorld { why: line(&error.root_cause().to_string()) })
        }
        None => Err(PrepareError::WrongWorld { why: "its types cannot be compared".into() }),
    }
}

/// Names and sizes, from one pass over the sections.
#[derive(Default)]
struct Survey {
    imports: Vec<String>,
    exports: Vec<String>,
    memory_bytes: u64,
    functions: u64,
    modules: u64,
}

enum Surveyed {
    Refused(PrepareError),
    Broken(wasmparser::BinaryReaderError),
}

fn survey(component: &[u8]) -> Result<Survey, Surveyed> {
    let mut seen = Survey::default();
    // How many modules and components we are inside of: only the outermost component's imports and exports
    // are its own.
    let mut depth: usize = 0;
    for payload in Parser::new(0).parse_all(component) {
        match payload? {
            Payload::ModuleSection { .. } => {
                seen.modules += 1;
                at_most("core modules", seen.modules, MAX_MODULES)?;
                depth += 1;
            }
            Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    let import = import?;
                    if import.ty.kind() != ComponentExternalKind::Type {
                        seen.imports.push(import.name.name.to_owned());
                    }
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    seen.exports.push(export?.name.name.to_owned());
                }
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    seen.memory_bytes =
                        seen.memory_bytes.saturating_add(memory?.initial.saturating_mul(PAGE));
                }
            }
            Payload::CodeSectionStart { count, .. } => {
                seen.functions += u64::from(count);
                at_most("functions", seen.functions, MAX_FUNCTIONS)?;
            }
            Payload::CodeSectionEntry(body) => {
                let bytes = body.range().len();
                at_most(
                    "bytes in one function",
                    u64::try_from(bytes).unwrap_or(u64::MAX),
                    MAX_FUNCTION_BYTES,
                )?;
            }
            _ => {}
        }
    }
    Ok(seen)
}

fn at_most(what: &'static str, count: u64, most: u64) -> Result<(), Surveyed> {
    if count > most {
        Err(Surveyed::Refused(PrepareError::TooMany { what, count, most }))
    } else {
        Ok(())
    }
}

impl From<wasmparser::BinaryReaderError> for Surveyed {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        Self::Broken(error)
    }
}

/// The contract's text, the one that the bindings are made of.
pub(crate) const CONTRACT: &str = include_str!("../../../wit/policy.wit");

/// The interfaces that a component may import. `types` has no functions.
const ALLOWED: [&str; 4] = [
    "portcullis:policy/types@0.2.0",
    "portcullis:policy/journal@0.2.0",
    "portcullis:policy/reference@0.2.0",
    "portcullis:policy/memory@0.2.0",
];

/// What a plugin exports that can be asked "which ones?".
pub(crate) const SEARCH: &str = "portcullis:policy/search@0.2.0";

/// Most core modules in a component; each is instantiated at most once. A Python plugin has 38, one a shared library and one a
/// stubbed system interface.
const MAX_MODULES: u64 = 64;

/// Most functions in a component: a JavaScript engine has about 12,700, Python 13,500.
const MAX_FUNCTIONS: u64 = 100_000;

/// Largest body of one function, bytes: compiling takes more than linear time in it. An interpreter's main
/// loop has 170,000 (JavaScript) to 430,000 (Python).
const MAX_FUNCTION_BYTES: u64 = 1 << 20;

/// A WebAssembly page, bytes.
const PAGE: u64 = 65_536;
