//! `portcullis`: serve hooks, and everything around that: keys, plugins, releases, the record.
//!
//! Exit codes: 0 done; 1 looked and found wrong (a refusal, damage, a wrong answer); 2 wrong usage;
//! 3 there is no such record; 4 it cannot be proved yet; 5 found some of what was looked for; 64
//! bad configuration; 70 the host failed. One file a subcommand; each prints results to standard
//! output and everything else to standard error.

mod audit;
mod break_glass;
mod check;
mod clock;
mod document;
mod exit;
mod files;
mod hook;
mod keys;
mod logging;
mod memory;
mod near;
mod notify;
mod plugin;
mod problems;
mod registry;
mod release;
mod root;
mod serve;
mod signature;
mod signing;
mod sod;
mod table;
mod trust;

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, Parser, Subcommand};
use portcullis_model::renames::{Format, new_names};

use crate::exit::report;

/// Measured: `docs/performance.md`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Answers the inline hooks of identity platforms with signed, sandboxed plugins, and keeps an
/// audit log that anyone can verify.
#[derive(Parser)]
#[command(name = "portcullis", version, max_term_width = 110)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answer hooks until the process is stopped (SIGTERM or SIGINT). At SIGHUP it reads
    /// configuration and release again.
    Serve(serve::Serve),
    /// Check configuration, release and log as `serve` would, without listening.
    Check(check::Check),
    /// Make and list keys.
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Sign and verify trust roots, which list who may sign what.
    #[command(subcommand)]
    Root(root::Root),
    /// Make signatures with a hardware token or on another machine, and add them to a document.
    #[command(subcommand)]
    Signature(signature::Signature),
    /// Make, sign, verify and inspect plugins.
    #[command(subcommand)]
    Plugin(plugin::Plugin),
    /// Sign release sets (which plugins are live, with which settings, on which hook), bring them
    /// to hosts, and return to an older one.
    #[command(subcommand)]
    Release(release::Release),
    /// Try exports of reference tables before hosts use them, and sign them.
    #[command(subcommand)]
    Table(table::Tables),
    /// Warm the memory of plugins with the platform's own log.
    #[command(subcommand)]
    Memory(memory::Memory),
    /// Bring a matrix of segregation of duties into the plugin's form, check it, and find out whom
    /// it concerns.
    #[command(subcommand)]
    Sod(sod::Sod),
    /// Sign documents about a host's time: that its clock is right, or that its records have a
    /// wrong time.
    #[command(subcommand)]
    Trust(trust::Trust),
    /// Waive findings or fail open on one hook for a limited time, with a document that several
    /// people have signed.
    #[command(subcommand)]
    BreakGlass(break_glass::BreakGlass),
    /// Call a hook as a platform would, diagnose one from outside, and list the hook kinds.
    #[command(subcommand)]
    Hook(hook::Hook),
    /// Read, verify and prove the audit log. The host need not run.
    #[command(subcommand)]
    Audit(audit::Audit),
    /// How the host starts itself to make a plugin.
    #[command(name = portcullis_engine::PREPARE_COMMAND, hide = true)]
    MakePlugin {
        /// Report which confinement holds, and prepare nothing.
        #[arg(long)]
        probe: bool,
    },
}

fn main() -> ExitCode {
    let caught = serve::Caught::early();
    let arguments = Arguments::try_parse().unwrap_or_else(|error| wrong_usage(&error));
    let done = match arguments.command {
        Command::Serve(serve) => serve.run(caught),
        Command::Check(check) => check.run(),
        Command::Keys(keys) => keys.run(),
        Command::Root(root) => root.run(),
        Command::Signature(signature) => signature.run(),
        Command::Plugin(plugin) => plugin.run(),
        Command::Release(release) => release.run(),
        Command::Table(table) => table.run(),
        Command::Memory(memory) => memory.run(),
        Command::Sod(sod) => sod.run(),
        Command::Trust(trust) => trust.run(),
        Command::BreakGlass(break_glass) => break_glass.run(),
        Command::Hook(hook) => hook.run(),
        Command::Audit(audit) => audit.run(),
        Command::MakePlugin { probe: true } => return portcullis_engine::probe_confinement(),
        Command::MakePlugin { probe: false } => return portcullis_engine::prepare_plugin(),
    };
    report(done)
}

/// The subcommand that the arguments name.
fn subcommand() -> clap::Command {
    let mut command = Arguments::command();
    for word in std::env::args().skip(1) {
        match command.find_subcommand(&word) {
            Some(found) => command = found.clone(),
            None => break,
        }
    }
    command
}

/// Prints what is wrong with the arguments, and the new name of an option that has one. Ends the
/// process; help and version are printed in the same way.
fn wrong_usage(error: &clap::Error) -> ! {
    let old = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(option)) => option.split(['=', ' ']).next().unwrap_or_default(),
        _ => "",
    };
    let printed = error.print();
    let takes = |new: &str| subcommand().get_arguments().any(|it| it.get_long() == new.get(2..));
    if let Some(new) = new_names(Format::Option, old).find(|new| takes(new)) {
        eprintln!("\nhint: `{old}` is now called `{new}`");
    }
    // Where nothing can be printed, nothing can be done about it.
    drop(printed);
    std::process::exit(error.exit_code())
}
