//! What applications say and people decide, on its way into the log, and what the configuration makes of it.
//!
//! Touches: sqlite (through the store), files, clock.
//! Change here: when messages come another way, or more follows from one. What is a message, and what a route makes of
//! it, is `rules/apps.rs`; who brings them is `web.rs` and `fleet/hear.rs`.
//!
//! A message is kept before anything follows from it, and what follows is a fact too: who asked for a run is in the log
//! until one was opened, however often the process ends in between.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::config::App;
use crate::event::{Fact, Review, Task, TaskEnd};
use crate::outside::bus::{Bus, BusError};
use crate::outside::dropbox::Dropbox;
use crate::outside::store::{Store, StoreError};
use crate::rules::apps::{self, NotTaken, Said};
use crate::rules::review;

/// Its place in the log is kept under this name.
const CONSUMER: &str = "apps";
/// Between two looks at what commands left.
const LOOK: Duration = Duration::from_millis(200);
/// Before the log is asked again that could not be read.
const LATER: Duration = Duration::from_secs(5);

/// Who has heard of a message before this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Every host hears it from the stream.
    ByAll,
    OnlyHere,
}

/// A message that is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Of its event.
    pub id: String,
    /// It was there before.
    pub again: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum ReceptionError {
    #[error(transparent)]
    NotTaken(#[from] NotTaken),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Keeps a message, once. It is on disk when this returns.
pub async fn take(
    apps: &BTreeMap<String, App>,
    store: &Store,
    said: &Said<'_>,
    at: Timestamp,
    heard: Heard,
) -> Result<Kept, ReceptionError> {
    let event = apps::event(apps::read(apps, said)?, at);
    let id = event.id.clone();
    let kept = match heard {
        Heard::ByAll => store.import(event).await?,
        Heard::OnlyHere => store.import_and_tell(event).await?,
    };
    let again = kept.is_none();
    Ok(Kept { id, again })
}

/// One for every project: rung when there is a reason to look at it before its time.
#[derive(Clone, Default)]
pub struct Bells(Arc<Mutex<BTreeMap<String, Arc<Notify>>>>);

impl Bells {
    pub fn ring(&self, project: &str) {
        self.of(project).notify_one();
    }

    /// Returns when it is rung, or was while nobody waited.
    pub async fn rung(&self, project: &str) {
        self.of(project).notified().await;
    }

    fn of(&self, project: &str) -> Arc<Notify> {
        // Nothing is half done while the lock is held, so a panic elsewhere spoils nothing.
        let mut bells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bells.entry(project.to_owned()).or_default().clone()
    }
}

/// Where commands leave what people decided.
pub fn reviews(state: &Path) -> Dropbox {
    Dropbox::of(state, "reviews")
}

/// Keeps what somebody decided, once, for the host that has the project. `id` is unique to the decision.
pub async fn decide(
    store: &Store,
    project: &str,
    review: Review,
    id: &str,
) -> Result<(), StoreError> {
    let given = review::given(project, review, id, Timestamp::now());
    store.import_and_tell(given).await.map(drop)
}

/// Keeps that people elsewhere were asked, once for each task.
pub async fn posted(
    store: &Store,
    project: &str,
    task: Task,
    at: Timestamp,
) -> Result<(), StoreError> {
    let event = review::posted(project, task, at);
    store.import_and_tell(event).await.map(drop)
}

/// Keeps what came of it, once.
pub async fn ended(
    store: &Store,
    project: &str,
    end: TaskEnd,
    at: Timestamp,
) -> Result<(), StoreError> {
    let event = review::ended(project, end, at);
    store.import_and_tell(event).await.map(drop)
}

/// For as long as the process runs: keeps what commands leave.
pub async fn collect(state: &Path, store: &Store) {
    let left = reviews(state);
    loop {
        for request in left.requests::<Left>() {
            let Left { project, review } = &request.asks;
            match decide(store, project, review.clone(), &request.id).await {
                Ok(()) => request.done(),
                Err(error) => {
                    tracing::error!("what {} decided cannot be kept yet: {error}", review.by)
                }
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A decision on its way to the daemon.
#[derive(Debug, Serialize, Deserialize)]
pub struct Left {
    pub project: String,
    pub review: Review,
}

/// For as long as the process runs: states what follows from each message, and rings where a project is asked for.
pub async fn attend(apps: BTreeMap<String, App>, store: Store, bells: Bells) {
    loop {
        if let Err(error) = follow(&apps, &store, &bells).await {
            tracing::error!("what applications said cannot be followed: {error}");
        }
        tokio::time::sleep(LATER).await;
    }
}

async fn follow(
    apps: &BTreeMap<String, App>,
    store: &Store,
    bells: &Bells,
) -> Result<(), BusError> {
    let subjects = ["app.>", "change.repo.*.asked", "result.review.*.given"];
    let mut log = Bus::of(store.clone())
        .subscribe(CONSUMER, &subjects)
        .await?;
    loop {
        let event = log.next().await?;
        if let Fact::StartAsked { .. } | Fact::ReviewGiven { .. } = event.fact {
            bells.ring(&event.project);
        }
        for follows in apps::consequences(apps, &event) {
            store.import_and_tell(follows).await?;
        }
        // Making it again makes nothing new, so that places are kept in strides.
        if !log.has_more() {
            log.ack(event.seq).await?;
        }
    }
}
