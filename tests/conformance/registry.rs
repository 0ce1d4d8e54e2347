//! Plugins and releases through an OCI registry that we did not write (Debian's `docker-registry`), and what other tools make of them.

use std::fs;
use std::process::Command;

use portcullis_tests::{
    Authority, Binding, CONFLICT, PASSWORD, Registry, Shelf, SignIn, TestDeployment, digest,
    duties, log_event, python, release_active, require_tool, skip,
};
use serde_json::{Value, json};

#[test]
fn a_release_reaches_a_host_through_a_registry_and_the_registry_may_go() {
    let mut registry = require_tool!(Registry::start());
    let mut deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    let live = format!("{}/hospital/hooks:live", registry.address());
    let pushed = deployment.must(&push(&live));
    assert!(pushed.contains("release 1 pushed, 1 plugins"), "{pushed}");
    follow(&deployment, &live, "");

    // Nothing is on disk; the registry has all of it.
    let host = deployment.serve();
    host.wait_for(release_active(1));
    host.wait_for("registry.pulled");
    assert!(host.sign_in(&SignIn::with_groups(&CONFLICT)).stops_a_token());
    assert_eq!(deployment.read("pulled/release.json"), deployment.read("release/release.json"));
    let (_, component) = only(&deployment, "pulled/plugins", ".wasm");
    assert_eq!(component, fs::read(deployment.path("release/plugins/sod.wasm")).unwrap());
    assert!(!deployment.path("pulled/incoming").exists(), "nothing is left where it arrived");

    // The next one: the tag moves, and nobody tells the host.
    deployment.release(&[Binding::new("token", "sod", lenient())]);
    deployment.must(&push(&live));
    host.wait_for(release_active(2));
    assert!(!host.sign_in(&SignIn::with_groups(&CONFLICT)).stops_a_token());
    assert_eq!(host.metric("portcullis_registry_polls_total{outcome=\"pulled\"}"), 2.0);
    let status: Value = serde_json::from_slice(&host.admin("/status").body).unwrap();
    assert_eq!(status["registry"]["release"], live);
    assert_eq!(status["registry"]["artifact"], registry.tag("hospital/hooks", "live"));
    host.stop();
    let pulled = deployment.records_of("release.pulled");
    assert_eq!(pulled.iter().map(|record| &record["version"]).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(pulled[1]["set"], digest(deployment.opened_text("release/release.json").as_bytes()));

    // The registry is gone: the host boots from its disk, decides, and says that it cannot look.
    registry.stop();
    let host = deployment.serve();
    assert!(host.log().has(release_active(2)), "at once: {}", host.log());
    assert!(!host.sign_in(&SignIn::with_groups(&CONFLICT)).stops_a_token());
    host.wait_for("registry.not-pulled");
    let ready = host.admin("/ready");
    assert_eq!(ready.status, 200);
    assert!(
        String::from_utf8_lossy(&ready.body).contains("registry-failed"),
        "a warning, no reason"
    );
    let failed = host.metric("portcullis_registry_polls_total{outcome=\"failed\"}");
    assert!(failed >= 1.0, "{failed}");

    // It is back, with a third one.
    registry.serve();
    deployment.release(&[Binding::new("token", "sod", duties())]);
    deployment.must(&push(&live));
    host.signal("HUP");
    host.wait_for(release_active(3));
    host.stop();
    assert!(deployment.records_of("release.pull-refused").is_empty(), "silence is no refusal");
}

#[test]
fn an_older_set_in_the_registry_changes_nothing() {
    let registry = require_tool!(Registry::start());
    let mut deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    let (live, old) = (
        format!("{}/hooks:live", registry.address()),
        format!("{}/hooks:release-1", registry.address()),
    );
    deployment.must(&push(&live));
    deployment.release(&[Binding::new("token", "sod", lenient())]);
    deployment.must(&push(&live));
    follow(&deployment, &live, "");
    let host = deployment.serve();
    host.wait_for(release_active(2));

    // Somebody moves the tag back: what is there is well signed.
    assert_eq!(
        deployment
            .run(&[
                "release",
                "pull",
                &old,
                "--output",
                "older",
                "--root",
                "trust-root.json",
                "--plain-http"
            ])
            .code,
        0
    );
    let ran = deployment.run(&[
        "release",
        "push",
        &live,
        "--from",
        "older",
        "--root",
        "trust-root.json",
        "--plain-http",
    ]);
    assert_eq!(ran.code, 0, "{ran:?}");
    host.reload_until([log_event("registry.not-pulled").field("code", "release-older")]);
    let refused =
        deployment.until_record("release.pull-refused", |record| record["code"] == "release-older");
    assert_eq!(refused["artifact"], registry.tag("hooks", "live"));
    host.reload_until(["registry.still-not-pulled"]);
    assert!(!host.sign_in(&SignIn::with_groups(&CONFLICT)).stops_a_token(), "generation 2 decides");
    host.stop();
    assert_eq!(deployment.records_of("release.pull-refused").len(), 1, "said once");
    // Nor does the command go back in a folder.
    let ran = deployment.run(&[
        "release",
        "pull",
        &old,
        "--output",
        "pulled",
        "--root",
        "trust-root.json",
        "--plain-http",
    ]);
    assert!(ran.code == 1 && ran.err.contains("[release-older]"), "{ran:?}");
}

#[test]
fn a_set_that_would_not_come_into_force_does_not_take_the_place_of_the_one_that_does() {
    let registry = require_tool!(Registry::start());
    let mut deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    let live = format!("{}/hooks:live", registry.address());
    deployment.must(&push(&live));
    follow(&deployment, &live, "");
    let host = deployment.serve();
    host.wait_for(release_active(1));
    let kept = deployment.read("pulled/release.json");
    let mut misspelt = duties();
    misspelt["rules"][0]["b"] = json!("dispence");
    deployment.release(&[Binding::new("token", "sod", misspelt)]);
    deployment.must(&push(&live));
    host.reload_until([log_event("registry.not-pulled").field("code", "plugin-settings-refused")]);
    assert_eq!(deployment.read("pulled/release.json"), kept);
    host.stop();
    let host = deployment.serve();
    assert!(
        host.sign_in(&SignIn::with_groups(&CONFLICT)).stops_a_token(),
        "it starts again on the last good one"
    );
    deployment.release(&[Binding::new("token", "sod", lenient())]);
    deployment.must(&push(&live));
    host.signal("HUP");
    host.wait_for(release_active(3));
    host.stop();
}

#[test]
fn a_trust_root_comes_with_the_release_that_needs_it() {
    let registry = require_tool!(Registry::start());
    let mut deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    let live = format!("{}/hooks:live", registry.address());
    deployment.must(&push(&live));
    follow(&deployment, &live, "");
    deployment.configure(
        "root = \"trust-root.json\"",
        "root = \"trust-root.json\"\nroots = \"hosts-roots\"",
    );
    let host = deployment.serve();
    host.wait_for(release_active(1));
    // Another release key, let in by the next root: without that root the set is nobody's.
    deployment.generate("release-2");
    let (old, new) = (deployment.read("keys/release.vkey"), deployment.read("keys/release-2.vkey"));
    let ran = deployment.next_root(2, &["root"], |source| source.replace(old.trim(), new.trim()));
    assert_eq!(ran.code, 0, "{ran:?}");
    fs::copy(deployment.path("keys/release-2.key"), deployment.path("keys/release.key")).unwrap();
    deployment.release(&[Binding::new("token", "sod", lenient())]);
    let mut command = push(&live).to_vec();
    command.extend(["--root", "trust-roots/2.json"]);
    deployment.must(&command);
    host.wait_for(log_event("trust.root-accepted").field("version", 2));
    host.wait_for(release_active(2));
    host.stop();
}

#[test]
fn a_plugin_is_pushed_and_pulled_with_its_manifest_as_a_referrer() {
    let registry = require_tool!(Registry::start());
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    deployment.write("suite.yaml", "cases: []\n");
    let place = format!("{}/plugins/sod:1.0.0", registry.address());
    let push = [
        "plugin",
        "push",
        &place,
        "--component",
        "release/plugins/sod.wasm",
        "--manifest",
        "release/plugins/sod.manifest.json",
        "--suite",
        "suite.yaml",
        "--root",
        "trust-root.json",
        "--plain-http",
        "--format",
        "json",
    ];
    let pushed: Value = serde_json::from_str(&deployment.must(&push)).unwrap();
    let wasm = fs::read(deployment.path("release/plugins/sod.wasm")).unwrap();
    assert_eq!(pushed["component"], digest(&wasm));

    // What the CNCF layout says it is, read off the registry's own disk.
    let artifact = registry.tag("plugins/sod", "1.0.0");
    assert_eq!(pushed["artifact"], artifact);
    let image = registry.document(&artifact);
    assert_eq!(image["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(image["config"]["mediaType"], "application/vnd.wasm.config.v0+json");
    assert_eq!(image["layers"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&image["layers"][0]["mediaType"], &image["layers"][0]["digest"]),
        (&json!("application/wasm"), &json!(digest(&wasm)))
    );
    let config = registry.document(image["config"]["digest"].as_str().unwrap());
    assert_eq!((&config["architecture"], &config["os"]), (&json!("wasm"), &json!("wasip2")));
    assert_eq!(config["layerDigests"], json!([digest(&wasm)]));
    assert_eq!(config["component"]["target"], "portcullis:policy/plugin@0.2.0");
    assert!(
        config["component"]["imports"]
            .as_array()
            .unwrap()
            .iter()
            .all(|it| it.as_str().unwrap().starts_with("portcullis:policy/"))
    );

    // The tag schema: an index under the digest's own tag lists manifest and suite, and each says what it refers to.
    let index = registry.document(&registry.tag("plugins/sod", &artifact.replace(':', "-")));
    assert_eq!(index["mediaType"], "application/vnd.oci.image.index.v1+json");
    let types: Vec<_> = index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["artifactType"].as_str().unwrap())
        .collect();
    assert_eq!(
        types,
        [
            "application/vnd.portcullis.plugin-manifest.v1",
            "application/vnd.portcullis.plugin-suite.v1"
        ]
    );
    let referrer = registry.document(index["manifests"][0]["digest"].as_str().unwrap());
    assert_eq!(referrer["subject"]["digest"], artifact);
    assert_eq!(referrer["layers"][0]["mediaType"], "application/vnd.dsse.envelope.v1+json");
    let statement = deployment.opened("release/plugins/sod.manifest.json");
    assert_eq!(
        statement["subject"][0]["digest"]["sha256"],
        digest(&wasm).trim_start_matches("sha256:")
    );

    // Again, and nothing changes; another signature on the same manifest is one more referrer.
    assert_eq!(serde_json::from_str::<Value>(&deployment.must(&push)).unwrap(), pushed);
    assert_eq!(registry.document(&registry.tag("plugins/sod", &artifact.replace(':', "-"))), index);

    let pull = [
        "plugin",
        "pull",
        &place,
        "--output",
        "there",
        "--root",
        "trust-root.json",
        "--plain-http",
    ];
    deployment.must(&pull);
    assert_eq!(fs::read(deployment.path("there/sod.wasm")).unwrap(), wasm);
    assert_eq!(
        deployment.read("there/sod.manifest.json"),
        deployment.read("release/plugins/sod.manifest.json")
    );
    assert_eq!(deployment.read("there/sod.suite.yaml"), "cases: []\n");
    let verify = [
        "plugin",
        "verify",
        "--root",
        "trust-root.json",
        "--manifest",
        "there/sod.manifest.json",
        "--component",
        "there/sod.wasm",
    ];
    deployment.must(&verify);

    // A component that is not the one that was signed is not pushed.
    let mut other = wasm.clone();
    other.extend([0, 2, 1, b'x']);
    deployment.write("other.wasm", &other);
    let ran = deployment.run(&[
        "plugin",
        "push",
        &place,
        "--component",
        "other.wasm",
        "--manifest",
        "release/plugins/sod.manifest.json",
        "--plain-http",
    ]);
    assert!(ran.code == 1 && ran.err.contains("[digest-mismatch]"), "{ran:?}");

    // What lies on the registry's disk is altered: found out, and the folder stays as it was.
    for (bytes, code) in [
        (altered(&wasm), "registry-wrong-digest"),
        (wasm[..wasm.len() / 2].to_vec(), "registry-wrong-size"),
    ] {
        fs::write(registry.blob(&digest(&wasm)), bytes).unwrap();
        let ran = deployment.run(&["plugin", "pull", &place, "--output", "bad", "--plain-http"]);
        assert!(ran.code == 1 && ran.err.contains(code), "{ran:?}");
        assert!(!deployment.path("bad").exists());
    }
    let gone = format!("{}/plugins/sod:9.9.9", registry.address());
    let ran = deployment.run(&["plugin", "pull", &gone, "--output", "bad", "--plain-http"]);
    assert!(
        ran.code == 1 && ran.err.contains("[registry-lacks]") && ran.err.contains("hint:"),
        "{ran:?}"
    );
}

#[test]
fn a_registry_with_a_password_and_one_over_tls() {
    let registry = require_tool!(Registry::with_password());
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    let live = format!("{}/hooks:live", registry.address());
    deployment.write_secret("right", PASSWORD);
    deployment.write_secret("wrong", "another-password");
    let with = |file: &'static str| {
        [push(&live).as_slice(), &["--username", "ci", "--password-file", file]].concat()
    };
    for (command, why) in
        [(push(&live).to_vec(), "none is configured"), (with("wrong"), "refused the credentials")]
    {
        let ran = deployment.run(&command);
        assert!(
            ran.code == 1 && ran.err.contains("[registry-denied]") && ran.err.contains(why),
            "{ran:?}"
        );
        assert!(!ran.err.contains("another-password"));
    }
    deployment.must(&with("right"));
    follow(&deployment, &live, "username = \"ci\"\npassword_file = \"right\"\n");
    let host = deployment.serve();
    host.wait_for(release_active(1));
    let log = host.stop();
    assert!(!log.contains(PASSWORD));

    let (authority, stranger) = (Authority::new(), Authority::new());
    let registry = require_tool!(Registry::with_tls(&authority.server()));
    deployment.write("ca.pem", authority.pem());
    deployment.write("stranger.pem", stranger.pem());
    let live = format!("{}/hooks:live", registry.address());
    let push = |ca: &'static str| {
        ["release", "push", &live, "--from", "release", "--root", "trust-root.json", "--ca", ca]
    };
    let ran = deployment.run(&push("stranger.pem"));
    assert!(ran.code == 1 && ran.err.contains("[registry-unreachable]"), "{ran:?}");
    deployment.must(&push("ca.pem"));
    let pull = [
        "release",
        "pull",
        &live,
        "--output",
        "over-tls",
        "--root",
        "trust-root.json",
        "--ca",
        "ca.pem",
    ];
    assert!(deployment.must(&pull).contains("release 1 is in `over-tls`"));
    assert_eq!(deployment.read("over-tls/release.json"), deployment.read("release/release.json"));
}

#[test]
fn other_tools_read_and_copy_what_we_push() {
    let registry = require_tool!(Registry::start());
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    let live = format!("{}/hospital/hooks:live", registry.address());
    deployment.must(&push(&live));

    // skopeo copies a release whole into another repository, and a host starts from the copy.
    let mirror = format!("{}/mirror/hooks:live", registry.address());
    let copied = Command::new("skopeo")
        .args([
            "--insecure-policy",
            "copy",
            "--all",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
        ])
        .args([format!("docker://{live}"), format!("docker://{mirror}")])
        .output();
    match copied {
        Ok(copied) => {
            assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
            follow(&deployment, &mirror, "");
            let host = deployment.serve();
            host.wait_for(release_active(1));
            host.stop();
        }
        Err(_) => skip("skopeo", "Debian's `skopeo`"),
    }

    // oras pulls the component by its own reading of the layout.
    let python = require_tool!(python("oras.client"));
    let entry = deployment.opened("release/release.json")["plugins"]["org.portcullis.sod"].clone();
    let (version, serial) = (entry["version"].as_str().unwrap(), entry["serial"].as_u64().unwrap());
    let place =
        format!("{}/hospital/hooks:org.portcullis.sod-{version}.{serial}", registry.address());
    let script = "import sys, oras.client\nclient = oras.client.OrasClient(insecure=True, tls_verify=False)\nprint(client.pull(target=sys.argv[1], outdir=sys.argv[2])[0])\n";
    let pulled = Command::new(python)
        .args(["-c", script, &place, &deployment.path("oras").display().to_string()])
        .output()
        .unwrap();
    assert!(pulled.status.success(), "{}", String::from_utf8_lossy(&pulled.stderr));
    let (_, component) = only(&deployment, "oras", ".wasm");
    assert_eq!(component, fs::read(deployment.path("release/plugins/sod.wasm")).unwrap());
}

#[test]
fn tokens_are_fetched_and_the_password_goes_nowhere_else() {
    let (shelf, other) = (Shelf::start(), Shelf::start_at("127.0.0.2"));
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    deployment.write_secret("password", "secret");
    let live = format!("{}/hooks:live", shelf.address());
    let with =
        [push(&live).as_slice(), &["--username", "ci", "--password-file", "password"]].concat();
    shelf.want_tokens(&format!("http://{}/token", shelf.address()));
    deployment.must(&with);
    let heard = shelf.heard();
    let tokens: Vec<_> = heard.iter().filter(|(_, path, _)| path.starts_with("/token")).collect();
    assert!(!tokens.is_empty() && tokens.len() < 4, "one a purpose, and kept: {tokens:?}");
    assert!(
        tokens
            .iter()
            .all(|(_, path, _)| path.contains("service=shelf") && !path.contains("everything")),
        "{tokens:?}"
    );
    assert!(
        tokens.iter().any(|(_, path, _)| path.contains("scope=repository%3Ahooks%3Apull%2Cpush")),
        "{tokens:?}"
    );
    let shown = |(_, path, shown): &(String, String, String)| {
        shown.starts_with("Basic") && !path.starts_with("/token")
    };
    assert!(!heard.iter().any(shown), "only the token endpoint sees the password");

    // A challenge names another port of the same host: that is another server.
    let port = Shelf::start();
    shelf.want_tokens(&format!("http://{}/token", port.address()));
    let ran = deployment.run(&with);
    assert!(ran.code == 1 && ran.err.contains("[registry-denied]"), "{ran:?}");
    assert!(port.heard().is_empty(), "the password stays here");

    // A challenge names another host: the operator has not.
    let realm = format!("http://{}/token", other.address());
    shelf.want_tokens(&realm);
    let ran = deployment.run(&with);
    assert!(
        ran.code == 1 && ran.err.contains("[registry-denied]") && ran.err.contains("token_realm"),
        "{ran:?}"
    );
    assert!(other.heard().is_empty(), "nobody was asked");
    deployment.must(&[&with[..], &["--token-realm", &realm]].concat());
    assert!(
        other
            .heard()
            .iter()
            .all(|(_, path, shown)| path.starts_with("/token") && shown.starts_with("Basic"))
    );
    let ran = deployment.run(&[
        "release",
        "pull",
        &live,
        "--output",
        "x",
        "--root",
        "trust-root.json",
        "--plain-http",
    ]);
    assert!(
        ran.code == 1 && ran.err.contains("[registry-denied]"),
        "asked as nobody, and not let in: {ran:?}"
    );
}

#[test]
fn what_cannot_be_is_said_before_anything_is_called() {
    let deployment = TestDeployment::build(&[]);
    let by_digest = format!("registry.example/hooks@sha256:{}\"", "00".repeat(32));
    let section: fn(&str) -> String = |rest| format!("[registry]\nrelease = \"{rest}\n\n[admin]");
    for (registry, why) in [
        ("hooks:live\"", "it does not name a registry"),
        ("hospital/hooks:live\"", "does not begin with a registry's host"),
        ("registry.example/hooks\"", "it lacks a tag or a digest"),
        (by_digest.as_str(), "use a tag"),
        ("registry.example/hooks:live\"\nplain_http = true", "would send plain HTTP"),
        (
            "registry.example/hooks:live\"\nplain_http = true\nallow_remote_plaintext = true\nusername = \"ci\"\npassword_file = \"x\"",
            "must not leave",
        ),
        ("registry.example/hooks:live\"\nallow_remote_plaintext = true", "needs plain_http"),
        ("registry.example/hooks:live\"\nusername = \"ci\"", "must be set together"),
        ("registry.example/hooks:live\"\ntoken_realm = \"http://auth.example/\"", "not https"),
        ("registry.example/hooks:live\"\npoll_ms = 1", "not 500 to"),
        ("registry.example/hooks:live\"\npoll = 1", "unknown"),
        (
            "registry.example/hooks:live\"\nusername = \"ci\"\npassword_file = \"none\"",
            "registry password",
        ),
    ] {
        let before = deployment.read("portcullis.toml");
        deployment.configure("[admin]", &section(registry));
        let ran = deployment.run(&["check", "--config", "portcullis.toml"]);
        assert!(ran.code == 64 && ran.err.contains(why), "{registry}: {ran:?}");
        deployment.write("portcullis.toml", before);
    }
    for (reference, further, code) in [
        ("hooks:live", "--plain-http", 2),
        ("registry.example/hooks:live", "--plain-http", 64),
        ("registry.example/hooks:live", "--allow-remote-plaintext", 2),
        ("registry.example/hooks:live", "--username=ci", 2),
    ] {
        let ran = deployment.run(&[
            "release",
            "pull",
            reference,
            "--output",
            "x",
            "--root",
            "trust-root.json",
            further,
        ]);
        assert_eq!(ran.code, code, "{ran:?}");
    }
}

/// Has the deployment's host follow a release in a registry, into a folder of its own.
fn follow(deployment: &TestDeployment, live: &str, further: &str) {
    for file in ["release.json", "plugins", "settings"] {
        deployment.configure(&format!("\"release/{file}\""), &format!("\"pulled/{file}\""));
    }
    let registry = format!(
        "[registry]\nrelease = \"{live}\"\nplain_http = true\npoll_ms = 500\n{further}\n[admin]"
    );
    deployment.configure("[admin]", &registry);
}

fn push(live: &str) -> [&str; 8] {
    ["release", "push", live, "--from", "release", "--root", "trust-root.json", "--plain-http"]
}

/// The only file of a folder that ends so.
fn only(deployment: &TestDeployment, folder: &str, end: &str) -> (String, Vec<u8>) {
    let files = fs::read_dir(deployment.path(folder)).unwrap().map(|file| file.unwrap().path());
    let files: Vec<_> = files.filter(|path| path.to_string_lossy().ends_with(end)).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    (files[0].display().to_string(), fs::read(&files[0]).unwrap())
}

/// The same bytes but one.
fn altered(bytes: &[u8]) -> Vec<u8> {
    let mut other = bytes.to_vec();
    *other.last_mut().unwrap() ^= 1;
    other
}

/// The rules of [`duties`], which now only report.
fn lenient() -> Value {
    let mut settings = duties();
    settings["rules"][0]["action"] = json!("allow");
    settings
}
