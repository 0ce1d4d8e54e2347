//! `portcullis release status`: what is published, and how far it has come on each host.

use clap::Args;
use portcullis_model::escape::escape;
use portcullis_trust::time;
use serde_json::json;

use super::release_dir::{Destination, StoredSet};
use super::replicas::{Replicas, State};
use crate::exit::{CliError, CliResult, Format, print};

/// Show how far a release has come.
#[derive(Args)]
pub struct Status {
    #[command(flatten)]
    place: Destination,
    #[command(flatten)]
    replicas: Replicas,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Status {
    /// Does it.
    pub fn run(self) -> CliResult {
        let (shelf, _) = self.place.open()?;
        let Some(StoredSet { set, digest, .. }) = shelf.current() else {
            let none = format!("`{}` has no release set", shelf.set().display());
            return Err(
                CliError::wrong(none).hint(Some("publish one with `portcullis release publish`"))
            );
        };
        let archived: Vec<_> = shelf.archived().iter().map(|lying| lying.set.version).collect();
        let replicas = self.replicas.ask(&set, digest)?;
        match self.format {
            Format::Json => {
                let plugins = set.plugins.iter().map(|(id, entry)| {
                    json!({"plugin": id, "version": entry.version, "serial": entry.serial, "manifest": entry.manifest.to_string()})
                });
                print(json!({
                    "version": set.version, "set": digest.to_string(), "expires": set.expires.0, "plugins": plugins.collect::<Vec<_>>(),
                    "archived": archived, "replicas": replicas.iter().map(super::replicas::Replica::json).collect::<Vec<_>>(),
                }));
            }
            Format::Text => {
                let archived: Vec<_> = archived.iter().map(ToString::to_string).collect();
                let archived =
                    if archived.is_empty() { "none".to_owned() } else { archived.join(", ") };
                print(format!(
                    "release set {} ends at {}; archived: {archived}",
                    set.version,
                    time::format(set.expires)
                ));
                if replicas.is_empty() {
                    for (id, entry) in &set.plugins {
                        let (id, version) = (escape(id), escape(&entry.version));
                        print(format!("  {id} {version} (serial {}): published", entry.serial));
                    }
                }
                replicas.iter().for_each(|replica| print(replica.text()));
            }
        }
        match replicas.iter().filter(|replica| replica.state != State::Active).count() {
            0 => Ok(()),
            behind => Err(CliError::wrong(format!(
                "release set {} is not active on {behind} of {} hosts",
                set.version,
                replicas.len()
            ))),
        }
    }
}
