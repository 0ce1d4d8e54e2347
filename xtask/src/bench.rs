//! `cargo xtask bench rules|counts|call`: what a call costs, measured in one run and said in one last line.
//!
//! Invariant: what is compared takes turns in one run on one machine, so that a busy one disturbs both sides alike; counts and ratios
//! are held against what `docs/performance.md` promises, times are only told. Leaves nothing running and nothing on disk.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::build::{self, Built, Profile};
use crate::demo_env::{DemoEnv, Server};
use crate::provision;
use crate::run::{self, Error, Result, Scratch, output, root, run_ok, step, target};

/// Call time of `sod` with 10,000 rules against one.
pub fn rules() -> Result {
    let built = build::all()?;
    step("call time of `sod` with one rule and with 10,000, in turns");
    run_ok(
        pinned(SERVERS_CORE, &part()).arg("rules").arg(component(&built, "sod")).arg(RULES_ROUNDS),
    )
}

/// System calls and page faults of sandboxed calls.
pub fn counts() -> Result {
    let built = build::all()?;
    let scratch = Scratch::new("bench")?;
    let mut wrong = Vec::new();
    for plugin in PLUGINS {
        step(&format!("{CALLS} calls of `{plugin}`, traced"));
        let trace = scratch.0.join(plugin);
        let mut command = if provision::strace() {
            let mut strace = Command::new("strace");
            strace.arg("--output").arg(&trace).arg(part());
            strace
        } else {
            println!("strace is missing: only page faults are counted");
            Command::new(part())
        };
        let settings = root().join("xtask/demo").join(format!("{plugin}.settings.json"));
        let told = output(
            command
                .arg("counts")
                .arg(component(&built, plugin))
                .arg(settings)
                .arg(CALLS.to_string()),
        )?;
        let scan = told.lines().any(|line| line == "reset pagemap-scan");
        let faults =
            told.lines().find_map(|line| line.strip_prefix("faults ")?.parse::<u64>().ok());
        let faults = faults.ok_or_else(|| Error(format!("no count of page faults in:\n{told}")))?;
        let calls = if trace.exists() {
            between_marks(&fs::read_to_string(&trace)?)
        } else {
            BTreeMap::new()
        };
        println!("page faults: {faults}; system calls: {calls:?}");
        if !scan {
            wrong.push(format!(
                "{plugin}: this machine does not allow the pagemap scan: {}",
                told.lines().next().unwrap_or_default()
            ));
        } else if faults > STRAY_FAULTS {
            wrong.push(format!("{plugin}: {faults} page faults"));
        }
        if trace.exists() && calls != BTreeMap::from([("ioctl PAGEMAP_SCAN".to_owned(), CALLS)]) {
            wrong.push(format!("{plugin}: {calls:?}"));
        }
    }
    if wrong.is_empty() {
        println!("\nper call: 1 ioctl(PAGEMAP_SCAN) and nothing else; 0 page faults");
        return Ok(());
    }
    Err(Error(format!("not one scan and no page fault a call:\n{}", wrong.join("\n"))))
}

/// What the same plugin costs in each language.
pub fn languages() -> Result {
    let built = build::all()?;
    let settings = root().join("plugins/examples/hours/settings.example.json");
    let others =
        built.languages.names().into_iter().map(|language| (language, format!("hours-{language}")));
    for (language, name) in [("rust", "hours".to_owned())].into_iter().chain(others) {
        step(&format!("`hours` in {language}"));
        run_ok(
            Command::new(part())
                .arg("language")
                .arg(component(&built, &name))
                .arg(&settings)
                .arg(LANGUAGE_CALLS),
        )?;
    }
    Ok(())
}

/// Requests a second against a bare HTTP server, and what no server could do with less that promises what ours does.
pub fn call(profile: Profile) -> Result {
    let built = build::all()?;
    let programs = profile.build()?;
    let (portcullis, part) = (programs.join("portcullis"), programs.join("portcullis-bench"));
    let scratch = Scratch::new("bench")?;
    let env = DemoEnv::new(scratch.0.clone(), &built);
    env.set(RELEASE, &configuration("kernel"))?;
    fs::write(scratch.0.join("disk.toml"), configuration("disk"))?;
    let mut floor = pinned(SERVERS_CORE, &part);
    floor.arg("floor");
    let floor = env.serve(floor)?;
    let serve = |file: &str| {
        let mut command = pinned(SERVERS_CORE, &portcullis);
        command
            .current_dir(&scratch.0)
            .args(["serve", "--config", file])
            .env("PORTCULLIS_LOG", "warn");
        env.serve_host(command)
    };
    let (kernel, disk) = (serve("portcullis.toml")?, serve("disk.toml")?);

    step(&format!(
        "{ROUNDS} rounds in turns, {CONNECTIONS} connections, a 5 kB body, servers on core {SERVERS_CORE}, load on core {LOADS_CORE}"
    ));
    let mut lanes = [
        Lane::new("floor", &floor, "/"),
        Lane::new("one plugin, kernel", &kernel, "/okta/one"),
        Lane::new("two plugins, kernel", &kernel, "/okta/two"),
        Lane::new("one plugin, disk", &disk, "/okta/one"),
        Lane::new("two plugins, disk", &disk, "/okta/two"),
    ];
    for lane in &lanes {
        lane.load(&env.home, WARM_UP_MS)?;
    }
    for _ in 0..ROUNDS {
        for lane in &mut lanes {
            let result = lane.load(&env.home, ROUND_MS)?;
            lane.results.push(result);
        }
    }
    println!(
        "{:20} {:>10} {:>8} {:>8} {:>12} {:>8} {:>8}",
        "medians", "requests/s", "p50 µs", "p99 µs", "cpu µs/call", "ratio", "by cpu"
    );
    let [base, ours @ ..] = &lanes;
    for lane in &lanes {
        println!("{}", lane.line(base));
    }
    let summary: Vec<_> = ours
        .iter()
        .map(|lane| format!("{} {:.2}", lane.name, lane.ratio(base, |result| result.per_second)))
        .collect();
    let floor_us = base.median(|result| result.cpu_us);
    for server in [kernel, disk] {
        server.stop()?;
    }
    tell_bound(&part, &built, &scratch.0, floor_us)?;
    println!("\nrequests a second as a share of the floor's: {}", summary.join("; "));
    Ok(())
}

/// The floor and the parts of a call that are promised, one after the other: no server that does them all takes less.
fn tell_bound(part: &Path, built: &Built, scratch: &Path, floor_us: f64) -> Result {
    let mut parts = pinned(SERVERS_CORE, part);
    parts
        .arg("parts")
        .arg(component(built, "sod"))
        .arg(root().join("xtask/demo/sod.settings.json"));
    parts.arg(root().join("tests/bench/sign-in.json")).arg(scratch.join("frames"));
    let told = output(&mut parts)?;
    let us = |line: &str| line.rsplit(' ').next().and_then(|us| us.parse::<f64>().ok());
    let sum: f64 = told.lines().filter_map(us).sum();
    let spelled: Vec<_> = told.lines().map(|line| format!("{line} µs")).collect();
    println!(
        "\nat least, with one plugin: floor {floor_us:.1} µs, {}: {:.1} µs, {:.2} of the floor's requests",
        spelled.join(", "),
        floor_us + sum,
        floor_us / (floor_us + sum)
    );
    Ok(())
}

/// One server under one load, and what came of it round by round.
struct Lane<'a> {
    name: &'static str,
    server: &'a Server,
    path: &'static str,
    results: Vec<Measured>,
}

/// One round.
struct Measured {
    per_second: f64,
    p50_us: f64,
    p99_us: f64,
    /// Processor time of the server, all its threads, for one call.
    cpu_us: f64,
}

impl<'a> Lane<'a> {
    fn new(name: &'static str, server: &'a Server, path: &'static str) -> Self {
        Self { name, server, path, results: Vec::new() }
    }

    fn load(&self, home: &Path, milliseconds: u32) -> Result<Measured> {
        let mut load = pinned(LOADS_CORE, &part());
        load.args(["load", &self.server.address, self.path]).arg(home.join("secrets/token"));
        load.arg(root().join("tests/bench/sign-in.json"))
            .args([CONNECTIONS, &milliseconds.to_string()]);
        let before = self.server.cpu_us()?;
        let told = output(&mut load)?;
        let spent = self.server.cpu_us()? - before;
        let value = |name: &str| {
            let mut words = told.split_whitespace().skip_while(|word| *word != name).skip(1);
            words
                .next()
                .and_then(|word| word.parse::<f64>().ok())
                .ok_or_else(|| Error(format!("no {name} in `{told}`")))
        };
        let cpu_us = spent / value("requests")?;
        Ok(Measured {
            per_second: value("per_second")?,
            p50_us: value("p50_us")?,
            p99_us: value("p99_us")?,
            cpu_us,
        })
    }

    fn median(&self, of: impl Fn(&Measured) -> f64) -> f64 {
        median(self.results.iter().map(of).collect())
    }

    /// The median of the ratios round by round.
    fn ratio(&self, base: &Lane<'_>, of: impl Fn(&Measured) -> f64) -> f64 {
        median(
            self.results
                .iter()
                .zip(&base.results)
                .map(|(ours, floor)| of(ours) / of(floor))
                .collect(),
        )
    }

    fn line(&self, base: &Lane<'_>) -> String {
        format!(
            "{:20} {:>10.0} {:>8.0} {:>8.0} {:>12.1} {:>8.2} {:>8.2}",
            self.name,
            self.median(|result| result.per_second),
            self.median(|result| result.p50_us),
            self.median(|result| result.p99_us),
            self.median(|result| result.cpu_us),
            self.ratio(base, |result| result.per_second),
            1.0 / self.ratio(base, |result| result.cpu_us),
        )
    }
}

impl Server {
    /// Processor time of all its threads so far, in microseconds.
    fn cpu_us(&self) -> Result<f64> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process.0.id()))?;
        let mut nanoseconds = 0.0;
        for task in tasks {
            // The kernel's scheduler counts nanoseconds on the processor first; proc(5). A thread may have ended meanwhile.
            let told = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
            nanoseconds += told
                .split_whitespace()
                .next()
                .and_then(|first| first.parse::<f64>().ok())
                .unwrap_or_default();
        }
        Ok(nanoseconds / 1_000.0)
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The system calls between the two marks, by name; an `ioctl` with what it asks for.
fn between_marks(trace: &str) -> BTreeMap<String, u64> {
    let lines = trace.lines().skip_while(|line| !line.contains("calls begin")).skip(1);
    let mut calls = BTreeMap::new();
    for line in lines.take_while(|line| !line.contains("calls end")) {
        let name = line.split('(').next().unwrap_or_default();
        let scan =
            name == "ioctl" && (line.contains("PAGEMAP_SCAN") || line.contains(PAGEMAP_SCAN));
        let name = if scan { "ioctl PAGEMAP_SCAN" } else { name };
        *calls.entry(name.to_owned()).or_default() += 1;
    }
    calls
}

/// A program held to one core, and before everything else that runs there where this machine lets us: what a server does in a second
/// tells otherwise what the neighbours left of the core.
fn pinned(core: &str, program: &Path) -> Command {
    if run::succeeds(Command::new("chrt").args(FIRST).arg("true")) {
        let mut command = Command::new("chrt");
        command.args(FIRST).args(["taskset", "--cpu-list", core]).arg(program);
        return command;
    }
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", core]).arg(program);
    command
}

fn part() -> PathBuf {
    target().join("release/portcullis-bench")
}

fn component(built: &Built, name: &str) -> PathBuf {
    built.plugins.join(format!("{name}.wasm"))
}

fn configuration(commit: &str) -> String {
    CONFIGURATION.replace("{commit}", commit)
}

const PLUGINS: [&str; 2] = ["sod", "contractor"];
const RULES_ROUNDS: &str = "5000";
const LANGUAGE_CALLS: &str = "1000";
const CALLS: u64 = 2_000;
/// Of all traced calls together: the host's own allocator and the kernel's bookkeeping may touch a page of their own.
const STRAY_FAULTS: u64 = 10;
/// How strace names the request where its tables do not know it: `_IOC(_IOC_READ|_IOC_WRITE, 0x66, 0x10, 0x60)` from <linux/fs.h>.
const PAGEMAP_SCAN: &str = "0x66, 0x10, 0x60";
/// Real-time, in turns among themselves; the kernel keeps a twentieth back for all others.
const FIRST: [&str; 2] = ["--rr", "10"];
const SERVERS_CORE: &str = "0";
const LOADS_CORE: &str = "1";
const CONNECTIONS: &str = "8";
const ROUNDS: usize = 9;
const ROUND_MS: u32 = 1_500;
const WARM_UP_MS: u32 = 500;

const RELEASE: &str = r#"version = 1
validity = { days = 1 }
plugins = ["release/plugins/sod.manifest.json", "release/plugins/contractor.manifest.json"]

[[binding]]
hook = "one"
plugin = "org.portcullis.sod"
settings = "release/settings/sod.json"
mode = "enforce"
fallback = { review = "deny", step-up = "deny" }

[[binding]]
hook = "two"
plugin = "org.portcullis.sod"
settings = "release/settings/sod.json"
mode = "enforce"
fallback = { review = "deny", step-up = "deny" }

[[binding]]
hook = "two"
plugin = "org.portcullis.contractor"
settings = "release/settings/contractor.json"
mode = "enforce"
fallback = { step-up = "deny" }
"#;

const CONFIGURATION: &str = r#"
[listen]
address = "127.0.0.1:0"
workers = 1

[admin]
address = "127.0.0.1:0"

[trust]
root = "trust-root.json"
state = "trust-state-{commit}"

[release]
set = "release/release.json"
plugins = "release/plugins"
settings = "release/settings"

[audit]
directory = "audit-{commit}"
origin = "demo.example/hooks/2026"
signing_key = "keys/log.key"
sealing_key = "keys/sealing.key"
pseudonym_key = "keys/pseudonym.key"
commit = "{commit}"

[[hook]]
name = "one"
kind = "okta.token"
path = "/okta/one"
caller = { secret_file = "secrets/token" }

[[hook]]
name = "two"
kind = "okta.token"
path = "/okta/two"
caller = { secret_file = "secrets/token" }
"#;
