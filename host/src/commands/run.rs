//! `changebus run`: the daemon. Looks at every project, drives what it finds, goes on where a crash left off.
//!
//! Touches: clock, processes (signals).
//! Change here: when the daemon should look, wait or stop otherwise.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use super::{Company, ExitCode, working_house};
use crate::config::{Config, Project};
use crate::escalate;
use crate::event::{Change, Fact, RunId};
use crate::forges;
use crate::notices;
use crate::outside::store::{Store, StoreError};
use crate::pipeline::{self, Manner, PipelineError, ReviewError};
use crate::reception::{self, Bells};
use crate::stages::{House, learn, watch};
use crate::updates::Updates;
use crate::web::{Hearers, Web};

/// Clients take memory and talk to indexes for minutes; nobody waits for them.
const UPDATES_AT_ONCE: usize = 2;
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Runs until SIGTERM or SIGINT. Every accepted fact is durable at any instant, so stopping is dropping.
pub async fn run(config: Config) -> anyhow::Result<ExitCode> {
    if config.projects.is_empty() {
        anyhow::bail!("no [projects.NAME] in the configuration: there is nothing to watch");
    }
    let house = working_house(config, Company::AsConfigured).await?;
    house.plugins.watch()?;
    // Before the first test is started: from then on, being asked to stop includes ending it.
    let mut terminate = signal(SignalKind::terminate())?;
    let hints = Arc::new(Notify::new());
    let bells = Bells::default();
    let told: forges::Hints = (house.forges.keys())
        .map(|name| (name.clone(), Arc::new(Notify::new())))
        .collect();
    let hearers = Hearers {
        humanrail: hints.clone(),
        forges: told.clone(),
        bells: bells.clone(),
    };
    let web = Web::open(&house.settings, &house.store, hearers).await?;
    let looks = Arc::new(Semaphore::new(house.settings.watch.at_once));
    let updates = Arc::new(Semaphore::new(UPDATES_AT_ONCE));
    let count = house.settings.projects.len() as u32;
    let interval = Duration::from_secs(house.settings.watch.interval_seconds);
    let mut tasks = tokio::task::JoinSet::new();
    let (apps, store) = (house.settings.apps.clone(), house.store.clone());
    tasks.spawn(reception::attend(apps, store, bells.clone()));
    tasks.spawn(notices::attend(house.clone()));
    tasks.spawn(escalate::attend(house.clone(), hints));
    tasks.spawn(forges::attend(house.clone(), told, bells.clone()));
    let (state, store) = (house.settings.host.state.clone(), house.store.clone());
    tasks.spawn(async move { reception::collect(&state, &store).await });
    if let Some(web) = web {
        tasks.spawn(web.answer());
    }
    for (nth, (name, project)) in house.settings.projects.clone().into_iter().enumerate() {
        // Spread over the interval, so that a hundred remotes are not asked in one breath.
        let offset = interval * nth as u32 / count;
        let watch = Watch {
            house: house.clone(),
            looks: looks.clone(),
            updates: updates.clone(),
            bells: bells.clone(),
            project: Arc::new(project),
            name,
        };
        tasks.spawn(async move {
            tokio::time::sleep(offset).await;
            watch.while_it_is_ours().await;
        });
    }
    let days = house.settings.store.keep_bodies_days;
    if days > 0 {
        tasks.spawn(remove_old_bodies(house.store.clone(), days));
    }
    tracing::info!(
        projects = count,
        interval_seconds = interval.as_secs(),
        "watching"
    );
    tokio::select! {
        _ = terminate.recv() => tracing::info!("stopping on SIGTERM"),
        _ = tokio::signal::ctrl_c() => tracing::info!("stopping on SIGINT"),
    }
    tasks.shutdown().await;
    house.fleet.leave().await;
    Ok(ExitCode::Ok)
}

/// At once, and every day.
async fn remove_old_bodies(store: Store, days: u32) {
    let mut ticks = tokio::time::interval(A_DAY);
    loop {
        ticks.tick().await;
        match store.remove_bodies(days).await {
            Ok(0) => {}
            Ok(removed) => {
                tracing::info!(removed, days, "removed journals and reports of old runs")
            }
            Err(error) => tracing::warn!("journals and reports of old runs stay for now: {error}"),
        }
    }
}

/// One project, and what looking after it takes.
struct Watch {
    house: Arc<House>,
    /// Remotes that may be asked at once.
    looks: Arc<Semaphore>,
    /// Projects whose dependencies may be looked at at once.
    updates: Arc<Semaphore>,
    bells: Bells,
    name: String,
    project: Arc<Project>,
}

impl Watch {
    /// With several hosts a project comes and goes. What was under way when it goes is dropped: whoever has it then goes
    /// on from the facts.
    async fn while_it_is_ours(&self) {
        let fleet = &self.house.fleet;
        loop {
            fleet.gets(&self.name).await;
            tokio::select! {
                () = fleet.loses(&self.name) => {}
                () = self.attend() => {}
            }
        }
    }

    /// For ever: finish what is open, look, drive, wait. One run at a time, so that a burst of pushes during a run
    /// becomes one change.
    async fn attend(&self) {
        let (house, project, name) = (&self.house, &self.project, &self.name);
        let interval = Duration::from_secs(house.settings.watch.interval_seconds);
        let looks = Duration::from_secs_f64(house.settings.learning.look_minutes * 60.0);
        let mut learned: Option<Instant> = None;
        let mut updates = Updates::default();
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.bells.rung(name) => {}
                () = updates.ready() => {}
            }
            let _busy = house.fleet.busy(name);
            if learned.is_none_or(|at| at.elapsed() >= looks) {
                learned = Some(Instant::now());
                learn(house, name, project).await;
            }
            finish_open_runs(house, name, project).await;
            if let Err(error) = take_reviews(house, name).await {
                tracing::error!(
                    project = name,
                    "what people decided cannot be taken: {error}"
                );
            }
            finish_open_runs(house, name, project).await;
            if let Some(run) = look(house, &self.looks, name, project).await {
                drive(house, project, &run).await;
            } else if let Some(change) = updates.next(house, name, project, &self.updates).await
                && let Some(run) = open(house, name, change).await
            {
                drive(house, project, &run).await;
            }
        }
    }
}

/// Says what became of the project's fixes since it was looked last.
async fn learn(house: &House, name: &str, project: &Project) {
    let seen = match watch::mirror(house, name, project).await {
        Ok(mirror) => learn::look(house, name, mirror).await,
        Err(error) => Err(error),
    };
    let seen = match seen {
        Ok(seen) => seen,
        Err(error) => return tracing::warn!(project = name, "what became of fixes: {error}"),
    };
    for outcome in seen {
        if let Err(error) = house.store.import_and_tell(outcome).await {
            tracing::error!(project = name, "an outcome cannot be kept: {error}");
        }
    }
}

async fn finish_open_runs(house: &Arc<House>, name: &str, project: &Arc<Project>) {
    if let Err(error) = go_on(house, name, project).await {
        tracing::error!(project = name, "open runs cannot be read: {error}");
    }
}

/// What people decided since this host looked last, in the order it was given. Of two decisions about one run the first
/// that fits counts.
async fn take_reviews(house: &House, name: &str) -> Result<(), PipelineError> {
    let place = format!("reviews/{name}");
    let after = house.store.cursor(&place).await?;
    for given in house.store.reviews_given(name, after).await? {
        let Fact::ReviewGiven { review } = &given.fact else {
            continue;
        };
        match pipeline::take_review(&house.store, &given, review).await {
            Ok(()) => tracing::info!(run = %review.run, by = review.by, "decided"),
            Err(ReviewError::NotTaken(why)) => {
                tracing::warn!(run = %review.run, by = review.by, "not taken: {why}");
            }
            Err(ReviewError::NotNow(PipelineError::Unknown(run))) => {
                tracing::warn!(%run, "somebody decided about a run that nobody knows");
            }
            Err(ReviewError::NotNow(error)) => return Err(error),
        }
        house.store.advance_cursor(&place, given.seq).await?;
    }
    Ok(())
}

/// With several hosts others' runs may turn up at any time.
async fn go_on(house: &Arc<House>, name: &str, project: &Arc<Project>) -> Result<(), StoreError> {
    let open = house.store.open_runs().await?;
    for (_, run) in open.into_iter().filter(|(of, _)| of == name) {
        if house.store.is_in_vain(&run).await? {
            pipeline::close_in_vain(&house.store, name, &run).await?;
            continue;
        }
        tracing::info!(%run, "going on where it stood");
        drive(house, project, &run).await;
    }
    Ok(())
}

/// Looks once and states what was seen; the run that was opened, if one was.
async fn look(
    house: &Arc<House>,
    looks: &Semaphore,
    name: &str,
    project: &Project,
) -> Option<RunId> {
    let seen = {
        let _permit = looks.acquire().await.ok()?;
        watch::look(house, name, project).await
    };
    match seen.map(watch::Look::fact) {
        Ok(Some(Fact::ChangeSeen { change })) => open(house, name, change).await,
        Ok(Some(fact)) => {
            if let Err(error) = pipeline::tell(&house.store, name, fact).await {
                tracing::error!(project = name, "the sighting cannot be kept: {error}");
            }
            None
        }
        Ok(None) => None,
        Err(error) => {
            tracing::warn!(project = name, "{error}");
            None
        }
    }
}

async fn open(house: &House, name: &str, change: Change) -> Option<RunId> {
    match pipeline::open(&house.store, name, change).await {
        Ok(event) => event.run,
        // Looked at again when that is done.
        Err(StoreError::StillOpen { .. }) => None,
        Err(error) => {
            tracing::error!(project = name, "the change cannot be kept: {error}");
            None
        }
    }
}

async fn drive(house: &Arc<House>, project: &Arc<Project>, run: &RunId) {
    match pipeline::drive(house, project, run, Manner::default()).await {
        Ok(run) => tracing::info!(run = %run.id, status = ?run.closed, "closed"),
        Err(error) => tracing::error!(%run, "the run stopped: {error}"),
    }
}
