//! Holds a dependency at its last good version where an update of it breaks the tests; asks no model.
//!
//! Touches: nothing.
//! Change here: when it should be told otherwise why a version is held.
//!
//! The host makes the files that hold the version, with the ecosystem's own client, which no guest can run. It lets the
//! plugin win only where no other candidate stands.

use changebus_sdk::untrusted::one_line;
use changebus_sdk::{
    Config, Failure, Host, Outcome, Patch, Proposal, Strategy, Tree, export_strategy,
};
use serde::Deserialize;

/// Failing tests that a rationale names.
const NAMED: usize = 5;

/// There is nothing to set.
#[derive(Debug, Default, Deserialize, Config)]
#[serde(deny_unknown_fields, default)]
struct Settings {}

#[derive(Default)]
pub struct PinBack;

export_strategy!(PinBack, asks = [workspace], config = Settings);

impl Strategy for PinBack {
    fn run(
        &self,
        failure: &impl Failure,
        _: &impl Tree,
        host: &impl Host,
    ) -> Result<Outcome, String> {
        let Settings {} = host.config()?;
        let Some(update) = failure.attribute("update") else {
            return Ok(Outcome::decline("no dependency was updated"));
        };
        let update = one_line(&update, 300);
        let Some(hold) = failure.attribute("update.hold") else {
            let why = format!("{update}: the host has no way to hold it back");
            return Ok(Outcome::Decline(why));
        };
        Ok(Outcome::Propose(Proposal {
            patch: Patch::new().unified_diff(&hold),
            rationale: rationale(&update, &failure.failing_tests()),
            // That what passed before passes again without the update is all but certain.
            confidence: 0.95,
            notes: vec![],
        }))
    }
}

fn rationale(update: &str, failing: &[String]) -> String {
    let named: Vec<String> = failing
        .iter()
        .take(NAMED)
        .map(|id| format!("`{}`", one_line(id, 120)))
        .collect();
    let more = match failing.len().saturating_sub(named.len()) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    format!(
        "{update} breaks {}{more}. The version that worked is written down, so that nothing moves it before somebody has \
         adapted the code.",
        named.join(", ")
    )
}

#[cfg(test)]
mod tests;
