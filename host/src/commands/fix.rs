//! `changebus fix`: one tournament here and now on a local repository.
//!
//! Touches: git, files, terminal, clock.
//! Change here: when `fix` should take or print something else. The printed object is `story::Story`.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};

use super::{Company, ExitCode, progress, working_house};
use crate::config::{
    Ceiling, Config, Deps, Policy, Project, ReportFormat, Sandbox, default_variants,
};
use crate::event::{Oid, RunStatus};
use crate::outside::git::{self, Mirror};
use crate::pipeline::{self, Manner};
use crate::rules::run::Terms;
use crate::stages::{House, tip, watch};
use crate::story;

/// Somebody is waiting: a stage that fails this often in a row is given up.
const PATIENCE: usize = 3;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The repository; its commits count, not what is uncommitted.
    #[arg(default_value = ".")]
    repo: PathBuf,
    /// Settings of this project of the configuration; without it the flags below make one up.
    #[arg(long)]
    project: Option<String>,
    /// Branch to mend; default: the one that is checked out.
    #[arg(long)]
    branch: Option<String>,
    /// Last good commit; default: the first parent of the head.
    #[arg(long)]
    base: Option<String>,
    /// Failing commit; default: the tip of the branch.
    #[arg(long)]
    head: Option<String>,
    /// Command that runs the tests; writes JUnit XML to $CHANGEBUS_REPORT if it can.
    #[arg(long)]
    test: Option<String>,
    /// Command that prepares a fresh work tree.
    #[arg(long)]
    setup: Option<String>,
    /// KEY=VALUE for setup and test; may be given again.
    #[arg(long = "env", value_name = "KEY=VALUE")]
    env: Vec<String>,
    /// Directory or file, named from the root, that setup and tests may read besides; may be given again.
    #[arg(long = "sandbox-read", value_name = "PATH")]
    read: Vec<PathBuf>,
    /// Run setup and tests with your own rights. Nothing is merged then.
    #[arg(long)]
    unsandboxed: bool,
    /// The most that may be done with the winner.
    #[arg(long, value_parser = ["merge", "pull-request", "human"])]
    deliver: Option<String>,
    /// Decide, but deliver nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object on stdout.
    #[arg(long)]
    json: bool,
}

pub async fn run(mut config: Config, args: Args) -> anyhow::Result<ExitCode> {
    let repo = std::fs::canonicalize(&args.repo)
        .with_context(|| format!("{}: no such repository", args.repo.display()))?;
    let checkout = git::checkout(&repo)
        .with_context(|| format!("{}: not a git repository", repo.display()))?;
    let (name, mut project) = project(&config, &args, &repo)?;
    if let Some(branch) = args.branch.clone().or_else(|| {
        args.project
            .is_none()
            .then(|| checkout.branch.clone())
            .flatten()
    }) {
        project.branch = branch;
    }
    project.repo = repo.display().to_string();
    // With what the flags say, so that secrets among them are known as such.
    config.projects.insert(name.clone(), project.clone());
    let house = working_house(config, Company::Alone).await?;
    let project = Arc::new(project);
    let (base, head) = (args.base.as_deref(), args.head.as_deref());
    let change = change(&house, &name, &project, base, head).await?;
    let opened = pipeline::open(&house.store, &name, change).await?;
    let run = opened.run.context("a run has an id")?;
    let follow = || progress::follow(house.store.clone(), run.clone(), opened.seq);
    let follower = (!args.json).then(|| tokio::spawn(follow()));
    let checked_out = !checkout.bare && checkout.branch.as_deref() == Some(project.branch.as_str());
    let manner = Manner {
        terms: Terms {
            withhold: args.dry_run,
            stage_failures: PATIENCE,
            attach: false,
            ..Terms::default()
        },
        update_checkout: checked_out,
        ..Manner::default()
    };
    let driven = pipeline::drive(&house, &project, &run, manner).await;
    if let Some(follower) = follower {
        // Let the last lines out before the summary.
        tokio::time::sleep(Duration::from_millis(50)).await;
        follower.abort();
    }
    let driven = driven?;
    let events = house.store.run_events(&run).await?;
    if args.json {
        println!(
            "{}",
            serde_json::to_string_pretty(&story::Story::of(&events))?
        );
    } else {
        println!(
            "{}",
            story::screen(&events, progress::look(std::io::stdout().is_terminal()))
                .unwrap_or_default()
        );
    }
    Ok(exit_code(driven.closed))
}

fn exit_code(status: Option<RunStatus>) -> ExitCode {
    match status {
        Some(
            RunStatus::Green
            | RunStatus::Flaky
            | RunStatus::RedBefore
            | RunStatus::Known
            | RunStatus::InVain
            | RunStatus::Fixed
            | RunStatus::Updated
            | RunStatus::Split,
        ) => ExitCode::Ok,
        Some(RunStatus::Human) => ExitCode::Human,
        Some(RunStatus::NoFix) => ExitCode::NoFix,
        Some(RunStatus::Error) | None => ExitCode::Failed,
    }
}

fn project(
    config: &Config,
    args: &Args,
    repo: &std::path::Path,
) -> anyhow::Result<(String, Project)> {
    let (name, mut project) = match &args.project {
        Some(name) => {
            let known = || {
                config
                    .projects
                    .keys()
                    .cloned()
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            let project = config.projects.get(name).with_context(|| {
                format!("--project {name}: the configuration knows {}", known())
            })?;
            (name.clone(), project.clone())
        }
        None => (slug(repo), made_up(named_test(args)?)),
    };
    if let Some(test) = &args.test {
        project.test = test.clone();
    }
    if args.setup.is_some() {
        project.setup = args.setup.clone();
    }
    project.env.extend(environment(&args.env)?);
    let absolute = args.read.iter().map(std::path::absolute);
    project
        .sandbox
        .read
        .extend(absolute.collect::<Result<Vec<_>, _>>()?);
    project.sandbox.off |= args.unsandboxed;
    project.policy.deliver = match args.deliver.as_deref() {
        Some("human") => Ceiling::Human,
        Some("pull-request") => Ceiling::PullRequest,
        Some(_) => Ceiling::Merge,
        None => project.policy.deliver,
    };
    Ok((name, project))
}

fn named_test(args: &Args) -> anyhow::Result<&str> {
    let Some(test) = &args.test else {
        bail!("name the test command with --test, or a configured project with --project");
    };
    Ok(test)
}

/// A project of no configuration.
pub fn made_up(test: &str) -> Project {
    Project {
        repo: String::new(),
        branch: "main".into(),
        setup: None,
        test: test.to_owned(),
        report: ReportFormat::Auto,
        setup_timeout_seconds: 900,
        test_timeout_seconds: 900,
        env: BTreeMap::new(),
        tools: BTreeMap::new(),
        ignore_paths: vec![],
        forge: None,
        deps: Deps::default(),
        hosts: vec![],
        labels: vec![],
        sandbox: Sandbox::default(),
        policy: Policy::default(),
        variants: default_variants(),
    }
}

fn environment(pairs: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let pair = |text: &String| {
        let (key, value) = text
            .split_once('=')
            .with_context(|| format!("--env {text}: write it as KEY=VALUE"))?;
        Ok((key.to_owned(), value.to_owned()))
    };
    pairs.iter().map(pair).collect()
}

/// A project name from a directory's name.
pub fn slug(repo: &std::path::Path) -> String {
    let name = repo
        .file_name()
        .map(|n| n.to_string_lossy().to_lowercase())
        .unwrap_or_default();
    let name = name.trim_end_matches(".git");
    let slug: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(40)
        .collect();
    let slug = slug.trim_matches('-');
    if slug.is_empty() {
        "repository".into()
    } else {
        slug.to_owned()
    }
}

/// The change between two commits of the project's branch; by default its last one.
pub async fn change(
    house: &House,
    name: &str,
    project: &Project,
    base: Option<&str>,
    head: Option<&str>,
) -> anyhow::Result<crate::event::Change> {
    let mirror = watch::mirror(house, name, project).await?;
    let tip = mirror
        .fetch(&project.branch, Duration::from_secs(600))
        .await
        .context("fetching the repository")?;
    let head = commit(&mirror, head)?.unwrap_or(tip);
    let base = match commit(&mirror, base)? {
        Some(base) => base,
        None => mirror.parent(&head)?.with_context(|| {
            format!("{head} has no parent; name the last good commit with --base")
        })?,
    };
    Ok(tip::change_between(&mirror, &project.branch, base, head)?)
}

fn commit(mirror: &Mirror, rev: Option<&str>) -> anyhow::Result<Option<Oid>> {
    rev.map(|rev| {
        mirror
            .resolve(rev)
            .with_context(|| format!("{rev}: no such commit on the branch"))
    })
    .transpose()
}
