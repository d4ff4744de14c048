//! The runners themselves are told to run some of their tests, and run them; and no id gets out of its quotes.
//!
//! Touches: files, processes.
//! Change here: when another runner is told to run single tests: let the runner itself show that it understands.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use changebus::event::{Outcome, ReportSource};
use changebus::outside::reports::{self, Scrub};
use changebus::rules::select::{self, canary};
use changebus_tests::python::python_packages;
use changebus_tests::world::PYTEST;

/// Which ids are wanted.
type Pick = fn(&str) -> bool;

/// Writes the files, runs the whole command and then the selected one, and gives the ids that ran in either: those
/// the report names and does not call skipped.
fn ran(
    files: &[(&str, &str)],
    test: &str,
    source: ReportSource,
    pick: Pick,
) -> (BTreeSet<String>, BTreeSet<String>) {
    let dir = written(files);
    let paths = files.iter().map(|(path, _)| (*path).to_owned()).collect();
    let all = run(dir.path(), test, source);
    let wanted: BTreeSet<String> = all.iter().filter(|id| pick(id)).cloned().collect();
    assert!(!wanted.is_empty(), "none of {all:?} is wanted");
    let selected = select::command(test, &wanted, &paths)
        .unwrap_or_else(|| panic!("{test} cannot run {wanted:?} alone"));
    let some = run(dir.path(), &selected, source);
    assert!(
        wanted.is_subset(&some),
        "{selected}\nran {some:?}\nnot {wanted:?}"
    );
    (all, some)
}

fn written(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    for (path, text) in files {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().expect("it lies in the directory"))
            .expect("a directory can be made");
        std::fs::write(path, text).expect("a file can be written");
    }
    dir
}

/// Lays a canary beside these tests: the runner has to call it failed, and the others what they were before.
fn sees_a_canary(files: &[(&str, &str)], test: &str, source: ReportSource, wanted: &[&str]) {
    let dir = written(files);
    let mut paths: BTreeSet<String> = files.iter().map(|(path, _)| (*path).to_owned()).collect();
    let wanted: BTreeSet<String> = wanted.iter().map(|id| (*id).to_owned()).collect();
    let perches = canary::perches(test, &wanted, &paths);
    let text = |path: &String| {
        files
            .iter()
            .find(|(p, _)| p == path)
            .map(|f| f.1.to_owned())
    };
    let perches = perches
        .into_iter()
        .filter_map(|p| Some((p.clone(), text(&p)?)));
    let laid = canary::lay(test, &wanted, &perches.collect(), "c0ffee")
        .unwrap_or_else(|| panic!("{test} takes no canary beside {wanted:?}"));
    let path = dir.path().join(&laid.path);
    std::fs::write(&path, &laid.content).expect("a file can be written");
    paths.insert(laid.path.clone());
    let asked = wanted.iter().chain([&laid.id]).cloned().collect();
    let line = select::command(test, &asked, &paths)
        .unwrap_or_else(|| panic!("{test} cannot run {asked:?} alone"));
    let said = outcomes(dir.path(), &line, source);
    let canaries = said.iter().filter(|(id, _)| id.contains("c0ffee"));
    let canaries: Vec<_> = canaries.map(|(_, outcome)| *outcome).collect();
    assert_eq!(canaries, [Outcome::Failed], "{line}: {said:?}");
    assert!(wanted.iter().all(|id| said.contains_key(id)), "{said:?}");
}

fn run(dir: &Path, line: &str, source: ReportSource) -> BTreeSet<String> {
    let ran = outcomes(dir, line, source)
        .into_iter()
        .filter(|(_, outcome)| *outcome != Outcome::Skipped);
    ran.map(|(id, _)| id).collect()
}

fn outcomes(dir: &Path, line: &str, source: ReportSource) -> BTreeMap<String, Outcome> {
    let report = dir.join("report.xml");
    let _ = std::fs::remove_file(&report);
    let output = Command::new("sh")
        .args(["-c", line])
        .current_dir(dir)
        .env("CHANGEBUS_REPORT", &report)
        .env("PYTHONPATH", python_packages(&[PYTEST]))
        .env_remove("CARGO_TARGET_DIR")
        .output()
        .expect("a shell can be started");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    let text = std::fs::read(&report).unwrap_or_else(|_| printed.clone().into_bytes());
    let tests = reports::read(source, &text, &Scrub::root(dir))
        .unwrap_or_else(|e| panic!("{line}: {e}\n{printed}"));
    assert!(!tests.outcomes.is_empty(), "{line} ran nothing:\n{printed}");
    tests.outcomes
}

#[test]
fn pytest_runs_what_it_is_asked_for_and_nothing_else() {
    let cart = "\
import pytest

class TestPay:
    def test_adds(self):
        assert False

    @pytest.mark.parametrize('text', ['plain', 'a b', \"it's $HOME; `x`\"])
    def test_takes(self, text):
        assert text

def test_other():
    pass
";
    let files = [
        ("tests/test_cart.py", cart),
        ("tests/test_till.py", "def test_till():\n    pass\n"),
    ];
    let test = "python3 -m pytest -q -p no:cacheprovider --junitxml=$CHANGEBUS_REPORT tests";
    let (all, some) = ran(&files, test, ReportSource::Junit, |id| {
        id.ends_with("test_adds") || id.ends_with("[plain]")
    });
    assert_eq!((all.len(), some.len()), (6, 2), "{some:?}");
    // What is odd about a parameter is left out: the test runs with all of them.
    let (_, some) = ran(&files, test, ReportSource::Junit, |id| id.contains("$HOME"));
    assert_eq!(some.len(), 3, "{some:?}");
}

#[test]
fn a_module_that_cannot_be_imported_is_run_as_a_whole() {
    let files = [
        (
            "test_cart.py",
            "import nowhere\n\ndef test_a():\n    pass\n",
        ),
        ("test_till.py", "def test_till():\n    pass\n"),
    ];
    let test = "python3 -m pytest -q --continue-on-collection-errors --junitxml=$CHANGEBUS_REPORT";
    let (all, some) = ran(&files, test, ReportSource::Junit, |id| id == "test_cart");
    assert_eq!((all.len(), some.len()), (2, 1), "{some:?}");
}

const NODE_TESTS: &str = "\
const { test, describe, it } = require('node:test');
test('pays', () => {});
describe('a discount', () => {
  it('makes it (cheaper), $5 or `less`', () => { throw new Error('no'); });
  it('may be nothing', () => {});
});
test('the till', async (t) => {
  await t.test('opens', () => {});
  await t.test('closes', () => {});
});
";

#[test]
fn node_runs_a_test_within_tests() {
    let files = [
        ("shop.test.js", NODE_TESTS),
        (
            "other.test.js",
            "require('node:test').test('another', () => {});\n",
        ),
    ];
    let test = "node --test --test-reporter=tap";
    for part in ["cheaper", "opens", "pays"] {
        let pick: Pick = match part {
            "cheaper" => |id| id.contains("cheaper"),
            "opens" => |id| id.ends_with("::opens"),
            _ => |id| id.ends_with("pays"),
        };
        let (all, some) = ran(&files, test, ReportSource::Tap, pick);
        assert!(some.len() < all.len(), "{some:?} of {all:?}");
    }
    let junit = "node --test --test-reporter=junit --test-reporter-destination=$CHANGEBUS_REPORT";
    let (all, some) = ran(&files, junit, ReportSource::Junit, |id| {
        id.contains("cheaper")
    });
    assert!(some.len() < all.len(), "{some:?} of {all:?}");
}

/// A package without dependencies, with a library, a binary and two test files.
const CRATE: [(&str, &str); 5] = [
    (
        "Cargo.toml",
        "[package]\nname = \"shop\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n\
         [profile.dev]\ndebug = false\n",
    ),
    (
        "src/lib.rs",
        "pub mod cart {\n    #[test]\n    fn adds() {}\n    #[test]\n    fn adds_up() {}\n}\n\
         mod pay {\n    #[test]\n    fn all() {}\n}\n",
    ),
    ("src/main.rs", "fn main() {}\n#[test]\nfn opens() {}\n"),
    (
        "tests/pay.rs",
        "#[test]\nfn once() {}\n#[test]\n#[should_panic]\nfn twice() {\n    panic!();\n}\n",
    ),
    (
        ".config/nextest.toml",
        "[profile.ci.junit]\npath = \"junit.xml\"\n",
    ),
];

#[test]
fn cargo_test_runs_what_it_is_asked_for_in_every_kind_of_target() {
    let picks: [(Pick, usize); 3] = [
        (|id| id == "shop::cart::adds", 1),
        (|id| id == "shop::bin/shop::opens" || id == "pay::twice", 2),
        (|id| id == "pay::once", 1),
    ];
    for (pick, count) in picks {
        let test = "cargo test --no-fail-fast --offline 2>&1";
        let (all, some) = ran(&CRATE, test, ReportSource::Libtest, pick);
        assert_eq!((all.len(), some.len()), (6, count), "{some:?}");
    }
}

#[test]
fn nextest_runs_what_it_is_asked_for() {
    let test = "cargo nextest run --offline --profile ci; s=$?; \
                cp target/nextest/ci/junit.xml \"$CHANGEBUS_REPORT\"; exit $s";
    let (all, some) = ran(&CRATE, test, ReportSource::Junit, |id| {
        id == "shop::cart::adds" || id == "shop::pay::once"
    });
    assert_eq!((all.len(), some.len()), (6, 2), "{some:?}");
}

#[test]
fn every_runner_sees_a_canary_fail() {
    let shop = "import unittest\n\nclass TestPay(unittest.TestCase):\n    def test_adds(self):\n        self.fail()\n";
    sees_a_canary(
        &[("tests/test_shop.py", shop)],
        "python3 -m pytest -q -p no:cacheprovider --junitxml=$CHANGEBUS_REPORT tests",
        ReportSource::Junit,
        &["tests.test_shop.TestPay::test_adds"],
    );
    let module = "import { test } from 'node:test';\ntest('pays less', () => {});\n";
    let tap = "node --test --test-reporter=tap";
    for (file, text) in [("shop.test.js", NODE_TESTS), ("shop.test.mjs", module)] {
        let name = if text == module { "pays less" } else { "pays" };
        let files = [(file, text)];
        let dir = written(&files);
        let all = run(dir.path(), tap, ReportSource::Tap);
        let own: Vec<&str> = all
            .iter()
            .map(String::as_str)
            .filter(|id| id.ends_with(name))
            .collect();
        sees_a_canary(&files, tap, ReportSource::Tap, &own);
    }
    let cargo = "cargo test --offline 2>&1";
    for id in ["shop::cart::adds", "shop::bin/shop::opens", "pay::once"] {
        sees_a_canary(&CRATE, cargo, ReportSource::Libtest, &[id]);
    }
    let nextest = "cargo nextest run --offline --profile ci; s=$?; \
                   cp target/nextest/ci/junit.xml \"$CHANGEBUS_REPORT\"; exit $s";
    for id in ["shop::cart::adds", "shop::pay::once"] {
        sees_a_canary(&CRATE, nextest, ReportSource::Junit, &[id]);
    }
}

/// Ids made of what means something to a shell, and the line the shell makes of them.
#[test]
fn no_id_gets_out_of_its_quotes() {
    const ALPHABET: [&str; 20] = [
        "'",
        "\"",
        "\\",
        "$",
        "`",
        "$(touch owned)",
        ";",
        "&",
        "|",
        "\n",
        " ",
        "*",
        "?",
        "~",
        "#",
        "-",
        "é",
        "a",
        "!",
        "'\\''",
    ];
    let mut random = fastrand::Rng::with_seed(7);
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    for _ in 0..40 {
        let words: Vec<String> = (0..25)
            .map(|_| {
                (0..random.usize(0..12))
                    .map(|_| ALPHABET[random.usize(0..20)])
                    .collect()
            })
            .collect();
        let quoted: Vec<String> = words.iter().map(|word| select::quote(word)).collect();
        let line = format!("printf '%s\\0' {}", quoted.join(" "));
        let output = Command::new("sh")
            .args(["-c", &line])
            .current_dir(dir.path())
            .output();
        let output = output.expect("a shell can be started");
        let read = String::from_utf8(output.stdout).expect("it was text before");
        let read: Vec<&str> = read.split_terminator('\0').collect();
        assert_eq!(read, words, "{line}");
    }
    let left = std::fs::read_dir(dir.path())
        .expect("it is still there")
        .count();
    assert_eq!(left, 0, "something was run");
}
