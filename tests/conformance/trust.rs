//! Trust while it changes: roots that follow each other, keys and plugins that are revoked, reviewers, signatures from elsewhere.

use std::fs;
use std::time::{Duration, Instant};

use portcullis_tests::{
    Binding, CONFLICT, House, Import, RELEASE_SET, SignIn, TRUST_ROOT, contract, duties,
};
use serde_json::{Value, json};

#[test]
fn a_host_follows_the_trust_roots_and_never_goes_back() {
    let house = House::build(&[Binding::new("token", "sod", duties())]);
    house.configure("watch_ms = 500", "watch_ms = 0");
    house.generate("root-2");
    let host = house.serve();

    // The next root has another root key: the old one and the new one sign it, one after the other, on their own machines.
    let keys = |house: &House| {
        (
            house.read("keys/root.vkey").trim().to_owned(),
            house.read("keys/root-2.vkey").trim().to_owned(),
        )
    };
    let (old, new) = keys(&house);
    let signed = house.next_root(2, &["root"], |source| source.replace(&old, &new));
    assert!(signed.code == 0 && signed.out.contains("it cannot be used yet"), "{signed:?}");
    assert!(
        host.look(&["trust root refused"]).contains("code=\"unknown-signer\""),
        "one signature is not enough"
    );
    let add = ["root", "sign", "--add-to", "trust-roots/2.json", "--previous", "trust-root.json"];
    let added = house.must(
        &[&add[..], &["--key", "keys/root-2.key", "--output", "trust-roots/2.json"]].concat(),
    );
    assert!(!added.contains("cannot be used yet"), "{added}");
    assert!(
        house
            .must(&["root", "verify", "trust-root.json", "trust-roots/2.json"])
            .contains("trust root 2 is in order")
    );
    assert!(host.look(&["trust root accepted"]).contains("version=2"));

    // A root that only its own keys signed; one that leaves one out; neither is taken.
    let payload = house.opened_text("trust-roots/2.json");
    let third = payload.replace("\"version\":2", "\"version\":3");
    house.generate("root-3");
    let thief = third.replace(&new, house.read("keys/root-3.vkey").trim());
    let keyid = |vkey: &str| vkey.splitn(3, '+').take(2).collect::<Vec<_>>().join("+");
    let (id, thief_id) = (keyid(&new), keyid(house.read("keys/root-3.vkey").trim()));
    let thief = thief.replace(&format!("\"{id}\""), &format!("\"{thief_id}\""));
    for (code, text, by) in [
        ("root-unchained", &thief, "root-3"),
        ("root-unchained", &third, "root"),
        ("root-malformed", &third.replace("\"threshold\":1", "\"threshold\":0"), "root-2"),
        ("root-skipped", &payload.replace("\"version\":2", "\"version\":4"), "root-2"),
    ] {
        house.write("trust-roots/3.json", house.forge(by, TRUST_ROOT, text));
        assert!(host.look(&["trust root refused"]).contains(&format!("code=\"{code}\"")), "{code}");
    }
    fs::remove_file(house.path("trust-roots/3.json")).unwrap();
    host.stop();
    let roots = house.records_of("trust.root");
    assert_eq!(
        roots.iter().map(|record| record["version"].as_u64().unwrap()).collect::<Vec<_>>(),
        [1, 2]
    );
    let refused = house.records_of("trust.refused");
    let codes: Vec<_> = refused.iter().map(|record| record["code"].as_str().unwrap()).collect();
    assert_eq!(
        codes,
        ["unknown-signer", "root-unchained", "root-unchained", "root-malformed", "root-skipped"]
    );

    // Without the folder it is still root 2: the host keeps what it accepted. What the old root key signs is worth nothing.
    fs::rename(house.path("trust-roots"), house.path("away")).unwrap();
    let host = house.serve();
    host.stop();
    assert_eq!(house.records_of("trust.root").len(), 2, "nothing new");
    let pinned = house.read("trust-root.json");
    let other = house.opened_text("trust-root.json").replace("security-team", "somebody-else");
    house.write("trust-root.json", house.forge("root", TRUST_ROOT, &other));
    let ran = house.run(&["check", "--config", "portcullis.toml"]);
    assert!(
        ran.code == 64 && ran.err.contains("[root-forked]"),
        "another root 1 than the accepted one: {ran:?}"
    );
    house.write("trust-root.json", pinned);
    assert_eq!(house.run(&["check", "--config", "portcullis.toml"]).code, 0);
    fs::remove_dir_all(house.path("trust-state/roots")).unwrap();
    let ran = house.run(&["serve", "--strict", "--config", "portcullis.toml"]);
    assert!(
        ran.code == 70 && ran.err.contains("[root-lost]") && ran.err.contains("hint: "),
        "{ran:?}"
    );
}

#[test]
fn what_is_revoked_stops_at_once_and_for_good_and_the_rest_goes_on() {
    let mut house = House::build(&[
        Binding::new("token", "sod", duties()),
        Binding::new("import", "contractor", contract()),
    ]);
    house.configure("watch_ms = 500", "watch_ms = 0");
    let host = house.serve();
    let harmless = || SignIn::with_groups(&["ward-reader"]);
    assert!(!host.sign_in(&harmless()).stops_a_token());
    let (good, component) =
        (house.read("release/release.json"), house.path("release/plugins/sod.wasm"));

    // A set that revokes one plugin and cannot be taken otherwise: its other plugin's manifest is not there, and it is of a later format.
    let mut set = house.opened("release/release.json");
    set["version"] = json!(2);
    set["revoked"] = json!({"serials": {"org.portcullis.sod": [1]}});
    set["plugins"]["org.portcullis.other"] =
        json!({"version": "1.0.0", "serial": 1, "manifest": format!("sha256:{}", "0".repeat(64))});
    set["a member of a later format"] = json!(true);
    house.write("release/release.json", house.forge("publisher", RELEASE_SET, &set.to_string()));
    host.look(&["release refused"]);
    assert!(!host.sign_in(&harmless()).stops_a_token(), "only the release role revokes");
    let revoking = house.forge("release", RELEASE_SET, &set.to_string());
    house.write("release/release.json", &revoking);
    let said = host.look(&["release refused"]);
    assert!(said.contains("plugin revoked") && said.contains("release-malformed"), "{said}");
    let stopped = host.sign_in(&harmless());
    assert!(stopped.stops_a_token(), "the safe answer");
    assert_eq!(
        host.import(&Import::with_groups(&["ward-reader"])).without_reference(),
        "{}",
        "the rest goes on"
    );

    // It does not come back: not with the set that knew nothing of it, not by a restart, not without its file.
    house.write("release/release.json", &good);
    host.signal("HUP");
    assert!(host.sign_in(&harmless()).stops_a_token());
    let record = stopped.index().unwrap();
    host.kill();
    fs::remove_file(&component).unwrap();
    let host = house.serve();
    assert!(host.sign_in(&harmless()).stops_a_token());
    assert_eq!(host.import(&Import::with_groups(&["ward-reader"])).without_reference(), "{}");
    // Nor with another configuration, for whose hooks the generation is made anew.
    house.configure("[listen]\n", "[listen]\nbody_timeout_ms = 900\n");
    host.look(&["configuration active"]);
    assert!(host.sign_in(&harmless()).stops_a_token());
    assert_eq!(host.import(&Import::with_groups(&["ward-reader"])).without_reference(), "{}");
    // A set of its own that lists it is refused; a corrected plugin with a higher serial is taken.
    house.sign_plugin("sod", |source| source);
    house.release(&[
        Binding::new("token", "sod", duties()),
        Binding::new("import", "contractor", contract()),
    ]);
    assert!(
        host.look(&["release refused", "release active"]).contains("code=\"revoked-manifest\"")
    );
    house.sign_plugin("sod", |source| source.replace("serial = 1", "serial = 2"));
    house.release(&[
        Binding::new("token", "sod", duties()),
        Binding::new("import", "contractor", contract()),
    ]);
    assert!(host.look(&["release refused", "release active"]).contains("release active"));
    assert!(!host.sign_in(&harmless()).stops_a_token());
    assert!(host.sign_in(&SignIn::with_groups(&CONFLICT)).stops_a_token());
    host.stop();
    let decision = &house.record(record)["decision"];
    assert_eq!(
        (&decision["cause"], &decision["plugin"]),
        (&json!("plugin-revoked"), &json!("org.portcullis.sod"))
    );
    assert_eq!(house.records_of("trust.revoked").len(), 1, "once");
    assert_eq!(house.records_of("plugin.stopped").len(), 1);
    assert_eq!(house.verify().code, 0);
}

#[test]
fn a_revoked_key_stops_what_it_published_and_releases_nothing_more() {
    let mut house = House::build(&[Binding::new("token", "sod", duties())]);
    house.configure("watch_ms = 500", "watch_ms = 0");
    for role in ["publisher-2", "release-2"] {
        house.generate(role);
    }
    let host = house.serve();
    let vkey =
        |house: &House, role: &str| house.read(&format!("keys/{role}.vkey")).trim().to_owned();
    let exchange = |house: &House, source: String, role: &str| {
        source.replace(&vkey(house, role), &vkey(house, &format!("{role}-2")))
    };
    // The publisher's key changes hands without a bad word: what was published goes on.
    let ran = house.next_root(2, &["root"], |source| exchange(&house, source, "publisher"));
    assert_eq!(ran.code, 0, "{ran:?}");
    host.look(&["trust root accepted"]);
    assert!(!host.sign_in(&SignIn::with_groups(&["ward-reader"])).stops_a_token());
    // Then it turns out to be stolen, and so does the release key.
    let revoked = format!(
        "\n[revoked]\nkeys = [\"{}\", \"{}\"]\n",
        vkey(&house, "publisher"),
        vkey(&house, "release")
    );
    let ran =
        house.next_root(3, &["root"], |source| exchange(&house, source, "release") + &revoked);
    assert_eq!(ran.code, 0, "{ran:?}");
    let said = host.look(&["release refused", "plugin revoked"]);
    assert!(said.contains("plugin revoked"), "{said}");
    assert!(host.sign_in(&SignIn::with_groups(&["ward-reader"])).stops_a_token());
    let set = house.opened_text("release/release.json").replace("\"version\":1", "\"version\":2");
    house.write("release/release.json", house.forge("release", RELEASE_SET, &set));
    assert!(host.look(&["release refused"]).contains("code=\"revoked-key\""));
    // Everything anew, by the keys that serve.
    let (publisher, release) = (house.path("keys/publisher.key"), house.path("keys/release.key"));
    fs::rename(house.path("keys/publisher-2.key"), publisher).unwrap();
    fs::rename(house.path("keys/release-2.key"), release).unwrap();
    house.sign_plugin("sod", |source| source.replace("serial = 1", "serial = 2"));
    house.release(&[Binding::new("token", "sod", duties())]);
    assert!(host.look(&["release refused", "release active"]).contains("release active"));
    assert!(!host.sign_in(&SignIn::with_groups(&["ward-reader"])).stops_a_token());
    host.stop();
}

#[test]
fn two_people_stand_behind_a_plugin_where_the_root_asks_for_it() {
    let house = House::build(&[]);
    let reviewer = house.read("keys/reviewer.vkey").trim().to_owned();
    house.sign_root(|source| {
        source.replace(
            "[[publisher]]",
            &format!("[reviewer]\nkeys = [\"{reviewer}\"]\nthreshold = 1\n\n[[publisher]]\nneeds_reviewer = true"),
        )
    });
    house.sign_plugin("sod", |source| source);
    let manifest = "release/plugins/sod.manifest.json";
    let verify = ["plugin", "verify", "--root", "trust-root.json", "--manifest", manifest];
    let ran = house.run(&verify);
    assert!(ran.code == 1 && ran.err.contains("[review-missing]"), "{ran:?}");

    // The reviewer's key is on a token: it sees the bytes, and gives 64 back.
    house.must(&["signature", "export", manifest, "--output", "to-sign"]);
    let (_, signature) = house.signature("reviewer", &fs::read(house.path("to-sign")).unwrap());
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
    house.write("signature", wrong);
    let ran = house.run(&add);
    assert!(ran.code == 1 && ran.err.contains("[bad-signature]"), "{ran:?}");
    house.write("signature", &signature[1..]);
    assert_eq!(house.run(&add).code, 64);
    house.write("signature", signature);
    house.must(&add);
    assert!(house.must(&verify).contains("reviewed by test.example/reviewer+"));
    let listed = house.must(&["signature", "list", manifest]);
    assert!(listed.contains("in-toto") && listed.contains("test.example/reviewer+"), "{listed}");
}

#[test]
fn openssl_signs_what_is_exported() {
    let house = House::build(&[]);
    house.sign_plugin("sod", |source| source);
    let run = |arguments: &[&str]| {
        std::process::Command::new("openssl").current_dir(house.path("")).args(arguments).output()
    };
    let Ok(made) = run(&["genpkey", "-algorithm", "ed25519", "-out", "token.pem"]) else {
        println!("SKIPPED: openssl");
        return;
    };
    assert!(made.status.success());
    let der = run(&["pkey", "-in", "token.pem", "-pubout", "-outform", "DER"]).unwrap().stdout;
    house.write("token.vkey", vkey("test.example/token", &der[der.len() - 32..]));
    let manifest = "release/plugins/sod.manifest.json";
    house.must(&["signature", "export", manifest, "--output", "to-sign"]);
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
    house.must(&[
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
    let token = house.read("token.vkey");
    house.sign_root(|source| {
        let both = format!(
            "keys = [\"{}\", \"{}\"]\nthreshold = 2",
            house.read("keys/publisher.vkey").trim(),
            token.trim()
        );
        source.replace(
            &format!(
                "keys = [\"{}\"]\nthreshold = 1\nplugin",
                house.read("keys/publisher.vkey").trim()
            ),
            &format!("{both}\nplugin"),
        )
    });
    let verified =
        house.must(&["plugin", "verify", "--root", "trust-root.json", "--manifest", manifest]);
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
        let house = House::build(&[Binding::new("token", "sod", duties())]);
        let mut set = house.opened("release/release.json");
        // Long enough to start in, short enough to wait for.
        let ends = portcullis_tests::now() + 30;
        set["expires"] = json!(portcullis_tests::rfc3339(ends));
        set["grace"] = json!(portcullis_tests::rfc3339(ends + grace));
        let envelope = house.forge("release", RELEASE_SET, &set.to_string());
        let fresh = House::build(&[Binding::new("token", "sod", duties())]);
        house.write("release/release.json", &envelope);
        let host = house.serve();
        assert!(host.sign_in(&SignIn::with_groups(&CONFLICT)).stops_a_token());
        host.until_log_for("has expired", Duration::from_secs(120));
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
            let ran = house.run(&["check", "--config", "portcullis.toml"]);
            let would_not = "`serve` could not restart release set 1, which was active last";
            assert!(ran.code == 1 && ran.err.contains(would_not), "{}", ran.err);
            assert!(ran.err.contains("every call would get its safe answer"), "{}", ran.err);
        }
        let host = house.serve();
        assert_eq!(!host.sign_in(&SignIn::with_groups(&["ward-reader"])).stops_a_token(), starts);
        host.stop();
        let records: Vec<Value> =
            house.records_of(if starts { "release.active" } else { "release.refused" });
        let last = records.last().unwrap();
        assert_eq!(
            if starts { &last["restart"] } else { &last["code"] },
            &if starts { json!(true) } else { json!("grace-over") }
        );
        // A host that never had it in force does not take it.
        if starts {
            let begin = Instant::now();
            for file in ["trust-root.json", "release/plugins/sod.manifest.json"] {
                fresh.write(file, house.read(file));
            }
            fresh.write("release/release.json", &envelope);
            let ran = fresh.run(&["check", "--config", "portcullis.toml"]);
            assert!(ran.code != 0, "{ran:?} {:?}", begin.elapsed());
        }
    }
}
