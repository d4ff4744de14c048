//! What a strategy gets in a case when it asks: what was answered then, or the case's own tests.
//!
//! Touches: nothing.
//! Change here: when a strategy may ask for something else that costs; `stages/tournament/desk.rs` answers it in a run.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::ground::Ground;
use super::{Answer, Asked, Case, Reply, Said, digest};
use crate::event::{Fault, FaultKind, ModelAnswer, ModelRequest, Patch, ProbeReport, ToolReport};
use crate::outside::wasm::{LogLevel, Services};
use crate::stages::tournament::desk::chance;

/// The first moment of 2026, where a case does not say when it happened.
const SOME_TIME: u64 = 1_767_225_600_000;
/// What an answer took, where the case does not say.
const A_SECOND: u64 = 1000;

pub struct CaseDesk {
    case: Arc<Case>,
    ground: Arc<Ground>,
    /// Log lines go to standard error.
    aloud: bool,
    state: Mutex<State>,
}

struct State {
    /// Not asked for yet, oldest first.
    model: VecDeque<(Reply<Said>, Option<u64>)>,
    rest: Vec<Answer>,
    calls: usize,
    probes: u32,
    usd_micros: u64,
    now_ms: u64,
    drawn: u64,
    learned: Vec<Answer>,
}

impl CaseDesk {
    pub fn new(case: Arc<Case>, ground: Arc<Ground>, aloud: bool) -> CaseDesk {
        let (mut model, mut rest) = (VecDeque::new(), vec![]);
        for answer in &case.answers {
            match &answer.to {
                Asked::Model(reply) => model.push_back((reply.clone(), answer.at_ms)),
                _ => rest.push(answer.clone()),
            }
        }
        let now_ms = match case.told.facts.now_ms {
            0 => SOME_TIME,
            told => told,
        };
        let state = State {
            model,
            rest,
            calls: 0,
            probes: 0,
            usd_micros: 0,
            now_ms,
            drawn: 0,
            learned: vec![],
        };
        CaseDesk {
            case,
            ground,
            aloud,
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // A panic elsewhere leaves counters as good as they were.
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// What the case's own tests answered, since the case did not say.
    pub fn learned(&self) -> Vec<Answer> {
        self.state().learned.clone()
    }

    /// Counts a use of `probe.runs`; tools count as well.
    fn spend_probe(&self) -> Result<(), Fault> {
        let all = self.case.told.budgets.probes;
        let mut state = self.state();
        if state.probes >= all {
            let why = format!("all {all} probes are used up");
            return Err(Fault::new(FaultKind::Budget, "probe.spent", why));
        }
        state.probes += 1;
        Ok(())
    }

    fn answered(&self) -> Result<ModelAnswer, Fault> {
        let mut state = self.state();
        state.calls += 1;
        let Some((reply, at_ms)) = state.model.pop_front() else {
            let why = format!(
                "the case holds {} answers of the model, and this is call {}; record it again",
                state.calls - 1,
                state.calls
            );
            return Err(Fault::new(FaultKind::Unavailable, "llm.not-recorded", why));
        };
        state.pass(at_ms);
        let answer = Result::<Said, Fault>::from(reply).map(ModelAnswer::from);
        let spent = match &answer {
            Ok(answer) => (answer.usage.cost_usd * 1e6) as u64,
            Err(fault) => fault.usage.map_or(0, |u| u.usd_micros),
        };
        state.usd_micros += spent;
        answer
    }

    async fn try_out(&self, patch: Patch) -> Result<ProbeReport, Fault> {
        self.spend_probe()?;
        let digest = digest(&patch);
        let kept = self.state().take(|to| match to {
            Asked::Probe { patch, reply } if *patch == digest => Some(reply.clone()),
            _ => None,
        });
        if let Some(reply) = kept {
            return reply.into();
        }
        let Some(test) = &self.case.told.test else {
            let why = "the case does not say what the tests said of this patch, and has no `test` to ask; record it again";
            return Err(Fault::new(
                FaultKind::Unavailable,
                "probe.not-recorded",
                why,
            ));
        };
        let answer = self.ground.probe(test, &patch).await;
        let mut state = self.state();
        state.pass(None);
        state.learned.push(Answer {
            to: Asked::Probe {
                patch: digest,
                reply: answer.clone().into(),
            },
            at_ms: None,
        });
        answer
    }

    async fn use_tool(&self, wanted: String, patch: Patch) -> Result<ToolReport, Fault> {
        if !self.case.told.tools.contains_key(&wanted) {
            let unknown = format!("no tool `{wanted}` is configured for this project");
            return Err(Fault::new(FaultKind::NotFound, "tool.unknown", unknown));
        }
        self.spend_probe()?;
        let digest = digest(&patch);
        let kept = self.state().take(|to| match to {
            Asked::Tool { name, patch, reply } if *name == wanted && *patch == digest => {
                Some(reply.clone())
            }
            _ => None,
        });
        kept.map_or_else(
            || {
                let why = format!(
                    "the case does not say what `{wanted}` made of this patch; record it again"
                );
                Err(Fault::new(FaultKind::Unavailable, "tool.not-recorded", why))
            },
            Into::into,
        )
    }
}

impl State {
    /// The strategy's clock moves to when an answer was kept.
    fn pass(&mut self, at_ms: Option<u64>) {
        self.now_ms = at_ms.unwrap_or(self.now_ms + A_SECOND);
    }

    /// The first answer that fits; the same question may have been answered in two ways.
    fn take<T>(&mut self, fits: impl Fn(&Asked) -> Option<T>) -> Option<T> {
        let (index, found) = self
            .rest
            .iter()
            .enumerate()
            .find_map(|(i, a)| Some((i, fits(&a.to)?)))?;
        let answer = self.rest.remove(index);
        self.pass(answer.at_ms);
        Some(found)
    }
}

impl Services for CaseDesk {
    fn complete(&self, _: ModelRequest) -> BoxFuture<'_, Result<ModelAnswer, Fault>> {
        std::future::ready(self.answered()).boxed()
    }

    fn probe(&self, patch: Patch) -> BoxFuture<'_, Result<ProbeReport, Fault>> {
        self.try_out(patch).boxed()
    }

    fn run_tool(&self, name: String, patch: Patch) -> BoxFuture<'_, Result<ToolReport, Fault>> {
        self.use_tool(name, patch).boxed()
    }

    fn tools(&self) -> Vec<String> {
        self.case.told.tools.keys().cloned().collect()
    }

    fn now_ms(&self) -> u64 {
        self.state().now_ms
    }

    fn random(&self, len: u32) -> Vec<u8> {
        let mut state = self.state();
        let from = state.drawn;
        state.drawn += u64::from(len);
        chance(&self.case.told.facts.seed, from, len)
    }

    fn remaining(&self, meter: &str) -> Option<u64> {
        let budgets = &self.case.told.budgets;
        let state = self.state();
        match meter {
            "probe.runs" => Some(u64::from(budgets.probes.saturating_sub(state.probes))),
            "llm.output-tokens" => Some(budgets.llm_output_tokens),
            "llm.usd-micros" => Some(budgets.llm_usd_micros.saturating_sub(state.usd_micros)),
            _ => None,
        }
    }

    fn log(&self, level: LogLevel, message: &str, fields: &[(String, String)]) {
        if self.aloud {
            let fields: String = fields.iter().map(|(k, v)| format!(" {k}={v}")).collect();
            eprintln!(
                "      {level:?}: {}{}",
                message.escape_debug(),
                fields.escape_debug()
            );
        }
    }
}
