//! What is proposed for an update that breaks something, and what is declined.
//!
//! Touches: nothing.
//! Change here: when the strategy meets an update it handled badly; add it.

use changebus_sdk::testing::Bench;

use super::*;

const HOLD: &str = "\
--- a/requirements.txt
+++ b/requirements.txt
@@ -1 +1 @@
-markupsafe==2.1.5
+markupsafe==2.0.0  # held
";

fn updated() -> Bench {
    Bench::new()
        .failing(
            "tests/test_label.py::test_label",
            "ImportError: soft_unicode",
            "",
        )
        .head("requirements.txt", "markupsafe==2.1.5\n")
        .attribute("update", "markupsafe from 2.0.0 to 2.1.5")
}

#[test]
fn the_version_that_worked_is_written_down_with_the_reason() {
    let bench = updated().attribute("update.hold", HOLD);
    let outcome = bench.run(&PinBack).expect("it works");
    let files = bench.files_after(&outcome);
    assert_eq!(files["requirements.txt"], "markupsafe==2.0.0  # held\n");
    let Outcome::Propose(proposal) = outcome else {
        panic!("{outcome:?}");
    };
    let told = &proposal.rationale;
    assert!(
        told.contains("markupsafe from 2.0.0 to 2.1.5 breaks"),
        "{told}"
    );
    assert!(told.contains("tests/test_label.py::test_label"), "{told}");
}

#[test]
fn without_an_update_or_a_way_to_hold_it_nothing_is_proposed() {
    let declined = |bench: &Bench| match bench.run(&PinBack).expect("it works") {
        Outcome::Decline(why) => why,
        Outcome::Propose(proposal) => panic!("{proposal:?}"),
    };
    assert!(declined(&updated()).contains("no way to hold it back"));
    assert_eq!(declined(&Bench::new()), "no dependency was updated");
}
