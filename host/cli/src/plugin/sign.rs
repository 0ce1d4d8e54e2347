//! `portcullis plugin sign`: a manifest for a component, once its suite has passed.

use std::path::{Path, PathBuf};

use clap::Args;
use portcullis_server::{Clock, check_capabilities};
use portcullis_suite::Suite;
use portcullis_trust::{Manifest, ManifestSource, PassedSuite, sign};
use serde_json::json;

use super::project::{self, SuiteRun};
use crate::exit::{CliError, CliResult, Format};
use crate::files;
use crate::signing::read_keys;

/// Sign a manifest.
#[derive(Args)]
pub struct Sign {
    /// The manifest's source (TOML).
    #[arg(long, required_unless_present = "add_to")]
    source: Option<PathBuf>,
    /// The component that the manifest is for.
    #[arg(long, required_unless_present = "add_to")]
    component: Option<PathBuf>,
    /// Add a signature to this envelope instead of making a new one.
    #[arg(long, conflicts_with_all = ["source", "component"])]
    add_to: Option<PathBuf>,
    /// A publisher's key. Repeat the option for each key that you have.
    #[arg(long = "key", required = true)]
    keys: Vec<PathBuf>,
    /// The file to write the envelope to.
    #[arg(long)]
    output: PathBuf,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// What is signed, and the bundle of the suite that passed.
struct Statement {
    bytes: Vec<u8>,
    suite: Option<(PassedSuite, Vec<u8>)>,
}

impl Sign {
    /// Does it.
    pub fn run(self) -> CliResult {
        let keys = read_keys(&self.keys)?;
        let mut suite = None;
        let envelope = match (&self.source, &self.component, &self.add_to) {
            (Some(source), Some(component), None) => {
                let statement = statement(source, component)?;
                suite = statement.suite;
                sign(Manifest::PAYLOAD_TYPE, &statement.bytes, &keys.iter().collect::<Vec<_>>())
            }
            (None, None, Some(envelope)) => crate::signing::add_all(files::read(envelope)?, &keys)?,
            _ => {
                return Err(CliError::configuration(
                    "give `--source` and `--component`, or `--add-to`",
                ));
            }
        };
        let bundle = suite.as_ref().map(|_| beside(&self.output));
        if let (Some(file), Some((_, bundle))) = (&bundle, &suite) {
            files::write(file, bundle)?;
        }
        files::write(&self.output, &envelope)?;
        let signers: Vec<_> = keys.iter().map(|key| key.public().keyid()).collect();
        let cases = suite.as_ref().map(|(passed, _)| passed.cases);
        let tried = match (&bundle, cases) {
            (Some(file), Some(cases)) => {
                format!(
                    "\n{}: the suite that passed, with {cases} cases; copy it together with the \
                     component",
                    file.display()
                )
            }
            _ => String::new(),
        };
        self.format.print(
            format!("{}: signed by {}{tried}", self.output.display(), signers.join(", ")),
            json!({"file": self.output, "signers": signers, "suite": bundle, "cases": cases}),
        );
        Ok(())
    }
}

/// The statement of a manifest's source, with its schema and its suite read from beside it.
fn statement(source: &Path, component: &Path) -> CliResult<Statement> {
    let now = Clock::system().now();
    let manifest = ManifestSource::parse(&files::read_text(source)?)?;
    let folder = source.parent().unwrap_or(Path::new(""));
    let schema = project::schema(&manifest, folder)?;
    let wasm = files::read(component)?;
    // Whoever signs should hear now what the host would refuse later.
    let inspection = portcullis_engine::inspect(&wasm)?;
    check_capabilities(&inspection, &manifest.capabilities).map_err(CliError::wrong)?;
    let suite = manifest
        .suite
        .as_ref()
        .map(|file| pass(&manifest, &folder.join(file), &wasm, schema.as_deref()))
        .transpose()?;
    let passed = suite.as_ref().map(|(passed, _)| *passed);
    Ok(Statement { bytes: manifest.to_statement(&wasm, schema.as_deref(), passed, now)?, suite })
}

/// Runs the suite that the manifest demands: nothing is signed that does not pass it.
fn pass(
    manifest: &ManifestSource,
    file: &Path,
    wasm: &[u8],
    schema: Option<&str>,
) -> CliResult<(PassedSuite, Vec<u8>)> {
    let SuiteRun { suite, report } = project::try_suite(manifest, file, wasm, schema)?;
    if let Some(failure) = report.first_failure() {
        let message = format!(
            "the suite `{}` does not pass, and the manifest demands it: {failure} [suite-failed]",
            file.display()
        );
        return Err(CliError::wrong(message).hint(Some(
            "run `portcullis plugin test`, and correct the plugin or what the suite expects of \
             it",
        )));
    }
    let bundle = suite.bundle().map_err(CliError::configuration)?;
    let cases = u32::try_from(report.outcomes.len()).unwrap_or(u32::MAX);
    Ok((PassedSuite { digest: Suite::digest(&bundle), cases }, bundle))
}

/// Where the suite of a manifest goes: `sod.suite.json` beside `sod.manifest.json`.
fn beside(manifest: &Path) -> PathBuf {
    let name =
        manifest.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let stem =
        name.strip_suffix(".manifest.json").or_else(|| name.strip_suffix(".json")).unwrap_or(&name);
    manifest.with_file_name(format!("{stem}.suite.json"))
}
