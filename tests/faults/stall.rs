//! Records that cannot be made durable, or not in time: the safe answer leaves in time, the hook decides nothing until the log has been
//! told, and afterwards the log accounts for every one of those answers.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use portcullis_tests::{
    Answer, Binding, Client, Host, Lateness, Raw, SECRET, SetOnDrop, TestDeployment, binary,
    digest, require_tool,
};
use serde_json::json;

use super::answer_ledger::sign_in;
use super::{deployment, trace};

#[test]
fn on_a_full_disk_the_hook_stops_in_time_and_the_next_start_accounts_for_it() {
    let deployment = deployment();
    // A write beyond the limit gives an error, as on a full disk, instead of ending the process.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]).arg(binary());
    let host = Host::start_with(&deployment.path(""), command);
    let mut caller = Caller::of(&host);
    for _ in 0..3 {
        assert!(caller.signs_in().index().is_some());
    }
    // Room for checkpoints and the emergency ring, none for further frames.
    let limit = Command::new("prlimit")
        .args([&format!("--pid={}", host.id()), "--fsize=16384:unlimited"])
        .status();
    assert!(limit.unwrap().success());
    let answers: Vec<_> = (0..80).map(|_| caller.signs_in()).collect();
    for answer in &answers {
        assert!(answer.stops_a_token() && answer.index().is_none(), "{answer:?}");
    }
    host.wait_for("log.stopped");
    // Whoever asks is told, and why.
    let ready = host.admin("/ready");
    assert_eq!(
        (ready.status, &ready.json["reasons"][0]["code"]),
        (503, &"log-stopped".into()),
        "{ready:?}"
    );
    assert_eq!(host.metric("portcullis_log_stopped"), 1.0);
    assert_eq!(host.admin("/health").status, 200);
    // More than the emergency ring has slots: the rest is counted.
    drop(host.stop());
    settle_up(&deployment, answers);
}

#[test]
fn on_a_slow_disk_late_records_are_superseded_before_the_hook_decides_again() {
    let deployment = deployment();
    // The log-writer's tenth sync takes longer than a platform waits.
    let command =
        require_tool!(trace::strace(&quietly("inject=fdatasync:delay_enter=3500000:when=10")));
    let host = Host::start_with(&deployment.path(""), command);
    let mut caller = Caller::of(&host);
    let done = std::sync::atomic::AtomicBool::new(false);
    let (late, next) = std::thread::scope(|scope| {
        let ends = SetOnDrop(&done);
        let asked = scope.spawn(|| {
            let mut stalled = false;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                stalled |= host.admin("/ready").json["reasons"].to_string().contains("log-stalled");
                std::thread::sleep(Duration::from_millis(100));
            }
            stalled
        });
        let decided = until_it_decides_again(&mut caller);
        drop(ends);
        assert!(asked.join().unwrap(), "it was never said that the disk hangs");
        decided
    });
    drop(host.stop());
    account(&deployment, &late);
    // Everything that the hook owed stands before the next thing that it decided.
    let next = deployment.record(next.index().unwrap());
    let owed = deployment
        .records()
        .into_iter()
        .filter(|record| OWED.contains(&record["t"].as_str().unwrap()));
    assert!(owed.into_iter().all(|record| record["seq"].as_u64() < next["seq"].as_u64()));
    assert_eq!(deployment.records_of("host.start").len(), 1);
}

#[test]
fn after_a_sync_that_failed_nothing_is_decided_although_later_ones_would_work() {
    let deployment = deployment();
    let command = require_tool!(trace::strace(&quietly("inject=fdatasync:error=EIO:when=10")));
    let host = Host::start_with(&deployment.path(""), command);
    let mut caller = Caller::of(&host);
    let mut answers = Vec::new();
    while answers.len() < 20 {
        let answer = caller.signs_in();
        match answer.index() {
            Some(_) => {
                assert!(answers.is_empty(), "the hook decides after a sync that failed: {answer:?}")
            }
            None => answers.push(answer),
        }
    }
    host.wait_for("log.stopped");
    drop(host.stop());
    settle_up(&deployment, answers);
}

#[test]
fn on_a_full_disk_no_question_of_a_batch_is_permitted_and_each_is_accounted_for() {
    let allow = Binding::new("asked", "misbehaving", json!({"do": "allow"})).fallback(&[]);
    let deployment = TestDeployment::speaking("authzen", "/", "", (&[], &[]), &[allow]);
    deployment.configure("[audit]\n", "[audit]\nsegment_bytes = 2097152\n");
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]).arg(binary());
    let host = Host::start_with(&deployment.path(""), command);
    let question = json!({"subject": {"type": "user", "id": "noor"}, "resource": {"type": "chart", "id": "1"}});
    let body =
        json!({"action": {"name": "read"}, "evaluations": vec![question; QUESTIONS]}).to_string();
    let ask = || {
        host.client().send(&Raw::post("/access/v1/evaluations", SECRET, body.as_bytes())).unwrap()
    };
    let decided = |answer: &Answer, permitted: bool| {
        let answers = answer.json["evaluations"].as_array().unwrap();
        answer.status == 200
            && answers.len() == QUESTIONS
            && answers.iter().all(|it| it["decision"] == permitted)
    };
    assert!(decided(&ask(), true));
    let limit = Command::new("prlimit")
        .args([&format!("--pid={}", host.id()), "--fsize=16384:unlimited"])
        .status();
    assert!(limit.unwrap().success());
    let machine = Lateness::watch();
    for _ in 0..3 {
        let begin = Instant::now();
        let answer = ask();
        assert!(decided(&answer, false), "{}", answer.json);
        assert_eq!(answer.json["evaluations"][0]["context"]["error"]["message"], "not-durable");
        assert!(begin.elapsed() < PLATFORM_WAITS + machine.allowance());
    }
    drop(host.stop());
    drop(deployment.serve().stop());
    assert_eq!(deployment.verify().code, 0);
    let accounted =
        deployment.records().into_iter().map(|record| match record["t"].as_str().unwrap() {
            "answer.superseded" => 1,
            "answer.gap" => record["count"].as_u64().unwrap(),
            _ => 0,
        });
    assert_eq!(accounted.sum::<u64>(), 3 * QUESTIONS as u64);
}

#[test]
fn on_a_disk_that_hangs_a_large_batch_is_no_later_than_a_single_question() {
    let allow = Binding::new("asked", "misbehaving", json!({"do": "allow"})).fallback(&[]);
    let deployment = TestDeployment::speaking("authzen", "/", "", (&[], &[]), &[allow]);
    // Every sync of the log and of the emergency ring, from the tenth of each on.
    let command =
        require_tool!(trace::strace(&quietly("inject=fdatasync:delay_enter=3500000:when=10+")));
    let host = Host::start_with(&deployment.path(""), command);
    let subject = json!({"type": "user", "id": "noor"});
    let question = json!({"subject": subject, "resource": {"type": "chart", "id": "1"}});
    let body = json!({"action": {"name": "read"}, "evaluations": vec![question; LARGE_BATCH]});
    let request = Raw::post("/access/v1/evaluations", SECRET, body.to_string().as_bytes());
    let machine = Lateness::watch();
    let mut late = 0;
    for _ in 0..20 {
        let begin = Instant::now();
        let answer = host.client().send(&request).unwrap();
        let answers = answer.json["evaluations"].as_array().unwrap();
        assert_eq!(answers.len(), LARGE_BATCH);
        let is_late = |it: &&serde_json::Value| {
            it["context"]["error"]["message"] == "not-durable" && it["decision"] == false
        };
        late = answers.iter().filter(is_late).count();
        if late > LARGE_BATCH / 2 {
            let in_time = PLATFORM_WAITS + machine.allowance();
            assert!(begin.elapsed() < in_time, "{late} after {:?}", begin.elapsed());
            break;
        }
    }
    assert!(late > LARGE_BATCH / 2, "the disk does not hang");
    host.kill();
}

/// A caller with one connection, for whom every answer has to come in time.
struct Caller {
    client: Client,
    request: portcullis_tests::Raw,
    machine: Lateness,
}

impl Caller {
    fn of(host: &Host) -> Self {
        Self {
            client: host.client(),
            request: host.request("token", &[]),
            machine: Lateness::watch(),
        }
    }

    fn signs_in(&mut self) -> Answer {
        self.request.body = sign_in().event(&portcullis_tests::event()).bytes();
        let begin = Instant::now();
        let answer = self.client.send(&self.request).unwrap();
        let in_time = PLATFORM_WAITS + self.machine.allowance();
        assert!(begin.elapsed() < in_time, "an answer came after {:?}", begin.elapsed());
        assert!(answer.index().is_some() != answer.stops_a_token(), "{answer:?}");
        answer
    }
}

/// Signs in until answers have been without a record and then are with one again: those without, and the first with one.
fn until_it_decides_again(caller: &mut Caller) -> (Vec<Answer>, Answer) {
    let (mut late, begin) = (Vec::new(), Instant::now());
    loop {
        assert!(begin.elapsed() < PATIENCE, "{} late answers", late.len());
        let answer = caller.signs_in();
        match answer.index() {
            None => late.push(answer),
            Some(_) if !late.is_empty() => return (late, answer),
            Some(_) => {}
        }
    }
}

/// Starts the host on a disk that works, stops it, and holds the log against the answers that had left without a record.
fn settle_up(deployment: &TestDeployment, answers: Vec<Answer>) {
    let host = deployment.serve();
    let next = Caller::of(&host).signs_in();
    assert!(!next.stops_a_token());
    drop(host.stop());
    account(deployment, &answers);
    // Once is enough.
    drop(deployment.serve().stop());
    account(deployment, &answers);
}

/// The log verifies, and each of these answers is superseding a decision or counted in a gap.
fn account(deployment: &TestDeployment, answers: &[Answer]) {
    let verified = deployment.verify();
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
    let records = deployment.records();
    let left: BTreeSet<_> = answers.iter().map(|answer| digest(&answer.body)).collect();
    let mut accounted = 0;
    for record in &records {
        match record["t"].as_str().unwrap() {
            "answer.superseded" => {
                let of = &records[usize::try_from(record["decision"].as_u64().unwrap()).unwrap()];
                assert_eq!(of["t"], "hook.decision", "{record} supersedes {of}");
                assert!(of["seq"].as_u64() < record["seq"].as_u64());
                assert!(
                    left.contains(record["response"].as_str().unwrap()),
                    "{record} is of no answer that left"
                );
                accounted += 1;
            }
            "answer.gap" => accounted += record["count"].as_u64().unwrap(),
            _ => {}
        }
    }
    assert_eq!(accounted, answers.len() as u64);
}

/// strace for what it does to the host, without its trace.
fn quietly(inject: &str) -> [&str; 7] {
    ["-q", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", inject]
}

/// In one batch.
const QUESTIONS: usize = 5;
/// The same, where a wait for each would be longer than a platform waits.
const LARGE_BATCH: usize = 200;
const OWED: [&str; 2] = ["answer.superseded", "answer.gap"];
/// Okta's limit for a hook.
const PLATFORM_WAITS: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(60);
