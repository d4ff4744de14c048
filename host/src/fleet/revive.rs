//! Tries again what was buried, when an operator asks for it with `changebus events retry`.
//!
//! Touches: files, sqlite (through the store), clock.
//! Change here: when something buried should be tried otherwise.
//!
//! Only the daemon writes the log. What is asked for lies in the state directory, a file for each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::outside::store::Dead;

use super::hear::{Letter, Unkept};
use super::{FleetError, Membership};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// Where it is asked for.
pub fn asked_for(state: &Path) -> PathBuf {
    state.join("retry")
}

/// Asks for it; the daemon sees it within a moment.
pub fn ask(state: &Path, id: &str) -> std::io::Result<()> {
    let dir = asked_for(state);
    std::fs::create_dir_all(&dir)?;
    // An id may hold anything.
    std::fs::write(dir.join(uuid::Uuid::now_v7().to_string()), id)
}

impl Membership {
    pub(super) async fn revive(&self) -> Result<(), FleetError> {
        let dir = asked_for(&self.config.host.state);
        loop {
            for file in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
                let id = std::fs::read_to_string(file.path()).unwrap_or_default();
                for dead in self.store.dead().await? {
                    if dead.id == id {
                        self.try_again(dead).await?;
                    }
                }
                if let Err(error) = std::fs::remove_file(file.path()) {
                    tracing::warn!("{}: {error}", file.path().display());
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn try_again(&self, dead: Dead) -> Result<(), FleetError> {
        if dead.coming {
            let letter = Letter {
                subject: &dead.subject,
                id: &dead.id,
                at: dead.at,
                content_type: None,
                attributes: BTreeMap::new(),
                body: &dead.body,
            };
            let kept = self.keep_letter(letter).await;
            match kept {
                Ok(()) => {}
                Err(Unkept::Never(why)) => {
                    return Ok(self.store.bury(Dead { why, ..dead }).await?);
                }
                Err(Unkept::NotNow(error)) => return Err(error.into()),
            }
        }
        tracing::info!(id = dead.id, "tried again");
        Ok(self.store.revive(&dead.id).await?)
    }
}
