//! ValidationHarness: the trials that are due, side by side, each in a workspace of its own.
//!
//! Touches: files, processes, git.
//! Change here: when a trial should be run otherwise; which one is due is `rules/race.rs`.

use std::collections::BTreeSet;

use crate::event::{Canary, Candidate, Fact, Oid, Part as Sampled, Sample, TestReport, Triage};
use crate::rules::compare;
use crate::rules::race::{self, Leg, Stage};
use crate::rules::rank::HandedIn;
use crate::rules::run::Run;

use crate::stages::suite::{self, Part, Watched};
use crate::stages::{Cx, StageError};

/// As far as the host's permits go; each result is durable on its own.
pub async fn legs(cx: &Cx, run: &Run, legs: &[Leg]) -> Result<Vec<Fact>, StageError> {
    let triage = run
        .triage
        .as_ref()
        .ok_or_else(|| StageError::new("no triage"))?;
    let legs = legs.iter().map(|leg| async move {
        let facts = match leg.stage {
            Stage::Control => vec![control(cx, run, &leg.tree, triage).await?],
            Stage::Whole(round) => vec![whole(cx, run, &leg.tree, round, triage).await?],
            Stage::Sample(part) => sample(cx, run, &leg.tree, part, triage).await?,
        };
        for fact in facts {
            cx.recorder.record(fact).await?;
        }
        Ok::<(), StageError>(())
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
    if let Some(report) = remembered(cx, tree, round).await? {
        let trial = compare::trial(tree, round, &report, triage);
        return Ok(Fact::Tried { trial });
    }
    let name = format!("{}-{}-{round}", run.id, tree.short());
    let report = suite::run(cx, tree, None, &name, Part::Whole).await?;
    tried(cx, tree, round, &report, triage).await
}

/// Later runs go by the first round, so that is kept for them.
async fn tried(
    cx: &Cx,
    tree: &Oid,
    round: u32,
    report: &TestReport,
    triage: &Triage,
) -> Result<Fact, StageError> {
    let mut trial = compare::trial(tree, round, report, triage);
    if round == 1 {
        trial.report = suite::keep(cx, report).await?;
    }
    Ok(Fact::Tried { trial })
}

/// A candidate's tree may have been tested before: taking back all of a push leads to its base, and a tournament may be
/// held again. Its repeat is run all the same, so nobody wins on what is only remembered.
async fn remembered(cx: &Cx, tree: &Oid, round: u32) -> Result<Option<TestReport>, StageError> {
    if round > 1 || cx.project.policy.repeats == 0 {
        return Ok(None);
    }
    suite::known(cx, tree).await
}

/// The head's own sources cannot have known what a candidate would want to hide.
async fn control(cx: &Cx, run: &Run, head: &Oid, triage: &Triage) -> Result<Fact, StageError> {
    let name = format!("{}-control", run.id);
    let watched = suite::with_canary(cx, head, &name, &triage.failing).await?;
    let canary = watched.as_ref().and_then(|w| w.canary);
    let sample = match watched.and_then(|w| w.report) {
        Some(report) => compare::sample(head, Sampled::Failing, &triage.failing, &report, canary),
        None => unanswered(head, triage, canary),
    };
    Ok(Fact::Sampled { sample })
}

/// Nothing is known of the tests that were asked for.
fn unanswered(tree: &Oid, triage: &Triage, canary: Option<Canary>) -> Sample {
    Sample {
        tree: tree.clone(),
        part: Sampled::Failing,
        asked: triage.failing.len() as u32,
        bad: BTreeSet::new(),
        problem: None,
        output: String::new(),
        seconds: 0.0,
        canary,
    }
}

/// Where these tests turn out not to run by themselves, the whole suite does, and that is its first round.
async fn sample(
    cx: &Cx,
    run: &Run,
    tree: &Oid,
    part: Sampled,
    triage: &Triage,
) -> Result<Vec<Fact>, StageError> {
    let (wanted, name) = match part {
        Sampled::Failing => (
            triage.failing.clone(),
            format!("{}-{}-failing", run.id, tree.short()),
        ),
        Sampled::Near => (
            near(run, tree, triage),
            format!("{}-{}-near", run.id, tree.short()),
        ),
    };
    let watched = match part {
        Sampled::Failing => suite::run_watched(cx, tree, &name, &wanted).await?,
        Sampled::Near => Watched {
            report: suite::run_only(cx, tree, None, &name, &wanted).await?,
            canary: None,
        },
    };
    if let Some(report) = &watched.report {
        let sample = compare::sample(tree, part, &wanted, report, watched.canary);
        return Ok(vec![Fact::Sampled { sample }]);
    }
    let told = watched.canary.map(|canary| Fact::Sampled {
        sample: unanswered(tree, triage, Some(canary)),
    });
    let whole = whole(cx, run, tree, 1, triage).await?;
    Ok(told.into_iter().chain([whole]).collect())
}

fn near(run: &Run, tree: &Oid, triage: &Triage) -> BTreeSet<String> {
    let made_it = |handed: &HandedIn| match handed {
        HandedIn::Candidate(candidate) if candidate.trial_tree == *tree => Some(candidate.clone()),
        _ => None,
    };
    let candidate: Option<Candidate> = run.handed_in.values().find_map(made_it);
    candidate.map_or_else(BTreeSet::new, |c| race::near(&c, triage))
}
