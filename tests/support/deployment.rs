//! A deployment: throw-away keys, signed plugins, a signed release and a configuration, in a
//! directory of their own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::{Host, binary, checkout, component};

/// A deployment, complete enough to serve.
pub struct TestDeployment {
    directory: TempDir,
    generation: u64,
    /// `[[table]]` sections of the release source.
    tables: String,
}

/// A binding of the release.
#[derive(Clone)]
pub struct Binding {
    hook: String,
    plugin: String,
    mode: String,
    settings: Value,
    fallback: Vec<(String, String)>,
    bounds: String,
    candidate: Option<Candidate>,
}

/// What is tried beside a binding.
#[derive(Clone)]
pub struct Candidate {
    /// The plugin, and the file of its manifest; the live ones where there is none.
    version: Option<(String, String)>,
    /// Its settings; the live ones where there are none.
    settings: Option<Value>,
    /// What else stands in its table (TOML).
    terms: String,
}

/// What a command said.
#[derive(Debug)]
pub struct Ran {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

#[expect(clippy::unwrap_used, reason = "a program that cannot be started is a failed test")]
impl Ran {
    fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let (out, err) = (text(output.stdout), text(output.stderr));
        Self { code: output.status.code().unwrap_or(-1), out, err }
    }
}

impl Binding {
    /// Binds a plugin of the library (`sod`, `contractor`, `access-rules`) or of the tests
    /// (`misbehaving`) to a hook, enforcing. A name such as `misbehaving-guard` is a twin: the same
    /// component and manifest under an id of its own.
    pub fn new(hook: &str, plugin: &str, settings: Value) -> Self {
        let fallback = match hook {
            "event" => vec![("deny", "record"), ("review", "record"), ("step-up", "record")],
            "import" => vec![
                ("deny", "report"),
                ("review", "report"),
                ("step-up", "report"),
                ("drop-grant", "report"),
            ],
            "password" => vec![("review", "deny"), ("step-up", "deny")],
            "telephony" => vec![("deny", "report"), ("review", "report"), ("step-up", "report")],
            _ => vec![("review", "deny"), ("step-up", "deny"), ("drop-grant", "deny")],
        };
        let fallback =
            fallback.into_iter().map(|(what, to)| (what.to_owned(), to.to_owned())).collect();
        let (hook, plugin, mode) = (hook.to_owned(), plugin.to_owned(), "enforce".to_owned());
        Self { hook, plugin, mode, settings, fallback, bounds: String::new(), candidate: None }
    }

    /// With these bounds of its own (members of an inline table).
    #[must_use]
    pub fn bounds(mut self, bounds: &str) -> Self {
        self.bounds = bounds.to_owned();
        self
    }

    /// With a candidate beside it.
    #[must_use]
    pub fn candidate(mut self, candidate: Candidate) -> Self {
        self.candidate = Some(candidate);
        self
    }

    /// The plugin's name.
    pub fn plugin(&self) -> &str {
        &self.plugin
    }

    /// In this mode.
    #[must_use]
    pub fn mode(mut self, mode: &str) -> Self {
        self.mode = mode.to_owned();
        self
    }

    /// With these fallbacks, and no others.
    #[must_use]
    pub fn fallback(mut self, fallback: &[(&str, &str)]) -> Self {
        self.fallback =
            fallback.iter().map(|(what, to)| ((*what).to_owned(), (*to).to_owned())).collect();
        self
    }
}

impl Candidate {
    /// The live plugin with other settings, on these terms.
    pub fn settings(settings: Value, terms: &str) -> Self {
        Self { version: None, settings: Some(settings), terms: terms.to_owned() }
    }

    /// Another version of a plugin, signed as this file ([`TestDeployment::sign_as`]), with the
    /// live settings.
    pub fn version(plugin: &str, file: &str, terms: &str) -> Self {
        Self {
            version: Some((plugin.to_owned(), file.to_owned())),
            settings: None,
            terms: terms.to_owned(),
        }
    }

    /// With settings of its own.
    #[must_use]
    pub fn with(self, settings: Value) -> Self {
        Self { settings: Some(settings), ..self }
    }
}

#[expect(clippy::unwrap_used, reason = "a deployment that cannot be built is a failed test")]
impl TestDeployment {
    /// Builds a deployment whose release has these bindings.
    pub fn build(bindings: &[Binding]) -> Self {
        let mut deployment =
            Self { directory: TempDir::new().unwrap(), generation: 0, tables: String::new() };
        for folder in ["keys", "secrets", "release/plugins", "release/settings"] {
            fs::create_dir_all(deployment.path(folder)).unwrap();
        }
        for role in ["root", "publisher", "reviewer", "release"] {
            let output = format!("keys/{role}.key");
            deployment.must(&[
                "keys",
                "generate",
                "--name",
                &format!("test.example/{role}"),
                "--output",
                &output,
                "--vkey",
                &format!("keys/{role}.vkey"),
            ]);
        }
        deployment.must(&[
            "keys",
            "generate",
            "--name",
            ORIGIN,
            "--output",
            "keys/log.key",
            "--vkey",
            "log.vkey",
        ]);
        for key in ["keys/sealing.key", "keys/pseudonym.key"] {
            deployment.must(&["keys", "generate", "--kind", "symmetric", "--output", key]);
        }
        for hook in ["token", "import"] {
            deployment.write_secret(&format!("secrets/{hook}"), SECRET);
        }
        deployment.sign_root(|source| source);
        deployment.write("portcullis.toml", CONFIGURATION);
        deployment.release(bindings);
        deployment
    }

    /// A file of the deployment.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Reads a text file of the deployment.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Writes a file of the deployment.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Puts a file in the place of another one, as a whole.
    pub fn replace(&self, name: &str, text: impl AsRef<[u8]>) {
        let new = self.path("replacement");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.path(name)).unwrap();
    }

    /// Writes a file that only its owner may read.
    pub fn write_secret(&self, name: &str, text: &str) {
        self.write(name, text);
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Changes the configuration.
    pub fn configure(&self, from: &str, to: &str) {
        let text = self.read("portcullis.toml");
        assert!(text.contains(from), "the configuration has no `{from}`");
        self.write("portcullis.toml", text.replace(from, to));
    }

    /// Adds a hook of that kind, with these further settings (TOML).
    pub fn add_hook(&self, name: &str, kind: &str, further: &str) {
        self.write_secret(&format!("secrets/{name}"), SECRET);
        let mut text = self.read("portcullis.toml");
        text.push_str(&format!(
            "\n[[hook]]\nname = \"{name}\"\nkind = \"{kind}\"\npath = \"/okta/{name}\"\ncaller = {{ secret_file = \"secrets/{name}\" }}\n{further}\n"
        ));
        self.write("portcullis.toml", text);
    }

    /// Signs the trust root again, its source changed.
    pub fn sign_root(&self, change: impl FnOnce(String) -> String) {
        let vkey = |role: &str| self.read(role).trim().to_owned();
        let source = ROOT
            .replace("{root}", &vkey("keys/root.vkey"))
            .replace("{publisher}", &vkey("keys/publisher.vkey"))
            .replace("{release}", &vkey("keys/release.vkey"))
            .replace("{log}", &vkey("log.vkey"));
        self.write("trust-root.toml", change(source));
        self.must(&[
            "root",
            "sign",
            "--source",
            "trust-root.toml",
            "--key",
            "keys/root.key",
            "--output",
            "trust-root.json",
        ]);
    }

    /// Makes a key of the deployment.
    pub fn generate(&self, role: &str) {
        let (name, key, public) = (
            format!("test.example/{role}"),
            format!("keys/{role}.key"),
            format!("keys/{role}.vkey"),
        );
        self.must(&["keys", "generate", "--name", &name, "--output", &key, "--vkey", &public]);
    }

    /// Signs the trust root that follows the newest one, its source (as the last one signed) changed, with these keys, and puts it where hosts
    /// look for it. Gives what the command said.
    pub fn next_root(
        &self,
        version: u64,
        keys: &[&str],
        change: impl FnOnce(String) -> String,
    ) -> Ran {
        let source = change(self.read("trust-root.toml")).replace("version = 1\n", "");
        self.write("trust-root.toml", source);
        fs::create_dir_all(self.path("trust-roots")).unwrap();
        let before = if version == 2 {
            "trust-root.json".to_owned()
        } else {
            format!("trust-roots/{}.json", version - 1)
        };
        let output = format!("trust-roots/{version}.json");
        let keys: Vec<_> = keys.iter().map(|key| format!("keys/{key}.key")).collect();
        let mut command = vec![
            "root",
            "sign",
            "--source",
            "trust-root.toml",
            "--previous",
            &before,
            "--output",
            &output,
        ];
        keys.iter().for_each(|key| command.extend(["--key", key]));
        self.run(&command)
    }

    /// Every root that was signed, as arguments for those who ask for them.
    pub fn roots(&self) -> Vec<String> {
        let later = (2..).map(|version| format!("trust-roots/{version}.json"));
        let later = later.take_while(|root| self.path(root).exists());
        let all = ["trust-root.json".to_owned()].into_iter().chain(later);
        all.flat_map(|root| ["--root".to_owned(), root]).collect()
    }

    /// Copies folders of the deployment, as a backup would. What is not there is not copied.
    pub fn back_up(&self, names: &[&str], to: &str) {
        fs::create_dir_all(self.path(to)).unwrap();
        for name in names.iter().filter(|name| self.path(name).exists()) {
            let done = Command::new("cp")
                .arg("-a")
                .arg(self.path(name))
                .arg(self.path(to))
                .status()
                .unwrap();
            assert!(done.success());
        }
    }

    /// Puts back what [`back_up`](Self::back_up) kept: nothing newer stays.
    pub fn restore(&self, names: &[&str], from: &str) {
        for name in names {
            drop(fs::remove_dir_all(self.path(name)));
            drop(fs::remove_file(self.path(name)));
            let kept = format!("{from}/{}", name.rsplit('/').next().unwrap());
            if self.path(&kept).exists() {
                let done = Command::new("cp")
                    .arg("-a")
                    .arg(self.path(&kept))
                    .arg(self.path(name))
                    .status()
                    .unwrap();
                assert!(done.success());
            }
        }
    }

    /// Signs a plugin's manifest, its source changed, and puts both where the release finds them.
    pub fn sign_plugin(&self, name: &str, change: impl FnOnce(String) -> String) {
        self.sign_as(name, name, change);
    }

    /// The same under another file's name, such as another version beside the first.
    pub fn sign_as(&self, name: &str, file: &str, change: impl FnOnce(String) -> String) {
        let folder = manifest_folder(name);
        let source = fs::read_to_string(folder.join("manifest.toml")).unwrap();
        let source = change(source.replacen(&plugin_id(family(name)), &plugin_id(name), 1));
        let schema = folder.join("settings.schema.json");
        self.write("manifest.toml", source);
        if schema.exists() {
            fs::copy(schema, self.path("settings.schema.json")).unwrap();
        }
        let wasm = format!("release/plugins/{file}.wasm");
        fs::copy(component(family(name)), self.path(&wasm)).unwrap();
        let output = format!("release/plugins/{file}.manifest.json");
        self.must(&[
            "plugin",
            "sign",
            "--source",
            "manifest.toml",
            "--component",
            &wasm,
            "--key",
            "keys/publisher.key",
            "--output",
            &output,
        ]);
    }

    /// Signs and publishes the next release with these bindings.
    pub fn release(&mut self, bindings: &[Binding]) {
        let mut plugins: Vec<_> = bindings.iter().map(|binding| binding.plugin.clone()).collect();
        plugins.sort();
        plugins.dedup();
        for plugin in &plugins {
            if !self.path(&format!("release/plugins/{plugin}.manifest.json")).exists() {
                self.sign_plugin(plugin, |source| source);
            }
        }
        let ran = self.publish(bindings, &plugins);
        assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    }

    /// Tries to sign a release that `release sign` is expected to refuse. The plugins must be
    /// signed.
    pub fn refused_release(&mut self, bindings: &[Binding]) -> Ran {
        let plugins: Vec<_> = bindings.iter().map(|binding| binding.plugin.clone()).collect();
        let ran = self.publish(bindings, &plugins);
        assert_ne!(ran.code, 0, "{}", ran.out);
        ran
    }

    /// Declares a reference table for the releases from here on, with a file in the folder of
    /// tables; with `version`, of that version alone.
    pub fn declare_table(&mut self, declaration: &str, file: &str, version: Option<&str>) {
        let path = format!("release/{file}.toml");
        self.write(&path, declaration);
        let version = version.map(|it| format!("version = \"{it}\"\n")).unwrap_or_default();
        self.tables.push_str(&format!(
            "[[table]]\ndeclaration = \"{path}\"\nfile = \"{file}\"\n{version}"
        ));
    }

    /// Declares a reference table whose declaration says where its versions come from.
    pub fn declare_sourced_table(&mut self, declaration: &str) {
        let path = format!("release/sourced-{}.toml", self.tables.len());
        self.write(&path, declaration);
        self.tables.push_str(&format!("[[table]]\ndeclaration = \"{path}\"\n"));
    }

    /// Declares no table for the releases from here on.
    pub fn forget_tables(&mut self) {
        self.tables.clear();
    }

    fn publish(&mut self, bindings: &[Binding], plugins: &[String]) -> Ran {
        self.generation += 1;
        let files: Vec<_> = plugins
            .iter()
            .map(|plugin| format!("\"release/plugins/{plugin}.manifest.json\""))
            .collect();
        let tried =
            bindings.iter().filter_map(|binding| binding.candidate.as_ref()?.version.as_ref());
        let mut tried: Vec<_> =
            tried.map(|(_, file)| format!("\"release/plugins/{file}.manifest.json\"")).collect();
        tried.dedup();
        let mut source = format!(
            "version = {}\nvalidity = {{ days = 1 }}\nplugins = [{}]\ncandidates = [{}]\n",
            self.generation,
            files.join(", "),
            tried.join(", ")
        );
        for (number, binding) in bindings.iter().enumerate() {
            let settings = format!("release/settings/{}-{number}.json", self.generation);
            self.write(&settings, binding.settings.to_string());
            let fallback: Vec<_> = binding
                .fallback
                .iter()
                .map(|(what, to)| format!("\"{what}\" = \"{to}\""))
                .collect();
            source.push_str(&format!(
                "[[binding]]\nhook = \"{}\"\nplugin = \"{}\"\nsettings = \"{settings}\"\nmode = \"{}\"\nfallback = {{ {} }}\nbounds = {{ {} }}\n",
                binding.hook,
                plugin_id(&binding.plugin),
                binding.mode,
                fallback.join(", "),
                binding.bounds
            ));
            let Some(Candidate { version, settings, terms }) = &binding.candidate else { continue };
            source.push_str("[binding.candidate]\n");
            if let Some((plugin, _)) = version {
                source.push_str(&format!("plugin = \"{}\"\n", plugin_id(plugin)));
            }
            if let Some(settings) = settings {
                let file = format!("release/settings/{}-{number}-candidate.json", self.generation);
                self.write(&file, settings.to_string());
                source.push_str(&format!("settings = \"{file}\"\n"));
            }
            source.push_str(&format!("{terms}\n"));
        }
        source.push_str(&self.tables);
        self.write("release.toml", source);
        let roots = self.roots();
        let mut sign =
            vec!["release", "sign", "--source", "release.toml", "--key", "keys/release.key"];
        // Hostile components are signed too: a host must refuse them.
        sign.push("--without-components");
        sign.extend(["--output", "release/release.json"]);
        sign.extend(roots.iter().map(String::as_str));
        self.run(&sign)
    }

    /// Runs `portcullis` in the deployment. One that does not end is ended, with the code 124, so
    /// that a test which expects an end fails and does not wait.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = Command::new("timeout");
        command.args(["--kill-after=10", RUN_LIMIT_S]).arg(binary());
        self.run_by(command, arguments)
    }

    /// Runs `portcullis` by this command, such as one with another clock.
    pub fn run_by(&self, mut command: Command, arguments: &[&str]) -> Ran {
        Ran::of(command.current_dir(self.directory.path()).args(arguments))
    }

    /// Runs `portcullis` and demands that it succeeds.
    pub fn must(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 0, "portcullis {}\n{}{}", arguments.join(" "), ran.out, ran.err);
        ran.out
    }

    /// Serves the deployment.
    pub fn serve(&self) -> Host {
        Host::start(self.directory.path())
    }

    /// What `audit verify` says of the log.
    pub fn verify(&self) -> Ran {
        self.run(&["audit", "verify", "--log", "audit/log", "--vkey", "log.vkey"])
    }

    /// What `audit verify` says of the log, held against a checkpoint that somebody kept.
    pub fn verify_against(&self, retained: &str) -> Ran {
        self.run(&[
            "audit",
            "verify",
            "--log",
            "audit/log",
            "--vkey",
            "log.vkey",
            "--retained",
            retained,
        ])
    }

    /// Every record, as its leaf says.
    pub fn records(&self) -> Vec<Value> {
        self.leaves().iter().map(|leaf| serde_json::from_str(leaf).unwrap()).collect()
    }

    /// Every record of one type.
    pub fn records_of(&self, kind: &str) -> Vec<Value> {
        self.records().into_iter().filter(|record| record["t"] == kind).collect()
    }
}

fn manifest_folder(name: &str) -> PathBuf {
    let name = family(name);
    let library = checkout().join("plugins").join(name);
    if library.exists() { library } else { checkout().join("tests/plugins").join(name) }
}

/// The plugin that a twin is a twin of, or the plugin itself.
fn family(name: &str) -> &str {
    let whole = checkout().join("plugins").join(name).exists();
    if whole { name } else { name.split('-').next().unwrap_or(name) }
}

fn plugin_id(name: &str) -> String {
    format!("org.portcullis.{name}")
}

/// How long a command may take, seconds: many times what the slowest takes on a busy machine.
const RUN_LIMIT_S: &str = "600";
/// The secret of every hook of every deployment.
pub const SECRET: &str = "a-secret-of-thirty-two-characters";
/// The log's origin.
pub const ORIGIN: &str = "test.example/hooks/2026";

/// What its trust root is signed from; the demonstration's is the same.
const ROOT: &str = include_str!("trust-root.toml");

const CONFIGURATION: &str = r#"
[admin]
address = "127.0.0.2:0"

[listen]
address = "127.0.0.1:0"
shutdown_delay_ms = 0

[trust]
root = "trust-root.json"

[release]
set = "release/release.json"
plugins = "release/plugins"
settings = "release/settings"
watch_ms = 500

[audit]
directory = "audit"
origin = "test.example/hooks/2026"
signing_key = "keys/log.key"
sealing_key = "keys/sealing.key"
pseudonym_key = "keys/pseudonym.key"

# Misbehaviours are tried one after the other; who fails too often has tests of its own.
[plugins]
failure_threshold = 100000

[[hook]]
name = "token"
kind = "okta.token"
path = "/okta/token"
caller = { secret_file = "secrets/token" }

[[hook]]
name = "import"
kind = "okta.user-import"
path = "/okta/import"
caller = { secret_file = "secrets/import" }
"#;
