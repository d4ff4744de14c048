//! Whole searches on the bench.
//!
//! Touches: nothing.
//! Change here: when the strategy meets a push it handled badly; add the push.

use std::collections::BTreeSet;

use changebus_sdk::testing::{Bench, Files, breaks, passes, still_fails};
use changebus_sdk::{FaultKind, Outcome, Proposal, Report};
use serde_json::json;

use super::*;

const TEST: &str = "tests/test_sum.py::test_add";

/// Twelve hunks in three files; the tests want `add` and the `limit` back.
fn bench() -> Bench {
    let old = |name: &str| {
        (0..4)
            .map(|i| format!("{name}_{i} = 1\nkept_{i} = 0\n"))
            .collect::<String>()
    };
    let new = |name: &str| {
        (0..4)
            .map(|i| format!("{name}_{i} = 2\nkept_{i} = 0\n"))
            .collect::<String>()
    };
    let bench = Bench::new()
        .failing(TEST, "assert 3 == 1", "")
        .commit("Double everything")
        .protect("tests/**", "it is a test");
    ["a", "b", "c"].iter().fold(bench, |bench, name| {
        let path = format!("{name}.py");
        bench.base(&path, &old(name)).head(&path, &new(name))
    })
}

fn wants(lines: &'static [&'static str]) -> impl Fn(&Files) -> Report {
    move |files| {
        let all: String = files.values().cloned().collect();
        if lines.iter().all(|line| all.contains(line)) {
            passes()
        } else {
            still_fails(&[TEST])
        }
    }
}

fn proposed(bench: &Bench) -> Proposal {
    match bench.run(&RevertCulprit).expect("the plugin works") {
        Outcome::Propose(proposal) => proposal,
        Outcome::Decline(why) => panic!("declined: {why}"),
    }
}

fn declined(bench: &Bench) -> String {
    match bench.run(&RevertCulprit).expect("the plugin works") {
        Outcome::Decline(why) => why,
        Outcome::Propose(proposal) => panic!("proposed: {proposal:?}"),
    }
}

#[test]
fn the_two_hunks_to_blame_are_taken_back_and_nothing_else() {
    let bench = bench()
        .tests(wants(&["a_2 = 1", "c_0 = 1"]))
        .budget("probe.runs", 20);
    let proposal = proposed(&bench);
    let files = bench.patched(&proposal.patch).expect("it applies");
    assert_eq!(
        files["a.py"],
        "a_0 = 2\nkept_0 = 0\na_1 = 2\nkept_1 = 0\na_2 = 1\nkept_2 = 0\na_3 = 2\nkept_3 = 0\n"
    );
    assert_eq!(files["b.py"].matches("= 2").count(), 4);
    assert!(files["c.py"].starts_with("c_0 = 1\n"));
    let says = &proposal.rationale;
    for part in [
        "2 of the push's 12 changes (17%",
        "`a.py` line 5",
        "`c.py` line 1",
        "Double everything",
        "None of them can be left out",
    ] {
        assert!(says.contains(part), "{part}: {says}");
    }
    assert!(proposal.confidence > 0.6, "{}", proposal.confidence);
}

#[test]
fn the_whole_push_is_asked_about_first_and_its_failure_ends_the_search() {
    let bench = bench().tests(|_| still_fails(&[TEST]));
    let why = declined(&bench);
    assert!(why.contains("does not help") && why.contains(TEST), "{why}");
    assert_eq!(bench.probed().len(), 1);
}

#[test]
fn a_set_that_breaks_something_else_is_not_a_fix() {
    let bench = bench().tests(|files| {
        match (
            files["a.py"].contains("a_0 = 1"),
            files["b.py"].contains("b_0 = 1"),
        ) {
            (false, _) => still_fails(&[TEST]),
            (true, b) if b == files["b.py"].contains("b_3 = 1") => passes(),
            _ => breaks(&["tests/test_other.py::test_b"]),
        }
    });
    let files = bench.patched(&proposed(&bench).patch).expect("it applies");
    assert!(files["a.py"].contains("a_0 = 1"));
    assert_eq!(
        files["b.py"].contains("b_0 = 1"),
        files["b.py"].contains("b_3 = 1")
    );
}

#[test]
fn where_the_whole_push_back_breaks_others_one_file_may_still_do() {
    let bench = bench().tests(|files| {
        match (
            files["b.py"].contains("b_1 = 1"),
            files["c.py"].contains("c_1 = 1"),
        ) {
            (false, _) => still_fails(&[TEST]),
            (true, true) => breaks(&["tests/test_other.py::test_c"]),
            (true, false) => passes(),
        }
    });
    let proposal = proposed(&bench);
    assert!(
        proposal.rationale.contains("`b.py` line 3"),
        "{}",
        proposal.rationale
    );
    let bench = self::bench().tests(|_| breaks(&["tests/test_other.py::test_c"]));
    assert!(declined(&bench).contains("test_c"));
}

#[test]
fn a_spent_budget_hands_in_the_smallest_good_set_and_says_so() {
    for budget in 1..8 {
        let bench = bench()
            .tests(wants(&["a_2 = 1", "c_0 = 1"]))
            .budget("probe.runs", budget);
        let proposal = proposed(&bench);
        let files = bench.patched(&proposal.patch).expect("it applies");
        assert!(
            files["a.py"].contains("a_2 = 1") && files["c.py"].contains("c_0 = 1"),
            "{budget}: {files:?}"
        );
        assert!(
            proposal.rationale.contains("Fewer might do"),
            "{}",
            proposal.rationale
        );
        assert_eq!(bench.probed().len() as u64, budget);
        assert!(
            proposal
                .notes
                .contains(&("one-minimal".into(), "false".into()))
        );
    }
    let capped = bench()
        .tests(wants(&["a_2 = 1"]))
        .config(json!({"max_probes": 3}));
    proposed(&capped);
    assert_eq!(capped.probed().len(), 3);
}

#[test]
fn without_probes_there_is_nothing_to_say() {
    let spent = bench().tests(|_| passes()).budget("probe.runs", 0);
    assert!(declined(&spent).contains("could not be asked"));
    assert!(declined(&bench()).contains("could not be asked"));
}

#[test]
fn a_push_of_protected_files_alone_is_declined() {
    let bench = Bench::new()
        .base("tests/a.py", "1")
        .head("tests/a.py", "2")
        .protect("tests/**", "it is a test");
    assert!(declined(&bench).contains("nothing that may be taken back"));
}

#[test]
fn taking_back_most_of_the_push_is_proposed_without_much_confidence() {
    let bench = Bench::new()
        .base("a.py", "1\n")
        .head("a.py", "2\n")
        .failing(TEST, "", "")
        .tests(|files| {
            if files["a.py"] == "1\n" {
                passes()
            } else {
                still_fails(&[TEST])
            }
        });
    let proposal = proposed(&bench);
    assert!(proposal.confidence < 0.5, "{}", proposal.confidence);
    assert!(
        proposal.rationale.contains("most of the push"),
        "{}",
        proposal.rationale
    );
}

#[test]
fn a_trace_that_names_the_culprits_file_saves_probes() {
    let plain = bench().tests(wants(&["b_1 = 1"]));
    proposed(&plain);
    let traced = bench().tests(wants(&["b_1 = 1"])).failing(
        "tests/test_sum.py::test_b",
        "",
        "  File \"/tmp/ws/b.py\", line 3, in f\n",
    );
    proposed(&traced);
    assert!(
        traced.probed().len() < plain.probed().len(),
        "{} {}",
        traced.probed().len(),
        plain.probed().len()
    );
}

#[test]
fn whatever_the_tests_want_the_result_is_good_and_no_change_in_it_can_be_left_out() {
    let mut dice = 23u64;
    let mut below = |n: u64| {
        dice = dice
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (dice >> 33) % n
    };
    for _ in 0..150 {
        let wanted: BTreeSet<String> = (0..1 + below(4))
            .map(|_| format!("{}_{} = 1", ["a", "b", "c"][below(3) as usize], below(4)))
            .collect();
        let good = move |files: &Files| {
            let all: String = files.values().cloned().collect();
            wanted.iter().all(|line| all.contains(line.as_str()))
        };
        let oracle = good.clone();
        let bench = bench().tests(move |files| {
            if oracle(files) {
                passes()
            } else {
                still_fails(&[TEST])
            }
        });
        let patch = proposed(&bench).patch;
        let files = bench.patched(&patch).expect("it applies");
        assert!(good(&files));
        for (path, text) in &files {
            for line in text.lines().filter(|l| l.ends_with("= 1")) {
                let mut less = files.clone();
                less.insert(
                    path.clone(),
                    text.replace(line, &line.replace("= 1", "= 2")),
                );
                assert!(!good(&less), "{line} can be left out");
            }
        }
    }
}

#[test]
fn a_tree_the_tests_cannot_run_on_is_not_good_and_the_search_goes_on() {
    assert!(!ends_the_search(&Fault::new(
        FaultKind::Timeout,
        "probe.timeout",
        ""
    )));
    assert!(!ends_the_search(&Fault::new(
        FaultKind::Invalid,
        "patch.no-match",
        ""
    )));
    assert!(ends_the_search(&Fault::new(
        FaultKind::Budget,
        "probe.spent",
        ""
    )));
    assert!(ends_the_search(&Fault::new(
        FaultKind::Cancelled,
        "run.cancelled",
        ""
    )));
}

#[test]
fn an_update_of_dependencies_is_nothing_that_was_pushed() {
    let bench = bench().attribute("update", "chalk from 4.1.2 to 5.3.0");
    assert!(declined(&bench).starts_with("nobody pushed it"));
}
