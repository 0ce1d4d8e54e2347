//! Plugins in languages other than Rust: their tools, fetched through their own registries, what is built with them, and the SDKs' tests.
//!
//! Invariant: nothing is built twice. What was built, and from what, is written beside it; what it was built from includes the SDK, the
//! contract and the pinned tools. A language whose base tool is missing or too old is left out with a word, never half-built.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::provision::{pip, python_packages};
use crate::run::{Error, Result, cargo, output, root, run_ok, step, succeeds, target, within};

/// What came of the languages.
pub struct Languages {
    /// Those that are there.
    built: Vec<Language>,
    /// Why others are not: a line each.
    pub skipped: Vec<String>,
}

/// One of them.
struct Language {
    name: &'static str,
    /// Where its tools are, for its build program.
    tools: (&'static str, PathBuf),
}

/// Builds the example and the plugin that misbehaves in every language that can be built here.
pub fn all(portcullis: &Path, components: &Path) -> Result<Languages> {
    let mut languages = Languages { built: Vec::new(), skipped: Vec::new() };
    for (name, tools) in [
        ("javascript", javascript as fn() -> std::result::Result<PathBuf, String>),
        ("python", python),
        ("c", c),
    ] {
        match tools() {
            Ok(folder) => {
                let variable = match name {
                    "javascript" => "PORTCULLIS_JAVASCRIPT_TOOLS",
                    "python" => "PORTCULLIS_PYTHON_TOOLS",
                    _ => "PORTCULLIS_C_TOOLS",
                };
                let language = Language { name, tools: (variable, folder) };
                for (plugin, source) in language.plugins() {
                    language.build(portcullis, plugin, &source, components)?;
                }
                languages.built.push(language);
            }
            Err(why) => {
                // What an earlier run made would be taken for this one's.
                for plugin in ["hours", "misbehaving"] {
                    drop(fs::remove_file(components.join(format!("{plugin}-{name}.wasm"))));
                }
                languages.skipped.push(format!("plugins in {name}: {why}"));
            }
        }
    }
    Ok(languages)
}

impl Languages {
    /// No language at all.
    pub const fn none() -> Self {
        Self { built: Vec::new(), skipped: Vec::new() }
    }

    /// The names of those that are there.
    pub fn names(&self) -> Vec<&'static str> {
        self.built.iter().map(|language| language.name).collect()
    }

    /// What a build program reads to find its tools: a variable's name and its value.
    pub fn tools(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        self.built.iter().map(|language| (language.tools.0, language.tools.1.as_path()))
    }

    /// The SDKs' and the examples' own tests, and a plugin begun, built and tested as an author does it. How many passed and failed.
    pub fn test(&self, portcullis: &Path) -> Result<(usize, usize)> {
        let (mut passed, mut failed) = (0, 0);
        for language in &self.built {
            step(&format!("the SDK for {} and its template", language.name));
            for mut command in language.tests()? {
                if run_ok(&mut command).is_ok() { passed += 1 } else { failed += 1 }
            }
            let bindings = (language.name == "c").then(|| language.bindings());
            for done in [Some(language.author(portcullis)), bindings].into_iter().flatten() {
                match done {
                    Ok(()) => passed += 1,
                    Err(Error(why)) => {
                        println!("{why}");
                        failed += 1;
                    }
                }
            }
        }
        Ok((passed, failed))
    }
}

impl Language {
    fn sdk(&self) -> PathBuf {
        root().join("guest-sdk").join(self.name)
    }

    fn plugins(&self) -> [(&'static str, PathBuf); 2] {
        let (hours, misbehaving) = match self.name {
            "javascript" => ("src/plugin.js", "misbehaving.js"),
            "python" => ("hours.py", "misbehaving.py"),
            _ => ("hours.c", "misbehaving.c"),
        };
        let example = root().join("plugins/examples/hours").join(self.name);
        let tests = root().join("tests/plugins/languages").join(self.name);
        [("hours", example.join(hours)), ("misbehaving", tests.join(misbehaving))]
    }

    /// A component of a source, unless it was built of the same before.
    fn build(&self, portcullis: &Path, plugin: &str, source: &Path, components: &Path) -> Result {
        let component = components.join(format!("{plugin}-{}.wasm", self.name));
        let folder = source.parent().unwrap_or(source);
        let made_of = digest(&[&self.sdk(), folder, &root().join("wit"), Path::new(file!())])?;
        built_once(&component, made_of, || {
            let begun = Instant::now();
            let module = component.with_extension("module");
            let output = if self.name == "c" { &module } else { &component };
            run_ok(self.program().arg(source).arg("--output").arg(output))?;
            if self.name == "c" {
                run_ok(
                    Command::new(portcullis)
                        .args(["plugin", "componentize"])
                        .arg(&module)
                        .arg("--output")
                        .arg(&component),
                )?;
                fs::remove_file(&module)?;
            }
            println!("{plugin} in {}: {:.1} s", self.name, begun.elapsed().as_secs_f64());
            Ok(())
        })
    }

    /// The SDK's build program.
    fn program(&self) -> Command {
        let (interpreter, program) = match self.name {
            "javascript" => ("node", "build.js"),
            "python" => ("python3", "build.py"),
            _ => ("sh", "build.sh"),
        };
        let mut command = Command::new(interpreter);
        command.arg(self.sdk().join(program));
        self.at_home(&mut command);
        command
    }

    /// With the tools at hand, and leaving nothing in the checkout.
    fn at_home(&self, command: &mut Command) {
        command
            .env(self.tools.0, &self.tools.1)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .current_dir(target());
    }

    fn tests(&self) -> Result<Vec<Command>> {
        let example = root().join("plugins/examples/hours").join(self.name);
        let of = |program: &str, arguments: &[&str], folder: &Path| {
            let mut command = Command::new(program);
            self.at_home(&mut command);
            command.args(arguments).current_dir(folder);
            command
        };
        Ok(match self.name {
            "javascript" => {
                let stage = self.stage("example", &example)?;
                vec![
                    of("node", &["--test", "tests/"], &self.sdk()),
                    of("node", &["--test", "tests/"], &stage),
                ]
            }
            "python" => {
                let unittest = ["-m", "unittest", "discover", "-s", "tests"];
                vec![of("python3", &unittest, &self.sdk()), of("python3", &unittest, &example)]
            }
            _ => ["test_json.c", "test_host.c", "test_calendar.c"]
                .map(|test| of("sh", &["../test.sh", test], &self.sdk().join("tests")))
                .into(),
        })
    }

    /// A copy of a folder in which Node finds the SDK as `npm install` would have put it there.
    fn stage(&self, name: &str, from: &Path) -> Result<PathBuf> {
        let stage = home().join(format!("{}-{name}", self.name));
        drop(fs::remove_dir_all(&stage));
        fs::create_dir_all(stage.join("hours"))?;
        run_ok(Command::new("cp").arg("-R").arg(from).arg(stage.join("hours/plugin")))?;
        // The example's tests read its settings from the folder above.
        let settings = from.parent().unwrap_or(from).join("settings.example.json");
        fs::copy(settings, stage.join("hours/settings.example.json"))?;
        self.link(&stage)?;
        Ok(stage.join("hours/plugin"))
    }

    fn link(&self, folder: &Path) -> Result {
        fs::create_dir_all(folder.join("node_modules"))?;
        run_ok(
            Command::new("ln")
                .args(["-sfn"])
                .arg(self.sdk())
                .arg(folder.join("node_modules/portcullis-guest")),
        )
    }

    /// C: that the bindings are what `wit-bindgen` makes of the contract, unless they were found to be before. Python's tests see to their own;
    /// JavaScript has none.
    fn bindings(&self) -> Result {
        let crate_folder = self.sdk().join("tests/bindings");
        let made_of = digest(&[&crate_folder, &self.sdk().join("bindings"), &root().join("wit")])?;
        built_once(&home().join("c-bindings"), made_of, || {
            let mut cargo = cargo();
            cargo.env("CARGO_TARGET_DIR", home().join("c-bindings")).args([
                "test",
                "--locked",
                "--quiet",
                "--manifest-path",
            ]);
            run_ok(cargo.arg(crate_folder.join("Cargo.toml")))
        })
    }

    /// What an author does: `plugin new`, the template's own tests, `plugin build`, `plugin test`. Where nothing of it changed since it went well, it
    /// is not done again.
    fn author(&self, portcullis: &Path) -> Result {
        let stage = home().join(format!("author-{}", self.name));
        // `build.rs` chooses the files of the SDK that `plugin new` writes.
        let made_of = digest(&[
            &self.sdk(),
            &root().join("wit"),
            &root().join("host/cli/src/plugin"),
            &root().join("host/cli/build.rs"),
            &root().join("host/suite/src"),
            &root().join("host/engine/src"),
            Path::new(file!()),
        ])?;
        built_once(&stage.join("trial"), made_of, || {
            let begun = Instant::now();
            drop(fs::remove_dir_all(&stage));
            fs::create_dir_all(&stage)?;
            let portcullis = |words: &[&str]| {
                let mut command = Command::new(portcullis);
                self.at_home(&mut command);
                command.current_dir(&stage).args(words);
                run_ok(&mut command)
            };
            portcullis(&["plugin", "new", "--language", self.name, "trial"])?;
            let trial = stage.join("trial");
            let mut native = match self.name {
                "javascript" => {
                    self.link(&trial)?;
                    let mut node = Command::new("node");
                    node.args(["--test", "tests/"]);
                    node
                }
                "python" => {
                    let mut python = Command::new("python3");
                    python.args(["-B", "-m", "unittest"]);
                    python
                }
                _ => {
                    let mut sh = Command::new("sh");
                    sh.args(["portcullis/guest-sdk/c/test.sh", "policy.c", "test_policy.c"]);
                    sh
                }
            };
            run_ok(native.current_dir(&trial))?;
            if self.name == "javascript" {
                // A test follows the page for authors in JavaScript to its end; once is enough.
                return Ok(());
            }
            portcullis(&["plugin", "build", "trial"])?;
            portcullis(&["plugin", "test", "trial"])?;
            println!("a new plugin in {}: {:.1} s", self.name, begun.elapsed().as_secs_f64());
            Ok(())
        })
    }
}

/// Where the tools are.
fn home() -> PathBuf {
    target().join("languages")
}

/// Node and the packages of the SDK's lock file.
fn javascript() -> std::result::Result<PathBuf, String> {
    let version =
        output(Command::new("node").arg("--version")).map_err(|_| "node is missing".to_owned())?;
    let major = version
        .trim()
        .trim_start_matches('v')
        .split('.')
        .next()
        .and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < LEAST_NODE) {
        return Err(format!("node is {}, {LEAST_NODE} or newer is needed", version.trim()));
    }
    let sdk = root().join("guest-sdk/javascript");
    let folder = home().join("javascript");
    let lock = sdk.join("package-lock.json");
    fetched(&folder, &[&lock], "npm packages: componentize-js, esbuild", || {
        fs::create_dir_all(&folder)?;
        for file in ["package.json", "package-lock.json"] {
            fs::copy(sdk.join(file), folder.join(file))?;
        }
        let mut npm = Command::new("npm");
        // A script of a package could fetch what no lock file names; none of these needs one.
        npm.current_dir(&folder).args([
            "ci",
            "--silent",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
        ]);
        Ok(within(FETCH_LIMIT, &mut npm))
    })?;
    Ok(folder)
}

/// Python and componentize-py.
fn python() -> std::result::Result<PathBuf, String> {
    let newer =
        format!("import sys; sys.exit(sys.version_info < ({}))", LEAST_PYTHON.replace('.', ", "));
    if !succeeds(Command::new("python3").args(["-c", &newer])) {
        return Err(format!("python3 is missing or older than {LEAST_PYTHON}"));
    }
    let folder = home().join("python");
    let requirements = root().join("guest-sdk/python/requirements.txt");
    // The oracle of the calendars: the SDK's tests make the tables and vectors again.
    let zones = root().join("guest-sdk/calendar/requirements.txt");
    let packages = python_packages(&["componentize-py", "tzdata"]);
    fetched(&folder, &[&requirements, &zones], &packages, || {
        let [requirements, zones] = [&requirements, &zones].map(|file| file.display().to_string());
        Ok(pip(FETCH_LIMIT, &folder, &["-r", &requirements, "-r", &zones]))
    })?;
    Ok(folder)
}

/// A compiler for WebAssembly: Zig's, which comes as a Python package. A C compiler of the machine's own runs the native tests.
fn c() -> std::result::Result<PathBuf, String> {
    if !succeeds(Command::new("cc").arg("--version")) {
        return Err("cc, which runs the native tests, is missing".to_owned());
    }
    let folder = home().join("c");
    let script = root().join("guest-sdk/c/build.sh");
    let text = fs::read_to_string(&script).map_err(|error| error.to_string())?;
    let version =
        text.lines().find_map(|line| line.strip_prefix("zig=")).unwrap_or_default().to_owned();
    fetched(&folder, &[&script], "a C compiler: ziglang", || {
        Ok(pip(FETCH_LIMIT, &folder, &[&format!("ziglang=={version}")]))
    })?;
    Ok(folder)
}

/// Fetches what a folder is for, unless it holds the same already.
fn fetched(
    folder: &Path,
    pins: &[&Path],
    what: &str,
    fetch: impl FnOnce() -> Result<bool>,
) -> std::result::Result<(), String> {
    let made_of = digest(pins).map_err(|Error(why)| why)?;
    let stamp = folder.join(".fetched");
    let done = built_once(&stamp, made_of, || {
        step(&format!("fetching {what}"));
        let begun = Instant::now();
        drop(fs::remove_dir_all(folder));
        if !fetch()? {
            return Err(Error(format!("{what} could not be fetched")));
        }
        println!("{what}: {:.1} s", begun.elapsed().as_secs_f64());
        Ok(fs::write(&stamp, "")?)
    });
    done.map_err(|Error(why)| why)
}

/// Makes a file or folder, unless it was made of the same before.
fn built_once(made: &Path, of: u64, make: impl FnOnce() -> Result) -> Result {
    let name = made.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let stamp = made.with_file_name(format!(".{name}.made-of"));
    let of = format!("{of:016x}");
    if made.exists() && fs::read_to_string(&stamp).is_ok_and(|before| before == of) {
        return Ok(());
    }
    drop(fs::remove_file(&stamp));
    make()?;
    Ok(fs::write(stamp, of)?)
}

/// A number that changes when a file in one of these places does: its name or its bytes. Not for anybody who means harm.
fn digest(places: &[&Path]) -> Result<u64> {
    let mut hasher = DefaultHasher::new();
    for place in places {
        add(&root().join(place), &mut hasher)?;
    }
    Ok(hasher.finish())
}

fn add(path: &Path, hasher: &mut DefaultHasher) -> Result {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if MADE.contains(&name.as_str()) || name.ends_with(".wasm") {
        return Ok(());
    }
    name.hash(hasher);
    if !path.is_dir() {
        fs::read(path)?.hash(hasher);
        return Ok(());
    }
    let mut entries: Vec<PathBuf> = fs::read_dir(path)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::result::Result<_, _>>()?;
    entries.sort();
    entries.iter().try_for_each(|entry| add(entry, hasher))
}

/// What tools leave behind.
const MADE: [&str; 4] = ["node_modules", "__pycache__", ".tools", "target"];
/// The oldest Node.js with which this was tried.
const LEAST_NODE: u32 = 20;
/// The oldest Python for which componentize-py is made.
const LEAST_PYTHON: &str = "3.10";
/// The largest is 100 MB.
const FETCH_LIMIT: Duration = Duration::from_secs(300);
