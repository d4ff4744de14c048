//! Dependencies in words.
//!
//! Touches: nothing.
//! Change here: when a line about a dependency should read otherwise.

use crate::event::{Dependency, Ecosystem, Manifest};
use crate::rules::deps::Outlook;

use super::text::line;

const LONGEST: usize = 300;

/// `package.json (npm, 12 dependencies)`
pub fn manifest(manifest: &Manifest) -> String {
    let count = manifest.dependencies.len();
    format!(
        "{} ({}, {count} {})",
        line(&manifest.path, LONGEST),
        client(manifest.ecosystem),
        if count == 1 {
            "dependency"
        } else {
            "dependencies"
        },
    )
}

fn client(ecosystem: Ecosystem) -> &'static str {
    match ecosystem {
        Ecosystem::Pip => "pip",
        Ecosystem::PipTools => "pip-compile",
        Ecosystem::Uv => "uv",
        Ecosystem::Poetry => "poetry",
        Ecosystem::Npm => "npm",
        Ecosystem::Cargo => "cargo",
    }
}

/// One line for each version there is to say something of; none where it is up to date, unless `all` is asked for.
pub fn lines(
    dependency: &Dependency,
    found: &Result<Vec<Outlook>, String>,
    all: bool,
) -> Vec<String> {
    let has = dependency.version.as_deref();
    let name = line(&dependency.name, LONGEST);
    let of = |says: String| format!("{name} {}: {}", has.unwrap_or("-"), line(&says, LONGEST));
    match found {
        Err(trouble) => vec![of(trouble.clone())],
        Ok(outlooks) => outlooks
            .iter()
            .filter(|outlook| all || **outlook != Outlook::Current)
            .map(|outlook| of(says(outlook)))
            .collect(),
    }
}

fn says(outlook: &Outlook) -> String {
    match outlook {
        Outlook::Current => "up to date".to_owned(),
        Outlook::Due { to, level } => format!("{to} is due ({})", level.name()),
        Outlook::Waiting { to, until } => {
            let day = until.strftime("%Y-%m-%d");
            format!("{to} waits until {day}, being too fresh")
        }
        Outlook::LeftAlone { to, because } => format!("{to} is left alone: {because}"),
        Outlook::Unclear { because } => because.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Level;

    #[test]
    fn a_dependency_is_told_in_a_line_for_each_version_there_is() {
        let dependency = Dependency {
            name: "chalk".into(),
            requirement: "^4.1.2".into(),
            version: Some("4.1.2".into()),
            section: "dependencies".into(),
        };
        let due = Outlook::Due {
            to: "5.6.2".into(),
            level: Level::Major,
        };
        let waiting = Outlook::Waiting {
            to: "4.2.0".into(),
            until: "2026-11-29T10:00:00Z".parse().expect("a time"),
        };
        assert_eq!(
            lines(&dependency, &Ok(vec![waiting, due]), false),
            [
                "chalk 4.1.2: 4.2.0 waits until 2026-11-29, being too fresh",
                "chalk 4.1.2: 5.6.2 is due (major)"
            ]
        );
        let current = Ok(vec![Outlook::Current]);
        assert!(lines(&dependency, &current, false).is_empty());
        assert_eq!(
            lines(&dependency, &current, true),
            ["chalk 4.1.2: up to date"]
        );
        let away = Err("npm: the index cannot be reached\u{1b}[2J".to_owned());
        assert!(!lines(&dependency, &away, false)[0].contains('\u{1b}'));
    }
}
