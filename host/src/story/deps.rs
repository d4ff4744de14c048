//! Dependencies in words.
//!
//! Touches: nothing.
//! Change here: when a line about a dependency should read otherwise.

use crate::event::{Dependencies, DependencySeen, Ecosystem, ManifestSeen, Outlook};

use super::text::line;
use crate::rules::deps::plan::{Fate, Past};

const LONGEST: usize = 300;

/// `package.json (npm, 12 dependencies)`
pub fn manifest(manifest: &ManifestSeen) -> String {
    let count = manifest.dependencies.len();
    format!(
        "{} ({}, {})",
        line(&manifest.path, LONGEST),
        client(manifest.ecosystem),
        dependencies(count),
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

/// `12 dependencies at 1052e8589b: 2 due, 1 too fresh, 3 left alone, 1 cannot be told`
pub fn summary(seen: &Dependencies) -> String {
    let all = || seen.manifests.iter().flat_map(|m| &m.dependencies);
    let outlooks = |wanted: fn(&Outlook) -> bool| {
        let with = |one: &&DependencySeen| one.outlooks.iter().any(wanted);
        all().filter(with).count()
    };
    let troubled = all().filter(|one| one.trouble.is_some()).count();
    let counts = [
        (outlooks(|o| matches!(o, Outlook::Due { .. })), "due"),
        (
            outlooks(|o| matches!(o, Outlook::Waiting { .. })),
            "too fresh",
        ),
        (
            outlooks(|o| matches!(o, Outlook::LeftAlone { .. })),
            "left alone",
        ),
        (troubled, "cannot be told"),
    ];
    let counts: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    let counts = match counts.is_empty() {
        true => "all up to date".to_owned(),
        false => counts.join(", "),
    };
    let (count, tip) = (all().count(), seen.tip.short());
    format!("{} at {tip}: {counts}", dependencies(count))
}

fn dependencies(count: usize) -> String {
    match count {
        1 => "1 dependency".to_owned(),
        count => format!("{count} dependencies"),
    }
}

/// One line for each version there is to say something of; none where it is up to date, unless `all` is asked for. `tried`
/// gives what became of a version that was tried before.
pub fn lines<'p>(
    dependency: &DependencySeen,
    tried: impl Fn(&str) -> Option<&'p Past>,
    all: bool,
) -> Vec<String> {
    let has = dependency.version.as_deref();
    let name = line(&dependency.name, LONGEST);
    let of = |says: String| format!("{name} {}: {}", has.unwrap_or("-"), line(&says, LONGEST));
    if let Some(trouble) = &dependency.trouble {
        return vec![of(trouble.clone())];
    }
    let outlooks = dependency.outlooks.iter();
    let shown = outlooks.filter(|outlook| all || **outlook != Outlook::Current);
    shown
        .map(|outlook| match outlook {
            Outlook::Due { to, level } => {
                let fate = tried(to).map(fate);
                let fate = fate.map_or(String::new(), |fate| format!(": {fate}"));
                of(format!("{to} is due ({}){fate}", level.name()))
            }
            other => of(says(other)),
        })
        .collect()
}

/// What became of an update, and where to read of it.
pub fn fate(past: &Past) -> String {
    let run = &past.run;
    match past.fate {
        Fate::Trying => format!("it is being tried, run {run}"),
        Fate::Waiting => format!("it waits for people, run {run}"),
        Fate::Merged => format!("it was merged, and people took it back, run {run}"),
        Fate::HeldBack => format!("it breaks the tests and is held back, run {run}"),
        Fate::Broken => format!("it breaks the tests and nothing mends it, run {run}"),
        Fate::Closed => format!("people did not want it, run {run}"),
        Fate::Split { .. } => format!("it goes on by itself, after run {run}"),
        Fate::Untold => format!("it could not be told, run {run}; it is tried again a day later"),
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
    use crate::event::Level;

    #[test]
    fn a_dependency_is_told_in_a_line_for_each_version_there_is() {
        let chalk = |outlooks: Vec<Outlook>, trouble: Option<&str>| DependencySeen {
            name: "chalk".into(),
            version: Some("4.1.2".into()),
            outlooks,
            trouble: trouble.map(str::to_owned),
        };
        let never = |_: &str| None;
        let due = Outlook::Due {
            to: "5.6.2".into(),
            level: Level::Major,
        };
        let waiting = Outlook::Waiting {
            to: "4.2.0".into(),
            until: "2026-11-29T10:00:00Z".parse().expect("a time"),
        };
        assert_eq!(
            lines(&chalk(vec![waiting, due], None), never, false),
            [
                "chalk 4.1.2: 4.2.0 waits until 2026-11-29, being too fresh",
                "chalk 4.1.2: 5.6.2 is due (major)"
            ]
        );
        let current = chalk(vec![Outlook::Current], None);
        assert!(lines(&current, never, false).is_empty());
        assert_eq!(lines(&current, never, true), ["chalk 4.1.2: up to date"]);
        let away = chalk(vec![], Some("npm: the index cannot be reached\u{1b}[2J"));
        assert!(!lines(&away, never, false)[0].contains('\u{1b}'));
    }
}
