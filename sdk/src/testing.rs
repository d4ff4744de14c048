//! A twin of the host for tests: everything a plugin may ask for, out of strings, with no host and no model.
//!
//! Touches: nothing.
//! Change here: when the WIT offers a new import; the twin stays complete, so that authors never need a mock.
//!
//! [`Bench`] stands in for a strategy's world, [`Arena`] for a scorer's or an escalation's. Both record what the
//! plugin did, so a test can ask about its prompts, its probes and its log.

use std::collections::BTreeMap;

use crate::Report;

mod arena;
mod bench;
mod common;
mod entrant;
mod patching;
mod tree;

pub use arena::Arena;
pub use bench::Bench;
pub use entrant::Entrant;
pub use tree::TestTree;

/// Content by path.
pub type Files = BTreeMap<String, String>;

/// What tests say where all is well.
pub fn passes() -> Report {
    Report {
        fixed: true,
        ..Report::default()
    }
}

/// What tests say where these still fail.
pub fn still_fails(tests: &[&str]) -> Report {
    let ids: Vec<String> = tests.iter().map(|t| t.to_string()).collect();
    let messages = ids
        .iter()
        .map(|id| (id.clone(), format!("{id} still fails")))
        .collect();
    Report {
        still_failing: ids,
        messages,
        ..Report::default()
    }
}

/// What tests say where the failing ones pass and these do not any more.
pub fn breaks(tests: &[&str]) -> Report {
    let broken = tests.iter().map(|t| t.to_string()).collect();
    Report {
        fixed: true,
        broken,
        ..Report::default()
    }
}
