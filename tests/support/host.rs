//! A host that serves a deployment, as a process of its own.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::deployment::SECRET;
use crate::{Answer, Client, Import, Log, LogEvent, LogLine, Raw, SignIn, binary};

/// A serving host; killed when dropped.
pub struct Host {
    child: Mutex<Child>,
    /// The number of the process that was started.
    started: u32,
    address: String,
    admin: String,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

#[expect(clippy::unwrap_used, reason = "a host that cannot be started is a failed test")]
impl Host {
    /// Starts the host in a deployment's directory.
    pub fn start(directory: &Path) -> Self {
        Self::start_with(directory, Command::new(binary()))
    }

    /// Starts the host under another command, which gets `serve …` as its last arguments.
    pub fn start_with(directory: &Path, command: Command) -> Self {
        let host = Self::begin_with(directory, command);
        host.until_started();
        host
    }

    /// Starts the host under another command, and does not wait until calls get decisions: only
    /// until the port answers.
    pub fn begin_with(directory: &Path, command: Command) -> Self {
        Self::spawn(directory, command, &["--log-format", "json"], 2)
    }

    /// Starts a host whose admin listener is turned off.
    pub fn start_alone(directory: &Path) -> Self {
        let json = ["--log-format", "json"];
        let host = Self::spawn(directory, Command::new(binary()), &json, 1);
        host.until_started();
        host
    }

    /// Starts the host with its log as text, which is what an operator gets who asks for nothing.
    pub fn start_with_text_log(directory: &Path) -> Self {
        let host = Self::spawn(directory, Command::new(binary()), &[], 2);
        host.until_started();
        host
    }

    fn spawn(directory: &Path, mut command: Command, options: &[&str], lines: usize) -> Self {
        command
            .current_dir(directory)
            .args(["serve", "--config", "portcullis.toml"])
            .args(options)
            .env("PORTCULLIS_LOG", "debug");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let reader = {
            let (log, err) = (Arc::clone(&log), child.stderr.take().unwrap());
            thread::spawn(move || {
                for line in BufReader::new(err).lines().map_while(Result::ok) {
                    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                    log.push_str(&line);
                    log.push('\n');
                }
            })
        };
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut place = || {
            let mut line = String::new();
            out.read_line(&mut line).unwrap();
            line.trim().rsplit(' ').next().unwrap_or_default().to_owned()
        };
        let address = place();
        let admin = if lines > 1 { place() } else { String::new() };
        // Drained, so that the host never waits for us.
        thread::spawn(move || drop(out.read_to_end(&mut Vec::new())));
        let started = child.id();
        let child = Mutex::new(child);
        let mut host = Self { child, started, address, admin, log, reader: Some(reader) };
        if host.address.is_empty() {
            drop(host.process().wait());
            host.reader.take().map(JoinHandle::join).transpose().unwrap();
            panic_with(&host.log());
        }
        host
    }

    /// Waits until the start has finished: a release is active, or there is none.
    #[track_caller]
    pub fn until_started(&self) {
        self.wait_for("start.finished");
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns what `/status` says of memory, once its file holds all that the log has.
    #[expect(clippy::panic, reason = "a file that is never written is a failed test")]
    pub fn settled_memory(&self) -> Value {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(30) {
            let mut status = self.admin("/status").json;
            if status["memory"]["stored"] == status["log"]["next"] {
                return status["memory"].take();
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("the file of memory was not written")
    }

    /// What the admin listener says.
    pub fn admin(&self, path: &str) -> Answer {
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.admin);
        Client::new(&self.admin).say(request.as_bytes()).unwrap()
    }

    /// Where the admin listener is.
    pub fn admin_address(&self) -> &str {
        &self.admin
    }

    /// A metric's value, by its name and labels as they stand on the page.
    pub fn metric(&self, sample: &str) -> f64 {
        let page = self.admin("/metrics").body;
        let page = String::from_utf8(page).unwrap();
        let line = page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic_with(&format!("no metric `{sample}`:\n{page}")))
            .parse()
            .unwrap()
    }

    /// The samples of a metric that are not zero: labels as they stand on the page, and the value.
    pub fn samples(&self, metric: &str) -> BTreeMap<String, f64> {
        let page = String::from_utf8(self.admin("/metrics").body).unwrap();
        let sample = |line: &str| {
            let (labels, value) =
                line.strip_prefix(metric)?.strip_prefix('{')?.rsplit_once("} ")?;
            let value: f64 = value.parse().unwrap();
            (value != 0.0).then(|| (labels.to_owned(), value))
        };
        page.lines().filter_map(sample).collect()
    }

    /// The host's process, also where it runs under another command.
    pub fn id(&self) -> u32 {
        let started = self.started;
        let children = fs::read_to_string(format!("/proc/{started}/task/{started}/children"))
            .unwrap_or_default();
        children.split(' ').find_map(|child| child.parse().ok()).unwrap_or(started)
    }

    /// The programs that it has started and that have not ended: those that make plugins.
    pub fn children(&self) -> Vec<String> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.id())).unwrap().flatten();
        let children =
            threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
        children
            .flat_map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
            .collect()
    }

    /// A caller with a connection of its own.
    pub fn client(&self) -> Client {
        Client::new(&self.address)
    }

    /// A request to a hook, with the right secret.
    pub fn request(&self, hook: &str, body: &[u8]) -> Raw {
        Raw::post(&format!("/okta/{hook}"), SECRET, body)
    }

    /// Posts bytes to a hook with the right secret, on a connection of their own.
    pub fn post(&self, hook: &str, body: &[u8]) -> Answer {
        self.client().send(&self.request(hook, body)).unwrap()
    }

    /// Somebody signs in.
    pub fn sign_in(&self, sign_in: &SignIn) -> Answer {
        self.post("token", &sign_in.bytes())
    }

    /// Somebody is imported.
    pub fn import(&self, import: &Import) -> Answer {
        self.post("import", &import.bytes())
    }

    /// What it logged so far.
    pub fn log(&self) -> Log {
        Log::of(&self.log.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -{name} \"$0\""), &self.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// Waits for a line with this event, from the host's start on, and returns the first.
    #[track_caller]
    pub fn wait_for(&self, event: impl Into<LogEvent>) -> LogLine {
        self.wait_for_within(event, PATIENCE)
    }

    /// The same, for something that takes its time.
    #[track_caller]
    pub fn wait_for_within(&self, event: impl Into<LogEvent>, patience: Duration) -> LogLine {
        let event = event.into();
        self.wait(&event.to_string(), patience, |log| log.first(&event))
    }

    /// Waits until so many lines have this event.
    #[track_caller]
    pub fn wait_for_times(&self, event: impl Into<LogEvent>, times: usize) {
        let event = event.into();
        self.wait(&format!("{event}, {times} times"), PATIENCE, |log| {
            (log.count(&event) >= times).then_some(())
        });
    }

    /// Has it reload and poll its folders now, and returns what it logs until a line has one of
    /// these events.
    #[track_caller]
    pub fn reload_until<E: Into<LogEvent>>(&self, events: impl IntoIterator<Item = E>) -> Log {
        let events: Vec<LogEvent> = events.into_iter().map(Into::into).collect();
        let before = self.log().len();
        self.signal("HUP");
        let names: Vec<_> = events.iter().map(LogEvent::to_string).collect();
        self.wait(&names.join(" or "), PATIENCE, |log| {
            let log = log.after(before);
            events.iter().any(|event| log.has(event)).then_some(log)
        })
    }

    /// Waits until its log has what is looked for. A host that has ended logs no more, and fails
    /// the test at once.
    #[track_caller]
    fn wait<T>(&self, what: &str, patience: Duration, found: impl Fn(&Log) -> Option<T>) -> T {
        let begin = Instant::now();
        let mut seen = None;
        loop {
            // Asked before the log is read, which is read to its end then.
            let ended = self.process().try_wait().unwrap();
            let read_out = self.reader.as_ref().is_none_or(JoinHandle::is_finished);
            let log = self.log();
            if seen != Some(log.len()) {
                seen = Some(log.len());
                if let Some(found) = found(&log) {
                    return found;
                }
            }
            if let Some(status) = ended.filter(|_| read_out) {
                panic_with(&format!("it ended with {status} and never logged {what}:\n{log}"));
            }
            if begin.elapsed() > patience {
                panic_with(&format!("it did not log {what} within {patience:?}:\n{log}"));
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn process(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops it in order and gives its log.
    pub fn stop(self) -> Log {
        self.signal("TERM");
        self.ended()
    }

    /// Waits for the end of a host that was told to stop, and gives its log.
    pub fn ended(mut self) -> Log {
        let status = self.process().wait().unwrap();
        self.reader.take().map(JoinHandle::join).transpose().unwrap();
        assert!(status.success(), "the host ended with {status}:\n{}", self.log());
        self.log()
    }

    /// Kills it: no handler runs, nothing is written any more.
    pub fn kill(self) {
        // At once where it is our own child; by its number where it runs under another command.
        if self.id() == self.started {
            self.process().kill().unwrap()
        } else {
            self.signal("KILL")
        }
        self.process().wait().unwrap();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Only while it runs is its number surely its own. Under another command it would outlive that.
        if matches!(self.process().try_wait(), Ok(None)) {
            drop(
                Command::new("sh")
                    .args(["-c", "kill -KILL \"$0\"", &self.id().to_string()])
                    .stderr(Stdio::null())
                    .status(),
            );
        }
        let mut child = self.process();
        drop(child.kill());
        drop(child.wait());
    }
}

#[expect(clippy::panic, reason = "a host that does not do what it must is a failed test")]
#[track_caller]
fn panic_with(what: &str) -> ! {
    panic!("the host does not do what it must: {what}");
}

/// How long a test waits for a line of the log before it fails. No test depends on it: compiling a
/// plugin in JavaScript takes a minute where four other builds share two cores.
const PATIENCE: Duration = Duration::from_secs(300);
