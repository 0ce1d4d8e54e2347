//! The sources of reference tables that the host downloads: when each is asked, and with which
//! result.
//!
//! Invariant: a source is asked at most once at a time; after a failure it is asked again with a
//! pause that grows up to its own interval. What arrives lies in the host's own folder, whole, with
//! its signature, and is then checked, held and recorded as every file is. Runs on a thread that
//! may hang, never on one that calls wait for.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use hyper::header::HeaderValue;
use jiff::Timestamp;
use portcullis_files::{Stamp, write_atomic};
use portcullis_store::tables::Declaration;
use tokio::runtime::Builder;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::download::{Downloaded, Job, NewFile, SourceProblem};
use super::files::set_data_time;
use super::signed::{MAX_SIGNATURE_BYTES, signature_path};
use crate::clock::monotonic_now;
use crate::config::Config;
use crate::config::tables::{MAX_DOWNLOADS, TableAccess};
use crate::error::StartError;
use crate::net::outbound::{Outbound, OutboundConfig};
use crate::start_problems::{StartProblems, key_file};

/// The sources of all tables.
pub struct TableSources {
    outbound: Arc<Outbound>,
    /// The clients of tables whose sources have certificate authorities of their own.
    clients: BTreeMap<String, Arc<Outbound>>,
    access: BTreeMap<String, TableAccess>,
    states: Mutex<BTreeMap<String, State>>,
    /// Held while files of the host's own folder are exchanged, and while tables are read, so that
    /// a file is never seen beside another one's signature.
    exchange: Mutex<()>,
}

/// The state of one source.
struct State {
    url: String,
    etag: Option<HeaderValue>,
    due: Instant,
    failures: u32,
    problem: Option<SourceProblem>,
    is_running: bool,
    /// Whether it is to be asked again as soon as it has answered.
    is_requested: bool,
}

impl TableSources {
    /// Reads what the configuration names for sources; asks none of them.
    ///
    /// # Errors
    /// Files of secrets and authorities that are of no use.
    pub fn load(config: &Config, outbound: &Arc<Outbound>) -> Result<Self, StartError> {
        let mut problems = StartProblems::default();
        let mut clients = BTreeMap::new();
        for (name, access) in &config.tables {
            if let Some((_, file)) = &access.credential {
                let what = "secret of a table's source";
                let read = portcullis_keys::read_secret_lines(file);
                problems.keep(read.map(drop).map_err(|error| key_file(what, file, &error)));
            }
            if access.ca_file.is_some() {
                let config = OutboundConfig { ca_file: access.ca_file.clone(), cache: None };
                let client = problems.keep(Outbound::new(&config));
                clients.extend(client.map(|client| (name.clone(), Arc::new(client))));
            }
        }
        problems.result()?;
        Ok(Self {
            outbound: Arc::clone(outbound),
            clients,
            access: config.tables.clone(),
            states: Mutex::default(),
            exchange: Mutex::default(),
        })
    }

    /// Waits until no file is exchanged, and lets none be until this is dropped.
    pub fn hold_files(&self) -> MutexGuard<'_, ()> {
        self.exchange.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the downloads that are due, or all where `is_requested`; each is running from here
    /// on. `tables` are the declarations of the active set, `folder` is where versions lie.
    pub fn due(
        &self,
        tables: Vec<Declaration>,
        folder: &Path,
        is_requested: bool,
    ) -> Vec<(String, Job)> {
        let now = monotonic_now();
        let mut states = self.states();
        let mut jobs = Vec::new();
        for declaration in tables {
            let Some(url) = declaration.source.as_ref().and_then(|it| it.url.clone()) else {
                continue;
            };
            let name = declaration.name.clone();
            let state = states.entry(name.clone()).or_insert_with(|| State::new(url.clone(), now));
            if state.is_running {
                state.is_requested |= is_requested;
                continue;
            }
            if state.url != url {
                *state = State::new(url.clone(), now);
            }
            if now < state.due && !is_requested {
                continue;
            }
            state.is_running = true;
            let path = folder.join(&name);
            // Another version than the one with the tag, or none, may lie there.
            let etag = state.etag.clone().filter(|_| Stamp::of(&path).is_some());
            let access = self.access.get(&name).cloned();
            let client = Arc::clone(self.clients.get(&name).unwrap_or(&self.outbound));
            jobs.push((name, Job { declaration, path, access, client, etag }));
        }
        jobs
    }

    /// Makes downloads and puts what they bring into its place. Blocks until all have ended.
    /// Returns whether a file is another one, or newer.
    pub fn run(self: &Arc<Self>, jobs: Vec<(String, Job)>, now: Timestamp) -> bool {
        let names: Vec<_> = jobs.iter().map(|(name, _)| name.clone()).collect();
        let changed = match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(self.run_all(jobs, now)),
            Err(error) => {
                let problem = SourceProblem::Disk(format!("no thread for downloads: {error}"));
                names
                    .iter()
                    .for_each(|name| self.note(name, DEFAULT_INTERVAL, Err(problem.clone())));
                false
            }
        };
        let mut states = self.states();
        for name in names {
            // Also where a download ended without a word.
            if let Some(state) = states.get_mut(&name) {
                state.is_running = false;
            }
        }
        changed
    }

    /// Notes that downloads could not be begun; they stay due.
    pub fn put_off(&self, names: &[String]) {
        let mut states = self.states();
        for name in names {
            if let Some(state) = states.get_mut(name) {
                (state.is_running, state.due) = (false, monotonic_now());
            }
        }
    }

    /// Returns the problem of a table's source, where its last answer was one.
    pub fn problem(&self, name: &str) -> Option<SourceProblem> {
        self.states().get(name)?.problem.clone()
    }

    async fn run_all(self: &Arc<Self>, jobs: Vec<(String, Job)>, now: Timestamp) -> bool {
        let (mut running, places) = (JoinSet::new(), Arc::new(Semaphore::new(MAX_DOWNLOADS)));
        for (name, job) in jobs {
            let (sources, places) = (Arc::clone(self), Arc::clone(&places));
            running.spawn(async move {
                let _place = places.acquire_owned().await;
                let done = job.run().await;
                let done = done.and_then(|downloaded| sources.install(&job, downloaded, now));
                let interval = interval(&job.declaration);
                let changed = matches!(done, Ok((_, true)));
                sources.note(&name, interval, done.map(|(etag, _)| etag));
                changed
            });
        }
        let mut changed = false;
        while let Some(done) = running.join_next().await {
            changed |= done.unwrap_or(false);
        }
        changed
    }

    /// Puts a download into its place. Returns the new entity tag, where there is a new version,
    /// and whether anything has changed.
    fn install(
        &self,
        job: &Job,
        downloaded: Downloaded,
        now: Timestamp,
    ) -> Result<(Option<Option<HeaderValue>>, bool), SourceProblem> {
        let Downloaded { file, signature, modified } = downloaded;
        let data_at = modified.map_or(now, |it| it.min(now));
        let etag = file.as_ref().map(|file| file.etag.clone());
        let is_new = file.is_some();
        if let Some(file) = &file {
            tracing::info!(
                event = "table.downloaded",
                table = job.declaration.name,
                bytes = file.bytes,
                "the host downloaded a version of a reference table"
            );
        }
        let resigned = self.put(&job.path, file, signature.as_deref(), data_at)?;
        if is_new || resigned {
            return Ok((etag, true));
        }
        // The source says that its data are those that lie here: without a time of their own they
        // are as new as its answer. Each touch has the file read again, so it waits a while.
        let written = Stamp::of(&job.path).map_or(i64::MIN, |stamp| stamp.written());
        let age = data_at.as_second().saturating_sub(written);
        let grace = i64::try_from(job.declaration.max_age_seconds / 4).unwrap_or(i64::MAX);
        if modified.is_none() && age > grace {
            set_data_time(&job.path, data_at).map_err(|it| SourceProblem::Disk(it.to_string()))?;
            return Ok((None, true));
        }
        Ok((None, false))
    }

    /// Puts a version and its signature into their places, both or, where the disk fails, perhaps
    /// the signature alone, which then fits no file. Returns whether the signature is another one.
    pub fn put(
        &self,
        path: &Path,
        file: Option<NewFile>,
        signature: Option<&[u8]>,
        data_at: Timestamp,
    ) -> Result<bool, SourceProblem> {
        let disk = |error: std::io::Error| SourceProblem::Disk(error.to_string());
        let _files = self.hold_files();
        let mut resigned = false;
        if let Some(signature) = signature {
            let place = signature_path(path);
            let before = portcullis_files::read_bounded(&place, MAX_SIGNATURE_BYTES);
            resigned = !before.is_ok_and(|before| before == signature);
            if resigned {
                write_atomic(&place, signature, 0o600).map_err(disk)?;
            }
        }
        if let Some(file) = file {
            file.install(path, SystemTime::from(data_at))?;
        }
        Ok(resigned)
    }

    /// Notes the result of a download; a problem that is new is logged.
    fn note(
        &self,
        name: &str,
        interval: Duration,
        done: Result<Option<Option<HeaderValue>>, SourceProblem>,
    ) {
        let mut states = self.states();
        let Some(state) = states.get_mut(name) else { return };
        state.is_running = false;
        match done {
            Ok(etag) => {
                if state.problem.take().is_some() {
                    tracing::info!(
                        event = "table.source-answers",
                        table = name,
                        "the source of a reference table answers again"
                    );
                }
                state.etag = etag.unwrap_or_else(|| state.etag.clone());
                (state.failures, state.due) = (0, monotonic_now() + interval);
            }
            Err(problem) => {
                state.failures = state.failures.saturating_add(1);
                state.due = monotonic_now() + pause(state.failures, interval);
                if state.problem.as_ref() != Some(&problem) {
                    tracing::warn!(
                        event = "table.not-downloaded",
                        table = name,
                        code = problem.code(),
                        %problem,
                        hint = problem.hint(),
                        "a reference table could not be downloaded; the version before it stays in \
                         use until it is stale"
                    );
                    state.problem = Some(problem);
                }
            }
        }
        if std::mem::take(&mut state.is_requested) {
            state.due = monotonic_now();
        }
    }

    fn states(&self) -> MutexGuard<'_, BTreeMap<String, State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new(url: String, due: Instant) -> Self {
        Self {
            url,
            etag: None,
            due,
            failures: 0,
            problem: None,
            is_running: false,
            is_requested: false,
        }
    }
}

/// The interval of a table's downloads.
fn interval(declaration: &Declaration) -> Duration {
    let seconds = declaration.source.as_ref().map(|it| u64::from(it.every_seconds));
    seconds.map_or(DEFAULT_INTERVAL, Duration::from_secs)
}

/// The pause after so many failures in a row: it doubles, up to the interval.
fn pause(failures: u32, interval: Duration) -> Duration {
    let doublings = failures.saturating_sub(1).min(MAX_DOUBLINGS);
    FIRST_PAUSE.saturating_mul(1 << doublings).min(interval.max(FIRST_PAUSE))
}

/// The pause after the first failure.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// Doublings of that pause: 5 seconds to 1 1/2 hours.
const MAX_DOUBLINGS: u32 = 10;
/// The interval where a declaration has none any more.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(900);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_interval() {
        let seconds = |failures, interval| pause(failures, Duration::from_secs(interval)).as_secs();
        assert_eq!([1, 2, 3].map(|failures| seconds(failures, 900)), [5, 10, 20]);
        assert_eq!(seconds(u32::MAX, 900), 900);
        assert_eq!(seconds(u32::MAX, 86_400), 5_120);
        assert_eq!(seconds(1, 1), 5, "a source that fails is never asked more often");
    }
}
