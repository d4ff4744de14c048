//! Tries again what was buried, when an operator asks for it with `changebus events retry`.
//!
//! Touches: files, sqlite (through the store), clock.
//! Change here: when something buried should be tried otherwise.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::outside::dropbox::Dropbox;
use crate::outside::store::Dead;

use super::hear::{Letter, Unkept};
use super::{FleetError, Membership};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// Asks for it; the daemon sees it within a moment.
pub fn ask(state: &Path, id: &str) -> std::io::Result<()> {
    asked_for(state).put(&id).map(drop)
}

fn asked_for(state: &Path) -> Dropbox {
    Dropbox::of(state, "retry")
}

impl Membership {
    pub(super) async fn revive(&self) -> Result<(), FleetError> {
        let asked = asked_for(&self.config.host.state);
        loop {
            for request in asked.requests::<String>() {
                for dead in self.store.dead().await? {
                    if dead.id == request.asks {
                        self.try_again(dead).await?;
                    }
                }
                request.done();
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
