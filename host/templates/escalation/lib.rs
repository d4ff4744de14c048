//! Merges what is small and clear, and asks a human about everything else.
//!
//! The operator's own limits stand above whatever this says. Keep the frame, change the reasons.

use changebus_sdk::*;

/// Lines a fix may change and still be merged unseen.
const SMALL: f64 = 20.0;

#[derive(Default)]
pub struct SmallAndClear;

export_escalation!(SmallAndClear);

impl Escalation for SmallAndClear {
    fn decide(
        &self,
        tournament: &impl Tournament,
        _: &impl Services,
    ) -> Result<Decision, String> {
        let contenders = tournament.contenders();
        let Some(best) = contenders.first() else {
            let reason = "no strategy handed in anything that can be tried";
            return Ok(decision(Action::Human, None, vec![("no-contender", reason.to_owned())]));
        };
        let doubts = doubts(tournament, best);
        Ok(match doubts.is_empty() {
            true => {
                let why = format!("{} is small, and nothing speaks against it", best.id());
                decision(Action::Merge, Some(best.id()), vec![("clear", why)])
            }
            false => decision(Action::Human, Some(best.id()), doubts),
        })
    }
}

type Reason = (&'static str, String);

fn doubts(tournament: &impl Tournament, best: &impl Contender) -> Vec<Reason> {
    let id = best.id();
    let metric = |name: &str| best.metric(name).unwrap_or(f64::INFINITY);
    let changed = metric("diff.insertions") + metric("diff.deletions");
    let mut doubts = vec![];
    if changed.is_nan() || changed > SMALL {
        doubts.push(("size", format!("{id} changes more than {SMALL} lines")));
    }
    doubts.extend(best.broken_gates().into_iter().map(|why| ("gate", why)));
    doubts.extend(tournament.security(&id).into_iter().map(|why| ("security", why)));
    doubts.extend(tournament.ambiguity().into_iter().map(|why| ("ambiguity", why)));
    doubts
}

fn decision(action: Action, contender: Option<String>, reasons: Vec<Reason>) -> Decision {
    let reasons = reasons.into_iter().map(|(code, why)| (code.to_owned(), why)).collect();
    Decision {
        action,
        contender,
        reasons,
    }
}

#[cfg(test)]
mod tests {
    use changebus_sdk::testing::{Arena, Entrant};

    use super::*;

    fn decided(arena: Arena) -> (Action, Vec<String>) {
        let decision = arena.decide(&SmallAndClear).unwrap();
        let codes = decision.reasons.into_iter().map(|(code, _)| code);
        (decision.action, codes.collect())
    }

    #[test]
    fn a_small_fix_without_a_doubt_is_merged() {
        let small = Entrant::fixing("A").scored(96.0, 0.9);
        assert_eq!(decided(Arena::new().contender(small)), (Action::Merge, vec!["clear".into()]));
    }

    #[test]
    fn every_doubt_is_told_to_the_human() {
        let large = Entrant::fixing("A")
            .metric("diff.insertions", 90.0)
            .security("it touches auth/")
            .breaks_gate("it loses a test");
        let expected = ["size", "gate", "security"].map(str::to_owned).to_vec();
        assert_eq!(decided(Arena::new().contender(large)), (Action::Human, expected));
    }

    #[test]
    fn a_size_nobody_knows_is_a_doubt() {
        let unknown = Arena::new().contender(Entrant::new("A"));
        assert_eq!(decided(unknown), (Action::Human, vec!["size".into()]));
    }
}
