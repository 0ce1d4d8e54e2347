//! `portcullis root`: the trust root.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use portcullis_server::Clock;
use portcullis_trust::{RootSource, TrustRoot, sign, verify_root};
use serde_json::json;

use crate::files;
use crate::outcome::{Done, Format};

/// Sign the trust root.
#[derive(Subcommand)]
pub enum Root {
    /// Make and sign a trust root from its source.
    #[command(
        after_help = "Example:\n  portcullis root sign --source trust-root.toml --key root.key \\\n    --output trust-root.json"
    )]
    Sign(Sign),
}

/// Make and sign a trust root.
#[derive(Args)]
pub struct Sign {
    /// The source: keys, roles, thresholds, publishers (TOML).
    #[arg(long)]
    source: PathBuf,
    /// A root key; more than one where the threshold asks for it.
    #[arg(long = "key", required = true)]
    keys: Vec<PathBuf>,
    /// Where the envelope goes.
    #[arg(long)]
    output: PathBuf,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Root {
    /// Does it.
    pub fn run(self) -> Done {
        let Self::Sign(sign_root) = self;
        let now = Clock::system().now();
        let payload = RootSource::parse(&files::read_text(&sign_root.source)?)?.to_payload(now)?;
        let keys = crate::plugin::read_keys(&sign_root.keys)?;
        let envelope = sign(TrustRoot::PAYLOAD_TYPE, &payload, &keys.iter().collect::<Vec<_>>());
        let root = verify_root(&envelope, now)?;
        files::write(&sign_root.output, &envelope)?;
        sign_root.format.print(
            format!(
                "trust root {} in {}: {} publishers",
                root.version,
                sign_root.output.display(),
                root.publishers.len()
            ),
            json!({"version": root.version, "file": sign_root.output, "publishers": root.publishers.len()}),
        );
        Ok(())
    }
}
