//! The default escalation rules: merge what is clearly good, ask a human about everything else.
//!
//! Touches: nothing.
//! Change here: when a reason to ask a human comes or goes. The host's gates and the operator's ceiling stand
//! above whatever this says.

use changebus_sdk::{
    Action, Config, Contender, Decision, Escalation, Services, Tournament, export_escalation,
};
use serde::Deserialize;

#[derive(Debug, Default, Deserialize, Config)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// What may be merged but scores below this becomes a pull request.
    #[config(min = 0, max = 100)]
    pull_request_below: Option<f64>,
}

#[derive(Default)]
pub struct Cautious;

export_escalation!(Cautious, asks = [], config = Settings);

impl Escalation for Cautious {
    fn decide(
        &self,
        tournament: &impl Tournament,
        services: &impl Services,
    ) -> Result<Decision, String> {
        let config: Settings = services.config()?;
        let limits = Limits {
            score: number(tournament, "merge-threshold", 75.0)?,
            confidence: number(tournament, "min-confidence", 0.7)?,
        };
        let contenders = tournament.contenders();
        let Some(best) = contenders.first() else {
            let reason = (
                "no-contender",
                "no strategy handed in anything that can be tried".to_owned(),
            );
            return Ok(decision(Action::Human, None, vec![reason]));
        };
        let doubts = doubts(tournament, best, &limits);
        if !doubts.is_empty() {
            return Ok(decision(Action::Human, Some(best.id()), doubts));
        }
        Ok(without_doubts(tournament, best.id(), &limits, &config))
    }
}

struct Limits {
    score: f64,
    confidence: f64,
}

/// An attribute the host leaves out has its published value; one that is no number is nothing to guess about.
fn number(tournament: &impl Tournament, key: &str, published: f64) -> Result<f64, String> {
    let Some(text) = tournament.attribute(key) else {
        return Ok(published);
    };
    let value = text.trim().parse().ok().filter(|v: &f64| v.is_finite());
    value.ok_or_else(|| format!("{key} is no number: {text}"))
}

type Reason = (&'static str, String);

fn doubts(tournament: &impl Tournament, best: &impl Contender, limits: &Limits) -> Vec<Reason> {
    let id = best.id();
    let mut doubts = vec![];
    doubts.extend(below("score", tournament.score(&id), limits.score, 1));
    doubts.extend(below(
        "confidence",
        tournament.confidence(&id),
        limits.confidence,
        2,
    ));
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

fn below(what: &'static str, value: Option<f64>, least: f64, digits: usize) -> Option<Reason> {
    match value {
        Some(value) if value >= least => None,
        Some(value) => Some((what, format!("{what} {value:.digits$} is below {least}"))),
        None => Some((what, format!("there is no {what}"))),
    }
}

fn without_doubts(
    tournament: &impl Tournament,
    id: String,
    limits: &Limits,
    config: &Settings,
) -> Decision {
    let score = tournament.score(&id).unwrap_or_default();
    let confidence = tournament.confidence(&id).unwrap_or_default();
    if let Some(least) = config.pull_request_below.filter(|least| score < *least) {
        let why = format!("score {score:.1} is below {least}, from where on fixes are merged");
        return decision(
            Action::PullRequest,
            Some(id),
            vec![("pull-request-below", why)],
        );
    }
    let why = format!(
        "{id} scores {score:.1} (at least {}) with a confidence of {confidence:.2} (at least {}), and nothing speaks against it",
        limits.score, limits.confidence
    );
    decision(Action::Merge, Some(id), vec![("clear", why)])
}

fn decision(action: Action, contender: Option<String>, reasons: Vec<Reason>) -> Decision {
    let reasons = reasons
        .into_iter()
        .map(|(code, message)| (code.to_owned(), message))
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
    use serde_json::json;

    use super::*;

    fn best() -> Entrant {
        Entrant::fixing("A").scored(96.0, 0.9)
    }

    fn decided(arena: Arena) -> (Action, Option<String>, Vec<String>) {
        let decision = arena.decide(&Cautious).expect("a decision");
        assert!(
            decision
                .reasons
                .iter()
                .all(|(code, message)| !code.is_empty() && !message.is_empty())
        );
        let codes = decision.reasons.into_iter().map(|(code, _)| code).collect();
        (decision.action, decision.contender, codes)
    }

    #[test]
    fn what_is_clearly_good_is_merged_and_the_reason_can_be_read() {
        let arena = Arena::new()
            .contender(best())
            .contender(Entrant::fixing("B").scored(80.0, 0.9));
        let decision = arena.decide(&Cautious).expect("a decision");
        assert_eq!(
            (decision.action, decision.contender.as_deref()),
            (Action::Merge, Some("A"))
        );
        let why = "A scores 96.0 (at least 75) with a confidence of 0.90 (at least 0.7), and nothing speaks against it";
        assert_eq!(decision.reasons, [("clear".to_owned(), why.to_owned())]);
    }

    #[test]
    fn every_doubt_goes_to_a_human_under_its_own_code() {
        for (code, arena) in [
            (
                "score",
                Arena::new().contender(Entrant::fixing("A").scored(74.9, 0.9)),
            ),
            (
                "score",
                Arena::new()
                    .attribute("merge-threshold", "97")
                    .contender(best()),
            ),
            (
                "confidence",
                Arena::new().contender(Entrant::fixing("A").scored(96.0, 0.69)),
            ),
            (
                "confidence",
                Arena::new().contender(Entrant::fixing("A").scored(96.0, f64::NAN)),
            ),
            (
                "gate",
                Arena::new().contender(best().breaks_gate("it loses a test")),
            ),
            (
                "security",
                Arena::new().contender(best().security("it touches auth/")),
            ),
            (
                "ambiguity",
                Arena::new()
                    .contender(best())
                    .ambiguous("A and B behave differently"),
            ),
        ] {
            assert_eq!(
                decided(arena),
                (Action::Human, Some("A".into()), vec![code.into()])
            );
        }
    }

    #[test]
    fn all_doubts_are_told_not_only_the_first() {
        let arena = Arena::new().contender(
            Entrant::fixing("A")
                .scored(10.0, 0.1)
                .security("secrets")
                .breaks_gate("x"),
        );
        assert_eq!(
            decided(arena).2,
            ["score", "confidence", "gate", "security"]
        );
    }

    #[test]
    fn what_was_not_scored_or_never_handed_in_is_for_people() {
        assert_eq!(
            decided(Arena::new()),
            (Action::Human, None, vec!["no-contender".into()])
        );
        let unscored = decided(Arena::new().contender(Entrant::fixing("A")));
        assert_eq!(
            (unscored.0, unscored.2),
            (Action::Human, vec!["score".into(), "confidence".into()])
        );
    }

    #[test]
    fn the_limits_themselves_are_good_enough() {
        let arena = Arena::new().contender(Entrant::fixing("A").scored(75.0, 0.7));
        assert_eq!(decided(arena).0, Action::Merge);
    }

    #[test]
    fn the_middling_may_become_a_pull_request() {
        let arena = |score| {
            let config = json!({"pull_request_below": 90.0});
            Arena::new()
                .config(config)
                .contender(Entrant::fixing("A").scored(score, 0.9))
        };
        assert_eq!(decided(arena(89.0)).0, Action::PullRequest);
        assert_eq!(decided(arena(90.0)).0, Action::Merge);
        assert_eq!(decided(arena(60.0)).0, Action::Human);
    }

    #[test]
    fn a_limit_that_is_no_number_is_an_error() {
        let refused = Arena::new()
            .attribute("min-confidence", "high")
            .contender(best())
            .decide(&Cautious);
        assert_eq!(refused, Err("min-confidence is no number: high".into()));
        assert!(
            Arena::new()
                .config(json!({"typo": 1}))
                .decide(&Cautious)
                .is_err()
        );
    }
}
