//! The exporter: batches of traces to a collector by OTLP over HTTP.
//!
//! Invariant: a thread of its own; one request at a time, each within [`EXPORT_TIMEOUT`]; what the
//! collector does not take is dropped and counted, never kept for long and never waited for by a
//! call.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use bytes::Bytes;
use hyper::header::CONTENT_TYPE;
use hyper::{Request, Uri};
use tokio::runtime::Runtime;

use super::{Counts, Trace, otlp};
use crate::clock::monotonic_now;
use crate::error::StartError;
use crate::net::outbound::Outbound;
use crate::worker::StopToken;

/// Takes traces to a collector.
pub struct Exporter {
    traces: Uri,
    tenant: String,
    outbound: Arc<Outbound>,
    counts: Arc<Counts>,
    runtime: Runtime,
}

impl Exporter {
    /// For a collector: its base address, as `OTEL_EXPORTER_OTLP_ENDPOINT` has it.
    pub fn new(
        collector: &str,
        tenant: &str,
        outbound: &Arc<Outbound>,
        counts: Arc<Counts>,
    ) -> Result<Self, StartError> {
        let place = format!("{}/v1/traces", collector.trim_end_matches('/'));
        let wrong = |why: String| StartError::Collector { place: collector.to_owned(), why };
        outbound.may_call(&place).map_err(|error| wrong(error.to_string()))?;
        let traces = place.parse().map_err(|_| wrong("it is not a URL".to_owned()))?;
        let runtime =
            tokio::runtime::Builder::new_current_thread().build().map_err(StartError::Thread)?;
        Ok(Self {
            traces,
            tenant: tenant.to_owned(),
            outbound: Arc::clone(outbound),
            counts,
            runtime,
        })
    }

    /// Exports until the end: then what is left, as long as the collector takes it.
    pub fn run(&self, traces: &Receiver<Box<Trace>>, stop: &StopToken) {
        let mut failing = false;
        loop {
            // Asked before the queue is: what was put in before the end is still gathered.
            let stopping = stop.is_set();
            let (batch, over) = next_batch(traces);
            if !batch.is_empty() {
                let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
                let sent = self.runtime.block_on(self.send(&batch));
                match sent {
                    Ok(()) => {
                        self.counts.exported.fetch_add(count, Ordering::Relaxed);
                        if std::mem::take(&mut failing) {
                            tracing::info!(
                                event = "telemetry.resumed",
                                "the trace collector accepts traces again"
                            );
                        }
                    }
                    Err(why) => {
                        self.counts.dropped.fetch_add(count, Ordering::Relaxed);
                        if !std::mem::replace(&mut failing, true) {
                            tracing::warn!(
                                why,
                                event = "telemetry.unavailable",
                                "the trace collector does not accept traces; the host drops traces \
                                 until it does"
                            );
                        }
                    }
                }
            }
            if over || (stopping && (batch.is_empty() || failing)) {
                return;
            }
        }
    }

    async fn send(&self, batch: &[Trace]) -> Result<(), String> {
        let body = Bytes::from(otlp::request(batch, &self.tenant).to_string());
        let request = Request::post(self.traces.clone()).header(CONTENT_TYPE, "application/json");
        let request = request.body(body).map_err(|error| error.to_string())?;
        let answer = self
            .outbound
            .send(request, monotonic_now() + EXPORT_TIMEOUT)
            .await
            .map_err(|error| error.to_string())?;
        if answer.status().is_success() {
            Ok(())
        } else {
            Err(format!("the collector answered {}", answer.status().as_u16()))
        }
    }
}

/// Returns the traces of a short time, up to a batch, and whether no more can come.
fn next_batch(traces: &Receiver<Box<Trace>>) -> (Vec<Trace>, bool) {
    let mut batch = Vec::new();
    let until = monotonic_now() + BATCH_TIMEOUT;
    while batch.len() < MAX_BATCH {
        match traces.recv_timeout(until.saturating_duration_since(monotonic_now())) {
            Ok(trace) => batch.push(*trace),
            Err(RecvTimeoutError::Timeout) => break,
            Err(RecvTimeoutError::Disconnected) => return (batch, true),
        }
    }
    (batch, false)
}

/// Traces of one request.
const MAX_BATCH: usize = 256;
/// How long a batch is gathered.
const BATCH_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a collector has for a batch.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
