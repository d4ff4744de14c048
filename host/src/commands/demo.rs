//! `changebus demo`: a real repository, a real regression, the real daemon; only the model may be scripted.
//!
//! Touches: files, processes, git, http, terminal, clock.
//! Change here: when the demo should show something else. Its repository and its script are in `demo/`.

use std::io::IsTerminal;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use scripted_claude::Server;

use super::{ExitCode, plugin_dirs, progress};
use crate::config::Config;
use crate::event::{Delivery, Event, Fact};
use crate::outside::store::{EventFilter, Store};
use crate::story;

mod repository;
mod script;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Remove everything afterwards instead of leaving it to look at.
    #[arg(long)]
    clean: bool,
}

/// Nothing of the demo takes this long.
const PATIENCE: Duration = Duration::from_secs(600);
const KEY: &str = "ANTHROPIC_API_KEY";

pub async fn run(config: Config, args: Args) -> anyhow::Result<ExitCode> {
    let dir = std::env::temp_dir().join(format!("changebus-demo-{}", std::process::id()));
    std::fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    let scripted = match std::env::var_os(KEY) {
        Some(_) => None,
        None => Some(Server::start(script::answers()).await?),
    };
    tell("The scene");
    repository::make(&dir)?;
    println!(
        "  a small Rust library with {} tests, its origin a bare git repository",
        repository::TESTS
    );
    match &scripted {
        Some(server) => println!(
            "  no {KEY}: the model variants talk to {}, whose answers are SCRIPTED",
            server.base_url()
        ),
        None => println!("  {KEY} is set: the model variants ask Claude, for at most $0.50"),
    }
    let file = dir.join("changebus.toml");
    std::fs::write(&file, settings(&dir, &config, scripted.as_ref()))
        .context("writing the configuration")?;
    let outcome = heal(&dir, &file).await;
    let ended = conclude(&dir, &file, outcome);
    if args.clean {
        std::fs::remove_dir_all(&dir).with_context(|| format!("removing {}", dir.display()))?;
    }
    ended
}

/// Starts the daemon, pushes the regression from a second clone, and follows the log until the run closes.
async fn heal(dir: &Path, file: &Path) -> anyhow::Result<Vec<Event>> {
    tell("The daemon");
    let mut daemon = tokio::process::Command::new(std::env::current_exe()?)
        .args(["run", "--config"])
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(dir.join("daemon.log"))?)
        .kill_on_drop(true)
        .spawn()
        .context("starting the daemon")?;
    let followed = tokio::select! {
        followed = follow(dir) => followed,
        ended = daemon.wait() => Err(anyhow::anyhow!("the daemon ended by itself ({}); see {}", ended?, dir.join("daemon.log").display())),
        () = tokio::time::sleep(PATIENCE) => Err(anyhow::anyhow!("nothing came of it within {} s", PATIENCE.as_secs())),
    };
    stop(&mut daemon).await;
    followed
}

async fn stop(daemon: &mut tokio::process::Child) {
    use nix::sys::signal::{Signal, kill};
    if let Some(pid) = daemon.id().and_then(|id| i32::try_from(id).ok()) {
        let _ = kill(nix::unistd::Pid::from_raw(pid), Signal::SIGTERM);
    }
    let _ = tokio::time::timeout(Duration::from_secs(10), daemon.wait()).await;
}

async fn follow(dir: &Path) -> anyhow::Result<Vec<Event>> {
    let store = wait_for_log(&dir.join("state/events.sqlite")).await?;
    let look = progress::look(std::io::stdout().is_terminal());
    let (mut seen, mut pushed) = (0, false);
    loop {
        for event in store
            .events_after(seen, 100, &EventFilter::default())
            .await?
        {
            seen = event.seq;
            println!("  {}", story::event_line(&event, look));
            if !pushed {
                tell("The push");
                println!("  {}", repository::push_regression(dir)?);
                tell("The run");
                pushed = true;
            }
            if let (Fact::RunClosed { .. }, Some(run)) = (&event.fact, &event.run) {
                return Ok(store.run_events(run).await?);
            }
        }
        store.wait_beyond(seen).await?;
    }
}

async fn wait_for_log(path: &Path) -> anyhow::Result<Store> {
    loop {
        // The daemon makes the file first and its tables a moment later.
        match Store::open_read_only(path) {
            Ok(store) => return Ok(store),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

fn conclude(
    dir: &Path,
    file: &Path,
    outcome: anyhow::Result<Vec<Event>>,
) -> anyhow::Result<ExitCode> {
    let events = outcome?;
    tell("The story (changebus show)");
    let look = progress::look(std::io::stdout().is_terminal());
    println!("{}", story::screen(&events, look).unwrap_or_default());
    let delivery = events.iter().find_map(|e| match &e.fact {
        Fact::Delivered { delivery } => Some(delivery),
        _ => None,
    });
    tell("The branch");
    let healed = match delivery {
        Some(Delivery::Merged { .. }) => {
            println!(
                "  main was merged; a fresh clone says: {}",
                repository::verify(dir)?
            );
            true
        }
        other => {
            println!(
                "  not merged: {}",
                other.map_or("nothing was delivered", Delivery::name)
            );
            false
        }
    };
    let run = events
        .first()
        .and_then(|e| e.run.as_ref())
        .map(ToString::to_string)
        .unwrap_or_default();
    let program = std::env::current_exe()?;
    let (program, file) = (program.display(), file.display());
    tell("Where to look");
    println!(
        "  everything is in {}; remove it when you have seen enough",
        dir.display()
    );
    println!("  {program} --config {file} show {run}");
    println!("  {program} --config {file} events --run {run}");
    println!("  {program} --config {file} replay {run}");
    println!(
        "  report: {}",
        dir.join(format!("state/reports/{run}.md")).display()
    );
    if !healed && std::env::var_os(KEY).is_none() {
        bail!("the demo did not heal its branch; that is a fault of ChangeBus, please report it");
    }
    Ok(ExitCode::Ok)
}

fn tell(title: &str) {
    println!("\n== {title}");
}

fn settings(dir: &Path, config: &Config, scripted: Option<&Server>) -> String {
    let quoted = |path: &Path| toml::Value::String(path.display().to_string()).to_string();
    let plugins: Vec<String> = plugin_dirs(config).iter().map(|d| quoted(d)).collect();
    let claude = match scripted {
        Some(server) => {
            let key = dir.join("scripted-key");
            // Any key will do for the scripted server, but there has to be one.
            let _ = std::fs::write(&key, "scripted-key-for-the-demo");
            format!(
                "base_url = \"{}\"\napi_key = {{ file = {} }}\n",
                server.base_url(),
                quoted(&key)
            )
        }
        None => String::new(),
    };
    format!(
        "[host]\nstate = {}\nplugins = [{}]\n\n[watch]\ninterval_seconds = 1\n\n[claude]\n{claude}run_budget_usd = 0.5\n\n{}",
        quoted(&dir.join("state")),
        plugins.join(", "),
        repository::project(dir),
    )
}
