//! What a strategy gets when it asks: completions and probes, journaled, within budget.
//!
//! Touches: http, processes, git, clock.
//! Change here: when a strategy may ask for something else that costs money or time. Free, deterministic
//! facts belong into `dossier.rs`.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};

use crate::event::{
    Entry, Fact, Fault, FaultKind, FaultUsage, ModelAnswer, ModelRequest, Patch, ProbeReport,
    ToolReport,
};
use crate::failpoint;
use crate::outside::claude::Ceiling;
use crate::outside::wasm::{LogLevel, Services};
use crate::rules::budget::{self, Accounts, Amount};
use crate::rules::compare;
use crate::rules::run::{Run, usage_of};

use super::resolve;
use crate::stages::{Cx, StageError, failed, suite};

/// One variant's desk for one heat.
pub struct Desk {
    cx: Cx,
    run: std::sync::Arc<Run>,
    variant: String,
    calls: AtomicU32,
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

    async fn record(&self, fact: Fact) -> Result<Timestamp, Fault> {
        self.cx
            .recorder
            .record(fact)
            .await
            .map_err(|e| self.host_failed(e))
    }

    /// The strategy's clock moves to when an answer was kept, on the first run and on every later one.
    fn clock_shows(&self, at: Timestamp) {
        self.now.store(at.as_millisecond(), Ordering::SeqCst);
    }

    /// A call that was answered before the last restart is answered from the log; one that was asked and never
    /// answered may have been paid for, so it is not asked again.
    async fn ask(&self, request: ModelRequest) -> Result<ModelAnswer, Fault> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let key = (self.variant.clone(), call);
        let request = self.cleaned(request);
        let asked = self.run.journal.asked.get(&key);
        if asked.is_some_and(|asked| *asked != request) {
            return Err(self.host_failed(StageError::new(
                "a strategy asked something else than before the restart",
            )));
        }
        let answer = match (self.run.journal.answered.get(&key), asked) {
            (Some(kept), _) => {
                self.clock_shows(kept.at);
                kept.answer.clone()
            }
            (None, Some(_)) => {
                let ceiling = self
                    .cx
                    .house
                    .claude
                    .ceiling(&request)
                    .map(amount)
                    .unwrap_or_default();
                self.answered(call, Err(lost(ceiling))).await?
            }
            (None, None) => self.ask_anew(call, &request).await?,
        };
        self.spent
            .fetch_add((usage_of(&answer).cost_usd * 1e6) as u64, Ordering::SeqCst);
        answer
    }

    /// The outer error is the host's; the inner one is an answer like any other, and kept.
    async fn ask_anew(
        &self,
        call: u32,
        request: &ModelRequest,
    ) -> Result<Result<ModelAnswer, Fault>, Fault> {
        if let Err(denied) = self.within_budget(call, request).await {
            return self.answered(call, Err(denied)).await;
        }
        failpoint::reach("before-model-call");
        let answer = self
            .cx
            .house
            .claude
            .complete(request)
            .await
            .map(|a| self.cleaned_answer(a));
        failpoint::reach("after-model-call");
        self.answered(call, answer).await
    }

    async fn answered(
        &self,
        call: u32,
        answer: Result<ModelAnswer, Fault>,
    ) -> Result<Result<ModelAnswer, Fault>, Fault> {
        let fact = Fact::ModelAnswered {
            variant: self.variant.clone(),
            call,
            answer: answer.clone(),
        };
        self.clock_shows(self.record(fact).await?);
        Ok(answer)
    }

    /// Weighs the dearest this call can become against what is left, and states the intent, as one step:
    /// two variants never spend the same money.
    async fn within_budget(&self, call: u32, request: &ModelRequest) -> Result<(), Fault> {
        let ceiling = self.cx.house.claude.ceiling(request)?;
        let _one_at_a_time = self.cx.house.budget.lock().await;
        let accounts = self.accounts().await.map_err(|e| self.host_failed(e))?;
        budget::may_spend(&self.cx.house.settings.claude, &accounts, amount(ceiling))?;
        self.record(Fact::ModelAsked {
            variant: self.variant.clone(),
            call,
            request: request.clone(),
        })
        .await
        .map(drop)
    }

    async fn accounts(&self) -> Result<Accounts, StageError> {
        let today = budget::day(jiff::Timestamp::now());
        let midnight = today
            .to_zoned(TimeZone::UTC)
            .map_err(|e| failed("reckoning the day", &e))?
            .timestamp();
        let events = self
            .cx
            .house
            .store
            .model_events(&self.run.id, midnight)
            .await;
        let events = events.map_err(|e| failed("adding up what was spent", &e))?;
        let ceiling = |request: &ModelRequest| {
            self.cx
                .house
                .claude
                .ceiling(request)
                .map(amount)
                .unwrap_or_default()
        };
        Ok(budget::accounts(&events, &self.run.id, today, ceiling))
    }

    fn cleaned(&self, mut request: ModelRequest) -> ModelRequest {
        let clean = |text: &mut String| *text = self.cx.house.redactor.clean(text);
        request.system.iter_mut().for_each(|b| clean(&mut b.text));
        request.messages.iter_mut().for_each(|m| clean(&mut m.text));
        request
    }

    fn cleaned_answer(&self, mut answer: ModelAnswer) -> ModelAnswer {
        answer.text = self.cx.house.redactor.clean(&answer.text);
        answer
    }

    async fn try_out(&self, patch: Patch) -> Result<ProbeReport, Fault> {
        let probe = self.probes.fetch_add(1, Ordering::SeqCst);
        let digest = digest(&patch);
        if let Some((earlier, kept)) = self.run.journal.probed.get(&(self.variant.clone(), probe)) {
            if *earlier != digest {
                return Err(self.host_failed(StageError::new(
                    "a strategy probed something else than before the restart",
                )));
            }
            self.clock_shows(kept.at);
            return kept.answer.clone();
        }
        if probe >= self.cx.project.policy.probes {
            let all = self.cx.project.policy.probes;
            return Err(Fault::new(
                FaultKind::Budget,
                "probe.spent",
                format!("all {all} probes are used up"),
            ));
        }
        let answer = self.probe(probe, &patch).await;
        let fact = Fact::Probed {
            variant: self.variant.clone(),
            probe,
            digest,
            answer: answer.clone(),
        };
        self.clock_shows(self.record(fact).await?);
        answer
    }

    async fn probe(&self, probe: u32, patch: &Patch) -> Result<ProbeReport, Fault> {
        let tree = match resolve::probe_tree(&self.cx, &self.run, patch).await {
            Ok(Ok(tree)) => tree,
            Ok(Err(why)) => return Err(Fault::new(FaultKind::Invalid, "patch.refused", why)),
            Err(error) => return Err(self.host_failed(error)),
        };
        let name = format!("{}-{}-probe-{probe}", self.run.id, self.variant);
        let report = suite::run(&self.cx, &tree, None, &name)
            .await
            .map_err(|e| self.host_failed(e))?;
        let (Some(triage), Some(opening)) = (&self.run.triage, &self.run.opening) else {
            return Err(self.host_failed(StageError::new("no tournament is open")));
        };
        Ok(compare::probe(
            &compare::trial(&tree, 1, &report, triage),
            &opening.held_out,
        ))
    }
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

    fn run_tool(&self, name: String, _: Patch) -> BoxFuture<'_, Result<ToolReport, Fault>> {
        let unknown = format!("no tool `{name}` is configured for this project");
        std::future::ready(Err(Fault::new(
            FaultKind::NotFound,
            "tool.unknown",
            unknown,
        )))
        .boxed()
    }

    fn tools(&self) -> Vec<String> {
        Vec::new()
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.now.load(Ordering::SeqCst)).unwrap_or(0)
    }

    fn random(&self, len: u32) -> Vec<u8> {
        let from = self.drawn.fetch_add(u64::from(len), Ordering::SeqCst);
        chance(&format!("{}/{}", self.run.id, self.variant), from, len)
    }

    fn log(&self, level: LogLevel, message: &str, fields: &[(String, String)]) {
        let message = self.cx.house.redactor.clean(message);
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

/// What a probe is recognised by.
pub fn digest(patch: &Patch) -> String {
    let mut hash = Sha256::new();
    for edit in &patch.edits {
        hash.update(format!("{edit:?}\0"));
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

fn amount(ceiling: Ceiling) -> Amount {
    Amount {
        tokens: ceiling.tokens,
        usd: ceiling.usd,
    }
}

/// It may have been paid for, so it counts as if it had been the dearest answer possible.
fn lost(ceiling: Amount) -> Fault {
    let why = "the host stopped before the answer was kept; asking again might pay twice";
    let usage = FaultUsage {
        input_tokens: ceiling.tokens,
        output_tokens: 0,
        usd_micros: (ceiling.usd * 1e6) as u64,
    };
    Fault {
        usage: Some(usage),
        ..Fault::new(FaultKind::Unavailable, "llm.answer-lost", why)
    }
}
