//! The second wall around the child that prepares plugins: Landlock and seccomp.
//!
//! Invariant: once [`apply`] has returned, this process opens no file, no socket and no other
//! process, whatever a compiler that a component took over asks for. The kernel enforces each layer
//! that it supports; [`Confinement::probe`] reports each layer that is missing. Limits on memory
//! and time are set elsewhere (`child_limits`), before the program is loaded.
//!
//! Sources: landlock(7); seccomp(2); the list of system calls was read off with `strace -f` while
//! plugins in Rust, JavaScript, Python and C were prepared.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::net::UdpSocket;
use std::process::{Command, ExitCode};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _,
    RulesetStatus, Scope,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

use crate::child_limits::Confinement;

/// The argument behind [`PREPARE_COMMAND`](crate::PREPARE_COMMAND) that makes the child report its
/// layers instead of preparing a plugin.
pub const PROBE: &str = "--probe";

/// The layers that hold in a child on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfinementReport {
    /// Landlock: files, TCP, abstract sockets and signals.
    pub landlock: Layer,
    /// seccomp: all system calls but those that compiling needs.
    pub seccomp: Layer,
    /// The child tried to open a file and was refused.
    pub files_denied: bool,
    /// The child tried to open a socket and was refused.
    pub network_denied: bool,
    /// The child tried to start a program and was refused.
    pub programs_denied: bool,
}

/// Whether the kernel enforces a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// The kernel enforces all of it.
    Full,
    /// The kernel is older than the rules and enforces those that it knows.
    Partial,
    /// The kernel does not support the layer.
    Missing,
}

impl ConfinementReport {
    /// Returns a sentence for each protection that is missing; none where the child is confined as
    /// intended.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        let layers = [
            (self.landlock == Layer::Missing)
                .then_some("the kernel has no Landlock (CONFIG_SECURITY_LANDLOCK, lsm=landlock)"),
            (self.landlock == Layer::Partial)
                .then_some("the kernel's Landlock is older than Linux 6.12 and confines less"),
            (self.seccomp == Layer::Missing)
                .then_some("the kernel has no seccomp filters (CONFIG_SECCOMP_FILTER)"),
            (!self.files_denied).then_some("the child can open files"),
            (!self.network_denied).then_some("the child can open sockets"),
            (!self.programs_denied).then_some("the child can start programs"),
        ];
        layers.into_iter().flatten().collect()
    }

    /// Reads what a child printed with `Display`.
    fn read(text: &str) -> Option<Self> {
        let mut words =
            text.split_whitespace().map(|word| word.split_once('=').unwrap_or_default());
        let mut value = |name: &str| words.next().filter(|(n, _)| *n == name).map(|(_, v)| v);
        let layer = |value: &str| match value {
            "full" => Some(Layer::Full),
            "partial" => Some(Layer::Partial),
            "missing" => Some(Layer::Missing),
            _ => None,
        };
        Some(Self {
            landlock: layer(value("landlock")?)?,
            seccomp: layer(value("seccomp")?)?,
            files_denied: value("files")? == DENIED,
            network_denied: value("network")? == DENIED,
            programs_denied: value("programs")? == DENIED,
        })
    }
}

impl fmt::Display for ConfinementReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = |denied: bool| if denied { DENIED } else { "allowed" };
        write!(
            f,
            "landlock={} seccomp={} files={} network={} programs={}",
            self.landlock,
            self.seccomp,
            outcome(self.files_denied),
            outcome(self.network_denied),
            outcome(self.programs_denied)
        )
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::Partial => "partial",
            Self::Missing => "missing",
        })
    }
}

impl Confinement {
    /// Starts a child that tries what it must not do, and returns what the kernel refused.
    ///
    /// # Errors
    ///
    /// The child could not be started, or its report could not be read.
    pub fn probe(&self) -> io::Result<ConfinementReport> {
        let output = self.command(&[PROBE]).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        ConfinementReport::read(&text)
            .ok_or_else(|| io::Error::other(format!("the child gave no report: {}", output.status)))
    }
}

/// Confines this process, which must have one thread, and every thread that it starts later.
pub(crate) fn apply() -> (Layer, Layer) {
    // Landlock first: its calls are not among those that seccomp allows.
    let landlock = apply_landlock().unwrap_or(Layer::Missing);
    (landlock, apply_seccomp())
}

/// The child that reports: confines itself, tries what must fail, and prints the result.
pub fn probe() -> ExitCode {
    let (landlock, seccomp) = apply();
    let denied =
        |error: Option<io::Error>| error.is_some_and(|error| error.kind() == REFUSED_BY_THE_KERNEL);
    #[expect(clippy::disallowed_methods, reason = "tries what must fail")]
    let opened = File::open("/proc/self/status");
    let report = ConfinementReport {
        landlock,
        seccomp,
        files_denied: denied(opened.err()),
        network_denied: denied(UdpSocket::bind("127.0.0.1:0").err()),
        programs_denied: denied(Command::new("/proc/self/exe").env_clear().spawn().err()),
    };
    println!("{report}");
    ExitCode::SUCCESS
}

/// Denies every access that the running kernel's Landlock knows.
fn apply_landlock() -> Result<Layer, landlock::RulesetError> {
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?
        .create()?
        .restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Layer::Full,
        RulesetStatus::PartiallyEnforced => Layer::Partial,
        RulesetStatus::NotEnforced => Layer::Missing,
    })
}

fn apply_seccomp() -> Layer {
    // The allow-list last: it does not allow a further filter.
    let applied = filters().is_some_and(|[no_clone3, allowed]| {
        apply_filter(&no_clone3).is_ok() && apply_filter(&allowed).is_ok()
    });
    if applied { Layer::Full } else { Layer::Missing }
}

/// Two filters: `clone3` answered as unknown, and the calls that compiling needs.
///
/// `clone3` takes its flags behind a pointer, which no filter can read. Told that the kernel does
/// not know it, the C library uses `clone`, whose flags the second filter checks.
fn filters() -> Option<[BpfProgram; 2]> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).ok()?;
    let compile = |rules: BTreeMap<i64, Vec<SeccompRule>>, otherwise, matched| {
        let filter = SeccompFilter::new(rules, otherwise, matched, arch).ok()?;
        BpfProgram::try_from(filter).ok()
    };
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    let own_process = u64::from(std::process::id());
    rules.insert(libc::SYS_clone, vec![only_if(0, masked(libc::CLONE_THREAD)?, THREAD)?]);
    rules.insert(libc::SYS_tgkill, vec![only_if(0, SeccompCmpOp::Eq, own_process)?]);
    rules.insert(libc::SYS_prlimit64, vec![only_if(0, SeccompCmpOp::Eq, 0)?]);
    let names = [libc::PR_SET_NAME, PR_SET_VMA];
    let names =
        names.into_iter().map(|option| only_if(0, SeccompCmpOp::Eq, u64::try_from(option).ok()?));
    rules.insert(libc::SYS_prctl, names.collect::<Option<_>>()?);
    let not_permitted = SeccompAction::Errno(u32::try_from(libc::EPERM).ok()?);
    let not_known = SeccompAction::Errno(u32::try_from(libc::ENOSYS).ok()?);
    let allowed = compile(rules, not_permitted, SeccompAction::Allow)?;
    let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    Some([compile(clone3, SeccompAction::Allow, not_known)?, allowed])
}

fn masked(flag: libc::c_int) -> Option<SeccompCmpOp> {
    Some(SeccompCmpOp::MaskedEq(u64::try_from(flag).ok()?))
}

fn only_if(argument: u8, compare: SeccompCmpOp, value: u64) -> Option<SeccompRule> {
    let condition =
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, compare, value).ok()?;
    SeccompRule::new(vec![condition]).ok()
}

/// The rules are those of Linux 6.12; an older kernel enforces those that it knows.
const LANDLOCK: ABI = ABI::V6;
const DENIED: &str = "denied";
const REFUSED_BY_THE_KERNEL: io::ErrorKind = io::ErrorKind::PermissionDenied;
const THREAD: u64 = libc::CLONE_THREAD as u64;
/// Names a mapping; allocators use it. `linux/prctl.h`.
const PR_SET_VMA: libc::c_int = 0x5356_4d41;

/// System calls that are allowed with any arguments: pipes that are open, memory, threads, time.
const ALLOWED: [i64; 38] = [
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_membarrier,
    libc::SYS_clone3,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getcpu,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrusage,
];

#[cfg(test)]
mod tests {
    use super::*;

    const CONFINED: ConfinementReport = ConfinementReport {
        landlock: Layer::Full,
        seccomp: Layer::Full,
        files_denied: true,
        network_denied: true,
        programs_denied: true,
    };

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let partial = ConfinementReport {
            landlock: Layer::Partial,
            seccomp: Layer::Missing,
            network_denied: false,
            ..CONFINED
        };
        for report in [CONFINED, partial] {
            assert_eq!(ConfinementReport::read(&report.to_string()), Some(report));
        }
        assert_eq!(ConfinementReport::read(""), None);
        assert_eq!(ConfinementReport::read("seccomp=full landlock=full"), None);
    }

    #[test]
    fn each_missing_layer_is_named() {
        assert!(CONFINED.missing().is_empty());
        let bare = ConfinementReport {
            landlock: Layer::Missing,
            seccomp: Layer::Missing,
            files_denied: false,
            network_denied: false,
            programs_denied: false,
        };
        assert_eq!(bare.missing().len(), 5);
    }

    #[test]
    fn the_filters_compile_for_this_machine() {
        assert!(filters().is_some());
    }
}
