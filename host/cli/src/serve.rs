//! `portcullis serve`: answer hooks until stopped.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use portcullis_server::{Clock, Config, Housekeeping, Listener, Prepared, Reload};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::outcome::{Done, Failed, print};

/// Answer hooks until stopped.
#[derive(Args)]
#[command(
    after_help = "Example:\n  portcullis serve --config portcullis.toml\n\nThe first line on standard output ends with the address; logs go to standard error. \
    PORTCULLIS_LOG sets what is logged (default `info`)."
)]
pub struct Serve {
    /// The configuration.
    #[arg(long)]
    config: PathBuf,
    /// How logs are written.
    #[arg(long, value_enum, default_value = "text")]
    log_format: LogFormat,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

impl Serve {
    /// Configuration, keys, sandbox, release, record, port: in this order, so that nothing is bound before all else stands.
    pub fn run(self) -> Done {
        self.log();
        let prepared = prepare(&self.config)?;
        tracing::info!(reset = %prepared.reset(), "instances are reset");
        let host = prepared.open().map_err(start_failed)?;
        let listener = Listener::start(&host).map_err(start_failed)?;
        let housekeeping = Housekeeping::start(&host).map_err(start_failed)?;
        print(format!("listening on {}", listener.address()));
        let stopped = wait(&housekeeping.reload());
        tracing::info!("stopping: calls in progress end first");
        listener.stop();
        housekeeping.stop();
        host.close();
        stopped
    }

    fn log(&self) {
        let filter = EnvFilter::try_from_env("PORTCULLIS_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
        let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        match self.log_format {
            LogFormat::Text => logs.with_ansi(false).init(),
            LogFormat::Json => logs.json().init(),
        }
    }
}

/// Reads and readies everything, for `serve` and `check` alike.
pub fn prepare(path: &std::path::Path) -> Done<Prepared> {
    let config = Config::load(path).map_err(Failed::configuration)?;
    Prepared::new(config, Clock::system()).map_err(start_failed)
}

/// What the operator gave is of no use (64), or the machine does not let us (70).
pub fn start_failed(error: portcullis_server::StartError) -> Failed {
    if error.is_configuration() { Failed::configuration(error) } else { Failed::host(error) }
}

/// Waits for the signal to stop; SIGHUP looks at the release.
fn wait(reload: &Reload) -> Done {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failed::host)?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(Failed::host)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Failed::host)?;
        let mut hang_up = signal(SignalKind::hangup()).map_err(Failed::host)?;
        loop {
            tokio::select! {
                _ = terminate.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
                _ = hang_up.recv() => reload.now(),
            }
        }
    })
}
