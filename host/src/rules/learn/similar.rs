//! Which earlier failures of a project resemble one, and what people said of fixes they did not want.
//!
//! Touches: nothing.
//! Change here: when failures are alike in another way, or more of an earlier one should be told. No model is asked:
//! the prints of failures, the names of the tests and the words of their complaints decide.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{
    Candidate, FailureClass, FixFate, PastFix, PastPatch, Rejection, Review, Ruling,
};
use crate::rules::rank::HandedIn;
use crate::rules::run::Run;

/// Earlier failures told at most, and rejections.
const MOST: usize = 3;
const MOST_REJECTIONS: usize = 5;
/// Less likeness is chance.
const ALIKE: f64 = 0.35;
/// How much of likeness the names of the tests carry by themselves, and the words of complaints. The prints carry all.
const BY_TESTS: f64 = 0.5;
const BY_WORDS: f64 = 0.7;
/// What the words of a failure of another class count.
const OTHER_CLASS: f64 = 0.6;
/// Bytes of a failure's detail that are read for words, and of what is told.
const READ: usize = 4 << 10;
const TOLD_PATCH: usize = 4 << 10;
const TOLD_WORDS: usize = 1 << 10;
const TOLD_REASON: usize = 500;
const TOLD_TESTS: usize = 5;
/// Shorter words are in every complaint.
const TELLING: usize = 3;

/// A run that is over, the last that was seen of its fix, and why people did not want it.
pub struct Earlier {
    pub run: Run,
    pub fate: Option<FixFate>,
    pub rejections: Vec<String>,
}

/// Those most like it that something can be learned from, most alike first; of equals the newest. `earlier` is newest
/// first.
pub fn similar(now: &Run, earlier: &[Earlier], held_out: &BTreeSet<String>) -> Vec<PastFix> {
    let own = Traits::of(now);
    let all: Vec<(Traits, &Earlier)> = earlier.iter().map(|e| (Traits::of(&e.run), e)).collect();
    let worth = Worth::of(std::iter::once(&own).chain(all.iter().map(|(traits, _)| traits)));
    let mut found: Vec<PastFix> = all
        .iter()
        .map(|(traits, earlier)| (own.likeness(traits, &worth), earlier))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .map(|(likeness, earlier)| told(likeness, earlier, held_out))
        .filter(|past| past.fix.is_some() || !past.rejections.is_empty())
        .collect();
    found.sort_by(|a, b| b.likeness.total_cmp(&a.likeness));
    found.truncate(MOST);
    found
}

/// What people said who did not want a fix, whatever it was for; newest first.
pub fn rejections(earlier: &[Earlier]) -> Vec<Rejection> {
    let of_run = |earlier: &Earlier| {
        let strategy = winner(&earlier.run).map(|(strategy, _)| strategy.to_owned());
        let said = earlier.rejections.iter().map(|reason| Rejection {
            run: earlier.run.id.clone(),
            strategy: strategy.clone(),
            reason: reason.clone(),
        });
        said.collect::<Vec<_>>()
    };
    earlier
        .iter()
        .flat_map(of_run)
        .take(MOST_REJECTIONS)
        .collect()
}

/// What two failures can have in common.
struct Traits<'a> {
    /// Test and what tells its failure from another one of it.
    prints: BTreeSet<(&'a str, &'a str)>,
    tests: BTreeSet<&'a str>,
    words: BTreeSet<String>,
    class: FailureClass,
}

impl<'a> Traits<'a> {
    fn of(run: &'a Run) -> Traits<'a> {
        let triage = run.triage.as_ref();
        let tests: BTreeSet<&str> = triage
            .iter()
            .flat_map(|t| t.failing.iter().map(String::as_str))
            .collect();
        let prints = triage
            .iter()
            .flat_map(|t| t.prints.iter())
            .filter(|(test, _)| tests.contains(test.as_str()))
            .map(|(test, print)| (test.as_str(), print.as_str()))
            .collect();
        let failures = run.head().into_iter().flat_map(|head| &head.failures);
        let words = failures
            .filter(|failure| tests.contains(failure.id.as_str()))
            .flat_map(|f| words(&f.message).chain(words(head_of(&f.detail, READ))))
            .collect();
        Traits {
            prints,
            tests,
            words,
            class: triage.and_then(|t| t.class).unwrap_or_default(),
        }
    }

    /// Each way to be alike closes a part of what the others leave open.
    fn likeness(&self, other: &Traits<'_>, worth: &Worth) -> f64 {
        let prints = share(
            self.prints.intersection(&other.prints).count(),
            self.prints.len(),
        );
        let tests = share(
            self.tests.intersection(&other.tests).count(),
            self.tests.union(&other.tests).count(),
        );
        let class = if self.class == other.class {
            1.0
        } else {
            OTHER_CLASS
        };
        let words = class * worth.cosine(&self.words, &other.words);
        1.0 - (1.0 - prints) * (1.0 - BY_TESTS * tests) * (1.0 - BY_WORDS * words)
    }
}

fn share(part: usize, all: usize) -> f64 {
    if all == 0 {
        0.0
    } else {
        part as f64 / all as f64
    }
}

/// What a word says: much where few failures have it (inverse document frequency).
struct Worth {
    documents: f64,
    with: BTreeMap<String, f64>,
}

impl Worth {
    fn of<'a>(all: impl Iterator<Item = &'a Traits<'a>>) -> Worth {
        let mut worth = Worth {
            documents: 0.0,
            with: BTreeMap::new(),
        };
        for traits in all {
            worth.documents += 1.0;
            for word in &traits.words {
                *worth.with.entry(word.clone()).or_default() += 1.0;
            }
        }
        worth
    }

    fn of_word(&self, word: &str) -> f64 {
        let with = self.with.get(word).copied().unwrap_or(0.0);
        ((self.documents + 1.0) / (with + 0.5)).ln()
    }

    fn cosine(&self, a: &BTreeSet<String>, b: &BTreeSet<String>) -> f64 {
        let squares = |words: &mut dyn Iterator<Item = &String>| -> f64 {
            words.map(|word| self.of_word(word).powi(2)).sum()
        };
        let length = (squares(&mut a.iter()) * squares(&mut b.iter())).sqrt();
        if length == 0.0 {
            return 0.0;
        }
        squares(&mut a.intersection(b)) / length
    }
}

/// In small letters; numbers differ from one failure to the next and say nothing.
fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| word.len() >= TELLING && word.starts_with(|c: char| !c.is_numeric()))
        .map(str::to_lowercase)
}

fn told(likeness: f64, earlier: &Earlier, held_out: &BTreeSet<String>) -> PastFix {
    let run = &earlier.run;
    let triage = run.triage.as_ref();
    let failing: Vec<String> = triage
        .iter()
        .flat_map(|t| t.failing.difference(held_out))
        .take(TOLD_TESTS)
        .cloned()
        .collect();
    let message = failing
        .iter()
        .find_map(|id| run.head()?.failure(id))
        .map(|failure| head_of(&failure.message, TOLD_WORDS).to_owned());
    let fix = winner(run).map(|(strategy, candidate)| PastPatch {
        strategy: strategy.to_owned(),
        rationale: head_of(&candidate.rationale, TOLD_WORDS).to_owned(),
        patch: head_of(&candidate.patch, TOLD_PATCH).to_owned(),
    });
    PastFix {
        run: run.id.clone(),
        likeness: (likeness * 100.0).round() / 100.0,
        class: triage.and_then(|t| t.class).unwrap_or_default(),
        failing,
        message: message.unwrap_or_default(),
        fix,
        fate: earlier.fate,
        rejections: earlier.rejections.clone(),
    }
}

/// Whose candidate won, and the candidate.
fn winner(run: &Run) -> Option<(&str, &Candidate)> {
    let winner = run.verdict.as_ref()?.winner.as_ref()?;
    let entries = &run.opening.as_ref()?.entries;
    let entry = entries.iter().find(|e| e.name == *winner)?;
    match run.handed_in.get(winner)? {
        HandedIn::Candidate(candidate) => Some((&entry.strategy.name, candidate)),
        HandedIn::Nothing(_) => None,
    }
}

/// In their words; None where they wanted it, or said nothing.
pub fn rejection(review: &Review) -> Option<String> {
    let reason = head_of(review.reason.trim(), TOLD_REASON);
    let says_why = review.ruling == Ruling::Reject && !reason.is_empty();
    says_why.then(|| reason.to_owned())
}

fn head_of(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

#[cfg(test)]
mod tests;
