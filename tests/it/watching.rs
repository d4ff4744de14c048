//! The daemon watches a branch: what it sees, what it leaves alone, and what it does while others keep pushing.
//!
//! Touches: files, processes, git, http, sqlite, clock.
//! Change here: when the watcher can see something new, or a delivery can meet a branch in another state.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use changebus::event::{Delivery, Event, Fact, IgnoreReason, Role, RunStatus, Sighting};
use changebus_tests::shop;
use changebus_tests::world::{World, git};
use scripted_claude::{Reply, Script};

const LENIENT: &str = "min_confidence = 0.5";

async fn watched(script: Script) -> World {
    let mut world = World::new(script).await;
    world.policy(LENIENT);
    world.variants(&[("A", "minimal-fix", "{ probe = false }")]);
    world
}

fn honest() -> Script {
    Script::from_fn(|_| Reply::text(shop::HONEST))
}

fn sightings(events: &[Event]) -> Vec<&Sighting> {
    let seen = |e: &'_ Event| matches!(e.fact, Fact::Watched { .. });
    let watched = events.iter().filter(|e| seen(e));
    watched
        .filter_map(|e| match &e.fact {
            Fact::Watched { sighting } => Some(sighting),
            _ => None,
        })
        .collect()
}

fn adopted(tip: &str) -> impl Fn(&[Event]) -> bool {
    move |events| {
        let is = |s: &&Sighting| matches!(s, Sighting::Adopted { tip: t } if t.0 == tip);
        sightings(events).iter().any(is)
    }
}

fn ignored(tip: &str, reason: IgnoreReason) -> impl Fn(&[Event]) -> bool {
    move |events| {
        let is = |s: &&Sighting| matches!(s, Sighting::Ignored { tip: t, reason: r } if t.0 == tip && *r == reason);
        sightings(events).iter().any(is)
    }
}

/// Heads of the runs so far.
fn runs(events: &[Event]) -> Vec<String> {
    let head = |e: &Event| match &e.fact {
        Fact::ChangeSeen { change } => Some(change.head.0.clone()),
        _ => None,
    };
    events.iter().filter_map(head).collect()
}

/// How the run of this head ended.
fn closed(events: &[Event], head: &str) -> Option<RunStatus> {
    let is_it =
        |e: &&Event| matches!(&e.fact, Fact::ChangeSeen { change } if change.head.0 == head);
    let run = events.iter().find(is_it)?.run.clone();
    events.iter().find_map(|e| match e.fact {
        Fact::RunClosed { status } if e.run == run => Some(status),
        _ => None,
    })
}

fn closed_as(head: &str, status: RunStatus) -> impl Fn(&[Event]) -> bool {
    move |events| {
        let closed = closed(events, head);
        assert!(closed.is_none_or(|c| c == status), "{head}: {closed:?}");
        closed.is_some()
    }
}

fn count(events: &[Event], wanted: impl Fn(&Sighting) -> bool) -> usize {
    sightings(events).into_iter().filter(|s| wanted(s)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_of_a_watched_branch() {
    let mut world = watched(honest()).await;
    world.project("ignore_paths = [\"docs/**\", \"*.md\"]");
    let first = shop::open(&world);
    let _daemon = world.daemon();
    world
        .until("the first tip is adopted", adopted(&first))
        .await;

    let docs = world.push("Tell of apples", &[("docs/apples.txt", Some("apples\n"))]);
    let told = ignored(&docs, IgnoreReason::PathsIgnored);
    world
        .until("a push of documentation is left alone", told)
        .await;

    let green = world.push("Count", &[("count.py", Some("ONE = 1\n"))]);
    world
        .until(
            "a green push is tested",
            closed_as(&green, RunStatus::Green),
        )
        .await;

    let again = world.push("Nothing new", &[]);
    let told = ignored(&again, IgnoreReason::TreeAlreadyGreen);
    world
        .until("a tree that was green is left alone", told)
        .await;

    let red = shop::break_it(&world);
    world
        .until("a red push is mended", closed_as(&red, RunStatus::Fixed))
        .await;
    let merged = world.tip();
    assert_eq!(world.at_tip(shop::SOURCE), shop::GOOD.trim());

    world.git(&["pull", "--quiet", "--rebase", "origin", "main"]);
    let last = world.push("Tell of pears", &[("docs/pears.txt", Some("pears\n"))]);
    let told = ignored(&last, IgnoreReason::PathsIgnored);
    let events = world.until("the push after the merge is seen", told).await;
    assert_eq!(
        runs(&events),
        [green, red],
        "the merge {merged} started a run of its own"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_pushes_becomes_fewer_runs_and_the_last_state_is_tested() {
    let world = watched(honest()).await;
    let first = shop::open(&world);
    let _daemon = world.daemon();
    world
        .until("the first tip is adopted", adopted(&first))
        .await;
    let mut last = String::new();
    for n in 1..=5 {
        last = world.push("Count on", &[("count.py", Some(&format!("N = {n}\n")))]);
    }
    let events = world
        .until(
            "the last push is tested",
            closed_as(&last, RunStatus::Green),
        )
        .await;
    assert!(runs(&events).len() < 5, "{:?}", runs(&events));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_told_once_and_so_is_its_return() {
    let world = watched(honest()).await;
    let _daemon = world.daemon();
    let empty = |s: &Sighting| matches!(s, Sighting::Empty);
    let gone = |s: &Sighting| matches!(s, Sighting::BranchGone { .. });
    let unreachable = |s: &Sighting| matches!(s, Sighting::Unreachable { .. });
    let back = |s: &Sighting| matches!(s, Sighting::Back);

    world
        .until("the empty repository is told of", |e| count(e, empty) > 0)
        .await;
    let first = shop::open(&world);
    world
        .until("the first commit is adopted", adopted(&first))
        .await;

    world.git_in(
        &world.origin(),
        &["config", "receive.denyDeleteCurrent", "ignore"],
    );
    world.git(&["push", "--quiet", "origin", "HEAD:other", ":main"]);
    world
        .until("the missing branch is told of", |e| count(e, gone) > 0)
        .await;
    // Time for further looks: one that told again would be found below.
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.git(&["push", "--quiet", "origin", "HEAD:main"]);
    world
        .until("the branch is back", |e| count(e, back) == 1)
        .await;

    let away = world.path().join("away.git");
    std::fs::rename(world.origin(), &away).expect("the origin can be moved");
    world
        .until("the missing remote is told of", |e| {
            count(e, unreachable) > 0
        })
        .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    std::fs::rename(&away, world.origin()).expect("the origin can be moved back");
    let events = world
        .until("the remote is back", |e| count(e, back) == 2)
        .await;

    let counts = [
        count(&events, empty),
        count(&events, gone),
        count(&events, unreachable),
    ];
    assert_eq!(counts, [1, 1, 1], "{:?}", sightings(&events));
    assert!(runs(&events).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn rewritten_history_is_held_against_the_common_ancestor_or_adopted_anew() {
    let world = watched(honest()).await;
    let root = shop::open(&world);
    let former = world.push("Count", &[("count.py", Some("ONE = 1\n"))]);
    let _daemon = world.daemon();
    world
        .until("the first tip is adopted", adopted(&former))
        .await;

    world.git(&["reset", "--quiet", "--hard", &root]);
    let rewritten = world.push("Count otherwise", &[("count.py", Some("TWO = 2\n"))]);
    let events = world
        .until(
            "the rewritten tip is tested",
            closed_as(&rewritten, RunStatus::Green),
        )
        .await;
    let change = events.iter().find_map(|e| match &e.fact {
        Fact::ChangeSeen { change } => Some(change),
        _ => None,
    });
    let change = change.expect("a run was opened");
    assert_eq!((change.forced, &change.base.0), (true, &root));

    world.git(&["checkout", "--quiet", "--orphan", "anew"]);
    let anew = world.push("Begin anew", &[("new.py", Some("NEW = 1\n"))]);
    let events = world
        .until("unrelated history is adopted", adopted(&anew))
        .await;
    assert_eq!(runs(&events).len(), 1);
}

/// A model that answers well, after somebody has pushed this file in the meantime.
fn meanwhile(file: &'static str, text: &'static str) -> (Script, Arc<OnceLock<PathBuf>>) {
    let clone = Arc::new(OnceLock::<PathBuf>::new());
    let place = clone.clone();
    let pushed = OnceLock::new();
    let script = Script::from_fn(move |_| {
        pushed.get_or_init(|| {
            let clone = place.get().expect("the story names its clone first");
            std::fs::write(clone.join(file), text).expect("a file of the clone can be written");
            for args in [
                &["add", "--all"][..],
                &["commit", "--quiet", "-m", "Meanwhile"],
                &["push", "--quiet", "origin", "HEAD:main"],
            ] {
                assert!(git(clone, args).status.success(), "git {args:?}");
            }
        });
        Reply::text(shop::HONEST)
    });
    (script, clone)
}

/// The shop is broken, and while it is being mended somebody pushes this; the run's events.
async fn overtaken(file: &'static str, text: &'static str) -> (World, Vec<Event>, i32) {
    let (script, clone) = meanwhile(file, text);
    let world = watched(script).await;
    clone.set(world.checkout()).expect("it is set once");
    shop::open(&world);
    shop::break_it(&world);
    let (_, code) = world.fix(&[]);
    let events = world.events().await;
    (world, events, code)
}

fn delivery(events: &[Event]) -> &Delivery {
    let delivered = events.iter().find_map(|e| match &e.fact {
        Fact::Delivered { delivery } => Some(delivery),
        _ => None,
    });
    delivered.expect("something was delivered")
}

fn tested(events: &[Event], wanted: Role) -> bool {
    events
        .iter()
        .any(|e| matches!(e.fact, Fact::Tested { role, .. } if role == wanted))
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_branch_moved_the_merge_is_made_anew_tested_and_merged() {
    let (world, events, code) = overtaken("count.py", "ONE = 1\n").await;
    assert_eq!(code, 0, "{:?}", delivery(&events));
    assert!(matches!(delivery(&events), Delivery::Merged { .. }));
    assert!(tested(&events, Role::Tip) && tested(&events, Role::MergeResult));
    assert_eq!(world.at_tip(shop::SOURCE), shop::GOOD.trim());
    assert_eq!(world.at_tip("count.py"), "ONE = 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_branch_moved_into_the_fix_s_way_a_human_is_asked() {
    let (world, events, code) = overtaken(
        shop::SOURCE,
        "def pay(price, off=0):\n    return price * off\n",
    )
    .await;
    let tip = world.tip();
    let Delivery::Escalated {
        because, branch, ..
    } = delivery(&events)
    else {
        panic!("{:?}", delivery(&events));
    };
    assert!(because.contains("conflicts in shop.py"), "{because}");
    assert!(branch.is_some());
    assert_eq!((code, world.tip()), (4, tip));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_merge_would_lose_a_test_of_the_new_tip_a_human_is_asked() {
    let shy = "import pytest\nfrom shop import pay\n\nif pay(2, 1) == 1:\n    pytest.skip(\"all is well\", allow_module_level=True)\n\n\ndef test_shy():\n    pass\n";
    let (_, events, code) = overtaken("tests/test_shy.py", shy).await;
    assert!(tested(&events, Role::MergeResult));
    assert!(
        matches!(delivery(&events), Delivery::Escalated { .. }),
        "{:?}",
        delivery(&events)
    );
    assert_eq!(code, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_somebody_else_mended_it_meanwhile_nothing_is_left_to_do() {
    let (world, events, code) = overtaken(shop::SOURCE, shop::GOOD).await;
    assert!(
        matches!(delivery(&events), Delivery::Moot { .. }),
        "{:?}",
        delivery(&events)
    );
    assert_eq!(code, 0);
    let subject = world.git_in(&world.origin(), &["log", "-1", "--format=%s", "main"]);
    assert_eq!(subject, "Meanwhile");
}

/// Fails at every other run; the counter lies where no checkout reaches.
fn moody_test(world: &World) -> String {
    let counter = world.path().join("counter").display().to_string();
    format!(
        "import pathlib\n\n\ndef test_of_moods():\n    counter = pathlib.Path({counter:?})\n    runs = int(counter.read_text()) if counter.exists() else 0\n    counter.write_text(str(runs + 1))\n    assert runs % 2\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_flaky_or_in_hand_already_is_named_and_left_alone() {
    let mut world = watched(honest()).await;
    world.without_a_sandbox();
    let first = shop::open(&world);
    let _daemon = world.daemon();
    world
        .until("the first tip is adopted", adopted(&first))
        .await;

    let flaky = world.push(
        "Test moods",
        &[("tests/test_moods.py", Some(&moody_test(&world)))],
    );
    world
        .until(
            "the flaky test is named",
            closed_as(&flaky, RunStatus::Flaky),
        )
        .await;

    let broken = shop::TESTS.replace("== 3\n", "== 4\n");
    world.push(
        "Stop watching",
        &[
            ("tests/test_moods.py", None),
            (shop::TEST_FILE, Some(&broken)),
        ],
    );
    let stop = world.tip();
    // Nobody can mend a wrong test without touching it, so this run ends with a human; the next push inherits it.
    world
        .until("the wrong test is handed over", |e| {
            closed(e, &stop).is_some()
        })
        .await;
    let red = world.push("Count", &[("count.py", Some("ONE = 1\n"))]);
    world
        .until(
            "the old failure is told apart",
            closed_as(&red, RunStatus::Known),
        )
        .await;
    assert_eq!(world.tip(), red);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_policy_of_pull_requests_a_branch_and_a_complete_report_are_left() {
    let mut world = watched(honest()).await;
    world.policy(&format!("{LENIENT}\ndeliver = \"pull-request\""));
    let first = shop::open(&world);
    let _daemon = world.daemon();
    world
        .until("the first tip is adopted", adopted(&first))
        .await;
    let red = shop::break_it(&world);
    let events = world
        .until("the red push is mended", closed_as(&red, RunStatus::Fixed))
        .await;
    let Delivery::Proposed {
        branch,
        commit,
        report,
        ..
    } = delivery(&events)
    else {
        panic!("{:?}", delivery(&events));
    };
    let run = events
        .iter()
        .find_map(|e| e.run.clone())
        .expect("there was a run");
    assert_eq!(branch, &format!("changebus/{run}"));
    assert_eq!(world.tip(), red);
    assert_eq!(
        world.git_in(&world.origin(), &["rev-parse", branch]),
        commit.0
    );
    let mended = world.git_in(&world.origin(), &["show", &format!("{branch}:shop.py")]);
    assert_eq!(mended, shop::GOOD.trim());
    let report = std::fs::read_to_string(report).expect("the report was written");
    for part in [
        "+    return price - off",
        "test_pay_less",
        "minimal-fix",
        "A discount makes things cheaper",
    ] {
        assert!(report.contains(part), "no `{part}` in {report}");
    }
}
