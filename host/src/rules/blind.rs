//! What a run is kept blind to, so that it can be judged by it afterwards: tests that no report of the run names.
//!
//! Touches: nothing.
//! Change here: when a report can give something away that it could not before.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use crate::event::{Exit, TestReport};

/// Tests a run knows nothing of. Usually none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blind {
    ids: BTreeSet<String>,
    /// What lines are told by that speak of one of them: its id, and the last part of it.
    names: Vec<String>,
}

/// Of the last part of an id; a shorter one stands in too many lines.
const SHORTEST_NAME: usize = 4;

impl Blind {
    pub fn to(ids: impl IntoIterator<Item = String>) -> Blind {
        let ids: BTreeSet<String> = ids.into_iter().collect();
        let last = |id: &String| id.rsplit("::").next().unwrap_or_default().to_owned();
        let lasts = ids.iter().map(last).filter(|n| n.len() >= SHORTEST_NAME);
        let names = ids.iter().cloned().chain(lasts).collect::<BTreeSet<_>>();
        Blind {
            names: names.into_iter().collect(),
            ids,
        }
    }

    pub fn is_to(&self, id: &str) -> bool {
        self.ids.contains(id)
    }

    /// The report as if these tests were not there. What the command printed goes as a whole where it ran one of them: it
    /// tells their story in too many ways to be taken apart.
    pub fn hide(&self, report: &mut TestReport) {
        if self.ids.is_empty() {
            return;
        }
        let was_bad = report.bad().iter().any(|id| self.is_to(id));
        let ran = report.tests.keys().any(|id| self.is_to(id));
        report.tests.retain(|id, _| !self.is_to(id));
        report.failures.retain(|f| !self.is_to(&f.id));
        for failure in &mut report.failures {
            failure.message = self.without(&failure.message);
            failure.detail = self.without(&failure.detail);
        }
        report.output = match ran {
            true => String::new(),
            false => self.without(&report.output),
        };
        report.problem = report.problem.as_deref().map(|why| self.without(why));
        let only_they_failed = was_bad && report.bad().is_empty() && report.problem.is_none();
        if only_they_failed && matches!(report.exit, Exit::Code(_)) {
            report.exit = Exit::Code(0);
        }
    }

    /// The text without the lines that speak of one of these tests.
    pub fn without(&self, text: &str) -> String {
        if !self.names.iter().any(|name| speaks_of(text, name)) {
            return text.to_owned();
        }
        let lines = text.split_inclusive('\n');
        lines
            .filter(|line| !self.names.iter().any(|name| speaks_of(line, name)))
            .collect()
    }
}

/// As a word of its own: `test_pay` is not meant by `test_pay_less`.
fn speaks_of(text: &str, name: &str) -> bool {
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(name).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + name.len()..]);
        !is_part(before.chars().next_back()) && !is_part(after.chars().next())
    })
}

/// Half of them, chosen by nothing but their names; none of fewer than two.
pub fn half(tests: &BTreeSet<String>) -> BTreeSet<String> {
    let mut by_chance: Vec<&String> = tests.iter().collect();
    by_chance.sort_by_cached_key(|id| Sha256::digest(id.as_bytes()));
    by_chance
        .into_iter()
        .take(tests.len() / 2)
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::triage::tests::report;
    use super::*;
    use crate::event::TestFailure;

    fn blind(ids: &[&str]) -> Blind {
        Blind::to(ids.iter().map(|id| (*id).to_owned()))
    }

    fn failure(id: &str, detail: &str) -> TestFailure {
        TestFailure {
            id: id.into(),
            message: String::new(),
            detail: detail.into(),
            file: None,
            line: None,
        }
    }

    #[test]
    fn a_report_is_as_if_the_hidden_tests_were_not_there() {
        let mut seen = report("shop::pay- shop::refund- shop::label+");
        seen.output = "FAILED shop::pay\n2 failed".into();
        seen.failures = vec![
            failure("shop::pay", "shop.py:3\nrefund fails too\n"),
            failure("shop::refund", "shop.py:9"),
        ];
        blind(&["shop::refund"]).hide(&mut seen);
        let ids: Vec<&str> = seen.tests.keys().map(String::as_str).collect();
        assert_eq!(ids, ["shop::label", "shop::pay"]);
        assert_eq!(seen.failures.len(), 1);
        assert_eq!(seen.failures[0].detail, "shop.py:3\n");
        assert_eq!(seen.output, "");
        assert!(!seen.is_green());
    }

    #[test]
    fn a_suite_is_green_in_which_only_hidden_tests_fail() {
        let mut seen = report("shop::pay+ shop::refund-");
        assert!(!seen.is_green());
        blind(&["shop::refund"]).hide(&mut seen);
        assert!(seen.is_green(), "{seen:?}");
    }

    #[test]
    fn what_a_build_complains_of_is_kept_but_for_lines_about_hidden_tests() {
        let mut seen = report("");
        seen.output = "error: no method `refund_all`\nin fn refund()\nin fn pay()\n".into();
        blind(&["shop::refund"]).hide(&mut seen);
        assert_eq!(seen.output, "error: no method `refund_all`\nin fn pay()\n");
    }

    #[test]
    fn without_anything_hidden_a_report_stays_as_it_is() {
        let mut seen = report("a- b+");
        seen.output = "a".into();
        let before = seen.clone();
        Blind::default().hide(&mut seen);
        assert_eq!(seen, before);
    }

    #[test]
    fn half_of_the_failing_tests_are_hidden_always_the_same_ones() {
        let all: BTreeSet<String> = ["a", "b", "c", "d", "e"].map(str::to_owned).into();
        let hidden = half(&all);
        assert_eq!(hidden.len(), 2);
        assert_eq!(half(&all), hidden);
        let two = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        assert_eq!(half(&two).len(), 1);
        assert!(half(&BTreeSet::from(["a".to_owned()])).is_empty());
    }
}
