//! The sandbox's walls: which WebAssembly is allowed, how it is compiled, and how many sandboxes there are.
//!
//! Invariant: what a policy does not need is off. Both engines (the one that answers calls, and the one that
//! configures) give the same results: canonical NaN, no relaxed SIMD, no threads, no clock, no randomness.

use portcullis_model::Limits;
use wasmparser::WasmFeatures;
use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
    RegallocAlgorithm,
};

use crate::options::Options;
use crate::reset::Reset;

/// The WebAssembly proposals a plugin may use: what Rust, C, JavaScript and Python toolchains emit by
/// default, and no more. No SIMD, threads, garbage collection, exceptions, tail calls, several memories or
/// 64-bit memories.
pub(crate) const FEATURES: WasmFeatures = WasmFeatures::empty()
    .union(WasmFeatures::MUTABLE_GLOBAL)
    .union(WasmFeatures::SATURATING_FLOAT_TO_INT)
    .union(WasmFeatures::SIGN_EXTENSION)
    .union(WasmFeatures::MULTI_VALUE)
    .union(WasmFeatures::BULK_MEMORY)
    .union(WasmFeatures::REFERENCE_TYPES)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::FLOATS)
    .union(WasmFeatures::COMPONENT_MODEL);

/// Most core instances in one component: a Rust plugin has 3, a Python one 38.
pub(crate) const CORE_INSTANCES: u32 = 64;

/// Most memories in one component.
pub(crate) const MEMORIES: u32 = 2;

/// Most tables in one component.
pub(crate) const TABLES: u32 = 4;

/// The engine that answers calls: a pool of slots, the best code.
pub(crate) fn pool(options: &Options, reset: Reset) -> Config {
    // A slot prefers the plugin it served last; twice what runs at once, because a store is dropped only
    // after the reply left, and because two generations overlap in a swap.
    let slots = options.workers.max(1).saturating_mul(options.plugins.max(1)).saturating_mul(2);
    let slots = u32::try_from(slots).unwrap_or(u32::MAX).min(MAX_SLOTS);
    let mut pooling = PoolingAllocationConfig::new();
    pooling
        .total_component_instances(slots)
        .total_core_instances(slots.saturating_mul(CORE_INSTANCES))
        .total_memories(slots)
        .total_tables(slots.saturating_mul(TABLES))
        .max_core_instances_per_component(CORE_INSTANCES)
        .max_memories_per_component(MEMORIES)
        .max_tables_per_component(TABLES)
        .max_tables_per_module(TABLES)
        .table_elements(TABLE_ELEMENTS)
        .max_memory_size(usize::try_from(Limits::CEILING.memory_bytes).unwrap_or(usize::MAX))
        .max_unused_warm_slots(slots);
    if reset == Reset::PagemapScan {
        // Never keep memory resident without the scan: it would wipe the whole window blindly at every call.
        pooling
            .pagemap_scan(Enabled::Yes)
            .linear_memory_keep_resident(KEEP_RESIDENT)
            .table_keep_resident(KEEP_RESIDENT);
    }
    let mut config = code();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pooling));
    config
}

/// The engine that compiles for [`pool`], and runs nothing: the same code, without the slots.
pub(crate) fn code() -> Config {
    let mut config = common();
    config
        .cranelift_opt_level(OptLevel::Speed)
        .memory_guaranteed_dense_image_size(Limits::CEILING.memory_bytes)
        .force_memory_init_memfd(true);
    config
}

/// The engine that configures: its code runs once, so it is compiled quickly.
pub(crate) fn workshop() -> Config {
    let mut config = common();
    config
        .cranelift_opt_level(OptLevel::None)
        .cranelift_regalloc_algorithm(RegallocAlgorithm::SinglePass)
        // For the module that reads out the memories of a component. The plugin itself was validated without.
        .wasm_features(WasmFeatures::MULTI_MEMORY, true)
        // An image is a file in memory, which pays for a second instance only, and files are not to be had where plugins are made.
        .memory_init_cow(false);
    config
}

fn common() -> Config {
    let mut config = Config::new();
    config
        .wasm_features(WasmFeatures::all(), false)
        .wasm_features(FEATURES, true)
        .concurrency_support(false)
        .cranelift_nan_canonicalization(true)
        .epoch_interruption(true)
        .max_wasm_stack(STACK)
        // Walking frames on a trap is slow and its text would go nowhere.
        .wasm_backtrace_max_frames(None)
        .generate_address_map(false);
    config
}

/// Most sandboxes at once, whatever the options say: each reserves 4 GiB of address space, of which there are
/// 128 TiB.
const MAX_SLOTS: u32 = 4_096;

/// Most elements in a table: a JavaScript engine has one of 7,700, Python of 5,700.
const TABLE_ELEMENTS: usize = 65_536;

/// Memory that a slot keeps between calls, bytes: a little above what a JavaScript plugin writes in a call
/// (1.2 MB). Written pages beyond it are given back and cost page faults in the next call.
const KEEP_RESIDENT: usize = 2 << 20;

/// Native stack of a plugin, bytes. A worker thread's is 2 MiB.
const STACK: usize = 512 << 10;
