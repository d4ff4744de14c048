//! The command line's verbs, one file each, and what they share: configuration, the house, exit codes.
//!
//! Touches: files, processes, clock.
//! Change here: when every command needs something new.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use secrecy::ExposeSecret;
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::outside::claude::Claude;
use crate::outside::lease::Leases;
use crate::outside::process;
use crate::outside::store::Store;
use crate::outside::wasm::{Limits, Plugins};
use crate::outside::workspace::Workspace;
use crate::rules::redact::Redactor;
use crate::stages::House;

pub mod check;
pub mod demo;
pub mod events;
pub mod fix;
pub mod progress;
pub mod replay;
pub mod run;
pub mod show;
pub mod status;

/// What `changebus` exits with; documented in `docs/commands.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    Ok = 0,
    /// Something went wrong; stderr says what.
    Failed = 1,
    /// The command line was not understood.
    Usage = 2,
    /// The configuration cannot be used.
    Config = 3,
    /// `fix`: a human has to decide.
    Human = 4,
    /// `fix`: no variant came through.
    NoFix = 5,
    /// `check` or `replay`: findings.
    Findings = 6,
}

/// Where the configuration is looked for when none is named.
const CONFIG: &str = "/etc/changebus/changebus.toml";

/// The named configuration, or the installed one, or the defaults where neither exists.
pub fn config(named: Option<&Path>) -> anyhow::Result<Config> {
    match named {
        Some(path) => Ok(Config::load(path)?),
        None if Path::new(CONFIG).exists() => Ok(Config::load(Path::new(CONFIG))?),
        None => {
            let mut config = Config::default();
            config.host.state = state_home();
            Ok(config)
        }
    }
}

/// Where state goes without a configuration: the user's own, never a system directory.
fn state_home() -> PathBuf {
    let home = std::env::var_os("HOME").map_or_else(std::env::temp_dir, PathBuf::from);
    let base =
        std::env::var_os("XDG_STATE_HOME").map_or_else(|| home.join(".local/state"), PathBuf::from);
    base.join("changebus")
}

pub fn database(config: &Config) -> PathBuf {
    config.host.state.join("events.sqlite")
}

/// The event log for reading, whether or not a daemon is writing it.
pub fn log(config: &Config) -> anyhow::Result<Store> {
    let path = database(config);
    if !path.exists() {
        bail!(
            "{}: no event log yet; `changebus run` or `changebus fix` makes one",
            path.display()
        );
    }
    Ok(Store::open_read_only(&path)?)
}

/// Everything a run needs.
async fn house(config: Config, store: Store) -> anyhow::Result<Arc<House>> {
    let state = config.host.state.clone();
    let workspaces = state.join("workspaces");
    let plugins = plugins(&config).await?;
    let key = config.claude.api_key.read().ok();
    let secrets = key
        .iter()
        .map(|k| k.expose_secret().to_owned())
        .chain(other_secrets(&config));
    let redactor = Redactor::new(secrets);
    let claude = Claude::new(&config.claude, key)?;
    Ok(Arc::new(House {
        store,
        plugins,
        claude,
        redactor,
        leases: Leases::default(),
        trials: Semaphore::new(config.host.trials_at_once),
        workspaces,
        reports: state.join("reports"),
        mirrors: state.join("mirrors"),
        budget: tokio::sync::Mutex::new(()),
        settings: config,
    }))
}

/// The plugins of the configured directories.
pub async fn plugins(config: &Config) -> anyhow::Result<Plugins> {
    let (cache, dirs) = (config.host.state.join("cache"), plugin_dirs(config));
    let load = move || Plugins::load(&dirs, &cache, Limits::default());
    Ok(tokio::task::spawn_blocking(load).await??)
}

/// The house for a process that works: takes the state directory's lock and clears what a crash left
/// behind. Processes first: a test that still writes would keep its workspace from being removed.
pub async fn working_house(config: Config) -> anyhow::Result<Arc<House>> {
    let store = Store::open(&database(&config))?;
    let orphans = process::end_orphans(&config.host.state)
        .with_context(|| format!("ending what was left in {}", config.host.state.display()))?;
    if orphans > 0 {
        tracing::info!(orphans, "ended processes a crash had left");
    }
    let workspaces = config.host.state.join("workspaces");
    let left = Workspace::sweep(&workspaces)
        .with_context(|| format!("clearing {}", workspaces.display()))?;
    if left > 0 {
        tracing::info!(left, "removed workspaces a crash had left");
    }
    house(config, store).await
}

/// The configured directories, then those beside the program, where a build puts the bundled plugins.
pub fn plugin_dirs(config: &Config) -> Vec<PathBuf> {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.parent()?.to_owned()));
    let around = beside
        .iter()
        .flat_map(|dir| [dir.join("plugins"), dir.join("../plugins")]);
    config
        .host
        .plugins
        .iter()
        .cloned()
        .chain(around)
        .filter(|dir| dir.is_dir())
        .collect()
}

/// Values of environment variables whose names say that they are secret, of this process and of the tests: test
/// output may print them.
fn other_secrets(config: &Config) -> impl Iterator<Item = String> {
    const TELLING: [&str; 5] = ["TOKEN", "SECRET", "PASSWORD", "API_KEY", "CREDENTIAL"];
    let of_projects = config.projects.values().flat_map(|p| p.env.clone());
    std::env::vars()
        .chain(of_projects)
        .filter(|(name, _)| TELLING.iter().any(|t| name.contains(t)))
        .map(|(_, value)| value)
}
