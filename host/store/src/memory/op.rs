//! One change of a cell, and its encoding.
//!
//! Invariant: an operation says all that its result depends on besides the cell: also the time.

use std::fmt;

use super::cell::Kind;
use super::codec::{Malformed, Reader, number_len, put_bytes, put_number};
use super::limits::{MAX_KEY_BYTES, MAX_VALUE_BYTES};

/// One change of a cell.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Op {
    Remember { key: Vec<u8>, value: Vec<u8>, expires_at: u64 },
    Forget { key: Vec<u8> },
    Tally { key: Vec<u8>, at: u64, window: u32, amount: u32 },
    TallyDistinct { key: Vec<u8>, at: u64, window: u32, member: u64 },
}

impl Op {
    /// Whether it is an addition to a counter or a set, which commutes with the others.
    pub(super) fn is_tally(&self) -> bool {
        matches!(self, Self::Tally { .. } | Self::TallyDistinct { .. })
    }

    /// The kind and key of the item that it changes.
    pub(super) fn place(&self) -> (Kind, &[u8]) {
        match self {
            Self::Remember { key, .. } | Self::Forget { key } => (Kind::Value, key),
            Self::Tally { key, .. } => (Kind::Counter, key),
            Self::TallyDistinct { key, .. } => (Kind::Distinct, key),
        }
    }

    /// The length of the encoding.
    pub(super) fn encoded_len(&self) -> usize {
        let bytes = |bytes: &[u8]| number_len(bytes.len() as u64) + bytes.len();
        1 + match self {
            Self::Remember { key, value, expires_at } => {
                bytes(key) + bytes(value) + number_len(*expires_at)
            }
            Self::Forget { key } => bytes(key),
            Self::Tally { key, at, window, amount } => {
                let numbers = [*at, u64::from(*window), u64::from(*amount)];
                bytes(key) + numbers.map(number_len).iter().sum::<usize>()
            }
            Self::TallyDistinct { key, at, window, member } => {
                let numbers = [*at, u64::from(*window)].map(number_len);
                bytes(key) + numbers.iter().sum::<usize>() + size_of_val(member)
            }
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Remember { key, value, expires_at } => {
                out.push(0);
                put_bytes(out, key);
                put_bytes(out, value);
                put_number(out, *expires_at);
            }
            Self::Forget { key } => {
                out.push(1);
                put_bytes(out, key);
            }
            Self::Tally { key, at, window, amount } => {
                out.push(2);
                put_bytes(out, key);
                put_number(out, *at);
                put_number(out, u64::from(*window));
                put_number(out, u64::from(*amount));
            }
            Self::TallyDistinct { key, at, window, member } => {
                out.push(3);
                put_bytes(out, key);
                put_number(out, *at);
                put_number(out, u64::from(*window));
                out.extend_from_slice(&member.to_be_bytes());
            }
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let tag = reader.byte()?;
        let key = reader.bytes(MAX_KEY_BYTES)?.to_vec();
        Ok(match tag {
            0 => {
                let value = reader.bytes(MAX_VALUE_BYTES)?.to_vec();
                Self::Remember { key, value, expires_at: reader.number()? }
            }
            1 => Self::Forget { key },
            2 => Self::Tally {
                key,
                at: reader.number()?,
                window: reader.number_u32()?,
                amount: reader.number_u32()?,
            },
            3 => Self::TallyDistinct {
                key,
                at: reader.number()?,
                window: reader.number_u32()?,
                member: u64::from_be_bytes(reader.array()?),
            },
            _ => return Err(Malformed),
        })
    }
}

impl fmt::Debug for Op {
    /// Neither keys nor values: they are personal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} [redacted]", self.place().0)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: u64 = 1_800_000_000_000;

    pub(in super::super) fn any_op() -> impl Strategy<Value = Op> {
        let key = || prop::collection::vec(0_u8..4, 1..3);
        prop_oneof![
            (key(), prop::collection::vec(any::<u8>(), 0..40), 0_u64..100_000)
                .prop_map(|(key, value, ttl)| Op::Remember { key, value, expires_at: START + ttl }),
            key().prop_map(|key| Op::Forget { key }),
            (key(), 0_u64..100_000, 1_u32..50, 1_u32..4).prop_map(|(key, at, window, amount)| {
                Op::Tally { key, at: START + at, window, amount }
            }),
            (key(), 0_u64..100_000, 1_u32..50, any::<u64>()).prop_map(
                |(key, at, window, member)| Op::TallyDistinct {
                    key,
                    at: START + at,
                    window,
                    member
                }
            ),
        ]
    }

    proptest! {
        #[test]
        fn an_operation_comes_back(op in any_op(), bytes: Vec<u8>) {
            let mut out = Vec::new();
            op.write(&mut out);
            prop_assert_eq!(out.len(), op.encoded_len());
            prop_assert_eq!(Op::read(&mut Reader::new(&out)), Ok(op));
            let mut reader = Reader::new(&bytes);
            if let Ok(op) = Op::read(&mut reader) {
                let mut out = Vec::new();
                op.write(&mut out);
                prop_assert_eq!(&bytes[..bytes.len() - reader.rest().len()], &out[..]);
            }
        }
    }

    #[test]
    fn nothing_personal_is_printed() {
        let op = Op::Remember { key: b"device".to_vec(), value: b"laptop".to_vec(), expires_at: 1 };
        assert_eq!(format!("{op:?}"), "Value [redacted]");
    }
}
