//! `portcullis plugin`: from an empty folder to a signed plugin, and back to what it asks for. One file a subcommand.

mod bench;
mod build;
mod call_data;
mod componentize;
mod inspect;
mod new;
mod project;
mod run;
mod sign;
mod test;
mod verify;

use clap::Subcommand;

use crate::exit::CliResult;
use crate::registry::{PullPlugin, PushPlugin};

/// Write, test, sign, verify and inspect plugins.
#[derive(Subcommand)]
pub enum Plugin {
    /// Make the folder of a new plugin, which builds with one command.
    #[command(after_help = "Example:\n  portcullis plugin new --language javascript night-shift")]
    New(new::New),
    /// Build a plugin's component with the tools of its language.
    #[command(after_help = "Example:\n  portcullis plugin build night-shift")]
    Build(build::Build),
    /// Run the suites beside a plugin, and report their coverage. The exit code is 1 if a case
    /// differs.
    #[command(
        after_help = concat!(
            "Examples:\n",
            "  portcullis plugin test night-shift\n",
            "  portcullis plugin test --component sod.wasm --format json plugins/sod\n",
            "  portcullis plugin test --bless night-shift",
        )
    )]
    Test(test::Test),
    /// Call a plugin with one payload, and show what it decides, what it read and remembered, and
    /// what the call costs.
    #[command(
        after_help = concat!(
            "Examples:\n",
            "  portcullis plugin run --payload sign-in.json --hook okta.token night-shift\n",
            "  portcullis plugin run --payload first.json --memory-out memory.json night-shift\n",
            "  portcullis plugin run --payload second.json --memory memory.json night-shift",
        )
    )]
    Run(run::Run),
    /// Measure a plugin with one payload, in comparison with a plugin that does nothing.
    #[command(
        after_help = concat!(
            "Example:\n",
            "  portcullis plugin bench --payload sign-in.json --hook okta.token night-shift",
        )
    )]
    Bench(bench::Bench),
    /// Turn a core module (Rust, C) into a component that imports only what the contract offers.
    #[command(
        after_help = concat!(
            "Example:\n",
            "  portcullis plugin componentize target/wasm32-unknown-unknown/plugin/sod.wasm ",
            "\\\n",
            "    --output sod.wasm",
        )
    )]
    Componentize(componentize::Componentize),
    /// Sign a manifest for a component, or add a signature to one.
    #[command(
        after_help = concat!(
            "Examples:\n",
            "  portcullis plugin sign --source manifest.toml --component sod.wasm \\\n",
            "    --key publisher.key --output sod.manifest.json\n",
            "  portcullis plugin sign --add-to sod.manifest.json --key second.key \\\n",
            "    --output sod.manifest.json",
        )
    )]
    Sign(sign::Sign),
    /// Verify a manifest and its component against a trust root.
    #[command(
        after_help = concat!(
            "Example:\n",
            "  portcullis plugin verify --root trust-root.json \\\n",
            "    --manifest sod.manifest.json --component sod.wasm",
        )
    )]
    Verify(verify::Verify),
    /// Push a signed plugin to an OCI registry.
    #[command(
        after_help = concat!(
            "Example:\n",
            "  portcullis plugin push registry.example/plugins/sod:2.0.0 \\\n",
            "    --component sod.wasm --manifest sod.manifest.json --root trust-root.json",
        )
    )]
    Push(PushPlugin),
    /// Pull a plugin from an OCI registry.
    #[command(
        after_help = concat!(
            "Example:\n",
            "  portcullis plugin pull registry.example/plugins/sod:2.0.0 --output plugins \\\n",
            "    --root trust-root.json",
        )
    )]
    Pull(PullPlugin),
    /// Show a component's properties, and what its manifest requests.
    #[command(
        after_help = concat!(
            "Examples:\n",
            "  portcullis plugin inspect sod.wasm --format json\n",
            "  portcullis plugin inspect sod.wasm --source manifest.toml",
        )
    )]
    Inspect(inspect::Inspect),
}

impl Plugin {
    /// Does it.
    pub fn run(self) -> CliResult {
        match self {
            Self::New(new) => new.run(),
            Self::Build(build) => build.run(),
            Self::Test(test) => test.run(),
            Self::Run(run) => run.run(),
            Self::Bench(bench) => bench.run(),
            Self::Componentize(componentize) => componentize.run(),
            Self::Sign(sign) => sign.run(),
            Self::Verify(verify) => verify.run(),
            Self::Push(push) => push.run(),
            Self::Pull(pull) => pull.run(),
            Self::Inspect(inspect) => inspect.run(),
        }
    }
}
