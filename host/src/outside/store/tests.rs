//! Stories about the log: what it keeps, what it refuses, and what it survives.
//!
//! Touches: sqlite, files, processes.
//! Change here: when the store promises something new.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::*;

mod fleet;

/// Set in the process that is going to be killed: where it shall write.
const VICTIM: &str = "CHANGEBUS_TEST_STORE_VICTIM";

fn fact(value: Value) -> Fact {
    serde_json::from_value(value).expect("the test's fact is one")
}

fn run(name: &str) -> RunId {
    RunId(name.to_owned())
}

fn change_seen(head: &str) -> Fact {
    fact(json!({"type": "change-seen", "change": {
        "branch": "main", "base": "b0", "head": head, "tree": "t0", "forced": false,
        "commits": [], "paths": ["a.py"]}}))
}

fn failed(why: &str) -> Fact {
    fact(json!({"type": "stage-failed", "stage": "test", "why": why}))
}

fn closed(status: &str) -> Fact {
    fact(json!({"type": "run-closed", "status": status}))
}

fn escalated() -> Fact {
    fact(
        json!({"type": "delivered", "delivery": {"how": "escalated", "branch": null, "commit": null,
        "report": "r.md", "because": "so"}}),
    )
}

fn tested(tree: &str, suite: &str, problem: Option<&str>, seconds: f64) -> Fact {
    fact(
        json!({"type": "tested", "role": "head", "suite": suite, "report": {
        "commit": null, "tree": tree, "source": "junit", "exit": {"code": 0}, "tests": {"t": "passed"},
        "failures": [], "output": "", "problem": problem, "seconds": seconds}}),
    )
}

fn triaged(finding: &str, flaky: &[&str], failing: &[(&str, &str)]) -> Fact {
    let tests: Vec<&str> = failing.iter().map(|(test, _)| *test).collect();
    let prints: BTreeMap<&str, &str> = failing.iter().copied().collect();
    fact(json!({"type": "triaged", "triage": {
        "finding": finding, "failing": tests, "flaky": flaky, "red_before": [], "to_keep": [],
        "because": "", "prints": prints}}))
}

fn usage(tokens: u64, cost: f64) -> Value {
    json!({"input_tokens": tokens, "output_tokens": 7, "cost_usd": cost})
}

fn opening(entries: &[(&str, &str)]) -> Fact {
    let plugin = |name: &str| json!({"name": name, "digest": "d"});
    let entries: Vec<Value> = entries
        .iter()
        .map(|(name, strategy)| json!({"name": name, "strategy": plugin(strategy), "config": {}}))
        .collect();
    fact(
        json!({"type": "tournament-opened", "opening": {"entries": entries, "held_out": [],
        "scorer": plugin("weighted"), "escalation": plugin("default"), "history": {}}}),
    )
}

fn refused(variant: &str) -> Fact {
    fact(json!({"type": "refused", "variant": variant,
        "refusal": {"kind": "no-fix", "why": "nothing to do", "seconds": 1.0}}))
}

fn decided(winner: &str) -> Fact {
    fact(
        json!({"type": "decided", "verdict": {"action": "merge", "winner": winner, "score": 90.0,
        "confidence": 0.9, "reasons": [], "standings": [{"variant": winner, "state": "won",
        "score": 90.0, "confidence": 0.9, "objections": [], "because": "best"}]}}),
    )
}

fn merged(commit: &str) -> Fact {
    fact(
        json!({"type": "delivered", "delivery": {"how": "merged", "branch": "main", "commit": commit}}),
    )
}

/// Appends for a run, or for none where the name is empty.
async fn keep(store: &Store, project: &str, name: &str, fact: Fact) -> Event {
    let of = run(name);
    let of = Some(&of).filter(|_| !name.is_empty());
    store.append(project, of, fact).await.unwrap()
}

struct Dir {
    _temp: tempfile::TempDir,
    log: PathBuf,
}

fn dir() -> Dir {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let log = temp.path().join("state/events.db");
    Dir { _temp: temp, log }
}

fn all() -> EventFilter {
    EventFilter::default()
}

/// Changes the file behind the store's back, as a fault of the disk or a person with a tool would.
fn tamper(log: &Path, sql: &str) {
    let connection = rusqlite::Connection::open(log).expect("opens");
    connection.execute_batch(sql).expect("tampers");
}

#[tokio::test]
async fn an_event_comes_back_as_it_went_in_and_keeps_its_place() {
    let d = dir();
    let store = Store::open(&d.log).unwrap();
    let first = keep(&store, "p", "r1", change_seen("h1")).await;
    let second = keep(&store, "p", "", failed("no disk")).await;
    assert_eq!((first.seq, second.seq), (1, 2));
    assert!(first.id < second.id, "ids of version 7 sort by time");
    drop(store);

    let store = Store::open(&d.log).unwrap();
    let kept = store.events_after(0, 10, &all()).await.unwrap();
    assert_eq!(kept, [first, second]);
}

#[tokio::test]
async fn every_fact_of_an_append_reads_back_equal_to_what_append_returned() {
    let d = dir();
    let store = Store::open(&d.log).unwrap();
    // Decimals like this one may come back from text as their neighbour.
    let third = fact(
        json!({"type": "model-answered", "variant": "A", "call": 0, "answer": {"Ok": {
        "text": "\u{0}\u{202e}", "model": "m", "stop_reason": "end", "request_id": null,
        "usage": usage(3, 0.1 + 0.2)}}}),
    );
    let event = keep(&store, "p", "r", third).await;
    assert_eq!(store.run_events(&run("r")).await.unwrap(), [event]);
}

#[tokio::test]
async fn a_number_that_json_cannot_hold_is_refused_before_it_spoils_the_run() {
    let d = dir();
    let store = Store::open(&d.log).unwrap();
    let mut poison = tested("t", "s", None, 1.0);
    if let Fact::Tested { report, .. } = &mut poison {
        report.seconds = f64::NAN;
    }
    let refused = store.append("p", None, poison).await;
    assert!(
        matches!(refused, Err(StoreError::Unfit { .. })),
        "{refused:?}"
    );
    assert_eq!(store.newest().await.unwrap(), 0);
}

#[tokio::test]
async fn events_are_neither_changed_nor_removed_nor_put_in_the_middle() {
    let d = dir();
    let store = Store::open(&d.log).unwrap();
    for n in 0..3 {
        keep(&store, "p", "r", failed(&n.to_string())).await;
    }
    drop(store);
    let connection = rusqlite::Connection::open(&d.log).unwrap();
    let rest = "at, project, run, version, epoch, origin, type, subject, body, hash FROM events WHERE seq = 2";
    let other = rest.replace("version", "9");
    for attempt in [
        "UPDATE events SET body = '{}' WHERE seq = 2".to_owned(),
        "DELETE FROM events WHERE seq = 2".to_owned(),
        format!("INSERT INTO events SELECT 2, 'x', {other}"),
        format!("INSERT INTO events SELECT 7, 'x', {other}"),
        format!("INSERT OR REPLACE INTO events SELECT 2, 'x', {other}"),
        format!("INSERT OR REPLACE INTO events SELECT 4, id, {other}"),
        format!("INSERT OR REPLACE INTO events SELECT 3, 'x', {other}"),
        format!("INSERT OR REPLACE INTO events SELECT 4, 'x', {rest}"),
        format!("INSERT OR REPLACE INTO events SELECT 4, 'x', {other}"),
        format!("REPLACE INTO events SELECT 4, id, {other}"),
        format!("INSERT INTO events SELECT 4, id, {other}"),
        format!("INSERT INTO events SELECT 4, 'x', {rest}"),
        format!("INSERT INTO events SELECT 4, id, {other} ON CONFLICT (id) DO UPDATE SET at = 1"),
        "DELETE FROM replacing".to_owned(),
    ] {
        let refused = connection.execute(&attempt, []).expect_err(&attempt);
        // And not, say, for a slip in the statement.
        let code = refused.sqlite_error_code();
        let constraint = Some(rusqlite::ErrorCode::ConstraintViolation);
        assert_eq!(code, constraint, "{attempt}: {refused}");
    }
    // What would be passed over is not there either.
    let passed_over = format!("INSERT OR IGNORE INTO events SELECT 4, id, {other}");
    assert_eq!(connection.execute(&passed_over, []).unwrap(), 0);
    drop(connection);
    let store = Store::open(&d.log).unwrap();
    assert_eq!(store.verify().await.unwrap().events, 3);
}

#[tokio::test]
async fn an_event_that_somebody_put_in_behind_the_writer_is_neither_overwritten_nor_followed_blindly()
 {
    let d = dir();
    let store = Store::open(&d.log).unwrap();
    keep(&store, "p", "r", failed("first")).await;
    let columns = "at, project, run, version, type, subject, body, hash";
    tamper(
        &d.log,
        &format!(
            "INSERT INTO events (seq, id, {columns})
             SELECT 2, 'x', {} FROM events",
            columns.replace("version", "2")
        ),
    );
    let all_of_it = store.events_after(0, 10, &all()).await.unwrap();
    let r = run("r");
    let mut appends = vec![];
    for n in 0..8 {
        appends.push(store.append("p", Some(&r), failed(&n.to_string())));
    }
    // Those that still went by what the writer knew of the end fail; it looks anew for the others.
    let answers = futures::future::join_all(appends).await;
    let kept: Vec<Event> = answers.into_iter().flatten().collect();
    assert!(kept.len() >= 7, "{} events were kept", kept.len());
    assert_eq!((kept[0].seq, kept[0].version), (3, Some(3)));
    let now = store.events_after(0, 20, &all()).await.unwrap();
    assert_eq!(now, [all_of_it, kept].concat());
}

#[tokio::test]
async fn a_byte_flipped_in_any_column_is_found_and_named() {
    for change in [
        "body = replace(body, 'why', 'Why')",
        "at = at + 1",
        "project = 'q'",
        "run = 's'",
        "version = 9",
        "epoch = 1",
        "origin = 'elsewhere'",
        "type = 'run-closed'",
        "id = 'other'",
        "subject = 'result.run.p.closed'",
        "hash = zeroblob(32)",
        "body = cast(x'ff' AS TEXT)",
    ] {
        let d = dir();
        let store = Store::open(&d.log).unwrap();
        for n in 0..5 {
            let fact = failed(&n.to_string());
            keep(&store, "p", "r", fact).await;
        }
        let good = store.verify().await.unwrap();
        assert_eq!((good.events, good.head.len()), (5, 64));
        drop(store);
        tamper(
            &d.log,
            &format!(
                "DROP TRIGGER events_stay_as_they_are; UPDATE events SET {change} WHERE seq = 3;"
            ),
        );
        let found = Store::open_read_only(&d.log).unwrap().verify().await;
        assert!(
            matches!(found, Err(StoreError::Altered { seq: 3, .. })),
            "{change}: {found:?}"
        );
    }
}

#[tokio::test]
async fn an_event_cut_out_of_the_middle_is_found() {
    let d = dir();
    let store = Store::open(&d.log).unwrap();
    for n in 0..5 {
        keep(&store, "p", "", failed(&n.to_string())).await;
    }
    drop(store);
    tamper(
        &d.log,
        "DROP TRIGGER events_are_kept; DELETE FROM events WHERE seq = 2",
    );
    let found = Store::open_read_only(&d.log).unwrap().verify().await;
    assert!(
        matches!(found, Err(StoreError::Altered { seq: 2, .. })),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_second_writer_is_refused_and_told_who_is_there_while_readers_are_welcome() {
    let d = dir();
    let store = Store::open(&d.log).unwrap();
    keep(&store, "p", "", failed("x")).await;

    let Err(refused) = Store::open(&d.log) else {
        panic!("two writers on one log");
    };
    let message = refused.to_string();
    assert!(
        message.contains(&format!("pid {}", std::process::id())),
        "{message}"
    );
    assert!(message.contains("state/lock"), "{message}");

    let reader = Store::open_read_only(&d.log).unwrap();
    assert_eq!(reader.newest().await.unwrap(), 1);
    let refused = reader.append("p", None, failed("y")).await;
    assert!(matches!(refused, Err(StoreError::ReadOnly { .. })));

    drop(store);
    let next = Store::open(&d.log).unwrap();
    keep(&next, "p", "", failed("z")).await;
    assert_eq!(reader.newest().await.unwrap(), 2);
}

#[tokio::test]
async fn a_log_nobody_writes_can_be_read_and_one_that_is_not_there_is_named() {
    let d = dir();
    let Err(missing) = Store::open_read_only(&d.log) else {
        panic!("read a log that is not there");
    };
    assert!(missing.to_string().contains("events.db"), "{missing}");
    let store = Store::open(&d.log).unwrap();
    keep(&store, "p", "", failed("x")).await;
    drop(store);
    let left_behind = d.log.with_file_name("events.db-wal");
    assert!(!left_behind.exists(), "the last writer tidies up");
    let reader = Store::open_read_only(&d.log).unwrap();
    assert_eq!(reader.events_after(0, 9, &all()).await.unwrap().len(), 1);
}

/// In the place of the log, as a copy from elsewhere.
fn put(log: &Path, bytes: &[u8]) {
    let fresh = log.with_extension("fresh");
    std::fs::write(&fresh, bytes).unwrap();
    std::fs::rename(&fresh, log).unwrap();
}

fn damaged(good: &[u8]) -> Vec<u8> {
    let mut damaged = good.to_vec();
    for byte in &mut damaged[4096..4196] {
        *byte ^= 0xff;
    }
    damaged
}

#[test]
fn a_log_that_was_left_in_good_order_is_not_read_through_at_the_next_start() {
    let d = dir();
    drop(Store::open(&d.log).unwrap());
    let good = std::fs::read(&d.log).unwrap();
    let lock = d.log.with_file_name("lock");
    let refused = |what: &str| {
        let refused = Store::open(&d.log).err();
        assert!(
            matches!(refused, Some(StoreError::Damaged { .. })),
            "{what}: {refused:?}"
        );
    };
    // Damage of which the file says nothing: length and time are those it was left with.
    let left = std::fs::metadata(&d.log).unwrap().modified().unwrap();
    let disguised = || {
        std::fs::write(&d.log, damaged(&good)).unwrap();
        let file = std::fs::File::options().write(true).open(&d.log).unwrap();
        file.set_modified(left).unwrap();
    };
    disguised();
    let mark = std::fs::read_to_string(&lock).unwrap();
    assert!(mark.starts_with("left "), "{mark}");
    Store::open(&d.log).expect("nothing seems to have been touched");

    std::fs::write(&lock, "1234567").unwrap();
    refused("after a process that was killed");
    std::fs::remove_file(&lock).unwrap();
    refused("where nobody said how it was left");
    std::fs::write(&lock, &mark).unwrap();
    std::fs::write(d.log.with_file_name("events.db-wal"), "x").unwrap();
    refused("with something left in the write-ahead log");
    std::fs::write(&lock, &mark).unwrap();
    put(&d.log, &damaged(&good));
    refused("with another file in its place");
}

#[test]
fn a_damaged_a_foreign_and_a_newer_file_are_refused_with_what_to_do() {
    let d = dir();
    drop(Store::open(&d.log).unwrap());
    let good = std::fs::read(&d.log).unwrap();

    put(&d.log, &damaged(&good));
    let refused = Store::open(&d.log).err().unwrap();
    assert!(
        refused.to_string().contains("restore the last backup"),
        "{refused}"
    );

    put(
        &d.log,
        &b"Dear diary, this is no database at all. ".repeat(200),
    );
    let refused = Store::open(&d.log).err().unwrap();
    assert!(refused.to_string().contains("is damaged"), "{refused}");

    put(&d.log, &good);
    tamper(&d.log, "PRAGMA user_version = 99");
    for refused in [Store::open(&d.log), Store::open_read_only(&d.log)] {
        let refused = refused.err().unwrap();
        assert!(
            refused.to_string().contains("newer changebus (schema 99"),
            "{refused}"
        );
    }

    std::fs::write(&d.log, b"").unwrap();
    let refused = Store::open_read_only(&d.log).err().unwrap();
    assert!(
        refused.to_string().contains("start the daemon"),
        "{refused}"
    );
}

#[test]
fn nobody_else_on_the_machine_can_look_inside() {
    let d = dir();
    let store = Store::open(&d.log).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let directory = d.log.parent().unwrap();
    assert_eq!(mode(directory), 0o700);
    let mut seen = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        seen += 1;
    }
    assert!(
        seen >= 3,
        "database, write-ahead log and lock were looked at"
    );
    drop(store);

    std::fs::set_permissions(&d.log, std::fs::Permissions::from_mode(0o644)).unwrap();
    drop(Store::open(&d.log).unwrap());
    assert_eq!(mode(&d.log), 0o600);
}

#[tokio::test]
async fn of_many_who_expect_the_same_length_exactly_one_goes_on() {
    let d = dir();
    let store = Store::open(&d.log).unwrap();
    let r = run("r");
    for round in 0..20 {
        let rivals = (0..16).map(|n| {
            let (store, r) = (store.clone(), r.clone());
            tokio::spawn(async move {
                let fact = failed(&n.to_string());
                store.append_expecting("p", &r, round, fact).await
            })
        });
        let mut kept = 0;
        for rival in futures::future::join_all(rivals).await {
            match rival.unwrap() {
                Ok(_) => kept += 1,
                Err(StoreError::Overtaken {
                    expected, found, ..
                }) => {
                    assert_eq!((expected, found), (round, round + 1));
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(kept, 1, "round {round}");
    }
    assert_eq!(store.run_events(&r).await.unwrap().len(), 20);
    let early = store.append_expecting("p", &r, 25, failed("x")).await;
    assert!(
        matches!(early, Err(StoreError::Overtaken { .. })),
        "{early:?}"
    );
}

#[tokio::test]
async fn ten_thousand_events_from_many_hands_stand_in_order_and_verify() {
    let d = dir();
    let store = Store::open(&d.log).unwrap();
    let hands = (0..50).map(|hand| {
        let store = store.clone();
        tokio::spawn(async move {
            let r = run(&format!("r{hand}"));
            for n in 0..200 {
                let fact = failed(&n.to_string());
                keep(&store, "p", &r.0, fact).await;
            }
        })
    });
    for hand in futures::future::join_all(hands).await {
        hand.unwrap();
    }
    assert_eq!(*store.watch().borrow(), 10_000);
    let events = store.events_after(0, 20_000, &all()).await.unwrap();
    assert!(events.iter().map(|e| e.seq).eq(1..=10_000));
    for hand in 0..50 {
        let own = store.run_events(&run(&format!("r{hand}"))).await.unwrap();
        let told = own.iter().map(|event| match &event.fact {
            Fact::StageFailed { why, .. } => why.parse::<i32>().unwrap(),
            other => panic!("{other:?}"),
        });
        assert!(told.eq(0..200), "hand {hand} is out of order");
    }
    assert_eq!(store.verify().await.unwrap().events, 10_000);
}

/// The process that is killed is this test once more, with `VICTIM` set.
#[test]
fn what_was_acknowledged_survives_a_kill_at_any_moment() {
    if let Some(log) = std::env::var_os(VICTIM) {
        return append_until_killed(Path::new(&log));
    }
    let name = std::thread::current().name().map(str::to_owned);
    let d = dir();
    let mut acknowledged = 0;
    for (round, patience) in [3, 40, 150, 400].into_iter().enumerate() {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name.as_deref().unwrap(), "--nocapture"])
            .env(VICTIM, &d.log)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let told = BufReader::new(victim.stdout.take().unwrap()).lines();
        let mut count = 0;
        for line in told {
            // The harness writes lines of its own, and the last one may be cut off by the kill.
            let Some(seq) = acknowledgement(&line.unwrap()) else {
                continue;
            };
            acknowledged = acknowledged.max(seq);
            count += 1;
            if count == patience {
                victim.kill().unwrap();
            }
        }
        assert!(
            count >= patience,
            "round {round}: the victim ended by itself"
        );
        let outcome = victim.wait().unwrap();
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&outcome),
            Some(9)
        );
        check_survivors(&d.log, acknowledged);
    }
}

fn acknowledgement(line: &str) -> Option<i64> {
    let (_, rest) = line.split_once("acknowledged ")?;
    rest.strip_suffix('.')?.parse().ok()
}

#[tokio::main(flavor = "current_thread")]
async fn append_until_killed(log: &Path) {
    let store = Store::open(log).unwrap();
    let hands = (0..4).map(|hand| {
        let store = store.clone();
        async move {
            loop {
                let fact = failed(&"x".repeat(100 * hand));
                let r = run(&format!("r{hand}"));
                let event = keep(&store, "p", &r.0, fact).await;
                println!("acknowledged {}.", event.seq);
            }
        }
    });
    futures::future::join_all(hands).await;
}

#[tokio::main(flavor = "current_thread")]
async fn check_survivors(log: &Path, acknowledged: i64) {
    let store = Store::open(log).unwrap();
    let verified = store.verify().await.unwrap();
    assert!(
        verified.events >= acknowledged,
        "{acknowledged} acknowledged, {} kept",
        verified.events
    );
    let events = store.events_after(0, usize::MAX, &all()).await.unwrap();
    assert!(events.iter().map(|e| e.seq).eq(1..=verified.events));
}

#[tokio::test]
async fn filters_narrow_by_project_run_and_start_of_subject() {
    let d = dir();
    let store = Store::open(&d.log).unwrap();
    keep(&store, "p", "r1", change_seen("h1")).await;
    keep(&store, "q", "r2", change_seen("h2")).await;
    keep(&store, "p", "r1", closed("green")).await;
    let seqs = async |after, limit, filter: EventFilter| -> Vec<i64> {
        let events = store.events_after(after, limit, &filter).await.unwrap();
        events.iter().map(|e| e.seq).collect()
    };
    let p = || EventFilter {
        project: Some("p".into()),
        ..all()
    };
    assert_eq!(seqs(0, 9, p()).await, [1, 3]);
    assert_eq!(seqs(1, 9, p()).await, [3]);
    assert_eq!(seqs(0, 1, all()).await, [1]);
    let r2 = EventFilter {
        run: Some(run("r2")),
        ..all()
    };
    assert_eq!(seqs(0, 9, r2).await, [2]);
    let pushes = EventFilter {
        subject_prefix: Some("change.".into()),
        ..p()
    };
    assert_eq!(seqs(0, 9, pushes).await, [1]);
    let last = store.last_events(2, &all()).await.unwrap();
    assert_eq!(last.iter().map(|e| e.seq).collect::<Vec<_>>(), [2, 3]);
}

#[tokio::test]
async fn runs_are_open_until_they_are_closed() {
    let d = dir();
    let store = Store::open(&d.log).unwrap();
    for (project, name) in [("p", "r1"), ("q", "r2"), ("p", "r3")] {
        keep(&store, project, name, change_seen(name)).await;
    }
    keep(&store, "q", "r2", closed("red-before")).await;
    let open = store.open_runs().await.unwrap();
    assert_eq!(open, [("p".into(), run("r1")), ("p".into(), run("r3"))]);

    let recent = store.runs(None, 2).await.unwrap();
    assert_eq!(recent[0].run, run("r3"));
    assert_eq!(
        (&recent[1].run, recent[1].closed),
        (&run("r2"), Some(RunStatus::RedBefore))
    );
    assert_eq!(recent[1].change.head, Oid("r2".into()));
    let of_p = store.runs(Some("p"), 9).await.unwrap();
    assert_eq!(of_p.len(), 2);
    let opened = store.run_events(&run("r1")).await.unwrap()[0].at;
    assert_eq!(of_p[1].opened_at, opened);
}

#[tokio::test]
async fn the_last_tip_is_the_latest_one_seen_or_made() {
    let d = dir();
    let store = Store::open(&d.log).unwrap();
    let tip = async || store.last_tip("p").await.unwrap().map(|oid| oid.0);
    let saw = |value: Value| fact(json!({"type": "watched", "sighting": value}));
    assert_eq!(tip().await, None);
    keep(&store, "p", "", saw(json!({"saw": "adopted", "tip": "a"}))).await;
    keep(
        &store,
        "q",
        "",
        saw(json!({"saw": "adopted", "tip": "other"})),
    )
    .await;
    assert_eq!(tip().await.as_deref(), Some("a"));
    keep(&store, "p", "r", change_seen("b")).await;
    assert_eq!(tip().await.as_deref(), Some("b"));
    let prepared = json!({"type": "merge-prepared", "merge": {"branch": "main", "onto": "b",
        "commit": "c", "tree": "t", "tested": "yes"}});
    keep(&store, "p", "r", fact(prepared)).await;
    let own = async || store.delivered_commits("p").await.unwrap();
    let made = BTreeSet::from([Oid("c".into())]);
    assert_eq!(
        own().await,
        made,
        "known before the push, so that it is never run on"
    );
    assert_eq!(
        tip().await.as_deref(),
        Some("b"),
        "a prepared merge is not a tip yet"
    );
    keep(&store, "p", "r", merged("c")).await;
    assert_eq!(tip().await.as_deref(), Some("c"));
    let ignored = json!({"saw": "ignored", "tip": "d", "reason": "paths-ignored"});
    keep(&store, "p", "", saw(ignored)).await;
    keep(
        &store,
        "p",
        "",
        saw(json!({"saw": "unreachable", "why": "no route"})),
    )
    .await;
    assert_eq!(tip().await.as_deref(), Some("d"));

    let sighting = store.last_sighting("p").await.unwrap();
    assert_eq!(
        sighting,
        Some(Sighting::Unreachable {
            why: "no route".into()
        })
    );
    assert_eq!(own().await, made);
}

#[tokio::test]
async fn a_report_stands_in_for_the_same_tree_and_suite_only_if_it_is_complete() {
    let d = dir();
    let store = Store::open(&d.log).unwrap();
    for fact in [
        tested("t1", "s1", None, 1.0),
        tested("t1", "s1", None, 2.0),
        tested("t1", "s1", Some("setup failed"), 3.0),
        tested("t2", "s1", Some("setup failed"), 4.0),
    ] {
        keep(&store, "p", "r", fact).await;
    }
    let seconds = async |project: &str, tree: &str, suite: &str| {
        let tree = Oid(tree.into());
        let report = store.report_for_tree(project, &tree, suite).await.unwrap();
        report.map(|report| report.seconds)
    };
    assert_eq!(seconds("p", "t1", "s1").await, Some(2.0));
    assert_eq!(seconds("p", "t2", "s1").await, None);
    assert_eq!(seconds("p", "t1", "s2").await, None);
    assert_eq!(seconds("q", "t1", "s1").await, None);
}

#[tokio::test]
async fn spending_counts_answers_and_failures_that_cost_something() {
    let d = dir();
    let store = Store::open(&d.log).unwrap();
    let answered = |answer: Value| {
        fact(json!({"type": "model-answered", "variant": "A", "call": 1, "answer": answer}))
    };
    let good = json!({"Ok": {"text": "", "model": "m", "stop_reason": "end", "request_id": null,
        "usage": usage(100, 0.25)}});
    let truncated = json!({"Err": {"kind": "unavailable", "code": "llm.truncated", "message": "",
        "usage": {"input_tokens": 10, "output_tokens": 3, "usd_micros": 500_000}}});
    let free = json!({"Err": {"kind": "budget", "code": "llm.budget", "message": ""}});
    let first = keep(&store, "p", "r", answered(good)).await;
    let second = keep(&store, "q", "s", answered(truncated)).await;
    keep(&store, "p", "r", answered(free)).await;

    let spent = store.spent_since(first.at).await.unwrap();
    assert_eq!(
        (spent.input_tokens, spent.output_tokens, spent.cost_usd),
        (110, 10, 0.75)
    );
    let later = store.spent_since(second.at).await.unwrap();
    assert_eq!((later.input_tokens, later.cost_usd), (10, 0.5));
    let moment = jiff::SignedDuration::from_nanos(1);
    let none = store.spent_since(second.at + moment).await.unwrap();
    assert_eq!(none, Usage::default());
}

/// A run in which A wins and is merged, and B hands in nothing.
async fn won_by_a(store: &Store, name: &str) {
    let r = run(name);
    let facts = [
        change_seen(name),
        opening(&[("A", "minimal-fix"), ("B", "robust-refactor")]),
        refused("B"),
        decided("B"),
        decided("A"),
        merged(&format!("fix-of-{name}")),
        closed("fixed"),
    ];
    for fact in facts {
        keep(store, "p", &r.0, fact).await;
    }
}

#[tokio::test]
async fn history_tells_what_became_of_each_strategy_in_this_project() {
    let d = dir();
    let store = Store::open(&d.log).unwrap();
    won_by_a(&store, "r1").await;
    won_by_a(&store, "r2").await;
    keep(&store, "p", "r3", change_seen("h")).await;
    keep(&store, "q", "r4", change_seen("h")).await;
    let history = store.history("p").await.unwrap();
    for (figure, value) in [
        ("strategy/minimal-fix/tried", 2.0),
        ("strategy/minimal-fix/won", 2.0),
        ("strategy/minimal-fix/merged", 2.0),
        ("strategy/minimal-fix/refused", 0.0),
        ("strategy/robust-refactor/tried", 2.0),
        ("strategy/robust-refactor/won", 0.0),
        ("strategy/robust-refactor/refused", 2.0),
        ("project/p/runs", 3.0),
        ("project/p/fixed", 2.0),
    ] {
        assert_eq!(history.get(figure), Some(&value), "{figure}");
    }
    assert!(history.keys().all(|key| !key.contains("/q/")));
}

#[tokio::test]
async fn the_derived_tables_can_be_made_anew_from_the_events_alone() {
    let d = dir();
    let store = Store::open(&d.log).unwrap();
    won_by_a(&store, "r1").await;
    keep(&store, "p", "r1", tested("t", "s", None, 1.0)).await;
    let truncated = json!({"type": "model-answered", "variant": "A", "call": 1, "answer": {"Err":
        {"kind": "unavailable", "code": "x", "message": "",
         "usage": {"input_tokens": 10, "output_tokens": 3, "usd_micros": 5}}}});
    keep(&store, "p", "r1", fact(truncated)).await;
    keep(&store, "p", "r1", triaged("real", &["b"], &[("a", "f1")])).await;
    // Waits for people, until a run of an earlier name settles it; and one that nobody has decided about.
    for (project, name) in [("p", "z1"), ("q", "z2")] {
        keep(&store, project, name, change_seen("e")).await;
        keep(&store, project, name, escalated()).await;
        keep(&store, project, name, closed("human")).await;
    }
    keep(&store, "p", "a1", change_seen("f")).await;
    keep(&store, "p", "a1", closed("green")).await;
    let waiting = store.waiting_for_people().await.unwrap();
    assert_eq!(
        waiting.iter().map(|w| w.run.0.as_str()).collect::<Vec<_>>(),
        ["z2"]
    );
    let said = json!({"type": "app-said", "message": {"app": "ci", "event": "ping", "id": "1", "source": "s",
        "kind": "k", "data": 1}});
    for _ in 0..2 {
        keep(&store, "_all", "", fact(said.clone())).await;
    }
    assert_eq!(store.heard().await.unwrap()[0].count, 2);
    let tables = [
        "runs",
        "reviews",
        "heard",
        "tips",
        "own_commits",
        "tested",
        "spending",
        "heats",
        "flips",
        "failures",
    ];
    let kept: Vec<String> = tables.iter().map(|table| dump(&d.log, table)).collect();
    assert!(kept.iter().all(|rows| !rows.is_empty()), "{kept:?}");
    for table in tables {
        tamper(&d.log, &format!("DELETE FROM {table}"));
        assert_eq!(dump(&d.log, table), "");
    }
    tamper(&d.log, "INSERT INTO tips VALUES (77, 'p', 'nonsense', 0)");
    store.rebuild().await.unwrap();
    let rebuilt: Vec<String> = tables.iter().map(|table| dump(&d.log, table)).collect();
    assert_eq!(rebuilt, kept);
}

fn dump(log: &Path, table: &str) -> String {
    let connection = rusqlite::Connection::open(log).unwrap();
    let mut statement = connection
        .prepare(&format!("SELECT * FROM {table}"))
        .unwrap();
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| {
        let cells = (0..columns).map(|n| row.get::<_, rusqlite::types::Value>(n));
        cells.collect::<Result<Vec<_>, _>>()
    });
    let rows: Vec<String> = rows
        .unwrap()
        .map(|r| format!("{:?}\n", r.unwrap()))
        .collect();
    rows.concat()
}

#[tokio::test]
async fn a_backup_of_a_log_in_use_is_a_log() {
    let d = dir();
    let store = Store::open(&d.log).unwrap();
    won_by_a(&store, "r1").await;
    let writing = tokio::spawn({
        let store = store.clone();
        async move {
            for n in 0..300 {
                keep(&store, "p", "", failed(&n.to_string())).await;
            }
        }
    });
    let copy = d.log.parent().unwrap().join("backup/events.db");
    std::fs::create_dir(copy.parent().unwrap()).unwrap();
    store.backup(&copy).await.unwrap();
    let again = store.backup(&copy).await;
    assert!(
        matches!(again, Err(StoreError::File { .. })),
        "a backup is never overwritten"
    );
    writing.await.unwrap();

    let mode = std::fs::metadata(&copy).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let restored = Store::open(&copy).unwrap();
    let verified = restored.verify().await.unwrap();
    assert!((7..=307).contains(&verified.events));
    let original = store
        .events_after(0, verified.events as usize, &all())
        .await
        .unwrap();
    let copied = restored.events_after(0, 1000, &all()).await.unwrap();
    assert_eq!(copied, original);
    assert_eq!(
        restored.history("p").await.unwrap(),
        store.history("p").await.unwrap()
    );
    keep(&restored, "p", "", failed("goes on")).await;
}

#[tokio::test]
async fn whoever_waits_is_woken_by_this_process_and_by_another() {
    let d = dir();
    let store = Store::open(&d.log).unwrap();
    keep(&store, "p", "", failed("1")).await;
    assert_eq!(store.wait_beyond(0).await.unwrap(), 1);
    let reader = Store::open_read_only(&d.log).unwrap();
    let here = tokio::spawn({
        let store = store.clone();
        async move { store.wait_beyond(1).await.unwrap() }
    });
    let there = tokio::spawn(async move { reader.wait_beyond(1).await.unwrap() });
    keep(&store, "p", "", failed("2")).await;
    assert_eq!((here.await.unwrap(), there.await.unwrap()), (2, 2));
}

fn prepared(onto: &str, commit: &str) -> Fact {
    let merge =
        json!({"branch": "main", "onto": onto, "commit": commit, "tree": "t", "tested": "twice"});
    fact(json!({"type": "merge-prepared", "merge": merge}))
}

#[tokio::test]
async fn what_others_pushed_before_a_merge_is_still_to_be_looked_at() {
    for (onto, expected) in [("head", "merge"), ("pushed-meanwhile", "head")] {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("events.sqlite")).unwrap();
        let adopted = json!({"type": "watched", "sighting": {"saw": "adopted", "tip": "head"}});
        keep(&store, "app", "", fact(adopted)).await;
        keep(&store, "app", "run", prepared(onto, "merge")).await;
        keep(&store, "app", "run", merged("merge")).await;
        let tip = store.last_tip("app").await.unwrap().unwrap();
        assert_eq!(tip.0, expected);
    }
}

#[tokio::test]
async fn what_was_rejected_stays_so_though_people_merge_it_and_is_made_anew_as_it_was() {
    let d = dir();
    let store = Store::open(&d.log).unwrap();
    keep(&store, "p", "r", change_seen("h")).await;
    let asked = keep(&store, "p", "r", escalated()).await;
    let rejected = fact(json!({"type": "reviewed", "given": "g", "review": {
        "run": "r", "ruling": {"ruling": "reject"}, "reason": "no", "by": "ada", "via": "page"}}));
    keep(&store, "p", "r", rejected).await;
    let ended = fact(
        json!({"type": "pull-request-ended", "end": {"run": "r", "about": asked.id,
        "forge": "hub", "number": 7, "fate": {"how": "merged", "by": "bob", "commit": "c"}}}),
    );
    keep(&store, "p", "", ended).await;
    assert_eq!(store.waiting_for_people().await.unwrap(), []);
    let kept = dump(&d.log, "reviews");
    assert!(kept.contains("rejected"), "{kept}");
    store.rebuild().await.unwrap();
    assert_eq!(dump(&d.log, "reviews"), kept);
}

#[tokio::test]
async fn flips_are_counted_over_the_last_forty_runs_of_a_project() {
    let d = dir();
    let store = Store::open(&d.log).unwrap();
    for n in 0..50 {
        let name = format!("r{n:02}");
        keep(&store, "p", &name, change_seen(&format!("h{n}"))).await;
        let flaky: &[&str] = match n {
            0..9 => &["old"],
            20 => &["a", "b"],
            49 => &["a"],
            _ => &[],
        };
        keep(&store, "p", &name, triaged("flaky", flaky, &[])).await;
    }
    keep(&store, "q", "q1", change_seen("h")).await;
    keep(&store, "q", "q1", triaged("flaky", &["a"], &[])).await;
    let told = |flakes: Vec<Flake>| -> Vec<(String, u32, u32)> {
        let line = |f: Flake| (f.test, f.seen.flips, f.seen.runs);
        flakes.into_iter().map(line).collect()
    };
    let all = store.flakes("p", None).await.unwrap();
    assert_eq!(told(all), [("a".into(), 2, 40), ("b".into(), 1, 40)]);
    let before = store.flakes("p", Some(&run("r49"))).await.unwrap();
    assert_eq!(told(before), [("a".into(), 1, 40), ("b".into(), 1, 40)]);
    let other = store.flakes("q", None).await.unwrap();
    assert_eq!(told(other), [("a".into(), 1, 1)]);
}

#[tokio::test]
async fn a_failure_is_in_hand_while_its_run_is_open_or_waits_for_people() {
    let d = dir();
    let store = Store::open(&d.log).unwrap();
    for (name, status) in [
        ("open", None),
        ("human", Some("human")),
        ("none", Some("no-fix")),
        ("fixed", Some("fixed")),
        ("flaky", Some("flaky")),
    ] {
        let finding = if name == "flaky" { "flaky" } else { "real" };
        keep(&store, "p", name, change_seen(&format!("head of {name}"))).await;
        keep(&store, "p", name, triaged(finding, &[], &[("a", name)])).await;
        if let Some(status) = status {
            keep(&store, "p", name, closed(status)).await;
        }
    }
    let runs = |found: Vec<InHand>| -> Vec<String> { found.into_iter().map(|f| f.run.0).collect() };
    let others = store.in_hand("p", &run("mine")).await.unwrap();
    assert_eq!(
        others[0].prints,
        BTreeMap::from([("a".to_owned(), "none".to_owned())])
    );
    assert_eq!(others[0].head, Oid("head of none".to_owned()));
    assert_eq!(runs(others), ["none", "human", "open"]);
    let but = store.in_hand("p", &run("open")).await.unwrap();
    assert_eq!(runs(but), ["none", "human"]);
    assert!(store.in_hand("q", &run("mine")).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_log_of_an_earlier_version_gets_its_new_tables_filled_from_its_events() {
    let d = dir();
    let store = Store::open(&d.log).unwrap();
    keep(&store, "p", "r1", change_seen("h")).await;
    keep(&store, "p", "r1", triaged("real", &["b"], &[("a", "f1")])).await;
    let (flips, failures) = (dump(&d.log, "flips"), dump(&d.log, "failures"));
    assert!(!flips.is_empty() && !failures.is_empty());
    let before = store.verify().await.unwrap();
    drop(store);
    let old = dir();
    std::fs::create_dir_all(old.log.parent().unwrap()).unwrap();
    tamper(
        &old.log,
        include_str!("../../../migrations/0001-events.sql"),
    );
    tamper(
        &old.log,
        include_str!("../../../migrations/0002-journals.sql"),
    );
    let columns = "seq, id, at, project, run, version, type, subject, body, hash";
    tamper(
        &old.log,
        &format!(
            "ATTACH '{}' AS new; INSERT INTO events ({columns}) SELECT {columns} FROM new.events;
             PRAGMA user_version = 2",
            d.log.display()
        ),
    );
    let store = Store::open(&old.log).unwrap();
    assert_eq!(dump(&old.log, "flips"), flips);
    assert_eq!(dump(&old.log, "failures"), failures);
    assert_eq!(store.verify().await.unwrap(), before);
}

#[tokio::test]
async fn a_report_on_a_part_of_the_suite_does_not_stand_in_for_all_of_it() {
    let d = dir();
    let store = Store::open(&d.log).unwrap();
    let mut fact = tested("t", "s", None, 1.0);
    if let Fact::Tested { report, .. } = &mut fact {
        report.partial = true;
    }
    keep(&store, "p", "r1", fact).await;
    let found = store
        .report_for_tree("p", &Oid("t".into()), "s")
        .await
        .unwrap();
    assert_eq!(found, None);
}

#[tokio::test]
async fn the_first_report_on_a_tree_is_the_one_nobody_chose() {
    let d = dir();
    let store = Store::open(&d.log).unwrap();
    for seconds in [1.0, 2.0, 3.0] {
        keep(&store, "p", "r1", tested("t", "s", None, seconds)).await;
    }
    let tree = Oid("t".into());
    let first = store.first_report_for_tree("p", &tree, "s").await.unwrap();
    let last = store.report_for_tree("p", &tree, "s").await.unwrap();
    let seconds = |report: Option<TestReport>| report.map(|r| r.seconds);
    assert_eq!((seconds(first), seconds(last)), (Some(1.0), Some(3.0)));
}

async fn tried(store: &Store, tree: &str, suite: &str, seconds: f64) -> KeptReport {
    let Fact::Tested { report, .. } = tested(tree, suite, None, seconds) else {
        panic!("it is one");
    };
    let kept = store.keep_report(suite, &report).await.unwrap();
    let trial = json!({"tree": tree, "round": 1, "source": "junit", "exit": {"code": 0}, "passed": 1,
        "failed": 0, "total": 1, "fixed": [], "unfixed": [], "broken": [], "missing": [], "behaviour": "",
        "failures": [], "output": "", "problem": null, "seconds": seconds, "report": kept});
    keep(
        store,
        "p",
        "r1",
        fact(json!({"type": "tried", "trial": trial})),
    )
    .await;
    kept
}

#[tokio::test]
async fn what_a_trial_said_of_a_tree_is_remembered_but_does_not_make_it_a_tested_commit() {
    let d = dir();
    let store = Store::open(&d.log).unwrap();
    tried(&store, "t", "s", 1.0).await;
    keep(&store, "p", "r2", tested("t", "s", None, 2.0)).await;
    let changed = tried(&store, "u", "s", 3.0).await;
    let first = async |tree: &str, suite: &str| {
        let tree = Oid(tree.into());
        let report = store
            .first_report_for_tree("p", &tree, suite)
            .await
            .unwrap();
        report.map(|report| (report.seconds, report.tests.len()))
    };
    let last = store.report_for_tree("p", &Oid("t".into()), "s").await;
    assert_eq!(last.unwrap().map(|report| report.seconds), Some(2.0));
    let of_a_trial = store.report_for_tree("p", &Oid("u".into()), "s").await;
    assert_eq!(of_a_trial.unwrap(), None);
    assert_eq!(first("t", "s").await, Some((1.0, 1)));
    assert_eq!(first("t", "another suite").await, None);
    store.rebuild().await.unwrap();
    assert_eq!(first("u", "s").await, Some((3.0, 1)));
    let other = "(SELECT body FROM journals WHERE digest <> '";
    let digest = &changed.digest;
    tamper(
        &d.log,
        &format!("UPDATE journals SET body = {other}{digest}') WHERE digest = '{digest}'"),
    );
    assert_eq!(
        first("u", "s").await,
        None,
        "what was changed is not gone by"
    );
}

fn called(journal: &str) -> Fact {
    fact(
        json!({"type": "plugin-called", "call": {"role": "scorer", "plugin": {"name": "s", "digest": "d"},
        "ledger": {}, "journal": journal, "ended": "answered"}}),
    )
}

/// A run of which a plugin call left this body.
async fn kept_for(store: &Store, name: &str, body: &str) {
    store.keep_journal(body, vec![1, 2, 3]).await.unwrap();
    keep(store, "p", name, called(body)).await;
}

async fn there(store: &Store, bodies: &[&str]) -> Vec<bool> {
    let mut found = vec![];
    for body in bodies {
        found.push(store.journal(body).await.unwrap().is_some());
    }
    found
}

#[tokio::test]
async fn bodies_that_only_closed_runs_name_are_removed_and_no_others() {
    let d = dir();
    let store = Store::open(&d.log).unwrap();
    for name in ["old", "open"] {
        keep(&store, "p", name, change_seen(name)).await;
    }
    kept_for(&store, "old", "alone").await;
    kept_for(&store, "old", "shared").await;
    kept_for(&store, "open", "shared").await;
    kept_for(&store, "old", "again").await;
    let report = tried(&store, "t", "s", 1.0).await;
    keep(&store, "p", "r1", closed("fixed")).await;
    store.keep_journal("unnamed", vec![]).await.unwrap();
    keep(&store, "p", "old", closed("fixed")).await;
    assert_eq!(store.remove_bodies(36_000).await.unwrap(), 0);
    assert_eq!(store.bodies_removed_after(&run("old")).await.unwrap(), None);
    drop(store);

    let store = Store::open(&d.log).unwrap();
    let events = store.newest().await.unwrap();
    // A run under way came to the same journal, and has not said so yet.
    store.keep_journal("again", vec![1, 2, 3]).await.unwrap();
    store.remove_bodies(0).await.unwrap();
    let bodies = ["alone", &report.digest, "shared", "unnamed", "again"];
    let expected = [false, false, true, true, true];
    assert_eq!(there(&store, &bodies).await, expected);
    assert_eq!(
        store.bodies_removed_after(&run("old")).await.unwrap(),
        Some(0)
    );
    assert_eq!(
        store.bodies_removed_after(&run("open")).await.unwrap(),
        None
    );
    let first = store
        .first_report_for_tree("p", &Oid("t".into()), "s")
        .await;
    assert_eq!(first.unwrap(), None, "what is removed is not gone by");
    assert_eq!(store.newest().await.unwrap(), events);
    store.verify().await.unwrap();
}

#[tokio::test]
async fn appends_go_on_while_bodies_are_removed() {
    let d = dir();
    let store = Store::open(&d.log).unwrap();
    keep(&store, "p", "old", change_seen("h")).await;
    for n in 0..200 {
        kept_for(&store, "old", &format!("b{n}")).await;
    }
    keep(&store, "p", "old", closed("fixed")).await;
    drop(store);
    let store = Store::open(&d.log).unwrap();
    let removing = tokio::spawn({
        let store = store.clone();
        async move { store.remove_bodies(0).await }
    });
    let mut meanwhile = 0;
    while !removing.is_finished() {
        keep(&store, "p", "", failed("x")).await;
        meanwhile += 1;
    }
    assert_eq!(removing.await.unwrap().unwrap(), 200);
    // It is removed in thirteen steps, and each waits for its turn.
    assert!(meanwhile >= 13, "{meanwhile} appends");
}

#[tokio::test]
async fn of_a_log_only_what_is_wrong_is_told_as_a_flaw() {
    let d = dir();
    let store = Store::open(&d.log).unwrap();
    kept_for(&store, "r", "b").await;
    keep(&store, "p", "r2", change_seen("h")).await;
    keep(&store, "p", "r2", tested("t", "s", None, 1.0)).await;
    let found = store.examine().await.unwrap();
    // What was kept here is no journal, so it cannot unfold to anything.
    assert_eq!(found.flaws, [Flaw::Changed { digest: "b".into() }]);
    assert_eq!((found.events, found.bodies, found.removed), (3, 1, 0));
}
