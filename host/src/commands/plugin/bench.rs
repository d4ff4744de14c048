//! `changebus plugin bench`: what a plugin costs the host, before anybody runs it in earnest.
//!
//! Touches: files, wasm, terminal.
//! Change here: when another cost should be told. `cargo xtask bench` measures the host, this measures a plugin.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Serialize;

use super::case::play::{Played, Scene};
use super::case::snapshot::Snapshot;
use super::case::{self, Case};
use super::opened;
use super::source::{self, Component};
use crate::commands::ExitCode;
use crate::config::Config;
use crate::outside::wasm::PluginInfo;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The plugin's crate, which is built first, or a component.
    #[arg(default_value = ".")]
    plugin: PathBuf,
    /// The case to call it on; default: the first one in `cases` beside the crate's Cargo.toml.
    #[arg(long)]
    case: Option<PathBuf>,
    /// How often it is called.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    calls: u32,
    #[arg(long)]
    json: bool,
}

/// Fields may be added, never renamed.
#[derive(Debug, Serialize)]
struct Measured {
    name: String,
    digest: String,
    bytes: u64,
    /// From the file to the shelf, with nothing compiled yet, and with the compiled code at hand.
    cold_ms: f64,
    cached_ms: f64,
    /// None where there is no case to call it on.
    calls: Option<Calls>,
}

#[derive(Debug, Serialize)]
struct Calls {
    case: String,
    count: u32,
    /// Each in an instance of its own; probes and model calls are answered at once.
    p50_us: f64,
    p99_us: f64,
    cpu_ms: u64,
    memory_bytes: u64,
    host_calls: u64,
}

pub async fn run(config: &Config, args: &Args) -> anyhow::Result<ExitCode> {
    let component = source::component(&args.plugin)?;
    let (cold, cached, plugin) = activation(config, &component).await?;
    let calls = match case(args, &component)? {
        Some(case) => Some(called(config, &component, case, args.calls).await?),
        None => None,
    };
    let measured = Measured {
        name: plugin.name,
        digest: plugin.digest,
        bytes: plugin.size,
        cold_ms: millis(cold),
        cached_ms: millis(cached),
        calls,
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&measured)?);
    } else {
        print!("{}", table(&measured));
    }
    Ok(ExitCode::Ok)
}

/// Twice the whole way, with an empty cache and with what the first time left there.
async fn activation(
    config: &Config,
    component: &Component,
) -> anyhow::Result<(Duration, Duration, PluginInfo)> {
    let place = tempfile::Builder::new()
        .prefix("changebus-bench-")
        .tempdir()?;
    let mut fresh = config.clone();
    fresh.host.state = place.path().to_owned();
    let cold = opened::timed(&fresh, component).await?;
    let cached = opened::timed(&fresh, component).await?;
    Ok((cold.0, cached.0, cold.1))
}

fn case(args: &Args, component: &Component) -> anyhow::Result<Option<Case>> {
    if let Some(dir) = &args.case {
        return Case::read(dir).map(Some);
    }
    let beside = component
        .krate
        .as_deref()
        .unwrap_or(Path::new("."))
        .join("cases");
    if !beside.is_dir() {
        return Ok(None);
    }
    Ok(case::all(&beside, None)?.into_iter().next())
}

async fn called(
    config: &Config,
    component: &Component,
    case: Case,
    count: u32,
) -> anyhow::Result<Calls> {
    let (plugins, plugin) = opened::open(config, component).await?;
    let mut scene = Scene::set(case).await?;
    let play = async |scene: &Scene| {
        scene
            .play(&plugins, plugin.kind, &plugin.reference(), false)
            .await
    };
    let first = play(&scene).await?;
    // What the tests said the first time they say at once from now on: it is the plugin that is measured.
    let mut case = Case::clone(&scene.case);
    case.answers.extend(first.learned);
    scene = Scene::set(case).await?;
    let mut all: Vec<Played> = vec![];
    for _ in 0..count {
        let played = play(&scene).await?;
        if let Some(difference) = Snapshot::difference(&first.snapshot, &played.snapshot)? {
            bail!(
                "{}: answers the same case in two ways, so its runs cannot be replayed:\n{difference}",
                plugin.name
            );
        }
        all.push(played);
    }
    all.sort_by_key(|played| played.took);
    let last = all.last().context("it was called at least once")?;
    Ok(Calls {
        case: scene.case.name(),
        count,
        p50_us: micros(at(&all, 0.5)),
        p99_us: micros(at(&all, 0.99)),
        cpu_ms: all.iter().map(|p| p.ledger.cpu_ms).max().unwrap_or(0),
        memory_bytes: all.iter().map(|p| p.ledger.memory_bytes).max().unwrap_or(0),
        host_calls: last.ledger.host_calls,
    })
}

/// The call that as many of a hundred took at most as long as.
fn at(sorted: &[Played], share: f64) -> Duration {
    let index = (sorted.len() as f64 * share).ceil() as usize;
    sorted
        .get(index.saturating_sub(1))
        .map_or(Duration::ZERO, |p| p.took)
}

fn millis(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

fn micros(took: Duration) -> f64 {
    took.as_secs_f64() * 1e6
}

fn table(measured: &Measured) -> String {
    let kib = |bytes: u64| format!("{:.0} KiB", bytes as f64 / 1024.0);
    let mut rows = vec![
        (
            "plugin",
            format!("{} {:.12}", measured.name, measured.digest),
        ),
        ("size", kib(measured.bytes)),
        (
            "activation, never compiled",
            format!("{:.1} ms", measured.cold_ms),
        ),
        (
            "activation, compiled before",
            format!("{:.1} ms", measured.cached_ms),
        ),
    ];
    match &measured.calls {
        Some(calls) => rows.extend([
            (
                "called on",
                format!("{}, {} times", calls.case, calls.count),
            ),
            (
                "call, half of them within",
                format!("{:.0} us", calls.p50_us),
            ),
            ("call, 99 of 100 within", format!("{:.0} us", calls.p99_us)),
            ("computing, at most", format!("{} ms", calls.cpu_ms)),
            ("memory, at most", kib(calls.memory_bytes)),
            ("calls of the host", calls.host_calls.to_string()),
        ]),
        None => rows.push((
            "calls",
            "no case to call it on; name one with --case".to_owned(),
        )),
    }
    let wide = rows.iter().map(|(what, _)| what.len()).max().unwrap_or(0);
    rows.iter()
        .map(|(what, value)| format!("{what:wide$}  {value}\n"))
        .collect()
}
