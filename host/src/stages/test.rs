//! TestRunner: the suite on the head, on the head again, and on the base of a change.
//!
//! Touches: files, processes, git.
//! Change here: when another tree of the change should be tested, or an earlier report should do.

use crate::event::{Fact, Oid, Role, TestReport};
use crate::rules::run::Run;

use super::suite::{self, Part};
use super::{Cx, StageError, failed};

/// Tests the head, the head again, or the base of a change.
pub async fn change(cx: &Cx, run: &Run, role: Role) -> Result<Vec<Fact>, StageError> {
    let commit = if role == Role::Base {
        &run.change.base
    } else {
        &run.change.head
    };
    let tree = cx
        .mirror
        .tree_of(commit)
        .map_err(|e| failed("reading the commit", &e))?;
    if role == Role::Base
        && let Some(report) = known(cx, &tree).await?
    {
        return Ok(vec![suite::tested(cx, role, report)]);
    }
    let report = suite::run(
        cx,
        &tree,
        Some(commit),
        &format!("{}-{role:?}", run.id),
        Part::Whole,
    )
    .await?;
    Ok(vec![suite::tested(cx, role, report)])
}

/// What the same commands said of the same tree before.
async fn known(cx: &Cx, tree: &Oid) -> Result<Option<TestReport>, StageError> {
    let found = cx
        .house
        .store
        .report_for_tree(&cx.name, tree, &suite::digest(&cx.project))
        .await;
    found.map_err(|e| failed("looking for an earlier report", &e))
}
