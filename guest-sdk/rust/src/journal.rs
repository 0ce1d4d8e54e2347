//! Notes for the sealed part of the record.
//!
//! Invariant: a note never reaches a browser, the platform or an operator's log. It needs the capability `journal` in the
//! manifest; the host bounds number and length.

/// Leaves a note.
///
/// In native tests it is kept for [`testing::notes`](crate::testing::notes).
pub fn note(message: &str) {
    #[cfg(target_arch = "wasm32")]
    crate::bindings::portcullis::policy::journal::note(message);
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::keep_note(message);
}
