//! `portcullis check`, and `serve` before it listens: what an operator got wrong is named, and nothing was
//! bound or written.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use portcullis_tests::{Binding, RELEASE_SET, Ran, TestDeployment, binary, duties, golden, normal};
use serde_json::{Value, json};

#[test]
fn a_wrong_configuration_is_named_and_nothing_is_bound() {
    let deployment = TestDeployment::build(&[]);
    assert_eq!(
        deployment.run(&["check", "--config", "portcullis.toml"]).code,
        0,
        "in order as it is"
    );
    let right = deployment.read("portcullis.toml");
    for (from, to, says) in [
        ("[listen]", "colour = \"blue\"\n[listen]", "unknown field `colour`"),
        ("watch_ms = 500", "watch_ms = 500\nwatch = true", "unknown field `watch`"),
        ("[listen]", "[listen", "expected"),
        ("watch_ms = 500", "watch_ms = \"often\"", "invalid type"),
        ("/okta/import", "/okta/token", "path `/okta/token` is used by two hooks"),
        ("name = \"import\"", "name = \"token\"", "hook `token` is defined twice"),
        ("name = \"import\"", "name = \"im port\"", "hook name `im port`"),
        ("path = \"/okta/import\"", "path = \"okta/import\"", "does not start with `/`"),
        ("path = \"/okta/import\"", "path = \"/okta/import?x\"", "has a query or a fragment"),
        (
            "path = \"/okta/import\"",
            "path = \"/okta/im port\"",
            "has characters that a path cannot have",
        ),
        ("path = \"/okta/import\"", "path = \"/okta/ö\"", "has characters that a path cannot have"),
        ("okta.user-import", "okta.user-export", "okta.token, okta.user-import"),
        ("127.0.0.1:0", "0.0.0.0:0", "`0.0.0.0:0` is not a loopback address"),
        (
            "127.0.0.1:0",
            "127.0.0.1:0\"\nmax_in_flight = 0 #",
            "listen.max_in_flight is 0, not 1 to",
        ),
        (
            "[[hook]]\nname = \"token\"",
            "[[hook]]\nbudget_ms = 3000\nname = \"token\"",
            "platform's own limit of 3000",
        ),
        (
            "[[hook]]\nname = \"token\"",
            "[[hook]]\nbudget_ms = 400\nname = \"token\"",
            "together use up budget_ms 400",
        ),
        (
            "[[hook]]\nname = \"token\"",
            "[[hook]]\non_failure = \"restricted\"\nname = \"token\"",
            "needs restricted_applications",
        ),
        (
            "[[hook]]\nname = \"token\"",
            "[[hook]]\nrestricted_applications = []\nname = \"token\"",
            "needs on_failure",
        ),
        (
            "[[hook]]\nname = \"import\"",
            "[[hook]]\non_failure = \"restricted\"\nrestricted_applications = []\nname = \"import\"",
            "okta.user-import offers no restricted answer",
        ),
        ("secrets/import", "secrets/none", "caller secret"),
        ("keys/sealing.key", "keys/log.key", "sealing key"),
        ("keys/sealing.key", "keys/pseudonym.key", "it is also the sealing key"),
        (
            "keys/log.key",
            "keys/release.key",
            "its name is `test.example/release`, but audit.origin is",
        ),
        ("trust-root.json", "trust-root.toml", "trust root"),
        ("trust-root.json", "release/release.json", "trust root"),
    ] {
        deployment.configure(from, to);
        wrong(&deployment, says);
        deployment.write("portcullis.toml", &right);
    }
    for file in ["keys/log.key", "keys/sealing.key", "keys/pseudonym.key", "secrets/token"] {
        fs::set_permissions(deployment.path(file), Permissions::from_mode(0o644)).unwrap();
        wrong(&deployment, "is open to others (mode 0644)\nhint: run `chmod 600 ");
        fs::set_permissions(deployment.path(file), Permissions::from_mode(0o600)).unwrap();
    }
    let secret = deployment.read("secrets/token");
    deployment.write_secret("secrets/token", "short");
    wrong(&deployment, "shorter than 16 characters");
    deployment.write_secret("secrets/token", &secret);
    // Who names a key's file instead of the configuration must not find the key in a log.
    let ran = deployment.run(&["check", "--config", "keys/log.key"]);
    assert_eq!(ran.code, 64);
    assert!(
        !ran.err.contains("PRIVATE") && !ran.err.contains(deployment.read("keys/log.key").trim()),
        "{}",
        ran.err
    );
    fs::remove_file(deployment.path("portcullis.toml")).unwrap();
    wrong(&deployment, "cannot read `portcullis.toml`");
}

/// Both commands end with 64, say so, print nothing else and leave nothing.
fn wrong(deployment: &TestDeployment, says: &str) {
    for command in ["check", "serve"] {
        let ran = bounded(deployment, &[command, "--config", "portcullis.toml"]);
        assert_eq!((ran.code, ran.out.as_str()), (64, ""), "{command}, {says}: {}", ran.err);
        assert!(
            ran.err.contains("error: ") && ran.err.contains(says),
            "{command} was to say `{says}`: {}",
            ran.err
        );
        assert!(!deployment.path("audit").exists(), "{command}, {says}: a record was begun");
    }
}

/// Runs `portcullis`; a host that serves although it should not is ended.
fn bounded(deployment: &TestDeployment, arguments: &[&str]) -> Ran {
    let mut timeout = Command::new("timeout");
    let output = timeout
        .arg("30")
        .arg(binary())
        .args(arguments)
        .current_dir(deployment.path(""))
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: text(&output.stdout),
        err: text(&output.stderr),
    }
}

#[test]
fn check_says_what_serve_would_do() {
    let mut deployment = TestDeployment::build(&[
        Binding::new("token", "sod", duties()),
        Binding::new("import", "sod", duties()).mode("monitor").fallback(&[]),
    ]);
    // So few that they fit under any limit of file descriptors.
    deployment.configure("[trust]", "max_connections = 64\n\n[trust]");
    golden("check.txt", &normal(&deployment.must(&["check", "--config", "portcullis.toml"]), &[]));
    let told: Value = serde_json::from_str(&deployment.must(&[
        "check",
        "--config",
        "portcullis.toml",
        "--format",
        "json",
    ]))
    .unwrap();
    assert_eq!(
        (&told["generation"], told["bindings"].as_array().map(Vec::len)),
        (&json!(1), Some(2))
    );
    assert_eq!(
        told["warnings"].as_array().map(Vec::len),
        Some(2),
        "nothing enforces on the import hook, and the set ends within a week: {told}"
    );
    assert!(!deployment.path("audit").exists(), "check writes nothing");

    // `release sign` refuses this; somebody who signs with other tools is not held back by it.
    deployment.release(&[Binding::new("token", "sod", duties())]);
    let mut set = deployment.opened("release/release.json");
    set["bindings"][0]["fallback"] = json!({"review": "deny"});
    deployment
        .write("release/release.json", deployment.forge("release", RELEASE_SET, &set.to_string()));
    let unsayable = deployment.run(&["check", "--config", "portcullis.toml"]);
    assert_eq!(unsayable.code, 1);
    golden("check-fallback.txt", &normal(&unsayable.err, &[]));

    let mut settings = duties();
    settings["rules"][0]["b"] = json!("dispence");
    deployment.release(&[Binding::new("token", "sod", settings)]);
    let refused = deployment.run(&["check", "--config", "portcullis.toml"]);
    assert_eq!(refused.code, 1);
    golden("check-settings.txt", &normal(&refused.err, &[]));

    deployment.write("release/release.json", "");
    let none = deployment.run(&["check", "--config", "portcullis.toml", "--format", "json"]);
    assert_eq!(none.code, 1, "{}", none.err);
    let told: Value = serde_json::from_str(&none.out).unwrap();
    assert_eq!(told["refused"], "envelope-malformed");
    assert!(
        none.err.contains("[envelope-malformed]") && none.err.contains("hint: "),
        "{}",
        none.err
    );
}

#[test]
fn check_names_every_problem_of_a_file_at_once() {
    let deployment = TestDeployment::build(&[]);
    let hook = "\n[[hook]]\nname = \"further\"\nkind = \"okta.saml\"\npath = \"/okta/saml\"\ncolour = \"blue\"\n";
    for (from, to) in [
        (
            "address = \"127.0.0.1:0\"",
            "address = \"127.0.0.1:0\"\nworkers = 999\nheader_timeout_ms = \"x\"\nmax_in_flight = 0",
        ),
        ("watch_ms = 500", "watch_ms = -1"),
        ("kind = \"okta.token\"", "kind = \"okta.tokn\"\non_failure = \"close\"\nbody_bytes = 0"),
        ("path = \"/okta/import\"", "path = \"okta/import\"\nbudget_ms = 99999"),
        ("failure_threshold = 100000", "queue = 9999\nfailure_threshold = 0"),
    ] {
        deployment.configure(from, to);
    }
    deployment.write("portcullis.toml", deployment.read("portcullis.toml") + hook);
    for command in ["check", "serve"] {
        let ran = bounded(&deployment, &[command, "--config", "portcullis.toml"]);
        assert_eq!(ran.code, 64, "{}", ran.err);
        for problem in [
            "`header_timeout_ms`",
            "`watch_ms`",
            "`on_failure`",
            "missing field `caller`",
            "`colour`",
            "listen.workers is 999",
            "listen.max_in_flight is 0",
            "okta.tokn",
            "body_bytes is 0",
            "`okta/import` does not start",
            "budget_ms 99999",
            "plugins.queue is 9999",
            "plugins.failure_threshold is 0",
        ] {
            assert!(ran.err.contains(problem), "{command} was to name {problem}: {}", ran.err);
        }
        assert!(ran.err.contains("error: `portcullis.toml`: 13 problems"), "{}", ran.err);
    }
}

#[test]
fn check_names_every_problem_of_every_hook_at_once() {
    let deployment = TestDeployment::build(&[]);
    let hooks = r#"
[[hook]]
name = "saml"
kind = "okta.saml"
path = "/okta/saml"
on_failure = "restricted"
resume = "nowhere"
decryption = { key_files = [] }
public_url = "http://pdp.example"
subject = "no-pointer"
secrets = ["one", "/two", "three"]
answer_page = true
delivery = { pigeon = "nobody" }
budget_ms = 400
commit_reserve_ms = 300
write_reserve_ms = 200

[[hook.caller]]
header = "a b"
basic = { user = "a:b" }
certificate = { dns = ["*.example"], spki = ["md5:00"] }

[[hook.caller]]
oauth = { profile = "entra", issuer = "https://issuer.example", audiences = [], tenant = "x", clock_skew_s = 601, jwks_max_stale_s = 1 }

[[hook]]
name = "api"
kind = "generic"
path = "/okta/token"
caller = { secret_file = "a", secret_files = ["b"] }
mapping.id = "id"
mapping.required = ["x"]
mapping.subject.kind = "cat"
mapping.answer.allow = "{"
mapping.answer.deny_status = 204

[[hook]]
name = "token"
kind = "okta.tokn"
path = "okta/tokn"
caller = { }
commit_reserve_ms = 90
budget_ms = 80
entitlements = [
    "/groups",
    5,
]

[[hook]]
path = 5
restricted_applications = []
"#;
    deployment.write("portcullis.toml", deployment.read("portcullis.toml") + hooks);
    let ran = deployment.run(&["check", "--config", "portcullis.toml"]);
    assert_eq!(ran.code, 64, "{}", ran.err);
    let problems = [
        "hook `saml`: on_failure = \"restricted\" needs restricted_applications",
        "hook `saml`: okta.saml does not use `decryption`",
        "hook `saml`: okta.saml does not use `resume`",
        "hook `saml`: decryption.key_files is empty",
        "hook `saml`: the configuration has no [resume.nowhere]",
        "hook `saml`: okta.saml has no answer_page",
        "hook `saml`: okta.saml has no public_url",
        "hook `saml`: okta.saml has no subject",
        "hook `saml`: okta.saml has no secrets",
        "hook `saml`: public_url `http://pdp.example`",
        "hook `saml`: subject `no-pointer`",
        "hook `saml`: secrets `one`",
        "hook `saml`: secrets `three`",
        "hook `saml`: caller.header can only be used with secret_file",
        "hook `saml`: caller.basic.user",
        "hook `saml`: caller.basic has no password_file",
        "hook `saml`: caller.certificate.spki `md5:00`",
        "hook `saml`: caller.certificate: `*.example`",
        "hook `saml`: caller.oauth.issuer cannot be used",
        "hook `saml`: caller.oauth.audiences is empty",
        "hook `saml`: caller.oauth.tenant must be",
        "hook `saml`: caller.oauth.clock_skew_s is 601",
        "hook `saml`: caller.oauth.jwks_max_stale_s is 1",
        "hook `saml`: caller.oauth.clients must list",
        "hook `saml`: caller.certificate needs listen.tls.client_ca",
        "hook `saml`: okta.saml delivers no messages",
        "hook `saml`: delivery: `pigeon` is not a channel",
        "hook `saml`: the configuration has no [delivery.nobody]",
        "hook `saml`: commit_reserve_ms and write_reserve_ms together use up budget_ms 400",
        "hook `api`: secret_file and secret_files exclude each other",
        "hook `api`: mapping.id is not",
        "hook `api`: mapping.required is not",
        "hook `api`: mapping.subject.kind",
        "hook `api`: mapping.answer.allow is not JSON",
        "hook `api`: mapping.answer.deny is missing",
        "hook `api`: mapping.answer.deny_status",
        "path `/okta/token` is used by two hooks",
        "hook `token`: kind `okta.tokn` is not supported",
        "hook `token`: path `okta/tokn` does not start",
        "hook `token`: caller has none of",
        "hook `token`: commit_reserve_ms and write_reserve_ms together use up budget_ms 80",
        "hook `token` is defined twice",
        "invalid type: integer `5`, expected a string\n",
        "`path`: invalid type",
        "[[hook]] number 6: missing field `name`",
        "[[hook]] number 6: missing field `kind`",
        "[[hook]] number 6: missing field `caller`",
        "[[hook]] number 6: restricted_applications needs",
    ];
    for problem in problems {
        assert!(ran.err.contains(problem), "check was to name {problem}: {}", ran.err);
    }
    let count = format!("{} problems", problems.len());
    assert!(ran.err.contains(&count), "{count}: {}", ran.err);
}

#[test]
fn check_finds_folders_that_cannot_be_written() {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    let right = deployment.read("portcullis.toml");
    let check = || deployment.run(&["check", "--config", "portcullis.toml"]);
    // A file where the folder is to be, and above it.
    deployment.write("in-the-way", "a file");
    for directory in ["in-the-way", "in-the-way/audit"] {
        deployment.configure("directory = \"audit\"", &format!("directory = \"{directory}\""));
        let ran = check();
        assert_eq!(ran.code, 64, "{}", ran.err);
        assert!(ran.err.contains("in-the-way"), "{}", ran.err);
        assert!(ran.err.contains("hint: "), "{}", ran.err);
        deployment.write("portcullis.toml", &right);
    }
    deployment.write("trust-state", "a file");
    let ran = check();
    assert!(ran.code == 64 && ran.err.contains("trust-state"), "{}", ran.err);
    fs::remove_file(deployment.path("trust-state")).unwrap();
    assert_eq!(check().code, 0, "{}", check().err);
    assert!(!deployment.path("audit").exists() && !deployment.path("trust-state").exists());
}
