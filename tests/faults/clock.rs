//! A clock that is wrong: it leaves no trace once it is right again, and until then calls are
//! decided.
//!
//! The host under test is the ordinary one; a library moves the wall clock of its process.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use portcullis_tests::{
    Answer, Binding, CONFLICT, Host, MovedClock, RELEASE_SET, Raw, SignIn, TestDeployment, duties,
    log_event, now, release_refused, send_2_plain,
};
use serde_json::{Value, json};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

fn deployment() -> TestDeployment {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    deployment.configure("watch_ms = 500", "watch_ms = 0");
    deployment
}

/// Somebody signs in whom every rule lets in; the platform's clock shows this.
fn harmless(host: &Host, event_time: i64) -> Answer {
    host.sign_in(&SignIn::with_groups(&["ward-reader"]).at(event_time))
}

/// Decides on it: the plugin lets one person in and keeps the other out.
fn decides(host: &Host, event_time: i64) {
    assert!(!harmless(host, event_time).stops_a_token(), "{}", host.log());
    let conflict = host.sign_in(&SignIn::with_groups(&CONFLICT).at(event_time));
    assert!(conflict.stops_a_token());
}

fn warns(host: &Host, code: &str) -> bool {
    host.admin("/ready").json["warnings"].to_string().contains(&format!("\"{code}\""))
}

fn at(record: &Value) -> i64 {
    record["at"].as_i64().unwrap() / 1_000
}

/// Every record has a time near this, or before, and never runs back but at a time reset.
fn no_record_after(deployment: &TestDeployment, latest: i64) {
    let mut before = 0;
    for record in deployment.records() {
        assert!(at(&record) <= latest, "{record}");
        assert!(at(&record) >= before || record["t"] == "trust.time-reset", "{record}");
        before = at(&record);
    }
    assert_eq!(deployment.verify().code, 0, "{:?}", deployment.verify());
}

#[test]
fn a_host_that_started_a_year_ahead_is_itself_again_when_its_clock_is_right() {
    let (mut deployment, clock) = (deployment(), MovedClock::new());
    let host = clock.serve(&deployment);
    decides(&host, now());
    host.stop();

    // The clock is wrong at a start: what was active goes on, and nothing expires.
    clock.ahead(400 * DAY);
    let host = clock.serve(&deployment);
    decides(&host, now());
    let ready = host.admin("/ready");
    assert_eq!(ready.status, 200, "{}", ready.json);
    assert!(warns(&host, "clock-unconfirmed"), "{}", ready.json);
    assert_eq!(host.admin("/status").json["time"]["state"], "unconfirmed");
    let decision = harmless(&host, now()).index().unwrap();
    host.stop();
    let record = deployment.record(decision);
    assert_eq!(record["time"], "unconfirmed");
    assert!((record["host_clock"].as_i64().unwrap() / 1_000 - now() - 400 * DAY).abs() < HOUR);
    assert_eq!(deployment.records_of("trust.clock-unconfirmed").len(), 1);
    assert!(deployment.records_of("release.expired").is_empty());

    // Right again: nothing is left of it, and a set of today is taken.
    clock.ahead(0);
    let host = clock.serve(&deployment);
    decides(&host, now());
    assert!(!warns(&host, "clock-unconfirmed"));
    deployment.release(&[Binding::new("token", "sod", duties())]);
    assert!(host.reload_until(["release.active", "release.refused"]).has("release.active"));
    let decision = harmless(&host, now()).index().unwrap();
    host.stop();
    assert!(deployment.record(decision)["time"].is_null());
    no_record_after(&deployment, now());
}

#[test]
fn a_first_start_with_a_clock_that_is_ahead_does_no_lasting_harm() {
    let (deployment, clock) = (deployment(), MovedClock::new());
    clock.ahead(400 * DAY);
    let host = clock.serve(&deployment);
    // By its clock the set has expired, and it never was active here.
    assert!(harmless(&host, now()).stops_a_token());
    assert!(warns(&host, "clock-unconfirmed"));
    // The clock is put right while it serves: the set becomes active by itself.
    clock.ahead(0);
    host.wait_for("release.active");
    decides(&host, now());
    host.stop();
    no_record_after(&deployment, now());
    let host = deployment.serve();
    decides(&host, now());
    host.stop();
}

#[test]
fn a_clock_that_jumps_while_the_host_serves_replaces_and_ends_nothing_but_what_is_revoked() {
    let mut deployment = TestDeployment::build(&[
        Binding::new("token", "sod", duties()),
        Binding::new("import", "contractor", portcullis_tests::contract()),
    ]);
    deployment.configure("watch_ms = 500", "watch_ms = 0");
    let clock = MovedClock::new();
    let active = deployment.read("release/release.json");
    let host = clock.serve(&deployment);
    decides(&host, now());
    clock.ahead(400 * DAY);
    host.wait_for("clock.unconfirmed");
    decides(&host, now());

    // Neither a set nor a trust root is taken; an odd platform's clock moves nothing.
    harmless(&host, now() + 200 * DAY);
    deployment.release(&[Binding::new("token", "sod", duties())]);
    assert!(host.reload_until(["release.refused"]).has(release_refused("clock-unconfirmed")));
    let next = deployment.read("release/release.json");
    assert_eq!(deployment.next_root(2, &["root"], |source| source).code, 0);
    host.reload_until([release_refused("clock-unconfirmed")]);
    assert!(deployment.records_of("trust.root").len() <= 1);
    assert_eq!(host.admin("/status").json["time"]["state"], "unconfirmed");

    // A revocation holds at once.
    let mut set = deployment.opened("release/release.json");
    set["version"] = json!(3);
    set["revoked"] = json!({"serials": {"org.portcullis.contractor": [1]}});
    deployment
        .write("release/release.json", deployment.forge("release", RELEASE_SET, &set.to_string()));
    host.reload_until([log_event("plugin.revoked").field("plugin", "org.portcullis.contractor")]);

    // A restart meanwhile changes nothing of that.
    host.stop();
    deployment.write("release/release.json", active);
    let host = clock.serve(&deployment);
    decides(&host, now());
    assert_eq!(deployment.records_of("trust.root").len(), 1);
    deployment.write("release/release.json", next);

    // The clock is put right: the root and the set that waited are taken by themselves.
    clock.ahead(0);
    host.wait_for("clock.confirmed");
    host.wait_for("trust.root-accepted");
    decides(&host, now());
    host.stop();
    let confirmed = deployment.records_of("trust.clock-confirmed");
    assert_eq!((confirmed.len(), &confirmed[0]["by"]), (1, &json!("clock")));
    assert_eq!(deployment.records_of("trust.root").len(), 2);
    assert!(deployment.records_of("release.expired").is_empty());
    no_record_after(&deployment, now());
}

#[test]
fn a_clock_that_creeps_ahead_in_steps_of_hours_is_not_believed_either() {
    let (deployment, clock) = (deployment(), MovedClock::new());
    let host = clock.serve(&deployment);
    for hours in [20, 40, 60, 80] {
        clock.ahead(hours * HOUR);
        decides(&host, now());
        thread::sleep(Duration::from_millis(700));
    }
    assert!(warns(&host, "clock-unconfirmed"));
    host.stop();
    no_record_after(&deployment, now() + DAY);
}

#[test]
fn a_host_that_was_off_for_a_month_serves_and_believes_its_clock_when_a_platform_agrees() {
    let (deployment, clock) = (deployment(), MovedClock::new());
    clock.serve(&deployment).stop();
    clock.ahead(30 * DAY);
    let host = clock.serve(&deployment);
    // Platforms whose clocks do not agree say nothing.
    decides(&host, clock.now() - 40 * MINUTE);
    let before = harmless(&host, clock.now() + 20 * MINUTE).index().unwrap();
    assert!(warns(&host, "clock-unconfirmed"));
    // Nor does somebody without the secret.
    let event = SignIn::with_groups(&["ward-reader"]).at(clock.now());
    let stranger = portcullis_tests::Raw::post(
        "/okta/token",
        "wrong-secret-of-thirty-two-chars",
        &event.bytes(),
    );
    host.client().send(&stranger).unwrap();
    assert!(warns(&host, "clock-unconfirmed"));
    // One that agrees: from this very call on the clock is believed.
    let first = harmless(&host, clock.now() - 2);
    assert!(!first.stops_a_token());
    assert!(!warns(&host, "clock-unconfirmed"));
    decides(&host, clock.now());
    host.wait_for("clock.confirmed");
    host.stop();
    assert_eq!(deployment.record(before)["time"], "unconfirmed");
    let first = deployment.record(first.index().unwrap());
    assert!(first["time"].is_null() && (at(&first) - clock.now()).abs() < HOUR, "{first}");
    let confirmed = deployment.records_of("trust.clock-confirmed");
    assert_eq!((confirmed.len(), &confirmed[0]["by"]), (1, &json!("platform")));
    assert_eq!(deployment.verify().code, 0);
    // The next start has nothing to ask.
    let host = clock.serve(&deployment);
    assert!(!warns(&host, "clock-unconfirmed"));
    host.stop();
}

#[test]
fn a_set_that_was_signed_today_confirms_the_clock_of_a_host_that_was_off() {
    let (mut deployment, clock) = (deployment(), MovedClock::new());
    deployment.sign_root(|source| source.replace("days = 30", "days = 365"));
    clock.serve(&deployment).stop();
    clock.ahead(30 * DAY);
    let host = clock.serve(&deployment);
    assert!(warns(&host, "clock-unconfirmed"));
    // Signed elsewhere by a clock of today, which is in a month.
    deployment.release(&[Binding::new("token", "sod", duties())]);
    let ran = deployment.run_by(
        clock.command(),
        &[
            "release",
            "sign",
            "--source",
            "release.toml",
            "--key",
            "keys/release.key",
            "--root",
            "trust-root.json",
            "--output",
            "release/release.json",
        ],
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(host.reload_until(["release.active", "release.refused"]).has("release.active"));
    decides(&host, now());
    host.wait_for("clock.confirmed");
    host.stop();
    assert_eq!(deployment.records_of("trust.clock-confirmed")[0]["by"], "document");
}

/// The host finds a document about the time, and refuses it for this reason.
fn refuses_time_document(host: &Host, code: &str) {
    host.reload_until([log_event("clock.document-refused").field("code", code)]);
}

#[test]
fn the_release_role_confirms_a_clock_once_and_for_one_host() {
    let (deployment, clock) = (deployment(), MovedClock::new());
    clock.serve(&deployment).stop();
    fs::create_dir(deployment.path("time-documents")).unwrap();
    clock.ahead(30 * DAY);
    let host = clock.serve(&deployment);
    let confirm = |command: Command, name: &str, key: &str, log: &str| {
        let output = format!("time-documents/{name}.json");
        let arguments = [
            "trust",
            "confirm-clock",
            "--vkey",
            log,
            "--root",
            "trust-root.json",
            "--key",
            key,
            "--person",
            "noor.haddad",
            "--reason",
            "off for a month",
            "--ticket",
            "CHG-81",
            "--output",
            &output,
        ];
        deployment.run_by(command, &arguments)
    };
    let wrong = confirm(clock.command(), "no", "keys/root.key", "log.vkey");
    assert!(wrong.code == 1 && wrong.err.contains("[unknown-signer]"), "{wrong:?}");
    assert_eq!(confirm(clock.command(), "elsewhere", "keys/release.key", "keys/root.vkey").code, 0);
    refuses_time_document(&host, "time-document-wrong-target");
    fs::remove_file(deployment.path("time-documents/elsewhere.json")).unwrap();
    // Signed by a clock that shows the true time, a month before that of the host.
    let by_true_time = Command::new(portcullis_tests::binary());
    assert_eq!(confirm(by_true_time, "old", "keys/release.key", "log.vkey").code, 0);
    refuses_time_document(&host, "expired");
    fs::remove_file(deployment.path("time-documents/old.json")).unwrap();
    assert!(warns(&host, "clock-unconfirmed"));
    assert_eq!(confirm(clock.command(), "good", "keys/release.key", "log.vkey").code, 0);
    let document = deployment.read("time-documents/good.json");
    host.reload_until(["clock.confirmed"]);
    assert!(!warns(&host, "clock-unconfirmed"));
    assert!(deployment.path("time-documents/good.json.used").exists());
    // The same one once more.
    deployment.write("time-documents/again.json", document);
    refuses_time_document(&host, "time-document-already-used");
    decides(&host, now());
    host.stop();
    let used = deployment.records_of("trust.clock-confirmation");
    assert_eq!(used.len(), 1);
    let sealed = deployment.sealed(used[0]["seq"].as_u64().unwrap()).to_string();
    assert!(sealed.contains("noor.haddad") && sealed.contains("CHG-81"), "{sealed}");
    assert_eq!(deployment.records_of("trust.clock-confirmed")[0]["by"], "confirmation");
    assert_eq!(deployment.records_of("trust.refused").len(), 3);
    assert_eq!(deployment.verify().code, 0);
}

#[test]
fn a_time_reset_heals_a_log_that_got_times_of_the_future() {
    let (mut deployment, clock) = (deployment(), MovedClock::new());
    clock.serve(&deployment).stop();
    fs::create_dir(deployment.path("time-documents")).unwrap();
    // A wrong clock and a platform that agreed with it: the log has times of the next year but one.
    clock.ahead(400 * DAY);
    let host = clock.serve(&deployment);
    decides(&host, clock.now());
    host.stop();
    assert!(at(deployment.records().last().unwrap()) > now() + 399 * DAY);
    clock.ahead(0);
    deployment.release(&[Binding::new("token", "sod", duties())]);
    let host = clock.serve(&deployment);
    assert!(harmless(&host, now()).stops_a_token(), "everything has expired by the log's time");
    assert!(warns(&host, "clock-behind"));

    let prepare = |serial: &str, output: &str| {
        deployment.must(&[
            "trust",
            "time-reset",
            "prepare",
            "--vkey",
            "log.vkey",
            "--serial",
            serial,
            "--person",
            "noor.haddad",
            "--reason",
            "the clock was ahead",
            "--ticket",
            "INC-31",
            "--output",
            output,
        ])
    };
    let sign = |document: &str, key: &str, output: &str| {
        deployment.run(&[
            "trust",
            "time-reset",
            "sign",
            document,
            "--root",
            "trust-root.json",
            "--key",
            key,
            "--output",
            output,
        ])
    };
    assert!(prepare("1", "reset.json").contains("it has no signatures yet"));
    deployment.write("time-documents/unsigned.json", deployment.read("reset.json"));
    refuses_time_document(&host, "unsigned");
    fs::remove_file(deployment.path("time-documents/unsigned.json")).unwrap();
    let wrong = sign("reset.json", "keys/release.key", "no.json");
    assert!(wrong.code == 1 && wrong.err.contains("[unknown-signer]"), "{wrong:?}");
    let ran = sign("reset.json", "keys/root.key", "signed.json");
    assert_eq!(ran.code, 0, "{ran:?}");
    deployment.write("time-documents/reset.json", deployment.read("signed.json"));
    assert!(host.reload_until(["release.active"]).has("clock.reset"));
    decides(&host, now());
    assert!(!warns(&host, "clock-behind"));
    assert_eq!(host.admin("/status").json["time"]["last_reset"], 1);
    host.kill();

    // It holds over a crash, in the log, and works once.
    let host = clock.serve(&deployment);
    decides(&host, now());
    assert!(!warns(&host, "clock-behind"));
    deployment.write("time-documents/again.json", deployment.read("signed.json"));
    refuses_time_document(&host, "time-document-already-used");
    host.stop();
    // Without the host's own folder too: the log tells.
    fs::remove_dir_all(deployment.path("trust-state")).unwrap();
    let host = clock.serve(&deployment);
    decides(&host, now());
    host.reload_until(["clock.document-refused"]);
    host.stop();
    let resets = deployment.records_of("trust.time-reset");
    assert_eq!((resets.len(), &resets[0]["serial"]), (1, &json!(1)));
    assert!((at(&resets[0]) - now()).abs() < HOUR);
    assert!(at(deployment.records().last().unwrap()) <= now());
    assert_eq!(deployment.verify().code, 0, "{:?}", deployment.verify());
    // Records are found by time on both sides of it.
    let show = |more: &[&str]| {
        let show =
            ["audit", "show", "--format", "json", "--log", "audit/log", "--vkey", "log.vkey"];
        deployment.must(&[&show[..], more].concat()).lines().count()
    };
    let all = show(&[]);
    let year = portcullis_tests::rfc3339(now() + 100 * DAY);
    let (late, early) = (show(&["--since", &year]), show(&["--until", &year]));
    assert!(late > 0 && early > 0 && late + early == all, "{late} + {early} of {all}");
}

#[test]
fn a_clock_that_is_set_back_takes_no_record_back() {
    let (deployment, clock) = (deployment(), MovedClock::new());
    let host = clock.serve(&deployment);
    decides(&host, now());
    for back in [HOUR, 20 * DAY, 400 * DAY] {
        clock.ahead(-back);
        decides(&host, now());
    }
    host.wait_for("clock.behind");
    assert!(warns(&host, "clock-behind"));
    let decision = harmless(&host, now()).index().unwrap();
    host.stop();
    let record = deployment.record(decision);
    assert_eq!(record["time"], "behind");
    let host = clock.serve(&deployment);
    decides(&host, now());
    host.stop();
    no_record_after(&deployment, now() + MINUTE);
}

#[test]
fn a_clock_that_is_set_back_gives_no_break_glass_time_back() {
    let (deployment, clock) = (deployment(), MovedClock::new());
    deployment.generate("keeper");
    let keeper = deployment.read("keys/keeper.vkey").trim().to_owned();
    let role = format!("[break_glass]\nkeys = [\"{keeper}\"]\nthreshold = 1\n\n[[publisher]]");
    deployment.sign_root(|source| source.replace("[[publisher]]", &role));
    fs::create_dir(deployment.path("break-glass")).unwrap();
    let document = |name: &str, minutes: &str| {
        deployment.must(&[
            "break-glass",
            "prepare",
            "--hook",
            "token",
            "--waive",
            "SOD_EXISTING",
            "--minutes",
            minutes,
            "--person",
            "p",
            "--reason",
            "r",
            "--ticket",
            "t",
            "--output",
            name,
        ]);
        deployment.must(&[
            "break-glass",
            "sign",
            name,
            "--root",
            "trust-root.json",
            "--key",
            "keys/keeper.key",
            "--output",
            name,
        ]);
        deployment.must(&[
            "break-glass",
            "open",
            name,
            "--root",
            "trust-root.json",
            "--folder",
            "break-glass",
            "--person",
            "noor.haddad",
            "--reason",
            "r",
            "--ticket",
            "t",
        ]);
    };
    let conflict = |host: &Host| host.sign_in(&SignIn::with_groups(&CONFLICT).at(now()));
    let host = clock.serve(&deployment);
    document("long.json", "60");
    host.wait_for("break-glass.open");
    assert!(!conflict(&host).stops_a_token());
    // A process that dies before this is on disk finds the document spent.
    let list = deployment.path("trust-state/break-glass");
    let begin = Instant::now();
    while !list.exists() {
        assert!(begin.elapsed() < Duration::from_secs(60), "{}", host.log());
        thread::sleep(Duration::from_millis(20));
    }
    // Fifty minutes go by; then the process dies and the clock is set back to where it was.
    clock.ahead(50 * MINUTE);
    assert!(!conflict(&host).stops_a_token());
    host.kill();
    clock.ahead(0);
    let host = clock.serve(&deployment);
    let line = host.wait_for("break-glass.open");
    assert!(line.fields["minutes"].as_i64().unwrap() <= 10, "{line:?}");
    // When its time is over it stays over, whatever the clock shows.
    clock.ahead(61 * MINUTE);
    host.wait_for("break-glass.closed");
    assert!(conflict(&host).stops_a_token());
    clock.ahead(-30 * MINUTE);
    assert!(conflict(&host).stops_a_token());
    host.stop();
    let host = clock.serve(&deployment);
    assert!(conflict(&host).stops_a_token());
    host.stop();
    assert_eq!(deployment.records_of("break-glass.closed").len(), 1);
}

#[test]
fn a_clock_that_has_no_http_date_takes_no_answer() {
    let (deployment, clock) = (deployment(), MovedClock::new());
    let host = clock.serve(&deployment);
    decides(&host, now());
    // A connection that stands when the clock is moved.
    let mut standing = host.client();
    let call = host.request("token", &SignIn::with_groups(&["ward-reader"]).bytes());
    assert!(standing.send(&call).unwrap().index().is_some());
    for years in [-100, 9_000] {
        clock.ahead(years * 365 * DAY);
        for _ in 0..5 {
            let answer = harmless(&host, now());
            assert!(answer.stops_a_token() && answer.header("date").is_none(), "{answer:?}");
        }
        assert_eq!(host.admin("/health").status, 200);
        let ready = host.admin("/ready");
        assert_eq!(ready.status, 503);
        assert!(ready.json["reasons"].to_string().contains("clock-out-of-range"), "{}", ready.json);
        let http2 = send_2_plain(host.address(), std::slice::from_ref(&call));
        assert!(http2[0].index().is_some() || http2[0].stops_a_token(), "{http2:?}");
        clock.ahead(0);
        decides(&host, now());
    }
    clock.ahead(9_000 * 365 * DAY);
    let answer = standing.send(&call).unwrap();
    assert!(answer.stops_a_token(), "{answer:?}");
    let (secs, unknown) = (Duration::from_secs(30), SignIn::with_groups(&["ward-reader"]).bytes());
    let answer = host.client().send(&Raw::post("/elsewhere", "x", &unknown)).unwrap();
    assert!(answer.stops_a_token(), "{answer:?}");
    clock.ahead(0);
    host.wait_for_within("clock.no-date", secs);
    decides(&host, now());
    assert_eq!(host.admin("/ready").status, 200);
    host.stop();

    // The same at a start.
    clock.ahead(-100 * 365 * DAY);
    let host = clock.serve(&deployment);
    assert!(harmless(&host, now()).stops_a_token());
    clock.ahead(0);
    decides(&host, now());
    host.stop();
}
