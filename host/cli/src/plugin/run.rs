//! `portcullis plugin run`: one payload, and everything about its decision.

use std::path::PathBuf;

use clap::Args;
use portcullis_engine::{Cost, Engine, Meter, Plugin as PreparedPlugin};
use portcullis_model::Millis;
use portcullis_model::escape::escape;
use portcullis_server::{Clock, test_terms};
use portcullis_suite::{Actual, Answered, Explanation, TestCall, time};
use portcullis_trust::Manifest;
use serde_json::json;

use super::call_data::{CallState, DataArguments};
use super::project::{CONFIGURE_TIME, Project, engine};
use crate::exit::{CliError, CliResult, Format, print};
use crate::files;
use crate::hook::kinds;

/// Ask about one payload.
#[derive(Args)]
pub struct Run {
    #[command(flatten)]
    pub call: CallArguments,
    /// Write the memory after the call to this file (JSON). It may be the one that `--memory`
    /// names.
    #[arg(long, value_name = "FILE")]
    memory_out: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Which plugin, and what it is asked.
#[derive(Args)]
pub struct CallArguments {
    /// The plugin's folder.
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// The file with the payload: a hook's request body, as the platform sends it.
    #[arg(long)]
    payload: PathBuf,
    /// The hook kind. It may be left out if the manifest names one only.
    #[arg(long)]
    hook: Option<String>,
    /// The component. Default: the one that `plugin build` made.
    #[arg(long)]
    component: Option<PathBuf>,
    /// The file with the settings. Default: `settings.example.json` beside the manifest, if it
    /// exists.
    #[arg(long)]
    settings: Option<PathBuf>,
    /// The time that the plugin sees, such as `2026-11-25T10:00:00Z`. Default: now.
    #[arg(long)]
    received: Option<String>,
    /// The seed of the plugin's random numbers.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The number of the question, for a payload that holds several.
    #[arg(long, default_value_t = 1)]
    question: usize,
    #[command(flatten)]
    data: DataArguments,
}

/// A plugin and its question.
pub struct Prompt {
    /// The manifest that would be signed.
    pub manifest: Manifest,
    /// The component.
    pub wasm: Vec<u8>,
    /// Its settings.
    pub settings: String,
    /// What it is asked.
    pub question: TestCall,
    /// The tables and the memory that it sees.
    pub state: CallState,
    /// Where it runs.
    pub engine: Engine,
    /// It, configured.
    pub plugin: PreparedPlugin,
}

impl CallArguments {
    /// Reads everything and configures the plugin.
    pub fn prepare(&self) -> CliResult<Prompt> {
        let project = Project::open(&self.folder)?;
        let ready = project.ready(self.component.as_deref())?;
        let manifest = ready.manifest;
        let settings = project.settings(self.settings.as_deref(), &manifest)?;
        let hook = match (&self.hook, manifest.hooks.as_slice()) {
            (Some(hook), _) => hook,
            (None, [only]) => only,
            (None, several) => {
                let message =
                    format!("the manifest names several hook kinds: {}", several.join(", "));
                return Err(CliError::configuration(message).hint(Some("choose one with `--hook`")));
            }
        };
        let kind = kinds::named(hook)?;
        manifest.serves(hook)?;
        let question = TestCall::from_payload(
            kind,
            &files::read(&self.payload)?,
            self.received()?,
            self.seed,
            self.question,
        )
        .map_err(|why| CliError::wrong(format!("`{}`: {why}", self.payload.display())))?;
        let state = self.data.open(&manifest, question.call())?;
        let engine = engine()?;
        let plugin = engine.prepare(&ready.wasm, &settings, manifest.limits)?;
        Ok(Prompt { manifest, wasm: ready.wasm, settings, question, state, engine, plugin })
    }

    fn received(&self) -> CliResult<Millis> {
        match &self.received {
            None => Ok(Clock::system().now()),
            Some(text) => time(text).ok_or_else(|| {
                CliError::configuration(format!(
                    "`{text}` is not a time; write it as `2026-11-25T10:00:00Z`"
                ))
            }),
        }
    }
}

impl Prompt {
    /// What the call costs, in counts. Nothing for a search, and where the plugin fails.
    pub fn cost(&self) -> CliResult<Option<Cost>> {
        let TestCall::Evaluate(incoming) = &self.question else { return Ok(None) };
        let Ok(view) = self.manifest.reads.view(&incoming.call) else { return Ok(None) };
        let meter = Meter::new(CONFIGURE_TIME).map_err(CliError::host)?;
        let services = test_terms(&self.manifest)
            .call_services(&incoming.call, &self.state.data())
            .map_err(CliError::host)?;
        let limits = self.manifest.limits;
        let measured = meter.measure(&self.wasm, &self.settings, limits, &view, services)?;
        Ok(measured.ok().map(|(_, cost)| cost))
    }
}

impl Run {
    /// Does it.
    pub fn run(self) -> CliResult {
        let mut prompt = self.call.prepare()?;
        if self.memory_out.is_some() && prompt.state.memory.is_none() {
            return Err(CliError::configuration("the manifest does not request a memory")
                .hint(Some("add `memory` to its `capabilities`, or leave out `--memory-out`")));
        }
        let terms = test_terms(&prompt.manifest);
        let call = prompt.question.call();
        // The first call of a sandbox pays for what later ones find done. It changes nothing.
        let ask = || terms.ask(&prompt.plugin, &prompt.question, &prompt.state.data());
        drop(ask());
        let Answered { actual: said, notes, spent, trace, transaction, is_decided, .. } = ask();
        let cost = prompt.cost()?;
        let explanation = match &said {
            Actual::Decision(decision) => Some(Explanation::of(&terms, call, decision)),
            _ => None,
        };
        let micros = u64::try_from(spent.as_micros()).unwrap_or(u64::MAX);
        let found: Option<Vec<_>> = match &said {
            Actual::Found(found) => {
                Some(found.results.iter().filter_map(|result| result.id.clone()).collect())
            }
            _ => None,
        };
        match self.format {
            Format::Text => {
                let mut text = match (&explanation, &found) {
                    (Some(explanation), _) => {
                        let kept = if explanation.kept.is_empty() {
                            "nothing".to_owned()
                        } else {
                            explanation.kept.join(", ")
                        };
                        format!("{}unread   {}\n", explanation.text(""), escape(&kept))
                    }
                    (None, Some(found)) => format!("found    {}\n", escape(&found.join(", "))),
                    (None, None) => String::new(),
                };
                notes
                    .iter()
                    .for_each(|note| text.push_str(&format!("note     {}\n", escape(note))));
                text.push_str(&trace.text(""));
                text.push_str(&format!("time     {micros} µs"));
                if let Some(cost) = &cost {
                    text.push_str(&cost_text(cost));
                }
                print(text);
            }
            Format::Json => print(json!({
                "hook": call.hook, "decision": explanation.as_ref().map(Explanation::json), "found": found, "notes": notes,
                "data": trace.json(), "micros": micros, "cost": cost.map(|cost| cost_json(&cost)),
            })),
        }
        if let Some(file) = &self.memory_out {
            if let Some(transaction) = &transaction {
                prompt.state.state.keep(call, transaction, is_decided);
            }
            files::write(file, prompt.state.state.to_text().as_bytes())?;
        }
        match said {
            Actual::Fault { code, detail } => Err(CliError::wrong(format!(
                "the plugin made no decision: {} [{code}]",
                escape(&detail)
            ))),
            _ => Ok(()),
        }
    }
}

/// What a call costs, on two lines.
pub fn cost_text(cost: &Cost) -> String {
    format!(
        "\nfuel     {} instructions\nmemory   {} bytes at the start, {} more by the call, {} pages of 4 KiB changed",
        cost.fuel, cost.memory_bytes, cost.grown_bytes, cost.pages
    )
}

/// The same for programs.
pub fn cost_json(cost: &Cost) -> serde_json::Value {
    json!({"fuel": cost.fuel, "memory_bytes": cost.memory_bytes, "grown_bytes": cost.grown_bytes, "pages": cost.pages})
}
