//! What the host and its child say to each other, and what an entry of the cache holds: bytes of exactly one form.
//!
//! Invariant: numbers are big-endian, everything of no fixed length has its length before it, and what is cut, longer or unknown is
//! nothing. Nobody outside reads this: both ends are one build.

use std::time::Duration;

use portcullis_model::{Digest, Redacted};

use crate::error::PrepareError;
use crate::fault::Fault;
use crate::host_functions::HostFunctionError;
use crate::prepare::{CompiledPlugin, PrepareJob};

/// Bytes of an answer: many times the code of a Python plugin.
pub(crate) const MAX_ANSWER_BYTES: u64 = 512 << 20;
/// The beginning of a job.
pub(crate) const JOB: &[u8; 8] = b"pcjob\0\0\x01";
/// The beginning of what was made.
const MADE: &[u8; 8] = b"pcmade\0\x01";
/// The beginning of a refusal.
const REFUSED: &[u8; 8] = b"pcno\0\0\0\x01";

/// A job that was read.
pub(crate) struct OwnedJob {
    pub(crate) component: Vec<u8>,
    pub(crate) settings: String,
    pub(crate) memory_bytes: u64,
    pub(crate) configure_time: Duration,
}

/// Everything of a job but component and settings, whose bytes follow in this order.
pub(crate) fn job_head(job: &PrepareJob<'_>) -> Vec<u8> {
    let mut head = JOB.to_vec();
    let micros = u64::try_from(job.configure_time.as_micros()).unwrap_or(u64::MAX);
    for number in [job.memory_bytes, micros, size(job.component), size(job.settings.as_bytes())] {
        head.extend_from_slice(&number.to_be_bytes());
    }
    head
}

/// Reads a job.
pub(crate) fn read_job(bytes: &[u8]) -> Option<OwnedJob> {
    let mut reader = Reader(bytes);
    reader.expect(JOB)?;
    let (memory_bytes, micros) = (reader.number()?, reader.number()?);
    let (component, settings) = (reader.length()?, reader.length()?);
    let (component, settings) = (reader.take(component)?, reader.take(settings)?);
    reader.end()?;
    Some(OwnedJob {
        component: component.to_vec(),
        settings: String::from_utf8(settings.to_vec()).ok()?,
        memory_bytes,
        configure_time: Duration::from_micros(micros),
    })
}

/// Writes what was made.
pub(crate) fn write_made(made: &CompiledPlugin) -> Vec<u8> {
    let mut bytes = MADE.to_vec();
    bytes.extend_from_slice(&made.snapshot.0);
    bytes.extend_from_slice(&made.snapshot_bytes.to_be_bytes());
    put_list(&mut bytes, &made.notes);
    put(&mut bytes, &made.code);
    bytes
}

/// Reads what was made. The code is cut out of `bytes`, not copied.
pub(crate) fn read_made(mut bytes: Vec<u8>) -> Option<CompiledPlugin> {
    let mut reader = Reader(&bytes);
    reader.expect(MADE)?;
    let snapshot = Digest(reader.take(32)?.try_into().ok()?);
    let snapshot_bytes = reader.number()?;
    let notes = reader.list()?;
    let length = reader.length()?;
    if reader.0.len() != length {
        return None;
    }
    let code = bytes.split_off(bytes.len().checked_sub(length)?);
    Some(CompiledPlugin { code, snapshot, snapshot_bytes, notes })
}

/// Writes what became of a job.
pub(crate) fn write_result(result: &Result<CompiledPlugin, PrepareError>) -> Vec<u8> {
    let refused = match result {
        Ok(made) => return write_made(made),
        Err(refused) => refused,
    };
    let mut bytes = REFUSED.to_vec();
    match refused {
        PrepareError::NoSnapshot { why } => put_tagged(&mut bytes, 1, why),
        PrepareError::NotCompiled { why } => put_tagged(&mut bytes, 2, why),
        PrepareError::Configure(fault) => {
            bytes.push(3);
            put_fault(&mut bytes, fault);
        }
        PrepareError::Settings(complaints) => {
            bytes.push(4);
            put_list(&mut bytes, complaints.expose());
        }
        // Nothing else is found out where plugins are made.
        other => put_tagged(&mut bytes, 2, &other.to_string()),
    }
    bytes
}

/// Reads what became of a job.
pub(crate) fn read_result(bytes: Vec<u8>) -> Option<Result<CompiledPlugin, PrepareError>> {
    if bytes.starts_with(MADE) {
        return read_made(bytes).map(Ok);
    }
    let mut reader = Reader(&bytes);
    reader.expect(REFUSED)?;
    let refused = match reader.byte()? {
        1 => PrepareError::NoSnapshot { why: reader.text()? },
        2 => PrepareError::NotCompiled { why: reader.text()? },
        3 => PrepareError::Configure(reader.fault()?),
        4 => PrepareError::Settings(Redacted::new(reader.list()?)),
        _ => return None,
    };
    reader.end()?;
    Some(Err(refused))
}

fn size(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn put(bytes: &mut Vec<u8>, what: &[u8]) {
    bytes.extend_from_slice(&size(what).to_be_bytes());
    bytes.extend_from_slice(what);
}

fn put_tagged(bytes: &mut Vec<u8>, tag: u8, text: &str) {
    bytes.push(tag);
    put(bytes, text.as_bytes());
}

fn put_list(bytes: &mut Vec<u8>, texts: &[String]) {
    bytes.extend_from_slice(&u64::try_from(texts.len()).unwrap_or(u64::MAX).to_be_bytes());
    texts.iter().for_each(|text| put(bytes, text.as_bytes()));
}

fn put_fault(bytes: &mut Vec<u8>, fault: &Fault) {
    match fault {
        Fault::Trap(text) => put_tagged(bytes, 1, text),
        Fault::Deadline => bytes.push(2),
        Fault::Memory => bytes.push(3),
        Fault::Stack => bytes.push(4),
        Fault::Output => bytes.push(5),
        Fault::Malformed => bytes.push(6),
        Fault::Error(text) => put_tagged(bytes, 7, text.expose()),
        Fault::NoSlot => bytes.push(8),
        Fault::HostFunction(error) => {
            let number = HostFunctionError::ALL.iter().position(|known| known == error);
            let number = number.and_then(|number| u8::try_from(number).ok());
            bytes.extend_from_slice(&[9, number.unwrap_or(u8::MAX)]);
        }
    }
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn expect(&mut self, beginning: &[u8]) -> Option<()> {
        (self.take(beginning.len())? == beginning).then_some(())
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    fn text(&mut self) -> Option<String> {
        let length = self.length()?;
        String::from_utf8(self.take(length)?.to_vec()).ok()
    }

    fn list(&mut self) -> Option<Vec<String>> {
        (0..self.number()?).map(|_| self.text()).collect()
    }

    fn fault(&mut self) -> Option<Fault> {
        Some(match self.byte()? {
            1 => Fault::trap(&self.text()?),
            2 => Fault::Deadline,
            3 => Fault::Memory,
            4 => Fault::Stack,
            5 => Fault::Output,
            6 => Fault::Malformed,
            7 => Fault::Error(Redacted::new(self.text()?)),
            8 => Fault::NoSlot,
            9 => Fault::HostFunction(*HostFunctionError::ALL.get(usize::from(self.byte()?))?),
            _ => return None,
        })
    }

    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn made(notes: Vec<String>, code: Vec<u8>) -> CompiledPlugin {
        CompiledPlugin { code, snapshot: Digest([7; 32]), snapshot_bytes: 42, notes }
    }

    fn refusals() -> Vec<PrepareError> {
        let mut all = vec![
            PrepareError::NoSnapshot { why: "a".into() },
            PrepareError::NotCompiled { why: String::new() },
            PrepareError::Settings(Redacted::new(vec!["x".into(), String::new()])),
        ];
        let faults = [
            Fault::Deadline,
            Fault::Memory,
            Fault::Stack,
            Fault::Output,
            Fault::Malformed,
            Fault::NoSlot,
        ];
        let faults = faults.into_iter().chain([Fault::Error(Redacted::new("words".into()))]);
        let faults = faults.chain(crate::fault::TRAPS.into_iter().map(Fault::Trap));
        let faults = faults.chain(HostFunctionError::ALL.map(Fault::HostFunction));
        all.extend(faults.map(PrepareError::Configure));
        all
    }

    #[test]
    fn what_became_of_a_job_comes_through() {
        for refused in refusals() {
            assert_eq!(read_result(write_result(&Err(refused.clone()))), Some(Err(refused)));
        }
        let odd = PrepareError::Limits;
        assert_eq!(
            read_result(write_result(&Err(odd.clone()))),
            Some(Err(PrepareError::NotCompiled { why: odd.to_string() }))
        );
    }

    proptest! {
        #[test]
        fn whole_or_nothing(
            notes in prop::collection::vec(".{0,9}", 0..4), code in prop::collection::vec(any::<u8>(), 0..40), settings in ".{0,20}"
        ) {
            let made = made(notes, code.clone());
            let bytes = write_result(&Ok(made.clone()));
            prop_assert_eq!(read_result(bytes.clone()), Some(Ok(made)));
            let (memory_bytes, configure_time) = (9, Duration::from_millis(3));
            let job = PrepareJob { component: &code, settings: &settings, memory_bytes, configure_time };
            let whole = [job_head(&job), code.clone(), settings.clone().into_bytes()].concat();
            let read = read_job(&whole).unwrap();
            prop_assert!(read.component == code && read.settings == settings && read.memory_bytes == 9);
            prop_assert_eq!(read.configure_time, configure_time);
            for (bytes, read) in [
                (&bytes, (|bytes| read_result(bytes).is_some()) as fn(Vec<u8>) -> bool),
                (&whole, |bytes| read_job(&bytes).is_some()),
            ] {
                for cut in 0..bytes.len() {
                    prop_assert!(!read(bytes[..cut].to_vec()), "cut at {}", cut);
                }
                prop_assert!(!read([bytes.as_slice(), b"x"].concat()));
            }
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..80), which in 0..4usize) {
            let begin: &[u8] = [&JOB[..], MADE, REFUSED, b""][which];
            let bytes = [begin, &bytes].concat();
            let _ = read_job(&bytes);
            let _ = read_result(bytes);
        }
    }
}
