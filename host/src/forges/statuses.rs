//! Tells the commits of a branch what became of their tests.
//!
//! Touches: http (through `outside/forge`), sqlite (through the store).
//! Change here: when commits are told at another moment. What they are told is `rules/pull_request.rs`.

use std::sync::Arc;
use std::time::Duration;

use super::{Agent, ForgesError, LATER};
use crate::event::Event;
use crate::outside::bus::Bus;
use crate::outside::forge::{ForgeError, StatusState};
use crate::outside::store::StoreError;
use crate::rules::again;
use crate::rules::pull_request::{self, Light};
use crate::stages::House;

/// Where a run opens, and where it ends.
const SUBJECTS: [&str; 2] = ["change.repo.*.push", "result.run.*.closed"];

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
    let (Some(home), Some(id)) = (agent.home(&event.project), &event.run) else {
        return Ok(());
    };
    if !home.statuses {
        return Ok(());
    }
    let Some((run, _)) = agent.run(id).await? else {
        return Ok(());
    };
    let Some((light, said)) = pull_request::light(&run) else {
        return Ok(());
    };
    let state = match light {
        Light::Yellow => StatusState::Pending,
        Light::Green => StatusState::Success,
        Light::Red => StatusState::Failure,
        Light::Broken => StatusState::Error,
    };
    let mut attempts = 0;
    loop {
        let told = agent.forge.tell(&home.repo, &run.change.head, state, &said);
        let Err(error) = told.await else {
            return Ok(());
        };
        attempts += 1;
        let asked = match &error {
            ForgeError::Busy { after } => after.map(|a| a.as_secs_f64()),
            _ => None,
        };
        let pause = again::pause(attempts, asked).filter(|_| error.may_pass());
        let Some(pause) = pause.map(Duration::from_secs_f64) else {
            tracing::warn!(forge = agent.name, run = %id, "the commit is not told: {error}");
            return Ok(());
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
