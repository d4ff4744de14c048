//! This host among others: what it tells and hears, and which projects are in its hands.
//!
//! Touches: network (through `outside/nats`), sqlite (through the store), files, clock.
//! Change here: when hosts should be joined, or part, otherwise. Who works on what is `rules/fleet.rs`.
//!
//! Facts first: whatever happens here stands in this host's log before anybody hears of it, and what is heard is kept in
//! it before it counts as heard. A server that is away delays the telling; what acts on the world waits for it where
//! another host might act too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::config::{BusKind, Config};
use crate::event::{ALL_PROJECTS, Event, Fact};
use crate::outside::nats::{Link, NatsError};
use crate::outside::store::{Store, StoreError};
use crate::rules::fleet::Wants;

mod hear;
mod keep;
mod revive;
mod tell;

pub use revive::ask as ask_to_retry;

/// Between two attempts to reach a server that is away.
const RETRY: Duration = Duration::from_secs(2);
/// How often a host looks whether it may act by now.
const LOOK: Duration = Duration::from_millis(50);

/// The others, as far as this host is concerned; cheap to clone.
#[derive(Clone)]
pub struct Fleet(Option<Arc<Membership>>);

/// A host that is one of several.
struct Membership {
    host: String,
    config: Config,
    store: Store,
    /// Projects no other host may ever work on.
    own: BTreeSet<String>,
    /// In this host's hands, by lease.
    held: watch::Sender<BTreeSet<String>>,
    /// Of those: a run or a look is under way.
    busy: Mutex<BTreeMap<String, usize>>,
    /// Everything this host stated up to this seq was told.
    told: watch::Sender<i64>,
    /// Since the connection was made there was a moment at which nothing of this host's log was left to tell.
    told_all: AtomicBool,
    /// A file that says: take nothing new.
    drain: PathBuf,
    /// The process is about to end.
    ending: AtomicBool,
}

/// Why this host cannot be one of several.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    #[error(
        "host.name: this machine's own name, {0:?}, is no name for a host: set one of lower-case letters, digits and dashes"
    )]
    Name(String),
    #[error(transparent)]
    Nats(#[from] NatsError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0} has ended")]
    Ended(&'static str),
}

/// A run or a look is under way until this is dropped.
pub struct Busy {
    membership: Option<Arc<Membership>>,
    project: String,
}

impl Fleet {
    /// There is only this host.
    pub fn alone() -> Fleet {
        Fleet(None)
    }

    /// Becomes one of several, where the configuration says so. A server that is away is waited for beside the work; one
    /// that is unfit is an error.
    pub async fn join(config: &Config, store: &Store) -> Result<Fleet, FleetError> {
        if config.bus.kind == BusKind::Embedded {
            return Ok(Fleet::alone());
        }
        let host = name(config)?;
        let own: BTreeSet<String> = config
            .projects
            .iter()
            .filter(|(name, project)| wants(name, project).is_only_for(&host))
            .map(|(name, _)| name.clone())
            .collect();
        let mut tenures = BTreeMap::new();
        for project in &own {
            tenures.insert(project.clone(), store.newest_epoch(project).await?);
        }
        store.tenures().join_a_fleet(tenures);
        let membership = Arc::new(Membership {
            drain: drain_file(&config.host.state),
            ending: AtomicBool::new(false),
            config: config.clone(),
            store: store.clone(),
            own,
            held: watch::Sender::new(BTreeSet::new()),
            busy: Mutex::default(),
            told: watch::Sender::new(store.backlog().await?.1 - 1),
            told_all: AtomicBool::new(false),
            host,
        });
        let link = match Link::connect(&config.bus, &membership.host).await {
            Ok(link) => Some(link),
            Err(unfit) if unfit.is_for_good() => return Err(unfit.into()),
            Err(away) => {
                tracing::warn!("{away}; work goes on, and is told when it is back");
                None
            }
        };
        tokio::spawn(membership.clone().stay(link));
        Ok(Fleet(Some(membership)))
    }

    /// Waits until the project is in this host's hands.
    pub async fn gets(&self, project: &str) {
        self.until(project, true).await;
    }

    /// Waits until it is so no more; for ever, where it never can be.
    pub async fn loses(&self, project: &str) {
        self.until(project, false).await;
    }

    async fn until(&self, project: &str, has: bool) {
        let always = self.0.as_ref().is_none_or(|m| m.own.contains(project));
        let Some(membership) = self.0.as_ref().filter(|_| !always) else {
            return match has {
                true => (),
                false => std::future::pending().await,
            };
        };
        let mut held = membership.held.subscribe();
        if held
            .wait_for(|held| held.contains(project) == has)
            .await
            .is_err()
        {
            std::future::pending::<()>().await;
        }
    }

    /// A host gives nothing back while it is busy with it.
    pub fn busy(&self, project: &str) -> Busy {
        if let Some(membership) = &self.0 {
            *membership.busy().entry(project.to_owned()).or_default() += 1;
        }
        Busy {
            membership: self.0.clone(),
            project: project.to_owned(),
        }
    }

    /// Returns once this fact may be acted upon: it is told, so that whoever takes the project over knows of it, and
    /// nobody has taken it over.
    pub async fn may_act_on(&self, event: &Event) {
        let Some(membership) = &self.0 else {
            return;
        };
        if !is_acted_upon(&event.fact) || membership.own.contains(&event.project) {
            return;
        }
        let mut told = membership.told.subscribe();
        if told.wait_for(|told| *told >= event.seq).await.is_err() {
            std::future::pending::<()>().await;
        }
        while !membership.store.tenures().may_act(&event.project) {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Gives back what this host has, so that others need not wait for it to be missed.
    pub async fn leave(&self) {
        if let Some(membership) = &self.0 {
            membership.hand_back().await;
        }
    }
}

/// What is stated before something is done that cannot be taken back, or must not be done twice.
fn is_acted_upon(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::ChangeSeen { .. }
            | Fact::ModelAsked { .. }
            | Fact::Decided { .. }
            | Fact::MergePrepared { .. }
    )
}

impl Drop for Busy {
    fn drop(&mut self) {
        let Some(membership) = &self.membership else {
            return;
        };
        let mut busy = membership.busy();
        if let Some(count) = busy.get_mut(&self.project) {
            *count -= 1;
            if *count == 0 {
                busy.remove(&self.project);
            }
        }
    }
}

impl Membership {
    /// For as long as the process runs: connects, and does everything a connection is for until it breaks.
    async fn stay(self: Arc<Self>, mut link: Option<Link>) {
        loop {
            let connected = match link.take() {
                Some(link) => Ok(link),
                None => Link::connect(&self.config.bus, &self.host).await,
            };
            match connected {
                Ok(link) => {
                    if let Some(warning) = &link.warning {
                        tracing::warn!("what the NATS server acknowledges may be lost: {warning}");
                    }
                    tracing::info!(host = self.host, "joined the fleet");
                    let ended = self.take_part(&link).await;
                    tracing::warn!("the fleet is out of reach: {ended}");
                }
                Err(error) => tracing::warn!("{error}"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn take_part(&self, link: &Link) -> FleetError {
        self.told_all.store(false, Ordering::Relaxed);
        let ended = tokio::select! {
            ended = self.tell(link) => ended,
            ended = self.hear(link) => ended,
            ended = self.keep(link) => ended,
            ended = self.revive() => ended,
        };
        match ended {
            Err(error) => error,
            Ok(()) => FleetError::Ended("the connection"),
        }
    }

    /// What one host at a time works on: every project, and what concerns all of them.
    fn to_share(&self) -> impl Iterator<Item = (&str, Wants<'_>)> {
        let projects = self.config.projects.iter();
        let projects = projects.map(|(name, project)| (name.as_str(), wants(name, project)));
        let of_all = Wants {
            project: ALL_PROJECTS,
            hosts: &[],
            labels: &[],
        };
        projects.chain([(ALL_PROJECTS, of_all)])
    }

    fn busy(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, usize>> {
        // Nothing is half done while the lock is held, so a panic elsewhere spoils nothing.
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A host whose state directory holds it takes nothing new.
pub fn drain_file(state: &Path) -> PathBuf {
    state.join("drain")
}

/// What the configuration asks of the host of a project.
fn wants<'a>(name: &'a str, project: &'a crate::config::Project) -> Wants<'a> {
    Wants {
        project: name,
        hosts: &project.hosts,
        labels: &project.labels,
    }
}

/// What this host is called.
pub fn name(config: &Config) -> Result<String, FleetError> {
    if !config.host.name.is_empty() {
        return Ok(config.host.name.clone());
    }
    let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let own = own.trim().to_ascii_lowercase().replace('.', "-");
    match crate::config::is_plain_name(&own) {
        true => Ok(own),
        false => Err(FleetError::Name(own)),
    }
}
