//! `hook kinds` and `hook doctor`: what is spoken, and a hook looked at from outside.

use portcullis_tests::{
    Authority, Binding, Host, Ran, TestDeployment, charts, duties, golden, normal,
};
use serde_json::{Value, json};

#[test]
fn the_kinds_are_listed() {
    let deployment = TestDeployment::build(&[]);
    golden("hook-kinds.txt", &deployment.must(&["hook", "kinds"]));
    let kinds = deployment.must(&["hook", "kinds", "--format", "json"]);
    let kinds: Vec<Value> = kinds.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let token = kinds.iter().find(|kind| kind["kind"] == "okta.token").unwrap();
    assert_eq!(
        (&token["limit_ms"], &token["restricted"], &token["closed"]["status"]),
        (&json!(3000), &json!(true), &json!(200))
    );
    // All that is listed can be configured, and nothing else.
    for kind in &kinds {
        let name = kind["kind"].as_str().unwrap();
        let (limit, budget) =
            (kind["limit_ms"].as_u64().unwrap(), kind["budget_ms"].as_u64().unwrap());
        assert!(budget < limit, "{name}");
    }
}

#[test]
fn a_hook_that_is_well_is_called_well() {
    let deployment = TestDeployment::build(&[
        Binding::new("token", "sod", duties()),
        Binding::new("import", "sod", duties()),
    ]);
    let host = deployment.serve();
    for hook in ["token", "import"] {
        let url = format!("http://{}/okta/{hook}", host.address());
        let ran = deployment.run(&[
            "hook",
            "doctor",
            "--config",
            "portcullis.toml",
            "--hook",
            hook,
            "--url",
            &url,
        ]);
        assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
        let shown = ran.out.lines().filter(|line| !line.contains(" ms"));
        let shown: Vec<_> = shown
            .map(|line| normal(&line.replace(host.address(), "HOST"), &["hooks/2026#"]))
            .collect();
        golden(&format!("hook-doctor-{hook}.txt"), &(shown.join("\n") + "\n"));
    }
    let url = format!("http://{}/okta/token", host.address());
    let by_kind = [
        "hook",
        "doctor",
        "--kind",
        "okta.token",
        "--url",
        &url,
        "--secret-file",
        "secrets/token",
        "--calls",
        "1",
    ];
    let json = deployment.must(&[&by_kind[..], &["--format", "json"]].concat());
    let found: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&found["well"], &found["kind"]), (&json!(true), &json!("okta.token")));
    let names: Vec<_> = found["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["check"].as_str().unwrap())
        .collect();
    for check in [
        "reach",
        "certificate",
        "route",
        "unauthenticated",
        "caller",
        "preview",
        "record",
        "retry",
        "latency",
    ] {
        assert!(names.contains(&check), "{check} is missing: {names:?}");
    }
    drop(host.stop());
    assert_eq!(deployment.verify().code, 0);
    // Five calls each time, one the last time, and the first of them once again.
    assert_eq!(
        (
            deployment.records_of("hook.decision").len(),
            deployment.records_of("hook.duplicate").len()
        ),
        (11, 3)
    );
}

#[test]
fn what_is_wrong_is_named_with_what_to_change() {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    deployment
        .configure("path = \"/okta/import\"", "path = \"/okta/import\"\non_failure = \"open\"");
    let host = deployment.serve();
    let at = |path: &str, secret: &str| {
        let url = format!("http://{}{path}", host.address());
        deployment.run(&[
            "hook",
            "doctor",
            "--kind",
            "okta.token",
            "--url",
            &url,
            "--secret-file",
            secret,
            "--calls",
            "1",
        ])
    };
    // A wrong secret: accepted by nobody, and told apart from nothing.
    deployment.write_secret("secrets/wrong", "a-secret-of-thirty-two-characterz");
    fails(&at("/okta/token", "secrets/wrong"), "caller", "compare the file of the secret");
    fails(&at("/okta/tokens", "secrets/token"), "route", "hook.path");
    // The wrong kind's path: its event type is not known there.
    let other = at("/okta/import", "secrets/import");
    assert_eq!(other.code, 1, "{}", other.out);
    // Nobody listens.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{free}/okta/token");
    let ran = deployment.run(&[
        "hook",
        "doctor",
        "--kind",
        "okta.token",
        "--url",
        &url,
        "--secret-file",
        "secrets/token",
    ]);
    fails(&ran, "reach", "make sure that the host runs");
    // An open hook lets an unauthenticated call go on as if there were no hook.
    let url = format!("http://{}/okta/import", host.address());
    let ran = deployment.run(&[
        "hook",
        "doctor",
        "--kind",
        "okta.user-import",
        "--url",
        &url,
        "--secret-file",
        "secrets/import",
    ]);
    fails(&ran, "unauthenticated", "hook.on_failure");
    drop(host.stop());
    // Wrong in the asking.
    for wrong in [
        &[
            "hook",
            "doctor",
            "--config",
            "portcullis.toml",
            "--hook",
            "none",
            "--url",
            "http://127.0.0.1:1/",
        ][..],
        &["hook", "doctor", "--config", "portcullis.toml", "--hook", "token"],
        &["hook", "doctor", "--kind", "okta.token", "--url", "ftp://127.0.0.1:1/"],
    ] {
        let ran = deployment.run(wrong);
        assert_eq!(ran.code, 64, "{wrong:?}: {}{}", ran.out, ran.err);
        assert!(ran.err.contains("hint:") || ran.err.contains("http"), "{wrong:?}: {}", ran.err);
    }
    // No secret of ours is ever shown.
    let secret = deployment.read("secrets/token");
    assert!(!other.out.contains(secret.trim()) && !other.err.contains(secret.trim()));
}

#[test]
fn a_certificate_is_judged_as_the_platform_judges_it() {
    let authority = Authority::new();
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    let put = |pair: &portcullis_tests::Pair| {
        deployment.write("tls.pem", &pair.certificate);
        deployment.write_secret("tls.key", &pair.key);
    };
    put(&authority.server());
    deployment.write("ca.pem", authority.pem());
    deployment.write("other-ca.pem", Authority::new().pem());
    deployment.configure(
        "[trust]",
        "[listen.tls]\ncertificate = \"tls.pem\"\nkey = \"tls.key\"\n\n[trust]",
    );
    let host = deployment.serve();
    let port = host.address().rsplit(':').next().unwrap().to_owned();
    let doctor = |name: &str, ca: &str| {
        let url = format!("https://{name}:{port}/okta/token");
        deployment.run(&[
            "hook",
            "doctor",
            "--config",
            "portcullis.toml",
            "--hook",
            "token",
            "--url",
            &url,
            "--ca",
            ca,
        ])
    };
    let well = doctor("127.0.0.1", "ca.pem");
    assert_eq!(well.code, 0, "{}{}", well.out, well.err);
    assert!(well.out.contains("for 127.0.0.1") && well.out.contains("TLSv1_3"), "{}", well.out);
    fails(&doctor("127.0.0.1", "other-ca.pem"), "certificate", "the platform will refuse it too");
    fails(&doctor("localhost", "ca.pem"), "certificate", "the platform will refuse it too");
    assert!(codes(&host).is_empty());
    put(&authority.server_of_yesterday());
    host.reload_until(["tls.changed"]);
    let over = doctor("127.0.0.1", "ca.pem");
    fails(&over, "certificate", "the platform will refuse it too");
    assert!(
        !over.out.contains("preview"),
        "nothing is sent to whom it does not believe: {}",
        over.out
    );
    assert_eq!(codes(&host), ["certificate-expired"]);
    assert!(host.metric("portcullis_certificate_expires_timestamp_seconds") > 0.0);
    drop(host.stop());
}

#[test]
fn a_decision_point_an_event_hook_and_a_caller_with_a_certificate_are_looked_at_too() {
    // On its own configuration alone: the address is the listener's and the first of the kind's routes.
    let binding = Binding::new("asked", "access-rules", charts()).fallback(&[]);
    let deployment = TestDeployment::speaking("authzen", "/pdp", "", (&[], &[]), &[binding]);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    deployment.configure("address = \"127.0.0.1:0\"", &format!("address = \"{free}\""));
    deployment.add_hook("news", "okta.event", "");
    let host = deployment.serve();
    let asked =
        deployment.run(&["hook", "doctor", "--config", "portcullis.toml", "--hook", "asked"]);
    assert_eq!(asked.code, 0, "{}{}", asked.out, asked.err);
    for line in [
        "/pdp/access/v1/evaluation",
        "unauthenticated a wrong secret is answered with 401",
        "the platform accepts the answer and stops",
    ] {
        assert!(asked.out.contains(line), "{line}: {}", asked.out);
    }
    let news = deployment.run(&["hook", "doctor", "--config", "portcullis.toml", "--hook", "news"]);
    assert_eq!(news.code, 0, "{}{}", news.out, news.err);
    assert!(news.out.contains("the verification challenge is answered"), "{}", news.out);
    let elsewhere = format!("http://{free}/okta/token");
    let ran = deployment.run(&[
        "hook",
        "doctor",
        "--config",
        "portcullis.toml",
        "--hook",
        "news",
        "--url",
        &elsewhere,
    ]);
    fails(&ran, "route", "hook.path");
    host.stop();

    let (servers, clients) = (Authority::new(), Authority::new());
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    let pair = servers.server();
    deployment.write("tls.pem", &pair.certificate);
    deployment.write_secret("tls.key", &pair.key);
    deployment.write("ca.pem", servers.pem());
    deployment.write("clients.pem", clients.pem());
    let tls = "[listen.tls]\ncertificate = \"tls.pem\"\nkey = \"tls.key\"\nclient_ca = \"clients.pem\"\n\n[trust]";
    deployment.configure("[trust]", tls);
    deployment.configure(
        "caller = { secret_file = \"secrets/token\" }",
        "caller = { certificate = { dns = [\"okta.hospital.test\"] } }",
    );
    let host = deployment.serve();
    let doctor = |dns: &str| {
        let own = clients.client(dns, "spiffe://hospital.test/okta");
        deployment.write("own.pem", &own.certificate);
        deployment.write_secret("own.key", &own.key);
        let url = format!("https://{}/okta/token", host.address());
        let shown = [
            "--client-certificate",
            "own.pem",
            "--client-key",
            "own.key",
            "--url",
            &url,
            "--ca",
            "ca.pem",
        ];
        deployment.run(
            &[&["hook", "doctor", "--config", "portcullis.toml", "--hook", "token"][..], &shown]
                .concat(),
        )
    };
    let well = doctor("okta.hospital.test");
    assert_eq!(well.code, 0, "{}{}", well.out, well.err);
    assert!(well.out.contains("the host accepts it"), "{}", well.out);
    fails(&doctor("ping.hospital.test"), "caller", "compare");
    host.stop();
}

/// Why the host is not ready.
fn codes(host: &Host) -> Vec<String> {
    let ready = host.admin("/ready").json;
    let reasons = ready["reasons"].as_array().into_iter().flatten();
    reasons.filter_map(|it| it["code"].as_str()).map(str::to_owned).collect()
}

fn fails(ran: &Ran, check: &str, hint: &str) {
    assert_eq!(ran.code, 1, "{}{}", ran.out, ran.err);
    let mut lines = ran.out.lines();
    assert!(
        lines.any(|line| line.starts_with("FAIL") && line.split_whitespace().nth(1) == Some(check)),
        "{check}: {}",
        ran.out
    );
    assert!(
        lines.next().is_some_and(|line| line.contains("hint:") && line.contains(hint)),
        "{check}: {}",
        ran.out
    );
}
