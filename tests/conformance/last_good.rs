//! The last good release survives a restart: whatever has become of the release folders, of one
//! plugin's settings or of the configuration meanwhile, a host that had an active release starts
//! with it again, and says so.

use std::fs;
use std::os::unix::fs::symlink;

use portcullis_tests::{
    Answer, Binding, CONFLICT, Host, Import, RELEASE_SET, SignIn, TestDeployment, assertion,
    contract, duties, log_event, release_active, wrongly_signed,
};
use serde_json::{Value, json};

/// The rules of [`duties`], which now only report.
fn lenient() -> Value {
    let mut settings = duties();
    settings["rules"][0]["action"] = json!("allow");
    settings
}

/// A deployment in which release 1 was active, and which is not served any more.
fn served_once() -> TestDeployment {
    let mut deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    deployment.configure("watch_ms = 500", "watch_ms = 0");
    deployment.release(&[
        Binding::new("token", "sod", duties()),
        Binding::new("import", "contractor", contract()),
    ]);
    deployment.serve().stop();
    deployment
}

fn codes(ready: &Answer, part: &str) -> Vec<String> {
    let body: Value = serde_json::from_slice(&ready.body).unwrap();
    let list = body[part].as_array().unwrap().iter();
    list.map(|one| one["code"].as_str().unwrap().to_owned()).collect()
}

fn warnings(host: &Host) -> Vec<String> {
    codes(&host.admin("/ready"), "warnings")
}

/// Release 2 decides on every hook, from the host's own copy, and the host says so.
fn goes_on(host: &Host, what: &str) {
    assert!(host.log().has(release_active(2)), "{what}: release 2 does not start:\n{}", host.log());
    let conflict = host.sign_in(&SignIn::with_groups(&CONFLICT));
    assert!(conflict.stops_a_token(), "{what}: {conflict:?}");
    let harmless = host.sign_in(&SignIn::with_groups(&["ward-reader"]));
    assert!(!harmless.stops_a_token(), "{what}: {harmless:?}");
    let ready = host.admin("/ready");
    assert_eq!(ready.status, 200, "{what}: {ready:?}");
    let warnings = codes(&ready, "warnings");
    assert!(warnings.contains(&"last-good-release".to_owned()), "{what}: {warnings:?}");
    assert!(warnings.contains(&"release-refused".to_owned()), "{what}: {warnings:?}");
    let status: Value = serde_json::from_slice(&host.admin("/status").body).unwrap();
    assert_eq!(status["generation"]["last_good"], true, "{what}");
}

#[test]
fn a_release_folder_in_any_disorder_does_not_end_the_release_at_a_restart() {
    type Harm = (&'static str, fn(&TestDeployment), &'static str);
    let harms: [Harm; 13] = [
        (
            "an empty object",
            |deployment| deployment.write("release/release.json", "{}"),
            "envelope-malformed",
        ),
        (
            "an empty file",
            |deployment| deployment.write("release/release.json", ""),
            "envelope-malformed",
        ),
        (
            "no set",
            |deployment| fs::remove_file(deployment.path("release/release.json")).unwrap(),
            "unreadable",
        ),
        (
            "a wrong signature",
            |deployment| {
                let signed = wrongly_signed(&deployment.read("release/release.json"));
                deployment.write("release/release.json", signed);
            },
            "bad-signature",
        ),
        (
            "no signature",
            |deployment| {
                deployment
                    .write("release/release.json", unsigned(deployment, "release/release.json"))
            },
            "unsigned",
        ),
        (
            "a manifest without its signature",
            |deployment| {
                let manifest = "release/plugins/sod.manifest.json";
                deployment.write(manifest, unsigned(deployment, manifest));
            },
            "unsigned",
        ),
        (
            "settings that are gone",
            |deployment| fs::remove_file(deployment.path("release/settings/2-1.json")).unwrap(),
            "file-missing",
        ),
        (
            "settings that were altered",
            |deployment| deployment.write("release/settings/2-1.json", lenient().to_string()),
            "file-missing",
        ),
        (
            "a component that was altered",
            |deployment| {
                let mut bytes = fs::read(deployment.path("release/plugins/sod.wasm")).unwrap();
                *bytes.last_mut().unwrap() ^= 1;
                deployment.write("release/plugins/sod.wasm", bytes);
            },
            "digest-mismatch",
        ),
        (
            "no plugins",
            |deployment| fs::remove_dir_all(deployment.path("release/plugins")).unwrap(),
            "unreadable",
        ),
        (
            "nothing at all",
            |deployment| fs::remove_dir_all(deployment.path("release")).unwrap(),
            "unreadable",
        ),
        (
            "a link to itself",
            |deployment| {
                fs::remove_file(deployment.path("release/release.json")).unwrap();
                symlink("release.json", deployment.path("release/release.json")).unwrap();
            },
            "unreadable",
        ),
        (
            "an older release",
            |deployment| {
                let set = deployment.opened_text("release/release.json");
                let older = set.replace("\"version\":2", "\"version\":1");
                deployment.write(
                    "release/release.json",
                    deployment.forge("release", RELEASE_SET, &older),
                );
            },
            "release-older",
        ),
    ];
    for (what, harm, code) in harms {
        let deployment = served_once();
        deployment.back_up(&["release"], "whole");
        harm(&deployment);
        let host = deployment.serve();
        goes_on(&host, what);
        // Also after a crash, and the second time.
        host.kill();
        let host = deployment.serve();
        goes_on(&host, what);
        // The repair is noticed, and the warning is over.
        deployment.restore(&["release"], "whole");
        host.signal("HUP");
        host.wait_for("release.whole-again");
        assert!(!warnings(&host).contains(&"last-good-release".to_owned()), "{what}");
        assert!(!warnings(&host).contains(&"release-refused".to_owned()), "{what}");
        host.stop();
        let refused = deployment.records_of("release.refused");
        assert!(refused.iter().all(|record| record["code"] == code), "{what}: {refused:?}");
        assert!(!refused.is_empty(), "{what}");
        let active = deployment.records_of("release.active");
        let last_good: Vec<_> = active.iter().filter(|it| it["last_good"] == true).collect();
        assert_eq!(last_good.len(), 2, "{what}: {active:?}");
        assert!(
            last_good.iter().all(|it| it["restart"] == true && it["generation"] == 2),
            "{what}"
        );
    }
}

#[test]
fn settings_that_one_plugin_refuses_stop_no_hook_after_a_restart() {
    let mut deployment = served_once();
    // A problem that no schema finds: the second function of the rule is none.
    let mut refused = duties();
    refused["rules"][0]["b"] = json!("where");
    deployment.release(&[
        Binding::new("token", "sod", refused),
        Binding::new("import", "contractor", contract()),
    ]);
    let host = deployment.serve();
    goes_on(&host, "settings that a plugin refuses");
    // A corrected release becomes active, and its copy takes the place of the old one.
    deployment.release(&[Binding::new("token", "sod", lenient())]);
    host.reload_until([release_active(4)]);
    assert!(!host.sign_in(&SignIn::with_groups(&CONFLICT)).stops_a_token());
    assert!(!warnings(&host).contains(&"last-good-release".to_owned()));
    host.stop();
    fs::remove_dir_all(deployment.path("release")).unwrap();
    let host = deployment.serve();
    assert!(host.log().has(release_active(4)), "{}", host.log());
    assert!(!host.sign_in(&SignIn::with_groups(&CONFLICT)).stops_a_token());
    host.stop();
    assert_eq!(indexes(&deployment), 1, "earlier copies are removed");
}

#[test]
fn what_is_revoked_stays_stopped_in_the_last_good_release_and_nothing_else_does() {
    let deployment = served_once();
    // An old set that revokes one plugin: it stops that plugin's hooks, also when the host starts
    // again.
    let mut set = deployment.opened("release/release.json");
    set["version"] = json!(1);
    let manifest = set["plugins"]["org.portcullis.sod"]["manifest"].clone();
    set["revoked"] = json!({"manifests": [manifest]});
    deployment
        .write("release/release.json", deployment.forge("release", RELEASE_SET, &set.to_string()));
    for _ in 0..2 {
        let host = deployment.serve();
        assert!(host.log().has(release_active(2)), "{}", host.log());
        assert!(host.sign_in(&SignIn::with_groups(&["ward-reader"])).stops_a_token());
        let import = host.import(&Import::with_groups(&["ward-reader"]));
        assert!(import.index().is_some(), "the other hook decides: {import:?}");
        assert!(warnings(&host).contains(&"plugin-revoked".to_owned()));
        host.stop();
        let record = deployment.record(import.index().unwrap());
        assert!(record["decision"]["verdict"].is_string(), "{record}");
    }
}

#[test]
fn a_release_key_that_a_newer_root_revokes_brings_no_release_back() {
    for damaged in [false, true] {
        let deployment = served_once();
        deployment.generate("release-2");
        let vkey = |role: &str| deployment.read(&format!("keys/{role}.vkey")).trim().to_owned();
        let (old, new) = (vkey("release"), vkey("release-2"));
        let host = deployment.serve();
        let ran = deployment.next_root(2, &["root"], |source| {
            source.replace(&old, &new) + &format!("\n[revoked]\nkeys = [\"{old}\"]\n")
        });
        assert_eq!(ran.code, 0, "{ran:?}");
        host.reload_until(["trust.root-accepted"]);
        host.signal("HUP");
        host.wait_for("release.altered");
        assert!(
            host.log().has(log_event("release.altered").field("code", "revoked-key")),
            "{}",
            host.log()
        );
        let harmless = SignIn::with_groups(&["ward-reader"]);
        assert!(!host.sign_in(&harmless).stops_a_token(), "it goes on until the host stops");
        host.stop();
        if damaged {
            deployment.write("release/release.json", "{}");
        }
        let host = deployment.serve();
        assert!(host.log().has("release.none"), "{}", host.log());
        assert!(host.sign_in(&harmless).stops_a_token());
        host.stop();
    }
}

#[test]
fn another_configuration_stops_no_other_hook_at_a_restart() {
    let deployment = served_once();
    let whole = deployment.read("portcullis.toml");
    // A hook more, which nothing enforces.
    deployment.add_hook("saml", "okta.saml", "");
    let host = deployment.serve();
    assert!(!host.sign_in(&SignIn::with_groups(&["ward-reader"])).stops_a_token());
    host.stop();
    // A hook that release 2 binds is gone, or has become another kind.
    let (before, import) = whole.split_at(whole.find("[[hook]]\nname = \"import\"").unwrap());
    for (what, other) in [
        ("no such hook", before.to_owned()),
        ("another kind", format!("{before}{}", import.replace("okta.user-import", "okta.saml"))),
    ] {
        deployment.write("portcullis.toml", other);
        let host = deployment.serve();
        goes_on(&host, what);
        assert!(warnings(&host).contains(&"binding-left-out".to_owned()), "{what}");
        if what == "another kind" {
            let answer =
                host.post("import", assertion(&["ward-reader"], &[]).to_string().as_bytes());
            let record =
                deployment.until_record("hook.decision", |it| it["seq"].as_u64() == answer.index());
            assert_eq!(record["decision"]["cause"], "plugin-unavailable", "{record}");
        }
        // With the configuration as it was all of it is active again.
        deployment.write("portcullis.toml", &whole);
        host.reload_until([release_active(2)]);
        assert!(!warnings(&host).contains(&"binding-left-out".to_owned()), "{what}");
        let import = host.import(&Import::with_groups(&["ward-reader"]));
        host.stop();
        let record = deployment.record(import.index().unwrap());
        assert!(record["decision"]["verdict"].is_string(), "{what}: {record}");
    }
}

#[test]
fn nothing_else_is_needed_to_start_again() {
    let deployment = served_once();
    // No compiled plugins, no release folders, and a memory that has to be read from the log.
    for gone in ["plugin-cache", "release"] {
        fs::remove_dir_all(deployment.path(gone)).unwrap();
    }
    fs::remove_file(deployment.path("trust-state/memory")).unwrap();
    let host = deployment.serve();
    goes_on(&host, "only log and state are there");
    host.stop();
    // A copy that was altered, or is another host's, starts nothing.
    let folder = deployment.path("trust-state/last-good");
    let index = fs::read_dir(&folder).unwrap().map(|it| it.unwrap().path());
    let index = index.filter(|it| it.extension().is_some_and(|it| it == "index"));
    for path in index {
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("\"version\":2", "\"version\":3")).unwrap();
    }
    let host = deployment.serve();
    assert!(host.log().has("release.none"), "{}", host.log());
    assert!(host.sign_in(&SignIn::with_groups(&["ward-reader"])).stops_a_token());
    host.stop();
}

#[test]
fn a_crash_while_a_release_comes_into_force_leaves_one_to_start_from() {
    let mut deployment = served_once();
    for (round, settings) in [lenient(), duties(), lenient(), duties()].into_iter().enumerate() {
        let version = round as u64 + 3;
        let host = deployment.serve();
        deployment.release(&[Binding::new("token", "sod", settings)]);
        host.signal("HUP");
        // Killed as soon as the new copy is there: before its record, or a moment after.
        let active = release_active(version);
        while indexes(&deployment) < 2 && !host.log().has(&active) {
            std::thread::yield_now();
        }
        host.kill();
        deployment.back_up(&["release"], "whole");
        fs::remove_dir_all(deployment.path("release")).unwrap();
        let host = deployment.serve();
        let log = host.log();
        let decided = [version - 1, version].iter().any(|it| log.has(release_active(*it)));
        assert!(decided, "round {round}:\n{}", host.log());
        assert!(host.sign_in(&SignIn::with_groups(&["ward-reader"])).index().is_some());
        host.stop();
        deployment.restore(&["release"], "whole");
        deployment.serve().stop();
        assert_eq!(indexes(&deployment), 1, "round {round}: one copy is kept");
    }
    assert_eq!(deployment.verify().code, 0);
}

/// How many copies there are.
fn indexes(deployment: &TestDeployment) -> usize {
    let files = fs::read_dir(deployment.path("trust-state/last-good")).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|ending| ending == "index")).count()
}

#[test]
fn an_old_state_folder_brings_no_old_release_back() {
    let mut deployment = served_once();
    deployment.back_up(&["trust-state"], "old");
    deployment.release(&[Binding::new("token", "sod", lenient())]);
    deployment.serve().stop();
    // The log is as it was; it names release 3, of which the old folder has no copy.
    deployment.restore(&["trust-state"], "old");
    fs::remove_dir_all(deployment.path("release")).unwrap();
    let host = deployment.serve();
    assert!(host.log().has("release.none"), "{}", host.log());
    host.stop();
}

#[test]
fn folders_that_no_longer_hold_the_release_in_force_are_a_warning_at_once() {
    let deployment = served_once();
    let host = deployment.serve();
    deployment.back_up(&["release"], "whole");
    let harms: [(&str, &dyn Fn()); 4] = [
        ("unsigned", &|| {
            deployment.write("release/release.json", unsigned(&deployment, "release/release.json"));
        }),
        ("bad-signature", &|| {
            let signed = wrongly_signed(&deployment.read("release/release.json"));
            deployment.write("release/release.json", signed);
        }),
        ("unsigned", &|| {
            let manifest = "release/plugins/contractor.manifest.json";
            deployment.write(manifest, unsigned(&deployment, manifest));
        }),
        ("file-missing", &|| {
            fs::remove_file(deployment.path("release/settings/2-1.json")).unwrap()
        }),
    ];
    for (code, harm) in harms {
        let before = host.log().len();
        harm();
        let of_code = log_event("release.altered").field("code", code);
        let said = host.reload_until(["release.altered"]);
        let line = said.first(&of_code).unwrap_or_else(|| panic!("{code}: {said}"));
        assert!(!line.text("hint").is_empty(), "{line:?}");
        assert!(warnings(&host).contains(&"release-altered".to_owned()), "{code}");
        assert_eq!(host.admin("/ready").status, 200, "{code}");
        let status: Value = serde_json::from_slice(&host.admin("/status").body).unwrap();
        assert_eq!(status["release"]["refused"]["code"], code);
        // The same once more is no news.
        host.signal("HUP");
        host.signal("HUP");
        deployment.restore(&["release"], "whole");
        host.reload_until(["release.whole-again"]);
        assert!(!warnings(&host).contains(&"release-altered".to_owned()), "{code}");
        // While the files are put back one by one, something else may be wrong for a moment.
        let log = host.log().after(before);
        let told = log.count(&of_code);
        assert!(told == 1 || code == "file-missing", "{code}: {log}");
        assert!(host.sign_in(&SignIn::with_groups(&CONFLICT)).stops_a_token());
    }
    host.stop();
    let records = deployment.records_of("release.altered");
    let codes: Vec<_> = records.iter().map(|record| record["code"].as_str().unwrap()).collect();
    let count = |code: &str| codes.iter().filter(|it| **it == code).count();
    assert_eq!((count("unsigned"), count("bad-signature")), (2, 1), "{codes:?}");
    assert!(count("file-missing") >= 1, "{codes:?}");
}

#[test]
fn a_signature_that_somebody_adds_keeps_no_document_from_being_taken() {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    // Without a key: under the name of a key that the trust root knows, and under that of another.
    let files = ["trust-root.json", "release/release.json", "release/plugins/sod.manifest.json"];
    for file in files {
        let mut envelope: Value = serde_json::from_str(&deployment.read(file)).unwrap();
        let mut wrong: Value =
            serde_json::from_str(&wrongly_signed(&envelope.to_string())).unwrap();
        let known = deployment.read("keys/publisher.vkey");
        let keyid: Vec<_> = known.trim().splitn(3, '+').take(2).collect();
        let signatures = envelope["signatures"].as_array_mut().unwrap();
        let mut named = wrong["signatures"][0].clone();
        named["keyid"] = json!(keyid.join("+"));
        signatures.insert(0, wrong["signatures"][0].take());
        signatures.push(named);
        deployment.write(file, envelope.to_string());
    }
    let checked = deployment.must(&["check", "--config", "portcullis.toml"]);
    for file in files {
        let said = checked.lines().filter(|line| line.contains(&format!("`{file}`")));
        assert_eq!(said.count(), 2, "{file}: {checked}");
    }
    assert!(checked.contains("[bad-signature]"), "{checked}");
    let host = deployment.serve();
    assert!(host.sign_in(&SignIn::with_groups(&CONFLICT)).stops_a_token());
    assert!(!host.sign_in(&SignIn::with_groups(&["ward-reader"])).stops_a_token());
    host.stop();
}

#[test]
fn check_says_whether_a_start_would_go_on_with_the_last_good_release() {
    let deployment = served_once();
    let check = |deployment: &TestDeployment| {
        let ran = deployment.run(&["check", "--config", "portcullis.toml"]);
        assert_eq!(ran.code, 1, "{ran:?}");
        ran.err
    };
    deployment.back_up(&["trust-state"], "old");
    deployment.write("release/release.json", "{}");
    let said = check(&deployment);
    assert!(said.contains("`serve` would restart release set 2"), "{said}");
    goes_on(&deployment.serve(), "as check says");

    // A file of the copy is altered at the same size.
    let alter = |deployment: &TestDeployment, ending: &str| {
        let folder = deployment.path("trust-state/last-good");
        let files = portcullis_tests::below(&folder);
        let file = files.iter().find(|file| file.to_string_lossy().ends_with(ending)).unwrap();
        let mut bytes = fs::read(file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(file, bytes).unwrap();
    };
    for ending in [".wasm", ".json", ".index"] {
        deployment.restore(&["trust-state"], "old");
        alter(&deployment, ending);
        let said = check(&deployment);
        let host = deployment.serve();
        let stops = host.sign_in(&SignIn::with_groups(&["ward-reader"])).stops_a_token();
        let goes_on = said.contains("`serve` would restart release set 2");
        let whole = goes_on && !said.contains("without the binding of `org.portcullis.sod`");
        assert_eq!(whole, !stops, "{ending}: {said}\n{}", host.log());
        host.stop();
    }
}

/// The envelope in a file without its signatures.
fn unsigned(deployment: &TestDeployment, file: &str) -> String {
    let mut envelope: Value = serde_json::from_str(&deployment.read(file)).unwrap();
    envelope["signatures"] = json!([]);
    envelope.to_string()
}
