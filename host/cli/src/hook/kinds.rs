//! `portcullis hook kinds`: what is spoken here.

use clap::Args;
use portcullis_hooks::{HookKind, OnFailure, safe_answer};
use portcullis_model::Cause;
use serde_json::json;

use crate::exit::{CliError, CliResult, Format, print};
use crate::near;

/// List the hook kinds that are spoken.
#[derive(Args)]
pub struct Kinds {
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Kinds {
    /// Does it.
    pub fn run(&self) -> CliResult {
        for kind in HookKind::ALL {
            let (limit, budget) =
                (kind.platform_limit().as_millis(), kind.default_budget().as_millis());
            let closed = safe_answer(kind, &OnFailure::Closed, Cause::PluginFault, None);
            let body = String::from_utf8_lossy(closed.body()).into_owned();
            let reactions = kind.failure_behaviour();
            match self.format {
                Format::Text => {
                    let restricted =
                        if kind.offers_restricted() { "; restricted is offered" } else { "" };
                    print(format!(
                        "{} ({})\n  the platform waits {limit} ms, the default budget is {budget} \
                         ms{restricted}\n  without an answer it {}\n  the safe answer when closed: \
                         {} {body}",
                        kind.name(),
                        platform(kind),
                        reactions.timeout,
                        closed.status,
                    ));
                }
                Format::Json => print(json!({
                    "kind": kind.name(), "platform": platform(kind), "limit_ms": limit, "budget_ms": budget,
                    "restricted": kind.offers_restricted(), "silence": reactions.timeout.to_string(),
                    "client_error": reactions.client_error.to_string(), "server_error": reactions.server_error.to_string(),
                    "closed": {"status": closed.status, "body": body},
                })),
            }
        }
        Ok(())
    }
}

/// The hook kind of that name.
pub fn named(name: &str) -> CliResult<HookKind> {
    HookKind::from_name(name).ok_or_else(|| {
        let names = HookKind::ALL.iter().map(|kind| kind.name());
        CliError::usage(format!("the hook kind `{name}` does not exist")).hint(Some(near::hint(
            name,
            names,
            "`portcullis hook kinds` lists them",
        )))
    })
}

/// Returns the name of the hook's platform.
fn platform(kind: HookKind) -> &'static str {
    match kind.name().split('.').next() {
        Some("okta") => "Okta",
        Some("entra") => "Microsoft Entra",
        Some("ping") => "Ping Identity",
        Some("authzen") => "OpenID AuthZEN",
        _ => "any",
    }
}
