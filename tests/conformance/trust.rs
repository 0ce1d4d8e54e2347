//! Trust while it changes: roots that follow each other, keys and plugins that are revoked, reviewers, signatures from elsewhere.

use std::fs;

use portcullis_tests::{
    Binding, CONFLICT, Import, MovedClock, RELEASE_SET, SignIn, TRUST_ROOT, TestDeployment,
    contract, duties, log_event, release_refused, skip,
};
use serde_json::{Value, json};

#[test]
fn a_host_follows_the_trust_roots_and_never_goes_back() {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    deployment.configure("watch_ms = 500", "watch_ms = 0");
    deployment.generate("root-2");
    let host = deployment.serve();

    // The next root has another root key: the old one and the new one sign it, one after the other, on their own machines.
    let keys = |deployment: &TestDeployment| {
        (
            deployment.read("keys/root.vkey").trim().to_owned(),
            deployment.read("keys/root-2.vkey").trim().to_owned(),
        )
    };
    let (old, new) = keys(&deployment);
    let signed = deployment.next_root(2, &["root"], |source| source.replace(&old, &new));
    assert!(signed.code == 0 && signed.out.contains("it cannot be used yet"), "{signed:?}");
    assert!(
        host.reload_until(["trust.root-refused"])
            .has(log_event("trust.root-refused").field("code", "unknown-signer")),
        "one signature is not enough"
    );
    let add = ["root", "sign", "--add-to", "trust-roots/2.json", "--previous", "trust-root.json"];
    let added = deployment.must(
        &[&add[..], &["--key", "keys/root-2.key", "--output", "trust-roots/2.json"]].concat(),
    );
    assert!(!added.contains("cannot be used yet"), "{added}");
    assert!(
        deployment
            .must(&["root", "verify", "trust-root.json", "trust-roots/2.json"])
            .contains("trust root 2 is valid")
    );
    host.reload_until([log_event("trust.root-accepted").field("version", 2)]);

    // A root that only its own keys signed; one that leaves one out; neither is taken.
    let payload = deployment.opened_text("trust-roots/2.json");
    let third = payload.replace("\"version\":2", "\"version\":3");
    deployment.generate("root-3");
    let thief = third.replace(&new, deployment.read("keys/root-3.vkey").trim());
    let keyid = |vkey: &str| vkey.splitn(3, '+').take(2).collect::<Vec<_>>().join("+");
    let (id, thief_id) = (keyid(&new), keyid(deployment.read("keys/root-3.vkey").trim()));
    let thief = thief.replace(&format!("\"{id}\""), &format!("\"{thief_id}\""));
    for (code, text, by) in [
        ("root-unchained", &thief, "root-3"),
        ("root-unchained", &third, "root"),
        ("root-malformed", &third.replace("\"threshold\":1", "\"threshold\":0"), "root-2"),
        ("root-skipped", &payload.replace("\"version\":2", "\"version\":4"), "root-2"),
    ] {
        deployment.write("trust-roots/3.json", deployment.forge(by, TRUST_ROOT, text));
        host.reload_until([log_event("trust.root-refused").field("code", code)]);
    }
    fs::remove_file(deployment.path("trust-roots/3.json")).unwrap();
    host.stop();
    let roots = deployment.records_of("trust.root");
    assert_eq!(
        roots.iter().map(|record| record["version"].as_u64().unwrap()).collect::<Vec<_>>(),
        [1, 2]
    );
    let refused = deployment.records_of("trust.refused");
    let codes: Vec<_> = refused.iter().map(|record| record["code"].as_str().unwrap()).collect();
    assert_eq!(
        codes,
        ["unknown-signer", "root-unchained", "root-unchained", "root-malformed", "root-skipped"]
    );

    // Without the folder it is still root 2: the host keeps what it accepted. What the old root key signs is worth nothing.
    fs::rename(deployment.path("trust-roots"), deployment.path("away")).unwrap();
    let host = deployment.serve();
    host.stop();
    assert_eq!(deployment.records_of("trust.root").len(), 2, "nothing new");
    let pinned = deployment.read("trust-root.json");
    let other = deployment.opened_text("trust-root.json").replace("security-team", "somebody-else");
    deployment.write("trust-root.json", deployment.forge("root", TRUST_ROOT, &other));
    let ran = deployment.run(&["check", "--config", "portcullis.toml"]);
    assert!(
        ran.code == 64 && ran.err.contains("[root-forked]"),
        "another root 1 than the accepted one: {ran:?}"
    );
    deployment.write("trust-root.json", pinned);
    assert_eq!(deployment.run(&["check", "--config", "portcullis.toml"]).code, 0);
    fs::remove_dir_all(deployment.path("trust-state/roots")).unwrap();
    let ran = deployment.run(&["serve", "--strict", "--config", "portcullis.toml"]);
    assert!(
        ran.code == 70 && ran.err.contains("[root-lost]") && ran.err.contains("hint: "),
        "{ran:?}"
    );
}

#[test]
fn what_is_revoked_stops_at_once_and_for_good_and_the_rest_goes_on() {
    let mut deployment = TestDeployment::build(&[
        Binding::new("token", "sod", duties()),
        Binding::new("import", "contractor", contract()),
    ]);
    deployment.configure("watch_ms = 500", "watch_ms = 0");
    let host = deployment.serve();
    let harmless = || SignIn::with_groups(&["ward-reader"]);
    assert!(!host.sign_in(&harmless()).stops_a_token());
    let (good, component) =
        (deployment.read("release/release.json"), deployment.path("release/plugins/sod.wasm"));

    // A set that revokes one plugin and cannot be taken otherwise: its other plugin's manifest is not there, and it is of a later format.
    let mut set = deployment.opened("release/release.json");
    set["version"] = json!(2);
    set["revoked"] = json!({"serials": {"org.portcullis.sod": [1]}});
    set["plugins"]["org.portcullis.other"] =
        json!({"version": "1.0.0", "serial": 1, "manifest": format!("sha256:{}", "0".repeat(64))});
    set["a member of a later format"] = json!(true);
    deployment.write(
        "release/release.json",
        deployment.forge("publisher", RELEASE_SET, &set.to_string()),
    );
    host.reload_until(["release.refused"]);
    assert!(!host.sign_in(&harmless()).stops_a_token(), "only the release role revokes");
    let revoking = deployment.forge("release", RELEASE_SET, &set.to_string());
    deployment.write("release/release.json", &revoking);
    let said = host.reload_until(["release.refused"]);
    assert!(said.has("plugin.revoked"), "{said}");
    assert!(said.has(release_refused("release-malformed")), "{said}");
    let stopped = host.sign_in(&harmless());
    assert!(stopped.stops_a_token(), "the safe answer");
    assert_eq!(
        host.import(&Import::with_groups(&["ward-reader"])).without_reference(),
        "{}",
        "the rest goes on"
    );

    // It does not come back: not with the set that knew nothing of it, not by a restart, not without its file.
    deployment.write("release/release.json", &good);
    host.signal("HUP");
    assert!(host.sign_in(&harmless()).stops_a_token());
    let record = stopped.index().unwrap();
    host.kill();
    fs::remove_file(&component).unwrap();
    let host = deployment.serve();
    assert!(host.sign_in(&harmless()).stops_a_token());
    assert_eq!(host.import(&Import::with_groups(&["ward-reader"])).without_reference(), "{}");
    // Nor with another configuration, for whose hooks the generation is made anew.
    deployment.configure("[listen]\n", "[listen]\nbody_timeout_ms = 900\n");
    host.reload_until(["config.active"]);
    assert!(host.sign_in(&harmless()).stops_a_token());
    assert_eq!(host.import(&Import::with_groups(&["ward-reader"])).without_reference(), "{}");
    // A set of its own that lists it is refused; a corrected plugin with a higher serial is taken.
    deployment.sign_plugin("sod", |source| source);
    deployment.release(&[
        Binding::new("token", "sod", duties()),
        Binding::new("import", "contractor", contract()),
    ]);
    assert!(
        host.reload_until(["release.refused", "release.active"])
            .has(release_refused("revoked-manifest"))
    );
    deployment.sign_plugin("sod", |source| source.replace("serial = 1", "serial = 2"));
    deployment.release(&[
        Binding::new("token", "sod", duties()),
        Binding::new("import", "contractor", contract()),
    ]);
    assert!(host.reload_until(["release.refused", "release.active"]).has("release.active"));
    assert!(!host.sign_in(&harmless()).stops_a_token());
    assert!(host.sign_in(&SignIn::with_groups(&CONFLICT)).stops_a_token());
    host.stop();
    let decision = &deployment.record(record)["decision"];
    assert_eq!(
        (&decision["cause"], &decision["plugin"]),
        (&json!("plugin-revoked"), &json!("org.portcullis.sod"))
    );
    assert_eq!(deployment.records_of("trust.revoked").len(), 1, "once");
    assert_eq!(deployment.records_of("plugin.stopped").len(), 1);
    assert_eq!(deployment.verify().code, 0);
}

#[test]
fn a_revoked_key_stops_what_it_published_and_releases_nothing_more() {
    let mut deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    deployment.configure("watch_ms = 500", "watch_ms = 0");
    for role in ["publisher-2", "release-2"] {
        deployment.generate(role);
    }
    let host = deployment.serve();
    let vkey = |deployment: &TestDeployment, role: &str| {
        deployment.read(&format!("keys/{role}.vkey")).trim().to_owned()
    };
    let exchange = |deployment: &TestDeployment, source: String, role: &str| {
        source.replace(&vkey(deployment, role), &vkey(deployment, &format!("{role}-2")))
    };
    // The publisher's key changes hands without a bad word: what was published goes on.
    let ran =
        deployment.next_root(2, &["root"], |source| exchange(&deployment, source, "publisher"));
    assert_eq!(ran.code, 0, "{ran:?}");
    host.reload_until(["trust.root-accepted"]);
    assert!(!host.sign_in(&SignIn::with_groups(&["ward-reader"])).stops_a_token());
    // Then it turns out to be stolen, and so does the release key.
    let revoked = format!(
        "\n[revoked]\nkeys = [\"{}\", \"{}\"]\n",
        vkey(&deployment, "publisher"),
        vkey(&deployment, "release")
    );
    let ran = deployment
        .next_root(3, &["root"], |source| exchange(&deployment, source, "release") + &revoked);
    assert_eq!(ran.code, 0, "{ran:?}");
    let said = host.reload_until(["release.refused", "plugin.revoked"]);
    assert!(said.has("plugin.revoked"), "{said}");
    assert!(host.sign_in(&SignIn::with_groups(&["ward-reader"])).stops_a_token());
    let set =
        deployment.opened_text("release/release.json").replace("\"version\":1", "\"version\":2");
    deployment.write("release/release.json", deployment.forge("release", RELEASE_SET, &set));
    assert!(host.reload_until(["release.refused"]).has(release_refused("revoked-key")));
    // Everything anew, by the keys that serve.
    let (publisher, release) =
        (deployment.path("keys/publisher.key"), deployment.path("keys/release.key"));
    fs::rename(deployment.path("keys/publisher-2.key"), publisher).unwrap();
    fs::rename(deployment.path("keys/release-2.key"), release).unwrap();
    deployment.sign_plugin("sod", |source| source.replace("serial = 1", "serial = 2"));
    deployment.release(&[Binding::new("token", "sod", duties())]);
    assert!(host.reload_until(["release.refused", "release.active"]).has("release.active"));
    assert!(!host.sign_in(&SignIn::with_groups(&["ward-reader"])).stops_a_token());
    host.stop();
}

#[test]
fn two_people_stand_behind_a_plugin_where_the_root_asks_for_it() {
    let deployment = TestDeployment::build(&[]);
    let reviewer = deployment.read("keys/reviewer.vkey").trim().to_owned();
    deployment.sign_root(|source| {
        source.replace(
            "[[publisher]]",
            &format!("[reviewer]\nkeys = [\"{reviewer}\"]\nthreshold = 1\n\n[[publisher]]\nneeds_reviewer = true"),
        )
    });
    deployment.sign_plugin("sod", |source| source);
    let manifest = "release/plugins/sod.manifest.json";
    let verify = ["plugin", "verify", "--root", "trust-root.json", "--manifest", manifest];
    let ran = deployment.run(&verify);
    assert!(ran.code == 1 && ran.err.contains("[review-missing]"), "{ran:?}");

    // The reviewer's key is on a token: it sees the bytes, and gives 64 back.
    deployment.must(&["signature", "export", manifest, "--output", "to-sign"]);
    let (_, signature) =
        deployment.signature("reviewer", &fs::read(deployment.path("to-sign")).unwrap());
    let add = [
        "signature",
        "add",
        manifest,
        "--vkey",
        "keys/reviewer.vkey",
        "--signature",
        "signature",
        "--output",
        manifest,
    ];
    let mut wrong = signature;
    wrong[7] ^= 1;
    deployment.write("signature", wrong);
    let ran = deployment.run(&add);
    assert!(ran.code == 1 && ran.err.contains("[bad-signature]"), "{ran:?}");
    deployment.write("signature", &signature[1..]);
    assert_eq!(deployment.run(&add).code, 64);
    deployment.write("signature", signature);
    deployment.must(&add);
    assert!(deployment.must(&verify).contains("reviewed by test.example/reviewer+"));
    let listed = deployment.must(&["signature", "list", manifest]);
    assert!(listed.contains("in-toto") && listed.contains("test.example/reviewer+"), "{listed}");
}

#[test]
fn openssl_signs_what_is_exported() {
    let deployment = TestDeployment::build(&[]);
    deployment.sign_plugin("sod", |source| source);
    let run = |arguments: &[&str]| {
        std::process::Command::new("openssl")
            .current_dir(deployment.path(""))
            .args(arguments)
            .output()
    };
    let Ok(made) = run(&["genpkey", "-algorithm", "ed25519", "-out", "token.pem"]) else {
        return skip("openssl", "Debian's `openssl`");
    };
    assert!(made.status.success());
    let der = run(&["pkey", "-in", "token.pem", "-pubout", "-outform", "DER"]).unwrap().stdout;
    deployment.write("token.vkey", vkey("test.example/token", &der[der.len() - 32..]));
    let manifest = "release/plugins/sod.manifest.json";
    deployment.must(&["signature", "export", manifest, "--output", "to-sign"]);
    let signed = run(&[
        "pkeyutl",
        "-sign",
        "-rawin",
        "-inkey",
        "token.pem",
        "-in",
        "to-sign",
        "-out",
        "signature",
    ])
    .unwrap();
    assert!(signed.status.success(), "{signed:?}");
    deployment.must(&[
        "signature",
        "add",
        manifest,
        "--vkey",
        "token.vkey",
        "--signature",
        "signature",
        "--output",
        manifest,
    ]);
    let token = deployment.read("token.vkey");
    deployment.sign_root(|source| {
        let both = format!(
            "keys = [\"{}\", \"{}\"]\nthreshold = 2",
            deployment.read("keys/publisher.vkey").trim(),
            token.trim()
        );
        source.replace(
            &format!(
                "keys = [\"{}\"]\nthreshold = 1\nplugin",
                deployment.read("keys/publisher.vkey").trim()
            ),
            &format!("{both}\nplugin"),
        )
    });
    let verified =
        deployment.must(&["plugin", "verify", "--root", "trust-root.json", "--manifest", manifest]);
    assert!(verified.contains("test.example/token+"), "{verified}");
}

/// A public key as C2SP writes it.
fn vkey(name: &str, public: &[u8]) -> String {
    use base64::Engine as _;
    use sha2::{Digest as _, Sha256};
    let id =
        Sha256::new().chain_update(name).chain_update(b"\n\x01").chain_update(public).finalize();
    let material = base64::engine::general_purpose::STANDARD.encode([&[1], public].concat());
    format!(
        "{name}+{}+{material}",
        id[..4].iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    )
}

#[test]
fn a_set_that_was_active_starts_again_until_its_grace_ends() {
    for (grace, starts) in [(86_400, true), (0, false)] {
        let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
        let mut set = deployment.opened("release/release.json");
        let ends = portcullis_tests::now() + 3_600;
        set["expires"] = json!(portcullis_tests::rfc3339(ends));
        set["grace"] = json!(portcullis_tests::rfc3339(ends + grace));
        let envelope = deployment.forge("release", RELEASE_SET, &set.to_string());
        let fresh = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
        deployment.write("release/release.json", &envelope);
        let clock = MovedClock::new();
        let host = clock.serve(&deployment);
        assert!(host.sign_in(&SignIn::with_groups(&CONFLICT)).stops_a_token());
        clock.ahead(3_601);
        host.wait_for("release.expired");
        assert!(
            !host.sign_in(&SignIn::with_groups(&["ward-reader"])).stops_a_token(),
            "it goes on while it runs"
        );
        // Both tell what a restart would come to.
        let ready = host.admin("/ready");
        let told = ready.json["warnings"].to_string().contains("\"grace-over\"");
        assert_eq!((ready.status, told), (200, !starts), "{}", ready.json);
        host.stop();
        if !starts {
            let ran = deployment.run_by(clock.command(), &["check", "--config", "portcullis.toml"]);
            let would_not = "`serve` could not restart release set 1, which was active last";
            assert!(ran.code == 1 && ran.err.contains(would_not), "{}", ran.err);
            assert!(ran.err.contains("every call would get its safe answer"), "{}", ran.err);
        }
        let host = clock.serve(&deployment);
        assert_eq!(!host.sign_in(&SignIn::with_groups(&["ward-reader"])).stops_a_token(), starts);
        host.stop();
        let records: Vec<Value> =
            deployment.records_of(if starts { "release.active" } else { "release.refused" });
        let last = records.last().unwrap();
        assert_eq!(
            if starts { &last["restart"] } else { &last["code"] },
            &if starts { json!(true) } else { json!("grace-over") }
        );
        // A host that never had it active does not take it.
        if starts {
            for file in ["trust-root.json", "release/plugins/sod.manifest.json"] {
                fresh.write(file, deployment.read(file));
            }
            fresh.write("release/release.json", &envelope);
            let ran = fresh.run_by(clock.command(), &["check", "--config", "portcullis.toml"]);
            assert_ne!(ran.code, 0, "{ran:?}");
        }
    }
}
