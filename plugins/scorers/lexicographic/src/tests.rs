//! Fields of contenders, and who stands above whom.

use changebus_sdk::Scored;
use changebus_sdk::testing::{Arena, Entrant};

use crate::Lexicographic;

fn scored(field: &[Entrant]) -> Vec<Scored> {
    let arena = field.iter().cloned().fold(Arena::new(), Arena::contender);
    arena.score(&Lexicographic).expect("a score")
}

fn totals(field: &[Entrant]) -> Vec<f64> {
    scored(field).iter().map(|s| s.total).collect()
}

/// Fixes the test, in a file of its own unless told otherwise.
fn fixing(id: &str, lines: f64) -> Entrant {
    Entrant::fixing(id)
        .strategy(id)
        .diff(id, &[id])
        .metric("diff.insertions", lines)
        .metric("diff.deletions", 0.0)
}

fn regressing(id: &str, tests: f64) -> Entrant {
    fixing(id, 1.0).metric("tests.regressed", tests)
}

fn half(id: &str, lines: f64) -> Entrant {
    fixing(id, lines)
        .metric("tests.to-fix", 4.0)
        .metric("tests.fixed", 2.0)
}

#[test]
fn a_sound_fix_alone_scores_a_hundred_and_its_marks_are_what_was_counted() {
    let all = scored(&[fixing("A", 7.0)]);
    assert_eq!((all[0].total, &all[0].disqualified), (100.0, &None));
    let marks: Vec<(&str, f64)> = all[0].marks.iter().map(|(n, m)| (n.as_str(), *m)).collect();
    let expected = [
        ("1-regressed", 0.0),
        ("2-unfixed", 0.0),
        ("3-agreement", 0.0),
        ("4-lines", 7.0),
    ];
    assert_eq!(marks, expected);
}

#[test]
fn who_loses_a_test_never_scores_above_who_does_not() {
    let field = [
        regressing("A", 1.0).metric("diff.insertions", 1.0),
        regressing("B", 9.0),
        half("C", 900.0).metric("tests.fixed", 0.0),
        half("D", 1.0),
        fixing("E", 5000.0),
        fixing("F", 1.0).metric("tests.missing", 1.0),
    ];
    let totals = totals(&field);
    let best_of_harm = totals[0].max(totals[1]).max(totals[5]);
    assert!(
        best_of_harm < totals[2] && totals[2] < totals[3] && totals[3] < totals[4],
        "{totals:?}"
    );
    assert!(totals[1] < totals[0], "{totals:?}");
}

#[test]
fn the_same_holds_for_every_field_of_up_to_four() {
    let kinds = [
        regressing("r", 1.0),
        regressing("R", 3.0),
        half("h", 2.0),
        fixing("f", 2.0),
        fixing("F", 80.0),
    ];
    let count = kinds.len();
    for code in 0..count.pow(4) {
        let at = |place: u32| code / count.pow(place) % count;
        let field: Vec<Entrant> = (0..4).map(|place| kinds[at(place)].clone()).collect();
        let totals = totals(&field);
        for (i, a) in totals.iter().enumerate() {
            assert!((0.0..=100.0).contains(a));
            for (j, b) in totals.iter().enumerate() {
                let (harms, harmless) = (at(i as u32) < 2, at(j as u32) >= 2);
                assert!(!(harms && harmless) || a < b, "{code}: {totals:?}");
            }
        }
    }
}

#[test]
fn among_sound_fixes_agreement_counts_before_size() {
    let small = fixing("A", 1.0);
    let agreed =
        |id: &str, strategy: &str| fixing(id, 30.0).strategy(strategy).diff("same", &["f"]);
    let all = scored(&[small.clone(), agreed("B", "one"), agreed("C", "two")]);
    assert_eq!(all[1].total, 100.0);
    assert_eq!(all[1].total, all[2].total);
    assert!(all[0].total < 100.0, "{all:?}");
    let twice_one = totals(&[small, agreed("B", "one"), agreed("C", "one")]);
    assert_eq!(
        twice_one[0], 100.0,
        "a strategy does not agree with itself: {twice_one:?}"
    );
}

#[test]
fn the_same_change_is_more_agreement_than_the_same_files() {
    let field = [
        fixing("A", 9.0).diff("x", &["f"]),
        fixing("B", 9.0).diff("x", &["f"]),
        fixing("C", 1.0).diff("y", &["f"]),
    ];
    let voices: Vec<f64> = scored(&field).iter().map(|s| s.marks[2].1).collect();
    assert_eq!(voices, [3.0, 3.0, 2.0]);
}

#[test]
fn who_fails_is_no_voice_for_who_does_not() {
    let field = [
        fixing("A", 9.0).diff("x", &["f"]),
        half("B", 9.0).diff("x", &["f"]).failing("t::b"),
        fixing("C", 1.0).diff("y", &["g"]),
    ];
    assert_eq!(totals(&field)[2], 100.0);
}

#[test]
fn the_smaller_of_two_equal_fixes_wins_and_equal_ones_share_their_place() {
    let two = totals(&[fixing("A", 12.0), fixing("B", 3.0)]);
    assert_eq!(two, [90.0, 100.0]);
    let same = totals(&[fixing("A", 3.0), fixing("B", 3.0)]);
    assert_eq!(same, [100.0, 100.0]);
}

#[test]
fn a_broken_gate_an_empty_patch_and_a_missing_trial_are_out() {
    let empty = fixing("B", 0.0).metric("diff.files", 0.0);
    let untried = Entrant::new("C").metric("diff.files", 1.0);
    let all = scored(&[
        fixing("A", 1.0)
            .breaks_gate("it leaves the tree")
            .breaks_gate("it is binary"),
        empty,
        untried,
        fixing("D", 40.0),
    ]);
    let why = |at: usize| all[at].disqualified.as_deref();
    assert_eq!(why(0), Some("it leaves the tree; it is binary"));
    assert_eq!(why(1), Some("the patch changes nothing"));
    assert_eq!(why(2), Some("no trial says whether it fixes anything"));
    assert_eq!((why(3), all[3].total), (None, 100.0));
    assert!(all[..3].iter().all(|s| s.total == 0.0), "{all:?}");
}

#[test]
fn what_is_security_related_stays_in_the_race_for_a_human() {
    let touchy = fixing("A", 1.0)
        .security("it touches auth/")
        .breaks_gate("it touches auth/");
    let all = scored(&[touchy]);
    assert_eq!((&all[0].disqualified, all[0].total), (&None, 100.0));
}

#[test]
fn numbers_that_are_none_do_not_reach_the_standings() {
    let odd = fixing("A", f64::INFINITY)
        .metric("tests.regressed", f64::NAN)
        .metric("tests.fixed", f64::NEG_INFINITY);
    let all = scored(&[odd, fixing("B", 1.0)]);
    let finite = |s: &Scored| s.total.is_finite() && s.marks.iter().all(|(_, m)| m.is_finite());
    assert!(all.iter().all(finite), "{all:?}");
}
