//! `portcullis plugin push` and `plugin pull`.

use std::fs;
use std::path::PathBuf;

use clap::Args;
use portcullis_model::sha256;
use portcullis_registry::{
    Descriptor, Image, ImageRef, MANIFEST_ARTIFACT, ManifestError, SUITE_ARTIFACT, attachment,
    layer, subject,
};
use portcullis_server::Clock;
use portcullis_server::registry::{Client, PluginParts, PullError, RegistryError, push_plugin};
use portcullis_trust::{Envelope, verify_manifest};
use serde_json::json;

use super::{Registry, wait};
use crate::exit::{CliError, CliResult, Format};
use crate::files;
use crate::signing::chain;

/// Push a plugin.
#[derive(Args)]
pub struct PushPlugin {
    /// The destination, as `registry/name:tag`.
    reference: ImageRef,
    /// The component.
    #[arg(long)]
    component: PathBuf,
    /// The manifest's envelope.
    #[arg(long)]
    manifest: PathBuf,
    /// The test suite to push with the plugin.
    #[arg(long)]
    suite: Option<PathBuf>,
    /// The trust root's envelope, and those that followed it, in order. With it the command refuses
    /// to push a plugin that a host would refuse.
    #[arg(long = "root")]
    roots: Vec<PathBuf>,
    #[command(flatten)]
    registry: Registry,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Pull a plugin.
#[derive(Args)]
pub struct PullPlugin {
    /// The source, as `registry/name:tag` or `registry/name@sha256:…`.
    reference: ImageRef,
    /// The folder to write component, manifest and suite to.
    #[arg(long)]
    output: PathBuf,
    /// The trust root's envelope, and those that followed it, in order. With it the command refuses
    /// a manifest that the trust root does not allow.
    #[arg(long = "root")]
    roots: Vec<PathBuf>,
    #[command(flatten)]
    registry: Registry,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// What lies in the registry for one plugin.
struct Found {
    layer: Descriptor,
    wasm: Vec<u8>,
    manifest: Vec<u8>,
    suite: Option<(String, Vec<u8>)>,
}

impl PushPlugin {
    /// Does it.
    pub fn run(self) -> CliResult {
        if self.reference.tag().is_none() {
            return Err(CliError::configuration("a plugin is pushed to a tag, not to a digest"));
        }
        let (wasm, envelope) = (files::read(&self.component)?, files::read(&self.manifest)?);
        let manifest = Envelope::parse(&envelope)?;
        let inspection = portcullis_engine::inspect(&wasm)?;
        if subject(manifest.unverified_payload()) != Some(inspection.digest) {
            let (manifest, component) = (self.manifest.display(), self.component.display());
            let message =
                format!("`{manifest}` is not the manifest of `{component}` [digest-mismatch]");
            return Err(CliError::wrong(message).hint(Some("sign the component that you push")));
        }
        if !self.roots.is_empty() {
            verify_manifest(&chain(&self.roots)?, &envelope, Clock::system().now())?;
        }
        let name = |path: &PathBuf| {
            path.file_name().and_then(|name| name.to_str()).unwrap_or("file").to_owned()
        };
        let (title, suite) = (
            name(&self.component),
            self.suite.as_ref().map(|path| CliResult::Ok((name(path), files::read(path)?))),
        );
        let suite = suite.transpose()?;
        let parts = PluginParts {
            component: &wasm,
            inspection: &inspection,
            title: &title,
            manifest: &manifest,
            envelope: &envelope,
            suite: suite.as_ref().map(|(name, bytes)| (name.as_str(), bytes.as_slice())),
        };
        let client = self.registry.client(&self.reference)?;
        let pushed = wait(push_plugin(&client, &self.reference, &parts))??;
        let suite = pushed.suite.as_ref().map(|it| it.digest.to_string());
        self.format.print(
            format!(
                "{}: pushed\ncomponent {} as {}\nmanifest {} refers to it{}",
                self.reference,
                inspection.digest,
                pushed.component.digest,
                pushed.manifest.digest,
                suite.as_ref().map(|suite| format!("\nsuite {suite} refers to it")).unwrap_or_default()
            ),
            json!({
                "reference": self.reference.to_string(), "component": inspection.digest.to_string(),
                "artifact": pushed.component.digest.to_string(), "manifest": pushed.manifest.digest.to_string(), "suite": suite,
            }),
        );
        Ok(())
    }
}

impl PullPlugin {
    /// Does it.
    pub fn run(self) -> CliResult {
        let root = if self.roots.is_empty() { None } else { Some(chain(&self.roots)?) };
        let now = Clock::system().now();
        let client = self.registry.client(&self.reference)?;
        let accept = |envelope: &[u8]| match &root {
            Some(root) => verify_manifest(root, envelope, now).map(drop),
            None => Ok(()),
        };
        let found = wait(find(&client, &self.reference, &accept))??;
        fs::create_dir_all(&self.output).map_err(|error| {
            CliError::configuration(format!("cannot make `{}`: {error}", self.output.display()))
        })?;
        // The registry's own names for files are not believed; the repository's was read by its grammar.
        let name = self.reference.repository.name.rsplit('/').next().unwrap_or("plugin");
        let place = |rest: &str| self.output.join(format!("{name}.{rest}"));
        files::write(&place("wasm"), &found.wasm)?;
        let suite = match &found.suite {
            Some((extension, bytes)) => {
                let path = place(&format!("suite.{extension}"));
                files::write(&path, bytes)?;
                Some(path)
            }
            None => None,
        };
        files::write(&place("manifest.json"), &found.manifest)?;
        let unverified = if root.is_some() {
            ""
        } else {
            "; its signatures are not verified yet: run `portcullis plugin verify`"
        };
        self.format.print(
            format!("{}: component {} and its manifest are in `{}`{unverified}", self.reference, found.layer.digest, self.output.display()),
            json!({
                "reference": self.reference.to_string(), "component": found.layer.digest.to_string(),
                "manifest": sha256(&found.manifest).to_string(), "files": [place("wasm"), place("manifest.json")], "suite": suite,
                "verified": root.is_some(),
            }),
        );
        Ok(())
    }
}

/// The component, the first manifest for it that is accepted, and a suite if there is one.
async fn find(
    client: &Client,
    reference: &ImageRef,
    accept: &dyn Fn(&[u8]) -> Result<(), portcullis_trust::Refusal>,
) -> Result<Found, PullError> {
    let repository = &reference.repository;
    let place = reference.to_string();
    let malformed = |why| RegistryError::Malformed { place: place.clone(), why };
    let bytes = client.manifest(reference, Image::MEDIA_TYPE).await?;
    let image = Image::parse(&bytes).map_err(malformed)?;
    let config = client.small_blob(repository, &image.config, SMALL).await?;
    let layer = layer(&image, &config).map_err(malformed)?.clone();
    let wasm = client.small_blob(repository, &layer, LARGE).await?;
    let (artifact, mut manifest, mut suite, mut refused) = (sha256(&bytes), None, None, None);
    for listed in client.referrers(repository, artifact).await?.manifests {
        let Some(kind @ (MANIFEST_ARTIFACT | SUITE_ARTIFACT)) = listed.artifact_type.as_deref()
        else {
            continue;
        };
        let image =
            Image::parse(&client.fetch_manifest(repository, &listed).await?).map_err(malformed)?;
        let held = attachment(&image, artifact, kind).map_err(malformed)?;
        if kind == SUITE_ARTIFACT {
            let extension = if held.media_type == "application/toml" { "toml" } else { "yaml" };
            suite = Some((extension.to_owned(), client.small_blob(repository, held, SMALL).await?));
        } else if manifest.is_none() {
            let envelope = client.small_blob(repository, held, Envelope::MAX_BYTES).await?;
            let parsed = Envelope::parse(&envelope)
                .map_err(|refusal| PullError::Refused { plugin: None, refusal })?;
            if subject(parsed.unverified_payload()) != Some(layer.digest) {
                let why = ManifestError(
                    "the attached manifest was signed for another component".to_owned(),
                );
                return Err(malformed(why).into());
            }
            match accept(&envelope) {
                Ok(()) => manifest = Some(envelope),
                Err(refusal) => refused = Some(refusal),
            }
        }
    }
    match (manifest, refused) {
        (Some(manifest), _) => Ok(Found { layer, wasm, manifest, suite }),
        (None, Some(refusal)) => Err(PullError::Refused { plugin: None, refusal }),
        (None, None) => Err(malformed(ManifestError(
            "the component has no signed manifest attached".to_owned(),
        ))
        .into()),
    }
}

/// The largest configuration and the largest suite: 1 MiB.
const SMALL: usize = 1 << 20;
/// The largest component: 64 MiB.
const LARGE: usize = 64 << 20;
