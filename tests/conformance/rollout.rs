//! Roll-out: a shadow binds nobody, a canary answers for its cohort alone, both are compared with the live plugin, and what diverges too
//! often stops by itself and stays so.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use portcullis_tests::{
    Answer, Binding, Candidate, Host, Import, RELEASE_SET, SignIn, TestDeployment, release_active,
};
use serde_json::{Value, json};

/// Stands in bodies, and in nothing that is not sealed.
const MARKER: &str = "Zebulon-Quartermain-of-Ward-Nine";

#[test]
fn a_shadow_is_compared_and_binds_nobody() {
    let misbehaviours =
        json!({"differ": deny(), "trap": {"do": "trap"}, "other": {"do": "step-up"}});
    let candidate = Candidate::settings(by_group(&misbehaviours), "shadow = true");
    let deployment = TestDeployment::build(&[Binding::new(
        "token",
        "misbehaving",
        by_group(&json!({"other": {"do": "review"}})),
    )
    .candidate(candidate)]);
    let checked = deployment.must(&["check", "--config", "portcullis.toml"]);
    for said in [
        "misbehaving 0.1.0, shadow",
        "its decisions have no effect",
        "of the last 200 compared calls more than 4 differ, 2 fail or 40 are 5 ms slower",
    ] {
        assert!(checked.contains(said), "`check` never said `{said}`:\n{checked}");
    }
    let host = deployment.serve();
    let same = host.sign_in(&with_group("nurses"));
    let differs = host.sign_in(&with_group("differ").profile("nickName", MARKER));
    let fails = host.sign_in(&with_group("trap"));
    let other = host.sign_in(&with_group("other"));
    assert!(
        !same.stops_a_token() && !differs.stops_a_token() && !fails.stops_a_token(),
        "the live one decides"
    );
    assert!(other.stops_a_token());
    let diverged = |answer: &Answer| {
        deployment
            .until_record("hook.diverged", |record| record["decision"].as_u64() == answer.index())
    };
    let record = diverged(&differs);
    assert_eq!((&record["kind"], &record["hook"]), (&json!("shadow"), &json!("token")));
    assert!(
        ["verdict", "findings"]
            .iter()
            .all(|what| record["differs"].as_array().unwrap().contains(&json!(what))),
        "{record}"
    );
    assert_eq!(
        (&record["live"]["verdict"], &record["live"]["mode"]),
        (&json!("allow"), &json!("enforce"))
    );
    assert_eq!(
        (&record["candidate"]["verdict"], &record["candidate"]["mode"]),
        (&json!("deny"), &json!("shadow"))
    );
    assert_eq!(record["candidate"]["codes"], json!(["MISBEHAVING_DENIES"]));
    assert!(
        !record.to_string().contains(MARKER) && !record.to_string().contains("noor"),
        "{record}"
    );
    let sealed = deployment.sealed(record["seq"].as_u64().unwrap());
    assert_eq!(sealed[1]["decision"]["findings"][0]["code"], json!("MISBEHAVING_DENIES"));
    assert_eq!(diverged(&fails)["candidate"]["fault"], json!("plugin-trap"));
    assert_eq!(diverged(&other)["candidate"]["verdict"], json!("step-up"));
    let shown = candidate_of(&host);
    assert_eq!(
        shown["last"],
        json!({"compared": 4, "differences": 2, "failures": 1, "slower": shown["last"]["slower"]})
    );
    assert_eq!((&shown["stopped"], &shown["cohort"]), (&json!(false), &Value::Null));
    assert_eq!(shown["outcomes"], json!({"same": 1, "differs": 2, "candidate-failed": 1}));
    assert_eq!(sample(&host, "portcullis_candidate_comparisons_total", "outcome=\"differs\""), 2.0);
    assert_eq!(sample(&host, "portcullis_candidate_differences_total", "what=\"verdict\""), 2.0);
    drop(host.stop());
    assert!(deployment.record(same.index().unwrap())["bindings"][0].get("cohort").is_none());
    assert_eq!(deployment.records_of("hook.diverged").len(), 3, "what is the same is only counted");
    let active = &deployment.records_of("release.active")[0]["bindings"];
    assert_eq!((&active[0]["mode"], &active[1]["mode"]), (&json!("enforce"), &json!("shadow")));
    assert_eq!(deployment.verify().code, 0);
}

#[test]
fn a_canary_answers_for_its_cohort_alone_and_the_record_says_why() {
    let terms = "canary = { percent = 100, applications = [\"0oapilot\"], departments = [\"radiology\"] }\nabort = { max_differences = 200 }";
    let deployment =
        TestDeployment::build(&[live_binding().candidate(Candidate::settings(deny(), terms))]);
    let host = deployment.serve();
    let of = |application: &str, department: &str| {
        let sign_in = with_group("nurses").client(application).profile("department", department);
        host.sign_in(&sign_in)
    };
    let inside = of("0oapilot", "radiology");
    let outside =
        [of("0oapilot", "surgery"), of("0oaportal", "radiology"), of("0oaportal", "surgery")];
    assert!(inside.stops_a_token());
    assert!(outside.iter().all(|answer| !answer.stops_a_token()));
    let diverged = deployment.until_record("hook.diverged", |_| true);
    assert_eq!(
        (&diverged["kind"], diverged["decision"].as_u64()),
        (&json!("canary"), inside.index())
    );
    assert_eq!(
        (&diverged["live"]["verdict"], &diverged["candidate"]["verdict"]),
        (&json!("allow"), &json!("deny"))
    );
    drop(host.stop());
    let asked = &deployment.record(inside.index().unwrap())["bindings"][0];
    assert_eq!(
        (&asked["mode"], &asked["cohort"]),
        (&json!("canary"), &json!(["percent", "application", "department"]))
    );
    for answer in &outside {
        assert_eq!(
            deployment.record(answer.index().unwrap())["bindings"][0]["mode"],
            json!("enforce")
        );
    }
    assert_eq!(
        deployment.records_of("hook.diverged").len(),
        1,
        "who is in no cohort is not compared"
    );
}

#[test]
fn a_percentage_is_of_people_and_always_of_the_same_ones() {
    let terms = "canary = { percent = 50 }\nabort = { window = 1000, max_differences = 1000, max_failures = 1000, max_slower = 1000 }";
    let deployment =
        TestDeployment::build(&[live_binding().candidate(Candidate::settings(deny(), terms))]);
    let ask = |host: &Host| -> Vec<bool> {
        let person = |number: u32| {
            let mut sign_in = with_group("nurses");
            sign_in.body["data"]["context"]["user"]["id"] = json!(format!("00u{number}"));
            sign_in
        };
        let mut stopped: Vec<_> =
            (0..60).rev().map(|number| host.sign_in(&person(number)).stops_a_token()).collect();
        stopped.reverse();
        let again: Vec<_> =
            (0..60).map(|number| host.sign_in(&person(number)).stops_a_token()).collect();
        assert_eq!(stopped, again, "whatever was asked before");
        stopped
    };
    let host = deployment.serve();
    let chosen = ask(&host);
    let count = chosen.iter().filter(|chosen| **chosen).count();
    assert!((8..52).contains(&count), "{count} of 60");
    drop(host.stop());
    let host = deployment.serve();
    assert_eq!(ask(&host), chosen, "after a restart too");
    drop(host.stop());
}

#[test]
fn what_diverges_too_often_stops_by_itself_and_stays_so_until_another_set_is_signed() {
    let canary = |settings| {
        live_binding().candidate(Candidate::settings(
            settings,
            "canary = { percent = 100 }\nabort = { window = 10, max_differences = 2, max_slower = 10 }",
        ))
    };
    let mut deployment = TestDeployment::build(&[canary(deny())]);
    let host = deployment.serve();
    let begin = Instant::now();
    let mut denied = 0;
    while host.sign_in(&with_group("nurses")).stops_a_token() {
        denied += 1;
        assert!(begin.elapsed() < PATIENCE, "it never stopped");
        thread::sleep(Duration::from_millis(20));
    }
    assert!(denied >= 3, "within its budget it answers: {denied}");
    let stopped = deployment.until_record("release.candidate-stopped", |_| true);
    assert_eq!(
        (&stopped["reason"], &stopped["differences"], &stopped["compared"]),
        (&json!("differences"), &json!(3), &json!(3))
    );
    assert_eq!(
        (&stopped["candidate"]["mode"], &stopped["generation"]),
        (&json!("canary"), &json!(1))
    );
    assert_eq!(stopped["state"]["stopped"].as_array().unwrap().len(), 1);
    assert_eq!(candidate_of(&host)["stopped"], json!(true));
    assert_eq!(sample(&host, "portcullis_candidate_stopped", ""), 1.0);
    assert!(host.admin("/ready").json["warnings"].to_string().contains("candidate-stopped"));
    drop(host.stop());

    // The same set after a restart, and after a crash that took the host's own memory with it: the log knows.
    for forget in [false, true] {
        if forget {
            std::fs::remove_dir_all(deployment.path("trust-state")).unwrap();
        }
        let host = deployment.serve();
        assert!(!host.sign_in(&with_group("nurses")).stops_a_token(), "the live one decides");
        assert_eq!(candidate_of(&host)["stopped"], json!(true));
        host.kill();
    }
    assert!(
        deployment
            .must(&["check", "--config", "portcullis.toml"])
            .contains("it was stopped in this release set")
    );

    // Another set, signed by those who have seen why, begins anew; and the candidate is promoted like anything else.
    deployment.release(&[canary(deny())]);
    let host = deployment.serve();
    assert!(host.sign_in(&with_group("nurses")).stops_a_token(), "the canary answers again");
    deployment.release(&[Binding::new("token", "misbehaving", deny())]);
    host.reload_until([release_active(3)]);
    let promoted = host.sign_in(&with_group("nurses"));
    assert!(promoted.stops_a_token());
    drop(host.stop());
    let asked = &deployment.record(promoted.index().unwrap())["bindings"][0];
    assert_eq!((&asked["mode"], asked.get("cohort")), (&json!("enforce"), None));
    assert_eq!(deployment.verify().code, 0);
}

#[test]
fn where_a_canary_comes_to_nothing_the_live_plugin_decides() {
    let misbehaviours = json!({
        "trap": {"do": "trap"}, "lie": {"do": "undeclared-code"}, "clash": set("south"),
    });
    let candidate = Candidate::settings(
        by_group(&misbehaviours),
        "canary = { percent = 100 }\nabort = { max_failures = 50, max_differences = 200, max_slower = 200 }",
    );
    let deny_traps = by_group(&json!({"trap": deny(), "lie": deny()}));
    let twin = Binding::new("token", "misbehaving-twin", by_group(&json!({"clash": set("north")})));
    let deployment = TestDeployment::build(&[
        Binding::new("token", "misbehaving", deny_traps).candidate(candidate),
        twin,
    ]);
    let host = deployment.serve();
    let mut fallen = Vec::new();
    for (entitlement, cause) in
        [("trap", "plugin-fault"), ("lie", "undeclared-output"), ("clash", "conflict")]
    {
        let answer = host.sign_in(&with_group(entitlement));
        assert_eq!(answer.stops_a_token(), entitlement != "clash", "{entitlement}: {answer:?}");
        fallen.push((answer, cause));
    }
    let calm = host.sign_in(&with_group("nurses"));
    assert!(!calm.stops_a_token());
    for (answer, _) in &fallen {
        let record = deployment
            .until_record("hook.diverged", |record| record["decision"].as_u64() == answer.index());
        assert!(record["candidate"]["fault"].is_string(), "{record}");
    }
    drop(host.stop());
    for (answer, cause) in &fallen {
        let record = deployment.record(answer.index().unwrap());
        assert_eq!(record["canary_failure"]["cause"], json!(cause), "{record}");
        assert!(record["decision"]["verdict"].is_string(), "{record}");
        assert!(
            record["bindings"].as_array().unwrap().iter().all(|asked| asked["mode"] == "enforce"),
            "{record}"
        );
    }
    let record = deployment.record(calm.index().unwrap());
    assert_eq!(
        (&record["bindings"][0]["mode"], record.get("canary_failure")),
        (&json!("canary"), None)
    );
}

#[test]
fn where_a_canary_does_not_end_the_live_plugin_decides() {
    let mut deployment = TestDeployment::build(&[Binding::new("token", "misbehaving", deny())]);
    // It may run so short a time that it ends on the connection's own thread. With more it would
    // wait for a turn in its lane, where a busy machine ends the call's budget first.
    deployment.sign_as("misbehaving", "misbehaving-next", |manifest| {
        manifest.replacen("serial = 1", "serial = 2", 1).replacen("0.1.0", "0.2.0", 1).replacen(
            "time_ms = 250",
            "time_ms = 2",
            1,
        )
    });
    let terms = "canary = { percent = 100 }\nabort = { max_failures = 50, max_differences = 200, max_slower = 200 }";
    let canary = Candidate::version("misbehaving", "misbehaving-next", terms)
        .with(json!({"do": "loop-forever"}));
    deployment.release(&[Binding::new("token", "misbehaving", deny()).candidate(canary)]);
    let host = deployment.serve();
    let answer = host.sign_in(&with_group("nurses"));
    assert!(answer.stops_a_token(), "{answer:?}");
    let diverged = deployment
        .until_record("hook.diverged", |record| record["decision"].as_u64() == answer.index());
    assert_eq!(diverged["candidate"]["fault"], json!("plugin-deadline"), "{diverged}");
    drop(host.stop());
    let record = deployment.record(answer.index().unwrap());
    assert_eq!(record["canary_failure"]["cause"], json!("plugin-fault"), "{record}");
    assert_eq!(record["decision"]["verdict"], json!("deny"), "{record}");
    assert_eq!(record["bindings"][0]["mode"], json!("enforce"), "{record}");
}

#[test]
fn another_version_is_tried_without_raising_a_floor_and_revoking_it_stops_nobody() {
    let mut deployment = TestDeployment::build(&[live_binding()]);
    deployment.configure("watch_ms = 500", "watch_ms = 0");
    deployment.sign_as("misbehaving", "misbehaving-next", |manifest| {
        manifest.replacen("serial = 1", "serial = 2", 1).replacen("0.1.0", "0.2.0", 1)
    });
    let canary =
        Candidate::version("misbehaving", "misbehaving-next", "canary = { percent = 100 }");
    deployment.release(&[live_binding().candidate(canary)]);
    let host = deployment.serve();
    let tried = host.sign_in(&with_group("nurses"));
    // The way back is open: the version that is live was never another.
    deployment.release(&[live_binding()]);
    host.reload_until([release_active(3)]);
    let back = host.sign_in(&with_group("nurses"));
    let canary =
        Candidate::version("misbehaving", "misbehaving-next", "canary = { percent = 100 }");
    deployment.release(&[live_binding().candidate(canary)]);
    host.reload_until([release_active(4)]);
    deployment.next_root(2, &["root"], |source| {
        source + "\n[revoked.serials]\n\"org.portcullis.misbehaving\" = [2]\n"
    });
    host.reload_until(["plugin.revoked"]);
    let after = host.sign_in(&with_group("nurses"));
    drop(host.stop());
    let asked = |answer: &Answer| deployment.record(answer.index().unwrap())["bindings"][0].clone();
    assert_eq!(
        (&asked(&tried)["version"], &asked(&tried)["mode"]),
        (&json!("0.2.0"), &json!("canary"))
    );
    assert_eq!(
        (&asked(&back)["version"], &asked(&after)["version"]),
        (&json!("0.1.0"), &json!("0.1.0"))
    );
    assert!(!after.stops_a_token());
}

#[test]
fn the_order_of_bindings_changes_nothing_with_canaries_either() {
    let cap = |seconds: u32| json!({"do": "cap", "target": "access-token", "seconds": seconds});
    let everybody =
        "canary = { percent = 100 }\nabort = { max_differences = 200, max_slower = 200 }";
    let some = "canary = { applications = [\"0oapilot\"] }\nabort = { max_differences = 200, max_slower = 200 }";
    let one = json!({"deny": deny(), "cap": cap(900), "set": set("north")});
    let other =
        json!({"deny": {"do": "deny", "why": "second"}, "cap": cap(700), "set": set("south")});
    let deployment = TestDeployment::build(&[
        Binding::new("token", "misbehaving", by_group(&json!({})))
            .candidate(Candidate::settings(by_group(&one), everybody)),
        Binding::new("token", "misbehaving-twin", by_group(&json!({})))
            .candidate(Candidate::settings(by_group(&other), some)),
        Binding::new("token", "misbehaving", by_group(&json!({"cap": cap(800)}))),
    ]);
    let sign_ins: Vec<SignIn> = ["deny", "cap", "set", "nurses"]
        .iter()
        .flat_map(|name| [with_group(name), with_group(name).client("0oapilot")])
        .collect();
    let mut signed = deployment.opened("release/release.json");
    let sorted = signed["bindings"].clone();
    let mut outcomes = BTreeSet::new();
    for (version, order) in [(1, [0, 1, 2]), (2, [2, 1, 0]), (3, [1, 2, 0])] {
        signed["version"] = json!(version);
        signed["bindings"] = order.map(|at: usize| sorted[at].clone()).to_vec().into();
        deployment.write(
            "release/release.json",
            deployment.forge("release", RELEASE_SET, &signed.to_string()),
        );
        let host = deployment.serve();
        outcomes.insert(
            sign_ins
                .iter()
                .map(|sign_in| host.sign_in(sign_in).without_reference())
                .collect::<Vec<_>>(),
        );
        drop(host.stop());
    }
    assert_eq!(outcomes.len(), 1, "{outcomes:#?}");
}

#[test]
fn what_observes_can_have_a_shadow_and_what_is_wrong_with_a_candidate_is_named() {
    let shadow = Candidate::settings(deny(), "shadow = true");
    let mut deployment =
        TestDeployment::build(&[Binding::new("import", "misbehaving", json!({"do": "allow"}))
            .mode("monitor")
            .candidate(shadow)]);
    let host = deployment.serve();
    let answer = host.import(&Import::with_groups(&["nurses"]));
    assert_eq!(answer.without_reference(), "{}");
    let record = deployment
        .until_record("hook.diverged", |record| record["decision"].as_u64() == answer.index());
    assert_eq!(
        (&record["live"]["mode"], &record["candidate"]["verdict"]),
        (&json!("monitor"), &json!("deny"))
    );
    drop(host.stop());

    deployment.release(&[live_binding().candidate(Candidate::settings(deny(), "shadow = true"))]);
    let source = deployment.read("release.toml");
    for (from, to, says) in [
        ("shadow = true", "", "either `shadow` or `canary`"),
        ("shadow = true", "shadow = true\ncanary = { percent = 1 }", "either `shadow` or `canary`"),
        ("shadow = true", "canary = {}", "`canary` does not select any calls"),
        ("shadow = true", "canary = { percent = 0 }", "`canary.percent` is 0, not 1 to 100"),
        ("shadow = true", "canary = { percent = 1, wards = [] }", "wards"),
        ("shadow = true", "canary = { departments = [\"\"] }", "`canary.departments`"),
        ("shadow = true", "shadow = true\nabort = { window = 0 }", "`abort.window` is 0"),
        (
            "shadow = true",
            "shadow = true\nabort = { window = 5, max_differences = 6 }",
            "`abort.max_differences` is 6, more than `abort.window`",
        ),
        (
            "shadow = true",
            "shadow = true\nplugin = \"org.portcullis.other\"",
            "neither `candidates` nor `plugins` lists it",
        ),
        ("2-0-candidate.json", "2-0.json", "is the live plugin with the live settings"),
        ("mode = \"enforce\"", "mode = \"advise\"", ""),
        ("candidates = []", "candidates = [\"release/plugins/misbehaving.manifest.json\"]", ""),
    ] {
        assert!(source.contains(from), "{from}");
        deployment.write("other.toml", source.replacen(from, to, 1));
        let sign = [
            "release",
            "sign",
            "--source",
            "other.toml",
            "--root",
            "trust-root.json",
            "--key",
            "keys/release.key",
        ];
        let ran = deployment.run(&[&sign[..], &["--output", "other.json"]].concat());
        assert_eq!(ran.code, i32::from(!says.is_empty()), "{to}: {}", ran.err);
        assert!(ran.err.contains(says), "{to}: {}", ran.err);
    }
    // A canary in the place of one that only advises would decide more than it.
    let advised = source.replacen("mode = \"enforce\"", "mode = \"advise\"", 1).replacen(
        "shadow = true",
        "canary = { percent = 1 }",
        1,
    );
    deployment.write("other.toml", advised);
    let sign = [
        "release",
        "sign",
        "--source",
        "other.toml",
        "--root",
        "trust-root.json",
        "--key",
        "keys/release.key",
    ];
    let ran = deployment.run(&[&sign[..], &["--output", "other.json"]].concat());
    assert!(ran.code == 1 && ran.err.contains("the mode of this one is advise"), "{}", ran.err);
}

fn live_binding() -> Binding {
    Binding::new("token", "misbehaving", json!({"do": "allow"}))
}

fn deny() -> Value {
    json!({"do": "deny"})
}

fn by_group(misbehaviours: &Value) -> Value {
    json!({"do": "by-entitlement", "misbehaviours": misbehaviours})
}

fn set(value: &str) -> Value {
    json!({"do": "set", "target": "access-token", "path": "/claims/ward", "value": value})
}

fn with_group(entitlement: &str) -> SignIn {
    SignIn::with_groups(&[entitlement])
}

/// What the status page says of the first candidate.
fn candidate_of(host: &Host) -> Value {
    host.admin("/status").json["hooks"][0]["bindings"][0]["candidate"].clone()
}

/// The first sample of this name with that label.
fn sample(host: &Host, name: &str, label: &str) -> f64 {
    let page = String::from_utf8(host.admin("/metrics").body).unwrap();
    let line = page
        .lines()
        .find(|line| line.starts_with(&format!("{name}{{")) && line.contains(label))
        .unwrap();
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

const PATIENCE: Duration = Duration::from_secs(30);
