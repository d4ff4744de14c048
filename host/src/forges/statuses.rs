//! Tells the commits of a branch what became of their tests.
//!
//! Touches: http (through `outside/forge`), sqlite (through the store), clock.
//! Change here: when commits are told at another moment. What they are told is `rules/pull_request.rs`.

use std::sync::Arc;
use std::time::Duration;

use super::{Agent, ForgesError, LATER};
use crate::event::{Event, Fact, Oid};
use crate::outside::bus::Bus;
use crate::outside::forge::StatusState;
use crate::outside::store::StoreError;
use crate::rules::again;
use crate::rules::pull_request::{self, Light};
use crate::stages::House;

/// Where a run opens, and where it ends.
const SUBJECTS: [&str; 3] = [
    "change.repo.*.push",
    "change.repo.*.watched",
    "result.run.*.closed",
];

fn place(forge: &str) -> String {
    format!("forges/{forge}")
}

/// A forge that is new is told what happens from now on.
pub async fn begin(house: &House) -> Result<(), StoreError> {
    for name in house.forges.keys() {
        let place = place(name);
        if house.store.cursor(&place).await? == 0 {
            let newest = house.store.newest().await?.max(1);
            house.store.advance_cursor(&place, newest).await?;
        }
    }
    Ok(())
}

pub async fn tell(agent: Arc<Agent>) {
    loop {
        if let Err(error) = follow(&agent).await {
            tracing::error!(forge = agent.name, "the log cannot be followed: {error}");
        }
        tokio::time::sleep(LATER).await;
    }
}

async fn follow(agent: &Agent) -> Result<(), ForgesError> {
    let mut log = Bus::of(agent.house.store.clone())
        .subscribe(&place(&agent.name), &SUBJECTS)
        .await?;
    loop {
        let event = log.next().await?;
        tell_of(agent, &event).await?;
        log.ack(event.seq).await?;
    }
}

/// Returns when the forge knows it, or does not want to.
async fn tell_of(agent: &Agent, event: &Event) -> Result<(), ForgesError> {
    let Some(home) = agent.home(&event.project).filter(|home| home.statuses) else {
        return Ok(());
    };
    let told = match (&event.fact, &event.run) {
        (Fact::Watched { sighting }, _) => pull_request::light_of(sighting),
        (fact, Some(id)) => match agent.run(id).await? {
            // How it ended is the next thing to be told.
            Some((run, _)) if is_opening(fact) && run.closed.is_some() => None,
            // No remote has the commit.
            Some((run, _)) if run.change.update.is_some() => None,
            Some((run, _)) => pull_request::light(&run)
                .map(|(light, said)| (run.change.head.clone(), light, said)),
            None => None,
        },
        _ => None,
    };
    if let Some((commit, light, said)) = told {
        tell_commit(agent, &home.repo, &commit, state(light), &said).await;
    }
    Ok(())
}

fn is_opening(fact: &Fact) -> bool {
    matches!(fact, Fact::ChangeSeen { .. })
}

fn state(light: Light) -> StatusState {
    match light {
        Light::Yellow => StatusState::Pending,
        Light::Green => StatusState::Success,
        Light::Red => StatusState::Failure,
        Light::Broken => StatusState::Error,
    }
}

async fn tell_commit(agent: &Agent, repo: &str, commit: &Oid, state: StatusState, said: &str) {
    let mut attempts = 0;
    while let Err(error) = agent.forge.tell(repo, commit, state, said).await {
        attempts += 1;
        let pause = again::pause(attempts, error.asks_to_wait()).filter(|_| error.may_pass());
        let Some(pause) = pause.map(Duration::from_secs_f64) else {
            return tracing::warn!(forge = agent.name, %commit, "it is not told: {error}");
        };
        tracing::warn!(
            forge = agent.name,
            attempts,
            ?pause,
            "not told yet: {error}"
        );
        tokio::time::sleep(pause).await;
    }
}
