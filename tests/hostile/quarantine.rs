//! A plugin that fails too often is left alone, comes back by a trial, and never delays anybody else's hook.

use std::thread;
use std::time::{Duration, Instant};

use portcullis_tests::{Answer, Binding, Host, Import, SignIn, TestDeployment, release_active};
use serde_json::{Value, json};

use super::{clean_sign_in, misbehaving_binding, with_group};

#[test]
fn a_plugin_that_fails_too_often_is_quarantined_until_another_release() {
    let misbehaviours =
        json!({"trap": {"do": "trap"}, "lie": {"do": "undeclared-code"}, "no": {"do": "deny"}});
    let mut deployment = impatient(&[misbehaving_binding("token", &misbehaviours)]);
    deployment.configure(
        "failure_threshold = 100000",
        "failure_threshold = 4\nbackoff_ms = 600000\nbackoff_max_ms = 600000",
    );
    let host = deployment.serve();

    // Denials are no failures, and neither is what others do wrong.
    for _ in 0..6 {
        assert!(host.sign_in(&with_group("no")).stops_a_token());
        assert!(host.post("token", b"{").stops_a_token());
    }
    for entitlement in ["trap", "lie", "trap", "lie", "trap", "lie"] {
        assert!(host.sign_in(&with_group(entitlement)).stops_a_token());
    }
    // Whoever comes now gets the safe answer at once.
    let alone = host.sign_in(&clean_sign_in());
    assert!(alone.stops_a_token(), "{alone:?}");
    // Other hooks in another order: the same plugin is still left alone.
    deployment.add_hook("spare", "okta.token", "");
    host.reload_until(["config.active"]);
    assert!(host.sign_in(&clean_sign_in()).stops_a_token());
    let quarantined = deployment.until_record("plugin.quarantined", |_| true);
    assert_eq!(
        (
            &quarantined["hook"],
            &quarantined["plugin"],
            &quarantined["mode"],
            &quarantined["generation"]
        ),
        (&json!("token"), &json!("org.portcullis.misbehaving"), &json!("enforce"), &json!(1))
    );
    assert_eq!(
        (&quarantined["failures"], &quarantined["for_ms"]),
        (&json!(6), &json!(600_000)),
        "half of all runs"
    );

    assert!(codes(&host).contains(&"plugin-quarantined".to_owned()));
    let binding = &host.admin("/status").json["hooks"][0]["bindings"][0];
    assert_ne!(binding["standing"]["state"], json!("asked"));
    assert_eq!(gauge(&host, "portcullis_plugin_quarantined", "token"), 1.0);

    // Another release starts anew.
    deployment.release(&[misbehaving_binding("token", &json!({"no": {"do": "deny"}}))]);
    host.reload_until([release_active(2)]);
    assert!(!host.sign_in(&clean_sign_in()).stops_a_token());
    drop(host.stop());

    let record = deployment.record(alone.index().unwrap());
    let decision = json!({"safe": "closed", "cause": "plugin-quarantined", "plugin": "org.portcullis.misbehaving"});
    assert_eq!(
        (&record["decision"], &record["bindings"]),
        (&decision, &json!([])),
        "nobody was asked"
    );
    assert_eq!(deployment.verify().code, 0);
}

/// The shortest back-off there is: each step is awaited, so that nothing here depends on speed.
#[test]
fn a_quarantined_plugin_recovers_by_one_real_call() {
    let deployment = impatient(&[misbehaving_binding("token", &json!({"trap": {"do": "trap"}}))]);
    deployment.configure(
        "failure_threshold = 100000",
        "failure_threshold = 2\nbackoff_ms = 100\nbackoff_max_ms = 60000",
    );
    let host = deployment.serve();
    let recorded = |kind: &str| !deployment.records_of(kind).is_empty();
    until(&host, &with_group("trap"), |_| recorded("plugin.quarantined"));
    // The first call after the back-off is the trial, which fails here.
    until(&host, &with_group("trap"), |_| recorded("plugin.probe-failed"));
    assert_eq!(deployment.records_of("plugin.quarantined")[0]["for_ms"], json!(100));
    assert_eq!(deployment.records_of("plugin.probe-failed")[0]["for_ms"], json!(200));
    // One good call, and it is asked again.
    let recovered = until(&host, &clean_sign_in(), |answer| !answer.stops_a_token());
    let record = deployment.until_record("plugin.recovered", |_| true);
    assert!(record["trials"].as_u64() >= Some(2), "{record}");
    assert!(record["after_ms"].as_u64() >= Some(300), "{record}");
    assert_eq!(gauge(&host, "portcullis_plugin_quarantined", "token"), 0.0);
    assert_eq!(gauge(&host, "portcullis_plugin_quarantines_total", "token"), 1.0);
    assert!(!codes(&host).contains(&"plugin-quarantined".to_owned()));
    drop(host.stop());
    assert_eq!(
        deployment.record(recovered.index().unwrap())["decision"]["verdict"],
        json!("allow")
    );
    assert_eq!(deployment.verify().code, 0);
}

#[test]
fn an_open_hook_is_not_opened_wider_and_who_only_looks_on_is_not_asked() {
    let misbehaviours = json!({"trap": {"do": "trap"}, "no": {"do": "deny"}});
    let monitor = Binding::new("import", "misbehaving-twin", json!({"do": "trap"})).mode("monitor");
    let deployment = impatient(&[misbehaving_binding("token", &misbehaviours), monitor]);
    deployment.configure(
        "failure_threshold = 100000",
        "failure_threshold = 2\nbackoff_ms = 600000\nbackoff_max_ms = 600000",
    );
    deployment
        .configure("path = \"/okta/token\"\n", "path = \"/okta/token\"\non_failure = \"open\"\n");
    let host = deployment.serve();
    for _ in 0..4 {
        assert!(!host.sign_in(&with_group("trap")).stops_a_token(), "it is open");
    }
    deployment.until_record("plugin.quarantined", |record| record["hook"] == "token");
    // What it would stop is stopped all the same.
    assert!(host.sign_in(&with_group("no")).stops_a_token());
    for _ in 0..2 {
        host.import(&Import::with_groups(&["nurses"]));
    }
    deployment.until_record("plugin.quarantined", |record| record["hook"] == "import");
    host.import(&Import::with_groups(&["nurses"]));
    let begin = Instant::now();
    let skipped = r#"portcullis_rejections_total{hook="import",kind="okta.user-import",reason="plugin-quarantined"}"#;
    while host.metric(skipped) < 1.0 {
        assert!(begin.elapsed() < PATIENCE, "it was never passed over");
        thread::sleep(Duration::from_millis(20));
    }
    drop(host.stop());
    assert_eq!(deployment.records_of("hook.observed").len(), 2);
}

#[test]
fn a_plugin_that_hangs_on_one_hook_never_delays_another() {
    let mut deployment = TestDeployment::build(&[]);
    deployment
        .sign_plugin("misbehaving", |manifest| manifest.replace("time_ms = 250", "time_ms = 1000"));
    deployment.release(&[
        Binding::new("token", "misbehaving", json!({"do": "loop-forever"}))
            .bounds("concurrency = 1, queue = 8"),
        Binding::new("import", "misbehaving-twin", json!({"do": "drop-grant", "id": "everything"})),
    ]);
    let host = deployment.serve();
    let (mut queued, mut imports) = (0.0_f64, Vec::new());
    thread::scope(|scope| {
        let hanging: Vec<_> = (0..24)
            .map(|_| {
                let request = host.request("token", &clean_sign_in().renewed().bytes());
                let mut client = host.client();
                scope.spawn(move || client.send(&request).unwrap())
            })
            .collect();
        while !hanging.iter().all(thread::ScopedJoinHandle::is_finished) {
            imports.push(host.import(&Import::with_groups(&["everything"])));
            queued = queued.max(gauge(&host, "portcullis_plugin_waiting", "token"));
            assert_eq!(gauge(&host, "portcullis_plugin_waiting", "import"), 0.0);
            assert!(gauge(&host, "portcullis_plugin_running", "token") <= 1.0);
        }
        assert!(hanging.into_iter().all(|answer| answer.join().unwrap().stops_a_token()));
    });
    assert!(queued >= 1.0, "nothing ever waited for the plugin that hangs");
    assert!(!imports.is_empty());
    drop(host.stop());
    // What a machine that is busy does to a plugin is not the neighbour's doing; a full queue or a missing sandbox would be.
    for import in &imports {
        let record = deployment.record(import.index().unwrap());
        let fault = &record["bindings"][0]["fault"];
        assert!(
            !["overload", "host-no-slot", "budget-exhausted"].iter().any(|wrong| fault == wrong),
            "{record}"
        );
        if fault.is_null() {
            assert_eq!(
                record["decision"]["verdict"],
                json!("deny"),
                "reported, as its binding says: {record}"
            );
        }
    }
    let refused = deployment
        .records_of("hook.decision")
        .into_iter()
        .filter(|record| record["bindings"][0]["fault"] == "overload");
    assert!(refused.count() > 0, "its own queue is bounded");
}

#[test]
fn bounds_that_are_signed_only_tighten() {
    let deployment =
        TestDeployment::build(&[Binding::new("token", "misbehaving", json!({"do": "trap"}))
            .bounds("failure_threshold = 2")]);
    deployment.configure(
        "failure_threshold = 100000",
        "failure_threshold = 100000\nbackoff_ms = 600000\nbackoff_max_ms = 600000",
    );
    let host = deployment.serve();
    for _ in 0..3 {
        assert!(host.sign_in(&clean_sign_in()).stops_a_token());
    }
    assert_eq!(deployment.until_record("plugin.quarantined", |_| true)["failures"], json!(2));
    drop(host.stop());
    for wrong in
        ["failure_threshold = 0", "failure_rate_percent = 101", "concurrency = 0", "speed = 1"]
    {
        let source = deployment.read("release.toml");
        deployment.write("wrong.toml", source.replace("failure_threshold = 2", wrong));
        let sign = [
            "release",
            "sign",
            "--source",
            "wrong.toml",
            "--root",
            "trust-root.json",
            "--key",
            "keys/release.key",
        ];
        let ran = deployment.run(&[&sign[..], &["--output", "wrong.json"]].concat());
        assert_eq!(ran.code, 1, "{wrong}: {}", ran.err);
        assert!(ran.err.contains(wrong.split(' ').next().unwrap()), "{}", ran.err);
    }
    deployment.configure("failure_threshold = 100000", "failure_threshold = 0");
    let checked = deployment.run(&["check", "--config", "portcullis.toml"]);
    assert!(
        checked.code == 64 && checked.err.contains("plugins.failure_threshold is 0, not 1 to"),
        "{}",
        checked.err
    );
}

/// A deployment that looks at its files when it is told to.
fn impatient(bindings: &[Binding]) -> TestDeployment {
    let deployment = TestDeployment::build(bindings);
    deployment.configure("watch_ms = 500", "watch_ms = 0");
    deployment
}

/// Calls until the answer is one of these.
fn until(host: &Host, sign_in: &SignIn, wanted: impl Fn(&Answer) -> bool) -> Answer {
    let begin = Instant::now();
    loop {
        let answer = host.sign_in(&sign_in.renewed());
        if wanted(&answer) {
            return answer;
        }
        assert!(begin.elapsed() < PATIENCE, "never: {answer:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn codes(host: &Host) -> Vec<String> {
    let warnings = host.admin("/ready").json["warnings"].clone();
    warnings
        .as_array()
        .unwrap()
        .iter()
        .map(|it: &Value| it["code"].as_str().unwrap().to_owned())
        .collect()
}

/// A binding's sample: of the hook's first one, in the active generation.
fn gauge(host: &Host, name: &str, hook: &str) -> f64 {
    let page = String::from_utf8(host.admin("/metrics").body).unwrap();
    let wanted = format!("{name}{{hook=\"{hook}\"");
    let line = page.lines().find(|line| line.starts_with(&wanted)).unwrap();
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

const PATIENCE: Duration = Duration::from_secs(30);
