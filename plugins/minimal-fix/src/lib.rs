//! Variant A: asks the model for the smallest change that restores the behaviour.
//!
//! Touches: nothing.
//! Change here: when this variant should look at a failure differently. The rules and the evidence are the SDK's,
//! and the same for all model strategies.

use changebus_sdk::repair::{Lens, Settings, repair};
use changebus_sdk::{Failure, Host, Outcome, Strategy, Tree, export_strategy};

const LENS: Lens = Lens {
    task: "\
Hand in the smallest change that restores the behaviour the failing tests ask for.

Start from the push: something in it is wrong, incomplete, or lacks its counterpart elsewhere. Most of a push is \
usually right, so look for the one spot that is not, and mend that rather than take the push back. Touch as few \
lines as will do; improve nothing on the way. Where two repairs are equally small, take the one that keeps more of \
what the push set out to do.",
};

#[derive(Default)]
pub struct MinimalFix;

export_strategy!(
    MinimalFix,
    asks = [history, llm, probe, workspace],
    config = Settings
);

impl Strategy for MinimalFix {
    fn run(
        &self,
        failure: &impl Failure,
        tree: &impl Tree,
        host: &impl Host,
    ) -> Result<Outcome, String> {
        repair(&LENS, failure, tree, host)
    }
}

#[cfg(test)]
mod tests {
    use changebus_sdk::Outcome;
    use changebus_sdk::testing::{Bench, passes, still_fails};
    use serde_json::json;

    use super::*;

    #[test]
    fn the_faulty_line_of_a_push_is_mended_and_the_rest_of_it_kept() {
        let answer = "The new discount is subtracted twice.\n\n`shop.py`\n```python\n<<<<<<< SEARCH\n    return price - off - off\n=======\n    return price - off\n>>>>>>> REPLACE\n```\n";
        let bench = Bench::new()
            .base("shop.py", "def pay(price):\n    return price\n")
            .head(
                "shop.py",
                "def pay(price, off=0):\n    return price - off - off\n",
            )
            .failing(
                "tests/test_shop.py::test_off",
                "assert 6 == 8",
                "shop.py:2: AssertionError",
            )
            .config(json!({"effort": "low", "temperature": 0.2}))
            .tests(|files| match files["shop.py"].contains("price - off\n") {
                true => passes(),
                false => still_fails(&["tests/test_shop.py::test_off"]),
            })
            .answer(answer);
        let outcome = bench.run(&MinimalFix).expect("the plugin works");
        assert_eq!(
            bench.files_after(&outcome)["shop.py"],
            "def pay(price, off=0):\n    return price - off\n"
        );
        let Outcome::Propose(proposal) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(proposal.rationale, "The new discount is subtracted twice.");
    }

    #[test]
    fn the_variant_asks_for_the_smallest_change() {
        let bench = Bench::new().answer("NO_FIX: nothing is wrong");
        let outcome = bench.run(&MinimalFix);
        assert_eq!(
            outcome,
            Ok(Outcome::decline(
                "the model would change nothing: nothing is wrong"
            ))
        );
        assert_eq!(bench.prompts()[0].messages[0].1, LENS.task);
    }
}
