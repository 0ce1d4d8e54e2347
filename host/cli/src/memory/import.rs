//! `portcullis memory import`: the sign-ins of an exported log, sent to the hook of a running host
//! that takes the platform's events live.
//!
//! Invariants:
//! - The caller is proved as on every call of the hook, by the secret that the configuration names.
//! - Nothing is sent in a dry run, and nothing of another kind than sign-ins ever.
//! - An import can be ended and repeated at any time: plugins count an event once.
//!
//! It does not change memory itself, and does not know what a plugin learns from an event.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use hyper::Uri;
use jiff::Timestamp;
use portcullis_hooks::{HookKind, OnFailure};
use portcullis_model::escape::escape_lines;
use portcullis_server::HookConfig;
use serde_json::json;

use super::log_file::{Event, LogEvents, LogText, Platform, SkipReason, Skipped};
use super::sender::{ENVELOPE_BYTES, Sender};
use crate::clock::{elapsed_since, monotonic_now, since_epoch};
use crate::exit::{CliError, CliResult, Format, count};
use crate::hook::configured;
use crate::hook::connection::{Endpoint, Identity};

/// Send the sign-ins of an exported log to a running host.
#[derive(Args)]
pub struct Import {
    /// The configuration file of the host. The hook's address and secret are taken from it.
    #[arg(long)]
    config: PathBuf,
    /// The name of the hook in the configuration: of the kind `okta.event` for Okta, and of
    /// `entra.sign-in-log` for Entra.
    #[arg(long)]
    hook: String,
    /// An export of Okta's System Log: a JSON array, JSON Lines, or CSV.
    #[arg(long, required_unless_present = "entra_log", conflicts_with = "entra_log")]
    okta_log: Option<PathBuf>,
    /// An export of Entra's sign-in log: a JSON array, JSON Lines, or pages of Microsoft Graph.
    #[arg(long)]
    entra_log: Option<PathBuf>,
    /// The address of the hook, if it is not the one in the configuration.
    #[arg(long)]
    url: Option<Uri>,
    /// The client certificate of the caller, with its chain (PEM), if the hook asks for one.
    #[arg(long, requires = "client_key")]
    client_certificate: Option<PathBuf>,
    /// The key of the client certificate (PEM).
    #[arg(long, requires = "client_certificate")]
    client_key: Option<PathBuf>,
    /// The file with the certificate authorities to trust instead of the machine's own (PEM).
    #[arg(long)]
    ca: Option<PathBuf>,
    /// The number of the event to begin with, in order of time, as an import that ended early
    /// printed it.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    from: u32,
    /// Read the log and say what would be sent, without sending anything.
    #[arg(long)]
    dry_run: bool,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// The result of an import.
struct Summary<'a> {
    log: &'a LogText,
    read: usize,
    to_send: usize,
    taken: usize,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    skipped: &'a Skipped,
    is_dry: bool,
}

impl Import {
    /// Does it.
    pub fn run(&self) -> CliResult {
        let (platform, file) = match (&self.okta_log, &self.entra_log) {
            (Some(file), _) => (Platform::Okta, file),
            (None, Some(file)) => (Platform::Entra, file),
            (None, None) => return Err(CliError::usage("name a log")),
        };
        let config = configured::load(&self.config, &self.hook)?;
        let hook = configured::find(&config, &self.config, &self.hook)?;
        check(hook, platform)?;
        let most = hook.body_bytes.saturating_sub(ENVELOPE_BYTES);
        let log = LogText::read(file)?;
        let LogEvents { events, mut skipped, read } =
            log.events(platform, most).map_err(|why| {
                CliError::configuration(format!("`{}`: {}", file.display(), escape_lines(&why)))
                    .hint(Some("give the log as the platform exports it"))
            })?;
        let oldest = oldest()?;
        let from = usize::try_from(self.from).unwrap_or(usize::MAX).saturating_sub(1);
        let mut to_send = Vec::new();
        for (number, event) in (1..).zip(&events) {
            if event.time < oldest {
                skipped.add(SkipReason::TooOld, event.line);
            } else if number > from {
                to_send.push((number, event));
            }
        }
        let mut summary = Summary {
            log: &log,
            read,
            to_send: to_send.len(),
            taken: 0,
            first: to_send.first().map(|(_, event)| event.time),
            last: to_send.last().map(|(_, event)| event.time),
            skipped: &skipped,
            is_dry: self.dry_run,
        };
        if to_send.is_empty() {
            summary.print(self.format);
            return Err(CliError::wrong(format!("`{}` has no event to send", file.display()))
                .hint(Some("export the sign-ins of the last 90 days")));
        }
        if self.dry_run {
            summary.print(self.format);
            return Ok(());
        }
        let url = match &self.url {
            Some(url) => url.clone(),
            None => configured::address(&config, hook)?,
        };
        let own = match (&self.client_certificate, &self.client_key) {
            (Some(certificate), Some(key)) => Some(Identity::read(certificate, key)?),
            _ => None,
        };
        let proof = configured::proof(hook)?;
        if proof.is_none() && own.is_none() {
            return Err(CliError::configuration(format!(
                "the configuration has no secret for the hook `{}`",
                hook.name
            ))
            .hint(Some("add a secret to its `caller`, or give a client certificate")));
        }
        let endpoint = Endpoint::new(url, self.ca.as_deref(), own)?;
        let digest = log.digest.to_string();
        let name: String = digest.chars().filter(char::is_ascii_hexdigit).take(16).collect();
        let mut sender = Sender::new(endpoint, proof, platform, name);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(CliError::host)?;
        let (taken, sent) = runtime.block_on(send_all(&mut sender, &to_send, most));
        summary.taken = taken;
        summary.print(self.format);
        sent.map_err(|error| {
            let next = to_send.get(taken).map_or(1, |(number, _)| *number);
            let hint = error.hint_line().unwrap_or_default().to_owned();
            let again = format!("{hint}; then go on with `--from {next}`");
            error.hint(Some(again))
        })
    }
}

/// Sends events in batches. Returns how many of them were taken, and why not all.
async fn send_all(
    sender: &mut Sender,
    events: &[(usize, &Event<'_>)],
    most: usize,
) -> (usize, CliResult) {
    let (mut taken, mut told) = (0, monotonic_now());
    while let Some(rest) = events.get(taken..).filter(|rest| !rest.is_empty()) {
        let mut bytes = 0;
        let fits = |(_, event): &&(usize, &Event<'_>)| {
            bytes += event.json.len() + 1;
            bytes <= most
        };
        let batch: Vec<_> =
            rest.iter().take(MAX_EVENTS).take_while(fits).map(|(_, event)| *event).collect();
        // The first event alone may be as large as the hook accepts.
        let alone: Vec<_> = rest.iter().take(1).map(|(_, event)| *event).collect();
        let batch = if batch.is_empty() { alone } else { batch };
        let number = rest.first().map_or(1, |(number, _)| *number);
        let (now_taken, sent) = sender.send(&batch, number).await;
        taken += now_taken;
        if sent.is_err() {
            return (taken, sent);
        }
        if elapsed_since(told) >= PROGRESS {
            told = monotonic_now();
            eprintln!("{taken} of {} events are taken, up to number {}", events.len(), number);
        }
    }
    (taken, Ok(()))
}

impl Summary<'_> {
    fn print(&self, format: Format) {
        let mut text =
            format!("log      {}\nread     {}\n", self.log.digest, count(self.read, "event"));
        if let (Some(first), Some(last)) = (self.first, self.last) {
            text.push_str(&format!("to send  {}, from {first} to {last}\n", self.to_send));
        }
        text.push_str(&match self.is_dry {
            true => "taken    none: this was a dry run".to_owned(),
            false => format!("taken    {}", self.taken),
        });
        for (reason, number, lines) in self.skipped.all() {
            let more = if number > lines.len() { ", …" } else { "" };
            let lines = lines.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
            let (code, sentence) = (reason.code(), reason.sentence());
            text.push_str(&format!("\nskipped  {number} {code}: {sentence} (line {lines}{more})"));
        }
        let skipped = self.skipped.all().map(|(reason, number, lines)| {
            json!({"reason": reason.code(), "events": number, "first_lines": lines})
        });
        format.print(
            text,
            json!({
                "log": self.log.digest.to_string(), "read": self.read, "to_send": self.to_send,
                "taken": self.taken, "dry_run": self.is_dry,
                "from": self.first.map(|time| time.to_string()),
                "until": self.last.map(|time| time.to_string()),
                "skipped": skipped.collect::<Vec<_>>(),
            }),
        );
    }
}

/// Refuses a hook that does not take such a log, or says so of what it did not record.
fn check(hook: &HookConfig, platform: Platform) -> CliResult {
    let wanted = match platform {
        Platform::Okta => HookKind::OktaEvent,
        Platform::Entra => HookKind::EntraSignInLog,
    };
    if hook.kind != wanted {
        return Err(CliError::configuration(format!(
            "the hook `{}` is of the kind {}, and such a log needs {}",
            hook.name,
            hook.kind.name(),
            wanted.name()
        ))
        .hint(Some(format!(
            "add a hook of the kind {} to the configuration, and bind the plugin to it",
            wanted.name()
        ))));
    }
    if hook.on_failure == OnFailure::Open {
        return Err(CliError::configuration(format!(
            "the hook `{}` is open: it acknowledges events that are not on record",
            hook.name
        ))
        .hint(Some("import with `on_failure = \"closed\"`")));
    }
    Ok(())
}

/// The oldest time of an event that is sent.
fn oldest() -> CliResult<Timestamp> {
    let now = since_epoch().map_err(CliError::host)?;
    let seconds = i64::try_from(now.saturating_sub(MAX_AGE).as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).map_err(CliError::host)
}

/// Older events are not sent: as long as Okta keeps its log, and plugins learn from none older.
const MAX_AGE: Duration = Duration::from_secs(90 * 86_400);

/// The events of a batch: they are evaluated within the hook's budget.
const MAX_EVENTS: usize = 50;

/// How often the progress is told.
const PROGRESS: Duration = Duration::from_secs(5);
