//! Decides as a tape says.
//!
//! Touches: nothing.
//! Change here: when a decision gets another part.

use super::tape::Tape;
use super::{Action, Decision, Reason};

pub fn decision(tape: &str, first: Option<String>) -> Decision {
    let mut tape = Tape::new(tape);
    let action = match tape.below(3) {
        0 => Action::Human,
        1 => Action::PullRequest,
        _ => Action::Merge,
    };
    let contender = match tape.below(3) {
        0 => first,
        1 => tape.maybe_text(),
        _ => None,
    };
    let reasons = tape
        .pairs()
        .into_iter()
        .map(|(code, message)| Reason { code, message });
    Decision {
        action,
        contender,
        reasons: reasons.collect(),
    }
}
