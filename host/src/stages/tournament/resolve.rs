//! Makes a tree of what a strategy proposed, and says what the patch itself gives away.
//!
//! Touches: git.
//! Change here: when a proposal should be read, normalised or checked otherwise before it is tried.

use crate::event::{Applied, Candidate, Change, Oid, Patch, TestFailure};
use crate::outside::git::PatchError;
use crate::rules::gates;
use crate::rules::run::Run;

use crate::stages::{Cx, PATCH_KEPT, StageError, failed, restore};

/// What a strategy proposed, as it left the guest.
pub struct Proposal {
    pub patch: Patch,
    pub rationale: String,
    pub confidence: f64,
    pub notes: Vec<(String, String)>,
}

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
    let holding = run.opening.as_ref().and_then(|o| o.holding.as_ref());
    let holds = holding.is_some_and(|holding| holding.tree == applied.tree);
    if let Some(path) = taken_back(cx, run, &applied.tree)?.filter(|_| !holds) {
        return Ok(Err(format!(
            "{path} is as it was before the update: that takes it back, and mends nothing"
        )));
    }
    let (patch, diff, changes) = cx
        .mirror
        .patch(head, &applied.tree)
        .map_err(|e| failed("making the diff", &e))?;
    let (mut objections, mut security) =
        gates::of_patch(&changes, &patch, &cx.classes, &failing(run));
    match holds {
        // This host made it, and the update with all it brought is taken back.
        true => security.clear(),
        false => security.extend(unexplained(run)),
    }
    let clean = |text: &str| cx.house.redactor.clean(text);
    // They quote the very lines they object to.
    for objection in &mut objections {
        objection.because = clean(&objection.because);
    }
    let patch = kept(patch, clean);
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

/// A file of the update that is in this tree as it was without it.
fn taken_back(cx: &Cx, run: &Run, tree: &Oid) -> Result<Option<String>, StageError> {
    let Change { base, paths, .. } = &run.change;
    if run.change.update.is_none() {
        return Ok(None);
    }
    let read = |e| failed("reading the update", &e);
    let before = cx.mirror.tree_of(base).map_err(read)?;
    let changed = cx.mirror.changed_paths(&before, tree).map_err(read)?;
    Ok(paths.iter().find(|path| !changed.contains(path)).cloned())
}

/// What the update alone comes to, where nothing has to be mended for it.
pub fn update(cx: &Cx, run: &Run) -> Result<Candidate, StageError> {
    let Change { base, tree, .. } = &run.change;
    let read = |e| failed("making the diff", &e);
    let before = cx.mirror.tree_of(base).map_err(read)?;
    let (patch, diff, changes) = cx.mirror.patch(&before, tree).map_err(read)?;
    Ok(Candidate {
        rationale: String::new(),
        self_confidence: 1.0,
        tree: tree.clone(),
        trial_tree: tree.clone(),
        patch: kept(patch, |text| cx.house.redactor.clean(text)),
        diff,
        paths: changes.into_iter().map(|c| c.path).collect(),
        applied: Applied::Exact,
        objections: vec![],
        security: unexplained(run),
        seconds: 0.0,
        notes: vec![],
    })
}

fn unexplained(run: &Run) -> Vec<String> {
    let update = run.change.update.as_ref();
    update.map_or(vec![], |update| update.unexplained.clone())
}

fn kept(patch: String, clean: impl Fn(&str) -> String) -> String {
    match patch.len() > PATCH_KEPT {
        true => String::new(),
        false => clean(&patch),
    }
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
