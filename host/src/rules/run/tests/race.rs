//! Races: who runs next, who is stopped, and what it takes to stop somebody.
//!
//! Touches: nothing.
//! Change here: when `rules/race.rs` weighs candidates otherwise.

use super::super::super::compare;
pub use super::super::super::race::Stage;
use super::*;
use crate::event::{Canary, Part, VariantState};

/// A candidate that changes this many lines.
fn of_lines(tree: &str, lines: u32) -> Candidate {
    Candidate {
        diff: DiffStat {
            files: 1,
            insertions: lines,
            deletions: 0,
        },
        ..candidate(tree)
    }
}

impl Tale {
    /// Variant, tree and changed lines.
    fn field(&mut self, selectable: bool, field: &[(&str, &str, u32)]) -> &mut Tale {
        let names: Vec<&str> = field.iter().map(|(name, _, _)| *name).collect();
        self.red().opened(&names);
        let opening = self.run.opening.as_mut().expect("it was opened");
        opening.selectable = selectable;
        for (variant, tree, lines) in field {
            self.then(Fact::Proposed {
                variant: (*variant).into(),
                candidate: of_lines(tree, *lines),
            });
        }
        self
    }

    fn sampled(&mut self, tree: &str, part: Part, said: &str) -> &mut Tale {
        self.watched(tree, part, said, None)
    }

    fn watched(&mut self, tree: &str, part: Part, said: &str, canary: Option<Canary>) -> &mut Tale {
        let said = report(said);
        let asked = said.tests.keys().cloned().collect();
        let sample = compare::sample(&oid(tree), part, &asked, &said, canary);
        self.then(Fact::Sampled { sample })
    }

    fn bounded(&mut self, scores: &[(&str, f64)]) -> &mut Tale {
        let score = |total| Score {
            total,
            marks: BTreeMap::new(),
            disqualified: None,
        };
        let scores = scores.iter().map(|(v, s)| ((*v).to_owned(), score(*s)));
        self.then(Fact::Bounded {
            bounds: Scoring {
                scores: scores.collect(),
                failure: None,
            },
        })
    }

    fn next_of(&self, trials_at_once: usize) -> Next {
        let terms = Terms {
            trials_at_once,
            ..Terms::default()
        };
        self.run.next(&self.policy, terms)
    }

    fn state(&self, variant: &str) -> (VariantState, String) {
        let standings = self.verdict().standings;
        let found = standings.into_iter().find(|s| s.variant == variant);
        let standing = found.expect("every variant stands somewhere");
        (standing.state, standing.because)
    }
}

fn samples(part: Part, trees: &[&str]) -> Next {
    let leg = |tree: &&str| Leg {
        tree: oid(tree),
        stage: Stage::Sample(part),
    };
    Next::Validate(trees.iter().map(leg).collect())
}

/// The head is asked beside the first candidates.
fn control_and(trees: &[&str]) -> Next {
    let Next::Validate(legs) = samples(Part::Failing, trees) else {
        unreachable!("that is what it makes");
    };
    let control = Leg {
        tree: oid("tree"),
        stage: Stage::Control,
    };
    Next::Validate([control].into_iter().chain(legs).collect())
}

#[test]
fn whoever_passes_the_test_that_must_fail_is_believed_nothing() {
    for canary in [Canary::Passed, Canary::Absent] {
        let mut tale = Tale::begins();
        tale.field(true, &[("A", "t1", 1)]);
        tale.watched("tree", Part::Failing, "a-", Some(Canary::Failed));
        tale.watched("t1", Part::Failing, "a+", Some(canary));
        assert_eq!(tale.next(), Next::Decide);
        let (state, because) = tale.state("A");
        assert_eq!(state, VariantState::Lost);
        assert!(because.contains("cannot be believed"), "{because}");
    }
}

#[test]
fn a_canary_that_does_not_fail_at_the_head_counts_for_nothing() {
    for at_head in [None, Some(Canary::Absent), Some(Canary::Passed)] {
        let mut tale = Tale::begins();
        tale.field(true, &[("A", "t1", 1)]);
        tale.watched("tree", Part::Failing, "a-", at_head);
        tale.watched("t1", Part::Failing, "a+", Some(Canary::Absent));
        assert_eq!(tale.next(), whole(&[("t1", 1)]));
    }
}

#[test]
fn a_suite_that_passes_where_its_failing_tests_alone_said_nothing_is_no_way_round_the_canary() {
    let mut tale = Tale::begins();
    tale.field(true, &[("A", "t1", 1)]);
    tale.watched("tree", Part::Failing, "a-", Some(Canary::Failed));
    tale.watched("t1", Part::Failing, "", Some(Canary::Absent));
    tale.tried("t1", 1, '+').scored(&[("A", 90.0)]);
    assert_eq!(tale.state("A").0, VariantState::Lost);
}

#[test]
fn the_failing_tests_come_first_and_whoever_fails_them_runs_nothing_more() {
    let mut tale = Tale::begins();
    tale.field(true, &[("A", "t1", 9), ("B", "t2", 1)]);
    assert_eq!(tale.next(), control_and(&["t2", "t1"]));
    tale.sampled("tree", Part::Failing, "a-");
    assert_eq!(tale.next(), samples(Part::Failing, &["t2", "t1"]));
    tale.sampled("t2", Part::Failing, "a-");
    assert_eq!(tale.next(), samples(Part::Failing, &["t1"]));
    tale.sampled("t1", Part::Failing, "a+");
    assert_eq!(tale.next(), whole(&[("t1", 1)]));
    tale.tried("t1", 1, '+')
        .scored(&[("A", 90.0)])
        .tried("t1", 2, '+');
    assert_eq!(tale.next(), Next::Advise);
    tale.advised(Action::Merge);
    let (state, because) = tale.state("B");
    assert_eq!(state, VariantState::Lost);
    assert_eq!(because, "1 of 1 failing tests still do not pass: a");
    assert_eq!(tale.verdict().winner.as_deref(), Some("A"));
}

#[test]
fn a_candidate_that_breaks_a_test_nearby_never_gets_the_whole_suite() {
    let mut tale = Tale::begins();
    // The candidates touch `src/k07.py`, and `k07` is a test to keep.
    tale.field(true, &[]);
    let mut opening = tale.run.opening.clone().expect("it was opened");
    opening.entries.push(Entry {
        name: "A".into(),
        strategy: opening.scorer.clone(),
        config: serde_json::json!({}),
        last_resort: false,
    });
    tale.run.opening = Some(opening);
    tale.then(Fact::Proposed {
        variant: "A".into(),
        candidate: Candidate {
            paths: vec!["src/k07.py".into()],
            ..candidate("t")
        },
    });
    tale.sampled("t", Part::Failing, "a+");
    assert_eq!(tale.next(), samples(Part::Near, &["t"]));
    tale.sampled("t", Part::Near, "k07-");
    assert_eq!(tale.next(), Next::Decide);
    assert_eq!(tale.state("A").0, VariantState::Lost);
    assert_eq!(tale.verdict().winner, None);
}

#[test]
fn what_two_arrived_at_runs_before_what_changes_less() {
    let mut tale = Tale::begins();
    tale.field(false, &[("A", "t1", 1), ("B", "t2", 9), ("C", "t2", 9)]);
    assert_eq!(tale.next(), whole(&[("t2", 1)]));
}

#[test]
fn the_repeat_runs_beside_the_first_where_there_is_room() {
    let mut tale = Tale::begins();
    tale.field(false, &[("A", "t1", 9), ("B", "t2", 1)]);
    assert_eq!(tale.next_of(2), whole(&[("t2", 1), ("t2", 2)]));
    // It may come to its end before the first, and a crash may fall in between.
    tale.tried("t2", 2, '+').scored(&[("B", 95.0)]);
    assert_eq!(tale.next_of(2), whole(&[("t2", 1)]));
    tale.tried("t2", 1, '+');
    assert_eq!(tale.next_of(2), Next::Bound);
}

#[test]
fn whoever_cannot_come_before_the_leader_is_stopped_and_told_why() {
    let mut tale = Tale::begins();
    tale.field(false, &[("A", "t1", 9), ("B", "t2", 1)]);
    tale.tried("t2", 1, '+')
        .scored(&[("B", 95.0)])
        .tried("t2", 2, '+');
    assert_eq!(tale.next(), Next::Bound);
    tale.bounded(&[("A", 91.0)]);
    assert_eq!(tale.next(), Next::Advise);
    tale.advised(Action::Merge);
    let (state, because) = tale.state("A");
    assert_eq!(state, VariantState::Stopped);
    assert_eq!(
        because,
        "stopped: at most 91.0 was in it, and B stands first with 95.0; the whole suite was not run"
    );
    assert_eq!(tale.verdict().action, Action::Merge);
}

#[test]
fn whoever_could_come_before_the_leader_is_run() {
    for (bound, runs) in [(96.0, true), (95.0, true), (94.9, false)] {
        let mut tale = Tale::begins();
        tale.field(false, &[("A", "t1", 9), ("B", "t2", 1)]);
        tale.tried("t2", 1, '+')
            .scored(&[("B", 95.0)])
            .tried("t2", 2, '+');
        tale.bounded(&[("A", bound)]);
        let expected = if runs {
            whole(&[("t1", 1)])
        } else {
            Next::Advise
        };
        assert_eq!(tale.next(), expected, "{bound}");
    }
}

#[test]
fn nobody_is_stopped_while_the_leader_lacks_the_evidence_that_another_could_give() {
    let mut tale = Tale::begins();
    tale.field(false, &[("A", "t1", 9), ("B", "t2", 1)]);
    tale.tried("t2", 1, '+')
        .scored(&[("B", 95.0)])
        .tried("t2", 2, '+');
    let has = tale.run.placed()[0].confidence.expect("it was tried");
    tale.policy.min_confidence = has + 0.05;
    assert_eq!(tale.next(), whole(&[("t1", 1)]));
    // Where even that would not be enough nobody runs for it.
    tale.policy.min_confidence = has + 0.2;
    assert_eq!(tale.next(), Next::Bound);
}

#[test]
fn a_leader_that_people_have_to_see_stops_nobody_who_is_clean() {
    let mut tale = Tale::begins();
    tale.red().opened(&["A", "B"]);
    let seen = Candidate {
        security: vec!["a lock file is a matter of trust".into()],
        ..of_lines("t1", 1)
    };
    for (variant, candidate) in [("A", seen), ("B", of_lines("t2", 9))] {
        let variant = variant.into();
        tale.then(Fact::Proposed { variant, candidate });
    }
    tale.tried("t1", 1, '+')
        .scored(&[("A", 99.0)])
        .tried("t1", 2, '+');
    tale.bounded(&[("B", 50.0)]);
    assert_eq!(tale.next(), whole(&[("t2", 1)]));
}

#[test]
fn a_scorer_without_an_answer_stops_nobody() {
    let mut tale = Tale::begins();
    tale.field(false, &[("A", "t1", 9), ("B", "t2", 1)]);
    tale.tried("t2", 1, '+')
        .scored(&[("B", 95.0)])
        .tried("t2", 2, '+');
    tale.bounded(&[]);
    assert_eq!(tale.next(), whole(&[("t1", 1)]));
}
