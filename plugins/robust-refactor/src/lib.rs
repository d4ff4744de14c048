//! Variant B: asks the model for a sturdy repair of the root cause.
//!
//! Touches: nothing.
//! Change here: when this variant should look at a failure differently. The rules and the evidence are the SDK's,
//! and the same for all model strategies.

use changebus_sdk::repair::{Lens, Settings, repair};
use changebus_sdk::{Failure, Host, Outcome, Strategy, Tree, export_strategy};

const LENS: Lens = Lens {
    task: "\
Hand in a sturdy repair of the root cause.

Before you write edits, settle three things: which assumption the push broke; every place that relies on it, callers \
and uses included; and where the code should hold that assumption, so that it cannot break the same way again. Then \
mend it there. The result must be right for the inputs around the failing ones too: empty, missing, smallest, \
largest, repeated. You may restructure the code where that removes the cause instead of covering it. Keep the names \
and signatures that other code may use, unless the push was made to change them; do not touch tests or \
configuration; and keep the whole small enough to be reviewed in one sitting.",
};

#[derive(Default)]
pub struct RobustRefactor;

export_strategy!(
    RobustRefactor,
    asks = [history, llm, probe, workspace],
    config = Settings
);

impl Strategy for RobustRefactor {
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
    use changebus_sdk::testing::{Bench, passes};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_repair_may_reach_over_several_files() {
        let answer = "Both callers relied on a list.\n\na.py\n<<<<<<< SEARCH\nx = first(None)\n=======\nx = first([])\n>>>>>>> REPLACE\n\nlib/safe.py\n<<<<<<< FILE\ndef first(items):\n    return next(iter(items), None)\n>>>>>>> FILE\n";
        let bench = Bench::new()
            .both("a.py", "x = first(None)\n")
            .failing("tests/test_a.py::test_a", "TypeError", "")
            .config(json!({"effort": "high", "temperature": 0.7}))
            .tests(|_| passes())
            .answer(answer);
        let outcome = bench.run(&RobustRefactor).expect("the plugin works");
        let files = bench.files_after(&outcome);
        assert_eq!(files["a.py"], "x = first([])\n");
        assert_eq!(
            files["lib/safe.py"],
            "def first(items):\n    return next(iter(items), None)\n"
        );
    }

    #[test]
    fn the_variant_asks_for_the_root_cause() {
        let bench = Bench::new().answer("NO_FIX: nothing is wrong");
        assert!(bench.run(&RobustRefactor).is_ok());
        assert_eq!(bench.prompts()[0].messages[0].1, LENS.task);
        assert!(LENS.task.contains("root cause"));
    }
}
