//! How a memory slot is wiped between two calls: chosen once, at start, and told to the operator.
//!
//! Invariant: the scan for written pages is used only where no page can be swapped out. wasmtime 48 does not
//! see a written page that was swapped out, so what one call left there would be in the next call's memory
//! (fixed in wasmtime 50).

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
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
                why: "the kernel has no pagemap scan (Linux 6.7 or later has it)",
            };
        }
        match swap(&read) {
            Swap::Impossible => Self::PagemapScan,
            Swap::Possible => Self::Fallback {
                why: "swap is configured: turn it off or set `memory.swap.max` to 0 for this \
                      service",
            },
            Swap::Unknown => {
                Self::Fallback { why: "/proc/swaps cannot be read, so swap may be configured" }
            }
        }
    }

    /// Returns whether the choice made at start is still right: false when swap was configured
    /// since. An operator must then restart. `None` where that cannot be told now, for want of
    /// descriptors for example: the last answer holds until it can be told again.
    pub(crate) fn still_holds(self) -> Option<bool> {
        if self != Self::PagemapScan {
            return Some(true);
        }
        match swap(&read) {
            Swap::Impossible => Some(true),
            Swap::Possible => Some(false),
            Swap::Unknown => None,
        }
    }
}

/// Whether pages of this process can be swapped out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Swap {
    /// No swap is configured, or a control group forbids it.
    Impossible,
    /// Swap is configured, and nothing forbids it.
    Possible,
    /// A file that would tell cannot be read now.
    Unknown,
}

impl fmt::Display for Reset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PagemapScan => f.write_str("pagemap-scan"),
            Self::Fallback { why } => write!(f, "fallback: {why}"),
        }
    }
}

/// Reads a file of the kernel's, at most [`MAX_FILE`] bytes of it.
fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    #[expect(clippy::disallowed_methods, reason = "files of the kernel, which say no size")]
    let file = File::open(path)?;
    file.take(MAX_FILE).read_to_string(&mut text)?;
    Ok(text)
}

type Reader<'a> = &'a dyn Fn(&Path) -> io::Result<String>;

fn swap(read: Reader<'_>) -> Swap {
    // The first line is the table's head; every further one is a swap area. Anything else is not
    // what the kernel writes, and says nothing.
    match read(Path::new("/proc/swaps")).map(|table| table.lines().count()) {
        Ok(1) => return Swap::Impossible,
        Ok(0) | Err(_) => match cgroup_forbids_swap(read) {
            Some(true) => return Swap::Impossible,
            Some(false) | None => return Swap::Unknown,
        },
        Ok(_) => {}
    }
    match cgroup_forbids_swap(read) {
        Some(true) => Swap::Impossible,
        Some(false) => Swap::Possible,
        None => Swap::Unknown,
    }
}

/// Returns whether the control group (version 2) of this process, or one above it, forbids swap.
/// `None` where a file that exists cannot be read.
fn cgroup_forbids_swap(read: Reader<'_>) -> Option<bool> {
    let membership = match read(Path::new("/proc/self/cgroup")) {
        Ok(membership) => membership,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Some(false),
        Err(_) => return None,
    };
    let Some(group) = membership.lines().find_map(|line| line.strip_prefix("0::/")) else {
        return Some(false);
    };
    let mut all_known = true;
    // A group's limit binds every group below it.
    for group in Path::new(group).ancestors() {
        let limit = Path::new("/sys/fs/cgroup").join(group).join("memory.swap.max");
        match read(&limit) {
            Ok(limit) if limit.trim() == "0" => return Some(true),
            Ok(_) => {}
            // The root group has no limit, nor has any where the controller is off.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => all_known = false,
        }
    }
    all_known.then_some(false)
}

/// Bytes of a file that are read: more than any of these has.
const MAX_FILE: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    const NO_SWAP: &str = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
    const SWAP: &str = "Filename Type Size Used Priority\n/dev/sda2 partition 1048572 0 -2\n";

    const GROUP: (&str, &str) = ("/proc/self/cgroup", "0::/system.slice/portcullis.service\n");
    const OWN: &str = "/sys/fs/cgroup/system.slice/portcullis.service/memory.swap.max";
    const ABOVE: &str = "/sys/fs/cgroup/system.slice/memory.swap.max";

    /// Probes with these files; all others are missing.
    fn probe(files: &[(&str, &str)]) -> Swap {
        probe_without(files, &[])
    }

    /// The same, where some files cannot be opened for want of descriptors.
    fn probe_without(files: &[(&str, &str)], unreadable: &[&str]) -> Swap {
        swap(&|path: &Path| {
            if unreadable.iter().any(|name| Path::new(name) == path) {
                return Err(io::Error::from_raw_os_error(libc::EMFILE));
            }
            let file = files.iter().find(|(name, _)| Path::new(name) == path);
            file.map(|(_, text)| (*text).to_owned()).ok_or(io::ErrorKind::NotFound.into())
        })
    }

    #[test]
    fn swap_is_possible_unless_the_table_is_empty_or_a_group_forbids_it() {
        assert_eq!(probe(&[("/proc/swaps", NO_SWAP)]), Swap::Impossible);
        assert_eq!(probe(&[("/proc/swaps", SWAP)]), Swap::Possible);
        let swap_on = ("/proc/swaps", SWAP);
        assert_eq!(probe(&[swap_on, GROUP, (OWN, "0\n")]), Swap::Impossible);
        assert_eq!(probe(&[swap_on, GROUP, (OWN, "max\n"), (ABOVE, "0\n")]), Swap::Impossible);
        assert_eq!(probe(&[swap_on, GROUP, (OWN, "max\n")]), Swap::Possible);
        assert_eq!(probe(&[swap_on, GROUP, (OWN, "4096\n")]), Swap::Possible);
        let version_1 = ("/proc/self/cgroup", "4:memory:/a\n");
        assert_eq!(probe(&[swap_on, version_1, (OWN, "0\n")]), Swap::Possible);
    }

    #[test]
    fn a_file_that_cannot_be_read_says_nothing() {
        assert_eq!(probe(&[]), Swap::Unknown);
        assert_eq!(probe(&[("/proc/swaps", "")]), Swap::Unknown, "not what the kernel writes");
        let swap_on = ("/proc/swaps", SWAP);
        assert_eq!(probe_without(&[GROUP], &["/proc/swaps"]), Swap::Unknown);
        assert_eq!(probe_without(&[GROUP, (OWN, "0\n")], &["/proc/swaps"]), Swap::Impossible);
        assert_eq!(probe_without(&[swap_on], &["/proc/self/cgroup"]), Swap::Unknown);
        assert_eq!(probe_without(&[swap_on, GROUP, (ABOVE, "max\n")], &[OWN]), Swap::Unknown);
        assert_eq!(probe_without(&[swap_on, GROUP, (ABOVE, "0\n")], &[OWN]), Swap::Impossible);
    }
}
