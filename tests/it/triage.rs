//! What the daemon makes of a failure before it lets anybody at it: flaky, known, gone by itself, one commit's, or trouble.
//!
//! Touches: files, processes, git, http, sqlite.
//! Change here: when triage can find something new, or says otherwise what it found.

use changebus::event::{Bisection, Event, Fact, Finding, Flips, Role, RunId, RunStatus, Triage};
use changebus_tests::shop;
use changebus_tests::world::World;
use scripted_claude::{Reply, Script};
use serde_json::Value;

/// The model stands for everything that costs money: where nobody should ask it, it says so.
fn nobody() -> Script {
    Script::from_fn(|_| Reply::text("NO_FIX: nobody should have asked"))
}

fn honest() -> Script {
    Script::from_fn(|_| Reply::text(shop::HONEST))
}

async fn world(script: Script, policy: &str) -> World {
    let mut world = World::new(script).await;
    world.policy(&format!("min_confidence = 0.5\n{policy}"));
    world.variants(&[("A", "minimal-fix", "{ probe = false }")]);
    world
}

async fn adopted(world: &World) {
    let seen =
        |events: &[Event]| matches!(events, [e, ..] if matches!(e.fact, Fact::Watched { .. }));
    world.until("the first tip is adopted", seen).await;
}

/// The events of the run of this head, once it is closed.
async fn run_of(world: &World, head: &str) -> Vec<Event> {
    let of = |events: &[Event]| -> Vec<Event> {
        let opens =
            |e: &&Event| matches!(&e.fact, Fact::ChangeSeen { change } if change.head.0 == head);
        let run = events.iter().find(opens).and_then(|e| e.run.clone());
        let own = |e: &&Event| run.is_some() && e.run == run;
        events.iter().filter(own).cloned().collect()
    };
    let closed = |events: &[Event]| status(&of(events)).is_some();
    of(&world.until("the run is closed", closed).await)
}

fn status(events: &[Event]) -> Option<RunStatus> {
    events.iter().find_map(|e| match e.fact {
        Fact::RunClosed { status } => Some(status),
        _ => None,
    })
}

fn triage(events: &[Event]) -> &Triage {
    let found = events.iter().find_map(|e| match &e.fact {
        Fact::Triaged { triage } => Some(triage),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("nothing was triaged: {:?}", kinds(events)))
}

fn bisection(events: &[Event]) -> &Bisection {
    let found = events.iter().find_map(|e| match &e.fact {
        Fact::Bisected { bisection } => Some(bisection),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("no commit was searched for: {:?}", kinds(events)))
}

fn kinds(events: &[Event]) -> Vec<String> {
    events.iter().map(|e| e.fact.subject(&e.project)).collect()
}

fn has_tournament(events: &[Event]) -> bool {
    let opened = |e: &Event| matches!(e.fact, Fact::TournamentOpened { .. });
    events.iter().any(opened)
}

fn tested(events: &[Event], wanted: Role) -> usize {
    let is = |e: &&Event| matches!(e.fact, Fact::Tested { role, .. } if role == wanted);
    events.iter().filter(is).count()
}

fn run_id(events: &[Event]) -> RunId {
    events[0].run.clone().expect("a run's events name it")
}

fn json(world: &World, args: &[&str]) -> Value {
    let output = world.changebus(args).output().expect("it can be started");
    let words = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{args:?} ({e}): {words}"))
}

fn text(world: &World, args: &[&str]) -> String {
    let output = world.changebus(args).output().expect("it can be started");
    assert!(output.status.success(), "{args:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Fails in the first of every two runs; the counter lies where no checkout reaches.
fn moody_test(world: &World) -> String {
    let counter = world.path().join("moods").display().to_string();
    format!(
        "import pathlib\n\n\ndef test_of_moods():\n    counter = pathlib.Path({counter:?})\n    \
         runs = counter.read_text() if counter.exists() else \"\"\n    counter.write_text(runs + \"x\")\n    \
         assert len(runs) % 2\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tests_flips_are_kept_and_shown_where_it_fails_again() {
    let mut world = world(nobody(), "").await;
    world.without_a_sandbox();
    shop::open(&world);
    let mut daemon = world.daemon();
    adopted(&world).await;
    let moods = moody_test(&world);
    let first = world.push("Test moods", &[("tests/test_moods.py", Some(&moods))]);
    let events = run_of(&world, &first).await;
    assert_eq!(
        status(&events),
        Some(RunStatus::Flaky),
        "{:?}",
        kinds(&events)
    );

    // An odd number of runs lies behind, or an even one; the next failure comes with the next push or the one after.
    let mut nth = 0;
    let again = loop {
        nth += 1;
        let text = format!("N = {nth}\n");
        let head = world.push("Count", &[("count.py", Some(&text))]);
        let events = run_of(&world, &head).await;
        if triage(&events).finding == Finding::Flaky {
            break events;
        }
        assert!(nth < 4, "it does not fail any more");
    };
    daemon.stop();
    assert!(!has_tournament(&again));
    let seen = again.iter().find_map(|e| match &e.fact {
        Fact::Tested {
            role: Role::Head,
            flips,
            ..
        } => flips.values().next().copied(),
        _ => None,
    });
    let runs = u32::try_from(nth).expect("few");
    assert_eq!(seen, Some(Flips { flips: 1, runs }));
    let shown = text(&world, &["show", &run_id(&again).0]);
    let told = format!("flipped in 1 of the last {runs} runs");
    assert!(shown.contains(&told), "{shown}");

    let flakes = json(&world, &["flakes", "--json"]);
    let one = &flakes.as_array().expect("a list")[0];
    assert_eq!(
        (&one["project"], &one["flips"]),
        (&"app".into(), &2.into()),
        "{flakes:#}"
    );
    assert!(
        one["test"]
            .as_str()
            .expect("an id")
            .contains("test_of_moods")
    );
    assert!(one["last"].is_string());
    let lines = text(&world, &["flakes", "--project", "app"]);
    assert!(lines.contains(&format!("2 of {} runs", nth + 1)), "{lines}");
    let unknown = world.changebus(&["flakes", "--project", "none"]).output();
    assert!(!unknown.expect("it can be started").status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_fails_as_one_a_person_has_in_hand_is_attached_to_it() {
    let world = world(nobody(), "").await;
    shop::open(&world);
    let mut daemon = world.daemon();
    adopted(&world).await;
    let red = shop::break_it(&world);
    let first = run_of(&world, &red).await;
    assert_eq!(status(&first), Some(RunStatus::NoFix));
    assert!(has_tournament(&first));
    let asked = world.model.requests().len();

    // The same push, put more nicely.
    world.git(&[
        "commit",
        "--quiet",
        "--amend",
        "-m",
        "Rework discounts, please",
    ]);
    let amended = world.push("Count", &[("count.py", Some("ONE = 1\n"))]);
    let second = run_of(&world, &amended).await;
    assert_eq!(
        status(&second),
        Some(RunStatus::Known),
        "{}",
        triage(&second).because
    );
    assert_eq!(triage(&second).known, Some(run_id(&first)));
    assert!(triage(&second).because.contains(&run_id(&first).0));
    assert!(!has_tournament(&second));

    // And what is pushed on top of it.
    let third = world.push("Count on", &[("count.py", Some("ONE = 2\n"))]);
    let third = run_of(&world, &third).await;
    assert_eq!(triage(&third).known, Some(run_id(&first)));
    assert_eq!(world.model.requests().len(), asked, "nobody was paid again");

    // Once it was mended, the same failure is a new one.
    let mended = world.push("Mend it", &[(shop::SOURCE, Some(shop::GOOD))]);
    assert_eq!(
        status(&run_of(&world, &mended).await),
        Some(RunStatus::Green)
    );
    let relapse = shop::break_it(&world);
    let relapse = run_of(&world, &relapse).await;
    assert_eq!(triage(&relapse).finding, Finding::Real);
    assert!(has_tournament(&relapse));
    daemon.stop();

    // Who asks for a tournament here and now gets one.
    let (story, _) = world.fix(&["--dry-run"]);
    assert_eq!(story["status"], "no-fix", "{story:#}");
    let replayed = world.changebus(&["replay", &run_id(&second).0]).output();
    let replayed = replayed.expect("it can be started");
    assert!(
        replayed.status.success(),
        "{}",
        String::from_utf8_lossy(&replayed.stdout)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_red_when_watching_began_is_not_the_pushs_doing() {
    let world = world(nobody(), "").await;
    shop::open(&world);
    shop::break_it(&world);
    let mut daemon = world.daemon();
    adopted(&world).await;
    let head = world.push("Count", &[("count.py", Some("ONE = 1\n"))]);
    let events = run_of(&world, &head).await;
    daemon.stop();
    assert_eq!(status(&events), Some(RunStatus::RedBefore));
    assert!(!has_tournament(&events));
}

/// Commits in the clone, none of them pushed: harmless, except for what `change` says of some.
fn commits(
    world: &World,
    count: usize,
    change: impl Fn(usize) -> Vec<(&'static str, String)>,
) -> Vec<String> {
    let one = |n: usize| {
        let mut files = change(n);
        if files.is_empty() {
            files.push(("count.py", format!("N = {n}\n")));
        }
        let files: Vec<(&str, Option<&str>)> = files
            .iter()
            .map(|(path, text)| (*path, Some(&text[..])))
            .collect();
        world.commit(&format!("Change {n}"), &files);
        world.git(&["rev-parse", "HEAD"])
    };
    (0..count).map(one).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_commits_the_one_that_broke_it_is_found_told_and_taken_back() {
    let mut world = world(nobody(), "").await;
    world.variants(&[("C", "revert-culprit", "{}")]);
    shop::open(&world);
    let mut daemon = world.daemon();
    adopted(&world).await;
    let line = commits(&world, 9, |n| match n {
        2 => vec![("more.py", "def twice(n):\n    return 2 * n\n".to_owned())],
        5 => vec![(shop::SOURCE, shop::BAD.to_owned())],
        7 => vec![("less.py", "def half(n):\n    return n / 2\n".to_owned())],
        _ => vec![],
    });
    world.git(&["push", "--quiet", "origin", "HEAD:main"]);
    let events = run_of(&world, &line[8]).await;
    daemon.stop();
    let found = bisection(&events);
    assert_eq!(found.culprit().map(|c| &c.0), Some(&line[5]));
    assert_eq!(
        (found.among, tested(&events, Role::Between) as u32),
        (9, found.tested)
    );
    assert!(found.tested <= 4, "{found:?}");

    assert_eq!(status(&events), Some(RunStatus::Fixed));
    assert_eq!(world.at_tip(shop::SOURCE), shop::GOOD.trim());
    assert_eq!(
        world.at_tip("count.py"),
        "N = 8",
        "what others changed stays"
    );
    let message = world.git_in(&world.origin(), &["log", "-1", "--format=%B", "main"]);
    let since = format!("Since {} (Ada", &line[5][..10]);
    assert!(message.contains(&since), "{message}");
    let probes = events
        .iter()
        .filter(|e| matches!(e.fact, Fact::Probed { .. }));
    let probes = probes.count();
    assert!(
        probes <= 2,
        "only one commit had to be searched, not {probes} probes"
    );

    let shown = text(&world, &["show", &run_id(&events).0]);
    assert!(shown.contains("of 9 commits, "), "{shown}");
    let report = world
        .state()
        .join("reports")
        .join(format!("{}.md", run_id(&events)));
    let report = std::fs::read_to_string(report).expect("the report was written");
    let told = format!("{} (\"Change 5\", Ada", &line[5][..10]);
    assert!(report.replace('\\', "").contains(&told), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_that_cannot_be_tested_are_passed_over() {
    let world = world(honest(), "").await;
    shop::open(&world);
    let mut daemon = world.daemon();
    adopted(&world).await;
    let line = commits(&world, 5, |n| match n {
        1 | 2 => vec![("tests/conftest.py", "this is no Python\n".to_owned())],
        3 => vec![
            (shop::SOURCE, shop::BAD.to_owned()),
            ("tests/conftest.py", String::new()),
        ],
        _ => vec![],
    });
    world.git(&["push", "--quiet", "origin", "HEAD:main"]);
    let events = run_of(&world, &line[4]).await;
    daemon.stop();
    let found = bisection(&events);
    let suspects: Vec<&str> = found.suspects.iter().map(|c| &c.0[..]).collect();
    assert_eq!(suspects, [&line[1][..], &line[2], &line[3]]);
    assert_eq!(found.untestable.len(), 2);
    assert_eq!(found.culprit(), None);
    assert_eq!(
        status(&events),
        Some(RunStatus::Fixed),
        "it is mended all the same"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_killed_among_reruns_and_in_the_search_goes_on_where_it_stood() {
    let world = world(nobody(), "reruns = 3").await;
    shop::open(&world);
    let mut daemon = world.daemon();
    adopted(&world).await;
    daemon.stop();
    let line = commits(&world, 6, |n| match n {
        1 => vec![(shop::SOURCE, shop::BAD.to_owned())],
        _ => vec![],
    });
    world.git(&["push", "--quiet", "origin", "HEAD:main"]);
    // The second red run of the head, and the first commit that was searched.
    for point in [
        "after-failed=1*off->return",
        "after-failed=1*off->return",
        "after-bisected=return",
    ] {
        let mut daemon = world.daemon_with(&[("FAILPOINTS", point)]);
        assert!(!daemon.wait().success(), "{point}: it was not killed");
    }
    let mut daemon = world.daemon();
    let events = run_of(&world, &line[5]).await;
    daemon.stop();
    assert_eq!(
        (
            tested(&events, Role::Head),
            tested(&events, Role::HeadAgain)
        ),
        (1, 3)
    );
    assert_eq!(
        tested(&events, Role::Base) + tested(&events, Role::BaseAgain),
        4
    );
    let found = bisection(&events);
    assert_eq!(found.culprit().map(|c| &c.0), Some(&line[1]));
    assert_eq!(
        tested(&events, Role::Between) as u32,
        found.tested,
        "none was tested twice"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_came_right_by_itself_costs_no_model() {
    let mut world = world(nobody(), "").await;
    // The head's run of the tests waits until somebody has mended the branch.
    world.without_a_sandbox();
    let (red, go) = (world.path().join("red"), world.path().join("go"));
    let wait = format!(
        "import pathlib\nimport time\n\npathlib.Path({red:?}).touch()\nwhile not pathlib.Path({go:?}).exists():\n    \
         time.sleep(0.05)\n"
    );
    shop::open(&world);
    let mut daemon = world.daemon();
    adopted(&world).await;
    let files = [
        (shop::SOURCE, Some(shop::BAD)),
        ("conftest.py", Some(&wait[..])),
    ];
    let head = world.push("Rework discounts", &files);
    while !red.exists() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let tip = world.push("Mend it", &[(shop::SOURCE, Some(shop::GOOD))]);
    std::fs::write(&go, "").expect("it can be written");
    let events = run_of(&world, &head).await;
    daemon.stop();
    assert_eq!(
        status(&events),
        Some(RunStatus::Green),
        "{:?}",
        kinds(&events)
    );
    assert_eq!(triage(&events).finding, Finding::Real);
    assert!(!has_tournament(&events));
    assert!(world.model.requests().is_empty());
    let shown = text(&world, &["show", &run_id(&events).0]);
    assert!(shown.contains("does not fail any more"), "{shown}");
    assert_eq!(world.tip(), tip);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setup_that_fails_everywhere_is_the_machines_trouble_and_a_person_is_told_what_to_do() {
    let mut world = world(nobody(), "trouble_wait_seconds = 0").await;
    world.without_a_sandbox();
    let broken = world.path().join("registry-is-away");
    world.project(&format!("setup = \"test ! -e {}\"", broken.display()));
    shop::open(&world);
    let mut daemon = world.daemon();
    adopted(&world).await;
    std::fs::write(&broken, "").expect("it can be written");
    let head = world.push("Count", &[("count.py", Some("ONE = 1\n"))]);
    let events = run_of(&world, &head).await;
    assert_eq!(triage(&events).finding, Finding::Infrastructure);
    assert_eq!(status(&events), Some(RunStatus::Human));
    assert!(!has_tournament(&events));
    assert_eq!(
        (
            tested(&events, Role::HeadAgain),
            tested(&events, Role::BaseAgain)
        ),
        (2, 2)
    );
    let shown = text(&world, &["show", &run_id(&events).0]);
    assert!(shown.contains("run it by hand on this machine"), "{shown}");

    // Away for a moment only: nobody hears of it.
    let once = world.path().join("once");
    std::fs::remove_file(&broken).expect("it was there");
    let setup = format!(
        "setup = \"test -e {0} || {{ touch {0}; false; }}\"",
        once.display()
    );
    daemon.stop();
    world.project(&setup);
    let mut daemon = world.daemon();
    let head = world.push("Count on", &[("count.py", Some("ONE = 2\n"))]);
    let events = run_of(&world, &head).await;
    daemon.stop();
    assert_eq!(
        status(&events),
        Some(RunStatus::Flaky),
        "{}",
        triage(&events).because
    );
}
