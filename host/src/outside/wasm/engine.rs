//! The one engine that compiles and runs every guest.
//!
//! Touches: wasm, files.
//! Change here: when guests should be compiled or laid out in memory otherwise.

use std::path::Path;

use wasmtime::{
    Cache, CacheConfig, Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig,
};

use super::WasmError;
use super::limits::{INSTANCES, Limits, MEMORIES, TABLE_ELEMENTS, TABLES};

/// Address space for a memory where there is none to spare.
const FRUGAL_RESERVATION: u64 = 64 << 20;

/// How guests lie in memory, as far as it decides over their code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Layout {
    /// A pool with address space to spare.
    Roomy,
    /// For `ulimit -v` and small containers.
    Frugal,
}

impl std::fmt::Display for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Layout::Roomy => "roomy",
            Layout::Frugal => "frugal",
        })
    }
}

/// An engine for `guests` at once. Where the address space for a pool of them is not to be had, one that asks for
/// memory call by call, and for little of it.
pub fn start(cache: &Path, limits: &Limits, guests: usize) -> Result<(Engine, Layout), WasmError> {
    let mut roomy = settings(cache, Layout::Roomy)?;
    roomy.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(limits, guests)));
    match Engine::new(&roomy) {
        Ok(engine) => Ok((engine, Layout::Roomy)),
        Err(_) => Ok((that_compiles(cache, Layout::Frugal)?, Layout::Frugal)),
    }
}

/// An engine whose code one of that layout can run.
pub fn that_compiles(cache: &Path, layout: Layout) -> Result<Engine, WasmError> {
    let settings = settings(cache, layout)?;
    Engine::new(&settings).map_err(|error| WasmError::Engine(error.into()))
}

fn settings(cache: &Path, layout: Layout) -> Result<Config, WasmError> {
    let mut config = Config::new();
    config.epoch_interruption(true);
    config.cache(Some(keep(cache)?));
    // The same bits on every machine: a replayed guest must not take another turn.
    config.cranelift_nan_canonicalization(true);
    config.wasm_relaxed_simd(false);
    // Nobody is told the place of a trap within a function, and nobody unwinds guests but wasmtime, by frame pointers:
    // without the tables for both, code is smaller and sooner loaded.
    config.generate_address_map(false).native_unwind_info(false);
    if layout == Layout::Frugal {
        config
            .memory_reservation(FRUGAL_RESERVATION)
            .memory_guard_size(64 << 10)
            .memory_reservation_for_growth(FRUGAL_RESERVATION);
    }
    Ok(config)
}

/// Room for every guest at its limits, so that no guest can take another's.
fn pool(limits: &Limits, guests: usize) -> PoolingAllocationConfig {
    let guests = u32::try_from(guests).unwrap_or(u32::MAX);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(guests)
        .total_core_instances(guests * INSTANCES)
        .total_memories(guests * MEMORIES)
        .total_tables(guests * TABLES)
        .total_stacks(guests)
        .max_tables_per_component(TABLES)
        .max_memories_per_component(MEMORIES)
        .table_elements(TABLE_ELEMENTS)
        .max_memory_size(limits.memory_bytes)
        .linear_memory_keep_resident(64 << 10)
        .table_keep_resident(64 << 10);
    pool
}

/// Compiled code is kept from one start to the next; a missing or damaged entry is compiled again.
fn keep(path: &Path) -> Result<Cache, WasmError> {
    let refused = |source| WasmError::Cache {
        path: path.to_owned(),
        source,
    };
    std::fs::create_dir_all(path).map_err(|error| refused(error.into()))?;
    let absolute = std::path::absolute(path).map_err(|error| refused(error.into()))?;
    let mut config = CacheConfig::new();
    config.with_directory(absolute);
    // Each use of an entry may be written down beside it, which costs more than reading one; few of them will do.
    config.with_worker_event_queue_size(1);
    Cache::new(config).map_err(|error| refused(error.into()))
}
