//! How a memory slot is wiped between two calls: chosen once, at start, and told to the operator.
//!
//! Invariant: the scan for written pages is used only where no page can be swapped out. wasmtime 48 does not
//! see a written page that was swapped out, so what one call left there would be in the next call's memory
//! (fixed in wasmtime 50).

use std::fmt;
use std::fs;
use std::path::Path;

use wasmtime::PoolingAllocationConfig;

/// How slots are wiped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// The kernel names the written pages (`PAGEMAP_SCAN`, Linux 6.7), and only those are wiped: one system
    /// call and no page fault a call.
    PagemapScan,
    /// The kernel drops all pages: safe everywhere, about three times slower a call.
    Fallback {
        /// Why the scan is not used.
        why: &'static str,
    },
}

impl Reset {
    /// What this machine allows.
    pub(crate) fn probe() -> Self {
        if !PoolingAllocationConfig::is_pagemap_scan_available() {
            return Self::Fallback {
                why: "the kernel has no pagemap scan (linux 6.7 or later has it)",
            };
        }
        if swap_is_possible(&|path| fs::read_to_string(path).ok()) {
            return Self::Fallback {
                why: "swap is configured: turn it off or set `memory.swap.max` to 0 for this service",
            };
        }
        Self::PagemapScan
    }

    /// Whether the choice made at start is still right: false when swap was configured since. An operator
    /// must then restart.
    pub(crate) fn still_holds(self) -> bool {
        self != Self::PagemapScan || !swap_is_possible(&|path| fs::read_to_string(path).ok())
    }
}

impl fmt::Display for Reset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PagemapScan => f.write_str("pagemap-scan"),
            Self::Fallback { why } => write!(f, "fallback: {why}"),
        }
    }
}

/// Whether a page of this process can be swapped out. What cannot be read counts as possible.
fn swap_is_possible(read: &dyn Fn(&Path) -> Option<String>) -> bool {
    // The first line is the table's head; every further one is a swap area.
    let none_configured =
        read(Path::new("/proc/swaps")).is_some_and(|table| table.lines().count() == 1);
    !none_configured && !cgroup_forbids_swap(read)
}

/// Whether the control group (version 2) of this process, or one above it, forbids swap.
fn cgroup_forbids_swap(read: &dyn Fn(&Path) -> Option<String>) -> bool {
    let Some(membership) = read(Path::new("/proc/self/cgroup")) else {
        return false;
    };
    let Some(group) = membership.lines().find_map(|line| line.strip_prefix("0::/")) else {
        return false;
    };
    // A group's limit binds every group below it.
    Path::new(group).ancestors().any(|group| {
        let limit = Path::new("/sys/fs/cgroup").join(group).join("memory.swap.max");
        read(&limit).is_some_and(|limit| limit.trim() == "0")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_SWAP: &str = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
    const SWAP: &str = "Filename Type Size Used Priority\n/dev/sda2 partition 1048572 0 -2\n";

    fn possible(files: &[(&str, &str)]) -> bool {
        let read = |path: &Path| {
            files
                .iter()
                .find(|(name, _)| Path::new(name) == path)
                .map(|(_, text)| (*text).to_owned())
        };
        swap_is_possible(&read)
    }

    #[test]
    fn swap_is_possible_unless_proven_otherwise() {
        let group = ("/proc/self/cgroup", "0::/system.slice/portcullis.service\n");
        let own = "/sys/fs/cgroup/system.slice/portcullis.service/memory.swap.max";
        let above = "/sys/fs/cgroup/system.slice/memory.swap.max";
        assert!(!possible(&[("/proc/swaps", NO_SWAP)]));
        assert!(possible(&[("/proc/swaps", SWAP)]));
        assert!(possible(&[]), "unreadable");
        assert!(possible(&[("/proc/swaps", "")]), "not what the kernel writes");
        assert!(!possible(&[("/proc/swaps", SWAP), group, (own, "0\n")]));
        assert!(!possible(&[("/proc/swaps", SWAP), group, (own, "max\n"), (above, "0\n")]));
        assert!(possible(&[("/proc/swaps", SWAP), group, (own, "max\n")]));
        assert!(possible(&[("/proc/swaps", SWAP), group, (own, "4096\n")]));
        assert!(
            possible(&[
                ("/proc/swaps", SWAP),
                ("/proc/self/cgroup", "4:memory:/a\n"),
                (own, "0\n")
            ]),
            "version 1"
        );
    }
}
