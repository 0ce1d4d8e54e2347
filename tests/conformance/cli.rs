//! The command line: help with examples that work, exit codes, keys that are never overwritten, and nothing
//! signed that a host would refuse.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use portcullis_tests::{Ran, SignIn, TestDeployment, component, duties, golden, normal};
use serde_json::{Value, json};

#[test]
fn every_subcommand_has_help_with_an_example_that_parses() {
    let deployment = TestDeployment::build(&[]);
    let mut text = String::new();
    let leaves = walk(&deployment, &[], &mut text);
    assert_eq!(leaves, 49, "as many subcommands as the golden file has");
    golden("help.txt", &text);
}

/// Adds the help of a command and of all below it to the text; gives how many of them do something
/// themselves.
fn walk(deployment: &TestDeployment, command: &[&str], text: &mut String) -> usize {
    let help = deployment.must(&[command, &["--help"]].concat());
    text.push_str(&format!("$ portcullis {}\n{help}\n", [command, &["--help"]].concat().join(" ")));
    let Some((_, commands)) = help.split_once("\nCommands:\n") else {
        let (_, examples) =
            help.split_once("\nExample").unwrap_or_else(|| panic!("no example: {help}"));
        let mut tried = 0;
        let whole = examples.replace("\\\n", "");
        for example in whole.lines().filter_map(|line| line.trim().strip_prefix("portcullis ")) {
            let words: Vec<_> = example.split_whitespace().chain(["--help"]).collect();
            assert!(words.starts_with(command), "an example of another command: {example}");
            assert_eq!(deployment.run(&words).code, 0, "the example `{example}` does not parse");
            tried += 1;
        }
        assert!(tried > 0, "no example: {help}");
        return 1;
    };
    let below = commands.lines().take_while(|line| line.starts_with("  "));
    // A name stands at two spaces; what goes on from the line before stands further in.
    let names = below
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next());
    names
        .filter(|name| *name != "help")
        .map(|name| walk(deployment, &[command, &[name]].concat(), text))
        .sum()
}

#[test]
fn wrong_usage_is_2_and_what_cannot_be_read_is_64() {
    let deployment = TestDeployment::build(&[]);
    for wrong in [
        &[][..],
        &["open"],
        &["serve"],
        &["serve", "--config", "portcullis.toml", "--fast"],
        &["keys", "generate", "--output", "x.key"],
        &["keys", "generate", "--kind", "rsa", "--name", "a", "--output", "x.key"],
        &["plugin", "sign", "--key", "keys/publisher.key", "--output", "x.json"],
        &["audit", "prove", "--vkey", "log.vkey"],
        &[
            "release",
            "sign",
            "--add-to",
            "release/release.json",
            "--root",
            "trust-root.json",
            "--key",
            "keys/release.key",
            "--output",
            "x",
            "--without-components",
        ],
        &["audit", "show", "--log", "audit/log", "--vkey", "log.vkey", "--format", "xml"],
    ] {
        let ran = deployment.run(wrong);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{wrong:?}: {}", ran.err);
        assert!(
            ran.err.contains("Usage:") || ran.err.contains("try '--help'"),
            "{wrong:?}: {}",
            ran.err
        );
    }
    for unreadable in [
        &["audit", "verify", "--log", "audit/log", "--vkey", "none.vkey"][..],
        &["audit", "verify", "--log", "audit/log", "--vkey", "portcullis.toml"],
        &["plugin", "inspect", "none.wasm"],
        &[
            "plugin",
            "sign",
            "--source",
            "none.toml",
            "--component",
            "none.wasm",
            "--key",
            "keys/publisher.key",
            "--output",
            "x",
        ],
        &[
            "root",
            "sign",
            "--source",
            "trust-root.toml",
            "--key",
            "keys/root.vkey",
            "--output",
            "x",
        ],
    ] {
        let ran = deployment.run(unreadable);
        assert_eq!((ran.code, ran.out.as_str()), (64, ""), "{unreadable:?}: {}", ran.err);
        assert!(ran.err.starts_with("error: "), "{unreadable:?}: {}", ran.err);
    }
    assert!(
        !deployment.path("x").exists() && !deployment.path("x.key").exists(),
        "nothing was written"
    );
}

#[test]
fn keys_are_private_distinct_and_never_overwritten() {
    let deployment = TestDeployment::build(&[]);
    let mut seen = Vec::new();
    for (kind, name) in
        [("signing", "a.key"), ("signing", "b.key"), ("symmetric", "c.key"), ("secret", "d.key")]
    {
        let named =
            ["keys", "generate", "--kind", kind, "--name", "test.example/k", "--output", name];
        let generate = if kind == "signing" {
            &named[..]
        } else {
            &["keys", "generate", "--kind", kind, "--output", name][..]
        };
        deployment.must(generate);
        let text = deployment.read(name);
        assert_eq!(
            fs::metadata(deployment.path(name)).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let again = deployment.run(generate);
        assert_eq!(again.code, 64, "{}", again.err);
        assert!(
            again.err.contains(name) && deployment.read(name) == text,
            "a key that is there stays: {}",
            again.err
        );
        seen.push(text);
    }
    seen.dedup();
    assert_eq!(seen.len(), 4);
    let listed = deployment.run(&["keys", "list", "a.key", "b.key", "c.key", "d.key", "log.vkey"]);
    assert_eq!(listed.code, 0, "{}", listed.err);
    let kinds: Vec<_> =
        listed.out.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(kinds, ["signing", "signing", "symmetric", "secret", "public"]);
    for secret in &seen {
        // Its end, wherever its fields are parted: base64 has a `+` too.
        let (_, end) = secret.trim().split_at(secret.trim().len() - 32);
        assert!(!listed.out.contains(end), "a secret is listed");
    }
    let unknown = deployment.run(&["keys", "list", "log.vkey", "none.key", "--format", "json"]);
    assert_eq!(unknown.code, 1);
    assert_eq!(
        unknown.out.lines().map(|line| json_of(line)["kind"].clone()).collect::<Vec<_>>(),
        ["public", "unknown"]
    );
    for name in ["", "two words", "plus+sign"] {
        assert_eq!(
            deployment.run(&["keys", "generate", "--name", name, "--output", "e.key"]).code,
            64,
            "{name}"
        );
    }
}

#[test]
fn plugins_are_inspected_signed_and_verified() {
    let deployment = TestDeployment::build(&[]);
    deployment.sign_plugin("sod", |source| source);
    let (wasm, manifest) = ("release/plugins/sod.wasm", "release/plugins/sod.manifest.json");
    golden(
        "plugin-inspect.txt",
        &normal(&deployment.must(&["plugin", "inspect", wasm]), &["bytes    ", "memory   "]),
    );
    let inspected = json_of(&deployment.must(&["plugin", "inspect", wasm, "--format", "json"]));
    assert_eq!(inspected["exports"], json!(["configure", "evaluate"]));
    let verify = [
        "plugin",
        "verify",
        "--root",
        "trust-root.json",
        "--manifest",
        manifest,
        "--component",
        wasm,
    ];
    golden("plugin-verify.txt", &normal(&deployment.must(&verify), &[]));
    let verified = json_of(&deployment.must(&[&verify[..], &["--format", "json"]].concat()));
    assert_eq!(
        (&verified["component"], &verified["publisher"]),
        (&inspected["digest"], &json!("security-team"))
    );

    // Two of three must sign: one is too few, a second one is added by somebody else, and the statement stays
    // the same.
    let (first, second) =
        (deployment.read("keys/publisher.vkey"), deployment.read("keys/reviewer.vkey"));
    deployment.sign_root(|source| {
        let both = format!("[\"{}\", \"{}\"]\nthreshold = 2", first.trim(), second.trim());
        source.replace(&format!("[\"{}\"]\nthreshold = 1", first.trim()), &both)
    });
    refused(&deployment.run(&verify), "below-threshold");
    deployment.must(&[
        "plugin",
        "sign",
        "--add-to",
        manifest,
        "--key",
        "keys/reviewer.key",
        "--output",
        "both.json",
    ]);
    let both = [&verify[..4], &["--manifest", "both.json", "--component", wasm]].concat();
    assert!(deployment.must(&both).contains("test.example/publisher+"), "both are named");
    assert_eq!(deployment.opened_text("both.json"), deployment.opened_text(manifest));

    let mut bytes = fs::read(component("sod")).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    deployment.write(wasm, &bytes);
    refused(&deployment.run(&both), "digest-mismatch");
    deployment.write("text.wasm", "not wasm at all");
    refused(&deployment.run(&["plugin", "inspect", "text.wasm"]), "component-invalid");
    deployment.write("module.wasm", b"\0asm\x01\0\0\0");
    refused(&deployment.run(&["plugin", "inspect", "module.wasm"]), "component-is-module");
    let sign = [
        "plugin",
        "sign",
        "--source",
        "manifest.toml",
        "--component",
        "module.wasm",
        "--key",
        "keys/publisher.key",
    ];
    refused(
        &deployment.run(&[&sign[..], &["--output", "module.json"]].concat()),
        "component-is-module",
    );
    deployment.write(
        "manifest.toml",
        deployment.read("manifest.toml").replace("serial = 1", "serial = 0"),
    );
    let sign = [
        &sign[..4],
        &["--component", wasm, "--key", "keys/publisher.key", "--output", "module.json"],
    ]
    .concat();
    assert_eq!(deployment.run(&sign).code, 1);
    assert!(!deployment.path("module.json").exists(), "nothing was written");
}

#[test]
fn nothing_is_signed_that_a_host_would_refuse() {
    let deployment = TestDeployment::build(&[]);
    deployment.sign_plugin("sod", |source| source);
    deployment.write("settings.json", duties().to_string());
    let source = "version = 9\nvalidity = { days = 1 }\nplugins = [\"release/plugins/sod.manifest.json\"]\n\
        [[binding]]\nhook = \"token\"\nplugin = \"org.portcullis.sod\"\nmode = \"enforce\"\nsettings = \"settings.json\"\n\
        fallback = { review = \"deny\", step-up = \"deny\" }\n";
    let sign = |text: &str, key: &str| {
        deployment.write("nine.toml", text);
        let key = format!("keys/{key}.key");
        deployment.run(&[
            "release",
            "sign",
            "--source",
            "nine.toml",
            "--root",
            "trust-root.json",
            "--key",
            &key,
            "--output",
            "nine.json",
        ])
    };
    refused(&sign(source, "publisher"), "unknown-signer");
    refused(&sign(&source.replace("version = 9", "version = 0"), "release"), "release-malformed");
    refused(
        &sign(&source.replace("days = 1", "expires = \"2020-01-01T00:00:00Z\""), "release"),
        "release-malformed",
    );
    refused(
        &sign(&source.replace("org.portcullis.sod", "org.portcullis.other"), "release"),
        "release-malformed",
    );
    refused(
        &sign(&source.replace("mode = \"enforce\"", "mode = \"force\""), "release"),
        "source-malformed",
    );
    assert_eq!(sign(&source.replace("settings.json", "none.json"), "release").code, 64);
    deployment.sign_root(|root| {
        root.replace("plugin_prefix = \"org.portcullis.\"", "plugin_prefix = \"org.elsewhere.\"")
    });
    refused(&sign(source, "release"), "publisher-overreach");
    assert!(!deployment.path("nine.json").exists(), "nothing was written");
    deployment.sign_root(|root| root);
    assert_eq!(sign(source, "release").code, 0);
    assert_eq!(deployment.opened("nine.json")["version"], 9);
}

#[test]
fn a_hook_is_called_as_its_platform_would() {
    let deployment = TestDeployment::build(&[]);
    let host = deployment.serve();
    deployment.write("sign-in.json", SignIn::with_groups(&["ward-reader"]).bytes());
    let url = format!("http://{}/okta/token", host.address());
    let send = [
        "hook",
        "send",
        "--url",
        &url,
        "--secret-file",
        "secrets/token",
        "--payload",
        "sign-in.json",
    ];
    let text = deployment.must(&send);
    assert!(text.starts_with("200 in ") && text.contains("debugContext"), "{text}");
    let told = json_of(&deployment.must(&[&send[..], &["--format", "json"]].concat()));
    assert_eq!(told["status"], 200);
    let without = deployment.run(&[&send[..4], &["--payload", "sign-in.json"]].concat());
    assert_eq!(without.code, 1, "what a platform would take for a failure");
    assert!(without.out.starts_with("401 in "), "{}", without.out);
    assert!(without.err.contains("the host does not accept the caller (401)"), "{}", without.err);
    assert!(without.err.contains("no secret was sent"), "{}", without.err);
    // With a wrong secret, of which nothing is shown; and in JSON too.
    deployment.write_secret("secrets/wrong", "wrong-0123456789abcdef0123456789abcdef");
    for format in ["text", "json"] {
        let wrong = [&send[..5], &["secrets/wrong"], &send[6..], &["--format", format]].concat();
        let wrong = deployment.run(&wrong);
        assert_eq!(wrong.code, 1, "{}", wrong.err);
        assert!(wrong.err.contains("the host does not accept the caller (401)"), "{}", wrong.err);
        assert!(
            wrong.err.contains("`secrets/wrong`") && wrong.err.contains("`authorization`"),
            "{}",
            wrong.err
        );
        assert!(!wrong.err.contains("wrong-0123") && !wrong.out.contains("wrong-0123"));
    }
    // Responses that no hook gives.
    let nowhere = format!("http://{}/okta/none", host.address());
    deployment.write("page.json", "[]");
    let nowhere = deployment.run(&["hook", "send", "--url", &nowhere, "--payload", "page.json"]);
    assert_eq!(nowhere.code, 1, "{}", nowhere.err);
    assert!(
        nowhere.err.contains("(404)") && nowhere.err.contains("`/okta/none`"),
        "{}",
        nowhere.err
    );
    let admin = format!("http://{}/health", host.admin_address());
    let admin = deployment.run(&["hook", "send", "--url", &admin, "--payload", "page.json"]);
    assert_eq!(admin.code, 1, "{}", admin.err);
    assert!(admin.err.contains("(405)") && admin.err.contains("hint: "), "{}", admin.err);
    host.stop();
    let nobody = deployment.run(&send);
    assert_eq!(nobody.code, 1);
    assert!(nobody.err.contains("cannot connect"), "{}", nobody.err);
    assert_eq!(
        deployment
            .run(&["hook", "send", "--url", "ftp://127.0.0.1:1/", "--payload", "sign-in.json"])
            .code,
        64
    );
}

/// Exit 1, the code, and what to do.
fn refused(ran: &Ran, code: &str) {
    assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{code}: {}", ran.err);
    assert!(
        ran.err.contains(&format!("[{code}]")) && ran.err.contains("\nhint: "),
        "{code}: {}",
        ran.err
    );
}

fn json_of(line: &str) -> Value {
    serde_json::from_str(line).unwrap()
}
