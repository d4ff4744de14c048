//! Has people elsewhere decide about runs that wait, through HumanRail.
//!
//! Touches: network (through `outside/humanrail`), sqlite (through the store), clock.
//! Change here: when they are asked otherwise. What they see and what their answer means is `rules/escalate.rs`.
//!
//! What was asked and what came of it are facts, so that another host, or a later life of this one, goes on from there.
//! Asking again under the same key makes no second task. What they do not decide stays with the built-in review.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;

use crate::config;
use crate::event::{ALL_PROJECTS, Task, TaskEnd};
use crate::outside::humanrail::{self, Humanrail, HumanrailError, NewTask, Payout, Status};
use crate::outside::store::{StoreError, Waiting};
use crate::reception;
use crate::rules::escalate;
use crate::rules::run::Run;
use crate::stages::House;

/// How soon it is noticed that a run waits.
const LOOK: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
enum EscalateError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Humanrail(#[from] HumanrailError),
}

/// For as long as the process runs, where there is a key. `hints` is rung when HumanRail tells of a task.
pub async fn attend(house: Arc<House>, hints: Arc<Notify>) {
    let settings = &house.settings.humanrail;
    let Some(key) = &settings.api_key else {
        return;
    };
    let key = match key.read() {
        Ok(key) => key,
        Err(error) => return tracing::error!("humanrail.api_key: {error}"),
    };
    let service = match Humanrail::new(&settings.base_url, key) {
        Ok(service) => service,
        Err(error) => return tracing::error!("{error}"),
    };
    let agent = Agent {
        house: house.clone(),
        service,
    };
    loop {
        house.fleet.gets(ALL_PROJECTS).await;
        tokio::select! {
            () = house.fleet.loses(ALL_PROJECTS) => {}
            () = agent.work(&hints) => {}
        }
    }
}

struct Agent {
    house: Arc<House>,
    service: Humanrail,
}

impl Agent {
    async fn work(&self, hints: &Notify) {
        let polls = Duration::from_secs(self.settings().poll_seconds.into());
        let mut polled: Option<tokio::time::Instant> = None;
        loop {
            let due = polled.is_none_or(|at| at.elapsed() >= polls);
            let mut pause = LOOK.min(polls);
            if let Err(error) = self.look(due).await {
                tracing::warn!("{error}");
                if let EscalateError::Humanrail(HumanrailError::Busy { after: Some(after) }) = error
                {
                    pause = pause.max(after);
                }
            }
            if due {
                polled = Some(tokio::time::Instant::now());
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = hints.notified() => polled = None,
            }
        }
    }

    fn settings(&self) -> &config::Humanrail {
        &self.house.settings.humanrail
    }

    /// Asks about what waits and was not asked about; looks what came of the rest where it is time to.
    async fn look(&self, due: bool) -> Result<(), EscalateError> {
        let waiting = self.house.store.waiting_for_people().await?;
        let tasks = self.house.store.tasks().await?;
        let asked: BTreeSet<&str> = tasks.iter().map(|(task, _)| task.about.as_str()).collect();
        for waiting in waiting
            .iter()
            .filter(|w| !asked.contains(w.because.as_str()))
        {
            if self.is_ours(&waiting.project) {
                self.ask(waiting).await?;
            }
        }
        if !due {
            return Ok(());
        }
        let waits: BTreeMap<&str, &Waiting> =
            waiting.iter().map(|w| (w.because.as_str(), w)).collect();
        for (task, _) in tasks.iter().filter(|(_, ended)| !ended) {
            match waits.get(task.about.as_str()) {
                Some(_) => self.see(task).await?,
                None => self.call_off(task).await?,
            }
        }
        Ok(())
    }

    fn is_ours(&self, project: &str) -> bool {
        let named = &self.settings().projects;
        named.is_empty() || named.iter().any(|p| p == project)
    }

    async fn run(&self, id: &crate::event::RunId) -> Result<Option<Run>, StoreError> {
        let events = self.house.store.run_events(id).await?;
        // What does not fold was written by a newer version; it is for that one.
        Ok(Run::replay(&events).ok().flatten())
    }

    async fn ask(&self, waiting: &Waiting) -> Result<(), EscalateError> {
        let Some(run) = self.run(&waiting.run).await? else {
            return Ok(());
        };
        let settings = self.settings();
        let mut payload = escalate::payload(&run);
        clean(&mut payload, &|text| self.house.redactor.clean(text));
        let wanted = NewTask {
            idempotency_key: format!("changebus-{}", waiting.because),
            task_type: settings.task_type.clone(),
            risk_tier: settings.risk_tier,
            sla_seconds: settings.sla_seconds,
            payload,
            output_schema: escalate::output_schema(&run),
            payout: Payout {
                currency: settings.currency,
                max_amount: settings.max_amount,
            },
            callback_url: settings.callback_url.clone(),
        };
        let task = self.service.create(&wanted).await?;
        tracing::info!(run = %waiting.run, task = task.id, "people elsewhere are asked");
        let posted = Task {
            id: task.id,
            run: waiting.run.clone(),
            about: waiting.because.clone(),
        };
        reception::posted(
            &self.house.store,
            &waiting.project,
            posted,
            Timestamp::now(),
        )
        .await?;
        Ok(())
    }

    async fn see(&self, task: &Task) -> Result<(), EscalateError> {
        let found = self.service.get(&task.id).await?;
        let (status, why) = match found.status {
            Status::Posted | Status::Assigned | Status::Submitted => return Ok(()),
            Status::Verified => ("verified", self.take(task, &found).await?),
            Status::Failed => ("failed", found.failure_reason.unwrap_or_default()),
            Status::Cancelled => ("cancelled", "it was cancelled there".to_owned()),
            Status::Expired => ("expired", "nobody decided in time".to_owned()),
        };
        self.end(task, status, why).await
    }

    /// Why nothing can be made of the answer; empty where it is a decision.
    async fn take(&self, task: &Task, found: &humanrail::Task) -> Result<String, EscalateError> {
        let Some(run) = self.run(&task.run).await? else {
            return Ok("nobody knows the run any more".to_owned());
        };
        let output = found.output.clone().unwrap_or_default();
        match escalate::review(&run, &output) {
            Ok(review) => {
                let store = &self.house.store;
                reception::decide(store, &run.project, review, &task.id).await?;
                Ok(String::new())
            }
            Err(why) => Ok(why),
        }
    }

    /// Somebody else decided, or there is nothing to decide any more.
    async fn call_off(&self, task: &Task) -> Result<(), EscalateError> {
        match self.service.cancel(&task.id).await {
            Ok(()) | Err(HumanrailError::Conflict(_) | HumanrailError::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
        self.end(task, "cancelled", "it was decided elsewhere".to_owned())
            .await
    }

    async fn end(&self, task: &Task, status: &str, why: String) -> Result<(), EscalateError> {
        let Some(run) = self.run(&task.run).await? else {
            return Ok(());
        };
        let end = TaskEnd {
            id: task.id.clone(),
            run: task.run.clone(),
            status: status.to_owned(),
            why,
        };
        let store = &self.house.store;
        reception::ended(store, &run.project, end, Timestamp::now()).await?;
        Ok(())
    }
}

/// Every text in it, without secrets.
fn clean(value: &mut serde_json::Value, of_secrets: &dyn Fn(&str) -> String) {
    match value {
        serde_json::Value::String(text) => *text = of_secrets(text),
        serde_json::Value::Array(all) => all.iter_mut().for_each(|v| clean(v, of_secrets)),
        serde_json::Value::Object(all) => all.values_mut().for_each(|v| clean(v, of_secrets)),
        _ => {}
    }
}
