//! How much evidence stands behind a candidate that passed its trial: 0 to 1.
//!
//! Touches: nothing.
//! Change here: when another kind of evidence is gathered, or outcomes show a weight to be wrong.
//! `docs/decisions/0003-confidence.md` says why the weights are what they are.

use std::collections::BTreeSet;

use crate::event::{Calibration, Lasting, Trial};

/// A suite with this many tests to keep is worth half of what a very large one is.
const HALF_NET: f64 = 20.0;
/// Fewer fixes that have aged than this say nothing about a strategy.
const ENOUGH_HISTORY: u32 = 10;

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
    /// What is believed of this strategy's fixes for such failures.
    pub lasting: Option<Lasting>,
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
    match evidence.lasting {
        Some(lasting) if lasting.aged >= ENOUGH_HISTORY => 20.0 * (lasting.share - 0.5),
        _ => 0.0,
    }
}

/// What that much evidence has come to mean; as much as it says where nothing is known of that.
pub fn meant(evidence: f64, calibration: Option<&Calibration>) -> f64 {
    match calibration {
        Some(curve) => (curve.means(evidence) * 100.0).round().min(99.0) / 100.0,
        None => evidence,
    }
}

/// Evidence as it would be if another strategy's different tree passed too.
pub fn in_company(evidence: f64) -> f64 {
    (evidence + OTHER_TREE / 100.0).min(0.99)
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
            lasting: None,
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

    #[test]
    fn the_record_of_a_strategy_counts_from_ten_outcomes_on() {
        let with = |share: f64, aged: u32| {
            record(&Evidence {
                trials: &[],
                to_keep: 0,
                held_out: &BTreeSet::new(),
                agree_same_tree: 0,
                agree_other_tree: 0,
                lasting: Some(Lasting { share, aged }),
            })
        };
        assert_eq!(with(0.1, 9), 0.0);
        assert_eq!((with(0.1, 10), with(0.9, 10)), (-8.0, 8.0));
    }

    #[test]
    fn evidence_means_what_it_has_come_to() {
        assert_eq!(meant(0.8, None), 0.8);
        let halves = Calibration {
            at_zero: 0.0,
            slope: 0.0,
            outcomes: 60,
        };
        assert_eq!(meant(0.8, Some(&halves)), 0.5);
        let sure = Calibration {
            at_zero: 20.0,
            ..halves
        };
        assert_eq!(meant(0.8, Some(&sure)), 0.99);
    }
}
