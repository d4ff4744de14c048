//! Eight candidates race: the tests that failed, those nearby, the whole suite. Most of them never get that far.
//!
//! Touches: files, processes, git, http, sqlite, clock.
//! Change here: when candidates are run or stopped otherwise. As a benchmark: `cargo xtask bench tournament`.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use changebus::event::{Event, Fact, Part, Role};
use changebus_tests::python::python_packages;
use changebus_tests::tables;
use changebus_tests::world::{PYTEST, World};
use scripted_claude::{Reply, Script};
use serde_json::Value;

const GOOD: &str = "def pay(price, off=0):\n    return price - off\n";
const BAD: &str = "def pay(price, off=0):\n    return price + off\n";
const CART_TESTS: &str = "\
from shop.cart import pay


def test_pay():
    assert pay(10) == 10


def test_pay_less():
    assert pay(10, 2) == 8


def test_pay_nothing():
    assert pay(0) == 0
";
const LABEL: &str = "def label(price):\n    return f\"{price} EUR\"\n";
/// By its name it stands nowhere near what it tests.
const LABEL_TESTS: &str = "\
from shop.label import label


def test_text():
    assert label(3) == \"3 EUR\"
";
/// Tests that wait, as those of a database or a browser do.
const SLOW: usize = 60;

fn slow_tests(each: Duration) -> String {
    let seconds = each.as_secs_f64();
    format!(
        "import time\n\nimport pytest\n\n\n@pytest.mark.parametrize(\"n\", range({SLOW}))\n\
         def test_slow(n):\n    time.sleep({seconds})\n"
    )
}

/// Name, and what its candidate writes. Two are right, two arrived at the same, four are wrong.
const FIELD: [(&str, &[(&str, &str)]); 8] = [
    ("twin-a", &[("shop/cart.py", GOOD)]),
    ("twin-b", &[("shop/cart.py", GOOD)]),
    (
        "right",
        &[(
            "shop/cart.py",
            "def pay(price, off=0):\n    return price + -off\n",
        )],
    ),
    (
        "wordy",
        &[(
            "shop/cart.py",
            "def pay(price, off=0):\n    cheaper = price\n    cheaper -= off\n    return cheaper\n",
        )],
    ),
    (
        "mends-nothing",
        &[(
            "shop/cart.py",
            "def pay(price, off=0):\n    return off + price\n",
        )],
    ),
    (
        "no-python",
        &[(
            "shop/cart.py",
            "def pay(price, off=0)\n    return price - off\n",
        )],
    ),
    (
        "breaks-a-neighbour",
        &[(
            "shop/cart.py",
            "def pay(price, off=0):\n    return price - (off or 1)\n",
        )],
    ),
    (
        "breaks-far-away",
        &[
            ("shop/cart.py", GOOD),
            (
                "shop/label.py",
                "def label(price):\n    return f\"{price}\"\n",
            ),
        ],
    ),
];

/// A world with the eight in it, and the paths of all its tests.
async fn eight(each: Duration) -> World {
    let mut world = World::new(Script::from_fn(|_| Reply::text("Nobody asks me."))).await;
    let config = |files: &[(&str, &str)]| {
        let edit = |(path, text): &(&str, &str)| {
            let text = Value::from(*text);
            format!("{{ edit = \"write\", path = \"{path}\", content = {text} }}")
        };
        let edits: Vec<String> = files.iter().map(edit).collect();
        format!("{{ do = \"hand-in\", edits = [{}] }}", edits.join(", "))
    };
    let configs: Vec<String> = FIELD.iter().map(|(_, files)| config(files)).collect();
    let variants = FIELD.iter().zip(&configs);
    let variants: Vec<(&str, &str, &str)> = variants
        .map(|((name, _), config)| (*name, "moody-strategy", config.as_str()))
        .collect();
    world.variants(&variants);
    world.test_timeout(600);
    world.policy("reruns = 0");
    let slow = slow_tests(each);
    world.push(
        "Open the shop",
        &[
            ("shop/__init__.py", Some("")),
            ("shop/cart.py", Some(GOOD)),
            ("shop/label.py", Some(LABEL)),
            ("tests/test_cart.py", Some(CART_TESTS)),
            ("tests/test_print.py", Some(LABEL_TESTS)),
            ("tests/test_slow.py", Some(slow.as_str())),
        ],
    );
    world.push("Reckon anew", &[("shop/cart.py", Some(BAD))]);
    world
}

fn states(story: &Value) -> Vec<(String, String)> {
    let variants = story["variants"].as_array().expect("a list");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let states = variants
        .iter()
        .map(|v| (text(&v["name"]), text(&v["state"])));
    let order = |name: &str| FIELD.iter().position(|(known, _)| *known == name);
    let mut states: Vec<_> = states.collect();
    states.sort_by_key(|(name, _)| order(name));
    states
}

const OUTCOME: [(&str, &str); 8] = [
    ("twin-a", "won"),
    ("twin-b", "duplicate"),
    ("right", "stopped"),
    ("wordy", "stopped"),
    ("mends-nothing", "lost"),
    ("no-python", "lost"),
    ("breaks-a-neighbour", "lost"),
    ("breaks-far-away", "stopped"),
];

fn assert_raced(story: &Value, code: i32, events: &[Event]) {
    assert_eq!(
        (code, &story["winner"]),
        (0, &Value::from("twin-a")),
        "{story:#}"
    );
    let expected = OUTCOME.map(|(name, state)| (name.to_owned(), state.to_owned()));
    assert_eq!(states(story), expected, "{story:#}");
    let tried: BTreeSet<_> = events
        .iter()
        .filter_map(|event| match &event.fact {
            Fact::Tried { trial } => Some((trial.tree.clone(), trial.round)),
            _ => None,
        })
        .collect();
    assert_eq!(
        tried.len(),
        2,
        "the whole suite ran on the winner, and once more on it"
    );
    let sampled = |part: Part| {
        let of_it = |e: &&Event| matches!(&e.fact, Fact::Sampled { sample } if sample.part == part);
        events.iter().filter(of_it).count()
    };
    // The head, to see its canary fail, and seven trees; two of them do not come through the failing tests.
    assert_eq!((sampled(Part::Failing), sampled(Part::Near)), (8, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_eight_candidates_one_runs_the_whole_suite_and_each_other_is_told_why_not() {
    let world = eight(Duration::ZERO).await;
    let (story, code) = world.fix(&[]);
    assert_raced(&story, code, &world.events().await);
    assert_eq!(world.at_tip("shop/cart.py"), GOOD.trim());
    let variants = story["variants"].as_array().expect("a list");
    let stopped: Vec<&str> = variants
        .iter()
        .filter_map(|v| v["stopped"].as_str())
        .collect();
    assert_eq!(stopped.len(), 3, "{story:#}");
    assert!(
        stopped
            .iter()
            .all(|why| why.contains("was in it, and twin-a stands first")),
        "{stopped:?}"
    );
    let gates = story["variants"].to_string();
    assert!(
        gates.contains("fixes: 1 of 1 failing tests still do not pass"),
        "{gates}"
    );
    assert!(
        gates.contains("keeps-the-rest: 2 of 2 tests near the change"),
        "{gates}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_that_was_tested_before_is_run_again_only_to_see_that_it_repeats() {
    let mut world = World::new(Script::from_fn(|_| Reply::text("Nobody asks me."))).await;
    world.policy("reruns = 0");
    let text = Value::from(GOOD);
    let back = format!(
        "{{ do = \"hand-in\", edits = [{{ edit = \"write\", path = \"shop/cart.py\", content = {text} }}] }}"
    );
    world.variants(&[("back", "moody-strategy", &back)]);
    world.push(
        "Open the shop",
        &[
            ("shop/__init__.py", Some("")),
            ("shop/cart.py", Some(GOOD)),
            ("tests/test_cart.py", Some(CART_TESTS)),
        ],
    );
    world.push("Reckon anew", &[("shop/cart.py", Some(BAD))]);
    let (story, _) = world.fix(&[]);
    assert_eq!(story["winner"], Value::from("back"), "{story:#}");
    let events = world.events().await;
    let took = |wanted: u32| {
        let seconds = events.iter().find_map(|event| match &event.fact {
            Fact::Tried { trial } if trial.round == wanted => Some(trial.seconds),
            _ => None,
        });
        seconds.expect("both rounds are told")
    };
    assert_eq!(took(1), 0.0, "it is remembered from the base");
    assert!(took(2) > 0.0, "it is run");
}

/// Says outside of every run of the tests how many of them it is of, and on which sources.
fn counting(path: &Path) -> String {
    format!(
        "def pytest_collection_finish(session):\n    with open(\"shop/cart.py\") as cart, open({path:?}, \"a\") as out:\n        \
         out.write(f\"{{len(session.items)}} {{cart.read()!r}}\\n\")\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_an_earlier_tournament_tried_is_run_again_only_to_see_that_it_repeats() {
    const MENDED: &str = "def pay(price, off=0):\n    return price + -off\n";
    let mut world = World::new(Script::from_fn(|_| Reply::text("Nobody asks me."))).await;
    world.policy("reruns = 0");
    // Nothing is merged then, and the tests can tell the story of themselves.
    world.without_a_sandbox();
    let text = Value::from(MENDED);
    let mend = format!(
        "{{ do = \"hand-in\", edits = [{{ edit = \"write\", path = \"shop/cart.py\", content = {text} }}] }}"
    );
    world.variants(&[("mend", "moody-strategy", &mend)]);
    let counter = world.path().join("counter");
    let counting = counting(&counter);
    world.push(
        "Open the shop",
        &[
            ("shop/__init__.py", Some("")),
            ("shop/cart.py", Some(GOOD)),
            ("tests/test_cart.py", Some(CART_TESTS)),
            ("conftest.py", Some(counting.as_str())),
        ],
    );
    world.push("Reckon anew", &[("shop/cart.py", Some(BAD))]);
    let whole_runs = || {
        let ran = std::fs::read_to_string(&counter).expect("the tests have run");
        let whole = |line: &&str| line.starts_with("3 ") && line.contains("price + -off");
        ran.lines().filter(whole).count()
    };
    let mut seen = vec![];
    for _ in 0..2 {
        let (story, code) = world.fix(&[]);
        assert_eq!(
            (code, &story["winner"]),
            (4, &Value::from("mend")),
            "{story:#}"
        );
        seen.push(whole_runs());
    }
    assert_eq!(
        seen,
        [2, 3],
        "the first time twice, the second time once more"
    );
}

/// A tournament's validation beside what it replaces, and the table of it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes about six minutes; `cargo xtask bench tournament` runs it"]
async fn racing_beside_a_full_run_for_each() {
    let world = eight(Duration::from_millis(750)).await;
    let base = world.git(&["rev-parse", "HEAD~1"]);
    let bad = world.git(&["rev-parse", "HEAD"]);
    let (story, code) = world.fix(&[]);
    let events = world.events().await;
    assert_raced(&story, code, &events);
    let suite = events.iter().find_map(|event| match &event.fact {
        Fact::Tested {
            role: Role::Base,
            report,
            ..
        } => Some(report.seconds),
        _ => None,
    });
    let suite = suite.expect("the base was tested");
    let raced = story["seconds"]["validate"].as_f64().expect("a number");
    let started = Instant::now();
    let passed = plain(&world, &bad);
    let plain = started.elapsed().as_secs_f64();
    assert_eq!(
        passed,
        ["twin-a", "twin-b", "right", "wordy"],
        "before {base}"
    );
    tables::tell(&table(suite, raced, plain));
}

/// Every candidate in a clone of its own with the whole suite, two at a time; the names of those that pass.
fn plain(world: &World, commit: &str) -> Vec<&'static str> {
    let lane = |first: usize| {
        let mut passed = vec![];
        for (name, files) in FIELD.iter().skip(first).step_by(2) {
            let dir = world.path().join(format!("plain-{name}"));
            let origin = world.origin().display().to_string();
            world.git_in(
                world.path(),
                &["clone", "--quiet", &origin, &dir.display().to_string()],
            );
            world.git_in(&dir, &["checkout", "--quiet", commit]);
            for (path, text) in *files {
                std::fs::write(dir.join(path), text).expect("a file of a clone can be written");
            }
            if suite_passes(&dir) {
                passed.push(*name);
            }
        }
        passed
    };
    let passed: Vec<&str> = std::thread::scope(|scope| {
        let lanes = [0, 1].map(|first| scope.spawn(move || lane(first)));
        lanes
            .into_iter()
            .flat_map(|l| l.join().expect("a lane ends"))
            .collect()
    });
    FIELD
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| passed.contains(name))
        .collect()
}

fn suite_passes(dir: &Path) -> bool {
    let output = Command::new("python3")
        .args([
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--junitxml=report.xml",
        ])
        .current_dir(dir)
        .env("PYTHONPATH", python_packages(&[PYTEST]))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output();
    output.expect("python3 can be started").status.success()
}

const HEADING: &str = "# Benchmark of a tournament";

fn table(suite: f64, raced: f64, plain: f64) -> String {
    let holds = |yes: bool| if yes { "yes" } else { "no" };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (beside, faster) = (raced / suite, plain / raced);
    format!(
        "{HEADING}\n\n\
         Written by `cargo xtask bench tournament` in one run; debug build, {cores} cores. Eight candidates, two of them \
         right, two the same right one, four wrong: one mends nothing, one is no Python, one breaks a test nearby and \
         one a test far away. A suite of {tests} tests that takes {suite:.1} s, most of it waiting.\n\n\
         | what | measured | target | holds |\n|---|---|---|---|\n\
         | validation of the tournament beside one run of the suite | {beside:.2} times ({raced:.1} s) | at most 1.5 times | {} |\n\
         | a clone and the whole suite for each, two at a time, beside the tournament | {faster:.2} times ({plain:.1} s) | at least 3 times | {} |\n\n\
         The tournament's time includes every stage: the failing tests of seven trees, the tests nearby of five, the \
         whole suite of the winner and its repeat beside it. Both come to the \
         same: what the tournament merges passes everything, and of the three it stopped behind it two would have passed \
         too.\n",
        holds(beside <= 1.5),
        holds(faster >= 3.0),
        tests = SLOW + 4,
    )
}
