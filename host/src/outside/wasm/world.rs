//! The three worlds a plugin can be of: how each is linked, started and called.
//!
//! Touches: wasm.
//! Change here: when a world comes or goes.

use serde::Serialize;
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Engine, Store};

use super::bindings::escalation::{Escalation, EscalationPre};
use super::bindings::host::changebus::types::errors;
use super::bindings::scorer::{Scorer, ScorerPre};
use super::bindings::strategy::{Strategy, StrategyPre};
use super::imports::State;
use super::task::{Field, StrategyAnswer};
use super::{PluginKind, convert, wasi};
use crate::event::{Advice, Score};

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
    pub async fn try_out(self, store: &mut Store<State>, field: &Field) -> Tried {
        match self {
            Guest::Strategy(pre) => tried::<OfStrategy>(pre, store, |_| Ok(())).await,
            Guest::Scorer(pre) => {
                let check = |scored| convert::check_scores(scored, field).map(drop);
                tried::<OfScorer>(pre, store, check).await
            }
            Guest::Escalation(pre) => {
                let check = |advice| convert::check_advice(advice, field).map(drop);
                tried::<OfEscalation>(pre, store, check).await
            }
        }
    }
}

async fn tried<W: World>(
    pre: W::Pre,
    store: &mut Store<State>,
    makes_sense: impl FnOnce(W::Answer) -> Result<(), String>,
) -> Tried {
    let guest = match W::start(pre, store).await {
        Ok(guest) => guest,
        Err(error) => return Tried::NotStarted(error),
    };
    match W::call(guest, store).await {
        Ok(Ok(answer)) => makes_sense(answer).map_or_else(Tried::Nonsense, |()| Tried::Well),
        Ok(Err(Broken::GaveUp(_))) => Tried::Well,
        Ok(Err(Broken::Nonsense(why))) => Tried::Nonsense(why),
        Err(error) => Tried::Trapped(error),
    }
}

/// What differs between the kinds of plugins.
pub trait World: Send + 'static {
    type Pre: Clone + Send + Sync + 'static;
    type Guest: Send;
    type Answer: Serialize + Send + 'static;

    fn start(
        pre: Self::Pre,
        store: &mut Store<State>,
    ) -> impl Future<Output = wasmtime::Result<Self::Guest>> + Send;

    /// The outer error ends the guest; the inner one is its own, or says why its answer makes no sense.
    fn call(
        guest: Self::Guest,
        store: &mut Store<State>,
    ) -> impl Future<Output = wasmtime::Result<Result<Self::Answer, Broken>>> + Send;
}

/// What a guest answered instead of an answer.
pub enum Broken {
    GaveUp(String),
    Nonsense(String),
}

pub struct OfStrategy;
pub struct OfScorer;
pub struct OfEscalation;

impl World for OfStrategy {
    type Pre = StrategyPre<State>;
    type Guest = Strategy;
    type Answer = StrategyAnswer;

    async fn start(pre: Self::Pre, store: &mut Store<State>) -> wasmtime::Result<Strategy> {
        pre.instantiate_async(store).await
    }

    async fn call(
        guest: Strategy,
        store: &mut Store<State>,
    ) -> wasmtime::Result<Result<StrategyAnswer, Broken>> {
        let (failure, tree) = store.data_mut().lay_out_failure()?;
        let fix = guest.changebus_strategy_fix();
        let outcome = fix.call_run(&mut *store, failure, tree).await?;
        Ok(outcome.map_err(Broken::GaveUp).and_then(|outcome| {
            convert::strategy_answer(outcome, &mut store.data_mut().table).map_err(Broken::Nonsense)
        }))
    }
}

impl World for OfScorer {
    type Pre = ScorerPre<State>;
    type Guest = Scorer;
    type Answer = Vec<(String, Score)>;

    async fn start(pre: Self::Pre, store: &mut Store<State>) -> wasmtime::Result<Scorer> {
        pre.instantiate_async(store).await
    }

    async fn call(
        guest: Scorer,
        store: &mut Store<State>,
    ) -> wasmtime::Result<Result<Self::Answer, Broken>> {
        let tournament = store.data_mut().lay_out_tournament()?;
        let judge = guest.changebus_scorer_judge();
        let scored = judge.call_score(store, tournament).await?;
        Ok(scored.map(convert::scores).map_err(Broken::GaveUp))
    }
}

impl World for OfEscalation {
    type Pre = EscalationPre<State>;
    type Guest = Escalation;
    type Answer = Advice;

    async fn start(pre: Self::Pre, store: &mut Store<State>) -> wasmtime::Result<Escalation> {
        pre.instantiate_async(store).await
    }

    async fn call(
        guest: Escalation,
        store: &mut Store<State>,
    ) -> wasmtime::Result<Result<Advice, Broken>> {
        let tournament = store.data_mut().lay_out_tournament()?;
        let gate = guest.changebus_escalation_gate();
        let decision = gate.call_decide(store, tournament).await?;
        Ok(decision.map(convert::advice).map_err(Broken::GaveUp))
    }
}
