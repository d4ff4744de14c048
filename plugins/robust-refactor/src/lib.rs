//! Variant B: asks the model for a sturdy repair of the root cause.
//!
//! Touches: nothing.
//! Change here: when this variant should look at a failure differently. The rules and the evidence are the SDK's,
//! and the same for all model strategies.

use changebus_sdk::repair::{Lens, repair};
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

export_strategy!(RobustRefactor);

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
