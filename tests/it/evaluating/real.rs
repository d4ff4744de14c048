//! The real cases as a suite: their repositories, what a scripted model says of them, and the table of it.
//!
//! Touches: files, processes, git, http.
//! Change here: when a case is added to `tests/cases`, or should be told with other answers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use changebus::story::{Look, evaluation::screen};
use changebus_tests::cases::{self, Case, Prepared, Repo};
use changebus_tests::tables;
use changebus_tests::world::{World, kept, shown};
use scripted_claude::{RecordedRequest, Reply, Script};
use serde_json::Value;

use super::{outcome, summary};
use crate::cases::answer::Answer::{
    self, Cheat, FirstHunk, NoFix, Nothing, Plausible, TrueFiles, TrueFix,
};

/// By case: what the model says to `minimal-fix` of low effort, of high effort, and to `robust-refactor`.
const SAID: &[(&str, [Answer; 3])] = &[
    ("aho-corasick-case-classes", [FirstHunk, TrueFix, TrueFiles]),
    ("aho-corasick-leftmost", [FirstHunk, TrueFix, FirstHunk]),
    ("fast-json-stringify-escapes", [FirstHunk, TrueFix, TrueFix]),
    ("json-broken-build", [FirstHunk, TrueFix, NoFix]),
    ("light-my-request-form-data", [Nothing, Plausible, TrueFix]),
    ("object-path-array-path", [TrueFix, TrueFix, Cheat]),
    ("object-path-magic", [Plausible, TrueFix, Cheat]),
    ("object-path-reformatted", [FirstHunk, TrueFix, NoFix]),
    ("parse-hyphens", [FirstHunk, TrueFiles, Plausible]),
    ("parse-subseconds", [FirstHunk, TrueFix, TrueFix]),
    ("pathspec-directory-marks", [TrueFix, TrueFix, Nothing]),
    ("pico-args-combined-flags", [FirstHunk, Plausible, TrueFix]),
    ("sqlparse-hints", [NoFix, TrueFix, TrueFix]),
    ("xmlparser-doctype-end", [FirstHunk, TrueFix, TrueFix]),
    ("xmlparser-instructions", [FirstHunk, TrueFix, NoFix]),
    ("xmltodict-whitespace", [FirstHunk, TrueFix, TrueFix]),
];

const CONTESTANTS: [&str; 4] = [
    "low=minimal-fix{effort = \"low\"}",
    "high=minimal-fix{effort = \"high\"}",
    "robust=robust-refactor{effort = \"high\"}",
    "revert=revert-culprit",
];

/// Patches a strategy may try.
const PROBES: u32 = 10;

/// Of one run of a suite.
const TEST_TIMEOUT: i64 = 120;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_case_is_evaluated_and_is_free_the_second_time() {
    let apart = tempfile::tempdir().expect("a temporary directory can be made");
    let (suite, world) = suite(apart.path(), &["parse-subseconds"]).await;
    let (first, said) = eval(&world, &suite, &["--record", "--json"]);
    let calls = world.model.calls();
    let (second, _) = eval(&world, &suite, &["--json"]);
    assert_eq!(world.model.calls(), calls, "the model was asked again");
    assert_eq!(first, second);
    let case = "parse-subseconds";
    assert_eq!(said["cases"][0]["hidden"], 1, "{said:#}");
    for who in ["high", "robust"] {
        assert_eq!(outcome(&said, case, who)["correct"], true, "{said:#}");
        assert_eq!(summary(&said, who)["correct"]["count"], 1);
    }
    // Two hunks mend two tests, of which one is shown: whoever goes by that alone mends half of it.
    let revert = outcome(&said, case, "revert");
    assert_eq!(
        (&revert["through"], &revert["correct"]),
        (&true.into(), &false.into()),
        "{revert:#}"
    );
}

/// All of them, kept where `cargo xtask suite` says, with the table that comes of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it evaluates every real case: cargo xtask suite DIR"]
async fn all_real_cases_become_a_suite() {
    let dir = std::env::var_os("CHANGEBUS_SUITE").expect("CHANGEBUS_SUITE names a directory");
    let names: Vec<&str> = SAID.iter().map(|(name, _)| *name).collect();
    let (suite, world) = suite(Path::new(&dir), &names).await;
    let (first, said) = eval(&world, &suite, &["--record", "--json"]);
    std::fs::write(suite.join("evaluation.json"), &first).expect("it can be written");
    assert_eq!(said["cases"].as_array().map(Vec::len), Some(SAID.len()));
    let calls = world.model.calls();
    let (second, _) = eval(&world, &suite, &["--json"]);
    assert_eq!(world.model.calls(), calls, "the model was asked again");
    assert_eq!(first, second);
    let evaluation = serde_json::from_slice(&first).expect("the documented shape");
    tables::tell(&section(&screen(&evaluation, Look::plain())));
}

/// Of `docs/evaluation.md`.
fn section(table: &str) -> String {
    let mut text = format!(
        "{HEAD}{}\n| case | low | high | robust |\n|---|---|---|---|\n",
        fenced(table)
    );
    for (case, answers) in SAID {
        let [low, high, robust] = answers.map(Answer::name);
        text += &format!("| `{case}` | {low} | {high} | {robust} |\n");
    }
    text
}

fn fenced(table: &str) -> String {
    format!("```\n{}\n```\n", table.trim_end())
}

const HEAD: &str = "\
# The real cases

Written by `cargo xtask suite DIR`, which makes a suite of the [real cases](cases.md), records what a model says of them and evaluates
it twice, the second time without a model and with the same result to the byte. **The model is scripted**: what it says was decided
beforehand and stands below, so that it is known who is right. The figures speak of the tool, of `revert-culprit`, which asks no model,
and of what gates and hidden tests make of such answers; they say nothing of any model, and `low` and `high` show how two versions of a
prompt are compared, not that effort pays. Seconds of the model are the script's. A strategy may try ten patches (`probes = 10`).

";

#[test]
fn every_real_case_has_its_answers() {
    let there: Vec<String> = cases::all()
        .expect("the cases can be read")
        .into_iter()
        .map(|case| case.name)
        .collect();
    let told: Vec<&str> = SAID.iter().map(|(name, _)| *name).collect();
    assert_eq!(told, there);
}

fn eval(world: &World, suite: &Path, args: &[&str]) -> (Vec<u8>, Value) {
    let suite = suite.display().to_string();
    let mut all = vec!["eval", suite.as_str()];
    for contestant in CONTESTANTS {
        all.extend(["--variant", contestant]);
    }
    all.extend(args);
    let ran = world
        .changebus(&all)
        .output()
        .expect("changebus can be started");
    let words = String::from_utf8_lossy(&ran.stderr);
    eprintln!("{words}");
    assert_eq!(ran.status.code(), Some(0), "{words}");
    let said = serde_json::from_slice(&ran.stdout).unwrap_or_default();
    (ran.stdout, said)
}

/// These cases below the directory, and a world whose model knows them.
async fn suite(dir: &Path, names: &[&str]) -> (PathBuf, World) {
    let all = cases::all().expect("the cases can be read");
    let cache = kept("cases");
    let mut says = BTreeMap::new();
    for case in all
        .iter()
        .filter(|case| names.contains(&case.name.as_str()))
    {
        let place = dir.join(&case.name);
        let prepared = case.prepare(&cache).unwrap_or_else(|e| panic!("{e:#}"));
        let repo = prepared
            .materialize(&place)
            .unwrap_or_else(|e| panic!("{e:#}"));
        std::fs::write(place.join("eval.toml"), told(case, &repo)).expect("it can be written");
        says.insert(case.name.clone(), texts(&prepared, &repo));
    }
    let script = Script::from_fn(move |request| Reply::text(said(&says, request)));
    (dir.to_owned(), World::new(script).await)
}

fn texts(case: &Prepared, repo: &Repo) -> [String; 3] {
    let (_, answers) = SAID
        .iter()
        .find(|(name, _)| *name == case.case.name)
        .expect("every case has its answers");
    answers.map(|answer| answer.text(case, repo))
}

fn said(says: &BTreeMap<String, [String; 3]>, request: &RecordedRequest) -> String {
    let system = request.system();
    let meant = |name: &&String| system.contains(&format!("project: {name}\n"));
    let name = says.keys().find(meant).expect("a request is about a case");
    let robust = request.body["messages"][0]
        .to_string()
        .contains("sturdy repair");
    let low = request.body["output_config"]["effort"] == "low";
    let nth = if robust { 2 } else { usize::from(!low) };
    says[name][nth].clone()
}

fn told(case: &Case, repo: &Repo) -> String {
    let text = |text: &str| toml::Value::String(text.to_owned());
    let read = toml::Value::try_from(shown()).expect("paths can be written as TOML");
    let env = toml::Value::try_from(&repo.env).expect("an environment can be written as TOML");
    let policy = toml::Table::from_iter([
        ("reruns".to_owned(), 1.into()),
        ("probes".to_owned(), i64::from(PROBES).into()),
    ]);
    let mut project = toml::Table::from_iter([
        ("repo".to_owned(), text("origin.git")),
        ("test".to_owned(), text(&repo.test)),
        // Half a push taken back may leave code that never ends.
        ("test_timeout_seconds".to_owned(), TEST_TIMEOUT.into()),
        ("env".to_owned(), env),
        (
            "sandbox".to_owned(),
            toml::Table::from_iter([("read".to_owned(), read)]).into(),
        ),
        ("policy".to_owned(), policy.into()),
    ]);
    if let Some(setup) = &repo.setup {
        project.insert("setup".to_owned(), text(setup));
    }
    let told = toml::Table::from_iter([
        ("about".to_owned(), text(&case.story)),
        ("base".to_owned(), text(&repo.base)),
        ("head".to_owned(), text(&repo.head)),
        ("project".to_owned(), project.into()),
    ]);
    toml::to_string(&told).expect("a case can be written as TOML")
}
