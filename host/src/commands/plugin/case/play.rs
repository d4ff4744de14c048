//! Runs a plugin on a case and says what it made of it.
//!
//! Touches: wasm, git, clock.
//! Change here: when a plugin is called with something new; `stages/` does the same for a run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;

use super::desk::CaseDesk;
use super::ground::Ground;
use super::snapshot::{CameOfIt, Snapshot, Used};
use super::{Answer, Case, Facts};
use crate::event::{Ledger, Patch, PluginRef};
use crate::outside::git::PatchError;
use crate::outside::wasm::{
    Called, FailureFacts, Field, PluginKind, Plugins, StrategyAnswer, StrategyTask,
};

/// A case that is set up; it can be played any number of times.
pub struct Scene {
    pub case: Arc<Case>,
    /// Of a strategy's case.
    ground: Option<Arc<Ground>>,
}

/// One call of the plugin.
pub struct Played {
    pub snapshot: Snapshot,
    pub ledger: Ledger,
    /// From the call to the answer.
    pub took: Duration,
    /// Answers that the case did not hold, and that its own tests gave.
    pub learned: Vec<Answer>,
}

impl Scene {
    pub async fn set(case: Case) -> anyhow::Result<Scene> {
        let case = Arc::new(case);
        let ground = match case.told.world {
            PluginKind::Strategy => Some(Arc::new(Ground::lay(case.clone()).await?)),
            PluginKind::Scorer | PluginKind::Escalation => None,
        };
        Ok(Scene { case, ground })
    }

    /// What a plugin that is loaded makes of the case. An error is the case's or the host's, never the plugin's.
    pub async fn play(
        &self,
        plugins: &Plugins,
        kind: PluginKind,
        plugin: &PluginRef,
        aloud: bool,
    ) -> anyhow::Result<Played> {
        let case = &self.case;
        match (kind, &self.ground) {
            (kind, _) if kind != case.told.world => bail!(
                "{}: is a case for a {}, and {} is a {kind}",
                case.dir.display(),
                case.told.world,
                plugin.name,
            ),
            (PluginKind::Scorer, _) => {
                let started = Instant::now();
                let called = plugins.run_scorer(plugin, field(case)).await;
                Ok(judged(started, called, |scores| CameOfIt::Scores {
                    scores,
                }))
            }
            (PluginKind::Escalation, _) => {
                let started = Instant::now();
                let called = plugins.run_escalation(plugin, field(case)).await;
                Ok(judged(started, called, |advice| CameOfIt::Advice {
                    advice,
                }))
            }
            (PluginKind::Strategy, Some(ground)) => {
                strategy(plugins, plugin, case, ground, aloud).await
            }
            (PluginKind::Strategy, None) => bail!("{}: has no trees", case.dir.display()),
        }
    }
}

fn judged<T>(started: Instant, called: Called<T>, told: impl Fn(T) -> CameOfIt) -> Played {
    Played {
        took: started.elapsed(),
        snapshot: Snapshot {
            used: Used::from(&called.ledger),
            came_of_it: called.answer.map_or_else(CameOfIt::from, told),
        },
        ledger: called.ledger,
        learned: vec![],
    }
}

/// Configuration and history stand in `case.toml`, for every kind of case.
fn field(case: &Case) -> Field {
    let mut field = case.field.clone().unwrap_or_default();
    if !case.told.config.is_empty() || field.config.is_null() {
        field.config = case.told.config.clone().into();
    }
    field.history = Arc::new(case.told.facts.history.clone());
    field.learned = Arc::new(case.told.facts.learned.clone());
    field
}

async fn strategy(
    plugins: &Plugins,
    plugin: &PluginRef,
    case: &Arc<Case>,
    ground: &Arc<Ground>,
    aloud: bool,
) -> anyhow::Result<Played> {
    let desk = Arc::new(CaseDesk::new(case.clone(), ground.clone(), aloud));
    let told = &case.told;
    let task = StrategyTask {
        failure: facts(case, ground),
        tree: ground.tree(&ground.head, &told.facts.head)?,
        before: ground.tree(&ground.before, &told.facts.base)?,
        config: told.config.clone().into(),
        services: desk.clone(),
        history: Arc::new(told.facts.history.clone()),
        learned: Arc::new(told.facts.learned.clone()),
        wall_limit: Duration::from_secs(told.budgets.seconds),
    };
    let started = Instant::now();
    let called = plugins.run_strategy(plugin, task).await;
    let took = started.elapsed();
    let came_of_it = match called.answer {
        Ok(StrategyAnswer::Decline(why)) => CameOfIt::Decline { why },
        Ok(StrategyAnswer::Propose {
            patch,
            rationale,
            confidence,
            notes,
        }) => match resolved(ground, &patch).await? {
            Ok(patch) => CameOfIt::Propose {
                patch,
                rationale,
                confidence: rounded(confidence),
                notes,
            },
            Err(why) => CameOfIt::BadPatch { why },
        },
        Err(failure) => failure.into(),
    };
    Ok(Played {
        took,
        snapshot: Snapshot {
            came_of_it,
            used: Used::from(&called.ledger),
        },
        ledger: called.ledger,
        learned: desk.learned(),
    })
}

/// Guests tell it in single precision; its noise is nothing to read.
fn rounded(confidence: f64) -> f64 {
    (confidence * 1e4).round() / 1e4
}

fn facts(case: &Case, ground: &Ground) -> FailureFacts {
    let told = &case.told;
    let Facts { base, head, .. } = &told.facts;
    let or_made_up = |named: &String, tree: &crate::event::Oid| match named.is_empty() {
        true => tree.0.clone(),
        false => named.clone(),
    };
    let mut attributes = told.facts.attributes.clone();
    if let Some(test) = &told.test {
        attributes
            .entry("test-command".to_owned())
            .or_insert_with(|| test.clone());
    }
    FailureFacts {
        project: told.facts.project.clone(),
        base: or_made_up(base, &ground.before),
        head: or_made_up(head, &ground.head),
        failing: told.failing.iter().map(|f| f.id.clone()).collect(),
        failures: told.failing.iter().map(Into::into).collect(),
        suite_output: told.facts.suite_output.clone(),
        commits: told.commits.clone(),
        changed_paths: ground.paths.clone(),
        attributes,
        change: ground.change(),
    }
}

/// The patch as git tells it, so that two ways to say the same are the same; the inner error is the strategy's.
async fn resolved(ground: &Ground, patch: &Patch) -> anyhow::Result<Result<String, String>> {
    let applied = match ground.mirror.apply(&ground.head, patch).await {
        Ok(applied) => applied.tree,
        Err(PatchError::Git(error)) => return Err(error.into()),
        Err(refused) => return Ok(Err(refused.to_string())),
    };
    let (text, _, _) = ground.mirror.patch(&ground.head, &applied)?;
    Ok(Ok(text))
}
