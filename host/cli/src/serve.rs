//! `portcullis serve`: answer hooks until stopped.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::exit::{CliError, CliResult, print};
use crate::logging::{LogFormat, LogLines};
use clap::Args;
use portcullis_model::escape::escape;
use portcullis_server::{
    Admin, Clock, Config, Configured, Frontend, Listener, Outcome, Passed, Running, Sockets,
    StartError, Startup, StartupCheck,
};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot::Receiver;

/// Answer hooks until stopped.
#[derive(Args)]
#[command(
    after_help = concat!(
        "Example:\n",
        "  portcullis serve --config portcullis.toml\n\n",
        "The first line on standard output ends with the address, the second with that of the ",
        "admin listener; logs go to standard error. From then on the host answers every call, ",
        "and `/ready` shows when calls get decisions. PORTCULLIS_LOG is the log filter (default ",
        "`info`; of the libraries h2, hyper and rustls only errors, unless it names them).",
    )
)]
pub struct Serve {
    /// The configuration file.
    #[arg(long)]
    config: PathBuf,
    /// The format of log lines.
    #[arg(long, value_enum, default_value = "text")]
    log_format: LogFormat,
    /// End with an exit code if the log, the state folder or another part cannot be opened. Without
    /// this option the host gives safe answers and tries again.
    #[arg(long)]
    strict: bool,
}

impl Serve {
    /// Signals, configuration, ports, safe answers, and then everything that can take time: state, log, release.
    pub fn run(self, caught: Option<CliResult<Caught>>) -> CliResult {
        // Before there are threads.
        let passed = Passed::take();
        let lines = self.log_format.start().map_err(CliError::host)?;
        let Caught { runtime, mut signals } = caught.unwrap_or_else(Caught::new)?;
        let config = Config::load(&self.config).map_err(CliError::configuration)?;
        let configured = Configured::load(config, Clock::system()).map_err(start_failed)?;
        for warning in configured.limit_warnings() {
            tracing::warn!(event = "limits.too-low", "{warning}");
        }
        configured.check_trust().map_err(start_failed)?;
        let config = Arc::clone(configured.config());
        let sockets = Sockets::bind(passed, &config).map_err(start_failed)?;
        let frontend = Arc::new(configured.frontend());
        let inherited = sockets.hooks.inherited;
        let listener = Listener::start(&frontend, sockets.hooks).map_err(start_failed)?;
        let admin = sockets.admin.map(|socket| Admin::start(&frontend, socket)).transpose();
        let admin = admin.map_err(start_failed)?;
        print(format!("listening on {}", listener.address()));
        if let Some(admin) = &admin {
            print(format!("admin on {}", admin.address()));
        }
        tracing::info!(
            event = "listen.bound", address = %listener.address(), inherited,
            "the host answers; every call gets its safe answer until the release is ready"
        );
        crate::notify::ready();
        let (startup, outcome) =
            Startup::begin(configured, &frontend, admin, self.strict).map_err(start_failed)?;
        let running = runtime.block_on(signals.until_stop(outcome, &frontend))?;

        let listen = frontend.active_config().config.listen.drain_timeout_ms;
        tracing::info!(
            event = "stop.draining",
            "the host is stopping: it ends once the calls in flight have their answers"
        );
        end_within(Duration::from_millis(listen) + CLOSING, lines.clone());
        listener.stop();
        match running {
            Some(running) => running.stop(),
            None => startup.stop(),
        }
        match frontend.host() {
            Some(host) => host.close(),
            None => frontend.log_unrecorded(),
        }
        Ok(())
    }
}

/// Ends the process if stopping takes longer, because a disk hangs say: the next start recovers what is on it.
fn end_within(limit: Duration, lines: LogLines) {
    std::thread::spawn(move || {
        std::thread::sleep(limit);
        tracing::error!(
            event = "stop.late",
            "the host did not stop in time and ends now; the audit log recovers at the next \
             start"
        );
        lines.flush();
        std::process::exit(70);
    });
}

/// How long closing the record may take after the calls have ended.
const CLOSING: Duration = Duration::from_secs(10);

/// Reads and readies everything that `serve` would, for `check`.
pub fn prepare(path: &std::path::Path) -> CliResult<StartupCheck> {
    let config = Config::load(path).map_err(CliError::configuration)?;
    StartupCheck::new(config, Clock::system()).map_err(start_failed)
}

/// Returns the error of a failed start: exit code 64 for wrong settings or files, else 70.
pub fn start_failed(error: StartError) -> CliError {
    let hint = error.hint();
    // Several problems are a list, whose parts are escaped.
    let text = match &error {
        StartError::Several(_) => error.to_string(),
        one => escape(&one.to_string()).into_owned(),
    };
    if error.is_configuration() {
        CliError::configuration(text).hint(hint)
    } else {
        CliError::host(text).hint(hint)
    }
}

/// The signals of a host that is about to serve, caught: none of them ends it by itself.
pub struct Caught {
    runtime: Runtime,
    signals: Signals,
}

impl Caught {
    /// Catches them where this process is to serve: before anything that takes time, such as reading
    /// the arguments.
    pub fn early() -> Option<CliResult<Self>> {
        let serves = std::env::args_os().nth(1).is_some_and(|command| command == "serve");
        serves.then(Self::new)
    }

    fn new() -> CliResult<Self> {
        let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = built.map_err(CliError::host)?;
        let signals = runtime.block_on(async { Signals::catch() })?;
        Ok(Self { runtime, signals })
    }
}

/// The signals that an operator sends.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// From here on they are ours, and end nothing by themselves.
    fn catch() -> CliResult<Self> {
        let catch = |kind| signal(kind).map_err(CliError::host);
        let signals = Self {
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
            hang_up: catch(SignalKind::hangup())?,
        };
        for number in MEANINGLESS.into_iter().chain(REAL_TIME) {
            // Once caught it never ends the process again, whether or not anybody listens. One that
            // this system does not have cannot be sent either.
            drop(signal(SignalKind::from_raw(number)));
        }
        Ok(signals)
    }

    /// Lets the host serve until it is to end, its delay before that included. Gives the threads of
    /// a host whose start has finished.
    async fn until_stop(
        &mut self,
        outcome: Receiver<Outcome>,
        frontend: &Frontend,
    ) -> CliResult<Option<Running>> {
        let running = self.until_signal(outcome).await?;
        let config = Arc::clone(&frontend.active_config().config);
        let delay = match running.signal {
            // No load balancer has sent calls to a host that was never ready.
            Stop::Terminate if running.running.is_some() => config.listen.shutdown_delay_ms,
            Stop::Terminate | Stop::Interrupt => 0,
        };
        frontend.conditions.stop();
        if delay > 0 {
            tracing::info!(
                event = "stop.delay",
                delay_ms = delay,
                "the host is stopping: until the delay is over it serves calls, so that load \
                 balancers can choose another host"
            );
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(delay)) => {}
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
            }
        }
        Ok(running.running)
    }

    /// Waits for SIGTERM or SIGINT. At a SIGHUP the host looks at configuration and release, and
    /// asks its registry; while it starts, that is due as soon as the start has finished.
    async fn until_signal(&mut self, mut outcome: Receiver<Outcome>) -> CliResult<Stopped> {
        let (mut running, mut waits, mut due) = (None::<Running>, true, false);
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Ok(Stopped { running, signal: Stop::Terminate }),
                _ = self.interrupt.recv() => return Ok(Stopped { running, signal: Stop::Interrupt }),
                _ = self.hang_up.recv() => match &running {
                    Some(running) => running.reload(),
                    None => due = true,
                },
                outcome = &mut outcome, if waits => {
                    waits = false;
                    match outcome {
                        Ok(Outcome::Running(started)) => {
                            if due {
                                started.reload();
                            }
                            running = Some(started);
                        }
                        Ok(Outcome::Failed(error)) => return Err(start_failed(error)),
                        // A defect of ours. Silence would be worse than safe answers.
                        Err(_) => tracing::error!(
                            event = "start.panicked",
                            "the start failed because of a defect in the host; every call gets \
                             its safe answer until a restart"
                        ),
                    }
                }
            }
        }
    }
}

/// Signals that end a process by default and that no operator sends to end one (signal(7), the
/// numbers of Linux): SIGUSR1, SIGUSR2, SIGALRM, SIGSTKFLT, SIGXFSZ (a write beyond `ulimit -f`, which
/// then fails instead), SIGVTALRM, SIGPROF, SIGIO, SIGPWR, and those for real-time programs.
const MEANINGLESS: [i32; 9] = [10, 12, 14, 16, 25, 26, 27, 29, 30];
/// The first and the last signal for real-time programs.
const REAL_TIME: RangeInclusive<i32> = 34..=64;

/// Why the host is to end, and what runs by then.
struct Stopped {
    running: Option<Running>,
    signal: Stop,
}

/// The signal that ends the host.
enum Stop {
    /// SIGTERM: after the delay for load balancers.
    Terminate,
    /// SIGINT, from a terminal: without it.
    Interrupt,
}
