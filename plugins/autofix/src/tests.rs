//! Projects whose tests run a tool, and tools that are not enough.
//!
//! Touches: nothing.
//! Change here: when the strategy learns another way to use a tool.

use changebus_sdk::testing::{Bench, Files, breaks, passes, still_fails};
use serde_json::json;

use super::*;

const STYLE: &str = "checks::style";

/// Two faults, each mended by another tool, and a test file that a formatter would change too.
fn untidy() -> Bench {
    Bench::new()
        .both("tests/test_a.py", "y=1\n")
        .base("a.py", "x = 1\n")
        .head("a.py", "import os\nx=1\n")
        .failing(STYLE, "a.py would be reformatted", "")
        .protect("tests/**", "a test")
}

fn formatted(mut files: Files) -> Files {
    for text in files.values_mut() {
        *text = text.replace("x=1", "x = 1").replace("y=1", "y = 1");
    }
    files
}

fn linted(mut files: Files) -> Files {
    for text in files.values_mut() {
        *text = text.replace("import os\n", "");
    }
    files
}

fn needs(wanted: &'static str) -> impl Fn(&Files) -> Report {
    move |files: &Files| match files["a.py"] == wanted {
        true => passes(),
        false => still_fails(&[STYLE]),
    }
}

fn declined(outcome: Result<Outcome, String>) -> String {
    match outcome {
        Ok(Outcome::Decline(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_formatter_mends_what_it_complains_about_and_leaves_the_tests_alone() {
    let bench = untidy()
        .tool("format", formatted)
        .tests(needs("import os\nx = 1\n"));
    let outcome = bench.run(&Autofix).expect("the plugin works");
    let files = bench.files_after(&outcome);
    assert_eq!(
        (files["a.py"].as_str(), files["tests/test_a.py"].as_str()),
        ("import os\nx = 1\n", "y=1\n")
    );
    let Outcome::Propose(proposal) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(
        proposal.rationale,
        "The project's own `format` mends this: it changes `a.py`, and nothing was edited by hand. What it would do to `tests/test_a.py` was left out: that may not be changed."
    );
    let note = |key: &str| {
        proposal
            .notes
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, v)| v.as_str())
    };
    assert_eq!(
        (note("tools"), note("probe"), note("dropped-edit")),
        (Some("format"), Some("passed"), Some("tests/test_a.py"))
    );
}

#[test]
fn the_tool_the_failure_points_at_goes_first() {
    let bench = untidy()
        .tool("a-generator", |files| files)
        .tool("format", formatted)
        .tool("lint", linted)
        .tests(needs("import os\nx = 1\n"))
        .budget("probe.runs", 2);
    assert!(matches!(bench.run(&Autofix), Ok(Outcome::Propose(_))));
    assert_eq!(bench.probed().len(), 1);
}

#[test]
fn tools_that_are_not_enough_alone_are_put_together() {
    let both = untidy()
        .tool("format", formatted)
        .tool("lint", linted)
        .tests(needs("x = 1\n"));
    let outcome = both.run(&Autofix).expect("the plugin works");
    assert_eq!(both.files_after(&outcome)["a.py"], "x = 1\n");
    assert_eq!(both.probed().len(), 3);
    let apart = untidy()
        .tool("format", formatted)
        .tool("lint", linted)
        .tests(needs("x = 1\n"))
        .config(json!({"combine": false}));
    assert_eq!(
        declined(apart.run(&Autofix)),
        "format, lint, format first because the failure points at it; format is not enough: 1 still failing, such as checks::style; lint is not enough: 1 still failing, such as checks::style"
    );
}

#[test]
fn a_failure_that_names_no_tool_is_tried_all_the_same_and_says_so() {
    let bench = Bench::new()
        .both("a.py", "x=1\n")
        .failing("t::a", "2 != 3", "")
        .tool("format", formatted)
        .tests(|_| breaks(&["t::other"]));
    assert_eq!(
        declined(bench.run(&Autofix)),
        "format, although nothing in the failure points at a tool; format is not enough: 1 broken, such as t::other"
    );
}

#[test]
fn tools_that_change_nothing_or_only_tests_leave_nothing_to_try() {
    let bench = untidy()
        .tool("idle", |files| files)
        .tool("tests-only", |mut files| {
            files.insert("tests/test_a.py".into(), String::new());
            files
        })
        .tests(|_| passes());
    let why = declined(bench.run(&Autofix));
    assert!(why.contains("idle changes nothing; tests-only changes only what may not be changed, such as `tests/test_a.py`"), "{why}");
    assert_eq!(bench.probed().len(), 0);
}

#[test]
fn the_probes_that_are_left_bound_what_is_tried() {
    for (left, probed) in [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (5, 2), (6, 3)] {
        let bench = untidy()
            .tool("format", formatted)
            .tool("lint", linted)
            .tests(|_| still_fails(&[STYLE]))
            .budget("probe.runs", left);
        let why = declined(bench.run(&Autofix));
        assert_eq!(bench.probed().len(), probed, "{left}: {why}");
        assert_eq!(
            why.contains("no probes are left"),
            left < 6,
            "{left}: {why}"
        );
    }
}

#[test]
fn the_operator_chooses_the_tools_and_misspells_none_unnoticed() {
    let bench = untidy()
        .tool("format", formatted)
        .tool("lint", linted)
        .tests(|_| still_fails(&[STYLE]))
        .config(json!({"tools": ["lint"]}));
    assert_eq!(
        declined(bench.run(&Autofix)),
        "lint, in the order of the configuration; lint is not enough: 1 still failing, such as checks::style"
    );
    let misspelt = untidy()
        .tool("format", formatted)
        .config(json!({"tools": ["fromat"]}));
    assert_eq!(
        misspelt.run(&Autofix),
        Err("config.tools: this project has no tool `fromat`; it has format".into())
    );
    assert_eq!(
        declined(untidy().run(&Autofix)),
        "this project has no tools; name its formatters and linters under `tools`"
    );
}

#[test]
fn where_the_tests_cannot_be_run_nothing_is_proposed() {
    let bench = untidy().tool("format", formatted);
    let why = declined(bench.run(&Autofix));
    assert!(
        why.ends_with("format could not be tried: the bench has no tests (probe.unavailable)"),
        "{why}"
    );
}
