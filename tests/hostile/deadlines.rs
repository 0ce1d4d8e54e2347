//! The safe answer leaves in time whatever hangs: plugins on every core, a full slow lane; and where care depends on the hook, what leaves is
//! the least that lets care go on. A machine that is busy with something else is allowed for.

use std::thread;
use std::time::{Duration, Instant};

use portcullis_tests::{Answer, Binding, Host, Lateness, SignIn, TestDeployment, event};
use serde_json::json;

use super::clean_sign_in;

#[test]
fn with_plugins_that_hang_everywhere_every_answer_is_in_time_and_the_host_can_be_asked() {
    let deployment = hanging("");
    let host = deployment.serve();
    let machine = Lateness::watch();
    let answers = all_at_once(&host, "token", CALLERS, &clean_sign_in());
    let in_time = PLATFORM_WAITS + machine.allowance();
    for (answer, took) in &answers {
        assert!(answer.stops_a_token(), "{answer:?}");
        assert!(*took < in_time, "an answer came after {took:?}");
    }
    // While they hang, the admin listener answers: it shares no thread with them.
    thread::scope(|scope| {
        let calls = scope.spawn(|| all_at_once(&host, "token", 64, &clean_sign_in()));
        for path in ["/health", "/ready", "/metrics", "/status"] {
            let begin = Instant::now();
            assert_eq!(host.admin(path).status, 200, "{path}");
            let in_time = PLATFORM_WAITS + machine.allowance();
            assert!(begin.elapsed() < in_time, "{path} took {:?}", begin.elapsed());
        }
        assert!(calls.join().unwrap().iter().all(|(answer, _)| answer.stops_a_token()));
    });
    // On a busy machine bodies and records can be late too: every answer is counted once, under
    // whichever cause.
    let counted = ["safe_answers", "rejections"].map(|what| {
        let samples = host.samples(&format!("portcullis_{what}_total"));
        (samples.values().sum::<f64>(), samples)
    });
    let [(safe, _), (turned_away, _)] = &counted;
    assert_eq!(safe + turned_away, (CALLERS + 64) as f64, "{counted:?}");
    assert_eq!(host.samples("portcullis_decisions_total").len(), 0, "{counted:?}");
    drop(host.stop());
    assert_eq!(deployment.verify().code, 0);
    // More at once than the slow lane has room for: those that found it full did not wait for it.
    let full = deployment
        .records_of("hook.decision")
        .into_iter()
        .filter(|record| record["decision"]["cause"] == "overload");
    assert!(full.count() > 0, "the slow lane was never full");
}

#[test]
fn where_care_depends_on_it_the_least_is_given_in_time() {
    let deployment =
        hanging("on_failure = \"restricted\"\nrestricted_applications = [\"0oaportal\"]\n");
    let host = deployment.serve();
    let elsewhere = {
        let mut sign_in = clean_sign_in();
        for place in ["request/client_id", "client/id"] {
            *sign_in.body.pointer_mut(&format!("/data/context/protocol/{place}")).unwrap() =
                json!("0oaother");
        }
        sign_in
    };
    let machine = Lateness::watch();
    thread::scope(|scope| {
        let care = scope.spawn(|| all_at_once(&host, "token", 16, &clean_sign_in()));
        let others = scope.spawn(|| all_at_once(&host, "token", 16, &elsewhere));
        for (answer, took) in care.join().unwrap() {
            let in_time = PLATFORM_WAITS + machine.allowance();
            assert!(took < in_time, "an answer came after {took:?}");
            let operations = answer.operations();
            let says =
                |path: &str, value| operations.iter().any(|it| it.2 == path && it.3 == value);
            assert!(
                says("/token/lifetime/expiration", json!(300))
                    && says("/claims/degraded", json!(true)),
                "{answer:?}"
            );
        }
        for (answer, took) in others.join().unwrap() {
            let in_time = PLATFORM_WAITS + machine.allowance();
            assert!(answer.stops_a_token() && took < in_time, "{took:?}: {answer:?}");
        }
    });
    drop(host.stop());
}

/// A deployment in which everybody's plugin hangs.
fn hanging(hook: &str) -> TestDeployment {
    let mut deployment = TestDeployment::build(&[]);
    deployment
        .sign_plugin("misbehaving", |manifest| manifest.replace("time_ms = 250", "time_ms = 1000"));
    deployment.configure("path = \"/okta/token\"\n", &format!("path = \"/okta/token\"\n{hook}"));
    deployment.configure("[listen]\n", "[listen]\nmax_in_flight = 1000\n");
    deployment.release(&[Binding::new("token", "misbehaving", json!({"do": "loop-forever"}))]);
    deployment
}

/// So many callers at the same moment, each with a connection of its own: what each heard, and after how long.
fn all_at_once(
    host: &Host,
    hook: &str,
    callers: usize,
    sign_in: &SignIn,
) -> Vec<(Answer, Duration)> {
    thread::scope(|scope| {
        let callers: Vec<_> = (0..callers)
            .map(|_| {
                let request = host.request(hook, &sign_in.clone().event(&event()).bytes());
                scope.spawn(move || {
                    let mut client = host.client();
                    let begin = Instant::now();
                    let answer = client.send(&request).unwrap();
                    (answer, begin.elapsed())
                })
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    })
}

/// More than the slow lane has room for.
const CALLERS: usize = 320;
/// Okta's limit for a hook.
const PLATFORM_WAITS: Duration = Duration::from_secs(3);
