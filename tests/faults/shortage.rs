//! Shortages: a disk without room, a sync that fails, a process without descriptors. Every answer
//! that left is in the log afterwards, as a record or counted, also after `kill -9` and in several
//! runs in a row; where nothing was lost the host goes on by itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use portcullis_tests::{
    Answer, Client, Host, MissingTool, RELEASE_SET, Raw, SECRET, TestDeployment, require_tool,
};
use serde_json::json;

use super::answer_ledger::sign_in;
use super::{deployment, trace};

#[test]
fn after_a_full_disk_and_kill_9_twice_the_log_accounts_for_every_answer() {
    let deployment = deployment();
    let disk = require_tool!(SmallDisk::under(&deployment.path("audit")));
    let mut left = Tally::default();
    for _ in 0..2 {
        let host = deployment.serve();
        let mut caller = Caller::of(&host, 0);
        left.add(&caller.calls(20));
        assert_eq!(left.unrecorded, left.unrecorded_before, "there is room yet");
        left.add(&caller.until_unrecorded(&disk, ANSWERS));
        until(|| host.metric("portcullis_log_ring_unwritten") == 0.0);
        host.kill();
        disk.make_room();
        let host = deployment.serve();
        left.add(&Caller::of(&host, 0).calls(1));
        drop(host.stop());
        left.is_accounted_for(&deployment);
        left.unrecorded_before = left.unrecorded;
    }
    assert!(left.unrecorded >= 2 * ANSWERS as u64);
}

#[test]
fn when_there_is_room_again_the_host_goes_on_by_itself_and_nothing_is_lost() {
    let deployment = deployment();
    let disk = require_tool!(SmallDisk::under(&deployment.path("audit")));
    let host = deployment.serve();
    let (mut left, mut caller) = (Tally::default(), Caller::of(&host, 0));
    left.add(&caller.calls(20));
    left.add(&caller.until_unrecorded(&disk, 200));
    until(|| {
        disk.fill();
        left.add(&caller.calls(1));
        let ready = host.admin("/ready");
        let (reasons, warnings) =
            (ready.json["reasons"].to_string(), ready.json["warnings"].to_string());
        ready.status == 503
            && reasons.contains("log-stopped")
            && reasons.contains("resumes by itself")
            && warnings.contains("log-delayed")
            && host.metric("portcullis_log_pending_corrections") > 0.0
    });
    disk.make_room();
    until(|| {
        let answer = caller.calls(1);
        left.add(&answer);
        answer[0].index().is_some()
    });
    let after = caller.calls(20);
    assert!(after.iter().all(|answer| answer.index().is_some()), "decisions have records again");
    left.add(&after);
    assert_eq!(host.admin("/ready").status, 200);
    until(|| host.metric("portcullis_log_pending_corrections") == 0.0);
    let log = host.stop();
    assert!(log.has("log.stopped"), "{log}");
    assert!(log.has("log.resumed"), "{log}");
    left.is_accounted_for(&deployment);
    let starts = deployment.records_of("host.start");
    assert_eq!(starts.len(), 1, "without a restart");
    let lines = log.count("log.append-refused");
    assert!(lines < 100, "{lines} lines for 200 answers");
}

#[test]
fn after_a_sync_that_failed_and_kill_9_the_log_accounts_for_every_answer() {
    let deployment = deployment();
    let mut left = Tally::default();
    // A start that recovers syncs more often.
    for fails in [10, 60] {
        let inject = format!("inject=fdatasync:error=EIO:when={fails}");
        let arguments = ["-q", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", &inject];
        let command = require_tool!(trace::strace(&arguments));
        let host = Host::start_with(&deployment.path(""), command);
        let mut caller = Caller::of(&host, 0);
        left.add(&caller.until_refused());
        left.add(&caller.calls(ANSWERS));
        let ready = host.admin("/ready").json.to_string();
        assert!(ready.contains("log-stopped") && ready.contains("restart the host"), "{ready}");
        until(|| host.metric("portcullis_log_ring_unwritten") == 0.0);
        host.kill();
    }
    let host = deployment.serve();
    left.add(&Caller::of(&host, 0).calls(1));
    drop(host.stop());
    left.is_accounted_for(&deployment);
    assert!(left.unrecorded >= 2 * ANSWERS as u64);
}

#[test]
#[ignore = "long: the same with 13,000 answers, some minutes"]
fn after_a_full_disk_and_kill_9_the_log_accounts_for_13_000_answers_of_many_callers() {
    let deployment = deployment();
    let disk = require_tool!(SmallDisk::under(&deployment.path("audit")));
    let host = deployment.serve();
    let mut left = Tally::default();
    left.add(&Caller::of(&host, 0).calls(100));
    disk.fill();
    left.add(&Caller::of(&host, 0).until_refused());
    let answers = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..8)
            .map(|number| {
                let host = &host;
                scope.spawn(move || Caller::of(host, number).calls(1_625))
            })
            .collect();
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect::<Vec<_>>()
    });
    left.add(&answers);
    until(|| host.metric("portcullis_log_ring_unwritten") == 0.0);
    host.kill();
    disk.make_room();
    drop(deployment.serve().stop());
    left.is_accounted_for(&deployment);
    assert!(left.unrecorded >= 12_000, "{}", left.unrecorded);
}

#[test]
fn without_a_descriptor_left_calls_are_decided_and_recorded() {
    let deployment = deployment();
    let host = deployment.serve();
    let (mut left, mut caller) = (Tally::default(), Caller::of(&host, 0));
    left.add(&caller.calls(5));
    let limit = |limit: &str| {
        let process = format!("--pid={}", host.id());
        let done = Command::new("prlimit").args([&process, &format!("--nofile={limit}")]).status();
        assert!(done.unwrap().success());
    };
    // The log's stock was opened before everything else, so that its numbers are below this limit.
    let open = fs::read_dir(format!("/proc/{}/fd", host.id())).unwrap().count();
    limit(&format!("{}:", open / 2));
    let answers = caller.calls(300);
    assert!(answers.iter().all(|answer| answer.index().is_some()), "each has its record");
    left.add(&answers);
    limit("1024:");
    left.add(&caller.calls(5));
    until(|| host.metric("portcullis_log_published") >= 310.0);
    assert_eq!(host.metric("portcullis_log_stopped"), 0.0);
    drop(host.stop());
    left.is_accounted_for(&deployment);
    assert_eq!(left.unrecorded, 0);
}

#[test]
fn refusals_of_the_present_minute_survive_kill_9_and_a_full_disk() {
    let deployment = deployment();
    let disk = require_tool!(SmallDisk::under(&deployment.path("audit")));
    let mut refused = 0;
    for fill in [false, true, false] {
        let host = deployment.serve();
        if fill {
            Caller::of(&host, 0).until_unrecorded(&disk, 1);
        }
        let mut client = host.client();
        for number in 0..150 {
            let wrong = if number % 3 == 0 { SECRET } else { "a wrong one, and long" };
            let call = Raw::post("/okta/token", wrong, b"{ no json");
            assert!(client.send(&call).unwrap().status > 0);
            refused += 1;
        }
        // What the head alone refuses, and a spelling of the path.
        for _ in 0..5 {
            assert!(client.get("/okta/token").unwrap().stops_a_token());
            let other = Raw::post("/okta//token", SECRET, b"{}");
            assert!(client.send(&other).unwrap().stops_a_token());
            refused += 2;
        }
        until(|| host.metric("portcullis_log_ring_unwritten") == 0.0);
        host.kill();
        if fill {
            disk.make_room();
        }
    }
    drop(deployment.serve().stop());
    let counted = || -> u64 {
        let records = deployment.records_of("hook.rejected");
        records.iter().map(|record| record["count"].as_u64().unwrap()).sum()
    };
    assert_eq!(counted(), refused);
    // Once is enough.
    drop(deployment.serve().stop());
    assert_eq!(deployment.verify().code, 0);
    assert_eq!(counted(), refused);
}

#[test]
fn trust_that_arrives_while_the_disk_is_full_is_recorded_once_there_is_room() {
    for killed in [false, true] {
        let deployment = deployment();
        let disk = require_tool!(SmallDisk::under(&deployment.path("audit")));
        let host = deployment.serve();
        Caller::of(&host, 0).until_unrecorded(&disk, 1);
        let mut set = deployment.opened("release/release.json");
        let plugin = set["plugins"].as_object().unwrap().values().next().unwrap();
        set["revoked"] = json!({"manifests": [plugin["manifest"]]});
        deployment.write(
            "release/release.json",
            deployment.forge("release", RELEASE_SET, &set.to_string()),
        );
        host.wait_for("plugin.revoked");
        assert_eq!(deployment.next_root(2, &["root"], |source| source).code, 0);
        host.wait_for("trust.root-accepted");
        let host = if killed {
            host.kill();
            disk.make_room();
            deployment.serve()
        } else {
            disk.make_room();
            host
        };
        until(|| deployment.records_of("trust.root").len() == 2);
        until(|| deployment.records_of("trust.revoked").len() == 1);
        drop(host.stop());
        // What a process was about to record once ends with it; what it revoked does not.
        if !killed {
            assert_eq!(deployment.records_of("plugin.stopped").len(), 1);
        }
        // Once is enough.
        drop(deployment.serve().stop());
        assert_eq!(deployment.verify().code, 0);
        let versions: Vec<_> =
            deployment.records_of("trust.root").iter().map(|it| it["version"].as_u64()).collect();
        assert_eq!(versions, [Some(1), Some(2)], "killed: {killed}");
        assert_eq!(deployment.records_of("trust.revoked").len(), 1, "killed: {killed}");
    }
}

/// What a platform counted.
#[derive(Default)]
struct Tally {
    recorded: Vec<u64>,
    unrecorded: u64,
    /// Of an earlier count.
    unrecorded_before: u64,
}

impl Tally {
    fn add(&mut self, answers: &[Answer]) {
        for answer in answers {
            match answer.index() {
                Some(index) => self.recorded.push(index),
                None => {
                    assert!(answer.stops_a_token(), "{answer:?}");
                    self.unrecorded += 1;
                }
            }
        }
    }

    /// The log verifies, has a decision for every answer that names one, and counts all others.
    fn is_accounted_for(&self, deployment: &TestDeployment) {
        let verified = deployment.verify();
        assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
        let records = deployment.records();
        let mut counted = 0;
        let mut superseded = Vec::new();
        for record in &records {
            match record["t"].as_str().unwrap() {
                "answer.superseded" => superseded.push(record["decision"].as_u64().unwrap()),
                "answer.gap" => {
                    assert_eq!(record["hook"], "token", "{record}");
                    assert_eq!(record["cause"], "not-durable", "{record}");
                    assert!(record["first"].as_u64() <= record["last"].as_u64(), "{record}");
                    counted += record["count"].as_u64().unwrap();
                }
                _ => {}
            }
        }
        for index in &self.recorded {
            let record = &records[usize::try_from(*index).unwrap()];
            assert_eq!(record["t"], "hook.decision", "{record}");
            assert!(!superseded.contains(index), "an answer that left is said not to have left");
        }
        assert_eq!(counted + superseded.len() as u64, self.unrecorded, "{superseded:?}");
        assert!(self.unrecorded >= self.unrecorded_before);
    }
}

/// A caller with one connection.
struct Caller {
    client: Client,
    request: Raw,
    number: usize,
}

impl Caller {
    fn of(host: &Host, number: usize) -> Self {
        Self { client: host.client(), request: host.request("token", &[]), number }
    }

    fn calls(&mut self, count: usize) -> Vec<Answer> {
        (0..count).map(|_| self.call()).collect()
    }

    /// Calls until so many answers have had no record, on a disk that stays full: what the host
    /// gives back of its own is filled again.
    fn until_unrecorded(&mut self, disk: &SmallDisk, count: usize) -> Vec<Answer> {
        let (mut answers, mut unrecorded, begin) = (Vec::new(), 0, Instant::now());
        while unrecorded < count {
            assert!(begin.elapsed() < PATIENCE, "{unrecorded} of {} have no record", answers.len());
            let answer = self.call();
            match answer.index() {
                Some(_) => disk.fill(),
                None => unrecorded += 1,
            }
            answers.push(answer);
        }
        answers
    }

    /// Calls until an answer has no record; that one is the last.
    fn until_refused(&mut self) -> Vec<Answer> {
        let (mut answers, begin) = (Vec::new(), Instant::now());
        loop {
            assert!(begin.elapsed() < PATIENCE, "{} answers have records", answers.len());
            answers.push(self.call());
            if answers.last().unwrap().index().is_none() {
                return answers;
            }
        }
    }

    fn call(&mut self) -> Answer {
        let event = format!("{}-{}", portcullis_tests::event(), self.number);
        self.request.body = sign_in().event(&event).bytes();
        self.client.send(&self.request).unwrap()
    }
}

/// A file system of its own and of 24 MiB, where the test may mount one.
struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    fn under(at: &Path) -> Result<Self, MissingTool> {
        fs::create_dir_all(at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"]).arg(at).stderr(Stdio::null());
        if mount.status().is_ok_and(|status| status.success()) {
            return Ok(Self { at: at.to_owned() });
        }
        Err(MissingTool { name: "a file system of 24 MiB", source: "the right to mount one" })
    }

    /// Leaves no byte of room.
    fn fill(&self) {
        let zeros = vec![0; 64 << 10];
        let file = fs::OpenOptions::new().append(true).create(true).open(self.at.join("filler"));
        let mut file = file.unwrap();
        while std::io::Write::write_all(&mut file, &zeros).is_ok() {}
        while std::io::Write::write_all(&mut file, &[0; 512]).is_ok() {}
    }

    fn make_room(&self) {
        fs::remove_file(self.at.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.at).status());
    }
}

fn until(mut came: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !came() {
        assert!(begin.elapsed() < PATIENCE, "it never came");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Safe answers of one run: more than the ring has slots for single answers.
const ANSWERS: usize = 1_200;
const PATIENCE: Duration = Duration::from_secs(60);
