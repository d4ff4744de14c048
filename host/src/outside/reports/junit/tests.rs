//! Samples of every dialect, and reports that were written to be misread.
//!
//! Touches: nothing.
//! Change here: when a dialect is added to `../junit.rs`.

use std::path::Path;

use super::*;
use Outcome::{Errored, Failed, Flaky, Passed, Skipped};

fn read(report: &str) -> Tests {
    junit(report.as_bytes(), &Scrub::root(Path::new("/build/tree")))
        .expect("the sample is well-formed")
}

fn error(report: &str) -> ReportError {
    junit(report.as_bytes(), &Scrub::default()).expect_err("the report must be refused")
}

fn outcomes(tests: &Tests) -> Vec<(&str, Outcome)> {
    tests
        .outcomes
        .iter()
        .map(|(id, outcome)| (id.as_str(), *outcome))
        .collect()
}

fn suite(cases: &str) -> String {
    format!("<testsuites><testsuite name='s'>{cases}</testsuite></testsuites>")
}

/// A failure as (id, message, file, line).
fn failures(tests: &Tests) -> Vec<(&str, &str, Option<&str>, Option<u32>)> {
    tests
        .failures
        .iter()
        .map(|f| (f.id.as_str(), f.message.as_str(), f.file.as_deref(), f.line))
        .collect()
}

#[test]
fn pytest() {
    let tests = read(include_str!("../samples/pytest.xml"));
    assert_eq!(
        outcomes(&tests),
        [
            ("tests.test_import", Errored),
            ("tests.test_sum.TestClass::test_torn_down", Errored),
            ("tests.test_sum::test_adds", Passed),
            ("tests.test_sum::test_carries[1 & 2]", Failed),
            ("tests.test_sum::test_fails_twice", Failed),
            ("tests.test_sum::test_known_bad", Skipped),
            ("tests.test_sum::test_later", Skipped),
        ]
    );
    let place = |line| (Some("tests/test_sum.py"), Some(line));
    let complaint = "AssertionError: one & two <three> assert 1 == 2";
    assert_eq!(
        failures(&tests),
        [
            (
                "tests.test_sum::test_carries[1 & 2]",
                complaint,
                place(3).0,
                place(3).1
            ),
            (
                "tests.test_sum.TestClass::test_torn_down",
                "failed on teardown with \"RuntimeError: boom\"",
                place(7).0,
                place(7).1
            ),
            (
                "tests.test_sum::test_fails_twice",
                "assert 0",
                place(9).0,
                place(9).1
            ),
            (
                "tests.test_import",
                "collection failure",
                Some("tests/test_import.py"),
                Some(1)
            ),
        ]
    );
    assert!(
        tests.failures[0]
            .detail
            .contains("E   AssertionError: one & two <three>\nE   assert 1 == 2")
    );
}

#[test]
fn the_last_attempt_counts_where_pytest_reruns_a_test() {
    let tests = read(include_str!("../samples/pytest-reruns.xml"));
    assert_eq!(
        outcomes(&tests),
        [
            ("t::never", Failed),
            ("t::recovers", Flaky),
            ("t::torn", Errored)
        ]
    );
}

#[test]
fn nextest() {
    let tests = read(include_str!("../samples/nextest.xml"));
    assert_eq!(
        outcomes(&tests),
        [
            ("shop::cart::adds", Passed),
            ("shop::cart::sums", Failed),
            ("shop::cart::waits", Flaky),
            ("shop::it::cart::adds", Passed)
        ]
    );
    let says = "assertion `left == right` failed: sum left: 2 right: 3";
    assert_eq!(
        failures(&tests),
        [("shop::cart::sums", says, Some("src/cart.rs"), Some(5))]
    );
    assert!(
        tests.failures[0]
            .detail
            .starts_with("thread 'cart::sums' panicked"),
        "the thread's number is taken out"
    );
}

#[test]
fn surefire() {
    let tests = read(include_str!("../samples/surefire.xml"));
    let id = "com.shop.CartTest::sums";
    assert_eq!(
        outcomes(&tests),
        [
            ("com.shop.CartTest::adds", Passed),
            ("com.shop.CartTest::later", Skipped),
            (id, Failed),
            ("com.shop.CartTest::waits", Flaky)
        ]
    );
    assert_eq!(
        failures(&tests),
        [(
            id,
            "expected: <3> but was: <2>",
            Some("CartTest.java"),
            Some(17)
        )]
    );
}

#[test]
fn gotestsum() {
    let tests = read(include_str!("../samples/gotestsum.xml"));
    assert_eq!(
        outcomes(&tests),
        [
            ("example.com/shop/cart::TestAdd", Passed),
            ("example.com/shop/cart::TestSum/two_and_two", Failed),
            ("example.com/shop/till::TestMain", Failed),
        ]
    );
    assert_eq!(
        (tests.failures[0].file.as_deref(), tests.failures[0].line),
        (Some("cart_test.go"), Some(12))
    );
}

#[test]
fn jest() {
    let tests = read(include_str!("../samples/jest.xml"));
    assert_eq!(
        outcomes(&tests),
        [
            ("cart adds::cart adds", Passed),
            ("cart later::cart later", Skipped),
            ("cart sums::cart sums", Failed)
        ]
    );
    let says = "Error: expect(received).toBe(expected)";
    assert_eq!(
        failures(&tests),
        [(
            "cart sums::cart sums",
            says,
            Some("test/cart.test.js"),
            Some(9)
        )]
    );
}

#[test]
fn vitest() {
    let tests = read(include_str!("../samples/vitest.xml"));
    assert_eq!(
        outcomes(&tests),
        [
            ("test/cart.test.ts::cart > adds", Passed),
            ("test/cart.test.ts::cart > sums", Failed)
        ]
    );
    assert_eq!(
        (tests.failures[0].file.as_deref(), tests.failures[0].line),
        (Some("test/cart.test.ts"), Some(7))
    );
}

#[test]
fn mocha() {
    let tests = read(include_str!("../samples/mocha.xml"));
    assert_eq!(
        outcomes(&tests),
        [("adds::cart adds", Passed), ("sums::cart sums", Failed)]
    );
    assert_eq!(
        (tests.failures[0].file.as_deref(), tests.failures[0].line),
        (Some("test/cart.js"), Some(5))
    );
}

#[test]
fn node_tells_tests_apart_by_their_suites() {
    let tests = read(include_str!("../samples/node20.xml"));
    assert_eq!(
        outcomes(&tests),
        [
            ("math::adds", Failed),
            ("math::deep::works", Passed),
            ("math::later", Skipped),
            ("test/c.test.js", Failed),
            // Two files, one name, and nothing that tells them apart: the failure must not be lost.
            ("works", Failed),
        ]
    );
    assert_eq!(
        (tests.failures[0].file.as_deref(), tests.failures[0].line),
        (Some("test/a.test.js"), Some(3))
    );
}

#[test]
fn node_tells_tests_apart_by_their_file_where_it_says_it() {
    let tests = read(include_str!("../samples/node24.xml"));
    assert_eq!(
        outcomes(&tests),
        [
            ("test/a.test.js::math::adds", Passed),
            ("test/a.test.js::works", Passed),
            ("test/b.test.js::works", Failed)
        ]
    );
}

#[test]
fn a_failure_and_a_pass_of_one_id_are_flaky_within_a_suite_only() {
    let failed = "<testcase classname='c' name='n'><failure message='m'/></testcase>";
    let passed = "<testcase classname='c' name='n'/>";
    let again = read(&suite(&format!("{failed}{passed}")));
    assert_eq!(outcomes(&again), [("c::n", Flaky)]);
    assert!(again.failures.is_empty(), "a flaky test did not fail");
    assert_eq!(
        outcomes(&read(&suite(&format!("{passed}{failed}")))),
        [("c::n", Failed)]
    );
    let apart = format!(
        "<testsuites><testsuite name='a'>{failed}</testsuite><testsuite name='b'>{passed}</testsuite></testsuites>"
    );
    assert_eq!(outcomes(&read(&apart)), [("c::n", Failed)]);
}

#[test]
fn totals_in_attributes_count_for_nothing() {
    let tests = read(
        "<testsuite name='s' tests='500' failures='0'><testcase classname='c' name='n'/></testsuite>",
    );
    assert_eq!(outcomes(&tests), [("c::n", Passed)]);
    assert!(read("<testsuites tests='500'/>").outcomes.is_empty());
}

#[test]
fn a_suite_that_could_not_run_is_a_bad_test() {
    assert_eq!(
        outcomes(&read(&suite("<error message='no class'>trace</error>"))),
        [("s", Errored)]
    );
}

#[test]
fn where_the_workspace_lies_is_not_part_of_an_id() {
    let tests = read(&suite(
        "<testcase classname='/build/tree/test/x.js' name='&lt;X at 0x7f00aa11&gt;'/>",
    ));
    assert_eq!(outcomes(&tests), [("test/x.js::<X at 0x…>", Passed)]);
}

#[test]
fn what_is_not_xml_to_its_end_is_an_error() {
    for report in [
        "",
        "not xml",
        "<testsuites><testsuite name='s'>",
        "<testsuites></testsuite>",
        "<testsuites/><",
    ] {
        assert!(
            matches!(error(report), ReportError::Malformed { .. }),
            "{report}"
        );
    }
    let unknown = suite("<testcase name='n'><failure>&secret;</failure></testcase>");
    assert!(
        error(&unknown)
            .to_string()
            .contains("unknown entity &secret;")
    );
    assert!(matches!(
        error("<html></html>"),
        ReportError::NotJunit { .. }
    ));
}

#[test]
fn entities_are_never_declared_or_fetched() {
    let report = "<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><testsuites><testsuite name='&e;'/></testsuites>";
    assert!(matches!(error(report), ReportError::DocumentType));
}

#[test]
fn depth_details_and_their_number_are_bounded() {
    let deep = format!(
        "{}{}",
        "<testsuite name='s'>".repeat(1000),
        "</testsuite>".repeat(1000)
    );
    assert!(matches!(error(&deep), ReportError::TooDeep { .. }));
    let long = "x".repeat(100_000);
    let cases: String = (0..60)
        .map(|i| format!("<testcase classname='c' name='{i}'><failure message='{long}'>{long}</failure></testcase>"))
        .collect();
    let tests = read(&suite(&cases));
    assert_eq!(
        (tests.outcomes.len(), tests.failures.len()),
        (60, super::super::MOST_FAILURES)
    );
    assert!(
        tests
            .failures
            .iter()
            .all(|f| f.message.len() <= 500 && f.detail.len() <= 8 << 10)
    );
}

#[test]
fn reports_of_several_files_are_one_run() {
    let mut tests = read(&suite(
        "<testcase classname='c' name='n'/><testcase classname='c' name='m'/>",
    ));
    tests.absorb(read(&suite(
        "<testcase classname='c' name='n'><failure message='m'/></testcase>",
    )));
    assert_eq!(outcomes(&tests), [("c::m", Passed), ("c::n", Failed)]);
    assert_eq!(tests.failures.len(), 1);
}

/// A fixed sequence of numbers that look random enough to break things.
fn mangled(sample: &str, round: usize) -> Vec<u8> {
    let mut bytes = sample.as_bytes().to_vec();
    let mut state = round as u64 + 1;
    for _ in 0..=round % 8 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let at = (state >> 33) as usize % bytes.len();
        match state >> 62 {
            0 => bytes.truncate(at.max(1)),
            1 => bytes[at] = (state >> 20) as u8,
            2 => drop(bytes.remove(at)),
            _ => bytes.insert(at, b"<>&\"'/;]"[(state >> 40) as usize % 8]),
        }
        bytes.push(b'\n');
    }
    bytes
}

#[test]
fn mangled_reports_are_read_or_refused_and_never_worse() {
    let samples = [
        include_str!("../samples/pytest.xml"),
        include_str!("../samples/nextest.xml"),
        include_str!("../samples/node20.xml"),
    ];
    let mut refused = 0;
    for round in 0..3000 {
        let report = mangled(samples[round % samples.len()], round);
        match junit(&report, &Scrub::default()) {
            Ok(tests) => assert!(
                tests
                    .failures
                    .iter()
                    .all(|f| tests.outcomes.contains_key(&f.id))
            ),
            Err(_) => refused += 1,
        }
    }
    assert!(
        (500..3000).contains(&refused),
        "{refused} of 3000 were refused"
    );
}
