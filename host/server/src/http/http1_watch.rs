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
        self.scanner.borrow_mut().next()
    }

    /// The library gets the answer. `unread` is whether the peer may still be sending its body.
    pub fn answered(&self, unread: bool) {
        self.stage.set(Stage::Answered);
        self.may_be_sending.set(self.may_be_sending.get() || unread);
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
    pub fn withholds(&self, bytes: &[u8]) -> bool {
        if self.given_up.get().is_some() {
            return true;
        }
        let status = || std::str::from_utf8(bytes.strip_prefix(b"HTTP/1.1 ")?.get(..3)?).ok();
        let refusal = status()
            .and_then(|text| StatusCode::from_bytes(text.as_bytes()).ok())
            .filter(|status| self.stage.get() == Stage::Idle && status.is_client_error());
        self.given_up.set(refusal);
        refusal.is_some()
    }

    /// The answer that is still to be written: by hand, or to the head that the library refused.
    pub fn farewell(
        &self,
        to_refused: impl FnOnce(StatusCode, &[u8]) -> Response<Bytes>,
    ) -> Option<Response<Bytes>> {
        if let Some(answer) = self.by_hand.borrow_mut().take() {
            return Some(answer);
        }
        let scanner = self.scanner.borrow();
        if let Some(status) = self.given_up.get() {
            return Some(to_refused(status, scanner.line()));
        }
        // A head that did not come whole: its peer waits for an answer, or has said all it will.
        let begun = self.stage.get() == Stage::Idle && !scanner.line().is_empty();
        begun.then(|| to_refused(StatusCode::REQUEST_TIMEOUT, scanner.line()))
    }

    /// Whether the peer may still be sending what nobody reads.
    pub fn may_be_sending(&self) -> bool {
        self.may_be_sending.get()
    }
}

/// One watch, shared by the connection and what answers its requests.
pub type Shared = Rc<Http1Watch>;

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: StatusCode, line: &[u8]) -> Response<Bytes> {
        let mut answer = Response::new(Bytes::copy_from_slice(line));
        *answer.status_mut() = status;
        answer
    }

    #[test]
    fn the_librarys_own_refusal_is_withheld_and_other_answers_are_not() {
        let watch = Http1Watch::default();
        watch.read(b"POST /a HTTP/1.1\r\n\r\n");
        assert!(!watch.withholds(b"HTTP/1.1 100 Continue\r\n\r\n"));
        assert!(watch.begin().is_some());
        assert!(!watch.withholds(b"HTTP/1.1 404 Not Found\r\n"), "its answer is being made");
        watch.answered(false);
        assert!(!watch.withholds(b"HTTP/1.1 404 Not Found\r\n"));
        watch.flushed();
        assert!(watch.farewell(refused).is_none() && !watch.may_be_sending());
        watch.read(b"POST /b HTTP/1.1\r\nx y: 1\r\n\r\n");
        assert!(watch.withholds(b"HTTP/1.1 400 Bad Request\r\n") && watch.withholds(b"rest"));
        let answer = watch.farewell(refused).unwrap();
        assert_eq!((answer.status().as_u16(), &answer.body()[..]), (400, &b"POST /b HTTP/1.1"[..]));
    }

    #[test]
    fn a_head_that_breaks_off_has_an_answer_and_an_idle_connection_has_none() {
        let watch = Http1Watch::default();
        assert!(watch.farewell(refused).is_none());
        watch.read(b"POST /a HTTP/1.1\r\nhost: a");
        assert_eq!(watch.farewell(refused).unwrap().status().as_u16(), 408);
    }
}
