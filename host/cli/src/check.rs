//! `portcullis check`: everything that `serve` would do, short of opening the record and listening.

use std::path::PathBuf;

use clap::Args;
use portcullis_server::{FallBack, Refused};
use serde_json::json;

use crate::outcome::{Done, Failed, Format, print};
use crate::serve::prepare;

/// Do everything that `serve` would do, short of listening.
#[derive(Args)]
#[command(
    after_help = "Example:\n  portcullis check --config portcullis.toml\n\nExit 0: it would serve. Exit 1: the release was refused. Exit 64: the configuration is wrong."
)]
pub struct Check {
    /// The configuration.
    #[arg(long)]
    config: PathBuf,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Check {
    /// Does it.
    pub fn run(self) -> Done {
        let prepared = prepare(&self.config)?;
        prepared.check_record().map_err(|error| {
            let hint = error.hint();
            Failed::configuration(format!(
                "the record on disk is not this configuration's: {error}"
            ))
            .hint(hint)
        })?;
        let finds_log = prepared.finds_log().map_err(|error| {
            let hint = error.hint();
            Failed::configuration(error).hint(hint)
        })?;
        let generation = match &prepared.release {
            Ok(generation) => generation,
            Err(error) => {
                let mut failed = format!("{error} [{}]", error.code());
                for complaint in error.complaints() {
                    failed.push_str(&format!("\n  {complaint}"));
                }
                let last_good = prepared.last_good();
                if let Some(last_good) = &last_good {
                    failed.push_str(&format!("\n{}", fall_back(last_good)));
                }
                if self.format == Format::Json {
                    let version =
                        last_good.as_ref().filter(|it| it.outcome.is_ok()).map(|it| it.version);
                    let why_not = last_good.as_ref().and_then(|it| it.outcome.as_ref().err());
                    print(json!({
                        "last_good": version, "last_good_refused": why_not.map(|it| it.code),
                        "refused": error.code(), "sentence": error.to_string(), "hint": error.hint(),
                    }));
                }
                return Err(Failed::wrong(failed).hint(error.hint()));
            }
        };
        let mut warnings = generation.warnings(&prepared.config().hooks);
        warnings.extend(prepared.clock_warning());
        warnings.extend(prepared.limit_warnings());
        let strays = prepared.strays();
        warnings.extend(strays.found.iter().map(|stray| {
            format!("`{}` may not run: {} [{}]", stray.path.display(), stray.sentence, stray.code)
        }));
        if strays.more > 0 {
            warnings.push(format!("{} more components may not run", strays.more));
        }
        if strays.unexamined > 0 {
            warnings.push(format!("{} files were too many to examine", strays.unexamined));
        }
        warnings.extend(prepared.expiring());
        warnings.extend(prepared.rejected_signatures().iter().map(|(file, refusal)| {
            let (file, code) = (file.display(), refusal.code());
            format!("`{file}` carries a signature that counts for nothing: {refusal} [{code}]")
        }));
        let mut lines = Vec::new();
        for (hook, bindings) in prepared.config().hooks.iter().zip(&generation.hooks) {
            for binding in bindings.iter() {
                let manifest = binding.manifest();
                lines.push(json!({
                    "hook": hook.name, "kind": hook.kind.name(), "plugin": manifest.id, "version": manifest.version,
                    "mode": binding.role, "settings": binding.settings.to_string(), "proposes": binding.proposes(),
                }));
                if let Some(rollout) = &binding.rollout {
                    let tried = rollout.binding.manifest();
                    lines.push(json!({
                        "hook": hook.name, "kind": hook.kind.name(), "plugin": tried.id, "version": tried.version,
                        "mode": rollout.way(), "settings": rollout.binding.settings.to_string(),
                        "proposes": rollout.binding.proposes(), "beside": manifest.id, "stopped": rollout.is_stopped(),
                        "explained": rollout.explained(),
                    }));
                }
            }
        }
        if self.format == Format::Json {
            print(json!({
                "generation": generation.number, "set": generation.set.to_string(), "reset": prepared.reset().to_string(),
                "bindings": lines, "warnings": warnings, "log": if finds_log { "continues" } else { "begins" },
            }));
            return Ok(());
        }
        print(format!(
            "release set {} is in order; instances are reset by {}",
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
        if !finds_log {
            print(format!(
                "there is no log in `{}`: `serve` begins one, unless its disk is only not mounted; once it is there, set \
                 `must_exist = true` in [audit]",
                prepared.config().audit.directory.display()
            ));
        }
        for warning in warnings {
            print(format!("warning: {warning}"));
        }
        Ok(())
    }
}

/// What `serve` would do where the release folders hold nothing that may come into force.
fn fall_back(last_good: &FallBack) -> String {
    let FallBack { version, outcome } = last_good;
    match outcome {
        Err(Refused { code, sentence }) => format!(
            "`serve` would not go on with release set {version}, which was active last: {sentence} \
             [{code}]; every call would get its safe answer"
        ),
        Ok(generation) => {
            let mut text = format!(
                "`serve` would go on with release set {version}, which was active last, from its own copy"
            );
            for left in &generation.left_out {
                text.push_str(&format!(
                    "\n  without the binding of `{}` on hook `{}`: {} [{}]",
                    left.plugin, left.hook, left.sentence, left.code
                ));
            }
            text
        }
    }
}
