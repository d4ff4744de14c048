//! Bisect: tests the commit that tells most about which of several broke it, or states which did.
//!
//! Touches: files, processes, git.
//! Change here: when other commits should be searched. Which is next is in `rules/bisect.rs`.

use crate::event::{Fact, Oid, Role};
use crate::outside::git::blocking;
use crate::rules::bisect::{self, Step};
use crate::rules::run::Run;

use super::suite::{self, Part};
use super::{Cx, StageError, failed};

/// Of longer ones the oldest part is taken for one commit.
const LONGEST: usize = 10_000;

pub async fn step(cx: &Cx, run: &Run) -> Result<Vec<Fact>, StageError> {
    let triage = run
        .triage
        .as_ref()
        .ok_or_else(|| StageError::new("no triage"))?;
    let line = line(cx, run).await?;
    let patience = cx.project.policy.rerun_seconds as f64;
    match bisect::next(&line, &triage.failing, &run.between, patience) {
        Step::Found(bisection) => Ok(vec![Fact::Bisected { bisection }]),
        Step::Test(commit) => {
            let tree = cx
                .mirror
                .tree_of(&commit)
                .map_err(|e| failed("reading a commit", &e))?;
            let name = format!("{}-between-{}", run.id, commit.short());
            let report =
                suite::run(cx, &tree, Some(&commit), &name, Part::Only(&triage.failing)).await?;
            Ok(vec![suite::tested(cx, Role::Between, report)])
        }
    }
}

/// What the branch went through from base to head, oldest first: a merge is one commit, whatever it brought.
async fn line(cx: &Cx, run: &Run) -> Result<Vec<Oid>, StageError> {
    let (mirror, change) = (cx.mirror.clone(), run.change.clone());
    let line = blocking(move || mirror.first_parents(&change.base, &change.head, LONGEST)).await;
    line.map_err(|e| failed("reading history", &e))
}
