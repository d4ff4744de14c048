//! `changebus plugin test`: a plugin on the cases on disk, held against what it made of them before.
//!
//! Touches: files, terminal.
//! Change here: when a case should be judged by something else than its snapshot.

use std::path::{Path, PathBuf};

use super::case::play::Scene;
use super::case::snapshot::Snapshot;
use super::case::{self, Case, EXPECTED};
use super::{opened, source};
use crate::commands::ExitCode;
use crate::config::Config;
use crate::outside::wasm::{PluginInfo, Plugins};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The plugin's crate, which is built first, or a component.
    #[arg(default_value = ".")]
    plugin: PathBuf,
    /// Where the cases are; default: `cases` beside the crate's Cargo.toml, or in the current directory.
    #[arg(long)]
    cases: Option<PathBuf>,
    /// Only cases whose names match this glob.
    #[arg(long)]
    case: Option<String>,
    /// Take what the plugin makes of the cases now as what it should make of them.
    #[arg(long)]
    update: bool,
    /// Show what the plugin logs.
    #[arg(long)]
    log: bool,
}

pub async fn run(config: &Config, args: &Args) -> anyhow::Result<ExitCode> {
    let component = source::component(&args.plugin)?;
    let beside = component.krate.as_deref().unwrap_or(Path::new("."));
    let dir = args.cases.clone().unwrap_or_else(|| beside.join("cases"));
    let cases = case::all(&dir, args.case.as_deref())?;
    let (plugins, plugin) = opened::open(config, &component).await?;
    let mut differ = 0;
    for case in cases {
        let judged = judge(&plugins, &plugin, case, args).await?;
        differ += usize::from(!judged);
    }
    if differ > 0 {
        println!(
            "{differ} differ; `changebus plugin test --update` takes what it does now as what it should do"
        );
        return Ok(ExitCode::Findings);
    }
    Ok(ExitCode::Ok)
}

/// True where the plugin did what it should.
async fn judge(
    plugins: &Plugins,
    plugin: &PluginInfo,
    case: Case,
    args: &Args,
) -> anyhow::Result<bool> {
    let (name, path) = (case.name(), case.dir.join(EXPECTED));
    let then: Option<Snapshot> = match case::json(&path) {
        // What cannot be read any more is what an update is for.
        Err(_) if args.update => None,
        read => read?,
    };
    let scene = Scene::set(case).await?;
    let now = scene
        .play(plugins, plugin.kind, &plugin.reference(), args.log)
        .await?
        .snapshot;
    let difference = then
        .as_ref()
        .map(|then| Snapshot::difference(then, &now))
        .transpose()?;
    match difference {
        Some(None) => println!("same  {name}: {}", now.line()),
        _ if args.update => {
            keep(&path, &now)?;
            println!("kept  {name}: {}", now.line());
        }
        None => {
            println!("new   {name}: {}", now.line());
            println!(
                "      nothing is expected of it yet: {} is missing",
                path.display()
            );
            return Ok(false);
        }
        Some(Some(difference)) => {
            println!("DIFF  {name}: {}", now.line());
            difference.lines().for_each(|line| println!("      {line}"));
            return Ok(false);
        }
    }
    Ok(true)
}

pub fn keep(path: &Path, snapshot: &Snapshot) -> anyhow::Result<()> {
    case::put(path, &(serde_json::to_string_pretty(snapshot)? + "\n"))
}
