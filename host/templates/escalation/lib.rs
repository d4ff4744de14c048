//! Merges what is small and clear, and asks a human about everything else.
//!
//! The operator's own limits stand above whatever this says. Keep the frame, change the reasons.

use changebus_sdk::*;
use serde::Deserialize;

/// What `escalation_config` of the policy may hold; the host checks it before the plugin is ever called.
#[derive(Deserialize, Config)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// Lines a fix may change and still be merged unseen.
    most_lines: u32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { most_lines: 20 }
    }
}

#[derive(Default)]
pub struct SmallAndClear;

// It needs nothing that the operator would have to allow.
export_escalation!(SmallAndClear, asks = [], config = Settings);

impl Escalation for SmallAndClear {
    fn decide(
        &self,
        tournament: &impl Tournament,
        services: &impl Services,
    ) -> Result<Decision, String> {
        let settings: Settings = services.config()?;
        let contenders = tournament.contenders();
        let Some(best) = contenders.first() else {
            let reason = "no strategy handed in anything that can be tried";
            return Ok(decision(
                Action::Human,
                None,
                vec![("no-contender", reason.to_owned())],
            ));
        };
        let doubts = doubts(tournament, best, settings.most_lines);
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

fn doubts(tournament: &impl Tournament, best: &impl Contender, most_lines: u32) -> Vec<Reason> {
    let id = best.id();
    let metric = |name: &str| best.metric(name).unwrap_or(f64::INFINITY);
    let changed = metric("diff.insertions") + metric("diff.deletions");
    let mut doubts = vec![];
    if changed.is_nan() || changed > f64::from(most_lines) {
        doubts.push(("size", format!("{id} changes more than {most_lines} lines")));
    }
    doubts.extend(best.broken_gates().into_iter().map(|why| ("gate", why)));
    doubts.extend(
        tournament
            .security(&id)
            .into_iter()
            .map(|why| ("security", why)),
    );
    doubts.extend(
        tournament
            .ambiguity()
            .into_iter()
            .map(|why| ("ambiguity", why)),
    );
    doubts
}

fn decision(action: Action, contender: Option<String>, reasons: Vec<Reason>) -> Decision {
    let reasons = reasons
        .into_iter()
        .map(|(code, why)| (code.to_owned(), why))
        .collect();
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
        assert_eq!(
            decided(Arena::new().contender(small)),
            (Action::Merge, vec!["clear".into()])
        );
    }

    #[test]
    fn every_doubt_is_told_to_the_human() {
        let large = Entrant::fixing("A")
            .metric("diff.insertions", 90.0)
            .security("it touches auth/")
            .breaks_gate("it loses a test");
        let expected = ["size", "gate", "security"].map(str::to_owned).to_vec();
        assert_eq!(
            decided(Arena::new().contender(large)),
            (Action::Human, expected)
        );
    }

    #[test]
    fn a_size_nobody_knows_is_a_doubt() {
        let unknown = Arena::new().contender(Entrant::new("A"));
        assert_eq!(decided(unknown), (Action::Human, vec!["size".into()]));
    }
}
