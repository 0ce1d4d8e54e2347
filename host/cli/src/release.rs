//! `portcullis release`: release sets, how they come to hosts, and the way back to an older one.

mod bundle;
mod checks;
mod diff;
mod publish;
mod release_dir;
mod replicas;
mod rollback;
mod status;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use portcullis_keys::SecretKey;
use portcullis_model::{Millis, sha256};
use portcullis_server::Clock;
use portcullis_trust::{
    Downgrade, Envelope, Refusal, RefusalCode, ReleaseSet, TrustRoot, sign, verify_release,
};
use serde_json::json;

use crate::exit::{CliError, CliResult, Format, count};
use crate::files;
use crate::registry::{PullRelease, PushRelease};
use crate::signing::{add_all, chain};

use checks::SignChecks;

/// Sign release sets, bring them to hosts, and go back.
#[derive(Subcommand)]
pub enum Release {
    /// Make and sign a release set from its source, or add a signature to one.
    #[command(
        after_help = concat!(
            "Examples:\n",
            "  portcullis release sign --source release.toml --root trust-root.json \\\n",
            "    --key release.key --output release/release.json\n",
            "  portcullis release sign --add-to release/release.json --root trust-root.json \\\n",
            "    --key second.key --output release/release.json",
        )
    )]
    Sign(Sign),
    /// Sign a permission for hosts to return to an older release set, for a limited time.
    #[command(
        after_help = concat!(
            "Examples:\n",
            "  portcullis release downgrade --to release-410.json --from 412 --hours 8 \\\n",
            "    --person noor.haddad --reason night-shift --ticket CHG-77 --root ",
            "trust-root.json \\\n",
            "    --key release.key --output release/downgrade.json\n",
            "  portcullis release downgrade --add-to release/downgrade.json --root ",
            "trust-root.json \\\n",
            "    --key second.key --output release/downgrade.json\n\n",
            "Put the downgrade beside the older set in the release's folder. It lifts neither a ",
            "signed minimum serial nor a revocation.",
        )
    )]
    Downgrade(Back),
    /// Put a signed release into the folders of hosts, all of it or nothing, and wait until they
    /// have it.
    #[command(
        after_help = concat!(
            "Examples:\n",
            "  portcullis release publish --set release-413.json --from dist \\\n",
            "    --config /etc/portcullis/portcullis.toml --host http://127.0.0.1:8601\n",
            "  portcullis release publish --set release-413.json --from dist --to ",
            "/srv/hooks/release \\\n",
            "    --root trust-root.json --host http://hooks-1:8601 --host http://hooks-2:8601 ",
            "--wait 120\n\n",
            "The command refuses a release that hosts would refuse. The set that was in place is ",
            "kept in `archive` beside it.\n",
            "Exit 0: the release is active on every host that was named. Exit 1: it is refused ",
            "here or there, or not active in time.",
        )
    )]
    Publish(publish::Publish),
    /// Show which release is published, and its state on each host: published, delivered, verified,
    /// active, or refused with the reason.
    #[command(
        after_help = concat!(
            "Example:\n",
            "  portcullis release status --config portcullis.toml --host http://127.0.0.1:8601 ",
            "\\\n",
            "    --format json\n\n",
            "Exit 0: the release is active on every host that was named. Exit 1: it is not, or ",
            "there is no release.",
        )
    )]
    Status(status::Status),
    /// Return every host to a release that was active before. The command signs the downgrade and
    /// publishes both.
    #[command(
        after_help = concat!(
            "Examples:\n",
            "  portcullis release rollback --config portcullis.toml --person noor.haddad \\\n",
            "    --reason night-shift --ticket CHG-77 --key release.key --host ",
            "http://127.0.0.1:8601\n",
            "  portcullis release rollback --config portcullis.toml --version 410 --downgrade ",
            "downgrade.json\n\n",
            "Without keys the command changes nothing and lists what is missing. A rollback ",
            "lifts neither a signed minimum serial nor\n",
            "a revocation. The next release needs a version above all that were active, not ",
            "above this one.",
        )
    )]
    Rollback(rollback::Rollback),
    /// Push a signed release with all that it names to an OCI registry.
    #[command(
        after_help = concat!(
            "Example:\n",
            "  portcullis release push registry.example/hospital/hooks:live --from release \\\n",
            "    --root trust-root.json --username ci --password-file registry.password\n\n",
            "Settings are pushed too, and they name people. Use a registry that may hold such ",
            "data.",
        )
    )]
    Push(PushRelease),
    /// Pull a release from an OCI registry into a folder that a host can start from.
    #[command(
        after_help = concat!(
            "Example:\n",
            "  portcullis release pull registry.example/hospital/hooks:live --output release \\\n",
            "    --root trust-root.json",
        )
    )]
    Pull(PullRelease),
}

/// Make and sign a release set.
#[derive(Args)]
pub struct Sign {
    /// The source of the release set (TOML): plugins, bindings, settings. It names files relative
    /// to itself.
    #[arg(long, required_unless_present = "add_to")]
    source: Option<PathBuf>,
    /// Add a signature to this envelope instead of making a new one.
    #[arg(long, conflicts_with = "source")]
    add_to: Option<PathBuf>,
    /// The trust root's envelope, and those that followed it, in order. The command refuses to sign
    /// a set that a host would refuse.
    #[arg(long = "root", required = true)]
    roots: Vec<PathBuf>,
    /// A release key. Repeat the option for each key that you have.
    #[arg(long = "key", required = true)]
    keys: Vec<PathBuf>,
    /// The file to write the envelope to.
    #[arg(long)]
    output: PathBuf,
    #[command(flatten)]
    checks: SignChecks,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Make and sign a downgrade.
#[derive(Args)]
pub struct Back {
    /// The older release set's envelope.
    #[arg(long, required_unless_present = "add_to")]
    to: Option<PathBuf>,
    /// The highest version that was active on the hosts that the downgrade is for.
    #[arg(long, required_unless_present = "add_to")]
    from: Option<u64>,
    /// How long the downgrade may be used, in hours; at most 168. A host that has used it keeps the
    /// set as any other.
    #[arg(long, default_value_t = 24)]
    hours: u32,
    /// The person who asked for it.
    #[arg(long, required_unless_present = "add_to")]
    person: Option<String>,
    /// The reason for it.
    #[arg(long, required_unless_present = "add_to")]
    reason: Option<String>,
    /// The ticket that it belongs to.
    #[arg(long, required_unless_present = "add_to")]
    ticket: Option<String>,
    /// Add a signature to this envelope instead of making a new one.
    #[arg(long, conflicts_with_all = ["to", "from", "person", "reason", "ticket"])]
    add_to: Option<PathBuf>,
    /// The trust root's envelope, and those that followed it, in order.
    #[arg(long = "root", required = true)]
    roots: Vec<PathBuf>,
    /// A release key. Repeat the option for each key that you have.
    #[arg(long = "key", required = true)]
    keys: Vec<PathBuf>,
    /// The file to write the envelope to.
    #[arg(long)]
    output: PathBuf,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Release {
    /// Does it.
    pub fn run(self) -> CliResult {
        match self {
            Self::Sign(sign) => sign.run(),
            Self::Downgrade(back) => back.run(),
            Self::Publish(publish) => publish.run(),
            Self::Status(status) => status.run(),
            Self::Rollback(rollback) => rollback.run(),
            Self::Push(push) => push.run(),
            Self::Pull(pull) => pull.run(),
        }
    }
}

impl Sign {
    fn run(self) -> CliResult {
        let now = Clock::system().now();
        let root = chain(&self.roots)?;
        root.fresh(now)?;
        let keys = crate::signing::read_keys(&self.keys)?;
        let envelope = match (&self.source, &self.add_to) {
            (Some(source), None) => {
                let payload = self.checks.payload(source, &root, now)?;
                sign(ReleaseSet::PAYLOAD_TYPE, &payload, &keys.iter().collect::<Vec<_>>())
            }
            (None, Some(envelope)) => add_all(files::read(envelope)?, &keys)?,
            _ => return Err(CliError::configuration("give `--source` or `--add-to`")),
        };
        may_sign(&root, &keys, "release set")?;
        let missing = missing(verify_release(&root, &envelope, now).map(drop))?;
        files::write(&self.output, &envelope)?;
        let set = ReleaseSet::unverified(&envelope)?;
        let (plugins, bindings) = (set.plugins.len(), set.bindings.len());
        let still = still(missing.as_ref());
        self.format.print(
            format!(
                "release set {} is in {}: {}, {}{still}",
                set.version,
                self.output.display(),
                count(plugins, "plugin"),
                count(bindings, "binding")
            ),
            json!({
                "version": set.version, "file": self.output, "plugins": plugins, "bindings": bindings,
                "missing": missing.map(|refusal| refusal.to_string()),
            }),
        );
        Ok(())
    }
}

impl Back {
    fn run(self) -> CliResult {
        let now = Clock::system().now();
        let root = chain(&self.roots)?;
        root.fresh(now)?;
        let keys = crate::signing::read_keys(&self.keys)?;
        let envelope = match &self.add_to {
            Some(envelope) => add_all(files::read(envelope)?, &keys)?,
            None => {
                sign(Downgrade::PAYLOAD_TYPE, &self.payload(now)?, &keys.iter().collect::<Vec<_>>())
            }
        };
        may_sign(&root, &keys, "downgrade")?;
        let verified = Downgrade::verify(&root, &envelope, now);
        let missing = missing(verified.map(drop))?;
        files::write(&self.output, &envelope)?;
        self.format.print(
            format!("the downgrade is in {}{}", self.output.display(), still(missing.as_ref())),
            json!({"file": self.output, "missing": missing.map(|refusal| refusal.to_string())}),
        );
        Ok(())
    }

    fn payload(&self, now: Millis) -> CliResult<Vec<u8>> {
        let (Some(to), Some(from), Some(person), Some(reason), Some(ticket)) =
            (&self.to, self.from, &self.person, &self.reason, &self.ticket)
        else {
            return Err(CliError::configuration(
                "give `--to`, `--from`, `--person`, `--reason` and `--ticket`",
            ));
        };
        downgrade_payload(
            &files::read(to)?,
            from,
            &Justification { person, reason, ticket, hours: self.hours },
            now,
        )
    }
}

/// The justification of a downgrade, and how long hosts may begin it.
struct Justification<'a> {
    person: &'a str,
    reason: &'a str,
    ticket: &'a str,
    hours: u32,
}

/// The payload of a downgrade to that set.
fn downgrade_payload(
    older: &[u8],
    from: u64,
    justification: &Justification<'_>,
    now: Millis,
) -> CliResult<Vec<u8>> {
    let downgrade = Downgrade {
        from,
        to: ReleaseSet::unverified(older)?.version,
        set: sha256(Envelope::parse(older)?.unverified_payload()),
        person: justification.person.to_owned(),
        reason: justification.reason.to_owned(),
        ticket: justification.ticket.to_owned(),
        issued: now,
        expires: Millis(now.0.saturating_add(u64::from(justification.hours) * 60 * 60 * 1_000)),
    };
    Ok(downgrade.to_payload()?)
}

/// Refuses a key that could never count.
fn may_sign(root: &TrustRoot, keys: &[SecretKey], what: &str) -> CliResult {
    let counts = |key: &&SecretKey| {
        root.release.keys.iter().any(|ours| ours.bytes() == key.public().bytes())
    };
    match keys.iter().find(|key| !counts(key)) {
        None => Ok(()),
        Some(key) => {
            let message = format!(
                "{} is not allowed to sign a {what} [unknown-signer]",
                key.public().keyid()
            );
            Err(CliError::wrong(message).hint(Some(RefusalCode::UnknownSigner.remedy())))
        }
    }
}

/// Returns the refusal if only signatures are missing; any other problem is an error.
pub fn missing(verified: Result<(), Refusal>) -> CliResult<Option<Refusal>> {
    match verified {
        Ok(()) => Ok(None),
        Err(refusal) if refusal.kind() == RefusalCode::BelowThreshold => Ok(Some(refusal)),
        Err(refusal) => Err(refusal.into()),
    }
}

/// The text that is appended to a line about a document while signatures are missing.
pub fn still(missing: Option<&Refusal>) -> String {
    missing.map(|refusal| format!("; it cannot be used yet: {refusal}")).unwrap_or_default()
}
