//! `portcullis plugin`: from a core module to a signed plugin, and back to what it asks for.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use portcullis_keys::SecretKey;
use portcullis_model::Digest;
use portcullis_server::{Clock, check_capabilities};
use portcullis_trust::{Manifest, ManifestSource, PluginEntry, sign, verify_manifest, verify_plugin};
use serde_json::json;

use crate::files;
use crate::outcome::{Done, Failed, Format, print};
use crate::registry::{PullPlugin, PushPlugin};

/// Make, sign, verify and inspect plugins.
#[derive(Subcommand)]
pub enum Plugin {
    /// Turn a core module (Rust, C) into a component with no imports but the contract's.
    #[command(
        after_help = "Example:\n  portcullis plugin componentize target/wasm32-unknown-unknown/plugin/sod.wasm \\\n    --output sod.wasm"
    )]
    Componentize(Componentize),
    /// Sign a manifest for a component, or add a signature to one.
    #[command(
        after_help = "Examples:\n  portcullis plugin sign --source manifest.toml --component sod.wasm \\\n    --key publisher.key --output sod.manifest.json\n  portcullis plugin sign --add-to sod.manifest.json --key second.key \\\n    --output sod.manifest.json"
    )]
    Sign(Sign),
    /// Verify a manifest and its component against a trust root.
    #[command(
        after_help = "Example:\n  portcullis plugin verify --root trust-root.json \\\n    --manifest sod.manifest.json --component sod.wasm"
    )]
    Verify(Verify),
    /// Push a signed plugin to an OCI registry.
    #[command(
        after_help = "Example:\n  portcullis plugin push registry.example/plugins/sod:2.0.0 \\\n    --component sod.wasm --manifest sod.manifest.json --root trust-root.json"
    )]
    Push(PushPlugin),
    /// Pull a plugin from an OCI registry.
    #[command(
        after_help = "Example:\n  portcullis plugin pull registry.example/plugins/sod:2.0.0 --output plugins \\\n    --root trust-root.json"
    )]
    Pull(PullPlugin),
    /// Show what a component is and asks for.
    #[command(after_help = "Example:\n  portcullis plugin inspect sod.wasm --format json")]
    Inspect(Inspect),
}

/// Turn a core module into a component.
#[derive(Args)]
pub struct Componentize {
    /// The core module.
    module: PathBuf,
    /// Where the component goes.
    #[arg(long)]
    output: PathBuf,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Sign a manifest.
#[derive(Args)]
pub struct Sign {
    /// The manifest's source (TOML).
    #[arg(long, required_unless_present = "add_to")]
    source: Option<PathBuf>,
    /// The component that the manifest is for.
    #[arg(long, required_unless_present = "add_to")]
    component: Option<PathBuf>,
    /// Add a signature to this envelope instead.
    #[arg(long, conflicts_with_all = ["source", "component"])]
    add_to: Option<PathBuf>,
    /// A publisher's key; more than one where the threshold asks for it.
    #[arg(long = "key", required = true)]
    keys: Vec<PathBuf>,
    /// Where the envelope goes.
    #[arg(long)]
    output: PathBuf,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Verify a plugin.
#[derive(Args)]
pub struct Verify {
    /// The trust root's envelope; where others followed, all of them in order.
    #[arg(long = "root", required = true)]
    roots: Vec<PathBuf>,
    /// The manifest's envelope.
    #[arg(long)]
    manifest: PathBuf,
    /// The component; without it only the manifest is verified.
    #[arg(long)]
    component: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Show a component.
#[derive(Args)]
pub struct Inspect {
    /// The component.
    component: PathBuf,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Plugin {
    /// Does it.
    pub fn run(self) -> Done {
        match self {
            Self::Componentize(componentize) => componentize.run(),
            Self::Sign(sign) => sign.run(),
            Self::Verify(verify) => verify.run(),
            Self::Push(push) => push.run(),
            Self::Pull(pull) => pull.run(),
            Self::Inspect(inspect) => inspect.run(),
        }
    }
}

/// Reads signing keys.
pub fn read_keys(files: &[PathBuf]) -> Done<Vec<SecretKey>> {
    files.iter().map(|file| Ok(SecretKey::read(file)?)).collect()
}

impl Componentize {
    fn run(self) -> Done {
        let component = portcullis_engine::componentize(&files::read(&self.module)?)?;
        let inspection = portcullis_engine::inspect(&component)?;
        files::write(&self.output, &component)?;
        self.format.print(
            format!("{}: {} bytes, {}", self.output.display(), inspection.bytes, inspection.digest),
            json!({"file": self.output, "bytes": inspection.bytes, "digest": text(inspection.digest)}),
        );
        Ok(())
    }
}

impl Sign {
    fn run(self) -> Done {
        let keys = read_keys(&self.keys)?;
        let envelope = match (&self.source, &self.component, &self.add_to) {
            (Some(source), Some(component), None) => {
                let statement = statement(source, component)?;
                sign(Manifest::PAYLOAD_TYPE, &statement, &keys.iter().collect::<Vec<_>>())
            }
            (None, None, Some(envelope)) => crate::root::add_all(files::read(envelope)?, &keys)?,
            _ => return Err(Failed::configuration("give `--source` and `--component`, or `--add-to`")),
        };
        files::write(&self.output, &envelope)?;
        let signers: Vec<_> = keys.iter().map(|key| key.public().keyid()).collect();
        self.format.print(
            format!("{}: signed by {}", self.output.display(), signers.join(", ")),
            json!({"file": self.output, "signers": signers}),
        );
        Ok(())
    }
}

/// The statement of a manifest's source, with its schema read from beside it.
fn statement(source: &Path, component: &Path) -> Done<Vec<u8>> {
    let manifest = ManifestSource::parse(&files::read_text(source)?)?;
    let schema = match &manifest.settings_schema {
        Some(schema) => Some(files::read_text(&source.parent().unwrap_or(Path::new("")).join(schema))?),
        None => None,
    };
    let wasm = files::read(component)?;
    // Whoever signs should hear now what the host would refuse later.
    let inspection = portcullis_engine::inspect(&wasm)?;
    check_capabilities(&inspection, &manifest.capabilities).map_err(Failed::wrong)?;
    Ok(manifest.to_statement(&wasm, schema.as_deref(), Clock::system().now())?)
}

impl Verify {
    fn run(self) -> Done {
        let now = Clock::system().now();
        let root = crate::root::chain(&self.roots)?;
        let envelope = files::read(&self.manifest)?;
        let verified = verify_manifest(&root, &envelope, now)?;
        let manifest = &verified.manifest;
        if let Some(component) = &self.component {
            let entry =
                PluginEntry { version: manifest.version.clone(), serial: manifest.serial, manifest: verified.digest };
            let wasm = files::read(component)?;
            verify_plugin(&root, &entry, &envelope, &wasm, now)?;
            let inspection = portcullis_engine::inspect(&wasm)?;
            check_capabilities(&inspection, &manifest.capabilities).map_err(Failed::wrong)?;
        }
        let reviewers = verified.reviewers.join(", ");
        let reviewed = if reviewers.is_empty() { String::new() } else { format!(", reviewed by {reviewers}") };
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
                "signers": verified.signers, "reviewers": verified.reviewers, "manifest": text(verified.digest), "component": text(manifest.wasm), "hooks": manifest.hooks,
            })),
        }
        Ok(())
    }
}

impl Inspect {
    fn run(self) -> Done {
        let inspection = portcullis_engine::inspect(&files::read(&self.component)?)?;
        match self.format {
            Format::Text => print(format!(
                "digest   {}\nbytes    {}\nmemory   {} bytes at the start\nimports  {}\nexports  {}\nsearches {}",
                inspection.digest,
                inspection.bytes,
                inspection.memory_bytes,
                list(&inspection.imports),
                list(&inspection.exports),
                if inspection.searches { "yes" } else { "no" }
            )),
            Format::Json => print(json!({
                "digest": text(inspection.digest), "bytes": inspection.bytes, "memory_bytes": inspection.memory_bytes,
                "imports": inspection.imports, "exports": inspection.exports, "searches": inspection.searches,
            })),
        }
        Ok(())
    }
}

fn text(digest: Digest) -> String {
    digest.to_string()
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
