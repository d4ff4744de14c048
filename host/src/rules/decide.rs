//! Makes a verdict of the standings: merge, pull request, human. Mints the `Approval` a merge demands.
//!
//! Touches: nothing.
//! Change here: when a reason to merge or to ask a human comes or goes.

use super::gates;
use super::rank::{self, Placed};
use super::update;
use crate::config::Policy;
use crate::event::{
    Action, Advice, Calibration, PluginFailure, RunId, Scoring, Triage, Trial, Update, Verdict,
};

/// Proof that the rules decided to merge this run's winner. Nothing outside `rules` can make one.
pub struct Approval {
    run: RunId,
    winner: String,
}

impl Approval {
    pub(in crate::rules) fn of(run: &RunId, verdict: &Verdict) -> Option<Approval> {
        let winner = verdict
            .winner
            .clone()
            .filter(|_| verdict.action == Action::Merge)?;
        Some(Approval {
            run: run.clone(),
            winner,
        })
    }

    pub fn run(&self) -> &RunId {
        &self.run
    }

    pub fn winner(&self) -> &str {
        &self.winner
    }
}

/// Everything the verdict rests on.
pub struct Grounds<'a> {
    pub placed: &'a [Placed],
    pub triage: &'a Triage,
    pub scoring: Option<&'a Scoring>,
    /// What the escalation plugin said of the leader; none if there was no leader to ask about.
    pub advice: Option<&'a Result<Advice, PluginFailure>>,
    /// First trial of the leader.
    pub trial: Option<&'a Trial>,
    pub ambiguity: &'a [String],
    /// What confidence was held against.
    pub calibration: Option<&'a Calibration>,
    /// The change, where it is one.
    pub update: Option<&'a Update>,
}

pub fn decide(grounds: &Grounds<'_>, policy: &Policy) -> Verdict {
    let standings = rank::standings(grounds.placed);
    let Some(leader) = rank::leader(grounds.placed) else {
        let reasons = vec![format!(
            "no variant came through its trial ({})",
            grounds.triage.because
        )];
        return Verdict {
            action: Action::Human,
            winner: None,
            score: None,
            confidence: None,
            evidence: None,
            reasons,
            standings,
        };
    };
    if let Some(update) = grounds.update.filter(|_| leader.is_proven_by_tests_alone()) {
        return update::decide(grounds, leader, update, policy);
    }
    let against = objections_to_merging(grounds, leader, policy);
    let ceiling = update::ceiling(policy.deliver.action(), grounds.update);
    let (advised, said) = heed(grounds.advice, &leader.variant);
    let wanted = if against.is_empty() {
        advised
    } else {
        Action::Human
    };
    let mut reasons = against;
    reasons.extend(said.into_iter().filter(|_| advised < Action::Merge));
    if wanted > ceiling {
        reasons.push(format!(
            "the project's policy allows no more than {}",
            ceiling.name()
        ));
    }
    let action = wanted.min(ceiling);
    if action == Action::Merge {
        reasons = vec![for_the_winner(grounds, leader)];
    }
    reasons.dedup();
    Verdict {
        action,
        winner: Some(leader.variant.clone()),
        score: leader.score,
        confidence: leader.confidence,
        evidence: leader.evidence.filter(|e| leader.confidence != Some(*e)),
        reasons,
        standings,
    }
}

/// There is nothing to decide on: the branch came right by itself.
pub fn nothing_to_do(because: String) -> Verdict {
    Verdict {
        action: Action::Nothing,
        winner: None,
        score: None,
        confidence: None,
        evidence: None,
        reasons: vec![because],
        standings: vec![],
    }
}

/// Gates and evidence that only a human can overrule. They hold whatever the escalation plugin says.
fn objections_to_merging(grounds: &Grounds<'_>, leader: &Placed, policy: &Policy) -> Vec<String> {
    let mut against: Vec<String> = leader
        .objections
        .iter()
        .map(|o| o.because.clone())
        .collect();
    against.extend(doubts(grounds.trial));
    let score = leader.score.unwrap_or(0.0);
    if score < policy.merge_threshold {
        against.push(format!(
            "its score of {score:.1} is below {:.1}",
            policy.merge_threshold
        ));
    }
    let confidence = leader.confidence.unwrap_or(0.0);
    if confidence < policy.min_confidence {
        against.push(format!(
            "the evidence is worth {}, and {:.2} is asked",
            worth(grounds, leader),
            policy.min_confidence
        ));
    }
    against.extend(grounds.ambiguity.iter().cloned());
    if let Some(failure) = grounds.scoring.and_then(|s| s.failure.as_ref()) {
        against.push(format!("the scorer gave no usable answer: {failure}"));
    }
    against
}

/// Why a trial does not suffice for a merge, whatever came of it.
pub(super) fn doubts(trial: Option<&Trial>) -> Vec<String> {
    let names_tests = trial.is_some_and(gates::knows_single_tests);
    let unsandboxed = trial.is_some_and(|trial| trial.unsandboxed);
    let doubts = [
        (
            !names_tests,
            "there is no report of single tests, only an exit code",
        ),
        (unsandboxed, "its tests ran without a sandbox (sandbox.off)"),
    ];
    let raised = doubts.iter().filter(|(raised, _)| *raised);
    raised.map(|(_, doubt)| (*doubt).to_owned()).collect()
}

/// No advice, a failure, or advice about somebody else counts as `human`.
fn heed(advice: Option<&Result<Advice, PluginFailure>>, leader: &str) -> (Action, Vec<String>) {
    match advice {
        Some(Ok(advice)) if advice.contender.as_deref().is_none_or(|c| c == leader) => (
            advice.action,
            advice
                .reasons
                .iter()
                .map(|(_, sentence)| sentence.clone())
                .collect(),
        ),
        Some(Ok(_)) => (
            Action::Human,
            vec!["the escalation rules prefer another candidate than the scores".into()],
        ),
        Some(Err(failure)) => (
            Action::Human,
            vec![format!("the escalation rules gave no answer: {failure}")],
        ),
        None => (
            Action::Human,
            vec!["the escalation rules were not asked".into()],
        ),
    }
}

fn for_the_winner(grounds: &Grounds<'_>, leader: &Placed) -> String {
    let fixed = grounds.triage.failing.len();
    format!(
        "{} makes {} failing {} pass and breaks none of {}, with a score of {:.1} and evidence of {}",
        leader.variant,
        fixed,
        if fixed == 1 { "test" } else { "tests" },
        grounds.triage.to_keep.len(),
        leader.score.unwrap_or(0.0),
        worth(grounds, leader),
    )
}

/// Confidence, and where it comes from if it is not the evidence alone.
fn worth(grounds: &Grounds<'_>, leader: &Placed) -> String {
    let confidence = leader.confidence.unwrap_or(0.0);
    match (grounds.calibration, leader.evidence) {
        (Some(curve), Some(evidence)) => format!(
            "{confidence:.2} ({evidence:.2}, held against what became of {} earlier fixes)",
            curve.outcomes
        ),
        _ => format!("{confidence:.2}"),
    }
}
