//! Decides which failing tests the strategies see, and which candidates may be tried at all.
//!
//! Touches: nothing.
//! Change here: when the field of a tournament should be chosen by other means; its order is in `race.rs`.

use std::collections::BTreeSet;

use crate::event::{Candidate, Gate};

/// Fewer failing tests than this are all shown: a strategy that sees too little fixes too little.
const SHOWN_AT_LEAST: usize = 3;

/// Every n-th failing test is held out, so that each part of a suite is still represented.
/// `share` between 0 and 1.
pub fn held_out(failing: &BTreeSet<String>, share: f64) -> BTreeSet<String> {
    if share <= 0.0 || failing.len() <= SHOWN_AT_LEAST {
        return BTreeSet::new();
    }
    let wanted =
        ((failing.len() as f64 * share).floor() as usize).min(failing.len() - SHOWN_AT_LEAST);
    if wanted == 0 {
        return BTreeSet::new();
    }
    let step = failing.len() / wanted;
    failing
        .iter()
        .skip(step - 1)
        .step_by(step)
        .take(wanted)
        .cloned()
        .collect()
}

/// A candidate that leaves its bounds is not run at all.
pub fn may_be_tried(candidate: &Candidate) -> bool {
    candidate
        .objections
        .iter()
        .all(|o| o.gate != Gate::StaysInBounds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(failing: usize, share: f64) -> usize {
        let failing = (0..failing).map(|n| format!("t{n:03}")).collect();
        held_out(&failing, share).len()
    }

    #[test]
    fn few_failing_tests_are_all_shown() {
        assert_eq!([check(0, 0.5), check(1, 0.5), check(3, 0.5)], [0, 0, 0]);
    }

    #[test]
    fn of_many_failing_tests_a_share_is_kept_back() {
        assert_eq!(
            [
                check(4, 0.25),
                check(40, 0.25),
                check(4, 0.9),
                check(10, 0.0)
            ],
            [1, 10, 1, 0]
        );
    }
}
