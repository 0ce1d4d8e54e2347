//! `portcullis root`: trust roots, one after the other.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use portcullis_keys::SecretKey;
use portcullis_model::Millis;
use portcullis_server::Clock;
use portcullis_trust::{Refusal, RefusalCode, RootSource, TrustRoot, sign, verify_root};
use serde_json::json;

use crate::exit::{CliError, CliResult, Format, count};
use crate::files;
use crate::signing::{add_all, chain, pinned, read_keys};

/// Sign the trust root, and verify how one follows the other.
#[derive(Subcommand)]
pub enum Root {
    /// Make and sign a trust root from its source, or add a signature to one.
    #[command(
        after_help = concat!(
            "Examples:\n",
            "  portcullis root sign --source trust-root.toml --key root.key \\\n",
            "    --output trust-root.json\n",
            "  portcullis root sign --source trust-root.toml --previous trust-root.json --key ",
            "root.key \\\n",
            "    --output trust-roots/2.json\n",
            "  portcullis root sign --add-to trust-roots/2.json --previous trust-root.json ",
            "--key second.key \\\n",
            "    --output trust-roots/2.json\n\n",
            "A trust root that follows another needs signatures by enough root keys of the ",
            "one before and by enough of its own.\n",
            "It keeps that one's revocations. The envelope is written even if signatures are ",
            "missing, and the command says how many.",
        )
    )]
    Sign(Sign),
    /// Verify a trust root, or a chain of them. The first is verified by its own keys, each other
    /// one by the one before.
    #[command(after_help = "Example:\n  portcullis root verify trust-root.json trust-roots/2.json")]
    Verify(Verify),
}

/// Make and sign a trust root.
#[derive(Args)]
pub struct Sign {
    /// The source of the trust root (TOML): keys, roles, thresholds, publishers, revocations.
    #[arg(long, required_unless_present = "add_to")]
    source: Option<PathBuf>,
    /// Add a signature to this envelope instead of making a new one.
    #[arg(long, conflicts_with = "source")]
    add_to: Option<PathBuf>,
    /// The trust root that comes before this one.
    #[arg(long)]
    previous: Option<PathBuf>,
    /// A root key, of this trust root or of the one before. Repeat the option for each key that you
    /// have.
    #[arg(long = "key", required = true)]
    keys: Vec<PathBuf>,
    /// The file to write the envelope to.
    #[arg(long)]
    output: PathBuf,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Verify trust roots.
#[derive(Args)]
pub struct Verify {
    /// The envelopes, in the order of their versions.
    #[arg(required = true)]
    roots: Vec<PathBuf>,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Root {
    /// Does it.
    pub fn run(self) -> CliResult {
        match self {
            Self::Sign(sign) => sign.run(),
            Self::Verify(verify) => verify.run(),
        }
    }
}

impl Sign {
    fn run(self) -> CliResult {
        let now = Clock::system().now();
        let previous = self.previous.as_deref().map(pinned).transpose()?;
        let keys = read_keys(&self.keys)?;
        let envelope = match (&self.source, &self.add_to) {
            (Some(source), None) => {
                let payload = RootSource::parse(&files::read_text(source)?)?
                    .to_payload(previous.as_ref(), now)?;
                sign(TrustRoot::PAYLOAD_TYPE, &payload, &keys.iter().collect::<Vec<_>>())
            }
            (None, Some(envelope)) => add_all(files::read(envelope)?, &keys)?,
            _ => return Err(CliError::configuration("give `--source` or `--add-to`")),
        };
        let root = TrustRoot::unverified(&envelope)?;
        may_sign(&root, previous.as_ref(), &keys)?;
        let missing = missing(&envelope, previous.as_ref(), now)?;
        files::write(&self.output, &envelope)?;
        let still = missing
            .as_ref()
            .map(|refusal| format!("; it cannot be used yet: {refusal}"))
            .unwrap_or_default();
        self.format.print(
            format!(
                "trust root {} is in {}: {}{still}",
                root.version,
                self.output.display(),
                count(root.publishers.len(), "publisher")
            ),
            json!({
                "version": root.version, "file": self.output, "publishers": root.publishers.len(),
                "missing": missing.map(|refusal| refusal.to_string()),
            }),
        );
        Ok(())
    }
}

/// Refuses a key that could never count: neither a root key of this root nor of the one before.
fn may_sign(root: &TrustRoot, previous: Option<&TrustRoot>, keys: &[SecretKey]) -> CliResult {
    for key in keys {
        let ours = |root: &TrustRoot| {
            root.root.keys.iter().any(|ours| ours.bytes() == key.public().bytes())
        };
        if !ours(root) && !previous.is_some_and(ours) {
            let role = if previous.is_some() {
                "of this trust root or of the one before"
            } else {
                "of this trust root"
            };
            let message =
                format!("{} is not a root key {role} [unknown-signer]", key.public().keyid());
            return Err(CliError::wrong(message).hint(Some(RefusalCode::UnknownSigner.remedy())));
        }
    }
    Ok(())
}

/// What signatures are still missing; anything else that is wrong is an error.
fn missing(
    envelope: &[u8],
    previous: Option<&TrustRoot>,
    now: Millis,
) -> CliResult<Option<Refusal>> {
    let verified = match previous {
        Some(previous) => previous.next(envelope).and_then(|root| root.fresh(now)),
        None => verify_root(envelope, now).map(drop),
    };
    let few = [
        RefusalCode::BelowThreshold,
        RefusalCode::UnknownSigner,
        RefusalCode::RootUnchained,
        RefusalCode::RevokedKey,
    ];
    match verified {
        Ok(()) => Ok(None),
        Err(refusal) if few.contains(&refusal.kind()) => Ok(Some(refusal)),
        Err(refusal) => Err(refusal.into()),
    }
}

impl Verify {
    fn run(self) -> CliResult {
        let root = chain(&self.roots)?;
        root.fresh(Clock::system().now())?;
        let (revoked, plugins) =
            (root.revoked_keys.len(), root.revoked.manifests.len() + root.revoked.serials.len());
        self.format.print(
            format!(
                "trust root {} is valid: {} of {} root keys must sign, {}, {revoked} keys and \
                 {plugins} plugins are revoked\ndigest {}",
                root.version,
                root.root.threshold,
                root.root.keys.len(),
                count(root.publishers.len(), "publisher"),
                root.digest
            ),
            json!({
                "version": root.version, "digest": root.digest.to_string(), "expires": root.expires.0,
                "publishers": root.publishers.len(), "revoked_keys": revoked, "revoked_plugins": plugins,
            }),
        );
        Ok(())
    }
}
