//! Investigations from the first look to the proposal, and those that must be stopped.
//!
//! Touches: nothing.
//! Change here: when the loop learns another action or another reason to stop.

use changebus_sdk::testing::{Bench, passes, still_fails};
use changebus_sdk::{FaultKind, Role};
use serde_json::json;

use super::*;

const TEST: &str = "tests/test_shop.py::test_total";
const GOOD: &str = "The loop kept the last price only; it adds them up now.\n\nPROBE\n\nshop/cart.py\n<<<<<<< SEARCH\n        sum_ = price\n=======\n        sum_ += price\n>>>>>>> REPLACE\n";

fn wrong(replacement: &str) -> String {
    format!(
        "Perhaps so.\nHYPOTHESIS: the start is wrong\nPROBE\n\nshop/cart.py\n<<<<<<< SEARCH\n    sum_ = 0\n=======\n    sum_ = {replacement}\n>>>>>>> REPLACE\n"
    )
}

/// A shop whose total is wrong; the tests are green once the loop adds up.
fn shop() -> Bench {
    let cart = |line: &str| {
        format!(
            "def total(prices):\n    sum_ = 0\n    for price in prices:\n        {line}\n    return sum_\n"
        )
    };
    Bench::new()
        .base("shop/cart.py", &cart("sum_ += price"))
        .head("shop/cart.py", &cart("sum_ = price"))
        .both("tests/test_shop.py", "from shop.cart import total\n")
        .both("shop/labels.py", "EURO = 'EUR'\n")
        .failing(TEST, "assert 2 == 3", "shop/cart.py:4: AssertionError")
        .protect("tests/**", "a test")
        .tests(
            |files| match files["shop/cart.py"].contains("sum_ += price") {
                true => passes(),
                false => still_fails(&[TEST]),
            },
        )
}

fn run(bench: &Bench) -> Outcome {
    bench.run(&Investigator).expect("the plugin works")
}

fn declined(bench: &Bench) -> String {
    match run(bench) {
        Outcome::Decline(why) => why,
        Outcome::Propose(proposal) => panic!("{proposal:?}"),
    }
}

fn note<'a>(proposal: &'a Proposal, key: &str) -> Option<&'a str> {
    let mut notes = proposal.notes.iter();
    notes
        .find(|(k, _)| k == key)
        .map(|(_, value)| value.as_str())
}

/// What the model was told last before its nth answer, from 0.
fn told(bench: &Bench, nth: usize) -> String {
    let prompt = &bench.prompts()[nth];
    let (role, text) = prompt.messages.last().expect("a prompt has messages");
    assert_eq!(*role, Role::User);
    text.clone()
}

#[test]
fn looks_lead_to_a_probe_and_the_probe_that_is_green_is_handed_in() {
    let bench = shop()
        .answer("I look.\nHYPOTHESIS: the loop assigns\nREAD shop/cart.py 1-3")
        .answer("SEARCH total IN **/*.py")
        .answer("LIST shop/*")
        .answer("DIFF shop/cart.py")
        .answer("TEST test_total")
        .answer(&wrong("1"))
        .answer(GOOD);
    let outcome = run(&bench);
    assert!(bench.files_after(&outcome)["shop/cart.py"].contains("sum_ += price"));
    let Outcome::Propose(proposal) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(
        proposal.rationale,
        "The loop kept the last price only; it adds them up now."
    );
    assert_eq!(
        (
            note(&proposal, "probe"),
            note(&proposal, "model-calls"),
            note(&proposal, "failed-probes")
        ),
        (Some("passed"), Some("7"), Some("1"))
    );
    for (nth, shown) in [
        (0, "Turn 1 of 24. 5 probes are left."),
        (
            1,
            "path=\"shop/cart.py\" lines=\"1 to 3 of 5\">\ndef total(prices):\n    sum_ = 0\n    for price in prices:\n</",
        ),
        (
            2,
            "shop/cart.py:1: def total(prices):\ntests/test_shop.py:1: from shop.cart import total\n",
        ),
        (3, "shop/cart.py\nshop/labels.py\n"),
        (4, "-        sum_ += price\n+        sum_ = price\n"),
        (5, "assert 2 == 3\nshop/cart.py:4: AssertionError\n"),
        (6, "Still failing: 1."),
        (6, "Turn 7 of 24. 4 probes are left."),
    ] {
        let told = told(&bench, nth);
        assert!(told.contains(shown), "{nth}: {told}");
    }
}

#[test]
fn the_blocks_that_other_strategies_send_too_come_first_and_never_change() {
    let lens = repair::Lens { task: "Mend it." };
    let other = shop().answer("NO_FIX: no");
    repair::repair(&lens, &other, other.tree(), &other).expect("the plugin works");
    let bench = shop().answer("DIFF").answer("LIST **").answer("NO_FIX: no");
    declined(&bench);
    for prompt in bench.prompts() {
        assert_eq!(prompt.system, other.prompts()[0].system);
        assert!(prompt.messages[0].1.starts_with(prompt::TASK));
    }
}

#[test]
fn a_file_that_is_not_there_is_told_with_those_that_are() {
    let bench = shop()
        .answer("READ src/cart.py")
        .answer("READ shop/cart.py 90-95")
        .answer("READ tests/test_shop.py")
        .answer("SEARCH nowhere")
        .answer("GREP (")
        .answer("TEST nothing")
        .answer("DIFF shop/labels.py")
        .answer("NO_FIX: enough");
    declined(&bench);
    for (nth, shown) in [
        (
            1,
            "Files of that name:\n<untrusted-aaaaaaaaaaaa what=\"paths\">\nshop/cart.py\n",
        ),
        (2, "shop/cart.py has 5 lines; there is none at 90."),
        (3, "may-not-be-edited=\"a test\""),
        (4, "No line matches."),
        (5, "That cannot be searched for"),
        (6, TEST),
        (7, "The push does not change that. It changes:"),
    ] {
        let told = told(&bench, nth);
        assert!(told.contains(shown), "{nth}: {told}");
    }
}

#[test]
fn a_turn_without_an_action_is_asked_for_once() {
    let bench = shop().answer("Let me think.").answer(GOOD);
    assert!(matches!(run(&bench), Outcome::Propose(_)));
    assert!(told(&bench, 1).starts_with(prompt::FORM));
    let twice = shop().answer("Let me think.").answer("Hm.").answer(GOOD);
    assert_eq!(
        declined(&twice),
        "two turns in a row held no action that can be read"
    );
    let apart = shop()
        .answer("Hm.")
        .answer("DIFF")
        .answer("Hm.")
        .answer(GOOD);
    assert!(matches!(run(&apart), Outcome::Propose(_)));
}

#[test]
fn edits_without_a_word_are_probed() {
    let bench = shop().answer(&GOOD.replace("PROBE\n", ""));
    assert!(matches!(run(&bench), Outcome::Propose(_)));
}

#[test]
fn a_look_comes_before_edits_in_the_same_turn_and_that_is_said() {
    let bench = shop().answer(&GOOD.replace("PROBE", "DIFF")).answer(GOOD);
    assert!(matches!(run(&bench), Outcome::Propose(_)));
    assert!(
        told(&bench, 1).starts_with(prompt::ONE),
        "{}",
        told(&bench, 1)
    );
    assert_eq!(bench.probed().len(), 1);
}

#[test]
fn edits_that_do_not_fit_cost_no_probe_and_are_explained() {
    let bench = shop()
        .answer(&GOOD.replace("sum_ = price\n=", "total = price\n="))
        .answer("PROBE")
        .answer("PROBE\n\ntests/test_shop.py\n<<<<<<< DELETE\n>>>>>>> DELETE\n")
        .answer(GOOD);
    assert!(matches!(run(&bench), Outcome::Propose(_)));
    assert_eq!(bench.probed().len(), 1);
    assert!(
        told(&bench, 1).contains("What stands there instead"),
        "{}",
        told(&bench, 1)
    );
    assert!(told(&bench, 2).starts_with(prompt::NO_EDITS));
    assert!(told(&bench, 3).contains("`tests/test_shop.py` may not be edited (a test)"));
}

#[test]
fn doing_the_same_again_is_pointed_out_and_then_ends_it() {
    let bench = shop()
        .answer("DIFF")
        .answer("DIFF")
        .answer(&wrong("1"))
        .answer(&wrong("1"))
        .answer("DIFF");
    assert_eq!(
        declined(&bench),
        "the model goes round in circles, last with DIFF; its last hypothesis: the start is wrong"
    );
    assert!(told(&bench, 2).starts_with(prompt::SEEN));
    assert!(told(&bench, 4).starts_with(prompt::TRIED));
    assert_eq!(bench.probed().len(), 1);
}

#[test]
fn what_was_shortened_may_be_looked_at_again() {
    let bench = shop()
        .config(json!({"transcript_bytes": 10}))
        .answer("DIFF")
        .answer("LIST **")
        .answer("SEARCH total")
        .answer("DIFF")
        .answer(GOOD);
    assert!(matches!(run(&bench), Outcome::Propose(_)));
    let last = &bench.prompts()[4].messages;
    assert!(
        last[2].1.starts_with("[DIFF: ") && last[2].1.ends_with("ask again if you need them]\n"),
        "{}",
        last[2].1
    );
    assert!(last[8].1.contains("+        sum_ = price"), "{}", last[8].1);
}

#[test]
fn it_ends_when_the_turns_are_used_up() {
    let bench = shop()
        .config(json!({"turns": 3}))
        .answer("DIFF")
        .answer("LIST **")
        .answer(&wrong("1"))
        .answer(GOOD);
    assert_eq!(
        declined(&bench),
        "after 3 turns nothing held on the tests; its last hypothesis: the start is wrong"
    );
    assert!(told(&bench, 2).ends_with("This is the last turn: PROBE, PROPOSE or NO_FIX."));
}

#[test]
fn without_probes_only_what_the_model_stands_by_is_handed_in() {
    let propose = GOOD.replace("PROBE", "PROPOSE");
    let bench = shop().budget("probe.runs", 0).answer(GOOD).answer(&propose);
    let Outcome::Propose(proposal) = run(&bench) else {
        panic!("declined");
    };
    assert_eq!(
        (proposal.confidence, note(&proposal, "probe")),
        (0.4, Some("no probes left"))
    );
    assert!(told(&bench, 0).contains("No probe is left"));
    assert!(told(&bench, 1).contains("PROPOSE them if you would have them merged untried"));
    // While there are probes, a proposal is tried first.
    let tried = shop()
        .answer(&wrong("2").replace("PROBE", "PROPOSE"))
        .answer(&propose);
    assert!(matches!(run(&tried), Outcome::Propose(_)));
    assert_eq!(tried.probed().len(), 2);
}

#[test]
fn its_own_limit_of_probes_holds_too() {
    let bench = shop()
        .config(json!({"probes": 1}))
        .answer(&wrong("1"))
        .answer(&wrong("2"))
        .answer("NO_FIX: I do not know");
    assert!(declined(&bench).starts_with("the model would change nothing: I do not know"));
    assert_eq!(bench.probed().len(), 1);
}

#[test]
fn an_answer_that_was_lost_or_cut_is_asked_for_in_other_words() {
    let bench = shop()
        .answer_fault(
            FaultKind::Unavailable,
            "llm.answer-lost",
            "the host stopped",
        )
        .answer_fault(FaultKind::Budget, "llm.truncated", "too long")
        .answer(GOOD);
    assert!(matches!(run(&bench), Outcome::Propose(_)));
    assert!(told(&bench, 1).contains("was lost on its way. Take it again.\nTurn 2 of 24."));
    assert!(told(&bench, 2).contains("was cut off. Be brief.\nTurn 3 of 24."));
    let prompts = bench.prompts();
    assert_ne!(prompts[0], prompts[1]);
}

#[test]
fn a_model_that_cannot_be_asked_ends_it() {
    let bench = shop()
        .answer("DIFF")
        .answer_fault(FaultKind::Budget, "llm.budget", "nothing left");
    assert_eq!(
        declined(&bench),
        "the model gave no answer that can be used: nothing left (llm.budget)"
    );
    let spent = shop().budget("llm.calls", 1).answer("DIFF");
    assert_eq!(declined(&spent), "no model calls are left after 1 turns");
}

#[test]
fn it_stops_when_another_turn_cannot_be_paid() {
    let bench = shop()
        .budget("llm.usd-micros", 25_000)
        .answer("DIFF")
        .answer("LIST **")
        .answer(GOOD);
    assert_eq!(
        declined(&bench),
        "after 2 turns, what is left of the budget does not pay for another one"
    );
    assert_eq!(bench.prompts().len(), 2);
}
