//! What an evaluation came to: who mends how many cases, who would merge what is wrong, at what cost, and whether one is
//! better than another.
//!
//! Touches: nothing.
//! Change here: when an evaluation should say something else. Intervals are made in `estimate.rs` and `paired.rs`; fields
//! may be added, never renamed.

use serde::{Deserialize, Serialize};

use super::paired::Pairs;
use super::stats::{Counted, median};

/// The whole of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    pub cases: Vec<CaseSeen>,
    pub contestants: Vec<Summary>,
    /// Every two of them, on the cases that both were tried on.
    pub pairs: Vec<Comparison>,
    pub results: Vec<Outcome>,
}

/// A case, as it was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CaseSeen {
    pub name: String,
    pub about: String,
    /// Tests that failed because of the change.
    pub failing: usize,
    /// Of them, those that nobody in a run knew of.
    pub hidden: usize,
    /// Why nobody was tried on it.
    pub left_out: Option<String>,
}

/// Who was tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contestant {
    pub name: String,
    /// By variant: its plugin, the digest of its bytes and its configuration. Several for a tournament.
    pub entries: Vec<Entrant>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entrant {
    pub variant: String,
    pub strategy: String,
    pub digest: String,
    pub config: serde_json::Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Merge,
    PullRequest,
    Human,
    NoFix,
}

/// One contestant on one case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub case: String,
    pub contestant: String,
    /// It handed in a candidate.
    pub proposed: bool,
    /// One that came through every test it was allowed to know of.
    pub through: bool,
    pub verdict: Verdict,
    /// Hidden tests and all: every test that the change broke passes, and none is lost.
    pub correct: bool,
    /// It would have been merged, and is not correct.
    pub false_merge: bool,
    /// Tests that spoke against it once nothing was hidden any more.
    pub against: Vec<String>,
    /// What became of it, in the words of the run.
    pub because: String,
    /// What the answers of the model cost when they were given.
    pub cost_usd: f64,
    pub model_seconds: f64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// Why this says nothing about the contestant: the model was not to be had. It counts nowhere.
    pub unanswered: Option<String>,
}

impl Outcome {
    fn counts(&self) -> bool {
        self.unanswered.is_none()
    }
}

/// One contestant on all cases.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub name: String,
    pub entries: Vec<Entrant>,
    pub cases: usize,
    pub proposed: usize,
    pub through: usize,
    /// Of the cases.
    pub correct: Counted,
    pub merged: usize,
    /// Of what would have been merged.
    pub false_merges: Counted,
    pub cost_usd: f64,
    pub cost_per_correct_fix: Option<f64>,
    pub median_model_seconds: Option<f64>,
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// Cases that say nothing, because the model was not to be had.
    pub unanswered: usize,
}

/// Two contestants on the cases that both were tried on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    pub first: String,
    pub second: String,
    pub cases: usize,
    pub both: usize,
    pub only_first: usize,
    pub only_second: usize,
    pub neither: usize,
    /// The first one's rate of correct fixes less the second one's, with 95 %.
    pub difference: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
    /// McNemar's exact test.
    pub p_value: f64,
}

impl Comparison {
    fn of(first: &str, second: &str, pairs: Pairs) -> Comparison {
        let difference = pairs.difference();
        Comparison {
            first: first.to_owned(),
            second: second.to_owned(),
            cases: pairs.all(),
            both: pairs.both,
            only_first: pairs.only_first,
            only_second: pairs.only_second,
            neither: pairs.neither,
            difference: difference.map(|d| d.estimate),
            low: difference.map(|d| d.low),
            high: difference.map(|d| d.high),
            p_value: pairs.p_value(),
        }
    }

    /// None where the interval holds 0.
    pub fn better(&self) -> Option<&str> {
        match (self.low?, self.high?) {
            (low, _) if low > 0.0 => Some(&self.first),
            (_, high) if high < 0.0 => Some(&self.second),
            _ => None,
        }
    }
}

/// Adds up what came out, in the order of the contestants and cases.
pub fn of(cases: Vec<CaseSeen>, contestants: Vec<Contestant>, results: Vec<Outcome>) -> Evaluation {
    let pairs = every_two(&contestants)
        .map(|(first, second)| compared(first, second, &results))
        .collect();
    Evaluation {
        contestants: contestants
            .into_iter()
            .map(|c| summary(c, &results))
            .collect(),
        pairs,
        cases,
        results,
    }
}

fn every_two(all: &[Contestant]) -> impl Iterator<Item = (&str, &str)> {
    all.iter().enumerate().flat_map(|(n, first)| {
        let after = &all[n + 1..];
        after
            .iter()
            .map(|second| (first.name.as_str(), second.name.as_str()))
    })
}

fn compared(first: &str, second: &str, results: &[Outcome]) -> Comparison {
    let correct = |case: &str, who: &str| {
        let of = |r: &&Outcome| r.case == case && r.contestant == who && r.counts();
        results.iter().find(of).map(|r| r.correct)
    };
    let firsts = results.iter().filter(|r| r.contestant == first);
    let outcomes =
        firsts.filter_map(|r| Some((correct(&r.case, first)?, correct(&r.case, second)?)));
    Comparison::of(first, second, Pairs::count(outcomes))
}

fn summary(contestant: Contestant, results: &[Outcome]) -> Summary {
    let own = || results.iter().filter(|r| r.contestant == contestant.name);
    let counted: Vec<&Outcome> = own().filter(|r| r.counts()).collect();
    let count = |is: &dyn Fn(&Outcome) -> bool| counted.iter().filter(|r| is(r)).count();
    let correct = count(&|r| r.correct);
    let merged = count(&|r| r.verdict == Verdict::Merge);
    let cost_usd: f64 = counted.iter().map(|r| r.cost_usd).sum();
    Summary {
        cases: counted.len(),
        proposed: count(&|r| r.proposed),
        through: count(&|r| r.through),
        correct: Counted::of(correct, counted.len()),
        merged,
        false_merges: Counted::of(count(&|r| r.false_merge), merged),
        cost_usd,
        cost_per_correct_fix: (correct > 0).then(|| cost_usd / correct as f64),
        median_model_seconds: median(counted.iter().map(|r| r.model_seconds).collect()),
        input_tokens: counted.iter().map(|r| r.input_tokens).sum(),
        output_tokens: counted.iter().map(|r| r.output_tokens).sum(),
        unanswered: own().count() - counted.len(),
        name: contestant.name,
        entries: contestant.entries,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contestant(name: &str) -> Contestant {
        Contestant {
            name: name.into(),
            entries: vec![],
        }
    }

    fn outcome(case: usize, who: &str, verdict: Verdict, correct: bool) -> Outcome {
        Outcome {
            case: format!("case-{case}"),
            contestant: who.into(),
            proposed: verdict != Verdict::NoFix,
            through: verdict != Verdict::NoFix,
            verdict,
            correct,
            false_merge: verdict == Verdict::Merge && !correct,
            against: vec![],
            because: String::new(),
            cost_usd: 0.25,
            model_seconds: case as f64,
            input_tokens: 100,
            output_tokens: 10,
            unanswered: None,
        }
    }

    /// `A` is right in all of ten, `B` in the first four, and merges what is wrong in the next two.
    fn ten() -> Vec<Outcome> {
        let b = |n| match n {
            0..4 => (Verdict::Merge, true),
            4..6 => (Verdict::Merge, false),
            _ => (Verdict::NoFix, false),
        };
        (0..10)
            .flat_map(|n| {
                let (verdict, correct) = b(n);
                [
                    outcome(n, "A", Verdict::Merge, true),
                    outcome(n, "B", verdict, correct),
                ]
            })
            .collect()
    }

    #[test]
    fn rates_costs_and_false_merges_are_of_what_was_tried() {
        let all = of(vec![], vec![contestant("A"), contestant("B")], ten());
        let b = &all.contestants[1];
        assert_eq!((b.cases, b.proposed, b.through, b.merged), (10, 6, 6, 6));
        assert_eq!((b.correct.count, b.correct.of), (4, 10));
        assert_eq!((b.false_merges.count, b.false_merges.of), (2, 6));
        assert_eq!((b.cost_usd, b.cost_per_correct_fix), (2.5, Some(0.625)));
        assert_eq!((b.input_tokens, b.output_tokens), (1000, 100));
        assert!(
            all.contestants[0]
                .false_merges
                .high
                .is_some_and(|h| h > 0.2)
        );
    }

    #[test]
    fn two_are_held_against_each_other_on_the_same_cases() {
        let all = of(vec![], vec![contestant("A"), contestant("B")], ten());
        let pair = &all.pairs[0];
        let counts = (pair.both, pair.only_first, pair.only_second, pair.neither);
        assert_eq!(counts, (4, 6, 0, 0));
        assert_eq!(pair.difference, Some(0.6));
        assert_eq!(pair.better(), Some("A"));
        assert!((pair.p_value - 0.03125).abs() < 1e-12);
    }

    #[test]
    fn a_difference_that_may_be_chance_is_none() {
        let few: Vec<Outcome> = ten().into_iter().take(10).collect();
        let all = of(vec![], vec![contestant("A"), contestant("B")], few);
        assert_eq!(all.pairs[0].cases, 5);
        assert_eq!(all.pairs[0].better(), None);
    }

    #[test]
    fn what_the_model_did_not_answer_counts_for_nobody() {
        let mut some = ten();
        some[1].unanswered = Some("it is not recorded".into());
        let all = of(vec![], vec![contestant("A"), contestant("B")], some);
        assert_eq!(all.contestants[1].cases, 9);
        assert_eq!(all.contestants[1].unanswered, 1);
        assert_eq!(all.pairs[0].cases, 9);
        assert_eq!(all.contestants[0].cases, 10);
    }
}
