//! A contender out of plain values.
//!
//! Touches: nothing.
//! Change here: when a contender tells something new.

use std::collections::BTreeMap;

use crate::Contender;

/// A contender out of plain values.
#[derive(Clone, Debug, Default)]
pub struct Entrant {
    pub(super) id: String,
    pub(super) strategy: String,
    pub(super) rationale: String,
    pub(super) diff: String,
    pub(super) paths: Vec<String>,
    pub(super) own_confidence: f32,
    pub(super) metrics: BTreeMap<String, f64>,
    pub(super) broken_gates: Vec<String>,
    pub(super) failing: Vec<String>,
    pub(super) security: Vec<String>,
    pub(super) score: Option<f64>,
    pub(super) evidence: Option<f64>,
}

impl Entrant {
    pub fn new(id: &str) -> Entrant {
        Entrant {
            id: id.to_owned(),
            ..Entrant::default()
        }
    }

    /// One that fixes the only failing test with one line changed for another, applied exactly.
    pub fn fixing(id: &str) -> Entrant {
        let metrics = [
            ("tests.to-fix", 1.0),
            ("tests.fixed", 1.0),
            ("tests.regressed", 0.0),
            ("tests.missing", 0.0),
            ("diff.files", 1.0),
            ("diff.insertions", 1.0),
            ("diff.deletions", 1.0),
            ("apply.quality", 1.0),
        ];
        metrics
            .iter()
            .fold(Entrant::new(id), |entrant, (name, value)| {
                entrant.metric(name, *value)
            })
    }

    pub fn strategy(mut self, name: &str) -> Entrant {
        self.strategy = name.to_owned();
        self
    }

    pub fn rationale(mut self, text: &str) -> Entrant {
        self.rationale = text.to_owned();
        self
    }

    pub fn diff(mut self, text: &str, paths: &[&str]) -> Entrant {
        self.diff = text.to_owned();
        self.paths = paths.iter().map(|p| p.to_string()).collect();
        self
    }

    pub fn own_confidence(mut self, value: f32) -> Entrant {
        self.own_confidence = value;
        self
    }

    pub fn metric(mut self, name: &str, value: f64) -> Entrant {
        self.metrics.insert(name.to_owned(), value);
        self
    }

    pub fn breaks_gate(mut self, why: &str) -> Entrant {
        self.broken_gates.push(why.to_owned());
        self
    }

    pub fn failing(mut self, test: &str) -> Entrant {
        self.failing.push(test.to_owned());
        self
    }

    pub fn security(mut self, why: &str) -> Entrant {
        self.security.push(why.to_owned());
        self
    }

    /// What the scorer and the host's evidence said of it.
    pub fn scored(mut self, score: f64, confidence: f64) -> Entrant {
        self.score = Some(score);
        self.evidence = Some(confidence);
        self
    }
}

impl Contender for Entrant {
    fn id(&self) -> String {
        self.id.clone()
    }

    fn strategy(&self) -> String {
        self.strategy.clone()
    }

    fn rationale(&self) -> String {
        self.rationale.clone()
    }

    fn confidence(&self) -> f32 {
        self.own_confidence
    }

    fn unified_diff(&self, max_bytes: u32) -> String {
        self.diff.chars().take(max_bytes as usize).collect()
    }

    fn paths(&self) -> Vec<String> {
        self.paths.clone()
    }

    fn metric(&self, name: &str) -> Option<f64> {
        self.metrics.get(name).copied()
    }

    fn broken_gates(&self) -> Vec<String> {
        self.broken_gates.clone()
    }

    fn failing(&self) -> Vec<String> {
        self.failing.clone()
    }
}
