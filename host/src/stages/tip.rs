//! Looks at the branch's tip: whether it has moved, and whether what failed fails there too. No stage itself: the
//! tournament's opening and the delivery ask it.
//!
//! Touches: git, files, processes.
//! Change here: when it should be told otherwise that a failure went away by itself.

use std::time::Duration;

use crate::event::{Change, Oid, Role, TestReport};
use crate::outside::git::Mirror;
use crate::rules::compare;
use crate::rules::run::Run;

use super::suite::{self, Part};
use super::{Cx, StageError, failed};

/// Commits told of a change; the rest is in the repository.
pub const COMMITS_TOLD: usize = 50;

/// The tip of a branch that has moved since the change, and what its tests said.
pub struct Moved {
    pub tip: Oid,
    pub tree: Oid,
    pub report: TestReport,
}

impl Moved {
    /// Why there is nothing to do any more, if there is not.
    pub fn healed(&self, run: &Run) -> Option<String> {
        let triage = run.triage.as_ref()?;
        let gone = !compare::still_fails(triage, &self.report);
        gone.then(|| {
            let tip = self.tip.short();
            format!("the branch moved to {tip} and does not fail any more")
        })
    }

    pub fn fact(&self, cx: &Cx) -> crate::event::Fact {
        suite::tested(cx, Role::Tip, self.report.clone())
    }
}

pub async fn of(cx: &Cx, run: &Run) -> Result<Oid, StageError> {
    let timeout = Duration::from_secs(cx.house.settings.watch.timeout_seconds.max(60));
    cx.mirror
        .fetch(&run.change.branch, timeout)
        .await
        .map_err(|e| failed("fetching the branch", &e))
}

/// Tests a tip that is not the change's head.
pub async fn test(cx: &Cx, run: &Run, tip: Oid, part: Part<'_>) -> Result<Moved, StageError> {
    let tree = cx
        .mirror
        .tree_of(&tip)
        .map_err(|e| failed("reading the tip", &e))?;
    let report = suite::run(cx, &tree, Some(&tip), &format!("{}-tip", run.id), part).await?;
    Ok(Moved { tip, tree, report })
}

/// The change between two commits of a mirror that already holds both.
pub fn change_between(
    mirror: &Mirror,
    branch: &str,
    base: Oid,
    head: Oid,
) -> Result<Change, StageError> {
    let read = |e| failed("reading history", &e);
    let tree = mirror.tree_of(&head).map_err(read)?;
    let base_tree = mirror.tree_of(&base).map_err(read)?;
    Ok(Change {
        branch: branch.to_owned(),
        forced: false,
        commits: mirror.commits(&base, &head, COMMITS_TOLD).map_err(read)?,
        paths: mirror.changed_paths(&base_tree, &tree).map_err(read)?,
        base,
        head,
        tree,
        asked: None,
        update: None,
    })
}
