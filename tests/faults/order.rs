//! No decision without its record: system calls show that before the first byte of an answer was given to a socket, an `fdatasync` of the
//! file with its record had begun after the record was written, and had finished.

use portcullis_tests::{Host, require_tool};

use super::answer_ledger::Ledger;
use super::deployment;
use super::trace::{self, Call};

#[test]
fn no_answer_is_written_before_its_record_is_synced() {
    let deployment = deployment();
    let output = deployment.path("trace");
    let command = require_tool!(trace::traced(&output));
    let ledger = Ledger::default();
    let host = Host::start_with(&deployment.path(""), command);
    ledger.under_load(host, |host| {
        ledger.until(150);
        drop(host.stop());
    });

    let calls = trace::read(&output);
    let written: Vec<_> = calls.iter().filter_map(Frame::of).collect();
    let mut answers = 0;
    for answer in calls
        .iter()
        .filter(|call| ["write", "writev", "sendto", "sendmsg"].contains(&call.name.as_str()))
    {
        let Some(index) = names_record(answer) else { continue };
        let synced =
            written.iter().filter(|frame| (frame.first..frame.end).contains(&index)).any(|frame| {
                calls.iter().any(|sync| {
                    let syncs =
                        ["fdatasync", "fsync"].contains(&sync.name.as_str()) && sync.result == 0;
                    let during = sync.began > frame.ended
                        && sync.ended.is_some_and(|ended| ended < answer.began);
                    syncs && during && sync.descriptor() == frame.file
                })
            });
        assert!(
            synced,
            "the answer with record {index} was written on line {} of the trace, unsynced",
            answer.began + 1
        );
        answers += 1;
    }
    // Every answer that arrived was seen leaving; more may have left than arrived.
    assert!(answers >= ledger.len(), "{answers} of {}", ledger.len());
    ledger.hold_against(&deployment);
}

/// A commit of the write-ahead log: records `first` to `end`, whole in `file` when line `ended` of the trace was written.
struct Frame {
    file: String,
    first: u64,
    end: u64,
    ended: usize,
}

impl Frame {
    /// The frame that a call wrote whole; its head is numbers in network order (docs/audit-log.md).
    fn of(call: &Call) -> Option<Self> {
        let file = call.descriptor();
        if call.name != "pwrite64" || !file.ends_with(".segment") {
            return None;
        }
        let bytes = call.texts().into_iter().next()?;
        let first = u64::from_be_bytes(bytes.get(24..32)?.try_into().ok()?);
        let count = u32::from_be_bytes(bytes.get(12..16)?.try_into().ok()?);
        let whole = usize::try_from(call.result).ok()? == bytes.len();
        (whole && count > 0).then_some(Self {
            file,
            first,
            end: first + u64::from(count),
            ended: call.ended?,
        })
    }
}

/// The record that an answer names in its `debugContext`.
fn names_record(call: &Call) -> Option<u64> {
    let text = String::from_utf8_lossy(&call.texts().concat()).into_owned();
    let (_, reference) = text.split_once(r#""record":""#)?;
    assert!(text.starts_with("HTTP/1.1 200"), "an answer that does not begin with its head");
    reference.split('"').next()?.rsplit_once('#')?.1.parse().ok()
}
