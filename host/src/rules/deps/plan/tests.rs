//! Which update is begun and which is not, as people would expect.
//!
//! Touches: nothing.
//! Change here: when something else should hold an update back.

use super::*;
use crate::config::Group;
use crate::event::{Ecosystem, Move, Oid};

fn now() -> Timestamp {
    "2026-11-27T12:00:00Z".parse().expect("a time")
}

fn due(to: &str, level: Level) -> Outlook {
    let to = to.to_owned();
    Outlook::Due { to, level }
}

/// A manifest whose dependencies all have 1.0.0.
fn seen(dependencies: &[(&str, Vec<Outlook>)]) -> Vec<Seen> {
    let one = |(name, outlooks): &(&str, Vec<Outlook>)| {
        let dependency = Dependency {
            name: (*name).to_owned(),
            requirement: "==1.0.0".into(),
            version: Some("1.0.0".into()),
            section: String::new(),
        };
        (dependency, Ok(outlooks.clone()))
    };
    let outlooks: Vec<_> = dependencies.iter().map(one).collect();
    let manifest = Manifest {
        ecosystem: Ecosystem::Pip,
        path: "requirements.txt".into(),
        lock: None,
        dependencies: outlooks.iter().map(|(d, _)| d.clone()).collect(),
    };
    vec![Seen { manifest, outlooks }]
}

fn past(steps: &[(&str, &str)], fate: Fate, hours_ago: i64) -> Past {
    let step = |(name, to): &(&str, &str)| Step {
        name: (*name).to_owned(),
        from: "1.0.0".into(),
        to: (*to).to_owned(),
    };
    let at = now() - SignedDuration::from_hours(hours_ago);
    let moves = steps.iter().map(|one| Move {
        steps: vec![step(one)],
        commit: Oid(format!("commit of {}", one.0)),
        patch: String::new(),
    });
    Past {
        run: RunId("app-1".into()),
        at,
        update: Update {
            ecosystem: Ecosystem::Pip,
            manifest: "requirements.txt".into(),
            group: (steps.len() > 1).then(|| "web".into()),
            moves: moves.collect(),
            unexplained: vec![],
            ceiling: Action::Merge,
            at,
        },
        fate,
    }
}

/// What is begun, as `group: name to` or `name to`.
fn begun(seen: &[Seen], past: &[Past], policy: &Deps) -> Vec<String> {
    let told = |wanted: &Wanted| {
        let steps = wanted.steps.iter().map(|s| format!("{} {}", s.name, s.to));
        let steps = steps.collect::<Vec<_>>().join(", ");
        match &wanted.group {
            Some(group) => format!("{group}: {steps}"),
            None => steps,
        }
    };
    plan(seen, past, policy, now()).iter().map(told).collect()
}

fn both() -> Vec<Outlook> {
    vec![due("1.4.0", Level::Minor), due("2.0.0", Level::Major)]
}

#[test]
fn the_nearest_version_comes_first_and_what_breaks_nothing_before_what_may() {
    let seen = seen(&[
        ("left", both()),
        ("right", vec![due("2.0.0", Level::Major)]),
        ("pad", vec![due("1.0.1", Level::Patch)]),
    ]);
    assert_eq!(
        begun(&seen, &[], &Deps::default()),
        ["pad 1.0.1", "left 1.4.0", "right 2.0.0"]
    );
}

#[test]
fn what_people_have_before_them_or_did_not_want_is_not_begun_again() {
    let seen = seen(&[("left", vec![due("1.4.0", Level::Minor)])]);
    let after = |fate: Fate| {
        begun(
            &seen,
            &[past(&[("left", "1.4.0")], fate, 50)],
            &Deps::default(),
        )
    };
    for fate in [
        Fate::Waiting,
        Fate::Closed,
        Fate::Broken,
        Fate::HeldBack,
        Fate::Merged,
    ] {
        assert_eq!(after(fate.clone()), [""; 0], "{fate:?}");
    }
    assert_eq!(after(Fate::Untold), ["left 1.4.0"]);
}

#[test]
fn where_the_nearest_is_broken_the_one_beyond_has_its_turn_but_not_beside_it() {
    let seen = seen(&[("left", both())]);
    let after = |fate| {
        begun(
            &seen,
            &[past(&[("left", "1.4.0")], fate, 50)],
            &Deps::default(),
        )
    };
    assert_eq!(after(Fate::Broken), ["left 2.0.0"]);
    assert_eq!(after(Fate::Waiting), [""; 0]);
}

#[test]
fn a_newer_release_of_what_was_broken_is_begun() {
    let seen = seen(&[("left", vec![due("1.5.0", Level::Minor)])]);
    let broken = past(&[("left", "1.4.0")], Fate::Broken, 50);
    assert_eq!(begun(&seen, &[broken], &Deps::default()), ["left 1.5.0"]);
}

#[test]
fn what_moves_together_is_begun_together_until_one_of_them_is_found_guilty() {
    let mut policy = Deps::default();
    let group = Group {
        packages: vec!["l*".into(), "right".into()],
        levels: vec![Level::Patch, Level::Minor],
    };
    policy.groups.insert("web".into(), group);
    let minor = || vec![due("1.4.0", Level::Minor)];
    let seen = seen(&[
        ("left", minor()),
        ("low", minor()),
        ("right", minor()),
        ("pad", minor()),
    ]);
    assert_eq!(
        begun(&seen, &[], &policy),
        ["pad 1.4.0", "web: left 1.4.0, low 1.4.0, right 1.4.0"]
    );
    let steps = [("left", "1.4.0"), ("low", "1.4.0"), ("right", "1.4.0")];
    let guilty = BTreeSet::from(["low".to_owned()]);
    let split = past(&steps, Fate::Split { guilty }, 2);
    assert_eq!(
        begun(&seen, &[split], &policy),
        ["low 1.4.0", "pad 1.4.0", "web: left 1.4.0, right 1.4.0"]
    );
}

#[test]
fn what_cannot_be_made_together_is_made_one_by_one() {
    let mut policy = Deps::default();
    let group = Group {
        packages: vec!["*".into()],
        levels: vec![Level::Minor],
    };
    policy.groups.insert("all".into(), group);
    let minor = || vec![due("1.4.0", Level::Minor)];
    let wanted = plan(
        &seen(&[("left", minor()), ("right", minor())]),
        &[],
        &policy,
        now(),
    );
    let name_of = |wanted: Option<Wanted>| wanted.map(|one| (one.group, one.steps[0].name.clone()));
    let steps_of = |one: &Wanted| (one.manifest.path.clone(), one.steps.clone());
    let mut impossible = BTreeSet::from([steps_of(&wanted[0])]);
    let first = possible(wanted.clone(), &impossible).expect("one by one");
    assert_eq!(name_of(Some(first.clone())), Some((None, "left".into())));
    impossible.insert(steps_of(&first));
    let second = possible(wanted.clone(), &impossible);
    assert_eq!(name_of(second.clone()), Some((None, "right".into())));
    impossible.extend(second.as_ref().map(steps_of));
    assert_eq!(possible(wanted, &impossible), None);
}

#[test]
fn no_more_are_begun_than_people_can_look_at_or_an_hour_has_room_for() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let each: Vec<_> = names
        .iter()
        .map(|name| (*name, vec![due("1.4.0", Level::Minor)]))
        .collect();
    let seen = seen(&each);
    let policy = Deps {
        most_waiting: 2,
        per_hour: 3,
        ..Deps::default()
    };
    let waiting = |name| past(&[(name, "0.9.0")], Fate::Waiting, 50);
    assert_eq!(begun(&seen, &[], &policy).len(), 2);
    assert_eq!(begun(&seen, &[waiting("x")], &policy).len(), 1);
    assert_eq!(
        begun(&seen, &[waiting("x"), waiting("y")], &policy).len(),
        0
    );
    let fresh = |name| past(&[(name, "0.9.0")], Fate::Merged, 0);
    assert_eq!(begun(&seen, &[fresh("x"), fresh("y")], &policy).len(), 1);
}

#[test]
fn what_the_project_does_not_let_merge_becomes_a_pull_request() {
    let seen = seen(&[("left", vec![due("2.0.0", Level::Major)])]);
    let wanted = plan(&seen, &[], &Deps::default(), now());
    assert_eq!(wanted[0].ceiling, Action::PullRequest);
}
