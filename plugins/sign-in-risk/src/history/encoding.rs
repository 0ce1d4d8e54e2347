//! The stored form of a history: few bytes, and one form for each history.
//!
//! Invariants: what is encoded decodes to the same; what decodes encodes to the same bytes; nothing
//! is longer than 700 bytes; bytes that no encoder wrote are refused and never panic.
//!
//! Layout, integers in big-endian order: version `1`; first sign-in (4), total (2), horizon (4),
//! 24 hours (1 each); number of denials (1) and each time (4); number of features (1) and each (29,
//! ascending): address 4, ASN 4, country 2, user agent 4, browser 2, system 2, class 1, family 2,
//! device 4, latitude 2, longitude 2 (−32,768 where there is no place); number of sign-ins (1) and
//! each (5, ascending): time 4, index of its features 1.

use std::collections::BTreeSet;

use super::{Features, History, MAX_DENIALS, MAX_SIGN_INS, MAX_TUPLES, Place};

/// Stored bytes that are no history of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DecodeError {
    /// Another version of the plugin wrote them.
    Version(u8),
    /// No version wrote them.
    Malformed,
}

impl History {
    /// The bytes to store.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let tuples: Vec<&Features> = self.tuples().into_iter().collect();
        let mut bytes = Vec::with_capacity(700);
        bytes.push(VERSION);
        bytes.extend(self.first_seen.to_be_bytes());
        bytes.extend(self.total.to_be_bytes());
        bytes.extend(self.horizon.to_be_bytes());
        bytes.extend(self.hours);
        bytes.push(length(self.denials.len()));
        for time in &self.denials {
            bytes.extend(time.to_be_bytes());
        }
        bytes.push(length(tuples.len()));
        for features in &tuples {
            encode_features(features, &mut bytes);
        }
        bytes.push(length(self.sign_ins.len()));
        for (seconds, features) in &self.sign_ins {
            bytes.extend(seconds.to_be_bytes());
            bytes.push(length(tuples.partition_point(|other| *other < features)));
        }
        bytes
    }

    /// Reads stored bytes.
    ///
    /// # Errors
    /// Bytes that [`History::encode`] of this version did not write.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        match bytes.first() {
            Some(&VERSION) => {}
            Some(other) => return Err(DecodeError::Version(*other)),
            None => return Err(DecodeError::Malformed),
        }
        let history = Reader(bytes).history().ok_or(DecodeError::Malformed)?;
        // One form only: order, unused features and everything else is checked at once.
        if history.encode() == bytes { Ok(history) } else { Err(DecodeError::Malformed) }
    }
}

/// The bytes of features, as a history and a session store them.
pub(crate) fn encode_features(features: &Features, bytes: &mut Vec<u8>) {
    bytes.extend(features.address.to_be_bytes());
    bytes.extend(features.asn.to_be_bytes());
    bytes.extend(features.country);
    bytes.extend(features.agent.to_be_bytes());
    bytes.extend(features.browser.to_be_bytes());
    bytes.extend(features.system.to_be_bytes());
    bytes.push(features.class);
    bytes.extend(features.family.to_be_bytes());
    bytes.extend(features.device.to_be_bytes());
    let (latitude, longitude) = features.place.map_or((NO_PLACE, 0), Place::hundredths);
    bytes.extend(latitude.to_be_bytes());
    bytes.extend(longitude.to_be_bytes());
}

/// Takes values from the front of bytes.
pub(crate) struct Reader<'a>(pub &'a [u8]);

impl Reader<'_> {
    fn history(&mut self) -> Option<History> {
        self.take::<1>()?;
        let mut history = History {
            first_seen: self.u32()?,
            total: self.u16()?,
            horizon: self.u32()?,
            hours: self.take()?,
            denials: Vec::new(),
            sign_ins: BTreeSet::new(),
        };
        for _ in 0..self.count(MAX_DENIALS)? {
            history.denials.push(self.u32()?);
        }
        if !history.denials.is_sorted() {
            return None;
        }
        let mut tuples = Vec::new();
        for _ in 0..self.count(MAX_TUPLES)? {
            tuples.push(self.features()?);
        }
        for _ in 0..self.count(MAX_SIGN_INS)? {
            let seconds = self.u32()?;
            let features = tuples.get(usize::from(self.u8()?))?;
            if seconds <= history.horizon {
                return None;
            }
            history.sign_ins.insert((seconds, *features));
        }
        self.0.is_empty().then_some(history)
    }

    /// The features that [`encode_features`] wrote.
    pub(crate) fn features(&mut self) -> Option<Features> {
        Some(Features {
            address: self.u32()?,
            asn: self.u32()?,
            country: self.take()?,
            agent: self.u32()?,
            browser: self.u16()?,
            system: self.u16()?,
            class: self.u8()?,
            family: self.u16()?,
            device: self.u32()?,
            place: {
                let latitude = i16::from_be_bytes(self.take()?);
                let longitude = i16::from_be_bytes(self.take()?);
                match latitude {
                    NO_PLACE => None,
                    _ => Some(Place::from_hundredths(latitude, longitude)?),
                }
            },
        })
    }

    /// A number of things, at most `most`.
    fn count(&mut self, most: usize) -> Option<usize> {
        Some(usize::from(self.u8()?)).filter(|count| *count <= most)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.take().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    pub(crate) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }
}

fn length(length: usize) -> u8 {
    u8::try_from(length).unwrap_or(u8::MAX)
}

/// The version of the layout.
const VERSION: u8 = 1;

/// Stands for the latitude of a place that is not known.
const NO_PLACE: i16 = i16::MIN;
