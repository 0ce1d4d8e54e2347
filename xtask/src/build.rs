//! Builds the host and the plugins.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::languages::{self, Languages};
use crate::provision::{WasmTarget, wasm_target};
use crate::run::{Result, cargo, root, run_ok, step, target, test_cargo};

/// What was built.
pub struct Built {
    /// The `portcullis` binary.
    pub portcullis: PathBuf,
    /// The folder with one component a plugin.
    pub plugins: PathBuf,
    /// Which languages' plugins are among them.
    pub languages: Languages,
}

/// How the host is optimised.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// As the tests run it.
    Release,
    /// As hospitals do.
    Dist,
}

impl Profile {
    /// Builds the host and the parts of the benchmarks, and gives the folder where they are.
    pub fn build(self) -> Result<PathBuf> {
        if self == Self::Release {
            // Built with everything else.
            return Ok(target().join("release"));
        }
        step(
            "building the host as hospitals run it (the first time takes a quarter of an hour or more)",
        );
        let packages = ["--package", "portcullis", "--package", "portcullis-bench"];
        run_ok(cargo().args(["build", "--profile", "dist", "--locked"]).args(packages))?;
        Ok(target().join("dist"))
    }
}

/// Builds the host and the plugins in Rust, and nothing that only tests need.
pub fn shown() -> Result<Built> {
    step("building the host and its plugins (the first time takes some minutes)");
    // The workspace as a whole and an example, so that cargo chooses the features that the tests have too.
    let wanted = ["--workspace", "--bin", "portcullis", "--example", "unify"];
    run_ok(cargo().args(["build", "--release", "--locked"]).args(wanted))?;
    let portcullis = target().join("release/portcullis");
    Ok(Built { plugins: plugins(&portcullis)?, portcullis, languages: Languages::none() })
}

/// Builds everything as users run it: the host, the plugins in all languages, tests and benchmarks.
pub fn all() -> Result<Built> {
    with(cargo())
}

/// Builds everything as the tests run it, without optimisation ([`test_cargo`]).
pub fn for_tests() -> Result<Built> {
    with(test_cargo()?)
}

/// Builds the host, the tests and the plugins in Rust.
pub fn quick() -> Result<Built> {
    step("building the host and the tests");
    let mut cargo = test_cargo()?;
    run_ok(cargo.args(["build", "--release", "--locked", "--workspace", "--all-targets"]))?;
    let portcullis = target().join("release/portcullis");
    Ok(Built { plugins: plugins(&portcullis)?, portcullis, languages: Languages::none() })
}

/// The packages that run in the sandbox: the SDK and the plugins.
pub fn sandboxed() -> impl Iterator<Item = &'static str> {
    ["portcullis-guest"].into_iter().chain(PLUGINS.iter().map(|(package, _)| *package))
}

/// Host first: it turns the plugins' modules into components. Every command names the same packages, since
/// another choice is another choice of their dependencies' features.
fn with(mut cargo: Command) -> Result<Built> {
    step("building the host (the first time takes some minutes)");
    run_ok(cargo.args(["build", "--release", "--locked", "--workspace", "--all-targets"]))?;
    let portcullis = target().join("release/portcullis");
    let plugins = plugins(&portcullis)?;
    step("building the plugins in other languages");
    let languages = languages::all(&portcullis, &plugins)?;
    for reason in &languages.skipped {
        println!("skipped: {reason}");
    }
    Ok(Built { plugins, portcullis, languages })
}

/// Returns the cargo that builds for wasm32-unknown-unknown.
pub fn wasm_cargo(wasm: WasmTarget) -> Command {
    match wasm {
        WasmTarget::Toolchain => cargo(),
        WasmTarget::Debian { linker } => {
            let mut debian = Command::new("/usr/bin/cargo");
            // Debian's compiler first on the path; its library is built from source, which stable compilers allow with this switch.
            let path = env::var("PATH").unwrap_or_default();
            debian
                .current_dir(root())
                .env("PATH", format!("/usr/bin:{path}"))
                .env("RUSTC", "/usr/bin/rustc");
            debian
                .env("RUSTC_BOOTSTRAP", "1")
                .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
            for inherited in ["RUSTUP_TOOLCHAIN", "CARGO", "RUSTDOC", "RUSTFLAGS"] {
                debian.env_remove(inherited);
            }
            debian.arg("-Zbuild-std=std,panic_abort");
            debian
        }
    }
}

/// Builds every plugin and makes it a component.
pub fn plugins(portcullis: &Path) -> Result<PathBuf> {
    let wasm = wasm_target()?;
    step("building the plugins");
    let modules = target().join("wasm");
    let mut cargo = wasm_cargo(wasm);
    cargo.env("CARGO_TARGET_DIR", &modules);
    cargo.args(["build", "--locked", "--profile", "plugin", "--target", "wasm32-unknown-unknown"]);
    for (package, _) in PLUGINS {
        cargo.args(["--package", package]);
    }
    run_ok(&mut cargo)?;
    let components = target().join("plugins");
    fs::create_dir_all(&components)?;
    for (package, name) in PLUGINS {
        let module = modules
            .join("wasm32-unknown-unknown/plugin")
            .join(format!("{}.wasm", package.replace('-', "_")));
        let component = components.join(format!("{name}.wasm"));
        run_ok(
            Command::new(portcullis)
                .args(["plugin", "componentize"])
                .arg(module)
                .arg("--output")
                .arg(component),
        )?;
    }
    Ok(components)
}

/// Package and name of every plugin: the library, the example that several languages share, and the tests' own.
const PLUGINS: [(&str, &str); 7] = [
    ("portcullis-sod", "sod"),
    ("portcullis-contractor", "contractor"),
    ("portcullis-access-rules", "access-rules"),
    ("portcullis-sign-in-risk", "sign-in-risk"),
    ("portcullis-example-hours", "hours"),
    ("portcullis-misbehaving", "misbehaving"),
    ("portcullis-remembering", "remembering"),
];
