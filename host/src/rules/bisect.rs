//! Finds the commit that broke the tests among those of a change, by halving; says which one to test next.
//!
//! Touches: nothing.
//! Change here: when another commit should be tested first, or a commit be judged otherwise.

use std::collections::{BTreeMap, BTreeSet};

use super::evidence::{incomplete, outcomes};
use crate::event::{Bisection, Oid, TestReport};

/// What one commit says about the tests that fail at the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// None of them fails.
    Good,
    Some,
    All,
    /// The suite did not come to them.
    Untestable,
}

#[derive(Debug, PartialEq)]
pub enum Step {
    Test(Oid),
    Found(Bisection),
}

/// `line`: the commits after the base, oldest first, the head last. `seen`: what was tested of those before the head.
/// `patience`: seconds of testing after which what is known has to do.
pub fn next(
    line: &[Oid],
    failing: &BTreeSet<String>,
    seen: &BTreeMap<Oid, TestReport>,
    patience: f64,
) -> Step {
    let judged = |commit: &Oid| seen.get(commit).map(|report| judge(failing, report));
    let bad = |commit: &Oid| matches!(judged(commit), Some(Seen::Some | Seen::All));
    // The base is good and the head is bad: that is what triage found.
    let last = line.len().saturating_sub(1);
    let first_bad = line.iter().position(bad).unwrap_or(last);
    let good = |commit: &Oid| judged(commit) == Some(Seen::Good);
    let from = line[..first_bad]
        .iter()
        .rposition(good)
        .map_or(0, |i| i + 1);
    let open = (from..first_bad).filter(|i| judged(&line[*i]).is_none());
    // Of commits that cannot be tested the nearest neighbour is asked instead.
    let middle = from + (first_bad - from) / 2;
    let next = open.min_by_key(|i| i.abs_diff(middle));
    let spent: f64 = seen.values().map(|report| report.seconds).sum();
    match next {
        Some(index) if spent < patience => Step::Test(line[index].clone()),
        _ => {
            let suspects = line.get(from..=first_bad).unwrap_or_default();
            let untestable = |c: &&Oid| judged(c) == Some(Seen::Untestable);
            let alone = first_bad == last || judged(&line[first_bad]) == Some(Seen::All);
            Step::Found(Bisection {
                suspects: suspects.to_vec(),
                untestable: line.iter().filter(untestable).cloned().collect(),
                among: u32::try_from(line.len()).unwrap_or(u32::MAX),
                tested: u32::try_from(seen.len()).unwrap_or(u32::MAX),
                all: alone,
            })
        }
    }
}

fn judge(failing: &BTreeSet<String>, report: &TestReport) -> Seen {
    let seen = outcomes(report);
    let bad = |id: &&String| seen.get(id.as_str()).is_some_and(|o| o.is_bad());
    match failing.iter().filter(bad).count() {
        0 if incomplete(report) => Seen::Untestable,
        // A test that is not there yet does not fail.
        0 => Seen::Good,
        all if all == failing.len() => Seen::All,
        _ => Seen::Some,
    }
}

#[cfg(test)]
mod tests {
    use super::super::triage::tests::report;
    use super::*;

    fn line(length: usize) -> Vec<Oid> {
        (0..length).map(|n| Oid(format!("c{n}"))).collect()
    }

    /// Bisects a line whose commits answer with `answers`; what was found and how many were tested.
    fn bisect(answers: &[&str], failing: &str) -> (Bisection, usize) {
        let line = line(answers.len());
        let failing = failing.split_whitespace().map(str::to_owned).collect();
        let mut seen = BTreeMap::new();
        loop {
            match next(&line, &failing, &seen, 1e9) {
                Step::Found(found) => return (found, seen.len()),
                Step::Test(commit) => {
                    let index = line.iter().position(|c| *c == commit).expect("in the line");
                    let before = seen.insert(commit, report(answers[index]));
                    assert!(before.is_none(), "nothing is tested twice");
                }
            }
        }
    }

    #[test]
    fn one_commit_needs_no_test_to_be_found() {
        let (found, tests) = bisect(&["a-"], "a");
        assert_eq!((found.culprit(), tests), (Some(&Oid("c0".into())), 0));
    }

    #[test]
    fn commits_that_cannot_be_tested_are_passed_over_and_named() {
        let (found, _) = bisect(&["a+", "a+", "!!", "a-", "a-"], "a");
        let names: Vec<_> = found.suspects.iter().map(|c| &c.0[..]).collect();
        assert_eq!(names, ["c2", "c3"], "either may have broken it");
        assert_eq!(found.untestable, [Oid("c2".into())]);
        assert_eq!(found.culprit(), None);
    }

    #[test]
    fn a_commit_that_broke_only_a_part_is_not_blamed_for_the_rest() {
        let (found, _) = bisect(&["a+ b+", "a- b+", "a- b+", "a- b-"], "a b");
        assert_eq!(found.suspects, [Oid("c1".into())]);
        assert_eq!(found.culprit(), None);
        let told = found.sentence(|c| c.0.clone());
        assert_eq!(
            told,
            "of 4 commits, c1 was the first to break something, and later ones broke more"
        );
    }

    #[test]
    fn a_test_that_is_not_there_yet_does_not_fail() {
        let (found, _) = bisect(&["b+", "b+", "a- b+", "a- b+"], "a");
        assert_eq!(found.culprit(), Some(&Oid("c2".into())));
    }

    #[test]
    fn who_has_waited_long_enough_is_told_what_is_left() {
        let failing = BTreeSet::from(["a".to_owned()]);
        let line = line(9);
        let seen = BTreeMap::from([(Oid("c4".into()), report("a+"))]);
        let Step::Found(found) = next(&line, &failing, &seen, 0.5) else {
            panic!("it goes on");
        };
        assert_eq!(found.suspects, line[5..].to_vec());
    }

    #[test]
    fn the_commit_that_broke_it_is_found_in_about_log_n_tests() {
        for length in [1, 2, 3, 7, 8, 50, 399] {
            for at in 0..length {
                let answers: Vec<&str> = (0..length)
                    .map(|n| if n < at { "a+" } else { "a-" })
                    .collect();
                let (found, tests) = bisect(&answers, "a");
                assert_eq!(found.culprit(), Some(&Oid(format!("c{at}"))), "of {length}");
                let most = (length as f64).log2().ceil() + 1.0;
                assert!(tests as f64 <= most, "{tests} tests for {length}");
            }
        }
    }

    #[test]
    fn the_culprit_is_always_among_the_suspects_whatever_cannot_be_tested() {
        for seed in 0..2_000u64 {
            let mut chance = fastrand::Rng::with_seed(seed);
            let broken = chance.usize(0..40);
            let hole: Vec<bool> = (0..40).map(|n| n < 39 && chance.bool()).collect();
            let answer = |n: usize| match n {
                n if hole[n] => "!!",
                n if n < broken => "a+",
                _ => "a-",
            };
            let answers: Vec<&str> = (0..40).map(answer).collect();
            let (found, _) = bisect(&answers, "a");
            let culprit = Oid(format!("c{broken}"));
            assert!(found.suspects.contains(&culprit), "seed {seed}");
            let (_, others) = found.suspects.split_last().expect("there is a suspect");
            let untestable = others.iter().all(|c| found.untestable.contains(c));
            assert!(untestable, "seed {seed}: more suspects than need be");
        }
    }
}
