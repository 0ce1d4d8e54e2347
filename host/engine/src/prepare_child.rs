//! Making plugins in a process of their own: the same program, started anew for one job, with nothing but what the job says.
//!
//! Invariant: whatever becomes of the child, the host continues and has one [`PrepareError`] to
//! show. One child at a time: the [`Engine`](crate::Engine) sees to it. `child_limits` starts the
//! child under its limits, and `child_confinement` has the kernel refuse it everything else.

use std::io::{self, Read, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child as Process, ExitCode, ExitStatus};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::cancel::CancelToken;
use crate::child_limits::Confinement;
use crate::clock::monotonic_now;
use crate::error::{PrepareError, line, no_memory};
use crate::prepare::{CompiledPlugin, PluginCompiler, PrepareJob};
use crate::{child_confinement, codec, ticker};

impl Confinement {
    /// Has a child do it, unless that is given up: then the child is ended.
    pub(crate) fn prepare(
        &self,
        job: &PrepareJob<'_>,
        given_up: &CancelToken,
    ) -> Result<CompiledPlugin, PrepareError> {
        let unavailable =
            |error: io::Error| PrepareError::NoCompiler { why: line(&error.to_string()) };
        let until = monotonic_now() + Duration::from_secs(self.wall_s);
        let mut child = self.command(&[]).spawn().map_err(unavailable)?;
        // When the machine runs out of memory, it is this process that goes. Where that cannot be said, the limits hold all the same.
        #[expect(clippy::disallowed_methods, reason = "a file of the kernel")]
        drop(std::fs::write(format!("/proc/{}/oom_score_adj", child.id()), "900"));
        let done = converse(&mut child, job, until, given_up);
        // Whatever happened above, no child is left behind.
        drop(child.kill());
        let status = child.wait().map_err(unavailable)?;
        let ChildOutput { answer, complaint, in_time } = done.map_err(unavailable)?;
        if !in_time && given_up.is_cancelled() {
            return Err(PrepareError::Cancelled);
        }
        if !in_time {
            return Err(PrepareError::CompileTime { what: "time", most: self.wall_s });
        }
        match codec::read_result(answer) {
            Some(Err(PrepareError::NotCompiled { why } | PrepareError::NoSnapshot { why }))
                if no_memory(&why) =>
            {
                Err(PrepareError::CompileMemory { most: self.memory_bytes })
            }
            Some(result) => result,
            None => Err(self.classify_failure(status, &complaint)),
        }
    }

    /// What a child fell over that gave no answer.
    fn classify_failure(&self, status: ExitStatus, complaint: &[u8]) -> PrepareError {
        let complaint = String::from_utf8_lossy(complaint);
        match status.signal() {
            Some(libc::SIGXCPU) => {
                PrepareError::CompileTime { what: "processor time", most: self.cpu_s }
            }
            _ if no_memory(&complaint) => PrepareError::CompileMemory { most: self.memory_bytes },
            Some(signal) => PrepareError::CompileCrashed { how: format!("signal {signal}") },
            None => PrepareError::CompileCrashed {
                how: format!("exit code {}", status.code().unwrap_or_default()),
            },
        }
    }
}

/// The child: one job from standard input, what became of it to standard output.
pub fn prepare_plugin() -> ExitCode {
    // Before a byte of the job is read, and while there is one thread. The host has logged at its
    // start which layers this kernel lacks.
    child_confinement::apply();
    no_more_descriptors();
    let mut bytes = Vec::new();
    let read = io::stdin().lock().take(MAX_JOB_BYTES).read_to_end(&mut bytes);
    let job = read.ok().and_then(|_| codec::read_job(&bytes));
    drop(bytes);
    let Some(job) = job else {
        eprintln!("the host runs this command to prepare a plugin; it has no other use");
        return ExitCode::from(2);
    };
    let bench = PluginCompiler::new(job.configure_time).and_then(|bench| {
        ticker::start(vec![bench.ticking()])?;
        Ok(bench)
    });
    let refused =
        |error: wasmtime::Error| PrepareError::NotCompiled { why: line(&format!("{error:#}")) };
    let result = bench.map_err(refused).and_then(|bench| {
        bench.make(&PrepareJob {
            component: &job.component,
            settings: &job.settings,
            memory_bytes: job.memory_bytes,
            configure_time: job.configure_time,
        })
    });
    let mut out = io::stdout().lock();
    match out.write_all(&codec::write_result(&result)).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// The program is loaded: from here on nothing is opened.
#[expect(unsafe_code, reason = "the standard library cannot set a limit")]
fn no_more_descriptors() {
    let limit = libc::rlimit { rlim_cur: 3, rlim_max: 3 };
    // SAFETY: a system call that reads one `rlimit` behind a pointer, which lives until it returns.
    // That it fails is no reason to go on with more than there was before.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
}

/// What came of talking to a child.
struct ChildOutput {
    answer: Vec<u8>,
    complaint: Vec<u8>,
    in_time: bool,
}

/// Gives the job, takes the answer, and ends the child where that takes too long or is given up.
fn converse(
    child: &mut Process,
    job: &PrepareJob<'_>,
    until: Instant,
    given_up: &CancelToken,
) -> io::Result<ChildOutput> {
    let broken = || io::Error::other("it has no pipes");
    let mut stdin = child.stdin.take().ok_or_else(broken)?;
    let stdout = child.stdout.take().ok_or_else(broken)?;
    let mut stderr = child.stderr.take().ok_or_else(broken)?;
    thread::scope(|scope| {
        let name = |what: &str| thread::Builder::new().name(what.to_owned());
        let (done, wait) = channel();
        let read = move || {
            let mut answer = Vec::new();
            let read = stdout.take(codec::MAX_ANSWER_BYTES).read_to_end(&mut answer);
            // The other end is there until this thread has ended.
            let _ = done.send(());
            read.map(|_| answer)
        };
        // From the first thread on, every way out must let the child end, or this scope would wait for it for ever.
        let reader =
            name("make-answer").spawn_scoped(scope, read).inspect_err(|_| drop(child.kill()))?;
        let write = move || {
            // A child that reads no further has its reasons, and they are found out below.
            drop(
                [&codec::job_head(job), job.component, job.settings.as_bytes()]
                    .iter()
                    .try_for_each(|it| stdin.write_all(it)),
            );
        };
        name("make-job").spawn_scoped(scope, write).inspect_err(|_| drop(child.kill()))?;
        let complain = move || {
            let mut complaint = Vec::new();
            drop((&mut stderr).take(MAX_ERROR_BYTES).read_to_end(&mut complaint));
            // Read on, so that it never waits for us.
            drop(io::copy(&mut stderr, &mut io::sink()));
            complaint
        };
        let listener = name("make-errors")
            .spawn_scoped(scope, complain)
            .inspect_err(|_| drop(child.kill()))?;
        let waits = || monotonic_now() < until && !given_up.is_cancelled();
        let mut in_time = loop {
            match wait
                .recv_timeout(POLL_EVERY.min(until.saturating_duration_since(monotonic_now())))
            {
                Err(RecvTimeoutError::Timeout) if waits() => {}
                answered => break answered.is_ok(),
            }
        };
        // It has said everything; one that does not end for all that is not waited for.
        while in_time && child.try_wait()?.is_none() {
            in_time = waits();
            thread::sleep(PAUSE);
        }
        drop(child.kill());
        let answer = reader.join().map_err(|_| broken())??;
        let complaint = listener.join().map_err(|_| broken())?;
        Ok(ChildOutput { answer, complaint, in_time })
    })
}

/// Bytes of a job: component and settings have at most half as much together.
const MAX_JOB_BYTES: u64 = 128 << 20;
/// Bytes of what it complains that are kept.
const MAX_ERROR_BYTES: u64 = 4 << 10;
/// How often it is looked whether what a child makes is still wanted.
const POLL_EVERY: Duration = Duration::from_millis(20);
/// How often a child that has said everything is looked at.
const PAUSE: Duration = Duration::from_millis(1);
