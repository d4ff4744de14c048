//! A scorer that ranks: fewest regressions, then fewest tests still failing, then agreement, then the smallest diff.
//!
//! Touches: nothing.
//! Change here: when the order of the criteria changes, or what counts as agreement.
//!
//! No criterion makes up for one before it. The total is the place, brought into a band of its own for each class
//! of result: of those still in the race, whoever loses a test never scores above whoever does not, nor half a fix
//! above a whole one.

use std::cmp::Ordering;

use changebus_sdk::{Contender, Scored, Scorer, Services, Tournament, export_scorer};

/// How much of a diff is compared; two longer ones count as the same where so much of them is.
const COMPARED: u32 = 64 << 10;

#[derive(Default)]
pub struct Lexicographic;

export_scorer!(Lexicographic, asks = []);

impl Scorer for Lexicographic {
    fn score(
        &self,
        tournament: &impl Tournament,
        _: &impl Services,
    ) -> Result<Vec<Scored>, String> {
        let contenders = tournament.contenders();
        let mut entries: Vec<Entry> = contenders
            .iter()
            .map(|contender| Entry::read(contender, &tournament.security(&contender.id())))
            .collect();
        let voices: Vec<u32> = entries.iter().map(|e| agreement(e, &entries)).collect();
        for (entry, voices) in entries.iter_mut().zip(voices) {
            entry.agreement = voices;
        }
        Ok(entries.iter().map(|e| e.scored(&entries)).collect())
    }
}

/// What a contender's place is made of.
struct Entry {
    id: String,
    strategy: String,
    regressed: f64,
    /// None where no trial says.
    unfixed: Option<f64>,
    agreement: u32,
    lines: f64,
    diff: String,
    paths: Vec<String>,
    failing: Vec<String>,
    disqualified: Option<String>,
}

/// Results that are of one kind; each has a band of the total to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Sound,
    Partial,
    Harmful,
}

impl Class {
    /// The total of the best of its class, and what all of its class are above.
    fn band(self) -> (f64, f64) {
        match self {
            Class::Sound => (100.0, 80.0),
            Class::Partial => (70.0, 40.0),
            Class::Harmful => (30.0, 0.0),
        }
    }
}

impl Entry {
    fn read(contender: &impl Contender, security: &[String]) -> Entry {
        let metric = |name| contender.metric(name).filter(|v| v.is_finite());
        let count = |name| metric(name).unwrap_or(0.0).max(0.0);
        let lines = count("diff.insertions") + count("diff.deletions");
        let to_fix = metric("tests.to-fix").filter(|n| *n > 0.0);
        let unfixed = to_fix.map(|n| (n - count("tests.fixed")).max(0.0));
        let is_empty = metric("diff.files").map_or(lines == 0.0, |n| n == 0.0);
        Entry {
            id: contender.id(),
            strategy: contender.strategy(),
            regressed: count("tests.regressed") + count("tests.missing"),
            unfixed,
            agreement: 0,
            lines,
            diff: contender.unified_diff(COMPARED),
            paths: contender.paths(),
            failing: contender.failing(),
            disqualified: match unfixed {
                _ if is_empty => Some("the patch changes nothing".to_owned()),
                None => Some("no trial says whether it fixes anything".to_owned()),
                Some(_) => broken_gates(contender, security),
            },
        }
    }

    fn class(&self) -> Class {
        match self.unfixed {
            _ if self.regressed > 0.0 => Class::Harmful,
            Some(0.0) => Class::Sound,
            _ => Class::Partial,
        }
    }

    /// Less is better.
    fn compare(&self, other: &Entry) -> Ordering {
        let unfixed = |e: &Entry| e.unfixed.unwrap_or(f64::INFINITY);
        self.regressed
            .total_cmp(&other.regressed)
            .then(unfixed(self).total_cmp(&unfixed(other)))
            .then(other.agreement.cmp(&self.agreement))
            .then(self.lines.total_cmp(&other.lines))
    }

    fn scored(&self, all: &[Entry]) -> Scored {
        let runs = |e: &&Entry| e.disqualified.is_none() == self.disqualified.is_none();
        let class = all
            .iter()
            .filter(runs)
            .filter(|e| e.class() == self.class());
        let (ahead, behind): (Vec<&Entry>, Vec<&Entry>) =
            class.partition(|e| e.compare(self) == Ordering::Less);
        let (best, floor) = self.class().band();
        let step = (best - floor) / (ahead.len() + behind.len()).max(1) as f64;
        Scored {
            id: self.id.clone(),
            total: match self.disqualified {
                Some(_) => 0.0,
                None => best - step * ahead.len() as f64,
            },
            disqualified: self.disqualified.clone(),
            marks: self.marks(),
        }
    }

    /// Named so that they are read in the order in which they count.
    fn marks(&self) -> Vec<(String, f64)> {
        let marks = [
            ("1-regressed", Some(self.regressed)),
            ("2-unfixed", self.unfixed),
            ("3-agreement", Some(f64::from(self.agreement))),
            ("4-lines", Some(self.lines)),
        ];
        let known = marks
            .into_iter()
            .filter_map(|(name, mark)| Some((name, mark?)));
        known.map(|(name, mark)| (name.to_owned(), mark)).collect()
    }

    fn stands_with(&self, other: &Entry) -> bool {
        let tests = |e: &Entry| (e.regressed, e.unfixed, e.disqualified.is_some());
        tests(self) == tests(other) && self.failing == other.failing
    }
}

/// That a change is security-related is a matter for people, who need the candidate to stay in the race.
fn broken_gates(contender: &impl Contender, security: &[String]) -> Option<String> {
    let gates = contender.broken_gates().into_iter();
    let broken: Vec<String> = gates
        .filter(|gate| !security.iter().any(|why| gate.contains(why.as_str())))
        .collect();
    (!broken.is_empty()).then(|| broken.join("; "))
}

/// Other strategies that came to the same result: two voices for the same change, one for another change of the
/// same files. A strategy is one voice, however many variants run it, and none for itself.
fn agreement(entry: &Entry, all: &[Entry]) -> u32 {
    let mut voices: Vec<(&str, u32)> = vec![];
    let others = all
        .iter()
        .filter(|o| o.strategy != entry.strategy && o.stands_with(entry));
    for other in others {
        let weight = match (other.diff == entry.diff, other.paths == entry.paths) {
            (true, _) => 2,
            (false, true) => 1,
            (false, false) => 0,
        };
        match voices.iter_mut().find(|(name, _)| *name == other.strategy) {
            Some((_, most)) => *most = weight.max(*most),
            None => voices.push((&other.strategy, weight)),
        }
    }
    voices.iter().map(|(_, weight)| weight).sum()
}

#[cfg(test)]
mod tests;
