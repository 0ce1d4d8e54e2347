//! The refusals of `release sign`: what a host would refuse, as far as it can be known where a set
//! is signed.
//!
//! Invariant: everything that is wrong is named at once, by the checks that hosts and `check` make
//! (`portcullis_server::check_source`). Without a configuration the kinds of hooks are not known,
//! and no plugin is run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::Args;
use portcullis_model::escape::escape;
use portcullis_model::{Millis, sha256};
use portcullis_server::{Config, FileIndex, SourceFiles, check_source};
use portcullis_trust::{Envelope, Manifest, ReleaseSet, ReleaseSource, TrustRoot};

use super::bundle::folder_of;
use crate::exit::{CliError, CliResult};
use crate::files;

/// Where what a set needs is looked for. A signature that is added to a set checks none of it: who
/// signed the set first has.
#[derive(Args)]
pub struct SignChecks {
    /// A host's configuration. The set must bind hooks that it has, and their kinds must support
    /// what the plugins may emit.
    #[arg(long, conflicts_with = "add_to")]
    config: Option<PathBuf>,
    /// A folder with components. Repeat the option for several. Default: the folders of the
    /// manifests.
    #[arg(long = "from", conflicts_with = "add_to")]
    from: Vec<PathBuf>,
    /// Sign although the components are missing here. They are needed to publish the set.
    #[arg(long, conflicts_with = "add_to")]
    without_components: bool,
}

impl SignChecks {
    /// Makes the payload of a set from its source, and refuses what hosts would refuse.
    pub fn payload(&self, source: &Path, root: &TrustRoot, now: Millis) -> CliResult<Vec<u8>> {
        let base = source.parent().unwrap_or(Path::new(""));
        let text = ReleaseSource::parse(&files::read_text(source)?)?;
        let mut named = BTreeMap::new();
        let mut folders: BTreeSet<_> = self.from.iter().cloned().collect();
        for file in text.files() {
            let path = base.join(file);
            if self.from.is_empty() {
                folders.insert(folder_of(&path));
            }
            named.insert(file.to_owned(), files::read(&path)?);
        }
        let payload = text.to_payload(root, &named, now)?;
        self.check(&payload, &named, &folders)?;
        Ok(payload)
    }

    fn check(
        &self,
        payload: &[u8],
        named: &BTreeMap<String, Vec<u8>>,
        folders: &BTreeSet<PathBuf>,
    ) -> CliResult {
        let set = ReleaseSet::unverified_payload(payload)?;
        let manifests: BTreeMap<_, _> = named
            .values()
            .filter_map(|bytes| {
                let statement = Envelope::parse(bytes).ok()?.unverified_payload().to_vec();
                Some((sha256(&statement), Manifest::unverified(bytes).ok()?))
            })
            .collect();
        let wanted: BTreeSet<_> = manifests.values().map(|manifest| manifest.wasm).collect();
        let found = FileIndex::of(folders.iter().map(PathBuf::as_path));
        // Without components none is looked at, also where some lie beside the manifests.
        let components = wanted
            .into_iter()
            .filter(|_| !self.without_components)
            .filter_map(|digest| Some((digest, found.bytes(digest)?)))
            .collect();
        let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).ok();
        let settings = named.values().filter_map(|bytes| Some((sha256(bytes), text(bytes)?)));
        let hooks = self.config.as_deref().map(Config::load).transpose();
        let hooks = hooks
            .map_err(CliError::configuration)?
            .map(|config| config.hooks.into_iter().map(|hook| (hook.name, hook.kind)).collect());
        let given = SourceFiles {
            set: &set,
            manifests,
            components,
            settings: settings.collect(),
            components_elsewhere: self.without_components,
            hooks,
        };
        let Err(problems) = check_source(&given) else { return Ok(()) };
        let lines: Vec<_> = problems
            .iter()
            .map(|problem| {
                let error = &problem.error;
                let whose = problem
                    .binding
                    .as_ref()
                    .map(|(hook, plugin)| format!("binding of `{plugin}` on hook `{hook}`: "));
                let complaints: Vec<_> =
                    error.setting_errors().iter().map(|it| format!("\n  {}", escape(it))).collect();
                format!(
                    "{}{} [{}]{}",
                    whose.unwrap_or_default(),
                    escape(&error.reason()),
                    error.code(),
                    complaints.concat()
                )
            })
            .collect();
        let hint = problems.first().map(|problem| match problem.error.code() {
            "file-missing" => {
                "name its folder with `--from`, or sign without it with `--without-components`"
                    .to_owned()
            }
            _ => problem.error.hint().unwrap_or_default(),
        });
        Err(CliError::wrong(lines.join("\n")).hint(hint))
    }
}
