//! FixGenerator: every variant's strategy, side by side, each in a fresh instance with its own desk.
//!
//! Touches: wasm, git, clock.
//! Change here: when variants should be started, bounded or told apart otherwise.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::event::{CallRole, Entry, Fact, Refusal, RefusalKind};
use crate::outside::wasm::{StrategyAnswer, StrategyTask};
use crate::rules::rank;
use crate::rules::run::Run;
use crate::rules::update;

use super::desk::Desk;
use super::dossier;
use super::resolve::{self, Proposal};
use crate::stages::{Cx, StageError, call};

/// Lets the waiting variants propose. Each hands in on its own: what one has handed in survives a crash of the rest.
pub async fn all(cx: &Cx, run: &Arc<Run>, waiting: &[String]) -> Result<Vec<Fact>, StageError> {
    let opening = run
        .opening
        .as_ref()
        .ok_or_else(|| StageError::new("no tournament is open"))?;
    let entries = opening.entries.iter().filter(|e| waiting.contains(&e.name));
    let heats = entries.map(|entry| heat(cx, run, entry));
    for heat in futures::future::join_all(heats).await {
        heat?;
    }
    Ok(vec![])
}

/// One variant's proposal or refusal. Only a fault of the host is an error; a fault of the plugin loses its heat.
async fn heat(cx: &Cx, run: &Arc<Run>, entry: &Entry) -> Result<(), StageError> {
    if entry.name == update::ITSELF {
        let candidate = resolve::update(cx, run)?;
        let variant = entry.name.clone();
        let handed_in = Fact::Proposed { variant, candidate };
        return cx.recorder.record(handed_in).await.map(drop);
    }
    let started = Instant::now();
    let variant = entry.name.clone();
    let desk = Arc::new(Desk::new(cx.clone(), run.clone(), entry));
    let task = StrategyTask {
        failure: dossier::facts(cx, run)?,
        tree: dossier::tree(cx, &run.change.head)?,
        before: dossier::tree(cx, &dossier::Suspect::of(&cx.mirror, run)?.revision)?,
        config: entry.config.clone(),
        services: desk.clone(),
        history: Arc::new(run.history()),
        learned: Arc::new(run.learned()),
        wall_limit: Duration::from_secs(cx.project.policy.strategy_timeout_seconds),
    };
    let called = cx.house.plugins.run_strategy(&entry.strategy, task).await;
    desk.take_host_failure()?;
    let role = CallRole::Strategy(variant.clone());
    let kept = call::keep(cx, role, &entry.strategy, &called).await?;
    cx.recorder.record(kept).await?;
    let seconds = started.elapsed().as_secs_f64();
    let no = |kind, why| Fact::Refused {
        variant: variant.clone(),
        refusal: Refusal { kind, why, seconds },
    };
    let fact = match called.answer {
        Ok(StrategyAnswer::Decline(why)) => no(RefusalKind::NoFix, cx.house.redactor.clean(&why)),
        Ok(StrategyAnswer::Propose {
            patch,
            rationale,
            confidence,
            notes,
        }) => {
            let proposal = Proposal {
                patch,
                rationale,
                confidence,
                notes,
            };
            match resolve::candidate(cx, run, proposal, seconds).await? {
                Ok(candidate) => Fact::Proposed {
                    variant: variant.clone(),
                    candidate,
                },
                Err(why) => no(RefusalKind::BadPatch, why),
            }
        }
        Err(failure) => {
            let refusal = rank::refusal_of(failure.kind, &failure.why, seconds);
            Fact::Refused {
                variant: variant.clone(),
                refusal,
            }
        }
    };
    cx.recorder.record(fact).await.map(drop)
}
