//! Sending events to a hook in batches, one at a time, until the host has each on record.
//!
//! Invariant: a batch counts as taken only after `204`. A batch that the host could not record is
//! sent again, after growing pauses and in halves, so that a slow host is not asked for more; what
//! of it was recorded is recognised by the events' ids.

use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use portcullis_model::json::{build_object, build_text};

use super::log_file::{Event, Platform};
use crate::exit::{CliError, CliResult};
use crate::hook::connection::{Answer, ClientAuth, Connection, Endpoint};

/// A hook that takes events.
pub struct Sender {
    endpoint: Endpoint,
    proof: Option<(String, String)>,
    platform: Platform,
    connection: Option<Connection>,
    /// A host has answered: a connection that fails later may work again.
    was_there: bool,
    /// Tells the batches of this log from others.
    log: String,
}

/// Why a batch was not taken.
struct NotTaken {
    error: CliError,
    /// The same batch may be taken later.
    is_passing: bool,
}

impl Sender {
    /// A sender of the events of a log with this digest.
    pub fn new(
        endpoint: Endpoint,
        proof: Option<(String, String)>,
        platform: Platform,
        log: String,
    ) -> Self {
        Self { endpoint, proof, platform, connection: None, was_there: false, log }
    }

    /// Sends events, the first of which is the `number`-th of the log. Returns how many of them,
    /// from the first on, the host has taken, and why not all.
    pub async fn send(&mut self, events: &[&Event<'_>], number: usize) -> (usize, CliResult) {
        let (mut taken, mut size, mut pauses) = (0, events.len(), PAUSES.iter());
        while let Some(rest) = events.get(taken..).filter(|rest| !rest.is_empty()) {
            let batch = rest.get(..size.clamp(1, rest.len())).unwrap_or(rest);
            match self.post(batch, number + taken).await {
                Ok(()) => {
                    taken += batch.len();
                    pauses = PAUSES.iter();
                }
                Err(NotTaken { error, is_passing }) => {
                    let Some(pause) = pauses.next().filter(|_| is_passing) else {
                        return (taken, Err(error));
                    };
                    size = (batch.len() / 2).max(1);
                    tokio::time::sleep(*pause).await;
                }
            }
        }
        (taken, Ok(()))
    }

    async fn post(&mut self, batch: &[&Event<'_>], number: usize) -> Result<(), NotTaken> {
        let (url, was_there) = (self.endpoint.url.clone(), self.was_there);
        let broken = |why: String| NotTaken {
            error: CliError::wrong(format!("{url}: {why}"))
                .hint(Some("make sure that the host runs, and that the address is its own")),
            is_passing: was_there,
        };
        let answer = tokio::time::timeout(TIMEOUT, self.exchange(batch, number)).await;
        let answer = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(Unsent::Request(error))) => return Err(NotTaken { error, is_passing: false }),
            Ok(Err(Unsent::Broken(why))) => {
                self.connection = None;
                return Err(broken(why));
            }
            Err(_) => {
                self.connection = None;
                return Err(broken(format!("no answer within {} s", TIMEOUT.as_secs())));
            }
        };
        let (why, hint) = match answer.status {
            204 => return Ok(()),
            401 | 403 => (
                "the host does not accept the caller",
                "compare the hook's `caller` in the configuration with that of the running host",
            ),
            404 | 405 => ("no hook for events is at that address", "check `--url` and `--hook`"),
            503 => (
                "the host could not put all events on record",
                "see `/ready` and the host's log for the reason",
            ),
            _ => ("that is no answer of such a hook", "check `--url`, and proxies on the way"),
        };
        let error = CliError::wrong(format!("{why} ({})", answer.status)).hint(Some(hint));
        Err(NotTaken { error, is_passing: answer.status >= 500 })
    }

    async fn exchange(&mut self, batch: &[&Event<'_>], number: usize) -> Result<Answer, Unsent> {
        let body = self.body(batch, number);
        let headers: Vec<_> = self.proof.clone().into_iter().collect();
        let request = self.endpoint.request(Method::POST, &headers, body);
        let request = request.map_err(Unsent::Request)?;
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.endpoint.connect(ClientAuth::Platform).await.map_err(Unsent::Broken)?,
        };
        let answer = connection.send(request).await.map_err(Unsent::Broken)?;
        self.connection = Some(connection);
        self.was_there = true;
        Ok(answer)
    }

    fn body(&self, batch: &[&Event<'_>], number: usize) -> Bytes {
        let rows = batch.iter().map(|event| &*event.json).collect::<Vec<_>>().join(",");
        let body = match self.platform {
            Platform::Okta => {
                let id = format!("portcullis-import-{}-{number}-{}", self.log, batch.len());
                let data = format!("{{\"events\":[{rows}]}}");
                build_object(|body| {
                    body.text("eventType", "com.okta.event_hook");
                    body.text("eventTypeVersion", "1.0");
                    body.text("cloudEventsVersion", "0.1");
                    body.text("source", "portcullis memory import");
                    body.json("eventId", &build_text(&id));
                    body.json("data", &data);
                })
            }
            Platform::Entra => build_object(|body| {
                body.json("value", &format!("[{rows}]"));
            }),
        };
        body.into()
    }
}

/// Why there is no answer.
enum Unsent {
    /// The request cannot be made.
    Request(CliError),
    /// The connection failed.
    Broken(String),
}

/// Bytes of a batch besides its events and their commas.
pub const ENVELOPE_BYTES: usize = 1_024;

/// The longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The waits before a batch is sent again: half a minute in all.
const PAUSES: [Duration; 6] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(16),
];
