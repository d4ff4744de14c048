//! Whole talks with a scripted model.
//!
//! Touches: nothing.
//! Change here: when a model answered in a way that was handled badly; add the answer.

use serde_json::json;

use super::*;
use crate::testing::{Bench, Files, passes, still_fails};
use crate::{FaultKind, Strategy};

#[derive(Default)]
struct Mend;

impl Strategy for Mend {
    fn run(
        &self,
        failure: &impl Failure,
        tree: &impl Tree,
        host: &impl Host,
    ) -> Result<Outcome, String> {
        repair(&Lens { task: "Mend it." }, failure, tree, host)
    }
}

const TEST: &str = "tests/test_sum.py::test_add";
const GOOD: &str = "The sign was turned.\n\nsum.py\n<<<<<<< SEARCH\n    return a - b\n=======\n    return a + b\n>>>>>>> REPLACE\n";
const WRONG: &str = "Maybe this.\n\nsum.py\n<<<<<<< SEARCH\n    return a - b\n=======\n    return a * b\n>>>>>>> REPLACE\n";
const MISSED: &str = "The sign was turned.\n\nsum.py\n<<<<<<< SEARCH\n    return first - second\n=======\n    return a + b\n>>>>>>> REPLACE\n";

fn bench() -> Bench {
    Bench::new()
        .base("sum.py", "def add(a, b):\n    return a + b\n")
        .head("sum.py", "def add(a, b):\n    return a - b\n")
        .both(
            "tests/test_sum.py",
            "from sum import add\n\ndef test_add():\n    assert add(1, 2) == 3\n",
        )
        .protect("tests/**", "it is a test")
        .failing(
            TEST,
            "assert -1 == 3",
            "tests/test_sum.py:4: AssertionError\n",
        )
        .tests(|files: &Files| {
            if files["sum.py"].contains("a + b") {
                passes()
            } else {
                still_fails(&[TEST])
            }
        })
}

fn proposed(bench: &Bench) -> Proposal {
    match bench.run(&Mend).expect("the plugin works") {
        Outcome::Propose(proposal) => proposal,
        Outcome::Decline(why) => panic!("declined: {why}"),
    }
}

fn declined(bench: &Bench) -> String {
    match bench.run(&Mend).expect("the plugin works") {
        Outcome::Decline(why) => why,
        Outcome::Propose(proposal) => panic!("proposed: {proposal:?}"),
    }
}

fn last_question(bench: &Bench) -> String {
    let prompts = bench.prompts();
    let (role, text) = prompts
        .last()
        .and_then(|p| p.messages.last())
        .cloned()
        .expect("a question");
    assert_eq!(role, Role::User);
    text
}

#[test]
fn a_good_answer_is_probed_once_and_handed_in() {
    let bench = bench().answer(GOOD);
    let proposal = proposed(&bench);
    assert_eq!(
        bench.patched(&proposal.patch).expect("it applies")["sum.py"],
        "def add(a, b):\n    return a + b\n"
    );
    assert_eq!(proposal.rationale, "The sign was turned.");
    assert_eq!((bench.prompts().len(), bench.probed().len()), (1, 1));
    assert!(proposal.confidence > 0.8);
}

#[test]
fn rules_and_evidence_are_shared_and_the_lens_is_not() {
    let bench = bench().answer(GOOD).config(
        json!({"model": "m", "effort": "low", "temperature": 0.2, "max_output_tokens": 9000}),
    );
    proposed(&bench);
    let prompt = &bench.prompts()[0];
    assert_eq!(
        prompt
            .system
            .iter()
            .map(|(_, shared)| *shared)
            .collect::<Vec<_>>(),
        [true, true]
    );
    assert_eq!(prompt.system[0].0, RULES);
    assert!(
        prompt.system[1].0.contains("<untrusted-aaaaaaaaaaaa ...>"),
        "{}",
        prompt.system[1].0
    );
    assert_eq!(prompt.messages, [(Role::User, "Mend it.".to_owned())]);
    assert_eq!(prompt.max_output_tokens, 9000);
    let options: Vec<(&str, String)> = prompt
        .options
        .iter()
        .map(|(k, v)| (k.as_str(), v.to_string()))
        .collect();
    assert_eq!(
        options,
        [
            ("model", "\"m\"".into()),
            ("effort", "\"low\"".into()),
            ("temperature", "0.2".into())
        ]
    );
}

#[test]
fn the_format_in_the_rules_is_the_format_that_is_read() {
    let parsed = parse(RULES);
    let paths: Vec<&str> = parsed
        .blocks
        .iter()
        .map(|block| block.path.as_str())
        .collect();
    assert_eq!(paths, ["src/cart.py", "src/limits.py", "src/unused.py"]);
    assert!(
        parsed
            .no_fix
            .is_some_and(|reason| reason.starts_with("the test expects"))
    );
}

#[test]
fn nothing_to_fix_is_an_answer() {
    let bench = bench().answer("NO_FIX: the test is wrong");
    assert_eq!(
        declined(&bench),
        "the model would change nothing: the test is wrong"
    );
    assert_eq!((bench.prompts().len(), bench.probed().len()), (1, 0));
}

#[test]
fn a_miss_is_asked_again_with_the_lines_that_stand_there() {
    let bench = bench().answer(MISSED).answer(GOOD);
    proposed(&bench);
    let question = last_question(&bench);
    assert!(
        question.contains("return first - second") && question.contains("    return a - b"),
        "{question}"
    );
    assert_eq!(
        bench.prompts()[1].messages[1],
        (Role::Assistant, MISSED.to_owned())
    );
}

#[test]
fn blocks_that_applied_are_kept_and_repeated_ones_are_not_applied_twice() {
    let both = "x\n\nsum.py\n<<<<<<< SEARCH\ndef add(a, b):\n=======\ndef add(a, b, c=0):\n>>>>>>> REPLACE\n\nsum.py\n<<<<<<< SEARCH\n    return a ? b\n=======\n    return a + b\n>>>>>>> REPLACE\n";
    let only_the_missed =
        "sum.py\n<<<<<<< SEARCH\n    return a - b\n=======\n    return a + b\n>>>>>>> REPLACE\n";
    let all_again = both.replace('?', "-");
    for second in [only_the_missed, &all_again] {
        let bench = bench().answer(both).answer(second);
        let proposal = proposed(&bench);
        assert_eq!(
            bench.patched(&proposal.patch).expect("it applies")["sum.py"],
            "def add(a, b, c=0):\n    return a + b\n"
        );
        assert_eq!(proposal.rationale, "x");
    }
}

#[test]
fn a_second_miss_is_the_end() {
    let bench = bench().answer(MISSED).answer(MISSED).answer(GOOD);
    assert!(declined(&bench).contains("do not apply: sum.py: the search text stands nowhere"));
    assert_eq!(bench.prompts().len(), 2);
}

#[test]
fn an_answer_without_edits_is_asked_for_them_once() {
    let bench = bench().answer("I would turn the sign.").answer(GOOD);
    proposed(&bench);
    assert!(last_question(&bench).contains("NO_FIX"));
    let silent = self::bench().answer("").answer("Well.");
    assert!(declined(&silent).contains("no edit that changes anything"));
    assert_eq!(
        silent.prompts()[1].messages[1],
        (Role::Assistant, "(nothing)".to_owned())
    );
}

#[test]
fn an_edit_that_changes_nothing_is_no_edit() {
    let same =
        "sum.py\n<<<<<<< SEARCH\n    return a - b\n=======\n    return a - b\n>>>>>>> REPLACE\n";
    assert!(declined(&bench().answer(same).answer(same)).contains("no edit that changes anything"));
}

#[test]
fn edits_of_tests_are_dropped_beside_a_fix_and_asked_about_alone() {
    let test_edit = "tests/test_sum.py\n<<<<<<< SEARCH\n    assert add(1, 2) == 3\n=======\n    assert True\n>>>>>>> REPLACE\n";
    let beside = bench().answer(&format!("{GOOD}\n{test_edit}"));
    let proposal = proposed(&beside);
    assert_eq!(proposal.patch.edits.len(), 1);
    assert!(
        proposal
            .notes
            .contains(&("dropped-edit".into(), "tests/test_sum.py".into()))
    );
    assert_eq!(beside.prompts().len(), 1);
    let alone = bench()
        .answer(test_edit)
        .answer("NO_FIX: only the test could change");
    assert!(declined(&alone).contains("only the test could change"));
    assert!(last_question(&alone).contains("may not be edited (it is a test)"));
    let why = declined(&bench().answer(test_edit).answer(test_edit));
    assert!(
        why.ends_with("`tests/test_sum.py` was dropped: it is a test"),
        "{why}"
    );
}

#[test]
fn an_answer_that_does_not_hold_is_asked_again_with_what_the_tests_said() {
    let bench = bench().answer(WRONG).answer(GOOD);
    let proposal = proposed(&bench);
    assert_eq!(proposal.rationale, "The sign was turned.");
    let question = last_question(&bench);
    assert!(
        question.contains("Still failing: 1") && question.contains("still fails"),
        "{question}"
    );
    assert_eq!(
        bench.probed().len(),
        1,
        "the second answer is for the trial to judge"
    );
    assert!(proposal.confidence < 0.5);
}

#[test]
fn the_same_answer_after_a_failed_probe_is_not_handed_in() {
    let bench = bench().answer(WRONG).answer(WRONG);
    assert!(declined(&bench).contains("has no others"));
    let gives_up = self::bench()
        .answer(WRONG)
        .answer("NO_FIX: I cannot see it");
    assert!(declined(&gives_up).contains("I cannot see it"));
}

#[test]
fn there_are_never_more_than_three_calls() {
    let bench = bench()
        .answer(MISSED)
        .answer(WRONG)
        .answer(MISSED)
        .answer(GOOD);
    assert!(declined(&bench).contains("do not apply"));
    assert_eq!(bench.prompts().len(), 3);
    let bench = self::bench().answer(WRONG).answer(MISSED).answer(GOOD);
    proposed(&bench);
    assert_eq!(bench.prompts().len(), 3);
}

#[test]
fn without_probes_the_answer_is_handed_in_with_less_confidence() {
    let off = bench().answer(WRONG).config(json!({"probe": false}));
    let spent = bench().answer(WRONG).budget("probe.runs", 0);
    for bench in [off, spent] {
        assert_eq!(proposed(&bench).confidence, 0.5);
        assert_eq!((bench.prompts().len(), bench.probed().len()), (1, 0));
    }
}

#[test]
fn whatever_the_model_fails_at_is_a_reasoned_refusal() {
    for (kind, code) in [
        (FaultKind::Denied, "llm.refused"),
        (FaultKind::Invalid, "llm.truncated"),
        (FaultKind::Budget, "llm.budget"),
        (FaultKind::Unavailable, "llm.overloaded"),
    ] {
        let why = declined(&bench().answer_fault(kind, code, "no"));
        assert!(why.contains(code), "{why}");
        let why = declined(&bench().answer(WRONG).answer_fault(kind, code, "no"));
        assert!(why.contains(code) && why.contains("did not hold"), "{why}");
    }
}

#[test]
fn a_configuration_with_an_unknown_key_is_an_error() {
    let refused = bench().config(json!({"efort": "low"})).run(&Mend);
    assert!(refused.is_err_and(|why| why.contains("efort")));
}

#[test]
fn a_whole_file_keeps_the_line_ends_it_had() {
    let bench = bench()
        .head("sum.py", "def add(a, b):\r\n    return a - b\r\n")
        .answer("Again.\n\nsum.py\n<<<<<<< FILE\ndef add(a, b):\n    return a + b\n>>>>>>> FILE\n");
    let proposal = proposed(&bench);
    assert_eq!(
        bench.patched(&proposal.patch).expect("it applies")["sum.py"],
        "def add(a, b):\r\n    return a + b\r\n"
    );
}

#[test]
fn output_tokens_are_never_asked_for_beyond_what_is_left() {
    let bench = bench().answer(GOOD).budget("llm.output-tokens", 500);
    proposed(&bench);
    assert_eq!(bench.prompts()[0].max_output_tokens, 500);
}

#[test]
fn what_the_operator_does_not_grant_is_named_in_the_refusal() {
    let refused = declined(&bench().refuse("llm").answer("never asked for"));
    assert!(refused.contains("grant.llm"), "{refused}");
    let untried = proposed(&bench().refuse("probe").answer(GOOD));
    assert!(untried.confidence < 0.6, "{untried:?}");
    assert!(untried.notes[0].1.contains("grant.probe"), "{untried:?}");
}
