//! Runs a plugin on a case and says what it made of it.
//!
//! Touches: wasm, git.
//! Change here: when a plugin is called with something new; `stages/` does the same for a run.

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;

use super::desk::CaseDesk;
use super::ground::Ground;
use super::snapshot::{CameOfIt, Snapshot, Used};
use super::{Case, Facts};
use crate::event::{Ledger, Patch, PluginFailure, PluginRef};
use crate::outside::git::PatchError;
use crate::outside::wasm::{
    FailureFacts, Field, PluginInfo, PluginKind, Plugins, StrategyAnswer, StrategyTask,
};

/// What a plugin that is loaded makes of a case. An error is the case's or the host's, never the plugin's.
pub async fn play(
    plugins: &Plugins,
    plugin: &PluginInfo,
    case: Case,
    aloud: bool,
) -> anyhow::Result<Snapshot> {
    if plugin.kind != case.told.world {
        bail!(
            "{}: is a case for a {}, and {} is a {}",
            case.dir.display(),
            case.told.world,
            plugin.name,
            plugin.kind
        );
    }
    let pinned = PluginRef {
        name: plugin.name.clone(),
        digest: plugin.digest.clone(),
    };
    match plugin.kind {
        PluginKind::Strategy => strategy(plugins, &pinned, Arc::new(case), aloud).await,
        PluginKind::Scorer => {
            let scores = plugins.run_scorer(&pinned, field(case)).await;
            Ok(seen(scores.map(|scores| CameOfIt::Scores { scores })))
        }
        PluginKind::Escalation => {
            let advice = plugins.run_escalation(&pinned, field(case)).await;
            Ok(seen(advice.map(|advice| CameOfIt::Advice { advice })))
        }
    }
}

fn seen(answer: Result<CameOfIt, PluginFailure>) -> Snapshot {
    Snapshot {
        came_of_it: answer.unwrap_or_else(CameOfIt::from),
        used: Used::from(&Ledger::default()),
    }
}

/// Configuration and history stand in `case.toml`, for every kind of case.
fn field(case: Case) -> Field {
    let mut field = case.field.unwrap_or_default();
    if !case.told.config.is_empty() || field.config.is_null() {
        field.config = case.told.config.into();
    }
    field.history = Arc::new(case.told.facts.history);
    field
}

async fn strategy(
    plugins: &Plugins,
    pinned: &PluginRef,
    case: Arc<Case>,
    aloud: bool,
) -> anyhow::Result<Snapshot> {
    let ground = Arc::new(Ground::lay(case.clone()).await?);
    let desk = Arc::new(CaseDesk::new(case.clone(), ground.clone(), aloud));
    let told = &case.told;
    let task = StrategyTask {
        failure: facts(&case, &ground),
        tree: ground.tree(&ground.head, &told.facts.head)?,
        before: ground.tree(&ground.before, &told.facts.base)?,
        config: told.config.clone().into(),
        services: desk,
        history: Arc::new(told.facts.history.clone()),
        wall_limit: Duration::from_secs(told.budgets.seconds),
    };
    let came_of_it = match plugins.run_strategy(pinned, task).await {
        Ok(StrategyAnswer::Decline(why)) => CameOfIt::Decline { why },
        Ok(StrategyAnswer::Propose {
            patch,
            rationale,
            confidence,
            notes,
        }) => match resolved(&ground, &patch).await? {
            Ok(patch) => CameOfIt::Propose {
                patch,
                rationale,
                confidence,
                notes,
            },
            Err(why) => CameOfIt::BadPatch { why },
        },
        Err(failure) => failure.into(),
    };
    Ok(Snapshot {
        came_of_it,
        used: Used::from(&Ledger::default()),
    })
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
