//! Strategies on cases with hidden tests: who mends what, who would merge what is wrong, and what is recorded of it.
//!
//! Touches: files, processes, git, http, sqlite.
//! Change here: when an evaluation says or takes something else (with `docs/evaluation.md`).

use std::path::{Path, PathBuf};
use std::process::Output;

use changebus::event::{Event, Fact};
use changebus::outside::store::Store;
use changebus_tests::shop;
use changebus_tests::world::World;
use scripted_claude::{RecordedRequest, Reply, Script};
use serde_json::Value;

mod real;

/// Two bugs at once, far enough from each other to be taken back one by one.
const TWICE_BAD: &str = "\
def pay(price, off=0):
    return price + off


def total(prices):
    return sum(prices)


def tax(price):
    return price * 20 // 100


def label(price):
    return f\"{price} USD\"
";

const TWICE_GOOD: &str = "\
def pay(price, off=0):
    return price - off


def total(prices):
    return sum(prices)


def tax(price):
    return price * 20 // 100


def label(price):
    return f\"{price} EUR\"
";

const SEEN_TESTS: &str = "\
from shop import pay, tax, total


def test_pay():
    assert pay(10) == 10


def test_pay_less():
    assert pay(10, 2) == 8


def test_total():
    assert total([1, 2]) == 3


def test_tax():
    assert tax(10) == 2
";

const UNSEEN_TESTS: &str = "\
from shop import label


def test_currency_of_labels():
    assert label(3) == \"3 EUR\"
";

const UNSEEN: &str = "test_currency_of_labels";

const BOTH: &str = "\
A discount makes things cheaper, and prices are in euros.

shop.py
<<<<<<< SEARCH
    return price + off
=======
    return price - off
>>>>>>> REPLACE

shop.py
<<<<<<< SEARCH
    return f\"{price} USD\"
=======
    return f\"{price} EUR\"
>>>>>>> REPLACE
";

/// A suite under the world's directory.
struct Suite<'a> {
    world: &'a World,
    dir: PathBuf,
}

impl<'a> Suite<'a> {
    fn new(world: &'a World) -> Suite<'a> {
        let dir = world.path().join("suite");
        std::fs::create_dir_all(&dir).expect("a directory can be made");
        Suite { world, dir }
    }

    /// A case whose base has the first of each file's texts, and whose head the second.
    fn case(&self, name: &str, hiding: &str, files: &[(&str, &str, &str)]) -> &Suite<'a> {
        let dir = self.dir.join(name);
        std::fs::create_dir_all(&dir).expect("a directory can be made");
        let repo = dir.join("repo");
        self.world
            .git_in(&dir, &["init", "--quiet", "--initial-branch=main", "repo"]);
        for nth in [1, 2] {
            for (path, before, after) in files {
                let file = repo.join(path);
                std::fs::create_dir_all(file.parent().expect("a file has a directory"))
                    .expect("it can be made");
                let text = if nth == 1 { before } else { after };
                std::fs::write(file, text).expect("a file can be written");
            }
            self.world.git_in(&repo, &["add", "--all"]);
            let message = format!("Change {nth}");
            self.world
                .git_in(&repo, &["commit", "--quiet", "-m", &message]);
        }
        let bundle = ["bundle", "create", "--quiet", "../repo.bundle", "main"];
        self.world.git_in(&repo, &bundle);
        let text = format!(
            "about = \"{name}\"\n{hiding}\n{}",
            self.project("repo.bundle")
        );
        std::fs::write(dir.join("eval.toml"), text).expect("a file can be written");
        self
    }

    /// As the world's own project, in another repository.
    fn project(&self, repo: &str) -> String {
        let config = std::fs::read_to_string(self.world.config()).expect("a configuration");
        let config: toml::Table = config.parse().expect("it is TOML");
        let mut project = config["projects"]["app"]
            .as_table()
            .expect("a table")
            .clone();
        project.insert("repo".into(), repo.into());
        let policy = project["policy"].as_table_mut().expect("a table");
        policy.insert("min_confidence".into(), 0.3.into());
        let table = toml::Table::from_iter([("project".to_owned(), project.into())]);
        toml::to_string(&table).expect("it can be written")
    }

    fn eval(&self, args: &[&str]) -> Output {
        let dir = self.dir.display().to_string();
        let all = [&["eval", dir.as_str()], args].concat();
        let ran = self.world.changebus(&all).output();
        ran.expect("changebus can be started")
    }

    fn json(&self, args: &[&str]) -> (Value, Vec<u8>) {
        let output = self.eval(&[args, &["--json"]].concat());
        let words = String::from_utf8_lossy(&output.stderr);
        let json = serde_json::from_slice(&output.stdout);
        (
            json.unwrap_or_else(|e| panic!("{e}: {words}")),
            output.stdout,
        )
    }
}

/// One bug and two bugs: the first is mended by whoever looks, the second only by who looks further than the tests.
fn two_cases<'a>(world: &'a World) -> Suite<'a> {
    let suite = Suite::new(world);
    let tests = (shop::TEST_FILE, shop::TESTS, shop::TESTS);
    suite.case(
        "discount",
        "",
        &[(shop::SOURCE, shop::GOOD, shop::BAD), tests],
    );
    suite.case(
        "labels",
        "hidden_files = [\"tests/test_unseen.py\"]",
        &[
            (shop::SOURCE, TWICE_GOOD, TWICE_BAD),
            (shop::TEST_FILE, SEEN_TESTS, SEEN_TESTS),
            ("tests/test_unseen.py", UNSEEN_TESTS, UNSEEN_TESTS),
        ],
    );
    suite
}

fn is_of(request: &RecordedRequest, case: &str) -> bool {
    request.system().contains(&format!("project: {case}\n"))
}

/// The minimal one mends what it is shown; the robust one mends labels whole and finds nothing elsewhere.
fn model() -> Script {
    Script::from_fn(|request| {
        let robust = request.body["messages"][0]
            .to_string()
            .contains("sturdy repair");
        match (robust, is_of(request, "labels")) {
            (false, _) => Reply::text(shop::HONEST),
            (true, true) => Reply::text(BOTH),
            (true, false) => Reply::text("The cause is not clear to me."),
        }
    })
}

fn outcome<'a>(evaluation: &'a Value, case: &str, contestant: &str) -> &'a Value {
    let results = evaluation["results"].as_array().expect("results");
    let found = results
        .iter()
        .find(|r| r["case"] == case && r["contestant"] == contestant);
    found.unwrap_or_else(|| panic!("{contestant} was not tried on {case}: {evaluation:#}"))
}

fn summary<'a>(evaluation: &'a Value, name: &str) -> &'a Value {
    let all = evaluation["contestants"].as_array().expect("contestants");
    all.iter()
        .find(|c| c["name"] == name)
        .expect("a contestant")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_known_of_three_contestants_is_what_the_table_says_and_is_free_the_second_time() {
    let world = World::new(model()).await;
    let suite = two_cases(&world);
    let logs = world.path().join("logs");
    let keep = logs.display().to_string();
    let (said, first) = suite.json(&["--record", "--keep", &keep]);

    let correct = |case: &str, who: &str| outcome(&said, case, who)["correct"] == true;
    assert!(correct("discount", "A") && !correct("discount", "B") && correct("discount", "C"));
    assert!(
        !correct("labels", "A") && correct("labels", "B") && !correct("labels", "C"),
        "{said:#}"
    );
    let fooled = outcome(&said, "labels", "A");
    assert_eq!(fooled["verdict"], "merge", "{fooled:#}");
    assert_eq!(fooled["false_merge"], true);
    assert!(
        fooled["against"][0]
            .as_str()
            .is_some_and(|test| test.contains(UNSEEN))
    );
    let a = summary(&said, "A");
    assert_eq!((&a["cases"], &a["merged"]), (&2.into(), &2.into()));
    assert_eq!(a["correct"]["count"], 1);
    assert_eq!(a["false_merges"]["count"], 1);
    assert!(a["cost_usd"].as_f64().is_some_and(|cost| cost > 0.0));
    assert_eq!(summary(&said, "C")["cost_usd"], 0.0);
    let pair = &said["pairs"][0];
    assert_eq!(
        (&pair["only_first"], &pair["only_second"]),
        (&1.into(), &1.into())
    );
    assert!(pair["low"].as_f64() < Some(0.0) && pair["high"].as_f64() > Some(0.0));

    nobody_heard_of(UNSEEN, &world, &logs).await;

    let calls = world.model.calls();
    let (_, second) = suite.json(&[]);
    assert_eq!(world.model.calls(), calls, "the model was asked again");
    assert_eq!(
        String::from_utf8_lossy(&second),
        String::from_utf8_lossy(&first)
    );

    let table = String::from_utf8_lossy(&suite.eval(&[]).stdout).into_owned();
    println!("{table}");
    assert!(
        table.contains("labels: A would be merged, and is wrong"),
        "{table}"
    );
    assert!(
        table.contains("no difference can be told from 2 cases"),
        "{table}"
    );
}

/// Neither in a request, nor in the log of any contestant.
async fn nobody_heard_of(test: &str, world: &World, logs: &Path) {
    let requests = world.model.requests();
    assert!(!requests.is_empty());
    for request in requests {
        assert!(!request.body.to_string().contains(test), "{}", request.body);
    }
    for contestant in ["A", "B", "C", "shown-tests"] {
        let events = events(&logs.join("labels").join(contestant)).await;
        assert!(
            events
                .iter()
                .any(|e| matches!(e.fact, Fact::Decided { .. }))
        );
        for event in events {
            let told = serde_json::to_string(&event).expect("an event can be written");
            assert!(!told.contains(test), "{contestant}: {told}");
        }
    }
}

async fn events(state: &Path) -> Vec<Event> {
    let store = Store::open_read_only(&state.join("events.sqlite")).expect("a log");
    let all = store.events_after(0, 100_000, &Default::default()).await;
    all.expect("it can be read")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_recorded_counts_nowhere_and_is_told_with_the_way_to_have_it_asked() {
    let world = World::new(model()).await;
    let suite = two_cases(&world);
    let args = [
        "--case",
        "discount",
        "--variant",
        "A=minimal-fix",
        "--variant",
        "C=revert-culprit",
    ];
    let output = suite.eval(&[&args[..], &["--json"]].concat());
    assert_eq!(output.status.code(), Some(6));
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let why = outcome(&said, "discount", "A")["unanswered"].as_str();
    assert!(why.is_some_and(|why| why.contains("--live")), "{said:#}");
    let a = summary(&said, "A");
    assert_eq!((&a["cases"], &a["unanswered"]), (&0.into(), &1.into()));
    assert_eq!(summary(&said, "C")["correct"]["count"], 1);
    assert_eq!(said["pairs"][0]["cases"], 0);
    assert_eq!(world.model.calls(), 0);

    // What was paid for once is this host's from then on.
    let (live, _) = suite.json(&[&args[..], &["--live"]].concat());
    assert_eq!(outcome(&live, "discount", "A")["correct"], true);
    let calls = world.model.calls();
    let output = suite.eval(&args);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(world.model.calls(), calls);
    assert!(!suite.dir.join("discount/answers.jsonl").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_versions_of_a_prompt_and_all_together_are_compared_on_half_of_the_failing_tests() {
    let more = format!(
        "{}\n\ndef test_pay_nothing():\n    assert pay(2, 2) == 0\n",
        shop::TESTS
    );
    // The dearer one mends it; the cheaper one only what its test asks for.
    let script = Script::from_fn(|request| {
        let hasty = "shop.py\n<<<<<<< SEARCH\n    return price + off\n=======\n    return 8 if (price, off) == (10, 2) else price + off\n>>>>>>> REPLACE\n";
        let other = "shop.py\n<<<<<<< SEARCH\n    return price + off\n=======\n    return 0 if (price, off) == (2, 2) else price + off\n>>>>>>> REPLACE\n";
        let shown = request.system();
        match request.body["output_config"]["effort"].as_str() {
            Some("low") if shown.contains("id=\"tests.test_shop::test_pay_less\"") => {
                Reply::text(format!("It is 8.\n\n{hasty}"))
            }
            Some("low") => Reply::text(format!("It is 0.\n\n{other}")),
            _ => Reply::text(shop::HONEST),
        }
    });
    let world = World::new(script).await;
    let suite = Suite::new(&world);
    let tests = (shop::TEST_FILE, more.as_str(), more.as_str());
    suite.case(
        "discount",
        "",
        &[(shop::SOURCE, shop::GOOD, shop::BAD), tests],
    );
    let (low, high) = (
        "low=minimal-fix{effort = \"low\"}",
        "high=minimal-fix{effort = \"high\"}",
    );
    let logs = world.path().join("logs");
    let (said, _) = suite.json(&[
        "--live",
        "--variant",
        low,
        "--variant",
        high,
        "--tournament",
        "--keep",
        &logs.display().to_string(),
    ]);
    let case = &said["cases"][0];
    assert_eq!(
        (&case["failing"], &case["hidden"]),
        (&2.into(), &1.into()),
        "{said:#}"
    );
    let of = |who: &str| outcome(&said, "discount", who);
    assert_eq!(
        (&of("low")["through"], &of("low")["correct"]),
        (&true.into(), &false.into()),
        "{said:#}"
    );
    let hidden = of("low")["against"][0].as_str().expect("a test");
    for event in events(&logs.join("discount/low")).await {
        let told = serde_json::to_string(&event).expect("an event can be written");
        assert!(!told.contains(hidden), "{told}");
    }
    assert_eq!(of("high")["correct"], true, "{said:#}");
    assert_eq!(of("tournament")["proposed"], true, "{said:#}");
    let entries = summary(&said, "tournament")["entries"].as_array();
    assert_eq!(entries.map(Vec::len), Some(2));
    assert_eq!(
        summary(&said, "low")["entries"][0]["config"]["effort"],
        "low"
    );
    assert_eq!(said["pairs"].as_array().map(Vec::len), Some(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn past_runs_are_evaluated_with_what_the_model_said_then() {
    let world = World::new(Script::from_fn(|_| Reply::text(shop::HONEST))).await;
    shop::open(&world);
    shop::break_it(&world);
    let (story, code) = world.fix(&["--dry-run"]);
    assert_eq!(code, 0, "{story:#}");
    let calls = world.model.calls();
    assert!(calls > 0);
    // What is in no branch any more is in the log's mirror.
    world.git_in(&world.origin(), &["update-ref", "refs/heads/main", "main^"]);

    let ran = world
        .changebus(&[
            "eval",
            "--runs",
            "app",
            "--since",
            "1",
            "--tournament",
            "--json",
        ])
        .output()
        .expect("changebus can be started");
    let words = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(0), "{words}");
    let said: Value = serde_json::from_slice(&ran.stdout).expect("JSON");
    let run = story["run"].as_str().expect("a run has an id");
    for who in ["A", "B", "C", "tournament"] {
        let seen = outcome(&said, run, who);
        assert_eq!(
            (&seen["correct"], &seen["unanswered"]),
            (&true.into(), &Value::Null),
            "{seen:#}"
        );
    }
    assert_eq!(world.model.calls(), calls, "the model was asked again");
    let before = world.events().await.len();
    let other = ["eval", "--runs", "nowhere"];
    let ran = world.changebus(&other).output().expect("it can be started");
    assert!(String::from_utf8_lossy(&ran.stderr).contains("--runs nowhere"));
    assert_eq!(
        world.events().await.len(),
        before,
        "the host's own log grew"
    );
}

/// What is done to a good suite, and what is said of it.
const WRONG: [(&str, &str, &str, &str); 6] = [
    (
        "an unknown key",
        "about = ",
        "abut = ",
        "eval.toml: TOML parse error",
    ),
    (
        "another repository",
        "repo = \"repo.bundle\"",
        "repo = \"nowhere\"",
        "project.repo = \"nowhere\"",
    ),
    (
        "a commit that is not there",
        "about = ",
        "head = \"0123456789\"\nabout = ",
        "0123456789: no such commit",
    ),
    (
        "variants",
        "[project.policy]",
        "[[project.variants]]\nname = \"A\"\nstrategy = \"x\"\n[project.policy]",
        "project.variants: who is tried",
    ),
    (
        "a glob that is none",
        "about = ",
        "hidden_files = [\"a[\"]\nabout = ",
        "hidden_files: a[",
    ),
    (
        "no test command",
        "test = ",
        "tests = ",
        "unknown field `tests`",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_suite_is_told_with_its_file_and_key_before_anything_runs() {
    let world = World::new(model()).await;
    let suite = two_cases(&world);
    let path = suite.dir.join("discount/eval.toml");
    let good = std::fs::read_to_string(&path).expect("a suite");
    for (what, old, new, said) in WRONG {
        assert!(good.contains(old), "{what}: {good}");
        std::fs::write(&path, good.replacen(old, new, 1)).expect("it can be written");
        let output = suite.eval(&[]);
        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{what}: {words}");
        assert!(
            words.contains(said) && words.contains("discount"),
            "{what}: {words}"
        );
        assert!(!words.contains("merged"), "{what}: something ran: {words}");
    }
    std::fs::write(&path, good).expect("it can be written");
    std::fs::write(suite.dir.join("labels/answers.jsonl"), "{}\n").expect("it can be written");
    let words = String::from_utf8_lossy(&suite.eval(&[]).stderr).into_owned();
    assert!(
        words.contains("answers.jsonl:1: is no recorded answer"),
        "{words}"
    );
    let nobody = suite.eval(&["--case", "nobody"]);
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("holds no case that matches nobody"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_case_on_which_nobody_can_be_tried_is_left_out_and_told() {
    let world = World::new(model()).await;
    let suite = Suite::new(&world);
    let tests = (shop::TEST_FILE, shop::TESTS, shop::TESTS);
    let renamed = shop::GOOD.replace("prices", "all_prices");
    suite.case("green", "", &[(shop::SOURCE, shop::GOOD, &renamed), tests]);
    let output = suite.eval(&["--json", "--variant", "C=revert-culprit"]);
    assert_eq!(output.status.code(), Some(6));
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(said["cases"][0]["left_out"].is_string(), "{said:#}");
    assert_eq!(said["results"], Value::Array(vec![]));
    let missing = suite.eval(&["--variant", "X=no-such-plugin"]);
    let words = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(
        words.contains("variant X: there is no strategy no-such-plugin"),
        "{words}"
    );
}
