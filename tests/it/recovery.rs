//! The daemon is killed at every named point and at random moments; what it goes on with must come out once and whole.
//!
//! Touches: files, processes, git, http, sqlite.
//! Change here: when a new effect gets its points (`docs/failpoints.md`), add a line to the table below.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use changebus::event::{Delivery, Event, Fact, Oid, RunId, RunStatus, Sighting};
use changebus::outside::store::Store;
use changebus::rules::run::Run;
use changebus_tests::world::World;
use scripted_claude::{Reply, Script};

use crate::{investigator, orders};

const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

/// What the facts of a finished story say, for the stories that want to know more than that all is well.
struct Ending {
    status: RunStatus,
    delivery: Delivery,
    facts: BTreeMap<String, usize>,
    calls: usize,
    asked: usize,
    lost: usize,
}

impl Ending {
    fn count(&self, kind: &str) -> usize {
        self.facts.get(kind).copied().unwrap_or_default()
    }
}

/// Pushes the regression under a watching daemon, lets the daemons die one after the other at these points,
/// and one more go on to the end.
async fn dies_at(world: &World, deaths: &[&str]) -> Ending {
    for (nth, point) in deaths.iter().enumerate() {
        die_at(world, point, nth == 0).await;
    }
    goes_on(world).await
}

async fn die_at(world: &World, point: &str, first: bool) {
    let armed = if point.contains('=') {
        point.to_owned()
    } else {
        format!("{point}=return")
    };
    let mut daemon = world.daemon_with(&[("FAILPOINTS", &armed)]);
    if first {
        adopted(world).await;
        orders::break_it(world);
    }
    assert_eq!(daemon.wait().signal(), Some(SIGKILL), "{point}");
}

async fn adopted(world: &World) {
    let adopts = |e: &Event| {
        matches!(
            e.fact,
            Fact::Watched {
                sighting: Sighting::Adopted { .. }
            }
        )
    };
    world
        .until("the green tip is adopted", |events| {
            events.iter().any(adopts)
        })
        .await;
}

fn closed(events: &[Event]) -> bool {
    events
        .iter()
        .any(|e| matches!(e.fact, Fact::RunClosed { .. }))
}

/// A daemon that nothing kills, to the end of the run, and what holds whatever happened before.
async fn goes_on(world: &World) -> Ending {
    let mut daemon = world.daemon();
    world.until("the run closes", closed).await;
    // It may be told before it listens, where there was nothing left to do.
    let status = daemon.stop();
    assert!(
        status.success() || status.signal() == Some(SIGTERM),
        "{status}"
    );
    let ending = the_log_is_whole(world).await;
    no_call_is_paid_twice(world, &ending);
    nothing_is_left_behind(world);
    ending
}

/// The chain holds without gaps, the run replays, and what may happen once happened once.
async fn the_log_is_whole(world: &World) -> Ending {
    let store = Store::open_read_only(&world.database()).expect("the log opens");
    let verified = store.verify().await.expect("the hash chain holds");
    let events = world.events().await;
    assert_eq!(verified.events, events.len() as i64);
    let expected: Vec<i64> = (1..=events.len() as i64).collect();
    let seqs: Vec<i64> = events.iter().map(|e| e.seq).collect();
    assert_eq!(seqs, expected, "the log has gaps");
    let ids: BTreeSet<&str> = events.iter().map(|e| e.id.as_str()).collect();
    assert_eq!(ids.len(), events.len(), "an id stands twice");

    let seen: Vec<(&RunId, &Oid)> = events.iter().filter_map(opened).collect();
    let heads: BTreeSet<&Oid> = seen.iter().map(|(_, head)| *head).collect();
    assert_eq!(heads.len(), seen.len(), "one push is one run: {seen:?}");
    // What others pushed since may have opened a run of its own by now.
    let first = seen.first().map(|(run, _)| (*run).clone());
    let of_run: Vec<Event> = events.iter().filter(|e| e.run == first).cloned().collect();
    let run = Run::replay(&of_run)
        .expect("every fact may stand where it stands")
        .expect("the run was opened");
    let facts = kinds(&of_run);
    for once in ["push", "real", "opened", "decided", "closed"] {
        assert_eq!(facts.get(once), Some(&1), "{once}: {facts:?}");
    }
    assert!(facts.get("scored").is_none_or(|n| *n == 1), "{facts:?}");
    let delivered: usize = ["merged", "proposed-branch", "escalated", "moot", "withheld"]
        .iter()
        .filter_map(|kind| facts.get(*kind))
        .sum();
    assert_eq!(delivered, 1, "{facts:?}");
    let stage_failures: Vec<_> = run.failures.iter().collect();
    assert!(stage_failures.is_empty(), "{stage_failures:?}");
    let lost = run
        .journal
        .answered
        .values()
        .filter(|kept| {
            kept.answer
                .as_ref()
                .is_err_and(|fault| fault.code == "llm.answer-lost")
        })
        .count();
    assert_eq!(
        run.journal.asked.keys().collect::<Vec<_>>(),
        run.journal.answered.keys().collect::<Vec<_>>(),
        "every call has an answer, if only that it was lost"
    );
    Ending {
        status: run.closed.expect("the run is closed"),
        delivery: run.delivery.expect("it was delivered"),
        facts,
        calls: world.model.calls(),
        asked: run.journal.asked.len(),
        lost,
    }
}

/// The run that opens with this event, and the head it is about.
fn opened(event: &Event) -> Option<(&RunId, &Oid)> {
    match &event.fact {
        Fact::ChangeSeen { change } => Some((event.run.as_ref()?, &change.head)),
        _ => None,
    }
}

/// How often each kind of fact stands in the log. A delivered branch and a candidate are both `proposed`.
fn kinds(events: &[Event]) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for event in events {
        let subject = event.fact.subject(&event.project);
        let kind = match &event.fact {
            Fact::Delivered {
                delivery: Delivery::Proposed { .. },
            } => "proposed-branch",
            _ => subject.rsplit('.').next().unwrap_or_default(),
        };
        *kinds.entry(kind.to_owned()).or_default() += 1;
    }
    kinds
}

/// A request that was sent is never sent again, and every request that came in was announced in the log.
fn no_call_is_paid_twice(world: &World, ending: &Ending) {
    let bodies: BTreeSet<String> = world
        .model
        .requests()
        .iter()
        .map(|r| r.body.to_string())
        .collect();
    assert_eq!(bodies.len(), ending.calls, "a request was sent twice");
    let unannounced = ending.calls > ending.asked;
    assert!(!unannounced, "{} > {}", ending.calls, ending.asked);
    // What was announced and not sent was about to be when the daemon died.
    let unsent = ending.asked - ending.calls;
    assert!(unsent <= ending.lost, "{unsent} > {}", ending.lost);
}

fn nothing_is_left_behind(world: &World) {
    let workspaces = world.state().join("workspaces");
    let left: Vec<_> = std::fs::read_dir(&workspaces)
        .map(|entries| entries.flatten().map(|e| e.path()).collect())
        .unwrap_or_default();
    assert!(left.is_empty(), "workspaces stay: {left:?}");
    // What dies with the daemon dies a moment after it.
    let mut processes = world.processes();
    for _ in 0..500 {
        if processes.is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
        processes = world.processes();
    }
    panic!("processes stay: {processes:#?}");
}

/// One commit of ours on main, the suite's bug gone, the good hunk of the push kept.
fn is_merged_once(world: &World, ending: &Ending) {
    assert_eq!(ending.status, RunStatus::Fixed);
    let Delivery::Merged { commit, .. } = &ending.delivery else {
        panic!("not merged: {:?}", ending.delivery);
    };
    assert_eq!(
        orders::merges(world, "main"),
        std::slice::from_ref(&commit.0),
        "main holds another merge than the log"
    );
    assert_eq!(ending.count("merged"), 1);
    assert!(orders::is_mended(&world.at_tip("shop.py")));
}

/// One story for each point: killed there, restarted, whole.
macro_rules! merged_once_though_killed {
    ($($story:ident: $($point:literal),+;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $story() {
            let world = orders::watched("").await;
            let ending = dies_at(&world, &[$($point),+]).await;
            is_merged_once(&world, &ending);
        }
    )*};
}

merged_once_though_killed! {
    killed_before_the_push_is_kept: "before-push";
    killed_after_the_push_is_kept: "after-push";
    killed_after_the_first_red_report: "after-failed";
    killed_after_the_second_red_report: "after-failed=1*off->return";
    killed_after_the_base_was_green: "after-passed";
    killed_after_triage: "after-real";
    killed_after_the_tournament_opened: "after-opened";
    killed_before_a_model_call_is_announced: "before-asked";
    killed_before_a_model_call_leaves: "before-model-call";
    killed_after_a_model_call_came_back: "after-model-call";
    killed_before_an_answer_is_kept: "before-answered";
    killed_after_an_answer_is_kept: "after-answered";
    killed_after_a_probe: "after-probed";
    killed_after_a_proposal: "after-proposed";
    killed_after_the_first_sample: "after-sampled";
    killed_after_the_first_trial: "after-tried";
    killed_after_the_second_trial: "after-tried=1*off->return";
    killed_after_scoring: "after-scored";
    killed_after_the_advice: "after-advised";
    killed_before_the_decision: "before-decided";
    killed_after_the_decision: "after-decided";
    killed_after_the_merge_is_prepared: "after-prepared";
    killed_before_the_merge_is_pushed: "before-merge-push";
    killed_after_the_merge_is_pushed: "after-merge-push";
    killed_after_the_merge_is_kept: "after-merged";
    killed_before_the_run_closes: "before-closed";
    killed_after_the_run_closed: "after-closed";
    killed_twice: "after-answered", "after-decided";
    killed_on_both_sides_of_the_merge: "before-merge-push", "after-merge-push";
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_was_paid_and_kept_is_used_after_the_restart() {
    let world = orders::watched("").await;
    let ending = dies_at(&world, &["after-answered=1*off->return"]).await;
    is_merged_once(&world, &ending);
    assert_eq!((ending.calls, ending.asked, ending.lost), (2, 2, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_was_paid_and_not_kept_is_not_paid_again() {
    let mut world = orders::watched("").await;
    // Alone, so that nobody else's answer can step in.
    world.variants(&[("A", "minimal-fix", r#"{ effort = "low" }"#)]);
    let ending = dies_at(&world, &["after-model-call"]).await;
    assert_eq!((ending.calls, ending.asked, ending.lost), (1, 1, 1));
    assert_eq!(ending.status, RunStatus::NoFix);
    assert_eq!(orders::merges(&world, "main"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_that_landed_before_the_crash_is_found_beneath_what_others_pushed_since() {
    let world = orders::watched("").await;
    die_at(&world, "after-merge-push", true).await;
    world.git(&["pull", "--quiet", "--ff-only", "origin", "main"]);
    let theirs = world.push(
        "Write a note",
        &[("NOTES.md", Some("Gifts are wrapped.\n"))],
    );
    let ending = goes_on(&world).await;
    is_merged_once(&world, &ending);
    assert_eq!(world.tip(), theirs);
    assert_eq!(ending.count("overtaken"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_branch_that_moved_before_the_restart_is_not_overwritten() {
    let world = orders::watched("").await;
    die_at(&world, "after-prepared", true).await;
    let theirs = world.push(
        "Write a note",
        &[("NOTES.md", Some("Gifts are wrapped.\n"))],
    );
    let ending = goes_on(&world).await;
    is_merged_once(&world, &ending);
    assert_eq!(ending.count("overtaken"), 1);
    assert_eq!(ending.count("prepared"), 2);
    let parent = world.git_in(&world.origin(), &["rev-parse", "main^"]);
    assert_eq!(parent, theirs, "the merge stands on what others pushed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_branch_that_was_mended_by_others_before_the_restart_needs_no_merge() {
    let world = orders::watched("").await;
    die_at(&world, "after-prepared", true).await;
    let theirs = orders::mend_it(&world);
    let ending = goes_on(&world).await;
    assert!(matches!(ending.delivery, Delivery::Moot { .. }));
    assert_eq!(world.tip(), theirs);
    assert_eq!(orders::merges(&world, "main"), [""; 0]);
}

/// Main is as it was pushed, and one branch of ours stands beside it.
fn is_handed_over_once(world: &World, pushed: &str) {
    assert_eq!(world.tip(), pushed);
    let branches = world.git_in(
        &world.origin(),
        &["for-each-ref", "--format=%(refname:short)", "refs/heads"],
    );
    let ours: Vec<&str> = branches.lines().filter(|b| *b != "main").collect();
    let [branch] = ours.as_slice() else {
        panic!("one branch was to be handed over: {branches}");
    };
    assert_eq!(orders::merges(world, branch).len(), 1);
}

/// For each ceiling below a merge, killed on both sides of the push of its branch.
macro_rules! handed_over_once_though_killed {
    ($($story:ident: $ceiling:literal, $point:literal, $status:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $story() {
            let world = orders::watched(concat!("deliver = \"", $ceiling, "\"\n")).await;
            let ending = dies_at(&world, &[$point]).await;
            assert_eq!(ending.status, RunStatus::$status);
            let pushed = world.git(&["rev-parse", "HEAD"]);
            is_handed_over_once(&world, &pushed);
        }
    )*};
}

handed_over_once_though_killed! {
    killed_before_a_pull_requests_branch_is_pushed: "pull-request", "before-publish", Fixed;
    killed_after_a_pull_requests_branch_is_pushed: "pull-request", "after-publish", Fixed;
    killed_before_a_humans_branch_is_pushed: "human", "before-publish", Human;
    killed_after_a_humans_branch_is_pushed: "human", "after-publish", Human;
}

/// Xorshift: any seed but 0, and the same moments for the same seed.
struct Moments(u64);

impl Moments {
    /// Between a twentieth of a second and three: from within the start to several stages on.
    fn next(&mut self) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Duration::from_millis(50 + self.0 % 2950)
    }
}

/// `CHANGEBUS_SEED` repeats an earlier choice of moments.
fn seed() -> u64 {
    let given = std::env::var("CHANGEBUS_SEED");
    let seed = match given {
        Ok(text) => text.parse().expect("CHANGEBUS_SEED is a number"),
        Err(_) => u64::from(std::process::id()) << 20 | u64::from(std::process::id()),
    };
    println!("CHANGEBUS_SEED={seed}");
    seed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_from_outside_at_up_to_twenty_random_moments() {
    let world = orders::watched("").await;
    let mut daemon = world.daemon();
    adopted(&world).await;
    orders::break_it(&world);
    let mut moments = Moments(seed());
    for _ in 0..20 {
        tokio::time::sleep(moments.next()).await;
        daemon.kill();
        if closed(&world.events().await) {
            break;
        }
        daemon = world.daemon();
    }
    daemon.kill();
    let ending = goes_on(&world).await;
    is_merged_once(&world, &ending);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_dies_with_the_killed_daemon() {
    let mut world = orders::watched("").await;
    world.test("setsid sleep 100000 & sleep 100000");
    let mut daemon = world.daemon();
    adopted(&world).await;
    orders::break_it(&world);
    suite_runs(&world).await;
    daemon.kill();
    while !sleepers(&world).is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// `CHANGEBUS_KILLS` says how often; the first run of a head is killed over and over, since it never comes to its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_during_trials_again_and_again_it_leaves_nothing_and_goes_on() {
    let kills = std::env::var("CHANGEBUS_KILLS").map_or(6, |n| n.parse().expect("a number"));
    let mut world = orders::watched("").await;
    world.before_the_tests("setsid sleep 100000 & head -c 3000000 /dev/urandom >junk; sleep 2");
    let mut daemon = world.daemon();
    adopted(&world).await;
    orders::break_it(&world);
    let mut moments = Moments(seed());
    for _ in 0..kills {
        suite_runs(&world).await;
        tokio::time::sleep(moments.next() / 4).await;
        daemon.kill();
        while !world.processes().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mounts = std::fs::read_to_string("/proc/self/mounts").expect("there is a /proc");
        let here = world.path().display().to_string();
        assert!(!mounts.contains(&here), "{mounts}");
        daemon = world.daemon();
    }
    daemon.kill();
    let ending = goes_on(&world).await;
    is_merged_once(&world, &ending);
    nothing_is_left_behind(&world);
    // One ground, with neither the junk of a trial nor a half-made one beside it.
    let grounds = std::fs::read_dir(world.state().join("warm/app")).expect("it was kept");
    let grounds: Vec<_> = grounds.flatten().map(|entry| entry.path()).collect();
    assert_eq!(grounds.len(), 1, "{grounds:?}");
    assert!(!grounds[0].join("tree/junk").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_without_a_sandbox_that_outlives_the_killed_daemon_is_ended_by_the_next() {
    let mut world = orders::watched("").await;
    world.without_a_sandbox();
    world.test("sleep 100000");
    let mut daemon = world.daemon();
    adopted(&world).await;
    orders::break_it(&world);
    suite_runs(&world).await;
    daemon.kill();
    let orphans = sleepers(&world);
    assert!(!orphans.is_empty(), "the test was to outlive the daemon");
    let mut next = world.daemon();
    while !sleepers(&world).is_disjoint(&orphans) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    suite_runs(&world).await;
    assert_eq!(next.stop().code(), Some(0));
    nothing_is_left_behind(&world);
}

async fn suite_runs(world: &World) {
    while sleepers(world).is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The endless tests that run in this world, by process.
fn sleepers(world: &World) -> BTreeSet<String> {
    let all = world.processes();
    all.into_iter()
        .filter(|p| p.contains("sleep 100000"))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_is_asked_to_stop_ends_its_endless_test_and_goes() {
    let mut world = orders::watched("").await;
    world.test("sleep 100000");
    let mut daemon = world.daemon();
    adopted(&world).await;
    orders::break_it(&world);
    suite_runs(&world).await;
    assert_eq!(daemon.stop().code(), Some(0));
    nothing_is_left_behind(&world);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_is_asked_to_stop_does_not_wait_for_an_endless_strategy() {
    let mut world = orders::watched("").await;
    world.variants(&[("A", "moody-strategy", r#"{ do = "loop" }"#)]);
    let mut daemon = world.daemon();
    adopted(&world).await;
    orders::break_it(&world);
    let opened = |e: &Event| matches!(e.fact, Fact::TournamentOpened { .. });
    world
        .until("the tournament opens", |events| events.iter().any(opened))
        .await;
    assert_eq!(daemon.stop().code(), Some(0));
    nothing_is_left_behind(&world);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_daemon_on_the_same_state_refuses_and_says_why() {
    let world = orders::watched("").await;
    let mut first = world.daemon();
    adopted(&world).await;
    let second = world.changebus(&["run"]).output().expect("it starts");
    assert_eq!(second.status.code(), Some(1));
    let words = String::from_utf8_lossy(&second.stderr);
    let state = world.state().display().to_string();
    assert!(words.contains(&state), "{words}");
    assert_eq!(first.stop().code(), Some(0));
}

/// Looks at one line after the other, errs once, and knows the fix as its twentieth answer. It has no memory but the
/// conversation it is sent.
fn investigates_for_twenty_calls() -> Script {
    Script::from_fn(|request| {
        let told = match investigator::turns_so_far(request) {
            17 => investigator::probe("cents > FREE_FROM + 1", "Perhaps the limit is off by one."),
            looks @ 0..19 => format!("One line more.\nREAD shop.py {}-{}", looks + 1, looks + 1),
            _ => investigator::probe("cents >= FREE_FROM", "The limit itself ships free."),
        };
        Reply::text(told)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_investigation_of_twenty_calls_goes_on_where_it_died_and_pays_for_none_twice() {
    let mut world = orders::with_model(investigates_for_twenty_calls(), "").await;
    world.variants(&[("I", "investigator", r#"{ effort = "medium" }"#)]);
    let deaths = [
        "after-answered=9*off->return",
        "after-probed",
        "before-asked=1*off->return",
    ];
    let ending = dies_at(&world, &deaths).await;
    is_merged_once(&world, &ending);
    assert_eq!((ending.calls, ending.asked, ending.lost), (20, 20, 0));
    assert_eq!(ending.count("probed"), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_investigation_whose_answer_was_lost_in_a_crash_takes_the_turn_again() {
    let mut world = orders::with_model(investigates_for_twenty_calls(), "").await;
    world.variants(&[("I", "investigator", r#"{ effort = "medium" }"#)]);
    let ending = dies_at(&world, &["after-model-call=11*off->return"]).await;
    is_merged_once(&world, &ending);
    assert_eq!((ending.calls, ending.asked, ending.lost), (21, 21, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_that_has_run_is_not_run_again_after_a_crash() {
    let mut world = orders::watched("").await;
    let mend = "sed -i 's/cents > FREE/cents >= FREE/' shop.py";
    world
        .variants(&[("F", "autofix", "{}")])
        .project(&format!("[projects.app.tools]\nmend = \"{mend}\""));
    let ending = dies_at(&world, &["after-tool-ran", "after-probed"]).await;
    is_merged_once(&world, &ending);
    assert_eq!((ending.count("tool-ran"), ending.count("probed")), (1, 1));
    assert_eq!(ending.calls, 0);
}
