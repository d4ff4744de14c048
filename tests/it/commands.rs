//! The commands as a script or an operator meets them: exit codes, JSON, and `replay`.
//!
//! Touches: files, processes, git, http, sqlite.
//! Change here: when a command, a flag or an exit code comes or goes (with `docs/commands.md`).

use std::process::Output;

use changebus::event::Event;
use changebus_tests::world::World;
use scripted_claude::{Reply, Script};
use serde_json::Value;

use crate::orders;

/// A world in which `fix` has mended the push and merged it.
async fn healed() -> World {
    let world = orders::watched("").await;
    orders::break_it(&world);
    let (story, code) = world.fix(&[]);
    assert_eq!(code, 0, "{story:#}");
    world
}

fn output(world: &World, args: &[&str]) -> Output {
    world
        .changebus(args)
        .output()
        .expect("changebus can be started")
}

fn json(world: &World, args: &[&str]) -> Value {
    let output = output(world, args);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {words}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{args:?} ({e}): {words}"))
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mended_run_reads_the_same_through_events_show_and_status() {
    let world = healed().await;
    let log = world.events().await;

    let lines = output(&world, &["events", "--json"]);
    let events: Vec<Event> = String::from_utf8_lossy(&lines.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line is an event"))
        .collect();
    assert_eq!(events, log);
    let later = output(&world, &["events", "--json", "--since", "1"]);
    let later = String::from_utf8_lossy(&later.stdout).lines().count();
    assert_eq!(later, log.len() - 1);
    let trials = output(&world, &["events", "--json", "--subject", "result.trial"]);
    let trials = String::from_utf8_lossy(&trials.stdout).into_owned();
    let kinds = [r#""type":"sampled""#, r#""type":"tried""#];
    assert!(kinds.iter().all(|kind| trials.contains(kind)), "{trials}");
    assert!(
        trials
            .lines()
            .all(|l| kinds.iter().any(|kind| l.contains(kind)))
    );

    let shown = json(&world, &["show", "--json"]);
    assert_eq!(shown["story"]["status"], "fixed");
    assert_eq!(shown["story"]["project"], "app");
    let of_run = log.iter().filter(|e| e.run.is_some()).count();
    assert_eq!(shown["events"].as_array().map(Vec::len), Some(of_run));

    let status = json(&world, &["status", "--json"]);
    assert_eq!(status[0]["project"], "app");
    assert_eq!(status[0]["branch"], "main");
    assert_eq!(status[0]["runs"][0]["run"], shown["story"]["run"]);
    assert_eq!(status[0]["runs"][0]["status"], "fixed");
    assert_eq!(status[0]["tip"], world.tip());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_comes_out_as_the_run_did_and_asks_nobody() {
    let world = healed().await;
    let (calls, tip, log) = (world.model.calls(), world.tip(), world.events().await);
    let decisions = json(&world, &["replay", "--json"]);
    let decisions = decisions.as_array().expect("a list of decisions");
    assert!(
        decisions.iter().all(|d| d["same"] == true),
        "{decisions:#?}"
    );
    let named = |name: &str| decisions.iter().filter(|d| d["decision"] == name).count();
    for once in [
        "triage",
        "variant A, minimal-fix",
        "variant B, robust-refactor",
        "variant C, revert-culprit",
        "escalation, default",
        "verdict",
    ] {
        assert_eq!(named(once), 1, "{once}: {decisions:#?}");
    }
    assert!(named("scorer, weighted") > 0, "{decisions:#?}");
    assert_eq!((world.model.calls(), world.tip()), (calls, tip));
    assert_eq!(world.events().await, log, "a replay writes nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_states_of_a_run_tell_how_it_got_where_it_is() {
    let world = healed().await;
    let log = world.events().await;
    let of_run: Vec<i64> = log
        .iter()
        .filter(|e| e.run.is_some())
        .map(|e| e.seq)
        .collect();
    let states = json(&world, &["replay", "--states", "--json"]);
    let states = states.as_array().expect("a list of states");
    let seqs: Vec<i64> = states.iter().filter_map(|s| s["seq"].as_i64()).collect();
    assert_eq!(seqs, of_run);
    let mut next: Vec<&str> = states.iter().filter_map(|s| s["next"].as_str()).collect();
    next.dedup();
    assert_eq!(next.first(), Some(&"test the head"), "{next:#?}");
    assert_eq!(next.last(), Some(&"nothing, it is closed"), "{next:#?}");
    let place = |start: &str| next.iter().position(|n| n.starts_with(start));
    let course = [
        "test the head again",
        "test the base",
        "triage",
        "open a tournament",
        "have A, B, C propose",
        "try ",
        "score",
        "decide",
        "prepare the merge",
        "push ",
        "close as fixed",
    ];
    let places: Vec<Option<usize>> = course.iter().map(|start| place(start)).collect();
    assert!(places.iter().all(Option::is_some), "{places:?} {next:#?}");
    assert!(places.is_sorted(), "{places:?} {next:#?}");
    let shown = output(&world, &["replay", "--states"]);
    let words = said(&shown);
    assert_eq!(words.lines().count(), 2 * of_run.len(), "{words}");
    assert_eq!(world.events().await, log, "it writes nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_needs_no_repository_and_may_be_of_one_plugin() {
    let world = healed().await;
    std::fs::remove_dir_all(world.state().join("mirrors")).expect("there are mirrors");
    let replayed = output(&world, &["replay", "--plugin", "revert-culprit"]);
    let words = said(&replayed);
    assert_eq!(replayed.status.code(), Some(0), "{words}");
    let line = "same    variant C, revert-culprit: bit for bit as it was";
    assert_eq!(words.trim(), line);
    let unknown = output(&world, &["replay", "--plugin", "unheard-of"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(said(&unknown).contains("no call of a plugin `unheard-of`"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_with_another_plugin_of_the_name_tells_the_first_call_that_differs() {
    let world = healed().await;
    let calls = world.model.calls();
    let dir = world.path().join("other-plugins");
    std::fs::create_dir(&dir).expect("a directory can be made");
    let other = changebus_tests::guests::plugin_dir().join("robust-refactor.wasm");
    std::fs::copy(other, dir.join("minimal-fix.wasm")).expect("a plugin can be copied");
    let dir = dir.display().to_string();
    let replayed = output(&world, &["--plugins", &dir, "replay"]);
    let words = said(&replayed);
    assert_eq!(
        replayed.status.code(),
        Some(0),
        "the run's own bytes are kept: {words}"
    );
    let replayed = output(&world, &["--plugins", &dir, "replay", "--now"]);
    let words = said(&replayed);
    assert_eq!(replayed.status.code(), Some(6), "{words}");
    let differing: Vec<&str> = words.lines().filter(|l| l.starts_with("DIFFERS")).collect();
    assert_eq!(differing.len(), 1, "{words}");
    for told in [
        "variant A, minimal-fix: call ",
        "then llm.send",
        "now llm.send",
    ] {
        assert!(differing[0].contains(told), "{words}");
    }
    assert_eq!(world.model.calls(), calls);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fix_exits_with_4_where_a_human_has_to_decide() {
    let world = orders::watched("deliver = \"human\"").await;
    let pushed = orders::break_it(&world);
    let (story, code) = world.fix(&[]);
    assert_eq!((code, &story["status"]), (4, &Value::from("human")));
    assert_eq!(world.tip(), pushed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fix_exits_with_5_where_no_variant_came_through() {
    let gives_up = Script::from_fn(|_| Reply::text("NO_FIX: the shop is past mending"));
    let mut world = orders::with_model(gives_up, "").await;
    world.variants(&[("A", "minimal-fix", "{}")]);
    orders::break_it(&world);
    let (story, code) = world.fix(&[]);
    assert_eq!((code, &story["status"]), (5, &Value::from("no-fix")));
    assert_eq!(story["variants"][0]["state"], "refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fix_exits_with_0_where_nothing_is_broken() {
    let world = orders::watched("").await;
    orders::mend_it(&world);
    let (story, code) = world.fix(&[]);
    assert_eq!((code, &story["status"]), (0, &Value::from("green")));
    assert_eq!(world.model.calls(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_that_cannot_be_used_exits_with_3_and_names_file_and_key() {
    let mut world = orders::watched("").await;
    world.policy("merge_treshold = 80");
    for command in ["fix", "run", "status"] {
        let refused = output(&world, &[command]);
        let words = said(&refused);
        assert_eq!(refused.status.code(), Some(3), "{command}: {words}");
        for told in ["changebus.toml", "merge_treshold"] {
            assert!(
                words.contains(told),
                "{command} does not name {told}: {words}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_done_exits_with_1_and_what_is_not_understood_with_2() {
    let world = orders::watched("").await;
    let nowhere = world.path().join("nowhere").display().to_string();
    let cases: [(&[&str], i32, &str); 5] = [
        (&["fix", &nowhere, "--project", "app"], 1, "nowhere"),
        (&["fix", "--project", "app", "/"], 1, "not a git repository"),
        (&["show"], 1, "no event log yet"),
        (&["fix", "--no-such-flag"], 2, "--no-such-flag"),
        (&["mend"], 2, "mend"),
    ];
    for (args, code, told) in cases {
        let output = output(&world, args);
        let words = said(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {words}");
        assert!(words.contains(told), "{args:?}: {words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_is_gone_or_is_another_is_found_by_check() {
    let world = healed().await;
    let sound = output(&world, &["check"]);
    assert!(
        said(&sound).contains("journals: every plugin call can be replayed"),
        "{}",
        said(&sound)
    );
    for (tampering, lost) in [
        (
            "DELETE FROM journals WHERE digest =
             (SELECT min(body ->> '$.call.journal') FROM events WHERE type = 'plugin-called')",
            1,
        ),
        (
            "UPDATE journals SET body = (SELECT body FROM journals WHERE digest =
             (SELECT max(body ->> '$.call.journal') FROM events WHERE type = 'plugin-called'))",
            5,
        ),
    ] {
        let log = rusqlite::Connection::open(world.database()).expect("it can be opened");
        let changed = log.execute(tampering, []).expect("it can be tampered with");
        drop(log);
        let found = output(&world, &["check"]);
        assert_eq!(found.status.code(), Some(6), "{}", said(&found));
        let told = format!("{lost} of the plugins' calls cannot be replayed");
        assert!(said(&found).contains(&told), "{changed}: {}", said(&found));
    }
}
