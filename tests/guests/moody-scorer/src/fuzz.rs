//! Scores as a tape says.
//!
//! Touches: nothing.
//! Change here: when a score gets another part.

use super::tape::Tape;
use super::{Scored, arena};

pub fn scores(tape: &str, all: &[arena::Contender]) -> Vec<Scored> {
    let mut tape = Tape::new(tape);
    let mut scores = Vec::new();
    for one in all {
        for _ in 0..tape.below(3) {
            let known = tape.below(4) > 0;
            scores.push(Scored {
                id: if known { one.id() } else { tape.text() },
                total: tape.float(),
                disqualified: tape.maybe_text(),
                marks: (0..tape.below(4))
                    .map(|_| (tape.text(), tape.float()))
                    .collect(),
            });
        }
    }
    scores
}
