//! Whole tournaments with a bad plugin or a bad day of the model in them: what is bad is named, the rest goes on.
//!
//! Touches: files, processes, git, http, sqlite.
//! Change here: when a plugin or the model can fail a tournament in a new way.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use changebus::event::Fact;
use changebus_tests::shop;
use changebus_tests::world::World;
use scripted_claude::{RecordedRequest, Reply, Script};
use serde_json::Value;

/// The little shop has too few tests to make for the usual evidence.
const LENIENT: &str = "min_confidence = 0.5";
const NOTHING: &str = "NO_FIX: let the other one try";

/// A shop with one broken test.
async fn broken_shop(script: Script) -> World {
    let mut world = World::new(script).await;
    world.policy(LENIENT);
    shop::open(&world);
    shop::break_it(&world);
    world
}

fn always(answer: &str) -> Script {
    let answer = answer.to_owned();
    Script::from_fn(move |_| Reply::text(answer.clone()))
}

fn variant<'a>(story: &'a Value, name: &str) -> &'a Value {
    let all = story["variants"].as_array();
    let found = all.and_then(|all| all.iter().find(|v| v["name"] == name));
    found.unwrap_or_else(|| panic!("no variant {name} in {story:#}"))
}

/// The variant came to this, and says so.
fn assert_fate(story: &Value, name: &str, state: &str, why: &str) {
    let variant = variant(story, name);
    assert_eq!(variant["state"], state, "{variant:#}");
    let said = variant["rationale"].as_str().unwrap_or_default();
    assert!(said.contains(why), "no `{why}` in: {said}");
}

fn assert_merged_by(world: &World, story: &Value, code: i32, winner: &str) {
    assert_eq!((&story["winner"], code), (&winner.into(), 0), "{story:#}");
    assert_eq!(world.at_tip(shop::SOURCE), shop::GOOD.trim());
}

fn assert_reason(story: &Value, why: &str) {
    let reasons = story["verdict"]["reasons"].to_string();
    assert!(reasons.contains(why), "no `{why}` in: {reasons}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_strategies_are_stopped_and_named_and_the_good_one_wins_all_the_same() {
    let moods = [
        ("loop", "gave no answer within"),
        ("allocate", "of memory it may have"),
        ("panic", "no idea what app means"),
        ("return-100mb", "more data in one call"),
        ("flood-hostcalls", "called the host more than"),
        ("hoard-handles", "host objects it may"),
        ("big-patch", "made a patch larger than"),
        ("give-up", "I am broken"),
        ("no-such-mood", "no mood `no-such-mood`"),
    ];
    let mut world = broken_shop(always(shop::HONEST)).await;
    world.policy(&format!("{LENIENT}\nstrategy_timeout_seconds = 20"));
    let configs: Vec<_> = moods
        .iter()
        .map(|(mood, _)| format!("{{ do = \"{mood}\" }}"))
        .collect();
    let mut variants: Vec<(&str, &str, &str)> = moods
        .iter()
        .zip(&configs)
        .map(|((mood, _), config)| (*mood, "moody-strategy", config.as_str()))
        .collect();
    variants.push(("nonsense", "moody-strategy", "{ do = \"propose\" }"));
    variants.push(("absent", "nobody-home", "{}"));
    variants.push(("good", "minimal-fix", "{ probe = false }"));
    world.variants(&variants);
    let (story, code) = world.fix(&[]);
    for (mood, why) in moods {
        assert_fate(&story, mood, "failed", why);
    }
    assert_fate(
        &story,
        "nonsense",
        "failed",
        "src/lib.rs: there is no such file",
    );
    assert_fate(&story, "absent", "failed", "nobody-home");
    assert_merged_by(&world, &story, code, "good");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_judges_fail_a_human_decides_and_reads_why() {
    let scorer = |mood| format!("scorer = \"moody-scorer\"\nscorer_config = {{ do = \"{mood}\" }}");
    let escalation = |mood| {
        format!("escalation = \"moody-escalation\"\nescalation_config = {{ do = \"{mood}\" }}")
    };
    let judges = [
        (scorer("nan"), "the scorer gave no usable answer"),
        (scorer("give-up"), "cannot judge"),
        (scorer("loop"), "computed for more than"),
        ("scorer = \"nobody-home\"".to_owned(), "nobody-home"),
        (escalation("panic"), "the escalation rules gave no answer"),
        (escalation("stranger"), "the escalation rules"),
        ("escalation = \"nobody-home\"".to_owned(), "nobody-home"),
    ];
    let mut world = broken_shop(always(shop::HONEST)).await;
    world.variants(&[("A", "minimal-fix", "{ probe = false }")]);
    // Here each failure is to be read; that they add up is the registry's story.
    world.tables("[plugins.quarantine]\nstrikes = 100");
    let before = world.tip();
    for (policy, why) in judges {
        world.policy(&format!("{LENIENT}\n{policy}"));
        let (story, code) = world.fix(&["--dry-run"]);
        assert_eq!(
            (&story["verdict"]["action"], code),
            (&"human".into(), 4),
            "{story:#}"
        );
        assert_reason(&story, why);
        assert_eq!(world.tip(), before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_does_not_answer_costs_its_variant_the_heat_and_nobody_else() {
    let days: [(Reply, &str); 5] = [
        (
            Reply::Refusal {
                category: Some("cyber".into()),
                text: String::new(),
            },
            "llm.refused",
        ),
        (
            Reply::MaxTokens {
                text: "shop.py\n<<<<<<< SEARCH\n".into(),
            },
            "llm.",
        ),
        (Reply::SpendLimit, "llm."),
        (Reply::Overloaded, "llm.overloaded"),
        (
            Reply::text("NO_FIX: the test is wrong"),
            "the test is wrong",
        ),
    ];
    for (reply, why) in days {
        let mut world = broken_shop(Script::from_fn(move |_| reply.clone())).await;
        world.claude("retries = 1");
        world.variants(&[
            ("A", "minimal-fix", "{ probe = false }"),
            ("C", "revert-culprit", "{}"),
        ]);
        let (story, code) = world.fix(&[]);
        assert_fate(&story, "A", "refused", why);
        assert_merged_by(&world, &story, code, "C");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_money_no_request_leaves_the_host() {
    let mut world = broken_shop(always(shop::HONEST)).await;
    world.claude("run_budget_usd = 0.0001");
    world.variants(&[
        ("A", "minimal-fix", "{ probe = false }"),
        ("C", "revert-culprit", "{}"),
    ]);
    let (story, code) = world.fix(&[]);
    assert_eq!(world.model.calls(), 0);
    assert_fate(&story, "A", "refused", "budget");
    assert_merged_by(&world, &story, code, "C");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_answer_twice_is_tried_once() {
    let mut world = broken_shop(always(shop::HONEST)).await;
    world.variants(&[
        ("A", "minimal-fix", "{ probe = false }"),
        ("B", "robust-refactor", "{ probe = false }"),
    ]);
    world.policy(&format!("{LENIENT}\nrepeats = 0"));
    let (story, code) = world.fix(&[]);
    assert_merged_by(&world, &story, code, "A");
    assert_eq!(variant(&story, "B")["state"], "duplicate", "{story:#}");
    let events = world.events().await;
    let tried = events
        .iter()
        .filter(|e| matches!(e.fact, Fact::Tried { .. }))
        .count();
    assert_eq!(tried, 1);
}

/// Mends the test and forgets what a total is.
const CARELESS: &str = "\
Discounts and totals both changed.

shop.py
<<<<<<< SEARCH
    return price + off
=======
    return price - off
>>>>>>> REPLACE

shop.py
<<<<<<< SEARCH
    return sum(prices)
=======
    return 0
>>>>>>> REPLACE
";

#[tokio::test(flavor = "multi_thread")]
async fn what_two_strategies_agree_on_runs_first_and_a_scorer_that_ranks_lets_nobody_before_it() {
    // As small as the other fix, and named before it: only agreement speaks against it.
    let alone = shop::HONEST.replace("price - off", "price + -off");
    let script = Script::from_fn(move |request| {
        let asks_for_smallest = request.body.to_string().contains("the smallest change");
        let effort = request.body["output_config"]["effort"].as_str();
        Reply::text(match (asks_for_smallest, effort) {
            (true, Some("low")) => CARELESS.to_owned(),
            (true, _) => alone.clone(),
            (false, _) => shop::HONEST.to_owned(),
        })
    });
    let mut world = broken_shop(script).await;
    world.policy(&format!("{LENIENT}\nscorer = \"lexicographic\""));
    world.variants(&[
        (
            "careless",
            "minimal-fix",
            "{ effort = \"low\", probe = false }",
        ),
        (
            "alone",
            "minimal-fix",
            "{ effort = \"high\", probe = false }",
        ),
        ("one", "robust-refactor", "{ probe = false }"),
        ("two", "revert-culprit", "{}"),
    ]);
    let (story, code) = world.fix(&[]);
    assert_merged_by(&world, &story, code, "one");
    let one = variant(&story, "one");
    assert_eq!(one["score"], 100.0, "{story:#}");
    assert_eq!(one["marks"]["3-agreement"], 2.0, "two is the same change");
    assert_fate(&story, "two", "duplicate", "");
    for name in ["alone", "careless"] {
        let stopped = variant(&story, name);
        assert_eq!(stopped["state"], "stopped", "{story:#}");
        assert_eq!(stopped["tests"]["total"], 1, "only the failing test ran");
    }
    let tried = world.events().await;
    let tried = tried.iter().filter_map(|event| match &event.fact {
        Fact::Tried { trial } => Some(trial.tree.clone()),
        _ => None,
    });
    let trees: std::collections::BTreeSet<_> = tried.collect();
    assert_eq!(trees.len(), 1, "one tree was run on the whole suite");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_text_that_misses_is_asked_for_once_more() {
    let missed = shop::HONEST.replace("return price + off", "return cost + rebate");
    let mut world = broken_shop(Script::in_order([
        Reply::text(missed),
        Reply::text(shop::HONEST),
    ]))
    .await;
    world.variants(&[("A", "minimal-fix", "{}")]);
    let (story, code) = world.fix(&[]);
    assert_eq!(world.model.calls(), 2);
    assert_merged_by(&world, &story, code, "A");
}

/// Four tests that all fail with the push.
const PRICES: &str = "\
from shop import pay


def test_apples():
    assert pay(10, 1) == 9


def test_bananas():
    assert pay(20, 2) == 18


def test_cherries():
    assert pay(30, 3) == 27


def test_dates():
    assert pay(40, 4) == 36
";

#[tokio::test(flavor = "multi_thread")]
async fn of_many_failing_tests_the_model_never_hears_of_those_held_out() {
    let mut world = World::new(always(shop::HONEST)).await;
    world.policy(LENIENT);
    world.variants(&[("A", "minimal-fix", "{}"), ("B", "robust-refactor", "{}")]);
    world.push(
        "Open the shop",
        &[
            (shop::SOURCE, Some(shop::GOOD)),
            ("tests/test_prices.py", Some(PRICES)),
        ],
    );
    shop::break_it(&world);
    let (story, code) = world.fix(&[]);
    assert_merged_by(&world, &story, code, "A");
    let events = world.events().await;
    let held_out: Vec<String> = events
        .iter()
        .filter_map(|e| match &e.fact {
            Fact::TournamentOpened { opening } => Some(opening.held_out.clone()),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(held_out.len(), 1, "{story:#}");
    let name = held_out[0].rsplit("::").next().expect("an id has a name");
    for request in world.model.requests() {
        let told = failing_part(&request);
        assert!(!told.contains(name), "{name} was told");
        let others = ["test_apples", "test_bananas", "test_cherries", "test_dates"];
        let shown = others.iter().filter(|other| told.contains(*other));
        assert_eq!(shown.count(), 3);
    }
}

/// What is said of the failure; the tests' own sources may be read by anybody.
fn failing_part(request: &RecordedRequest) -> String {
    let text = request.body.to_string();
    text.replace("def test_", "")
}

/// A value as it stands in an environment, found nowhere else.
const PASSPHRASE: &str = "correct-horse-battery-staple-42";

#[tokio::test(flavor = "multi_thread")]
async fn what_tests_print_of_secrets_reaches_neither_model_nor_log_nor_report() {
    let telling = "\
import os
from shop import pay


def test_pay_less():
    print(\"token is\", os.environ[\"SHOP_TOKEN\"])
    assert pay(10, 2) == 8, os.environ[\"SHOP_TOKEN\"]
";
    let mut world = World::new(always(NOTHING)).await;
    world.variants(&[("A", "minimal-fix", "{}")]);
    world.push(
        "Open the shop",
        &[
            (shop::SOURCE, Some(shop::GOOD)),
            (shop::TEST_FILE, Some(telling)),
        ],
    );
    shop::break_it(&world);
    let origin = world.origin().display().to_string();
    let handed_on = format!("SHOP_TOKEN={PASSPHRASE}");
    let output = world
        .changebus(&[
            "fix",
            &origin,
            "--project",
            "app",
            "--json",
            "--env",
            &handed_on,
        ])
        .output()
        .expect("changebus can be started");
    let story = String::from_utf8_lossy(&output.stdout);
    assert!(story.contains("the model would change nothing"), "{story}");
    assert!(!story.contains(PASSPHRASE), "{story}");
    assert!(!String::from_utf8_lossy(&output.stderr).contains(PASSPHRASE));
    let requests = world.model.requests();
    assert!(
        requests
            .iter()
            .any(|r| r.body.to_string().contains("[redacted]"))
    );
    for request in requests {
        assert!(!request.body.to_string().contains(PASSPHRASE));
    }
    assert_eq!(files_with(&world.state(), PASSPHRASE), Vec::<String>::new());
    assert!(!files_with(&world.state(), "test_pay_less").is_empty());
}

/// Every file below this directory that holds the text.
fn files_with(dir: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let listed = std::fs::read_dir(dir).expect("the directory can be read");
    for entry in listed {
        let path = entry.expect("an entry can be read").path();
        let kind = path.symlink_metadata().expect("it is there");
        if kind.is_dir() {
            found.extend(files_with(&path, text));
        } else if kind.is_file() && kind.size() > 0 {
            let bytes = std::fs::read(&path).expect("a file can be read");
            if bytes.windows(text.len()).any(|w| w == text.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}
