//! A scorer's or an escalation's world out of plain values.
//!
//! Touches: nothing.
//! Change here: when judges are told something new.

use std::cell::Cell;
use std::collections::BTreeMap;

use super::Entrant;
use super::common::{Common, common_services, common_setup};
use crate::{Escalation, Level, Scored, Scorer, Services, Tournament};

/// A scorer's or an escalation's world.
#[derive(Default)]
pub struct Arena {
    common: Common,
    attributes: BTreeMap<String, String>,
    entrants: Vec<Entrant>,
    ambiguity: Vec<String>,
    asked: Cell<u32>,
}

common_services!(Arena);

impl Arena {
    /// With the published thresholds: 75 points and a confidence of 0.7.
    pub fn new() -> Arena {
        Arena::default()
            .attribute("merge-threshold", "75")
            .attribute("min-confidence", "0.7")
    }

    common_setup!();

    pub fn attribute(mut self, key: &str, value: &str) -> Arena {
        self.attributes.insert(key.to_owned(), value.to_owned());
        self
    }

    /// In the order of the configuration, or best first for an escalation.
    pub fn contender(mut self, entrant: Entrant) -> Arena {
        self.entrants.push(entrant);
        self
    }

    /// Why the choice between the best contenders is not clear.
    pub fn ambiguous(mut self, why: &str) -> Arena {
        self.ambiguity.push(why.to_owned());
        self
    }

    /// Scores twice, as the host may. Panics where the answers differ: a scorer depends on its input alone.
    pub fn score<S: Scorer>(&self, scorer: &S) -> Result<Vec<Scored>, String> {
        let scored = scorer.score(self, self);
        assert_eq!(
            scored,
            scorer.score(self, self),
            "the scorer answered twice the same question differently"
        );
        scored
    }

    pub fn decide<E: Escalation>(&self, escalation: &E) -> Result<crate::Decision, String> {
        escalation.decide(self, self)
    }

    /// How often the plugin asked for the contenders.
    pub fn asked(&self) -> u32 {
        self.asked.get()
    }

    fn entrant(&self, id: &str) -> Option<&Entrant> {
        self.entrants.iter().find(|e| e.id == id)
    }
}

impl Tournament for Arena {
    type Contender = Entrant;

    fn project(&self) -> String {
        "bench".to_owned()
    }

    fn base(&self) -> String {
        "b".repeat(40)
    }

    fn head(&self) -> String {
        "a".repeat(40)
    }

    fn attribute(&self, key: &str) -> Option<String> {
        self.attributes.get(key).cloned()
    }

    fn contenders(&self) -> Vec<Entrant> {
        self.asked.set(self.asked.get() + 1);
        self.entrants.clone()
    }

    fn score(&self, contender: &str) -> Option<f64> {
        self.entrant(contender)?.score
    }

    fn confidence(&self, contender: &str) -> Option<f64> {
        self.entrant(contender)?.evidence
    }

    fn security(&self, contender: &str) -> Vec<String> {
        self.entrant(contender)
            .map(|e| e.security.clone())
            .unwrap_or_default()
    }

    fn ambiguity(&self) -> Vec<String> {
        self.ambiguity.clone()
    }
}
