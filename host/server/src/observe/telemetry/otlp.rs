//! Traces in the words of the OpenTelemetry protocol: JSON, version 1. <https://opentelemetry.io/docs/specs/otlp/>
//!
//! Invariant: ids are lower-case hexadecimal, 64-bit numbers are text, enumerations are numbers, as its JSON mapping has it.

use std::time::Duration;

use portcullis_model::hex;
use serde_json::{Value, json};

use super::context::random;
use super::{Outcome, Part, PartKind, Trace};

/// One request to a collector.
pub fn request(traces: &[Trace], tenant: &str) -> Value {
    let spans: Vec<_> = traces.iter().flat_map(spans).collect();
    let version = env!("CARGO_PKG_VERSION");
    json!({"resourceSpans": [{
        "resource": {"attributes": [
            text("service.name", "portcullis"), text("service.version", version), text("portcullis.tenant", tenant),
        ]},
        "scopeSpans": [{"scope": {"name": "portcullis", "version": version}, "spans": spans}],
    }]})
}

fn spans(trace: &Trace) -> Vec<Value> {
    let mut attributes = vec![
        text("portcullis.hook", &trace.hook),
        text("portcullis.kind", trace.kind),
        number("portcullis.generation", trace.generation),
        number("http.response.status_code", trace.status.into()),
        json!({"key": "portcullis.delivered", "value": {"boolValue": trace.delivered}}),
    ];
    if let Some(record) = trace.record {
        attributes.push(number("portcullis.record", record));
    }
    let status = match trace.outcome {
        Outcome::Nothing => json!({}),
        Outcome::Verdict(verdict) => {
            attributes.push(text("portcullis.verdict", verdict));
            json!({"code": OK})
        }
        Outcome::Cause(cause) => {
            attributes.push(text("portcullis.cause", cause));
            json!({"code": ERROR, "message": cause})
        }
    };
    let name = format!("hook {}", trace.hook);
    let mut root = span(
        trace,
        &trace.span,
        trace.context.parent.as_ref(),
        &name,
        (Duration::ZERO, trace.finished_after),
    );
    if let Some(root) = root.as_object_mut() {
        root.insert("kind".to_owned(), json!(SERVER));
        root.insert("attributes".to_owned(), attributes.into());
        root.insert("status".to_owned(), status);
    }
    let mut spans = vec![root];
    spans.extend(trace.parts.iter().map(|part| child(trace, part)));
    spans
}

fn child(trace: &Trace, part: &Part) -> Value {
    let time = (part.from, part.to);
    match &part.what {
        PartKind::Stage(stage) => span(trace, &random(), Some(&trace.span), stage.name(), time),
        PartKind::Plugin { plugin, mode, outcome } => {
            let manifest = &plugin.manifest;
            let mut span =
                span(trace, &random(), Some(&trace.span), &format!("plugin {}", manifest.id), time);
            let attributes = vec![
                text("portcullis.plugin", &manifest.id),
                text("portcullis.plugin.version", &manifest.version),
                text("portcullis.plugin.component", &manifest.wasm.to_string()),
                text("portcullis.mode", mode.name()),
                text("portcullis.outcome", outcome),
            ];
            if let Some(span) = span.as_object_mut() {
                span.insert("attributes".to_owned(), attributes.into());
            }
            span
        }
    }
}

fn span(
    trace: &Trace,
    id: &[u8; 8],
    parent: Option<&[u8; 8]>,
    name: &str,
    (from, to): (Duration, Duration),
) -> Value {
    let mut span = json!({
        "traceId": hex(&trace.context.trace), "spanId": hex(id), "name": name, "kind": INTERNAL,
        "startTimeUnixNano": trace.at(from).to_string(), "endTimeUnixNano": trace.at(to).to_string(),
    });
    if let Some(span) = span.as_object_mut() {
        if let Some(parent) = parent {
            span.insert("parentSpanId".to_owned(), hex(parent).into());
        }
        if !trace.context.state.is_empty() {
            span.insert("traceState".to_owned(), trace.context.state.as_str().into());
        }
    }
    span
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

fn number(key: &str, value: u64) -> Value {
    json!({"key": key, "value": {"intValue": value.to_string()}})
}

// `SpanKind` and `StatusCode` of the protocol.
const INTERNAL: u8 = 1;
const SERVER: u8 = 2;
const OK: u8 = 1;
const ERROR: u8 = 2;
