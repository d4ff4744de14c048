//! Which newer version of a dependency is due, which has to wait, and why.
//!
//! Touches: nothing.
//! Change here: when another rule decides about updates. What a project wants stands in `config/deps.rs`; what there is to
//! choose from is looked up by `outside/deps.rs`.

use std::cmp::Ordering;

use globset::Glob;
use jiff::{SignedDuration, Timestamp};

use crate::config::{Deps, Ignore};
use crate::event::{Dependency, Ecosystem, Level, Outlook, Release};

pub mod brings;
pub mod plan;
pub mod version;

use version::Version;

/// What there is in place of a dependency: at most one version within the major one, and one beyond it. `Current` alone
/// where there is nothing newer.
pub fn outlook(
    ecosystem: Ecosystem,
    dependency: &Dependency,
    releases: &[Release],
    policy: &Deps,
    now: Timestamp,
) -> Vec<Outlook> {
    let Some(has) = dependency.version.as_deref() else {
        let because = "no version of it is locked or named".to_owned();
        return vec![Outlook::Unclear { because }];
    };
    let Some(current) = Version::parse(ecosystem, has) else {
        let because = format!("{has} is no version that can be compared");
        return vec![Outlook::Unclear { because }];
    };
    let mut newer: Vec<(Version, &Release)> = releases
        .iter()
        .filter_map(|release| Some((Version::parse(ecosystem, &release.version)?, release)))
        .filter(|(version, _)| *version > current)
        .filter(|(version, release)| {
            !release.yanked && (!version.is_prerelease() || current.is_prerelease())
        })
        .collect();
    newer.sort_by(|(a, _), (b, _)| b.partial_cmp(a).unwrap_or(Ordering::Equal));
    let (beyond, within): (Vec<_>, Vec<_>) = newer
        .into_iter()
        .partition(|(version, _)| current.level_of(version) == Level::Major);
    let asked = Asked {
        ecosystem,
        dependency,
        policy,
        now,
    };
    let each = [within, beyond]
        .into_iter()
        .filter_map(|newer| first(&asked, &current, &newer));
    let found: Vec<Outlook> = each.collect();
    match found.is_empty() {
        true => vec![Outlook::Current],
        false => found,
    }
}

/// What does not differ between the versions of one dependency.
struct Asked<'a> {
    ecosystem: Ecosystem,
    dependency: &'a Dependency,
    policy: &'a Deps,
    now: Timestamp,
}

/// The newest that is due; else what is to be said of the newest.
fn first(asked: &Asked<'_>, current: &Version, newer: &[(Version, &Release)]) -> Option<Outlook> {
    let due = |outlook: &Outlook| matches!(outlook, Outlook::Due { .. });
    let mut all = newer
        .iter()
        .map(|(version, release)| asked.judge(current, version, release));
    let newest = all.next()?;
    if due(&newest) {
        return Some(newest);
    }
    Some(all.find(due).unwrap_or(newest))
}

impl Asked<'_> {
    fn judge(&self, current: &Version, version: &Version, release: &Release) -> Outlook {
        let to = release.version.clone();
        let level = current.level_of(version);
        if let Some(because) = self.against(version, release, level) {
            return Outlook::LeftAlone { to, because };
        }
        let age = SignedDuration::from_secs_f64(self.policy.release_age_days * 86_400.0);
        match release.at.and_then(|at| at.checked_add(age).ok()) {
            Some(until) if until > self.now => Outlook::Waiting { to, until },
            _ => Outlook::Due { to, level },
        }
    }

    /// Why this version is let be.
    fn against(&self, version: &Version, release: &Release, level: Level) -> Option<String> {
        if let Some(ignore) = self.ignored(version) {
            return Some(ignore.reason.clone());
        }
        if let Some(why) = &release.unfit {
            return Some(why.clone());
        }
        if let Some(why) = &release.deprecated {
            return Some(format!("it is deprecated: {why}"));
        }
        (!self.policy.levels.contains(&level))
            .then(|| format!("the project wants no {} updates", level.name()))
    }

    fn ignored(&self, version: &Version) -> Option<&Ignore> {
        let concerns = |ignore: &&Ignore| {
            let from = ignore.from.as_deref();
            let from = from.and_then(|from| Version::parse(self.ecosystem, from));
            matches(&ignore.package, &self.dependency.name)
                && from.is_none_or(|from| *version >= from)
        };
        self.policy.ignore.iter().find(concerns)
    }
}

/// The configuration was checked: what is no glob is not here.
fn matches(glob: &str, name: &str) -> bool {
    Glob::new(glob).is_ok_and(|glob| glob.compile_matcher().is_match(name))
}

#[cfg(test)]
mod tests;
