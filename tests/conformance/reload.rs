//! A changed configuration: active whole and at once, without a call that fails; or refused, and
//! then nothing has changed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use portcullis_tests::{
    Answer, Binding, CONFLICT, Host, Raw, SECRET, SetOnDrop, SignIn, TestDeployment, duties, event,
    log_event, release_active,
};
use serde_json::json;

/// A further hook, for the end of the file.
const THIRD: &str = r#"
[[hook]]
name = "portal"
kind = "okta.token"
path = "/okta/portal"
on_failure = "open"
caller = { secret_file = "secrets/token" }
"#;

#[test]
fn hooks_come_go_and_change_while_calls_are_answered() {
    let mut deployment = unwatched();
    let host = deployment.serve();
    let done = AtomicBool::new(false);
    let answered: usize = thread::scope(|scope| {
        let ends = SetOnDrop(&done);
        let calls: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let (mut client, mut count) = (host.client(), 0);
                    while !done.load(Ordering::Relaxed) {
                        let sign_in = SignIn::with_groups(&CONFLICT).event(&event());
                        let answer = client.send(&host.request("token", &sign_in.bytes())).unwrap();
                        assert!(
                            answer.summary().contains("PRESCRIBE-DISPENSE"),
                            "the rules hold all along: {answer:?}"
                        );
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        // One more hook, before the others: every place in the file is another's now.
        assert!(unrouted(&portal(&host)));
        let text = deployment.read("portcullis.toml");
        let (head, hooks) = text.split_once("\n[[hook]]").unwrap();
        deployment.write("portcullis.toml", format!("{head}\n{THIRD}\n[[hook]]{hooks}"));
        host.reload_until(["config.active"]);
        assert_eq!(portal(&host).without_reference(), "{}", "nothing enforces on it");
        // A release that binds it, as ever.
        deployment.release(&[
            Binding::new("token", "sod", duties()),
            Binding::new("portal", "sod", duties()),
        ]);
        host.reload_until([release_active(2)]);
        assert!(portal(&host).summary().contains("PRESCRIBE-DISPENSE"));
        // Limits and budgets.
        deployment
            .configure("[listen]\n", "[listen]\nmax_in_flight = 100\nbody_timeout_ms = 900\n");
        deployment.configure("path = \"/okta/portal\"", "path = \"/okta/other\"\nbudget_ms = 1500");
        host.reload_until(["config.active"]);
        assert!(unrouted(&portal(&host)), "it has moved");
        assert!(
            at(&host, "/okta/other").summary().contains("PRESCRIBE-DISPENSE"),
            "its bindings with it"
        );
        assert_eq!(host.metric("portcullis_requests_in_flight_limit"), 100.0);
        // Gone, once nothing binds it any more; release and configuration may change at once.
        deployment.write("portcullis.toml", text);
        host.reload_until(["config.refused"]);
        assert!(at(&host, "/okta/other").index().is_some(), "refused: it is still there");
        deployment.release(&[Binding::new("token", "sod", duties())]);
        host.reload_until(["config.active"]);
        assert!(unrouted(&at(&host, "/okta/other")));
        assert_eq!(host.metric("portcullis_active_generation"), 3.0);
        drop(ends);
        calls.into_iter().map(|calls| calls.join().unwrap()).sum()
    });
    assert!(answered > 10, "{answered}");
    drop(host.stop());
    assert_eq!(deployment.verify().code, 0);
    let active = deployment.records_of("config.active");
    let hooks: Vec<_> =
        active.iter().map(|record| record["hook_count"].as_u64().unwrap()).collect();
    assert_eq!(hooks, [3, 3, 2]);
    assert_eq!(active[0]["hooks"], json!(["portal", "token", "import"]));
    assert_eq!(deployment.records_of("release.active").len(), 3);
    let refused = deployment.records_of("config.refused");
    assert_eq!(
        refused.iter().map(|record| &record["code"]).collect::<Vec<_>>(),
        [&json!("config-hook-bound")]
    );
}

#[test]
fn what_is_wrong_changes_nothing_and_says_so_once() {
    let deployment = unwatched();
    let host = deployment.serve();
    let good = deployment.read("portcullis.toml");
    let mut codes = Vec::new();
    for (what, code, from, to) in [
        ("no TOML", "config-wrong", "[listen]", "[listen"),
        ("an unknown setting", "config-wrong", "[listen]\n", "[listen]\ncals = 7\n"),
        ("out of bounds", "config-wrong", "[listen]\n", "[listen]\nmax_in_flight = 0\n"),
        (
            "two hooks at one path",
            "config-wrong",
            "path = \"/okta/import\"",
            "path = \"/okta/token\"",
        ),
        ("another tenant", "config-needs-restart", "\n[admin]", "tenant = \"other\"\n[admin]"),
        ("other threads", "config-needs-restart", "[listen]\n", "[listen]\nworkers = 7\n"),
        (
            "another log",
            "config-needs-restart",
            "directory = \"audit\"",
            "directory = \"elsewhere\"",
        ),
        ("no secret", "config-unusable", "secrets/token", "secrets/none"),
        ("the bound hook gone", "config-hook-bound", "name = \"token\"", "name = \"other\""),
        (
            "the bound hook of another kind",
            "config-hook-bound",
            "kind = \"okta.token\"",
            "kind = \"okta.user-import\"",
        ),
    ] {
        deployment.write("portcullis.toml", good.replacen(from, to, 1));
        let said = host.reload_until(["config.refused", "config.active"]);
        assert!(said.has(log_event("config.refused").field("code", code)), "{what}: {said}");
        codes.push(code);
        let twice = SignIn::with_groups(&CONFLICT).event(&event());
        assert!(
            host.sign_in(&twice).summary().contains("PRESCRIBE-DISPENSE"),
            "{what}: nothing has changed"
        );
        let ready = host.admin("/ready");
        assert_eq!(ready.status, 200, "{what}: {ready:?}");
        assert!(
            ready.json["warnings"].to_string().contains("configuration-refused"),
            "{what}: {ready:?}"
        );
        assert!(!ready.json.to_string().contains(SECRET));
        // Asked again, it says it again, and the record has it once.
        host.reload_until(["config.refused"]);
    }
    deployment.write("portcullis.toml", &good);
    host.reload_until(["config.unchanged"]);
    assert!(!host.admin("/ready").json["warnings"].to_string().contains("configuration-refused"));
    drop(host.stop());
    let refused: Vec<_> = deployment
        .records_of("config.refused")
        .iter()
        .map(|record| record["code"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(refused, codes);
    assert!(deployment.records_of("config.active").is_empty());
}

#[test]
fn a_retried_event_hears_the_same_unless_its_own_hook_changed() {
    let deployment = unwatched();
    let host = deployment.serve();
    let sign_in = SignIn::with_groups(&[]).event(&event());
    let first = host.sign_in(&sign_in);
    deployment.configure("path = \"/okta/import\"", "path = \"/okta/imported\"");
    host.reload_until(["config.active"]);
    assert_eq!(host.sign_in(&sign_in).body, first.body, "another hook has changed");
    deployment.configure(
        "path = \"/okta/token\"",
        "path = \"/okta/token\"\nentitlements = [\"/data/access/claims/roles\"]",
    );
    host.reload_until(["config.active"]);
    let second = host.sign_in(&sign_in);
    assert_ne!(second.index(), first.index(), "it may decide otherwise now, so it decides anew");
    assert_eq!(host.sign_in(&sign_in).body, second.body);
    drop(host.stop());
}

#[test]
fn the_admin_listener_moves_and_the_file_is_watched() {
    let deployment = TestDeployment::build(&[]);
    let host = deployment.serve();
    let before = host.admin_address().to_owned();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // Without a signal: the file is looked at by itself.
    deployment
        .configure("[admin]\naddress = \"127.0.0.2:0\"", &format!("[admin]\naddress = \"{free}\""));
    host.wait_for("config.active");
    let asked = portcullis_tests::Client::new(&free.to_string())
        .say(b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        .unwrap();
    assert_eq!(asked.status, 200);
    assert!(std::net::TcpStream::connect(&before).is_err(), "the old one is gone");
    // A port that somebody has is refused, and the present one stays.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    deployment.configure(&free.to_string(), &taken.local_addr().unwrap().to_string());
    host.wait_for("config.refused");
    let asked = portcullis_tests::Client::new(&free.to_string())
        .say(b"GET /ready HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        .unwrap();
    assert_eq!(asked.status, 200);
    drop(host.stop());
}

/// A deployment whose host looks only when it is told to: a test that waits for a look must know
/// which one it was.
fn unwatched() -> TestDeployment {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    deployment.configure("watch_ms = 500", "watch_ms = 0");
    deployment
}

/// Returns whether no hook has this path: an Okta event there gets the answer that stops, and no record.
fn unrouted(answer: &Answer) -> bool {
    answer.stops_a_token() && answer.index().is_none()
}

fn portal(host: &Host) -> Answer {
    at(host, "/okta/portal")
}

fn at(host: &Host, path: &str) -> Answer {
    let body = SignIn::with_groups(&CONFLICT).event(&event()).bytes();
    host.client().send(&Raw::post(path, SECRET, &body)).unwrap()
}
