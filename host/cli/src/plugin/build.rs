//! `portcullis plugin build`: the language's own tools, and then a look at what they made.
//!
//! Invariant: a tool that is missing is named, with what brings it; what ends this command well is a component that a host would take.

use std::env;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;
use portcullis_server::check_capabilities;
use serde_json::json;

use super::project::{BuildConfig, Project, RECIPE};
use crate::exit::{CliError, CliResult, Format};
use crate::files;

/// Build a plugin.
#[derive(Args)]
pub struct Build {
    /// The plugin's folder.
    #[arg(default_value = ".")]
    folder: PathBuf,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Build {
    /// Does it.
    pub fn run(self) -> CliResult {
        let project = Project::open(&self.folder)?;
        let recipe = project.recipe.as_ref().ok_or_else(|| {
            let message = format!("`{}` lacks the file `{RECIPE}`", self.folder.display());
            CliError::configuration(message)
                .hint(Some("make a plugin's folder with `portcullis plugin new`"))
        })?;
        let source = project.source()?;
        if let Some(schema) = source.settings_schema.as_ref().filter(|_| !recipe.schema.is_empty())
        {
            let printed = run(&project, recipe, &recipe.schema, true)?;
            let file = project.manifest_folder().join(schema);
            // Left alone where it says the same, in whatever order of members.
            let value = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).ok();
            if files::read(&file).ok().and_then(|there| value(&there)) != value(&printed) {
                files::write(&file, &printed)?;
            }
        }
        for command in &recipe.build {
            drop(run(&project, recipe, command, false)?);
        }
        let output = project.path(&recipe.component);
        if let Some(module) = &recipe.module {
            let module = project.path(module);
            if !module.exists() {
                return Err(CliError::wrong(format!(
                    "the build ended without making `{}`",
                    module.display()
                )));
            }
            let component = portcullis_engine::componentize(&files::read(&module)?)?;
            files::write(&output, &component)?;
        }
        if !output.exists() {
            return Err(CliError::wrong(format!(
                "the build ended without making `{}`",
                output.display()
            )));
        }
        let inspection = portcullis_engine::inspect(&files::read(&output)?)?;
        check_capabilities(&inspection, &source.capabilities).map_err(CliError::wrong)?;
        let imports = if inspection.imports.is_empty() {
            "none".to_owned()
        } else {
            inspection.imports.join(", ")
        };
        self.format.print(
            format!("{}: {} bytes, {}, imports {imports}", output.display(), inspection.bytes, inspection.digest),
            json!({
                "file": output, "bytes": inspection.bytes, "digest": inspection.digest.to_string(), "imports": inspection.imports,
                "exports": inspection.exports, "memory_bytes": inspection.memory_bytes,
            }),
        );
        Ok(())
    }
}

/// Runs one command of a recipe in the plugin's folder, and gives what it prints where that is wanted.
fn run(
    project: &Project,
    recipe: &BuildConfig,
    words: &[String],
    taken: bool,
) -> CliResult<Vec<u8>> {
    let Some((program, arguments)) = words.split_first() else {
        return Err(CliError::configuration(format!("`{RECIPE}` has an empty command")));
    };
    let for_wasm = recipe.language == "rust" && words.iter().any(|word| word == WASM);
    let mut command = if for_wasm { cargo_for_wasm(arguments)? } else { plain(program, arguments) };
    command.current_dir(project.folder()).stdin(Stdio::null());
    // What tools say is for the person; what this command says is the last line.
    command.stderr(Stdio::inherit()).stdout(Stdio::piped());
    let output = command.output().map_err(|error| match error.kind() {
        ErrorKind::NotFound => CliError::configuration(format!("`{program}` is not installed"))
            .hint(Some(brings(program))),
        _ => CliError::configuration(format!("cannot run `{program}`: {error}")),
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout);
        return Err(CliError::wrong(format!(
            "`{}` failed{}{}",
            words.join(" "),
            if said.is_empty() { "" } else { ":\n" },
            said.trim_end()
        )));
    }
    if taken { Ok(output.stdout) } else { Ok(Vec::new()) }
}

fn plain(program: &str, arguments: &[String]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// Cargo for WebAssembly: the toolchain's own target, else Debian's compiler, which builds its library from source.
fn cargo_for_wasm(arguments: &[String]) -> CliResult<Command> {
    let printed = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let library = printed("rustc", &["--print", "target-libdir", "--target", WASM]);
    if library.is_some_and(|folder| Path::new(&folder).is_dir()) {
        return Ok(plain("cargo", arguments));
    }
    let source = printed(DEBIAN_RUSTC, &["--print", "sysroot"])
        .map(|root| PathBuf::from(root).join("lib/rustlib/src/rust/library/std"));
    let linker = rust_lld(&printed)
        .or_else(|| Some(PathBuf::from(DEBIAN_LINKER)).filter(|linker| linker.exists()));
    let (Some(linker), true) = (linker, source.is_some_and(|source| source.exists())) else {
        let message = format!("the Rust toolchain lacks the target {WASM}");
        let hint = format!(
            "run `rustup target add {WASM}`; on Debian without a way to rustup's server: `apt-get install rustc-web cargo-web rust-web-src`"
        );
        return Err(CliError::configuration(message).hint(Some(hint)));
    };
    let mut command = Command::new(DEBIAN_CARGO);
    let path = env::var("PATH").unwrap_or_default();
    command
        .env("PATH", format!("/usr/bin:{path}"))
        .env("RUSTC", DEBIAN_RUSTC)
        .env("RUSTC_BOOTSTRAP", "1");
    command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
    for inherited in ["RUSTUP_TOOLCHAIN", "CARGO", "RUSTDOC", "RUSTFLAGS"] {
        command.env_remove(inherited);
    }
    command.arg("-Zbuild-std=std,panic_abort").args(arguments);
    Ok(command)
}

/// The linker that comes with the toolchain.
fn rust_lld(printed: &dyn Fn(&str, &[&str]) -> Option<String>) -> Option<PathBuf> {
    let root = printed("rustc", &["--print", "sysroot"])?;
    let host = printed("rustc", &["-vV"])?;
    let host = host.lines().find_map(|line| line.strip_prefix("host: "))?;
    let linker = Path::new(&root).join("lib/rustlib").join(host).join("bin/rust-lld");
    linker.exists().then_some(linker)
}

/// What brings a program that is missing.
fn brings(program: &str) -> String {
    let name = Path::new(program)
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    match name.as_str() {
        "cargo" | "rustc" | "rustup" => {
            "install Rust: rustup, or your distribution's packages".to_owned()
        }
        "node" | "npm" | "npx" => "install Node.js 20 or newer; npm comes with it".to_owned(),
        "python3" | "python" | "pip" | "pip3" => "install Python 3.10 or newer with pip".to_owned(),
        "componentize-py" => "run `pip install componentize-py`".to_owned(),
        "clang" | "wasm-ld" => {
            "install clang and lld: on Debian `apt-get install clang lld`".to_owned()
        }
        "wit-bindgen" => "run `cargo install wit-bindgen-cli`".to_owned(),
        other => format!("install `{other}`, or correct `build` in `{RECIPE}`"),
    }
}

const WASM: &str = "wasm32-unknown-unknown";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_LINKER: &str = "/usr/bin/wasm-ld-19";
