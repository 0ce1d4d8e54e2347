//! What the build needs and a machine may lack: the WebAssembly target, and for the tests foreign verifiers and a foreign registry.
//!
//! Invariant: what is there is used as it is; what is missing is fetched within a time limit, by the machine's own clients, and said.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::run::{Error, Result, output, root, step, succeeds, target, within};

/// How to build for `wasm32-unknown-unknown` here.
pub enum WasmTarget {
    /// The toolchain has the target.
    Toolchain,
    /// Debian's own compiler builds its library from source, linked by the toolchain's linker or Debian's.
    Debian {
        /// The linker.
        linker: PathBuf,
    },
}

/// Sees to the target: present, else Debian's packages if they are installed, else `rustup`, else Debian's packages.
pub fn wasm_target() -> Result<WasmTarget> {
    if toolchain_has_target() {
        return Ok(WasmTarget::Toolchain);
    }
    if let Some(debian) = debian() {
        return Ok(debian);
    }
    step(
        "the wasm32-unknown-unknown target is missing: trying `rustup target add` for up to one \
         minute",
    );
    if within(RUSTUP_LIMIT, Command::new("rustup").args(["target", "add", WASM]))
        && toolchain_has_target()
    {
        return Ok(WasmTarget::Toolchain);
    }
    step(
        "rustup did not bring it: installing Debian's rustc-web, cargo-web and rust-web-src (and lld if the toolchain has none)",
    );
    apt(&["rustc-web", "cargo-web", "rust-web-src"])?;
    if rust_lld().is_none() {
        apt(&["lld-19"])?;
    }
    debian().ok_or_else(|| Error("there is no way to build for wasm32-unknown-unknown here\nhint: run `rustup target add wasm32-unknown-unknown` on a machine with a network".to_owned()))
}

/// Go and its `x/mod`, whose log verifier reads our log. `None` where they are not to be had.
pub fn go_verifier() -> Option<PathBuf> {
    let found = || {
        Path::new("/usr/share/gocode/src/golang.org/x/mod/sumdb/tlog").is_dir()
            && succeeds(Command::new("go").arg("version"))
    };
    if !found() && apt(&["golang-go", "golang-golang-x-mod-dev"]).is_err() {
        return None;
    }
    found().then(|| PathBuf::from("go"))
}

/// strace, which shows in what order bytes and records leave.
pub fn strace() -> bool {
    program("strace", "--version", "strace")
}

/// Programs that single tests run beside that: OpenSSL signs as an operator's token would, and
/// systemd checks the unit files. A test that lacks one says so.
pub fn programs() {
    strace();
    program("openssl", "version", "openssl");
    program("systemd-analyze", "--version", "systemd");
}

/// Whether a program is here, by now.
fn program(name: &str, argument: &str, package: &str) -> bool {
    let found = || succeeds(Command::new(name).arg(argument));
    found() || (apt(&[package]).is_ok() && found())
}

/// Debian's OCI registry, and skopeo, which copies from one to another.
pub fn registry() -> bool {
    let found = |tool: &str| succeeds(Command::new(tool).arg("--version"));
    let both = || found("docker-registry") && found("skopeo");
    both() || (apt(&["docker-registry", "skopeo"]).is_ok() && both())
}

/// A Python with `securesystemslib`, whose envelope verifier reads our documents, `tuf`, whose rule for trust roots is ours, Prometheus' reader of metrics, and `oras`, which pulls from OCI registries. `None` where it is not to be had.
pub fn python_verifier() -> Option<PathBuf> {
    let home = target().join("python");
    let packages = home.join("packages");
    let python = home.join("python");
    let works = || {
        succeeds(Command::new(&python).args([
            "-c",
            "import securesystemslib, tuf, cryptography, prometheus_client, oras.client",
        ]))
    };
    if works() {
        return Some(python);
    }
    fs::create_dir_all(&packages).ok()?;
    step(&format!("fetching {}", python_packages(&VERIFIERS)));
    if !pip(PIP_LIMIT, &packages, &VERIFIERS) {
        return None;
    }
    // A launcher, so that tests need to know one path only.
    let script = format!("#!/bin/sh\nPYTHONPATH='{}' exec python3 \"$@\"\n", packages.display());
    fs::write(&python, script).ok()?;
    succeeds(Command::new("chmod").arg("755").arg(&python)).then_some(())?;
    works().then_some(python)
}

/// Names Python packages, of which some may be pinned, for people.
pub fn python_packages(packages: &[&str]) -> String {
    let name = |package: &&str| package.split(['[', '=']).next().unwrap_or_default().to_owned();
    format!("Python packages: {}", packages.iter().map(name).collect::<Vec<_>>().join(", "))
}

/// Installs Python packages into a folder; `arguments` are packages and options of `pip`.
pub fn pip(limit: Duration, folder: &Path, arguments: &[&str]) -> bool {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .args(["--root-user-action=ignore", "--target"])
        .arg(folder)
        .args(arguments);
    within(limit, &mut pip)
}

fn toolchain_has_target() -> bool {
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    let library =
        output(rustc.current_dir(root()).args(["--print", "target-libdir", "--target", WASM]));
    library.is_ok_and(|path| Path::new(path.trim()).is_dir())
}

fn debian() -> Option<WasmTarget> {
    let cargo = succeeds(Command::new("/usr/bin/cargo").arg("--version"));
    let sysroot = output(Command::new("/usr/bin/rustc").args(["--print", "sysroot"])).ok()?;
    let source = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/std").exists();
    let linker = rust_lld()
        .or_else(|| Some(PathBuf::from("/usr/bin/wasm-ld-19")).filter(|path| path.exists()))?;
    (cargo && source).then_some(WasmTarget::Debian { linker })
}

/// The linker that comes with the toolchain.
fn rust_lld() -> Option<PathBuf> {
    let sysroot =
        output(Command::new("rustc").current_dir(root()).args(["--print", "sysroot"])).ok()?;
    let host = output(Command::new("rustc").current_dir(root()).arg("-vV")).ok()?;
    let host = host.lines().find_map(|line| line.strip_prefix("host: "))?.to_owned();
    let linker = Path::new(sysroot.trim()).join("lib/rustlib").join(host).join("bin/rust-lld");
    linker.exists().then_some(linker)
}

fn apt(packages: &[&str]) -> Result {
    let root = output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    if !root || !succeeds(Command::new("apt-get").arg("--version")) {
        return Err(Error(format!(
            "not root on a Debian machine\nhint: as root, run `apt-get install {}`",
            packages.join(" ")
        )));
    }
    step(&format!("installing Debian packages: {}", packages.join(" ")));
    let install = || {
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive")
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(packages);
        within(APT_LIMIT, &mut apt)
    };
    // Older package lists are tried first: an update takes time and may not be needed.
    if install()
        || (within(APT_LIMIT, Command::new("apt-get").args(["update", "-qq"])) && install())
    {
        return Ok(());
    }
    Err(Error(format!("`apt-get install {}` failed", packages.join(" "))))
}

const WASM: &str = "wasm32-unknown-unknown";
const RUSTUP_LIMIT: Duration = Duration::from_secs(60);
const APT_LIMIT: Duration = Duration::from_secs(600);
const PIP_LIMIT: Duration = Duration::from_secs(180);
/// Verifiers by other hands, pinned.
const VERIFIERS: [&str; 4] =
    ["securesystemslib[crypto]==1.6.0", "tuf==7.0.1", "prometheus_client==0.23.1", "oras==0.2.43"];
