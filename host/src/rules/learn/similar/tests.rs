//! Which earlier failures are taken for alike, and what is told of them.
//!
//! Touches: nothing.
//! Change here: when a failure was taken for alike that was not, or the other way round; add the pair.

use serde_json::json;

use super::*;
use crate::event::{Channel, Event, Fact, RunId, TestReport, Triage};

/// A run that found these tests broken, with what they said.
fn run(id: &str, class: &str, failures: &[(&str, &str)]) -> Run {
    let change = json!({"change": {"branch": "main", "base": "b", "head": "h", "tree": "t", "forced": false,
        "commits": [], "paths": []}, "type": "change-seen"});
    let mut run = Run::open(&Event {
        seq: 1,
        id: "id".into(),
        at: jiff::Timestamp::UNIX_EPOCH,
        project: "app".into(),
        run: Some(RunId(id.into())),
        version: None,
        epoch: 0,
        origin: None,
        fact: serde_json::from_value::<Fact>(change).expect("a change"),
    })
    .expect("a change opens a run");
    let told: Vec<_> = failures
        .iter()
        .map(|(id, message)| json!({"id": id, "message": message, "detail": "", "file": null, "line": null}))
        .collect();
    let report = json!({"commit": "h", "tree": "t", "source": "junit", "exit": {"code": 1}, "tests": {},
        "failures": told, "output": "", "problem": null, "seconds": 1.0});
    run.heads = vec![serde_json::from_value::<TestReport>(report).expect("a report")];
    let failing: Vec<&str> = failures.iter().map(|(id, _)| *id).collect();
    let prints: BTreeMap<&str, &str> = failures.iter().copied().collect();
    let triage = json!({"finding": "real", "failing": failing, "flaky": [], "red_before": [], "to_keep": [],
        "because": "", "prints": prints, "class": class});
    run.triage = Some(serde_json::from_value::<Triage>(triage).expect("a triage"));
    run
}

/// The same run, won by `minimal-fix`.
fn mended(mut run: Run, fate: Option<FixFate>) -> Earlier {
    let plugin = json!({"name": "minimal-fix", "digest": "d"});
    let opening = json!({"entries": [{"name": "A", "strategy": plugin, "config": {}}], "held_out": [],
        "scorer": plugin, "escalation": plugin, "history": {}});
    run.opening = Some(serde_json::from_value(opening).expect("an opening"));
    let candidate = json!({"rationale": "One was lost.", "self_confidence": 0.8, "tree": "x", "trial_tree": "x",
        "patch": "-a\n+b\n", "diff": {"files": 1, "insertions": 1, "deletions": 1}, "paths": ["a.py"],
        "applied": "exact", "objections": [], "security": [], "seconds": 1.0});
    let candidate = serde_json::from_value(candidate).expect("a candidate");
    run.handed_in
        .insert("A".into(), HandedIn::Candidate(candidate));
    let verdict = json!({"action": "merge", "winner": "A", "score": 90.0, "confidence": 0.8, "reasons": [],
        "standings": []});
    run.verdict = Some(serde_json::from_value(verdict).expect("a verdict"));
    Earlier {
        run,
        fate,
        rejections: vec![],
    }
}

fn rejected(mut earlier: Earlier, reason: &str) -> Earlier {
    let review = Review {
        run: earlier.run.id.clone(),
        ruling: Ruling::Reject,
        reason: reason.into(),
        by: "ada".into(),
        via: Channel::Page,
    };
    earlier.rejections.extend(rejection(&review));
    earlier
}

const TOTAL: &str = "AssertionError: assert 2 == 3, the discount was not applied to the total";
const IMPORT: &str = "ModuleNotFoundError: No module named 'requests_toolbelt'";

fn now() -> Run {
    run(
        "now",
        "assertion",
        &[("t::total", TOTAL), ("t::bill", "assert 4 == 6")],
    )
}

fn names(found: &[PastFix]) -> Vec<&str> {
    found.iter().map(|past| past.run.0.as_str()).collect()
}

#[test]
fn the_same_tests_with_the_same_words_are_the_most_alike() {
    let earlier = [
        mended(run("import", "import", &[("t::net", IMPORT)]), None),
        mended(
            run("half", "assertion", &[("t::total", TOTAL)]),
            Some(FixFate::Reverted),
        ),
        mended(
            run(
                "same",
                "assertion",
                &[("t::total", TOTAL), ("t::bill", "assert 4 == 6")],
            ),
            Some(FixFate::Survived),
        ),
    ];
    let found = similar(&now(), &earlier, &BTreeSet::new());
    assert_eq!(names(&found), ["same", "half"]);
    assert_eq!(found[0].likeness, 1.0);
    assert_eq!(found[0].fate, Some(FixFate::Survived));
    let fix = found[0].fix.as_ref().expect("somebody won");
    assert_eq!(
        (fix.strategy.as_str(), fix.patch.as_str()),
        ("minimal-fix", "-a\n+b\n")
    );
}

#[test]
fn other_tests_that_say_the_same_are_alike_and_the_same_words_of_every_failure_are_not() {
    let discount =
        "AssertionError: assert 7 == 9, the discount was not applied to the basket total";
    let earlier = [
        mended(run("words", "assertion", &[("u::basket", discount)]), None),
        mended(
            run(
                "any",
                "assertion",
                &[("u::a", "AssertionError: assert 1 == 2")],
            ),
            None,
        ),
        mended(
            run(
                "other",
                "assertion",
                &[("u::b", "AssertionError: assert [] == ['x']")],
            ),
            None,
        ),
    ];
    assert_eq!(
        names(&similar(&now(), &earlier, &BTreeSet::new())),
        ["words"]
    );
}

#[test]
fn what_nothing_was_made_of_is_not_told_and_held_out_tests_are_not_named() {
    let same = || {
        run(
            "same",
            "assertion",
            &[("t::total", TOTAL), ("t::bill", "assert 4 == 6")],
        )
    };
    let without = Earlier {
        run: same(),
        fate: None,
        rejections: vec![],
    };
    assert_eq!(similar(&now(), &[without], &BTreeSet::new()), []);
    let held_out = BTreeSet::from(["t::total".to_owned()]);
    let found = similar(&now(), &[mended(same(), None)], &held_out);
    assert_eq!(found[0].failing, ["t::bill"]);
    assert_eq!(found[0].message, "assert 4 == 6");
}

#[test]
fn people_are_heard_whatever_their_words_were_about() {
    let earlier = [
        rejected(
            mended(run("new", "import", &[("t::net", IMPORT)]), None),
            "we do not pin versions",
        ),
        rejected(
            mended(run("silent", "import", &[("t::net", IMPORT)]), None),
            "  ",
        ),
        rejected(
            mended(run("old", "assertion", &[("t::x", "boom")]), None),
            "too wide",
        ),
    ];
    let said = rejections(&earlier);
    let told: Vec<(&str, &str)> = said
        .iter()
        .map(|r| (r.run.0.as_str(), r.reason.as_str()))
        .collect();
    assert_eq!(
        told,
        [("new", "we do not pin versions"), ("old", "too wide")]
    );
    assert_eq!(said[0].strategy.as_deref(), Some("minimal-fix"));
}
