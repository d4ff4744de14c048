//! Ten thousand runs of which the truth is known: whether the figures say it.
//!
//! Touches: files.
//! Change here: when a figure is estimated otherwise. As a report: `cargo xtask bench learning`.

use changebus::event::{Attempt, FailureClass, FixFate, How, Kind, RunId, RunResult};
use changebus::rules::learn::estimate::{Kept, calibration_error, reliability};
use changebus::rules::learn::stats;
use changebus::story::plot::{self, Bar};
use changebus_tests::tables;
use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};

const PROJECTS: usize = 20;
const STRATEGIES: [(&str, f64); 5] = [
    ("minimal-fix", 0.92),
    ("robust-refactor", 0.84),
    ("autofix", 0.75),
    ("investigator", 0.66),
    ("revert-culprit", 0.55),
];
const RUNS: usize = 10_000;
const DAYS: f64 = 365.0;
/// Nobody ever sees what became of so many.
const MISSING: f64 = 0.1;
/// Until it is known what became of one.
const DELAY_DAYS: f64 = 14.0;
const SEEDS: u64 = 10;

struct World {
    /// How many fixes last, by strategy and project.
    truth: Vec<Vec<f64>>,
    results: Vec<RunResult>,
    attempts: Vec<Attempt>,
    now: Timestamp,
}

/// About normal, with a mean of 0 and a deviation of 1.
fn normal(rng: &mut Rng) -> f64 {
    (0..12).map(|_| rng.f64()).sum::<f64>() - 6.0
}

fn world(seed: u64) -> World {
    let mut rng = Rng::with_seed(seed);
    let truth: Vec<Vec<f64>> = STRATEGIES
        .iter()
        .map(|(_, mean)| {
            (0..PROJECTS)
                .map(|_| (mean + 0.06 * normal(&mut rng)).clamp(0.02, 0.98))
                .collect()
        })
        .collect();
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
    let day = |days: f64| SignedDuration::from_secs_f64(days * 86_400.0);
    let (mut results, mut attempts) = (vec![], vec![]);
    for n in 0..RUNS {
        let days = DAYS * n as f64 / RUNS as f64;
        let (strategy, project) = (rng.usize(0..STRATEGIES.len()), rng.usize(0..PROJECTS));
        let lasts = truth[strategy][project];
        let survived = rng.f64() < lasts;
        // A revert is seen on the day it happens, survival when the time for it has passed.
        let known_after = match survived {
            true => DELAY_DAYS,
            false => DELAY_DAYS * rng.f64(),
        };
        let is_known = rng.f64() >= MISSING && days + known_after <= DAYS;
        let fate = is_known.then_some(match survived {
            true => FixFate::Survived,
            false => FixFate::Reverted,
        });
        let run = RunId(format!("p{project}-{n}"));
        // Confidence knows something, and thinks too much of it.
        let confidence = (0.5 + 0.5 * lasts + 0.05 * normal(&mut rng)).clamp(0.0, 1.0);
        results.push(RunResult {
            run: run.clone(),
            project: format!("p{project}"),
            at: start + day(days),
            kind: Kind::Real,
            class: FailureClass::Assertion,
            language: "python".into(),
            winner: Some("A".into()),
            confidence: Some(confidence),
            evidence: Some(confidence),
            how: How::Merged,
            seconds: None,
            fate,
        });
        attempts.push(Attempt {
            run,
            variant: "A".into(),
            strategy: STRATEGIES[strategy].0.into(),
            digest: String::new(),
            edition: String::new(),
            model: None,
            proposed: true,
            clean: true,
            won: true,
            cost_usd: 0.1,
        });
    }
    World {
        truth,
        results,
        attempts,
        now: start + day(DAYS),
    }
}

/// Intervals that hold the truth, of all strategies in all projects.
fn covered(world: &World) -> (usize, usize) {
    let mut held = 0;
    for (strategy, (name, _)) in STRATEGIES.iter().enumerate() {
        for project in 0..PROJECTS {
            let share = stats::lasting(
                &world.results,
                &world.attempts,
                name,
                FailureClass::Assertion,
                &format!("p{project}"),
                world.now,
            );
            let truth = world.truth[strategy][project];
            held += usize::from(share.low <= truth && truth <= share.high);
        }
    }
    (held, STRATEGIES.len() * PROJECTS)
}

fn is_ranked(world: &World) -> bool {
    let stats = stats::of(&world.results, &world.attempts, world.now);
    let mut standings = stats.strategies;
    standings.sort_by(|a, b| b.lasting.total_cmp(&a.lasting));
    standings
        .iter()
        .map(|s| s.name.as_str())
        .eq(STRATEGIES.iter().map(|(name, _)| *name))
}

/// Of what was promised after the first 500 were known: how far off, as it was promised, and as it is meant by then.
fn promises(world: &World) -> (f64, f64, Vec<Kept>) {
    const KNOWN: usize = 500;
    let is_known = |result: &&RunResult| result.fate.is_some_and(|fate| fate.worth().is_some());
    let aged = world
        .results
        .iter()
        .enumerate()
        .filter(|(_, r)| is_known(r));
    let (until, _) = aged.clone().nth(KNOWN).expect("there are enough");
    let (known, later) = world.results.split_at(until);
    let fit = stats::calibration(known).expect("they are enough");
    let later = stats::kept(later);
    let meant: Vec<Kept> = later
        .iter()
        .map(|kept| Kept {
            promised: fit.means(kept.promised),
            ..*kept
        })
        .collect();
    let off = |all: &[Kept]| calibration_error(all).expect("there are some");
    (off(&later), off(&meant), meant)
}

#[test]
fn intervals_hold_the_truth_the_ranking_is_right_and_confidence_means_what_it_says() {
    let worlds: Vec<World> = (1..=SEEDS).map(world).collect();
    let counts = worlds.iter().map(covered);
    let (held, all) = counts.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    let coverage = held as f64 / all as f64;
    assert!(
        (0.93..=0.97).contains(&coverage),
        "{held} of {all} intervals hold the truth"
    );
    let ranked = worlds.iter().filter(|world| is_ranked(world)).count();
    assert_eq!(
        ranked,
        worlds.len(),
        "the ranking is right in {ranked} of {}",
        worlds.len()
    );
    let (raw, meant): (Vec<f64>, Vec<f64>) = worlds
        .iter()
        .map(promises)
        .map(|(raw, meant, _)| (raw, meant))
        .unzip();
    assert!(meant.iter().all(|off| *off < 0.05), "{meant:?}");
    report(&worlds[0], coverage, all, &raw, &meant);
}

fn report(world: &World, coverage: f64, all: usize, raw: &[f64], meant: &[f64]) {
    let stats = stats::of(&world.results, &world.attempts, world.now);
    let mut standings = stats.strategies;
    standings.sort_by(|a, b| b.lasting.total_cmp(&a.lasting));
    let truth = |name: &str| {
        let found = STRATEGIES.iter().find(|(n, _)| *n == name);
        found.map_or(0.0, |(_, truth)| *truth)
    };
    let bars: Vec<Bar<'_>> = standings
        .iter()
        .map(|s| Bar {
            name: &s.name,
            share: s.lasting,
            low: s.lasting_low,
            high: s.lasting_high,
            note: format!("truth {:.0} %", truth(&s.name) * 100.0),
        })
        .collect();
    let bins = |all: &[Kept]| -> Vec<(f64, f64, usize)> {
        let bins = reliability(all).into_iter();
        bins.map(|bin| (bin.promised, bin.came, bin.count))
            .collect()
    };
    let (_, _, after) = promises(world);
    let pictures = [
        (
            "learning-strategies.svg",
            plot::shares("Fixes that last, by strategy", &bars),
        ),
        (
            "learning-promised.svg",
            plot::reliability(
                "Confidence as it was promised",
                &bins(&stats::kept(&world.results)),
            ),
        ),
        (
            "learning-meant.svg",
            plot::reliability(
                "Confidence as it is meant after 500 outcomes",
                &bins(&after),
            ),
        ),
    ];
    if let Some(path) = std::env::var_os("CHANGEBUS_BENCH_TABLE") {
        let beside = std::path::Path::new(&path).with_file_name("pictures");
        std::fs::create_dir_all(&beside).expect("a directory can be made");
        for (name, picture) in &pictures {
            std::fs::write(beside.join(name), picture).expect("a picture can be written");
        }
    }
    let worst = |all: &[f64]| all.iter().copied().fold(0.0, f64::max);
    tables::tell(&format!(
        "# What is learned, where the truth is known\n\n\
         Written by `cargo xtask bench learning`: {SEEDS} made-up years of {RUNS} runs each, {PROJECTS} projects, {} strategies whose fixes\n\
         last as often as is known; {:.0} % of the outcomes are never seen, the others {DELAY_DAYS:.0} days later at most.\n\n\
         | what | came out | asked |\n|---|---|---|\n\
         | intervals of 95 % that hold the truth, of {all} | {:.1} % | 93 to 97 % |\n\
         | years in which the strategies are ranked as they are | {SEEDS} of {SEEDS} | all |\n\
         | confidence off by, on average, as promised (worst year) | {:.3} | |\n\
         | as it is meant once 500 outcomes are known (worst year) | {:.3} | below 0.05 |\n\n\
         ![Fixes that last, by strategy](pictures/learning-strategies.svg)\n\n\
         Confidence as promised, and as it is meant:\n\n\
         ![As promised](pictures/learning-promised.svg) ![As meant](pictures/learning-meant.svg)\n",
        STRATEGIES.len(),
        MISSING * 100.0,
        coverage * 100.0,
        worst(raw),
        worst(meant)
    ));
}
