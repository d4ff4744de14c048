//! The hard conditions no plugin can loosen: what stands against a candidate.
//!
//! Touches: nothing.
//! Change here: when a gate comes or goes. Name it in `event::Gate`, state it here, say in `disqualifies`
//! whether it costs the win or only asks for a human.

use super::paths::PathClasses;
use super::tamper;
use super::update;
use crate::event::{
    Canary, Candidate, Gate, Objection, Part, PathChange, ReportSource, Sample, TestFailure,
    Triage, Trial,
};

/// Gates 3, 4 and 7: what the patch itself tells, before any test ran. Returns objections and security reasons.
pub fn of_patch(
    changes: &[PathChange],
    patch: &str,
    classes: &PathClasses,
    failures: &[TestFailure],
) -> (Vec<Objection>, Vec<String>) {
    let mut objections = Vec::new();
    let mut object = |gate, because| objections.push(Objection { gate, because });
    for change in changes {
        let path = &change.path;
        if classes.is_protected(path) {
            object(
                Gate::StaysInBounds,
                format!("{path} is protected by the operator"),
            );
        }
        if let Some(trick) = mode_trick(change) {
            object(Gate::StaysInBounds, format!("{path} {trick}"));
        }
        if change.binary {
            object(Gate::StaysInBounds, format!("{path} is binary"));
        }
        if classes.is_judge(path) {
            object(
                Gate::LeavesTheJudgeAlone,
                format!("{path} decides what passes"),
            );
        }
    }
    tamper::cheats(patch, failures)
        .into_iter()
        .for_each(|because| object(Gate::LeavesTheJudgeAlone, because));
    let mut security: Vec<String> = changes
        .iter()
        .filter(|c| classes.is_security(&c.path))
        .map(|c| format!("{} is a matter of trust", c.path))
        .collect();
    security.extend(tamper::dangers(patch));
    (objections, security)
}

/// A regular file may be created, changed or deleted; nothing else, and not its mode.
fn mode_trick(change: &PathChange) -> Option<String> {
    const REGULAR: [u32; 2] = [0o100644, 0o100755];
    let odd = [change.old_mode, change.new_mode]
        .into_iter()
        .find(|m| *m != 0 && !REGULAR.contains(m));
    if let Some(mode) = odd {
        return Some(format!("is no regular file (mode {mode:o})"));
    }
    let both = change.old_mode != 0 && change.new_mode != 0;
    (both && change.old_mode != change.new_mode).then(|| "changes its mode".into())
}

/// Everything that stands against a candidate, given its trials in the order of their rounds.
/// Repeats that are still to come are not held against it: `run::Run::next` asks for them.
pub fn of_trials(candidate: &Candidate, trials: &[&Trial], triage: &Triage) -> Vec<Objection> {
    let mut objections = candidate.objections.clone();
    let mut object = |gate, because| objections.push(Objection { gate, because });
    if !candidate.security.is_empty() {
        object(Gate::NotSecurity, candidate.security.join("; "));
    }
    let Some(first) = trials.first() else {
        return objections;
    };
    if let Some(because) = not_fixed(first, triage) {
        object(Gate::Fixes, because);
    }
    if let Some(because) = not_kept(first) {
        object(Gate::KeepsTheRest, because);
    }
    if let Some(because) = not_repeated(trials) {
        object(Gate::Repeats, because);
    }
    objections
}

/// What some tests alone say against a candidate. Nothing they say speaks for it.
pub fn of_samples(samples: &[Sample]) -> Option<Objection> {
    let speaks_against = |s: &&Sample| !s.bad.is_empty() || s.problem.is_some();
    let sample = samples.iter().find(speaks_against)?;
    let (gate, what) = match sample.part {
        Part::Failing => (Gate::Fixes, "failing tests still do not pass"),
        Part::Near => (
            Gate::KeepsTheRest,
            "tests near the change do not pass any more",
        ),
    };
    let (bad, asked) = (sample.bad.len(), sample.asked);
    let because = match &sample.problem {
        Some(problem) => format!("the trial cannot be taken at its word: {problem}"),
        None => format!("{bad} of {asked} {what}: {}", some(&sample.bad)),
    };
    Some(Objection { gate, because })
}

/// Whether a test that must fail, laid into this tree, was called failed, as it was at the head. `head` are the samples
/// of the head, which nobody in the tournament wrote; where it did not fail there, it counts for nothing.
pub fn of_canary(samples: &[Sample], head: &[Sample]) -> Option<Objection> {
    let canary = |samples: &[Sample]| samples.iter().find_map(|s| s.canary);
    let said = match canary(samples)? {
        Canary::Failed => return None,
        Canary::Passed => "was reported as passed",
        Canary::Absent => "was not reported at all",
    };
    (canary(head) == Some(Canary::Failed)).then(|| Objection {
        gate: Gate::Fixes,
        because: format!(
            "what its tests report cannot be believed: one that must fail, laid beside the failing ones under a name \
             nobody knew, {said}"
        ),
    })
}

/// Whether this objection costs the win; the others leave the candidate standing, for a human to decide.
pub fn disqualifies(objection: &Objection) -> bool {
    match objection.gate {
        Gate::Fixes | Gate::KeepsTheRest | Gate::StaysInBounds | Gate::Repeats => true,
        Gate::LeavesTheJudgeAlone | Gate::NotSecurity => false,
    }
}

/// Merging asks for tests that can be told apart.
pub fn knows_single_tests(trial: &Trial) -> bool {
    trial.source != ReportSource::ExitCode
}

fn not_fixed(trial: &Trial, triage: &Triage) -> Option<String> {
    if let Some(problem) = &trial.problem {
        return Some(format!("the trial cannot be taken at its word: {problem}"));
    }
    if triage.failing.is_empty() && !update::is_harmless(triage) {
        return Some("there was nothing to fix".into());
    }
    let still = &trial.unfixed;
    (!still.is_empty()).then(|| {
        format!(
            "{} of {} failing tests still do not pass: {}",
            still.len(),
            triage.failing.len(),
            some(still)
        )
    })
}

fn not_kept(trial: &Trial) -> Option<String> {
    let mut said = Vec::new();
    if !trial.broken.is_empty() {
        said.push(format!(
            "breaks {}: {}",
            trial.broken.len(),
            some(&trial.broken)
        ));
    }
    if !trial.missing.is_empty() {
        said.push(format!(
            "{} that passed are gone or skipped: {}",
            trial.missing.len(),
            some(&trial.missing)
        ));
    }
    (!said.is_empty()).then(|| said.join("; "))
}

fn not_repeated(trials: &[&Trial]) -> Option<String> {
    let first = trials.first()?;
    let other = trials.iter().find(|t| t.behaviour != first.behaviour)?;
    Some(format!(
        "round {} came out differently from the first",
        other.round
    ))
}

fn some(ids: &std::collections::BTreeSet<String>) -> String {
    let shown: Vec<_> = ids.iter().take(3).map(String::as_str).collect();
    let more = ids.len().saturating_sub(shown.len());
    if more == 0 {
        shown.join(", ")
    } else {
        format!("{} and {more} more", shown.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Policy;

    fn change(path: &str, old_mode: u32, new_mode: u32) -> PathChange {
        PathChange {
            path: path.into(),
            old_mode,
            new_mode,
            binary: false,
        }
    }

    fn broken(changes: &[PathChange]) -> Vec<Gate> {
        let policy = Policy {
            protected_paths: vec!["deploy/**".into()],
            ..Policy::default()
        };
        let (objections, _) = of_patch(changes, "", &PathClasses::of(&policy), &[]);
        objections.into_iter().map(|o| o.gate).collect()
    }

    #[test]
    fn links_submodules_and_modes_are_out_of_bounds() {
        for (old, new) in [
            (0, 0o120000),
            (0, 0o160000),
            (0o100644, 0o120000),
            (0o100644, 0o100755),
            (0, 0o104755),
        ] {
            assert_eq!(
                broken(&[change("src/a", old, new)]),
                [Gate::StaysInBounds],
                "{old:o} {new:o}"
            );
        }
        assert!(
            broken(&[
                change("src/a", 0o100644, 0o100644),
                change("b", 0, 0o100644),
                change("c", 0o100644, 0)
            ])
            .is_empty()
        );
    }

    #[test]
    fn protected_paths_are_out_of_bounds_and_tests_are_the_judges() {
        assert_eq!(
            broken(&[change("deploy/x", 0o100644, 0o100644)]),
            [Gate::StaysInBounds]
        );
        assert_eq!(
            broken(&[change("tests/test_x.py", 0o100644, 0)]),
            [Gate::LeavesTheJudgeAlone]
        );
    }
}
