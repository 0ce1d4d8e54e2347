//! Events of an HTTP/1.1 connection, for the answers that the HTTP library would not give.
//!
//! Invariant: where the library answers a head that it refuses by itself, nothing of that answer
//! leaves: the connection is given up with the status that it would have had, and `by_hand` writes
//! what the hook's platform needs. Everything else passes unchanged.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;
use hyper::{Response, StatusCode};

use super::head_scanner::{HeadReport, HeadScanner};

/// The state of one HTTP/1.1 connection.
#[derive(Default)]
pub struct Http1Watch {
    scanner: RefCell<HeadScanner>,
    stage: Cell<Stage>,
    given_up: Cell<Option<StatusCode>>,
    by_hand: RefCell<Option<Response<Bytes>>>,
    may_be_sending: Cell<bool>,
    /// The request line of the request that is being answered.
    line: RefCell<Vec<u8>>,
    /// An answer told that the connection ends with it (RFC 9112 section 9.6).
    has_ended: Cell<bool>,
}

/// The bytes still to be written on a connection that the library has given up.
pub enum FinalBytes {
    /// Nothing.
    Nothing,
    /// This answer.
    Answer(Response<Bytes>),
    /// The answer to a head that nobody has answered: its request line, as far as it came, and the
    /// status that it would have had.
    Rejected(StatusCode, Vec<u8>),
}

/// Where the present request is.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    /// There is none.
    #[default]
    Idle,
    /// It is being answered.
    Answering,
    /// The library has its answer.
    Answered,
}

impl Http1Watch {
    /// Bytes were read.
    pub fn read(&self, bytes: &[u8]) {
        self.scanner.borrow_mut().read(bytes);
    }

    /// The library has read a head.
    pub fn begin(&self) -> Option<HeadReport> {
        self.stage.set(Stage::Answering);
        let report = self.scanner.borrow_mut().next();
        *self.line.borrow_mut() =
            report.as_ref().map(|report| report.line.clone()).unwrap_or_default();
        report
    }

    /// The library gets the answer. `unread` is whether the peer may still be sending its body.
    pub fn answered(&self, unread: bool) {
        self.stage.set(Stage::Answered);
        self.may_be_sending.set(self.may_be_sending.get() || unread);
    }

    /// The library has no further part in the connection: what it would have answered gets an answer
    /// with this status, or a hook's safe answer.
    pub fn give_up(&self, status: StatusCode) {
        self.given_up.set(Some(status));
    }

    /// Whether a request line has come that has no answer yet.
    pub fn has_request_line(&self) -> bool {
        self.stage.get() == Stage::Answering || self.scanner.borrow().has_line()
    }

    /// The answer is to be written by hand, and the connection ends with it.
    pub fn answer_by_hand(&self, answer: Response<Bytes>) {
        *self.by_hand.borrow_mut() = Some(answer);
    }

    /// Everything that was written has left.
    pub fn flushed(&self) {
        if self.stage.get() == Stage::Answered {
            self.stage.set(Stage::Idle);
            self.scanner.borrow_mut().idle();
        }
    }

    /// Returns whether these bytes are not to be written.
    pub fn discards(&self, bytes: &[u8]) -> bool {
        if self.given_up.get().is_some() {
            return true;
        }
        let status = || std::str::from_utf8(bytes.strip_prefix(b"HTTP/1.1 ")?.get(..3)?).ok();
        let refusal = status()
            .and_then(|text| StatusCode::from_bytes(text.as_bytes()).ok())
            .filter(|status| self.stage.get() == Stage::Idle && status.is_client_error());
        self.given_up.set(refusal);
        if refusal.is_none() && ends_connection(bytes) {
            self.has_ended.set(true);
        }
        refusal.is_some()
    }

    /// The bytes still to be written: by hand, or to a head that has no answer.
    pub fn final_bytes(&self) -> FinalBytes {
        if let Some(answer) = self.by_hand.borrow_mut().take() {
            return FinalBytes::Answer(answer);
        }
        let scanner = self.scanner.borrow();
        if self.has_ended.get() {
            // Requests that came behind the last one get no answer; the client sends them again
            // elsewhere.
            let unread = !scanner.line().is_empty();
            self.may_be_sending.set(self.may_be_sending.get() || unread);
            return FinalBytes::Nothing;
        }
        if let Some(status) = self.given_up.get() {
            let line = match self.stage.get() {
                Stage::Answering => self.line.borrow().clone(),
                Stage::Idle | Stage::Answered => scanner.line().to_vec(),
            };
            return FinalBytes::Rejected(status, line);
        }
        // A head that did not come whole: its peer waits for an answer, or has said all it will.
        if self.stage.get() == Stage::Idle && !scanner.line().is_empty() {
            return FinalBytes::Rejected(StatusCode::REQUEST_TIMEOUT, scanner.line().to_vec());
        }
        FinalBytes::Nothing
    }

    /// Whether the peer may still be sending what nobody reads.
    pub fn may_be_sending(&self) -> bool {
        self.may_be_sending.get()
    }
}

/// Whether these bytes begin with the head of an answer after which the connection ends.
fn ends_connection(bytes: &[u8]) -> bool {
    if !bytes.starts_with(b"HTTP/1.") {
        return false;
    }
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(bytes.len());
    let head = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).to_ascii_lowercase();
    // 100 (Continue) is no answer.
    let is_final = !head.get("http/1.1 ".len()..).is_some_and(|status| status.starts_with('1'));
    let keeps = head.contains("\r\nconnection: keep-alive");
    is_final && (head.contains("\r\nconnection: close") || (head.starts_with("http/1.0") && !keeps))
}

/// One watch, shared by the connection and what answers its requests.
pub type Shared = Rc<Http1Watch>;

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(watch: &Http1Watch) -> Option<(u16, String)> {
        match watch.final_bytes() {
            FinalBytes::Rejected(status, line) => {
                Some((status.as_u16(), String::from_utf8(line).unwrap()))
            }
            FinalBytes::Answer(_) | FinalBytes::Nothing => None,
        }
    }

    #[test]
    fn the_librarys_own_refusal_is_withheld_and_other_answers_are_not() {
        let watch = Http1Watch::default();
        watch.read(b"POST /a HTTP/1.1\r\n\r\n");
        assert!(!watch.discards(b"HTTP/1.1 100 Continue\r\n\r\n"));
        assert!(watch.begin().is_some());
        assert!(!watch.discards(b"HTTP/1.1 404 Not Found\r\n"), "its answer is being made");
        watch.answered(false);
        assert!(!watch.discards(b"HTTP/1.1 404 Not Found\r\n"));
        watch.flushed();
        assert!(refused(&watch).is_none() && !watch.may_be_sending());
        watch.read(b"POST /b HTTP/1.1\r\nx y: 1\r\n\r\n");
        assert!(watch.discards(b"HTTP/1.1 400 Bad Request\r\n") && watch.discards(b"rest"));
        assert_eq!(refused(&watch), Some((400, "POST /b HTTP/1.1".to_owned())));
    }

    #[test]
    fn a_head_that_breaks_off_has_an_answer_and_an_idle_connection_has_none() {
        let watch = Http1Watch::default();
        assert!(refused(&watch).is_none());
        watch.read(b"POST /a HTTP/1.1\r\nhost: a");
        assert_eq!(refused(&watch), Some((408, "POST /a HTTP/1.1".to_owned())));
    }

    #[test]
    fn nothing_follows_the_last_answer_of_a_connection() {
        for (last, ends) in [
            ("HTTP/1.1 200 OK\r\nConnection: close\r\ncontent-length: 0\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", true),
            ("HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n", true),
            ("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\n\r\n", false),
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n\r\nconnection: close", false),
            ("HTTP/1.1 100 Continue\r\nconnection: close\r\n\r\n", false),
        ] {
            let watch = Http1Watch::default();
            watch.read(b"POST /a HTTP/1.1\r\n\r\nPOST /b HTTP/1.1\r\n\r\n");
            watch.begin();
            watch.answered(false);
            assert!(!watch.discards(last.as_bytes()));
            watch.flushed();
            assert_eq!(refused(&watch).is_none(), ends, "{last}");
            assert_eq!(watch.may_be_sending(), ends, "what follows is read and thrown away");
        }
    }

    #[test]
    fn a_connection_that_is_given_up_has_an_answer_to_the_request_in_progress() {
        let watch = Http1Watch::default();
        assert!(!watch.has_request_line());
        watch.read(b"POST /a HTTP/1.1\r\nhost");
        assert!(watch.has_request_line());
        watch.read(b": a\r\n\r\n");
        watch.begin();
        watch.give_up(StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(refused(&watch), Some((500, "POST /a HTTP/1.1".to_owned())));
    }
}
