//! DepWatcher in the daemon: looks from time to time at what is newer, and makes the update that is tried next.
//!
//! Touches: git, files, processes, sqlite, clock.
//! Change here: when a project's dependencies should be looked at otherwise. What is begun is `rules/deps/plan.rs`; what the
//! indexes are asked is `stages/deps.rs`.
//!
//! Looking takes minutes where an index is slow, and so happens beside the work on the project. Nothing is kept here that
//! the log does not hold: after a restart it is looked again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::config::Project;
use crate::event::{Asked, Change, Dependencies, Fact, FixFate, Oid, PullRequestFate, RunId, Step};
use crate::outside::store::Store;
use crate::pipeline;
use crate::rules::deps::plan::{self, Past, Wanted};
use crate::rules::run::Run;
use crate::rules::update;
use crate::stages::deps::{self, Releases, make};
use crate::stages::{House, StageError, failed, suite, watch};

/// What waited for a limit or for people may go on by then.
const RECONSIDER: Duration = Duration::from_secs(600);
/// Of a project's runs about updates the newest are known; older ones are about versions that have had successors.
const RUNS_KNOWN: usize = 500;

/// One project's dependencies, as far as they are being looked after.
#[derive(Default)]
pub struct Updates {
    /// When the indexes were asked last.
    asked: Option<Instant>,
    releases: Arc<Releases>,
    next: Option<Instant>,
    work: JoinSet<Result<Made, StageError>>,
    made: Option<Made>,
    /// What the clients could not make since the indexes were asked.
    impossible: BTreeSet<(String, Vec<Step>)>,
    /// The tip that was not tested yet, and for which a run was asked.
    untested: Option<Oid>,
}

/// What came of looking.
enum Made {
    Update(Box<Change>),
    /// The clients cannot come there.
    Not {
        wanted: Wanted,
        why: String,
    },
    /// Nobody knows whether the tip is green.
    Untested(Oid),
    Nothing,
}

impl Updates {
    /// Returns when something was made; never where nothing is.
    pub async fn ready(&mut self) {
        match self.work.join_next().await {
            Some(Ok(Ok(made))) => self.made = Some(made),
            Some(Ok(Err(error))) => tracing::warn!("dependencies: {error}"),
            Some(Err(error)) => tracing::error!("looking after dependencies ended: {error}"),
            None => std::future::pending().await,
        }
    }

    /// Looks, if it is time; the update that is to be tried now, if there is one.
    pub async fn next(
        &mut self,
        house: &Arc<House>,
        name: &str,
        project: &Arc<Project>,
        at_once: &Arc<Semaphore>,
    ) -> Option<Change> {
        let hours = project.deps.every_hours;
        if hours <= 0.0 {
            return None;
        }
        if let Some(made) = self.made.take() {
            return self.take(house, name, made).await;
        }
        let every = Duration::from_secs_f64(hours * 3600.0);
        if self.asked.is_none_or(|at| at.elapsed() >= every) {
            self.asked = Some(Instant::now());
            self.releases = Arc::default();
            self.impossible.clear();
            self.next = None;
        }
        if self.work.is_empty() && self.next.is_none_or(|at| at <= Instant::now()) {
            self.next = Some(Instant::now() + RECONSIDER.min(every));
            let look = look(
                house.clone(),
                name.to_owned(),
                project.clone(),
                self.releases.clone(),
                self.impossible.clone(),
            );
            let at_once = at_once.clone();
            self.work.spawn(async move {
                let _permit = at_once.acquire_owned().await;
                look.await
            });
        }
        None
    }

    async fn take(&mut self, house: &House, name: &str, made: Made) -> Option<Change> {
        match made {
            Made::Update(change) => {
                // There may be more, and the next look costs nothing.
                self.next = None;
                // Somebody pushed meanwhile: it is made anew on what they pushed.
                let tip = house.store.last_tip(name).await.ok().flatten();
                (tip.as_ref() == Some(&change.base)).then_some(*change)
            }
            Made::Not { wanted, why } => {
                tracing::warn!(project = name, "an update cannot be made: {why}");
                self.impossible.insert((wanted.manifest.path, wanted.steps));
                self.next = None;
                None
            }
            Made::Untested(tip) => {
                if self.untested.as_ref() != Some(&tip) {
                    ask_for_a_run(house, name).await;
                    self.untested = Some(tip);
                    // By the next look it was tested.
                    self.next = None;
                }
                None
            }
            Made::Nothing => None,
        }
    }
}

/// An update is held against a tip that is known to be green.
async fn ask_for_a_run(house: &House, name: &str) {
    let by = format!("change.dep.{name}");
    let asked = Asked {
        because: by.clone(),
        by,
    };
    if let Err(error) = pipeline::tell(&house.store, name, Fact::StartAsked { asked }).await {
        tracing::error!(project = name, "a run cannot be asked for: {error}");
    }
}

async fn look(
    house: Arc<House>,
    name: String,
    project: Arc<Project>,
    releases: Arc<Releases>,
    impossible: BTreeSet<(String, Vec<Step>)>,
) -> Result<Made, StageError> {
    let store = &house.store;
    let read = |e| failed("reading the log", &e);
    let Some(tip) = store.last_tip(&name).await.map_err(read)? else {
        return Ok(Made::Nothing);
    };
    let mirror = watch::mirror(&house, &name, &project).await?;
    let tree = mirror.tree_of(&tip);
    let tree = tree.map_err(|e| failed("reading the tip", &e))?;
    let known = store
        .report_for_tree(&name, &tree, &suite::digest(&project))
        .await;
    match known.map_err(read)? {
        None => return Ok(Made::Untested(tip)),
        Some(report) if !report.is_green() => return Ok(Made::Nothing),
        Some(_) => {}
    }
    let clients = deps::clients(&house, &project)?;
    let now = Timestamp::now();
    let seen = deps::look(&mirror, &tip, &project, &clients, &releases, now).await?;
    let mut stated = plan::stated(&tip, &seen);
    for one in stated
        .manifests
        .iter_mut()
        .flat_map(|m| &mut m.dependencies)
    {
        one.trouble = one.trouble.as_deref().map(|t| house.redactor.clean(t));
    }
    state(store, &name, stated).await?;
    let past = past(store, &name).await?;
    let wanted = plan::plan(&seen, &past, &project.deps, now);
    let Some(wanted) = plan::possible(wanted, &impossible) else {
        return Ok(Made::Nothing);
    };
    let place = make::Place {
        mirror: &mirror,
        clients: &clients,
        host: &house.settings.host,
        branch: &project.branch,
        tip: &tip,
    };
    Ok(match make::change(&place, &wanted, now).await? {
        Ok(change) => Made::Update(Box::new(change)),
        Err(error) => Made::Not {
            wanted,
            why: house.redactor.clean(&error.to_string()),
        },
    })
}

/// Stated once, until something is otherwise.
async fn state(store: &Store, name: &str, seen: Dependencies) -> Result<(), StageError> {
    let before = store.dependencies_seen(name).await;
    let before = before.map_err(|e| failed("reading what was seen before", &e))?;
    let same = |before: Dependencies| before.manifests == seen.manifests;
    if before.is_some_and(|(_, before)| same(before)) {
        return Ok(());
    }
    let told = pipeline::tell(store, name, Fact::DependenciesSeen { seen }).await;
    told.map(drop)
        .map_err(|e| failed("keeping what was seen of dependencies", &e))
}

/// Every update of the project that was tried, and what became of it.
pub async fn past(store: &Store, name: &str) -> Result<Vec<Past>, StageError> {
    let read = |e| failed("reading earlier updates", &e);
    let mut on_forges: BTreeMap<RunId, FixFate> = BTreeMap::new();
    for offered in store.pull_requests().await.map_err(read)? {
        let fate = match offered.fate {
            Some(PullRequestFate::Merged { .. }) => FixFate::Merged,
            Some(PullRequestFate::Closed) => FixFate::Unmerged,
            _ => continue,
        };
        on_forges.insert(offered.request.run, fate);
    }
    let mut found = vec![];
    for id in store.update_runs(name, RUNS_KNOWN).await.map_err(read)? {
        let events = store.run_events(&id).await.map_err(read)?;
        let run = Run::replay(&events).map_err(|e| failed("reading an update's run", &e))?;
        let fate = store.fate(&id).await.map_err(read)?;
        let fate = fate.or_else(|| on_forges.get(&id).copied());
        found.extend(run.and_then(|run| update::past(&run, fate)));
    }
    Ok(found)
}
