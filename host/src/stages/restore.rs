//! No stage itself: the trees a run depends on, and how they are made again where another host had made them.
//!
//! Touches: git.
//! Change here: when a run depends on another object that is in no remote.

use std::time::Duration;

use crate::event::{Candidate, Edit, Oid, Patch};
use crate::rules::rank::HandedIn;
use crate::rules::run::Run;

use super::deps::make;
use super::{Cx, StageError, failed};

const FETCHING: Duration = Duration::from_secs(120);

/// The commits of the change, and the trees of what was handed in, from their patches. Quick where all is there.
pub async fn objects(cx: &Cx, run: &Run) -> Result<(), StageError> {
    if run.closed.is_some() {
        return Ok(());
    }
    fetched(cx, run, run.change.origin()).await?;
    match &run.change.update {
        None => fetched(cx, run, &run.change.base).await?,
        Some(update) if cx.mirror.tree_of(&run.change.head).is_err() => {
            let host = &cx.house.settings.host;
            make::remade(&cx.mirror, host, &run.change, update).await?;
        }
        Some(_) => {}
    }
    for (variant, handed) in &run.handed_in {
        let HandedIn::Candidate(candidate) = handed else {
            continue;
        };
        if has_tree(cx, &candidate.tree) && has_tree(cx, &candidate.trial_tree) {
            continue;
        }
        let made = remade(cx, run, candidate).await?;
        if made != (candidate.tree.clone(), candidate.trial_tree.clone()) {
            return Err(StageError::new(format!(
                "what {variant} handed in cannot be made again from its patch: the host that has it has to go on"
            )));
        }
    }
    Ok(())
}

async fn fetched(cx: &Cx, run: &Run, commit: &Oid) -> Result<(), StageError> {
    if cx.mirror.tree_of(commit).is_ok() {
        return Ok(());
    }
    let branch = cx.mirror.fetch(&run.change.branch, FETCHING).await;
    branch.map_err(|e| failed("fetching", &e))?;
    if cx.mirror.tree_of(commit).is_ok() {
        return Ok(());
    }
    // The branch was rewritten meanwhile; some remotes give single commits all the same.
    let single = cx.mirror.fetch_commit(commit, FETCHING).await;
    single.map_err(|e| failed("fetching the change", &e))
}

fn has_tree(cx: &Cx, tree: &Oid) -> bool {
    cx.mirror.tree(tree).is_ok()
}

async fn remade(cx: &Cx, run: &Run, candidate: &Candidate) -> Result<(Oid, Oid), StageError> {
    let patch = Patch {
        edits: vec![Edit::UnifiedDiff {
            text: candidate.patch.clone(),
        }],
    };
    let applied = cx.mirror.apply(&run.change.tree, &patch).await;
    let tree = applied
        .map_err(|e| failed("applying a patch again", &e))?
        .tree;
    let trial = with_the_heads_judge(cx, run, &tree)?;
    Ok((tree, trial))
}

/// A candidate's own edits to tests, test configuration and CI do not count.
pub fn with_the_heads_judge(cx: &Cx, run: &Run, tree: &Oid) -> Result<Oid, StageError> {
    cx.mirror
        .with_paths_from(tree, &run.change.tree, &|path| cx.classes.is_judge(path))
        .map_err(|e| failed("restoring the tests", &e))
}
