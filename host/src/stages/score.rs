//! ScoringEngine: the scorer plugin marks the field; the escalation plugin is asked about the leader.
//!
//! Touches: wasm.
//! Change here: when plugins should be told more about a contender. Metric names are listed in `wit/`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::Policy;
use crate::event::{CallRole, Candidate, Fact, Scoring, Trial};
use crate::outside::wasm::{Contender, Field};
use crate::rules::race;
use crate::rules::rank::{self, HandedIn, Placed};
use crate::rules::run::{Run, usage_of};

use super::{Cx, StageError, call};

/// Marks every contender that was tried.
pub async fn mark(cx: &Cx, run: &Run) -> Result<Vec<Fact>, StageError> {
    let (kept, scoring) = ask(cx, run).await?;
    Ok(vec![kept, Fact::Scored { scoring }])
}

/// Marks the field as if every test passed on those that were not tried yet. The others stay in it as they are: some
/// scorers only rank.
pub async fn bound(cx: &Cx, run: &Run) -> Result<Vec<Fact>, StageError> {
    let (Some(head), Some(triage)) = (run.head(), &run.triage) else {
        return Err(StageError::new("no triage"));
    };
    let mut hoped_for = run.clone();
    for handed_in in run.handed_in.values() {
        if let HandedIn::Candidate(candidate) = handed_in
            && !run.trials.contains_key(&candidate.trial_tree)
        {
            let tree = candidate.trial_tree.clone();
            let trial = race::perfect(&tree, head, triage);
            hoped_for.trials.insert(tree, vec![trial]);
        }
    }
    let (kept, bounds) = ask(cx, &hoped_for).await?;
    Ok(vec![kept, Fact::Bounded { bounds }])
}

async fn ask(cx: &Cx, run: &Run) -> Result<(Fact, Scoring), StageError> {
    let opening = run
        .opening
        .as_ref()
        .ok_or_else(|| StageError::new("no tournament is open"))?;
    let field = field(
        &cx.project.policy,
        run,
        cx.project.policy.scorer_config.clone(),
    );
    let scorer = &opening.scorer;
    let called = cx.house.plugins.run_scorer(scorer, field).await;
    let kept = call::keep(cx, CallRole::Scorer, scorer, &called).await?;
    let scoring = match called.answer {
        Ok(scores) => Scoring {
            scores,
            failure: None,
        },
        Err(failure) => Scoring {
            scores: BTreeMap::new(),
            failure: Some(failure),
        },
    };
    Ok((kept, scoring))
}

/// Asks the escalation rules what they would do with the leader.
pub async fn advise(cx: &Cx, run: &Run) -> Result<Vec<Fact>, StageError> {
    let opening = run
        .opening
        .as_ref()
        .ok_or_else(|| StageError::new("no tournament is open"))?;
    let field = field(
        &cx.project.policy,
        run,
        cx.project.policy.escalation_config.clone(),
    );
    let gate = &opening.escalation;
    let called = cx.house.plugins.run_escalation(gate, field).await;
    let kept = call::keep(cx, CallRole::Escalation, gate, &called).await?;
    let advice = called.answer;
    Ok(vec![kept, Fact::Advised { advice }])
}

/// The field as a judge sees it when the run stands here.
pub fn field(policy: &Policy, run: &Run, config: serde_json::Value) -> Field {
    let placed = run.placed();
    let attributes = [
        ("merge-threshold", policy.merge_threshold.to_string()),
        ("min-confidence", policy.min_confidence.to_string()),
    ];
    Field {
        project: run.project.clone(),
        base: run.change.base.0.clone(),
        head: run.change.head.0.clone(),
        attributes: attributes
            .into_iter()
            .map(|(k, v)| (k.to_owned(), v))
            .collect(),
        contenders: placed.iter().filter_map(|p| contender(run, p)).collect(),
        ambiguity: rank::ambiguity(&placed, &run.trials),
        history: Arc::new(run.history()),
        learned: Arc::new(run.learned()),
        config,
    }
}

fn contender(run: &Run, placed: &Placed) -> Option<Contender> {
    let Some(HandedIn::Candidate(candidate)) = run.handed_in.get(&placed.variant) else {
        return None;
    };
    let trial = run.trials.get(&candidate.trial_tree)?.first()?;
    let entry = run
        .opening
        .as_ref()?
        .entries
        .iter()
        .find(|e| e.name == placed.variant)?;
    Some(Contender {
        id: placed.variant.clone(),
        strategy: entry.strategy.name.clone(),
        rationale: candidate.rationale.clone(),
        confidence: candidate.self_confidence,
        patch: candidate.patch.clone(),
        paths: candidate.paths.clone(),
        metrics: metrics(run, &placed.variant, candidate, trial),
        broken_gates: placed
            .objections
            .iter()
            .map(|o| o.because.clone())
            .collect(),
        failing: trial.unfixed.iter().chain(&trial.broken).cloned().collect(),
        score: placed.score,
        evidence: placed.confidence,
        security: candidate.security.clone(),
    })
}

fn metrics(
    run: &Run,
    variant: &str,
    candidate: &Candidate,
    trial: &Trial,
) -> BTreeMap<String, f64> {
    let answers = run
        .journal
        .answered
        .iter()
        .filter(|((v, _), _)| v == variant);
    let cost: f64 = answers
        .map(|(_, kept)| usage_of(&kept.answer).cost_usd)
        .sum();
    let metrics = [
        (
            "tests.to-fix",
            (trial.fixed.len() + trial.unfixed.len()) as f64,
        ),
        ("tests.fixed", trial.fixed.len() as f64),
        ("tests.regressed", trial.broken.len() as f64),
        ("tests.missing", trial.missing.len() as f64),
        ("tests.passed", f64::from(trial.passed)),
        ("tests.total", f64::from(trial.total)),
        ("diff.files", f64::from(candidate.diff.files)),
        ("diff.insertions", f64::from(candidate.diff.insertions)),
        ("diff.deletions", f64::from(candidate.diff.deletions)),
        ("apply.quality", candidate.applied.quality()),
        ("cost.usd", cost),
    ];
    metrics
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}
