//! Plugins through the real engine: what a good one can do, and how a bad one ends.
//!
//! Touches: wasm, files, processes.
//! Change here: when a plugin can do or break something new; give a guest in `tests/guests` the mood for it.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use changebus::event::{
    Action, Edit, Fault, FaultKind, FaultOf, Ledger, ModelMessage, ModelRequest, ModelRole, Patch,
    PluginFailure, PluginFailureKind, PluginRef, SystemBlock,
};
use changebus::outside::wasm::{Called, Limits, LogLevel, PluginKind, Plugins, StrategyAnswer};
use changebus_tests::desk::{Books, Reply, field, task};
use changebus_tests::guests::{cache, guest_dir, load};
use serde_json::{Value, json};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

static PLUGINS: LazyLock<Plugins> = LazyLock::new(|| plugins(Limits::default()));

pub fn plugins(limits: Limits) -> Plugins {
    load(&[guest_dir()], &cache(), limits)
}

async fn run(
    plugins: &Plugins,
    mood: Value,
    books: &Arc<Books>,
) -> Result<StrategyAnswer, PluginFailure> {
    let plugin = plugins.reference(PluginKind::Strategy, "moody-strategy");
    plugins
        .run_strategy(&plugin, task(mood, books))
        .await
        .answer
}

async fn run_mood(mood: &str) -> Result<StrategyAnswer, PluginFailure> {
    run(&PLUGINS, json!({ "do": mood }), &Arc::default()).await
}

/// What `moody-strategy` tells: it declines with a JSON object as its reason.
async fn told(mood: Value, books: &Arc<Books>) -> Value {
    match run(&PLUGINS, mood, books).await {
        Ok(StrategyAnswer::Decline(told)) => serde_json::from_str(&told).expect("it tells in JSON"),
        other => panic!("it should have told something: {other:?}"),
    }
}

fn assert_ended(ended: Result<StrategyAnswer, PluginFailure>, kind: PluginFailureKind, why: &str) {
    let failure = ended.expect_err("it should not get through");
    assert_eq!(failure.kind, kind, "{}", failure.why);
    assert!(
        failure.why.starts_with("plugin `moody-strategy` "),
        "{}",
        failure.why
    );
    assert!(failure.why.contains(why), "{}", failure.why);
    assert!(failure.why.len() <= 4096, "{} bytes", failure.why.len());
}

async fn assert_good_ones_still_run(plugins: &Plugins) {
    let answer = run(plugins, json!({ "do": "decline" }), &Arc::default()).await;
    assert_eq!(
        answer,
        Ok(StrategyAnswer::Decline("nothing to do".to_owned()))
    );
}

#[tokio::test]
async fn a_strategy_proposes_edits_in_its_own_words() {
    let answer = run(
        &PLUGINS,
        json!({ "do": "propose", "confidence": 0.75 }),
        &Arc::default(),
    )
    .await;
    let edits = vec![
        Edit::Replace {
            path: "src/lib.rs".into(),
            search: "a - b".into(),
            replacement: "a + b".into(),
        },
        Edit::Write {
            path: "NEW.md".into(),
            content: "new\n".into(),
        },
        Edit::Delete {
            path: "OLD.md".into(),
        },
        Edit::UnifiedDiff {
            text: "--- a/x\n+++ b/x\n".into(),
        },
    ];
    let proposed = StrategyAnswer::Propose {
        patch: Patch { edits },
        rationale: "the sign was wrong".into(),
        confidence: 0.75,
        notes: vec![("mood".into(), "good".into())],
    };
    assert_eq!(answer, Ok(proposed));
}

#[tokio::test]
async fn a_strategy_learns_everything_about_the_failure() {
    let told = told(json!({ "do": "tell" }), &Arc::default()).await;
    let past = json!({
        "run": "shop-1", "likeness": 0.75, "class": "assertion", "failing": ["t::one"],
        "message": "expected 3, got 2", "strategy": "moody", "rationale": "one was lost", "diff": "-a\n+b",
        "fate": "reverted", "rejections": ["too wide"],
    });
    let expected = json!({
        "project": "shop", "base": "ba5e", "head": "4ead",
        "failing": ["t::one", "t::two"], "second": ["t::two"],
        "message": "expected 3, got 1", "unknown": null,
        "detail": "assert ", "location": ["src/lib.rs", 42],
        "output": "failed", "commits": [["4ead", "Ada <ada@example.org>", "newest"]],
        "paths": ["a.txt"], "diff": "Some(\"a.txt\") 3 1000",
        "protected": "it is a test", "free": null,
        "language": "rust", "other": null,
        "revision": "4ead", "before": "ba5e",
        "size": 5, "read": [108, 108, 111],
        "missing": ["FaultKind::NotFound", "tree.no-file", null],
        "glob": ["a.txt"], "hits": [["a.txt", 1, "Hello"]],
        "history": 4.0, "unheard": null, "calls": 7, "meter": null,
        "similar": [past],
        "rejections": [2, 1], "said": ["of a fix by moody: too wide"],
    });
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_request_to_the_model_leaves_as_the_strategy_built_it() {
    let books = Arc::new(Books::default());
    let told = told(json!({ "do": "ask" }), &books).await;
    let expected = json!({
        "text": "use a plus", "stop": "end_turn", "model": "m-1-full",
        "options": [null, null, null, "llm.unknown-option", "llm.bad-option"],
        "usage": [11, 12, 13, 14, 1500, null],
    });
    assert_eq!(told, expected);
    let request = ModelRequest {
        model: Some("m-1".into()),
        max_output_tokens: 500,
        system: vec![
            SystemBlock {
                text: "shared rules".into(),
                shared: true,
            },
            SystemBlock {
                text: "own rules".into(),
                shared: false,
            },
        ],
        messages: vec![
            ModelMessage {
                role: ModelRole::User,
                text: "hello".into(),
            },
            ModelMessage {
                role: ModelRole::Assistant,
                text: "hi".into(),
            },
        ],
        effort: Some("low".into()),
        temperature: Some(0.25),
    };
    assert_eq!(*books.asked.lock().unwrap(), [request]);
}

#[tokio::test]
async fn a_strategy_is_told_why_the_model_did_not_answer() {
    let empty = Fault::new(FaultKind::Budget, "llm.budget", "nothing is left");
    let told = told(json!({ "do": "ask" }), &Books::that(Reply::Fault(empty))).await;
    assert_eq!(
        (&told["kind"], &told["code"]),
        (&json!("FaultKind::Budget"), &json!("llm.budget"))
    );
}

#[tokio::test]
async fn a_strategy_may_have_a_patch_tried() {
    let books = Arc::new(Books::default());
    let told = told(json!({ "do": "probe" }), &books).await;
    let expected = json!({
        "fixed": false, "still": ["t::one"], "broken": ["t::three"], "message": "expected 3, got 1",
        "output": "ssed", "metrics": [9.0, 1.0, 1.5, null],
    });
    assert_eq!(told, expected);
    let edits = vec![Edit::Delete {
        path: "OLD.md".into(),
    }];
    assert_eq!(*books.probed.lock().unwrap(), [Patch { edits }]);
}

#[tokio::test]
async fn the_same_task_always_ends_in_the_same_answer() {
    let (first, second) = (run_mood("tell").await, run_mood("tell").await);
    assert!(first.is_ok());
    assert_eq!(first, second);
}

#[tokio::test]
async fn a_strategy_that_gives_up_is_quoted() {
    assert_ended(
        run_mood("give-up").await,
        PluginFailureKind::Returned,
        "gave up: I am broken",
    );
}

#[tokio::test]
async fn a_strategy_that_computes_forever_is_stopped_when_its_time_is_used_up() {
    let plugins = plugins(Limits {
        strategy_cpu: Duration::from_millis(200),
        ..Limits::default()
    });
    let ended = run(&plugins, json!({ "do": "loop" }), &Arc::default()).await;
    assert_ended(
        ended,
        PluginFailureKind::TimedOut,
        "computed for more than the 0.2 s it may",
    );
    assert_good_ones_still_run(&plugins).await;
}

#[tokio::test]
async fn a_strategy_that_never_returns_is_stopped_at_its_deadline() {
    let plugin = PLUGINS.reference(PluginKind::Strategy, "moody-strategy");
    for mood in ["loop", "ask"] {
        let books = Books::that(Reply::Never);
        let task = changebus::outside::wasm::StrategyTask {
            wall_limit: Duration::from_millis(200),
            ..task(json!({ "do": mood }), &books)
        };
        let ended = PLUGINS.run_strategy(&plugin, task).await.answer;
        assert_ended(
            ended,
            PluginFailureKind::TimedOut,
            "gave no answer within 0.2 s",
        );
    }
    assert_good_ones_still_run(&PLUGINS).await;
}

#[tokio::test]
async fn a_strategy_that_allocates_without_end_is_stopped_at_its_share_of_memory() {
    assert_ended(
        run_mood("allocate").await,
        PluginFailureKind::OutOfMemory,
        "more than the 256 MiB of memory",
    );
    assert_good_ones_still_run(&PLUGINS).await;
}

#[tokio::test]
async fn a_strategy_that_panics_is_quoted() {
    let ended = run_mood("panic").await;
    let said = "it said: panicked at tests/guests/moody-strategy/src/lib.rs";
    assert!(
        ended
            .as_ref()
            .is_err_and(|failure| failure.why.contains(said)),
        "{ended:?}"
    );
    assert_ended(ended, PluginFailureKind::Trapped, "no idea what shop means");
    assert_good_ones_still_run(&PLUGINS).await;
}

#[tokio::test]
async fn a_strategy_that_recurses_without_end_traps() {
    assert_ended(
        run_mood("recurse").await,
        PluginFailureKind::Trapped,
        "trapped: ",
    );
    assert_good_ones_still_run(&PLUGINS).await;
}

#[tokio::test]
async fn a_strategy_cannot_pour_a_hundred_megabytes_over_the_host() {
    for mood in ["return-100mb", "send-100mb"] {
        assert_ended(
            run_mood(mood).await,
            PluginFailureKind::Flooded,
            "more data in one call than the 8 MiB it may",
        );
    }
    assert_good_ones_still_run(&PLUGINS).await;
}

#[tokio::test]
async fn a_strategy_that_floods_the_host_is_named_with_the_limit_it_broke() {
    let floods = [
        (
            "flood-hostcalls",
            "called the host more than the 200000 times",
        ),
        ("hoard-handles", "more than the 10000 host objects"),
        (
            "hoard-prompts",
            "more than the 32 MiB of prompts and patches",
        ),
        ("big-patch", "a patch larger than the 8 MiB"),
    ];
    for (mood, why) in floods {
        assert_ended(run_mood(mood).await, PluginFailureKind::Flooded, why);
    }
    assert_good_ones_still_run(&PLUGINS).await;
}

#[tokio::test]
async fn log_lines_beyond_the_limit_are_dropped_and_the_drop_is_told_once() {
    let books = Arc::new(Books::default());
    let answer = run(&PLUGINS, json!({ "do": "flood-log" }), &books).await;
    assert_eq!(answer, Ok(StrategyAnswer::Decline("logged".to_owned())));
    let lines = books.lines();
    assert_eq!(lines.len(), 1_001);
    assert!(
        lines[..1_000]
            .iter()
            .all(|(level, text, _)| *level == LogLevel::Info && text.len() == 4096)
    );
    let (level, told, _) = &lines[1_000];
    assert_eq!(*level, LogLevel::Warn);
    assert!(
        told.starts_with("4000 further log lines were dropped"),
        "{told}"
    );
}

#[tokio::test]
async fn proposals_that_make_no_sense_are_refused() {
    for confidence in [json!("NaN"), json!("inf"), json!(1.5), json!(-0.5)] {
        let ended = run(
            &PLUGINS,
            json!({ "do": "propose", "confidence": confidence }),
            &Arc::default(),
        )
        .await;
        assert_ended(
            ended,
            PluginFailureKind::Nonsense,
            "which is not between 0 and 1",
        );
    }
    assert_ended(
        run_mood("propose-bytes").await,
        PluginFailureKind::Nonsense,
        "`logo.png` with bytes that are not UTF-8",
    );
}

#[tokio::test]
async fn the_host_goes_on_while_a_guest_spins() {
    let books = Arc::new(Books::default());
    let spinning = run(&PLUGINS, json!({ "do": "loop" }), &books);
    let heartbeat = async {
        for _ in 0..50 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_good_ones_still_run(&PLUGINS).await;
    };
    // The one thread of this runtime beats, and another guest comes and goes, before the first is stopped.
    tokio::select! {
        biased;
        ended = spinning => panic!("the guest ended first: {ended:?}"),
        () = heartbeat => {}
    }
}

#[tokio::test]
async fn guests_that_wait_hold_no_thread() {
    let plugins = plugins(Limits {
        threads: 1,
        ..Limits::default()
    });
    // Nobody gets an answer before all forty have asked.
    let books = Books::that(Reply::Together(Arc::new(Barrier::new(40))));
    let mut asking = JoinSet::new();
    for _ in 0..40 {
        let (plugins, books) = (plugins.clone(), Arc::clone(&books));
        asking.spawn(async move { run(&plugins, json!({ "do": "ask" }), &books).await });
    }
    let answers = asking.join_all().await;
    assert!(
        answers
            .iter()
            .all(|answer| matches!(answer, Ok(StrategyAnswer::Decline(_))))
    );
}

#[tokio::test]
async fn a_judge_never_waits_behind_strategies() {
    let books = Books::that(Reply::Never);
    let mut asking = JoinSet::new();
    let at_once = Limits::default().strategies_at_once;
    for _ in 0..2 * at_once {
        let books = Arc::clone(&books);
        asking.spawn(async move { run(&PLUGINS, json!({ "do": "ask" }), &books).await });
    }
    while books.asked.lock().unwrap().len() < at_once {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let plugin = PLUGINS.reference(PluginKind::Scorer, "moody-scorer");
    assert!(
        PLUGINS
            .run_scorer(&plugin, field("score"))
            .await
            .answer
            .is_ok()
    );
    assert!(asking.try_join_next().is_none());
    assert_eq!(books.asked.lock().unwrap().len(), at_once);
}

#[tokio::test]
async fn a_strategy_whose_answer_nobody_awaits_is_stopped() {
    for mood in ["loop", "ask"] {
        let books = Books::that(Reply::Never);
        let mut running = Box::pin(run(&PLUGINS, json!({ "do": mood }), &books));
        tokio::select! {
            ended = &mut running => panic!("it should not end: {ended:?}"),
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
        drop(running);
        // The guest's state holds the services: once they are ours alone, it is gone.
        while Arc::strong_count(&books) > 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test]
#[should_panic(expected = "the books are lost")]
async fn a_panic_of_the_host_is_not_blamed_on_the_plugin() {
    let _ = run(&PLUGINS, json!({ "do": "ask" }), &Books::that(Reply::Panic)).await;
}

#[tokio::test]
async fn a_scorer_marks_the_field() {
    let plugin = PLUGINS.reference(PluginKind::Scorer, "moody-scorer");
    let scores = PLUGINS
        .run_scorer(&plugin, field("score"))
        .await
        .answer
        .expect("it scores");
    assert_eq!(scores.len(), 2);
    assert_eq!(
        (scores["A"].total, scores["A"].marks["tests"]),
        (90.0, 90.0)
    );
    assert_eq!(scores["A"].disqualified, None);
    assert_eq!(
        (scores["B"].total, scores["B"].disqualified.as_deref()),
        (50.0, Some("it breaks t::three"))
    );
    let some = PLUGINS
        .run_scorer(&plugin, field("first-only"))
        .await
        .answer
        .expect("it scores");
    assert_eq!(some.keys().collect::<Vec<_>>(), ["A"]);
}

#[tokio::test]
async fn a_scorer_learns_everything_about_the_field() {
    let plugin = PLUGINS.reference(PluginKind::Scorer, "moody-scorer");
    let told = PLUGINS
        .run_scorer(&plugin, field("tell"))
        .await
        .answer
        .expect_err("it tells by failing")
        .why;
    let told: Value =
        serde_json::from_str(told.split_once("gave up: ").expect("it says so").1).expect("in JSON");
    let contender = |id: &str, fixed: f64, gates: Value| {
        json!({
            "id": id, "strategy": "moody", "rationale": "the sign was wrong", "confidence": 0.5, "diff": "--- a",
            "paths": ["x"], "fixed": fixed, "other": null, "gates": gates, "failing": ["t::one"],
        })
    };
    let expected = json!({
        "project": "shop", "base": "ba5e", "head": "4ead", "threshold": "75", "other": null,
        "contenders": [contender("A", 9.0, json!([])), contender("B", 5.0, json!(["it breaks t::three"]))],
        "scores": [90.0, null, null], "evidence": 0.8, "security": ["it touches a lock file"], "stranger": [],
        "ambiguity": ["they behave differently"], "history": 4.0,
    });
    assert_eq!(told, expected);
}

#[tokio::test]
async fn scores_that_make_no_sense_are_refused() {
    let plugin = PLUGINS.reference(PluginKind::Scorer, "moody-scorer");
    let nonsense = [
        ("nan", "total of `A` of NaN"),
        ("too-high", "total of `A` of 100.5"),
        ("bad-mark", "a mark `diff` of inf"),
        ("stranger", "contender `Z` that is not in the field (A, B)"),
        ("twice", "scored `A` twice"),
    ];
    for (mood, why) in nonsense {
        let failure = PLUGINS
            .run_scorer(&plugin, field(mood))
            .await
            .answer
            .expect_err(mood);
        assert_eq!(failure.kind, PluginFailureKind::Nonsense, "{}", failure.why);
        assert!(
            failure.why.starts_with("plugin `moody-scorer` ") && failure.why.contains(why),
            "{}",
            failure.why
        );
    }
}

#[tokio::test]
async fn a_scorer_that_computes_forever_is_stopped() {
    let plugins = plugins(Limits {
        judge_cpu: Duration::from_millis(100),
        ..Limits::default()
    });
    let plugin = plugins.reference(PluginKind::Scorer, "moody-scorer");
    let failure = plugins
        .run_scorer(&plugin, field("loop"))
        .await
        .answer
        .expect_err("it cannot end");
    assert_eq!(failure.kind, PluginFailureKind::TimedOut, "{}", failure.why);
    assert!(
        plugins
            .run_scorer(&plugin, field("score"))
            .await
            .answer
            .is_ok()
    );
}

#[tokio::test]
async fn an_escalation_plugin_advises() {
    let plugin = PLUGINS.reference(PluginKind::Escalation, "moody-escalation");
    let advices = [
        ("merge", Action::Merge, Some("A")),
        ("propose", Action::PullRequest, Some("A")),
        ("human", Action::Human, None),
    ];
    for (mood, action, contender) in advices {
        let advice = PLUGINS
            .run_escalation(&plugin, field(mood))
            .await
            .answer
            .expect(mood);
        assert_eq!(
            (advice.action, advice.contender.as_deref()),
            (action, contender)
        );
        assert_eq!(
            advice.reasons,
            [("mood".to_owned(), "I was told so".to_owned())]
        );
    }
}

#[tokio::test]
async fn advice_that_cannot_be_followed_is_refused() {
    let plugin = PLUGINS.reference(PluginKind::Escalation, "moody-escalation");
    let ends = [
        ("stranger", PluginFailureKind::Nonsense, "contender `Z`"),
        ("give-up", PluginFailureKind::Returned, "cannot decide"),
        ("panic", PluginFailureKind::Trapped, "unreachable"),
    ];
    for (mood, kind, why) in ends {
        let failure = PLUGINS
            .run_escalation(&plugin, field(mood))
            .await
            .answer
            .expect_err(mood);
        assert_eq!(failure.kind, kind, "{}", failure.why);
        assert!(failure.why.contains(why), "{}", failure.why);
    }
}

#[tokio::test]
async fn a_wasip2_guest_runs_with_an_empty_environment_and_its_output_is_logged() {
    let plugin = PLUGINS.reference(PluginKind::Strategy, "printing-strategy");
    let books = Arc::new(Books::default());
    let answer = PLUGINS
        .run_strategy(&plugin, task(json!({}), &books))
        .await
        .answer;
    assert_eq!(
        answer,
        Ok(StrategyAnswer::Decline("(0, 0, true)".to_owned()))
    );
    assert_eq!(
        books.lines(),
        [(LogLevel::Info, "looking".to_owned(), Vec::new())]
    );
    let failure = PLUGINS
        .run_strategy(&plugin, task(json!({ "a": 1 }), &books))
        .await
        .answer
        .expect_err("it panics");
    assert_eq!(failure.kind, PluginFailureKind::Trapped);
    assert!(
        failure.why.contains("the config should be empty"),
        "{}",
        failure.why
    );
}

#[test]
fn plugins_are_listed_with_what_they_ask_of_the_host() {
    let list = PLUGINS.list();
    let names: Vec<_> = list
        .iter()
        .map(|info| (info.kind, info.name.as_str()))
        .collect();
    let expected = [
        (PluginKind::Strategy, "moody-strategy"),
        (PluginKind::Strategy, "printing-strategy"),
        (PluginKind::Scorer, "moody-scorer"),
        (PluginKind::Escalation, "moody-escalation"),
    ];
    assert_eq!(names, expected);
    let escalation = &list[3];
    assert_eq!(
        escalation.imports,
        ["changebus:host/config@0.1.1", "changebus:host/arena@0.1.1"]
    );
    assert_eq!(escalation.digest.len(), 64);
    assert_eq!(
        escalation.size,
        std::fs::metadata(&escalation.path)
            .expect("it is there")
            .len()
    );
}

#[test]
fn a_file_that_is_no_plugin_is_named_with_what_to_do_and_keeps_no_other_from_loading() {
    let dir = tempfile::tempdir().expect("a directory");
    let good = std::fs::read(guest_dir().join("moody-scorer.wasm")).expect("it is built");
    let files: [(&str, &[u8], &str); 6] = [
        (
            "core",
            b"\0asm\x01\0\0\0",
            "is a core module, not a component",
        ),
        (
            "empty",
            b"\0asm\x0d\0\x01\0",
            "exports none of `changebus:strategy/fix`",
        ),
        ("text", b"hello", "does not begin like one"),
        ("torn", &good[..good.len() / 2], "is torn"),
        ("nothing", b"", "is empty"),
        ("good", &good, ""),
    ];
    for (name, bytes, _) in &files {
        std::fs::write(dir.path().join(format!("{name}.wasm")), bytes).expect("it is written");
    }
    std::fs::write(dir.path().join("README.md"), "not looked at").expect("it is written");
    let plugins = load(&[dir.path().to_owned()], &cache(), Limits::default());
    assert_eq!(
        plugins
            .list()
            .iter()
            .map(|info| info.name.as_str())
            .collect::<Vec<_>>(),
        ["good"]
    );
    assert_eq!(plugins.problems().len(), 5);
    for (name, _, why) in &files[..5] {
        let path = dir.path().join(format!("{name}.wasm"));
        let problem = plugins
            .problems()
            .into_iter()
            .find(|problem| problem.path == path)
            .expect(name);
        assert!(problem.why.contains(why), "{name}: {}", problem.why);
    }
}

#[test]
fn an_import_that_is_not_given_is_named() {
    let problem = &PLUGINS.problems()[0];
    assert_eq!(
        problem.path.file_name(),
        Some("greedy-scorer.wasm".as_ref())
    );
    assert_eq!(
        problem.why,
        "imports `changebus:host/llm@0.1.1`, which plugins of kind scorer are not given; build it without"
    );
    assert_eq!(PLUGINS.problems().len(), 1);
}

#[tokio::test]
async fn the_first_file_of_a_name_wins_and_a_broken_one_lets_no_other_step_in() {
    let (first, second) = (
        tempfile::tempdir().expect("a directory"),
        tempfile::tempdir().expect("a directory"),
    );
    let put = |guest: &str, dir: &Path, name: &str| {
        std::fs::copy(guest_dir().join(guest), dir.join(name)).expect("it is copied");
    };
    put("moody-strategy.wasm", first.path(), "fixer.wasm");
    put("printing-strategy.wasm", second.path(), "fixer.wasm");
    std::fs::write(first.path().join("judge.wasm"), b"broken").expect("it is written");
    put("moody-scorer.wasm", second.path(), "judge.wasm");
    let nowhere = first.path().join("not-there");
    let dirs = [nowhere, first.path().to_owned(), second.path().to_owned()];
    let plugins = load(&dirs, &cache(), Limits::default());
    let paths: Vec<_> = plugins.list().into_iter().map(|info| info.path).collect();
    assert_eq!(paths, [first.path().join("fixer.wasm")]);
    let judge = plugins.reference(PluginKind::Scorer, "judge");
    let failure = plugins
        .run_scorer(&judge, field("score"))
        .await
        .answer
        .expect_err("it is not loaded");
    assert_eq!(failure.kind, PluginFailureKind::Missing);
    assert!(
        failure.why.contains("is not loaded") && failure.why.contains("judge.wasm"),
        "{}",
        failure.why
    );
}

#[tokio::test]
async fn a_plugin_is_run_only_from_the_bytes_it_is_pinned_to() {
    let pinned = |digest: &str| PluginRef {
        name: "moody-strategy".to_owned(),
        digest: digest.to_owned(),
    };
    for (digest, why) in [
        ("", "was not there when the tournament opened"),
        ("abc", "is pinned to the file with digest abc"),
    ] {
        let ended = PLUGINS
            .run_strategy(&pinned(digest), task(json!({}), &Arc::default()))
            .await
            .answer;
        assert_ended(ended, PluginFailureKind::Missing, why);
    }
    let unheard = PLUGINS.reference(PluginKind::Strategy, "unheard-of");
    assert_eq!(unheard.digest, "");
    let failure = PLUGINS
        .run_strategy(&unheard, task(json!({}), &Arc::default()))
        .await
        .answer
        .expect_err("there is none");
    assert_eq!(failure.kind, PluginFailureKind::Missing);
    let why = "plugin `unheard-of` is in no plugin directory (plugins of kind strategy: moody-strategy, printing-strategy)";
    assert_eq!(failure.why, why);
}

#[test]
fn the_host_stays_small_whatever_guests_do() {
    assert_passes(alone(
        "plugins::alone_bad_guests_leave_little_behind",
        &["exec"],
    ));
}

#[test]
fn plugins_run_where_address_space_is_short() {
    assert_passes(alone(
        "plugins::alone_good_guests_run",
        &["ulimit -v 8000000", "exec"],
    ));
}

/// Runs one ignored test of this binary in a process of its own, after some words to the shell.
pub fn alone(test: &str, words: &[&str]) -> Output {
    let this = std::env::current_exe().expect("it runs");
    let script = format!(
        "{} \"$0\" --exact {test} --ignored --nocapture",
        words.join(" && ")
    );
    Command::new("sh")
        .arg("-c")
        .arg(script)
        .arg(this)
        .output()
        .expect("sh runs")
}

pub fn assert_passes(output: Output) {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success() && out.contains("1 passed"),
        "{}\n{out}\n{err}",
        output.status
    );
}

#[tokio::test]
#[ignore = "run in a process of its own by the_host_stays_small_whatever_guests_do"]
async fn alone_bad_guests_leave_little_behind() {
    let plugins = plugins(Limits {
        memory_bytes: 128 << 20,
        ..Limits::default()
    });
    assert_good_ones_still_run(&plugins).await;
    let before = most_resident_kib();
    for mood in [
        "allocate",
        "return-100mb",
        "send-100mb",
        "hoard-handles",
        "hoard-prompts",
        "big-patch",
        "flood-log",
    ] {
        let _ = run(&plugins, json!({ "do": mood }), &Arc::default()).await;
    }
    let grown = (most_resident_kib() - before) >> 10;
    println!("grew by {grown} MiB");
    // The guest's 128 MiB, the 32 MiB it may leave with the host, 8 MiB on their way, and the host's own needs.
    assert!(grown < 256, "the host grew by {grown} MiB");
    assert_good_ones_still_run(&plugins).await;
}

/// The most memory this process ever had, in KiB.
pub fn most_resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("it is told");
    line.trim()
        .trim_end_matches(" kB")
        .parse()
        .expect("a number")
}

#[tokio::test]
#[ignore = "run in a process of its own by plugins_run_where_address_space_is_short"]
async fn alone_good_guests_run() {
    let plugins = plugins(Limits::default());
    assert_good_ones_still_run(&plugins).await;
    let ended = run(&plugins, json!({ "do": "allocate" }), &Arc::default()).await;
    assert_ended(
        ended,
        PluginFailureKind::OutOfMemory,
        "more than the 256 MiB of memory",
    );
}

/// A call of `moody-strategy` with everything it left behind.
async fn called(mood: Value, books: &Arc<Books>) -> Called<StrategyAnswer> {
    let plugin = PLUGINS.reference(PluginKind::Strategy, "moody-strategy");
    PLUGINS.run_strategy(&plugin, task(mood, books)).await
}

#[tokio::test]
async fn a_call_can_be_had_again_from_its_journal_alone() {
    let plugin = PLUGINS.reference(PluginKind::Strategy, "moody-strategy");
    for mood in [
        "tell",
        "ask",
        "probe",
        "propose",
        "panic",
        "give-up",
        "flood-hostcalls",
    ] {
        let called = called(json!({ "do": mood }), &Arc::default()).await;
        let journal = called.journal.expect("it was called");
        let again = PLUGINS.replay(&plugin, &journal).await.expect("it replays");
        assert!(again.is_same(), "{mood}: {again:?}");
        assert_eq!(again.now.is_ok(), called.answer.is_ok(), "{mood}");
    }
    let scorer = PLUGINS.reference(PluginKind::Scorer, "moody-scorer");
    for mood in ["score", "tell", "nan"] {
        let called = PLUGINS.run_scorer(&scorer, field(mood)).await;
        let journal = called.journal.expect("it was called");
        let again = PLUGINS.replay(&scorer, &journal).await.expect("it replays");
        assert!(again.is_same(), "{mood}: {again:?}");
    }
}

#[tokio::test]
async fn a_journal_that_another_plugin_cannot_follow_names_the_first_call_that_differs() {
    let called = called(json!({ "do": "tell" }), &Arc::default()).await;
    let journal = called.journal.expect("it was called");
    let other = PLUGINS.reference(PluginKind::Strategy, "printing-strategy");
    let again = PLUGINS.replay(&other, &journal).await.expect("it replays");
    assert!(!again.is_same());
    let divergence = again.divergence.expect("it went another way").to_string();
    assert!(
        divergence.starts_with("call 2: then failure.project"),
        "{divergence}"
    );
}

#[tokio::test]
async fn the_ledger_tells_what_a_call_used_up() {
    let asked = called(json!({ "do": "ask" }), &Arc::default()).await.ledger;
    assert_eq!(
        (asked.llm_calls, asked.llm_tokens, asked.usd_micros),
        (1, 23, 1500)
    );
    assert!(asked.memory_bytes >= 1 << 20, "{asked:?}");
    assert!(asked.bytes_in > 0 && asked.bytes_out > 0, "{asked:?}");
    let probed = called(json!({ "do": "probe" }), &Arc::default())
        .await
        .ledger;
    assert_eq!((probed.probes, probed.llm_calls), (1, 0));
    let flooded = called(json!({ "do": "flood-log" }), &Arc::default())
        .await
        .ledger;
    assert_eq!((flooded.log_lines, flooded.log_dropped), (1_000, 4_000));
    assert_eq!(denied(&flooded), ["limit.log-lines"]);
}

fn denied(ledger: &Ledger) -> Vec<&str> {
    ledger.denials.iter().map(|d| d.code.as_str()).collect()
}

#[tokio::test]
async fn every_denial_stands_in_the_ledger() {
    let empty = Fault::new(FaultKind::Budget, "llm.budget", "nothing is left");
    let asked = called(json!({ "do": "ask" }), &Books::that(Reply::Fault(empty))).await;
    assert_eq!(denied(&asked.ledger), ["llm.budget"]);
    let limits = [
        ("allocate", "limit.memory"),
        ("send-100mb", "limit.crossing"),
        ("flood-hostcalls", "limit.host-calls"),
        ("hoard-handles", "limit.host-objects"),
        ("hoard-prompts", "limit.held"),
        ("big-patch", "limit.patch"),
    ];
    for (mood, code) in limits {
        let ended = called(json!({ "do": mood }), &Arc::default()).await;
        assert_eq!(denied(&ended.ledger), [code], "{mood}");
        assert_eq!(ended.fault_of, FaultOf::Plugin);
    }
}

#[tokio::test]
async fn a_strategy_that_waits_for_a_host_that_hangs_is_not_to_blame() {
    let plugin = PLUGINS.reference(PluginKind::Strategy, "moody-strategy");
    for (mood, fault_of) in [("ask", FaultOf::Host), ("loop", FaultOf::Plugin)] {
        let task = changebus::outside::wasm::StrategyTask {
            wall_limit: Duration::from_millis(200),
            ..task(json!({ "do": mood }), &Books::that(Reply::Never))
        };
        let called = PLUGINS.run_strategy(&plugin, task).await;
        assert_eq!(called.fault_of, fault_of, "{mood}");
        assert_eq!(denied(&called.ledger), ["limit.wall"]);
    }
}

#[tokio::test]
async fn what_goes_between_a_guest_and_the_host_is_bounded_as_a_whole() {
    let plugins = plugins(Limits {
        boundary_bytes: 100_000,
        ..Limits::default()
    });
    let ended = run(
        &plugins,
        json!({ "do": "flood-hostcalls" }),
        &Arc::default(),
    )
    .await;
    assert_ended(
        ended,
        PluginFailureKind::Flooded,
        "exchanged more than the 97 KiB it may with the host",
    );
}
