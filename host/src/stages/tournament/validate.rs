//! ValidationHarness: the trials that are due, side by side, each in a workspace of its own.
//!
//! Touches: files, processes, git.
//! Change here: when a trial should be run otherwise; which one is due is `rules/race.rs`.

use std::collections::BTreeSet;

use crate::event::{Candidate, Fact, Oid, Part as Sampled, TestReport, Triage};
use crate::rules::compare;
use crate::rules::race::{self, Leg, Stage};
use crate::rules::rank::HandedIn;
use crate::rules::run::Run;

use crate::stages::suite::{self, Part};
use crate::stages::{Cx, StageError};

/// As far as the host's permits go; each result is durable on its own.
pub async fn legs(cx: &Cx, run: &Run, legs: &[Leg]) -> Result<Vec<Fact>, StageError> {
    let triage = run
        .triage
        .as_ref()
        .ok_or_else(|| StageError::new("no triage"))?;
    let legs = legs.iter().map(|leg| async move {
        let fact = match leg.stage {
            Stage::Whole(round) => whole(cx, run, &leg.tree, round, triage).await?,
            Stage::Sample(part) => sample(cx, run, &leg.tree, part, triage).await?,
        };
        cx.recorder.record(fact).await
    });
    for leg in futures::future::join_all(legs).await {
        leg?;
    }
    Ok(vec![])
}

async fn whole(
    cx: &Cx,
    run: &Run,
    tree: &Oid,
    round: u32,
    triage: &Triage,
) -> Result<Fact, StageError> {
    let report = match remembered(cx, tree, round).await? {
        Some(report) => report,
        None => {
            let name = format!("{}-{}-{round}", run.id, tree.short());
            suite::run(cx, tree, None, &name, Part::Whole).await?
        }
    };
    let trial = compare::trial(tree, round, &report, triage);
    Ok(Fact::Tried { trial })
}

/// A candidate's tree may have been tested before: taking back all of a push leads to its base. Its repeat is run all the
/// same, so nobody wins on what is only remembered.
async fn remembered(cx: &Cx, tree: &Oid, round: u32) -> Result<Option<TestReport>, StageError> {
    if round > 1 || cx.project.policy.repeats == 0 {
        return Ok(None);
    }
    let known = suite::known(cx, tree).await?;
    Ok(known.map(|report| TestReport {
        seconds: 0.0,
        ..report
    }))
}

/// Where these tests turn out not to run by themselves, the whole suite did, and that is its first round.
async fn sample(
    cx: &Cx,
    run: &Run,
    tree: &Oid,
    part: Sampled,
    triage: &Triage,
) -> Result<Fact, StageError> {
    let (wanted, what) = match part {
        Sampled::Failing => (triage.failing.clone(), "failing"),
        Sampled::Near => (near(run, tree, triage), "near"),
    };
    let name = format!("{}-{}-{what}", run.id, tree.short());
    let report = suite::run(cx, tree, None, &name, Part::Only(&wanted)).await?;
    if !report.partial {
        let trial = compare::trial(tree, 1, &report, triage);
        return Ok(Fact::Tried { trial });
    }
    let sample = compare::sample(tree, part, &wanted, &report);
    Ok(Fact::Sampled { sample })
}

fn near(run: &Run, tree: &Oid, triage: &Triage) -> BTreeSet<String> {
    let made_it = |handed: &HandedIn| match handed {
        HandedIn::Candidate(candidate) if candidate.trial_tree == *tree => Some(candidate.clone()),
        _ => None,
    };
    let candidate: Option<Candidate> = run.handed_in.values().find_map(made_it);
    candidate.map_or_else(BTreeSet::new, |c| race::near(&c, triage))
}
