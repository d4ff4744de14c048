//! What go itself printed, and events that go wrong.
//!
//! Touches: nothing.
//! Change here: when go prints something new; the sample was made by go 1.19.

use std::path::Path;

use super::*;
use Outcome::{Errored, Failed, Flaky, Passed, Skipped};

fn read(output: &str) -> Tests {
    gotest(output, &Scrub::root(Path::new("/build/tree")))
}

fn outcomes(tests: &Tests) -> Vec<(&str, Outcome)> {
    let all = tests.outcomes.iter();
    all.map(|(id, outcome)| (id.as_str(), *outcome)).collect()
}

/// Events of one package; `action test` each.
fn events(events: &[(&str, &str)]) -> String {
    let line = |(action, test): &(&str, &str)| {
        format!(r#"{{"Action":"{action}","Package":"p","Test":"{test}"}}"#)
    };
    events.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_run_of_go_is_read_down_to_its_subtests() {
    let text = include_str!("../samples/gotest.txt");
    assert!(is_gotest(text));
    let tests = read(text);
    assert_eq!(
        outcomes(&tests),
        [
            ("example.com/shop/broken::(build)", Errored),
            ("example.com/shop/cart::TestBefore", Passed),
            ("example.com/shop/cart::TestPanics", Failed),
            ("example.com/shop::TestLater", Skipped),
            ("example.com/shop::TestOwnFault", Failed),
            ("example.com/shop::TestOwnFault/fine", Passed),
            ("example.com/shop::TestPay", Passed),
            ("example.com/shop::TestPayLess/a_little", Failed),
            ("example.com/shop::TestPayLess/nothing", Passed),
        ]
    );
    let told: Vec<_> = tests
        .failures
        .iter()
        .map(|f| (f.message.as_str(), f.file.as_deref(), f.line))
        .collect();
    assert_eq!(
        told,
        [
            ("Pay(10, 2) = 12, want 8", Some("shop_test.go"), Some(18)),
            (
                "the parent complains itself",
                Some("shop_test.go"),
                Some(28)
            ),
            (
                "undefined: undefined",
                Some("broken/broken_test.go"),
                Some(5)
            ),
            (
                "panic: assignment to entry in nil map [recovered]",
                Some("cart/cart_test.go"),
                Some(9)
            ),
        ]
    );
    assert_eq!(tests.problem, None);
}

#[test]
fn what_differs_from_run_to_run_is_not_in_the_trace_of_a_panic() {
    let tests = read(include_str!("../samples/gotest.txt"));
    let panic = tests.failures.last().expect("it failed");
    assert!(!panic.detail.contains("0x"), "{}", panic.detail);
    assert!(!panic.detail.contains("goroutine 19"), "{}", panic.detail);
}

#[test]
fn a_build_that_failed_is_told_by_newer_versions_as_events() {
    let text = [
        r#"{"ImportPath":"p [p.test]","Action":"build-output","Output":"./p_test.go:5:32: undefined: x\n"}"#,
        r#"{"ImportPath":"p [p.test]","Action":"build-fail"}"#,
        r#"{"Action":"start","Package":"p"}"#,
        r#"{"Action":"output","Package":"p","Output":"FAIL\tp [build failed]\n"}"#,
        r#"{"Action":"fail","Package":"p","Elapsed":0,"FailedBuild":"p [p.test]"}"#,
    ];
    let tests = read(&text.join("\n"));
    assert_eq!(outcomes(&tests), [("p::(build)", Errored)]);
    assert!(tests.failures[0].detail.contains("undefined: x"));
}

#[test]
fn a_test_that_never_came_to_its_end_has_failed() {
    let started = events(&[("run", "TestA"), ("pass", "TestA"), ("run", "TestB")]);
    let tests = read(&started);
    assert_eq!(
        outcomes(&tests),
        [("p::TestA", Passed), ("p::TestB", Failed)]
    );
    let why = "package p ended without a result";
    assert_eq!(tests.problem.as_deref(), Some(why));
}

#[test]
fn a_package_that_fails_beside_its_tests_is_counted_itself() {
    let tests = read(&format!(
        "{}\n{}",
        events(&[("run", "TestA"), ("pass", "TestA")]),
        r#"{"Action":"output","Package":"p","Output":"exit status 3\n"}
{"Action":"fail","Package":"p"}"#
    ));
    assert_eq!(
        outcomes(&tests),
        [("p::(package)", Errored), ("p::TestA", Passed)]
    );
    assert_eq!(tests.failures[0].message, "exit status 3");
}

#[test]
fn a_test_that_ran_twice_and_differs_is_flaky() {
    let tests = read(&events(&[
        ("run", "TestA"),
        ("fail", "TestA"),
        ("run", "TestA"),
        ("pass", "TestA"),
    ]));
    assert_eq!(outcomes(&tests), [("p::TestA", Flaky)]);
}

#[test]
fn other_text_is_no_run_of_go() {
    for other in ["", "ok", "{}", "{\"Action\":\"start\"}", "{not json", "[1]"] {
        assert!(!is_gotest(other), "{other}");
        assert_eq!(read(other), Tests::default(), "{other}");
    }
}
