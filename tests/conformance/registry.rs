//! Plugins and releases through an OCI registry that we did not write (Debian's `docker-registry`), and what other tools make of them.

use std::fs;
use std::process::Command;

use portcullis_tests::{
    Authority, Binding, CONFLICT, House, PASSWORD, Registry, Shelf, SignIn, digest, duties, python,
};
use serde_json::{Value, json};

#[test]
fn a_release_reaches_a_host_through_a_registry_and_the_registry_may_go() {
    let Some(mut registry) = Registry::start() else { return };
    let mut house = House::build(&[Binding::new("token", "sod", duties())]);
    let live = format!("{}/hospital/hooks:live", registry.address());
    let pushed = house.must(&push(&live));
    assert!(pushed.contains("release 1 pushed, 1 plugins"), "{pushed}");
    follow(&house, &live, "");

    // Nothing is on disk; the registry has all of it.
    let host = house.serve();
    host.until_log("release active generation=1");
    assert!(host.sign_in(&SignIn::with_groups(&CONFLICT)).stops_a_token());
    assert_eq!(house.read("pulled/release.json"), house.read("release/release.json"));
    let (_, component) = only(&house, "pulled/plugins", ".wasm");
    assert_eq!(component, fs::read(house.path("release/plugins/sod.wasm")).unwrap());
    assert!(!house.path("pulled/incoming").exists(), "nothing is left where it arrived");

    // The next one: the tag moves, and nobody tells the host.
    house.release(&[Binding::new("token", "sod", lenient())]);
    house.must(&push(&live));
    host.until_log("release active generation=2");
    assert!(!host.sign_in(&SignIn::with_groups(&CONFLICT)).stops_a_token());
    assert_eq!(host.metric("portcullis_registry_polls_total{outcome=\"pulled\"}"), 2.0);
    let status: Value = serde_json::from_slice(&host.admin("/status").body).unwrap();
    assert_eq!(status["registry"]["release"], live);
    assert_eq!(status["registry"]["artifact"], registry.tag("hospital/hooks", "live"));
    host.stop();
    let pulled = house.records_of("release.pulled");
    assert_eq!(pulled.iter().map(|record| &record["version"]).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(pulled[1]["set"], digest(house.opened_text("release/release.json").as_bytes()));

    // The registry is gone: the host boots from its disk, decides, and says that it cannot look.
    registry.stop();
    let host = house.serve();
    assert!(host.log().contains("release active generation=2"), "at once: {}", host.log());
    assert!(!host.sign_in(&SignIn::with_groups(&CONFLICT)).stops_a_token());
    host.until_log("nothing pulled; what is here goes on");
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
    house.release(&[Binding::new("token", "sod", duties())]);
    house.must(&push(&live));
    host.signal("HUP");
    host.until_log("release active generation=3");
    host.stop();
    assert!(house.records_of("release.pull-refused").is_empty(), "silence is no refusal");
}

#[test]
fn an_older_set_in_the_registry_changes_nothing() {
    let Some(registry) = Registry::start() else { return };
    let mut house = House::build(&[Binding::new("token", "sod", duties())]);
    let (live, old) = (
        format!("{}/hooks:live", registry.address()),
        format!("{}/hooks:release-1", registry.address()),
    );
    house.must(&push(&live));
    house.release(&[Binding::new("token", "sod", lenient())]);
    house.must(&push(&live));
    follow(&house, &live, "");
    let host = house.serve();
    host.until_log("release active generation=2");

    // Somebody moves the tag back: what is there is well signed.
    assert_eq!(
        house
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
    let ran = house.run(&[
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
    assert!(host.look(&["nothing pulled"]).contains("code=\"release-older\""));
    let refused =
        house.until_record("release.pull-refused", |record| record["code"] == "release-older");
    assert_eq!(refused["artifact"], registry.tag("hooks", "live"));
    host.look(&["nothing pulled"]);
    assert!(!host.sign_in(&SignIn::with_groups(&CONFLICT)).stops_a_token(), "generation 2 decides");
    host.stop();
    assert_eq!(house.records_of("release.pull-refused").len(), 1, "said once");
    // Nor does the command go back in a folder.
    let ran = house.run(&[
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
    let Some(registry) = Registry::start() else { return };
    let mut house = House::build(&[Binding::new("token", "sod", duties())]);
    let live = format!("{}/hooks:live", registry.address());
    house.must(&push(&live));
    follow(&house, &live, "");
    let host = house.serve();
    host.until_log("release active generation=1");
    let kept = house.read("pulled/release.json");
    let mut misspelt = duties();
    misspelt["rules"][0]["b"] = json!("dispence");
    house.release(&[Binding::new("token", "sod", misspelt)]);
    house.must(&push(&live));
    assert!(host.look(&["nothing pulled"]).contains("plugin-settings-refused"));
    assert_eq!(house.read("pulled/release.json"), kept);
    host.stop();
    let host = house.serve();
    assert!(
        host.sign_in(&SignIn::with_groups(&CONFLICT)).stops_a_token(),
        "it starts again on the last good one"
    );
    house.release(&[Binding::new("token", "sod", lenient())]);
    house.must(&push(&live));
    host.signal("HUP");
    host.until_log("release active generation=3");
    host.stop();
}

#[test]
fn a_trust_root_comes_with_the_release_that_needs_it() {
    let Some(registry) = Registry::start() else { return };
    let mut house = House::build(&[Binding::new("token", "sod", duties())]);
    let live = format!("{}/hooks:live", registry.address());
    house.must(&push(&live));
    follow(&house, &live, "");
    house.configure(
        "root = \"trust-root.json\"",
        "root = \"trust-root.json\"\nroots = \"hosts-roots\"",
    );
    let host = house.serve();
    host.until_log("release active generation=1");
    // Another release key, let in by the next root: without that root the set is nobody's.
    house.generate("release-2");
    let (old, new) = (house.read("keys/release.vkey"), house.read("keys/release-2.vkey"));
    let ran = house.next_root(2, &["root"], |source| source.replace(old.trim(), new.trim()));
    assert_eq!(ran.code, 0, "{ran:?}");
    fs::copy(house.path("keys/release-2.key"), house.path("keys/release.key")).unwrap();
    house.release(&[Binding::new("token", "sod", lenient())]);
    let mut command = push(&live).to_vec();
    command.extend(["--root", "trust-roots/2.json"]);
    house.must(&command);
    host.until_log("trust root accepted version=2");
    host.until_log("release active generation=2");
    host.stop();
}

#[test]
fn a_plugin_is_pushed_and_pulled_with_its_manifest_as_a_referrer() {
    let Some(registry) = Registry::start() else { return };
    let house = House::build(&[Binding::new("token", "sod", duties())]);
    house.write("suite.yaml", "cases: []\n");
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
    let pushed: Value = serde_json::from_str(&house.must(&push)).unwrap();
    let wasm = fs::read(house.path("release/plugins/sod.wasm")).unwrap();
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
    let statement = house.opened("release/plugins/sod.manifest.json");
    assert_eq!(
        statement["subject"][0]["digest"]["sha256"],
        digest(&wasm).trim_start_matches("sha256:")
    );

    // Again, and nothing changes; another signature on the same manifest is one more referrer.
    assert_eq!(serde_json::from_str::<Value>(&house.must(&push)).unwrap(), pushed);
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
    house.must(&pull);
    assert_eq!(fs::read(house.path("there/sod.wasm")).unwrap(), wasm);
    assert_eq!(
        house.read("there/sod.manifest.json"),
        house.read("release/plugins/sod.manifest.json")
    );
    assert_eq!(house.read("there/sod.suite.yaml"), "cases: []\n");
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
    house.must(&verify);

    // A component that is not the one that was signed is not pushed.
    let mut other = wasm.clone();
    other.extend([0, 2, 1, b'x']);
    house.write("other.wasm", &other);
    let ran = house.run(&[
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
        let ran = house.run(&["plugin", "pull", &place, "--output", "bad", "--plain-http"]);
        assert!(ran.code == 1 && ran.err.contains(code), "{ran:?}");
        assert!(!house.path("bad").exists());
    }
    let gone = format!("{}/plugins/sod:9.9.9", registry.address());
    let ran = house.run(&["plugin", "pull", &gone, "--output", "bad", "--plain-http"]);
    assert!(
        ran.code == 1 && ran.err.contains("[registry-lacks]") && ran.err.contains("hint:"),
        "{ran:?}"
    );
}

#[test]
fn a_registry_with_a_password_and_one_over_tls() {
    let Some(registry) = Registry::with_password() else { return };
    let house = House::build(&[Binding::new("token", "sod", duties())]);
    let live = format!("{}/hooks:live", registry.address());
    house.write_secret("right", PASSWORD);
    house.write_secret("wrong", "another-password");
    let with = |file: &'static str| {
        [push(&live).as_slice(), &["--username", "ci", "--password-file", file]].concat()
    };
    for (command, why) in [(push(&live).to_vec(), "none is set"), (with("wrong"), "does not take")]
    {
        let ran = house.run(&command);
        assert!(
            ran.code == 1 && ran.err.contains("[registry-denied]") && ran.err.contains(why),
            "{ran:?}"
        );
        assert!(!ran.err.contains("another-password"));
    }
    house.must(&with("right"));
    follow(&house, &live, "username = \"ci\"\npassword_file = \"right\"\n");
    let host = house.serve();
    host.until_log("release active generation=1");
    let log = host.stop();
    assert!(!log.contains(PASSWORD));

    let (authority, stranger) = (Authority::new(), Authority::new());
    let Some(registry) = Registry::with_tls(&authority.server()) else { return };
    house.write("ca.pem", authority.pem());
    house.write("stranger.pem", stranger.pem());
    let live = format!("{}/hooks:live", registry.address());
    let push = |ca: &'static str| {
        ["release", "push", &live, "--from", "release", "--root", "trust-root.json", "--ca", ca]
    };
    let ran = house.run(&push("stranger.pem"));
    assert!(ran.code == 1 && ran.err.contains("[registry-unreachable]"), "{ran:?}");
    house.must(&push("ca.pem"));
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
    assert!(house.must(&pull).contains("release 1 is in `over-tls`"));
    assert_eq!(house.read("over-tls/release.json"), house.read("release/release.json"));
}

#[test]
fn other_tools_read_and_copy_what_we_push() {
    let Some(registry) = Registry::start() else { return };
    let house = House::build(&[Binding::new("token", "sod", duties())]);
    let live = format!("{}/hospital/hooks:live", registry.address());
    house.must(&push(&live));

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
            follow(&house, &mirror, "");
            let host = house.serve();
            host.until_log("release active generation=1");
            host.stop();
        }
        Err(_) => {
            assert!(std::env::var_os("PORTCULLIS_REQUIRE_INTEROP").is_none(), "there is no skopeo");
            println!("skipped: there is no skopeo");
        }
    }

    // oras pulls the component by its own reading of the layout.
    let Some(python) = python("oras.client") else { return };
    let entry = house.opened("release/release.json")["plugins"]["org.portcullis.sod"].clone();
    let (version, serial) = (entry["version"].as_str().unwrap(), entry["serial"].as_u64().unwrap());
    let place =
        format!("{}/hospital/hooks:org.portcullis.sod-{version}.{serial}", registry.address());
    let script = "import sys, oras.client\nclient = oras.client.OrasClient(insecure=True, tls_verify=False)\nprint(client.pull(target=sys.argv[1], outdir=sys.argv[2])[0])\n";
    let pulled = Command::new(python)
        .args(["-c", script, &place, &house.path("oras").display().to_string()])
        .output()
        .unwrap();
    assert!(pulled.status.success(), "{}", String::from_utf8_lossy(&pulled.stderr));
    let (_, component) = only(&house, "oras", ".wasm");
    assert_eq!(component, fs::read(house.path("release/plugins/sod.wasm")).unwrap());
}

#[test]
fn tokens_are_fetched_and_the_password_goes_nowhere_else() {
    let (shelf, other) = (Shelf::start(), Shelf::start_at("127.0.0.2"));
    let house = House::build(&[Binding::new("token", "sod", duties())]);
    house.write_secret("password", "secret");
    let live = format!("{}/hooks:live", shelf.address());
    let with =
        [push(&live).as_slice(), &["--username", "ci", "--password-file", "password"]].concat();
    shelf.want_tokens(&format!("http://{}/token", shelf.address()));
    house.must(&with);
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
    let ran = house.run(&with);
    assert!(ran.code == 1 && ran.err.contains("[registry-denied]"), "{ran:?}");
    assert!(port.heard().is_empty(), "the password stays here");

    // A challenge names another host: the operator has not.
    let realm = format!("http://{}/token", other.address());
    shelf.want_tokens(&realm);
    let ran = house.run(&with);
    assert!(
        ran.code == 1 && ran.err.contains("[registry-denied]") && ran.err.contains("token_realm"),
        "{ran:?}"
    );
    assert!(other.heard().is_empty(), "nobody was asked");
    house.must(&[&with[..], &["--token-realm", &realm]].concat());
    assert!(
        other
            .heard()
            .iter()
            .all(|(_, path, shown)| path.starts_with("/token") && shown.starts_with("Basic"))
    );
    let ran = house.run(&[
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
    let house = House::build(&[]);
    let by_digest = format!("registry.example/hooks@sha256:{}\"", "00".repeat(32));
    let section: fn(&str) -> String = |rest| format!("[registry]\nrelease = \"{rest}\n\n[admin]");
    for (registry, why) in [
        ("hooks:live\"", "it does not name a registry"),
        ("hospital/hooks:live\"", "does not begin with a registry's host"),
        ("registry.example/hooks\"", "it lacks a tag or a digest"),
        (by_digest.as_str(), "name a tag"),
        ("registry.example/hooks:live\"\nplain_http = true", "would leave this machine"),
        (
            "registry.example/hooks:live\"\nplain_http = true\nallow_remote_plaintext = true\nusername = \"ci\"\npassword_file = \"x\"",
            "must not leave",
        ),
        ("registry.example/hooks:live\"\nallow_remote_plaintext = true", "without plain_http"),
        ("registry.example/hooks:live\"\nusername = \"ci\"", "go together"),
        ("registry.example/hooks:live\"\ntoken_realm = \"http://auth.example/\"", "not https"),
        ("registry.example/hooks:live\"\npoll_ms = 1", "not 500 to"),
        ("registry.example/hooks:live\"\npoll = 1", "unknown"),
        (
            "registry.example/hooks:live\"\nusername = \"ci\"\npassword_file = \"none\"",
            "registry password",
        ),
    ] {
        let before = house.read("portcullis.toml");
        house.configure("[admin]", &section(registry));
        let ran = house.run(&["check", "--config", "portcullis.toml"]);
        assert!(ran.code == 64 && ran.err.contains(why), "{registry}: {ran:?}");
        house.write("portcullis.toml", before);
    }
    for (reference, further, code) in [
        ("hooks:live", "--plain-http", 2),
        ("registry.example/hooks:live", "--plain-http", 64),
        ("registry.example/hooks:live", "--allow-remote-plaintext", 2),
        ("registry.example/hooks:live", "--username=ci", 2),
    ] {
        let ran = house.run(&[
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

/// Has the house's host follow a release in a registry, into a folder of its own.
fn follow(house: &House, live: &str, further: &str) {
    for file in ["release.json", "plugins", "settings"] {
        house.configure(&format!("\"release/{file}\""), &format!("\"pulled/{file}\""));
    }
    let registry = format!(
        "[registry]\nrelease = \"{live}\"\nplain_http = true\npoll_ms = 500\n{further}\n[admin]"
    );
    house.configure("[admin]", &registry);
}

fn push(live: &str) -> [&str; 8] {
    ["release", "push", live, "--from", "release", "--root", "trust-root.json", "--plain-http"]
}

/// The only file of a folder that ends so.
fn only(house: &House, folder: &str, end: &str) -> (String, Vec<u8>) {
    let files = fs::read_dir(house.path(folder)).unwrap().map(|file| file.unwrap().path());
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
