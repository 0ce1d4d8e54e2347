//! The clock that ends runaway plugins: one thread an [`Engine`](crate::Engine) that advances its epoch.
//!
//! Invariant: the epoch advances by one at a time and never faster than once a [`TICK`], so that no call ever
//! gets less time than it was allowed because the thread had to catch up. A late tick only means that a
//! runaway is stopped late.

use std::io;
use std::thread;
use std::time::Duration;

use wasmtime::EngineWeak;

/// How often the epoch advances: the grain of every deadline in this crate. A finer one only costs
/// wake-ups.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// Starts the thread. It ends by itself when the last of `engines` is gone.
pub(crate) fn start(engines: Vec<EngineWeak>) -> io::Result<()> {
    let tick = move || {
        loop {
            // Not until a point in time: after a late tick the next one would come too early.
            thread::sleep(TICK);
            let mut alive = false;
            for engine in engines.iter().filter_map(EngineWeak::upgrade) {
                engine.increment_epoch();
                alive = true;
            }
            if !alive {
                return;
            }
        }
    };
    thread::Builder::new().name("epoch".into()).spawn(tick).map(drop)
}

/// How many ticks a call may live so that it has at least `allowance`, rounded up: the tick it starts in is
/// partly over.
pub(crate) fn ticks(allowance: Duration) -> u64 {
    let whole = allowance.as_nanos().div_ceil(TICK.as_nanos());
    u64::try_from(whole).unwrap_or(u64::MAX - 1).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_never_shorter_than_the_allowance() {
        for (micros, expected) in [(0, 1), (1, 2), (1_000, 2), (1_001, 3), (50_000, 51)] {
            assert_eq!(ticks(Duration::from_micros(micros)), expected, "{micros} µs");
        }
        assert_eq!(ticks(Duration::MAX), u64::MAX);
    }
}
