//! What `cargo test` prints, and what it prints when something goes wrong.
//!
//! Touches: nothing.
//! Change here: when `../libtest.rs` understands another line.

use super::*;
use Outcome::{Errored, Failed, Passed, Skipped};

fn read(output: &str) -> Tests {
    libtest(output, &Scrub::default())
}

fn outcomes(tests: &Tests) -> Vec<(&str, Outcome)> {
    tests
        .outcomes
        .iter()
        .map(|(id, outcome)| (id.as_str(), *outcome))
        .collect()
}

#[test]
fn several_binaries_and_documentation_tests() {
    let tests = read(include_str!("../samples/libtest.txt"));
    assert_eq!(tests.problem, None);
    assert_eq!(
        outcomes(&tests),
        [
            ("it::ok", Passed),
            ("shop::bin/shop::m", Passed),
            ("shop::doc::src/lib.rs - add (line 1)", Passed),
            ("shop::tests::bad", Failed),
            ("shop::tests::ign", Skipped),
            ("shop::tests::ok", Passed),
            ("shop::tests::res", Failed),
            ("shop::tests::sp", Passed),
            ("shop::tests::sp2", Failed),
        ]
    );
    let failures: Vec<_> = tests
        .failures
        .iter()
        .map(|f| (f.id.as_str(), f.message.as_str(), f.line))
        .collect();
    assert_eq!(
        failures,
        [
            ("shop::tests::res", "Error: \"why\"", None),
            (
                "shop::tests::bad",
                "assertion `left == right` failed: sum left: 2 right: 3",
                Some(5)
            ),
            (
                "shop::tests::sp2",
                "note: test did not panic as expected at src/lib.rs:5:222",
                Some(5)
            ),
        ]
    );
    assert!(
        tests.failures[1].detail.starts_with("hello\n"),
        "what the test printed is kept"
    );
}

#[test]
fn a_binary_run_by_hand_has_no_target() {
    let output = "\nrunning 2 tests\ntest a ... ok\ntest b ... ignored, slow\n\ntest result: ok. 1 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n";
    let tests = read(output);
    assert_eq!(outcomes(&tests), [("a", Passed), ("b", Skipped)]);
    assert!(is_libtest(output) && tests.problem.is_none());
}

#[test]
fn a_result_pushed_away_by_what_the_test_printed_is_found() {
    let output = "running 2 tests\ntest a ... hello\nmore\nok\ntest b ... FAILED\n\ntest result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out\n";
    assert_eq!(outcomes(&read(output)), [("a", Passed), ("b", Failed)]);
}

#[test]
fn a_build_that_fails_has_no_tests() {
    let tests = read(
        "error[E0425]: cannot find value `x` in this scope\nerror: could not compile `shop`\n",
    );
    assert!(tests.outcomes.is_empty());
    assert!(!is_libtest("error: could not compile `shop`"));
}

#[test]
fn a_binary_that_aborts_is_a_problem_and_its_test_an_error() {
    let output = "     Running unittests src/lib.rs (target/debug/deps/shop-2f5a2a7c97b581e6)\n\nrunning 3 tests\ntest a ... ok\ntest b ... error: test failed, to rerun pass `--lib`\n\nCaused by:\n  process didn't exit successfully (signal: 6, SIGABRT)\n";
    let tests = read(output);
    assert_eq!(
        outcomes(&tests),
        [("shop::a", Passed), ("shop::b", Errored)]
    );
    assert_eq!(
        tests.problem.as_deref(),
        Some("shop: a test binary ended without a result after 1 of 3 tests")
    );
}

#[test]
fn a_count_that_does_not_agree_is_a_problem() {
    let output = "running 2 tests\ntest a ... ok\n\ntest result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n";
    assert_eq!(
        read(output).problem.as_deref(),
        Some("libtest counted 2 tests, and 1 could be read")
    );
}

#[test]
fn a_name_in_two_targets_of_one_name_keeps_the_failure() {
    let one = "     Running tests/it.rs (target/debug/deps/it-9eb2b24b2afd4691)\n\nrunning 1 test\ntest a ... FAILED\n\ntest result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out\n";
    let two = one
        .replace("FAILED", "ok")
        .replace("0 passed; 1 failed", "1 passed; 0 failed");
    assert_eq!(outcomes(&read(&format!("{one}{two}"))), [("it::a", Failed)]);
    assert_eq!(outcomes(&read(&format!("{two}{one}"))), [("it::a", Failed)]);
}

#[test]
fn what_a_passing_test_printed_is_no_failure() {
    let tests = read(
        "\nrunning 2 tests\ntest a ... ok\ntest b ... FAILED\n\nsuccesses:\n\n---- a stdout ----\nhello\n\nfailures:\n\n\
         ---- b stdout ----\nb is wrong\n\n---- never_ran stdout ----\nnothing\n\nfailures:\n    b\n\n\
         test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out\n",
    );
    let failures: Vec<_> = tests
        .failures
        .iter()
        .map(|failure| (failure.id.as_str(), failure.message.as_str()))
        .collect();
    assert_eq!(failures, [("b", "b is wrong")]);
    assert_eq!(tests.problem, None);
}
