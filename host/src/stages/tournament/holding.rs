//! How a dependency whose update breaks the tests stays where it was: its last good version, written down with the reason.
//!
//! Touches: git, files, processes.
//! Change here: when something else should be put in the place of an update.

use crate::event::{Holding, Move, Step, Update};
use crate::rules::deps::plan;
use crate::rules::run::Run;
use crate::stages::deps::make;
use crate::stages::{Cx, StageError, failed};

/// None where nothing has to be held back, or nothing can be: the update then stands or falls with the variants.
pub async fn of(cx: &Cx, run: &Run) -> Result<Option<Holding>, StageError> {
    let Some(update) = &run.change.update else {
        return Ok(None);
    };
    let Some(step) = alone(update).filter(|_| cx.project.deps.pin_back) else {
        return Ok(None);
    };
    if run.is_harmless_update() {
        return Ok(None);
    }
    let tree = cx.mirror.tree_of(&run.change.base);
    let tree = tree.map_err(|e| failed("reading what the update stands on", &e))?;
    let Some((manifest, files)) = make::gathered(&cx.mirror, &tree, &update.manifest)? else {
        return Ok(None);
    };
    let reason = plan::reason_to_hold(step, &failing(run));
    let clients = cx.clients()?;
    let pinned = clients
        .pin(&files, &manifest, &step.name, &step.from, &reason)
        .await;
    let pinned = match pinned {
        Ok(pinned) => pinned,
        Err(error) => {
            tracing::warn!(run = %run.id, "{} cannot be held back: {error}", step.name);
            return Ok(None);
        }
    };
    let held = make::with_files(&cx.mirror, &tree, &pinned.files).await?;
    if held == tree {
        return Ok(None);
    }
    let (patch, ..) = cx
        .mirror
        .patch(&run.change.tree, &held)
        .map_err(|e| failed("making the diff", &e))?;
    Ok(Some(Holding {
        name: step.name.clone(),
        version: step.from.clone(),
        patch,
        tree: held,
    }))
}

fn alone(update: &Update) -> Option<&Step> {
    match update.moves.as_slice() {
        [Move { steps, .. }] => match steps.as_slice() {
            [step] => Some(step),
            _ => None,
        },
        _ => None,
    }
}

fn failing(run: &Run) -> Vec<&str> {
    let failing = run.triage.iter().flat_map(|triage| &triage.failing);
    failing.map(String::as_str).collect()
}
