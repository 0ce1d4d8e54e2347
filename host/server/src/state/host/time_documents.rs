//! Time resets and clock confirmations: from a file in the host's folder to a record and its
//! effect.
//!
//! Invariant: a document is verified, recorded and remembered, and works once. A time reset changes
//! the time in the very moment in which its record gets its place in the log, so that no record
//! before it has the new time and none after it the old one. Reads files, so it runs on no thread
//! that serves connections.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_audit::{Entry, Pending};
use portcullis_files::{MAX_ENTRIES, Stamp, list_newest, read_bounded};
use portcullis_model::json::{build_members, build_object};
use portcullis_model::sha256;
use portcullis_trust::{
    ClockConfirmation, Envelope, Refusal, TimeDocuments, TimeReset, TrustHistory, time,
};

use super::{Host, LateTrust};
use crate::fs::file_worker::{FileWorker, POLL_LIMIT};
use crate::fs::late_read::unchanged;
use crate::trust::state::with_state_delta;

/// The results of the documents in the folder.
#[derive(Default)]
pub struct AppliedDocuments {
    /// Whether one of them had an effect.
    pub changed: bool,
    /// Those that had none, and why.
    pub refused: Vec<RefusedDocument>,
}

/// The files of the folder, and their bytes or why they cannot be read.
#[derive(Default)]
pub struct FoundDocuments {
    documents: Vec<(PathBuf, Result<Vec<u8>, String>)>,
    /// The same files with the stamps that they had before they were read.
    stamps: Vec<(PathBuf, Option<Stamp>)>,
    /// Files that were not read: there are too many.
    overlooked: u64,
}

/// A document that was refused.
pub struct RefusedDocument {
    /// Its file.
    pub path: PathBuf,
    /// Its stable code.
    pub code: &'static str,
    /// The problem with it.
    pub sentence: String,
    hint: Option<String>,
}

impl FoundDocuments {
    /// Leaves out the files of which this does not say that they are as they were when they were
    /// read: what was withdrawn meanwhile has no effect.
    fn leave_out_changed(&mut self, unchanged: &[bool]) {
        let mut unchanged = unchanged.iter();
        self.documents.retain(|_| unchanged.next().is_some_and(|is_unchanged| *is_unchanged));
    }
}

impl LateTrust {
    /// Reads the folder on a thread that may hang; what is late is taken up by a later poll,
    /// without the files that are not as they were any more.
    fn read_time_documents(
        &self,
        worker: &FileWorker,
        limit: Duration,
        folder: PathBuf,
    ) -> Option<FoundDocuments> {
        self.time_documents_unread.store(true, Ordering::Release);
        let read = self.time_documents.poll(worker, limit, None, move || read(&folder));
        let mut found = read.value?;
        if read.is_late {
            let stamps = std::mem::take(&mut found.stamps);
            let files = stamps.len();
            let unchanged = unchanged(worker, limit, stamps);
            found.leave_out_changed(&unchanged);
            if unchanged.len() < files {
                // The rest is read again; what is known takes effect now.
                return Some(found);
            }
        }
        self.time_documents_unread.store(false, Ordering::Release);
        Some(found)
    }
}

impl Host {
    /// Uses the time resets and clock confirmations that lie in the host's folder. Blocks on the
    /// log.
    pub fn apply_time_documents(&self) -> AppliedDocuments {
        let folder = self.active_config.load().config.trust.time_documents.clone();
        let mut applied = AppliedDocuments::default();
        let (worker, late) = (&self.files.time_documents, &self.trust.late);
        let Some(found) = late.read_time_documents(worker, POLL_LIMIT, folder) else {
            return applied;
        };
        late.overlook(&late.time_documents_overlooked, "time-documents", found.overlooked);
        for (path, content) in found.documents {
            let used = content
                .map_err(|why| RefusedDocument::unreadable(&why))
                .and_then(|envelope| self.apply_time_document(&envelope));
            match used {
                Ok(()) => {
                    applied.changed = true;
                    // Out of the way, so that it is not taken for another try. Where the host may
                    // not write there it is refused as used from now on.
                    let mut used = path.clone().into_os_string();
                    used.push(USED);
                    let _ = worker.run(POLL_LIMIT, move || drop(fs::rename(&path, used)));
                }
                Err(mut refused) => {
                    refused.path = path;
                    applied.refused.push(refused);
                }
            }
        }
        applied
    }

    fn apply_time_document(&self, envelope: &[u8]) -> Result<(), RefusedDocument> {
        let kind = Envelope::parse(envelope)?;
        match kind.payload_type() {
            TimeReset::PAYLOAD_TYPE => self.apply_time_reset(envelope),
            ClockConfirmation::PAYLOAD_TYPE => self.apply_confirmation(envelope),
            // Refuses it, by its type.
            _ => Ok(TimeReset::unverified(envelope).map(drop)?),
        }
    }

    fn apply_time_reset(&self, envelope: &[u8]) -> Result<(), RefusedDocument> {
        let mut trust_state = self.trust_state();
        let log = trust_state.log_key().ok_or_else(RefusedDocument::too_early)?;
        let used = trust_state.history().time.unwrap_or_default();
        // The host's own clock decides: trusted time is what is wrong.
        let clock = self.clock.now();
        let reset = TimeReset::verify(trust_state.root(), envelope, log, used, clock)?;
        let piece = TrustHistory {
            time: Some(TimeDocuments { reset: reset.serial, ..TimeDocuments::default() }),
            ..TrustHistory::default()
        };
        let document = sha256(Envelope::parse(envelope)?.unverified_payload());
        let fields = build_members(|fields| {
            fields
                .number("serial", reset.serial)
                .number("floor", reset.floor)
                .number("before", self.trust.time.now())
                .number("clock", clock)
                .display("document", document);
        });
        let sealed = Some(sealed(envelope, [&reset.person, &reset.reason, &reset.ticket]));
        let fields = with_state_delta(&fields, &piece).map_err(RefusedDocument::not_recorded)?;
        let entry = Entry { kind: "trust.time-reset", fields, sealed };
        let time = &self.trust.time;
        let pending = self.recorder.log.append_reset(entry, || time.reset(reset.floor));
        pending
            .map_err(RefusedDocument::not_recorded)?
            .wait()
            .map_err(RefusedDocument::not_recorded)?;
        trust_state.remember(&piece);
        tracing::warn!(
            event = "clock.reset",
            serial = reset.serial,
            floor = %time::format(reset.floor),
            "a signed time reset set trusted time back"
        );
        Ok(())
    }

    fn apply_confirmation(&self, envelope: &[u8]) -> Result<(), RefusedDocument> {
        let mut trust_state = self.trust_state();
        let log = trust_state.log_key().ok_or_else(RefusedDocument::too_early)?;
        let used = trust_state.history().time.unwrap_or_default();
        let clock = self.clock.now();
        let it = ClockConfirmation::verify(trust_state.root(), envelope, log, used, clock)?;
        let piece = TrustHistory {
            time: Some(TimeDocuments { confirmed: it.issued, ..used }),
            ..TrustHistory::default()
        };
        let document = sha256(Envelope::parse(envelope)?.unverified_payload());
        let fields = build_members(|fields| {
            fields.number("issued", it.issued).number("clock", clock);
            fields.display("document", document);
        });
        let sealed = Some(sealed(envelope, [&it.person, &it.reason, &it.ticket]));
        let fields = with_state_delta(&fields, &piece).map_err(RefusedDocument::not_recorded)?;
        let entry = Entry { kind: "trust.clock-confirmation", fields, sealed };
        let recorded = self.recorder.log.append(entry).map(Pending::wait);
        recorded.map_err(RefusedDocument::not_recorded)?.map_err(RefusedDocument::not_recorded)?;
        trust_state.remember(&piece);
        self.trust.time.confirm(it.issued);
        tracing::warn!(
            event = "clock.confirmation",
            issued = %time::format(it.issued),
            "a signed document confirmed this machine's clock"
        );
        Ok(())
    }
}

impl RefusedDocument {
    /// Tells the operator.
    pub fn log(&self) {
        let (code, sentence, hint) = (self.code, &self.sentence, &self.hint);
        let file = self.path.display();
        tracing::warn!(
            event = "clock.document-refused",
            code,
            hint,
            %file,
            "a time document was refused: {sentence}"
        );
    }

    /// The record of it.
    pub fn entry(&self) -> Entry {
        let sealed = format!("{}: {}", self.path.display(), self.sentence);
        let fields = build_members(|fields| {
            fields.text("code", self.code);
        });
        Entry { kind: "trust.refused", fields, sealed: Some(sealed.into_bytes()) }
    }

    fn unreadable(why: &str) -> Self {
        let hint = Some("check that it is a file that the host may read".to_owned());
        Self { path: PathBuf::new(), code: "unreadable", sentence: why.to_owned(), hint }
    }

    fn not_recorded(why: impl ToString) -> Self {
        let hint = Some("check the disk; the host tries the document again".to_owned());
        Self { path: PathBuf::new(), code: "not-durable", sentence: why.to_string(), hint }
    }

    fn too_early() -> Self {
        Self::not_recorded("the audit log is not open yet")
    }
}

impl From<Refusal> for RefusedDocument {
    fn from(refusal: Refusal) -> Self {
        let (code, sentence, hint) = (refusal.code(), refusal.to_string(), refusal.hint());
        Self { path: PathBuf::new(), code, sentence, hint }
    }
}

/// The newest documents of the folder, in the order of their names, or why one cannot be read: nobody hides a document
/// behind older files.
fn read(folder: &Path) -> FoundDocuments {
    let newest = list_newest(folder, &[".json"], MAX_FILES, MAX_ENTRIES).unwrap_or_default();
    let overlooked = newest.passed_over();
    let files = newest.in_order().into_iter().map(|(name, stamp)| (folder.join(name), stamp));
    let stamps: Vec<_> = files.collect();
    let content =
        |path: &Path| read_bounded(path, MAX_DOCUMENT_BYTES).map_err(|error| error.to_string());
    let documents = stamps.iter().map(|(path, _)| (path.clone(), content(path))).collect();
    FoundDocuments { documents, stamps, overlooked }
}

/// The sealed part: who, why, under which ticket, and the document itself.
fn sealed(envelope: &[u8], [person, reason, ticket]: [&String; 3]) -> Vec<u8> {
    let text = build_object(|sealed| {
        sealed
            .text("person", person)
            .text("reason", reason)
            .text("ticket", ticket)
            .text("envelope", &STANDARD.encode(envelope));
    });
    text.into_bytes()
}

/// The ending of the name of a used document.
const USED: &str = ".used";
/// Documents that are looked at.
const MAX_FILES: usize = 64;
/// The largest document that is read, bytes.
const MAX_DOCUMENT_BYTES: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_document_that_was_withdrawn_while_the_folder_hung_has_no_effect() {
        let home = tempfile::tempdir().unwrap();
        for name in ["a.json", "b.json"] {
            fs::write(home.path().join(name), name).unwrap();
        }
        let (late, worker) =
            (LateTrust::default(), FileWorker::new("test", Duration::from_secs(60)));
        let (go_on, waits) = channel::<()>();
        let (has_read, was_read) = channel();
        let there = home.path().to_owned();
        // It hangs after the files were read.
        let hangs = move || {
            let found = read(&there);
            has_read.send(()).unwrap();
            let _ = waits.recv();
            found
        };
        let short = Duration::from_millis(1);
        assert!(late.time_documents.poll(&worker, short, None, hangs).value.is_none());
        was_read.recv().unwrap();
        fs::remove_file(home.path().join("a.json")).unwrap();
        drop(go_on);
        let long = Duration::from_secs(60);
        let found = late.read_time_documents(&worker, long, home.path().to_owned()).unwrap();
        assert_eq!(found.documents, [(home.path().join("b.json"), Ok(b"b.json".to_vec()))]);
        assert!(late.is_all_read());
    }
}
