//! Resume calls: what a platform waits for after we answered that we heard.
//!
//! Invariants: a call is on disk before the answer that promises it leaves ([`spool`]), is made
//! after that answer has left, and its outcome is a record (`resume.done`, `resume.failed`) before
//! it is taken off the disk. A crash between makes a call twice, never not at all; the platform
//! refuses the second. At most [`MAX_CONCURRENT`] run at once, and each attempt has its time.

pub mod config;
mod spool;

use portcullis_model::Millis;
use portcullis_model::json::build_members;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use hyper::{Method, Request, StatusCode};
use portcullis_audit::{Entry, Log, SealKey};
use portcullis_hooks::Resume;
use portcullis_keys::KeyError;
use tokio::sync::Semaphore;
use tokio::time::timeout_at;

use crate::clock::{Clock, monotonic_now};
use crate::error::StartError;
use crate::logging::log_limit::LOG_LIMITS;
use crate::net::outbound::Outbound;
use crate::net::outbound::tokens::Tokens;
use crate::recorder::Recorder;
use crate::start_problems::{StartProblems, key_file};
use crate::worker_pool::WorkerPool;

use config::ResumeConfig;
use spool::{CommittedCall, Job, Spool};

pub use spool::Spooled;

/// Every platform that waits for calls of ours.
pub struct ResumeCalls {
    platforms: BTreeMap<String, Arc<Platform>>,
    /// The thread that writes to the disk.
    pool: WorkerPool,
}

struct Platform {
    name: String,
    config: ResumeConfig,
    spool: Arc<Spool>,
    tokens: Tokens,
    permits: Semaphore,
}

/// The result of one attempt.
enum Attempt {
    /// The platform took it.
    Done(u16),
    /// It did not come through, or not now: not before so long.
    Retry(Option<u16>, Duration),
    /// The platform does not want it.
    Rejected(u16),
}

/// The parts of the host that a resume call needs.
#[derive(Clone)]
pub struct ResumeContext {
    /// The log and the clock.
    pub recorder: Arc<Recorder>,
    /// The client for calls that the host makes.
    pub outbound: Arc<Outbound>,
    /// Returns trusted time.
    pub now: Arc<dyn Fn() -> Millis + Send + Sync>,
}

impl ResumeCalls {
    /// Reads the secrets once, so that what is wrong with them is found before a port is bound.
    ///
    /// # Errors
    /// [`StartError::File`].
    pub fn check(configs: &BTreeMap<String, ResumeConfig>) -> Result<(), StartError> {
        let mut problems = StartProblems::default();
        for config in configs.values() {
            let wrong = |path: &Path, error: KeyError| key_file("client secret", path, &error);
            if let Some(path) = &config.client_secret_file {
                let read = portcullis_keys::read_secret_lines(path);
                problems.keep(read.map_err(|error| wrong(path, error)));
            }
            if let Some(path) = &config.client_key_file {
                let read = portcullis_keys::read_secret_file(path);
                problems.keep(read.map_err(|error| wrong(path, error)));
            }
        }
        problems.result()
    }

    /// Opens the spools. Makes no call.
    pub fn open(
        configs: &BTreeMap<String, ResumeConfig>,
        tenant: &str,
        key: &SealKey,
        outbound: &Arc<Outbound>,
        clock: &Clock,
    ) -> Result<Self, StartError> {
        let mut platforms = BTreeMap::new();
        for (name, config) in configs {
            let token = config.token().map_err(|error| StartError::Tls(error.to_string()))?;
            let folder = config.spool.clone().unwrap_or_default();
            let spool = Spool::open(&folder, tenant, key).map_err(|error| StartError::File {
                what: "spool of resume calls",
                path: folder,
                why: error.to_string(),
                hint: None,
            })?;
            let tokens = Tokens::new(Arc::clone(outbound), clock.clone(), token);
            let (spool, permits) = (Arc::new(spool), Semaphore::new(MAX_CONCURRENT));
            let platform =
                Platform { name: name.clone(), config: config.clone(), spool, tokens, permits };
            platforms.insert(name.clone(), Arc::new(platform));
        }
        let pool = WorkerPool::new("resume", 1, MAX_QUEUED);
        Ok(Self { platforms, pool })
    }

    /// Puts a call of a hook on disk. Nothing where that is not done by then: the call must not be promised.
    pub async fn spool(
        &self,
        context: &ResumeContext,
        (hook, platform): (&str, Option<&str>),
        resume: Resume,
        of: Option<u64>,
        until: Instant,
    ) -> Option<Spooled> {
        let platform = self.platforms.get(platform?)?;
        let (spool, name, now) = (Arc::clone(&platform.spool), hook.to_owned(), (context.now)());
        // What is spooled after nobody waits any more is dropped with its receiver, and so taken away again.
        let put = self.pool.submit(move || spool.write(&name, resume, of, now)).ok()?;
        match timeout_at(until.into(), put).await {
            Ok(Ok(Ok(spooled))) => Some(spooled),
            Ok(Ok(Err(error))) => {
                if LOG_LIMITS.allows(SPOOL_FAILED, hook, monotonic_now()) {
                    tracing::error!(
                        event = SPOOL_FAILED,
                        hook,
                        %error,
                        "a resume call could not be stored: the hook answered that its callout \
                         failed; check the spool's disk"
                    );
                }
                None
            }
            Ok(Err(_)) | Err(_) => None,
        }
    }

    /// Makes what the last run left.
    pub fn resume_pending(&self, context: &ResumeContext) {
        for platform in self.platforms.values() {
            match platform.spool.pending() {
                Ok((left, aside)) => {
                    for file in &aside {
                        tracing::error!(
                            file = %file.display(),
                            event = "resume.unreadable",
                            "a stored resume call cannot be read and was moved aside: the platform \
                             waits until its own timeout"
                        );
                        context.recorder.append(Entry {
                            kind: "resume.failed",
                            fields: build_members(|fields| {
                                fields.text("platform", &platform.name).text("code", "unreadable");
                            }),
                            sealed: None,
                        });
                    }
                    left.into_iter().for_each(|spooled| start(context, platform, spooled));
                }
                Err(error) => {
                    tracing::error!(
                        platform = platform.name,
                        %error,
                        event = "resume.spool-unreadable",
                        "the spool of resume calls cannot be read; check its folder"
                    )
                }
            }
        }
    }

    /// Makes a call, now that the answer that promises it has left.
    pub fn start_call(&self, context: &ResumeContext, platform: Option<&str>, spooled: Spooled) {
        if let Some(platform) = platform.and_then(|name| self.platforms.get(name)) {
            start(context, platform, spooled);
        }
    }
}

fn start(context: &ResumeContext, platform: &Arc<Platform>, spooled: Spooled) {
    let (job, kept) = spooled.commit();
    let (own, platform) = (context.clone(), Arc::clone(platform));
    // Without a client any more the host ends, and the next start takes it up.
    drop(context.outbound.spawn(async move { platform.run(&own, job, kept).await }));
}

impl Platform {
    async fn run(&self, context: &ResumeContext, job: Job, kept: CommittedCall) {
        let (mut attempts, mut refusals) = (0_u32, 0);
        let mut wait = FIRST_BACKOFF;
        let end = loop {
            tokio::time::sleep(wait).await;
            let attempt = match self.permits.acquire().await {
                Ok(_place) => self.attempt(context, &job).await,
                Err(_) => return,
            };
            attempts = attempts.saturating_add(1);
            let (status, least) = match attempt {
                Attempt::Done(status) => break CallEnd { code: None, status: Some(status) },
                // It may not be waiting for us yet.
                Attempt::Rejected(status) if refusals + 1 < MAX_REJECTIONS => {
                    refusals += 1;
                    (Some(status), Duration::ZERO)
                }
                Attempt::Rejected(status) => {
                    break CallEnd { code: Some("refused"), status: Some(status) };
                }
                Attempt::Retry(status, least) => (status, least),
            };
            let waited = (context.now)().0.saturating_sub(job.at);
            if waited >= self.config.max_age_hours.saturating_mul(3_600_000) {
                break CallEnd { code: Some("expired"), status };
            }
            wait = backoff(attempts).max(least.min(MAX_BACKOFF));
        };
        if end.code.is_some() && LOG_LIMITS.allows(RESUME_FAILED, &self.name, monotonic_now()) {
            tracing::error!(
                event = RESUME_FAILED,
                platform = self.name,
                hook = job.hook,
                status = end.status,
                "a resume call failed and is not retried: the platform waits until its own timeout"
            );
        }
        finish(&context.recorder.log, &self.name, &end.entry(&self.name, &job, attempts), kept)
            .await;
    }

    async fn attempt(&self, context: &ResumeContext, job: &Job) -> Attempt {
        let again = |what: &str, error: &dyn std::fmt::Display| {
            if LOG_LIMITS.allows(RESUME_RETRIED, &self.name, monotonic_now()) {
                tracing::warn!(
                    event = RESUME_RETRIED,
                    platform = self.name,
                    hook = job.hook,
                    %error,
                    "{what}; the host tries again"
                );
            }
            Attempt::Retry(None, Duration::ZERO)
        };
        let until = monotonic_now() + Duration::from_millis(self.config.attempt_timeout_ms);
        let bearer = match self.tokens.get(until).await {
            Ok(bearer) => bearer,
            Err(error) => return again("the host got no token for a resume call", &error),
        };
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}{}", self.config.base_url, job.path))
            .header(AUTHORIZATION, bearer)
            .header(CONTENT_TYPE, "application/json")
            .body(Bytes::copy_from_slice(job.body.as_bytes()));
        // Its path is made of plain ids: the platform's own form of it.
        let Ok(request) = request else { return Attempt::Rejected(0) };
        let until = monotonic_now() + Duration::from_millis(self.config.attempt_timeout_ms);
        let answer = match context.outbound.send(request, until).await {
            Ok(answer) => answer,
            Err(error) => return again("a resume call failed", &error),
        };
        let status = answer.status();
        if status.is_success() {
            return Attempt::Done(status.as_u16());
        }
        if LOG_LIMITS.allows(RESUME_REFUSED, &self.name, monotonic_now()) {
            tracing::warn!(
                event = RESUME_REFUSED,
                platform = self.name,
                hook = job.hook,
                status = status.as_u16(),
                "the platform refused a resume call"
            );
        }
        let after =
            answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let after = Duration::from_secs(after.unwrap_or(0));
        match status {
            StatusCode::UNAUTHORIZED => {
                self.tokens.discard();
                Attempt::Retry(Some(status.as_u16()), after)
            }
            // A permission that is missing can be given.
            StatusCode::FORBIDDEN | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                Attempt::Retry(Some(status.as_u16()), after)
            }
            _ if status.is_client_error() => Attempt::Rejected(status.as_u16()),
            _ => Attempt::Retry(Some(status.as_u16()), after),
        }
    }
}

/// How a call ended.
struct CallEnd {
    /// Why it was given up; nothing where it was made.
    code: Option<&'static str>,
    /// The last status.
    status: Option<u16>,
}

impl CallEnd {
    fn entry(&self, platform: &str, job: &Job, attempts: u32) -> Entry {
        let fields = build_members(|fields| {
            fields
                .text("platform", platform)
                .text("hook", &job.hook)
                .number_or_null("decision", job.of)
                .number("attempts", attempts)
                .number_or_null("status", self.status);
            if let Some(code) = self.code {
                fields.text("code", code);
            }
        });
        let kind = if self.code.is_none() { "resume.done" } else { "resume.failed" };
        // Its path and body name who and what.
        let sealed = serde_json::json!({ "path": job.path, "body": job.body }).to_string();
        Entry { kind, fields, sealed: Some(sealed.into_bytes()) }
    }
}

/// Records how a call ended, and takes it off the disk once that record is durable. Tries again until the
/// log takes it: where the host ends before, the next start makes the call again.
async fn finish(log: &Log, platform: &str, entry: &Entry, kept: CommittedCall) {
    let mut wait = FIRST_BACKOFF;
    loop {
        let Entry { kind, fields, sealed } = entry;
        let again = Entry { kind, fields: fields.clone(), sealed: sealed.clone() };
        let why = match log.append(again) {
            Ok(pending) => match pending.await {
                Ok(_) => return kept.done(),
                Err(error) => error.to_string(),
            },
            Err(refused) => refused.to_string(),
        };
        if LOG_LIMITS.allows(RESUME_UNRECORDED, platform, monotonic_now()) {
            tracing::error!(
                event = RESUME_UNRECORDED,
                platform,
                why,
                "a resume call ended, but its record is not durable yet: the call stays in the \
                 spool until it is"
            );
        }
        tokio::time::sleep(wait).await;
        wait = wait.saturating_mul(2).min(MAX_RECORD_BACKOFF);
    }
}

/// 1 s, 2 s, 4 s, … up to [`MAX_BACKOFF`].
fn backoff(attempts: u32) -> Duration {
    FIRST_BACKOFF.saturating_mul(1 << attempts.min(16).saturating_sub(1)).min(MAX_BACKOFF)
}

/// How long after the answer the first attempt is made: the platform has to have it first.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// The longest between two attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(900);
/// The longest between two attempts to record how a call ended.
const MAX_RECORD_BACKOFF: Duration = Duration::from_secs(60);
/// Refusals after which a call is given up: the platform may not be waiting yet at the first.
const MAX_REJECTIONS: u32 = 4;
/// Calls to one platform at once.
const MAX_CONCURRENT: usize = 4;
/// Calls that may wait for the disk.
const MAX_QUEUED: usize = 256;
/// The event of a resume call that could not be written to the disk.
const SPOOL_FAILED: &str = "resume.spool-failed";
/// The event of a resume call that is made no more.
const RESUME_FAILED: &str = "resume.failed";
/// The event of a resume call that ended and has no durable record yet.
const RESUME_UNRECORDED: &str = "resume.not-recorded";
/// The event of a resume call that is made again later.
const RESUME_RETRIED: &str = "resume.retried";
/// The event of a resume call that the platform refused.
const RESUME_REFUSED: &str = "resume.refused";

#[cfg(test)]
mod tests {
    use portcullis_audit::{Options, Sealer};
    use portcullis_keys::{SecretKey, SymmetricKey};
    use portcullis_model::Millis;

    use super::*;

    #[test]
    fn waits_grow_to_a_bound() {
        let waits: Vec<_> =
            [1, 2, 3, 10, 11, 17, u32::MAX].map(|attempts| backoff(attempts).as_secs()).into();
        assert_eq!(waits, [1, 2, 4, 512, 900, 900, 900]);
    }

    #[test]
    fn a_leaf_names_nobody() {
        let job = Job {
            hook: "hr".into(),
            path: "/x/2f9d7a10/resume".into(),
            body: "{}".into(),
            of: Some(7),
            at: 1,
        };
        let done = CallEnd { code: None, status: Some(204) }.entry("graph", &job, 2);
        assert_eq!(
            (done.kind, &*done.fields),
            (
                "resume.done",
                r#""platform":"graph","hook":"hr","decision":7,"attempts":2,"status":204"#
            )
        );
        let failed = CallEnd { code: Some("expired"), status: None }.entry(
            "graph",
            &Job { of: None, ..job },
            9,
        );
        let fields = r#""platform":"graph","hook":"hr","decision":null,"attempts":9,"status":null,"code":"expired""#;
        assert_eq!((failed.kind, &*failed.fields), ("resume.failed", fields));
    }
    #[tokio::test]
    async fn a_call_stays_on_the_disk_until_its_outcome_is_durable() {
        let home = tempfile::tempdir().unwrap();
        let key = || SealKey::new(SymmetricKey::from_bytes([1; 32]));
        let spool = Arc::new(Spool::open(&home.path().join("spool"), "north", &key()).unwrap());
        let resume = Resume { path: "/x".to_owned(), body: "{}".to_owned() };
        let (job, kept) = spool.write("hr", resume, None, Millis(1)).unwrap().commit();
        let left = || std::fs::read_dir(home.path().join("spool")).unwrap().count();
        let signer = Arc::new(SecretKey::from_seed("log.example/2026", &[7; 32]).unwrap());
        let (folder, clock) = (home.path().join("audit"), Arc::new(|| 1_790_000_000_000.into()));
        let options = Options::new(folder, "north".to_owned(), signer, Sealer::new(key()), clock);
        let (log, _) = Log::open(Options { segment_bytes: 2 << 20, ..options }).unwrap();
        let entry = CallEnd { code: None, status: Some(204) }.entry("graph", &job, 1);
        finish(&log, "graph", &entry, kept).await;
        assert_eq!((left(), log.health().durable), (0, 1));
        log.close().unwrap();
        let resume = Resume { path: "/y".to_owned(), body: "{}".to_owned() };
        let (job, kept) = spool.write("hr", resume, None, Millis(2)).unwrap().commit();
        let entry = CallEnd { code: None, status: Some(204) }.entry("graph", &job, 1);
        let finish = finish(&log, "graph", &entry, kept);
        assert!(tokio::time::timeout(Duration::from_millis(20), finish).await.is_err());
        assert_eq!(left(), 1, "without a record the next start makes the call again");
    }
}
