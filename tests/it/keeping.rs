//! The log in an operator's hands: looked over, copied while it is written, handed on.
//!
//! Touches: files, processes, git, http, sqlite.
//! Change here: when `changebus store` learns something, or something else can happen to a log.

use std::path::{Path, PathBuf};
use std::process::Output;

use changebus::event::{Event, Fact, RunId};
use changebus::outside::store::Store;
use changebus::rules::envelope;
use changebus_tests::world::World;
use serde_json::{Value, json};

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

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

fn lines(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", said(output));
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .collect()
}

/// The world's log in a state directory of its own.
fn copied(world: &World, name: &str) -> (PathBuf, rusqlite::Connection) {
    let state = world.path().join(name);
    std::fs::create_dir(&state).expect("a directory can be made");
    let log = state.join("events.sqlite");
    std::fs::copy(world.database(), &log).expect("a log at rest can be copied");
    let connection = rusqlite::Connection::open(&log).expect("it can be opened");
    (state, connection)
}

fn in_state(world: &World, state: &Path, args: &[&str]) -> Output {
    let state = state.display().to_string();
    output(world, &[&["--state", &state], args].concat())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_as_it_was_written_is_called_so() {
    let world = healed().await;
    let log = world.events().await;
    let verified = output(&world, &["store", "verify", "--json"]);
    assert_eq!(verified.status.code(), Some(0), "{}", said(&verified));
    let told: Value = serde_json::from_slice(&verified.stdout).expect("it is JSON");
    assert_eq!(told["ok"], true);
    assert_eq!(told["events"], log.len());
    assert_eq!(told["head"].as_str().map(str::len), Some(64));
    assert!(told["bodies"].as_u64() > Some(0), "{told:#}");
    let words = said(&output(&world, &["store", "verify"]));
    assert!(words.contains("everything is as it was written"), "{words}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_was_changed_in_a_log_is_found_and_named() {
    let world = healed().await;
    let log = world.events().await;
    let run = log.iter().find_map(|e| e.run.clone()).expect("a run").0;
    let tested = log
        .iter()
        .find(|e| matches!(e.fact, Fact::Tested { .. }))
        .expect("the push was tested")
        .seq;
    let named = |e: &&Event| e.fact.body().is_some();
    let of_a_body = log.iter().rfind(named).expect("plugins were called");
    let digest = of_a_body.fact.body().expect("it names one");
    let cases = [
        (
            "event",
            format!(
                "DROP TRIGGER events_stay_as_they_are;
                 UPDATE events SET body = replace(body, 'seconds', 'sekonds') WHERE seq = {tested}"
            ),
            format!("event {tested} is not what was written"),
        ),
        (
            "status",
            "UPDATE runs SET status = 'no-fix'".to_owned(),
            format!("table runs, run {run}: status is no-fix, and the events say fixed"),
        ),
        (
            "missing",
            format!("DELETE FROM tested WHERE seq = {tested}"),
            format!("table tested, seq {tested}: it is missing"),
        ),
        (
            "extra",
            "INSERT INTO own_commits VALUES ('app', 'c0ffee', NULL)".to_owned(),
            "table own_commits, project app, oid c0ffee: no event says so".to_owned(),
        ),
        (
            "body",
            format!(
                "UPDATE journals SET body = CAST(substr(body, 1, length(body) - 1) || x'00' AS BLOB) WHERE digest = '{digest}'"
            ),
            format!("body {digest} is not what was kept under this digest"),
        ),
        (
            "lost",
            format!("DELETE FROM journals WHERE digest = '{digest}'"),
            format!(
                "body {digest} is gone, and event {} names it",
                of_a_body.seq
            ),
        ),
    ];
    for (name, tampering, told) in cases {
        let (state, connection) = copied(&world, name);
        connection.execute_batch(&tampering).expect("it tampers");
        drop(connection);
        let found = in_state(&world, &state, &["store", "verify"]);
        let words = said(&found);
        assert_eq!(found.status.code(), Some(6), "{name}: {words}");
        assert!(words.contains(&told), "{name}: {words}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_was_overwritten_is_found() {
    let world = healed().await;
    let (state, connection) = copied(&world, "damaged");
    let root: i64 = connection
        .query_row(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'events_by_type'",
            [],
            |row| row.get(0),
        )
        .expect("there is such an index");
    drop(connection);
    let path = state.join("events.sqlite");
    let mut bytes = std::fs::read(&path).expect("it can be read");
    let page = usize::try_from((root - 1) * 4096).expect("it is positive");
    bytes[page + 8..page + 108].fill(0xff);
    std::fs::write(&path, bytes).expect("it can be written");
    let found = in_state(&world, &state, &["store", "verify"]);
    let words = said(&found);
    assert_eq!(found.status.code(), Some(6), "{words}");
    assert!(words.contains("the database is damaged"), "{words}");
    assert!(words.contains("restore the newest backup"), "{words}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_derived_can_be_made_anew() {
    let world = healed().await;
    let (state, connection) = copied(&world, "astray");
    connection
        .execute_batch(
            "UPDATE heats SET won = 1 - won; DELETE FROM tips; UPDATE runs SET winner = 'Z'",
        )
        .expect("it tampers");
    drop(connection);
    let found = in_state(&world, &state, &["store", "verify"]);
    assert_eq!(found.status.code(), Some(6), "{}", said(&found));
    let rebuilt = in_state(&world, &state, &["store", "rebuild"]);
    assert_eq!(rebuilt.status.code(), Some(0), "{}", said(&rebuilt));
    let found = in_state(&world, &state, &["store", "verify"]);
    assert_eq!(found.status.code(), Some(0), "{}", said(&found));
}

fn failed(n: usize) -> Fact {
    let fact = json!({"type": "stage-failed", "stage": "test", "why": n.to_string()});
    serde_json::from_value(fact).expect("it is one")
}

/// A log in the world's state directory, with this process for its writer.
fn store(world: &World) -> Store {
    Store::open(&world.database()).expect("a log can be made")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_made_while_another_process_appends_is_sound_and_opens_as_a_log() {
    let world = orders::watched("").await;
    let log = store(&world);
    for n in 0..300 {
        log.append("app", None, failed(n))
            .await
            .expect("it is kept");
    }
    let copy = world.path().join("copies/state/events.sqlite");
    std::fs::create_dir_all(copy.parent().expect("it has one")).expect("it can be made");
    let to = copy.display().to_string();
    let mut command = world.changebus(&["store", "backup", &to]);
    let copying = tokio::task::spawn_blocking(move || command.output().expect("it starts"));
    let mut n = 300;
    while !copying.is_finished() {
        log.append("app", None, failed(n))
            .await
            .expect("it is kept");
        n += 1;
    }
    let copied = copying.await.expect("it ends");
    assert_eq!(copied.status.code(), Some(0), "{}", said(&copied));
    assert!(
        said(&copied).contains("is good. To restore it"),
        "{}",
        said(&copied)
    );

    let again = output(&world, &["store", "backup", &to]);
    assert_eq!(again.status.code(), Some(1));
    assert!(
        said(&again).contains("is there already"),
        "{}",
        said(&again)
    );

    let all = log
        .events_after(0, 1_000_000, &Default::default())
        .await
        .expect("it reads");
    let copy = Store::open(&copy).expect("it opens as a log");
    let copied = copy
        .events_after(0, 1_000_000, &Default::default())
        .await
        .expect("it reads");
    assert!(copied.len() >= 300);
    assert_eq!(copied, all[..copied.len()]);
    copy.append("app", None, failed(n))
        .await
        .expect("it goes on as a log");
    assert_eq!(
        copy.examine().await.expect("it can be looked over").flaws,
        []
    );
}

/// The world's log, as if everything in it had happened so many days earlier.
async fn aged(world: &World, days: i64) {
    let young = world.path().join("young.sqlite");
    std::fs::rename(world.database(), &young).expect("a log at rest can be moved");
    let young = Store::open_read_only(&young).expect("it reads");
    let old = store(world);
    let events = young
        .events_after(0, 1_000, &Default::default())
        .await
        .expect("it reads");
    for mut event in events {
        if let Some(digest) = event.fact.body() {
            let body = young.journal(digest).await.expect("it reads");
            old.keep_journal(digest, body.expect("it was kept"))
                .await
                .expect("it is kept");
        }
        event.at -= jiff::SignedDuration::from_hours(24 * days);
        old.import(event).await.expect("it is kept");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_removes_what_was_kept_for_runs_that_closed_long_ago_and_no_event() {
    let mut world = healed().await;
    aged(&world, 40).await;
    let log = world.events().await;
    let bodies = || -> i64 {
        let log = rusqlite::Connection::open(world.database()).expect("it opens");
        log.query_row("SELECT count(*) FROM journals", [], |row| row.get(0))
            .expect("it counts")
    };
    let before = bodies();
    assert!(before > 0);
    let mut daemon = world.daemon();
    let started = |events: &[Event]| events.len() >= log.len() && bodies() == before;
    world
        .until("the daemon to keep what is not old", started)
        .await;
    daemon.stop();
    assert_eq!(bodies(), before, "ninety days are not over");

    world.tables("[store]\nkeep_bodies_days = 30");
    let bodies = || -> i64 {
        let log = rusqlite::Connection::open(world.database()).expect("it opens");
        log.query_row("SELECT count(*) FROM journals", [], |row| row.get(0))
            .expect("it counts")
    };
    let mut daemon = world.daemon();
    world
        .until("the daemon to remove them", |_| bodies() == 0)
        .await;
    daemon.stop();
    let lock = std::fs::read_to_string(world.state().join("lock")).expect("it is there");
    assert!(
        lock.starts_with("left "),
        "asked to stop, it leaves all in order: {lock}"
    );

    assert_eq!(world.events().await[..log.len()], log);
    let verified = output(&world, &["store", "verify"]);
    let words = said(&verified);
    assert_eq!(verified.status.code(), Some(0), "{words}");
    assert!(
        words.contains(&format!("{before} more that were removed")),
        "{words}"
    );
    let checked = said(&output(&world, &["check"]));
    assert!(
        checked.contains("ok  journals: every plugin call can be replayed but"),
        "{checked}"
    );
    let replayed = output(&world, &["replay"]);
    let words = said(&replayed);
    assert_eq!(replayed.status.code(), Some(6), "{words}");
    let told = "its journal was removed 30 days after the run closed (store.keep_bodies_days)";
    assert!(words.contains(told), "{words}");
    assert!(!words.contains("DIFFERS"), "{words}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_has_every_event_in_order() {
    let world = orders::watched("").await;
    let log = store(&world);
    for n in 0..450 {
        let run = RunId(format!("app-{}", n % 3));
        let project = ["app", "other"][n % 2];
        let of = Some(&run).filter(|_| n % 5 > 0);
        log.append(project, of, failed(n))
            .await
            .expect("it is kept");
    }
    let all = log
        .events_after(0, 1_000, &Default::default())
        .await
        .expect("it reads");
    let exported = |args: &[&str]| -> Vec<Event> {
        let lines = lines(&output(&world, &[&["store", "export"], args].concat()));
        let event = |line| serde_json::from_value(line).expect("a line is an event");
        lines.into_iter().map(event).collect()
    };
    let those = |wanted: &dyn Fn(&Event) -> bool| -> Vec<Event> {
        all.iter().filter(|event| wanted(event)).cloned().collect()
    };
    assert_eq!(exported(&[]), all);
    assert_eq!(exported(&["--since", "440"]), those(&|e| e.seq > 440));
    assert_eq!(
        exported(&["--project", "other"]),
        those(&|e| e.project == "other")
    );

    let to = world.path().join("log.jsonl");
    let shown = to.display().to_string();
    let written = output(
        &world,
        &["store", "export", "--cloudevents", "--to", &shown],
    );
    assert_eq!(written.status.code(), Some(0), "{}", said(&written));
    let text = std::fs::read_to_string(&to).expect("it was written");
    let told: Vec<Event> = text
        .lines()
        .map(|line| envelope::unwrap(line.as_bytes()).expect("it is an event"))
        .collect();
    let ids = |events: &[Event]| events.iter().map(|e| e.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&told), ids(&all));
    let again = output(&world, &["store", "export", "--to", &shown]);
    assert_eq!(again.status.code(), Some(1), "{}", said(&again));
    assert_eq!(
        std::fs::read_to_string(&to).ok(),
        Some(text),
        "nothing is written over"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_may_be_of_one_run() {
    let world = healed().await;
    let of_run: Vec<Value> = world
        .events()
        .await
        .iter()
        .filter(|event| event.run.is_some())
        .map(|event| serde_json::to_value(event).expect("it is JSON"))
        .collect();
    let exported = output(&world, &["store", "export", "--run", "last"]);
    assert_eq!(lines(&exported), of_run);
}
