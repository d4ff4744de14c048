//! What becomes of command lines as people write them.
//!
//! Touches: nothing.
//! Change here: when a runner or a way of writing a line is understood anew.

use super::*;

const PATHS: [&str; 5] = [
    "tests/test_cart.py",
    "shop/cart.py",
    "test_top.py",
    "src/a.test.ts",
    "src/b's.test.ts",
];

fn some(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

fn made(test: &str, ids: &[&str]) -> String {
    command(test, &some(ids), &some(&PATHS)).unwrap_or_else(|| "whole".to_owned())
}

#[test]
fn pytest_is_told_its_own_names_in_place_of_the_places_it_was_told() {
    let ids = [
        "tests.test_cart.TestPay::test_a[1-x]",
        "test_top::test_b[a b]",
    ];
    let nodes = "'test_top.py::test_b' 'tests/test_cart.py::TestPay::test_a[1-x]'";
    for (line, before, after) in [
        ("pytest -q", "pytest -q", ""),
        ("pytest -q tests", "pytest -q", ""),
        ("pytest -k pay tests", "pytest -k pay", ""),
        // The value of an option nobody told us of, or a place: left as it is.
        ("pytest --cov shop", "pytest --cov shop", ""),
        ("pytest > log 2>&1", "pytest", " > log 2>&1"),
        (
            "uv run --frozen pytest --junitxml=$CHANGEBUS_REPORT; exit $?",
            "uv run --frozen pytest --junitxml=$CHANGEBUS_REPORT",
            "; exit $?",
        ),
        (
            "CI=1 .venv/bin/python3.12 -B -m pytest -p no:cacheprovider",
            "CI=1 .venv/bin/python3.12 -B -m pytest -p no:cacheprovider",
            "",
        ),
    ] {
        assert_eq!(made(line, &ids), format!("{before} {nodes}{after}"));
    }
    assert_eq!(
        made("pytest", &["tests.test_cart"]),
        "pytest 'tests/test_cart.py'"
    );
    assert_eq!(made("pytest", &["tests.test_gone::test_a"]), "whole");
}

#[test]
fn what_is_no_plain_line_runs_whole() {
    for line in [
        "make test",
        "npm test",
        "cd shop && pytest",
        "pytest && cargo test",
        "pytest | tee log",
        "pytest $(cat args)",
        "pytest `cat args`",
        "(pytest)",
        "pytest & wait",
        "pytest # all",
        "$PYTEST",
        "sh -c 'pytest'",
        "pytest 'open",
        "if true; then pytest; fi",
        "pytest --pyargs shop",
        "uv run --with x pytest",
        "python -m unittest",
        "cargo build",
        "",
    ] {
        assert_eq!(made(line, &["test_top::test_b"]), "whole", "{line}");
    }
}

#[test]
fn an_id_with_control_characters_is_not_used() {
    assert_eq!(made("pytest", &["test_top::test_b\n"]), "whole");
    assert_eq!(made("node --test", &["a\0b"]), "whole");
    assert_eq!(made("pytest", &[]), "whole");
}

#[test]
fn cargo_test_is_told_the_paths_within_the_targets() {
    let ids = ["shop::cart::adds", "shop::bin/till::opens"];
    for (line, end) in [
        (
            "cargo test --workspace -p shop",
            " '--' '--exact' 'cart::adds' 'opens'",
        ),
        (
            "cargo +stable test --no-fail-fast",
            " '--' '--exact' 'cart::adds' 'opens'",
        ),
        (
            "cargo test -- --test-threads 1",
            " '--exact' 'cart::adds' 'opens'",
        ),
    ] {
        assert_eq!(made(line, &ids), format!("{line}{end}"));
    }
    for line in [
        "cargo test -q",
        "cargo test cart",
        "cargo test -- cart",
        "cargo test --doc",
    ] {
        assert_eq!(made(line, &ids), "whole", "{line}");
    }
    assert_eq!(
        made("cargo test", &["shop::doc::src/lib.rs - add (line 3)"]),
        "whole"
    );
}

#[test]
fn nextest_is_asked_for_a_test_in_the_library_and_in_a_target_of_its_own() {
    let copied = "; s=$?; cp target/nextest/ci/junit.xml \"$CHANGEBUS_REPORT\"; exit $s";
    assert_eq!(
        made(
            &format!("cargo nextest run --profile ci{copied}"),
            &["shop::it::pays"]
        ),
        format!("cargo nextest run --profile ci '-E' 'test(=it::pays) | test(=pays)'{copied}")
    );
    assert_eq!(made("cargo nextest run -E all()", &["shop::pays"]), "whole");
}

#[test]
fn go_is_told_the_packages_and_the_tests_at_their_top() {
    let ids = [
        "example.com/shop::TestPay/a_little",
        "example.com/shop/till::TestOpen",
    ];
    assert_eq!(
        made("go test -json -count 1 ./... > $CHANGEBUS_REPORT", &ids),
        "go test -json -count 1 '-run' '^(TestOpen|TestPay)$' 'example.com/shop' 'example.com/shop/till' \
         > $CHANGEBUS_REPORT"
    );
    assert_eq!(
        made(
            "go test ./...",
            &["example.com/shop::(build)", "example.com/shop::TestPay"]
        ),
        "go test 'example.com/shop'"
    );
    for line in [
        "go test -run Pay ./...",
        "go test -what ever",
        "go vet ./...",
    ] {
        assert_eq!(made(line, &ids), "whole", "{line}");
    }
}

#[test]
fn node_is_asked_for_every_name_on_the_way() {
    assert_eq!(
        made("node --test --test-reporter=tap", &["a (b)::pays (2)"]),
        r"node '--test-name-pattern=^a \(b\)$' '--test-name-pattern=^pays$' '--test-name-pattern=^pays \(2\)$' --test --test-reporter=tap"
    );
    assert_eq!(made("node test.js", &["a"]), "whole");
}

#[test]
fn vitest_and_jest_are_told_files_and_jest_full_names() {
    let ids = ["src/a.test.ts::a discount > helps", "src/b's.test.ts::b"];
    let files = r"'src/a.test.ts' 'src/b'\''s.test.ts'";
    assert_eq!(
        made("npx vitest run --reporter=junit", &ids),
        format!("npx vitest run --reporter=junit {files}")
    );
    assert_eq!(
        made("npx jest --ci", &ids),
        format!("npx jest --ci '--runTestsByPath' {files}")
    );
    assert_eq!(
        made("jest", &["it pays.::it pays."]),
        r"jest '--testNamePattern=^(it pays\.)$'"
    );
    assert_eq!(made("vitest", &ids), "whole");
    assert_eq!(made("jest", &["it::pays"]), "whole");
}

#[test]
fn maven_is_told_the_classes() {
    assert_eq!(
        made(
            "mvn -q -B test",
            &["com.shop.CartTest::adds", "com.shop.TillTest$Open::a"]
        ),
        "mvn -q -B test '-Dtest=com.shop.CartTest,com.shop.TillTest*' \
         '-Dsurefire.failIfNoSpecifiedTests=false' '-DfailIfNoTests=false'"
    );
    assert_eq!(made("mvn verify", &["com.shop.CartTest::adds"]), "whole");
}

#[test]
fn a_run_that_does_not_name_what_was_asked_for_is_no_answer() {
    use crate::rules::triage::tests::report;
    let wanted = some(&["a", "b"]);
    for (said, answers) in [
        ("a+ b+ c?", true),
        ("a+", false),
        ("a+ b?", false),
        ("a-", true),
        ("", false),
    ] {
        assert_eq!(is_an_answer(&report(said), &wanted), answers, "{said}");
    }
}

#[test]
fn tests_that_bear_the_name_of_a_touched_file_are_near_it() {
    let ids = some(&[
        "shop::cart::adds",
        "tests.test_cart::test_a",
        "com.CartTest::adds",
        "x::y",
        "x::z",
        "z::card",
    ]);
    let found = near(&["src/cart.rs".to_owned()], &ids);
    assert_eq!(
        found,
        some(&[
            "shop::cart::adds",
            "tests.test_cart::test_a",
            "com.CartTest::adds"
        ])
    );
    assert_eq!(
        near(&["src/x/mod.rs".into(), "lib/cart/index.js".into()], &ids),
        found
    );
    assert!(near(&["cart.py".to_owned()], &some(&["cart::a", "cart::b", "x"])).is_empty());
}
