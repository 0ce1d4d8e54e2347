//! `portcullis plugin verify`: whether a host with this trust root would take it.

use std::path::PathBuf;

use clap::Args;
use portcullis_server::{Clock, check_capabilities};
use portcullis_trust::{PluginEntry, verify_manifest, verify_plugin};
use serde_json::json;

use crate::exit::{CliError, CliResult, Format, print};
use crate::files;

/// Verify a plugin.
#[derive(Args)]
pub struct Verify {
    /// The trust root's envelope, and those that followed it, in order.
    #[arg(long = "root", required = true)]
    roots: Vec<PathBuf>,
    /// The manifest's envelope.
    #[arg(long)]
    manifest: PathBuf,
    /// The component. Without it only the manifest is verified.
    #[arg(long)]
    component: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Verify {
    /// Does it.
    pub fn run(self) -> CliResult {
        let now = Clock::system().now();
        let root = crate::signing::chain(&self.roots)?;
        let envelope = files::read(&self.manifest)?;
        let verified = verify_manifest(&root, &envelope, now)?;
        let manifest = &verified.manifest;
        if let Some(component) = &self.component {
            let entry = PluginEntry {
                version: manifest.version.clone(),
                serial: manifest.serial,
                manifest: verified.digest,
            };
            let wasm = files::read(component)?;
            verify_plugin(&root, &entry, &envelope, &wasm, now)?;
            let inspection = portcullis_engine::inspect(&wasm)?;
            check_capabilities(&inspection, &manifest.capabilities).map_err(CliError::wrong)?;
        }
        let reviewers = verified.reviewers.join(", ");
        let reviewed =
            if reviewers.is_empty() { String::new() } else { format!(", reviewed by {reviewers}") };
        match self.format {
            Format::Text => print(format!(
                "{} {} (serial {}): published by {}, signed by {}{}\nmanifest {}\ncomponent {}",
                manifest.id,
                manifest.version,
                manifest.serial,
                verified.publisher,
                verified.signers.join(", "),
                reviewed,
                verified.digest,
                manifest.wasm
            )),
            Format::Json => print(json!({
                "id": manifest.id, "version": manifest.version, "serial": manifest.serial, "publisher": verified.publisher,
                "signers": verified.signers, "reviewers": verified.reviewers, "manifest": verified.digest.to_string(), "component": manifest.wasm.to_string(), "hooks": manifest.hooks,
            })),
        }
        Ok(())
    }
}
