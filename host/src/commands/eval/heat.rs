//! One contestant on one case: a run through the whole pipeline that delivers nothing, and what the hidden tests say of what
//! came of it.
//!
//! Touches: git, files, processes, sqlite (through the store).
//! Change here: when something else decides whether a fix is correct, or more should be told of a run.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use tokio::sync::Semaphore;

use super::Purse;
use super::contestants::Entered;
use super::study::{Ground, Studied};
use super::suite::Case;
use crate::config::{Config, Project, Variant};
use crate::event::{
    Action, Change, Entry, Event, Fact, Fault, Oid, Opening, RunStatus, Trial, Verdict as Decided,
};
use crate::fleet::Fleet;
use crate::outside::claude::Claude;
use crate::outside::claude::tape::{self, Tape};
use crate::outside::store::Store;
use crate::outside::wasm::PluginKind;
use crate::pipeline::{self, Manner};
use crate::rules::blind::Blind;
use crate::rules::compare;
use crate::rules::entry;
use crate::rules::learn::evaluation::{Outcome, Verdict};
use crate::rules::run::{Run, Terms};
use crate::stages::suite::{self, Part};
use crate::stages::{Cx, House};
use crate::story::text;

/// A stage that fails this often in a row is given up.
const PATIENCE: usize = 3;
/// Of what speaks against a candidate.
const TOLD: usize = 5;
const LONGEST: usize = 300;

/// A run to be held.
pub struct Hold {
    pub project_name: String,
    pub project: Arc<Project>,
    pub change: Change,
    pub blind: Arc<Blind>,
}

/// A run that was held.
pub struct Held {
    pub run: Run,
    pub events: Vec<Event>,
    house: Arc<House>,
}

impl Held {
    /// What happened before the tournament.
    pub fn beginning(&self) -> Vec<Fact> {
        let facts = self.events.iter().skip(1).map(|event| event.fact.clone());
        facts
            .take_while(|fact| !matches!(fact, Fact::TournamentOpened { .. }))
            .collect()
    }
}

/// Holds a run that begins with these facts, in a log of its own.
pub async fn drive(
    house: &Arc<House>,
    hold: Hold,
    known: Vec<Fact>,
    log: &Path,
) -> anyhow::Result<Held> {
    let store = Store::open(&log.join("events.sqlite"))?;
    let house = beside(house, store, house.settings.clone(), house.claude.clone());
    drive_in(house, hold, known).await
}

async fn drive_in(house: Arc<House>, hold: Hold, known: Vec<Fact>) -> anyhow::Result<Held> {
    let (name, change) = (&hold.project_name, hold.change);
    let id = pipeline::open_knowing(&house.store, name, change, known).await?;
    let manner = Manner {
        terms: Terms {
            withhold: true,
            stage_failures: PATIENCE,
            attach: false,
            ..Terms::default()
        },
        blind: hold.blind,
        update_checkout: false,
    };
    let run = pipeline::drive(&house, &hold.project, &id, manner).await?;
    let events = house.store.run_events(&id).await?;
    Ok(Held { run, events, house })
}

/// The same house, with another log: no run knows of an earlier one.
fn beside(house: &House, store: Store, settings: Config, claude: Claude) -> Arc<House> {
    Arc::new(House {
        trials: Semaphore::new(settings.host.trials_at_once),
        settings,
        store,
        claude,
        fleet: Fleet::alone(),
        plugins: house.plugins.clone(),
        forges: Default::default(),
        redactor: house.redactor.clone(),
        leases: Default::default(),
        sandbox: house.sandbox.clone(),
        workspaces: house.workspaces.clone(),
        warm: house.warm.clone(),
        reports: house.reports.clone(),
        mirrors: house.mirrors.clone(),
        budget: Default::default(),
    })
}

/// One contestant on one case.
pub struct Heat<'a> {
    pub house: &'a Arc<House>,
    pub case: &'a Case,
    pub ground: &'a Ground,
    pub studied: &'a Studied,
    pub entered: &'a Entered,
    pub tape: &'a Tape,
    pub purse: Option<Purse>,
}

impl Heat<'_> {
    pub async fn hold(&self, log: &Path) -> anyhow::Result<Outcome> {
        let store = Store::open(&log.join("events.sqlite"))?;
        let settings = self.settings();
        let claude = Claude::taped(&settings.claude, self.tape.clone())?;
        let house = beside(self.house, store, settings, claude);
        let hold = Hold {
            project_name: self.case.project_name.clone(),
            project: Arc::new(Project {
                variants: self.entered.variants.clone(),
                ..Project::clone(&self.ground.project)
            }),
            change: self.studied.change.clone(),
            blind: self.studied.blind.clone(),
        };
        let mut known = self.studied.beginning.clone();
        known.extend(self.opening());
        let held = drive_in(house, hold, known).await?;
        let against = self.against(&held).await?;
        Ok(self.outcome(&held.run, against))
    }

    /// A past run's tournament is opened as it was, but for who enters: what strategies are told of earlier work is part of
    /// what they ask the model.
    fn opening(&self) -> Option<Fact> {
        let then = self.case.opening.as_ref()?;
        let policy = &self.ground.project.policy;
        let plugins = self.house.plugins.lineup();
        let enter = |variant: &Variant| Entry {
            name: variant.name.clone(),
            strategy: plugins.reference(PluginKind::Strategy, &variant.strategy),
            config: variant.config.clone(),
            last_resort: false,
        };
        let opening = Opening {
            entries: self.entered.variants.iter().map(enter).collect(),
            held_out: entry::held_out(&self.studied.shown.failing, policy.hold_out),
            scorer: plugins.reference(PluginKind::Scorer, &policy.scorer),
            escalation: plugins.reference(PluginKind::Escalation, &policy.escalation),
            ..then.clone()
        };
        Some(Fact::TournamentOpened { opening })
    }

    /// Recorded answers are paid for; what is asked now has what the day's budget leaves.
    fn settings(&self) -> Config {
        let mut settings = self.house.settings.clone();
        let (usd, tokens) = match self.purse {
            Some(purse) => (purse.usd, purse.tokens),
            None => (f64::MAX, u64::MAX),
        };
        settings.claude.daily_budget_usd = usd;
        settings.claude.daily_budget_tokens = tokens;
        settings
    }

    /// What the whole suite, with nothing hidden, has against the candidate that won; none where nobody did.
    async fn against(&self, held: &Held) -> anyhow::Result<Option<Vec<String>>> {
        let winner = held.run.verdict.as_ref().and_then(|v| v.winner.as_ref());
        let Some(candidate) = winner.and_then(|name| held.run.candidate(name)) else {
            return Ok(None);
        };
        let tree = self
            .studied
            .whole(&self.ground.mirror, &candidate.trial_tree)?;
        let mut against = wrong(&self.tried(held, &tree).await?);
        if !against.is_empty() {
            // A test that fails by chance speaks against nobody.
            let again = wrong(&self.tried(held, &tree).await?);
            against.retain(|test| again.contains(test));
        }
        Ok(Some(told(against)))
    }

    async fn tried(&self, held: &Held, tree: &Oid) -> anyhow::Result<Trial> {
        let name = format!("{}-judged", held.run.id);
        let seeing = Cx::seeing(&held.house, &self.case.project_name, &self.ground.project);
        let cx = seeing.await?;
        let report = suite::run(&cx, tree, None, &name, Part::Whole).await;
        let report = report.map_err(crate::stages::StageError::from);
        let report = report.with_context(|| format!("judging {}", self.case.name))?;
        Ok(compare::trial(tree, 1, &report, &self.studied.truth))
    }

    fn outcome(&self, run: &Run, against: Option<Vec<String>>) -> Outcome {
        let decided = run.verdict.as_ref();
        let verdict = match decided.filter(|v| v.winner.is_some()).map(|v| v.action) {
            Some(Action::Merge) => Verdict::Merge,
            Some(Action::PullRequest) => Verdict::PullRequest,
            Some(Action::Human) => Verdict::Human,
            Some(Action::Nothing) | None => Verdict::NoFix,
        };
        let correct = against.as_ref().is_some_and(Vec::is_empty);
        let usage = run.usage();
        let candidates = run.opening.iter().flat_map(|o| &o.entries);
        Outcome {
            case: self.case.name.clone(),
            contestant: self.entered.name.clone(),
            proposed: candidates.clone().any(|e| run.candidate(&e.name).is_some()),
            through: against.is_some(),
            verdict,
            correct,
            false_merge: verdict == Verdict::Merge && !correct,
            against: against.unwrap_or_default(),
            because: text::line(&decided.map(because).unwrap_or_default(), LONGEST),
            cost_usd: usage.cost_usd,
            model_seconds: self.tape.seconds(),
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            unanswered: unanswered(run),
        }
    }
}

/// Tests that have to pass and do not; where each of them does, what is wrong with the run as a whole.
fn wrong(trial: &Trial) -> BTreeSet<String> {
    let tests = [&trial.unfixed, &trial.broken, &trial.missing];
    let tests: BTreeSet<String> = tests.into_iter().flatten().cloned().collect();
    match tests.is_empty() {
        true => trial.problem.iter().cloned().collect(),
        false => tests,
    }
}

fn told(against: BTreeSet<String>) -> Vec<String> {
    let more = against.len().saturating_sub(TOLD);
    let mut told: Vec<String> = against.into_iter().take(TOLD).collect();
    if more > 0 {
        told.push(format!("and {more} more"));
    }
    told
}

fn because(verdict: &Decided) -> String {
    match (&verdict.winner, verdict.standings.as_slice()) {
        (None, [alone]) => alone.because.clone(),
        _ => verdict.reasons.join("; "),
    }
}

/// Why this says nothing about who was tried.
fn unanswered(run: &Run) -> Option<String> {
    let kept = run.journal.answered.values();
    let faults = kept.filter_map(|kept| kept.answer.as_ref().err());
    let mut missing: Vec<&Fault> = faults.filter(|fault| was_not_to_be_had(fault)).collect();
    missing.sort_by_key(|fault| fault.code != tape::NOT_RECORDED);
    if let Some(fault) = missing.first() {
        return Some(fault.message.clone());
    }
    let failed = run.closed == Some(RunStatus::Error);
    let last = run.failures.last().filter(|_| failed);
    last.map(|(stage, why)| format!("the run ended in an error: {stage}: {why}"))
}

fn was_not_to_be_had(fault: &Fault) -> bool {
    let day_is_spent = fault.code == "llm.budget" && fault.message.starts_with("claude.daily");
    tape::is_out_of_reach(fault) || day_is_spent
}
