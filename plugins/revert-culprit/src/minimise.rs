//! Delta debugging: a small part of a set that still has a property, by few questions.
//!
//! Touches: nothing.
//! Change here: when questions can be saved; the property test holds the promise of 1-minimality.

use std::collections::{BTreeMap, BTreeSet};

use changebus_sdk::edits::one_by_one;

/// Why a question was not answered; ends the search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop(pub String);

/// Asks whether a subset has the property, each subset once.
pub struct Oracle<F> {
    ask: F,
    known: BTreeMap<BTreeSet<usize>, bool>,
}

impl<F: FnMut(&BTreeSet<usize>) -> Result<bool, Stop>> Oracle<F> {
    /// The empty set is known not to have it, that is where the story begins; and `start` is known to have it.
    pub fn new(start: &BTreeSet<usize>, ask: F) -> Oracle<F> {
        let known = one_by_one([(BTreeSet::new(), false), (start.clone(), true)]);
        Oracle { ask, known }
    }

    pub fn holds(&mut self, subset: &BTreeSet<usize>) -> Result<bool, Stop> {
        if let Some(known) = self.known.get(subset) {
            return Ok(*known);
        }
        let answer = (self.ask)(subset)?;
        self.known.insert(subset.clone(), answer);
        Ok(answer)
    }
}

/// What a search came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub subset: BTreeSet<usize>,
    /// None where no member can be left out any more; else why the search ended before that was known.
    pub stopped: Option<Stop>,
}

/// Shrinks `start`, which is known to have the property, until no single member can be left out.
///
/// Bisects for the last member that is needed, keeps it, and goes on with those before it: about
/// `log2(n)` questions a culprit, and at any time the best set so far has the property. Then every member is left
/// out once, since a property need not be monotone.
pub fn minimise<F>(start: Vec<usize>, oracle: &mut Oracle<F>) -> Found
where
    F: FnMut(&BTreeSet<usize>) -> Result<bool, Stop>,
{
    let mut best: BTreeSet<usize> = one_by_one(start.iter().copied());
    let stopped = shrink(start, &mut best, oracle)
        .and_then(|()| leave_out(&mut best, oracle))
        .err();
    Found {
        subset: best,
        stopped,
    }
}

fn shrink<F>(
    mut open: Vec<usize>,
    best: &mut BTreeSet<usize>,
    oracle: &mut Oracle<F>,
) -> Result<(), Stop>
where
    F: FnMut(&BTreeSet<usize>) -> Result<bool, Stop>,
{
    let mut needed = BTreeSet::new();
    while !oracle.holds(&needed)? {
        // With the first `high` open members it holds, with the first `low` it does not.
        let (mut low, mut high) = (0, open.len());
        while high - low > 1 {
            let middle = (low + high) / 2;
            let set = one_by_one(open[..middle].iter().chain(&needed).copied());
            if oracle.holds(&set)? {
                (high, *best) = (middle, set);
            } else {
                low = middle;
            }
        }
        needed.insert(open[high - 1]);
        open.truncate(high - 1);
        *best = one_by_one(open.iter().chain(&needed).copied());
    }
    *best = needed;
    Ok(())
}

fn leave_out<F>(best: &mut BTreeSet<usize>, oracle: &mut Oracle<F>) -> Result<(), Stop>
where
    F: FnMut(&BTreeSet<usize>) -> Result<bool, Stop>,
{
    'again: loop {
        for member in best.clone() {
            let mut less = best.clone();
            less.remove(&member);
            if oracle.holds(&less)? {
                *best = less;
                continue 'again;
            }
        }
        return Ok(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Dice(u64);

    impl Dice {
        fn below(&mut self, n: usize) -> usize {
            self.0 = self
                .0
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            ((self.0 >> 33) % n as u64) as usize
        }

        fn subset(&mut self, n: usize, odds: usize) -> BTreeSet<usize> {
            (0..n).filter(|_| self.below(odds) == 0).collect()
        }
    }

    /// Any property over subsets, monotone or not: it holds where one of the causes is contained and none of
    /// the spoilers is complete, and always for the whole.
    fn property(dice: &mut Dice, n: usize) -> impl Fn(&BTreeSet<usize>) -> bool + use<> {
        let causes: Vec<_> = (0..1 + dice.below(3)).map(|_| dice.subset(n, 4)).collect();
        let spoilers: Vec<_> = (0..dice.below(4))
            .map(|_| dice.subset(n, 3))
            .filter(|s| s.len() > 1)
            .collect();
        move |set: &BTreeSet<usize>| {
            let caused = causes.iter().any(|cause| cause.is_subset(set));
            let spoiled = spoilers.iter().any(|spoiler| spoiler.is_subset(set));
            !set.is_empty() && (set.len() == n || caused && !spoiled)
        }
    }

    #[test]
    fn what_is_found_has_the_property_and_no_member_to_spare_whatever_the_property() {
        let mut dice = Dice(3);
        for _ in 0..2000 {
            let n = 1 + dice.below(12);
            let holds = property(&mut dice, n);
            let all = (0..n).collect();
            let mut oracle = Oracle::new(&all, |set: &BTreeSet<usize>| Ok(holds(set)));
            let found = minimise((0..n).collect(), &mut oracle);
            assert_eq!(found.stopped, None);
            assert!(holds(&found.subset));
            for member in &found.subset {
                let mut less = found.subset.clone();
                less.remove(member);
                assert!(
                    !holds(&less),
                    "{member} can be left out of {:?}",
                    found.subset
                );
            }
        }
    }

    #[test]
    fn no_subset_is_asked_about_twice_nor_the_empty_one() {
        let mut dice = Dice(9);
        for _ in 0..300 {
            let n = 1 + dice.below(10);
            let holds = property(&mut dice, n);
            let all = (0..n).collect();
            let mut asked: Vec<BTreeSet<usize>> = vec![];
            let mut oracle = Oracle::new(&all, |set: &BTreeSet<usize>| {
                asked.push(set.clone());
                Ok(holds(set))
            });
            minimise((0..n).collect(), &mut oracle);
            let distinct: BTreeSet<_> = asked.iter().collect();
            assert_eq!(distinct.len(), asked.len());
            assert!(!asked.contains(&BTreeSet::new()));
        }
    }

    #[test]
    fn few_culprits_among_many_take_few_questions() {
        let mut dice = Dice(5);
        for _ in 0..300 {
            let culprits: BTreeSet<usize> =
                (0..1 + dice.below(3)).map(|_| dice.below(64)).collect();
            let all = (0..64).collect();
            let mut asked = 0;
            let mut oracle = Oracle::new(&all, |set: &BTreeSet<usize>| {
                asked += 1;
                Ok(culprits.is_subset(set))
            });
            let found = minimise((0..64).collect(), &mut oracle);
            assert_eq!(found.subset, culprits);
            let most = 8 * culprits.len();
            assert!(asked <= most, "{asked} questions for {culprits:?}");
        }
    }

    #[test]
    fn a_search_that_is_stopped_hands_in_the_smallest_that_is_known_to_hold() {
        let mut dice = Dice(21);
        for _ in 0..500 {
            let n = 2 + dice.below(10);
            let holds = property(&mut dice, n);
            let all = (0..n).collect();
            let budget = dice.below(8);
            let mut asked = 0;
            let mut oracle = Oracle::new(&all, |set: &BTreeSet<usize>| {
                asked += 1;
                if asked > budget {
                    Err(Stop("spent".into()))
                } else {
                    Ok(holds(set))
                }
            });
            let found = minimise((0..n).collect(), &mut oracle);
            assert!(holds(&found.subset), "{:?}", found.subset);
        }
    }
}
