//! `portcullis release`: release sets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use portcullis_server::Clock;
use portcullis_trust::{ReleaseSet, ReleaseSource, sign, verify_release, verify_root};
use serde_json::json;

use crate::files;
use crate::outcome::{Done, Format};

/// Sign release sets.
#[derive(Subcommand)]
pub enum Release {
    /// Make and sign a release set from its source.
    #[command(
        after_help = "Example:\n  portcullis release sign --source release.toml --root trust-root.json \\\n    --key release.key --output release/release.json"
    )]
    Sign(Sign),
}

/// Make and sign a release set.
#[derive(Args)]
pub struct Sign {
    /// The source: plugins, bindings, settings (TOML). The files it names lie relative to it.
    #[arg(long)]
    source: PathBuf,
    /// The trust root's envelope: nothing is signed that a host would refuse.
    #[arg(long)]
    root: PathBuf,
    /// A release key; more than one where the threshold asks for it.
    #[arg(long = "key", required = true)]
    keys: Vec<PathBuf>,
    /// Where the envelope goes.
    #[arg(long)]
    output: PathBuf,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Release {
    /// Does it.
    pub fn run(self) -> Done {
        let Self::Sign(sign_set) = self;
        let now = Clock::system().now();
        let root = verify_root(&files::read(&sign_set.root)?, now)?;
        let source = ReleaseSource::parse(&files::read_text(&sign_set.source)?)?;
        let base = sign_set.source.parent().unwrap_or(Path::new(""));
        let mut named = BTreeMap::new();
        for file in source.files() {
            named.insert(file.to_owned(), files::read(&base.join(file))?);
        }
        let payload = source.to_payload(&root, &named, now)?;
        let keys = crate::plugin::read_keys(&sign_set.keys)?;
        let envelope = sign(ReleaseSet::PAYLOAD_TYPE, &payload, &keys.iter().collect::<Vec<_>>());
        let set = verify_release(&root, &envelope, now)?;
        files::write(&sign_set.output, &envelope)?;
        let (plugins, bindings) = (set.plugins.len(), set.bindings.len());
        sign_set.format.print(
            format!(
                "release set {} in {}: {plugins} plugins, {bindings} bindings",
                set.version,
                sign_set.output.display()
            ),
            json!({"version": set.version, "file": sign_set.output, "plugins": plugins, "bindings": bindings}),
        );
        Ok(())
    }
}
