//! `changebus plugin record`: makes a case from a run of the log, or from a repository and two of its commits.
//!
//! Touches: files, git, sqlite, terminal.
//! Change here: when a case should keep something else of what a plugin was told.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use serde_json::Value;

use super::case::play::Scene;
use super::case::snapshot::{CameOfIt, Snapshot};
use super::case::{Answer, Asked, BEFORE, Budgets, Case, EXPECTED, Facts, Failing, HEAD, Told};
use super::{source, test};
use crate::commands::{self, Company, ExitCode, fix, log, show, working_house};
use crate::config::{Ceiling, Config, Project, Variant};
use crate::event::{Commit, Entry, Event, Fact, PluginRef};
use crate::outside::git::Mirror;
use crate::outside::wasm::{PluginKind, Plugins};
use crate::pipeline::{self, Manner};
use crate::rules::rank::HandedIn;
use crate::rules::run::{Run, Terms};
use crate::stages::{score, tournament::dossier};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A run of the log: its id, the beginning or the end of one, or `last`.
    #[arg(default_value = "last", conflicts_with = "repo")]
    run: String,
    /// The variant whose strategy is to be recorded; default: the only one.
    #[arg(long, conflicts_with = "repo")]
    variant: Option<String>,
    /// Record the scorer or the escalation plugin instead of a strategy.
    #[arg(long, value_parser = ["scorer", "escalation"], conflicts_with_all = ["repo", "variant"])]
    judge: Option<String>,
    /// Record from this repository instead: the tests really run, once.
    #[arg(long, requires_all = ["test", "plugin"])]
    repo: Option<PathBuf>,
    /// Last good commit; default: the first parent of the head.
    #[arg(long, requires = "repo")]
    base: Option<String>,
    /// Failing commit; default: the tip of the branch.
    #[arg(long, requires = "repo")]
    head: Option<String>,
    /// Command that runs the tests.
    #[arg(long)]
    test: Option<String>,
    /// The plugin's crate, which is built first, or a component.
    #[arg(long, requires = "repo")]
    plugin: Option<PathBuf>,
    /// The plugin's `config` table, as JSON.
    #[arg(long, requires = "repo", default_value = "{}")]
    settings: String,
    /// Directory to make for the case.
    #[arg(long)]
    to: PathBuf,
}

pub async fn run(config: Config, args: Args) -> anyhow::Result<ExitCode> {
    if args
        .to
        .read_dir()
        .is_ok_and(|mut entries| entries.next().is_some())
    {
        bail!(
            "--to {}: is not empty; name a directory for the case",
            args.to.display()
        );
    }
    match &args.repo {
        Some(repo) => from_repository(config, &args, repo).await,
        None => {
            let store = log(&config)?;
            let id = show::find(&store, &args.run).await?;
            let events = store.run_events(&id).await?;
            let plugins = commands::plugins(&config).await?;
            record(&config, &events, &plugins, &args).await
        }
    }
}

/// Holds a tournament of one variant on the repository, in a state of its own, and records that.
async fn from_repository(mut config: Config, args: &Args, repo: &Path) -> anyhow::Result<ExitCode> {
    let (Some(test), Some(plugin)) = (&args.test, &args.plugin) else {
        bail!("--repo needs --test and --plugin");
    };
    let repo = std::fs::canonicalize(repo)
        .with_context(|| format!("{}: no such repository", repo.display()))?;
    let component = source::component(plugin)?;
    let place = tempfile::Builder::new()
        .prefix("changebus-record-")
        .tempdir()?;
    let (state, alone) = (place.path().join("state"), place.path().join("plugins"));
    std::fs::create_dir_all(&alone)?;
    std::fs::create_dir_all(&state)?;
    commands::share_cache(&config.host.state, &state)?;
    let file = alone.join(format!("{}.wasm", component.name));
    std::fs::copy(&component.file, &file)
        .with_context(|| format!("reading {}", component.file.display()))?;
    config.host.plugins.insert(0, alone);
    // What an author tries out at home is not what an operator lets run.
    config.plugins = Default::default();
    config.host.state = state;
    let name = fix::slug(&repo);
    let project = lone(&repo, test, &component.name, &args.settings)?;
    config.projects.insert(name.clone(), project.clone());
    let events = tournament(&config, &name, project, args).await?;
    let plugins = commands::plugins(&config).await?;
    record(&config, &events, &plugins, args).await
}

fn lone(repo: &Path, test: &str, strategy: &str, settings: &str) -> anyhow::Result<Project> {
    let mut project = fix::made_up(test);
    let checkout = crate::outside::git::checkout(repo)
        .with_context(|| format!("{}: not a git repository", repo.display()))?;
    project.branch = checkout.branch.unwrap_or(project.branch);
    project.repo = repo.display().to_string();
    project.policy.deliver = Ceiling::Human;
    // The author is to see every test that fails.
    project.policy.hold_out = 0.0;
    project.variants = vec![Variant {
        name: "A".to_owned(),
        strategy: strategy.to_owned(),
        config: serde_json::from_str(settings).context("--settings: is no JSON")?,
    }];
    Ok(project)
}

async fn tournament(
    config: &Config,
    name: &str,
    project: Project,
    args: &Args,
) -> anyhow::Result<Vec<Event>> {
    let house = working_house(config.clone(), Company::Alone).await?;
    let change = fix::change(
        &house,
        name,
        &project,
        args.base.as_deref(),
        args.head.as_deref(),
    )
    .await?;
    let run = pipeline::open(&house.store, name, change)
        .await?
        .run
        .context("a run has an id")?;
    let manner = Manner {
        terms: Terms {
            withhold: true,
            stage_failures: 3,
            attach: false,
            ..Terms::default()
        },
        ..Manner::default()
    };
    pipeline::drive(&house, &Arc::new(project), &run, manner).await?;
    Ok(house.store.run_events(&run).await?)
}

async fn record(
    config: &Config,
    events: &[Event],
    plugins: &Plugins,
    args: &Args,
) -> anyhow::Result<ExitCode> {
    let run = Run::replay(events)?.context("the run has no events")?;
    let (kind, plugin, case, then) = match args.judge.as_deref() {
        None => {
            let entry = entry(&run, args.variant.as_deref())?;
            let mirror = mirror(config, &run).await?;
            let suspect = dossier::Suspect::of(&mirror, &run)?;
            let case = strategy_case(config, &run, entry, suspect.commits, args)?;
            case.write()?;
            mirror.lay_out(&suspect.before, &args.to.join(BEFORE))?;
            mirror.lay_out(&run.change.tree, &args.to.join(HEAD))?;
            (
                PluginKind::Strategy,
                entry.strategy.clone(),
                case,
                proposed(&run, &entry.name),
            )
        }
        Some(judge) => {
            let (kind, plugin, case) = judge_case(config, events, judge, args)?;
            case.write()?;
            (kind, plugin, case, None)
        }
    };
    let scene = Scene::set(case).await?;
    let snapshot = scene.play(plugins, kind, &plugin, false).await?.snapshot;
    test::keep(&args.to.join(EXPECTED), &snapshot)?;
    println!(
        "{}: {}, {}",
        args.to.display(),
        plugin.name,
        snapshot.line()
    );
    if let Some(then) = then.filter(|then| !proposes(&snapshot, then)) {
        println!("it proposes something else than in the run, where it proposed\n{then}");
        return Ok(ExitCode::Findings);
    }
    Ok(ExitCode::Ok)
}

fn entry<'a>(run: &'a Run, variant: Option<&str>) -> anyhow::Result<&'a Entry> {
    let Some(opening) = &run.opening else {
        let why = run
            .triage
            .as_ref()
            .map_or("it was not tested yet", |t| t.because.as_str());
        bail!(
            "{}: held no tournament, so there is nothing to record: {why}",
            run.id
        );
    };
    let names = || {
        opening
            .entries
            .iter()
            .map(|e| e.name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    match (variant, opening.entries.as_slice()) {
        (None, [only]) => Ok(only),
        (None, _) => bail!(
            "{}: name one of its variants with --variant: {}",
            run.id,
            names()
        ),
        (Some(wanted), entries) => entries
            .iter()
            .find(|e| e.name == wanted)
            .with_context(|| format!("--variant {wanted}: {} had {}", run.id, names())),
    }
}

fn strategy_case(
    config: &Config,
    run: &Run,
    entry: &Entry,
    commits: Vec<Commit>,
    args: &Args,
) -> anyhow::Result<Case> {
    let shown = dossier::shown(run)?;
    let project = config.projects.get(&run.project);
    let policy = project.map(|p| p.policy.clone()).unwrap_or_default();
    let opening = run.opening.clone().context("a tournament is open")?;
    let triage = run.triage.clone().context("the run was triaged")?;
    let failing = shown.failing.iter().map(|id| {
        let said = shown.failures.iter().find(|f| f.id == *id);
        Failing {
            id: id.clone(),
            message: said.map(|f| f.message.clone()).unwrap_or_default(),
            detail: said.map(|f| f.detail.clone()).unwrap_or_default(),
            file: said.and_then(|f| f.file.clone()),
            line: said.and_then(|f| f.line),
        }
    });
    let told = Told {
        about: format!("{} of {}", entry.name, run.id),
        world: PluginKind::Strategy,
        setup: project.and_then(|p| p.setup.clone()),
        test: args
            .test
            .clone()
            .or_else(|| project.map(|p| p.test.clone())),
        report: project.map(|p| p.report).unwrap_or_default(),
        test_paths: policy.test_paths.clone(),
        protected_paths: policy.protected_paths.clone(),
        budgets: Budgets {
            probes: policy.probes,
            llm_output_tokens: u64::from(config.claude.max_output_tokens),
            llm_usd_micros: (config.claude.run_budget_usd * 1e6) as u64,
            seconds: policy.strategy_timeout_seconds,
        },
        failing: failing.collect(),
        commits,
        sandbox: project.map(|p| p.sandbox.clone()).unwrap_or_default(),
        env: project.map(|p| p.env.clone()).unwrap_or_default(),
        tools: project.map(|p| p.tools.clone()).unwrap_or_default(),
        config: table(&entry.config),
        facts: Facts {
            project: run.project.clone(),
            base: run.change.base.0.clone(),
            head: run.change.head.0.clone(),
            suite_output: shown.suite_output,
            now_ms: millis(run.opened_at),
            seed: format!("{}/{}", run.id, entry.name),
            keep: triage.to_keep.into_iter().collect(),
            held_out: opening.held_out,
            attributes: dossier::attributes(None, run),
            history: opening.history,
            learned: opening.learned,
        },
    };
    Ok(Case {
        dir: args.to.clone(),
        told,
        answers: answers(run, &entry.name),
        field: None,
    })
}

/// What the host answered this variant, in the order in which it was kept.
fn answers(run: &Run, variant: &str) -> Vec<Answer> {
    let own = |key: &(String, u32)| key.0 == variant;
    let journal = &run.journal;
    let model = journal
        .answered
        .iter()
        .filter(|(key, _)| own(key))
        .map(|(_, kept)| Answer {
            to: Asked::Model(kept.answer.clone().map(Into::into).into()),
            at_ms: Some(millis(kept.at)),
        });
    let probes = journal
        .probed
        .iter()
        .filter(|(key, _)| own(key))
        .map(|(_, (patch, kept))| Answer {
            to: Asked::Probe {
                patch: patch.clone(),
                reply: kept.answer.clone().into(),
            },
            at_ms: Some(millis(kept.at)),
        });
    let tools =
        journal
            .tools
            .iter()
            .filter(|(key, _)| own(key))
            .filter_map(|(_, (asked, kept))| {
                let (name, patch) = asked.rsplit_once(' ')?;
                Some(Answer {
                    to: Asked::Tool {
                        name: name.to_owned(),
                        patch: patch.to_owned(),
                        reply: kept.answer.clone().into(),
                    },
                    at_ms: Some(millis(kept.at)),
                })
            });
    let mut all: Vec<Answer> = model.chain(probes).chain(tools).collect();
    all.sort_by_key(|a| a.at_ms);
    all
}

fn millis(at: jiff::Timestamp) -> u64 {
    u64::try_from(at.as_millisecond()).unwrap_or(0)
}

fn table(config: &Value) -> serde_json::Map<String, Value> {
    config.as_object().cloned().unwrap_or_default()
}

async fn mirror(config: &Config, run: &Run) -> anyhow::Result<Mirror> {
    let mirror = config
        .host
        .state
        .join("mirrors")
        .join(format!("{}.git", run.project));
    Ok(Mirror::open(&mirror, "the log's mirror").await?)
}

/// The field as the judge saw it, from what the run knew at that point.
fn judge_case(
    config: &Config,
    events: &[Event],
    judge: &str,
    args: &Args,
) -> anyhow::Result<(PluginKind, PluginRef, Case)> {
    let kind = match judge {
        "scorer" => PluginKind::Scorer,
        _ => PluginKind::Escalation,
    };
    let asked = |event: &Event| match kind {
        PluginKind::Scorer => matches!(event.fact, Fact::Scored { .. }),
        _ => matches!(event.fact, Fact::Advised { .. }),
    };
    let before = events
        .iter()
        .take_while(|event| !asked(event))
        .cloned()
        .collect::<Vec<_>>();
    let run = Run::replay(&before)?.context("the run has no events")?;
    let opening = run.opening.as_ref().filter(|_| before.len() < events.len());
    let opening = opening.with_context(|| format!("{}: its {judge} was never asked", run.id))?;
    let policy = config
        .projects
        .get(&run.project)
        .map(|p| p.policy.clone())
        .unwrap_or_default();
    let (plugin, settings) = match kind {
        PluginKind::Scorer => (&opening.scorer, &policy.scorer_config),
        _ => (&opening.escalation, &policy.escalation_config),
    };
    let told = Told {
        about: format!("the {judge} of {}", run.id),
        world: kind,
        setup: None,
        test: None,
        report: Default::default(),
        test_paths: vec![],
        protected_paths: vec![],
        budgets: Budgets::default(),
        facts: Facts {
            history: opening.history.clone(),
            learned: opening.learned.clone(),
            ..Facts::default()
        },
        sandbox: Default::default(),
        env: Default::default(),
        tools: Default::default(),
        config: table(settings),
        failing: vec![],
        commits: vec![],
    };
    let case = Case {
        dir: args.to.clone(),
        told,
        answers: vec![],
        field: Some(score::field(&policy, &run, settings.clone())),
    };
    Ok((kind, plugin.clone(), case))
}

/// The patch this variant handed in, if it did and the log kept it whole.
fn proposed(run: &Run, variant: &str) -> Option<String> {
    match run.handed_in.get(variant)? {
        HandedIn::Candidate(candidate) if !candidate.patch.is_empty() => {
            Some(candidate.patch.clone())
        }
        _ => None,
    }
}

fn proposes(snapshot: &Snapshot, wanted: &str) -> bool {
    matches!(&snapshot.came_of_it, CameOfIt::Propose { patch, .. } if patch == wanted)
}
