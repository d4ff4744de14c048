//! What `[learning]` says.
//!
//! Touches: nothing.
//! Change here: when something else about what is learned can be chosen.

use serde::{Deserialize, Serialize};

use super::apps::Invalid;
use super::{Config, ConfigError};

/// When a fix counts as one that lasts, and how often is looked.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Learning {
    /// A merged fix that nobody took back for so long has survived. It is looked at as long again.
    pub survive_days: f64,
    /// Between two looks at what became of a project's fixes.
    pub look_minutes: f64,
}

impl Default for Learning {
    fn default() -> Learning {
        Learning {
            survive_days: 14.0,
            look_minutes: 60.0,
        }
    }
}

pub(super) fn validate(config: &Config, invalid: &Invalid<'_>) -> Result<(), ConfigError> {
    let Learning {
        survive_days,
        look_minutes,
    } = config.learning;
    let hint = "must be a number above 0";
    for (key, value) in [
        ("survive_days", survive_days),
        ("look_minutes", look_minutes),
    ] {
        if !value.is_finite() || value <= 0.0 || value > 36_500.0 {
            return Err(invalid(format!("learning.{key}"), value.to_string(), hint));
        }
    }
    Ok(())
}
