//! `changebus check`: configuration and environment, with what to do about each finding.
//!
//! Touches: files, git, wasm, network (through `outside/nats` and `outside/forge`), terminal.
//! Change here: when something else must be in place before a run can succeed.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::{ExitCode, database, plugin_dirs, plugin_setup};
use crate::config::{BusKind, Config, Project};
use crate::event::{Fact, Layer};
use crate::outside::git::{self, RemoteTip};
use crate::outside::nats::Link;
use crate::outside::wasm::{Journal, PluginInfo, PluginKind, Plugins, listed};

mod forges;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Do not ask the remotes.
    #[arg(long)]
    offline: bool,
    #[arg(long)]
    json: bool,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub struct Finding {
    pub name: String,
    pub ok: bool,
    pub detail: String,
    /// What to do, where something has to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

pub async fn run(config: Config, args: Args) -> anyhow::Result<ExitCode> {
    let mut findings = vec![
        state(&config.host.state),
        git_version().await,
        api_key(&config),
        sandbox(&config).await,
    ];
    findings.extend(unconfined(&config));
    findings.extend(workspaces(&config.host.state).await);
    let setup = plugin_setup(&config);
    let plugins = tokio::task::spawn_blocking(move || Plugins::open(setup)).await?;
    match plugins {
        Ok(plugins) => findings.extend(plugin_findings(&config, &plugins)),
        Err(error) => findings.push(bad(
            "plugins",
            &error.to_string(),
            "see the message; the other checks need plugins",
        )),
    }
    if !args.offline {
        findings.extend(nats(&config).await);
        for (name, project) in &config.projects {
            findings.push(remote(name, project, config.watch.timeout_seconds).await);
        }
        findings.extend(forges::look(&config).await);
    }
    if database(&config).exists() {
        findings.push(event_log(&config).await);
        findings.push(journals(&config).await);
    }
    let all_ok = findings.iter().all(|f| f.ok);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&findings)?);
    } else {
        findings.iter().for_each(print);
    }
    Ok(if all_ok {
        ExitCode::Ok
    } else {
        ExitCode::Findings
    })
}

fn print(finding: &Finding) {
    println!(
        "{} {}: {}",
        if finding.ok { "ok " } else { "BAD" },
        finding.name,
        finding.detail
    );
    if let Some(hint) = &finding.hint {
        println!("    {hint}");
    }
}

fn good(name: &str, detail: &str) -> Finding {
    Finding {
        name: name.into(),
        ok: true,
        detail: detail.into(),
        hint: None,
    }
}

fn bad(name: &str, detail: &str, hint: &str) -> Finding {
    Finding {
        name: name.into(),
        ok: false,
        detail: detail.into(),
        hint: Some(hint.into()),
    }
}

fn state(dir: &Path) -> Finding {
    let probe = dir.join(".check");
    let tried = std::fs::create_dir_all(dir)
        .and_then(|()| std::fs::write(&probe, b"x"))
        .and_then(|()| std::fs::remove_file(&probe));
    match tried {
        Ok(()) => good("state", &format!("{} can be written", dir.display())),
        Err(error) => bad(
            "state",
            &format!("{}: {error}", dir.display()),
            "make the directory and give it to the daemon's user, or set host.state",
        ),
    }
}

async fn git_version() -> Finding {
    match git::version().await {
        Ok(version) => good("git", &version),
        Err(error) => bad("git", &error.to_string(), "install git 2.39 or newer"),
    }
}

/// The fleet's server, as the daemon would find it; makes nothing there.
async fn nats(config: &Config) -> Option<Finding> {
    if config.bus.kind == BusKind::Embedded {
        return None;
    }
    Some(match Link::look(&config.bus, "check").await {
        Ok(server) => {
            let found = format!(
                "{}, version {}",
                config.bus.servers.join(", "),
                server.version
            );
            match server.warning {
                None => good(
                    "nats",
                    &format!("{found}; writes to disk before it acknowledges"),
                ),
                Some(why) => good(
                    "nats",
                    &format!("{found}; may lose what it acknowledged: {why}"),
                ),
            }
        }
        Err(error) => bad(
            "nats",
            &error.to_string(),
            "until then hosts work only on projects that no other host may have",
        ),
    })
}

/// Bundled strategies that need no key.
const WITHOUT_A_MODEL: [&str; 3] = ["revert-culprit", "autofix", "pin-back"];

fn api_key(config: &Config) -> Finding {
    let asks = config
        .projects
        .values()
        .flat_map(|p| &p.variants)
        .any(|v| !WITHOUT_A_MODEL.contains(&v.strategy.as_str()));
    match config.claude.api_key.read() {
        Ok(_) => good("claude", &format!("key from {}", config.claude.api_key)),
        Err(_) if !asks => good("claude", "no key, and no variant that asks a model"),
        Err(error) => bad(
            "claude",
            &error.to_string(),
            "set it, or point claude.api_key at a file or a credential; variants that ask a model refuse without",
        ),
    }
}

async fn sandbox(config: &Config) -> Finding {
    let proven = async {
        let sandbox = super::running_sandbox(&config.host.state)?;
        sandbox.prove().await
    };
    match proven.await {
        Ok(layers) => {
            let names = |layers: &mut dyn Iterator<Item = Layer>| {
                layers.map(Layer::name).collect::<Vec<_>>().join(", ")
            };
            let held = names(&mut layers.iter().copied());
            let optional = [Layer::Landlock];
            let missing = names(&mut optional.into_iter().filter(|l| !layers.contains(l)));
            if missing.is_empty() {
                good("sandbox", &held)
            } else {
                good(
                    "sandbox",
                    &format!("{held}; not {missing}, which this kernel does not have"),
                )
            }
        }
        Err(_)
            if !config.projects.is_empty() && config.projects.values().all(|p| p.sandbox.off) =>
        {
            good("sandbox", "none, and no project that wants one")
        }
        Err(error) => bad(
            "sandbox",
            &error.to_string(),
            "until then no test is run; see docs/sandbox.md",
        ),
    }
}

/// Says nothing where there is no sandbox, or nowhere to try it: other findings do.
async fn workspaces(state: &Path) -> Option<Finding> {
    let sandbox = super::running_sandbox(state).ok()?;
    sandbox.prove().await.ok()?;
    Some(match sandbox.prove_overlay(state).await {
        Ok(()) => good(
            "workspaces",
            "trials see prepared work trees through an overlay",
        ),
        Err(error) => good(
            "workspaces",
            &format!(
                "every trial gets a copy of its prepared work tree, which takes longer: {error}"
            ),
        ),
    })
}

fn unconfined(config: &Config) -> impl Iterator<Item = Finding> + '_ {
    let off = config.projects.iter().filter(|(_, p)| p.sandbox.off);
    off.map(|(name, _)| {
        good(
            &format!("projects.{name}"),
            "runs its tests without a sandbox, with all rights of this user; nothing is merged on them",
        )
    })
}

fn plugin_findings(config: &Config, plugins: &Plugins) -> Vec<Finding> {
    let loaded = plugins
        .list()
        .iter()
        .map(with_what_is_withheld)
        .collect::<Vec<_>>()
        .join(", ");
    let mut findings = vec![if loaded.is_empty() {
        let dirs = plugin_dirs(config)
            .iter()
            .map(|d| d.display().to_string())
            .collect::<Vec<_>>()
            .join(", ");
        bad(
            "plugins",
            &format!("none in {dirs}"),
            "copy the bundled .wasm files into a directory of host.plugins",
        )
    } else {
        good("plugins", &loaded)
    }];
    for problem in plugins.problems() {
        findings.push(bad(
            &problem.path.display().to_string(),
            &problem.why,
            "it is not loaded; replace or remove the file",
        ));
    }
    for (name, project) in &config.projects {
        findings.extend(missing(name, project, plugins));
    }
    findings
}

/// `third-party (without llm: not allowed)`.
fn with_what_is_withheld(plugin: &PluginInfo) -> String {
    if plugin.withheld.is_empty() {
        return plugin.name.clone();
    }
    let withheld = listed(&plugin.withheld);
    format!("{} (without {withheld}: not allowed)", plugin.name)
}

fn missing<'a>(
    name: &'a str,
    project: &'a Project,
    plugins: &'a Plugins,
) -> impl Iterator<Item = Finding> + 'a {
    let strategies = project
        .variants
        .iter()
        .map(|v| (PluginKind::Strategy, v.strategy.as_str()));
    let judges = [
        (PluginKind::Scorer, project.policy.scorer.as_str()),
        (PluginKind::Escalation, project.policy.escalation.as_str()),
    ];
    let wanted = strategies.chain(judges);
    wanted
        .filter(|(kind, plugin)| plugins.reference(*kind, plugin).digest.is_empty())
        .map(move |(kind, plugin)| {
            let detail = format!("{kind:?} {plugin} is in no plugin directory");
            bad(
                &format!("projects.{name}"),
                &detail.to_lowercase(),
                "drop the .wasm file in, or name another plugin",
            )
        })
}

async fn remote(name: &str, project: &Project, timeout_seconds: u64) -> Finding {
    let label = format!("projects.{name}");
    match git::remote_tip(
        &project.repo,
        &project.branch,
        Duration::from_secs(timeout_seconds),
    )
    .await
    {
        Ok(RemoteTip::At(tip)) => {
            good(&label, &format!("{} is at {}", project.branch, tip.short()))
        }
        Ok(RemoteTip::NoBranch) => bad(
            &label,
            &format!("no branch {}", project.branch),
            "set branch to one that exists",
        ),
        Ok(RemoteTip::Empty) => good(&label, "empty; watching starts with its first commit"),
        Err(error) => bad(
            &label,
            &error.to_string(),
            "check repo, the network and the daemon user's access",
        ),
    }
}

async fn event_log(config: &Config) -> Finding {
    let verified = async {
        super::log(config)?
            .verify()
            .await
            .map_err(anyhow::Error::from)
    }
    .await;
    match verified {
        Ok(_) => good("event log", "the chain holds"),
        Err(error) => bad(
            "event log",
            &format!("{error:#}"),
            "restore the newest backup; see docs/operations.md",
        ),
    }
}

/// The chain covers the digests of journals; that they are there, and are those, has to be looked at.
async fn journals(config: &Config) -> Finding {
    match lost_journals(config).await {
        Ok(Journals { lost, removed: 0 }) if lost.is_empty() => {
            good("journals", "every plugin call can be replayed")
        }
        Ok(Journals { lost, removed }) if lost.is_empty() => good(
            "journals",
            &format!(
                "every plugin call can be replayed but {removed} of runs that closed longer ago than \
                 store.keep_bodies_days"
            ),
        ),
        Ok(Journals { lost, .. }) => bad(
            "journals",
            &format!(
                "{} of the plugins' calls cannot be replayed, the first of {}",
                lost.len(),
                lost[0]
            ),
            "restore the newest backup if replays matter; runs go on without them",
        ),
        Err(error) => bad(
            "journals",
            &format!("{error:#}"),
            "restore the newest backup; see docs/operations.md",
        ),
    }
}

struct Journals {
    /// The runs and plugins whose calls have no journal any more, or another one than their fact names.
    lost: Vec<String>,
    /// Calls whose journals were removed when their time was over.
    removed: usize,
}

/// Of the calls of this host: others keep the journals of theirs.
async fn lost_journals(config: &Config) -> anyhow::Result<Journals> {
    let store = super::log(config)?;
    let (mut lost, mut removed) = (vec![], 0);
    for event in store.plugin_calls(usize::MAX).await? {
        if event.origin.is_some() {
            continue;
        }
        let Fact::PluginCalled { call } = &event.fact else {
            continue;
        };
        let Some(digest) = &call.journal else {
            continue;
        };
        let packed = store.journal(digest).await?;
        if let (None, Some(run)) = (&packed, &event.run)
            && store.bodies_removed_after(run).await?.is_some()
        {
            removed += 1;
            continue;
        }
        let journal = packed.and_then(|packed| Journal::unpack(&packed).ok());
        if journal.is_none_or(|journal| journal.digest() != *digest) {
            let run = event.run.map_or_else(String::new, |run| run.to_string());
            lost.push(format!("{run} ({})", call.plugin.name));
        }
    }
    Ok(Journals { lost, removed })
}
