//! Callers: each way to prove oneself, taken where it is right, refused in the hook kind's own words where it is wrong, counted by reason,
//! and rotated while calls go on.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use portcullis_tests::{
    Answer, Binding, Host, Issuer, Raw, SECRET, SetOnDrop, SignIn, TestDeployment, duties,
    entra as entra_body, entra_deployment, log_event, release_active,
};
use serde_json::{Value, json};

const TENANT: &str = "0f0b5b1e-6d5c-4f7a-9d55-0d7c7a3f5a10";
const AUDIENCE: &str = "7d2b7b8e-0000-4444-8888-0a1b2c3d4e5f";
const MICROSOFT: &str = "99045fe1-7639-4a75-9d4a-577b6ca3810f";

/// A deployment whose hook `token` has this `caller`, and a second hook, `open`, likewise that goes
/// on without.
fn deployment(caller: &str) -> TestDeployment {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    deployment
        .configure("caller = { secret_file = \"secrets/token\" }", &format!("caller = {caller}"));
    let text = deployment.read("portcullis.toml");
    let open = "\n[[hook]]\nname = \"open\"\nkind = \"okta.token\"\npath = \"/okta/open\"\non_failure = \"open\"\n";
    deployment.write("portcullis.toml", format!("{text}{open}caller = {caller}\n"));
    deployment
}

fn call(host: &Host, authorization: &str) -> Answer {
    host.client().send(&sign_in("/okta/token", authorization)).unwrap()
}

fn sign_in(path: &str, authorization: &str) -> Raw {
    Raw::post(path, authorization, &SignIn::with_groups(&["ward-reader"]).bytes())
}

/// Has the host poll until the secret has changed so often: it may have polled by itself before.
fn until_changed(host: &Host, times: usize) {
    host.signal("HUP");
    host.wait_for_times(log_event("caller.secret-changed").field("hook", "token"), times);
}

/// What the log counted against unproven callers of a hook, by detail.
fn counted(deployment: &TestDeployment, hook: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for record in deployment.records_of("hook.rejected") {
        if record["hook"] == hook && record["cause"] == "unauthenticated" {
            *counts.entry(record["detail"].as_str().unwrap().to_owned()).or_insert(0) +=
                record["count"].as_u64().unwrap();
        }
    }
    counts
}

/// Calls without a pause on several connections while `work` is done, each with what `credential` says at its time. None may fail.
fn under_load(
    host: &Host,
    credential: &(dyn Fn() -> String + Sync),
    work: impl FnOnce(&AtomicUsize),
) -> usize {
    let (done, calls) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut client = host.client();
                while !done.load(Ordering::SeqCst) {
                    let answer = client.send(&sign_in("/okta/token", &credential())).unwrap();
                    assert_eq!(answer.without_reference(), "{}", "a call failed: {answer:?}");
                    calls.fetch_add(1, Ordering::SeqCst);
                    thread::sleep(Duration::from_millis(2));
                }
            });
        }
        // Also where the work fails: the others must not call for ever.
        let _ends = SetOnDrop(&done);
        work(&calls);
    });
    calls.into_inner()
}

/// How long a test waits for calls to be answered.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until so many more calls were answered.
fn until_answered(calls: &AtomicUsize, more: usize) {
    let (begin, wanted) = (Instant::now(), calls.load(Ordering::SeqCst) + more);
    while calls.load(Ordering::SeqCst) < wanted {
        assert!(begin.elapsed() < PATIENCE, "the calls stopped");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_secret_rotates_under_load_and_a_wrong_file_changes_nothing() {
    let (first, second) = ("a-first-secret-of-the-token-hook", "a-second-secret-of-the-token-hook");
    let deployment = deployment("{ secret_files = [\"secrets/now\", \"secrets/next\"] }");
    deployment.write_secret("secrets/now", first);
    deployment.write_secret("secrets/next", first);
    let host = deployment.serve();
    assert!(call(&host, second).stops_a_token());
    let current = Mutex::new(first);
    let calls = under_load(&host, &|| current.lock().unwrap().to_string(), |calls| {
        deployment.write_secret("secrets/next", second);
        until_changed(&host, 1);
        *current.lock().unwrap() = second;
        // Calls in flight with the first one end before it goes: one of each connection at most.
        until_answered(calls, 9);
        deployment.write_secret("secrets/now", second);
        until_changed(&host, 2);
        for wrong in ["short", "", "\n\n"] {
            deployment.write_secret("secrets/now", wrong);
            host.reload_until([log_event("files.not-taken").naming("error", "secrets/now")]);
        }
    });
    assert!(calls > 10, "{calls} calls");
    let refused = call(&host, first);
    assert!(
        refused.stops_a_token(),
        "the old one is no longer listed: {refused:?}\n{}",
        host.log()
    );
    // A release is looked for after the secrets: all looks that were asked for are over by then.
    let mut deployment = deployment;
    let mut look = |generation| {
        deployment.release(&[Binding::new("token", "sod", duties())]);
        host.wait_for(release_active(generation));
        host.log().count("files.not-taken")
    };
    let before = look(2);
    assert_eq!(look(3), before, "said once a change, not once a look");
    let log = host.stop();
    assert!(!log.contains(first) && !log.contains(second), "no secret in the log");
    assert_eq!(counted(&deployment, "token"), BTreeMap::from([("wrong-secret".to_owned(), 2)]));
}

#[test]
fn basic_and_any_of_several_ways_and_the_challenge_of_a_401() {
    let deployment = deployment(
        "[{ basic = { user = \"okta\", password_file = \"secrets/basic\" } }, { header = \"client-token\", secret_file = \"secrets/token\" }]",
    );
    deployment.write_secret("secrets/basic", "a-password:with-a-colon\n");
    let host = deployment.serve();
    let basic = |pair: &str| format!("Basic {}", BASE64.encode(pair));
    assert_eq!(call(&host, &basic("okta:a-password:with-a-colon")).without_reference(), "{}");
    let mut other = sign_in("/okta/token", "");
    other.headers[0] = ("client-token".to_owned(), SECRET.to_owned());
    assert_eq!(host.client().send(&other).unwrap().without_reference(), "{}", "the other way");
    for wrong in [
        basic("okta:a-password"),
        basic("okt:a-password:with-a-colon"),
        SECRET.to_owned(),
        "Basic".to_owned(),
    ] {
        assert!(call(&host, &wrong).stops_a_token(), "{wrong}");
    }
    // An open hook of Okta goes on with a 401, which names the ways there are.
    let mut socket = host.client().connect().unwrap();
    socket
        .write_all(b"POST /okta/open HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}")
        .unwrap();
    let mut said = String::new();
    socket.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("HTTP/1.1 401 "), "{said}");
    assert!(
        said.contains("www-authenticate: Basic realm=\"open\", Secret realm=\"open\"\r\n"),
        "{said}"
    );
    host.stop();
    let expected =
        BTreeMap::from([("no-credential".to_owned(), 2), ("wrong-secret".to_owned(), 2)]);
    assert_eq!(counted(&deployment, "token"), expected);
}

#[test]
fn what_cannot_be_a_caller_is_refused_before_anything_is_bound() {
    let right = "{ secret_file = \"secrets/token\" }";
    let deployment = deployment(right);
    let text = deployment.read("portcullis.toml");
    for (caller, why) in [
        ("{}", "anybody could call"),
        ("[]", "no caller could be authenticated"),
        (
            "{ secret_file = \"secrets/token\", secret_files = [\"secrets/token\"] }",
            "exclude each other",
        ),
        ("{ secret_files = [] }", "lists 0 files"),
        (
            "{ secret_file = \"secrets/token\", basic = { user = \"u\", password_file = \"x\" } }",
            "write a list",
        ),
        ("{ basic = { user = \"a:b\", password_file = \"x\" } }", "colon"),
        ("{ secret_file = \"secrets/token\", nothing = 1 }", "unknown field `nothing`"),
        ("{ certificate = { dns = [\"a.example\"] } }", "listen.tls.client_ca"),
        (
            "{ oauth = { issuer = \"http://a.example\", audiences = [\"a\"], clients = [\"c\"] } }",
            "not https",
        ),
        (
            "{ oauth = { issuer = \"https://a.example\", audiences = [], clients = [\"c\"] } }",
            "audiences is empty",
        ),
        (
            "{ oauth = { issuer = \"https://a.example\", audiences = [\"a\"] } }",
            "clients must list",
        ),
        (
            "{ oauth = { profile = \"entra\", tenant = \"contoso\", audiences = [\"a\"], clients = [\"c\"] } }",
            "tenant's id",
        ),
        (
            "{ oauth = { profile = \"entra\", tenant = \"0f0b5b1e-6d5c-4f7a-9d55-0d7c7a3f5a10\", audiences = [\"a\"] } }",
            "clients must list",
        ),
        (
            "{ oauth = { profile = \"okta\", audiences = [\"a\"], clients = [\"c\"] } }",
            "issuer is missing",
        ),
    ] {
        deployment.write("portcullis.toml", text.replacen(right, caller, 1));
        let ran = deployment.run(&["check", "--config", "portcullis.toml"]);
        assert_eq!(ran.code, 64, "{caller}: {}{}", ran.out, ran.err);
        assert!(ran.err.contains(why), "{caller}: {}", ran.err);
    }
    let plain = TestDeployment::build(&[]);
    plain.configure("127.0.0.1:0", "0.0.0.0:0");
    let ran = plain.run(&["check", "--config", "portcullis.toml"]);
    assert!(
        ran.code == 64 && ran.err.contains("plain HTTP must not leave this machine"),
        "{}",
        ran.err
    );
    plain.configure("[trust]", "allow_remote_plaintext = true\n\n[trust]");
    assert_eq!(plain.run(&["check", "--config", "portcullis.toml"]).code, 0);
}

/// A deployment whose callers bring tokens of an Entra tenant, and the stand-in for its issuer.
fn entra() -> (TestDeployment, Issuer) {
    let issuer = Issuer::start(&format!("https://login.microsoftonline.com/{TENANT}/v2.0"));
    let deployment = deployment(&format!(
        "{{ oauth = {{ profile = \"entra\", tenant = \"{TENANT}\", audiences = [\"{AUDIENCE}\", \"api://hooks.test/{AUDIENCE}\"], \
         clients = [\"{MICROSOFT}\"], discovery = \"{}\" }} }}",
        issuer.discovery()
    ));
    (deployment, issuer)
}

fn good(issuer: &Issuer, more: Value) -> Value {
    let mut claims = json!({"tid": TENANT, "azp": MICROSOFT, "ver": "2.0"});
    claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    issuer.claims(AUDIENCE, claims)
}

#[test]
fn tokens_that_are_meant_for_us_are_taken_and_all_others_counted_by_what_is_wrong() {
    let (deployment, mut issuer) = entra();
    let host = deployment.serve();
    let version_1 = json!({
        "iss": format!("https://sts.windows.net/{TENANT}/"), "azp": null, "appid": MICROSOFT, "ver": "1.0",
        "aud": format!("api://hooks.test/{AUDIENCE}"),
    });
    for claims in [good(&issuer, json!({})), good(&issuer, version_1)] {
        let token = issuer.token("first", &claims);
        for scheme in ["Bearer", "bearer"] {
            assert_eq!(
                call(&host, &format!("{scheme} {token}")).without_reference(),
                "{}",
                "{claims}"
            );
        }
    }
    let now = portcullis_tests::now();
    let wrong: [(&str, Value); 9] = [
        ("token-issuer", json!({"iss": "https://login.microsoftonline.com/another/v2.0"})),
        ("token-tenant", json!({"tid": "0f0b5b1e-6d5c-4f7a-9d55-0d7c7a3f5a11"})),
        ("token-audience", json!({"aud": "another"})),
        ("token-client", json!({"azp": "another"})),
        ("token-client", json!({"azp": null, "appid": MICROSOFT})),
        ("token-expired", json!({"exp": now - 61})),
        ("token-early", json!({"nbf": now + 300})),
        ("token-malformed", json!({"exp": null})),
        ("token-malformed", json!({"exp": "soon"})),
    ];
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    let mut refused = |reason: &str, authorization: &str| {
        assert!(call(&host, authorization).stops_a_token(), "{reason}");
        *expected.entry(reason.to_owned()).or_insert(0) += 1;
    };
    for (reason, more) in wrong {
        let claims = good(&issuer, more);
        refused(reason, &format!("Bearer {}", issuer.token("first", &claims)));
    }
    let claims = good(&issuer, json!({}));
    let token = issuer.token("first", &claims);
    refused("token-algorithm", &format!("Bearer {}", issuer.unsigned("first", &claims)));
    refused("token-algorithm", &format!("Bearer {}", issuer.confused("first", &claims)));
    refused("token-key", &format!("Bearer {}", issuer.token("unpublished", &claims)));
    refused("token-malformed", "Bearer not.a.token");
    refused("token-too-long", &format!("Bearer {}", "a".repeat(20_000)));
    refused("no-credential", &token);
    refused("no-credential", &format!("Basic {token}"));
    let (signed, _) = token.rsplit_once('.').unwrap();
    let another = good(&issuer, json!({"jti": "x"}));
    let another = issuer.token("first", &another);
    let (_, signature) = another.rsplit_once('.').unwrap();
    refused("token-signature", &format!("Bearer {signed}.{signature}"));
    assert_eq!(call(&host, &format!("Bearer {token}")).without_reference(), "{}", "still");
    let log = host.stop();
    assert_eq!(counted(&deployment, "token"), expected);
    assert!(!log.contains(&token), "no token in the log");
}

/// Every kind of Entra with its own caller: Microsoft's services differ by kind, and none may call for another. PIM's is its own.
#[test]
fn each_of_entras_hooks_takes_the_service_that_calls_it_and_no_other() {
    const PIM: &str = "1c67c054-65c8-4f7f-92a1-eb7ba6e48627";
    const PACKAGES: &str = "810dcf14-1858-4bf2-8134-4c369fa3235b";
    const LEAVERS: &str = "ce79fdc4-cd1d-4ea5-8139-e74d7dbe0bb7";
    let home =
        entra_body("token-issuance", "allow")["data"]["tenantId"].as_str().unwrap().to_owned();
    let mut issuer = Issuer::start(&format!("https://login.microsoftonline.com/{home}/v2.0"));
    // Something has to enforce: else a foreign tenant's call gets the platform's default.
    let deployment = entra_deployment("http://127.0.0.1:9", &[("tokens", json!({"do": "allow"}))]);
    let oauth = format!(
        "caller = {{ oauth = {{ profile = \"entra\", tenant = \"{home}\", audiences = [\"{AUDIENCE}\"], discovery = \"{}\" }} }}",
        issuer.discovery()
    );
    deployment.configure("caller = { secret_file = \"secrets/entra\" }", &oauth);
    let host = deployment.serve();
    let call = |hook: &str, body: &Value, token: &str| {
        let raw = Raw::post(
            &format!("/entra/{hook}"),
            &format!("Bearer {token}"),
            body.to_string().as_bytes(),
        );
        host.client().send(&raw).unwrap()
    };
    let token = |issuer: &mut Issuer, client: &str, version: &str| {
        let by = if version == "1.0" { "appid" } else { "azp" };
        let mut claims = json!({"tid": home, "ver": version});
        claims[by] = client.into();
        if version == "1.0" {
            claims["iss"] = format!("https://sts.windows.net/{home}/").into();
        }
        let claims = issuer.claims(AUDIENCE, claims);
        issuer.token("first", &claims)
    };
    let clients = [MICROSOFT, PIM, PACKAGES, LEAVERS];
    let mut unproven = BTreeMap::new();
    for (hook, payload, own) in [
        ("tokens", "token-issuance", MICROSOFT),
        ("sign-up", "collection-start", MICROSOFT),
        ("form", "collection-submit", MICROSOFT),
        ("recovery", "verified-id", MICROSOFT),
        ("roles", "pim-role", PIM),
        ("packages", "entitlement", PACKAGES),
        ("leavers", "lifecycle", LEAVERS),
    ] {
        for client in clients {
            for version in ["1.0", "2.0"] {
                let token = token(&mut issuer, client, version);
                let answer = call(hook, &entra_body(payload, "allow"), &token);
                if client == own {
                    assert!(answer.status < 300, "{hook} {client} {version}: {answer:?}");
                } else {
                    // Privileged roles are refused in the hook's own words, all others by a status that stops.
                    let stopped =
                        answer.status == 401 || answer.json["evaluationOutcome"] == "Denied";
                    assert!(stopped, "{hook} {client} {version}: {answer:?}");
                    *unproven.entry(hook).or_insert(0) += 1;
                }
            }
        }
    }
    // A body that speaks of another tenant than the token.
    let foreign = entra_body("token-issuance", "allow").to_string().replace(&home, TENANT);
    let foreign = serde_json::from_str(&foreign).unwrap();
    let good = token(&mut issuer, MICROSOFT, "2.0");
    assert!(call("tokens", &foreign, &good).status >= 400);
    host.stop();
    for (hook, count) in unproven {
        assert_eq!(counted(&deployment, hook)["token-client"], count, "{hook}");
    }
    assert_eq!(
        counted(&deployment, "tokens").values().sum::<u64>(),
        7,
        "six services that are not its own, and a foreign tenant"
    );
}

#[test]
fn invented_keys_cause_no_storm_and_a_flood_of_bad_calls_grows_the_log_by_a_few_records() {
    let (deployment, mut issuer) = entra();
    let host = deployment.serve();
    let claims = good(&issuer, json!({}));
    let right = format!("Bearer {}", issuer.token("first", &claims));
    assert_eq!(call(&host, &right).without_reference(), "{}");
    let invented: Vec<_> = (0..200)
        .map(|number| format!("Bearer {}", issuer.token(&format!("invented-{number}"), &claims)))
        .collect();
    let before = issuer.looks();
    let begin = std::time::Instant::now();
    let good_calls = under_load(&host, &|| right.clone(), |_| {
        let mut client = host.client();
        for token in &invented {
            assert!(client.send(&sign_in("/okta/token", token)).unwrap().stops_a_token());
        }
        for _ in 0..20 {
            for wrong in ["Bearer a.b.c", "wrong", &format!("{right}x")] {
                for _ in 0..25 {
                    assert!(client.send(&sign_in("/okta/token", wrong)).unwrap().stops_a_token());
                }
            }
        }
    });
    assert!(good_calls > 0);
    // Two at once, and one more every five seconds.
    let most = 2 + usize::try_from(begin.elapsed().as_secs() / 5).unwrap();
    let looks = issuer.looks() - before;
    assert!(looks <= most, "{looks} looks for 200 invented keys, not at most {most}");
    host.stop();
    let records = deployment.records_of("hook.rejected");
    let minutes: std::collections::BTreeSet<_> =
        records.iter().map(|record| record["minute"].to_string()).collect();
    assert!(records.len() <= 3 * minutes.len(), "{} records", records.len());
    let expected: BTreeMap<String, u64> =
        [("token-key", 200), ("token-malformed", 1_000), ("no-credential", 500)]
            .map(|(a, b)| (a.to_owned(), b))
            .into();
    assert_eq!(counted(&deployment, "token"), expected);
}

#[test]
fn an_issuers_keys_rotate_under_load_and_it_may_be_down_for_a_while_and_through_a_restart() {
    let (deployment, mut issuer) = entra();
    let host = deployment.serve();
    let claims = good(&issuer, json!({}));
    let current = Mutex::new(format!("Bearer {}", issuer.token("first", &claims)));
    let first = current.lock().unwrap().clone();
    let calls = under_load(&host, &|| current.lock().unwrap().clone(), |calls| {
        for (published, signs) in [(["first", "second"], "second"), (["second", "third"], "third")]
        {
            issuer.publish(&published);
            *current.lock().unwrap() = format!("Bearer {}", issuer.token(signs, &claims));
            until_answered(calls, 60);
        }
        issuer.down(true);
        until_answered(calls, 60);
    });
    assert!(calls > 10, "{calls} calls");
    let third = current.into_inner().unwrap();
    assert!(call(&host, &first).stops_a_token(), "withdrawn with the last look");
    host.stop();
    let again = deployment.serve();
    assert_eq!(call(&again, &third).without_reference(), "{}", "stored for the next start");
    again.wait_for("issuer-keys.unavailable");
    // Whoever writes a key into the folder has not made it the issuer's.
    again.stop();
    let kept = std::fs::read_dir(deployment.path("cache")).unwrap().next().unwrap().unwrap().path();
    let text = std::fs::read_to_string(&kept).unwrap();
    std::fs::write(&kept, text.replacen("\"third\"", "\"fourth\"", 1)).unwrap();
    let tampered = deployment.serve();
    assert!(call(&tampered, &third).stops_a_token());
    tampered.stop();
    assert_eq!(counted(&deployment, "token").get("keys-unavailable"), Some(&1));
}

/// An external tenant issues tokens of either version, under its own domain or its id's.
#[test]
fn callers_of_an_external_tenant_bring_tokens_of_either_version() {
    let mut issuer = Issuer::start(&format!("https://{TENANT}.ciamlogin.com/{TENANT}/v2.0"));
    let deployment = deployment(&format!(
        "{{ oauth = {{ profile = \"entra-external\", tenant = \"{TENANT}\", authority = \"https://hospital.ciamlogin.com\", \
         audiences = [\"{AUDIENCE}\"], clients = [\"{MICROSOFT}\"], discovery = \"{}\" }} }}",
        issuer.discovery()
    ));
    let host = deployment.serve();
    let version_1 =
        |issuer: &str| json!({"iss": issuer, "azp": null, "appid": MICROSOFT, "ver": "1.0"});
    let sts = format!("https://sts.windows.net/{TENANT}/");
    for right in [
        json!({}),
        json!({"iss": format!("https://hospital.ciamlogin.com/{TENANT}/v2.0")}),
        version_1(&sts),
    ] {
        let claims = good(&issuer, right);
        let token = issuer.token("first", &claims);
        let answer = call(&host, &format!("Bearer {token}"));
        assert_eq!(answer.without_reference(), "{}", "{claims}");
    }
    let other = TENANT.replace("0f0b", "0f0c");
    for (reason, wrong) in [
        ("token-issuer", version_1(&format!("https://sts.windows.net/{other}/"))),
        ("token-issuer", version_1(&format!("https://hospital.ciamlogin.com/{TENANT}/"))),
        ("token-issuer", json!({"iss": format!("https://other.ciamlogin.com/{TENANT}/v2.0")})),
        // Each version names its client in its own claim.
        ("token-client", json!({"iss": sts})),
        ("token-client", json!({"azp": null, "appid": MICROSOFT})),
        ("token-tenant", json!({"iss": sts, "azp": null, "appid": MICROSOFT, "tid": other})),
    ] {
        let claims = good(&issuer, wrong);
        let token = issuer.token("first", &claims);
        assert!(call(&host, &format!("Bearer {token}")).stops_a_token(), "{reason}: {claims}");
    }
    host.stop();
    let expected = [("token-issuer", 3), ("token-client", 2), ("token-tenant", 1)];
    assert_eq!(
        counted(&deployment, "token"),
        expected.map(|(reason, count)| (reason.to_owned(), count)).into()
    );
}
