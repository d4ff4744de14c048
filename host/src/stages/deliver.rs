//! Deliver: a merge that was tested as it lands, or a branch and a report for people.
//!
//! Touches: git, files, processes, http, clock.
//! Change here: when a verdict should reach another place, or a merge should be made otherwise.

use std::time::Duration;

use crate::event::{Candidate, Delivery, Fact, Oid, PreparedMerge, Role, TestReport, Trial};
use crate::failpoint;
use crate::outside::git::{PushMode, Pushed};
use crate::rules::run::Run;
use crate::rules::{compare, decide::Approval, message};

use super::suite::{self, Part};
use super::{Cx, StageError, failed, report, tip};

const PUSH_TIMEOUT: Duration = Duration::from_secs(120);

/// Builds the merge result on the branch's tip of this moment and tests it, unless it is the tree that was tried.
pub async fn prepare(cx: &Cx, run: &Run) -> Result<Vec<Fact>, StageError> {
    let (winner, candidate) = winner(run)?;
    if run.overtaken >= cx.project.policy.merge_attempts {
        let because = format!(
            "the branch moved {} times while the merge was tested",
            run.overtaken
        );
        return hand_over(cx, run, because).await;
    }
    let tip = tip::of(cx, run).await?;
    if tip != *run.change.origin() {
        return prepare_on_a_moved_tip(cx, run, candidate, &tip).await;
    }
    match clean_rounds(run, candidate) {
        // Only what people chose themselves was never tried as it stands, or did not come through.
        0 => prepare_as_it_stands(cx, run, candidate, &tip).await,
        rounds => {
            let tested =
                format!("the merge result is the tree {winner} was tried with, {rounds} times");
            prepared(cx, run, &tip, &candidate.tree, tested, vec![])
        }
    }
}

/// How often this very tree came through its trial.
fn clean_rounds(run: &Run, candidate: &Candidate) -> usize {
    let trials = run
        .trials
        .get(&candidate.tree)
        .map_or(&[][..], Vec::as_slice);
    let is_clean = |t: &Trial| {
        t.unfixed.is_empty() && t.broken.is_empty() && t.missing.is_empty() && t.problem.is_none()
    };
    match trials.iter().all(is_clean) {
        true => trials.len(),
        false => 0,
    }
}

async fn prepare_as_it_stands(
    cx: &Cx,
    run: &Run,
    candidate: &Candidate,
    tip: &Oid,
) -> Result<Vec<Fact>, StageError> {
    let name = format!("{}-merge", run.id);
    let report = suite::run(cx, &candidate.tree, None, &name, Part::Whole).await?;
    let mut facts = vec![suite::tested(cx, Role::MergeResult, report.clone())];
    let head = run
        .head()
        .ok_or_else(|| StageError::new("the head was never tested"))?;
    if let Some(because) = merge_result_fails(run, head, &candidate.tree, &report) {
        facts.extend(hand_over(cx, run, because).await?);
        return Ok(facts);
    }
    let tested = format!(
        "the merge result was tested: {} tests pass",
        report.passed().len()
    );
    prepared(cx, run, tip, &candidate.tree, tested, facts)
}

async fn prepare_on_a_moved_tip(
    cx: &Cx,
    run: &Run,
    candidate: &Candidate,
    tip: &Oid,
) -> Result<Vec<Fact>, StageError> {
    let moved = tip::test(cx, run, tip.clone(), Part::Whole).await?;
    let mut facts = vec![moved.fact(cx)];
    let healed = moved.healed(run).filter(|_| run.change.update.is_none());
    if let Some(because) = healed {
        facts.push(Fact::Delivered {
            delivery: Delivery::Moot { because },
        });
        return Ok(facts);
    }
    let rebased = cx
        .mirror
        .rebase_tree(&origin_tree(cx, run)?, &moved.tree, &candidate.tree);
    let merged = match rebased.map_err(|e| failed("merging", &e))? {
        Ok(tree) => tree,
        Err(conflicts) => {
            let because = format!(
                "the branch moved and the fix conflicts in {}",
                conflicts.join(", ")
            );
            facts.extend(hand_over(cx, run, because).await?);
            return Ok(facts);
        }
    };
    let vouched = cx.vouched.contains(&candidate.tree);
    let commit = vouched.then_some(tip);
    let name = format!("{}-merge", run.id);
    let report = suite::run(cx, &merged, commit, &name, Part::Whole).await?;
    facts.push(suite::tested(cx, Role::MergeResult, report.clone()));
    if let Some(because) = merge_result_fails(run, &moved.report, &merged, &report) {
        facts.extend(hand_over(cx, run, because).await?);
        return Ok(facts);
    }
    let tested = format!(
        "the merge result was tested on {}: {} tests pass",
        tip.short(),
        report.passed().len()
    );
    prepared(cx, run, tip, &merged, tested, facts)
}

/// The merge result has to mend what was broken and keep what passes at the tip.
fn merge_result_fails(
    run: &Run,
    at_tip: &TestReport,
    tree: &Oid,
    report: &TestReport,
) -> Option<String> {
    let mut triage = run.triage.clone()?;
    triage
        .to_keep
        .extend(at_tip.passed().into_iter().map(str::to_owned));
    triage.to_keep.retain(|id| {
        !triage.flaky.contains(id) && !triage.failing.contains(id) && !run.may_fail_again(id)
    });
    let trial = compare::trial(tree, 1, report, &triage);
    // What the tip itself does without was taken away by its author; what it has must not vanish in the merge.
    let at_tip = at_tip.passed();
    let lost = trial.missing.iter().any(|id| at_tip.contains(id.as_str()));
    let clean =
        trial.unfixed.is_empty() && trial.broken.is_empty() && !lost && trial.problem.is_none();
    (!clean).then(|| "as it would be merged, the fix does not pass".to_owned())
}

fn prepared(
    cx: &Cx,
    run: &Run,
    tip: &Oid,
    tree: &Oid,
    tested: String,
    mut facts: Vec<Fact>,
) -> Result<Vec<Fact>, StageError> {
    let (_, candidate) = winner(run)?;
    let message = message::commit(run, candidate);
    let commit = commit(cx, run, tree, tip, &message)?;
    // The objects must outlive a power cut before the log says that they are there.
    cx.mirror
        .sync()
        .map_err(|e| failed("writing the merge to disk", &e))?;
    let merge = PreparedMerge {
        branch: run.change.branch.clone(),
        onto: tip.clone(),
        commit,
        tree: tree.clone(),
        tested,
    };
    facts.push(Fact::MergePrepared { merge });
    Ok(facts)
}

/// Pushes a prepared merge, once: what is already in the branch is not pushed again, a moved branch is not overwritten.
pub async fn push(
    cx: &Cx,
    run: &Run,
    merge: &PreparedMerge,
    approval: &Approval,
) -> Result<Vec<Fact>, StageError> {
    let lease = cx.house.leases.take(&cx.name).await;
    let tip = tip::of(cx, run).await?;
    // What is asked next can be asked only of a commit that is here.
    remake(cx, run, merge)?;
    let landed = tip == merge.commit
        || cx
            .mirror
            .is_ancestor(&merge.commit, &tip)
            .map_err(|e| failed("reading history", &e))?;
    let merged = || Delivery::Merged {
        branch: merge.branch.clone(),
        commit: merge.commit.clone(),
    };
    if landed {
        return Ok(vec![Fact::Delivered { delivery: merged() }]);
    }
    if tip != merge.onto {
        return Ok(vec![Fact::MergeOvertaken { tip }]);
    }
    if let Some(because) = protected(cx, &merge.branch).await? {
        return propose(cx, run, &merge.commit, Some(because)).await;
    }
    failpoint::reach("before-merge-push");
    let mode = if cx.update_checkout {
        PushMode::UpdateCheckedOut
    } else {
        PushMode::Normal
    };
    let pushed = cx
        .mirror
        .push_merge(approval, &lease, merge, mode, PUSH_TIMEOUT)
        .await;
    failpoint::reach("after-merge-push");
    match pushed.map_err(|e| failed("pushing the merge", &e))? {
        Pushed::Done => Ok(vec![Fact::Delivered { delivery: merged() }]),
        Pushed::Moved => Ok(vec![Fact::MergeOvertaken { tip }]),
        Pushed::Refused { why } => {
            let because = format!("the remote refused the push: {why}");
            match cx.project.forge {
                Some(_) => propose(cx, run, &merge.commit, Some(because)).await,
                None => hand_over(cx, run, because).await,
            }
        }
    }
}

/// Why a merge is not to be pushed, where the forge has rules for it that a push would go round.
async fn protected(cx: &Cx, branch: &str) -> Result<Option<String>, StageError> {
    let Some(home) = &cx.project.forge else {
        return Ok(None);
    };
    let forge = cx.house.forges.get(&home.name);
    let forge = forge.ok_or_else(|| StageError::new("its forge is not configured"))?;
    match forge.protection(&home.repo, branch).await {
        Ok(protection) if protection.may_push => Ok(None),
        Ok(_) => Ok(Some(format!("{} protects {branch}", home.name))),
        Err(error) if error.may_pass() => Err(failed("asking how the branch is protected", &error)),
        Err(error) => Ok(Some(format!(
            "{} does not say whether it protects {branch}: {error}",
            home.name
        ))),
    }
}

/// Another host may have prepared it: the same run, tree and parent give the same commit here.
fn remake(cx: &Cx, run: &Run, merge: &PreparedMerge) -> Result<(), StageError> {
    if cx.mirror.tree_of(&merge.commit).is_ok() {
        return Ok(());
    }
    let (_, candidate) = winner(run)?;
    if cx.mirror.tree(&merge.tree).is_err() {
        let onto = cx.mirror.tree_of(&merge.onto);
        let onto = onto.map_err(|e| failed("reading the tip", &e))?;
        let rebased = cx
            .mirror
            .rebase_tree(&origin_tree(cx, run)?, &onto, &candidate.tree);
        // What comes out is compared with what was tested, below.
        let _ = rebased.map_err(|e| failed("merging again", &e))?;
    }
    let message = message::commit(run, candidate);
    let commit = commit(cx, run, &merge.tree, &merge.onto, &message)?;
    match commit == merge.commit {
        true => Ok(()),
        false => Err(StageError::new(format!(
            "the merge {} that was tested cannot be made again here",
            merge.commit.short()
        ))),
    }
}

/// Hands the winner, or the failure alone, to people: a branch of its own and a report.
pub async fn publish(cx: &Cx, run: &Run) -> Result<Vec<Fact>, StageError> {
    use crate::event::Action;
    let verdict = run
        .verdict
        .as_ref()
        .ok_or_else(|| StageError::new("nothing is decided"))?;
    let because = verdict.reasons.join("; ");
    if verdict.action == Action::Nothing {
        return Ok(vec![Fact::Delivered {
            delivery: Delivery::Moot { because },
        }]);
    }
    if verdict.action != Action::PullRequest {
        return hand_over(cx, run, because).await;
    }
    let commit = candidate_commit(cx, run)?;
    propose(cx, run, &commit, None).await
}

/// A branch for a pull request. `because` says why it was not merged, where that was decided.
async fn propose(
    cx: &Cx,
    run: &Run,
    commit: &Oid,
    because: Option<String>,
) -> Result<Vec<Fact>, StageError> {
    let branch = push_own_branch(cx, run, commit).await?;
    Ok(vec![Fact::Delivered {
        delivery: Delivery::Proposed {
            branch,
            commit: commit.clone(),
            report: report::path(cx, run),
            because,
        },
    }])
}

/// `fix --dry-run`: the report, and nothing else.
pub fn withhold(cx: &Cx, run: &Run) -> Result<Vec<Fact>, StageError> {
    let delivery = Delivery::Withheld {
        report: report::path(cx, run),
    };
    Ok(vec![Fact::Delivered { delivery }])
}

async fn hand_over(cx: &Cx, run: &Run, because: String) -> Result<Vec<Fact>, StageError> {
    let report = report::path(cx, run);
    let has_winner = run.verdict.as_ref().is_some_and(|v| v.winner.is_some());
    let (branch, commit, because) = match has_winner {
        false => (None, None, because),
        true => match offer(cx, run).await {
            Ok((branch, commit)) => (Some(branch), Some(commit), because),
            // The report still holds the whole patch: a human must hear of it even where nothing can be pushed.
            Err(error) => (
                None,
                None,
                format!("{because}; its branch could not be pushed: {error}"),
            ),
        },
    };
    Ok(vec![Fact::Delivered {
        delivery: Delivery::Escalated {
            branch,
            commit,
            report,
            because,
        },
    }])
}

async fn offer(cx: &Cx, run: &Run) -> Result<(String, Oid), StageError> {
    let commit = candidate_commit(cx, run)?;
    let branch = push_own_branch(cx, run, &commit).await?;
    Ok((branch, commit))
}

/// What a candidate is the difference to, as far as the branch is concerned.
fn origin_tree(cx: &Cx, run: &Run) -> Result<Oid, StageError> {
    let tree = cx.mirror.tree_of(run.change.origin());
    tree.map_err(|e| failed("reading the change", &e))
}

/// The winner as it was tried, on the commit that failed; of an update, on what the update stands on.
fn candidate_commit(cx: &Cx, run: &Run) -> Result<Oid, StageError> {
    let (_, candidate) = winner(run)?;
    let message = message::commit(run, candidate);
    commit(cx, run, &candidate.tree, run.change.origin(), &message)
}

async fn push_own_branch(cx: &Cx, run: &Run, commit: &Oid) -> Result<String, StageError> {
    let branch = format!("changebus/{}", run.id);
    failpoint::reach("before-publish");
    let pushed = cx
        .mirror
        .push_own_branch(commit, &run.id, run.offered.as_ref(), PUSH_TIMEOUT)
        .await;
    failpoint::reach("after-publish");
    match pushed.map_err(|e| failed("pushing the branch", &e))? {
        Pushed::Done => Ok(branch),
        Pushed::Moved => Err(StageError::new(format!(
            "{branch} belongs to somebody else"
        ))),
        Pushed::Refused { why } => Err(StageError::new(why)),
    }
}

/// The same run, tree and parent always give the same commit, so that a restart makes no second one.
fn commit(cx: &Cx, run: &Run, tree: &Oid, parent: &Oid, message: &str) -> Result<Oid, StageError> {
    let host = &cx.house.settings.host;
    let made = cx.mirror.commit(
        tree,
        std::slice::from_ref(parent),
        message,
        &host.committer_name,
        &host.committer_email,
        run.opened_at,
    );
    let commit = made.map_err(|e| failed("making the commit", &e))?;
    cx.mirror
        .keep(&format!("{}/delivery", run.id), &commit)
        .map_err(|e| failed("keeping the commit", &e))?;
    Ok(commit)
}

fn winner(run: &Run) -> Result<(&str, &Candidate), StageError> {
    let name = run.verdict.as_ref().and_then(|v| v.winner.as_deref());
    name.and_then(|name| Some((name, run.candidate(name)?)))
        .ok_or_else(|| StageError::new("there is no winner to deliver"))
}
