//! A request to a path that is no hook's: a platform that was given a wrong address must not go on.
//!
//! Invariant: a `POST` whose JSON body has the `eventType` of an Okta hook gets the answer that
//! makes Okta stop, unless the configuration has hooks of that kind and all of them are open;
//! everything else gets 404. No secret is asked for, since the answer tells nothing. What has arrived
//! of a body is read whoever else is being read; the rest is waited for in a bounded time and a
//! bounded number of places, and what there is of a body then decides.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::{Response, StatusCode};
use portcullis_hooks::{HookKind, OnFailure, safe_answer};
use portcullis_model::{Cause, Document};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::task::yield_now;
use tokio::time::timeout;

use super::body_readers::{BodyReaders, ReaderLimits, ReaderPlace};
use super::preflight::{not_routed, response};
use crate::clock::monotonic_now;
use crate::logging::log_limit::LOG_LIMITS;
use crate::net::connection_limit::ConnectionSlot;
use crate::records::unrouted_counts::Unrouted;
use crate::state::active::ActiveConfig;
use crate::state::frontend::Frontend;

/// The answer, after as much of the body as tells. `otherwise` is the status for what is no
/// platform's call.
pub async fn answer(
    frontend: &Frontend,
    active_config: &ActiveConfig,
    slot: &ConnectionSlot,
    mut body: Incoming,
    otherwise: StatusCode,
) -> Response<Bytes> {
    let limit = Duration::from_millis(active_config.config.listen.body_timeout_ms);
    let mut received = Received::default();
    if !received.read_available(&mut body).await {
        let place = acquire_reader(slot);
        tokio::select! {
            biased;
            // What has not come by then does not count.
            _ = timeout(limit, received.read_rest(&mut body)) => {}
            () = place.ended() => log_busy(),
        }
    }
    drop(body);
    answer_to(frontend, active_config, received.called(), otherwise)
}

/// The answer to a request whose head the HTTP library refused with `otherwise`, after as much of
/// what follows as tells: what was read already, and what the socket has.
pub async fn answer_bytes<S: AsyncRead + Unpin>(
    frontend: &Frontend,
    active_config: &ActiveConfig,
    slot: &ConnectionSlot,
    (read, socket): (&[u8], &mut S),
    otherwise: StatusCode,
) -> Response<Bytes> {
    let limit = Duration::from_millis(active_config.config.listen.body_timeout_ms);
    let mut scan = EventTypeScan::default();
    if scan.takes_more_after(read) {
        let place = acquire_reader(slot);
        let rest = async {
            let mut buffer = Box::new([0; READ_SIZE]);
            while let Ok(count @ 1..) = socket.read(&mut *buffer).await
                && scan.takes_more_after(buffer.get(..count).unwrap_or_default())
            {}
        };
        tokio::select! {
            biased;
            // What has not come by then does not count.
            _ = timeout(limit, rest) => {}
            () = place.ended() => log_busy(),
        }
    }
    answer_to(frontend, active_config, scan.found.as_deref().and_then(called_by), otherwise)
}

/// The answer to a request that is this call, or none.
fn answer_to(
    frontend: &Frontend,
    active_config: &ActiveConfig,
    called: Option<Called>,
    otherwise: StatusCode,
) -> Response<Bytes> {
    let kind = match called {
        None => return not_routed(frontend, otherwise).response,
        Some(Called::Kind(kind)) => kind,
        // Every inline hook stops at what the token hook is refused with.
        Some(Called::UnknownType) => HookKind::OktaToken,
    };
    if is_open(active_config, kind) || !kind.is_binding() {
        return not_routed(frontend, otherwise).response;
    }
    frontend.unrouted.count(Unrouted::Stopped);
    if LOG_LIMITS.allows(STOPPED, kind.name(), monotonic_now()) {
        tracing::warn!(
            event = STOPPED,
            kind = kind.name(),
            "Okta called a path that no hook has and got an answer that stops the operation: \
             compare the address at Okta with `hook.path`"
        );
    }
    response(safe_answer(kind, &OnFailure::Closed, Cause::WrongPath, None))
}

/// A place for a body that has to be waited for.
fn acquire_reader(slot: &ConnectionSlot) -> ReaderPlace {
    READERS.enter(slot.source(), ReaderLimits::of(slot.max_connections()))
}

fn log_busy() {
    if LOG_LIMITS.allows(BUSY, "", monotonic_now()) {
        tracing::warn!(
            event = BUSY,
            "too many requests to unknown paths send their bodies slowly: the host answered the \
             oldest before its body was complete"
        );
    }
}

/// The part of a body that has arrived.
#[derive(Default)]
struct Received {
    bytes: BytesMut,
    /// The bytes after them.
    beyond: EventTypeScan,
}

/// Looks for an Okta type in any amount of bytes, and keeps next to nothing of them.
#[derive(Default)]
struct EventTypeScan {
    /// The end of what was seen.
    end: Vec<u8>,
    seen: usize,
    found: Option<String>,
}

impl Received {
    /// Takes what has arrived already, without waiting for more. Returns whether that is everything
    /// that counts.
    async fn read_available(&mut self, body: &mut Incoming) -> bool {
        let mut turns = 0;
        while turns < MAX_TURNS && self.bytes.len() < MAX_AVAILABLE {
            let next = poll_fn(|context| Poll::Ready(Pin::new(&mut *body).poll_frame(context)));
            match next.await {
                Poll::Ready(Some(Ok(frame))) => {
                    turns = 0;
                    if !self.takes_more_after(frame.into_data().unwrap_or_default()) {
                        return true;
                    }
                }
                Poll::Ready(_) => return true,
                Poll::Pending => {
                    turns += 1;
                    // The connection has its turn: it reads what its socket has.
                    yield_now().await;
                }
            }
        }
        body.is_end_stream()
    }

    /// Waits for the rest.
    async fn read_rest(&mut self, body: &mut Incoming) {
        while let Some(Ok(frame)) = body.frame().await {
            if !self.takes_more_after(frame.into_data().unwrap_or_default()) {
                break;
            }
        }
    }

    fn takes_more_after(&mut self, part: Bytes) -> bool {
        let left = MAX_BODY.saturating_sub(self.bytes.len());
        let (kept, beyond) = part.split_at(left.min(part.len()));
        self.bytes.extend_from_slice(kept);
        if self.bytes.len() < MAX_BODY {
            return true;
        }
        if self.beyond.seen == 0 {
            let overlap = self.bytes.len().saturating_sub(MAX_OVERLAP);
            self.beyond.takes_more_after(self.bytes.get(overlap..).unwrap_or_default());
        }
        self.beyond.takes_more_after(beyond)
    }

    /// The type of the body.
    fn called(&self) -> Option<Called> {
        called(&self.bytes).or_else(|| self.beyond.found.as_deref().and_then(called_by))
    }
}

impl EventTypeScan {
    fn takes_more_after(&mut self, part: &[u8]) -> bool {
        self.seen = self.seen.saturating_add(part.len());
        self.end.extend_from_slice(part);
        self.found = self.found.take().or_else(|| event_type_in(&self.end));
        let old = self.end.len().saturating_sub(MAX_OVERLAP);
        self.end.drain(..old);
        self.found.is_none() && self.seen < MAX_SEEN
    }
}

/// The type of a body.
#[derive(Debug, PartialEq, Eq)]
enum Called {
    /// A call of a hook of this kind.
    Kind(HookKind),
    /// An Okta call of a type that is not known.
    UnknownType,
}

/// Returns the type of a body. `None`: it is not a call of Okta.
fn called(body: &[u8]) -> Option<Called> {
    let event_type = match Document::parse(body) {
        Ok(document) => document.root().get("eventType")?.as_str()?.into_owned(),
        // Cut short, or not quite JSON: a platform that goes on must not depend on that.
        Err(_) => event_type_in(body)?,
    };
    called_by(&event_type)
}

/// Returns the type of a body with this event type.
fn called_by(event_type: &str) -> Option<Called> {
    match HookKind::from_event_type(event_type) {
        Some(kind) => Some(Called::Kind(kind)),
        None => event_type.starts_with(PREFIX).then_some(Called::UnknownType),
    }
}

/// The first `"eventType": "com.okta.…"` in bytes that are no JSON document.
fn event_type_in(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    text.match_indices(MEMBER).find_map(|(at, _)| {
        let rest = text.get(at + MEMBER.len()..)?.trim_start().strip_prefix(':')?;
        let value = rest.trim_start().strip_prefix('"')?;
        let end = value.find('"').unwrap_or(value.len());
        let value = value.get(..end)?;
        value.starts_with(PREFIX).then(|| value.to_owned())
    })
}

/// Whether the operator lets calls of a kind go on where there is no decision.
fn is_open(active_config: &ActiveConfig, kind: HookKind) -> bool {
    let mut hooks = active_config.hooks.iter().filter(|hook| hook.config.kind == kind).peekable();
    hooks.peek().is_some() && hooks.all(|hook| hook.config.on_failure == OnFailure::Open)
}

/// The bodies that are waited for, in the whole process.
static READERS: BodyReaders = BodyReaders::new();
/// Turns in which nothing arrives after which a body is one that has to be waited for.
const MAX_TURNS: usize = 8;
/// Bytes that are taken of a body before it needs a place: more than a platform's call is before its
/// `eventType`, and little enough that every connection may have them at once.
const MAX_AVAILABLE: usize = 32 << 10;
/// Bytes of a body that are kept: the largest that a hook takes.
const MAX_BODY: usize = 256 << 10;
/// Bytes in which an Okta type is looked for, in all.
const MAX_SEEN: usize = 4 << 20;
/// Bytes that are looked at again together with those that follow: more than a member and its type.
const MAX_OVERLAP: usize = 1 << 10;
/// Bytes that are read at a time.
const READ_SIZE: usize = 16 << 10;
/// The member that tells a platform's call, as JSON spells it.
const MEMBER: &str = "\"eventType\"";
/// How all of Okta's types begin.
const PREFIX: &str = "com.okta.";
const STOPPED: &str = "http.unknown-path";
const BUSY: &str = "http.unknown-path-busy";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TOKEN: &str =
        r#"{"eventId":"a","eventType":"com.okta.oauth2.tokens.transform","data":{"x":[1]}}"#;

    #[test]
    fn only_the_member_of_the_document_itself_counts() {
        let token = Some(Called::Kind(HookKind::OktaToken));
        assert_eq!(called(TOKEN.as_bytes()), token);
        assert_eq!(called(br#" {"\u0065ventType": "com.okta.oauth2.tokens.transform"} "#), token);
        let event = br#"{"eventType":"com.okta.event_hook"}"#;
        assert_eq!(called(event), Some(Called::Kind(HookKind::OktaEvent)));
        let new = br#"{"eventType":"com.okta.something.new"}"#;
        assert_eq!(called(new), Some(Called::UnknownType));
        for other in [
            "",
            "{}",
            "[]",
            "hello",
            r#"{"eventType":7}"#,
            r#"{"eventType":"user.session.start"}"#,
            r#"{"type":"microsoft.graph.authenticationEvent.tokenIssuanceStart"}"#,
            r#"{"data":{"eventType":"com.okta.oauth2.tokens.transform"}}"#,
            r#"["eventType","com.okta.oauth2.tokens.transform"]"#,
        ] {
            assert_eq!(called(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn what_is_cut_short_or_not_quite_json_counts_too() {
        let token = Some(Called::Kind(HookKind::OktaToken));
        assert_eq!(called(TOKEN.split_once(",\"data").unwrap().0.as_bytes()), token);
        assert_eq!(called(format!("\u{feff}{TOKEN}").as_bytes()), token);
        assert_eq!(called(TOKEN.replace("{\"x\"", "{\"x\":1,\"x\"").as_bytes()), token);
        assert_eq!(called(br#"{"eventType" : "com.okta.saml.tok"#), Some(Called::UnknownType));
    }

    proptest! {
        #[test]
        fn a_type_is_found_wherever_it_stands_and_however_it_arrives(
            before in 0_usize..5_000,
            part in 1_usize..3_000,
        ) {
            let text = [&b"x".repeat(before)[..], TOKEN.as_bytes()].concat();
            let mut scan = EventTypeScan::default();
            for part in text.chunks(part) {
                scan.takes_more_after(part);
            }
            let found = scan.found.as_deref().and_then(called_by);
            prop_assert!(matches!(found, Some(Called::Kind(HookKind::OktaToken) | Called::UnknownType)));
            prop_assert!(scan.end.len() <= MAX_OVERLAP);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            called(&bytes);
        }

        #[test]
        fn wherever_a_call_breaks_off_after_its_type_it_counts(cut in 62_usize..TOKEN.len()) {
            prop_assert_eq!(called(&TOKEN.as_bytes()[..cut]), Some(Called::Kind(HookKind::OktaToken)));
        }
    }
}
