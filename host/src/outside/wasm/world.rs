//! The three worlds a plugin can be of: how each is linked, and how one is tried on a made-up task.
//!
//! Touches: wasm.
//! Change here: when a world comes or goes.

use std::sync::Arc;

use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Engine, Store};

use super::bindings::escalation::{Escalation, EscalationPre};
use super::bindings::host::changebus::types::errors;
use super::bindings::scorer::{Scorer, ScorerPre};
use super::bindings::strategy::{Strategy, StrategyPre};
use super::imports::State;
use super::task::Field;
use super::{PluginKind, convert, wasi};

/// A compiled plugin with its imports filled in.
#[derive(Clone)]
pub enum Guest {
    Strategy(StrategyPre<State>),
    Scorer(ScorerPre<State>),
    Escalation(EscalationPre<State>),
}

/// How a plugin took its first call.
pub enum Tried {
    /// It answered, or said why it does not.
    Well,
    /// It could not even be started.
    NotStarted(wasmtime::Error),
    Trapped(wasmtime::Error),
    Nonsense(String),
}

pub struct Linkers {
    strategy: Linker<State>,
    scorer: Linker<State>,
    escalation: Linker<State>,
}

impl Linkers {
    pub fn new(engine: &Engine) -> wasmtime::Result<Linkers> {
        let mut linkers = Linkers {
            strategy: Linker::new(engine),
            scorer: Linker::new(engine),
            escalation: Linker::new(engine),
        };
        Strategy::add_to_linker::<_, HasSelf<_>>(&mut linkers.strategy, |state| state)?;
        Scorer::add_to_linker::<_, HasSelf<_>>(&mut linkers.scorer, |state| state)?;
        Escalation::add_to_linker::<_, HasSelf<_>>(&mut linkers.escalation, |state| state)?;
        errors::add_to_linker::<_, HasSelf<_>>(&mut linkers.scorer, |state| state)?;
        errors::add_to_linker::<_, HasSelf<_>>(&mut linkers.escalation, |state| state)?;
        wasi::link(&mut linkers.strategy)?;
        wasi::link(&mut linkers.scorer)?;
        wasi::link(&mut linkers.escalation)?;
        Ok(linkers)
    }

    pub fn link(&self, kind: PluginKind, component: &Component) -> wasmtime::Result<Guest> {
        Ok(match kind {
            PluginKind::Strategy => {
                Guest::Strategy(StrategyPre::new(self.strategy.instantiate_pre(component)?)?)
            }
            PluginKind::Scorer => {
                Guest::Scorer(ScorerPre::new(self.scorer.instantiate_pre(component)?)?)
            }
            PluginKind::Escalation => Guest::Escalation(EscalationPre::new(
                self.escalation.instantiate_pre(component)?,
            )?),
        })
    }
}

impl Guest {
    /// Calls the plugin once. Only an instance shows whether every type fits, only a call whether it works.
    pub async fn try_out(self, store: &mut Store<State>, field: Arc<Field>) -> Tried {
        match self {
            Guest::Strategy(pre) => {
                let guest = match pre.instantiate_async(&mut *store).await {
                    Ok(guest) => guest,
                    Err(error) => return Tried::NotStarted(error),
                };
                let answer = async {
                    let (failure, tree) = store.data_mut().lay_out_failure()?;
                    let fix = guest.changebus_strategy_fix();
                    fix.call_run(&mut *store, failure, tree).await
                };
                let answer = answer.await;
                tried(answer, |outcome| {
                    convert::strategy_answer(outcome, &mut store.data_mut().table).map(drop)
                })
            }
            Guest::Scorer(pre) => {
                let guest = match pre.instantiate_async(&mut *store).await {
                    Ok(guest) => guest,
                    Err(error) => return Tried::NotStarted(error),
                };
                let answer = async {
                    let tournament = store.data_mut().lay_out_tournament()?;
                    let judge = guest.changebus_scorer_judge();
                    judge.call_score(&mut *store, tournament).await
                };
                tried(answer.await, |scored| {
                    convert::scores(scored, &field).map(drop)
                })
            }
            Guest::Escalation(pre) => {
                let guest = match pre.instantiate_async(&mut *store).await {
                    Ok(guest) => guest,
                    Err(error) => return Tried::NotStarted(error),
                };
                let answer = async {
                    let tournament = store.data_mut().lay_out_tournament()?;
                    let gate = guest.changebus_escalation_gate();
                    gate.call_decide(&mut *store, tournament).await
                };
                tried(answer.await, |decision| {
                    convert::advice(decision, &field).map(drop)
                })
            }
        }
    }
}

fn tried<T>(
    answer: wasmtime::Result<Result<T, String>>,
    makes_sense: impl FnOnce(T) -> Result<(), String>,
) -> Tried {
    match answer {
        Ok(Ok(answer)) => makes_sense(answer).map_or_else(Tried::Nonsense, |()| Tried::Well),
        Ok(Err(_)) => Tried::Well,
        Err(error) => Tried::Trapped(error),
    }
}
