//! What strategies and verdicts are told of earlier fixes.
//!
//! Touches: files, processes, git, http, sqlite.
//! Change here: when something else that was learned takes part in a tournament.

use std::ops::Range;

use changebus::event::{Event, Fact, FixFate, FixOutcome, RunId};
use changebus::outside::store::Store;
use changebus_tests::shop;
use changebus_tests::world::World;
use scripted_claude::{Reply, Script};
use serde_json::{Value, json};

/// `A` is shown what was learned, `B` is not.
async fn world() -> World {
    let mut world = World::new(Script::from_fn(|_| Reply::text(shop::HONEST))).await;
    world.variants(&[
        ("A", "minimal-fix", "{ probe = false }"),
        ("B", "robust-refactor", "{ probe = false, history = false }"),
    ]);
    shop::open(&world);
    world
}

/// What the model was sent by either variant since the first so many requests.
fn sent(world: &World, since: usize) -> (String, String) {
    let requests = world.model.requests();
    let of = |lens: &str| -> String {
        let of_lens = requests[since..].iter().filter(|request| {
            let task = request.body["messages"][0]["content"].to_string();
            task.contains(lens)
        });
        of_lens
            .map(|request| request.body["system"].to_string())
            .collect()
    };
    (of("smallest change"), of("sturdy repair"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_that_was_seen_before_comes_with_its_fix_and_what_people_said_of_it() {
    let mut world = world().await;
    world.policy("deliver = \"human\"\nreruns = 1");
    shop::break_it(&world);
    let (first, code) = world.fix(&[]);
    assert_eq!(code, 4, "{first:#}");
    let before = world.model.requests().len();
    let (shown, _) = sent(&world, 0);
    assert!(
        !shown.is_empty() && !shown.contains("earlier fixes"),
        "{shown}"
    );
    reject(&world, "discounts are worked out by the till").await;
    world.push("Take it back", &[(shop::SOURCE, Some(shop::GOOD))]);
    world.push(
        "Rework discounts once more",
        &[(
            shop::SOURCE,
            Some(&shop::BAD.replace("price + off", "off + price")),
        )],
    );
    world.fix(&[]);
    let (shown, hidden) = sent(&world, before);
    for part in [
        "an earlier failure and its fix",
        "alike=\\\"100 %\\\"",
        "fix by minimal-fix: what became of it is not known",
        "people did not want it: discounts are worked out by the till",
        "- of a fix by minimal-fix: discounts are worked out by the till",
        "+    return price - off",
    ] {
        assert!(shown.contains(part), "{part}\n----\n{shown}");
    }
    assert!(!hidden.is_empty(), "both were asked");
    assert!(
        !hidden.contains("the till") && !hidden.contains("earlier failure"),
        "{hidden}"
    );
}

/// Somebody does not want the last fix; a daemon takes it in.
async fn reject(world: &World, reason: &str) {
    let mut daemon = world.daemon();
    let rejected = world
        .changebus(&[
            "review", "reject", "last", "--as", "ada", "--reason", reason,
        ])
        .output()
        .expect("it starts");
    assert!(rejected.status.success(), "{rejected:?}");
    let given = |e: &Event| matches!(e.fact, Fact::ReviewGiven { .. });
    world
        .until("the decision is kept", |all| all.iter().any(given))
        .await;
    daemon.stop();
}

/// Runs that were merged on evidence of 0.85 and taken back later, but for every fourth.
async fn tell_of_disappointments(world: &World, runs: Range<usize>) {
    let store = Store::open(&world.database()).expect("a log can be made");
    let plugin = json!({"name": "minimal-fix", "digest": "d"});
    for n in runs {
        let run = RunId(format!("old-{n}"));
        let facts = [
            json!({"type": "change-seen", "change": {"branch": "main", "base": "b", "head": "h", "tree": "t",
                "forced": false, "commits": [], "paths": []}}),
            json!({"type": "triaged", "triage": {"finding": "real", "failing": ["t::a"], "flaky": [], "red_before": [],
                "to_keep": [], "because": "it broke", "class": "assertion", "language": "python"}}),
            json!({"type": "tournament-opened", "opening": {"entries": [{"name": "A", "strategy": plugin, "config": {}}],
                "held_out": [], "scorer": plugin, "escalation": plugin, "history": {}}}),
            json!({"type": "decided", "verdict": {"action": "merge", "winner": "A", "score": 90.0, "confidence": 0.85,
                "reasons": [], "standings": [{"variant": "A", "state": "won", "score": 90.0, "confidence": 0.85,
                "objections": [], "because": "best"}]}}),
        ];
        for fact in facts {
            let fact: Fact = serde_json::from_value(fact).expect("a fact");
            store
                .append("old", Some(&run), fact)
                .await
                .expect("it is kept");
        }
        let fate = match n % 4 {
            0 => FixFate::Survived,
            _ => FixFate::Reverted,
        };
        let outcome = FixOutcome {
            run,
            fate,
            because: "somebody said so".into(),
            by: None,
        };
        store
            .append("old", None, Fact::OutcomeObserved { outcome })
            .await
            .expect("it is kept");
    }
}

fn verdict(story: &Value) -> (f64, String) {
    let confidence = story["confidence"].as_f64().expect("somebody won");
    (confidence, story["verdict"]["reasons"].to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_that_was_followed_by_reverts_comes_to_mean_less() {
    let mut world = world().await;
    world.policy("min_confidence = 0.5\nreruns = 1");
    shop::break_it(&world);
    let (trusting, code) = world.fix(&["--dry-run"]);
    assert_eq!(code, 0, "{trusting:#}");
    let (before, reasons) = verdict(&trusting);
    assert!(!reasons.contains("earlier fixes"), "{reasons}");

    tell_of_disappointments(&world, 0..49).await;
    let (nearly, _) = world.fix(&["--dry-run"]);
    let (confidence, reasons) = verdict(&nearly);
    assert!(
        !reasons.contains("earlier fixes"),
        "49 calibrate nothing: {reasons}"
    );
    assert!(
        confidence < before && confidence > before - 0.1,
        "minimal-fix has a bad record, which costs at most ten hundredths: {confidence} of {before}"
    );

    tell_of_disappointments(&world, 49..50).await;
    let (warned, code) = world.fix(&["--dry-run"]);
    assert_eq!(code, 4, "{warned:#}");
    let (confidence, reasons) = verdict(&warned);
    assert!(
        (0.15..0.4).contains(&confidence),
        "a quarter of them lasted: {confidence}"
    );
    assert!(
        reasons.contains("held against what became of 50 earlier fixes), and 0.50 is asked"),
        "{reasons}"
    );
}
