//! The account of one call: its ledger, its journal and its limits. Outlives the guest, which may be dropped in
//! the middle of anything.
//!
//! Touches: clock, wasm.
//! Change here: when a guest can use up something that is not counted yet.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use wasmtime::ResourceLimiter;

use super::journal::{Divergence, Journal, Tape};
use super::limits::{INSTANCES, Limits, MEMORIES, Stop, TABLE_ELEMENTS, TABLES, TICK};
use crate::event::{Fault, FaultKind, FaultOf, Ledger, ModelAnswer, PluginFailure};

/// Cheap to clone; all clones are the same account.
#[derive(Clone)]
pub struct Account {
    limits: Arc<Limits>,
    /// Time this call may compute.
    cpu: Duration,
    opened: Instant,
    entries: Arc<Mutex<Entries>>,
}

struct Entries {
    ledger: Ledger,
    tape: Tape,
    memory: usize,
    table_elements: usize,
    /// Bytes of prompts and patches that the host keeps for the guest.
    held: usize,
    /// The guest waits for the host: what ends it now is not its fault.
    waiting: bool,
}

impl Account {
    pub fn open(limits: Arc<Limits>, cpu: Duration, tape: Tape) -> Account {
        Account {
            limits,
            cpu,
            opened: Instant::now(),
            entries: Arc::new(Mutex::new(Entries {
                ledger: Ledger::default(),
                tape,
                memory: 0,
                table_elements: 0,
                held: 0,
                waiting: false,
            })),
        }
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        // Every entry is whole whatever happened to the thread that made it.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call to the host.
    pub fn call(&self) -> Result<(), Stop> {
        let mut entries = self.entries();
        entries.ledger.host_calls += 1;
        under(
            entries.ledger.host_calls <= self.limits.host_calls,
            Stop::HostCalls(self.limits.host_calls),
        )
    }

    /// Counts bytes from the guest that the host keeps for it.
    pub fn hold(&self, bytes: usize) -> Result<(), Stop> {
        let mut entries = self.entries();
        entries.held = entries.held.saturating_add(bytes);
        under(
            entries.held <= self.limits.held_bytes,
            Stop::Held(self.limits.held_bytes),
        )?;
        entries.crossed(&self.limits, bytes, 0)
    }

    pub fn release(&self, bytes: usize) {
        let mut entries = self.entries();
        entries.held = entries.held.saturating_sub(bytes);
    }

    /// Counts bytes on their way to the guest that the journal need not hold.
    pub fn give(&self, bytes: usize) -> Result<(), Stop> {
        self.entries().crossed(&self.limits, 0, bytes)
    }

    /// Counts an interruption of the computing guest.
    pub fn tick(&self) -> Result<(), Stop> {
        let mut entries = self.entries();
        entries.ledger.cpu_ms += TICK.as_millis() as u64;
        let computed = Duration::from_millis(entries.ledger.cpu_ms);
        under(computed <= self.cpu, Stop::Cpu(self.cpu))
    }

    /// Writes an answered import into the journal, and what it cost into the ledger.
    pub fn keep<A: Serialize, T: Serialize>(
        &self,
        call: &str,
        asked: &A,
        answer: Result<&T, &Fault>,
    ) -> Result<(), Stop> {
        let mut entries = self.entries();
        if let Err(fault) = answer
            && tells_of_a_limit(fault)
        {
            entries.ledger.deny(&fault.code, &fault.message);
        }
        let (asked, answered) = entries.tape.keep(call, asked, answer);
        entries.crossed(&self.limits, asked, answered)
    }

    /// In a replay, what the journal holds for this import.
    pub fn replay<A: Serialize, T: DeserializeOwned>(
        &self,
        call: &str,
        asked: &A,
    ) -> Result<Option<Result<T, Fault>>, Stop> {
        match self.entries().tape.replay(call, asked) {
            None => Ok(None),
            Some(Ok(answer)) => Ok(Some(answer)),
            Some(Err(())) => Err(Stop::Diverged),
        }
    }

    pub fn waits(&self, waiting: bool) {
        self.entries().waiting = waiting;
    }

    pub fn asked_the_model(&self, answer: &Result<ModelAnswer, Fault>) {
        let mut entries = self.entries();
        let ledger = &mut entries.ledger;
        ledger.llm_calls += 1;
        let spent = match answer {
            Ok(answer) => Some(answer.usage),
            Err(fault) => fault.usage.map(Into::into),
        };
        if let Some(usage) = spent {
            ledger.llm_tokens += usage.input_tokens + usage.output_tokens;
            ledger.usd_micros += (usage.cost_usd * 1e6).round() as u64;
        }
    }

    pub fn had_something_tried<T>(&self, answer: &Result<T, Fault>) {
        if !matches!(answer, Err(fault) if tells_of_a_limit(fault)) {
            self.entries().ledger.probes += 1;
        }
    }

    /// Counts a log line; false where there were enough.
    pub fn log_line(&self) -> bool {
        let mut entries = self.entries();
        let most = self.limits.log_lines;
        if entries.ledger.log_lines < most {
            entries.ledger.log_lines += 1;
            return true;
        }
        entries.ledger.log_dropped += 1;
        let why = format!("one call may write {most} log lines; further ones were dropped");
        entries.ledger.deny("limit.log-lines", &why);
        false
    }

    pub fn log_dropped(&self) -> u64 {
        self.entries().ledger.log_dropped
    }

    /// Whose fault it is where the call ends now: a guest that waits for the host is not late itself.
    pub fn fault_of(&self, stop: Stop) -> FaultOf {
        match stop {
            Stop::HostLeaves => FaultOf::Host,
            Stop::Wall(_) if self.entries().waiting => FaultOf::Host,
            _ => FaultOf::Plugin,
        }
    }

    fn deny(&self, code: &str, why: &str) {
        self.entries().ledger.deny(code, why);
    }

    /// The failure of a call that the host stopped; a limit stands in the ledger too.
    pub fn stopped(&self, plugin: &str, stop: Stop) -> PluginFailure {
        let failure = stop.failure(plugin);
        if let Some(code) = stop.code() {
            self.deny(code, &failure.why);
        }
        failure
    }

    pub fn divergence(&self) -> Option<Divergence> {
        self.entries().tape.divergence()
    }

    /// Closes the account. The journal is none in a replay.
    pub fn close<T: Serialize>(
        &self,
        answer: Result<&T, &PluginFailure>,
    ) -> (Ledger, Option<Journal>) {
        let mut entries = self.entries();
        let mut ledger = std::mem::take(&mut entries.ledger);
        ledger.wall_ms = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        (ledger, entries.tape.finish(answer))
    }
}

impl Entries {
    fn crossed(&mut self, limits: &Limits, inwards: usize, outwards: usize) -> Result<(), Stop> {
        self.ledger.bytes_in += inwards as u64;
        self.ledger.bytes_out += outwards as u64;
        under(
            self.ledger.bytes_in + self.ledger.bytes_out <= limits.boundary_bytes as u64,
            Stop::Boundary(limits.boundary_bytes),
        )
    }
}

/// Refusals that are a limit or a missing right, not an answer of the service.
fn tells_of_a_limit(fault: &Fault) -> bool {
    matches!(fault.kind, FaultKind::Budget | FaultKind::Denied) || fault.code == "host.timeout"
}

impl ResourceLimiter for Account {
    // An error instead of `Ok(false)`: the guest's allocator would turn the latter into a nameless panic.
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let mut entries = self.entries();
        let grown = desired.saturating_sub(current);
        let wanted = entries.memory.saturating_add(grown);
        under(
            wanted <= self.limits.memory_bytes,
            Stop::Memory(self.limits.memory_bytes),
        )?;
        entries.memory = wanted;
        entries.ledger.memory_bytes = wanted as u64;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let mut entries = self.entries();
        entries.table_elements = entries
            .table_elements
            .saturating_add(desired.saturating_sub(current));
        under(
            entries.table_elements <= TABLE_ELEMENTS,
            Stop::TableElements,
        )?;
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

fn under(holds: bool, stop: Stop) -> Result<(), Stop> {
    if holds { Ok(()) } else { Err(stop) }
}

#[cfg(test)]
mod tests {
    use super::super::PluginKind;
    use super::*;
    use crate::event::PluginRef;

    fn account(limits: Limits) -> Account {
        let plugin = PluginRef {
            name: "mine".into(),
            digest: "d1".into(),
        };
        let tape = Tape::record(PluginKind::Scorer, &plugin);
        Account::open(Arc::new(limits), TICK, tape)
    }

    #[test]
    fn memories_of_one_guest_are_counted_together() {
        let mut account = account(Limits::default());
        assert!(account.memory_growing(0, 200 << 20, None).is_ok());
        assert!(account.memory_growing(200 << 20, 210 << 20, None).is_ok());
        let refused = account
            .memory_growing(0, 50 << 20, None)
            .map_err(|error| error.downcast_ref().copied());
        assert_eq!(refused.err(), Some(Some(Stop::Memory(256 << 20))));
    }

    #[test]
    fn bytes_the_guest_takes_back_do_not_count() {
        let account = account(Limits {
            held_bytes: 10,
            ..Limits::default()
        });
        assert_eq!(account.hold(8), Ok(()));
        account.release(8);
        assert_eq!(account.hold(8), Ok(()));
        assert_eq!(account.hold(8), Err(Stop::Held(10)));
    }

    #[test]
    fn what_crosses_the_boundary_is_counted_in_both_directions() {
        let account = account(Limits {
            boundary_bytes: 20,
            ..Limits::default()
        });
        assert_eq!(account.keep("a", &"1234", Ok(&"5678")), Ok(()));
        assert_eq!(account.give(8), Ok(()));
        assert_eq!(account.give(1), Err(Stop::Boundary(20)));
        let (ledger, _) = account.close(Ok(&()));
        assert_eq!((ledger.bytes_in, ledger.bytes_out), (6, 15));
    }

    #[test]
    fn refusals_for_want_of_budget_are_noted_and_other_faults_are_not() {
        let account = account(Limits::default());
        for (kind, code) in [
            (FaultKind::Budget, "llm.budget"),
            (FaultKind::NotFound, "tree.no-file"),
            (FaultKind::Budget, "llm.budget"),
        ] {
            let fault = Fault::new(kind, code, "no");
            let kept = account.keep::<_, ()>("x", &(), Err(&fault));
            assert_eq!(kept, Ok(()));
        }
        let (ledger, _) = account.close(Ok(&()));
        let denials: Vec<(&str, u64)> = ledger
            .denials
            .iter()
            .map(|d| (d.code.as_str(), d.times))
            .collect();
        assert_eq!(denials, [("llm.budget", 2)]);
    }
}
