//! `portcullis release publish|status|rollback`: into the folders of hosts and back, as a platform team does it.

use std::fs;

use portcullis_tests::{
    Binding, CONFLICT, Host, Ran, SignIn, TestDeployment, digest, duties, release_active,
    release_refused,
};
use serde_json::{Value, json};

/// The rules of [`duties`], which now only report.
fn lenient() -> Value {
    let mut settings = duties();
    settings["rules"][0]["action"] = json!("allow");
    settings
}

/// Signs a set of this version in `dist`, with everything it needs beside it; says what it binds.
fn dist(
    deployment: &TestDeployment,
    version: u64,
    settings: &Value,
    change: impl FnOnce(String) -> String,
) {
    fs::create_dir_all(deployment.path("dist/plugins")).unwrap();
    for file in ["sod.wasm", "sod.manifest.json"] {
        fs::copy(
            deployment.path(&format!("release/plugins/{file}")),
            deployment.path(&format!("dist/plugins/{file}")),
        )
        .unwrap();
    }
    deployment.write("dist/sod.json", settings.to_string());
    let source = format!(
        "version = {version}\nvalidity = {{ days = 1 }}\nplugins = [\"plugins/sod.manifest.json\"]\n[[binding]]\nhook = \"token\"\n\
         plugin = \"org.portcullis.sod\"\nsettings = \"sod.json\"\nmode = \"enforce\"\nfallback = {{ review = \"deny\", step-up = \"deny\" }}\n"
    );
    deployment.write("dist/release.toml", change(source));
    deployment.must(&[
        "release",
        "sign",
        "--source",
        "dist/release.toml",
        "--root",
        "trust-root.json",
        "--key",
        "keys/release.key",
        "--output",
        "dist/release.json",
    ]);
}

const PUBLISH: [&str; 6] =
    ["release", "publish", "--config", "portcullis.toml", "--set", "dist/release.json"];

fn publish(deployment: &TestDeployment, further: &[&str]) -> Ran {
    deployment.run(&[&PUBLISH[..], further].concat())
}

fn status(deployment: &TestDeployment, host: &str) -> Value {
    let ran = deployment.run(&[
        "release",
        "status",
        "--config",
        "portcullis.toml",
        "--host",
        host,
        "--format",
        "json",
    ]);
    serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{ran:?}"))
}

fn stops(host: &Host) -> bool {
    host.sign_in(&SignIn::with_groups(&CONFLICT)).stops_a_token()
}

#[test]
fn a_release_is_published_watched_and_taken_back() {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    let host = deployment.serve();
    let admin = format!("http://{}", host.admin_address());
    let first = deployment.read("release/release.json");

    // What would change, and nothing does.
    dist(&deployment, 2, &lenient(), |source| source);
    let ran = publish(&deployment, &["--dry-run"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.out.contains("release set 1 → 2\n  ~ token: org.portcullis.sod settings "),
        "{}",
        ran.out
    );
    assert_eq!(deployment.read("release/release.json"), first);

    let ran = publish(&deployment, &["--host", &admin]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.out.contains(": active; generation 2 is active\n  org.portcullis.sod "),
        "{}",
        ran.out
    );
    assert!(!stops(&host));
    assert_eq!(deployment.read("release/release.json"), deployment.read("dist/release.json"));
    let told = status(&deployment, &admin);
    assert_eq!(
        (&told["version"], &told["archived"], &told["replicas"][0]["state"]),
        (&json!(2), &json!([1]), &json!("active")),
        "{told}"
    );
    assert_eq!(told["replicas"][0]["plugins"][0]["state"], "active");
    let again = publish(&deployment, &["--host", &admin]);
    assert!(again.code == 0 && again.out.contains("published already"), "{again:?}");

    // What hosts would refuse never gets there.
    let second = deployment.read("release/release.json");
    // No schema finds this, only the plugin itself.
    let mut misspelt = duties();
    misspelt["rules"][0]["b"] = json!("dispence");
    for (version, settings, change, code) in [
        (2, duties(), "", "release-older"),
        (3, misspelt, "", "plugin-settings-refused"),
        (3, duties(), "hook = \"night-token\"", "binding-invalid"),
    ] {
        dist(&deployment, version, &settings, |source| {
            if change.is_empty() { source } else { source.replace("hook = \"token\"", change) }
        });
        let ran = publish(&deployment, &["--host", &admin]);
        assert!(
            ran.code == 1 && ran.err.contains(&format!("[{code}]")) && ran.err.contains("hint: "),
            "{code}: {ran:?}"
        );
        assert_eq!(deployment.read("release/release.json"), second, "{code}");
    }
    deployment.write(
        "dist/release.json",
        deployment.read("dist/release.json").replacen("sig\":\"", "sig\":\"AA", 1),
    );
    let ran = publish(&deployment, &[]);
    assert!(ran.code == 1, "{ran:?}");
    let hidden: Vec<_> = fs::read_dir(deployment.path("release"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        !hidden.iter().any(|name| name.starts_with(".publish-")),
        "nothing is left lying: {hidden:?}"
    );

    // Back, which takes a key; without one it says what is missing.
    let back = ["release", "rollback", "--config", "portcullis.toml", "--host", &admin];
    let ran = deployment.run(&back);
    assert!(
        ran.code == 1
            && ran.err.contains(
                "from release set 2 to 1 only with a downgrade that has the signatures of 1 of"
            ),
        "{ran:?}"
    );
    assert!(
        ran.err.contains("test.example/release+")
            && ran.err.contains("these options are missing: --person, --reason, --ticket, --key"),
        "{}",
        ran.err
    );
    assert!(
        ran.err.contains("hint: ")
            && ran.err.contains("release downgrade --to ")
            && ran.err.contains("--from 2"),
        "{}",
        ran.err
    );
    assert_eq!(deployment.read("release/release.json"), second, "nothing was changed");
    let justification =
        ["--person", "noor.haddad", "--reason", "2 lets too many through", "--ticket", "CHG-77"];
    let ran =
        deployment.run(&[&back[..], &justification, &["--key", "keys/publisher.key"]].concat());
    assert!(ran.code == 1 && ran.err.contains("[unknown-signer]"), "{ran:?}");
    assert!(!stops(&host));
    let ran = deployment.run(&[&back[..], &justification, &["--key", "keys/release.key"]].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.out.contains("release set 2 → 1") && ran.out.contains("active; generation 1 is active"),
        "{}",
        ran.out
    );
    assert!(stops(&host));
    assert_eq!(deployment.read("release/release.json"), first);
    let active =
        deployment.until_record("release.active", |record| record["downgrade"].is_string());
    assert_eq!(active["generation"], 1);
    assert_eq!(status(&deployment, &admin)["archived"], json!([2, 1]));

    // On from there with a version above all that were active; the downgrade goes out of the way.
    dist(&deployment, 2, &duties(), |source| source);
    let ran = publish(&deployment, &["--host", &admin]);
    assert!(ran.code == 1 && ran.err.contains("[release-older]"), "{ran:?}");
    dist(&deployment, 3, &lenient(), |source| source);
    assert_eq!(publish(&deployment, &["--host", &admin]).code, 0);
    assert!(!stops(&host) && !deployment.path("release/downgrade.json").exists());
    host.stop();

    // By a paper that was signed where the key is; from disk alone.
    let mut archived = fs::read_dir(deployment.path("release/archive"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let second = archived.find(|path| path.to_string_lossy().contains("release-2-")).unwrap();
    let second = second.to_str().unwrap();
    let permission = [
        "release",
        "downgrade",
        "--to",
        second,
        "--from",
        "3",
        "--root",
        "trust-root.json",
        "--key",
        "keys/release.key",
        "--output",
        "paper.json",
    ];
    deployment.must(&[&permission[..], &justification].concat());
    deployment.must(&[
        "release",
        "rollback",
        "--config",
        "portcullis.toml",
        "--version",
        "2",
        "--downgrade",
        "paper.json",
    ]);
    let host = deployment.serve();
    assert!(!stops(&host), "2 was lenient");
    host.stop();
    assert_eq!(deployment.records_of("release.active").last().unwrap()["generation"], 2);
}

#[test]
fn a_folder_that_hosts_read_is_filled_without_their_configuration() {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    let to = ["--to", "shared", "--root", "trust-root.json"];
    let publish = |further: &[&str]| {
        deployment.run(
            &[&["release", "publish", "--set", "dist/release.json"][..], &to, further].concat(),
        )
    };
    dist(&deployment, 1, &duties(), |source| source);
    let ran = publish(&[]);
    assert!(
        ran.code == 0 && ran.out.contains("release set none → 1\n  + plugin org.portcullis.sod "),
        "{ran:?}"
    );
    for (name, from) in [
        ("release/release.json", "shared/release.json"),
        ("release/plugins", "shared/plugins"),
        ("release/settings", "shared/settings"),
    ] {
        let shared = deployment.read("portcullis.toml").replacen(
            &format!("\"{name}\""),
            &format!("\"{from}\""),
            1,
        );
        deployment.write("portcullis.toml", shared);
    }
    let host = deployment.serve();
    let admin = format!("http://{}", host.admin_address());
    assert!(stops(&host));

    // What only the host can know: it refuses, and says so to whoever published.
    dist(&deployment, 2, &lenient(), |source| {
        source.replace("hook = \"token\"", "hook = \"night-token\"")
    });
    let ran = publish(&["--host", &admin, "--format", "json"]);
    assert!(ran.code == 1 && ran.err.contains("not active on 1 of 1 hosts"), "{ran:?}");
    let told: Value = serde_json::from_str(ran.out.lines().last().unwrap()).unwrap();
    assert_eq!((&told["state"], &told["generation"]), (&json!("refused"), &json!(1)), "{told}");
    assert!(told["why"].as_str().unwrap().contains("[binding-invalid]"), "{told}");
    assert_eq!(told["plugins"][0]["state"], "refused");
    assert!(stops(&host), "the last good one goes on");

    // An older set, and a lower serial than one that was published.
    dist(&deployment, 1, &lenient(), |source| source);
    let ran = publish(&[]);
    assert!(ran.code == 1 && ran.err.contains("[release-older]"), "{ran:?}");
    // A file that is nowhere, and a host that is not there.
    let mut settings = lenient();
    settings["rules"][0]["owner"] = json!("nobody yet");
    dist(&deployment, 3, &settings, |source| source);
    fs::rename(deployment.path("dist/sod.json"), deployment.path("sod.json")).unwrap();
    let ran = publish(&[]);
    assert!(
        ran.code == 1 && ran.err.contains("[file-missing]") && ran.err.contains("--from"),
        "{ran:?}"
    );
    fs::rename(deployment.path("sod.json"), deployment.path("dist/sod.json")).unwrap();
    let ran = publish(&["--host", &admin]);
    assert!(ran.code == 0 && ran.out.contains("active; generation 3 is active"), "{ran:?}");
    let ran = publish(&["--host", &admin, "--host", "http://127.0.0.1:1", "--wait", "1"]);
    assert!(ran.code == 1 && ran.out.contains("published already"), "{ran:?}");
    assert!(
        ran.out.contains("http://127.0.0.1:1: unknown")
            && ran.err.contains("not active on 1 of 2 hosts"),
        "{ran:?}"
    );
    assert!(!stops(&host));

    let ran = deployment.run(&["release", "status", "--to", "shared", "--host", &admin]);
    assert!(ran.code == 0 && ran.out.contains("archived: 2, 1"), "{ran:?}");
    let justification = [
        "--person",
        "noor.haddad",
        "--reason",
        "too lenient",
        "--ticket",
        "CHG-78",
        "--key",
        "keys/release.key",
    ];
    let back =
        [&["release", "rollback", "--version", "1"][..], &to, &justification, &["--host", &admin]]
            .concat();
    let ran = deployment.run(&back);
    assert!(ran.code == 0 && ran.out.contains("active; generation 1 is active"), "{ran:?}");
    assert!(stops(&host));
    host.stop();
    let names: Vec<_> = fs::read_dir(deployment.path("shared/plugins"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len(), 2, "the same files served every set: {names:?}");
    assert_eq!(
        digest(&fs::read(deployment.path("dist/plugins/sod.wasm")).unwrap()),
        digest(
            &fs::read(deployment.path(&format!(
                "shared/plugins/{}",
                names.iter().find(|name| name.ends_with(".wasm")).unwrap()
            )))
            .unwrap()
        )
    );
}

const GROUNDS: [&str; 8] = [
    "--person",
    "noor.haddad",
    "--reason",
    "too lenient",
    "--ticket",
    "CHG-79",
    "--key",
    "keys/release.key",
];

#[test]
fn the_way_back_leads_to_what_was_active_before_and_never_to_what_was_left() {
    // From a host's configuration, from what hosts say, and from the folder alone.
    for by in ["the configuration", "a host", "the folder"] {
        let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
        let host = deployment.serve();
        let admin = format!("http://{}", host.admin_address());
        let mut place = if by == "the configuration" {
            vec!["--config", "portcullis.toml"]
        } else {
            vec!["--to", "release", "--root", "trust-root.json"]
        };
        if by != "the folder" {
            place.extend(["--host", &admin]);
        }
        let publish = |version: u64, settings: Value| {
            dist(&deployment, version, &settings, |source| source);
            let set = ["release", "publish", "--set", "dist/release.json"];
            let ran = deployment.run(&[&set[..], &place].concat());
            assert_eq!(ran.code, 0, "{by}: {ran:?}");
            host.wait_for(release_active(version));
        };
        let back = |further: &[&str]| {
            deployment.run(&[&["release", "rollback"][..], &place, further].concat())
        };
        publish(2, lenient());
        // The output says what would be done and who must sign for it, and nothing else.
        let before = deployment.read("release/release.json");
        let ran = back(&["--dry-run"]);
        assert_eq!(ran.code, 0, "{by}: {ran:?}");
        for said in [
            "release set 2 → 1\n  ~ token: org.portcullis.sod settings ",
            "hosts return from release set 2 to 1 with a downgrade that 1 of test.example/release+",
            "nothing was published",
        ] {
            assert!(ran.out.contains(said), "{by}: {said}: {}", ran.out);
        }
        assert_eq!(deployment.read("release/release.json"), before, "{by}");
        assert!(!deployment.path("release/downgrade.json").exists(), "{by}");
        let ran = back(&GROUNDS);
        assert!(ran.code == 0 && ran.out.contains("release set 2 → 1"), "{by}: {ran:?}");
        let until_stops = |wanted: bool| {
            let begin = std::time::Instant::now();
            while stops(&host) != wanted {
                assert!(begin.elapsed() < std::time::Duration::from_secs(60), "{by}");
            }
        };
        until_stops(true);
        // Further back than the first there is nothing, and 2 was left.
        let ran = back(&["--dry-run"]);
        assert_eq!(ran.code, 1, "{by}: {ran:?}");
        assert!(
            ran.err.contains("no other release was active before release set 1"),
            "{by}: {ran:?}"
        );
        publish(3, lenient());
        let ran = back(&["--dry-run", "--format", "json"]);
        let plan: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{ran:?}"));
        assert_eq!(
            (&plan["version"], &plan["needs_downgrade"], &plan["published"]),
            (&json!(1), &json!(true), &json!(false)),
            "{by}: {plan}"
        );
        let ran = back(&GROUNDS);
        assert!(ran.code == 0 && ran.out.contains("release set 3 → 1"), "{by}: {ran:?}");
        until_stops(true);
        host.stop();
    }
}

#[test]
fn a_release_that_hosts_refuse_is_left_without_a_downgrade() {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    let host = deployment.serve();
    dist(&deployment, 2, &lenient(), |source| source);
    assert_eq!(publish(&deployment, &[]).code, 0);
    host.wait_for(release_active(2));
    // Past `publish`, into the folder by hand: a set for a hook that the host does not have.
    deployment.must(&["release", "status", "--config", "portcullis.toml"]);
    let mut set = deployment.opened("release/release.json");
    set["version"] = json!(3);
    set["bindings"][0]["hook"] = json!("night-token");
    let third = deployment.forge("release", portcullis_tests::RELEASE_SET, &set.to_string());
    fs::copy(deployment.path("release/release.json"), deployment.path("second.json")).unwrap();
    deployment.write("release/release.json", third);
    host.wait_for(release_refused("binding-invalid"));
    let back = ["release", "rollback", "--config", "portcullis.toml"];
    let ran = deployment.run(&[&back[..], &["--dry-run"]].concat());
    assert_eq!(ran.code, 1, "2 is in no archive: {ran:?}");
    fs::copy(deployment.path("second.json"), deployment.path("release/archive/release-2.json"))
        .unwrap();
    // Nor does a newer set need one, which is not the one that hosts have.
    set["version"] = json!(4);
    let fourth = deployment.forge("release", portcullis_tests::RELEASE_SET, &set.to_string());
    deployment.write("release/archive/release-4.json", fourth);
    let ran = deployment.run(&[&back[..], &["--version", "4", "--dry-run"]].concat());
    assert!(ran.out.contains("newer than every one that was active on the hosts"), "{ran:?}");
    let ran = deployment.run(&back);
    assert!(
        ran.code == 0 && ran.out.contains("because this release is active on the hosts"),
        "{ran:?}"
    );
    assert_eq!(deployment.read("release/release.json"), deployment.read("second.json"));
    host.stop();
}

#[test]
fn what_a_host_would_refuse_is_not_signed() {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    let sign = |change: &dyn Fn(String) -> String, further: &[&str]| {
        fs::create_dir_all(deployment.path("dist")).unwrap();
        deployment.write("dist/sod.json", duties().to_string());
        let source = "version = 9\nvalidity = { days = 1 }\nplugins = [\"../release/plugins/sod.manifest.json\"]\n\
             [[binding]]\nhook = \"token\"\nplugin = \"org.portcullis.sod\"\nsettings = \"sod.json\"\nmode = \"enforce\"\n\
             fallback = { review = \"deny\", step-up = \"deny\" }\n";
        deployment.write("dist/release.toml", change(source.to_owned()));
        let command = [
            "release",
            "sign",
            "--source",
            "dist/release.toml",
            "--root",
            "trust-root.json",
            "--key",
            "keys/release.key",
            "--output",
            "dist/release.json",
        ];
        deployment.run(&[&command[..], further].concat())
    };
    let config = ["--config", "portcullis.toml"];
    assert_eq!(sign(&|source| source, &config).code, 0);
    type Case<'a> = (&'a str, &'a dyn Fn(String) -> String, &'a [&'a str]);
    let cases: [Case<'_>; 7] = [
        ("binding-invalid", &|source| source.replace("review = \"deny\", ", ""), &[]),
        (
            "binding-invalid",
            &|source| source.replace("step-up = \"deny\"", "step-up = \"open\""),
            &[],
        ),
        ("binding-invalid", &|source| source.replace("\"token\"", "\"night-token\""), &config),
        (
            "release-malformed",
            &|source| source.replace("days = 1", "expires = \"2026-01-01T00:00:00Z\""),
            &[],
        ),
        (
            "settings-invalid",
            &|source| {
                deployment.write("dist/sod.json", "{\"rulez\":[]}");
                source
            },
            &[],
        ),
        ("cannot read", &|source| source.replace("sod.json", "gone.json"), &[]),
        (
            "file-missing",
            &|source| {
                fs::rename(
                    deployment.path("release/plugins/sod.wasm"),
                    deployment.path("release/sod.wasm"),
                )
                .unwrap();
                source
            },
            &[],
        ),
    ];
    for (code, change, further) in cases {
        let _ = fs::remove_file(deployment.path("dist/release.json"));
        let ran = sign(change, further);
        assert_ne!(ran.code, 0, "{code}: {ran:?}");
        assert!(ran.err.contains(code), "{code}: {ran:?}");
        assert!(!deployment.path("dist/release.json").exists(), "{code}: nothing was signed");
    }
    // The component is elsewhere: named, or left to whoever publishes.
    assert_eq!(sign(&|source| source, &["--from", "release"]).code, 0);
    assert_eq!(sign(&|source| source, &["--without-components"]).code, 0);
    // Everything that is wrong is named at once.
    let twice = |source: String| {
        let binding = source.split_once("[[binding]]").unwrap().1.to_owned();
        let more = binding.replace("\"token\"", "\"import\"").replace("step-up", "drop-grant");
        format!("{}\n[[binding]]{more}", source.replace("review = \"deny\", ", ""))
    };
    let ran = sign(&twice, &["--without-components"]);
    assert_eq!(ran.err.matches("[binding-invalid]").count(), 2, "{ran:?}");
}
