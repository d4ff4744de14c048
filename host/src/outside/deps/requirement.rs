//! Whether a written requirement admits a version, and how it must be written so that it does.
//!
//! Touches: nothing.
//! Change here: when an ecosystem writes requirements in a way that is not read yet. What still admits the version is left
//! as it stands, and of what does not, only the version that is in the way changes: operators, blanks and order stay.

use std::cmp::Ordering;
use std::ops::Range;
use std::str::FromStr;
use std::sync::LazyLock;

use regex::Regex;

/// How a requirement is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// PEP 440.
    Python,
    Poetry,
    Npm,
    Cargo,
}

/// An operator, and the version after it.
static COMPARATOR: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(\^|~=|~>|~|===|==|=|!=|<=|>=|<|>)?\s*([vV]?(?:[0-9]|[*xX](?:[\s,|.]|$))[^\s,|)\]]*)",
    )
    .expect("the pattern is fixed")
});

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Exact,
    /// As many parts as are written stay fixed but for the last.
    Loose,
    /// `1.2.*`
    Wildcard,
    Lower {
        itself: bool,
    },
    Upper {
        itself: bool,
    },
    Not,
}

struct Comparator {
    kind: Kind,
    version: Range<usize>,
}

impl Dialect {
    /// Whether the requirement lets this version in; the error says what cannot be read.
    pub fn admits(self, requirement: &str, version: &str) -> Result<bool, String> {
        let requirement = requirement.trim();
        if requirement.is_empty() || requirement == "*" || self.is_tag(requirement) {
            return Ok(true);
        }
        match self {
            Dialect::Python => pep440_admits(requirement, version),
            Dialect::Poetry => poetry_admits(requirement, version),
            Dialect::Npm => {
                let range =
                    nodejs_semver::Range::parse(requirement).map_err(unread(requirement))?;
                let version = nodejs_semver::Version::parse(version).map_err(unread(version))?;
                Ok(range.satisfies(&version))
            }
            Dialect::Cargo => {
                let range = semver::VersionReq::parse(requirement).map_err(unread(requirement))?;
                let version = semver::Version::parse(version).map_err(unread(version))?;
                Ok(range.matches(&version))
            }
        }
    }

    /// npm's `latest` and the like: whatever the index calls so.
    fn is_tag(self, requirement: &str) -> bool {
        let starts_a_version = |c: char| c.is_ascii_digit() || "v=<>~^*x".contains(c);
        self == Dialect::Npm && !requirement.starts_with(starts_a_version)
    }

    /// In the order of versions; what is no version comes first.
    pub fn compare(self, a: &str, b: &str) -> Ordering {
        match self {
            Dialect::Python | Dialect::Poetry => {
                let read = |text: &str| pep440_rs::Version::from_str(text).ok();
                read(a).cmp(&read(b))
            }
            Dialect::Npm | Dialect::Cargo => {
                let read = |text: &str| semver::Version::parse(text).ok();
                read(a).cmp(&read(b))
            }
        }
    }

    /// The requirement that admits this version with the least change. The error says why there is none.
    pub fn moved(self, requirement: &str, to: &str) -> Result<String, String> {
        if self.admits(requirement, to)? {
            return Ok(requirement.to_owned());
        }
        let rewritten = |full: bool| {
            let mut text = requirement.to_owned();
            for comparator in self.last_alternative(requirement).into_iter().rev() {
                let written = &requirement[comparator.version.clone()];
                if let Some(version) = self.replacement(comparator.kind, written, to, full) {
                    text.replace_range(comparator.version, &version);
                }
            }
            text
        };
        for text in [rewritten(false), rewritten(true)] {
            if self.admits(&text, to)? {
                return Ok(text);
            }
        }
        Err(format!("`{requirement}` cannot be moved to admit {to}"))
    }

    /// The requirement that admits this version alone.
    pub fn pinned(self, version: &str) -> String {
        match self {
            Dialect::Python => format!("=={version}"),
            Dialect::Poetry | Dialect::Npm => version.to_owned(),
            Dialect::Cargo => format!("={version}"),
        }
    }

    /// The one version that the requirement names, if it names but one.
    pub fn only(self, requirement: &str) -> Option<String> {
        let comparators = self.last_alternative(requirement);
        let [one] = comparators.as_slice() else {
            return None;
        };
        let version = requirement[one.version.clone()].trim_start_matches(['v', 'V']);
        let whole = !requirement.contains("||") && one.kind == Kind::Exact;
        let complete = match self {
            Dialect::Npm => nodejs_semver::Version::parse(version).is_ok(),
            Dialect::Cargo => semver::Version::parse(version).is_ok(),
            Dialect::Python | Dialect::Poetry => true,
        };
        (whole && complete).then(|| version.to_owned())
    }

    /// Of `^1 || ^2`, which say what is true of the newest versions.
    fn last_alternative(self, requirement: &str) -> Vec<Comparator> {
        let start = match self {
            Dialect::Poetry | Dialect::Npm => requirement.rfind('|').map_or(0, |at| at + 1),
            Dialect::Python | Dialect::Cargo => 0,
        };
        let part = &requirement[start..];
        let is_span = self == Dialect::Npm && part.contains(" - ");
        let found = COMPARATOR.captures_iter(part).enumerate();
        let comparators = found.filter_map(|(nth, found)| {
            let operator = found.get(1).map_or("", |m| m.as_str());
            let version = found.get(2)?;
            let kind = match (is_span, nth) {
                (true, 0) => Kind::Lower { itself: true },
                (true, _) => Kind::Upper { itself: true },
                (false, _) => self.kind(operator, version.as_str()),
            };
            Some(Comparator {
                kind,
                version: version.start() + start..version.end() + start,
            })
        });
        comparators.collect()
    }

    fn kind(self, operator: &str, version: &str) -> Kind {
        let is_wildcard = version
            .split('.')
            .any(|part| matches!(part, "*" | "x" | "X"));
        match operator {
            "!=" => Kind::Not,
            ">=" => Kind::Lower { itself: true },
            ">" => Kind::Lower { itself: false },
            "<=" => Kind::Upper { itself: true },
            "<" => Kind::Upper { itself: false },
            _ if is_wildcard => Kind::Wildcard,
            "^" | "~" | "~=" | "~>" => Kind::Loose,
            "" if self == Dialect::Cargo => Kind::Loose,
            "" | "=" if self == Dialect::Npm && version.split('.').count() < 3 => Kind::Loose,
            _ => Kind::Exact,
        }
    }

    /// What is written in the place of a version; none where it may stay.
    fn replacement(self, kind: Kind, written: &str, to: &str, full: bool) -> Option<String> {
        let against = self.compare(to, &self.completed(written));
        match kind {
            Kind::Not => None,
            Kind::Exact => Some(to.to_owned()),
            Kind::Loose if full => Some(to.to_owned()),
            Kind::Loose => Some(shortened(to, written)),
            Kind::Wildcard => Some(wildcard(to, written)),
            Kind::Lower { itself } => {
                let is_outside = against.is_lt() || (against.is_eq() && !itself);
                (is_outside && itself).then(|| to.to_owned())
            }
            Kind::Upper { itself: true } => against.is_gt().then(|| to.to_owned()),
            Kind::Upper { itself: false } => (!against.is_lt()).then(|| above(to, written)),
        }
    }

    /// `1.2` as a whole version, to be compared.
    fn completed(self, version: &str) -> String {
        let version = version.trim_start_matches(['v', 'V']);
        match self {
            Dialect::Python | Dialect::Poetry => version.to_owned(),
            Dialect::Npm | Dialect::Cargo => {
                let missing = 3usize.saturating_sub(version.split('.').count());
                format!("{version}{}", ".0".repeat(missing))
            }
        }
    }
}

fn unread<E: std::fmt::Display>(text: &str) -> impl Fn(E) -> String {
    let text = text.to_owned();
    move |why| format!("`{text}` cannot be read: {why}")
}

fn pep440_admits(requirement: &str, version: &str) -> Result<bool, String> {
    let specifiers =
        pep440_rs::VersionSpecifiers::from_str(requirement).map_err(unread(requirement))?;
    let version = pep440_rs::Version::from_str(version).map_err(unread(version))?;
    Ok(specifiers.contains(&version))
}

/// Carets, tildes and alternatives are what Poetry has beyond PEP 440.
fn poetry_admits(requirement: &str, version: &str) -> Result<bool, String> {
    let alternatives = requirement
        .split('|')
        .map(str::trim)
        .filter(|a| !a.is_empty());
    for alternative in alternatives {
        let mut specifiers = Vec::new();
        for found in COMPARATOR.captures_iter(alternative) {
            let operator = found.get(1).map_or("", |m| m.as_str());
            let written = found.get(2).map_or("", |m| m.as_str());
            let written = written.trim_start_matches(['v', 'V']);
            specifiers.extend(in_pep440(operator, written));
        }
        if specifiers.is_empty() && alternative != "*" {
            return Err(format!("`{requirement}` cannot be read"));
        }
        if pep440_admits(&specifiers.join(","), version)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn in_pep440(operator: &str, version: &str) -> Vec<String> {
    let parts = release(version);
    match operator {
        "^" => {
            let last = parts.len().saturating_sub(1);
            let level = parts.iter().position(|part| *part > 0).unwrap_or(last);
            vec![
                format!(">={version}"),
                format!("<{}", bumped(&parts, level)),
            ]
        }
        "~" => {
            let level = usize::from(parts.len() > 1);
            vec![
                format!(">={version}"),
                format!("<{}", bumped(&parts, level)),
            ]
        }
        "" | "=" if version == "*" => vec![],
        "" | "=" => vec![format!("=={version}")],
        _ => vec![format!("{operator}{version}")],
    }
}

/// The numbers a version starts with.
fn release(version: &str) -> Vec<u64> {
    let version = version.trim_start_matches(['v', 'V']);
    let end = version
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(version.len());
    version[..end]
        .split('.')
        .map_while(|part| part.parse().ok())
        .collect()
}

fn bumped(parts: &[u64], level: usize) -> String {
    let kept = parts.iter().take(level).copied();
    let next = parts.get(level).copied().unwrap_or(0) + 1;
    let text: Vec<String> = kept.chain([next]).map(|part| part.to_string()).collect();
    text.join(".")
}

/// As many parts of the new version as were written of the old one.
fn shortened(to: &str, written: &str) -> String {
    let (parts, count) = (release(to), release(written).len());
    let has_more = release(written).len() < parts.len();
    if !has_more {
        return to.to_owned();
    }
    let text: Vec<String> = parts.iter().take(count).map(u64::to_string).collect();
    text.join(".")
}

fn wildcard(to: &str, written: &str) -> String {
    let parts = release(to);
    let mut parts = parts.iter();
    let replaced = written.split('.').map(|part| match part {
        "*" | "x" | "X" => part.to_owned(),
        _ => parts.next().map_or_else(|| "0".to_owned(), u64::to_string),
    });
    replaced.collect::<Vec<_>>().join(".")
}

/// The next bound at the level at which the old one stood: `<2.0` before 2.1.3 becomes `<3.0`, `<1.5` before 1.7.2 `<1.8`.
fn above(to: &str, written: &str) -> String {
    let (old, new) = (release(written), release(to));
    let level = old.iter().rposition(|part| *part > 0).unwrap_or(0);
    let bound = (0..old.len()).map(|at| match at.cmp(&level) {
        Ordering::Less => new.get(at).copied().unwrap_or(0),
        Ordering::Equal => new.get(at).copied().unwrap_or(0) + 1,
        Ordering::Greater => 0,
    });
    let text: Vec<String> = bound.map(|part| part.to_string()).collect();
    text.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_version_that_is_in_the_way_changes() {
        use Dialect::{Cargo, Npm, Poetry, Python};
        let cases = [
            (Python, "==1.2", "1.3", "==1.3"),
            (Python, "==1.2", "1.3.1", "==1.3.1"),
            (Python, "== 1.2.0", "1.3.0", "== 1.3.0"),
            (Python, "===1.2", "1.3", "===1.3"),
            (Python, "==1.2.*", "1.3.4", "==1.3.*"),
            (Python, "~=1.4", "2.1.3", "~=2.1"),
            (Python, "~=1.4.2", "2.1.3", "~=2.1.3"),
            (Python, ">=1,<2", "2.1.3", ">=1,<3"),
            (Python, ">=1, <2.0", "2.1.3", ">=1, <3.0"),
            (Python, ">=1.2,<1.5", "1.7.2", ">=1.2,<1.8"),
            (Python, "<2.0.0,>=1.1,!=1.3", "4.0", "<5.0.0,>=1.1,!=1.3"),
            (Python, ">=1,<=1.5", "1.7.2", ">=1,<=1.7.2"),
            (Python, ">=2.0", "1.9", ">=1.9"),
            (Python, ">=1", "2.0", ">=1"),
            (Python, "", "2.0", ""),
            (Python, "==2.0b1", "2.0", "==2.0"),
            (Poetry, "^1.2.0", "2.0.0", "^2.0.0"),
            (Poetry, "^1.2", "2.1.4", "^2.1"),
            (Poetry, "^1.2", "1.9", "^1.2"),
            (Poetry, "^0.2.3", "0.3.0", "^0.3.0"),
            (Poetry, "~1.2", "1.3.9", "~1.3"),
            (Poetry, "1.2.3", "1.2.4", "1.2.4"),
            (Poetry, "1.2.*", "1.4.0", "1.4.*"),
            (Poetry, ">=1.0,<2.0", "2.5", ">=1.0,<3.0"),
            (Poetry, ">=1.0 <2.0", "2.5", ">=1.0 <3.0"),
            (Poetry, "^1.0 || ^2.0", "3.1.0", "^1.0 || ^3.1"),
            (Poetry, "*", "3", "*"),
            (Npm, "^1.2.0", "2.0.0", "^2.0.0"),
            (Npm, "^1.2.0", "1.9.9", "^1.2.0"),
            (Npm, "~1.2.3", "1.3.0", "~1.3.0"),
            (Npm, "1.2.3", "1.2.4", "1.2.4"),
            (Npm, "=1.2.3", "1.2.4", "=1.2.4"),
            (Npm, "v1.2.3", "1.2.4", "1.2.4"),
            (Npm, "1.x", "2.3.4", "2.x"),
            (Npm, "1.2.x", "2.3.4", "2.3.x"),
            (Npm, "1", "2.3.4", "2"),
            (Npm, ">=1.0.0 <2.0.0", "2.3.4", ">=1.0.0 <3.0.0"),
            (Npm, "1.0.0 - 1.9.9", "2.3.4", "1.0.0 - 2.3.4"),
            (Npm, "^1.0.0 || ^2.0.0", "3.4.5", "^1.0.0 || ^3.4.5"),
            (Npm, "^1.0.0-beta.1", "2.0.0-rc.2", "^2.0.0-rc.2"),
            (Npm, "^1.0", "2.0.0-rc.2", "^2.0.0-rc.2"),
            (Npm, "latest", "2.0.0", "latest"),
            (Npm, "*", "2.0.0", "*"),
            (Cargo, "1.2.3", "2.0.1", "2.0.1"),
            (Cargo, "1", "2.3.4", "2"),
            (Cargo, "0.3", "0.4.7", "0.4"),
            (Cargo, "1.2", "1.9.0", "1.2"),
            (Cargo, "^0.3", "0.4.7", "^0.4"),
            (Cargo, "~1.2", "1.3.0", "~1.3"),
            (Cargo, "=1.2.3", "1.2.4", "=1.2.4"),
            (Cargo, "= 1.2.3", "1.2.4", "= 1.2.4"),
            (Cargo, "1.*", "2.0.0", "2.*"),
            (Cargo, ">=1.0, <2", "2.5.0", ">=1.0, <3"),
            (Cargo, "2.0.0", "1.9.0", "1.9.0"),
        ];
        for (dialect, requirement, to, expected) in cases {
            let moved = dialect.moved(requirement, to);
            assert_eq!(
                moved.as_deref(),
                Ok(expected),
                "{dialect:?} {requirement} to {to}"
            );
        }
    }

    #[test]
    fn what_rules_a_version_out_is_not_moved_past_it() {
        let cases = [
            (Dialect::Python, ">=1,!=1.3", "1.3"),
            (Dialect::Python, ">2", "2"),
            (Dialect::Python, "=>1", "1"),
            (Dialect::Cargo, "1.2", "no version"),
        ];
        for (dialect, requirement, to) in cases {
            assert!(dialect.moved(requirement, to).is_err(), "{requirement}");
        }
    }

    #[test]
    fn one_version_is_told_from_a_range() {
        let cases = [
            (Dialect::Python, "==1.2", Some("1.2")),
            (Dialect::Python, "==1.2.*", None),
            (Dialect::Python, ">=1.2", None),
            (Dialect::Python, "==1.2,!=1.3", None),
            (Dialect::Poetry, "1.2", Some("1.2")),
            (Dialect::Npm, "1.2.3", Some("1.2.3")),
            (Dialect::Npm, "1.2", None),
            (Dialect::Cargo, "=1.2.3", Some("1.2.3")),
            (Dialect::Cargo, "1.2.3", None),
        ];
        for (dialect, requirement, only) in cases {
            assert_eq!(dialect.only(requirement).as_deref(), only, "{requirement}");
        }
    }

    #[test]
    fn versions_are_compared_as_the_ecosystem_does() {
        assert!(Dialect::Python.compare("1.10", "1.9").is_gt());
        assert!(Dialect::Python.compare("1.0rc1", "1.0").is_lt());
        assert!(Dialect::Npm.compare("1.0.0-rc.1", "1.0.0").is_lt());
        assert!(Dialect::Cargo.compare("0.10.0", "0.9.0").is_gt());
    }
}
