//! The end of what runs beside a test, however the test ends.

use std::sync::atomic::{AtomicBool, Ordering};

/// Says that it is over when it is dropped, so that a thread that looks at it ends with a test that failed too.
pub struct SetOnDrop<'a>(pub &'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
