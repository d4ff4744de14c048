//! What a run takes beside its tests and its model.
//!
//! Touches: files, processes, git, http, sqlite, clock.
//! Change here: when something else of a run is not the host's own. As a benchmark: `cargo xtask bench tournament`.

use changebus::event::{Event, Fact, RunStatus};
use changebus_tests::shop;
use changebus_tests::tables;
use changebus_tests::world::World;
use scripted_claude::{Reply, Script};

/// The first has its work tree made and its plugins opened.
const RUNS: usize = 8;
/// The command says when it begins and ends, so the rest of its time is the cell's.
const BEGAN: &str = "began ";
const ENDED: &str = "ended ";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute; `cargo xtask bench tournament` runs it"]
async fn a_run_takes_little_beside_its_tests_and_its_model() {
    let mut world = World::new(Script::from_fn(|_| Reply::text(shop::HONEST))).await;
    world.policy("min_confidence = 0.5\nreruns = 7");
    world.before_the_tests(&format!(
        "trap 'echo {ENDED}$(date +%s.%N)' EXIT; echo {BEGAN}$(date +%s.%N)"
    ));
    shop::open(&world);
    let _daemon = world.daemon();
    world
        .until("the green tip is adopted", |events| !events.is_empty())
        .await;
    for nth in 0..RUNS {
        let bad = format!("{}\n# Rework {nth}\n", shop::BAD);
        world.push("Rework discounts", &[(shop::SOURCE, Some(&bad))]);
        world
            .until("the run closes", |events| closed(events) > nth)
            .await;
        world.git(&["pull", "--quiet", "--ff-only", "origin", "main"]);
    }
    let events = world.events().await;
    let runs: Vec<Account> = runs(&events).iter().map(|run| account(run)).collect();
    tables::tell(&table(&runs[1..]));
}

/// What one run took, in seconds.
#[derive(Debug)]
struct Account {
    all: f64,
    /// Neither a test nor a model was waited for.
    beside: f64,
    /// Commands of the project, and of each that says so, what its cell took.
    commands: usize,
    cells: Vec<f64>,
}

fn account(run: &[&Event]) -> Account {
    let last = run.last().expect("a run has facts");
    let fixed = Fact::RunClosed {
        status: RunStatus::Fixed,
    };
    assert_eq!(last.fact, fixed, "{run:#?}");
    let waits: Vec<Wait> = run.iter().filter_map(|event| wait(run, event)).collect();
    let all = at(last) - at(run[0]);
    Account {
        all,
        beside: all - together(&waits),
        commands: waits.iter().filter(|wait| wait.of_a_command).count(),
        cells: waits.iter().filter_map(|wait| wait.cell).collect(),
    }
}

/// A stretch of a run in which the host waited for something that is not its own.
struct Wait {
    from: f64,
    to: f64,
    of_a_command: bool,
    cell: Option<f64>,
}

fn wait(run: &[&Event], event: &Event) -> Option<Wait> {
    let to = at(event);
    let command = |seconds: f64, output: &str| {
        let wait = Wait {
            from: to - seconds,
            to,
            of_a_command: true,
            cell: own_seconds(output).map(|own| seconds - own),
        };
        // What is remembered took no time.
        (seconds > 0.0).then_some(wait)
    };
    match &event.fact {
        Fact::Tested { report, .. } => command(report.seconds, &report.output),
        Fact::Tried { trial } => command(trial.seconds, &trial.output),
        Fact::Sampled { sample } => command(sample.seconds, &sample.output),
        Fact::Probed { answer, .. } => {
            let answer = answer.as_ref().expect("a probe is answered");
            command(answer.seconds, &answer.output)
        }
        Fact::ModelAnswered { variant, call, .. } => {
            let is_its = |fact: &Fact| matches!(fact, Fact::ModelAsked { variant: v, call: c, .. } if (v, c) == (variant, call));
            let asked = run.iter().find(|e| is_its(&e.fact));
            Some(Wait {
                from: at(asked.expect("what is answered was asked")),
                to,
                of_a_command: false,
                cell: None,
            })
        }
        _ => None,
    }
}

/// By what the command printed.
fn own_seconds(output: &str) -> Option<f64> {
    let said = |word: &str| -> Option<f64> {
        let line = output.lines().find_map(|line| line.strip_prefix(word));
        line?.parse().ok()
    };
    Some(said(ENDED)? - said(BEGAN)?)
}

/// How long any of them lasted: trials, strategies and probes go on side by side.
fn together(waits: &[Wait]) -> f64 {
    let mut spans: Vec<(f64, f64)> = waits.iter().map(|wait| (wait.from, wait.to)).collect();
    spans.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (mut sum, mut until) = (0.0, f64::MIN);
    for (from, to) in spans {
        sum += (to - from.max(until)).max(0.0);
        until = until.max(to);
    }
    sum
}

fn at(event: &Event) -> f64 {
    event.at.as_nanosecond() as f64 / 1e9
}

fn closed(events: &[Event]) -> usize {
    let is_end = |event: &&Event| matches!(event.fact, Fact::RunClosed { .. });
    events.iter().filter(is_end).count()
}

/// One after the other, as they were.
fn runs(events: &[Event]) -> Vec<Vec<&Event>> {
    let of_runs: Vec<&Event> = events.iter().filter(|event| event.run.is_some()).collect();
    let chunks = of_runs.chunk_by(|one, next| one.run == next.run);
    chunks.map(<[&Event]>::to_vec).collect()
}

fn median(all: impl Iterator<Item = f64>) -> f64 {
    let mut all: Vec<f64> = all.collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn table(runs: &[Account]) -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let beside = median(runs.iter().map(|run| run.beside));
    let all = median(runs.iter().map(|run| run.all));
    let commands = median(runs.iter().map(|run| run.commands as f64));
    let cell = median(runs.iter().flat_map(|run| run.cells.iter().copied()));
    format!(
        "# Benchmark of what a run takes beside its tests\n\n\
         Written by `cargo xtask bench tournament` in one run; debug build, {cores} cores. A daemon, a shop with five tests \
         of which each push breaks one, three strategies, a model that answers at once, the default `reruns`. Medians of \
         {count} runs, {all:.1} s each from the push that was seen to the merge; one run before them had the work tree made and \
         the plugins opened.\n\n\
         | what | measured | target | holds |\n|---|---|---|---|\n\
         | neither tests nor the model are waited for: git, the log, plugins, merge and report | {beside:.2} s | below 1 s | {} |\n\
         | of the time of each command, its cell: directories, sandbox, looking for leftovers | {:.0} ms, {commands:.0} commands | | |\n\n\
         By the facts: from first to last, less the stretches in which a test, a probe or a call of the model was under way, \
         those side by side counted once. A cell is what a command of the project took less what the command itself says.\n",
        if beside < 1.0 { "yes" } else { "no" },
        cell * 1e3,
        count = runs.len(),
    )
}
