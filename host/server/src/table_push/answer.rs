//! One push, from its head to its answer.
//!
//! Invariant: a client that is not authenticated learns nothing but that; the answer to a client
//! that is has every problem by row and column, and never the content of a cell. At most one push
//! of a table is in progress.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::header::{WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use hyper::{Method, Request, Response, StatusCode};
use portcullis_call_data::timestamp;
use portcullis_model::escape::escape_lines;
use portcullis_store::tables::{Declaration, Table};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use tokio::time::timeout_at;

use super::Pushes;
use crate::clock::monotonic_now;
use crate::logging::log_limit::LOG_LIMITS;
use crate::net::tls::Peer;
use crate::state::host::Host;
use crate::tables::download::{NewFile, Receiver, SourceProblem};
use crate::tables::{MAX_SIGNATURE_BYTES, TableProblem};

/// The tables that are being pushed.
#[derive(Default)]
pub struct InProgress(Mutex<BTreeSet<String>>);

/// The place of one push among those in progress.
struct PushPlace<'p>(&'p InProgress, &'p str);

/// An answer that ends a push early.
struct Refused(StatusCode, Value);

/// Answers a request. Ends by `until`.
pub async fn answer(
    pushes: &Pushes,
    peer: Option<&Peer>,
    request: Request<Incoming>,
    until: Instant,
) -> Response<Full<Bytes>> {
    let name = request.uri().path().strip_prefix("/tables/").unwrap_or_default().to_owned();
    let Some(authenticator) = pushes.host.callers.tables.of(&name) else {
        let text = "no table of this name may be pushed: the path is /tables/NAME, and [tables.NAME] \
                    has `push`";
        return reply(StatusCode::NOT_FOUND, &json!({"code": "table-unknown", "problem": text}));
    };
    let now = pushes.host.trust.time.for_calls();
    let caller = match authenticator.check(request.headers(), peer, now, until).await {
        Ok(caller) => caller,
        Err(error) => {
            if LOG_LIMITS.allows("table.push-rejected", &name, monotonic_now()) {
                tracing::warn!(
                    event = "table.push-rejected",
                    table = name,
                    reason = error.code(),
                    "a push of a reference table was rejected because its client could not be \
                     authenticated"
                );
            }
            let body =
                json!({"code": "unauthenticated", "problem": "the client is not authenticated"});
            let mut response = reply(StatusCode::UNAUTHORIZED, &body);
            response.headers_mut().insert(WWW_AUTHENTICATE, authenticator.challenge().clone());
            return response;
        }
    };
    if request.method() != Method::PUT {
        let body = json!({"code": "method", "problem": "a table is pushed with PUT"});
        let mut response = reply(StatusCode::METHOD_NOT_ALLOWED, &body);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("PUT"));
        return response;
    }
    tracing::info!(
        event = "table.push-began",
        table = name,
        caller = %caller.name(),
        "a client pushes a version of a reference table"
    );
    match push(pushes, &name, request, until).await {
        Ok((status, body)) => reply(status, &body),
        Err(Refused(status, body)) => reply(status, &body),
    }
}

async fn push(
    pushes: &Pushes,
    name: &str,
    request: Request<Incoming>,
    until: Instant,
) -> Result<(StatusCode, Value), Refused> {
    let host = &pushes.host;
    let _place = pushes.in_progress.enter(name).ok_or_else(|| {
        let why = "another push of this table is in progress";
        refused(StatusCode::CONFLICT, name, "table-push-in-progress", why)
    })?;
    let active_config = host.active_config.load_full();
    let declared = active_config.generation.as_ref().and_then(|it| it.tables.declaration(name));
    let is_pushed = |it: &Declaration| it.source.as_ref().is_some_and(|source| source.push);
    let declaration = declared.filter(is_pushed).ok_or_else(|| {
        let why = "the active release set declares no table of this name that is pushed";
        refused(StatusCode::CONFLICT, name, "table-not-declared", why)
    })?;
    let signature = signature(request.headers(), name)?;
    let path = active_config.config.table_folders().received.join(name);
    let mut receiver = Receiver::create(&path, declaration.max_bytes)
        .map_err(|problem| of_source(name, &problem))?;
    let told = request.headers().get(CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse().ok());
    if told.is_some_and(|told: u64| told > declaration.max_bytes) {
        return Err(of_source(name, &SourceProblem::TooLarge(declaration.max_bytes)));
    }
    let mut body = request.into_body();
    loop {
        let incomplete = || {
            refused(
                StatusCode::BAD_REQUEST,
                name,
                "table-incomplete",
                "the body did not arrive whole",
            )
        };
        let frame = timeout_at(until.into(), body.frame()).await.map_err(|_| incomplete())?;
        match frame {
            None => break,
            Some(Err(_)) => return Err(incomplete()),
            Some(Ok(frame)) => {
                if let Ok(piece) = frame.into_data() {
                    receiver.write(&piece).map_err(|problem| of_source(name, &problem))?;
                }
            }
        }
    }
    let file = receiver.finish().map_err(|problem| of_source(name, &problem))?;
    let (bytes, its_host, its_name) = (file.bytes, Arc::clone(host), name.to_owned());
    tracing::info!(
        event = "table.pushed",
        table = name,
        bytes,
        "a version of a reference table was pushed"
    );
    let taking = spawn_blocking(move || take(&its_host, &its_name, &path, file, signature));
    match timeout_at(until.into(), taking).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(refused(
            StatusCode::INTERNAL_SERVER_ERROR,
            name,
            "table-not-read",
            "the host failed to read the table",
        )),
        Err(_) => {
            let why = "the host has the version and goes on reading it: see /status";
            Ok((StatusCode::ACCEPTED, json!({"table": name, "state": "pending", "problem": why})))
        }
    }
}

/// Puts a pushed version into its place and has it read. Blocks on the disk and on the log.
fn take(
    host: &Host,
    name: &str,
    path: &std::path::Path,
    file: NewFile,
    signature: Option<Vec<u8>>,
) -> Result<(StatusCode, Value), Refused> {
    let data_at = timestamp(host.clock.now());
    host.release
        .tables
        .put(path, Some(file), signature.as_deref(), data_at)
        .map_err(|problem| of_source(name, &problem))?;
    host.read_tables();
    let active_config = host.active_config.load();
    let outcome = active_config.generation.as_ref().map(|it| it.tables.outcome(name));
    match outcome {
        Some((None, Some(table))) => Ok((StatusCode::OK, used(&table))),
        Some((Some(problem), _)) => Ok(of_problem(name, &problem)),
        _ => Err(refused(
            StatusCode::SERVICE_UNAVAILABLE,
            name,
            "table-not-read",
            "the release changed meanwhile: push the table again",
        )),
    }
}

/// The answer for a version that is used.
fn used(table: &Table) -> Value {
    json!({
        "table": table.name(), "state": "used", "version": table.version().to_string(),
        "rows": table.rows(),
    })
}

/// The answer for a version that is not.
fn of_problem(name: &str, problem: &TableProblem) -> (StatusCode, Value) {
    let (status, state) = match problem {
        TableProblem::Held { .. } => (StatusCode::ACCEPTED, "held"),
        TableProblem::Rows(_) | TableProblem::Signature { .. } => {
            (StatusCode::BAD_REQUEST, "refused")
        }
        TableProblem::NotPinned { .. } | TableProblem::Older(_) => {
            (StatusCode::CONFLICT, "refused")
        }
        _ => (StatusCode::SERVICE_UNAVAILABLE, "refused"),
    };
    let mut body = json!({
        "table": name, "state": state, "code": problem.code(), "hint": problem.hint(),
    });
    let (problems, more) = match problem {
        TableProblem::Rows(rows) => {
            let of_row = |it: &portcullis_store::tables::TableProblem| {
                json!({
                    "row": it.place.row, "column": it.place.column,
                    "problem": it.problem.to_string(),
                })
            };
            (rows.problems.iter().map(of_row).collect(), rows.more)
        }
        other => (vec![json!({"problem": other.to_string()})], 0),
    };
    if let Some(members) = body.as_object_mut() {
        members.insert("problems".to_owned(), Value::Array(problems));
        members.insert("more".to_owned(), more.into());
    }
    (status, body)
}

/// The answer to a body that could not be stored.
fn of_source(name: &str, problem: &SourceProblem) -> Refused {
    match problem {
        SourceProblem::TooLarge(most) => {
            let why = format!("the body is larger than {most} bytes, the table's `max_bytes`");
            refused(StatusCode::PAYLOAD_TOO_LARGE, name, "table-too-large", &why)
        }
        // Its text may name a file of the host.
        _ => {
            tracing::error!(
                event = "table.push-not-stored",
                table = name,
                %problem,
                hint = problem.hint(),
                "a pushed version of a reference table could not be stored"
            );
            let why = "the host could not store the table; its log has the reason";
            refused(StatusCode::SERVICE_UNAVAILABLE, name, "table-not-stored", why)
        }
    }
}

/// The signature that comes in a header: the base64 of the `.sig` file.
fn signature(headers: &HeaderMap, name: &str) -> Result<Option<Vec<u8>>, Refused> {
    let Some(value) = headers.get(SIGNATURE_HEADER) else { return Ok(None) };
    let most = usize::try_from(MAX_SIGNATURE_BYTES).unwrap_or(usize::MAX);
    let decoded = STANDARD.decode(value.as_bytes()).ok().filter(|bytes| bytes.len() <= most);
    decoded.map(Some).ok_or_else(|| {
        let why = format!("the header `{SIGNATURE_HEADER}` is not the base64 of a `.sig` file");
        refused(StatusCode::BAD_REQUEST, name, "table-signature", &why)
    })
}

fn refused(status: StatusCode, name: &str, code: &str, why: &str) -> Refused {
    let body = json!({
        "table": name, "state": "refused", "code": code, "problems": [{"problem": why}], "more": 0,
    });
    Refused(status, body)
}

fn reply(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    // Answers are read on terminals too. An escape of JSON is the same JSON.
    let text = escape_lines(&format!("{body}\n")).into_owned();
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

impl InProgress {
    /// Enters a table; `None` where a push of it is in progress.
    fn enter<'p>(&'p self, name: &'p str) -> Option<PushPlace<'p>> {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A place that is made leaves when it is dropped: it is made only where the table is free.
        tables.insert(name.to_owned()).then(|| PushPlace(self, name))
    }
}

impl Drop for PushPlace<'_> {
    fn drop(&mut self) {
        let mut tables = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        tables.remove(self.1);
    }
}

/// The header of a signed table's signature.
const SIGNATURE_HEADER: &str = "portcullis-signature";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_push_of_a_table_is_in_progress_and_its_place_is_free_again() {
        let places = InProgress::default();
        let first = places.enter("roster");
        assert!(first.is_some() && places.enter("networks").is_some());
        assert!(places.enter("roster").is_none() && places.enter("roster").is_none());
        drop(first);
        assert!(places.enter("roster").is_some());
    }
}
