//! `portcullis plugin inspect`: what a component is, and with its manifest what it asks for.

use std::path::PathBuf;

use clap::Args;
use portcullis_model::escape::escape;
use portcullis_server::{Clock, check_capabilities};
use portcullis_trust::{Manifest, ManifestSource};
use serde_json::json;

use super::project;
use crate::exit::{CliError, CliResult, Format, print};
use crate::files;

/// Show a component.
#[derive(Args)]
pub struct Inspect {
    /// The component.
    component: PathBuf,
    /// The source of its manifest (TOML), to show what the manifest requests too.
    #[arg(long)]
    source: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Inspect {
    /// Does it.
    pub fn run(self) -> CliResult {
        let wasm = files::read(&self.component)?;
        let inspection = portcullis_engine::inspect(&wasm)?;
        let manifest = match &self.source {
            Some(source) => {
                let folder = source.parent().unwrap_or(std::path::Path::new(""));
                let source = ManifestSource::parse(&files::read_text(source)?)?;
                check_capabilities(&inspection, &source.capabilities).map_err(CliError::wrong)?;
                let schema = project::schema(&source, folder)?;
                Some(source.manifest(&wasm, schema.as_deref(), Clock::system().now())?)
            }
            None => None,
        };
        match self.format {
            Format::Text => print(format!(
                "digest   {}\nbytes    {}\nmemory   {} bytes at the start\nimports  {}\nexports  {}\nsearches {}{}",
                inspection.digest,
                inspection.bytes,
                inspection.memory_bytes,
                list(&inspection.imports),
                list(&inspection.exports),
                if inspection.searches { "yes" } else { "no" },
                manifest.as_ref().map(asks).unwrap_or_default(),
            )),
            Format::Json => print(json!({
                "digest": inspection.digest.to_string(), "bytes": inspection.bytes, "memory_bytes": inspection.memory_bytes,
                "imports": inspection.imports, "exports": inspection.exports, "searches": inspection.searches,
                "manifest": manifest.as_ref().map(requirements),
            })),
        }
        Ok(())
    }
}

/// Returns the requests of a manifest, for the lines below the component's properties.
fn asks(manifest: &Manifest) -> String {
    let limits = manifest.limits;
    format!(
        "\nid       {} {} (serial {})\nhooks    {}\nreads    {}\neffects  {}\nchanges  {}\nasks for {}\nlimits   {} bytes of memory, {} ms, {} bytes of output",
        escape(&manifest.id),
        escape(&manifest.version),
        manifest.serial,
        list(&manifest.hooks),
        list(manifest.reads.paths()),
        list(&effects(manifest)),
        list(&changes(manifest)),
        list(&capabilities(manifest)),
        limits.memory_bytes,
        limits.time_ms,
        limits.output_bytes,
    )
}

fn requirements(manifest: &Manifest) -> serde_json::Value {
    json!({
        "id": manifest.id, "version": manifest.version, "serial": manifest.serial, "hooks": manifest.hooks,
        "reads": manifest.reads.paths(), "effects": effects(manifest), "changes": changes(manifest),
        "capabilities": capabilities(manifest), "limits": manifest.limits,
    })
}

fn effects(manifest: &Manifest) -> Vec<String> {
    manifest.emits.effects().iter().map(|effect| effect.name().to_owned()).collect()
}

fn changes(manifest: &Manifest) -> Vec<String> {
    manifest.emits.changes().map(str::to_owned).collect()
}

fn capabilities(manifest: &Manifest) -> Vec<String> {
    manifest.capabilities.iter().map(|capability| capability.name().to_owned()).collect()
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { escape(&names.join(", ")).into_owned() }
}
