//! The pages: what they tell an operator to type works as written, what they list is all there is, and their
//! links lead somewhere.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use portcullis_tests::{
    Host, SECRET, TestDeployment, audit_show, binary, checkout, component, release_active,
};
use tempfile::TempDir;

#[test]
fn the_operating_page_leads_from_an_empty_directory_to_an_answered_hook() {
    let home = TempDir::new().unwrap();
    let sod = home.path().join("sod");
    fs::create_dir(&sod).unwrap();
    fs::copy(component("sod"), sod.join("sod.wasm")).unwrap();
    for file in ["manifest.toml", "settings.schema.json"] {
        fs::copy(checkout().join("plugins/sod").join(file), sod.join(file)).unwrap();
    }
    let path = TempDir::new().unwrap();
    std::os::unix::fs::symlink(binary(), path.path().join("portcullis")).unwrap();
    // The page's port may be taken here: another one, everywhere in it.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let admin = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let page = fs::read_to_string(checkout().join("docs/operating.md")).unwrap();
    let page = page.replace(":8600", &format!(":{port}")).replace(":8601", &format!(":{admin}"));

    let mut host = None;
    let mut said = String::new();
    for block in blocks(&page).into_iter().filter(|block| block.language == "sh") {
        if block.text.starts_with("portcullis serve") {
            assert_eq!(
                block.text.trim(),
                "portcullis serve --config portcullis.toml",
                "what the host here is started with"
            );
            let started = Host::start(home.path());
            assert_eq!(started.address(), format!("127.0.0.1:{port}"));
            host = Some(started);
            continue;
        }
        if block.text.contains("audit verify") {
            host.as_ref().unwrap().wait_for(release_active(2));
            until_shown(home.path(), "\"generation\":2");
        }
        let search = format!("{}:{}", path.path().display(), std::env::var("PATH").unwrap());
        let mut shell = Command::new("bash");
        shell
            .args(["-euo", "pipefail", "-c", &block.text])
            .current_dir(home.path())
            .env("PATH", search);
        let output = shell.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}\n{text}", block.text);
        said.push_str(&text);
    }
    for expected in [
        "release set 1 is in order",
        "which rule PRESCRIBE-DISPENSE forbids. Please contact the chief pharmacist.",
        "\"debugContext\"",
        "release set 2 is in",
        "latency",
        "the log `hospital.example/hooks/2026` is complete and unaltered",
        "it continues the retained checkpoint",
    ] {
        assert!(said.contains(expected), "the page's commands never said `{expected}`:\n{said}");
    }
    host.unwrap().stop();
}

/// Waits until the log holds a record with this in it.
fn until_shown(home: &Path, text: &str) {
    let begin = Instant::now();
    let mut show = Command::new(binary());
    show.args(audit_show(&["--type", "release.active"])).current_dir(home);
    while !String::from_utf8_lossy(&show.output().unwrap().stdout).contains(text) {
        assert!(begin.elapsed() < Duration::from_secs(20), "the log never held {text}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn every_command_of_every_page_parses() {
    let deployment = TestDeployment::build(&[]);
    let usage = fs::read_to_string(checkout().join("xtask/src/main.rs")).unwrap();
    let mut tried = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for block in blocks(&text) {
            let whole = block.text.replace("\\\n", " ");
            for line in whole.lines().map(|line| line.split(" #").next().unwrap_or_default().trim())
            {
                if let Some(rest) = line.strip_prefix("portcullis ") {
                    let words: Vec<_> =
                        rest.trim_end_matches('&').split_whitespace().chain(["--help"]).collect();
                    let ran = deployment.run(&words);
                    assert_eq!(
                        ran.code,
                        0,
                        "{}: `{line}` does not parse: {}",
                        page.display(),
                        ran.err
                    );
                    tried += 1;
                } else if let Some(rest) = line.strip_prefix("cargo xtask ") {
                    let command = rest.split_whitespace().next().unwrap_or_default();
                    assert!(
                        usage.contains(&format!("[\"{command}\"")),
                        "{}: there is no `{line}`",
                        page.display()
                    );
                    tried += 1;
                }
            }
        }
    }
    assert!(tried > 25, "{tried} commands: the pages were not read");
}

#[test]
fn the_operating_pages_hooks_are_in_order() {
    let page = fs::read_to_string(checkout().join("docs/operating.md")).unwrap();
    let deployment = TestDeployment::build(&[]);
    let mut configuration = deployment.read("portcullis.toml");
    let hooks: Vec<_> =
        blocks(&page).into_iter().filter(|block| block.text.starts_with("[[hook]]")).collect();
    assert!(hooks.len() >= 4, "the page was not read");
    for hook in hooks {
        let secret = hook
            .text
            .split_once("secret_file = \"")
            .and_then(|(_, rest)| rest.split_once('"'))
            .unwrap()
            .0;
        deployment.write_secret(secret, SECRET);
        configuration.push_str(&hook.text);
    }
    deployment.write("portcullis.toml", configuration);
    let checked = deployment.run(&["check", "--config", "portcullis.toml"]);
    assert_eq!(checked.code, 0, "{}{}", checked.out, checked.err);
}

#[test]
fn the_operating_page_lists_every_setting_record_cause_and_refusal() {
    let page = fs::read_to_string(checkout().join("docs/operating.md")).unwrap();
    let trust = fs::read_to_string(checkout().join("docs/trust.md")).unwrap();
    let source = |file: &str| fs::read_to_string(checkout().join("host").join(file)).unwrap();
    let members = |file: &str, structure: &str, section: &str| {
        let text = source(file);
        let (_, body) = text
            .split_once(&format!("struct {structure} {{\n"))
            .unwrap_or_else(|| panic!("no {structure}"));
        let (body, _) = body.split_once("\n}\n").unwrap();
        let fields = body.lines().map(str::trim).filter(|line| !line.starts_with(['/', '#']));
        let names = fields
            .filter_map(|line| line.trim_start_matches("pub ").split_once(": "))
            .map(|(name, _)| name);
        // Those that are tables have rows of their own.
        let names = names.filter(|name| !TABLES.contains(name) || section == "listen.tls.");
        names.map(|name| format!("{section}{name}")).collect::<Vec<_>>()
    };
    let mut settings = BTreeSet::from(["tenant".to_owned()]);
    for (file, structure, section) in [
        ("server/src/config/listen.rs", "Listen", "listen."),
        ("server/src/net/tls.rs", "TlsConfig", "listen.tls."),
        ("server/src/config/listen.rs", "AdminConfig", "admin."),
        ("server/src/config/listen.rs", "TelemetryConfig", "telemetry."),
        ("server/src/config/trust.rs", "Trust", "trust."),
        ("server/src/fs/release_paths.rs", "ReleasePaths", "release."),
        ("server/src/config/registry.rs", "RegistryConfig", "registry."),
        ("server/src/config/audit.rs", "Audit", "audit."),
        ("server/src/config/plugin_limits.rs", "PluginsConfig", "plugins."),
        ("server/src/config/memory.rs", "MemoryConfig", "memory."),
        ("server/src/config/engine.rs", "EngineConfig", "engine."),
        ("server/src/net/outbound/mod.rs", "OutboundConfig", "outbound."),
        ("server/src/config/tables.rs", "TableAccessSource", "tables.NAME."),
        ("server/src/config/tables.rs", "TablePush", "table_push."),
        ("server/src/config/audit.rs", "NextLog", "audit.next."),
        ("server/src/config/hook.rs", "HookSource", "hook."),
        ("server/src/platform_calls/decryption.rs", "DecryptionConfig", "hook.decryption."),
        ("server/src/platform_calls/resume/config.rs", "ResumeConfig", "resume.NAME."),
        ("server/src/platform_calls/delivery/config.rs", "DeliverySource", "delivery.NAME."),
    ] {
        settings.extend(members(file, structure, section));
    }
    let listed: BTreeSet<_> = rows(&page, "## Settings").into_iter().flatten().collect();
    assert_eq!(listed, settings, "the settings of the page, and those of the code");

    let mut callers = BTreeSet::new();
    for (structure, section) in [
        ("CallerSource", ""),
        ("BasicSource", "basic."),
        ("OauthSource", "oauth."),
        ("CertificateSource", "certificate."),
    ] {
        callers.extend(members("server/src/auth/config.rs", structure, section));
    }
    let listed: BTreeSet<_> = rows(&page, "### Callers").into_iter().flatten().collect();
    assert_eq!(listed, callers, "the ways of callers of the page, and those of the code");
    let details: BTreeSet<_> = codes(&source("tokens/src/auth_error.rs")).into_iter().collect();
    let listed: BTreeSet<_> =
        rows(&page, "### Unauthenticated callers").into_iter().flatten().collect();
    assert_eq!(listed, details, "what can be wrong with callers, of the page and of the code");

    let mut types = BTreeSet::new();
    let corrections = checkout().join("host/audit/src/corrections.rs");
    for file in sources(&checkout().join("host/server/src")).into_iter().chain([corrections]) {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let in_server = file.starts_with(checkout().join("host/server"));
        // Events of the host's log are named alike: where they are written, limited or kept as
        // constants. A constant that names a record begins with `RECORD_`.
        let is_event = |before: &str| {
            let before = before.trim_end();
            if before.lines().last().is_some_and(|line| line.contains("const RECORD_")) {
                return false;
            }
            in_server && ["event =", "allows(", ": &str ="].iter().any(|end| before.ends_with(end))
        };
        let pieces: Vec<_> = text.split('"').collect();
        let words = pieces.windows(2).filter(|pair| !is_event(pair[0])).map(|pair| pair[1]);
        let family = |word: &&str| {
            RECORDS.iter().any(|family| word.split_once('.').is_some_and(|(is, _)| is == *family))
        };
        let plain = |word: &&str| {
            !word.ends_with('.')
                && !word.ends_with(".json")
                && word.bytes().all(|byte| byte.is_ascii_lowercase() || b".-".contains(&byte))
        };
        types.extend(words.filter(family).filter(plain).map(str::to_owned));
    }
    let listed: BTreeSet<_> = rows(&page, "## Records").into_iter().flatten().collect();
    assert_eq!(listed, types, "the records of the page, and those of the host");
    let shown = source("cli/src/audit/record_types.rs");
    let (_, shown) = shown.split_once("const RECORD_TYPES").unwrap();
    let shown: BTreeSet<_> = shown.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    assert_eq!(shown, types, "the types that `audit show` knows, and those of the host");

    let causes: BTreeSet<_> = codes(&source("model/src/cause.rs")).into_iter().collect();
    let listed: BTreeSet<_> = rows(&page, "## Causes").into_iter().flatten().collect();
    assert_eq!(listed, causes, "the causes of the page, and those of the model");

    for file in [
        "server/src/loading.rs",
        "server/src/loading/self_test.rs",
        "server/src/runtime/reload.rs",
        "engine/src/error.rs",
        "engine/src/fault.rs",
    ] {
        for code in codes(&source(file)) {
            assert!(
                page.contains(&format!("`{code}`")),
                "the page does not know `{code}` of {file}"
            );
        }
    }
    let distribution = fs::read_to_string(checkout().join("docs/distribution.md")).unwrap();
    for code in codes(&source("server/src/registry/error.rs")) {
        assert!(
            distribution.contains(&format!("`{code}`")),
            "distribution.md does not know `{code}`"
        );
    }
    for code in codes(&source("trust/src/refusal.rs").replace(" = \"", " => \"")) {
        assert!(trust.contains(&format!("`{code}`")), "trust.md does not know `{code}`");
    }
}

#[test]
fn the_operating_page_lists_every_metric_and_every_reason() {
    let page = fs::read_to_string(checkout().join("docs/operating.md")).unwrap();
    let deployment = TestDeployment::build(&[]);
    deployment.configure("[admin]", "[telemetry]\notlp = \"http://127.0.0.1:1\"\n\n[admin]");
    let host = deployment.serve();
    let shown = String::from_utf8(host.admin("/metrics").body).unwrap();
    let families = shown.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let families: BTreeSet<_> = families.map(str::to_owned).collect();
    host.stop();
    let listed: BTreeSet<_> = rows(&page, "### Metrics").into_iter().flatten().collect();
    assert_eq!(listed, families, "the metrics of the page, and those of the host");
    let source = ["admin/readiness.rs", "loading/expiry.rs"]
        .map(|file| fs::read_to_string(checkout().join("host/server/src").join(file)).unwrap());
    let source = source.concat();
    let words = source
        .split('"')
        .skip(1)
        .step_by(2)
        .filter(|word| word.contains('-') || *word == "stopping");
    let codes =
        words.filter(|word| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'));
    for code in codes.filter(|code| *code != "trust-root") {
        assert!(page.contains(&format!("`{code}`")), "the page does not know the reason `{code}`");
    }
}

/// The names in the first column of the table below a heading.
fn rows(page: &str, heading: &str) -> Vec<Vec<String>> {
    let (_, below) =
        page.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let section = below.split("\n##").next().unwrap_or_default();
    let cells = section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .filter_map(|line| line.split('|').nth(1));
    cells.map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()).collect()
}

/// The codes in a source file: kebab-case words that a match gives.
fn codes(source: &str) -> Vec<String> {
    let words = source.split("=> \"").skip(1).filter_map(|rest| rest.split('"').next());
    let code = |word: &&str| {
        word.contains('-')
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || b"-8".contains(&byte))
    };
    let single = |word: &&str| SINGLE_WORDS.contains(word);
    words.filter(|word| code(word) || single(word)).map(str::to_owned).collect()
}

/// Codes of one word.
const SINGLE_WORDS: [&str; 9] = [
    "starting",
    "overload",
    "conflict",
    "unauthenticated",
    "superseded",
    "cancelled",
    "unreadable",
    "unsigned",
    "expired",
];

#[test]
fn every_link_leads_somewhere() {
    let mut followed = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in links(&text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = link
                .split_once('#')
                .map_or((link.as_str(), None), |(file, anchor)| (file, Some(anchor)));
            let target =
                if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: `{link}` leads nowhere", page.display());
            if let Some(anchor) = anchor {
                let headings = fs::read_to_string(&target).unwrap();
                let found =
                    headings.lines().any(|line| line.starts_with('#') && slug(line) == anchor);
                assert!(found, "{}: `{link}` names no heading", page.display());
            }
            followed += 1;
        }
    }
    assert!(followed > 40, "{followed} links: the pages were not read");
}

#[test]
fn the_security_page_names_files_and_tests_that_exist() {
    let page = fs::read_to_string(checkout().join("docs/security.md")).unwrap();
    let spans: Vec<_> = page.split('`').skip(1).step_by(2).collect();
    let files: BTreeSet<_> = spans.iter().filter(|span| span.ends_with(".rs")).collect();
    assert!(files.len() > 30, "the page was not read: {files:?}");
    let mut sources = String::new();
    for file in files {
        let text = fs::read_to_string(checkout().join(file));
        sources.push_str(&text.unwrap_or_else(|error| panic!("security.md: `{file}`: {error}")));
    }
    let is_test = |span: &str| {
        let is_name = span.bytes().all(|byte| byte.is_ascii_lowercase() || b"_".contains(&byte));
        is_name && span.matches('_').count() > 2 && !span.starts_with("portcullis_")
    };
    let tests: Vec<_> = spans.iter().filter(|span| is_test(span)).collect();
    assert!(tests.len() > 15, "the page was not read: {tests:?}");
    for test in tests {
        let function = format!("fn {test}(");
        assert!(sources.contains(&function), "security.md: no file of the page has `{test}`");
    }
}

/// The targets of inline links outside code.
fn links(text: &str) -> Vec<String> {
    let mut links = Vec::new();
    for (at, part) in text.split("```").enumerate() {
        // Every second part stands between fences.
        if at % 2 == 0 {
            let targets = part.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            links.extend(
                targets.filter(|target| !target.contains(char::is_whitespace)).map(str::to_owned),
            );
        }
    }
    links
}

/// How a heading is linked to: as GitHub and its like do it.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|letter| letter.is_alphanumeric() || "-_ ".contains(*letter));
    kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

/// A fenced block.
pub(super) struct Block {
    pub(super) language: String,
    pub(super) text: String,
}

pub(super) fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for line in page.lines() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(language), None) => {
                open = Some(Block { language: language.trim().to_owned(), text: String::new() })
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}

/// Every Markdown page of the checkout.
fn pages() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![checkout()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if !name.starts_with('.') && name != "target" {
                    folders.push(path);
                }
            } else if name.ends_with(".md") {
                found.push(path);
            }
        }
    }
    assert!(found.len() >= 6, "the checkout has no pages");
    found
}

/// Settings that are tables, whose members have rows of their own.
const TABLES: [&str; 5] = ["tls", "basic", "oauth", "certificate", "decryption"];

/// Every file below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let below = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    below.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

/// What the types of records begin with.
const RECORDS: [&str; 11] = [
    "answer",
    "break-glass",
    "config",
    "hook",
    "host",
    "log",
    "plugin",
    "release",
    "resume",
    "table",
    "trust",
];
