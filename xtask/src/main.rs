//! What plain cargo cannot express: building guests, installing what tests need, the demo.
//!
//! Touches: files, processes.
//! Change here: when a newcomer's machine needs something more. Every step says what it does and why it failed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

mod bench_measured;
mod bench_watch;
mod fuzz;
mod golden;
mod guests;
mod prerequisites;

const USAGE: &str = "\
cargo xtask demo       build everything and heal a real repository before your eyes
cargo xtask test       install what the tests need, then run every test and lint
cargo xtask guests     build the bundled plugins and the test guests
cargo xtask golden     keep compiled plugins of a new interface version in tests/golden
cargo xtask schemas    write what messages promise into host/schemas and docs/asyncapi.json
cargo xtask prepare    install what the tests need
cargo xtask screenshots  write pictures of the page into docs/screenshots
cargo xtask cases      run the real cases and write docs/cases.md
cargo xtask updates    try updates of real packages and write docs/updates.md
cargo xtask suite DIR  make an evaluation of the real cases in DIR, and keep its table in docs/evaluation.md; takes about an hour
cargo xtask fuzz       try what crosses the plugin boundary at random; --seconds 60, --seed N, --target NAME
cargo xtask bench apps     measure how soon what an application says is in the log and write docs/benchmarks.md
cargo xtask bench fleet    measure how soon a run goes on elsewhere whose host was killed
cargo xtask bench learning measure what is learned where the truth is known, with pictures
cargo xtask bench people   measure how soon a decision is on the branch and what open pages cost
cargo xtask bench plugins  measure what a plugin call costs and write docs/benchmarks.md
cargo xtask bench bus      hold the log and the relay beside what they are made of and write docs/benchmarks.md
cargo xtask bench setup    measure how soon a trial's first test runs and write docs/benchmarks.md
cargo xtask bench triage   push 200 times to suites that flake at 5, 20 and 50 % and write docs/benchmarks.md
cargo xtask bench swap     replace a plugin 500 times while tournaments run; takes about six minutes
cargo xtask bench tournament  hold one beside a full run for each candidate, and see what the host itself takes; takes about seven minutes
cargo xtask chaos      three hosts, a server and 30 projects on a bad day; --minutes 5, --seed 1
cargo xtask bench-watch    measure a daemon that watches a hundred idle repositories; takes about four minutes";

/// Always the same, so that nothing is built twice.
const FEATURES: [&str; 3] = ["--workspace", "--features", "changebus/failpoints"];

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let root = root()?;
    match args.first().map(String::as_str) {
        Some("demo") => demo(&root, &args[1..]),
        Some("test") => test(&root, &args[1..]),
        Some("guests") => guests::build(&root),
        Some("golden") => golden::keep(&root),
        Some("schemas") => schemas(&root),
        Some("prepare") => prerequisites::install(),
        Some("screenshots") => screenshots(&root),
        Some("cases") => tabled(&root, "cases", "CASES"),
        Some("updates") => tabled(&root, "updating", "UPDATES"),
        Some("suite") => suite(&root, &args[1..]),
        Some("fuzz") => fuzz::fuzz(&root, &args[1..]),
        Some("bench") if args[1..] == ["plugins"] => bench_measured::measure(&root, "plugins"),
        Some("bench") if args[1..] == ["bus"] => bench_measured::measure(&root, "bus"),
        Some("bench") if args[1..] == ["setup"] => {
            story_as_benchmark(&root, "warm::measure::", &[])
        }
        Some("bench") if args[1..] == ["apps"] => bench_optimised(&root, "apps::rate::"),
        Some("bench") if args[1..] == ["learning"] => {
            story_as_benchmark(&root, "learning::simulated::", &[])
        }
        Some("bench") if args[1..] == ["people"] => bench_optimised(&root, "deciding::"),
        Some("bench") if args[1..] == ["fleet"] => {
            story_as_benchmark(&root, "fleet::takeover::", &[])
        }
        Some("bench") if args[1..] == ["tournament"] => bench_tournament(&root),
        Some("bench") if args[1..] == ["swap"] => bench_swap(&root),
        Some("bench") if args[1..] == ["triage"] => bench_triage(&root),
        Some("bench-watch") => bench_watch(&root),
        Some("chaos") => chaos(&root, &args[1..]),
        _ => bail!("{USAGE}"),
    }
}

fn root() -> anyhow::Result<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(manifest
        .parent()
        .context("xtask stands in the workspace")?
        .to_owned())
}

fn demo(root: &Path, rest: &[String]) -> anyhow::Result<()> {
    prerequisites::for_the_daemon()?;
    guests::build(root)?;
    run("building the host", cargo(root).arg("build").args(FEATURES))?;
    run(
        "the demo",
        Command::new(root.join("target/debug/changebus"))
            .arg("demo")
            .args(rest),
    )
}

/// Formatting and lints first: they are the cheapest to fail.
fn test(root: &Path, rest: &[String]) -> anyhow::Result<()> {
    prerequisites::install()?;
    run(
        "checking the format",
        cargo(root).args(["fmt", "--all", "--check"]),
    )?;
    guests::build(root)?;
    run(
        "linting",
        cargo(root)
            .arg("clippy")
            .args(FEATURES)
            .args(["--all-targets", "--", "-D", "warnings"]),
    )?;
    run("building", cargo(root).arg("build").args(FEATURES))?;
    run(
        "testing",
        cargo(root)
            .args(["test", "--no-fail-fast"])
            .args(FEATURES)
            .args(rest),
    )
}

/// Written by the tests that hold them against the types.
fn schemas(root: &Path) -> anyhow::Result<()> {
    for keeper in ["envelope::the_schemas_", "envelope::asyncapi::"] {
        run(
            &format!("telling {keeper}"),
            cargo(root)
                .arg("test")
                .args(FEATURES)
                .args(["--test", "it", keeper])
                .env("CHANGEBUS_KEEP_SCHEMAS", "1"),
        )?;
    }
    Ok(())
}

/// Pictures that the story of the page in a browser takes, and what documents call them.
const PICTURES: [(&str, &str); 9] = [
    ("overview-light-wide", "overview"),
    ("signed-in-run-light-wide", "review"),
    ("run-dark-phone", "run-on-a-phone"),
    ("variants-light-wide", "variants"),
    ("project-light-wide", "project"),
    ("review-dark-wide", "waiting"),
    ("plugins-light-wide", "plugins"),
    ("events-light-wide", "events"),
    ("about-light-wide", "about"),
];

fn screenshots(root: &Path) -> anyhow::Result<()> {
    prerequisites::install()?;
    guests::build(root)?;
    run("building", cargo(root).arg("build").args(FEATURES))?;
    let taken = root.join("target/screenshots");
    std::fs::create_dir_all(&taken)?;
    run(
        "the page in a browser",
        cargo(root)
            .arg("test")
            .args(FEATURES)
            .args(["--test", "it", "page::browser::"])
            .env("CHANGEBUS_SCREENSHOTS", &taken),
    )?;
    let kept = root.join("docs/screenshots");
    std::fs::create_dir_all(&kept)?;
    for (from, to) in PICTURES {
        let from = taken.join(format!("{from}.png"));
        let to = kept.join(format!("{to}.png"));
        std::fs::copy(&from, &to).with_context(|| format!("{} cannot be kept", from.display()))?;
    }
    Ok(())
}

/// Stories that write what they saw into a table, once all of them ended well.
fn tabled(root: &Path, stories: &str, name: &str) -> anyhow::Result<()> {
    prerequisites::install()?;
    guests::build(root)?;
    run("building", cargo(root).arg("build").args(FEATURES))?;
    let table = root.join(format!("docs/{}.md", name.to_lowercase()));
    run(
        stories,
        cargo(root)
            .arg("test")
            .args(FEATURES)
            .args(["--test", "it", &format!("{stories}::")])
            .env(format!("CHANGEBUS_{name}_TABLE"), table),
    )
}

/// The real cases as a suite for `changebus eval`, with a scripted model's answers.
fn suite(root: &Path, args: &[String]) -> anyhow::Result<()> {
    let [dir] = args else {
        bail!("{USAGE}");
    };
    let dir = std::path::absolute(dir)?;
    std::fs::create_dir_all(&dir).with_context(|| format!("{}", dir.display()))?;
    let (dir, table) = (
        dir.display().to_string(),
        root.join("docs/evaluation.md").display().to_string(),
    );
    let env = [
        ("CHANGEBUS_SUITE", dir.as_str()),
        ("CHANGEBUS_BENCH_TABLE", table.as_str()),
    ];
    story_as_benchmark(root, "evaluating::real::all_", &env)
}

/// The stories of `tests/it/swap`, for as long as it takes to trust them.
fn bench_swap(root: &Path) -> anyhow::Result<()> {
    for story in ["swap::alone_replacements", "swap::daemon::"] {
        story_as_benchmark(root, story, &[("CHANGEBUS_SWAPS", "500")])?;
    }
    Ok(())
}

/// A story with everything optimised: what is measured is what an operator runs.
fn bench_optimised(root: &Path, story: &str) -> anyhow::Result<()> {
    let optimised = ["--profile", "measure"];
    prerequisites::install()?;
    guests::build(root)?;
    let mut program = cargo(root);
    program.arg("build").args(optimised).args(FEATURES);
    run("building", program.args(["-p", "changebus"]))?;
    run(
        &format!("telling {story}"),
        &mut it(root, story, &optimised),
    )
}

/// The story of `tests/it/flakes`, for as many pushes as it takes to believe it.
fn bench_triage(root: &Path) -> anyhow::Result<()> {
    story_as_benchmark(root, "flakes::", &[("CHANGEBUS_PUSHES", "200")])
}

/// A tournament with a long suite, then runs with a short one.
fn bench_tournament(root: &Path) -> anyhow::Result<()> {
    for story in ["racing::racing_beside", "overhead::"] {
        story_as_benchmark(root, story, &[])?;
    }
    Ok(())
}

/// Those that have a table keep it.
fn story_as_benchmark(root: &Path, story: &str, env: &[(&str, &str)]) -> anyhow::Result<()> {
    prerequisites::install()?;
    guests::build(root)?;
    run("building", cargo(root).arg("build").args(FEATURES))?;
    run(
        &format!("telling {story}"),
        it(root, story, &[]).envs(env.iter().copied()),
    )
}

/// These stories, which may keep a table.
fn it(root: &Path, story: &str, flags: &[&str]) -> Command {
    let mut command = cargo(root);
    command
        .arg("test")
        .args(FEATURES)
        .args(flags)
        .args(["--test", "it", story])
        .args(["--", "--include-ignored", "--nocapture"])
        .env("CHANGEBUS_BENCH_TABLE", root.join("docs/benchmarks.md"));
    command
}

/// The story of `tests/it/chaos.rs`, for as long and with the faults that are asked for.
fn chaos(root: &Path, args: &[String]) -> anyhow::Result<()> {
    let (mut minutes, mut seed) = ("5".to_owned(), "1".to_owned());
    for pair in args.chunks(2) {
        match pair {
            [name, value] if name == "--minutes" => minutes = value.clone(),
            [name, value] if name == "--seed" => seed = value.clone(),
            _ => bail!("{USAGE}"),
        }
    }
    let env = [
        ("CHANGEBUS_CHAOS_MINUTES", minutes.as_str()),
        ("CHANGEBUS_CHAOS_SEED", seed.as_str()),
    ];
    story_as_benchmark(root, "chaos::", &env)
}

fn bench_watch(root: &Path) -> anyhow::Result<()> {
    run("building", cargo(root).arg("build").args(FEATURES))?;
    bench_watch::run(root)
}

fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    // What cargo tells xtask about xtask would have build scripts run again that read it.
    for (name, _) in std::env::vars_os() {
        let told = name.to_string_lossy();
        if told.starts_with("CARGO_PKG_") || told.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Says what it does, and fails with what it was doing.
fn run(what: &str, command: &mut Command) -> anyhow::Result<()> {
    eprintln!("xtask: {what}");
    let status = command
        .status()
        .with_context(|| format!("{what}: {:?} could not be started", command.get_program()))?;
    if !status.success() {
        bail!("{what} failed ({status})");
    }
    Ok(())
}
