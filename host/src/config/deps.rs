//! What a project's `deps` table says: which newer versions of its dependencies count, and which are left alone.
//!
//! Touches: nothing.
//! Change here: when a project wants to say more about its dependencies.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::apps::Invalid;
use crate::event::Level;

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Deps {
    /// Between two looks of the daemon at what is newer; 0: it never looks, and nothing is updated.
    pub every_hours: f64,
    /// A release younger than that is left to others.
    pub release_age_days: f64,
    /// How far an update may go.
    pub levels: Vec<Level>,
    /// What is merged once it is proven, as far as the policy lets anything be merged; the others become pull requests.
    pub merge: Vec<Level>,
    /// By name: what moves together.
    pub groups: BTreeMap<String, Group>,
    /// So many updates may wait for people; no more are begun.
    pub most_waiting: usize,
    /// So many are begun in an hour.
    pub per_hour: usize,
    /// Where no variant can make the code fit: the last good version is written down instead, with the reason.
    pub pin_back: bool,
    /// What is left alone, and why.
    pub ignore: Vec<Ignore>,
    /// Manifests that are left alone, as globs.
    pub ignore_manifests: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Globs.
    pub packages: Vec<String>,
    /// Steps of these levels move together, others go by themselves.
    #[serde(default = "all_levels")]
    pub levels: Vec<Level>,
}

fn all_levels() -> Vec<Level> {
    vec![Level::Patch, Level::Minor, Level::Major]
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

impl Default for Deps {
    fn default() -> Deps {
        Deps {
            every_hours: 0.0,
            release_age_days: 3.0,
            levels: all_levels(),
            merge: vec![Level::Patch, Level::Minor],
            groups: BTreeMap::new(),
            most_waiting: 5,
            per_hour: 4,
            pin_back: true,
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
        if !(0.0..=8760.0).contains(&self.every_hours) {
            let hours = self.every_hours.to_string();
            let bounds = "must be between 0 (never) and 8760";
            return Err(invalid(key("every_hours"), hours, bounds));
        }
        let packages = self.ignore.iter().map(|i| ("ignore", &i.package));
        let manifests = self
            .ignore_manifests
            .iter()
            .map(|g| ("ignore_manifests", g));
        let grouped = self.groups.values().flat_map(|group| &group.packages);
        let grouped = grouped.map(|glob| ("groups", glob));
        for (tail, glob) in packages.chain(manifests).chain(grouped) {
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
