//! The intake: keeps what others state in this host's log, once, and then lets it go.
//!
//! Touches: network (through `outside/nats`), sqlite (through the store), clock.
//! Change here: when something else comes over the stream.

use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;

use crate::event::Event;
use crate::outside::nats::{Incoming, Link, NatsError};
use crate::outside::store::{Dead, StoreError};
use crate::rules::envelope;

use super::{FleetError, Membership};

/// Kept at a time; they share commits.
const AT_ONCE: usize = 128;
/// Before what could not be kept comes again.
const LATER: Duration = Duration::from_secs(1);

impl Membership {
    pub(super) async fn hear(&self, link: &Link) -> Result<(), FleetError> {
        let intake = link.listen(&self.host).await?;
        let messages = futures::stream::unfold(intake, async |mut intake| {
            let message = intake.next().await?;
            Some((message, intake))
        });
        let kept = messages.map(async |message: Result<Incoming, NatsError>| {
            self.take(&message?).await?;
            Ok::<(), FleetError>(())
        });
        let mut kept = std::pin::pin!(kept.buffered(AT_ONCE));
        while let Some(result) = kept.next().await {
            result?;
        }
        Ok(())
    }

    async fn take(&self, message: &Incoming) -> Result<(), FleetError> {
        let read = match &message.body {
            Ok(body) => envelope::unwrap(body).map_err(|e| e.to_string()),
            Err(why) => Err(why.clone()),
        };
        let kept = match read {
            Ok(event) => self.keep_event(event).await,
            Err(why) => Err(Unkept::Never(why)),
        };
        match kept {
            Ok(()) => {}
            Err(Unkept::Never(why)) => self.bury(message, why).await?,
            Err(Unkept::NotNow(error)) => {
                tracing::warn!("what was heard cannot be kept yet: {error}");
                return Ok(message.later(LATER).await?);
            }
        }
        Ok(message.done().await?)
    }

    pub(super) async fn keep_event(&self, event: Event) -> Result<(), Unkept> {
        match self.store.import(event).await {
            Ok(_) => Ok(()),
            Err(error @ (StoreError::Contradicts { .. } | StoreError::Unfit { .. })) => {
                Err(Unkept::Never(error.to_string()))
            }
            Err(error) => Err(Unkept::NotNow(error)),
        }
    }

    async fn bury(&self, message: &Incoming, why: String) -> Result<(), StoreError> {
        let body = message.body.clone().unwrap_or_default();
        let id = message.id.clone();
        let id = id.unwrap_or_else(|| format!("stream-{}", message.sequence));
        tracing::warn!(id, subject = message.subject, "not understood: {why}");
        self.store
            .bury(Dead {
                id,
                coming: true,
                subject: message.subject.clone(),
                size: body.len() as u64,
                body,
                why,
                attempts: 1,
                at: Timestamp::now(),
            })
            .await
    }
}

/// Why something that was heard is not in the log.
pub(super) enum Unkept {
    Never(String),
    NotNow(StoreError),
}
