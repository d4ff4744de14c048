//! What `[store]` says.
//!
//! Touches: nothing.
//! Change here: when something else about the event log can be chosen.

use serde::{Deserialize, Serialize};

use super::ConfigError;

/// A century: longer is for ever.
const LONGEST: u32 = 36_500;

/// The event log, and what is kept beside it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// Journals of plugin calls and reports on whole suites are removed so long after their run closed; 0 for never. Events
    /// stay.
    pub keep_bodies_days: u32,
}

impl Default for Store {
    fn default() -> Store {
        Store {
            keep_bodies_days: 90,
        }
    }
}

impl Store {
    pub(super) fn validate(
        &self,
        invalid: &impl Fn(String, String, &str) -> ConfigError,
    ) -> Result<(), ConfigError> {
        if self.keep_bodies_days > LONGEST {
            let hint = "must be at most 36500; 0 keeps them for ever";
            let value = self.keep_bodies_days.to_string();
            return Err(invalid("store.keep_bodies_days".into(), value, hint));
        }
        Ok(())
    }
}
