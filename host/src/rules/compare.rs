//! Holds a trial's report against what triage found: fixed, still failing, broken, missing.
//!
//! Touches: nothing.
//! Change here: when a trial should be compared by more than the outcome of each test.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use sha2::{Digest, Sha256};

use super::evidence::outcomes;
use crate::event::{Canary, Oid, Outcome, Part, ProbeReport, Sample, TestReport, Triage, Trial};

/// `round` counts from 1. A test to fix or to keep that the report does not name, or that is skipped, has not passed.
pub fn trial(tree: &Oid, round: u32, report: &TestReport, triage: &Triage) -> Trial {
    let seen = outcomes(report);
    let outcome = |id: &&String| seen.get(id.as_str()).copied();
    // A retry may keep a test, but it takes a plain pass to call one fixed.
    let passes = |id: &&String| outcome(id) == Some(Outcome::Passed) || loads(&seen, id);
    let stays = |id: &&String| matches!(outcome(id), Some(Outcome::Passed | Outcome::Flaky));
    let is_bad = |id: &&String| outcome(id).is_some_and(Outcome::is_bad);
    let (fixed, unfixed): (BTreeSet<_>, BTreeSet<_>) = triage.failing.iter().partition(passes);
    let lost: BTreeSet<_> = triage.to_keep.iter().filter(|id| !stays(id)).collect();
    let (broken, missing): (BTreeSet<_>, BTreeSet<_>) = lost.into_iter().partition(is_bad);
    let owned = |ids: BTreeSet<&String>| ids.into_iter().cloned().collect::<BTreeSet<String>>();
    let count = |wanted: fn(Outcome) -> bool| seen.values().filter(|o| wanted(**o)).count() as u32;
    Trial {
        tree: tree.clone(),
        round,
        source: report.source,
        exit: report.exit.clone(),
        passed: count(|o| matches!(o, Outcome::Passed | Outcome::Flaky)),
        failed: count(Outcome::is_bad),
        total: seen.len() as u32,
        fixed: owned(fixed),
        unfixed: owned(unfixed),
        broken: owned(broken),
        missing: owned(missing),
        behaviour: behaviour(report, triage),
        failures: report.failures.iter().take(10).cloned().collect(),
        output: tail(&report.output, 4096),
        problem: report.problem.clone(),
        seconds: report.seconds,
        unsandboxed: !report.is_confined(),
        report: None,
    }
}

/// A file that cannot be loaded is reported as if it were a test; once it can be, its tests are there in its place.
fn loads(seen: &BTreeMap<&str, Outcome>, id: &str) -> bool {
    let own = format!("{id}::");
    let from = (Bound::Included(own.as_str()), Bound::Unbounded);
    let its_tests = seen.range::<str, _>(from);
    let mut its_tests = its_tests
        .take_while(|(test, _)| test.starts_with(&own))
        .peekable();
    !seen.contains_key(id) && its_tests.peek().is_some() && its_tests.all(|(_, o)| !o.is_bad())
}

/// Whether anything of what triage found broken is broken, or gone, in this report.
pub fn still_fails(triage: &Triage, report: &TestReport) -> bool {
    let seen = outcomes(report);
    let outcome = |id: &String| seen.get(id.as_str());
    let broken = |id: &String| outcome(id).is_none_or(|o| o.is_bad()) && !loads(&seen, id);
    !report.is_green() && triage.failing.iter().any(broken)
}

/// `asked` are the tests that were to be run alone. Of the failing ones only a plain pass counts, as in a trial.
pub fn sample(
    tree: &Oid,
    part: Part,
    asked: &BTreeSet<String>,
    report: &TestReport,
    canary: Option<Canary>,
) -> Sample {
    let seen = outcomes(report);
    let holds = |id: &&String| match seen.get(id.as_str()) {
        Some(Outcome::Flaky) => part == Part::Near,
        None => loads(&seen, id),
        outcome => outcome == Some(&Outcome::Passed),
    };
    let bad: BTreeSet<String> = asked.iter().filter(|id| !holds(id)).cloned().collect();
    let output = match bad.is_empty() {
        true => String::new(),
        false => tail(&report.output, 4096),
    };
    Sample {
        tree: tree.clone(),
        part,
        asked: asked.len() as u32,
        bad,
        problem: report.problem.clone(),
        output,
        seconds: report.seconds,
        canary,
    }
}

/// What a strategy is told of a patch it tried. Held-out tests are not named.
pub fn probe(trial: &Trial, held_out: &BTreeSet<String>) -> ProbeReport {
    let shown = |ids: &BTreeSet<String>| ids.difference(held_out).cloned().collect::<Vec<_>>();
    let mut broken = shown(&trial.broken);
    broken.extend(shown(&trial.missing));
    ProbeReport {
        still_failing: shown(&trial.unfixed),
        broken,
        failures: trial
            .failures
            .iter()
            .filter(|f| !held_out.contains(&f.id))
            .cloned()
            .collect(),
        output: trial.output.clone(),
        passed: trial.passed,
        failed: trial.failed,
        seconds: trial.seconds,
    }
}

fn behaviour(report: &TestReport, triage: &Triage) -> String {
    let mut hash = Sha256::new();
    for (id, outcome) in outcomes(report)
        .iter()
        .filter(|(id, _)| !triage.flaky.contains(**id))
    {
        hash.update(format!("{id}\0{outcome:?}\n"));
    }
    hash.finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn tail(text: &str, bytes: usize) -> String {
    let start = text.len().saturating_sub(bytes);
    let start = (start..=text.len())
        .find(|i| text.is_char_boundary(*i))
        .unwrap_or(text.len());
    text[start..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::triage::tests::{found, report};
    use super::*;

    fn check(after: &str) -> String {
        let head = report("a- b+ c+ d?");
        let found = found(&head, &report("a+ b+ c+ d?"));
        let trial = trial(&Oid("t".into()), 1, &report(after), &found);
        let list = |ids: &BTreeSet<String>| ids.iter().cloned().collect::<Vec<_>>().join(",");
        format!(
            "fixed {} unfixed {} broken {} missing {}",
            list(&trial.fixed),
            list(&trial.unfixed),
            list(&trial.broken),
            list(&trial.missing)
        )
    }

    #[test]
    fn a_trial_is_read_against_what_failed_and_what_has_to_stay() {
        assert_eq!(check("a+ b+ c+"), "fixed a unfixed  broken  missing ");
        assert_eq!(check("a- b+ c+"), "fixed  unfixed a broken  missing ");
        assert_eq!(check("a+ b- c?"), "fixed a unfixed  broken b missing c");
        assert_eq!(check("b+"), "fixed  unfixed a broken  missing c");
        assert_eq!(check(""), "fixed  unfixed a broken  missing b,c");
    }
    #[test]
    fn a_file_that_could_not_be_loaded_is_mended_once_its_tests_are_there_and_pass() {
        let head = report("m- b+");
        let found = found(&head, &report("m::x+ m::y+ b+"));
        let unfixed = |after: &str| {
            let trial = trial(&Oid("t".into()), 1, &report(after), &found);
            trial.unfixed.into_iter().collect::<Vec<_>>().join(",")
        };
        assert_eq!(unfixed("m::x+ m::y+ b+"), "");
        assert_eq!(unfixed("m::x+ m::y- b+"), "m");
        assert_eq!(unfixed("mm::x+ b+"), "m");
        assert_eq!(unfixed("m- m::x+ b+"), "m");
        assert!(!still_fails(&found, &report("m::x+ m::y+ b+ c-")));
    }
}
