//! The first wall around the child that prepares plugins: the limits under which it starts.
//!
//! Invariant: before the child runs a single instruction of the program, and so before it reads a
//! byte of anybody, its memory, processor time, files and descriptors are limited; it inherits no
//! environment and no descriptor but its three pipes, and dies with its parent. The second wall is
//! `child_confinement`; `prepare_child` talks to the child.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

/// The resources that a child may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confinement {
    /// Memory that it writes to, bytes (`RLIMIT_DATA`; address space that it only reserves does not
    /// count).
    pub memory_bytes: u64,
    /// Processor time of all its threads together, seconds.
    pub cpu_s: u64,
    /// Time on the clock, seconds.
    pub wall_s: u64,
}

impl Default for Confinement {
    fn default() -> Self {
        Self { memory_bytes: 2 << 30, cpu_s: 120, wall_s: 180 }
    }
}

impl Confinement {
    /// A child of this program with these arguments, under its limits.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        // Not by its path: that may be another build by now.
        let mut command = Command::new("/proc/self/exe");
        command.arg0("portcullis").arg(PREPARE_COMMAND).args(arguments);
        command.env_clear().current_dir("/").process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.confine(&mut command);
        command
    }

    #[expect(unsafe_code, reason = "the standard library cannot set the limits of a child")]
    fn confine(&self, command: &mut Command) {
        let limits = [
            (libc::RLIMIT_DATA, self.memory_bytes, self.memory_bytes),
            (
                libc::RLIMIT_AS,
                self.memory_bytes.saturating_add(RESERVED),
                self.memory_bytes.saturating_add(RESERVED),
            ),
            // The soft limit has a signal of its own, so that it can be told from everything else.
            (libc::RLIMIT_CPU, self.cpu_s, self.cpu_s.saturating_add(1)),
            (libc::RLIMIT_CORE, 0, 0),
            (libc::RLIMIT_FSIZE, 0, 0),
            (libc::RLIMIT_NOFILE, DESCRIPTORS, DESCRIPTORS),
        ];
        let confine = move || {
            for (resource, soft, hard) in limits {
                let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
                // SAFETY: a system call that reads one `rlimit` behind a pointer, which lives until
                // it returns.
                if unsafe { libc::setrlimit(resource, &raw const limit) } != 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            // SAFETY: a system call that takes numbers and marks descriptors from 3 on to be closed
            // at `exec`; it closes none now. What the host opens is marked anyway, so that an old
            // kernel without this call leaves open only what the host itself was handed.
            unsafe {
                libc::syscall(
                    libc::SYS_close_range,
                    3,
                    libc::c_uint::MAX,
                    libc::CLOSE_RANGE_CLOEXEC,
                )
            };
            // SAFETY: a system call that takes numbers, about this process alone. Who is nicer
            // already may not become less so.
            unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICENESS) };
            let on: libc::c_ulong = 1;
            let off: libc::c_ulong = 0;
            let kill = libc::SIGKILL as libc::c_ulong;
            // SAFETY: a system call that takes numbers: which signal this process gets when its
            // parent is gone.
            let follows = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, kill) };
            // SAFETY: a system call that takes numbers, about this process alone.
            let modest = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, on, off, off, off) };
            if follows != 0 || modest != 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        };
        // SAFETY: between `fork` and `exec` only what is safe in a signal handler may be done.
        // `confine` makes system calls, and owns an array of numbers: it allocates nothing, takes
        // no lock, and an `io::Error` of the system's holds a number.
        unsafe { command.pre_exec(confine) };
    }
}

/// The argument that makes this program the child. Its `main` must then call
/// [`prepare_plugin`](crate::prepare_plugin) before it does anything else.
pub const PREPARE_COMMAND: &str = "make-plugin";

/// Address space beyond the memory that is written to: the program itself, and what wasmtime
/// reserves for one instance (4 GiB for each of its memories, and guards).
const RESERVED: u64 = 32 << 30;
/// Descriptors until the program is loaded: three pipes, and its libraries.
const DESCRIPTORS: u64 = 16;
/// The host's calls come first.
const NICENESS: i32 = 10;
