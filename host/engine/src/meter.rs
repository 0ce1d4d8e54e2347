//! What one call costs in instructions and memory: for authors, never for calls that somebody waits for.
//!
//! Invariant: counts, not times: the same component, settings and call cost the same on every machine. They are taken on code of their own, with
//! counting compiled in; the plugin's answer is the same.

use std::time::Duration;

use portcullis_model::{Decision, Limits, View};

use crate::engine::EngineError;
use crate::error::PrepareError;
use crate::fault::Fault;
use crate::host_functions::CallServices;
use crate::inspect::inspect;
use crate::snapshot::Snapshotter;
use crate::{lift, lower, ticker};

/// Measures calls.
pub struct Meter {
    workshop: Snapshotter,
    time: Duration,
}

/// What one call cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// WebAssembly instructions, as wasmtime counts them: about one each.
    pub fuel: u64,
    /// The memory that the call begins with, bytes: what `configure` left.
    pub memory_bytes: u64,
    /// By how much the call made it grow, bytes.
    pub grown_bytes: u64,
    /// How many pages of 4 KiB the call changed: what must be wiped after it.
    pub pages: u64,
}

impl Meter {
    /// Sets up the counting. Give `configure`, and the call, this long: counting costs time.
    ///
    /// # Errors
    /// [`EngineError`], where this machine cannot run it.
    pub fn new(time: Duration) -> Result<Self, EngineError> {
        let workshop = Snapshotter::metered(time).map_err(EngineError::Sandbox)?;
        ticker::start(vec![workshop.engine().weak()]).map_err(EngineError::Ticker)?;
        Ok(Self { workshop, time })
    }

    /// Configures a plugin, asks it about one call, and tells what that cost. What a failed call cost is not known.
    ///
    /// # Errors
    /// [`PrepareError`], where there is no plugin to ask.
    pub fn measure(
        &self,
        component: &[u8],
        settings: &str,
        limits: Limits,
        view: &View<'_>,
        services: CallServices,
    ) -> Result<Result<(Decision, Cost), Fault>, PrepareError> {
        inspect(component)?;
        let mut configured = self.workshop.configure(component, settings, limits.memory_bytes)?;
        let memory_bytes =
            limits.memory_bytes.saturating_sub(configured.state.store.data().memory_left());
        // Reading memories out makes them grow, so growth is counted between the two readings.
        let before = configured.memories(self.time)?;
        let store = &mut configured.state.store;
        store.data_mut().serve(services);
        let left = store.data().memory_left();
        store.set_hostcall_fuel(usize::try_from(limits.output_bytes).unwrap_or(usize::MAX));
        store.set_epoch_deadline(ticker::ticks(self.time));
        if let Err(error) = store.set_fuel(u64::MAX) {
            return Ok(Err(Fault::from_wasmtime(&error)));
        }
        let answered =
            lower::with_call(view, |call| configured.plugin.call_evaluate(&mut *store, call));
        let fuel = store.get_fuel().map_or(0, |left| u64::MAX - left);
        let decision = match answered {
            Ok(Ok(decision)) => lift::decision(decision),
            Ok(Err(text)) => return Ok(Err(Fault::Error(portcullis_model::Redacted::new(text)))),
            Err(error) => return Ok(Err(Fault::from_wasmtime(&error))),
        };
        let grown_bytes = left.saturating_sub(configured.state.store.data().memory_left());
        let after = configured.memories(self.time)?;
        let cost =
            Cost { fuel, memory_bytes, grown_bytes, pages: changed(&before, &after, grown_bytes) };
        Ok(Ok((decision, cost)))
    }
}

/// How many pages are not what they were; those that are new count where something is in them. What lies beyond the call's own growth is
/// the reading's.
fn changed(before: &[Vec<u8>], after: &[Vec<u8>], grown: u64) -> u64 {
    let mut count = 0;
    for (number, memory) in after.iter().enumerate() {
        let was = before.get(number).map(Vec::as_slice).unwrap_or_default();
        let own =
            was.len().saturating_add(usize::try_from(grown).unwrap_or(usize::MAX)).div_ceil(PAGE);
        for (page, bytes) in memory.chunks(PAGE).enumerate().take(own) {
            let at = page.saturating_mul(PAGE);
            let same = match was.get(at..at.saturating_add(bytes.len())) {
                Some(was) => was == bytes,
                None => bytes.iter().all(|byte| *byte == 0),
            };
            count += u64::from(!same);
        }
    }
    count
}

/// A page of the machine, bytes.
const PAGE: usize = 4_096;
