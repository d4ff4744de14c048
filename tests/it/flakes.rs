//! A daemon under suites that fail by chance: no tournament for a flake, and no break passed over.
//!
//! Touches: files, processes, git, http, sqlite.
//! Change here: when more should be shown of what triage makes of chance. `cargo xtask bench triage` is this story, longer.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use changebus::config::Policy;
use changebus::event::{Event, Fact, Finding, Role, RunId};
use changebus_tests::flaky::{self, MOODY, REAL};
use changebus_tests::tables;
use changebus_tests::world::World;
use scripted_claude::{Reply, Script};

/// In a hundred runs.
const RATES: [u32; 3] = [5, 20, 50];

/// What became of the pushes to one suite.
#[derive(Default)]
struct Tally {
    pushes: usize,
    /// Pushes at whose head the moody test failed, and nothing else.
    flaked: usize,
    found: BTreeMap<&'static str, usize>,
    broken: usize,
    found_broken: usize,
    tournaments: usize,
    runs_of_the_suite: usize,
    wrong: Vec<String>,
}

fn pushes() -> usize {
    let wanted = std::env::var("CHANGEBUS_PUSHES").ok();
    wanted.map_or(10, |n| n.parse().expect("CHANGEBUS_PUSHES is a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_fix_is_started_for_a_flake_and_no_break_is_called_flaky() {
    let stories = RATES.map(|rate| tokio::spawn(story(rate)));
    let mut tallies = vec![];
    for story in stories {
        tallies.push(story.await.expect("the story is told"));
    }
    tables::tell(&table(&tallies));
    for (rate, tally) in RATES.iter().zip(&tallies) {
        assert!(tally.wrong.is_empty(), "at {rate} %: {:#?}", tally.wrong);
        assert_eq!(tally.found_broken, tally.broken, "at {rate} %");
        assert_eq!(tally.tournaments, tally.broken, "at {rate} %");
    }
    let flaked: usize = tallies.iter().map(|tally| tally.flaked).sum();
    assert!(flaked > 0, "nothing failed by chance");
}

/// Pushes one after the other, a break among every ten of them, which the next push takes back.
async fn story(rate: u32) -> Tally {
    let mut world = World::new(Script::from_fn(|_| Reply::text("NO_FIX: not my business"))).await;
    let reruns = Policy::default().reruns;
    world.policy(&format!("reruns = {reruns}"));
    world.variants(&[("A", "minimal-fix", "{ probe = false }")]);
    flaky::open(&mut world, u64::from(rate), rate);
    let _daemon = world.daemon();
    world
        .until("the first tip is adopted", |events| !events.is_empty())
        .await;
    let mut tally = Tally::default();
    for nth in 1..=pushes() {
        let broken = nth % 10 == 4;
        let head = flaky::push(&world, nth, broken);
        let events = run_of(&world, &head).await;
        tally.take_in(&events, broken);
    }
    tally
}

/// The events of the run of this head, once it is closed.
async fn run_of(world: &World, head: &str) -> Vec<Event> {
    let run = |events: &[Event]| -> Option<RunId> {
        let opens =
            |e: &&Event| matches!(&e.fact, Fact::ChangeSeen { change } if change.head.0 == head);
        events.iter().rev().find(opens)?.run.clone()
    };
    let closed = |events: &[Event]| {
        let run = run(events);
        let last = events.last();
        last.is_some_and(|e| run.is_some() && e.run == run && closes(e))
    };
    let events = world.until("the run is closed", closed).await;
    let run = run(&events);
    events.into_iter().filter(|e| e.run == run).collect()
}

fn closes(event: &Event) -> bool {
    matches!(event.fact, Fact::RunClosed { .. })
}

impl Tally {
    fn take_in(&mut self, events: &[Event], broken: bool) {
        self.pushes += 1;
        self.broken += usize::from(broken);
        for event in events {
            match &event.fact {
                Fact::Tested { role, report, .. } => {
                    self.runs_of_the_suite += 1;
                    let moody = report.bad().contains(MOODY) && !broken;
                    self.flaked += usize::from(*role == Role::Head && moody);
                }
                Fact::Triaged { triage } => {
                    *self.found.entry(triage.finding.name()).or_default() += 1;
                    let real = triage.failing.contains(REAL) && triage.finding == Finding::Real;
                    self.found_broken += usize::from(real);
                    let blamed = triage.finding == Finding::Real && triage.failing.contains(MOODY);
                    let passed_over = broken && !real || triage.flaky.contains(REAL);
                    if blamed || passed_over || !broken && triage.finding == Finding::Real {
                        self.wrong.push(triage.because.clone());
                    }
                }
                Fact::TournamentOpened { .. } => self.tournaments += 1,
                _ => {}
            }
        }
    }
}

fn table(tallies: &[Tally]) -> String {
    let mut text = format!(
        "# Benchmark of triage\n\n\
         Written by `cargo xtask bench triage`: a daemon with the default `reruns = {}`, a suite with one test that fails by \
         chance, {} seeded pushes for each rate, and among every ten of them one that really breaks a test.\n\n\
         | fails by chance | pushes | flaked at the head | green | flaky | red before | cannot tell | breaks | breaks found \
         | tournaments | for a flake | runs of the suite a push |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n",
        Policy::default().reruns,
        pushes(),
    );
    for (rate, tally) in RATES.iter().zip(tallies) {
        let found = |name: &str| tally.found.get(name).copied().unwrap_or(0);
        let _ = writeln!(
            text,
            "| {rate} % | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {:.1} |",
            tally.pushes,
            tally.flaked,
            found("green"),
            found("flaky"),
            found("red-before"),
            found("cannot-tell"),
            tally.broken,
            tally.found_broken,
            tally.tournaments,
            tally.tournaments.saturating_sub(tally.found_broken),
            tally.runs_of_the_suite as f64 / tally.pushes as f64,
        );
    }
    text
}
