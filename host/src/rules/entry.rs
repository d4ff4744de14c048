//! Decides which failing tests the strategies see, and which candidates may be tried at all.
//!
//! Touches: nothing.
//! Change here: when the field of a tournament should be chosen by other means; its order is in `race.rs`.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::Variant;
use crate::event::{Candidate, Gate, Oid, RunId};

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

/// The run that brought a commit, or what the commit merged; its parents in their order.
pub fn own_work<'a>(
    commit: &Oid,
    parents: &[Oid],
    brought: &'a BTreeMap<Oid, RunId>,
) -> Option<&'a RunId> {
    let merged = parents.iter().skip(1);
    std::iter::once(commit)
        .chain(merged)
        .find_map(|commit| brought.get(commit))
}

/// The only one that enters where the branch was broken by what was delivered to it: a fix that did harm is taken back,
/// not fixed.
pub fn taking_back() -> Variant {
    Variant {
        name: "revert".to_owned(),
        strategy: "revert-culprit".to_owned(),
        config: serde_json::json!({}),
    }
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
    fn only_what_came_in_by_itself_or_by_a_merge_is_own_work() {
        let oid = |name: &str| Oid(name.to_owned());
        let brought = BTreeMap::from([(oid("fix"), RunId("app-1".into()))]);
        let of = |commit: &str, parents: &[&str]| {
            let parents: Vec<Oid> = parents.iter().map(|p| oid(p)).collect();
            own_work(&oid(commit), &parents, &brought).map(|run| run.0.as_str())
        };
        assert_eq!(of("fix", &["base"]), Some("app-1"));
        assert_eq!(of("merge", &["base", "fix"]), Some("app-1"));
        assert_eq!(of("later", &["fix"]), None);
        assert_eq!(of("merge", &["fix", "feature"]), None);
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
