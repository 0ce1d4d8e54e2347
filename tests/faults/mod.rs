//! Faults of everything below the host: killed processes, lost power, disks that are full, slow or broken. What a caller was told is in the
//! log afterwards, and nothing is repaired by hand.

mod answer_ledger;
mod clock;
mod hanging_mount;
mod kill;
mod kill_point;
mod late_mount;
mod log_lines;
mod lost_roots;
mod memory_kill;
mod order;
mod platform;
mod platform_disk;
mod power;
mod shortage;
mod stall;
mod stop;
mod trace;

use std::time::{SystemTime, UNIX_EPOCH};

use portcullis_tests::{Binding, TestDeployment};
use serde_json::json;

/// A deployment whose write-ahead segments are as small as they can be, so that they roll all the
/// time.
fn deployment() -> TestDeployment {
    let deployment =
        TestDeployment::build(&[Binding::new("token", "misbehaving", json!({"do": "allow"}))]);
    deployment.configure("[audit]\n", "[audit]\nsegment_bytes = 2097152\n");
    deployment
}

/// Chance that can be had again: `PORTCULLIS_SEED` sets the seed, and every test that uses it prints it.
struct Chance(u64);

impl Chance {
    fn new() -> Self {
        let given = std::env::var("PORTCULLIS_SEED").ok().and_then(|seed| seed.parse().ok());
        let clock =
            || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs());
        let seed = given.unwrap_or_else(clock);
        println!("PORTCULLIS_SEED={seed}");
        Self(seed)
    }

    /// A number below `end` (SplitMix64, Steele et al. 2014).
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (number ^ (number >> 31)) % end
    }
}
