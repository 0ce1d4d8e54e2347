//! What the HTTP library does not tell of an HTTP/1.1 head: the request line of one that it
//! refuses, and whether one had both `Transfer-Encoding` and `Content-Length`.
//!
//! Invariant: the scanner only watches; the library decides what a request is. It keeps the request
//! line up to [`MAX_LINE`] bytes and nothing else. It follows heads as long as it can tell where
//! the next one begins; after a chunked body that is only known once the connection is idle.

use std::collections::VecDeque;

/// Watches the bytes that a connection reads.
#[derive(Default)]
pub struct HeadScanner {
    state: State,
    /// The head that is being read.
    head: Head,
    /// Whole heads that the library has not asked about.
    whole: VecDeque<HeadReport>,
}

/// The facts of one head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeadReport {
    /// The request line without its end, or its beginning.
    pub line: Vec<u8>,
    /// Whether it had both `Transfer-Encoding` and `Content-Length` (RFC 9112 section 6.3).
    pub two_framings: bool,
}

#[derive(Default)]
enum State {
    /// In a head, or before one.
    #[default]
    Head,
    /// In a body with this many bytes left.
    Body(u64),
    /// Somewhere; the next head begins when the connection has been idle.
    Unknown,
}

#[derive(Default)]
struct Head {
    report: HeadReport,
    /// Whether the request line is complete.
    has_line: bool,
    /// The field line that is being read: its beginning.
    field: Vec<u8>,
    /// Bytes of the line that is being read, its end not counted.
    length: usize,
    content_length: Option<u64>,
    has_coding: bool,
}

impl HeadScanner {
    /// Takes note of bytes that were read.
    pub fn read(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            match &mut self.state {
                State::Unknown => return,
                State::Body(left) => {
                    let here = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left -= here as u64;
                    rest = rest.get(here..).unwrap_or_default();
                    if *left == 0 {
                        self.state = State::Head;
                    }
                }
                State::Head => {
                    let end = rest.iter().position(|byte| *byte == b'\n');
                    let (line, after) = rest.split_at(end.unwrap_or(rest.len()));
                    self.head.take(line);
                    if end.is_some() && self.head.ends_with_this_line() {
                        self.end_head();
                    }
                    rest = after.get(1..).unwrap_or_default();
                }
            }
        }
    }

    /// The report of the oldest whole head that was not asked about. `None` where the scanner could
    /// not follow.
    pub fn next(&mut self) -> Option<HeadReport> {
        self.whole.pop_front()
    }

    /// The request line of the oldest head that was not asked about, as far as it came. Empty
    /// between heads.
    pub fn line(&self) -> &[u8] {
        self.whole.front().map_or(&self.head.report.line, |report| &report.line)
    }

    /// Whether a whole request line has come that nobody has asked about.
    pub fn has_line(&self) -> bool {
        !self.whole.is_empty() || self.head.has_line
    }

    /// Every answer has left: what is read next is a head, unless a body or a head is being read.
    pub fn idle(&mut self) {
        if matches!(self.state, State::Unknown) {
            self.state = State::Head;
        }
    }

    fn end_head(&mut self) {
        let head = std::mem::take(&mut self.head);
        self.state = match (head.has_coding, head.content_length) {
            (true, _) => State::Unknown,
            (false, Some(length)) if length > 0 => State::Body(length),
            (false, _) => State::Head,
        };
        // A client that sends many requests at once must not fill the memory with reports.
        if self.whole.len() < MAX_REPORTS {
            self.whole.push_back(head.report);
        }
    }
}

impl Head {
    fn take(&mut self, part: &[u8]) {
        self.length = self.length.saturating_add(part.len());
        let (kept, most) = if self.has_line {
            (&mut self.field, MAX_FIELD)
        } else {
            (&mut self.report.line, MAX_LINE)
        };
        let room = most.saturating_sub(kept.len()).min(part.len());
        kept.extend_from_slice(part.get(..room).unwrap_or_default());
    }

    /// Ends a line. Returns whether the head ends with it.
    fn ends_with_this_line(&mut self) -> bool {
        let length = std::mem::take(&mut self.length);
        if !self.has_line {
            if self.report.line.last() == Some(&b'\r') {
                self.report.line.pop();
            }
            // Empty lines before a request line are skipped (RFC 9112 section 2.2).
            self.has_line = !self.report.line.is_empty();
            return false;
        }
        let field = std::mem::take(&mut self.field);
        let text = field.strip_suffix(b"\r").unwrap_or(&field);
        if text.is_empty() && length <= 1 {
            return true;
        }
        if let Some(colon) = text.iter().position(|byte| *byte == b':') {
            let (name, value) = text.split_at(colon);
            if name.eq_ignore_ascii_case(b"transfer-encoding") {
                self.has_coding = true;
            } else if name.eq_ignore_ascii_case(b"content-length") {
                let digits = std::str::from_utf8(value.get(1..).unwrap_or_default());
                self.content_length =
                    digits.ok().and_then(|digits| digits.trim().parse().ok()).or(Some(0));
            }
        }
        self.report.two_framings = self.has_coding && self.content_length.is_some();
        false
    }
}

/// Bytes of a request line that are kept: every path that a platform can be given, and more.
const MAX_LINE: usize = 4 << 10;
/// Bytes of a field line that are looked at: the longest name that matters, and a number.
const MAX_FIELD: usize = 64;
/// Heads that may wait for the library.
const MAX_REPORTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reports(parts: &[&[u8]]) -> Vec<(String, bool)> {
        let mut scanner = HeadScanner::default();
        parts.iter().for_each(|part| scanner.read(part));
        std::iter::from_fn(|| scanner.next())
            .map(|report| (String::from_utf8(report.line).unwrap(), report.two_framings))
            .collect()
    }

    const BOTH: &[u8] =
        b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\ncontent-length: 3\r\n\r\nabc";
    const TWO: &[u8] =
        b"POST /a HTTP/1.1\r\ncontent-length: 4\r\n\r\n\r\n\r\nGET /b HTTP/1.1\r\n\r\n";

    #[test]
    fn two_framings_are_seen_in_either_order_and_case() {
        assert_eq!(reports(&[BOTH]), [("POST /a HTTP/1.1".to_owned(), true)]);
        let turned =
            b"GET / HTTP/1.1\r\nCONTENT-LENGTH:0\r\nhost: a\r\ntransfer-encoding: x\r\n\r\n";
        assert_eq!(reports(&[turned]), [("GET / HTTP/1.1".to_owned(), true)]);
        let one = b"GET / HTTP/1.1\r\nx-content-length: 0\r\ntransfer-encoding: x\r\n\r\n";
        assert_eq!(reports(&[one]), [("GET / HTTP/1.1".to_owned(), false)]);
    }

    #[test]
    fn bodies_of_a_known_length_are_passed_over() {
        let seen = reports(&[TWO]);
        assert_eq!(
            seen,
            [("POST /a HTTP/1.1".to_owned(), false), ("GET /b HTTP/1.1".to_owned(), false)]
        );
    }

    #[test]
    fn after_a_chunked_body_the_next_head_begins_when_the_connection_was_idle() {
        let mut scanner = HeadScanner::default();
        scanner
            .read(b"POST /a HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
        assert!(scanner.next().is_some());
        scanner.read(b"GET /b HTTP/1.1\r\n\r\n");
        assert_eq!(scanner.next(), None);
        scanner.idle();
        scanner.read(b"GET /c HTTP");
        assert_eq!(scanner.line(), b"GET /c HTTP");
    }

    #[test]
    fn a_head_that_never_ends_keeps_its_line_and_no_more() {
        let mut scanner = HeadScanner::default();
        scanner.read(b"\r\n\r\nPOST /okta/token HTTP/1.1\r\nhost: a\r\nx: ");
        for _ in 0..100_000 {
            scanner.read(b"aaaaaaaaaaaaaaaa");
        }
        assert_eq!(scanner.line(), b"POST /okta/token HTTP/1.1");
        assert_eq!(scanner.head.field.len(), MAX_FIELD);
        assert!(scanner.next().is_none());
    }

    proptest! {
        #[test]
        fn how_bytes_are_cut_changes_nothing(cut in 0..TWO.len(), other in 0..BOTH.len()) {
            prop_assert_eq!(reports(&[&TWO[..cut], &TWO[cut..]]), reports(&[TWO]));
            prop_assert_eq!(reports(&[&BOTH[..other], &BOTH[other..]]), reports(&[BOTH]));
        }

        #[test]
        fn whatever_comes_its_memory_is_bounded(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut scanner = HeadScanner::default();
            for _ in 0..50 {
                scanner.read(&bytes);
            }
            prop_assert!(scanner.whole.len() <= MAX_REPORTS);
            prop_assert!(scanner.head.field.len() <= MAX_FIELD && scanner.line().len() <= MAX_LINE);
        }
    }
}
