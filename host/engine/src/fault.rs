//! What can go wrong while a plugin runs, in words an operator can act on.
//!
//! Invariant: a fault never carries what the plugin saw or said, except the text of an error it returned,
//! which is redacted and only for the sealed part of a record.

use portcullis_model::Redacted;
use wasmtime::{PoolConcurrencyLimitError, Trap};

use crate::host_functions::HostFunctionError;

/// Why an instance came to no decision.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It did what WebAssembly forbids, or gave up (a panic in Rust).
    #[error("the plugin trapped: {0}")]
    Trap(&'static str),
    /// It was not done when its time was over.
    #[error("the plugin did not finish in time")]
    Deadline,
    /// It asked for more memory than its limit.
    #[error("the plugin exceeded its memory limit")]
    Memory,
    /// It recursed too deep.
    #[error("the plugin used up its stack")]
    Stack,
    /// It said more than its output limit: in its decision, or in notes.
    #[error("the plugin's output is larger than its limit")]
    Output,
    /// Its output is malformed: not UTF-8, outside its memory, or an unknown case.
    #[error("the plugin's output is malformed")]
    Malformed,
    /// It returned an error. Its text goes to the sealed part of the record only.
    #[error("the plugin returned an error")]
    Error(Redacted<String>),
    /// A host function failed it: one that its manifest does not request, or beyond a limit.
    #[error("{0}")]
    HostFunction(HostFunctionError),
    /// The host has no slot left: more instances at once than it was set up for.
    #[error("the host has no free sandbox for another call")]
    NoSlot,
}

impl Fault {
    /// The stable code in metrics, logs and records.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Trap(_) => "plugin-trap",
            Self::Deadline => "plugin-deadline",
            Self::Memory => "plugin-memory",
            Self::Stack => "plugin-stack",
            Self::Output => "plugin-output",
            Self::Malformed => "plugin-malformed",
            Self::Error(_) => "plugin-error",
            Self::HostFunction(error) => error.code(),
            Self::NoSlot => "host-no-slot",
        }
    }

    /// Returns the hint: what to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Trap(_) | Self::Stack | Self::Malformed => {
                "report this to the plugin's publisher, with the record's number"
            }
            Self::Deadline => "raise `time_ms` in the manifest, or give the hook a larger budget",
            Self::Memory => "raise `memory_bytes` in the manifest",
            Self::Output => "raise `output_bytes` in the manifest",
            Self::Error(_) => "read the error's text in the sealed part of the record",
            Self::HostFunction(error) => error.hint(),
            Self::NoSlot => "raise the number of workers",
        };
        Some(hint.to_owned())
    }

    /// Classifies an error from inside the sandbox.
    pub(crate) fn from_wasmtime(error: &wasmtime::Error) -> Self {
        if let Some(fault) = error.downcast_ref::<Self>() {
            return fault.clone();
        }
        if let Some(trap) = error.downcast_ref::<Trap>() {
            return Self::from_trap(*trap);
        }
        if error.is::<PoolConcurrencyLimitError>() {
            return Self::NoSlot;
        }
        // wasmtime has no public type for this one; a test fails should the words ever change.
        if error.root_cause().to_string().contains("fuel allocated for hostcalls") {
            return Self::Output;
        }
        Self::Malformed
    }

    /// The trap that is described so.
    pub(crate) fn trap(text: &str) -> Self {
        Self::Trap(TRAPS.into_iter().find(|trap| *trap == text).unwrap_or("another reason"))
    }

    fn from_trap(trap: Trap) -> Self {
        Self::Trap(match trap {
            Trap::Interrupt => return Self::Deadline,
            Trap::StackOverflow => return Self::Stack,
            Trap::StringOutOfBounds
            | Trap::ListOutOfBounds
            | Trap::InvalidDiscriminant
            | Trap::InvalidChar => {
                return Self::Malformed;
            }
            Trap::UnreachableCodeReached => "it gave up",
            Trap::MemoryOutOfBounds => "memory access out of bounds",
            Trap::TableOutOfBounds | Trap::IndirectCallToNull | Trap::BadSignature => {
                "call of a function that does not exist"
            }
            Trap::IntegerOverflow | Trap::IntegerDivisionByZero | Trap::BadConversionToInteger => {
                "arithmetic"
            }
            Trap::CannotEnterComponent | Trap::CannotLeaveComponent => "a call at a forbidden time",
            _ => "another reason",
        })
    }
}

impl From<HostFunctionError> for Fault {
    fn from(error: HostFunctionError) -> Self {
        Self::HostFunction(error)
    }
}

/// How traps are described.
pub(crate) const TRAPS: [&str; 6] = [
    "it gave up",
    "memory access out of bounds",
    "call of a function that does not exist",
    "arithmetic",
    "a call at a forbidden time",
    "another reason",
];
