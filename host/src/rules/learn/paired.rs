//! Two that were tried on the same cases: how far apart they are, and how sure that is.
//!
//! Touches: nothing.
//! Change here: when two should be compared otherwise. Sources: Newcombe (1998), "Improved confidence intervals for the
//! difference between binomial proportions based on paired data", method 10; McNemar (1947), exact.

use super::estimate::{Share, wilson};

/// How two did on the same cases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pairs {
    pub both: usize,
    pub only_first: usize,
    pub only_second: usize,
    pub neither: usize,
}

impl Pairs {
    pub fn count(outcomes: impl IntoIterator<Item = (bool, bool)>) -> Pairs {
        let mut pairs = Pairs::default();
        for outcome in outcomes {
            *match outcome {
                (true, true) => &mut pairs.both,
                (true, false) => &mut pairs.only_first,
                (false, true) => &mut pairs.only_second,
                (false, false) => &mut pairs.neither,
            } += 1;
        }
        pairs
    }

    pub fn all(self) -> usize {
        self.both + self.only_first + self.only_second + self.neither
    }

    /// The first one's share less the second one's, with 95 %: Wilson's intervals of both, put together as their
    /// correlation says. None of none.
    pub fn difference(self) -> Option<Share> {
        let n = self.all() as f64;
        let (first, second) = self.marginals();
        let (a, b) = (wilson(first, n)?, wilson(second, n)?);
        let together = self.correlation();
        let spread = |x: f64, y: f64| (x * x - 2.0 * together * x * y + y * y).max(0.0).sqrt();
        let estimate = (self.only_first as f64 - self.only_second as f64) / n;
        Some(Share {
            estimate,
            low: estimate - spread(a.estimate - a.low, b.high - b.estimate),
            high: estimate + spread(b.estimate - b.low, a.high - a.estimate),
        })
    }

    fn marginals(self) -> (f64, f64) {
        (
            (self.both + self.only_first) as f64,
            (self.both + self.only_second) as f64,
        )
    }

    /// Phi, corrected for continuity where it is positive.
    fn correlation(self) -> f64 {
        let n = self.all() as f64;
        let (first, second) = self.marginals();
        let of = (first * (n - first) * second * (n - second)).sqrt();
        let agree = (self.both * self.neither) as f64;
        let apart = agree - (self.only_first * self.only_second) as f64;
        let corrected = match apart {
            positive if positive > 0.0 => (positive - n / 2.0).max(0.0),
            rest => rest,
        };
        if of > 0.0 { corrected / of } else { 0.0 }
    }

    /// How likely a difference at least as large is where there is none: McNemar's test, exact, two-sided.
    pub fn p_value(self) -> f64 {
        let (n, fewer) = (
            self.only_first + self.only_second,
            self.only_first.min(self.only_second),
        );
        let mut term = 0.5_f64.powi(i32::try_from(n).unwrap_or(i32::MAX));
        let mut tail = 0.0;
        for k in 0..=fewer {
            tail += term;
            term *= (n - k) as f64 / (k + 1) as f64;
        }
        (2.0 * tail).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(both: usize, only_first: usize, only_second: usize, neither: usize) -> Pairs {
        Pairs {
            both,
            only_first,
            only_second,
            neither,
        }
    }

    fn bounds(pairs: Pairs) -> (f64, f64) {
        let difference = pairs.difference().expect("there are some");
        let round = |x: f64| (x * 1e3).round() / 1e3;
        (round(difference.low), round(difference.high))
    }

    /// Newcombe's own table; Altman, Machin, Bryant and Gardner (2000), table 6.2; airway hyper-responsiveness of Bentur et
    /// al. (2009) as Fagerland, Lydersen and Laake (2014) work it out.
    #[test]
    fn differences_of_pairs_have_the_published_intervals() {
        assert_eq!(bounds(pairs(36, 12, 2, 0)), (0.057, 0.340));
        assert_eq!(bounds(pairs(14, 5, 0, 22)), (0.011, 0.226));
        assert_eq!(bounds(pairs(1, 1, 7, 12)), (-0.507, -0.026));
        assert_eq!(pairs(0, 0, 0, 0).difference(), None);
    }

    #[test]
    fn who_is_named_first_changes_the_sign_alone() {
        for (b, c) in [(5, 0), (3, 7), (1, 1)] {
            let one = pairs(14, b, c, 22).difference().expect("some");
            let two = pairs(14, c, b, 22).difference().expect("some");
            assert!((one.low + two.high).abs() < 1e-12 && (one.high + two.low).abs() < 1e-12);
        }
    }

    /// That of Bentur et al. is published as 0.070; 5 of 5 on one side have twice a half to the fifth.
    #[test]
    fn the_exact_test_of_mcnemar_is_the_published_one() {
        assert!((pairs(1, 1, 7, 12).p_value() - 0.0703125).abs() < 1e-12);
        assert!((pairs(14, 5, 0, 22).p_value() - 0.0625).abs() < 1e-12);
        assert_eq!(pairs(3, 0, 0, 3).p_value(), 1.0);
        assert_eq!(pairs(0, 4, 4, 0).p_value(), 1.0);
    }

    #[test]
    fn few_cases_that_come_out_alike_tell_no_difference() {
        let alike = pairs(2, 0, 0, 1).difference().expect("some");
        assert!(alike.low < -0.3 && alike.high > 0.3, "{alike:?}");
    }

    #[test]
    fn outcomes_are_counted_where_they_belong() {
        let seen = [(true, true), (true, false), (false, true), (true, false)];
        assert_eq!(Pairs::count(seen), pairs(1, 2, 1, 0));
    }
}
