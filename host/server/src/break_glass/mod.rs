//! Break-glass: one hook held open for a while, because some people have signed that it may be.
//!
//! Invariant: a document works once, for the minutes that it was signed for, which are at most
//! [`BreakGlass::MAX_MINUTES`], and ends by itself; it never waives a revocation or the record.
//! That it is spent is in the emergency ring, or in the host's own folder, before it holds. Opening
//! needs neither the log nor the network. This thread writes to these two places, both on the
//! host's own disks: one that hangs holds it up. The folder of documents is read and its files are
//! renamed on a thread that may hang, for which this one waits no longer than [`POLL_LIMIT`] at a
//! time. What happened is in the log once the log takes records; of refusals beyond
//! [`MAX_PENDING_RECORDS`](records::MAX_PENDING_RECORDS) that wait for it only the host's log
//! tells.

mod active_override;
mod folder;
mod opened;
mod records;
mod ring;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use portcullis_audit::Log;
use portcullis_files::{HeldFolder, read_bounded};
use portcullis_model::Millis;
use portcullis_model::json::build_members;
use portcullis_trust::{BreakGlass, Refusal, TrustHistory, TrustRoot};

use crate::clock::{elapsed_since, monotonic_now};
use crate::config::Config;
use crate::fs::file_worker::{FileWorker, FileWorkers, POLL_LIMIT};
use crate::fs::late_read::{LateRead, unchanged};
use crate::recorder::pending_records::PendingRecords;
use crate::state_mac::StateMac;
use crate::trust::state::Learned;
pub use active_override::{ActiveOverride, Place, Places, current};
pub use ring::{RING_CAUSE, is_recorded, recovered};

use folder::{BreakGlassFolder, FolderPoll, OpenRequest, Refused, archive};
use opened::{LIST, MAX_LIST_BYTES, OpenedDocument, OpenedDocuments};
use records::RecordTag;

/// The parts of the host that break-glass needs.
pub struct BreakGlassContext<'a> {
    /// The tenant, and where the documents lie.
    pub config: &'a Config,
    /// Threads for file operations that may hang.
    pub files: &'a FileWorkers,
    /// Trusted time.
    pub now: Millis,
    /// The trust root, as it is when a document is opened.
    pub root: &'a ArcSwap<TrustRoot>,
    /// The audit log.
    pub log: &'a Log,
    /// The hooks of the active configuration, and what is open on each.
    pub hooks: Vec<(Arc<str>, Place)>,
    /// The same of hooks by their names, also of those that are not configured any more.
    pub names: &'a dyn Places,
}

/// The documents that were opened here.
pub struct BreakGlassState {
    mac: StateMac,
    file: PathBuf,
    /// The host's own folder, held open: the list is written there and nowhere else.
    state_folder: Option<Arc<HeldFolder>>,
    state: Mutex<State>,
    /// Documents that were spent since the keeper asked last, and until when they could have been
    /// opened; and those whose record is durable since.
    used: Mutex<Learned>,
    /// Shared with the thread that looks, which may hang.
    folder: Arc<Mutex<BreakGlassFolder>>,
    /// A look that has not returned.
    late_poll: LateRead<Option<FolderPoll>>,
    overlooked: AtomicU64,
}

#[derive(Default)]
struct State {
    documents: OpenedDocuments,
    /// Records that the log has not taken for good yet, with what that frees and proves.
    pending_records: PendingRecords<RecordTag>,
    /// Names in the folder that were refused, with the code.
    refused: BTreeSet<String>,
    /// The minute that is counted, since 1970.
    minute: u64,
    /// How many refusals of this minute were recorded by name.
    named_this_minute: u32,
    /// The rest of this minute, by code.
    rejected_counts: BTreeMap<&'static str, u64>,
    reminded: Option<Instant>,
    /// When the list was written last.
    saved: Option<Instant>,
}

impl BreakGlassState {
    /// Reads what was opened before. A file that is not ours is not believed: then what the log and the emergency ring know remains.
    pub fn new(state: &Path, home: Option<&Arc<HeldFolder>>, mac: StateMac) -> Self {
        let file = state.join(LIST);
        let book = match read_bounded(&file, MAX_LIST_BYTES) {
            Ok(bytes) => mac.verify(&bytes).unwrap_or_else(|why| {
                tracing::error!(
                    file = %file.display(),
                    why,
                    event = "break-glass.list-corrupt",
                    "the list of used break-glass documents failed its check; the host uses the \
                     audit log and the emergency ring instead"
                );
                OpenedDocuments::default()
            }),
            Err(_) => OpenedDocuments::default(),
        };
        Self {
            mac,
            file,
            state_folder: home.cloned(),
            state: Mutex::new(State { documents: book, ..State::default() }),
            used: Mutex::default(),
            folder: Arc::default(),
            late_poll: LateRead::default(),
            overlooked: AtomicU64::new(0),
        }
    }

    /// Learns of documents that the log, the second copy or the emergency ring knows: each is spent.
    pub fn mark_used(&self, spent: &BTreeMap<String, Millis>) {
        let mut state = self.state();
        for (id, expires) in spent {
            let gone = || OpenedDocument {
                hook: String::new(),
                opened: Millis(0),
                until: Millis(0),
                expires: *expires,
                closed: true,
                used: 0,
            };
            state.documents.documents.entry(id.clone()).or_insert_with(gone);
        }
    }

    /// Takes what the keeper has to remember: the log's head that it keeps may be past the records
    /// of these. Waits for no disk.
    pub fn take_used(&self) -> Learned {
        std::mem::take(&mut *self.newly_used())
    }

    fn newly_used(&self) -> MutexGuard<'_, Learned> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes which records are durable by now; for the end, when the thread has ended.
    pub fn collect_durable(&self, log: &Log) {
        self.flush_records(&mut self.state(), log);
    }

    /// Gives the log what it will take, and frees the ring's slots of what it has.
    fn flush_records(&self, state: &mut State, log: &Log) {
        for RecordTag { slot, used: spent } in state.pending_records.append(log) {
            slot.into_iter().for_each(|slot| drop(log.ring().settle(slot)));
            self.newly_used().recorded.used_documents.extend(spent);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many documents the folder holds beyond those that are read.
    pub fn overlooked(&self) -> u64 {
        self.overlooked.load(Ordering::Acquire)
    }

    /// Looks at the folder on a thread that may hang with it; `None` where it does not answer yet,
    /// or was looked at a moment ago. A look that takes longer is taken up by a later round,
    /// without the files that are not as they were any more. The second part says whether that is
    /// known.
    pub fn poll(
        &self,
        worker: &FileWorker,
        limit: Duration,
        path: PathBuf,
    ) -> Option<(FolderPoll, bool)> {
        let open = |(id, opened): (&String, &OpenedDocument)| (!opened.closed).then(|| id.clone());
        let open: Vec<_> = self.state().documents.documents.iter().filter_map(open).collect();
        let folder = Arc::clone(&self.folder);
        let look = move || folder.lock().unwrap_or_else(PoisonError::into_inner).poll(&path, &open);
        let late = self.late_poll.poll(worker, limit, None, look);
        let mut looked = late.value.flatten()?;
        if !late.is_late {
            return Some((looked, true));
        }
        let stamps = std::mem::take(&mut looked.stamps);
        let files = stamps.len();
        let unchanged = unchanged(worker, limit, stamps);
        looked.leave_out_changed(&unchanged);
        Some((looked, unchanged.len() == files))
    }

    /// Takes up what a look found, ends what is over, and gives the log what it has not taken yet.
    /// `polled` is `None` where the folder has not answered, and at the end of the process.
    pub fn tick(
        &self,
        context: &BreakGlassContext<'_>,
        polled: Option<(FolderPoll, bool)>,
        is_last: bool,
    ) {
        let mut state = self.state();
        let now = context.now;
        self.count_use(context, &mut state);
        if let Some((looked, is_known)) = polled {
            let mut refused = BTreeSet::new();
            for (name, content) in &looked.openings {
                let result = match content {
                    Ok(opening) => self.open(context, &mut state, opening, now),
                    Err(refused) => Err(refused.clone()),
                };
                if let Err((code, sentence)) = result {
                    let known = format!("{name} {code}");
                    if !state.refused.contains(&known) {
                        state.reject(name, code, &sentence, now);
                    }
                    refused.insert(known);
                }
            }
            // Bounded: a file that is gone is forgotten.
            if is_known {
                state.refused = refused;
            }
            for id in &looked.closing {
                self.close(context, &mut state, id, "person");
            }
            if self.overlooked.swap(looked.overlooked, Ordering::AcqRel) == 0
                && looked.overlooked > 0
            {
                tracing::error!(
                    event = "break-glass.overfull",
                    overlooked = looked.overlooked,
                    "the break-glass folder holds too many files: only the newest are read; remove \
                     the others"
                );
            }
        }
        state.record_rejected(now, is_last);
        let lasts = |opened: &OpenedDocument| opened.until.0.saturating_sub(opened.opened.0);
        let is_over = |opened: &OpenedDocument| {
            !opened.closed && (opened.until <= now || opened.used >= lasts(opened))
        };
        let over = state
            .documents
            .documents
            .iter()
            .filter(|(_, opened)| is_over(opened))
            .map(|(id, _)| id.clone());
        let over: Vec<_> = over.collect();
        over.iter().for_each(|id| self.close(context, &mut state, id, "time"));
        state.remind(context);
        self.flush_records(&mut state, context.log);
    }

    fn open(
        &self,
        context: &BreakGlassContext<'_>,
        state: &mut State,
        opening: &OpenRequest,
        now: Millis,
    ) -> Result<(), Refused> {
        let envelope = &opening.envelope;
        let refused = |refusal: Refusal| (refusal.code(), refusal.to_string());
        let claimed = BreakGlass::unverified(envelope).map_err(refused)?;
        let known = state.documents.documents.get(&claimed.id).cloned();
        // One that was opened before a restart is verified as of then: its own time goes on.
        let at = known.as_ref().filter(|known| !known.closed).map_or(now, |known| known.opened);
        if known.as_ref().is_some_and(|known| known.closed) {
            let spent = TrustHistory {
                used_documents: [(claimed.id.clone(), claimed.expires)].into(),
                ..TrustHistory::default()
            };
            return spent.check_unused(&claimed).map_err(refused);
        }
        let document = BreakGlass::verify(&context.root.load(), envelope, at).map_err(refused)?;
        let elsewhere = |what: String| ("break-glass-wrong-target", what);
        if document.tenant != context.config.tenant {
            return Err(elsewhere(format!("it is for the tenant `{}`", document.tenant)));
        }
        let hook = context.hooks.iter().find(|(name, _)| **name == *document.hook);
        let (_, place) = hook.ok_or_else(|| {
            elsewhere(format!(
                "it is for the hook `{}`, which the configuration does not have",
                document.hook
            ))
        })?;
        if current(place).is_some() {
            return Ok(());
        }
        let lasts = Millis(u64::from(document.minutes) * 60_000);
        let opened = known.clone().unwrap_or_else(|| OpenedDocument {
            hook: document.hook.clone(),
            opened: now,
            until: Millis(now.0.saturating_add(lasts.0)),
            expires: document.expires,
            closed: false,
            used: 0,
        });
        let left = opened.until.0.saturating_sub(now.0).min(lasts.0.saturating_sub(opened.used));
        if left == 0 {
            return Ok(());
        }
        if known.is_none() {
            self.record_use(context, state, &document, &opened, opening)?;
        }
        place.store(Some(Arc::new(ActiveOverride {
            id: document.id.clone(),
            waives: document.waives.clone(),
            fail_open: document.fail_open,
            expires: monotonic_now() + Duration::from_millis(left),
            opened_at: monotonic_now(),
            used_before: opened.used,
            calls: AtomicU64::new(0),
        })));
        if known.is_none() {
            self.save(state);
        }
        // After that: unless a line before says otherwise, the list in the state folder has the
        // document.
        tracing::error!(
            hook = document.hook,
            id = document.id,
            minutes = left / 60_000,
            event = "break-glass.open",
            "BREAK-GLASS: a document is active on this hook"
        );
        Ok(())
    }

    fn close(&self, context: &BreakGlassContext<'_>, state: &mut State, id: &str, why: &str) {
        let Some(opened) = state.documents.documents.get_mut(id).filter(|opened| !opened.closed)
        else {
            return;
        };
        opened.closed = true;
        let name = opened.hook.clone();
        // By its name: a hook that another configuration took away may come back.
        let place = context.names.place(&name);
        let open = place.load_full().filter(|open| open.id == id);
        let calls = open.map_or(0, |open| {
            place.store(None);
            open.calls.load(Ordering::Relaxed)
        });
        // Where the folder does not answer, its file stays and is refused as spent.
        let (folder, its_id) = (context.config.trust.break_glass.clone(), id.to_owned());
        let _ = context.files.break_glass.run(POLL_LIMIT, move || archive(&folder, &its_id));
        state.queue_record(
            "break-glass.closed",
            build_members(|fields| {
                fields.text("id", id).text("hook", &name).text("reason", why);
                fields.number("calls", calls);
            }),
            None,
            RecordTag::default(),
        );
        self.save(state);
        // After that: whoever reads this line finds the host as it is.
        tracing::error!(
            hook = name,
            id,
            reason = why,
            calls,
            event = "break-glass.closed",
            "the break-glass document is no longer active on this hook"
        );
    }
}

impl State {
    fn remind(&mut self, context: &BreakGlassContext<'_>) {
        if self.reminded.is_some_and(|reminded| elapsed_since(reminded) < REMIND_EVERY) {
            return;
        }
        self.reminded = Some(monotonic_now());
        for (name, place) in &context.hooks {
            if let Some(open) = current(place) {
                let calls = open.calls.load(Ordering::Relaxed);
                tracing::error!(
                    hook = &**name,
                    id = open.id,
                    calls,
                    event = "break-glass.still-open",
                    "BREAK-GLASS: a document is still active on this hook"
                );
            }
        }
    }
}

/// How often the host's log says that a hook is held open.
const REMIND_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
