//! Stories told from made-up runs, against what a reader should see.
//!
//! Touches: nothing.
//! Change here: when the telling changes on purpose.

use serde_json::{Value, json};

use super::*;
use crate::event::Sighting;

const RUN: &str = "billing-20261122t164009-1f2e3d4c5b";

/// Events of one run, `(second, fact)` each.
fn events(facts: Vec<(f64, Value)>) -> Vec<Event> {
    let start: Timestamp = "2026-11-22T16:40:09Z".parse().unwrap();
    let numbered = facts.into_iter().zip(1..);
    numbered
        .map(|((second, fact), seq)| Event {
            seq,
            id: format!("id-{seq}"),
            at: start + jiff::SignedDuration::from_secs_f64(second),
            project: "billing".to_owned(),
            run: Some(crate::event::RunId(RUN.to_owned())),
            version: None,
            epoch: 0,
            origin: None,
            fact: serde_json::from_value(fact).expect("the test's fact is one"),
        })
        .collect()
}

fn change_seen() -> Value {
    json!({"type": "change-seen", "change": {
        "branch": "main", "base": "0a1b2c3d4e5f60718293", "head": "1f2e3d4c5b6a79880011",
        "tree": "7ree", "forced": false,
        "commits": [
            {"id": "1f2e3d4c5b6a79880011", "author": "Ada <ada@example.org>",
             "message": "Round invoices down\n\nAs asked."},
            {"id": "99887766554433221100", "author": "Bob <bob@example.org>", "message": "Tidy"}],
        "paths": ["src/invoice.py"]}})
}

fn report(role: &str, outcome: &str, seconds: f64) -> Value {
    json!({"type": "tested", "role": role, "suite": "s", "report": {
        "commit": "1f2e3d4c5b6a79880011", "tree": "7ree", "source": "junit", "exit": {"code": 1},
        "tests": {"tests/test_invoice.py::test_rounding": outcome, "tests/test_invoice.py::test_sum": "passed"},
        "failures": [{"id": "tests/test_invoice.py::test_rounding", "message": "assert 10.99 == 11.0",
            "detail": "def test_rounding():\n>   assert total() == 11.0\nE   assert 10.99 == 11.0",
            "file": "tests/test_invoice.py", "line": 12}],
        "output": "1 failed, 1 passed", "problem": null, "seconds": seconds}})
}

fn triaged() -> Value {
    json!({"type": "triaged", "triage": {"finding": "real",
        "failing": ["tests/test_invoice.py::test_rounding"], "flaky": [], "red_before": [],
        "to_keep": ["tests/test_invoice.py::test_sum"],
        "because": "1 test fails at the head every time and passed before"}})
}

fn opened() -> Value {
    let plugin = |name: &str| json!({"name": name, "digest": "d1"});
    let entry = |name: &str, strategy: &str| json!({"name": name, "strategy": plugin(strategy), "config": {}});
    json!({"type": "tournament-opened", "opening": {
        "entries": [entry("A", "minimal-fix"), entry("B", "robust-refactor"), entry("C", "revert-culprit")],
        "held_out": [], "scorer": plugin("weighted"), "escalation": plugin("default"), "history": {}}})
}

fn asked(variant: &str, call: u32) -> Value {
    json!({"type": "model-asked", "variant": variant, "call": call, "request": {"model": null,
        "max_output_tokens": 100, "system": [], "messages": [], "effort": null, "temperature": null}})
}

fn answered(variant: &str, call: u32, cost: f64) -> Value {
    json!({"type": "model-answered", "variant": variant, "call": call, "answer": {"Ok": {
        "text": "..", "model": "m", "stop_reason": "end", "request_id": null,
        "usage": {"input_tokens": 1000, "output_tokens": 200, "cost_usd": cost}}}})
}

const PATCH: &str =
    "--- a/src/invoice.py\n+++ b/src/invoice.py\n@@ -1 +1 @@\n-floor(x)\n+round(x)\n";

fn proposed(variant: &str, tree: &str, insertions: u32, rationale: &str) -> Value {
    json!({"type": "proposed", "variant": variant, "candidate": {"rationale": rationale,
        "self_confidence": 0.9, "tree": tree, "trial_tree": tree, "patch": PATCH,
        "diff": {"files": 1, "insertions": insertions, "deletions": 1}, "paths": ["src/invoice.py"],
        "applied": "exact", "objections": [], "security": [], "seconds": 3.5}})
}

fn refused(variant: &str, kind: &str, why: &str) -> Value {
    json!({"type": "refused", "variant": variant, "refusal": {"kind": kind, "why": why, "seconds": 0.5}})
}

fn tried(tree: &str, passed: u32, broken: &[&str], seconds: f64) -> Value {
    json!({"type": "tried", "trial": {"tree": tree, "round": 1, "source": "junit", "exit": {"code": 0},
        "passed": passed, "failed": broken.len(), "total": 2,
        "fixed": ["tests/test_invoice.py::test_rounding"], "unfixed": [], "broken": broken,
        "missing": [], "behaviour": "b", "failures": [], "output": "", "problem": null,
        "seconds": seconds}})
}

fn scored() -> Value {
    json!({"type": "scored", "scoring": {"failure": null, "scores": {
        "A": {"total": 96.25, "marks": {"apply": 15.0, "diff": 21.25, "tests": 60.0}, "disqualified": null},
        "B": {"total": 61.5, "marks": {"apply": 15.0, "diff": 16.5, "risk": 1.0, "tests": 30.0},
              "disqualified": null}}}})
}

fn decided(action: &str) -> Value {
    json!({"type": "decided", "verdict": {"action": action, "winner": "A", "score": 96.25,
        "confidence": 0.83, "reasons": ["every gate holds", "the trial repeats."], "standings": [
        {"variant": "A", "state": "won", "score": 96.25, "confidence": 0.83, "objections": [],
         "because": "fixes the test and loses none"},
        {"variant": "B", "state": "lost", "score": 61.5, "confidence": 0.4,
         "objections": [{"gate": "keeps-the-rest", "because": "1 test that passed fails: test_sum"}],
         "because": "breaks a gate"},
        {"variant": "C", "state": "refused", "score": null, "confidence": null, "objections": [],
         "because": "no hunk can be reverted alone"}]}})
}

/// A wins, B loses a test, C hands in nothing.
fn contest() -> Vec<(f64, Value)> {
    vec![
        (0.0, change_seen()),
        (2.0, report("head", "failed", 1.5)),
        (4.0, report("head-again", "failed", 1.5)),
        (6.0, report("base", "passed", 1.5)),
        (6.25, triaged()),
        (6.5, opened()),
        (7.0, asked("A", 0)),
        (7.0, asked("B", 0)),
        (9.5, answered("A", 0, 0.01)),
        (10.0, answered("B", 0, 0.02)),
        (10.0, asked("B", 1)),
        (
            10.0,
            proposed(
                "A",
                "aaaa",
                1,
                "Rounding **down** was wrong.\n`round` is what the test wants.",
            ),
        ),
        (
            11.0,
            refused("C", "no-fix", "no hunk can be reverted alone"),
        ),
        (12.5, proposed("B", "bbbb", 14, "A rounding helper")),
        (15.0, tried("aaaa", 2, &[], 2.0)),
        (
            17.0,
            tried("bbbb", 1, &["tests/test_invoice.py::test_sum"], 2.0),
        ),
        (17.5, scored()),
        (18.0, decided("merge")),
    ]
}

fn merged_run() -> Vec<Event> {
    let mut facts = contest();
    let commit = "c0ffee00112233445566";
    facts.push((
        20.0,
        json!({"type": "merge-prepared", "merge": {"branch": "main", "onto": "1f2e3d4c5b6a79880011",
            "commit": commit, "tree": "aaaa", "tested": "the merge result is the tree of the trial"}}),
    ));
    facts.push((
        20.5,
        json!({"type": "delivered", "delivery": {"how": "merged", "branch": "main", "commit": commit}}),
    ));
    facts.push((20.75, json!({"type": "run-closed", "status": "fixed"})));
    events(facts)
}

fn human_run() -> Vec<Event> {
    let mut facts = contest();
    facts.pop();
    facts.push((18.0, decided("human")));
    facts.push((
        19.0,
        json!({"type": "delivered", "delivery": {"how": "escalated", "branch": "changebus/fix",
            "commit": "c0ffee00112233445566", "report": "/var/lib/changebus/reports/x.md",
            "because": "the change touches a workflow"}}),
    ));
    facts.push((19.0, json!({"type": "run-closed", "status": "human"})));
    events(facts)
}

#[test]
fn the_json_of_a_merged_run_is_the_documented_object() {
    let story = Story::of(&merged_run()).unwrap();
    let json = serde_json::to_string_pretty(&story).unwrap();
    let expected = r#"{
  "run": "billing-20261122t164009-1f2e3d4c5b",
  "project": "billing",
  "change": {
    "base": "0a1b2c3d4e5f60718293",
    "head": "1f2e3d4c5b6a79880011"
  },
  "status": "fixed",
  "failing": [
    "tests/test_invoice.py::test_rounding"
  ],
  "winner": "A",
  "score": 96.25,
  "confidence": 0.83,
  "verdict": {
    "action": "merge",
    "reasons": [
      "every gate holds",
      "the trial repeats."
    ]
  },
  "variants": [
    {
      "name": "A",
      "strategy": "minimal-fix",
      "state": "won",
      "score": 96.25,
      "marks": {
        "tests": 60.0,
        "diff": 21.25,
        "apply": 15.0
      },
      "gates": [],
      "tests": {
        "passed": 2,
        "failed": 0,
        "missing": 0,
        "total": 2
      },
      "diff": {
        "files": 1,
        "insertions": 1,
        "deletions": 1
      },
      "patch": "--- a/src/invoice.py\n+++ b/src/invoice.py\n@@ -1 +1 @@\n-floor(x)\n+round(x)\n",
      "rationale": "Rounding **down** was wrong.\n`round` is what the test wants.",
      "usage": {
        "input_tokens": 1000,
        "output_tokens": 200,
        "cost_usd": 0.01
      },
      "denials": [],
      "seconds": 5.5
    },
    {
      "name": "B",
      "strategy": "robust-refactor",
      "state": "lost",
      "score": 61.5,
      "marks": {
        "tests": 30.0,
        "diff": 16.5,
        "apply": 15.0,
        "risk": 1.0
      },
      "gates": [
        "keeps-the-rest: 1 test that passed fails: test_sum"
      ],
      "tests": {
        "passed": 1,
        "failed": 1,
        "missing": 0,
        "total": 2
      },
      "diff": {
        "files": 1,
        "insertions": 14,
        "deletions": 1
      },
      "patch": "--- a/src/invoice.py\n+++ b/src/invoice.py\n@@ -1 +1 @@\n-floor(x)\n+round(x)\n",
      "rationale": "A rounding helper",
      "usage": {
        "input_tokens": 1000,
        "output_tokens": 200,
        "cost_usd": 0.02
      },
      "denials": [],
      "seconds": 5.5
    },
    {
      "name": "C",
      "strategy": "revert-culprit",
      "state": "refused",
      "score": 0.0,
      "marks": {
        "tests": 0.0,
        "diff": 0.0,
        "apply": 0.0
      },
      "gates": [],
      "tests": {
        "passed": 0,
        "failed": 0,
        "missing": 0,
        "total": 0
      },
      "diff": {
        "files": 0,
        "insertions": 0,
        "deletions": 0
      },
      "patch": "",
      "rationale": "no hunk can be reverted alone",
      "usage": {
        "input_tokens": 0,
        "output_tokens": 0,
        "cost_usd": 0.0
      },
      "denials": [],
      "seconds": 0.5
    }
  ],
  "seconds": {
    "test": 1.5,
    "triage": 4.25,
    "generate": 6.0,
    "validate": 4.0,
    "total": 20.75
  }
}"#;
    assert_eq!(json, expected);
    assert_eq!(serde_json::from_str::<Story>(&json).unwrap(), story);
}

#[test]
fn a_green_run_has_the_same_shape_without_a_tournament() {
    let green = json!({"type": "triaged", "triage": {"finding": "green", "failing": [], "flaky": [],
        "red_before": [], "to_keep": [], "because": "every test passes"}});
    let story = Story::of(&events(vec![
        (0.0, change_seen()),
        (2.0, report("head", "passed", 1.5)),
        (2.0, green),
        (2.0, json!({"type": "run-closed", "status": "green"})),
    ]));
    let json = serde_json::to_value(story.unwrap()).unwrap();
    assert_eq!(json["status"], "green");
    assert_eq!(json["winner"], Value::Null);
    assert_eq!(json["score"], 0.0);
    assert_eq!(
        json["verdict"],
        json!({"action": "nothing", "reasons": ["every test passes"]})
    );
    assert_eq!(json["variants"], json!([]));
}

#[test]
fn a_run_that_stopped_in_the_middle_tells_how_far_it_came() {
    let facts = contest();
    let stages: Vec<String> = [1, 2, 5, 6, 12, 14, 15, 17, 18]
        .into_iter()
        .map(|length| {
            let events = events(facts[..length].to_vec());
            Tale::of(&events).unwrap().stage()
        })
        .collect();
    assert_eq!(
        stages,
        [
            "testing the head",
            "triage",
            "triaged",
            "generating: 0 of 3 handed in",
            "generating: 1 of 3 handed in",
            "trials: 0 of 2 done",
            "trials: 1 of 2 done",
            "deciding",
            "delivering",
        ]
    );
    let events = events(facts[..15].to_vec());
    let story = Story::of(&events).unwrap();
    assert_eq!(story.status, None);
    let states: Vec<VariantState> = story.variants.iter().map(|v| v.state).collect();
    assert_eq!(
        states,
        [
            VariantState::Stopped,
            VariantState::Stopped,
            VariantState::Refused
        ]
    );
}

#[test]
fn events_without_a_change_tell_no_story() {
    assert_eq!(Story::of(&[]), None);
    let strays = events(vec![(
        0.0,
        json!({"type": "run-closed", "status": "green"}),
    )]);
    assert_eq!(Story::of(&strays), None);
    assert_eq!(screen(&strays, Look::plain()), None);
    assert_eq!(super::report(&strays), None);
}

#[test]
fn a_clock_that_was_set_back_makes_no_stage_negative() {
    let story = Story::of(&events(vec![
        (0.0, change_seen()),
        (-5.0, report("head", "failed", 1.5)),
        (-9.0, triaged()),
        (-20.0, json!({"type": "run-closed", "status": "error"})),
    ]));
    let seconds = story.unwrap().seconds;
    assert_eq!((seconds.triage, seconds.total), (0.0, 0.0));
}

#[test]
fn the_screen_of_a_merged_run() {
    let shown = screen(&merged_run(), Look::plain()).unwrap();
    let expected = "\
billing-20261122t164009-1f2e3d4c5b
status     fixed
change     1f2e3d4c5b on main of billing, from 0a1b2c3d4e (2 commits)
by         Ada <ada@example.org> and 1 other: Round invoices down

broke      1 test
  tests/test_invoice.py::test_rounding  assert 10.99 == 11.0
triage     real: 1 test fails at the head every time and passed before

variant            state    score  tests/diff/apply  tests       diff     cost   time
A minimal-fix      won      96.25       60/21.25/15    2/2   1f +1 -1  $0.0100  5.5 s
    fixes the test and loses none
B robust-refactor  lost      61.5        30/16.5/15    1/2  1f +14 -1  $0.0200  5.5 s
    breaks a gate; 1 test that passed fails: test_sum
C revert-culprit   refused      -                 -      -          -       $0  0.5 s
    no hunk can be reverted alone

verdict    Merge A (score 96.25, confidence 0.83): every gate holds; the trial repeats.
delivery   merged into main as c0ffee0011
cost       $0.0300 for 3 model calls, 1 without an answer: 2000 tokens in, 400 out
time       21 s (test 1.5 s, triage 4.2 s, generate 6.0 s, validate 4.0 s)

patches: changebus show billing-20261122t164009-1f2e3d4c5b --json
replay:  changebus replay billing-20261122t164009-1f2e3d4c5b
";
    assert_eq!(shown, expected);
}

#[test]
fn the_report_for_a_human() {
    let told = super::report(&human_run()).unwrap();
    let expected = r"# billing: 1 test broken at 1f2e3d4c5b

**A human decides, with A in front (score 96.25, confidence 0.83): every gate holds; the trial repeats.**

Delivery: waits for a human: the change touches a workflow (branch changebus/fix).

Run `billing-20261122t164009-1f2e3d4c5b` on branch `main`, from `0a1b2c3d4e5f60718293` to `1f2e3d4c5b6a79880011`.
Time: 19 s (test 1.5 s, triage 4.2 s, generate 6.0 s, validate 4.0 s). Cost: \$0.0300 for 3 model calls, 1 without an answer: 2000 tokens in, 400 out.

## What failed

- `tests/test_invoice.py::test_rounding`: `assert 10.99 == 11.0`

<details><summary>Details of failing test 1</summary>

`tests/test_invoice.py::test_rounding`

```text
def test_rounding():
>   assert total() == 11.0
E   assert 10.99 == 11.0
```

</details>

## Cause

Triage: real. 1 test fails at the head every time and passed before

What A says about it:

```text
Rounding **down** was wrong.
`round` is what the test wants.
```

Commits of the change, newest first:

- `1f2e3d4c5b` `Round invoices down` by `Ada <ada@example.org>`
- `9988776655` `Tidy` by `Bob <bob@example.org>`

## What was tried

| variant | strategy | state | score | marks | tests | diff | cost | time |
|---|---|---|---|---|---|---|---|---|
| `A` | `minimal-fix` | won | 96.25 | tests 60, diff 21.25, apply 15 | 2 of 2 | 1 file +1 -1 | \$0.0100 | 5.5 s |
| `B` | `robust-refactor` | lost | 61.5 | tests 30, diff 16.5, apply 15, risk 1 | 1 of 2 | 1 file +14 -1 | \$0.0200 | 5.5 s |
| `C` | `revert-culprit` | refused | - | - | - | - | \$0 | 0.5 s |

- `A`: fixes the test and loses none
- `B`: breaks a gate
  - gate keeps-the-rest: 1 test that passed fails: test\_sum
- `C`: no hunk can be reverted alone

## The fix

Tests: 1 of 1 fixed; 2 passed, 0 failed, 0 missing, of 2; 1 run of the suite.

1 file +1 -1:

```diff
--- a/src/invoice.py
+++ b/src/invoice.py
@@ -1 +1 @@
-floor(x)
+round(x)
```

## What you can do

- Look at it: `git diff 1f2e3d4c5b...origin/changebus/fix` after a fetch.
- Accept the fix: `changebus review approve billing-20261122t164009-1f2e3d4c5b`; refuse it: `changebus review reject billing-20261122t164009-1f2e3d4c5b --reason TEXT`.
- By hand: `git merge origin/changebus/fix` on `main`, then push. Without it: `git push origin --delete changebus/fix`.
- Go through it again: `changebus replay billing-20261122t164009-1f2e3d4c5b`; every figure: `changebus show billing-20261122t164009-1f2e3d4c5b` with `--json`.
";
    assert_eq!(told, expected);
}

#[test]
fn a_merge_can_be_undone_with_the_command_the_report_names() {
    let told = super::report(&merged_run()).unwrap();
    assert!(
        told.contains("Undo it: `git revert c0ffee00112233445566` on `main`"),
        "{told}"
    );
    // Before the push the prepared commit is known already.
    let mut facts = merged_run();
    facts.truncate(facts.len() - 2);
    let told = super::report(&facts).unwrap();
    assert!(told.contains("`git revert c0ffee00112233445566`"), "{told}");
}

#[test]
fn the_screen_says_what_a_human_has_to_decide_and_where_the_report_is() {
    let shown = screen(&human_run(), Look::plain()).unwrap();
    for line in [
        "status     human",
        "delivery   waits for a human: the change touches a workflow (branch changebus/fix)",
        "decide:  changebus review approve billing-20261122t164009-1f2e3d4c5b",
        "report:  /var/lib/changebus/reports/x.md",
    ] {
        assert!(
            shown.lines().any(|l| l == line),
            "{line}\nis not in\n{shown}"
        );
    }
}

const HOSTILE: &str = "\x1b[31mred\x1b[0m \x1b]0;title\x07 ```` | <img src=x> @team [x](http://e.vil) \
    \u{202e}desrever\u{200b} \u{9b}2J ## head\r\ntwo\n```\n# three\u{0}";

/// A run in which everybody who can write something writes `HOSTILE`, a lot of it.
fn hostile_run() -> Vec<Event> {
    let much = HOSTILE.repeat(300);
    let mut change = change_seen();
    change["change"]["branch"] = HOSTILE.into();
    let commit = json!({"id": "1f2e3d4c5b6a", "author": much, "message": much});
    change["change"]["commits"] = vec![commit; 50].into();
    let ids: Vec<String> = (0..500).map(|n| format!("{n} {HOSTILE}")).collect();
    let mut head = report("head", "failed", 1.0);
    head["report"]["tests"] = ids
        .iter()
        .map(|id| (id.clone(), Value::from("failed")))
        .collect();
    let failure = |id: &String| json!({"id": id, "message": much, "detail": much, "file": null, "line": null});
    head["report"]["failures"] = ids.iter().take(50).map(failure).collect();
    let mut triage = triaged();
    triage["triage"]["failing"] = ids.clone().into();
    triage["triage"]["because"] = much.clone().into();
    let mut opening = opened();
    let names: Vec<String> = (0..30).map(|n| format!("{n}{HOSTILE}")).collect();
    let entry = |name: &String| json!({"name": name, "strategy": {"name": much, "digest": ""}, "config": {}});
    opening["opening"]["entries"] = names.iter().map(entry).collect();
    let mut facts = vec![(0.0, change), (1.0, head), (2.0, triage), (3.0, opening)];
    for name in &names {
        let mut candidate = proposed(name, "tree", 100_000, &much);
        candidate["candidate"]["patch"] = format!("{PATCH}+{much}").repeat(20).into();
        candidate["candidate"]["security"] = vec![much.clone(); 30].into();
        candidate["candidate"]["notes"] = json!(vec![(&much, &much); 30]);
        facts.push((4.0, candidate));
    }
    let broken: Vec<&str> = ids.iter().map(String::as_str).collect();
    facts.push((5.0, tried("tree", 100_000, &broken, 1e9)));
    let standing = |name: &String| {
        json!({"variant": name, "state": "lost", "score": 1.0 / 3.0, "confidence": 1.0 / 3.0,
        "objections": vec![json!({"gate": "repeats", "because": much}); 7], "because": much})
    };
    let mut verdict = decided("human");
    verdict["verdict"]["winner"] = names[3].clone().into();
    verdict["verdict"]["reasons"] = vec![much.clone(); 9].into();
    verdict["verdict"]["standings"] = names.iter().map(standing).collect();
    facts.push((6.0, verdict));
    facts.push((
        6.5,
        json!({"type": "stage-failed", "stage": much, "why": much}),
    ));
    facts.push((
        7.0,
        json!({"type": "delivered", "delivery": {"how": "escalated", "branch": much,
        "commit": null, "report": much, "because": much}}),
    ));
    facts.push((8.0, json!({"type": "run-closed", "status": "human"})));
    events(facts)
}

fn is_unseen(c: char) -> bool {
    c != '\n' && (c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c))
}

#[test]
fn a_screen_stays_a_screen_whatever_strangers_write() {
    let run = hostile_run();
    for width in [60, 80, 100] {
        let look = Look {
            width,
            ..Look::plain()
        };
        let shown = screen(&run, look).unwrap();
        assert!(shown.lines().count() <= 40, "{shown}");
        for line in shown.lines() {
            assert!(
                text::width(line) <= width,
                "{} columns: {line}",
                text::width(line)
            );
        }
        assert!(!shown.contains(is_unseen), "{shown:?}");
    }
}

#[test]
fn a_report_stays_a_report_whatever_strangers_write() {
    let told = super::report(&hostile_run()).unwrap();
    assert!(told.len() < 65_536, "{} bytes", told.len());
    assert!(!told.contains(is_unseen));
    assert!(
        told.contains("-floor(x)"),
        "the diff is worth more than remarks"
    );
    let outside = outside_code(&told);
    for trick in ["<img", "[x](", "@team", "://", "\n# three", "\n## head"] {
        assert!(!outside.contains(trick), "{trick} in\n{outside}");
    }
    let headings = outside.lines().filter(|line| line.starts_with('#'));
    assert_eq!(headings.count(), 6, "{outside}");
}

/// What of a Markdown text is neither in a fence nor in a code span, as CommonMark reads it.
fn outside_code(markdown: &str) -> String {
    let mut prose = String::new();
    let mut open: Option<usize> = None;
    for line in markdown.lines() {
        let marks = line.len() - line.trim_start_matches('`').len();
        match open {
            Some(opened) if marks >= opened && line.trim_matches('`').is_empty() => open = None,
            Some(_) => {}
            None if marks >= 3 && !line[marks..].contains('`') => open = Some(marks),
            None => prose += &format!("{}\n", without_spans(line)),
        }
    }
    assert_eq!(open, None, "a fence is left open");
    prose
}

fn without_spans(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(start) = rest.find('`') {
        let escaped = rest[..start].ends_with('\\');
        let marks = rest[start..].len() - rest[start..].trim_start_matches('`').len();
        out += &rest[..start];
        let after = &rest[start + marks..];
        rest = after;
        if escaped {
            continue;
        }
        // A span ends at the next run of backticks of the same length.
        let mut at = 0;
        let end = loop {
            let Some(next) = after[at..].find('`') else {
                panic!("a code span is left open: {line}");
            };
            let run = &after[at + next..];
            let length = run.len() - run.trim_start_matches('`').len();
            at += next + length;
            if length == marks {
                break at;
            }
        };
        rest = &after[end..];
    }
    out + rest
}

#[test]
fn colours_come_only_where_they_are_asked_for() {
    let plain = screen(&merged_run(), Look::plain()).unwrap();
    let look = Look {
        colours: true,
        ..Look::plain()
    };
    let coloured = screen(&merged_run(), look).unwrap();
    assert!(!plain.contains('\x1b'));
    assert!(coloured.contains("\x1b[32mfixed\x1b[0m"), "{coloured:?}");
    assert_eq!(text::clean(&coloured), plain);
}

#[test]
fn every_event_is_one_line() {
    let told: Vec<String> = merged_run()
        .iter()
        .map(|e| event_line(e, Look::plain()))
        .collect();
    let expected = "
     1  2026-11-22 16:40:09  change.repo.billing.push            1f2e3d4c5b on main, 2 commits by A…
     2  2026-11-22 16:40:11  result.test.billing.failed          head: 1 passed, 1 failed, 0 skippe…
     3  2026-11-22 16:40:13  result.test.billing.failed          head again: 1 passed, 1 failed, 0…
     4  2026-11-22 16:40:15  result.test.billing.failed          base: 2 passed, 0 failed, 0 skippe…
     5  2026-11-22 16:40:15  result.triage.billing.real          1 test fails at the head every tim…
     6  2026-11-22 16:40:15  result.tournament.billing.opened    A minimal-fix, B robust-refactor,…
     7  2026-11-22 16:40:16  agent.fix.billing.asked             A: call 0
     8  2026-11-22 16:40:16  agent.fix.billing.asked             B: call 0
     9  2026-11-22 16:40:18  agent.fix.billing.answered          A: 1000 tokens in, 200 out, $0.0100
    10  2026-11-22 16:40:19  agent.fix.billing.answered          B: 1000 tokens in, 200 out, $0.0200
    11  2026-11-22 16:40:19  agent.fix.billing.asked             B: call 1
    12  2026-11-22 16:40:19  agent.fix.billing.proposed          A: 1 file +1 -1: Rounding **down**…
    13  2026-11-22 16:40:20  agent.fix.billing.refused           C: no fix: no hunk can be reverted…
    14  2026-11-22 16:40:21  agent.fix.billing.proposed          B: 1 file +14 -1: A rounding helper
    15  2026-11-22 16:40:24  result.trial.billing.tried          tree aaaa: 1 of 1 fixed, 0 lost, 2…
    16  2026-11-22 16:40:26  result.trial.billing.tried          tree bbbb: 1 of 1 fixed, 1 lost, 1…
    17  2026-11-22 16:40:26  result.tournament.billing.scored    A 96.25, B 61.5
    18  2026-11-22 16:40:27  result.tournament.billing.decided   merge A (96.25): every gate holds;…
    19  2026-11-22 16:40:29  result.delivery.billing.prepared    c0ffee0011 on top of 1f2e3d4c5b: t…
    20  2026-11-22 16:40:29  result.delivery.billing.merged      merged into main as c0ffee0011
    21  2026-11-22 16:40:29  result.run.billing.closed           fixed";
    assert_eq!(format!("\n{}", told.join("\n")), expected);
    for event in hostile_run() {
        let line = event_line(&event, Look::plain());
        assert!(
            text::width(&line) <= 100 && !line.contains(['\n', '\x1b']),
            "{line}"
        );
    }
}

#[test]
fn a_tool_is_told_with_what_it_changed_or_why_it_gave_nothing() {
    let told = |answer: Value| {
        let fact = json!({"type": "tool-ran", "variant": "F", "probe": 0, "tool": "format",
            "digest": "d", "answer": answer});
        let line = event_line(&events(vec![(0.0, fact)])[0], Look::plain());
        line.split_once("tool-ran")
            .map(|(_, told)| told.trim().to_owned())
    };
    let report = |exit_code: Value, changed: &[&str]| {
        told(
            json!({"Ok": {"exit_code": exit_code, "output": "", "changed": changed, "diff": "",
            "seconds": 1.0}}),
        )
    };
    for (line, expected) in [
        (
            report(json!(0), &["a", "b"]),
            "F: format changed 2 files (exit 0)",
        ),
        (
            report(json!(null), &[]),
            "F: format changed nothing (killed)",
        ),
        (
            told(json!({"Err": {"kind": "timeout", "code": "tool.timeout", "message": "no end"}})),
            "F: format: tool.timeout: no end",
        ),
    ] {
        assert_eq!(line.as_deref(), Some(expected));
    }
}

#[test]
fn status_lines_say_how_a_run_stands_and_what_is_next() {
    let now: Timestamp = "2026-11-22T16:42:00Z".parse().unwrap();
    let line = |events: &[Event]| run_line(events, now, Look::plain()).unwrap();
    let merged = "billing-20261122t164009-1f2e3d4c5b    fixed       90 s ago    merged into main as c0ffee0011";
    assert_eq!(line(&merged_run()), merged);
    let open = "billing-20261122t164009-1f2e3d4c5b    open        for 111 s   generating: 1 of 3 handed in";
    assert_eq!(line(&events(contest()[..12].to_vec())), open);
    let long = run_line(&hostile_run(), now, Look::plain()).unwrap();
    assert!(
        text::width(&long) <= 100 && !long.contains(is_unseen),
        "{long}"
    );
}

#[test]
fn a_project_line_says_first_what_keeps_it_from_being_watched() {
    let tip = Oid("1f2e3d4c5b6a79880011".into());
    let unreachable = Sighting::Unreachable {
        why: "no route\nto host".into(),
    };
    let mut project = ProjectStatus {
        name: "billing",
        branch: "main",
        tip: Some(&tip),
        sighting: None,
        open_runs: 2,
        last: Some(RunStatus::Fixed),
    };
    let line = |project: &ProjectStatus<'_>| project_line(project, Look::plain());
    let two_open = "billing                   2 runs open           main at 1f2e3d4c5b";
    assert_eq!(line(&project), two_open);
    project.open_runs = 0;
    let last_fixed = "billing                   last run fixed        main at 1f2e3d4c5b";
    assert_eq!(line(&project), last_fixed);
    project.sighting = Some(&unreachable);
    assert!(
        line(&project).ends_with("unreachable: no route to host"),
        "{}",
        line(&project)
    );
}
