//! Tells a failure of the change from a flaky test and from one that was red before.
//!
//! Touches: nothing.
//! Change here: when triage should weigh more evidence.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{Finding, Outcome, ReportSource, TestReport, Triage};

/// Id that stands for the whole suite where only an exit code is known.
pub const WHOLE_SUITE: &str = "(the test command)";

/// The outcomes of a report; an exit code alone counts as one test.
pub fn outcomes(report: &TestReport) -> BTreeMap<&str, Outcome> {
    if report.source == ReportSource::ExitCode && report.tests.is_empty() {
        let outcome = if report.is_green() {
            Outcome::Passed
        } else {
            Outcome::Failed
        };
        return BTreeMap::from([(WHOLE_SUITE, outcome)]);
    }
    report
        .tests
        .iter()
        .map(|(id, outcome)| (id.as_str(), *outcome))
        .collect()
}

/// Whether the base has to be tested before triage can speak: not when every failure went away by itself.
pub fn needs_base(head: &TestReport, again: &[&TestReport]) -> bool {
    let runs = runs(head, again);
    incomplete(head) && again.iter().all(|r| incomplete(r)) || !bad_every_time(&runs).is_empty()
}

/// `again`: further runs at the head. `base`: the run before the change, if it was needed.
pub fn triage(head: &TestReport, again: &[&TestReport], base: Option<&TestReport>) -> Triage {
    let runs = runs(head, again);
    let flaky = flaky(&runs);
    let mut broken = bad_every_time(&runs);
    if base.is_some_and(|b| b.source != ReportSource::ExitCode) {
        // The base names its tests, so the head broke off before it came to them. It is they that have to pass
        // again: no candidate's report could ever name the stand-in.
        broken.remove(WHOLE_SUITE);
    }
    let base_outcomes = base.map(outcomes).unwrap_or_default();
    let lost = lost_tests(head, again, &base_outcomes, &runs);
    let red_before: BTreeSet<String> = broken
        .iter()
        .filter(|id| {
            base_outcomes
                .get(id.as_str())
                .is_some_and(|o| o.is_bad() || *o == Outcome::Flaky)
        })
        .cloned()
        .collect();
    let failing: BTreeSet<String> = broken
        .difference(&red_before)
        .cloned()
        .chain(lost)
        .collect();
    let to_keep = kept(&runs, &flaky);
    let cannot_tell = base.is_some_and(|b| b.problem.is_some() && b.tests.is_empty());
    let finding = match () {
        () if head.is_green() => Finding::Green,
        () if cannot_tell => Finding::CannotTell,
        () if !failing.is_empty() => Finding::Real,
        () if !red_before.is_empty() => Finding::RedBefore,
        () if !flaky.is_empty() || again.iter().any(|r| r.is_green()) => Finding::Flaky,
        () => Finding::CannotTell,
    };
    let because = sentence(finding, &failing, &flaky, &red_before, head, base);
    Triage {
        finding,
        failing,
        flaky,
        red_before,
        to_keep,
        because,
    }
}

type Runs<'a> = Vec<BTreeMap<&'a str, Outcome>>;

fn runs<'a>(head: &'a TestReport, again: &[&'a TestReport]) -> Runs<'a> {
    std::iter::once(head)
        .chain(again.iter().copied())
        .map(outcomes)
        .collect()
}

/// The run did not reach every test: nothing can be concluded from an id that is not there.
fn incomplete(report: &TestReport) -> bool {
    let told_nothing = report.source == ReportSource::ExitCode && !report.is_green();
    told_nothing
        || report.problem.is_some()
        || report.tests.values().any(|o| *o == Outcome::Errored)
}

fn bad_every_time(runs: &Runs<'_>) -> BTreeSet<String> {
    let bad_in = |id: &str, run: &BTreeMap<&str, Outcome>| run.get(id).is_none_or(|o| o.is_bad());
    let seen_bad = runs
        .iter()
        .flatten()
        .filter(|(_, o)| o.is_bad())
        .map(|(id, _)| *id);
    seen_bad
        .filter(|id| runs.iter().all(|run| bad_in(id, run)))
        .map(str::to_owned)
        .collect()
}

fn flaky(runs: &Runs<'_>) -> BTreeSet<String> {
    let within = runs
        .iter()
        .flatten()
        .filter(|(_, o)| **o == Outcome::Flaky)
        .map(|(id, _)| id.to_string());
    let ids: BTreeSet<&str> = runs.iter().flat_map(|run| run.keys().copied()).collect();
    let across = ids.into_iter().filter(|id| {
        let seen: Vec<_> = runs.iter().filter_map(|run| run.get(id)).collect();
        seen.iter().any(|o| o.is_bad()) && seen.iter().any(|o| **o == Outcome::Passed)
    });
    within.chain(across.map(str::to_owned)).collect()
}

/// Tests that passed before and are not even reported any more, because the run broke off. In a run that
/// reached its end, an id that is gone was removed by the push, which is its author's right.
fn lost_tests(
    head: &TestReport,
    again: &[&TestReport],
    base: &BTreeMap<&str, Outcome>,
    runs: &Runs<'_>,
) -> BTreeSet<String> {
    if !incomplete(head) || !again.iter().all(|r| incomplete(r)) {
        return BTreeSet::new();
    }
    let gone = |id: &str| runs.iter().all(|run| !run.contains_key(id));
    base.iter()
        .filter(|(id, o)| **o == Outcome::Passed && gone(id))
        .map(|(id, _)| id.to_string())
        .collect()
}

fn kept(runs: &Runs<'_>, flaky: &BTreeSet<String>) -> BTreeSet<String> {
    let passed_always = |id: &str| runs.iter().all(|run| run.get(id) == Some(&Outcome::Passed));
    runs[0]
        .keys()
        .filter(|id| passed_always(id) && !flaky.contains(**id))
        .map(|id| id.to_string())
        .collect()
}

fn sentence(
    finding: Finding,
    failing: &BTreeSet<String>,
    flaky: &BTreeSet<String>,
    red_before: &BTreeSet<String>,
    head: &TestReport,
    base: Option<&TestReport>,
) -> String {
    match finding {
        Finding::Green => "all tests pass".into(),
        Finding::Flaky => format!(
            "what failed passed when it was run again ({}); the change is not to blame",
            count(flaky.len())
        ),
        Finding::RedBefore => format!(
            "{} fail at the base commit too; the change is not to blame",
            count(red_before.len())
        ),
        Finding::Real => {
            let apart = [(flaky.len(), "flaky"), (red_before.len(), "red before")];
            let apart: Vec<_> = apart
                .iter()
                .filter(|(n, _)| *n > 0)
                .map(|(n, what)| format!("{n} {what}"))
                .collect();
            let aside = if apart.is_empty() {
                String::new()
            } else {
                format!(" ({} aside)", apart.join(", "))
            };
            format!(
                "{} failed every time and passed before the change{aside}",
                count(failing.len())
            )
        }
        Finding::CannotTell => {
            let why = base
                .and_then(|b| b.problem.as_deref())
                .or(head.problem.as_deref());
            format!(
                "the tests cannot be judged: {}",
                why.unwrap_or("the command fails, and no test says why")
            )
        }
    }
}

fn count(tests: usize) -> String {
    if tests == 1 {
        "1 test".into()
    } else {
        format!("{tests} tests")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::event::{Exit, Oid};

    /// `ok` is a report like `a+ b- c! d?`: passed, failed, errored, skipped.
    pub(crate) fn report(text: &str) -> TestReport {
        let outcome = |mark| match mark {
            '+' => Outcome::Passed,
            '-' => Outcome::Failed,
            '!' => Outcome::Errored,
            '~' => Outcome::Flaky,
            _ => Outcome::Skipped,
        };
        let split = |word: &str| {
            let (id, mark) = word.split_at(word.len() - 1);
            (id.to_owned(), outcome(mark.chars().next().unwrap_or('?')))
        };
        let tests: BTreeMap<_, _> = text.split_whitespace().map(split).collect();
        let green = tests.values().all(|o| !o.is_bad());
        TestReport {
            commit: None,
            tree: Oid("tree".into()),
            source: ReportSource::Junit,
            exit: Exit::Code(if green { 0 } else { 1 }),
            problem: tests.is_empty().then(|| "no test ran".into()),
            tests,
            failures: vec![],
            output: String::new(),
            seconds: 1.0,
            sandbox: [crate::event::Layer::Namespaces].into(),
            partial: false,
        }
    }

    fn check(head: &str, again: &[&str], base: &str) -> (Finding, Vec<String>) {
        let again: Vec<_> = again.iter().map(|r| report(r)).collect();
        let found = triage(
            &report(head),
            &again.iter().collect::<Vec<_>>(),
            Some(&report(base)),
        );
        (found.finding, found.failing.into_iter().collect())
    }

    fn ids(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn what_passed_before_and_fails_every_time_is_real() {
        assert_eq!(
            check("a- b+", &["a- b+"], "a+ b+"),
            (Finding::Real, ids("a"))
        );
    }

    #[test]
    fn what_passes_the_second_time_is_flaky() {
        assert_eq!(
            check("a- b+", &["a+ b+"], "a+ b+"),
            (Finding::Flaky, ids(""))
        );
        assert!(!needs_base(&report("a- b+"), &[&report("a+ b+")]));
    }

    #[test]
    fn what_failed_before_is_not_the_changes_doing() {
        assert_eq!(
            check("a- b+", &["a- b+"], "a- b+"),
            (Finding::RedBefore, ids(""))
        );
    }

    #[test]
    fn a_new_test_that_fails_is_the_changes_doing() {
        assert_eq!(
            check("a- b+ new-", &["a- b+ new-"], "a- b+"),
            (Finding::Real, ids("new"))
        );
    }

    #[test]
    fn tests_lost_to_a_collection_error_count_as_failing() {
        assert_eq!(check("m!", &["m!"], "a+ b+"), (Finding::Real, ids("a b m")));
        assert_eq!(check("", &[""], "a+ b+"), (Finding::Real, ids("a b")));
    }

    #[test]
    fn a_test_the_push_removed_is_not_missed() {
        assert_eq!(
            check("a- b+", &["a- b+"], "a+ b+ gone+"),
            (Finding::Real, ids("a"))
        );
    }

    #[test]
    fn where_the_base_cannot_be_tested_nothing_is_claimed() {
        assert_eq!(check("a-", &["a-"], "").0, Finding::CannotTell);
    }

    #[test]
    fn a_test_that_reruns_itself_into_passing_is_flaky() {
        assert_eq!(
            check("a~ b-", &["a~ b-"], "a+ b+"),
            (Finding::Real, ids("b"))
        );
    }

    #[test]
    fn a_flaky_test_is_not_among_those_to_keep() {
        let found = triage(
            &report("a- b- c+"),
            &[&report("a- b+ c+")],
            Some(&report("a+ b+ c+")),
        );
        assert_eq!(found.to_keep.into_iter().collect::<Vec<_>>(), ids("c"));
        assert_eq!(found.flaky.into_iter().collect::<Vec<_>>(), ids("b"));
    }

    fn only_an_exit_code() -> TestReport {
        TestReport {
            source: ReportSource::ExitCode,
            exit: Exit::Code(1),
            problem: None,
            ..report("")
        }
    }

    #[test]
    fn a_build_that_broke_takes_every_test_of_the_base_with_it() {
        let head = only_an_exit_code();
        let found = triage(&head, &[&head], Some(&report("a+ b+ c-")));
        assert_eq!(found.finding, Finding::Real);
        assert_eq!(found.failing.into_iter().collect::<Vec<_>>(), ids("a b"));
    }

    #[test]
    fn an_exit_code_alone_counts_as_one_test() {
        let head = only_an_exit_code();
        let base = TestReport {
            exit: Exit::Code(0),
            ..head.clone()
        };
        let found = triage(&head, &[&head], Some(&base));
        assert_eq!((found.finding, found.failing.len()), (Finding::Real, 1));
    }
}
