//! Limits of what an HTTP/2 connection may make the host hold before a call on it is authenticated.
//!
//! Invariant: until then the library gets at most [`MAX_TURN_HEADS`] requests a turn, no part of a
//! header block before its end, nothing while [`MAX_UNFINISHED`] answers have not left, and in all
//! at most [`MAX_FRAMES`] frames, [`MAX_BYTES`] bytes and about [`MAX_CALLS`] calls. So a
//! connection can announce many streams, and a caller that knows the secret can use all of them at
//! once, while everybody else holds a bounded amount of memory. The gate parses frame headers (RFC
//! 9113 section 4.1) and decides nothing about their content: that is the library's. Of a header
//! block that is too large it gives the library the first fields, so that the request is answered,
//! and nothing that comes afterwards.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

use bytes::{Buf as _, BytesMut};
use tokio::sync::Notify;

use super::oversized_block;

/// The calls of a connection as its gate counts them.
#[derive(Default)]
pub struct Intake {
    authenticated: Cell<bool>,
    /// Requests and bytes that the library got in this turn.
    turn: Cell<(usize, usize)>,
    /// Turns that have begun.
    turns: Cell<u64>,
    /// Calls whose answer has not left; those that wait for their body are not counted.
    unfinished: Cell<usize>,
    /// Bytes that came while there were any.
    beside: Cell<usize>,
    /// Calls that were answered without authentication.
    rejected: Cell<usize>,
    waker: RefCell<Option<Waker>>,
    exhausted: Notify,
}

/// A call whose answer has not left.
pub struct Unfinished(Rc<Intake>);

/// Holds back what a connection sends.
pub struct FrameGate {
    intake: Rc<Intake>,
    /// The bytes that were read and not given to the library.
    held: BytesMut,
    /// How much of that the library may have.
    released: usize,
    /// Bytes of a frame that is not complete, still to come and released as they come.
    streaming: usize,
    has_preface: bool,
    frames: usize,
    bytes: usize,
    /// Everything goes through.
    open: bool,
    /// The turn in which the peer's end came.
    ended: Option<u64>,
    /// Bytes that were thrown away since a header block was too large; `None` where none was.
    discarded: Option<usize>,
}

/// The next step of the connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Give the library what is released.
    Take,
    /// Read from the socket.
    Read,
    /// Wait: the gate wakes the connection.
    Wait,
}

impl Intake {
    /// The connection is polled anew.
    pub fn begin_turn(&self) {
        self.turn.set((0, 0));
        self.turns.set(self.turns.get().wrapping_add(1));
    }

    /// A call was authenticated: everything that is held back may come.
    pub fn authenticate(&self) {
        self.authenticated.set(true);
        self.wake();
    }

    /// Whether a call on this connection was authenticated.
    pub fn is_authenticated(&self) -> bool {
        self.authenticated.get()
    }

    /// A call was answered without authentication.
    pub fn reject(&self) {
        self.rejected.set(self.rejected.get().saturating_add(1));
        if self.rejected.get() == MAX_CALLS && !self.is_authenticated() {
            self.exhausted.notify_one();
        }
    }

    /// Returns whether the connection has used up the calls that it may make unauthenticated.
    pub fn is_exhausted(&self) -> bool {
        self.rejected.get() >= MAX_CALLS && !self.is_authenticated()
    }

    /// Completes when the connection has used up what it may before authentication.
    pub async fn exhausted(&self) {
        self.exhausted.notified().await;
    }

    /// A call begins.
    pub fn begin(self: &Rc<Self>) -> Unfinished {
        self.unfinished.set(self.unfinished.get() + 1);
        Unfinished(Rc::clone(self))
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let left = self.0.unfinished.get().saturating_sub(1);
        self.0.unfinished.set(left);
        if left == 0 {
            self.0.beside.set(0);
        }
        self.0.wake();
    }
}

impl FrameGate {
    /// A gate for a connection of which this was read already.
    pub fn new(intake: Rc<Intake>, read: &[u8]) -> Self {
        Self {
            intake,
            held: BytesMut::from(read),
            released: 0,
            streaming: 0,
            has_preface: false,
            frames: 0,
            bytes: 0,
            open: false,
            ended: None,
            discarded: None,
        }
    }

    /// Returns whether nothing is held back any more, so that the socket can be read directly.
    pub fn is_open(&self) -> bool {
        self.open && self.held.is_empty()
    }

    /// Takes bytes that were read.
    pub fn fill(&mut self, bytes: &[u8]) {
        match &mut self.discarded {
            Some(discarded) => *discarded += bytes.len(),
            None => self.held.extend_from_slice(bytes),
        }
    }

    /// The bytes that the library may have.
    pub fn released(&self) -> &[u8] {
        self.held.get(..self.released).unwrap_or_default()
    }

    /// The library took so many of them.
    pub fn consume(&mut self, count: usize) {
        let count = count.min(self.released);
        self.held.advance(count);
        self.released -= count;
    }

    /// The peer sends no more: the library gets the rest, whatever it is.
    pub fn end(&mut self) {
        self.open = true;
        self.ended.get_or_insert(self.intake.turns.get());
    }

    /// Returns whether the peer sends no more.
    pub fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Returns whether the peer's end came in this turn: the library may still have to hand over
    /// requests that came before it.
    pub fn ends_in_this_turn(&self) -> bool {
        self.ended == Some(self.intake.turns.get())
    }

    /// Looks what may be released.
    pub fn next(&mut self, context: &mut Context<'_>) -> Next {
        if self.intake.is_authenticated() && self.discarded.is_none() {
            self.open = true;
        }
        if self.open {
            self.released = self.held.len();
            return if self.released > 0 { Next::Take } else { Next::Read };
        }
        if self.released > 0 {
            return Next::Take;
        }
        if let Some(discarded) = self.discarded {
            // The peer may still be sending: its answer arrives only if what it sends is read.
            return if discarded > MAX_BYTES { self.wait(context) } else { Next::Read };
        }
        if self.frames > MAX_FRAMES || self.bytes > MAX_BYTES {
            self.intake.exhausted.notify_one();
            return self.wait(context);
        }
        if !self.has_preface {
            if self.held.len() < PREFACE_LENGTH {
                return Next::Read;
            }
            self.has_preface = true;
            return self.release(PREFACE_LENGTH);
        }
        if self.streaming > 0 {
            let here = self.streaming.min(self.held.len());
            if here == 0 {
                return Next::Read;
            }
            self.streaming -= here;
            return self.release(here);
        }
        let (requests, bytes) = self.intake.turn.get();
        if requests >= MAX_TURN_HEADS || bytes >= MAX_TURN_BYTES {
            // The library takes what it has, and the connection is polled again at once.
            context.waker().wake_by_ref();
            return Next::Wait;
        }
        let unfinished = self.intake.unfinished.get();
        if unfinished >= MAX_UNFINISHED || (unfinished > 0 && self.intake.beside.get() > MAX_BESIDE)
        {
            return self.wait(context);
        }
        self.next_frame()
    }

    /// Releases the next frame, or a whole header block.
    fn next_frame(&mut self) -> Next {
        let Some(first) = Frame::read(&self.held) else { return Next::Read };
        self.frames += 1;
        if first.kind != HEADERS || first.length > MAX_FRAME {
            // A frame that is too large ends the connection as soon as the library sees its head.
            let whole = FRAME_HEAD + first.length;
            let here = whole.min(self.held.len());
            self.streaming = whole - here;
            return self.release(here);
        }
        let mut length = FRAME_HEAD + first.length;
        let (mut last, mut continuations) = (first, 0);
        while !last.ends_headers {
            match self.held.get(length..).and_then(Frame::read) {
                // Anything else is an error that the library finds.
                Some(next) if next.kind != CONTINUATION => break,
                Some(next) => {
                    length += FRAME_HEAD + next.length;
                    continuations += 1;
                    last = next;
                }
                None => return self.hold(length, continuations),
            }
        }
        if self.held.len() < length {
            return self.hold(length, continuations);
        }
        let (requests, bytes) = self.intake.turn.get();
        self.intake.turn.set((requests + 1, bytes));
        self.release(length)
    }

    /// A header block is not whole yet.
    fn hold(&mut self, length: usize, continuations: usize) -> Next {
        // It is counted again when more of it is there.
        self.frames -= 1;
        if length <= MAX_BLOCK && continuations <= MAX_CONTINUATIONS {
            return Next::Read;
        }
        match oversized_block::cut(&self.held) {
            Some(cut) => {
                self.held = BytesMut::from(cut.as_slice());
                self.discarded = Some(0);
                self.intake.exhausted.notify_one();
                self.release(cut.len())
            }
            None => {
                self.frames = MAX_FRAMES + 1;
                Next::Read
            }
        }
    }

    fn release(&mut self, count: usize) -> Next {
        self.released = count;
        self.bytes += count;
        let (requests, bytes) = self.intake.turn.get();
        self.intake.turn.set((requests, bytes + count));
        if self.intake.unfinished.get() > 0 {
            self.intake.beside.set(self.intake.beside.get() + count);
        }
        Next::Take
    }

    fn wait(&self, context: &mut Context<'_>) -> Next {
        *self.intake.waker.borrow_mut() = Some(context.waker().clone());
        Next::Wait
    }
}

/// A frame's head.
struct Frame {
    length: usize,
    kind: u8,
    ends_headers: bool,
}

impl Frame {
    fn read(bytes: &(impl AsRef<[u8]> + ?Sized)) -> Option<Self> {
        let [a, b, c, kind, flags, _, _, _, _, ..] = bytes.as_ref() else { return None };
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        Some(Self { length, kind: *kind, ends_headers: flags & END_HEADERS != 0 })
    }
}

/// Requests that the library gets in one turn of an unauthenticated connection. Each is decided
/// before the next turn, so that this many decoded heads exist a thread and not a connection.
const MAX_TURN_HEADS: usize = 8;
/// Bytes of a turn after which no further frame begins.
const MAX_TURN_BYTES: usize = 64 << 10;
/// Answers of an unauthenticated connection that may wait to leave.
const MAX_UNFINISHED: usize = 8;
/// Bytes that an unauthenticated connection may send while an answer waits to leave.
const MAX_BESIDE: usize = 64 << 10;
/// Bytes of one header block as it is sent, before authentication; one with more is answered from
/// its first fields, and ends the connection.
pub const MAX_BLOCK: usize = 128 << 10;
/// `CONTINUATION` frames of one header block, before authentication; one with more is treated
/// likewise.
const MAX_CONTINUATIONS: usize = 64;
/// Calls that are answered on a connection without authentication before it has to end.
pub const MAX_CALLS: usize = 16;
/// Frames of a connection without authentication before it has to end.
pub const MAX_FRAMES: usize = 4_096;
/// Bytes of a connection without authentication before it has to end.
const MAX_BYTES: usize = 4 << 20;
/// The largest frame that was not announced otherwise (RFC 9113 section 4.2).
const MAX_FRAME: usize = 16 << 10;
/// Bytes of a frame's head.
pub const FRAME_HEAD: usize = 9;
/// Bytes of the connection preface (RFC 9113 section 3.4).
const PREFACE_LENGTH: usize = 24;
/// The frame type of a header block's beginning (RFC 9113 section 6.2).
pub const HEADERS: u8 = 1;
/// The frame type of its further parts (section 6.10).
pub const CONTINUATION: u8 = 9;
/// The flag of its last part.
pub const END_HEADERS: u8 = 4;
/// The flag of a request without a body.
pub const END_STREAM: u8 = 1;
/// The flag of a `HEADERS` frame with padding.
pub const PADDED: u8 = 8;
/// The flag of a `HEADERS` frame with a priority.
pub const PRIORITY: u8 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let size = u32::try_from(length).unwrap().to_be_bytes();
        let mut frame = vec![size[1], size[2], size[3], kind, flags, 0, 0, 0, 1];
        frame.resize(FRAME_HEAD + length, b'x');
        frame
    }

    fn gate(bytes: &[u8]) -> (FrameGate, Rc<Intake>) {
        let intake = Rc::new(Intake::default());
        (FrameGate::new(Rc::clone(&intake), &[PREFACE, bytes].concat()), intake)
    }

    /// The bytes that the library gets until the gate changes that.
    fn taken(gate: &mut FrameGate) -> (usize, Next) {
        let mut context = Context::from_waker(Waker::noop());
        let mut count = 0;
        loop {
            match gate.next(&mut context) {
                Next::Take => {
                    count += gate.released().len();
                    gate.consume(gate.released().len());
                }
                other => return (count, other),
            }
        }
    }

    #[test]
    fn a_turn_has_few_requests_and_the_next_turn_has_more() {
        let request = frame(HEADERS, END_HEADERS, 5);
        let (mut gate, intake) = gate(&request.repeat(20));
        assert_eq!(taken(&mut gate), (24 + 8 * 14, Next::Wait));
        assert_eq!(taken(&mut gate), (0, Next::Wait));
        intake.begin_turn();
        assert_eq!(taken(&mut gate), (8 * 14, Next::Wait));
        intake.authenticate();
        assert_eq!(taken(&mut gate), (4 * 14, Next::Read));
        assert!(gate.is_open());
    }

    #[test]
    fn a_header_block_is_released_whole_or_not_at_all() {
        let block = [frame(HEADERS, 0, 100), frame(CONTINUATION, 0, 50)].concat();
        let (mut gate, _intake) = gate(&block);
        assert_eq!(taken(&mut gate), (24, Next::Read));
        let end = frame(CONTINUATION, END_HEADERS, 7);
        gate.fill(&end[..10]);
        assert_eq!(taken(&mut gate), (0, Next::Read));
        gate.fill(&end[10..]);
        assert_eq!(taken(&mut gate), (block.len() + end.len(), Next::Read));
    }

    #[tokio::test]
    async fn a_header_block_without_an_end_ends_the_connection() {
        // Its first field has no end either, so that nothing of it can be answered.
        let mut first = frame(HEADERS, 0, 100);
        first[FRAME_HEAD..][..7].copy_from_slice(&[0x40, 1, b'y', 127, 0xff, 0xff, 0x7f]);
        let (mut gate, intake) = gate(&first);
        for _ in 0..9 {
            assert_eq!(taken(&mut gate).1, Next::Read);
            gate.fill(&frame(CONTINUATION, 0, 16_000));
        }
        assert_eq!(taken(&mut gate).1, Next::Read);
        assert_eq!(taken(&mut gate), (0, Next::Wait));
        intake.exhausted().await;
    }

    #[tokio::test]
    async fn of_a_header_block_that_is_too_large_the_library_gets_the_first_fields_alone() {
        let fields = [&[0x83, 0x04, 2][..], b"/a", &[0x86, 0x40, 1, b'y', 127, 0xff, 0xff, 0x7f]];
        let mut first = frame(HEADERS, 0, 16_000);
        let fields = fields.concat();
        first[FRAME_HEAD..][..fields.len()].copy_from_slice(&fields);
        let (mut gate, intake) = gate(&first);
        let mut all = taken(&mut gate).0;
        for _ in 0..20 {
            gate.fill(&frame(CONTINUATION, 0, 16_000));
            intake.begin_turn();
            all += taken(&mut gate).0;
        }
        assert!((24 + 1_000..24 + 1_100).contains(&all), "{all}");
        intake.exhausted().await;
        // Nothing that follows is taken for a frame, whoever is authenticated by now.
        intake.authenticate();
        gate.fill(&frame(HEADERS, END_HEADERS, 5));
        assert_eq!(taken(&mut gate), (0, Next::Read));
        assert!(!gate.is_open());
        gate.end();
        assert!(gate.is_open(), "the library sees the end");
    }

    #[test]
    fn nothing_comes_while_too_many_answers_wait() {
        let (mut gate, intake) = gate(&frame(HEADERS, END_HEADERS, 5));
        let waiting: Vec<_> = (0..MAX_UNFINISHED).map(|_| intake.begin()).collect();
        assert_eq!(taken(&mut gate), (24, Next::Wait));
        drop(waiting);
        assert_eq!(taken(&mut gate), (14, Next::Read));
    }

    #[test]
    fn nothing_but_a_little_comes_beside_an_answer_that_waits() {
        let (mut gate, intake) = gate(&frame(0, 0, 10_000).repeat(20));
        let waiting = intake.begin();
        let mut all = 0;
        for _ in 0..20 {
            intake.begin_turn();
            all += taken(&mut gate).0;
        }
        assert!((MAX_BESIDE..MAX_BESIDE + 20_100).contains(&all), "{all}");
        drop(waiting);
        intake.begin_turn();
        assert!(taken(&mut gate).0 > 0);
    }

    #[tokio::test]
    async fn small_frames_without_end_end_the_connection() {
        let (mut gate, intake) = gate(&frame(6, 0, 8).repeat(5_000));
        let mut all = 0;
        for _ in 0..100 {
            intake.begin_turn();
            all += taken(&mut gate).0;
        }
        assert!(all <= 24 + (MAX_FRAMES + 1) * 17, "{all}");
        intake.exhausted().await;
    }

    #[tokio::test]
    async fn calls_that_nobody_authenticated_end_the_connection() {
        let intake = Intake::default();
        (0..MAX_CALLS).for_each(|_| intake.reject());
        intake.exhausted().await;
    }

    #[test]
    fn frames_come_through_however_they_are_cut() {
        let bytes = [
            frame(4, 0, 0),
            frame(HEADERS, END_HEADERS, 30),
            frame(0, 0, 3_000),
            frame(HEADERS, 0, 9),
            frame(CONTINUATION, END_HEADERS, 9),
            frame(0, 1, 20_000),
        ]
        .concat();
        for step in [1, 7, 1_000] {
            let (mut gate, intake) = gate(&[]);
            let mut all = taken(&mut gate).0;
            for part in bytes.chunks(step) {
                intake.begin_turn();
                gate.fill(part);
                all += taken(&mut gate).0;
            }
            assert_eq!(all, 24 + bytes.len(), "{step}");
        }
    }
}
