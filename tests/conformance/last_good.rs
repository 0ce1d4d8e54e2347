//! The last good release survives a restart: whatever has become of the release folders, of one
//! plugin's settings or of the configuration meanwhile, a host that had a release in force starts
//! with it again, and says so.

use std::fs;
use std::os::unix::fs::symlink;

use portcullis_tests::{
    Answer, Binding, CONFLICT, Host, House, Import, RELEASE_SET, SignIn, assertion, contract,
    duties, wrongly_signed,
};
use serde_json::{Value, json};

/// The rules of [`duties`], which now only report.
fn lenient() -> Value {
    let mut settings = duties();
    settings["rules"][0]["action"] = json!("allow");
    settings
}

/// A house in which release 1 was active, and which is not served any more.
fn served_once() -> House {
    let mut house = House::build(&[Binding::new("token", "sod", duties())]);
    house.configure("watch_ms = 500", "watch_ms = 0");
    house.release(&[
        Binding::new("token", "sod", duties()),
        Binding::new("import", "contractor", contract()),
    ]);
    house.serve().stop();
    house
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
    assert!(
        host.log().contains("release active generation=2"),
        "{what}: release 2 does not start:\n{}",
        host.log()
    );
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
    type Harm = (&'static str, fn(&House), &'static str);
    let harms: [Harm; 13] = [
        (
            "an empty object",
            |house| house.write("release/release.json", "{}"),
            "envelope-malformed",
        ),
        ("an empty file", |house| house.write("release/release.json", ""), "envelope-malformed"),
        (
            "no set",
            |house| fs::remove_file(house.path("release/release.json")).unwrap(),
            "unreadable",
        ),
        (
            "a wrong signature",
            |house| {
                let signed = wrongly_signed(&house.read("release/release.json"));
                house.write("release/release.json", signed);
            },
            "bad-signature",
        ),
        (
            "no signature",
            |house| house.write("release/release.json", unsigned(house, "release/release.json")),
            "unsigned",
        ),
        (
            "a manifest without its signature",
            |house| {
                let manifest = "release/plugins/sod.manifest.json";
                house.write(manifest, unsigned(house, manifest));
            },
            "unsigned",
        ),
        (
            "settings that are gone",
            |house| fs::remove_file(house.path("release/settings/2-1.json")).unwrap(),
            "file-missing",
        ),
        (
            "settings that were altered",
            |house| house.write("release/settings/2-1.json", lenient().to_string()),
            "file-missing",
        ),
        (
            "a component that was altered",
            |house| {
                let mut bytes = fs::read(house.path("release/plugins/sod.wasm")).unwrap();
                *bytes.last_mut().unwrap() ^= 1;
                house.write("release/plugins/sod.wasm", bytes);
            },
            "digest-mismatch",
        ),
        (
            "no plugins",
            |house| fs::remove_dir_all(house.path("release/plugins")).unwrap(),
            "unreadable",
        ),
        (
            "nothing at all",
            |house| fs::remove_dir_all(house.path("release")).unwrap(),
            "unreadable",
        ),
        (
            "a link to itself",
            |house| {
                fs::remove_file(house.path("release/release.json")).unwrap();
                symlink("release.json", house.path("release/release.json")).unwrap();
            },
            "unreadable",
        ),
        (
            "an older release",
            |house| {
                let set = house.opened_text("release/release.json");
                let older = set.replace("\"version\":2", "\"version\":1");
                house.write("release/release.json", house.forge("release", RELEASE_SET, &older));
            },
            "release-older",
        ),
    ];
    for (what, harm, code) in harms {
        let house = served_once();
        house.back_up(&["release"], "whole");
        harm(&house);
        let host = house.serve();
        goes_on(&host, what);
        // Also after a crash, and the second time.
        host.kill();
        let host = house.serve();
        goes_on(&host, what);
        // The repair is noticed, and the warning is over.
        house.restore(&["release"], "whole");
        host.signal("HUP");
        host.until_log("the release folders hold the release in force again");
        assert!(!warnings(&host).contains(&"last-good-release".to_owned()), "{what}");
        assert!(!warnings(&host).contains(&"release-refused".to_owned()), "{what}");
        host.stop();
        let refused = house.records_of("release.refused");
        assert!(refused.iter().all(|record| record["code"] == code), "{what}: {refused:?}");
        assert!(!refused.is_empty(), "{what}");
        let active = house.records_of("release.active");
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
    let mut house = served_once();
    // A problem that no schema finds: the second function of the rule is none.
    let mut refused = duties();
    refused["rules"][0]["b"] = json!("where");
    house.release(&[
        Binding::new("token", "sod", refused),
        Binding::new("import", "contractor", contract()),
    ]);
    let host = house.serve();
    goes_on(&host, "settings that a plugin refuses");
    // A corrected release comes into force, and its copy takes the place of the old one.
    house.release(&[Binding::new("token", "sod", lenient())]);
    host.look(&["release active generation=4"]);
    assert!(!host.sign_in(&SignIn::with_groups(&CONFLICT)).stops_a_token());
    assert!(!warnings(&host).contains(&"last-good-release".to_owned()));
    host.stop();
    fs::remove_dir_all(house.path("release")).unwrap();
    let host = house.serve();
    assert!(host.log().contains("release active generation=4"), "{}", host.log());
    assert!(!host.sign_in(&SignIn::with_groups(&CONFLICT)).stops_a_token());
    host.stop();
    assert_eq!(indexes(&house), 1, "earlier copies are removed");
}

#[test]
fn what_is_revoked_stays_stopped_in_the_last_good_release_and_nothing_else_does() {
    let house = served_once();
    // An old set that revokes one plugin: it stops that plugin's hooks, also when the host starts
    // again.
    let mut set = house.opened("release/release.json");
    set["version"] = json!(1);
    let manifest = set["plugins"]["org.portcullis.sod"]["manifest"].clone();
    set["revoked"] = json!({"manifests": [manifest]});
    house.write("release/release.json", house.forge("release", RELEASE_SET, &set.to_string()));
    for _ in 0..2 {
        let host = house.serve();
        assert!(host.log().contains("release active generation=2"), "{}", host.log());
        assert!(host.sign_in(&SignIn::with_groups(&["ward-reader"])).stops_a_token());
        let import = host.import(&Import::with_groups(&["ward-reader"]));
        assert!(import.index().is_some(), "the other hook decides: {import:?}");
        assert!(warnings(&host).contains(&"plugin-revoked".to_owned()));
        host.stop();
        let record = house.record(import.index().unwrap());
        assert!(record["decision"]["verdict"].is_string(), "{record}");
    }
}

#[test]
fn a_release_key_that_a_newer_root_revokes_brings_no_release_back() {
    for damaged in [false, true] {
        let house = served_once();
        house.generate("release-2");
        let vkey = |role: &str| house.read(&format!("keys/{role}.vkey")).trim().to_owned();
        let (old, new) = (vkey("release"), vkey("release-2"));
        let host = house.serve();
        let ran = house.next_root(2, &["root"], |source| {
            source.replace(&old, &new) + &format!("\n[revoked]\nkeys = [\"{old}\"]\n")
        });
        assert_eq!(ran.code, 0, "{ran:?}");
        host.look(&["trust root accepted"]);
        host.signal("HUP");
        host.until_log("the release folders no longer hold the release in force");
        assert!(host.log().contains("code=\"revoked-key\""), "{}", host.log());
        let harmless = SignIn::with_groups(&["ward-reader"]);
        assert!(!host.sign_in(&harmless).stops_a_token(), "it goes on until the host stops");
        host.stop();
        if damaged {
            house.write("release/release.json", "{}");
        }
        let host = house.serve();
        assert!(host.log().contains("no release is active"), "{}", host.log());
        assert!(host.sign_in(&harmless).stops_a_token());
        host.stop();
    }
}

#[test]
fn another_configuration_stops_no_other_hook_at_a_restart() {
    let house = served_once();
    let whole = house.read("portcullis.toml");
    // A hook more, which nothing enforces.
    house.add_hook("saml", "okta.saml", "");
    let host = house.serve();
    assert!(!host.sign_in(&SignIn::with_groups(&["ward-reader"])).stops_a_token());
    host.stop();
    // A hook that release 2 binds is gone, or has become another kind.
    let (before, import) = whole.split_at(whole.find("[[hook]]\nname = \"import\"").unwrap());
    for (what, other) in [
        ("no such hook", before.to_owned()),
        ("another kind", format!("{before}{}", import.replace("okta.user-import", "okta.saml"))),
    ] {
        house.write("portcullis.toml", other);
        let host = house.serve();
        goes_on(&host, what);
        assert!(warnings(&host).contains(&"binding-left-out".to_owned()), "{what}");
        if what == "another kind" {
            let answer =
                host.post("import", assertion(&["ward-reader"], &[]).to_string().as_bytes());
            let record =
                house.until_record("hook.decision", |it| it["seq"].as_u64() == answer.index());
            assert_eq!(record["decision"]["cause"], "plugin-unavailable", "{record}");
        }
        // With the configuration as it was all of it is in force again.
        house.write("portcullis.toml", &whole);
        host.look(&["release active generation=2"]);
        assert!(!warnings(&host).contains(&"binding-left-out".to_owned()), "{what}");
        let import = host.import(&Import::with_groups(&["ward-reader"]));
        host.stop();
        let record = house.record(import.index().unwrap());
        assert!(record["decision"]["verdict"].is_string(), "{what}: {record}");
    }
}

#[test]
fn nothing_else_is_needed_to_start_again() {
    let house = served_once();
    // No compiled plugins, no release folders, and a memory that has to be read from the log.
    for gone in ["plugin-cache", "release"] {
        fs::remove_dir_all(house.path(gone)).unwrap();
    }
    fs::remove_file(house.path("trust-state/memory")).unwrap();
    let host = house.serve();
    goes_on(&host, "only log and state are there");
    host.stop();
    // A copy that was altered, or is another host's, starts nothing.
    let folder = house.path("trust-state/last-good");
    let index = fs::read_dir(&folder).unwrap().map(|it| it.unwrap().path());
    let index = index.filter(|it| it.extension().is_some_and(|it| it == "index"));
    for path in index {
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("\"version\":2", "\"version\":3")).unwrap();
    }
    let host = house.serve();
    assert!(host.log().contains("no release is active"), "{}", host.log());
    assert!(host.sign_in(&SignIn::with_groups(&["ward-reader"])).stops_a_token());
    host.stop();
}

#[test]
fn a_crash_while_a_release_comes_into_force_leaves_one_to_start_from() {
    let mut house = served_once();
    for (round, settings) in [lenient(), duties(), lenient(), duties()].into_iter().enumerate() {
        let version = round + 3;
        let host = house.serve();
        house.release(&[Binding::new("token", "sod", settings)]);
        host.signal("HUP");
        // Killed as soon as the new copy is there: before its record, or a moment after.
        let active = format!("release active generation={version}");
        while indexes(&house) < 2 && !host.log().contains(&active) {
            std::thread::yield_now();
        }
        host.kill();
        house.back_up(&["release"], "whole");
        fs::remove_dir_all(house.path("release")).unwrap();
        let host = house.serve();
        let decided = [version - 1, version]
            .iter()
            .any(|number| host.log().contains(&format!("release active generation={number}")));
        assert!(decided, "round {round}:\n{}", host.log());
        assert!(host.sign_in(&SignIn::with_groups(&["ward-reader"])).index().is_some());
        host.stop();
        house.restore(&["release"], "whole");
        house.serve().stop();
        assert_eq!(indexes(&house), 1, "round {round}: one copy is kept");
    }
    assert_eq!(house.verify().code, 0);
}

/// How many copies there are.
fn indexes(house: &House) -> usize {
    let files = fs::read_dir(house.path("trust-state/last-good")).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|ending| ending == "index")).count()
}

#[test]
fn an_old_state_folder_brings_no_old_release_back() {
    let mut house = served_once();
    house.back_up(&["trust-state"], "old");
    house.release(&[Binding::new("token", "sod", lenient())]);
    house.serve().stop();
    // The log is as it was; it names release 3, of which the old folder has no copy.
    house.restore(&["trust-state"], "old");
    fs::remove_dir_all(house.path("release")).unwrap();
    let host = house.serve();
    assert!(host.log().contains("no release is active"), "{}", host.log());
    host.stop();
}

#[test]
fn folders_that_no_longer_hold_the_release_in_force_are_a_warning_at_once() {
    let house = served_once();
    let host = house.serve();
    house.back_up(&["release"], "whole");
    let whole = "the release folders hold the release in force again";
    let altered = "the release folders no longer hold the release in force";
    let harms: [(&str, &dyn Fn()); 4] = [
        ("unsigned", &|| {
            house.write("release/release.json", unsigned(&house, "release/release.json"));
        }),
        ("bad-signature", &|| {
            let signed = wrongly_signed(&house.read("release/release.json"));
            house.write("release/release.json", signed);
        }),
        ("unsigned", &|| {
            let manifest = "release/plugins/contractor.manifest.json";
            house.write(manifest, unsigned(&house, manifest));
        }),
        ("file-missing", &|| fs::remove_file(house.path("release/settings/2-1.json")).unwrap()),
    ];
    for (code, harm) in harms {
        let before = host.log().len();
        harm();
        let said = host.look(&[altered]);
        assert!(said.contains(&format!("code=\"{code}\"")), "{code}: {said}");
        assert!(said.contains("hint="), "{said}");
        assert!(warnings(&host).contains(&"release-altered".to_owned()), "{code}");
        assert_eq!(host.admin("/ready").status, 200, "{code}");
        let status: Value = serde_json::from_slice(&host.admin("/status").body).unwrap();
        assert_eq!(status["release"]["refused"]["code"], code);
        // The same once more is no news.
        host.signal("HUP");
        host.signal("HUP");
        house.restore(&["release"], "whole");
        host.look(&[whole]);
        assert!(!warnings(&host).contains(&"release-altered".to_owned()), "{code}");
        // While the files are put back one by one, something else may be wrong for a moment.
        let log = host.log().split_off(before);
        let of_code = |line: &&str| line.contains(altered) && line.contains(&format!("\"{code}\""));
        let told = log.lines().filter(of_code).count();
        assert!(told == 1 || code == "file-missing", "{code}: {log}");
        assert!(host.sign_in(&SignIn::with_groups(&CONFLICT)).stops_a_token());
    }
    host.stop();
    let records = house.records_of("release.altered");
    let codes: Vec<_> = records.iter().map(|record| record["code"].as_str().unwrap()).collect();
    let count = |code: &str| codes.iter().filter(|it| **it == code).count();
    assert_eq!((count("unsigned"), count("bad-signature")), (2, 1), "{codes:?}");
    assert!(count("file-missing") >= 1, "{codes:?}");
}

#[test]
fn a_signature_that_somebody_adds_keeps_no_document_from_being_taken() {
    let house = House::build(&[Binding::new("token", "sod", duties())]);
    // Without a key: under the name of a key that the trust root knows, and under that of another.
    let files = ["trust-root.json", "release/release.json", "release/plugins/sod.manifest.json"];
    for file in files {
        let mut envelope: Value = serde_json::from_str(&house.read(file)).unwrap();
        let mut wrong: Value =
            serde_json::from_str(&wrongly_signed(&envelope.to_string())).unwrap();
        let known = house.read("keys/publisher.vkey");
        let keyid: Vec<_> = known.trim().splitn(3, '+').take(2).collect();
        let signatures = envelope["signatures"].as_array_mut().unwrap();
        let mut named = wrong["signatures"][0].clone();
        named["keyid"] = json!(keyid.join("+"));
        signatures.insert(0, wrong["signatures"][0].take());
        signatures.push(named);
        house.write(file, envelope.to_string());
    }
    let checked = house.must(&["check", "--config", "portcullis.toml"]);
    for file in files {
        let said = checked.lines().filter(|line| line.contains(&format!("`{file}`")));
        assert_eq!(said.count(), 2, "{file}: {checked}");
    }
    assert!(checked.contains("[bad-signature]"), "{checked}");
    let host = house.serve();
    assert!(host.sign_in(&SignIn::with_groups(&CONFLICT)).stops_a_token());
    assert!(!host.sign_in(&SignIn::with_groups(&["ward-reader"])).stops_a_token());
    host.stop();
}

#[test]
fn check_says_whether_a_start_would_go_on_with_the_last_good_release() {
    let house = served_once();
    let check = |house: &House| {
        let ran = house.run(&["check", "--config", "portcullis.toml"]);
        assert_eq!(ran.code, 1, "{ran:?}");
        ran.err
    };
    house.back_up(&["trust-state"], "old");
    house.write("release/release.json", "{}");
    let said = check(&house);
    assert!(said.contains("`serve` would restart release set 2"), "{said}");
    goes_on(&house.serve(), "as check says");

    // A file of the copy is altered at the same size.
    let alter = |house: &House, ending: &str| {
        let folder = house.path("trust-state/last-good");
        let files = portcullis_tests::below(&folder);
        let file = files.iter().find(|file| file.to_string_lossy().ends_with(ending)).unwrap();
        let mut bytes = fs::read(file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(file, bytes).unwrap();
    };
    for ending in [".wasm", ".json", ".index"] {
        house.restore(&["trust-state"], "old");
        alter(&house, ending);
        let said = check(&house);
        let host = house.serve();
        let stops = host.sign_in(&SignIn::with_groups(&["ward-reader"])).stops_a_token();
        let goes_on = said.contains("`serve` would restart release set 2");
        let whole = goes_on && !said.contains("without the binding of `org.portcullis.sod`");
        assert_eq!(whole, !stops, "{ending}: {said}\n{}", host.log());
        host.stop();
    }
}

/// The envelope in a file without its signatures.
fn unsigned(house: &House, file: &str) -> String {
    let mut envelope: Value = serde_json::from_str(&house.read(file)).unwrap();
    envelope["signatures"] = json!([]);
    envelope.to_string()
}
