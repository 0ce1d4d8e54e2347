//! A plugin ready to be called: a compiled snapshot, and one fresh instance of it for every call.
//!
//! Invariant: no instance is ever used twice. Every call begins with the memory that `configure` left, in a
//! store of its own that is thrown away afterwards, whatever came of it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use portcullis_model::{
    Decision, Digest, Limits, Millis, Page, Redacted, SearchPage, SearchPageError, View,
};
use wasmtime::{Engine, Store};

use crate::bindings::SearchPluginPre;
use crate::bindings::portcullis::policy::types::Call;
use crate::clock::{elapsed_since, monotonic_now};
use crate::entry::Entry;
use crate::fault::Fault;
use crate::host_functions::CallServices;
use crate::store_state::{self, StoreState};
use crate::{lift, lower};

/// A configured plugin. Clones share the code.
#[derive(Clone)]
pub struct Plugin {
    code: Arc<Code>,
    limits: Limits,
}

/// What came of one call: a decision, or a page of a search.
pub struct Evaluation<T = Decision> {
    /// The plugin's output. A decision is unchecked against its manifest; a page has passed
    /// [`SearchPage::check`](portcullis_model::SearchPage::check).
    pub outcome: Result<T, Fault>,
    /// The notes it took, also where it failed. For the sealed part of the record only.
    pub notes: Vec<String>,
    /// How long it took, from before the instance was made until the outcome was read. Not the cleaning up.
    pub elapsed: Duration,
    /// What is left of the instance.
    pub spent_instance: SpentInstance,
}

/// A used instance. Dropping it wipes and frees its slot, which takes a few µs: drop it after the reply has
/// left.
#[must_use = "dropping it cleans up: do that after the reply has left"]
pub struct SpentInstance {
    _store: Store<StoreState>,
}

/// A compiled snapshot, shared by all bindings with the same component and settings.
pub(crate) struct Code {
    pub(crate) engine: Engine,
    pub(crate) entry: Entry,
    /// For a plugin that can be asked "which ones?".
    pub(crate) searching: Option<SearchPluginPre<StoreState>>,
    pub(crate) component: Digest,
    pub(crate) snapshot: Digest,
    pub(crate) snapshot_bytes: usize,
    pub(crate) notes: Vec<String>,
}

impl Plugin {
    pub(crate) fn new(code: Arc<Code>, limits: Limits) -> Self {
        Self { code, limits }
    }

    /// Asks the plugin about one call, on this thread, in at most `allowance` and at most its own time limit.
    ///
    /// A [`Fault::Deadline`] after less than the time limit says only that `allowance` was short: the plugin
    /// is pure, so the same call can be made again elsewhere with what time is left.
    ///
    /// The call has the journal, and neither tables nor memory.
    pub fn evaluate(&self, view: &View<'_>, allowance: Duration) -> Evaluation {
        self.evaluate_with(view, allowance, CallServices::journal_only())
    }

    /// The same with what the manifest requests of the host.
    pub fn evaluate_with(
        &self,
        view: &View<'_>,
        allowance: Duration,
        services: CallServices,
    ) -> Evaluation {
        self.run(view, allowance, services, |store, call| {
            let evaluate = self.code.entry.enter(store)?;
            let (answered,) = evaluate.call(store, (call,))?;
            Ok(answered.map(lift::decision).map_err(error))
        })
    }

    /// Whether it can be asked "which ones?".
    pub fn searches(&self) -> bool {
        self.code.searching.is_some()
    }

    /// Asks the plugin which ones: one page of what it finds, in an instance of its own, on this
    /// thread, within the same limits as [`Plugin::evaluate`]. The view's phase says what is
    /// searched ([`SearchTarget::phase`](portcullis_model::SearchTarget::phase)). A plugin that
    /// does not search finds nothing.
    ///
    /// More results than the page may have are a [`Fault::Output`]; what is not well-formed
    /// ([`SearchPage::check`](portcullis_model::SearchPage::check)) is a [`Fault::Malformed`].
    pub fn find(
        &self,
        view: &View<'_>,
        page: &Page<'_>,
        allowance: Duration,
    ) -> Evaluation<SearchPage> {
        self.find_with(view, page, allowance, CallServices::journal_only())
    }

    /// The same with what the manifest requests of the host.
    pub fn find_with(
        &self,
        view: &View<'_>,
        page: &Page<'_>,
        allowance: Duration,
        services: CallServices,
    ) -> Evaluation<SearchPage> {
        self.run(view, allowance, services, |store, call| {
            let Some(searching) = &self.code.searching else {
                return Ok(Ok(SearchPage::default()));
            };
            let instance = searching.instantiate(&mut *store)?;
            let answered =
                instance.portcullis_policy_search().call_find(store, call, lower::page(page))?;
            Ok(answered.map_err(error).and_then(|found| {
                let found = lift::found(found);
                found.check(page).map(|()| found).map_err(unusable)
            }))
        })
    }

    /// SHA-256 of the component it was made of.
    pub fn component_digest(&self) -> Digest {
        self.code.component
    }

    /// SHA-256 of the configured component: what a replay starts from.
    pub fn snapshot_digest(&self) -> Digest {
        self.code.snapshot
    }

    /// How many bytes the configured component has.
    pub fn snapshot_bytes(&self) -> usize {
        self.code.snapshot_bytes
    }

    /// The notes that `configure` took.
    pub fn notes(&self) -> &[String] {
        &self.code.notes
    }

    /// Its limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The most time one call may take.
    pub fn time(&self) -> Duration {
        Duration::from_millis(self.limits.time_ms.into())
    }

    /// Makes sure that an instance starts, then makes `slots` slots ready: maps the snapshot into each and
    /// touches the pages that a call touches, so that the first real calls cost what all others do. The
    /// plugin is asked about an empty call; what it says to that does not matter.
    pub(crate) fn warm_up(&self, slots: usize) -> Result<(), Fault> {
        let mut store = self.store(self.time(), CallServices::journal_only());
        self.code.entry.enter(&mut store).map_err(|error| Fault::from_wasmtime(&error))?;
        drop(store);
        // Held together, so that each has a slot of its own.
        let mut held = Vec::new();
        for _ in 0..slots {
            let evaluation = self.evaluate(&empty_view(), self.time());
            if matches!(evaluation.outcome, Err(Fault::Deadline | Fault::NoSlot)) {
                break;
            }
            held.push(evaluation.spent_instance);
        }
        Ok(())
    }

    /// The code, for sharing.
    pub(crate) fn code(&self) -> &Arc<Code> {
        &self.code
    }

    fn store(&self, allowance: Duration, services: CallServices) -> Store<StoreState> {
        store_state::store(
            &self.code.engine,
            self.limits.memory_bytes,
            self.limits.output_bytes,
            allowance,
            services,
        )
    }

    /// The one way into a sandbox: a fresh store with its limits and its deadline, what `ask` does in it, and
    /// the notes.
    fn run<T>(
        &self,
        view: &View<'_>,
        allowance: Duration,
        services: CallServices,
        ask: impl FnOnce(&mut Store<StoreState>, Call<'_>) -> wasmtime::Result<Result<T, Fault>>,
    ) -> Evaluation<T> {
        let begun = monotonic_now();
        let allowance = allowance.min(self.time());
        let mut store = self.store(allowance, services);
        let outcome = if allowance.is_zero() {
            Err(Fault::Deadline)
        } else {
            let asked = lower::with_call(view, |call| ask(&mut store, call));
            asked.unwrap_or_else(|error| Err(Fault::from_wasmtime(&error)))
        };
        let notes = store.data_mut().take_notes();
        Evaluation {
            outcome,
            notes,
            elapsed: elapsed_since(begun),
            spent_instance: SpentInstance { _store: store },
        }
    }
}

/// What the plugin said instead of answering.
fn error(text: String) -> Fault {
    Fault::Error(Redacted::new(text))
}

fn unusable(why: SearchPageError) -> Fault {
    if why == SearchPageError::TooMany { Fault::Output } else { Fault::Malformed }
}

/// A call about nothing.
fn empty_view() -> View<'static> {
    View {
        id: "",
        correlation: None,
        tenant: "",
        hook: "",
        phase: None,
        received: Millis::default(),
        seed: 0,
        subject: None,
        actors: Vec::new(),
        action: None,
        resource: None,
        requested: &[],
        lifetimes: &[],
        origin: None,
        purpose: None,
        proposed: &[],
        payload: Cow::Borrowed("null"),
    }
}
