//! What a guest may use up, and the counters that stop it.
//!
//! Touches: wasm.
//! Change here: when a guest can use up something that is not counted yet.

use std::time::Duration;

use wasmtime::component::ResourceTableError;
use wasmtime::{Engine, ResourceLimiter, Store, Trap, UpdateDeadline, WasmBacktrace};

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
    /// One patch. 8 MiB.
    pub patch_bytes: usize,
    /// All patches and prompts that the host keeps for a guest. 32 MiB.
    pub held_bytes: usize,
    /// Log lines of one call; further ones are dropped and counted. 1,000.
    pub log_lines: u64,
    /// One log line, fields included; the rest of it is cut off. 4 KiB.
    pub log_line_bytes: usize,
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
            patch_bytes: 8 << 20,
            held_bytes: 32 << 20,
            log_lines: 1_000,
            log_line_bytes: 4 << 10,
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
    #[error("holds more than the {HOST_OBJECTS} host objects it may")]
    HostObjects,
    #[error("called what its world does not offer, or before its work began")]
    OutOfPlace,
    #[error("was stopped because the host is shutting down")]
    HostLeaves,
}

impl Stop {
    fn kind(self) -> PluginFailureKind {
        match self {
            Stop::Cpu(_) | Stop::Wall(_) | Stop::HostLeaves => PluginFailureKind::TimedOut,
            Stop::Memory(_) | Stop::TableElements => PluginFailureKind::OutOfMemory,
            Stop::HostCalls(_)
            | Stop::Patch(_)
            | Stop::Held(_)
            | Stop::Crossing(_)
            | Stop::HostObjects => PluginFailureKind::Flooded,
            Stop::OutOfPlace => PluginFailureKind::Trapped,
        }
    }

    pub fn failure(self, plugin: &str) -> PluginFailure {
        failure(plugin, self.kind(), &self.to_string())
    }
}

/// The counters of one call.
pub struct Meter {
    limits: Limits,
    cpu: Duration,
    computed: Duration,
    calls: u64,
    memory: usize,
    table_elements: usize,
    held: usize,
}

impl Meter {
    /// `cpu` is the time this call may compute.
    pub fn new(limits: Limits, cpu: Duration) -> Meter {
        Meter {
            limits,
            cpu,
            computed: Duration::ZERO,
            calls: 0,
            memory: 0,
            table_elements: 0,
            held: 0,
        }
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Counts a call to the host.
    pub fn call(&mut self) -> Result<(), Stop> {
        self.calls += 1;
        under(
            self.calls <= self.limits.host_calls,
            Stop::HostCalls(self.limits.host_calls),
        )
    }

    /// Counts bytes that the host keeps for the guest.
    pub fn hold(&mut self, bytes: usize) -> Result<(), Stop> {
        self.held = self.held.saturating_add(bytes);
        under(
            self.held <= self.limits.held_bytes,
            Stop::Held(self.limits.held_bytes),
        )
    }

    pub fn release(&mut self, bytes: usize) {
        self.held = self.held.saturating_sub(bytes);
    }

    fn tick(&mut self) -> Result<(), Stop> {
        self.computed += TICK;
        under(self.computed <= self.cpu, Stop::Cpu(self.cpu))
    }
}

impl ResourceLimiter for Meter {
    // An error instead of `Ok(false)`: the guest's allocator would turn the latter into a nameless panic.
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.memory = self.memory.saturating_add(desired.saturating_sub(current));
        under(
            self.memory <= self.limits.memory_bytes,
            Stop::Memory(self.limits.memory_bytes),
        )?;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.table_elements = self
            .table_elements
            .saturating_add(desired.saturating_sub(current));
        under(self.table_elements <= TABLE_ELEMENTS, Stop::TableElements)?;
        Ok(true)
    }

    fn instances(&self) -> usize {
        INSTANCES as usize
    }

    fn tables(&self) -> usize {
        TABLES as usize
    }

    fn memories(&self) -> usize {
        MEMORIES as usize
    }
}

/// A fresh store with every limit switched on.
pub fn store(engine: &Engine, state: State) -> Store<State> {
    let crossing = state.meter.limits.crossing_bytes;
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.meter);
    store.set_hostcall_fuel(crossing);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|mut store| {
        store.data_mut().meter.tick()?;
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
    let root = error.root_cause().to_string();
    match stop(error, &root, &state.meter.limits) {
        Some(stop) => stop.failure(plugin),
        None => {
            let cause = error
                .downcast_ref::<Trap>()
                .map_or(root, ToString::to_string);
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

fn stop(error: &wasmtime::Error, root: &str, limits: &Limits) -> Option<Stop> {
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

fn under(holds: bool, stop: Stop) -> Result<(), Stop> {
    if holds { Ok(()) } else { Err(stop) }
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
    fn memories_of_one_guest_are_counted_together() {
        let mut meter = Meter::new(Limits::default(), TICK);
        assert!(meter.memory_growing(0, 200 << 20, None).is_ok());
        assert!(meter.memory_growing(200 << 20, 210 << 20, None).is_ok());
        let refused = meter
            .memory_growing(0, 50 << 20, None)
            .map_err(|error| error.downcast_ref().copied());
        assert_eq!(refused.err(), Some(Some(Stop::Memory(256 << 20))));
    }

    #[test]
    fn bytes_the_guest_takes_back_do_not_count() {
        let mut meter = Meter::new(
            Limits {
                held_bytes: 10,
                ..Limits::default()
            },
            TICK,
        );
        assert_eq!(meter.hold(8), Ok(()));
        meter.release(8);
        assert_eq!(meter.hold(8), Ok(()));
        assert_eq!(meter.hold(8), Err(Stop::Held(10)));
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("añb", 2), "a");
        assert_eq!(cut("añb", 3), "añ");
        assert_eq!(cut("añb", 9), "añb");
    }
}
