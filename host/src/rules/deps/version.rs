//! Versions, in the order of their ecosystem, and how far one is from another.
//!
//! Touches: nothing.
//! Change here: when an ecosystem orders its versions otherwise. What satisfies a requirement is for its own client.

use std::cmp::Ordering;

use crate::event::{Ecosystem, Level};

/// As Python orders them (PEP 440), or as npm and cargo do (Semantic Versioning).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Version {
    Python(pep440_rs::Version),
    Semantic(semver::Version),
}

impl Version {
    /// None where it is nothing that can be ordered, such as a branch's name.
    pub fn parse(ecosystem: Ecosystem, text: &str) -> Option<Version> {
        match ecosystem {
            Ecosystem::Pip | Ecosystem::PipTools | Ecosystem::Uv | Ecosystem::Poetry => {
                text.parse().ok().map(Version::Python)
            }
            Ecosystem::Npm | Ecosystem::Cargo => {
                let plain = text.trim().trim_start_matches(['v', '=']);
                semver::Version::parse(plain).ok().map(Version::Semantic)
            }
        }
    }

    pub fn is_prerelease(&self) -> bool {
        match self {
            Version::Python(version) => version.any_prerelease(),
            Version::Semantic(version) => !version.pre.is_empty(),
        }
    }

    fn epoch(&self) -> u64 {
        match self {
            Version::Python(version) => version.epoch(),
            Version::Semantic(_) => 0,
        }
    }

    fn numbers(&self) -> Vec<u64> {
        match self {
            Version::Python(version) => version.release().to_vec(),
            Version::Semantic(version) => vec![version.major, version.minor, version.patch],
        }
    }

    /// How far a newer one is away. What begins with 0 promises nothing: there the second number is the major one, and
    /// the third is no mere patch; of 0.0.x every one may break.
    pub fn level_of(&self, newer: &Version) -> Level {
        if self.epoch() != newer.epoch() {
            return Level::Major;
        }
        let (own, others) = (self.numbers(), newer.numbers());
        let at = |numbers: &[u64], n: usize| numbers.get(n).copied().unwrap_or(0);
        let differs = (0..own.len().max(others.len())).find(|n| at(&own, *n) != at(&others, *n));
        let zeros = (0..2).take_while(|n| at(&own, *n) == 0).count();
        match differs.map(|n| n.saturating_sub(zeros)) {
            Some(0) => Level::Major,
            Some(1) => Level::Minor,
            _ if zeros > 0 => Level::Minor,
            _ => Level::Patch,
        }
    }
}

impl PartialOrd for Version {
    /// None between ecosystems.
    fn partial_cmp(&self, other: &Version) -> Option<Ordering> {
        match (self, other) {
            (Version::Python(a), Version::Python(b)) => Some(a.cmp(b)),
            (Version::Semantic(a), Version::Semantic(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v(text: &str) -> Version {
        let ecosystem = if text.split('.').count() == 3 {
            Ecosystem::Npm
        } else {
            Ecosystem::Uv
        };
        Version::parse(ecosystem, text).unwrap_or_else(|| panic!("{text} is a version"))
    }

    #[test]
    fn versions_are_in_the_order_of_their_ecosystem() {
        for ordered in [
            &[
                "0.9",
                "1.0.dev2",
                "1.0a1",
                "1.0rc2",
                "1.0",
                "1.0.post1",
                "1.2",
                "1.10",
                "2024.1",
                "1!0.1",
            ][..],
            &[
                "1.0.0-alpha.2",
                "1.0.0-rc.1",
                "1.0.0",
                "1.0.1",
                "1.2.0",
                "1.10.0",
            ][..],
        ] {
            let ecosystem = match ordered[0] {
                "0.9" => Ecosystem::Pip,
                _ => Ecosystem::Cargo,
            };
            let parsed: Vec<Version> = ordered
                .iter()
                .map(|text| Version::parse(ecosystem, text).expect(text))
                .collect();
            assert!(parsed.is_sorted_by(|a, b| a < b), "{parsed:?}");
        }
        for none in ["main", "", "latest", "^1.2.0"] {
            assert_eq!(Version::parse(Ecosystem::Npm, none), None, "{none}");
        }
        assert_eq!(v("1.2.3").partial_cmp(&v("1.2")), None);
    }

    #[test]
    fn what_begins_with_nought_is_one_step_less_safe() {
        let level = |from: &str, to: &str| v(from).level_of(&v(to));
        assert_eq!(level("1.2.3", "1.2.4"), Level::Patch);
        assert_eq!(level("1.2.3", "1.3.0"), Level::Minor);
        assert_eq!(level("1.2.3", "2.0.0"), Level::Major);
        assert_eq!(level("0.2.3", "0.2.4"), Level::Minor);
        assert_eq!(level("0.2.3", "0.3.0"), Level::Major);
        assert_eq!(level("0.0.3", "0.0.4"), Level::Major);
        assert_eq!(level("0.9.1", "1.0.0"), Level::Major);
        assert_eq!(level("2024.1", "2024.2"), Level::Minor);
        assert_eq!(level("1.0", "1!0.1"), Level::Major);
    }
}
