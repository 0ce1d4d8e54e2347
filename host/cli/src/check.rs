//! `portcullis check`: everything that `serve` would do, short of opening the record and listening.

use std::path::PathBuf;

use clap::Args;
use portcullis_model::escape::escape;
use portcullis_server::{FallbackRelease, RefusedFallback, StartupCheck};
use serde_json::json;

use crate::exit::{CliResult, Format, print};
use crate::problems::{Problem, all, failed, warning};
use crate::serve::prepare;

/// Check configuration, release and log as `serve` would, without listening.
#[derive(Args)]
#[command(
    after_help = concat!(
        "Example:\n",
        "  portcullis check --config portcullis.toml\n\n",
        "Exit 0: the host would serve. Exit 1: the release is refused. Exit 64: the ",
        "configuration is wrong, or the log is missing or belongs to another host.",
    )
)]
pub struct Check {
    /// The configuration file.
    #[arg(long)]
    config: PathBuf,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Check {
    /// Does it.
    pub fn run(self) -> CliResult {
        let prepared = prepare(&self.config).inspect_err(|failed| {
            if self.format == Format::Json {
                print(json!({
                    "refused": null, "sentence": failed.to_string(), "hint": failed.hint_line(),
                    "problems": [failed.json("configuration")], "warnings": [],
                }));
            }
        })?;
        let warnings = warnings(&prepared);
        let (folders, log) = (prepared.folders.as_ref().err(), prepared.log.as_ref().err());
        let refused = prepared.release.as_ref().err().map(Vec::as_slice).unwrap_or_default();
        let problems = all(folders, log, refused);
        let generation = match &prepared.release {
            Ok(generation) if problems.is_empty() => generation,
            outcome => {
                let goes_on = outcome.is_err() && log.is_none();
                let last_good = if goes_on { prepared.last_good() } else { None };
                let mut failed = failed(folders, log, refused);
                if let Some(last_good) = &last_good {
                    failed = failed.below(&fall_back(last_good));
                }
                if self.format == Format::Json {
                    let version =
                        last_good.as_ref().filter(|it| it.outcome.is_ok()).map(|it| it.version);
                    let why_not = last_good.as_ref().and_then(|it| it.outcome.as_ref().err());
                    let first = problems.first().map(Problem::json);
                    let of_first = |member: &str| first.as_ref().and_then(|it| it.get(member));
                    print(json!({
                        "last_good": version, "last_good_refused": why_not.map(|it| it.code),
                        "refused": refused.first().map(|error| error.code()),
                        "sentence": of_first("sentence"), "hint": of_first("hint"),
                        "problems": problems.iter().map(Problem::json).collect::<Vec<_>>(),
                        "warnings": warnings,
                    }));
                } else {
                    warnings.iter().for_each(|text| print(warning(text)));
                }
                return Err(failed);
            }
        };
        let mut lines = Vec::new();
        for (hook, bindings) in prepared.config().hooks.iter().zip(&generation.hooks) {
            for binding in bindings.iter() {
                let manifest = binding.manifest();
                lines.push(json!({
                    "hook": hook.name, "kind": hook.kind.name(), "plugin": manifest.id, "version": manifest.version,
                    "mode": binding.mode_name, "settings": binding.settings.to_string(), "proposes": binding.proposes(),
                }));
                if let Some(rollout) = &binding.candidate {
                    let tried = rollout.binding.manifest();
                    lines.push(json!({
                        "hook": hook.name, "kind": hook.kind.name(), "plugin": tried.id, "version": tried.version,
                        "mode": rollout.kind(), "settings": rollout.binding.settings.to_string(),
                        "proposes": rollout.binding.proposes(), "beside": manifest.id, "stopped": rollout.is_stopped(),
                        "explained": rollout.describe(),
                    }));
                }
            }
        }
        if self.format == Format::Json {
            print(json!({
                "generation": generation.number, "set": generation.set.to_string(), "reset": prepared.reset().to_string(),
                "bindings": lines, "warnings": warnings, "log": if prepared.begins_log() { "begins" } else { "continues" },
            }));
            return Ok(());
        }
        print(format!(
            "release set {} is in order; the host resets instances by {}",
            generation.number,
            prepared.reset()
        ));
        for line in lines {
            let word = |member: &str| {
                line.get(member).and_then(|value| value.as_str()).unwrap_or_default().to_owned()
            };
            print(format!(
                "  {} ({}): {} {}, {}",
                word("hook"),
                word("kind"),
                word("plugin"),
                word("version"),
                word("mode")
            ));
            if !word("explained").is_empty() {
                print(format!("    beside {}: {}", word("beside"), word("explained")));
            }
        }
        if prepared.begins_log() {
            print(format!(
                "the folder `{}` has no log: `serve` will begin one there. Make sure that the disk \
                 is mounted, and set `must_exist = true` in [audit] once the log exists",
                prepared.config().audit.directory.display()
            ));
        }
        warnings.iter().for_each(|text| print(warning(text)));
        Ok(())
    }
}

/// Everything that an operator should know although it is allowed, each in a sentence.
fn warnings(prepared: &StartupCheck) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Ok(generation) = &prepared.release {
        warnings.extend(generation.warnings(&prepared.config().hooks));
    }
    warnings.extend(prepared.table_warnings());
    warnings.extend(prepared.log.as_ref().ok().cloned().flatten());
    warnings.extend(prepared.clock_warning());
    warnings.extend(prepared.limit_warnings());
    let strays = prepared.rejected_components();
    warnings.extend(strays.found.iter().map(|stray| {
        format!(
            "`{}` is not allowed to run: {} [{}]",
            stray.path.display(),
            stray.sentence,
            stray.code
        )
    }));
    if strays.unlisted > 0 {
        warnings.push(format!("{} more components are not allowed to run", strays.unlisted));
    }
    if strays.unexamined > 0 {
        warnings.push(format!(
            "{} files were not examined, because there are too many",
            strays.unexamined
        ));
    }
    warnings.extend(prepared.expiring());
    warnings.extend(prepared.rejected_signatures().iter().map(|(file, refusal)| {
        let (file, code) = (file.display(), refusal.code());
        format!("`{file}` has a signature that does not count: {refusal} [{code}]")
    }));
    warnings
}

/// Describes what `serve` would do if the release folders hold no acceptable release.
fn fall_back(last_good: &FallbackRelease) -> String {
    let FallbackRelease { version, outcome } = last_good;
    match outcome {
        Err(RefusedFallback { code, sentence }) => format!(
            "`serve` could not restart release set {version}, which was active last: {} \
             [{code}]; every call would get its safe answer",
            escape(sentence)
        ),
        Ok(generation) => {
            let mut text = format!(
                "`serve` would restart release set {version}, which was active last, from its \
                 own copy"
            );
            for left in &generation.left_out {
                text.push_str(&format!(
                    "\n  without the binding of `{}` on hook `{}`: {} [{}]",
                    left.plugin,
                    left.hook,
                    escape(&left.sentence),
                    left.code
                ));
            }
            for hook in &generation.unenforced {
                text.push_str(&format!(
                    "\n  with the safe answer on hook `{hook}`, on which no binding enforces \
                     [hook-unenforced]"
                ));
            }
            text
        }
    }
}
