//! Runs whose change is an update of dependencies.
//!
//! Touches: nothing.
//! Change here: when an update should be proven by more, or by less.

use super::*;
use crate::event::{Bisection, Ecosystem, Finding, Holding, Move, Step, Update};
use crate::rules::update::{self, ITSELF};

fn step(name: &str) -> Step {
    Step {
        name: name.into(),
        from: "1.0.0".into(),
        to: "2.0.0".into(),
    }
}

/// One commit for each of these names; the last one is the head.
fn moving(names: &[&str]) -> Update {
    let one = |name: &&str| Move {
        steps: vec![step(name)],
        commit: oid(&format!("moves {name}")),
        patch: String::new(),
    };
    Update {
        ecosystem: Ecosystem::Npm,
        manifest: "package.json".into(),
        group: None,
        moves: names.iter().map(one).collect(),
        unexplained: vec![],
        ceiling: Action::Merge,
        at: jiff::Timestamp::UNIX_EPOCH,
    }
}

fn begins(update: Update) -> Tale {
    let mut tale = Tale::begins();
    tale.run.change.commits = update
        .moves
        .iter()
        .rev()
        .map(|one| Commit {
            id: one.commit.clone(),
            author: "ChangeBus <changebus@localhost>".into(),
            message: "Update".into(),
        })
        .collect();
    tale.run.change.update = Some(Box::new(update));
    tale
}

fn kept() -> String {
    (0..60).map(|n| format!(" k{n:02}+")).collect()
}

/// Nothing fails at the head, and this is what passed before.
fn harmless(update: Update, before: &str) -> Tale {
    let mut tale = begins(update);
    tale.tested(Role::Head, &format!("a+{}", kept()));
    assert_eq!(
        tale.next(),
        Next::Test(Role::Base, None),
        "what passed before counts"
    );
    tale.tested(Role::Base, before);
    assert_eq!(tale.next(), Next::Triage);
    let triage = update::keeping_what_passed(tale.found(), &tale.run.bases);
    assert_eq!(triage.finding, Finding::Green);
    tale.then(Fact::Triaged { triage });
    assert_eq!(tale.next(), Next::Open);
    tale.opened(&[]);
    if let Some(opening) = &mut tale.run.opening {
        opening.entries = vec![update::itself()];
    }
    assert_eq!(tale.next(), Next::Generate(vec![ITSELF.to_owned()]));
    tale
}

#[test]
fn an_update_that_breaks_nothing_is_tried_as_often_as_a_fix_and_merged_without_a_score() {
    let mut tale = harmless(moving(&["left"]), &format!("a+{}", kept()));
    tale.proposed(ITSELF, "tree");
    for round in [1, 2] {
        let Next::Validate(legs) = tale.next() else {
            panic!("{:?}", tale.next());
        };
        assert_eq!(legs.len(), 1);
        tale.tried("tree", round, '+');
    }
    assert_eq!(tale.next(), Next::Decide);
    let verdict = tale.verdict();
    assert_eq!((verdict.action, verdict.score), (Action::Merge, None));
    assert_eq!(verdict.winner.as_deref(), Some(ITSELF));
}

#[test]
fn an_update_without_which_there_were_more_tests_is_not_proven() {
    let mut tale = harmless(moving(&["left"]), &format!("a+ b+{}", kept()));
    tale.proposed(ITSELF, "tree").tried("tree", 1, '+');
    assert_eq!(tale.next(), Next::Decide, "nothing more is run");
    let verdict = tale.verdict();
    assert_eq!((verdict.action, verdict.winner), (Action::Human, None));
}

#[test]
fn an_update_that_brings_what_nobody_asked_for_goes_to_a_human() {
    let because = "right-pad changed, though nothing that was updated needs it";
    let mut tale = harmless(moving(&["left"]), &format!("a+{}", kept()));
    tale.then(Fact::Proposed {
        variant: ITSELF.into(),
        candidate: Candidate {
            security: vec![because.into()],
            ..candidate("tree")
        },
    });
    tale.tried("tree", 1, '+').tried("tree", 2, '+');
    let verdict = tale.verdict();
    assert_eq!(verdict.action, Action::Human);
    assert_eq!(verdict.reasons, [because]);
}

#[test]
fn an_update_goes_no_further_than_the_project_lets_such_a_one_go() {
    let update = Update {
        ceiling: Action::PullRequest,
        ..moving(&["left"])
    };
    let mut tale = harmless(update, &format!("a+{}", kept()));
    tale.proposed(ITSELF, "tree");
    tale.tried("tree", 1, '+').tried("tree", 2, '+');
    assert_eq!(tale.verdict().action, Action::PullRequest);
}

#[test]
fn of_several_that_broke_it_together_each_goes_its_own_way_once_the_guilty_is_known() {
    let mut tale = begins(moving(&["left", "right"]));
    tale.red();
    assert_eq!(tale.next(), Next::Bisect);
    let bisection = Bisection {
        suspects: vec![oid("moves left")],
        untestable: vec![],
        among: 2,
        tested: 1,
        all: true,
    };
    let update = tale.run.change.update.clone().expect("it is one");
    assert_eq!(update::guilty(&update, &bisection), [&step("left")]);
    tale.then(Fact::Bisected { bisection });
    assert_eq!(tale.next(), Next::Close(RunStatus::Split));
}

/// One broke it; A and the way back to the good version enter.
fn broken() -> Tale {
    let mut tale = begins(moving(&["left"]));
    tale.red().opened(&["A", "pin-back"]);
    if let Some(opening) = &mut tale.run.opening {
        opening.entries[1].last_resort = true;
        opening.holding = Some(Holding {
            name: "left".into(),
            version: "1.0.0".into(),
            patch: String::new(),
            tree: oid("held"),
        });
    }
    tale.proposed("A", "t1").proposed("pin-back", "held");
    tale
}

fn first_leg(tale: &Tale) -> Oid {
    match tale.next() {
        Next::Validate(legs) => legs[0].tree.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn code_that_fits_stands_before_the_last_resort_whatever_the_scores() {
    let mut tale = broken();
    assert_eq!(first_leg(&tale), oid("t1"), "the last resort waits");
    tale.tried("t1", 1, '+');
    tale.scored(&[("A", 80.0)]).tried("t1", 2, '+');
    assert_ne!(
        first_or_none(&tale),
        Some(oid("held")),
        "it cannot win any more"
    );
    let verdict = tale.verdict();
    assert_eq!(verdict.winner.as_deref(), Some("A"));
}

fn first_or_none(tale: &Tale) -> Option<Oid> {
    match tale.next() {
        Next::Validate(legs) => legs.first().map(|leg| leg.tree.clone()),
        _ => None,
    }
}

#[test]
fn the_last_resort_wins_where_nobody_mends_it_and_is_asked_no_judge() {
    let mut tale = broken();
    tale.tried("t1", 1, '-').scored(&[("A", 10.0)]);
    assert_eq!(first_leg(&tale), oid("held"));
    tale.tried("held", 1, '+');
    tale.scored(&[("A", 10.0), ("pin-back", 20.0)])
        .tried("held", 2, '+');
    assert_eq!(tale.next(), Next::Decide, "nobody is asked for advice");
    let verdict = tale.verdict();
    assert_eq!(verdict.winner.as_deref(), Some("pin-back"));
    assert_eq!(verdict.action, Action::Merge);
}
