//! Nothing old comes back: not an older set, not a lower serial, not a log or a memory from a backup.

use std::fs;

use portcullis_tests::{
    Binding, CONFLICT, RELEASE_SET, SignIn, TestDeployment, duties, now, release_active,
    release_refused, rfc3339,
};
use serde_json::{Value, json};

/// The rules of [`duties`], which now only report.
fn lenient() -> Value {
    let mut settings = duties();
    settings["rules"][0]["action"] = json!("allow");
    settings
}

fn strict_then_lenient() -> TestDeployment {
    let mut deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    deployment.configure("watch_ms = 500", "watch_ms = 0");
    deployment.write("first.json", deployment.read("release/release.json"));
    deployment.serve().stop();
    deployment.release(&[Binding::new("token", "sod", lenient())]);
    deployment.write("second.json", deployment.read("release/release.json"));
    deployment.serve().stop();
    deployment
}

const PAPER: [&str; 12] = [
    "release",
    "downgrade",
    "--person",
    "noor.haddad",
    "--reason",
    "412 stops night shifts",
    "--ticket",
    "CHG-77",
    "--root",
    "trust-root.json",
    "--output",
    "release/downgrade.json",
];

#[test]
fn an_older_set_comes_back_by_a_signed_downgrade_only() {
    let mut deployment = strict_then_lenient();
    deployment.write("release/release.json", deployment.read("first.json"));
    let host = deployment.serve();
    // After a restart too: the last good one goes on, which is lenient.
    assert!(!host.sign_in(&SignIn::with_groups(&CONFLICT)).stops_a_token());
    let refused = |host: &portcullis_tests::Host, code: &str| {
        let said = host.reload_until(["release.refused", "release.active"]);
        assert!(said.has(release_refused(code)), "{code}: {said}");
    };
    refused(&host, "release-older");
    let permission = |from: &str, key: &str| {
        deployment
            .run(&[&PAPER[..], &["--from", from, "--to", "first.json", "--key", key]].concat())
    };
    let ran = permission("2", "keys/publisher.key");
    assert!(ran.code == 1 && ran.err.contains("[unknown-signer]"), "{ran:?}");
    assert!(!deployment.path("release/downgrade.json").exists());
    // By somebody who knew of version 1 only; for another set; over; altered.
    assert_eq!(permission("1", "keys/release.key").code, 0);
    refused(&host, "downgrade-mismatch");
    assert_eq!(permission("2", "keys/release.key").code, 0);
    let good = deployment.opened("release/downgrade.json");
    let kind = "application/vnd.portcullis.downgrade.v1+json";
    let wrong = |code: &str, key: &str, change: &dyn Fn(&mut Value)| {
        let mut permission = good.clone();
        change(&mut permission);
        deployment
            .write("release/downgrade.json", deployment.forge(key, kind, &permission.to_string()));
        refused(&host, code);
    };
    wrong("downgrade-mismatch", "release", &|permission| {
        permission["set"] = json!(format!("sha256:{}", "0".repeat(64)))
    });
    wrong("expired", "release", &|permission| {
        permission["issued"] = json!(rfc3339(now() - 7_200));
        permission["expires"] = json!(rfc3339(now() - 3_600));
    });
    wrong("downgrade-malformed", "release", &|permission| permission["for"] = json!("everybody"));
    wrong("unknown-signer", "publisher", &|_| {});
    deployment
        .write("release/downgrade.json", deployment.forge("release", kind, &good.to_string()));
    let said = host.reload_until(["release.refused", "release.active"]);
    assert!(said.has(release_active(1)), "{said}");
    assert!(host.sign_in(&SignIn::with_groups(&CONFLICT)).stops_a_token());
    assert!(!host.sign_in(&SignIn::with_groups(&["ward-reader"])).stops_a_token());
    host.stop();

    // It stays active over a restart, without the paper; the way on is a new set, not the one that
    // was left.
    fs::remove_file(deployment.path("release/downgrade.json")).unwrap();
    let host = deployment.serve();
    assert!(!host.sign_in(&SignIn::with_groups(&["ward-reader"])).stops_a_token());
    deployment.write("release/release.json", deployment.read("second.json"));
    refused(&host, "release-older");
    deployment.release(&[Binding::new("token", "sod", lenient())]);
    assert!(host.reload_until(["release.refused", "release.active"]).has(release_active(3)));
    deployment.write("release/release.json", deployment.read("first.json"));
    deployment
        .write("release/downgrade.json", deployment.forge("release", kind, &good.to_string()));
    refused(&host, "downgrade-mismatch");
    host.stop();
    let active = deployment.records_of("release.active");
    let downgraded: Vec<_> =
        active.iter().filter(|record| record["downgrade"].is_string()).collect();
    assert_eq!(downgraded.len(), 1);
    assert_eq!(downgraded[0]["generation"], 1);
}

#[test]
fn serials_only_grow_and_floors_hold() {
    let mut deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    deployment.configure("watch_ms = 500", "watch_ms = 0");
    deployment.sign_plugin("sod", |source| source.replace("serial = 1", "serial = 5"));
    deployment.release(&[Binding::new("token", "sod", duties())]);
    deployment.serve().stop();
    deployment.sign_plugin("sod", |source| source.replace("serial = 1", "serial = 4"));
    deployment.release(&[Binding::new("token", "sod", duties())]);
    let host = deployment.serve();
    assert!(
        host.reload_until(["release.refused", "release.active"])
            .has(release_refused("serial-older"))
    );
    // A floor that a set has signed holds for plugins that were never here.
    deployment.sign_plugin("sod", |source| source.replace("serial = 1", "serial = 6"));
    deployment.release(&[Binding::new("token", "sod", duties())]);
    let mut set = deployment.opened("release/release.json");
    set["min_serial"] = json!({"org.portcullis.sod": 6, "org.portcullis.contractor": 9});
    deployment
        .write("release/release.json", deployment.forge("release", RELEASE_SET, &set.to_string()));
    assert!(host.reload_until(["release.refused", "release.active"]).has("release.active"));
    deployment.release(&[Binding::new("import", "contractor", portcullis_tests::contract())]);
    assert!(
        host.reload_until(["release.refused", "release.active"])
            .has(release_refused("serial-older"))
    );
    host.stop();
}

#[test]
fn nothing_is_forgotten_with_the_file_that_remembers_it() {
    let deployment = strict_then_lenient();
    deployment.write("release/release.json", deployment.read("first.json"));
    let memory = deployment.read("trust-state/memory");
    let code = |deployment: &TestDeployment| {
        let ran = deployment.run(&["check", "--config", "portcullis.toml"]);
        assert_eq!(ran.code, 1, "{ran:?}");
        ran.err
    };
    assert!(code(&deployment).contains("[release-older]"));
    // Gone, cut, altered: the log knows.
    fs::remove_file(deployment.path("trust-state/memory")).unwrap();
    assert!(code(&deployment).contains("[release-older]"));
    deployment.write("trust-state/memory", memory.split_at(memory.len() / 2).0);
    assert!(code(&deployment).contains("[release-older]"));
    deployment.write("trust-state/memory", memory.replace("\"highest\":2", "\"highest\":1"));
    assert!(code(&deployment).contains("[release-older]"));
    let host = deployment.serve();
    let conflict = host.sign_in(&SignIn::with_groups(&CONFLICT));
    assert!(!conflict.stops_a_token(), "the last good one goes on, not the older one");
    host.stop();
    assert_eq!(deployment.records_of("trust.state-corrupt").len(), 1);
    assert!(deployment.read("trust-state/memory").contains("\"highest\":2"), "it is whole again");
    assert_eq!(deployment.verify().code, 0);
}

#[test]
fn a_host_from_an_old_backup_neither_takes_the_old_set_nor_forks_its_log() {
    let everything = ["audit", "trust-state", "release/release.json"];
    // With a log held ready from the beginning, and with one that is prepared once the host has
    // refused to start.
    for (copied, ready) in [(true, false), (true, true), (false, false)] {
        let mut deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
        deployment.configure("watch_ms = 500", "watch_ms = 0");
        if copied {
            fs::create_dir(deployment.path("second-copy")).unwrap();
            deployment.configure("[audit]", "[audit]\nstate_copy = \"second-copy\"");
        }
        deployment.serve().stop();
        deployment.back_up(&everything, "backup");
        deployment.release(&[Binding::new("token", "sod", lenient())]);
        let host = deployment.serve();
        assert!(!host.sign_in(&SignIn::with_groups(&CONFLICT)).stops_a_token());
        host.stop();
        let kept = deployment.read("audit/log/checkpoint");
        deployment.write("kept-elsewhere", &kept);
        // Without a state copy it is the host's own folder that was not in the backup.
        deployment.restore(
            if copied { &everything } else { &["audit", "release/release.json"] },
            "backup",
        );
        let before = deployment.read("audit/log/checkpoint");
        if !ready {
            let ran = deployment.run(&["serve", "--strict", "--config", "portcullis.toml"]);
            assert!(
                ran.code == 70 && ran.err.contains("old backup") && ran.err.contains("hint: "),
                "{ran:?}"
            );
            assert_eq!(deployment.read("audit/log/checkpoint"), before, "nothing was signed");
            let again = deployment.run(&["serve", "--strict", "--config", "portcullis.toml"]);
            assert!(again.code == 70, "{again:?}");
            assert!(
                deployment.verify_against("kept-elsewhere").code == 1,
                "an auditor sees it too"
            );
        }

        // With a log held ready the host goes on, in a new log that is linked to the old one.
        let held_ready = [
            "keys",
            "generate",
            "--name",
            "test.example/hooks/2026-b",
            "--output",
            "keys/log-b.key",
            "--vkey",
            "log-b.vkey",
        ];
        deployment.must(&held_ready);
        let (first, second) = (deployment.read("log.vkey"), deployment.read("log-b.vkey"));
        let both = format!("keys = [\"{}\", \"{}\"]", first.trim(), second.trim());
        let ran = deployment.next_root(2, &["root"], |source| {
            source.replace(&format!("keys = [\"{}\"]", first.trim()), &both)
        });
        assert_eq!(ran.code, 0, "{ran:?}");
        deployment.configure(
            "[[hook]]\nname = \"token\"",
            "[audit.next]\ndirectory = \"audit-b\"\norigin = \"test.example/hooks/2026-b\"\nsigning_key = \"keys/log-b.key\"\n\n[[hook]]\nname = \"token\"",
        );
        for _ in 0..2 {
            let host = deployment.serve();
            assert!(
                host.reload_until(["release.refused", "release.active"])
                    .has(release_refused("release-older"))
            );
            // The copy of the last good one is where the host's own folder was not in the backup.
            assert_eq!(
                host.sign_in(&SignIn::with_groups(&CONFLICT)).stops_a_token(),
                copied,
                "no old set decides"
            );
            host.stop();
        }
        assert_eq!(
            deployment.read("audit/log/checkpoint"),
            before,
            "the old log is never signed again"
        );
        deployment.release(&[Binding::new("token", "sod", lenient())]);
        deployment.release(&[Binding::new("token", "sod", lenient())]);
        let host = deployment.serve();
        let answer = host.sign_in(&SignIn::with_groups(&CONFLICT));
        assert!(!answer.stops_a_token());
        host.stop();
        let check = ["check", "--config", "portcullis.toml"];
        let warning = "this host has retired it before";
        assert!(deployment.must(&check).contains(warning), "as `serve` it goes on in the next log");
        // Nor is a log read that is given up.
        deployment.write("audit/log/checkpoint", "damaged");
        assert!(
            deployment
                .must(&check)
                .contains("would continue in the log `test.example/hooks/2026-b`")
        );
        let show =
            ["audit", "show", "--log", "audit-b/log", "--vkey", "log-b.vkey", "--format", "json"];
        let shown = deployment.must(&show);
        let records: Vec<Value> =
            shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let of =
            |kind: &str| records.iter().filter(|record| record["t"] == kind).collect::<Vec<_>>();
        let size: u64 = kept.lines().nth(1).unwrap().parse().unwrap();
        let (link, retired) = (of("log.link"), of("log.retired"));
        assert_eq!((link.len(), retired.len()), (1, usize::from(ready)), "{shown}");
        assert!(
            link[0]["size"].as_u64().unwrap() <= size
                && link[0]["origin"] == "test.example/hooks/2026"
        );
        assert_eq!(link[0]["reason"], "retired");
        for retired in retired {
            assert_eq!(
                (&retired["code"], &retired["origin"]),
                (&json!("log-behind"), &link[0]["origin"])
            );
        }
        assert_eq!(
            deployment
                .must(&["audit", "verify", "--log", "audit-b/log", "--vkey", "log-b.vkey"])
                .lines()
                .count(),
            1
        );
    }
}

#[test]
fn a_log_that_was_rewritten_is_not_signed() {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    deployment.serve().stop();
    // Another history of the same length and more, signed with the same key.
    deployment.back_up(&["trust-state"], "kept");
    fs::remove_dir_all(deployment.path("audit")).unwrap();
    fs::remove_dir_all(deployment.path("trust-state")).unwrap();
    for _ in 0..3 {
        deployment.serve().stop();
    }
    deployment.restore(&["trust-state"], "kept");
    let ran = deployment.run(&["serve", "--strict", "--config", "portcullis.toml"]);
    assert!(ran.code == 70 && ran.err.contains("rewritten"), "{ran:?}");
}

#[test]
fn a_state_copy_that_must_be_there_and_is_not_stops_the_start() {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    deployment.configure("[audit]", "[audit]\nstate_copy = \"second-copy\"");
    let host = deployment.serve();
    assert!(host.log().has("state-copy.unreadable"), "{}", host.log());
    host.stop();
    assert_eq!(deployment.records_of("trust.state-copy-unreadable").len(), 1);
    deployment.configure(
        "state_copy = \"second-copy\"",
        "state_copy = \"second-copy\"\nstate_copy_required = true",
    );
    let ran = deployment.run(&["serve", "--strict", "--config", "portcullis.toml"]);
    assert!(
        ran.code == 64 && ran.err.contains("state copy") && ran.err.contains("hint: "),
        "{ran:?}"
    );
    fs::create_dir(deployment.path("second-copy")).unwrap();
    deployment.serve().stop();
    assert!(deployment.read("second-copy/checkpoint").starts_with("test.example/hooks/2026\n"));
}
