//! The intake: keeps what others state in this host's log, once, and then lets it go.
//!
//! Touches: network (through `outside/nats`), sqlite (through the store), clock.
//! Change here: when something else comes over the stream.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;

use crate::event::Event;
use crate::outside::nats::{CONTENT_TYPE, Incoming, Link, NatsError};
use crate::outside::store::{Dead, StoreError};
use crate::reception::{self, Heard, ReceptionError};
use crate::rules::apps::{self, Said};
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
        let kept = match &message.body {
            Ok(body) => {
                let content_type = message
                    .headers
                    .iter()
                    .find(|(name, _)| name == CONTENT_TYPE);
                let headers = message.headers.iter();
                let letter = Letter {
                    subject: &message.subject,
                    id: &message.id,
                    at: message.published,
                    content_type: content_type.map(|(_, value)| value.as_str()),
                    attributes: apps::attributes(headers.map(|(n, v)| (n.as_str(), v.as_str()))),
                    body,
                };
                self.keep_letter(letter).await
            }
            Err(why) => Err(Unkept::Never(why.clone())),
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

    /// What another host stated, or what an application said: who may write under one subject only can say nothing that
    /// belongs under another.
    pub(super) async fn keep_letter(&self, letter: Letter<'_>) -> Result<(), Unkept> {
        match envelope::unwrap(letter.body) {
            Ok(event) => {
                let own = envelope::subject("", &event);
                if own != letter.subject || !apps::is_itself(&event) {
                    let why = format!("what it says belongs under {own} or has another id");
                    return Err(Unkept::Never(why));
                }
                self.keep_event(event).await
            }
            Err(not_ours) => match apps::of_subject(letter.subject) {
                Some((app, event)) => self.keep_message(app, event, &letter).await,
                None => Err(Unkept::Never(not_ours.to_string())),
            },
        }
    }

    async fn keep_event(&self, event: Event) -> Result<(), Unkept> {
        self.store.import(event).await.map(drop).map_err(unkept)
    }

    async fn keep_message(
        &self,
        app: &str,
        event: &str,
        letter: &Letter<'_>,
    ) -> Result<(), Unkept> {
        let said = Said {
            app,
            event,
            content_type: letter.content_type,
            attributes: letter.attributes.clone(),
            body: letter.body,
            id: letter.id.to_owned(),
        };
        let apps = &self.config.apps;
        match reception::take(apps, &self.store, &said, letter.at, Heard::ByAll).await {
            Ok(_) => Ok(()),
            Err(ReceptionError::NotTaken(why)) => Err(Unkept::Never(why.to_string())),
            Err(ReceptionError::Store(error)) => Err(unkept(error)),
        }
    }

    async fn bury(&self, message: &Incoming, why: String) -> Result<(), StoreError> {
        let body = message.body.clone().unwrap_or_default();
        let id = message.id.clone();
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

/// A message of the stream, or one that was buried.
pub(super) struct Letter<'a> {
    pub subject: &'a str,
    pub id: &'a str,
    pub at: Timestamp,
    pub content_type: Option<&'a str>,
    pub attributes: BTreeMap<String, String>,
    pub body: &'a [u8],
}

fn unkept(error: StoreError) -> Unkept {
    match error {
        StoreError::Contradicts { .. } | StoreError::Unfit { .. } => {
            Unkept::Never(error.to_string())
        }
        other => Unkept::NotNow(other),
    }
}

/// Why something that was heard is not in the log.
pub(super) enum Unkept {
    Never(String),
    NotNow(StoreError),
}
