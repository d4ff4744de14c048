//! The command line's verbs, one file each, and what they share: configuration, the house, exit codes.
//!
//! Touches: files, processes, clock.
//! Change here: when every command needs something new.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use secrecy::ExposeSecret;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::conduct::Kept;
use crate::config::Config;
use crate::event::{Fact, Opening, PluginRef};
use crate::fleet::Fleet;
use crate::outside::claude::Claude;
use crate::outside::forge::Forge;
use crate::outside::lease::Leases;
use crate::outside::process;
use crate::outside::sandbox::{NoSandbox, Sandbox};
use crate::outside::store::Store;
use crate::outside::warm::{Layering, Warm};
use crate::outside::wasm::{self, Grants, Held, InUse, Limits, PluginKind, Plugins, Setup};
use crate::outside::workspace::Workspace;
use crate::rules::redact::Redactor;
use crate::stages::House;

pub mod apps;
pub mod check;
pub mod compile;
pub mod confine;
pub mod demo;
pub mod deps;
pub mod drain;
pub mod eval;
pub mod events;
pub mod fix;
pub mod flakes;
pub mod plugin;
pub mod progress;
pub mod replay;
pub mod review;
pub mod run;
pub mod show;
pub mod stats;
pub mod status;
pub mod store;

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
    /// `check`, `replay` or `store`: findings.
    Findings = 6,
}

/// How many earlier calls of plugins tell how they behave.
const CALLS: usize = 500;

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

/// The plugins as they stand in the configured directories, and the kept ones, for a process that changes nothing.
pub async fn plugins(config: &Config) -> anyhow::Result<Plugins> {
    let setup = plugin_setup(config);
    Ok(tokio::task::spawn_blocking(move || Plugins::open(setup)).await??)
}

/// Everything a run needs.
async fn furnish(
    config: Config,
    store: Store,
    fleet: Fleet,
    setup: Setup,
) -> anyhow::Result<Arc<House>> {
    let state = config.host.state.clone();
    let workspaces = state.join("workspaces");
    let sandbox = if config.projects.values().all(|project| project.sandbox.off) {
        None
    } else {
        Some(Arc::new(proven_sandbox(&state).await?))
    };
    let warm = Arc::new(warm(&config, sandbox.as_deref()).await?);
    let plugins = tokio::task::spawn_blocking(move || Plugins::open(setup)).await??;
    let key = config.claude.api_key.read().ok();
    let secrets = key
        .iter()
        .map(|k| k.expose_secret().to_owned())
        .chain(bus_secrets(&config))
        .chain(forge_secrets(&config))
        .chain(other_secrets(&config));
    let redactor = Redactor::new(secrets);
    let claude = Claude::new(&config.claude, key)?;
    Ok(Arc::new(House {
        store,
        fleet,
        plugins,
        claude,
        forges: forges(&config)?,
        redactor,
        leases: Leases::default(),
        trials: Semaphore::new(config.host.trials_at_once),
        sandbox,
        workspaces,
        warm,
        reports: state.join("reports"),
        mirrors: state.join("mirrors"),
        budget: tokio::sync::Mutex::new(()),
        settings: config,
    }))
}

/// What this machine builds cells with, found to work.
pub async fn proven_sandbox(state: &Path) -> Result<Sandbox, NoSandbox> {
    let sandbox = running_sandbox(state)?;
    sandbox.prove().await?;
    Ok(sandbox)
}

/// Where prepared work trees are kept, and how trials come to stand upon them here.
async fn warm(config: &Config, sandbox: Option<&Sandbox>) -> anyhow::Result<Warm> {
    let root = config.host.state.join("warm");
    std::fs::create_dir_all(&root).with_context(|| format!("making {}", root.display()))?;
    let layering = match sandbox {
        Some(sandbox) => layering(sandbox, &root).await,
        None => Layering::Copy,
    };
    let most = u64::from(config.host.warm_mib) << 20;
    Warm::open(root.clone(), most, layering).with_context(|| format!("opening {}", root.display()))
}

async fn layering(sandbox: &Sandbox, root: &Path) -> Layering {
    match sandbox.prove_overlay(root).await {
        Ok(()) => Layering::Overlay,
        Err(error) => {
            tracing::warn!("every trial gets a copy of its work tree: {error}");
            Layering::Copy
        }
    }
}

/// Its helpers are the running program itself, whatever a new version has put in its place.
fn running_sandbox(state: &Path) -> Result<Sandbox, NoSandbox> {
    Sandbox::find("/proc/self/exe".into(), state)
}

/// Whether a process works beside other hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Company {
    Alone,
    AsConfigured,
}

/// The house for a process that works: takes the state directory's lock and clears what a crash left
/// behind. Processes first: a test that still writes would keep its workspace from being removed.
pub async fn working_house(config: Config, company: Company) -> anyhow::Result<Arc<House>> {
    let store = Store::open(&database(&config))?;
    let fleet = match company {
        Company::Alone => Fleet::alone(),
        Company::AsConfigured => Fleet::join(&config, &store).await?,
    };
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
    let mut setup = plugin_setup(&config);
    setup.records = true;
    setup.held = held(&store);
    let calls = store.plugin_calls(CALLS).await?;
    let clears = wasm::clears(&config.host.state);
    setup.conduct = Arc::new(Kept::fold(&config.plugins.quarantine, clears, &calls));
    furnish(config, store, fleet, setup).await
}

/// Compiled plugins are the same for every state, so one that is made for a while takes those that are known.
pub fn share_cache(known: &Path, state: &Path) -> anyhow::Result<()> {
    let cache = known.join("cache");
    std::fs::create_dir_all(&cache).with_context(|| format!("making {}", cache.display()))?;
    std::os::unix::fs::symlink(std::path::absolute(cache)?, state.join("cache"))?;
    Ok(())
}

/// What plugins are loaded from and under, for a process that changes nothing.
pub fn plugin_setup(config: &Config) -> Setup {
    let state = config.host.state.clone();
    let plugins = &config.plugins;
    Setup {
        grants: Grants {
            allow: plugins.allow.clone(),
            allow_for: plugins.allow_for.clone(),
        },
        lock: plugins.lock.clone(),
        in_use: plugin_configs(config),
        state: Some(state.clone()),
        ..Setup::new(plugin_dirs(config), state.join("cache"), limits(config))
    }
}

fn limits(config: &Config) -> Limits {
    let limits = &config.plugins.limits;
    let mib = |count: u32| usize::try_from(count).unwrap_or(usize::MAX) << 20;
    Limits {
        memory_bytes: mib(limits.memory_mib),
        strategy_cpu: Duration::from_secs(limits.strategy_cpu_seconds.into()),
        judge_cpu: Duration::from_secs(limits.judge_cpu_seconds.into()),
        judge_wall: Duration::from_secs(limits.judge_seconds.into()),
        host_calls: limits.host_calls,
        boundary_bytes: mib(limits.boundary_mib),
        log_lines: limits.log_lines,
        ..Limits::default()
    }
}

/// Every configuration that is handed to a plugin, and where it stands.
fn plugin_configs(config: &Config) -> Vec<InUse> {
    let mut found = Vec::new();
    for (name, project) in &config.projects {
        let mut add = |place: String, kind, plugin: &str, config: &serde_json::Value| {
            found.push(InUse {
                place: format!("projects.{name}.{place}"),
                kind,
                plugin: plugin.to_owned(),
                config: config.clone(),
            });
        };
        for variant in &project.variants {
            let place = format!("variants.{}", variant.name);
            add(
                place,
                PluginKind::Strategy,
                &variant.strategy,
                &variant.config,
            );
        }
        let policy = &project.policy;
        let place = "policy.scorer_config".to_owned();
        add(
            place,
            PluginKind::Scorer,
            &policy.scorer,
            &policy.scorer_config,
        );
        let place = "policy.escalation_config".to_owned();
        let (plugin, config) = (&policy.escalation, &policy.escalation_config);
        add(place, PluginKind::Escalation, plugin, config);
    }
    found
}

/// What open runs are pinned to. Asked from threads that may block.
fn held(store: &Store) -> Held {
    let (store, runtime) = (store.clone(), Handle::current());
    Arc::new(move || {
        let open = runtime.block_on(store.open_tournaments()).ok()?;
        let openings = open.into_iter().filter_map(|event| match event.fact {
            Fact::TournamentOpened { opening } => Some(opening),
            _ => None,
        });
        Some(
            openings
                .flat_map(pinned)
                .map(|plugin| plugin.digest)
                .collect::<BTreeSet<_>>(),
        )
    })
}

fn pinned(opening: Opening) -> impl Iterator<Item = PluginRef> {
    let strategies = opening.entries.into_iter().map(|entry| entry.strategy);
    strategies.chain([opening.scorer, opening.escalation])
}

/// The configured directories, there or not yet, then those beside the program, where a build puts the bundled plugins.
pub fn plugin_dirs(config: &Config) -> Vec<PathBuf> {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.parent()?.to_owned()));
    let around = beside
        .iter()
        .flat_map(|dir| [dir.join("plugins"), dir.join("../plugins")]);
    config.host.plugins.iter().cloned().chain(around).collect()
}

/// What opens the way to other programs, and to this one.
fn bus_secrets(config: &Config) -> impl Iterator<Item = String> {
    let named = [&config.bus.password, &config.bus.token].into_iter();
    let named = named.chain(config.apps.values().map(|app| &app.token));
    let of_humanrail = [&config.humanrail.api_key, &config.humanrail.webhook_secret];
    let named = named.chain(of_humanrail);
    let of_sinks = config.notices.values();
    let of_sinks = of_sinks.flat_map(|sink| [Some(&sink.url), sink.secret.as_ref()]);
    let named = named.flatten().chain(of_sinks.flatten());
    let named = named.chain(config.http.people.values());
    let read = named.filter_map(|s| s.read().ok());
    let found: Vec<String> = read.map(|s| s.expose_secret().to_owned()).collect();
    found.into_iter()
}

/// Values of environment variables whose names say that they are secret, of this process and of the tests: test
/// output may print them.
/// Accounts on forges, ready to be used.
fn forges(config: &Config) -> anyhow::Result<BTreeMap<String, Forge>> {
    let open = |(name, forge): (&String, &crate::config::Forge)| {
        let token = forge.token.read();
        let token = token.with_context(|| format!("forges.{name}.token"))?;
        let opened = Forge::new(forge.kind, forge.address(), token);
        let opened = opened.with_context(|| format!("forges.{name}"))?;
        Ok((name.clone(), opened))
    };
    config.forges.iter().map(open).collect()
}

fn forge_secrets(config: &Config) -> Vec<String> {
    let secrets = |forge: &crate::config::Forge| {
        let both = [Some(&forge.token), forge.webhook_secret.as_ref()];
        let known = both.into_iter().flatten().filter_map(|s| s.read().ok());
        let plain = known.map(|secret| secret.expose_secret().to_owned());
        plain.collect::<Vec<_>>()
    };
    config.forges.values().flat_map(secrets).collect()
}

fn other_secrets(config: &Config) -> impl Iterator<Item = String> {
    const TELLING: [&str; 5] = ["TOKEN", "SECRET", "PASSWORD", "API_KEY", "CREDENTIAL"];
    let of_projects = config.projects.values().flat_map(|p| p.env.clone());
    std::env::vars()
        .chain(of_projects)
        .filter(|(name, _)| TELLING.iter().any(|t| name.contains(t)))
        .map(|(_, value)| value)
}
