//! The default scorer: tests fixed, size of the diff, how cleanly it applied, by weight.
//!
//! Touches: nothing.
//! Change here: when a mark should be computed otherwise. Gates are the host's: a score only orders what is left.

use changebus_sdk::{Config, Contender, Scored, Scorer, Services, Tournament, export_scorer};
use serde::Deserialize;

/// Changed lines that make no difference worth speaking of between two diffs.
const SLACK: f64 = 10.0;

/// Any weights, brought to a sum of 100.
#[derive(Clone, Copy, Debug, Deserialize, Config)]
#[serde(deny_unknown_fields, default)]
struct Weights {
    /// Of the failing tests that pass again; 60 by default.
    #[config(min = 0)]
    tests: f64,
    /// Of a small diff; 25 by default.
    #[config(min = 0)]
    diff: f64,
    /// Of how exactly the edits applied; 15 by default.
    #[config(min = 0)]
    apply: f64,
}

impl Default for Weights {
    fn default() -> Weights {
        Weights {
            tests: 60.0,
            diff: 25.0,
            apply: 15.0,
        }
    }
}

impl Weights {
    fn normalised(self) -> Result<Weights, String> {
        let all = [self.tests, self.diff, self.apply];
        let sum: f64 = all.iter().sum();
        if all.iter().any(|w| !w.is_finite() || *w < 0.0) || sum <= 0.0 {
            return Err(format!(
                "config: weights must be 0 or more and not all 0, not {all:?}"
            ));
        }
        Ok(Weights {
            tests: self.tests * 100.0 / sum,
            diff: self.diff * 100.0 / sum,
            apply: self.apply * 100.0 / sum,
        })
    }
}

#[derive(Default)]
pub struct Weighted;

export_scorer!(Weighted, asks = [], config = Weights);

impl Scorer for Weighted {
    fn score(
        &self,
        tournament: &impl Tournament,
        services: &impl Services,
    ) -> Result<Vec<Scored>, String> {
        let weights = services.config::<Weights>()?.normalised()?;
        let entries: Vec<Entry> = tournament.contenders().iter().map(Entry::read).collect();
        let smallest = smallest_diff(&entries);
        Ok(entries
            .iter()
            .map(|entry| entry.scored(weights, smallest))
            .collect())
    }
}

/// What the marks are made of.
struct Entry {
    id: String,
    /// None where no test was to be fixed, or no trial took place.
    fixed: Option<f64>,
    loses_tests: bool,
    changed_lines: f64,
    is_empty: bool,
    quality: f64,
}

impl Entry {
    fn read(contender: &impl Contender) -> Entry {
        let metric = |name| contender.metric(name).filter(|v| v.is_finite());
        let count = |name| metric(name).unwrap_or(0.0).max(0.0);
        let changed_lines = count("diff.insertions") + count("diff.deletions");
        let to_fix = metric("tests.to-fix").filter(|n| *n > 0.0);
        Entry {
            id: contender.id(),
            fixed: to_fix.map(|n| (count("tests.fixed") / n).min(1.0)),
            loses_tests: count("tests.regressed") + count("tests.missing") > 0.0,
            is_empty: metric("diff.files").map_or(changed_lines == 0.0, |n| n == 0.0),
            changed_lines,
            quality: count("apply.quality").min(1.0),
        }
    }

    fn passes(&self) -> bool {
        self.fixed == Some(1.0) && !self.loses_tests
    }

    fn scored(&self, weights: Weights, smallest: f64) -> Scored {
        match self.disqualification() {
            Some(why) => Scored {
                id: self.id.clone(),
                total: 0.0,
                disqualified: Some(why.to_owned()),
                marks: vec![],
            },
            None => self.marked(weights, smallest),
        }
    }

    /// An empty patch would shine in every mark but the one that matters.
    fn disqualification(&self) -> Option<&'static str> {
        match self.fixed {
            _ if self.is_empty => Some("the patch changes nothing"),
            None => Some("no trial says whether it fixes anything"),
            Some(_) => None,
        }
    }

    fn marked(&self, weights: Weights, smallest: f64) -> Scored {
        let tests = if self.loses_tests {
            0.0
        } else {
            self.fixed.unwrap_or(0.0)
        };
        let diff = ((smallest + SLACK) / (self.changed_lines + SLACK)).min(1.0);
        let marks = [
            ("tests", weights.tests * tests),
            ("diff", weights.diff * diff),
            ("apply", weights.apply * self.quality),
        ];
        Scored {
            id: self.id.clone(),
            total: cents(marks.iter().map(|(_, mark)| mark).sum::<f64>()).clamp(0.0, 100.0),
            disqualified: None,
            marks: marks
                .iter()
                .map(|(name, mark)| (name.to_string(), cents(*mark)))
                .collect(),
        }
    }
}

fn cents(mark: f64) -> f64 {
    (mark * 100.0).round() / 100.0
}

/// The fewest changed lines among those that pass; among all that change something where none passes.
fn smallest_diff(entries: &[Entry]) -> f64 {
    let least = |among: &dyn Fn(&Entry) -> bool| {
        let sizes = entries
            .iter()
            .filter(|e| !e.is_empty && among(e))
            .map(|e| e.changed_lines);
        sizes.min_by(f64::total_cmp)
    };
    least(&Entry::passes)
        .or_else(|| least(&|_| true))
        .unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use changebus_sdk::testing::{Arena, Entrant};
    use serde_json::json;

    use super::*;

    fn scored(arena: &Arena) -> Vec<Scored> {
        arena.score(&Weighted).expect("a score")
    }

    fn marks(scored: &Scored) -> Vec<f64> {
        scored.marks.iter().map(|(_, mark)| *mark).collect()
    }

    #[test]
    fn the_smallest_fix_that_applies_exactly_scores_a_hundred() {
        let all = scored(&Arena::new().contender(Entrant::fixing("A")));
        assert_eq!(
            (all[0].total, marks(&all[0])),
            (100.0, vec![60.0, 25.0, 15.0])
        );
        assert_eq!(all[0].marks[0].0, "tests");
    }

    #[test]
    fn a_larger_diff_scores_less_and_a_few_lines_more_hardly_less() {
        let arena = Arena::new()
            .contender(Entrant::fixing("A"))
            .contender(Entrant::fixing("B").metric("diff.insertions", 3.0))
            .contender(Entrant::fixing("C").metric("diff.insertions", 237.0));
        let all = scored(&arena);
        assert!(
            all[0].total > all[1].total && all[1].total > 95.0,
            "{all:?}"
        );
        // 25 * (2 + 10) / (238 + 10)
        assert_eq!(marks(&all[2]), [60.0, 1.21, 15.0]);
    }

    #[test]
    fn a_small_patch_that_fails_does_not_make_the_fix_look_large() {
        let arena = Arena::new()
            .contender(Entrant::fixing("A").metric("tests.fixed", 0.0))
            .contender(Entrant::fixing("B").metric("diff.insertions", 80.0));
        let all = scored(&arena);
        assert_eq!(marks(&all[0]), [0.0, 25.0, 15.0]);
        assert_eq!(marks(&all[1]), [60.0, 25.0, 15.0]);
    }

    #[test]
    fn a_lost_test_costs_the_whole_mark() {
        for metric in ["tests.regressed", "tests.missing"] {
            let all = scored(&Arena::new().contender(Entrant::fixing("A").metric(metric, 1.0)));
            assert_eq!(marks(&all[0])[0], 0.0, "{metric}");
        }
        let half = Entrant::fixing("A")
            .metric("tests.to-fix", 4.0)
            .metric("tests.fixed", 2.0);
        assert_eq!(marks(&scored(&Arena::new().contender(half))[0])[0], 30.0);
    }

    #[test]
    fn an_empty_patch_and_one_without_a_trial_are_out() {
        let empty = Entrant::fixing("A")
            .metric("diff.files", 0.0)
            .metric("diff.insertions", 0.0)
            .metric("diff.deletions", 0.0);
        let arena = Arena::new()
            .contender(empty)
            .contender(Entrant::new("B").metric("diff.files", 1.0))
            .contender(Entrant::fixing("C"));
        let all = scored(&arena);
        assert_eq!(
            all[0].disqualified.as_deref(),
            Some("the patch changes nothing")
        );
        assert!(all[1].disqualified.is_some());
        assert_eq!(all[2].total, 100.0);
    }

    #[test]
    fn a_less_exact_match_costs_points() {
        let all =
            scored(&Arena::new().contender(Entrant::fixing("A").metric("apply.quality", 0.5)));
        assert_eq!(marks(&all[0])[2], 7.5);
    }

    #[test]
    fn weights_of_any_size_are_brought_to_a_hundred_and_nonsense_is_refused() {
        let fixing = || Arena::new().contender(Entrant::fixing("A").metric("apply.quality", 0.0));
        assert_eq!(
            marks(&scored(&fixing().config(json!({"tests": 2, "diff": 1, "apply": 1})))[0]),
            [50.0, 25.0, 0.0]
        );
        for config in [
            json!({"tests": -1}),
            json!({"tests": 0, "diff": 0, "apply": 0}),
            json!({"size": 3}),
        ] {
            let refused = fixing().config(config.clone()).score(&Weighted);
            assert!(
                refused.is_err_and(|e| e.starts_with("config: ")),
                "{config}"
            );
        }
    }

    #[test]
    fn numbers_that_are_none_do_not_reach_the_standings() {
        let odd = Entrant::fixing("A")
            .metric("apply.quality", f64::NAN)
            .metric("diff.insertions", f64::INFINITY);
        let all = scored(&Arena::new().contender(odd));
        assert!(
            all[0].total.is_finite() && marks(&all[0]).iter().all(|m| m.is_finite()),
            "{all:?}"
        );
    }
}
