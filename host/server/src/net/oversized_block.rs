//! An HTTP/2 header block that is too large to be taken, made small enough to be answered.
//!
//! Invariant: what comes of a block is one `HEADERS` frame that the library takes: the first whole
//! fields of the block, and so many empty ones that the head is too large by their number, whatever
//! was left out. So everything behind it treats the request as what it is, and never as a shorter
//! one. Fields are told apart by their lengths (RFC 7541 section 6); nothing is decoded here. The
//! library's HPACK table does not know what was left out: the connection must end after this block.

use super::frame_gate::{
    CONTINUATION, END_HEADERS, END_STREAM, FRAME_HEAD, HEADERS, PADDED, PRIORITY,
};

/// Cuts the block with which these bytes begin, of which they hold a part. `None` where not even
/// its first field fits, or where the frames are none of one block.
pub fn cut(held: &[u8]) -> Option<Vec<u8>> {
    let (head, payload, mut rest) = split_frame(held)?;
    let [_, _, _, HEADERS, flags, stream @ ..] = head else { return None };
    let mut fields = fragment(*flags, payload)?.to_vec();
    while fields.len() < MAX_KEPT {
        let Some((next, payload, after)) = split_frame(rest) else { break };
        let [_, _, _, CONTINUATION, _, of @ ..] = next else { break };
        if of != stream {
            return None;
        }
        fields.extend_from_slice(payload);
        rest = after;
    }
    fields.truncate(MAX_KEPT);
    let end = whole_fields(&fields);
    if end == 0 {
        return None;
    }
    fields.truncate(end);
    fields.extend(EMPTY_FIELD.repeat(MAX_FIELDS + 1));
    let [_, a, b, c] = u32::try_from(fields.len()).ok()?.to_be_bytes();
    let mut frame = vec![a, b, c, HEADERS, END_HEADERS | (flags & END_STREAM)];
    frame.extend_from_slice(stream);
    frame.extend(fields);
    Some(frame)
}

/// The head and the payload of the first frame, as much of it as there is, and what follows.
fn split_frame(bytes: &[u8]) -> Option<(&[u8; FRAME_HEAD], &[u8], &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<FRAME_HEAD>()?;
    let [a, b, c, ..] = *head;
    let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
    let (payload, rest) = rest.split_at(length.min(rest.len()));
    Some((head, payload, rest))
}

/// The part of a `HEADERS` frame's payload that is of the block (RFC 9113 section 6.2).
fn fragment(flags: u8, mut payload: &[u8]) -> Option<&[u8]> {
    let mut padding = 0;
    if flags & PADDED != 0 {
        let (length, rest) = payload.split_first()?;
        (padding, payload) = (usize::from(*length), rest);
    }
    if flags & PRIORITY != 0 {
        payload = payload.get(PRIORITY_LENGTH..)?;
    }
    payload.get(..payload.len().checked_sub(padding)?)
}

/// The length of the whole fields with which a block begins.
fn whole_fields(block: &[u8]) -> usize {
    let mut rest = block;
    while let Some(after) = after_field(rest) {
        rest = after;
    }
    block.len() - rest.len()
}

/// Returns the rest after the first field or table size update; `None` where it is not whole.
fn after_field(block: &[u8]) -> Option<&[u8]> {
    let first = *block.first()?;
    // The index's bits, and whether strings follow (RFC 7541 sections 6.1 to 6.3).
    let (bits, has_value) = match first {
        0x80.. => (7, false),
        0x40.. => (6, true),
        0x20.. => (5, false),
        _ => (4, true),
    };
    let (index, mut rest) = integer(block, bits)?;
    if has_value {
        if index == 0 {
            rest = after_string(rest)?;
        }
        rest = after_string(rest)?;
    }
    Some(rest)
}

/// Returns the rest after a string (RFC 7541 section 5.2).
fn after_string(block: &[u8]) -> Option<&[u8]> {
    let (length, rest) = integer(block, 7)?;
    rest.get(length..)
}

/// An integer with a prefix of so many bits, and what follows (RFC 7541 section 5.1).
fn integer(block: &[u8], bits: u32) -> Option<(usize, &[u8])> {
    let (first, mut rest) = block.split_first()?;
    let most = (1_usize << bits) - 1;
    let mut value = usize::from(*first) & most;
    if value < most {
        return Some((value, rest));
    }
    for shift in (0..MAX_SHIFT).step_by(7) {
        let (byte, after) = rest.split_first()?;
        rest = after;
        value = value.checked_add(usize::from(byte & 0x7f) << shift)?;
        if byte & 0x80 == 0 {
            return Some((value, rest));
        }
    }
    None
}

/// Bytes of a block that are kept: with the empty fields less than the largest frame that was not
/// announced otherwise.
const MAX_KEPT: usize = 12 << 10;
/// Longer integers are no lengths of anything that could be taken.
const MAX_SHIFT: u32 = 28;
/// A field `x` without a value, not indexed (RFC 7541 section 6.2.2).
const EMPTY_FIELD: [u8; 4] = [0, 1, b'x', 0];
/// Bytes of a `HEADERS` frame's priority.
const PRIORITY_LENGTH: usize = 5;

/// Fields of one request.
pub const MAX_FIELDS: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let size = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [size[1], size[2], size[3], kind, flags, 0, 0, 0, stream];
        [&head[..], payload].concat()
    }

    /// `:method: POST`, a path, and a field of the static table.
    fn own() -> Vec<u8> {
        [&[0x83, 0x04, 5][..], b"/a/bc", &[0x86]].concat()
    }

    /// A literal field with a name and a value of so many bytes.
    fn long(size: usize) -> Vec<u8> {
        let mut field = vec![0x40, 1, b'y', 127];
        let mut left = size - 127;
        while left >= 128 {
            field.push(u8::try_from(left % 128).unwrap() | 0x80);
            left /= 128;
        }
        field.push(u8::try_from(left).unwrap());
        field.resize(field.len() + size, b'z');
        field
    }

    #[test]
    fn whole_fields_are_kept_and_the_head_is_too_large_by_their_number() {
        let block = [own(), long(300_000)].concat();
        let (first, second) = block.split_at(16_000);
        let held = [frame(HEADERS, END_STREAM, 7, first), frame(CONTINUATION, 0, 7, second)];
        let cut = cut(&held.concat()).unwrap();
        let filling = EMPTY_FIELD.repeat(MAX_FIELDS + 1);
        let expected = [own(), filling].concat();
        assert_eq!(cut, frame(HEADERS, END_HEADERS | END_STREAM, 7, &expected));
        assert!(cut.len() < 16 << 10);
    }

    #[test]
    fn padding_and_priority_are_no_part_of_the_block_and_frames_may_be_short() {
        let mut payload = vec![3, 0, 0, 0, 0, 16];
        payload.extend(&own()[..4]);
        payload.extend([0; 3]);
        let mut held = frame(HEADERS, PADDED | PRIORITY, 1, &payload);
        for byte in &own()[4..] {
            held.extend(frame(CONTINUATION, 0, 1, &[*byte]));
        }
        held.extend(frame(CONTINUATION, 0, 1, &long(100_000)));
        held.truncate(90_000);
        let cut = cut(&held).unwrap();
        assert_eq!(cut[FRAME_HEAD..][..own().len()], own());
    }

    #[test]
    fn a_block_whose_first_field_is_too_long_cannot_be_cut() {
        assert_eq!(cut(&frame(HEADERS, 0, 1, &long(200_000))), None);
        assert_eq!(cut(&frame(HEADERS, PADDED, 1, &[9, 1])), None);
        let other = [frame(HEADERS, 0, 1, &own()), frame(CONTINUATION, 0, 3, &own())].concat();
        assert_eq!(cut(&other), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_what_is_cut_is_one_frame(
            payload in prop::collection::vec(any::<u8>(), 0..400),
            more in prop::collection::vec(any::<u8>(), 0..400),
            flags: u8,
        ) {
            let held = [frame(HEADERS, flags, 1, &payload), more].concat();
            if let Some(cut) = cut(&held) {
                let (_, payload, rest) = split_frame(&cut).unwrap();
                prop_assert_eq!((rest.len(), payload.len() + FRAME_HEAD), (0, cut.len()));
                prop_assert!(payload.ends_with(&EMPTY_FIELD.repeat(MAX_FIELDS + 1)));
            }
        }
    }
}
