//! Configuring: runs a plugin's `configure` once and keeps the memory that it leaves, as a component of its
//! own.
//!
//! Invariant: a snapshot is a function of the component and the settings alone: no clock, no randomness, and
//! no import but the journal can be used. What runs here has its own time and output limits, and
//! never shares a slot with a call.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use portcullis_model::Redacted;
use wasmtime::component::{
    Component, ComponentNamedList, HasSelf, Instance, Lift, Linker, WasmList,
};
use wasmtime::{Config, Engine, Store};
use wasmtime_wizer::{ComponentContext, ComponentInstanceState, Wizer};

use crate::bindings::plain::Plugin;
use crate::bindings::portcullis::policy::{journal, memory, reference, types};
use crate::catch_panic::catch_panic;
use crate::error::{PrepareError, line, no_memory};
use crate::fault::Fault;
use crate::host_functions::CallServices;
use crate::sandbox;
use crate::store_state::{self, StoreState};

/// Makes snapshots.
pub(crate) struct Snapshotter {
    engine: Engine,
    linker: Linker<StoreState>,
    time: Duration,
    /// Whether it counts what runs.
    metered: bool,
}

/// A configured plugin.
pub(crate) struct Snapshot {
    /// A component like the one it was made of, but with the memory and the globals that `configure` left.
    pub(crate) component: Vec<u8>,
    /// The notes it took meanwhile.
    pub(crate) notes: Vec<String>,
}

impl Snapshotter {
    /// A workshop in which `configure` may take `time`.
    pub(crate) fn new(time: Duration) -> wasmtime::Result<Self> {
        Self::of(&sandbox::workshop(), time, false)
    }

    /// One that counts what runs in it.
    pub(crate) fn metered(time: Duration) -> wasmtime::Result<Self> {
        Self::of(sandbox::workshop().consume_fuel(true), time, true)
    }

    fn of(config: &Config, time: Duration, metered: bool) -> wasmtime::Result<Self> {
        let engine = Engine::new(config)?;
        let linker = linker(&engine)?;
        Ok(Self { engine, linker, time, metered })
    }

    /// The engine, for the ticker.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Runs `configure(settings)` in at most that memory, and keeps what it leaves.
    pub(crate) fn snapshot(
        &self,
        component: &[u8],
        settings: &str,
        memory_bytes: u64,
    ) -> Result<Snapshot, PrepareError> {
        let mut configured = self.configure(component, settings, memory_bytes)?;
        let component = configured.read_out(self.time)?;
        Ok(Snapshot { component, notes: configured.notes })
    }

    /// Runs `configure(settings)` in at most that memory, in an instance whose memory can be read out.
    pub(crate) fn configure<'a>(
        &self,
        component: &'a [u8],
        settings: &str,
        memory_bytes: u64,
    ) -> Result<Configured<'a>, PrepareError> {
        let mut wizer = Wizer::new();
        // The function that wizer would call, and by default drop: we call it ourselves, and the world needs
        // it.
        wizer.init_func("configure").keep_init_func(true);
        let (context, instrumented) = catch_panic(|| wizer.instrument_component(component))
            .ok_or_else(|| no_snapshot("the instrumentation does not support it"))?
            .map_err(|error| no_snapshot(&format!("{error:#}")))?;
        let instrumented = compile(&self.engine, &instrumented)?;

        let mut store = store_state::store(
            &self.engine,
            memory_bytes,
            COMPLAINT_BYTES,
            self.time,
            CallServices::journal_only(),
        );
        let faulty = |error: wasmtime::Error| {
            let why = format!("{error:#}");
            // What the process may not have is no fault of the plugin's code.
            if no_memory(&why) {
                return PrepareError::NotCompiled { why: line(&why) };
            }
            PrepareError::Configure(Fault::from_wasmtime(&error))
        };
        if self.metered {
            store.set_fuel(u64::MAX).map_err(faulty)?;
        }
        let instance = self.linker.instantiate(&mut store, &instrumented).map_err(faulty)?;
        let plugin = Plugin::new(&mut store, &instance)
            .map_err(|error| no_snapshot(&format!("{error:#}")))?;
        let configured = plugin.call_configure(&mut store, settings).map_err(faulty)?;
        if let Err(complaints) = configured {
            let complaints =
                complaints.iter().take(MAX_COMPLAINTS).map(|text| line(text)).collect();
            return Err(PrepareError::Settings(Redacted::new(complaints)));
        }
        let notes = store.data_mut().take_notes();
        Ok(Configured {
            wizer,
            context,
            plugin,
            notes,
            state: State { store, instance, error: None, memories: None },
        })
    }
}

/// A plugin that has been configured, in an instance whose memory can be read out.
pub(crate) struct Configured<'a> {
    wizer: Wizer,
    context: ComponentContext<'a>,
    /// Its exports.
    pub(crate) plugin: Plugin,
    /// The notes it took meanwhile.
    notes: Vec<String>,
    /// The instance.
    pub(crate) state: State,
}

impl Configured<'_> {
    /// A component like the one it was made of, with the memory and the globals that it has now.
    fn read_out(&mut self, time: Duration) -> Result<Vec<u8>, PrepareError> {
        // Reading out the state runs functions of the instrumentation, not of the plugin; whole memories pass
        // through them.
        self.state.store.set_hostcall_fuel(usize::MAX);
        self.state.store.set_epoch_deadline(crate::ticker::ticks(time));
        let component =
            catch_panic(|| now(self.wizer.snapshot_component(&self.context, &mut self.state)))
                .flatten()
                .ok_or_else(|| no_snapshot("its state cannot be read out"))?
                .map_err(|error| no_snapshot(&format!("{error:#}")))?;
        match self.state.error.take() {
            Some(error) => Err(no_snapshot(&format!("{error:#}"))),
            None => Ok(component),
        }
    }

    /// What its memories hold now.
    pub(crate) fn memories(&mut self, time: Duration) -> Result<Vec<Vec<u8>>, PrepareError> {
        self.state.memories = Some(BTreeMap::new());
        let read = self.read_out(time);
        let memories = self.state.memories.take().unwrap_or_default();
        read.map(|_| memories.into_values().collect())
    }
}

/// Links the contract's interfaces. Which of them a call may use is in its [`StoreState`].
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<StoreState>> {
    let mut linker = Linker::new(engine);
    types::add_to_linker::<_, HasSelf<StoreState>>(&mut linker, |room| room)?;
    reference::add_to_linker::<_, HasSelf<StoreState>>(&mut linker, |room| room)?;
    memory::add_to_linker::<_, HasSelf<StoreState>>(&mut linker, |room| room)?;
    journal::add_to_linker::<_, HasSelf<StoreState>>(&mut linker, |room| room)?;
    Ok(linker)
}

/// Compiles a component that was made of one that has been inspected.
fn compile(engine: &Engine, component: &[u8]) -> Result<Component, PrepareError> {
    Component::new(engine, component)
        .map_err(|error| PrepareError::NotCompiled { why: line(&format!("{error:#}")) })
}

/// Reads the globals and memories of an instrumented instance.
///
/// wizer's trait knows no failure, so the first one is kept here and the snapshot is thrown away.
pub(crate) struct State {
    pub(crate) store: Store<StoreState>,
    instance: Instance,
    error: Option<wasmtime::Error>,
    /// What was read of memories, where somebody wants to see it.
    /// By the accessor's name: each is asked more than once.
    memories: Option<BTreeMap<String, Vec<u8>>>,
}

impl State {
    fn call<R>(&mut self, instance: &str, function: &str) -> R
    where
        R: Default + 'static,
        (R,): ComponentNamedList + Lift,
    {
        self.read(instance, function, |_, value: R| value).unwrap_or_default()
    }

    fn read<R, U>(
        &mut self,
        instance: &str,
        function: &str,
        take: impl FnOnce(&Store<StoreState>, R) -> U,
    ) -> Option<U>
    where
        R: 'static,
        (R,): ComponentNamedList + Lift,
    {
        let mut read = || -> wasmtime::Result<R> {
            let missing = || wasmtime::Error::msg("an accessor is missing");
            let interface = self
                .instance
                .get_export_index(&mut self.store, None, instance)
                .ok_or_else(missing)?;
            let function = self
                .instance
                .get_export_index(&mut self.store, Some(&interface), function)
                .ok_or_else(missing)?;
            let function = self.instance.get_typed_func::<(), (R,)>(&mut self.store, function)?;
            let (value,) = function.call(&mut self.store, ())?;
            Ok(value)
        };
        match read() {
            Ok(value) => Some(take(&self.store, value)),
            Err(error) => {
                self.error.get_or_insert(error);
                None
            }
        }
    }
}

impl ComponentInstanceState for State {
    async fn call_func_ret_list_u8(
        &mut self,
        instance: &str,
        func: &str,
        contents: impl FnOnce(&[u8]) + Send,
    ) {
        let mut seen = self.memories.take();
        self.read(instance, func, |store, memory: WasmList<u8>| {
            let memory = memory.as_le_slice(store);
            if let Some(seen) = &mut seen {
                seen.entry(format!("{instance} {func}")).or_insert_with(|| memory.to_vec());
            }
            contents(memory);
        });
        self.memories = seen;
    }

    async fn call_func_ret_s32(&mut self, instance: &str, func: &str) -> i32 {
        self.call(instance, func)
    }

    async fn call_func_ret_s64(&mut self, instance: &str, func: &str) -> i64 {
        self.call(instance, func)
    }

    async fn call_func_ret_f32(&mut self, instance: &str, func: &str) -> u32 {
        self.call::<f32>(instance, func).to_bits()
    }

    async fn call_func_ret_f64(&mut self, instance: &str, func: &str) -> u64 {
        self.call::<f64>(instance, func).to_bits()
    }
}

/// The result of a future that never waits; `None` where it would.
fn now<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

fn no_snapshot(why: &str) -> PrepareError {
    PrepareError::NoSnapshot { why: line(why) }
}

/// Most complaints about settings that are kept.
const MAX_COMPLAINTS: usize = 32;

/// Most bytes that `configure` may complain and note.
const COMPLAINT_BYTES: u32 = 64 << 10;
