//! Entries with a revision that moves only for who knew it: signs of life of hosts, and who has which project.
//!
//! Touches: network (a key-value bucket of JetStream).
//! Change here: when an entry holds more than who wrote it.

use async_nats::jetstream::{self, kv};
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use super::{NatsError, failed};
use crate::config;

/// What stands in an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// Who wrote it; empty where that cannot be read.
    pub host: String,
    /// Of a project: the tenure it is held in.
    #[serde(default)]
    pub epoch: u64,
    /// Of a host: it takes nothing new. Of a project: it was given back.
    #[serde(default)]
    pub leaving: bool,
    /// Of a host: what it says it is good for.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Of a host: all it knows was told to the stream as it is now.
    #[serde(default)]
    pub told: bool,
}

/// An entry as it came to stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    pub holding: Holding,
    pub revision: u64,
}

/// The bucket of one fleet.
#[derive(Clone)]
pub struct Leases {
    bucket: kv::Store,
}

impl Leases {
    pub(super) async fn open(
        context: &jetstream::Context,
        bus: &config::Bus,
    ) -> Result<Leases, NatsError> {
        let name = format!("{}-leases", bus.stream);
        let doing = "opening the leases";
        if let Ok(bucket) = context.get_key_value(&name).await {
            return Ok(Leases { bucket });
        }
        let made = context.create_key_value(kv::Config {
            bucket: name,
            history: 1,
            num_replicas: bus.replicas,
            ..kv::Config::default()
        });
        let bucket = made.await.map_err(|e| failed(doing)(e.into()))?;
        Ok(Leases { bucket })
    }

    /// What stands there, then every change.
    pub async fn follow(&self) -> Result<Changes, NatsError> {
        let doing = "following the leases";
        let watch = self.bucket.watch_with_history(">").await;
        let watch = watch.map_err(|e| failed(doing)(e.into()))?;
        Ok(Changes { watch, more: true })
    }

    /// Writes the entry if nobody wrote it since this revision (None: if there is none). The new revision, or None
    /// where somebody was faster.
    pub async fn write(
        &self,
        key: &str,
        holding: &Holding,
        revision: Option<u64>,
    ) -> Result<Option<u64>, NatsError> {
        let doing = "writing a lease";
        let value = serde_json::to_vec(holding).map_err(|e| failed(doing)(e.into()))?;
        match revision {
            Some(revision) => match self.bucket.update(key, value.into(), revision).await {
                Ok(revision) => Ok(Some(revision)),
                Err(error) if error.kind() == kv::UpdateErrorKind::WrongLastRevision => Ok(None),
                Err(error) => Err(failed(doing)(error.into())),
            },
            None => match self.bucket.create(key, value.into()).await {
                Ok(revision) => Ok(Some(revision)),
                Err(error) if error.kind() == kv::CreateErrorKind::AlreadyExists => Ok(None),
                Err(error) => Err(failed(doing)(error.into())),
            },
        }
    }
}

/// Entries as they change.
pub struct Changes {
    watch: kv::Watch,
    more: bool,
}

impl Changes {
    /// Something that stood there at the beginning did not come yet.
    pub fn has_more(&self) -> bool {
        self.more
    }

    /// None when the subscription has ended.
    pub async fn next(&mut self) -> Option<Result<Entry, NatsError>> {
        let entry = match self.watch.next().await? {
            Ok(entry) => entry,
            Err(error) => return Some(Err(failed("following the leases")(error.into()))),
        };
        self.more = entry.delta > 0;
        Some(Ok(Entry {
            key: entry.key,
            holding: serde_json::from_slice(&entry.value).unwrap_or_default(),
            revision: entry.revision,
        }))
    }
}
