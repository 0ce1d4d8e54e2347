//! A plugin's folder: what is built how, its manifest, its settings and its suites.
//!
//! Invariant: nothing in a plugin's folder is run but what its owner asked for with `plugin build`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_engine::{Engine, Options};
use portcullis_files::{MAX_ENTRIES, list_bounded, read_bounded, read_text_bounded};
use portcullis_model::escape::escape;
use portcullis_server::{Clock, test_terms};
use portcullis_suite::{Report, RunBounds, Suite, Syntax, check_settings, run};
use portcullis_trust::{Manifest, ManifestSource};
use serde::Deserialize;

use crate::exit::{CliError, CliResult};
use crate::files;

/// `portcullis-plugin.toml`: how a plugin is made. Paths are relative to its folder.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildConfig {
    /// The language that it is written in.
    pub language: String,
    /// The manifest's source.
    #[serde(default = "manifest")]
    pub manifest: PathBuf,
    /// The path of the component.
    pub component: PathBuf,
    /// Programs and their arguments, one after the other.
    #[serde(default)]
    pub build: Vec<Vec<String>>,
    /// The core module that they make, where they make no component.
    pub module: Option<PathBuf>,
    /// A program that prints the JSON Schema of the settings.
    #[serde(default)]
    pub schema: Vec<String>,
}

/// A plugin's folder.
pub struct Project {
    folder: PathBuf,
    /// How it is made, where that is said.
    pub recipe: Option<BuildConfig>,
}

/// A plugin, ready to be tried.
pub struct BuiltPlugin {
    /// The manifest's source.
    pub source: ManifestSource,
    /// The manifest that would be signed.
    pub manifest: Manifest,
    /// The component.
    pub wasm: Vec<u8>,
}

/// The result of a suite.
pub struct SuiteRun {
    /// It, with everything in it that its files hold.
    pub suite: Suite,
    /// The result.
    pub report: Report,
}

impl Project {
    /// Looks at a folder.
    pub fn open(folder: &Path) -> CliResult<Self> {
        let file = folder.join(RECIPE);
        let recipe =
            match read_text_bounded(&file, files::MAX_FILE_BYTES) {
                Ok(text) => Some(parse(&text).map_err(|why| {
                    CliError::configuration(format!("`{}`: {why}", file.display()))
                })?),
                Err(error) if error.is_missing() => None,
                Err(error) => {
                    return Err(CliError::configuration(format!(
                        "cannot read `{}`: {error}",
                        file.display()
                    )));
                }
            };
        Ok(Self { folder: folder.to_owned(), recipe })
    }

    /// A file of it.
    pub fn path(&self, file: impl AsRef<Path>) -> PathBuf {
        if self.folder == Path::new(".") {
            file.as_ref().to_owned()
        } else {
            self.folder.join(file)
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its manifest's source.
    pub fn source(&self) -> CliResult<ManifestSource> {
        let file = self.recipe.as_ref().map_or_else(manifest, |recipe| recipe.manifest.clone());
        Ok(ManifestSource::parse(&files::read_text(&self.path(file))?)?)
    }

    /// The folder of its manifest, which schema and suite lie beside.
    pub fn manifest_folder(&self) -> PathBuf {
        let file = self.recipe.as_ref().map_or_else(manifest, |recipe| recipe.manifest.clone());
        self.path(file).parent().map(Path::to_owned).unwrap_or_default()
    }

    /// Its manifest and its component, wherever that lies.
    pub fn ready(&self, component: Option<&Path>) -> CliResult<BuiltPlugin> {
        let source = self.source()?;
        let schema = schema(&source, &self.manifest_folder())?;
        let file = match (component, &self.recipe) {
            (Some(component), _) => component.to_owned(),
            (None, Some(recipe)) => self.path(&recipe.component),
            (None, None) => {
                let message = format!(
                    "`{}` lacks the file `{RECIPE}`, which names its component",
                    self.folder.display()
                );
                return Err(CliError::configuration(message)
                    .hint(Some("name the component with `--component`")));
            }
        };
        if !file.exists() {
            let message = format!("the component `{}` does not exist", file.display());
            return Err(CliError::configuration(message)
                .hint(Some("build it with `portcullis plugin build`")));
        }
        let wasm = files::read(&file)?;
        let manifest = source.manifest(&wasm, schema.as_deref(), Clock::system().now())?;
        Ok(BuiltPlugin { source, manifest, wasm })
    }

    /// The settings to try it with: those that are named, else `settings.example.json`, else none.
    pub fn settings(&self, named: Option<&Path>, manifest: &Manifest) -> CliResult<String> {
        let example = self.manifest_folder().join("settings.example.json");
        let settings = match named {
            Some(file) => files::read_text(file)?,
            None if example.exists() => files::read_text(&example)?,
            None => "{}".to_owned(),
        };
        check(manifest, &settings)?;
        Ok(settings)
    }

    /// The suites that lie beside the manifest: `suite.toml`, `suite.yaml`, `NAME.suite.toml` and the like.
    pub fn suites(&self) -> CliResult<Vec<PathBuf>> {
        let folder = self.manifest_folder();
        let folder = if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder };
        let unreadable = |error: std::io::Error| {
            CliError::configuration(format!("cannot read `{}`: {error}", folder.display()))
        };
        let mut suites = Vec::new();
        let listed = list_bounded(&folder, &[], MAX_ENTRIES).map_err(unreadable)?;
        for path in listed.names.iter().map(|name| folder.join(name)) {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let stem = ["toml", "yaml", "yml"]
                .iter()
                .find_map(|end| name.strip_suffix(end)?.strip_suffix('.'));
            if stem.is_some_and(|stem| stem == "suite" || stem.ends_with(".suite")) {
                suites.push(if folder == Path::new(".") { PathBuf::from(name) } else { path });
            }
        }
        suites.sort();
        if suites.is_empty() {
            let message = format!("`{}` has no suite", folder.display());
            return Err(CliError::configuration(message)
                .hint(Some("write a file `suite.toml` as docs/suites.md describes")));
        }
        Ok(suites)
    }
}

/// Checks settings against the manifest's schema and `reads`, and names what is wrong by its place.
pub fn check(manifest: &Manifest, settings: &str) -> CliResult {
    let Some(schema) = &manifest.settings_schema else { return Ok(()) };
    let complaints =
        check_settings(&schema.text, settings, &manifest.reads).map_err(CliError::configuration)?;
    if complaints.is_empty() {
        return Ok(());
    }
    let lines: Vec<_> = complaints
        .iter()
        .map(|complaint| format!("\n  {}", escape(&complaint.to_string())))
        .collect();
    let message =
        format!("the settings do not match their schema [settings-invalid]{}", lines.concat());
    Err(CliError::wrong(message).hint(Some("correct the settings at these places")))
}

/// The schema that a manifest names, from beside it.
pub fn schema(source: &ManifestSource, folder: &Path) -> CliResult<Option<String>> {
    source.settings_schema.as_ref().map(|file| files::read_text(&folder.join(file))).transpose()
}

/// Reads a suite and the files that it names.
pub fn read_suite(file: &Path) -> CliResult<Suite> {
    let wrong = |error: portcullis_suite::SuiteError| {
        CliError::configuration(format!("`{}`: {error}", file.display()))
    };
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let syntax = Syntax::of(&name).ok_or_else(|| {
        CliError::configuration(format!(
            "`{}` must end in `.toml`, `.yaml`, `.yml` or `.json`",
            file.display()
        ))
    })?;
    let mut suite = Suite::parse(&files::read_text(file)?, syntax).map_err(wrong)?;
    let folder = file.parent().unwrap_or(Path::new(""));
    let mut read = |name: &str| {
        let path = folder.join(name);
        read_bounded(&path, MAX_FILE_BYTES)
            .map_err(|error| format!("cannot read `{}`: {error}", path.display()))
    };
    suite.resolve(&mut read).map_err(wrong)?;
    Ok(suite)
}

/// Reads a suite and tries a component with it, coverage included.
pub fn try_suite(
    source: &ManifestSource,
    file: &Path,
    wasm: &[u8],
    schema: Option<&str>,
) -> CliResult<SuiteRun> {
    let manifest = source.manifest(wasm, schema, Clock::system().now())?;
    let suite = read_suite(file)?;
    let plan = suite
        .plan()
        .map_err(|error| CliError::configuration(format!("`{}`: {error}", file.display())))?;
    let report = run(
        &plan,
        &engine()?,
        wasm,
        &test_terms(&manifest),
        RunBounds { time: SUITE_TIME, coverage: true },
    );
    Ok(SuiteRun { suite, report })
}

/// An engine for one author: few sandboxes, and time for interpreted languages.
pub fn engine() -> CliResult<Engine> {
    let options = Options { workers: 1, plugins: 2, configure_time: CONFIGURE_TIME };
    Engine::new(options).map_err(CliError::host)
}

fn parse(text: &str) -> Result<BuildConfig, String> {
    toml::from_str(text).map_err(|error| {
        let line = error
            .span()
            .and_then(|span| text.get(..span.start))
            .map(|before| before.matches('\n').count() + 1);
        let message = portcullis_model::humanize(error.message());
        line.map_or_else(|| message.clone(), |line| format!("line {line}: {message}"))
    })
}

fn manifest() -> PathBuf {
    PathBuf::from("manifest.toml")
}

/// The recipe's name.
pub const RECIPE: &str = "portcullis-plugin.toml";
/// How long `configure` may take at an author's desk.
pub const CONFIGURE_TIME: Duration = Duration::from_secs(60);
/// How long a suite may take at an author's desk, compiling included.
const SUITE_TIME: Duration = Duration::from_secs(900);
/// The largest file that a suite may name, bytes.
const MAX_FILE_BYTES: u64 = 4 << 20;
