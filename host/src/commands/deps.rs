//! `changebus deps`: what each project depends on, what is newer, and why it is due, waits or is left alone.
//!
//! Touches: git, files, processes, clock, terminal, sqlite.
//! Change here: when an operator should see more of a dependency. How a line reads is in `story/deps.rs`.

use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use super::{ExitCode, log, proven_sandbox};
use crate::config::{Config, Project};
use crate::event::{Dependencies, Oid};
use crate::outside::deps::Clients;
use crate::outside::git::Mirror;
use crate::outside::runner::Confinement;
use crate::outside::sandbox::Sandbox;
use crate::rules::deps::plan::{self, Past, Seen};
use crate::stages::deps::{self, Releases};
use crate::story;
use crate::updates;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this project.
    #[arg(long)]
    project: Option<String>,
    /// What is up to date too.
    #[arg(long)]
    all: bool,
    #[arg(long)]
    json: bool,
}

/// Asks the projects' remotes and their indexes now; a daemon beside it is not disturbed.
pub async fn run(config: &Config, args: &Args) -> anyhow::Result<ExitCode> {
    if let Some(wanted) = &args.project
        && !config.projects.contains_key(wanted)
    {
        anyhow::bail!("{wanted}: there is no such project in the configuration");
    }
    let wanted = |name: &str| args.project.as_deref().is_none_or(|wanted| wanted == name);
    let projects = config.projects.iter().filter(|(name, _)| wanted(name));
    let sandbox = match config.projects.values().all(|p| p.sandbox.off) {
        true => None,
        false => Some(std::sync::Arc::new(
            proven_sandbox(&config.host.state).await?,
        )),
    };
    // Nothing was ever tried where there is no log.
    let store = log(config).ok();
    let mut objects = vec![];
    for (name, project) in projects {
        let (tip, seen) = look(config, name, project, sandbox.as_ref()).await?;
        let past = match &store {
            Some(store) => updates::past(store, name).await?,
            None => vec![],
        };
        match args.json {
            true => objects.extend(seen.iter().map(|seen| object(name, seen, &past))),
            false => print(name, &plan::stated(&tip, &seen), &past, args.all),
        }
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&objects)?);
    }
    Ok(ExitCode::Ok)
}

async fn look(
    config: &Config,
    name: &str,
    project: &Project,
    sandbox: Option<&std::sync::Arc<Sandbox>>,
) -> anyhow::Result<(Oid, Vec<Seen>)> {
    // The daemon's own mirror is the daemon's alone.
    let own = config.host.state.join("deps");
    let timeout = Duration::from_secs(config.watch.timeout_seconds.max(60));
    let mirror = Mirror::open(&own.join(format!("{name}.git")), &project.repo).await?;
    let tip = mirror.fetch(&project.branch, timeout).await;
    let tip = tip.with_context(|| format!("project {name}: fetching {}", project.branch))?;
    let confinement = Confinement::of(&project.sandbox, sandbox)?;
    let clients = Clients::new(confinement, own.join("cache"), project.env.clone());
    let (asked, now) = (Releases::default(), jiff::Timestamp::now());
    let seen = deps::look(&mirror, &tip, project, &clients, &asked, now).await;
    let seen = seen.with_context(|| format!("project {name}"))?;
    Ok((tip, seen))
}

fn print(name: &str, seen: &Dependencies, past: &[Past], all: bool) {
    if seen.manifests.is_empty() {
        println!("{name}: no manifest that is known");
    }
    for manifest in &seen.manifests {
        println!("{name}: {}", story::deps::manifest(manifest));
        for dependency in &manifest.dependencies {
            let tried = |to: &str| plan::tried(past, &manifest.path, &dependency.name, to);
            for line in story::deps::lines(dependency, tried, all) {
                println!("  {line}");
            }
        }
    }
}

/// Fields may be added, never renamed.
fn object(project: &str, seen: &Seen, past: &[Past]) -> Value {
    let manifest = &seen.manifest;
    let tried = |name: &str| {
        let of_it = |one: &&Past| {
            one.update.manifest == manifest.path && one.update.steps().any(|s| s.name == name)
        };
        let tried = past.iter().filter(of_it).map(|one| {
            let steps: Vec<_> = one.update.steps().filter(|s| s.name == name).collect();
            json!({ "run": one.run, "at": one.at, "to": steps[0].to, "fate": one.fate })
        });
        tried.collect::<Vec<_>>()
    };
    let dependencies = seen.outlooks.iter().map(|(dependency, found)| {
        json!({
            "name": dependency.name,
            "requirement": dependency.requirement,
            "version": dependency.version,
            "outlooks": found.as_ref().ok(),
            "trouble": found.as_ref().err(),
            "tried": tried(&dependency.name),
        })
    });
    json!({
        "project": project,
        "manifest": manifest.path,
        "ecosystem": manifest.ecosystem,
        "lock": manifest.lock,
        "dependencies": dependencies.collect::<Vec<_>>(),
    })
}
