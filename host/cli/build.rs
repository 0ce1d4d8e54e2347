//! Puts the templates of `guest-sdk/`, the SDKs and the contract into the binary, so that `portcullis plugin new` needs nothing but itself.
//!
//! Invariant: what `plugin new` writes is what stands in the checkout. A language is there as soon as its folder is.

#![expect(
    clippy::disallowed_methods,
    reason = "reads the source tree and writes the build's own folder"
)]

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

type Done<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Done {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../..").canonicalize()?;
    let sdks = root.join("guest-sdk");
    println!("cargo::rerun-if-changed={}", sdks.display());
    println!("cargo::rerun-if-changed={}", root.join("wit").display());
    println!("cargo::rerun-if-changed={}", root.join("Cargo.toml").display());
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut code = "pub static LANGUAGES: &[Language] = &[\n".to_owned();
    let mut languages: Vec<_> = fs::read_dir(&sdks)?.collect::<Result<Vec<_>, _>>()?;
    languages.sort_by_key(fs::DirEntry::file_name);
    for language in languages {
        let name = language.file_name().to_string_lossy().into_owned();
        let template = language.path().join("template");
        if !template.join("portcullis-plugin.toml").is_file() {
            continue;
        }
        writeln!(code, "    Language {{ name: {name:?}, template: &[")?;
        list(&mut code, &template, &template)?;
        writeln!(code, "    ], sdk: &[")?;
        let mut sdk = String::new();
        list(&mut sdk, &language.path(), &language.path())?;
        code.push_str(&sdk);
        if name == "rust" {
            let manifest = standalone(&root, &language.path())?;
            let file = out.join("sdk-Cargo.toml");
            fs::write(&file, manifest)?;
            writeln!(
                code,
                "        (\"Cargo.toml\", include_bytes!({:?})),",
                file.display().to_string()
            )?;
        }
        writeln!(code, "    ] }},")?;
    }
    writeln!(code, "];")?;
    let contract = root.join("wit/policy.wit");
    writeln!(
        code,
        "pub static CONTRACT: &[u8] = include_bytes!({:?});",
        contract.display().to_string()
    )?;
    let lock = root.join("Cargo.lock");
    println!("cargo::rerun-if-changed={}", lock.display());
    writeln!(code, "pub static LOCK: &[u8] = include_bytes!({:?});", lock.display().to_string())?;
    fs::write(out.join("templates.rs"), code)?;
    Ok(())
}

/// Every file below a folder, but what tools make, and what is not for a plugin's author.
fn list(code: &mut String, base: &Path, folder: &Path) -> Done {
    let mut entries: Vec<_> = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let below = path.strip_prefix(base)?.to_string_lossy().replace('\\', "/");
        // An author gets the template's tests; those of the SDK itself stay here.
        let own = !base.ends_with("template") && SKIPPED.contains(&below.as_str());
        let skipped = MADE.contains(&name.as_str()) || own;
        if entry.file_type()?.is_dir() {
            if !skipped {
                list(code, base, &path)?;
            }
        } else if !skipped && (base.ends_with("template") || below != "Cargo.toml") {
            writeln!(
                code,
                "        ({below:?}, include_bytes!({:?})),",
                path.display().to_string()
            )?;
        }
    }
    Ok(())
}

/// The SDK's `Cargo.toml` without a workspace around it.
fn standalone(root: &Path, sdk: &Path) -> Done<String> {
    let read = |path: PathBuf| -> Done<toml::Table> { Ok(fs::read_to_string(path)?.parse()?) };
    let workspace = read(root.join("Cargo.toml"))?;
    let workspace =
        workspace.get("workspace").and_then(toml::Value::as_table).ok_or("no workspace")?;
    let mut manifest = read(sdk.join("Cargo.toml"))?;
    manifest.remove("dev-dependencies");
    let inherits =
        |value: &toml::Value| value.get("workspace").and_then(toml::Value::as_bool) == Some(true);
    for (section, from) in [("package", "package"), ("dependencies", "dependencies")] {
        inherit(manifest.get_mut(section), workspace.get(from), &inherits)?;
    }
    if let Some(targets) = manifest.get_mut("target").and_then(toml::Value::as_table_mut) {
        for (_, target) in targets.iter_mut() {
            inherit(target.get_mut("dependencies"), workspace.get("dependencies"), &inherits)?;
        }
    }
    let lints = workspace.get("lints").ok_or("no lints")?.clone();
    manifest.insert("lints".to_owned(), lints);
    Ok(toml::to_string(&manifest)?)
}

fn inherit(
    own: Option<&mut toml::Value>,
    all: Option<&toml::Value>,
    inherits: &dyn Fn(&toml::Value) -> bool,
) -> Done {
    let Some(own) = own.and_then(toml::Value::as_table_mut) else { return Ok(()) };
    for (name, value) in own.iter_mut() {
        if inherits(value) {
            *value = all.and_then(|all| all.get(name)).ok_or("not in the workspace")?.clone();
        }
    }
    Ok(())
}

/// What tools make.
const MADE: [&str; 6] = ["target", "node_modules", "__pycache__", ".tools", "build", "Cargo.lock"];
/// What an author does not need of an SDK.
const SKIPPED: [&str; 2] = ["template", "tests"];
