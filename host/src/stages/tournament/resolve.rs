//! Makes a tree of what a strategy proposed, and says what the patch itself gives away.
//!
//! Touches: git.
//! Change here: when a proposal should be read, normalised or checked otherwise before it is tried.

use crate::event::{Candidate, Oid, Patch, TestFailure};
use crate::outside::git::PatchError;
use crate::rules::gates;
use crate::rules::run::Run;

use crate::stages::{Cx, StageError, failed, restore};

/// What a strategy proposed, as it left the guest.
pub struct Proposal {
    pub patch: Patch,
    pub rationale: String,
    pub confidence: f64,
    pub notes: Vec<(String, String)>,
}

/// Patches beyond this are kept as a tree only.
const PATCH_KEPT: usize = 1 << 20;

/// The inner error says, for people, why the proposal is no change to this tree.
pub async fn candidate(
    cx: &Cx,
    run: &Run,
    proposal: Proposal,
    seconds: f64,
) -> Result<Result<Candidate, String>, StageError> {
    let head = &run.change.tree;
    let applied = match cx.mirror.apply(head, &proposal.patch).await {
        Ok(applied) => applied,
        Err(PatchError::Git(error)) => return Err(failed("applying a patch", &error)),
        Err(refused) => return Ok(Err(cx.house.redactor.clean(&refused.to_string()))),
    };
    if applied.tree == *head {
        return Ok(Err("the patch changes nothing".into()));
    }
    let (patch, diff, changes) = cx
        .mirror
        .patch(head, &applied.tree)
        .map_err(|e| failed("making the diff", &e))?;
    let (mut objections, security) = gates::of_patch(&changes, &patch, &cx.classes, &failing(run));
    let clean = |text: &str| cx.house.redactor.clean(text);
    // They quote the very lines they object to.
    for objection in &mut objections {
        objection.because = clean(&objection.because);
    }
    let patch = if patch.len() > PATCH_KEPT {
        String::new()
    } else {
        clean(&patch)
    };
    Ok(Ok(Candidate {
        rationale: clean(&proposal.rationale),
        self_confidence: proposal.confidence,
        trial_tree: restore::with_the_heads_judge(cx, run, &applied.tree)?,
        tree: applied.tree,
        patch,
        diff,
        paths: changes.into_iter().map(|c| c.path).collect(),
        applied: applied.applied,
        objections,
        security: security.iter().map(|s| clean(s)).collect(),
        seconds,
        notes: proposal
            .notes
            .iter()
            .map(|(name, note)| (clean(name), clean(note)))
            .collect(),
    }))
}

/// What the tests to fix said at the head.
fn failing(run: &Run) -> Vec<TestFailure> {
    let failures = run.head().into_iter().flat_map(|report| &report.failures);
    let to_fix = |f: &&TestFailure| {
        run.triage
            .as_ref()
            .is_some_and(|t| t.failing.contains(&f.id))
    };
    failures.filter(to_fix).cloned().collect()
}

/// The tree a probe of this patch runs on; the inner error is for the strategy.
pub async fn probe_tree(
    cx: &Cx,
    run: &Run,
    patch: &Patch,
) -> Result<Result<Oid, String>, StageError> {
    match cx.mirror.apply(&run.change.tree, patch).await {
        Ok(applied) => restore::with_the_heads_judge(cx, run, &applied.tree).map(Ok),
        Err(PatchError::Git(error)) => Err(failed("applying a patch", &error)),
        Err(refused) => Ok(Err(refused.to_string())),
    }
}

/// The tree a tool runs on: the patch may be empty or change nothing. The inner error is for the strategy.
pub async fn tool_tree(
    cx: &Cx,
    run: &Run,
    patch: &Patch,
) -> Result<Result<Oid, String>, StageError> {
    match cx.mirror.apply(&run.change.tree, patch).await {
        Ok(applied) => Ok(Ok(applied.tree)),
        Err(PatchError::Empty) => Ok(Ok(run.change.tree.clone())),
        Err(PatchError::Git(error)) => Err(failed("applying a patch", &error)),
        Err(refused) => Ok(Err(refused.to_string())),
    }
}
