//! A simulated platform: it calls every 20 ms, keeps every answer that it got, and at the end its
//! account is compared with the log's. Each answer is in the log once: as the record that the
//! answer names, or, where it names none, in an `answer.gap`, as what left instead of a record
//! (`answer.superseded`), or counted as a refusal (`hook.rejected`).
//!
//! The stories differ in what happens to the host meanwhile. A story in which no process is killed
//! demands that the accounts are equal; where one is killed, what was on its way at that moment may
//! be missing on the platform's side alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use portcullis_tests::{
    Answer, Binding, Client, Host, Raw, SECRET, SetOnDrop, SignIn, TestDeployment, binary, event,
    leaf_hash, skip,
};
use serde_json::{Value, json};

#[test]
fn restarts_with_inherited_sockets_lose_no_answer_and_the_accounts_are_equal() {
    restarts_with_inherited_sockets(3);
}

#[test]
#[ignore = "long: ten restarts, half a minute"]
fn ten_restarts_with_inherited_sockets_lose_no_answer_and_the_accounts_are_equal() {
    restarts_with_inherited_sockets(10);
}

fn restarts_with_inherited_sockets(restarts: usize) {
    let (deployment, supervisor) = (deployment(), Supervisor::listen());
    let platform = Platform::of(&supervisor.address());
    platform
        .while_calling(|| {
            for life in 0..restarts {
                let host = supervisor.start(&deployment);
                // Part of the lives end with a signal that comes while the host starts.
                match life % 3 {
                    0 => platform.until_answers(25),
                    1 => {
                        host.signal("HUP");
                        host.until_started();
                        platform.until_decisions(10);
                    }
                    _ => platform.until_answers(1),
                }
                host.stop();
            }
            let host = supervisor.start(&deployment);
            host.until_started();
            platform.until_decisions(10);
            host
        })
        .stop();
    let account = platform.account();
    assert_eq!(account.refused, 0, "the supervisor's socket refused a connection: {account:?}");
    assert_eq!(account.lost, 0, "a connection ended without an answer: {account:?}");
    // One connection is kept, and each stop ends it.
    assert!(account.resent <= restarts, "{account:?}");
    account.equals(&deployment);
    assert_eq!(deployment.records_of("host.start").len(), restarts + 1);
}

#[test]
fn restarts_of_a_host_with_its_own_socket_answer_everything_that_was_accepted() {
    restarts_with_own_sockets(3);
}

#[test]
#[ignore = "long: ten restarts, half a minute"]
fn ten_restarts_of_a_host_with_its_own_socket_answer_everything_that_was_accepted() {
    restarts_with_own_sockets(10);
}

fn restarts_with_own_sockets(restarts: usize) {
    let deployment = deployment();
    // A port of this test's own, the same in every life.
    let address = Supervisor::listen().address();
    deployment.configure("127.0.0.1:0", &address);
    let platform = Platform::of(&address);
    platform
        .while_calling(|| {
            for _ in 0..restarts {
                let host = deployment.serve();
                platform.until_decisions(20);
                host.stop();
            }
            let host = deployment.serve();
            platform.until_decisions(10);
            host
        })
        .stop();
    let account = platform.account();
    assert!(account.decisions.len() > restarts * 20, "{account:?}");
    // A connection may come between the last look at the queue and the end of the socket: that is
    // what inheriting is for.
    assert!(account.lost <= restarts && account.resent <= restarts, "{account:?}");
    account.equals(&deployment);
}

#[test]
fn a_stop_is_told_before_it_comes_and_the_host_serves_on_meanwhile() {
    let deployment = deployment();
    deployment.configure("shutdown_delay_ms = 300", "shutdown_delay_ms = 60000");
    let host = deployment.serve();
    assert_eq!(host.admin("/ready").status, 200);
    let mut kept = host.client();
    let call = |kept: &mut Client| {
        kept.send(&host.request("token", &sign_in().event(&event()).bytes())).unwrap()
    };
    assert_eq!(call(&mut kept).header("connection"), None);
    host.signal("TERM");
    host.wait_for("stop.delay");
    let ready = host.admin("/ready");
    assert_eq!((ready.status, &ready.json["reasons"][0]["code"]), (503, &json!("stopping")));
    // On the connection that stands and on a new one: a decision, and the word that the connection
    // ends.
    for client in [&mut kept, &mut host.client()] {
        let answer = call(client);
        assert!(answer.index().is_some() && !answer.stops_a_token(), "{answer:?}");
        assert_eq!(answer.header("connection"), Some("close"));
    }
    // A second signal does not wait for the rest of the minute.
    let begin = Instant::now();
    let records = deployment.records_of("hook.decision").len();
    host.stop();
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
    assert!(deployment.records_of("hook.decision").len() >= records.max(3));
    assert_eq!(deployment.records().last().unwrap()["t"], "host.stop");
}

#[test]
fn while_the_log_cannot_be_opened_calls_get_safe_answers_that_the_log_has_afterwards() {
    let deployment = deployment();
    // A file stands where the log's folder is to be: an error that passes when somebody repairs it.
    deployment.write("audit", "no folder");
    let host = Host::begin_with(&deployment.path(""), Command::new(binary()));
    let platform = Platform::of(host.address());
    platform.while_calling(|| {
        host.wait_for("start.failed");
        platform.until_answers(30);
        let ready = host.admin("/ready");
        let reason = &ready.json["reasons"][0];
        assert_eq!((ready.status, &reason["code"]), (503, &json!("starting")), "{ready:?}");
        let failed = "failed: audit: `audit` could not be prepared";
        assert!(reason["what"].as_str().unwrap().contains(failed), "{ready:?}");
        let status = host.admin("/status").json;
        assert!(status["start"]["failures"].as_u64() > Some(0), "{status}");
        assert_eq!(host.admin("/health").status, 200);
        assert_eq!(host.metric("portcullis_ready"), 0.0);
        std::fs::remove_file(deployment.path("audit")).unwrap();
        host.until_started();
        platform.until_decisions(10);
    });
    host.wait_for("start.finished");
    assert_eq!(host.admin("/ready").status, 200);
    host.stop();
    let account = platform.account();
    assert!(account.unrecorded >= 30 && account.lost == 0, "{account:?}");
    account.equals(&deployment);
    // An operator who prefers an end to safe answers asks for it.
    deployment.configure("directory = \"audit\"", "directory = \"trust-root.json\"");
    let strict = deployment.run(&["serve", "--strict", "--config", "portcullis.toml"]);
    assert!(strict.code == 70 && strict.err.contains("audit: "), "{strict:?}");
}

#[test]
fn signals_while_a_host_starts_end_it_in_order_or_are_heeded_later() {
    let deployment = deployment();
    for (calls, signal) in (1..).zip(["TERM", "INT"]) {
        let host = Host::begin_with(&deployment.path(""), Command::new(binary()));
        host.signal("HUP");
        let answer = host.sign_in(&sign_in());
        assert_eq!(answer.status, 200, "{answer:?}");
        host.signal(signal);
        let log = host.ended();
        assert!(log.has("stop.draining"), "{log}");
        assert_eq!(deployment.records().last().unwrap()["t"], "host.stop", "{log}");
        // The safe answer that left during the start is in the log, whenever that was.
        assert_eq!(
            deployment.records_of("answer.gap").len()
                + deployment.records_of("hook.decision").len(),
            calls
        );
    }
    // A HUP during the start is a look that is due: the file that changed meanwhile is taken up.
    let host = Host::begin_with(&deployment.path(""), Command::new(binary()));
    deployment.configure("watch_ms = 500", "watch_ms = 600000");
    host.signal("HUP");
    host.wait_for("config.active");
    host.stop();
}

#[test]
fn a_killed_host_owes_nothing_that_it_answered() {
    let (deployment, supervisor) = (deployment(), Supervisor::listen());
    let platform = Platform::of(&supervisor.address());
    let lives = 3;
    platform
        .while_calling(|| {
            for _ in 0..lives {
                let host = supervisor.start(&deployment);
                host.until_started();
                platform.until_decisions(15);
                host.kill();
            }
            let host = supervisor.start(&deployment);
            host.until_started();
            platform.until_decisions(5);
            host
        })
        .stop();
    let account = platform.account();
    assert_eq!(account.refused, 0, "{account:?}");
    account.equals_but_for_what_was_cut_off(&deployment);
}

#[test]
fn a_flood_of_connections_changes_no_account() {
    let deployment = deployment();
    let host = deployment.serve();
    let platform = Platform::of(host.address());
    let address = host.address().to_owned();
    platform.while_calling(|| {
        for _ in 0..20 {
            // Connections that say nothing, below the limit of descriptors of any machine.
            let idle: Vec<_> = (0..50).filter_map(|_| TcpStream::connect(&address).ok()).collect();
            platform.until_answers(2);
            drop(idle);
        }
    });
    host.stop();
    let account = platform.account();
    assert_eq!((account.lost, account.refused), (0, 0), "{account:?}");
    account.equals(&deployment);
}

#[test]
fn a_socket_that_the_host_has_no_use_for_is_refused_before_anything_is_bound() {
    let deployment = deployment();
    let supervisor = Supervisor::listen();
    let refused = |name: &str, change: &str| {
        let mut command = supervisor.command(name);
        deployment.configure("[listen]\n", &format!("[listen]\n{change}"));
        command.args(["serve", "--config", "portcullis.toml"]).current_dir(deployment.path(""));
        let output = command.output().unwrap();
        deployment.configure(&format!("[listen]\n{change}"), "[listen]\n");
        assert_eq!(output.status.code(), Some(64), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    deployment.configure("[admin]\n", "[admin]\nenabled = false\n");
    assert!(refused("admin", "").contains("no admin listener"));
    deployment.configure("[admin]\nenabled = false\n", "[admin]\n");

    // A connection instead of a listening socket.
    let connection = TcpStream::connect(supervisor.address()).unwrap();
    let said = ends_with_64(supervisor.command_with(connection.into(), "hooks"), &deployment);
    assert!(said.contains("it is a connection to 127.0.0.1:"), "{said}");
    assert!(said.contains("hint: give the socket unit one TCP socket"), "{said}");

    // Counts that no supervisor hands over.
    for count in ["200000000", "65", "-1", "many", ""] {
        let mut command = supervisor.command("hooks");
        command.env("LISTEN_FDS", count);
        let said = ends_with_64(command, &deployment);
        assert!(
            said.contains("(LISTEN_FDS)") && said.contains("is not 0 to 64"),
            "{count}: {said}"
        );
    }
}

/// Runs `serve` under this command, which ends at once, and returns what it logged.
fn ends_with_64(mut command: Command, deployment: &TestDeployment) -> String {
    command.args(["serve", "--config", "portcullis.toml"]).current_dir(deployment.path(""));
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn sockets_of_another_process_are_not_taken_and_another_address_is_a_warning() {
    let deployment = deployment();
    let supervisor = Supervisor::listen();
    // The supervisor's socket has another port than the configuration.
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let right = deployment.read("portcullis.toml");
    deployment.configure("\"127.0.0.1:0\"", &format!("\"127.0.0.1:{free}\""));
    let host = supervisor.start(&deployment);
    host.wait_for("listen.another-address");
    host.stop();
    deployment.write("portcullis.toml", right);
    // The environment is inherited from a process whose sockets these are, or names none.
    for pid in ["LISTEN_PID=1", "LISTEN_PID=", "-u LISTEN_PID"] {
        let mut command = Command::new("sh");
        let script = format!("exec 3<&0 0</dev/null; exec env {pid} \"$0\" \"$@\"");
        command.args(["-c", &script]).arg(binary()).env("LISTEN_FDS", "1");
        command.stdin(Stdio::from(OwnedFd::from(supervisor.socket.try_clone().unwrap())));
        let host = Host::begin_with(&deployment.path(""), command);
        assert_ne!(host.address(), supervisor.address(), "{pid}");
        host.wait_for("listen.sockets-ignored");
        host.until_started();
        assert!(host.sign_in(&sign_in()).index().is_some());
        host.stop();
    }
}

#[test]
fn a_service_manager_is_told_as_soon_as_the_port_answers() {
    let deployment = deployment();
    let manager = std::os::unix::net::UnixDatagram::bind(deployment.path("notify")).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut command = Command::new(binary());
    command.env("NOTIFY_SOCKET", deployment.path("notify"));
    let host = Host::begin_with(&deployment.path(""), command);
    let mut message = [0; 64];
    let count = manager.recv(&mut message).unwrap();
    assert_eq!(&message[..count], b"READY=1\n");
    assert_eq!(host.post("token", &sign_in().bytes()).status, 200);
    host.until_started();
    host.stop();
}

#[test]
fn the_units_for_systemd_are_in_order() {
    let folder = portcullis_tests::checkout().join("docs/systemd");
    let unit = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let service = unit("portcullis.service");
    assert!(service.contains("ExecReload=/bin/kill -HUP $MAINPID"));
    // systemd.unit(5), systemd.socket(5): with the defaults, a few failed starts close the port for good.
    for setting in
        ["StartLimitIntervalSec=0", "Restart=always", "RestartSec=", "StateDirectory=portcullis"]
    {
        assert!(service.lines().any(|line| line.starts_with(setting)), "{setting}");
    }
    assert!(!service.contains("RestartPreventExitStatus"), "a port must not stay without a host");
    for socket in ["portcullis.socket", "portcullis-admin.socket"] {
        assert!(unit(socket).contains("\nTriggerLimitIntervalSec=0\n"), "{socket}");
    }
    for socket in ["portcullis.socket", "portcullis-admin.socket"] {
        assert!(service.contains(socket) && unit(socket).contains("Service=portcullis.service"));
    }
    let found = Command::new("systemd-analyze").arg("--version").output();
    if found.is_err() {
        return skip("systemd-analyze", "Debian's `systemd`");
    }
    // In a folder of their own, with a program that is here: what is checked is their syntax and
    // their settings.
    let copy = tempfile::tempdir().unwrap();
    for name in ["portcullis.service", "portcullis.socket", "portcullis-admin.socket"] {
        let text = unit(name).replace("/usr/local/bin/portcullis", &binary().display().to_string());
        std::fs::write(copy.path().join(name), text).unwrap();
    }
    let units = ["portcullis.service", "portcullis.socket", "portcullis-admin.socket"];
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--generators=no", "--recursive-errors=no"])
        .args(units.map(|name| copy.path().join(name)))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let ours: Vec<_> = text.lines().filter(|line| line.contains("portcullis")).collect();
    assert!(ours.is_empty(), "{text}");
}

/// A deployment with an allowing plugin, whose host serves on for a moment after a SIGTERM.
pub fn deployment() -> TestDeployment {
    let deployment =
        TestDeployment::build(&[Binding::new("token", "misbehaving", json!({"do": "allow"}))]);
    deployment.configure("shutdown_delay_ms = 0", "shutdown_delay_ms = 300");
    deployment
}

fn sign_in() -> SignIn {
    SignIn::with_groups(&["nurses"])
}

/// A supervisor, as systemd is one: it holds the socket, whatever becomes of the host.
struct Supervisor {
    socket: TcpListener,
}

impl Supervisor {
    fn listen() -> Self {
        Self { socket: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap() }
    }

    fn address(&self) -> String {
        self.socket.local_addr().unwrap().to_string()
    }

    /// A host's program with the socket as its descriptor 3 and the environment of
    /// `sd_listen_fds(3)`.
    fn command(&self, name: &str) -> Command {
        self.command_with(self.socket.try_clone().unwrap().into(), name)
    }

    /// The same with another descriptor.
    fn command_with(&self, socket: OwnedFd, name: &str) -> Command {
        let hand_over = "exec 3<&0 0</dev/null; export LISTEN_PID=$$; exec \"$0\" \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", hand_over]).arg(binary());
        command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", name);
        command.stdin(Stdio::from(socket));
        command
    }

    /// Starts a host, and waits only until it answers.
    fn start(&self, deployment: &TestDeployment) -> Host {
        let host = Host::begin_with(&deployment.path(""), self.command("hooks"));
        assert_eq!(host.address(), self.address());
        host
    }
}

/// The platform: one caller that keeps its connection, and one with a new connection for each call.
pub struct Platform {
    address: String,
    account: Mutex<Account>,
}

/// A platform's account of its calls.
#[derive(Default)]
pub struct Account {
    /// Record's index → leaf hash, of answers that name their record.
    decisions: BTreeMap<u64, String>,
    /// Of these, answers that let the person in.
    permitted: usize,
    /// Answers that name no record.
    pub unrecorded: u64,
    /// Calls on a connection that was accepted, and that got no answer.
    pub lost: usize,
    /// Calls for which there was no connection.
    refused: usize,
    /// Calls whose kept connection had ended, and that were sent once more (RFC 9112, 9.3.1).
    resent: usize,
    /// The errors of lost calls.
    errors: Vec<String>,
}

impl Platform {
    pub fn of(address: &str) -> Self {
        Self { address: address.to_owned(), account: Mutex::default() }
    }

    /// Calls every 20 ms, until `meanwhile` is done.
    pub fn while_calling<R>(&self, meanwhile: impl FnOnce() -> R) -> R {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let ends = SetOnDrop(&done);
            for keeps in [true, false] {
                let done = &done;
                scope.spawn(move || {
                    let mut client = Client::new(&self.address);
                    let mut next = Instant::now();
                    while !done.load(Ordering::Relaxed) {
                        if !keeps {
                            client = Client::new(&self.address);
                        }
                        self.call(&mut client);
                        // A platform does not call faster because an answer was late.
                        next = (next + EVERY).max(Instant::now());
                        thread::sleep(next.saturating_duration_since(Instant::now()));
                    }
                });
            }
            let result = meanwhile();
            drop(ends);
            result
        })
    }

    fn call(&self, client: &mut Client) {
        let body = sign_in().event(&event()).bytes();
        let request = Raw::post("/okta/token", SECRET, &body);
        let begin = Instant::now();
        let stood = client.is_connected();
        let mut answer = client.send(&request);
        // A host may end a connection that nobody uses, and the call may cross that end: then it is
        // sent on another one.
        let ended = |error: &std::io::Error| {
            use ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
            matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
        };
        let crossed = stood && answer.as_ref().is_err_and(ended);
        if crossed {
            answer = client.send(&request);
        }
        let mut account = self.account();
        account.resent += usize::from(crossed);
        match answer {
            Ok(answer) => account.note(&answer),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => account.refused += 1,
            Err(error) => {
                account.lost += 1;
                account.errors.push(format!("{error} after {:?}", begin.elapsed()));
            }
        }
    }

    /// Waits for so many further answers, whatever they say.
    pub fn until_answers(&self, further: usize) {
        let before = self.account().answers();
        self.until(|account| account.answers() >= before + further);
    }

    /// Waits for so many further answers that let the person in.
    pub fn until_decisions(&self, further: usize) {
        let before = self.account().permitted;
        self.until(|account| account.permitted >= before + further);
    }

    fn until(&self, came: impl Fn(&Account) -> bool) {
        let begin = Instant::now();
        while !came(&self.account()) {
            assert!(begin.elapsed() < PATIENCE, "{:?}", self.account());
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { decisions, permitted, unrecorded, lost, refused, resent, errors } = self;
        let recorded = decisions.len();
        write!(
            f,
            "{recorded} recorded, {permitted} of them permitted, {unrecorded} unrecorded, {lost} \
             lost, {refused} refused, {resent} resent, {errors:?}"
        )
    }
}

impl Account {
    fn note(&mut self, answer: &Answer) {
        assert_eq!(answer.status, 200, "{answer:?}");
        let (Some(index), Some(leaf)) = (answer.index(), answer.leaf()) else {
            assert!(answer.stops_a_token(), "a decision that names no record: {answer:?}");
            self.unrecorded += 1;
            return;
        };
        self.permitted += usize::from(!answer.stops_a_token());
        let before = self.decisions.insert(index, leaf.to_owned());
        assert!(before.is_none(), "two answers name record {index}");
    }

    fn answers(&self) -> usize {
        self.decisions.len() + usize::try_from(self.unrecorded).unwrap()
    }

    /// The log holds exactly the platform's answers.
    pub fn equals(&self, deployment: &TestDeployment) {
        println!("{self:?}");
        // A call that was sent once more had not been answered before.
        assert_eq!(deployment.records_of("hook.duplicate").len(), 0, "{self:?}");
        let log = Logged::of(deployment);
        log.holds(self);
        let known: BTreeSet<_> = self.decisions.keys().copied().collect();
        let lost = u64::try_from(self.lost).unwrap();
        if lost == 0 {
            assert_eq!(known, log.decisions, "records that name no answer of the platform's");
            assert_eq!(self.unrecorded, log.unrecorded, "answers without a record");
        } else {
            self.is_within(&log, lost);
        }
    }

    /// The same after a kill. A call whose answer the kill cut off is lost, or, on a kept
    /// connection, looks as if it had crossed the end of that one: the platform sends it once more,
    /// and the log may have it twice.
    fn equals_but_for_what_was_cut_off(&self, deployment: &TestDeployment) {
        let log = Logged::of(deployment);
        log.holds(self);
        self.is_within(&log, u64::try_from(self.lost + self.resent).unwrap());
    }

    /// The log holds every answer of the platform's, and at most so many besides.
    fn is_within(&self, log: &Logged, most: u64) {
        let further = log.decisions.len() - self.decisions.len();
        assert!(log.unrecorded >= self.unrecorded, "{} of {self:?}", log.unrecorded);
        let further = u64::try_from(further).unwrap() + log.unrecorded - self.unrecorded;
        assert!(
            further <= most,
            "{further} answers in the log that the platform never got: {self:?}"
        );
    }
}

/// The log's account of answers.
struct Logged {
    leaves: Vec<String>,
    /// Decisions that left, by their record's index.
    decisions: BTreeSet<u64>,
    /// Answers that left without a record of their own.
    unrecorded: u64,
}

impl Logged {
    fn of(deployment: &TestDeployment) -> Self {
        let verified = deployment.verify();
        assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
        let leaves = deployment.leaves();
        let (mut decisions, mut unrecorded) = (BTreeSet::new(), 0);
        for leaf in &leaves {
            let record: Value = serde_json::from_str(leaf).unwrap();
            match record["t"].as_str().unwrap() {
                "hook.decision" => drop(decisions.insert(record["seq"].as_u64().unwrap())),
                // A busy machine can make a call's body late: a safe answer that is counted as a
                // refusal.
                "answer.gap" | "hook.rejected" => unrecorded += record["count"].as_u64().unwrap(),
                "answer.superseded" => {
                    assert!(decisions.remove(&record["decision"].as_u64().unwrap()), "{record}");
                    unrecorded += 1;
                }
                _ => {}
            }
        }
        Self { leaves, decisions, unrecorded }
    }

    /// Every answer that names a record is that record, to the byte.
    fn holds(&self, account: &Account) {
        for (index, told) in &account.decisions {
            let leaf = self.leaves.get(usize::try_from(*index).unwrap());
            let found = leaf.map(|leaf| leaf_hash(leaf));
            assert_eq!(found.as_ref(), Some(told), "record {index}: {leaf:?}");
            assert!(self.decisions.contains(index), "record {index} was taken back: {leaf:?}");
        }
    }
}

/// How often a caller calls.
const EVERY: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(60);
