//! Orders the variants: gates first, then the score, then the order of the configuration.
//!
//! Touches: nothing.
//! Change here: when ties should be broken otherwise, or another state of a variant is told apart.

use std::collections::BTreeMap;

use super::confidence::{self, Evidence};
use super::gates;
use super::update;
use crate::event::{
    Candidate, Objection, Oid, Opening, PluginFailureKind, Refusal, RefusalKind, Sample, Score,
    Scoring, Standing, Triage, Trial, VariantState,
};

/// What a variant handed in.
#[derive(Clone, Debug, PartialEq)]
pub enum HandedIn {
    Candidate(Candidate),
    Nothing(Refusal),
}

/// Everything ranking looks at.
pub struct Field<'a> {
    /// The head's tree.
    pub head: &'a Oid,
    pub opening: &'a Opening,
    pub triage: &'a Triage,
    pub handed_in: &'a BTreeMap<String, HandedIn>,
    /// By tree, in the order of their rounds.
    pub trials: &'a BTreeMap<Oid, Vec<Trial>>,
    pub samples: &'a BTreeMap<Oid, Vec<Sample>>,
    pub scoring: Option<&'a Scoring>,
    /// The most the scorer would give those that were not tried.
    pub bounds: Option<&'a BTreeMap<String, Score>>,
}

/// A variant with everything that decides its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    pub variant: String,
    pub tree: Option<Oid>,
    pub score: Option<f64>,
    /// What the evidence means, and what it is worth by itself.
    pub confidence: Option<f64>,
    pub evidence: Option<f64>,
    pub objections: Vec<Objection>,
    pub duplicate_of: Option<String>,
    /// No other strategy's candidate passes too.
    pub stands_alone: bool,
    /// It wins only where no other does.
    pub last_resort: bool,
    state: VariantState,
    because: String,
}

impl Placed {
    /// It has a tried candidate, and no gate costs it the win.
    pub fn may_win(&self) -> bool {
        self.state == VariantState::Won
    }

    /// Nobody wrote code for it: versions of dependencies are all that differs.
    pub fn is_proven_by_tests_alone(&self) -> bool {
        self.last_resort || self.variant == update::ITSELF
    }

    fn is_clean(&self) -> bool {
        self.may_win() && self.objections.is_empty()
    }
}

/// Best first: those that may win, and of them those with nothing against them, by score; then the rest in the
/// order of the configuration. What a human would have to look at does not stand in the way of a clean candidate.
pub fn place(field: &Field<'_>) -> Vec<Placed> {
    let mut placed: Vec<Placed> = field
        .opening
        .entries
        .iter()
        .map(|e| Placed {
            last_resort: e.last_resort,
            ..judge(field, &e.name)
        })
        .collect();
    mark_duplicates(&mut placed);
    mark_outdone(field, &mut placed);
    // A stable sort: equal scores keep the order of the configuration.
    placed.sort_by(|a, b| {
        b.may_win()
            .cmp(&a.may_win())
            .then(a.last_resort.cmp(&b.last_resort))
            .then(b.is_clean().cmp(&a.is_clean()))
            .then(total(b).total_cmp(&total(a)))
    });
    placed
}

/// The variant that wins if nothing else turns up.
pub fn leader(placed: &[Placed]) -> Option<&Placed> {
    placed.first().filter(|p| p.may_win())
}

/// Why it is not clear which of the best is the right one; empty where it is.
pub fn ambiguity(placed: &[Placed], trials: &BTreeMap<Oid, Vec<Trial>>) -> Vec<String> {
    let behaviour = |p: &Placed| {
        p.tree
            .as_ref()
            .and_then(|t| trials.get(t))
            .and_then(|t| t.first())
            .map(|t| t.behaviour.clone())
    };
    let mut winners = placed.iter().filter(|p| p.may_win() && !p.last_resort);
    let Some(first) = winners.next() else {
        return vec![];
    };
    winners
        .filter(|p| behaviour(p) != behaviour(first))
        .map(|p| {
            format!(
                "{} and {} both pass, but not every test comes out alike",
                first.variant, p.variant
            )
        })
        .collect()
}

/// The standings as they are told: exactly one winner at most.
pub fn standings(placed: &[Placed]) -> Vec<Standing> {
    let best = leader(placed).map(|p| p.variant.clone());
    let standing = |p: &Placed| {
        let beaten = p.may_win() && best.as_ref() != Some(&p.variant);
        let (state, because) = match (beaten, &p.duplicate_of) {
            (true, Some(other)) => (VariantState::Duplicate, format!("the same tree as {other}")),
            (true, None) => (
                VariantState::Lost,
                format!("passes too, behind {}", best.as_deref().unwrap_or("-")),
            ),
            (false, _) => (p.state, p.because.clone()),
        };
        Standing {
            variant: p.variant.clone(),
            state,
            score: p.score,
            confidence: p.confidence,
            evidence: p
                .evidence
                .filter(|evidence| p.confidence != Some(*evidence)),
            objections: p.objections.clone(),
            because,
        }
    };
    placed.iter().map(standing).collect()
}

fn total(placed: &Placed) -> f64 {
    placed.score.unwrap_or(0.0)
}

fn judge(field: &Field<'_>, variant: &str) -> Placed {
    match field.handed_in.get(variant) {
        None => without(
            variant,
            VariantState::Stopped,
            "nothing was handed in".into(),
        ),
        Some(HandedIn::Nothing(refusal)) => {
            let state = match refusal.kind {
                RefusalKind::NoFix => VariantState::Refused,
                RefusalKind::BadPatch | RefusalKind::PluginFailed => VariantState::Failed,
            };
            without(variant, state, refusal.why.clone())
        }
        Some(HandedIn::Candidate(candidate)) => judge_candidate(field, variant, candidate),
    }
}

fn without(variant: &str, state: VariantState, because: String) -> Placed {
    Placed {
        variant: variant.into(),
        tree: None,
        score: None,
        confidence: None,
        evidence: None,
        objections: vec![],
        duplicate_of: None,
        stands_alone: true,
        last_resort: false,
        state,
        because,
    }
}

fn judge_candidate(field: &Field<'_>, variant: &str, candidate: &Candidate) -> Placed {
    let trials: Vec<&Trial> = field
        .trials
        .get(&candidate.trial_tree)
        .into_iter()
        .flatten()
        .collect();
    let mut objections = gates::of_trials(candidate, &trials, field.triage);
    let samples = |tree: &Oid| field.samples.get(tree).map_or(&[][..], Vec::as_slice);
    let own = samples(&candidate.trial_tree);
    if trials.is_empty() {
        objections.extend(gates::of_samples(own));
    }
    if !objections.iter().any(gates::disqualifies) {
        objections.extend(gates::of_canary(own, samples(field.head)));
    }
    let score = field.scoring.and_then(|s| s.scores.get(variant));
    let costs: Vec<&str> = objections
        .iter()
        .filter(|o| gates::disqualifies(o))
        .map(|o| o.because.as_str())
        .collect();
    let disqualified = score.and_then(|s| s.disqualified.as_deref());
    let (state, because) = match (costs.first(), trials.is_empty(), disqualified) {
        (Some(_), _, _) => (VariantState::Lost, costs.join("; ")),
        (None, true, _) => (VariantState::Stopped, "it was not tried".into()),
        (None, false, Some(why)) => (
            VariantState::Lost,
            format!("the scorer disqualified it: {why}"),
        ),
        (None, false, None) => (
            VariantState::Won,
            match field.triage.failing.is_empty() {
                true => "every test passes as it did before".into(),
                false => "every failing test passes, and nothing else changed".into(),
            },
        ),
    };
    let passes = state == VariantState::Won;
    let company = company(field, variant, candidate);
    let evidence = passes.then(|| weigh(field, variant, &company, &trials));
    let calibration = field.opening.learned.calibration.as_ref();
    Placed {
        variant: variant.into(),
        tree: Some(candidate.trial_tree.clone()),
        score: score.map(|s| s.total),
        confidence: evidence.map(|evidence| confidence::meant(evidence, calibration)),
        evidence,
        objections,
        duplicate_of: None,
        stands_alone: company == Company::default(),
        last_resort: false,
        state,
        because,
    }
}

/// Strategies other than its own whose candidates pass every test too.
#[derive(Default, PartialEq)]
struct Company {
    same_tree: usize,
    other_tree: usize,
}

fn strategy<'a>(field: &Field<'a>, variant: &str) -> Option<&'a str> {
    let entry = field.opening.entries.iter().find(|e| e.name == variant);
    entry.map(|e| e.strategy.name.as_str())
}

fn company(field: &Field<'_>, variant: &str, candidate: &Candidate) -> Company {
    let own = strategy(field, variant);
    let passes = |c: &Candidate| {
        let tried: Vec<&Trial> = field
            .trials
            .get(&c.trial_tree)
            .into_iter()
            .flatten()
            .collect();
        !tried.is_empty()
            && gates::of_trials(c, &tried, field.triage)
                .iter()
                .all(|o| !gates::disqualifies(o))
    };
    let others = field
        .handed_in
        .iter()
        .filter_map(|(name, handed)| match handed {
            // What takes the failure's cause away agrees with nobody.
            _ if field.opening.is_last_resort(name) => None,
            HandedIn::Candidate(c) if strategy(field, name) != own && passes(c) => Some(c),
            _ => None,
        });
    let (same, other): (Vec<_>, Vec<_>) =
        others.partition(|c| c.trial_tree == candidate.trial_tree);
    Company {
        same_tree: same.len(),
        other_tree: other.len(),
    }
}

fn weigh(field: &Field<'_>, variant: &str, company: &Company, trials: &[&Trial]) -> f64 {
    let own = strategy(field, variant).unwrap_or_default();
    confidence::of(&Evidence {
        trials,
        to_keep: field.triage.to_keep.len(),
        held_out: &field.opening.held_out,
        agree_same_tree: company.same_tree,
        agree_other_tree: company.other_tree,
        lasting: field.opening.learned.lasting.get(own).copied(),
    })
}

/// Says of those that were stopped with nothing against them what they were stopped for.
fn mark_outdone(field: &Field<'_>, placed: &mut [Placed]) {
    let rank = |p: &Placed| (!p.last_resort, p.is_clean(), total(p));
    // Of equals the last is found, and the first is meant.
    let winners = placed.iter().rev().filter(|p| p.may_win());
    let best = winners.max_by(|a, b| {
        let ((a_first, a_clean, a), (b_first, b_clean, b)) = (rank(a), rank(b));
        (a_first, a_clean)
            .cmp(&(b_first, b_clean))
            .then(a.total_cmp(&b))
    });
    let best = best.map(|b| (b.variant.clone(), total(b)));
    let Some((best, score)) = best else {
        return;
    };
    for p in placed.iter_mut().filter(|p| p.tree.is_some()) {
        if p.state != VariantState::Stopped {
            continue;
        }
        let bound = |variant: &str| field.bounds.and_then(|bounds| bounds.get(variant));
        let score = bound(&best).map_or(score, |s| s.total);
        p.because = match bound(&p.variant) {
            Some(bound) => format!(
                "stopped: at most {:.1} was in it, and {best} stands first with {score:.1}; the whole suite was not run",
                bound.total
            ),
            None => format!("stopped: {best} was through; the whole suite was not run"),
        };
    }
}

fn mark_duplicates(placed: &mut [Placed]) {
    let mut first: BTreeMap<Oid, String> = BTreeMap::new();
    for p in placed.iter_mut() {
        if let Some(tree) = &p.tree {
            match first.get(tree) {
                Some(other) => p.duplicate_of = Some(other.clone()),
                None => drop(first.insert(tree.clone(), p.variant.clone())),
            }
        }
    }
}

/// A plugin that was stopped is named as such, whatever it was doing.
pub fn refusal_of(kind: PluginFailureKind, why: &str, seconds: f64) -> Refusal {
    let kind = match kind {
        PluginFailureKind::Nonsense => RefusalKind::BadPatch,
        _ => RefusalKind::PluginFailed,
    };
    Refusal {
        kind,
        why: why.to_owned(),
        seconds,
    }
}
