//! The admin listener: it tells the truth about readiness, counts what was done, answers when nobody else does, and says nothing of
//! anybody.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use portcullis_tests::{
    Answer, Binding, CONFLICT, Client, Host, MovedClock, SECRET, SignIn, TestDeployment, duties,
    log_event, now, release_active, require_tool, rfc3339,
};
use serde_json::json;

/// Stands in every body.
const MARKER: &str = "Zebulon-Quartermain-of-Ward-Nine";

#[test]
fn a_host_that_serves_is_alive_ready_and_counts() {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    let host = deployment.serve();
    assert_eq!(host.admin("/health").json, json!({"status": "alive"}));
    let ready = host.admin("/ready");
    assert_eq!(
        (ready.status, &ready.json["ready"], &ready.json["reasons"]),
        (200, &json!(true), &json!([]))
    );
    // Sets of the tests' deployments end tomorrow.
    assert_eq!(codes(&ready, "warnings"), ["release-expires"]);

    let allowed = SignIn::with_groups(&["ward-reader"]).profile("firstName", MARKER);
    for _ in 0..3 {
        assert!(!host.sign_in(&allowed.clone().event(&portcullis_tests::event())).stops_a_token());
    }
    let twice = SignIn::with_groups(&CONFLICT).event(&portcullis_tests::event());
    assert_eq!(host.sign_in(&twice).body, host.sign_in(&twice).body, "asked again, said again");
    let wrong = portcullis_tests::Raw::post(
        "/okta/token",
        "a-secret-of-thirty-two-characterz",
        &allowed.bytes(),
    );
    assert!(host.client().send(&wrong).unwrap().stops_a_token());
    assert!(host.post("token", MARKER.as_bytes()).stops_a_token());

    let hook = r#"hook="token",kind="okta.token""#;
    for (sample, value) in [
        (format!(r#"portcullis_decisions_total{{{hook},verdict="allow"}}"#), 0.0),
        (format!(r#"portcullis_decisions_total{{{hook},verdict="abstain"}}"#), 3.0),
        (format!(r#"portcullis_decisions_total{{{hook},verdict="deny"}}"#), 1.0),
        (format!(r#"portcullis_rejections_total{{{hook},reason="unauthenticated"}}"#), 1.0),
        (format!(r#"portcullis_rejections_total{{{hook},reason="not-json"}}"#), 1.0),
        (format!(r#"portcullis_safe_answers_total{{{hook},cause="plugin-fault"}}"#), 0.0),
        (format!(r#"portcullis_duplicate_requests_total{{{hook}}}"#), 1.0),
        (format!(r#"portcullis_stage_duration_seconds_count{{{hook},stage="guard"}}"#), 4.0),
        (
            format!(
                r#"portcullis_stage_duration_seconds_bucket{{{hook},stage="parse",le="+Inf"}}"#
            ),
            5.0,
        ),
        ("portcullis_active_generation".to_owned(), 1.0),
        ("portcullis_ready".to_owned(), 1.0),
        ("portcullis_requests_in_flight_limit".to_owned(), 256.0),
        ("portcullis_dedup_entries".to_owned(), 4.0),
        ("portcullis_log_stopped".to_owned(), 0.0),
    ] {
        let begin = Instant::now();
        // The last reply's time is noted a moment after it was heard.
        while host.metric(&sample) != value {
            assert!(
                begin.elapsed() < PATIENCE,
                "{sample} is {}, not {value}",
                host.metric(&sample)
            );
        }
    }
    let page = page(&host);
    let plugin = page
        .lines()
        .find(|line| line.starts_with("portcullis_plugin_duration_seconds_count"))
        .unwrap();
    for part in [
        r#"hook="token""#,
        r#"plugin="org.portcullis.sod""#,
        r#"mode="enforce"} 4"#,
        "component=\"",
    ] {
        assert!(plugin.contains(part), "{plugin} has no {part}");
    }
    let status = host.admin("/status").json;
    assert_eq!(status["generation"]["number"], json!(1));
    let counts = json!({
        "decisions": {"abstain": 3, "deny": 1}, "safe_answers": {},
        "rejections": {"unauthenticated": 1, "not-json": 1}, "duplicates": 1,
        "response_write_failures": 0,
        "rejected_members": {},
    });
    assert_eq!(status["hooks"][0]["counts"], counts);
    assert_eq!(status["hooks"][1]["active"], json!("open"), "nothing enforces on it");
    for path in ["/ready", "/metrics", "/status", "/health"] {
        let text = String::from_utf8(host.admin(path).body).unwrap();
        assert!(!text.contains(MARKER) && !text.contains(SECRET), "{path} names somebody:\n{text}");
    }
    // A binding that the next release has too counts on; no series names a generation.
    let mut deployment = deployment;
    deployment.release(&[Binding::new("token", "sod", duties())]);
    host.reload_until([release_active(2)]);
    assert!(!host.sign_in(&allowed.event(&portcullis_tests::event())).stops_a_token());
    let counted = || -> Vec<String> {
        let page = self::page(&host);
        assert!(!page.contains("generation=\""), "{page}");
        let samples =
            page.lines().filter(|line| line.starts_with("portcullis_plugin_evaluations_total"));
        let samples = samples.filter_map(|line| line.split_once(r#",outcome="abstain"}"#));
        samples.map(|(_, count)| count.trim().to_owned()).collect()
    };
    assert_eq!(counted(), ["4"]);
    // One with other settings begins anew; the ended series is still there.
    let mut other = duties();
    other["rules"][0]["owner"] = json!("another pharmacy");
    deployment.release(&[Binding::new("token", "sod", other)]);
    host.reload_until([release_active(3)]);
    assert_eq!(counted(), ["0", "4"]);
    drop(host.stop());
}

#[test]
fn the_metrics_are_what_the_format_says() {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    let host = deployment.serve();
    host.sign_in(&SignIn::with_groups(&["ward-reader"]));
    let page = page(&host);
    let (mut family, mut kind, mut seen) =
        (String::new(), String::new(), std::collections::BTreeSet::new());
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            family = help.split(' ').next().unwrap().to_owned();
            assert!(seen.insert(family.clone()), "{family} stands in two places");
            continue;
        }
        if let Some(of) = line.strip_prefix(&format!("# TYPE {family} ")) {
            kind = of.to_owned();
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let name = series.split('{').next().unwrap();
        let suffixes: &[&str] =
            if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        assert!(
            suffixes.iter().any(|suffix| name == format!("{family}{suffix}")),
            "{line} is not of {family}"
        );
        assert_eq!(kind == "counter", family.ends_with("_total"), "{family} is a {kind}");
        assert!(value.parse::<f64>().is_ok_and(|value| value >= 0.0), "{line}");
        assert!(seen.insert(format!("sample {series}")), "{series} is there twice");
    }
    assert!(page.ends_with('\n') && seen.len() > 300, "{} lines", seen.len());
    let python = require_tool!(portcullis_tests::python("prometheus_client"));
    let script = "import sys\nfrom prometheus_client.parser import text_string_to_metric_families as read\n\
        for family in read(sys.stdin.read()):\n  for sample in family.samples: print(sample.name, sample.value)\n";
    let mut parser = std::process::Command::new(python);
    let mut parser = parser
        .args(["-c", script])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    parser.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let read = parser.wait_with_output().unwrap();
    assert!(read.status.success(), "Prometheus' own reader refuses the page");
    let samples = page.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(String::from_utf8(read.stdout).unwrap().lines().count(), samples);
}

#[test]
fn readiness_tells_the_truth() {
    let mut deployment = TestDeployment::build(&[]);
    let release = deployment.read("release/release.json");
    deployment.write("release/release.json", "{}");
    let host = deployment.serve();
    let ready = host.admin("/ready");
    assert_eq!(
        (ready.status, codes(&ready, "reasons")),
        (503, vec!["no-active-release".to_owned()])
    );
    assert!(ready.json["reasons"][0]["what"].as_str().unwrap().contains("envelope"), "{ready:?}");
    assert_eq!(host.metric("portcullis_ready"), 0.0);
    assert_eq!(host.admin("/health").status, 200, "not ready, and alive");
    deployment.write("release/release.json", release);
    host.reload_until([release_active(1)]);
    assert_eq!(host.admin("/ready").status, 200);
    // A release that is refused changes nothing, and is spoken of.
    deployment.write("release/release.json", "{}");
    host.reload_until(["release.refused"]);
    let ready = host.admin("/ready");
    assert_eq!(
        (ready.status, codes(&ready, "warnings").contains(&"release-refused".to_owned())),
        (200, true)
    );
    deployment.release(&[]);
    host.reload_until([release_active(2)]);
    assert!(!codes(&host.admin("/ready"), "warnings").contains(&"release-refused".to_owned()));
    drop(host.stop());
}

#[test]
fn what_has_ended_leaves_a_host_ready_unless_the_operator_says_otherwise() {
    let deployment = TestDeployment::build(&[]);
    deployment.configure("watch_ms = 500", "watch_ms = 0");
    let ends = now() + 3_600;
    deployment.sign_root(|source| {
        source.replace("days = 30", &format!("expires = \"{}\"", rfc3339(ends)))
    });
    let checked = deployment.must(&["check", "--config", "portcullis.toml"]);
    assert!(checked.contains("warning: the trust root 1 ends at "), "{checked}");
    assert!(checked.contains("[trust-root-expires]"), "{checked}");
    let clock = MovedClock::new();
    let host = clock.serve(&deployment);
    host.wait_for(log_event("expiry.soon").field("code", "trust-root-expires"));
    clock.ahead(3_601);
    let wait = |part: &str| {
        let begin = Instant::now();
        while !codes(&host.admin("/ready"), part).contains(&"trust-root-expired".to_owned()) {
            assert!(begin.elapsed() < PATIENCE, "{:?}", host.admin("/ready"));
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    wait("warnings");
    assert_eq!(host.admin("/ready").status, 200);
    host.wait_for(log_event("expiry.passed").field("code", "trust-root-expired"));
    let mut before = "[listen]".to_owned();
    for (setting, part, status) in [
        ("ready_when_expired = false", "reasons", 503),
        ("ready_when_expired = true", "warnings", 200),
    ] {
        let after = format!("{setting}\n\n[listen]");
        deployment.configure(&before, &after);
        before = after;
        host.reload_until(["config.active"]);
        wait(part);
        assert_eq!(host.admin("/ready").status, status, "{setting}");
    }
    assert!(host.sign_in(&SignIn::with_groups(&[])).index().is_some(), "it goes on deciding");
    drop(host.stop());
}

#[test]
fn it_reads_no_more_than_it_must() {
    let deployment = TestDeployment::build(&[]);
    let host = deployment.serve();
    let say = |bytes: &str| Client::new(host.admin_address()).say(bytes.as_bytes()).unwrap().status;
    assert_eq!(say("POST /ready HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 0\r\n\r\n"), 405);
    assert_eq!(say("DELETE /metrics HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"), 405);
    assert_eq!(say("GET /ready HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 3\r\n\r\nabc"), 400);
    assert_eq!(
        say("GET /ready HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding: \
             chunked\r\n\r\n3\r\nabc\r\n"),
        400
    );
    assert_eq!(say("GET /okta/token HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"), 404);
    assert_eq!(say("GET /ready?deep=1 HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"), 200);
    let long =
        format!("GET /ready HTTP/1.1\r\nhost: 127.0.0.1\r\nx-long: {}\r\n\r\n", "a".repeat(40_000));
    assert_eq!(say(&long), 431);
    let mut head = TcpStream::connect(host.admin_address()).unwrap();
    head.write_all(b"HEAD /status HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut heard = String::new();
    head.read_to_string(&mut heard).unwrap();
    assert!(heard.starts_with("HTTP/1.1 200 ") && heard.ends_with("\r\n\r\n"), "{heard}");
    // As many connections as it takes, all silent: a further one waits, and the hooks do not.
    let silent: Vec<_> =
        (0..16).map(|_| TcpStream::connect(host.admin_address()).unwrap()).collect();
    assert!(host.sign_in(&SignIn::with_groups(&[])).index().is_some());
    drop(silent);
    assert_eq!(host.admin("/health").status, 200);
    drop(host.stop());
}

#[test]
fn clients_that_stay_keep_nobody_from_an_answer() {
    let deployment = TestDeployment::build(&[]);
    let host = deployment.serve();
    let connect = |bytes: &[u8]| -> TcpStream {
        let mut socket = TcpStream::connect(host.admin_address()).unwrap();
        socket.write_all(bytes).unwrap();
        socket
    };
    let in_time = |path: &str| {
        let begin = Instant::now();
        assert!(matches!(host.admin(path).status, 200 | 503), "{path}");
        assert!(begin.elapsed() < Duration::from_secs(2), "{path} took {:?}", begin.elapsed());
    };
    for bytes in [
        &b""[..],
        b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n",
        b"GET /metrics HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n",
        b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n",
    ] {
        let stay: Vec<_> = (0..40).map(|_| connect(bytes)).collect();
        ["/health", "/ready", "/metrics"].into_iter().for_each(in_time);
        drop(stay);
    }
    // One request a connection.
    let mut once = connect(b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
    let mut heard = String::new();
    once.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    once.read_to_string(&mut heard).unwrap();
    assert!(heard.contains("\r\nconnection: close\r\n"), "{heard}");
    drop(host.stop());
}

#[test]
fn it_answers_by_its_own_names_alone_and_no_web_page_of_others() {
    let deployment = TestDeployment::build(&[]);
    deployment.configure(
        "address = \"127.0.0.2:0\"\n\n[listen]",
        "address = \"127.0.0.2:0\"\nhosts = [\"metrics.hospital.example\"]\n\n[listen]",
    );
    let host = deployment.serve();
    let ask = |head: &str| {
        let answer = Client::new(host.admin_address()).say(format!("{head}\r\n\r\n").as_bytes());
        answer.unwrap()
    };
    for name in ["127.0.0.2", "[::1]:1", "localhost:8601", "METRICS.hospital.example:80"] {
        let answer = ask(&format!("GET /status HTTP/1.1\r\nhost: {name}"));
        assert_eq!(answer.status, 200, "{name}");
        assert_eq!(answer.header("access-control-allow-origin"), None);
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("cross-origin-resource-policy"), Some("same-origin"));
    }
    for path in ["/status", "/health", "/ready", "/metrics", "/"] {
        let answer = ask(&format!("GET {path} HTTP/1.1\r\nhost: evil.example"));
        assert_eq!(answer.status, 421, "{path}");
        assert!(String::from_utf8_lossy(&answer.body).contains("admin.hosts"));
    }
    let own = "GET /status HTTP/1.1\r\nhost: 127.0.0.2\r\n";
    assert_eq!(ask(&format!("{own}origin: http://evil.example")).status, 403);
    assert_eq!(ask(&format!("{own}origin: http://127.0.0.2:1")).status, 200);
    assert_eq!(ask("GET /health HTTP/1.1").status, 400);
    assert_eq!(ask("GET /health HTTP/1.0").status, 200);
    assert_eq!(ask(&format!("{own}host: 127.0.0.2")).status, 400);
    let both = "transfer-encoding: chunked\r\ncontent-length: 0";
    assert_eq!(ask(&format!("{own}{both}")).status, 400);
    let wrong = ask("DELETE /status HTTP/1.1\r\nhost: 127.0.0.2");
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("GET, HEAD")));
    assert_eq!(ask("DELETE /other HTTP/1.1\r\nhost: 127.0.0.2").status, 404);
    drop(host.stop());
    deployment.configure("metrics.hospital.example", "*.example");
    let refused = deployment.run(&["check", "--config", "portcullis.toml"]);
    assert!(refused.code == 64 && refused.err.contains("admin.hosts"), "{}", refused.err);
}

#[test]
fn it_is_on_this_machine_alone_unless_that_is_meant_and_can_be_turned_off() {
    let deployment = TestDeployment::build(&[]);
    deployment.configure("[admin]\naddress = \"127.0.0.2:0\"", "[admin]\naddress = \"0.0.0.0:0\"");
    let refused = deployment.run(&["check", "--config", "portcullis.toml"]);
    assert_eq!(refused.code, 64);
    assert!(
        refused.err.contains("admin.address") && refused.err.contains("allow_remote"),
        "{}",
        refused.err
    );
    deployment.configure("address = \"0.0.0.0:0\"", "address = \"0.0.0.0:0\"\nallow_remote = true");
    let host = deployment.serve();
    assert!(host.admin_address().starts_with("0.0.0.0:"), "{}", host.admin_address());
    drop(host.stop());
    deployment.configure("allow_remote = true", "enabled = false");
    deployment.configure("address = \"0.0.0.0:0\"", "address = \"127.0.0.1:0\"");
    let host = Host::start_alone(&deployment.path(""));
    assert!(host.sign_in(&SignIn::with_groups(&[])).index().is_some());
    drop(host.stop());
}

fn page(host: &Host) -> String {
    String::from_utf8(host.admin("/metrics").body).unwrap()
}

fn codes(ready: &Answer, part: &str) -> Vec<String> {
    let list = ready.json[part].as_array().into_iter().flatten();
    list.filter_map(|it| it["code"].as_str()).map(str::to_owned).collect()
}

/// For what comes about by itself.
const PATIENCE: Duration = Duration::from_secs(60);
