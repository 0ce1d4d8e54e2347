//! Whether the kernel's clock is synchronised, as the kernel sees it.
//!
//! Invariant: reads and changes nothing. It is a hint for operators: a daemon may set the clock
//! without telling the kernel, and one that tells it may be wrong.

/// Returns whether something has told the kernel within the last hours that the clock is right
/// (`adjtimex(2)`, `STA_UNSYNC`). `None` where the kernel does not tell.
#[must_use]
pub fn kernel_clock_is_synchronised() -> Option<bool> {
    #[expect(unsafe_code, reason = "no crate in the tree reads the state of the kernel's clock")]
    // SAFETY: `timex` is plain integers, for which zero is a value, and `modes` of zero means that
    // the kernel only writes into it and changes nothing.
    let (answer, state) = unsafe {
        let mut state: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&raw mut state), state)
    };
    (answer >= 0).then_some(state.status & libc::STA_UNSYNC == 0 && answer != libc::TIME_ERROR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_gives_the_same_answer_twice() {
        assert_eq!(kernel_clock_is_synchronised(), kernel_clock_is_synchronised());
    }
}
