//! A word by which whoever has plugins made says that they are wanted no more.
//!
//! Invariant: once said it stays said. It ends what is being made and stops nothing that runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether what is being made is wanted no more. Clones are one.
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// It is wanted no more.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether that was said.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
