//! How the plugins of this host behave: kept while it runs, folded from the log when it starts.
//!
//! Touches: nothing.
//! Change here: when something else should count for or against a plugin.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::config;
use crate::event::{Ended, Event, Fact, Health};
use crate::outside::wasm::Conduct;
use crate::rules::quarantine::{Patience, Ward};

/// The rule of `rules/quarantine.rs` for the registry to ask.
pub struct Kept(Mutex<Ward>);

impl Kept {
    /// From what operators cleared and from earlier calls, oldest first.
    pub fn fold(
        settings: &config::Quarantine,
        clears: impl IntoIterator<Item = (String, Timestamp)>,
        calls: &[Event],
    ) -> Kept {
        let mut ward = Ward::new(Patience {
            strikes: settings.strikes,
            bench_seconds: settings.bench_seconds,
            benches: settings.benches,
        });
        for (digest, at) in clears {
            ward.cleared(&digest, at);
        }
        for event in calls {
            if let Fact::PluginCalled { call } = &event.fact {
                ward.ended(&call.plugin.digest, event.at, &call.ended);
            }
        }
        Kept(Mutex::new(ward))
    }

    fn ward(&self) -> MutexGuard<'_, Ward> {
        // A count is whole whatever happened to the thread that held it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Conduct for Kept {
    fn ended(&self, digest: &str, at: Timestamp, ended: &Ended) {
        self.ward().ended(digest, at, ended);
    }

    fn cleared(&self, digest: &str, at: Timestamp) {
        self.ward().cleared(digest, at);
    }

    fn health(&self, digest: &str, now: Timestamp) -> Health {
        self.ward().health(digest, now)
    }
}
