//! `portcullis memory`: what operators do with the memory of plugins.
//!
//! Invariant: the file of memory is the running host's alone. Every change goes through the host,
//! as records of its audit log.

mod csv_rows;
mod import;
mod log_file;
mod sender;

use clap::Subcommand;

use crate::exit::CliResult;

/// Warm the memory of plugins with the platform's own log.
#[derive(Subcommand)]
pub enum Memory {
    /// Send the sign-ins of an exported log to a running host, so that plugins know people's
    /// devices from the first day on.
    #[command(after_help = concat!(
        "Examples:\n",
        "  portcullis memory import --config portcullis.toml --hook events \\\n",
        "    --okta-log system-log.json --dry-run\n",
        "  portcullis memory import --config portcullis.toml --hook sign-ins \\\n",
        "    --entra-log sign-ins.json\n\n",
        "Each event is a call of the hook, and has a record. Plugins count an event once by its id,\n",
        "so that an import can be repeated.\n\n",
        "Exit 0: the host has taken all events. Exit 1: it has not, or there are none; the hint\n",
        "says how to go on. Exit 64: the file or the configuration is wrong.",
    ))]
    Import(import::Import),
}

impl Memory {
    /// Does it.
    pub fn run(self) -> CliResult {
        match self {
            Self::Import(import) => import.run(),
        }
    }
}
