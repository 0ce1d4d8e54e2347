//! `portcullis trust`: signed documents about the time of a host.
//!
//! Invariant: a document is written only if a host could take it once enough keys have signed; the
//! commands need no host and no network. Hosts pick the documents up from the folder
//! `trust.time_documents`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use portcullis_model::Millis;
use portcullis_server::Clock;
use portcullis_trust::{ClockConfirmation, TimeReset, sign, time};
use serde_json::json;

use crate::document::{SignDocument, may_sign};
use crate::exit::{CliError, CliResult, Format};
use crate::files;
use crate::release::{missing, still};
use crate::signing::{add_all, chain};

/// Sign documents about a host's time: that its clock is right, or that its records have a wrong
/// time.
#[derive(Subcommand)]
pub enum Trust {
    /// Sign that a host's clock is right (role `release`), after the host was off for long or its
    /// clock has jumped.
    #[command(
        after_help = concat!(
            "Examples:\n",
            "  portcullis trust confirm-clock --vkey log.vkey --root trust-root.json --key ",
            "release.key \\\n",
            "    --person noor.haddad --reason off-for-a-month --ticket CHG-81 --output ",
            "time-documents/clock.json\n",
            "  portcullis trust confirm-clock --add-to clock.json --root trust-root.json ",
            "--key second.key \\\n",
            "    --output time-documents/clock.json\n\n",
            "The document has the time of this machine's clock. It confirms the clock of a ",
            "host that shows\n",
            "the same time, to a day, and changes no clock. It works once, for the host with ",
            "this log, for at\n",
            "most 24 hours.",
        )
    )]
    ConfirmClock(ConfirmClock),
    /// Set a host's time back after its records got a time in the future (role `root`).
    #[command(subcommand)]
    TimeReset(TimeResetCommand),
}

/// Take a host's time back.
#[derive(Subcommand)]
pub enum TimeResetCommand {
    /// Write an unsigned time reset.
    #[command(
        after_help = concat!(
            "Example:\n",
            "  portcullis trust time-reset prepare --vkey log.vkey --serial 1 --person ",
            "noor.haddad \\\n",
            "    --reason the-clock-was-a-year-ahead --ticket INC-31 --output reset.json\n\n",
            "Set the host's clock right first. `/status` of the host shows under `time` the ",
            "serial that was used last.",
        )
    )]
    Prepare(Prepare),
    /// Add signatures of root keys. The trust root sets how many are needed.
    #[command(
        after_help = concat!(
            "Example:\n",
            "  portcullis trust time-reset sign reset.json --root trust-root.json --key ",
            "root.key \\\n",
            "    --output time-documents/reset.json",
        )
    )]
    Sign(SignDocument),
}

/// Sign that a clock is right.
#[derive(Args)]
pub struct ConfirmClock {
    /// The public key (vkey) of the host's log.
    #[arg(long, required_unless_present = "add_to")]
    vkey: Option<PathBuf>,
    /// Add a signature to this document instead of making a new one.
    #[arg(long, conflicts_with_all = ["vkey", "person", "reason", "ticket", "hours"])]
    add_to: Option<PathBuf>,
    /// The trust root's envelope, and those that followed it, in order.
    #[arg(long = "root", required = true)]
    roots: Vec<PathBuf>,
    /// A key of the role `release`. Repeat the option for each key that you have.
    #[arg(long = "key", required = true)]
    keys: Vec<PathBuf>,
    /// The person who asks for it.
    #[arg(long, required_unless_present = "add_to")]
    person: Option<String>,
    /// The reason for it.
    #[arg(long, required_unless_present = "add_to")]
    reason: Option<String>,
    /// The ticket that it belongs to.
    #[arg(long, required_unless_present = "add_to")]
    ticket: Option<String>,
    /// How long the document may be used, in hours from now: 1 to 24 [default: 24].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=24))]
    hours: Option<u64>,
    /// The file to write the envelope to.
    #[arg(long)]
    output: PathBuf,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Write a time reset.
#[derive(Args)]
pub struct Prepare {
    /// The public key (vkey) of the host's log.
    #[arg(long)]
    vkey: PathBuf,
    /// The number of the time reset, above that of every time reset that this host has used. The
    /// first is 1.
    #[arg(long)]
    serial: u64,
    /// The host's new time, such as `2026-11-29T18:00:00Z`. It must have passed. Default: now.
    #[arg(long)]
    floor: Option<String>,
    /// How long the document may be used, in days from now: 1 to 7.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u64).range(1..=7))]
    days: u64,
    /// The person who asks for it.
    #[arg(long)]
    person: String,
    /// The reason for it.
    #[arg(long)]
    reason: String,
    /// The ticket that it belongs to.
    #[arg(long)]
    ticket: String,
    /// The file to write the envelope to.
    #[arg(long)]
    output: PathBuf,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Trust {
    /// Does it.
    pub fn run(self) -> CliResult {
        match self {
            Self::ConfirmClock(confirm) => confirm.run(),
            Self::TimeReset(TimeResetCommand::Prepare(prepare)) => prepare.run(),
            Self::TimeReset(TimeResetCommand::Sign(sign)) => sign_reset(sign),
        }
    }
}

impl ConfirmClock {
    fn run(self) -> CliResult {
        let root = chain(&self.roots)?;
        let keys = crate::signing::read_keys(&self.keys)?;
        may_sign(&root.release.keys, &keys, "a clock confirmation")?;
        let envelope = match &self.add_to {
            Some(path) => add_all(files::read(path)?, &keys)?,
            None => {
                let payload = self.document()?.to_payload()?;
                sign(ClockConfirmation::PAYLOAD_TYPE, &payload, &keys.iter().collect::<Vec<_>>())
            }
        };
        let missing = missing(ClockConfirmation::signed(&root, &envelope).map(drop))?;
        files::write(&self.output, &envelope)?;
        self.format.print(
            format!(
                "the clock confirmation is in {}{}",
                self.output.display(),
                still(missing.as_ref())
            ),
            json!({"file": self.output, "missing": missing.map(|refusal| refusal.to_string())}),
        );
        Ok(())
    }

    fn document(&self) -> CliResult<ClockConfirmation> {
        let now = Clock::system().now();
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let hours = self.hours.unwrap_or(24);
        Ok(ClockConfirmation {
            log: read_log_key(self.vkey.as_deref().unwrap_or_else(|| Path::new("")))?,
            person: text(&self.person),
            reason: text(&self.reason),
            ticket: text(&self.ticket),
            issued: now,
            expires: Millis(now.0.saturating_add(hours * 60 * 60 * 1_000)),
        })
    }
}

impl Prepare {
    fn run(self) -> CliResult {
        let now = Clock::system().now();
        let read = |text: &String| {
            time::parse(text).ok_or_else(|| {
                CliError::configuration(format!(
                    "`{text}` is not a time; write it as `2026-11-29T18:00:00Z`"
                ))
            })
        };
        let floor = self.floor.as_ref().map(read).transpose()?.unwrap_or(now);
        let reset = TimeReset {
            log: read_log_key(&self.vkey)?,
            serial: self.serial,
            floor,
            person: self.person,
            reason: self.reason,
            ticket: self.ticket,
            issued: now,
            expires: Millis(now.0.saturating_add(self.days * 24 * 60 * 60 * 1_000)),
        };
        let envelope = sign(TimeReset::PAYLOAD_TYPE, &reset.to_payload()?, &[]);
        files::write(&self.output, &envelope)?;
        let floor = time::format(Millis(floor.0 - floor.0 % 1_000));
        self.format.print(
            format!(
                "the time reset {} to {floor} is in {}; it has no signatures yet",
                self.serial,
                self.output.display()
            ),
            json!({"serial": self.serial, "floor": floor, "file": self.output}),
        );
        Ok(())
    }
}

fn sign_reset(sign: SignDocument) -> CliResult {
    let (root, envelope) = sign.sign("a time reset", |root| &root.root.keys)?;
    let reset = TimeReset::unverified(&envelope)?;
    let missing = missing(TimeReset::signed(&root, &envelope).map(drop))?;
    let floor = time::format(reset.floor);
    let name = format!("time reset {} to {floor}", reset.serial);
    sign.write(&envelope, missing, &name, json!({"serial": reset.serial, "floor": floor}))
}

fn read_log_key(path: &Path) -> CliResult<String> {
    Ok(files::read_public_key(path)?.to_string())
}
