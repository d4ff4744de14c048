//! The relay: tells the fleet what this host stated, in order, until it is told.
//!
//! Touches: network (through `outside/nats`), sqlite (through the store), clock.
//! Change here: when telling should be paced, packed or given up otherwise.

use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;

use crate::event::Event;
use crate::outside::nats::{Link, Outgoing, Untold};
use crate::outside::store::Dead;
use crate::rules::envelope;

use super::{FleetError, Membership};

/// Told at a time.
const BATCH: usize = 256;
/// Before what was not taken is told again.
const PAUSE: Duration = Duration::from_millis(500);
/// How often it is looked whether the stream is still the one that was told.
const CHECK: Duration = Duration::from_secs(3);
/// Which stream was told last, in the store's notes.
const STREAM: &str = "stream";

impl Membership {
    pub(super) async fn tell(&self, link: &Link) -> Result<(), FleetError> {
        let mut looked = tokio::time::Instant::now();
        self.look_at_the_stream(link).await?;
        loop {
            if looked.elapsed() > CHECK {
                self.look_at_the_stream(link).await?;
                looked = tokio::time::Instant::now();
            }
            let waiting = self.store.waiting(BATCH).await?;
            let Some(last) = waiting.last().map(|event| event.seq) else {
                let newest = self.store.newest().await?;
                self.told.send_replace(self.store.backlog().await?.1 - 1);
                self.told_all.store(true, Ordering::Relaxed);
                // Also comes back to look at the stream.
                let _ = tokio::time::timeout(CHECK, self.store.wait_beyond(newest)).await;
                continue;
            };
            let all = self.tell_some(link, waiting).await?;
            self.told.send_replace(self.store.backlog().await?.1 - 1);
            if !all {
                tracing::debug!(last, "not everything could be told yet");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// False where something has to be told again. What comes after it may have been told already: who hears it sorts
    /// it out.
    async fn tell_some(&self, link: &Link, events: Vec<Event>) -> Result<bool, FleetError> {
        let (mut going, mut messages) = (vec![], vec![]);
        for event in &events {
            match envelope::wrap(event, &self.host).json() {
                Ok(body) => {
                    going.push(event);
                    messages.push(Outgoing {
                        id: event.id.clone(),
                        // The connection knows the prefix.
                        subject: envelope::subject("", event),
                        body,
                    });
                }
                Err(error) => self.store.bury(untold(event, error.to_string())).await?,
            }
        }
        let answers = link.tell(messages).await;
        let (mut told, mut all) = (vec![], true);
        for (event, answer) in going.into_iter().zip(answers) {
            match answer {
                Ok(()) => told.push(event.seq),
                Err(Untold::NotNow(why)) => {
                    tracing::debug!(event = event.id, "not told yet: {why}");
                    all = false;
                }
                Err(Untold::Never(why)) => {
                    tracing::error!(event = event.id, "cannot be told: {why}");
                    self.store.bury(untold(event, why)).await?;
                }
            }
        }
        self.store.told(told).await?;
        Ok(all)
    }

    /// A stream of the same name that is not the one told last has to be told everything: nobody else may know it.
    async fn look_at_the_stream(&self, link: &Link) -> Result<(), FleetError> {
        let made = link.stream().await?.made;
        let known = self.store.note(STREAM).await?;
        if known.as_ref() != Some(&made) {
            if known.is_some() {
                tracing::warn!("the stream was lost; all of this host's log is told again");
            }
            self.store.tell_all(STREAM, &made).await?;
            if known.is_some() {
                return Err(FleetError::Ended("the stream that was listened to"));
            }
        }
        Ok(())
    }
}

fn untold(event: &Event, why: String) -> Dead {
    Dead {
        id: event.id.clone(),
        coming: false,
        subject: event.fact.subject(&event.project),
        body: vec![],
        size: 0,
        why,
        attempts: 1,
        at: Timestamp::now(),
    }
}
