//! What node and perl themselves printed, and TAP that goes wrong.
//!
//! Touches: nothing.
//! Change here: when a dialect is added; the samples were made by node 20 and perl 5.36.

use std::path::Path;

use super::*;
use Outcome::{Failed, Passed, Skipped};

fn read(output: &str) -> Tests {
    tap(output, &Scrub::root(Path::new("/build/tree")))
}

fn outcomes(tests: &Tests) -> Vec<(&str, Outcome)> {
    let all = tests.outcomes.iter();
    all.map(|(id, outcome)| (id.as_str(), *outcome)).collect()
}

fn told(tests: &Tests) -> Vec<(&str, &str, Option<&str>, Option<u32>)> {
    let all = tests.failures.iter();
    all.map(|f| (f.id.as_str(), f.message.as_str(), f.file.as_deref(), f.line))
        .collect()
}

#[test]
fn node_is_read_down_to_the_tests_in_a_suite() {
    let text = include_str!("../samples/node.tap");
    assert!(is_tap(text));
    let tests = read(text);
    assert_eq!(
        outcomes(&tests),
        [
            ("cart::adds", Passed),
            ("cart::takes away", Failed),
            ("later", Skipped),
            ("pays", Passed),
            ("pays (2)", Passed),
            ("pays less", Failed),
            ("to do", Skipped),
        ]
    );
    assert_eq!(
        told(&tests),
        [
            ("pays less", "12 == 8", Some("shop.test.js"), Some(5)),
            (
                "cart::takes away",
                "no cart",
                Some("shop.test.js"),
                Some(10)
            ),
        ]
    );
    assert_eq!(tests.problem, None);
}

#[test]
fn perl_is_read_with_what_it_compared() {
    let text = include_str!("../samples/perl.tap");
    assert!(is_tap(text));
    let tests = read(text);
    assert_eq!(
        outcomes(&tests),
        [
            ("cart::adds", Passed),
            ("cart::takes away", Failed),
            ("hopes", Skipped),
            ("pays", Passed),
            ("pays less", Failed),
            ("test 3", Passed),
            ("test 4", Skipped),
        ]
    );
    assert_eq!(
        told(&tests),
        [
            (
                "pays less",
                "got: '12', expected: '8'",
                Some("t.pl"),
                Some(2)
            ),
            (
                "cart::takes away",
                "Failed test 'takes away'",
                Some("t.pl"),
                Some(5)
            ),
        ]
    );
    assert_eq!(tests.problem, None);
}

#[test]
fn a_report_that_does_not_keep_to_its_plan_is_not_believed() {
    let problem = |text: &str| read(text).problem.unwrap_or_default();
    assert_eq!(
        problem("1..3\nok 1\nok 2\n"),
        "3 tests were planned, and 2 ran"
    );
    assert_eq!(
        problem("1..1\nok 1\nok 2\n"),
        "1 tests were planned, and 2 ran"
    );
    assert_eq!(
        problem("TAP version 14\nok 1\n"),
        "the report has no plan: its end may be missing"
    );
    assert_eq!(
        problem("1..2\nok 1\nBail out! no database\n"),
        "Bail out! no database"
    );
    assert_eq!(problem("    ok 1 - inner\n1..1\nok 1 - outer\n"), "");
    let inner = problem("    1..2\n    ok 1 - inner\nok 1 - outer\n1..1\n");
    assert_eq!(inner, "2 tests were planned, and 1 ran");
    let open = problem("1..1\nnot ok 1 - x\n  ---\n  error: y\n");
    assert_eq!(open, "the report ends in the middle of a test");
}

#[test]
fn several_reports_after_one_another_are_one() {
    let tests = read("TAP version 13\n1..1\nok 1 - a\nTAP version 13\nok 1 - b\n1..1\n");
    assert_eq!(outcomes(&tests), [("a", Passed), ("b", Passed)]);
    assert_eq!(tests.problem, None);
}

#[test]
fn a_suite_that_fails_by_itself_is_counted() {
    let tests = read("    ok 1 - inner\n    1..1\nnot ok 1 - outer # a remark\n1..1\n");
    assert_eq!(
        outcomes(&tests),
        [
            ("outer # a remark", Failed),
            ("outer # a remark::inner", Passed)
        ]
    );
}

#[test]
fn other_text_is_no_tap() {
    for other in [
        "",
        "ok",
        "okay then",
        "1..2",
        "running 1 test\ntest a ... ok\n",
    ] {
        assert!(!is_tap(other), "{other}");
    }
}
