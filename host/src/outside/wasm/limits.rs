//! What a guest may use up, and how it is stopped.
//!
//! Touches: wasm.
//! Change here: when a guest can use up something that is not counted yet.

use std::time::Duration;

use wasmtime::component::ResourceTableError;
use wasmtime::{Engine, Store, Trap, UpdateDeadline, WasmBacktrace};

use super::capability::Capability;
use super::imports::State;
use super::threads::Underway;
use crate::event::{PluginFailure, PluginFailureKind};

/// How often a computing guest is interrupted, counted, and made to give way.
pub const TICK: Duration = Duration::from_millis(10);

/// How long nothing ticks, at most, while no guest runs.
const REST: Duration = Duration::from_secs(10);

/// Elements of all tables of one guest together.
pub const TABLE_ELEMENTS: usize = 100_000;
/// Core instances, memories and tables of one guest. A Rust component has 3, 1 and 2; a JavaScript one has 3
/// memories and 3 tables, a Python one many instances.
pub const INSTANCES: u32 = 32;
pub const MEMORIES: u32 = 4;
pub const TABLES: u32 = 8;
/// Prompts, patches, trees and the like that a guest holds at the same time.
pub const HOST_OBJECTS: usize = 10_000;
/// Functions of a guest's backtrace that are told.
const FRAMES: usize = 6;
/// Longest `why` of a failure, in bytes.
const WHY: usize = 4 << 10;

/// Limits of one plugin call. What is not here is fixed: tables, instances, objects the host keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory, all memories of a guest together. 256 MiB.
    pub memory_bytes: usize,
    /// Time a strategy may compute, waiting not counted, in steps of 10 ms. 60 s.
    pub strategy_cpu: Duration,
    /// The same for a scorer or an escalation plugin. 5 s.
    pub judge_cpu: Duration,
    /// Start to answer of a scorer or an escalation plugin. 10 s. (A strategy's comes with its task.)
    pub judge_wall: Duration,
    /// Calls to the host. 200,000.
    pub host_calls: u64,
    /// What one call may carry from the guest to the host, and what one read of a tree may bring back. 8 MiB.
    pub crossing_bytes: usize,
    /// Everything that goes between a guest and the host in one call, both ways. 64 MiB.
    pub boundary_bytes: usize,
    /// How long a read of the tree may take before the guest is told so. 30 s.
    pub read_wall: Duration,
    /// One patch. 8 MiB.
    pub patch_bytes: usize,
    /// All patches and prompts that the host keeps for a guest. 32 MiB.
    pub held_bytes: usize,
    /// Log lines of one call; further ones are dropped and counted. 1,000.
    pub log_lines: u64,
    /// One log line, fields included; the rest of it is cut off. 4 KiB.
    pub log_line_bytes: usize,
    /// Strategies that stand in memory at once, waiting ones included; further ones wait for their turn. 56.
    pub strategies_at_once: usize,
    /// Threads that guests compute on: one less than there are processors, from 1 to 4.
    pub threads: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        let processors = std::thread::available_parallelism().map_or(1, |n| n.get());
        Limits {
            memory_bytes: 256 << 20,
            strategy_cpu: Duration::from_secs(60),
            judge_cpu: Duration::from_secs(5),
            judge_wall: Duration::from_secs(10),
            host_calls: 200_000,
            crossing_bytes: 8 << 20,
            boundary_bytes: 64 << 20,
            read_wall: Duration::from_secs(30),
            patch_bytes: 8 << 20,
            held_bytes: 32 << 20,
            log_lines: 1_000,
            log_line_bytes: 4 << 10,
            strategies_at_once: 56,
            threads: (processors - 1).clamp(1, 4),
        }
    }
}

/// Why the host ends a guest. Travels through wasmtime as the cause of a trap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    #[error("computed for more than the {} it may", seconds(*.0))]
    Cpu(Duration),
    #[error("gave no answer within {}", seconds(*.0))]
    Wall(Duration),
    #[error("needs more than the {} of memory it may have", size(*.0))]
    Memory(usize),
    #[error("needs more than the {TABLE_ELEMENTS} table elements it may have")]
    TableElements,
    #[error("called the host more than the {0} times it may")]
    HostCalls(u64),
    #[error("made a patch larger than the {} it may be", size(*.0))]
    Patch(usize),
    #[error("left more than the {} of prompts and patches it may with the host", size(*.0))]
    Held(usize),
    #[error("sent more data in one call than the {} it may", size(*.0))]
    Crossing(usize),
    #[error("exchanged more than the {} it may with the host", size(*.0))]
    Boundary(usize),
    #[error("may not use `{0}`: its manifest and the host's configuration do not both allow it")]
    NotGranted(Capability),
    #[error("asked for something else than its journal holds")]
    Diverged,
    #[error("holds more than the {HOST_OBJECTS} host objects it may")]
    HostObjects,
    #[error("called what its world does not offer, or before its work began")]
    OutOfPlace,
    #[error("was stopped because the host is shutting down")]
    HostLeaves,
}

impl Stop {
    pub fn kind(self) -> PluginFailureKind {
        match self {
            Stop::Cpu(_) | Stop::Wall(_) | Stop::HostLeaves => PluginFailureKind::TimedOut,
            Stop::Memory(_) | Stop::TableElements => PluginFailureKind::OutOfMemory,
            Stop::HostCalls(_)
            | Stop::Patch(_)
            | Stop::Held(_)
            | Stop::Crossing(_)
            | Stop::Boundary(_)
            | Stop::HostObjects => PluginFailureKind::Flooded,
            Stop::OutOfPlace | Stop::NotGranted(_) | Stop::Diverged => PluginFailureKind::Trapped,
        }
    }

    /// Name of the limit in the ledger; none for what is no limit.
    pub fn code(self) -> Option<&'static str> {
        Some(match self {
            Stop::Cpu(_) => "limit.cpu",
            Stop::Wall(_) => "limit.wall",
            Stop::Memory(_) => "limit.memory",
            Stop::TableElements => "limit.table-elements",
            Stop::HostCalls(_) => "limit.host-calls",
            Stop::Patch(_) => "limit.patch",
            Stop::Held(_) => "limit.held",
            Stop::Crossing(_) => "limit.crossing",
            Stop::Boundary(_) => "limit.boundary",
            Stop::HostObjects => "limit.host-objects",
            Stop::NotGranted(capability) => capability.grant_code(),
            Stop::OutOfPlace | Stop::Diverged | Stop::HostLeaves => return None,
        })
    }

    pub fn failure(self, plugin: &str) -> PluginFailure {
        failure(plugin, self.kind(), &self.to_string())
    }
}

/// A fresh store with every limit switched on.
pub fn store(engine: &Engine, state: State) -> Store<State> {
    let crossing = state.account.limits().crossing_bytes;
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.account);
    store.set_hostcall_fuel(crossing);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|mut store| {
        store.data_mut().account.tick()?;
        // tokio's own yield, so that timers and sockets are looked at before the guest goes on.
        Ok(UpdateDeadline::YieldCustom(
            1,
            Box::pin(tokio::task::yield_now()),
        ))
    });
    store
}

/// Ticks while guests run, for as long as the engine is alive.
pub fn tick(engine: &Engine, underway: Underway) -> std::io::Result<()> {
    let engine = engine.weak();
    std::thread::Builder::new()
        .name("guest-ticks".to_owned())
        .spawn(move || {
            while let Some(engine) = engine.upgrade() {
                engine.increment_epoch();
                drop(engine);
                std::thread::sleep(TICK);
                underway.wait(REST);
            }
        })?;
    Ok(())
}

/// Names what ended a guest: the limit it broke, or the trap with what it said last.
pub fn explain(plugin: &str, error: &wasmtime::Error, state: &State) -> PluginFailure {
    match stop(error, state.account.limits()) {
        Some(stop) => state.account.stopped(plugin, stop),
        None => {
            let cause = error
                .downcast_ref::<Trap>()
                .map_or_else(|| error.root_cause().to_string(), ToString::to_string);
            let said = state
                .book
                .last_words()
                .map(|text| format!("; it said: {text}"))
                .unwrap_or_default();
            let frames = error
                .downcast_ref::<WasmBacktrace>()
                .map(frames)
                .unwrap_or_default();
            failure(
                plugin,
                PluginFailureKind::Trapped,
                &format!("trapped: {cause}{said}{frames}"),
            )
        }
    }
}

fn stop(error: &wasmtime::Error, limits: &Limits) -> Option<Stop> {
    if let Some(stop) = error.downcast_ref::<Stop>() {
        return Some(*stop);
    }
    if matches!(
        error.downcast_ref::<ResourceTableError>(),
        Some(ResourceTableError::Full)
    ) {
        return Some(Stop::HostObjects);
    }
    // wasmtime keeps the type of this one to itself.
    let root = error.root_cause().to_string();
    root.contains("fuel allocated for hostcalls")
        .then_some(Stop::Crossing(limits.crossing_bytes))
}

/// A failure whose text opens with the plugin's name and has a bounded length.
pub fn failure(plugin: &str, kind: PluginFailureKind, why: &str) -> PluginFailure {
    PluginFailure {
        kind,
        why: cut(&format!("plugin `{plugin}` {why}"), WHY).to_owned(),
    }
}

/// The beginning of a text, at most `max` bytes, whole characters only.
pub fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// The innermost functions; one that called itself is told once.
fn frames(trace: &WasmBacktrace) -> String {
    let mut names: Vec<String> = trace.frames().iter().map(frame_name).collect();
    names.dedup();
    names.truncate(FRAMES);
    if names.is_empty() {
        String::new()
    } else {
        format!("; in {}", names.join(" < "))
    }
}

fn frame_name(frame: &wasmtime::FrameInfo) -> String {
    match frame.func_name() {
        Some(name) => name.to_owned(),
        None => format!("function {}", frame.func_index()),
    }
}

fn seconds(limit: Duration) -> String {
    format!("{} s", limit.as_secs_f64())
}

fn size(bytes: usize) -> String {
    if bytes >= 1 << 20 {
        format!("{} MiB", bytes >> 20)
    } else {
        format!("{} KiB", bytes >> 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("añb", 2), "a");
        assert_eq!(cut("añb", 3), "añ");
        assert_eq!(cut("añb", 9), "añb");
    }
}
