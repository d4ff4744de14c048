//! What a strategy gets when it asks: completions, probes and tools, journaled, within budget.
//!
//! Touches: clock.
//! Change here: when a strategy may ask for something else that costs money or time; what it takes to answer is a
//! file beside the others in `desk/`. Free, deterministic facts belong into `dossier.rs`.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::event::{
    Entry, Fact, Fault, FaultKind, ModelAnswer, ModelRequest, Patch, ProbeReport, ToolReport,
};
use crate::outside::clip::one_line;
use crate::outside::wasm::{LogLevel, Services};
use crate::rules::run::{Kept, Run};

use crate::stages::{Cx, StageError};

mod model;
mod probe;
mod tool;

/// One variant's desk for one heat.
pub struct Desk {
    cx: Cx,
    run: std::sync::Arc<Run>,
    variant: String,
    calls: AtomicU32,
    /// Probes and tools.
    probes: AtomicU32,
    /// Millionths of a dollar.
    spent: AtomicU64,
    /// Milliseconds since 1970 when the last answer that took time was kept; the run's opening before that.
    now: AtomicI64,
    /// Bytes of chance drawn so far.
    drawn: AtomicU64,
    /// A fault of the host, not of the plugin: the heat is not lost, the stage fails.
    host_failure: Mutex<Option<StageError>>,
}

impl Desk {
    pub fn new(cx: Cx, run: std::sync::Arc<Run>, entry: &Entry) -> Desk {
        Desk {
            variant: entry.name.clone(),
            calls: AtomicU32::new(0),
            probes: AtomicU32::new(0),
            spent: AtomicU64::new(0),
            now: AtomicI64::new(run.opened_at.as_millisecond()),
            drawn: AtomicU64::new(0),
            host_failure: Mutex::new(None),
            cx,
            run,
        }
    }

    pub fn take_host_failure(&self) -> Result<(), StageError> {
        let mut failure = self
            .host_failure
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        failure.take().map_or(Ok(()), Err)
    }

    fn host_failed(&self, error: StageError) -> Fault {
        let fault = Fault::new(FaultKind::Internal, "host.failed", error.why.clone());
        *self
            .host_failure
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(error);
        fault
    }

    /// The strategy's clock moves to when an answer was kept, on the first run and on every later one.
    fn clock_shows(&self, at: Timestamp) {
        self.now.store(at.as_millisecond(), Ordering::SeqCst);
    }

    /// What was answered before the last restart is answered from the log; anything else is done now, and kept. A
    /// failure of the host is no answer and is not kept: the heat is held again.
    async fn once<T: Clone>(
        &self,
        kept: Option<&Kept<T>>,
        anew: impl Future<Output = Result<Result<T, Fault>, StageError>>,
        fact: impl FnOnce(Result<T, Fault>) -> Fact,
    ) -> Result<T, Fault> {
        if let Some(kept) = kept {
            self.clock_shows(kept.at);
            return kept.answer.clone();
        }
        let answer = anew.await.map_err(|e| self.host_failed(e))?;
        let at = self.cx.recorder.record(fact(answer.clone())).await;
        self.clock_shows(at.map_err(|e| self.host_failed(e))?);
        answer
    }

    /// The number of the next probe or tool; a fault where there is none left.
    fn next_probe(&self) -> Result<u32, Fault> {
        let probe = self.probes.fetch_add(1, Ordering::SeqCst);
        let all = self.cx.project.policy.probes;
        if probe < all || self.run.journal.has_tried(&self.variant, probe) {
            return Ok(probe);
        }
        let why = format!("all {all} probes are used up");
        Err(Fault::new(FaultKind::Budget, "probe.spent", why))
    }

    fn diverged(&self, doing: &str) -> Fault {
        let variant = &self.variant;
        self.host_failed(StageError::new(format!(
            "variant {variant} {doing} something else than before the restart"
        )))
    }
}

/// Longer than anything in it may take; the strategy goes on without.
fn timed_out(code: &str, why: String) -> Fault {
    Fault::new(FaultKind::Timeout, code, why)
}

impl Services for Desk {
    fn complete(&self, request: ModelRequest) -> BoxFuture<'_, Result<ModelAnswer, Fault>> {
        self.ask(request).boxed()
    }

    fn probe(&self, patch: Patch) -> BoxFuture<'_, Result<ProbeReport, Fault>> {
        self.try_out(patch).boxed()
    }

    /// Meters count what this variant itself used, journaled or not, so that a replay reads the same.
    fn remaining(&self, meter: &str) -> Option<u64> {
        let claude = &self.cx.house.settings.claude;
        let spent = self.spent.load(Ordering::SeqCst);
        match meter {
            "probe.runs" => Some(u64::from(
                self.cx
                    .project
                    .policy
                    .probes
                    .saturating_sub(self.probes.load(Ordering::SeqCst)),
            )),
            "llm.output-tokens" => Some(u64::from(claude.max_output_tokens)),
            "llm.usd-micros" => Some(((claude.run_budget_usd * 1e6) as u64).saturating_sub(spent)),
            _ => None,
        }
    }

    fn run_tool(&self, name: String, patch: Patch) -> BoxFuture<'_, Result<ToolReport, Fault>> {
        self.use_tool(name, patch).boxed()
    }

    fn tools(&self) -> Vec<String> {
        self.cx.project.tools.keys().cloned().collect()
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.now.load(Ordering::SeqCst)).unwrap_or(0)
    }

    fn random(&self, len: u32) -> Vec<u8> {
        let from = self.drawn.fetch_add(u64::from(len), Ordering::SeqCst);
        chance(&format!("{}/{}", self.run.id, self.variant), from, len)
    }

    fn log(&self, level: LogLevel, message: &str, fields: &[(String, String)]) {
        let clean = |text: &str| one_line(&self.cx.house.redactor.clean(text));
        let message = clean(message);
        let fields: Vec<_> = fields.iter().map(|(k, v)| (clean(k), clean(v))).collect();
        let (run, variant) = (&self.run.id.0, &self.variant);
        match level {
            LogLevel::Error | LogLevel::Warn => tracing::warn!(run, variant, ?fields, "{message}"),
            LogLevel::Info => tracing::info!(run, variant, ?fields, "{message}"),
            LogLevel::Debug | LogLevel::Trace => {
                tracing::debug!(run, variant, ?fields, "{message}")
            }
        }
    }
}

/// Bytes `from` onwards of a stream that a name decides alone.
pub fn chance(name: &str, from: u64, len: u32) -> Vec<u8> {
    const BLOCK: u64 = 32;
    let skip = (from % BLOCK) as usize;
    let blocks = from / BLOCK..=(from + u64::from(len)) / BLOCK;
    let block = |n: u64| Sha256::digest(format!("{name}/{n}"));
    let bytes = blocks.flat_map(|n| block(n).to_vec());
    bytes.skip(skip).take(len as usize).collect()
}

/// Names a patch, so that a strategy led back to where it stood can be held against what it tried then.
pub fn digest(patch: &Patch) -> String {
    let mut hash = Sha256::new();
    for edit in &patch.edits {
        hash.update(format!("{edit:?}\0"));
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}
