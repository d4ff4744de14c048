//! Which updates are tried and which are not, as people would expect.
//!
//! Touches: nothing.
//! Change here: when a rule about updates comes or goes.

use super::*;
use crate::config::Ignore;

fn now() -> Timestamp {
    "2026-11-27T00:00:00Z".parse().expect("a time")
}

fn of(version: &str) -> Dependency {
    Dependency {
        name: "left-pad".into(),
        requirement: format!("^{version}"),
        version: Some(version.into()),
        section: "dependencies".into(),
    }
}

fn released(versions: &[&str]) -> Vec<Release> {
    let one = |version: &&str| Release {
        version: (*version).to_owned(),
        at: Some("2026-01-01T00:00:00Z".parse().expect("a time")),
        yanked: false,
        deprecated: None,
        unfit: None,
    };
    versions.iter().map(one).collect()
}

fn due(to: &str, level: Level) -> Outlook {
    Outlook::Due {
        to: to.into(),
        level,
    }
}

fn told(version: &str, releases: &[Release], policy: &Deps) -> Vec<Outlook> {
    outlook(Ecosystem::Npm, &of(version), releases, policy, now())
}

#[test]
fn the_newest_within_the_major_version_and_the_newest_beyond_it_are_told_apart() {
    let releases = released(&["1.2.0", "1.2.1", "1.4.0", "2.0.0", "3.1.0", "4.0.0-rc.1"]);
    assert_eq!(
        told("1.2.0", &releases, &Deps::default()),
        [due("1.4.0", Level::Minor), due("3.1.0", Level::Major)]
    );
    assert_eq!(
        told("3.1.0", &releases, &Deps::default()),
        [Outlook::Current]
    );
}

#[test]
fn what_is_too_fresh_waits_unless_an_older_one_will_do() {
    let mut releases = released(&["1.2.0", "1.3.0"]);
    releases[1].at = Some("2026-11-26T00:00:00Z".parse().expect("a time"));
    let until = "2026-11-29T00:00:00Z".parse().expect("a time");
    let waiting = Outlook::Waiting {
        to: "1.3.0".into(),
        until,
    };
    assert_eq!(told("1.2.0", &releases, &Deps::default()), [waiting]);
    releases.extend(released(&["1.2.5"]));
    assert_eq!(
        told("1.2.0", &releases, &Deps::default()),
        [due("1.2.5", Level::Patch)]
    );
}

#[test]
fn yanked_releases_are_never_chosen_and_deprecated_or_unfit_ones_told() {
    let mut releases = released(&["1.3.0", "1.4.0", "2.0.0"]);
    releases[1].yanked = true;
    releases[2].unfit = Some("it needs Python 3.14".into());
    assert_eq!(
        told("1.2.0", &releases, &Deps::default()),
        [
            due("1.3.0", Level::Minor),
            Outlook::LeftAlone {
                to: "2.0.0".into(),
                because: "it needs Python 3.14".into()
            }
        ]
    );
    releases[0].deprecated = Some("use right-pad".into());
    let because = "it is deprecated: use right-pad".into();
    assert_eq!(
        told("1.2.0", &releases, &Deps::default())[0],
        Outlook::LeftAlone {
            to: "1.3.0".into(),
            because
        }
    );
}

#[test]
fn what_the_project_leaves_alone_is_told_with_its_reason() {
    let policy = Deps {
        levels: vec![Level::Patch, Level::Minor],
        ignore: vec![Ignore {
            package: "left-*".into(),
            from: Some("1.3.0".into()),
            reason: "1.3 pads from the right".into(),
        }],
        ..Deps::default()
    };
    let releases = released(&["1.2.9", "1.3.0", "2.0.0"]);
    assert_eq!(
        told("1.2.0", &releases, &policy)[0],
        due("1.2.9", Level::Patch)
    );
    let alone = |to: &str, because: &str| Outlook::LeftAlone {
        to: to.into(),
        because: because.into(),
    };
    assert_eq!(
        told("1.2.9", &releases, &policy),
        [
            alone("1.3.0", "1.3 pads from the right"),
            alone("2.0.0", "1.3 pads from the right")
        ]
    );
    let mut other = of("1.0.0");
    other.name = "chalk".into();
    assert_eq!(
        outlook(
            Ecosystem::Npm,
            &other,
            &released(&["2.0.0"]),
            &policy,
            now()
        ),
        [alone("2.0.0", "the project wants no major updates")]
    );
}

#[test]
fn what_cannot_be_compared_is_told() {
    let unknown = Dependency {
        version: None,
        ..of("1.0.0")
    };
    let told = outlook(
        Ecosystem::Npm,
        &unknown,
        &released(&["2.0.0"]),
        &Deps::default(),
        now(),
    );
    assert!(matches!(&told[..], [Outlook::Unclear { .. }]), "{told:?}");
    let told = outlook(
        Ecosystem::Npm,
        &of("main"),
        &released(&["2.0.0"]),
        &Deps::default(),
        now(),
    );
    assert!(matches!(&told[..], [Outlook::Unclear { .. }]), "{told:?}");
}
