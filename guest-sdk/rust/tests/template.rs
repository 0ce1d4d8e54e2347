//! The template is a plugin that works: copied elsewhere and pointed at this SDK, its own tests pass.
//!
//! It takes the workspace's locked versions and needs no network.

use std::path::Path;
use std::process::Command;
use std::{fs, io};

#[test]
fn a_copy_of_the_template_passes_its_own_tests() {
    let sdk = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    let sdk = Path::new(&sdk);
    let copy = tempfile::tempdir().unwrap();
    copy_folder(&sdk.join("template"), copy.path()).unwrap();
    let manifest = copy.path().join("Cargo.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    let pointed = text.replace(r#"path = "..""#, &format!("path = {sdk:?}"));
    assert_ne!(pointed, text, "the template's Cargo.toml names the SDK by another path than `..`");
    fs::write(&manifest, pointed).unwrap();
    fs::copy(sdk.join("../../Cargo.lock"), copy.path().join("Cargo.lock")).unwrap();

    // Its own build directory, kept between runs, so that only the first one compiles the dependencies.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("template");
    let output = Command::new(env!("CARGO"))
        .args(["test", "--offline", "--quiet"])
        .current_dir(copy.path())
        .env("CARGO_TARGET_DIR", target)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .concat();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("4 passed"), "{said}");
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if !entry.file_type()?.is_dir() {
            fs::copy(entry.path(), to)?;
        } else if entry.file_name() != "target" {
            copy_folder(&entry.path(), &to)?;
        }
    }
    Ok(())
}
