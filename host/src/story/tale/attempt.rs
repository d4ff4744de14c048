//! What became of one variant, gathered from a run's events.
//!
//! Touches: nothing.
//! Change here: when more is told of a variant.

use super::MARKS;
use crate::event::{
    Candidate, Denial, Objection, Refusal, RefusalKind, Sample, Score, Standing, Trial, Usage,
    VariantState,
};

/// What became of one variant.
pub struct Attempt<'a> {
    pub name: &'a str,
    pub strategy: &'a str,
    pub candidate: Option<&'a Candidate>,
    pub refusal: Option<&'a Refusal>,
    /// The last of its tree.
    pub sample: Option<&'a Sample>,
    /// The last trial of its tree.
    pub trial: Option<&'a Trial>,
    /// Of all trials of its tree.
    pub trial_seconds: f64,
    pub trials: usize,
    pub score: Option<&'a Score>,
    pub standing: Option<&'a Standing>,
    pub usage: Usage,
    pub asked: usize,
    pub answered: usize,
    pub probes: usize,
    /// What its strategy asked for and was not given.
    pub denials: &'a [Denial],
}

impl<'a> Attempt<'a> {
    pub(super) fn new(name: &'a str) -> Attempt<'a> {
        Attempt {
            name,
            strategy: "",
            candidate: None,
            refusal: None,
            sample: None,
            trial: None,
            trial_seconds: 0.0,
            trials: 0,
            score: None,
            standing: None,
            usage: Usage::default(),
            asked: 0,
            answered: 0,
            probes: 0,
            denials: &[],
        }
    }

    /// Why a verdict found it stopped.
    pub fn stopped(&self) -> Option<String> {
        let standing = self.standing?;
        (standing.state == VariantState::Stopped).then(|| standing.because.clone())
    }

    /// How many passed of how many: of the whole suite, else of those tests that were run.
    pub fn tests(&self) -> Option<String> {
        let of = |passed: u32, all: u32| format!("{passed}/{all}");
        let sample = |s: &Sample| of(s.asked.saturating_sub(s.bad.len() as u32), s.asked);
        let trial = self.trial.map(|t| of(t.passed, t.total));
        trial.or_else(|| self.sample.map(sample))
    }

    pub(super) fn has_handed_in(&self) -> bool {
        self.candidate.is_some() || self.refusal.is_some()
    }

    /// None while it is neither decided nor refused.
    pub fn state(&self) -> Option<VariantState> {
        match (self.standing, self.refusal) {
            (Some(standing), _) => Some(standing.state),
            (None, Some(refusal)) if refusal.kind == RefusalKind::NoFix => {
                Some(VariantState::Refused)
            }
            (None, Some(_)) => Some(VariantState::Failed),
            (None, None) => None,
        }
    }

    /// 0 to 100.
    pub fn total(&self) -> Option<f64> {
        let decided = self.standing.and_then(|standing| standing.score);
        decided.or(self.score.map(|score| score.total))
    }

    /// The published marks first, then the scorer's own by name.
    pub fn marks(&self) -> impl Iterator<Item = (&'a str, f64)> + use<'a> {
        let marks = self.score.map(|score| &score.marks).into_iter().flatten();
        let mut marks: Vec<(&str, f64)> = marks.map(|(name, m)| (name.as_str(), *m)).collect();
        marks.sort_by_key(|(name, _)| MARKS.iter().position(|m| m == name).unwrap_or(usize::MAX));
        marks.into_iter()
    }

    /// The gates it breaks: as decided, else those known before any test ran.
    pub fn objections(&self) -> &'a [Objection] {
        match (self.standing, self.candidate) {
            (Some(standing), _) => &standing.objections,
            (None, Some(candidate)) => &candidate.objections,
            (None, None) => &[],
        }
    }

    /// Its own words.
    pub fn rationale(&self) -> &'a str {
        match (self.candidate, self.refusal) {
            (Some(candidate), _) => &candidate.rationale,
            (None, Some(refusal)) => &refusal.why,
            (None, None) => "",
        }
    }

    /// Why it stands where it stands, the gates it breaks included.
    pub fn why(&self) -> String {
        let because = self.because();
        let gates = self
            .standing
            .map_or(&[][..], |standing| &standing.objections);
        let gates = gates.iter().map(|objection| objection.because.as_str());
        let news = gates.filter(|gate| !because.contains(gate));
        let all: Vec<&str> = std::iter::once(because.as_str()).chain(news).collect();
        all.join("; ")
    }

    /// Why it stands where it stands, in one sentence.
    pub fn because(&self) -> String {
        if let Some(standing) = self.standing {
            return standing.because.clone();
        }
        let disqualified = self.score.and_then(|s| s.disqualified.as_deref());
        match (self.refusal, disqualified) {
            (Some(refusal), _) => refusal.why.clone(),
            (None, Some(reason)) => format!("disqualified by the scorer: {reason}"),
            (None, None) if self.trial.is_some() => "tried".to_owned(),
            (None, None) if self.sample.is_some() => "part of its tests was run".to_owned(),
            (None, None) if self.candidate.is_some() => "handed in, not tried yet".to_owned(),
            (None, None) => "still at work".to_owned(),
        }
    }

    /// The strategy's own seconds and those of its trials.
    pub fn seconds(&self) -> f64 {
        let handed_in = match (self.candidate, self.refusal) {
            (Some(candidate), _) => candidate.seconds,
            (None, Some(refusal)) => refusal.seconds,
            (None, None) => 0.0,
        };
        handed_in + self.trial_seconds
    }
}
