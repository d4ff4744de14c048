//! How much evidence stands behind a candidate that passed its trial: 0 to 1.
//!
//! Touches: nothing.
//! Change here: when another kind of evidence is gathered, or outcomes show a weight to be wrong.
//! `docs/decisions/0003-confidence.md` says why the weights are what they are.

use std::collections::BTreeSet;

use crate::event::Trial;

/// A suite with this many tests to keep is worth half of what a very large one is.
const HALF_NET: f64 = 20.0;
/// Fewer merges that have aged than this say nothing about a strategy.
const ENOUGH_HISTORY: f64 = 10.0;

/// What another strategy's different tree adds when it passes too.
pub const COMPANY: f64 = OTHER_TREE / 100.0;
const OTHER_TREE: f64 = 10.0;

/// What is known about a candidate beyond its own trial.
pub struct Evidence<'a> {
    pub trials: &'a [&'a Trial],
    /// Tests that passed before and have to stay.
    pub to_keep: usize,
    /// Of the failing tests: those no strategy was shown.
    pub held_out: &'a BTreeSet<String>,
    /// Strategies other than its own whose candidates pass every test too: with the same tree, and with another.
    pub agree_same_tree: usize,
    pub agree_other_tree: usize,
    /// How often this strategy's merges have aged, and how many of them survived; None before any has.
    pub aged: f64,
    pub survived: Option<f64>,
}

/// Evidence in hundredths, so that sums are exact: a candidate with all gates open starts at 45.
pub fn of(evidence: &Evidence<'_>) -> f64 {
    let points = 45.0
        + repeats(evidence)
        + net(evidence)
        + agreement(evidence)
        + unseen(evidence)
        + record(evidence);
    (points.clamp(0.0, 99.0)).round() / 100.0
}

fn repeats(evidence: &Evidence<'_>) -> f64 {
    let steady = evidence
        .trials
        .windows(2)
        .all(|pair| pair[0].behaviour == pair[1].behaviour);
    if evidence.trials.len() > 1 && steady {
        15.0
    } else {
        0.0
    }
}

/// A fix that leaves five hundred tests alone has shown more than one that leaves five alone.
fn net(evidence: &Evidence<'_>) -> f64 {
    let kept = evidence.to_keep as f64;
    15.0 * kept / (kept + HALF_NET)
}

fn agreement(evidence: &Evidence<'_>) -> f64 {
    match (evidence.agree_same_tree, evidence.agree_other_tree) {
        (0, 0) => 0.0,
        (0, _) => OTHER_TREE,
        _ => 15.0,
    }
}

fn unseen(evidence: &Evidence<'_>) -> f64 {
    let fixed_unseen = evidence
        .trials
        .first()
        .is_some_and(|t| evidence.held_out.is_subset(&t.fixed));
    if !evidence.held_out.is_empty() && fixed_unseen {
        10.0
    } else {
        0.0
    }
}

fn record(evidence: &Evidence<'_>) -> f64 {
    match evidence.survived {
        Some(survived) if evidence.aged >= ENOUGH_HISTORY => {
            20.0 * (survived / evidence.aged - 0.5)
        }
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::compare::trial;
    use super::super::triage::tests::{found, report};
    use super::*;
    use crate::event::Oid;

    fn check(rounds: u32, to_keep: usize, same: usize, other: usize) -> f64 {
        let head = report("a- b+");
        let found = found(&head, &report("a+ b+"));
        let trials: Vec<_> = (1..=rounds)
            .map(|n| trial(&Oid("t".into()), n, &report("a+ b+"), &found))
            .collect();
        of(&Evidence {
            trials: &trials.iter().collect::<Vec<_>>(),
            to_keep,
            held_out: &BTreeSet::new(),
            agree_same_tree: same,
            agree_other_tree: other,
            aged: 0.0,
            survived: None,
        })
    }

    #[test]
    fn one_opinion_over_a_small_suite_is_not_enough() {
        assert!(check(2, 5, 0, 0) < 0.7);
    }

    #[test]
    fn one_opinion_that_leaves_a_large_suite_alone_is() {
        assert!(check(2, 60, 0, 0) >= 0.7);
    }

    #[test]
    fn two_that_agree_carry_even_a_small_suite() {
        assert!(check(2, 8, 1, 0) >= 0.7);
    }

    #[test]
    fn what_was_never_repeated_does_not_suffice() {
        assert!(check(1, 60, 0, 0) < 0.7);
    }
}
