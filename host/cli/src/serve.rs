//! `portcullis serve`: answer hooks until stopped.

use std::path::PathBuf;
use std::time::Duration;

use crate::logging::LogFormat;
use crate::outcome::{Done, Failed, print};
use clap::Args;
use portcullis_server::{
    Admin, BreakGlassWatch, Clock, Config, Housekeeping, Listener, Prepared, Reload,
    registry::RegistryWatch,
};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Answer hooks until stopped.
#[derive(Args)]
#[command(
    after_help = "Example:\n  portcullis serve --config portcullis.toml\n\nThe first line on standard output ends with the address, the second with that of the admin listener; logs go to standard error. \
    PORTCULLIS_LOG sets what is logged (default `info`; of the libraries h2, hyper and rustls only errors, unless it names them)."
)]
pub struct Serve {
    /// The configuration.
    #[arg(long)]
    config: PathBuf,
    /// How logs are written.
    #[arg(long, value_enum, default_value = "text")]
    log_format: LogFormat,
}

impl Serve {
    /// Configuration, keys, sandbox, release, record, port: in this order, so that nothing is bound before all else stands.
    pub fn run(self) -> Done {
        self.log_format.start();
        let prepared = prepare(&self.config, true)?;
        tracing::info!(reset = %prepared.reset(), "instances are reset");
        for warning in prepared.limit_warnings() {
            tracing::warn!(event = "limits.too-low", "{warning}");
        }
        let host = prepared.open().map_err(start_failed)?;
        let admin = &host.config.admin;
        let admin = admin
            .enabled
            .then(|| Admin::start(&host, admin.address))
            .transpose()
            .map_err(start_failed)?;
        let admin_address = admin.as_ref().map(Admin::address);
        let listener = Listener::start(&host).map_err(start_failed)?;
        let housekeeping = Housekeeping::start(&host, admin).map_err(start_failed)?;
        let break_glass = BreakGlassWatch::start(&host).map_err(start_failed)?;
        let registry = RegistryWatch::start(&host, housekeeping.reload()).map_err(start_failed)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Failed::host)?;
        // Listened for before anybody is told where we are: who knows may send them at once.
        let signals = runtime.block_on(async { Signals::catch() })?;
        print(format!("listening on {}", listener.address()));
        if let Some(address) = admin_address {
            print(format!("admin on {address}"));
        }
        runtime.block_on(signals.until_stop(&housekeeping.reload(), registry.as_ref()));
        host.obstacles.stop();
        tracing::info!("stopping: calls in progress end first");
        end_within(Duration::from_millis(host.config.listen.drain_ms) + CLOSING);
        listener.stop();
        break_glass.stop();
        if let Some(registry) = registry {
            registry.stop();
        }
        housekeeping.stop();
        host.close();
        Ok(())
    }
}

/// Ends the process if stopping takes longer, because a disk hangs say: the next start recovers what is on it.
fn end_within(limit: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(limit);
        tracing::error!("stopping took too long; the record recovers at the next start");
        std::process::exit(70);
    });
}

/// How long closing the record may take after the calls have ended.
const CLOSING: Duration = Duration::from_secs(10);

/// Reads and readies everything, for `serve` and `check` alike. Only what serves keeps what it compiled: the files are to be its own.
pub fn prepare(path: &std::path::Path, serves: bool) -> Done<Prepared> {
    let config = Config::load(path).map_err(Failed::configuration)?;
    Prepared::new(config, Clock::system(), serves).map_err(start_failed)
}

/// What the operator gave is of no use (64), or the machine does not let us (70).
pub fn start_failed(error: portcullis_server::StartError) -> Failed {
    let hint = error.hint();
    if error.is_configuration() {
        Failed::configuration(error).hint(hint)
    } else {
        Failed::host(error).hint(hint)
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
    fn catch() -> Done<Self> {
        let catch = |kind| signal(kind).map_err(Failed::host);
        Ok(Self {
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
            hang_up: catch(SignalKind::hangup())?,
        })
    }

    /// Waits for SIGTERM or SIGINT; at a SIGHUP the host looks at configuration and release, and asks its registry.
    async fn until_stop(mut self, reload: &Reload, registry: Option<&RegistryWatch>) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => {
                    reload.now();
                    registry.iter().for_each(|registry| registry.now());
                }
            }
        }
    }
}
