//! Traces: what one call did, span by span, for whoever collects them by OpenTelemetry.
//!
//! Invariant: off unless a collector is configured, and free then; a trace is put together from what the ledger notes anyway, leaves after
//! the answer, waits in a bounded queue and is dropped and counted where that is full. It holds hook, stage, plugin, verdict and codes; nothing out of a
//! body. (The OpenTelemetry crates bring an HTTP client, protobuf and a registry of their own, and make spans as they go; a call here is
//! one list of stages that is known at its end.)

mod context;
mod export;
mod otlp;

use portcullis_trust::VerifiedPlugin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::HeaderMap;
use portcullis_model::{Millis, Mode};

use crate::config::TelemetryConfig;
use crate::error::StartError;
use crate::net::outbound::Outbound;
use crate::observe::budget::{Stage, StageTimer};
use crate::observe::metrics::nanos;
use crate::worker::Worker;

pub use context::Context;

/// The way to the collector.
pub struct Telemetry {
    queue: SyncSender<Box<Trace>>,
    ratio: f64,
    counts: Arc<Counts>,
    worker: Mutex<Option<Worker>>,
}

/// What became of traces.
#[derive(Default)]
pub struct Counts {
    /// Taken by the collector.
    pub exported: AtomicU64,
    /// Dropped: the queue was full, or the collector did not take them.
    pub dropped: AtomicU64,
}

/// One call's trace in the making.
pub struct Trace {
    /// Where it belongs.
    pub context: Context,
    /// The call's own span.
    pub span: [u8; 8],
    begin: Instant,
    received: Millis,
    hook: Arc<str>,
    kind: &'static str,
    generation: u64,
    parts: Vec<Part>,
    /// What came of it: a verdict, or the cause of a safe answer.
    pub outcome: Outcome,
    /// Its record.
    pub record: Option<u64>,
    status: u16,
    finished_after: Duration,
    delivered: bool,
    /// Whether the caller was authenticated: a stranger's wish to be traced counts for nothing.
    is_authenticated: bool,
}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing that is decided: a greeting, or the same answer again.
    Nothing,
    /// A decision.
    Verdict(&'static str),
    /// A safe answer or a refusal, for this cause.
    Cause(&'static str),
}

/// A part of a call that took time, from its beginning on.
struct Part {
    from: Duration,
    to: Duration,
    what: PartKind,
}

enum PartKind {
    Stage(Stage),
    Plugin { plugin: Arc<VerifiedPlugin>, mode: Mode, outcome: &'static str },
}

impl Telemetry {
    /// Starts the thread that exports.
    pub fn start(
        config: &TelemetryConfig,
        tenant: &str,
        outbound: &Arc<Outbound>,
    ) -> Result<Option<Self>, StartError> {
        let Some(collector) = &config.otlp else { return Ok(None) };
        let (queue, traces) = sync_channel(config.queue);
        let counts = Arc::new(Counts::default());
        let export = export::Exporter::new(collector, tenant, outbound, Arc::clone(&counts))?;
        let worker = Worker::spawn("telemetry", move |stop| export.run(&traces, &stop))?;
        let worker = Mutex::new(Some(worker));
        Ok(Some(Self { queue, ratio: config.sample_ratio, counts, worker }))
    }

    /// Begins a trace, if this call is to have one.
    pub fn begin(
        &self,
        headers: &HeaderMap,
        (hook, kind): (&Arc<str>, &'static str),
        generation: u64,
        (begin, received): (Instant, Millis),
    ) -> Option<Box<Trace>> {
        let context = Context::read(headers);
        let is_sampled = context.as_ref().is_some_and(|context| context.sampled);
        let context = context.unwrap_or_else(Context::random);
        if !is_sampled && !context.is_sampled_at(self.ratio) {
            return None;
        }
        Some(Box::new(Trace {
            context,
            span: context::random(),
            begin,
            received,
            hook: Arc::clone(hook),
            kind,
            generation,
            parts: Vec::with_capacity(16),
            outcome: Outcome::Nothing,
            record: None,
            status: 0,
            finished_after: Duration::ZERO,
            delivered: false,
            is_authenticated: false,
        }))
    }

    /// Sends a trace on its way.
    pub fn send(&self, trace: Box<Trace>) {
        // A stranger is traced as often as chance has it, whatever its header says.
        if !trace.is_authenticated && !trace.context.is_sampled_at(self.ratio) {
            return;
        }
        if self.queue.try_send(trace).is_err() {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What became of traces.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Gives the collector what is left and ends; bounded by the exporter's own time limit.
    pub fn stop(&self) {
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        worker.into_iter().for_each(Worker::stop);
    }
}

impl Trace {
    /// The caller has was authenticated.
    pub fn mark_authenticated(&mut self) {
        self.is_authenticated = true;
    }

    /// A plugin was asked, since then.
    pub fn span_plugin(
        &mut self,
        (plugin, mode): (Arc<VerifiedPlugin>, Mode),
        outcome: &'static str,
        since: Instant,
        spent: Duration,
    ) {
        let from = since.saturating_duration_since(self.begin);
        let what = PartKind::Plugin { plugin, mode, outcome };
        self.parts.push(Part { from, to: from + spent, what });
    }

    /// The answer is ready: the stages so far, one after the other.
    pub fn mark_ready(&mut self, stages: &StageTimer, status: u16, at: Instant) {
        self.status = status;
        self.finished_after = at.saturating_duration_since(self.begin);
        let mut from = Duration::ZERO;
        for (stage, spent) in stages.entries() {
            let to = from + Duration::from_nanos(*spent);
            self.parts.push(Part { from, to, what: PartKind::Stage(*stage) });
            from = to;
        }
    }

    /// A record was waited for.
    pub fn span_commit(&mut self, from: Instant, to: Instant) {
        self.span_stage(Stage::Commit, from, to.saturating_duration_since(from));
    }

    /// A stage that is not in the ledger.
    pub fn span_stage(&mut self, stage: Stage, since: Instant, spent: Duration) {
        let from = since.saturating_duration_since(self.begin);
        self.parts.push(Part { from, to: from + spent, what: PartKind::Stage(stage) });
    }

    /// The last byte has left, or cannot leave any more.
    pub fn finish(&mut self, delivered: bool, at: Instant) {
        let to = at.saturating_duration_since(self.begin);
        self.parts.push(Part {
            from: self.finished_after,
            to,
            what: PartKind::Stage(Stage::Write),
        });
        self.finished_after = to;
        self.delivered = delivered;
    }

    /// Nanoseconds since 1970.
    fn at(&self, since: Duration) -> u64 {
        self.received.0.saturating_mul(1_000_000).saturating_add(nanos(since))
    }
}
