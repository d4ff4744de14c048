//! Variant A: asks the model for the smallest change that restores the behaviour.
//!
//! Touches: nothing.
//! Change here: when this variant should look at a failure differently. The rules and the evidence are the SDK's,
//! and the same for all model strategies.

use changebus_sdk::repair::{Lens, repair};
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

export_strategy!(MinimalFix);

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
