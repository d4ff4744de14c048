//! What a project's `deps` table says: which newer versions of its dependencies count, and which are left alone.
//!
//! Touches: nothing.
//! Change here: when a project wants to say more about its dependencies.

use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::apps::Invalid;

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Deps {
    /// A release younger than that is left to others.
    pub release_age_days: f64,
    /// How far an update may go.
    pub levels: Vec<Level>,
    /// What is left alone, and why.
    pub ignore: Vec<Ignore>,
    /// Manifests that are left alone, as globs.
    pub ignore_manifests: Vec<String>,
}

/// How far an update goes. What begins with 0 promises nothing: 0.1.x to 0.2.x is a major one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    Patch,
    Minor,
    Major,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Ignore {
    /// A glob.
    pub package: String,
    /// Only from this version on; all where nothing is said.
    #[serde(default)]
    pub from: Option<String>,
    /// Shown to people with every version that is left alone.
    pub reason: String,
}

impl Level {
    pub fn name(self) -> &'static str {
        match self {
            Level::Patch => "patch",
            Level::Minor => "minor",
            Level::Major => "major",
        }
    }
}

impl Default for Deps {
    fn default() -> Deps {
        Deps {
            release_age_days: 3.0,
            levels: vec![Level::Patch, Level::Minor, Level::Major],
            ignore: vec![],
            ignore_manifests: vec![],
        }
    }
}

impl Deps {
    /// `place` is the table's name, such as `projects.billing.deps`.
    pub(super) fn validate(&self, place: &str, invalid: &Invalid<'_>) -> Result<(), ConfigError> {
        let key = |tail: &str| format!("{place}.{tail}");
        if !(0.0..=3650.0).contains(&self.release_age_days) {
            let days = self.release_age_days.to_string();
            return Err(invalid(
                key("release_age_days"),
                days,
                "must be between 0 and 3650",
            ));
        }
        let packages = self.ignore.iter().map(|i| ("ignore", &i.package));
        let manifests = self
            .ignore_manifests
            .iter()
            .map(|g| ("ignore_manifests", g));
        for (tail, glob) in packages.chain(manifests) {
            globset::Glob::new(glob)
                .map_err(|e| invalid(key(tail), glob.clone(), &e.to_string()))?;
        }
        match self.ignore.iter().find(|i| i.reason.trim().is_empty()) {
            Some(silent) => Err(invalid(
                key("ignore"),
                silent.package.clone(),
                "say in `reason` why it is left alone",
            )),
            None => Ok(()),
        }
    }
}
