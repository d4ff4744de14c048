//! TestRunner: the suite on the head and on the base of a change, and what failed again on either.
//!
//! Touches: files, processes, git, sqlite.
//! Change here: when another tree of the change should be tested, or an earlier report should do.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{Fact, Flips, Role, TestReport};
use crate::rules::run::Run;

use super::suite::{self, Part};
use super::{Cx, StageError, failed};

/// Tests the head or the base of a change: the whole suite, or a part of it.
pub async fn change(
    cx: &Cx,
    run: &Run,
    role: Role,
    part: Option<BTreeSet<String>>,
) -> Result<Vec<Fact>, StageError> {
    let commit = match role {
        Role::Base | Role::BaseAgain => &run.change.base,
        _ => &run.change.head,
    };
    let tree = cx
        .mirror
        .tree_of(commit)
        .map_err(|e| failed("reading the commit", &e))?;
    if role == Role::Base
        && let Some(report) = suite::known(cx, &tree).await?
    {
        return Ok(vec![suite::tested(cx, role, report)]);
    }
    let nth = run.heads.len() + run.bases.len();
    let name = format!("{}-{role:?}-{nth}", run.id);
    let asked = part.as_ref().map_or(Part::Whole, Part::Only);
    let report = suite::run(cx, &tree, Some(commit), &name, asked).await?;
    let flips = match role {
        Role::Head => flips(cx, run, &report).await?,
        _ => BTreeMap::new(),
    };
    let mut fact = suite::tested(cx, role, report);
    if let Fact::Tested { flips: seen, .. } = &mut fact {
        *seen = flips;
    }
    Ok(vec![fact])
}

/// Which of the tests that are bad now flipped in earlier runs, and how often.
async fn flips(
    cx: &Cx,
    run: &Run,
    report: &TestReport,
) -> Result<BTreeMap<String, Flips>, StageError> {
    let flakes = cx.house.store.flakes(&cx.name, Some(&run.id)).await;
    let flakes = flakes.map_err(|e| failed("reading what flipped", &e))?;
    let bad = report.bad();
    let bad = flakes.into_iter().filter(|f| bad.contains(&f.test[..]));
    Ok(bad.map(|flake| (flake.test, flake.seen)).collect())
}
