//! `changebus eval`: how often each strategy mends what is known to be broken, how often it would merge what is wrong, at
//! what cost, and whether one is better than another.
//!
//! Touches: files, sqlite (through the store), terminal, clock.
//! Change here: when an evaluation should take or print something else. What it adds up is `rules/learn/evaluation.rs`, how
//! it reads is `story/evaluation.rs`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Company, ExitCode, database, progress, share_cache, working_house};
use crate::config::Config;
use crate::outside::claude::tape::{self, Ask, Recorded, Tape};
use crate::outside::store::Store;
use crate::rules::budget;
use crate::rules::learn::evaluation::{self, CaseSeen, Evaluation, Outcome};
use crate::stages::House;
use crate::story;

mod contestants;
mod heat;
mod past;
mod study;
mod suite;

use contestants::Entered;
use study::Studied;
use suite::{Case, Hide};

/// Answers that `--live` paid for, under the state directory: nothing is paid twice.
const ANSWERS: &str = "evaluation-answers.jsonl";

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directory with one directory for each case.
    #[arg(required_unless_present = "runs")]
    suite: Option<PathBuf>,
    /// Instead of a suite, past runs of this host's log that had a real failure: those of a project, or `all`.
    #[arg(long, value_name = "PROJECT|all", conflicts_with = "suite")]
    runs: Option<String>,
    /// Only runs of the last so many days.
    #[arg(long, requires = "runs", value_name = "DAYS")]
    since: Option<f64>,
    /// Only cases whose name matches this glob.
    #[arg(long)]
    case: Option<String>,
    /// Contestants are the variants of this project of the configuration; without it those of the project whose past runs
    /// are meant, or the built-in ones.
    #[arg(long, conflicts_with = "variant")]
    project: Option<String>,
    /// A contestant: NAME=PLUGIN, NAME=PLUGIN@FILE-OR-DIGEST, either with {config} as TOML after it; may be given again.
    #[arg(long, value_name = "NAME=PLUGIN[@FILE][{...}]")]
    variant: Vec<String>,
    /// Have all of them hold a tournament too, as one more contestant.
    #[arg(long)]
    tournament: bool,
    /// Failing tests to hide where a case lists none: `half`, or `none`. Default: half; for past runs none.
    #[arg(long, value_parser = ["half", "none"])]
    hide: Option<String>,
    /// Have the model asked what no recorded answer is there for. That costs money.
    #[arg(long)]
    live: bool,
    /// The same, and keep the answers in the suite.
    #[arg(long, conflicts_with = "runs")]
    record: bool,
    /// Keep the log of every run in this directory, for `changebus --state DIR/CASE/CONTESTANT show`.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Print one JSON object on stdout.
    #[arg(long)]
    json: bool,
}

impl Args {
    fn asks(&self) -> bool {
        self.live || self.record
    }

    fn hides(&self) -> Hide {
        match (self.hide.as_deref(), &self.runs) {
            (Some("none"), _) | (None, Some(_)) => Hide::Nothing,
            _ => Hide::Half,
        }
    }
}

pub async fn run(config: Config, args: Args) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let place = Place::make(&args)?;
    let cases = match (&args.suite, &args.runs) {
        (Some(suite), _) => suite::read(suite, args.case.as_deref())?,
        (None, Some(runs)) => past::cases(&config, runs, args.since, args.case.as_deref()).await?,
        (None, None) => bail!("name a suite, or past runs with --runs"),
    };
    let field = contestants::of(&config, &args, &place.plugins())?;
    let mut evaluator = Evaluator::open(config, &args, place, &cases, &field).await?;
    let evaluation = evaluator.evaluate(&cases, field).await?;
    let seconds = started.elapsed().as_secs_f64();
    eprintln!("it took {}", story::duration(seconds));
    if args.json {
        println!("{}", serde_json::to_string_pretty(&evaluation)?);
    } else {
        let look = progress::look(std::io::stdout().is_terminal());
        print!("{}", story::evaluation::screen(&evaluation, look));
    }
    let whole = evaluation.cases.iter().all(|case| case.left_out.is_none())
        && evaluation.results.iter().all(|r| r.unanswered.is_none());
    Ok(if whole {
        ExitCode::Ok
    } else {
        ExitCode::Findings
    })
}

/// Where an evaluation keeps what it makes: nothing of it is this host's state.
struct Place {
    dir: tempfile::TempDir,
    /// Of each run; in a directory of the user's own, if it is to be kept.
    logs: PathBuf,
}

impl Place {
    fn make(args: &Args) -> anyhow::Result<Place> {
        let dir = tempfile::Builder::new()
            .prefix("changebus-eval-")
            .tempdir()?;
        let logs = match &args.keep {
            Some(kept) if kept.read_dir().is_ok_and(|mut dir| dir.next().is_some()) => {
                bail!(
                    "--keep {}: is not empty; name a directory for the logs",
                    kept.display()
                )
            }
            Some(kept) => kept.clone(),
            None => dir.path().join("logs"),
        };
        std::fs::create_dir_all(dir.path().join("state"))?;
        std::fs::create_dir_all(dir.path().join("plugins"))?;
        Ok(Place { dir, logs })
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn plugins(&self) -> PathBuf {
        self.dir.path().join("plugins")
    }
}

/// One evaluation under way.
struct Evaluator {
    place: Place,
    house: Arc<House>,
    tape: Tape,
    hides: Hide,
    /// Where new answers go; by case, if the suite is to keep them.
    records: bool,
    answers: PathBuf,
    /// What `--live` paid for earlier.
    paid: Vec<Recorded>,
    /// What may still be spent today. None where nothing is asked.
    purse: Option<Purse>,
    grounds: Vec<study::Ground>,
}

/// Of the day's budgets, what is left for this evaluation.
#[derive(Clone, Copy)]
pub struct Purse {
    usd: f64,
    tokens: u64,
}

impl Evaluator {
    async fn open(
        config: Config,
        args: &Args,
        place: Place,
        cases: &[Case],
        field: &[Entered],
    ) -> anyhow::Result<Evaluator> {
        let state = config.host.state.clone();
        let purse = match args.asks() {
            true => Some(purse(&config).await?),
            false => None,
        };
        share_cache(&state, &place.state())?;
        let config = set_apart(config, &place, cases, field);
        let house = working_house(config, Company::Alone).await?;
        contestants::are_there(&house, field)?;
        let mut grounds = vec![];
        for case in cases {
            grounds.push(study::lay_ground(&house, case, &state.join("mirrors")).await?);
        }
        let answers = state.join(ANSWERS);
        let paid = match args.record {
            true => vec![],
            false => tape::read(&answers).map_err(anyhow::Error::msg)?,
        };
        let tape = Tape::new(match args.asks() {
            true => Ask::WhatIsNew,
            false => Ask::Nothing,
        });
        Ok(Evaluator {
            hides: args.hides(),
            records: args.record,
            answers,
            paid,
            tape,
            purse,
            house,
            place,
            grounds,
        })
    }

    async fn evaluate(
        &mut self,
        cases: &[Case],
        field: Vec<Entered>,
    ) -> anyhow::Result<Evaluation> {
        let (mut seen, mut results) = (vec![], vec![]);
        for (case, ground) in cases.iter().zip(std::mem::take(&mut self.grounds)) {
            let logs = self.place.logs.join(&case.name);
            let studied = study::study(&self.house, case, &ground, self.hides, &logs).await?;
            seen.push(studied.as_ref().map_or_else(
                |why| left_out(case, why.clone()),
                |studied| studied.seen(case),
            ));
            match studied {
                Ok(studied) => {
                    let mut answers = case.answers.clone();
                    for entered in &field {
                        let outcome = self
                            .one(case, &ground, &studied, entered, &mut answers)
                            .await?;
                        eprintln!("{}", story::evaluation::line(&outcome));
                        results.push(outcome);
                    }
                }
                Err(why) => eprintln!("{}: left out: {why}", case.name),
            }
        }
        let contestants = field.iter().map(|e| e.told(&self.house)).collect();
        Ok(evaluation::of(seen, contestants, results))
    }

    async fn one(
        &mut self,
        case: &Case,
        ground: &study::Ground,
        studied: &Studied,
        entered: &Entered,
        answers: &mut Vec<Recorded>,
    ) -> anyhow::Result<Outcome> {
        self.tape.wind(answers.iter().chain(&self.paid));
        let log = self.place.logs.join(&case.name).join(entered.slug());
        let heat = heat::Heat {
            house: &self.house,
            case,
            ground,
            studied,
            entered,
            tape: &self.tape,
            purse: self.purse,
        };
        let held = heat.hold(&log).await;
        // Whatever became of the run: they are paid for.
        let new = self.tape.take_new();
        self.keep(case, &new)?;
        answers.extend(new);
        held
    }

    fn keep(&mut self, case: &Case, new: &[Recorded]) -> anyhow::Result<()> {
        if let Some(purse) = &mut self.purse {
            new.iter().for_each(|line| purse.pay(line));
        }
        let to = match self.records {
            true => case.dir.join(suite::ANSWERS),
            false => self.answers.clone(),
        };
        tape::add(&to, new).with_context(|| format!("writing {}", to.display()))
    }
}

/// The configuration for a state of its own, with the cases as its projects.
fn set_apart(mut config: Config, place: &Place, cases: &[Case], field: &[Entered]) -> Config {
    config.host.state = place.state();
    config.host.plugins.insert(0, place.plugins());
    // What an author tries out is not what an operator lets the daemon run.
    config.plugins.lock = None;
    config.plugins.allow_for.clear();
    let project = |case: &Case| {
        let project = contestants::entered_in(case, field);
        (case.project_name.clone(), project)
    };
    config.projects = cases.iter().map(project).collect();
    config
}

fn left_out(case: &Case, why: String) -> CaseSeen {
    CaseSeen {
        name: case.name.clone(),
        about: case.told.about.clone(),
        failing: 0,
        hidden: 0,
        left_out: Some(why),
    }
}

/// What the day's budgets leave after what this host spent already.
async fn purse(config: &Config) -> anyhow::Result<Purse> {
    let claude = &config.claude;
    let spent = match database(config).exists() {
        true => {
            let midnight = budget::day(Timestamp::now()).to_zoned(TimeZone::UTC)?;
            Store::open_read_only(&database(config))?
                .spent_since(midnight.timestamp())
                .await?
        }
        false => Default::default(),
    };
    let tokens = spent.input_tokens + spent.output_tokens;
    Ok(Purse {
        usd: (claude.daily_budget_usd - spent.cost_usd).max(0.0),
        tokens: claude.daily_budget_tokens.saturating_sub(tokens),
    })
}

impl Purse {
    fn pay(&mut self, line: &Recorded) {
        let usage = line.usage();
        self.usd = (self.usd - usage.cost_usd).max(0.0);
        let tokens = usage.input_tokens + usage.output_tokens;
        self.tokens = self.tokens.saturating_sub(tokens);
    }
}

/// A directory's name, as it has to be for a project.
fn name_of(dir: &Path) -> String {
    let name = dir.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
