//! How much a handful of outcomes says: shares with their uncertainty, and whether promises were kept.
//!
//! Touches: nothing.
//! Change here: when a share should be estimated otherwise. Sources: Wilson (1927) for intervals of counts; a Beta posterior
//! whose prior is the estimate one level up, for shares of few; Platt (1999) for what confidence means.

use statrs::distribution::{Beta, ContinuousCDF};

use crate::event::Calibration;

/// Standard deviations that hold 95 of 100.
const Z: f64 = 1.959_963_984_540_054;
/// How many outcomes the level above counts as.
pub const PRIOR: f64 = 6.0;
/// Days after which an outcome counts half.
pub const HALF_LIFE: f64 = 75.0;
/// A score below that many outcomes is shown with a word of caution, and told to nobody as a fact.
pub const ENOUGH: f64 = 10.0;

/// A share of trials, and where it lies with a probability of 95 %.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    pub estimate: f64,
    pub low: f64,
    pub high: f64,
}

/// Of counts. None of none.
pub fn wilson(good: f64, all: f64) -> Option<Share> {
    if all <= 0.0 {
        return None;
    }
    let share = good / all;
    let z2 = Z * Z;
    let middle = (share + z2 / (2.0 * all)) / (1.0 + z2 / all);
    let spread =
        Z / (1.0 + z2 / all) * (share * (1.0 - share) / all + z2 / (4.0 * all * all)).sqrt();
    Some(Share {
        estimate: share,
        low: (middle - spread).max(0.0),
        high: (middle + spread).min(1.0),
    })
}

/// Good and bad outcomes, as a belief about their share: a Beta distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Belief {
    start: (f64, f64),
    good: f64,
    weight: f64,
    squares: f64,
}

impl Belief {
    /// Nothing is known: every share is as likely as any other.
    pub const NONE: Belief = Belief::from(1.0, 1.0);

    const fn from(good: f64, bad: f64) -> Belief {
        Belief {
            start: (good, bad),
            good: 0.0,
            weight: 0.0,
            squares: 0.0,
        }
    }

    /// What is believed of the whole, as a start for one of its parts: worth at most [`PRIOR`] outcomes.
    pub fn of_a_part(self) -> Belief {
        let (good, bad) = self.counts();
        let weight = (good + bad).min(PRIOR);
        Belief::from(self.mean() * weight, (1.0 - self.mean()) * weight)
    }

    /// `worth` from 0, a bad outcome, to 1, a good one; `weight` how much it counts, above 0.
    pub fn learn(&mut self, worth: f64, weight: f64) {
        self.good += worth * weight;
        self.weight += weight;
        self.squares += weight * weight;
    }

    /// Good and bad ones, as many as would say as much if each counted fully (Kish's effective sample size): many that
    /// count half say more together than half as many.
    fn counts(self) -> (f64, f64) {
        let worth_of_one = match self.squares > 0.0 {
            true => self.weight / self.squares,
            false => 1.0,
        };
        let bad = self.weight - self.good;
        (
            self.start.0 + self.good * worth_of_one,
            self.start.1 + bad * worth_of_one,
        )
    }

    pub fn mean(self) -> f64 {
        let (good, bad) = self.counts();
        good / (good + bad)
    }

    pub fn share(self) -> Share {
        let (good, bad) = self.counts();
        // Both are positive by construction; a distribution that cannot be made says nothing.
        let bounds =
            Beta::new(good, bad).map(|beta| (beta.inverse_cdf(0.025), beta.inverse_cdf(0.975)));
        let (low, high) = bounds.unwrap_or((0.0, 1.0));
        Share {
            estimate: self.mean(),
            low,
            high,
        }
    }
}

/// How much an outcome of that many days ago counts: 1 today.
pub fn weight(days: f64) -> f64 {
    0.5_f64.powf(days.max(0.0) / HALF_LIFE)
}

/// A promise and what came of it, 0 to 1 both.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kept {
    pub promised: f64,
    pub came: f64,
}

/// Mean squared distance of promises from what came: 0 is perfect, 0.25 is a coin's. None of none.
pub fn brier(all: &[Kept]) -> Option<f64> {
    mean(all.iter().map(|k| (k.promised - k.came).powi(2)))
}

/// Promises of about the same height, and what came of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bin {
    pub promised: f64,
    pub came: f64,
    pub count: usize,
}

/// Tenths that have promises in them, lowest first.
pub fn reliability(all: &[Kept]) -> Vec<Bin> {
    let tenth = |k: &&Kept| ((k.promised * 10.0) as usize).min(9);
    (0..10)
        .filter_map(|n| {
            let here: Vec<&Kept> = all.iter().filter(|k| tenth(k) == n).collect();
            Some(Bin {
                promised: mean(here.iter().map(|k| k.promised))?,
                came: mean(here.iter().map(|k| k.came))?,
                count: here.len(),
            })
        })
        .collect()
}

/// How far promises of about the same height are from what came, on average over all promises. None of none.
pub fn calibration_error(all: &[Kept]) -> Option<f64> {
    let off: f64 = reliability(all)
        .iter()
        .map(|bin| (bin.promised - bin.came).abs() * bin.count as f64)
        .sum();
    (!all.is_empty()).then(|| off / all.len() as f64)
}

/// Fewer aged outcomes than that calibrate nothing.
pub const TO_CALIBRATE: usize = 50;
/// Holds the curve back where there is little to go by: as much as so many outcomes would.
const RIDGE: f64 = 1.0;
const STEPS: usize = 50;

impl Calibration {
    /// A logistic curve through what came of earlier promises (Platt 1999), by Newton's method. None where too little is
    /// known. Where more promised came to less, promises say nothing: each means what they came to on average.
    pub fn fit(all: &[Kept]) -> Option<Calibration> {
        if all.len() < TO_CALIBRATE {
            return None;
        }
        let mut curve = Calibration {
            at_zero: 0.0,
            slope: 0.0,
            outcomes: u32::try_from(all.len()).unwrap_or(u32::MAX),
        };
        for _ in 0..STEPS {
            let (step, size) = curve.step(all);
            curve.at_zero += step.0;
            curve.slope += step.1;
            if size < 1e-9 {
                break;
            }
        }
        if curve.slope < 0.0 {
            curve.slope = 0.0;
            curve.at_zero = odds(mean(all.iter().map(|k| k.came))?);
        }
        let is_sound = curve.at_zero.is_finite() && curve.slope.is_finite();
        is_sound.then_some(curve)
    }

    /// From the slope and the curvature of the likelihood; and how far it goes.
    fn step(&self, all: &[Kept]) -> ((f64, f64), f64) {
        let (mut g0, mut g1) = (0.0, -RIDGE * self.slope);
        let (mut h00, mut h01, mut h11) = (1e-9, 0.0, RIDGE);
        for kept in all {
            let x = odds(kept.promised);
            let p = self.means(kept.promised);
            let (off, weight) = (kept.came - p, p * (1.0 - p));
            g0 += off;
            g1 += off * x;
            h00 += weight;
            h01 += weight * x;
            h11 += weight * x * x;
        }
        let det = h00 * h11 - h01 * h01;
        let step = ((h11 * g0 - h01 * g1) / det, (h00 * g1 - h01 * g0) / det);
        (step, step.0.abs() + step.1.abs())
    }

    /// What this promise means.
    pub fn means(&self, promised: f64) -> f64 {
        1.0 / (1.0 + (-(self.at_zero + self.slope * odds(promised))).exp())
    }
}

/// The logarithm of the odds, of what is neither sure nor out of the question.
fn odds(share: f64) -> f64 {
    let share = share.clamp(0.01, 0.99);
    (share / (1.0 - share)).ln()
}

pub fn mean(all: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = all.fold((0.0, 0usize), |(sum, count), x| (sum + x, count + 1));
    (count > 0).then(|| sum / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 0.001
    }

    /// From the tables of Newcombe (1998): 81 of 263, and 15 of 148.
    #[test]
    fn intervals_of_counts_are_the_published_ones() {
        let share = wilson(81.0, 263.0).expect("there are some");
        assert!(
            near(share.low, 0.2553) && near(share.high, 0.3662),
            "{share:?}"
        );
        let share = wilson(15.0, 148.0).expect("there are some");
        assert!(
            near(share.low, 0.0624) && near(share.high, 0.1605),
            "{share:?}"
        );
        assert_eq!(wilson(0.0, 0.0), None);
        let none = wilson(0.0, 20.0).expect("there are some");
        assert!(none.low == 0.0 && none.high > 0.1);
    }

    #[test]
    fn few_outcomes_are_believed_less_than_what_holds_elsewhere() {
        let mut whole = Belief::NONE;
        (0..80).for_each(|_| whole.learn(1.0, 1.0));
        (0..20).for_each(|_| whole.learn(0.0, 1.0));
        let mut part = whole.of_a_part();
        assert!(near(part.mean(), whole.mean()));
        part.learn(0.0, 1.0);
        assert!(part.mean() > 0.6, "{}", part.mean());
        (0..50).for_each(|_| part.learn(0.0, 1.0));
        assert!(part.mean() < 0.12, "{}", part.mean());
        let share = part.share();
        assert!(share.low < share.estimate && share.estimate < share.high);
    }

    #[test]
    fn old_outcomes_count_less() {
        assert!(near(weight(0.0), 1.0) && near(weight(HALF_LIFE), 0.5) && near(weight(-5.0), 1.0));
    }

    #[test]
    fn promises_that_are_kept_too_rarely_come_to_mean_less() {
        let mut seed = fastrand::Rng::with_seed(7);
        // Promised is twice as much as comes.
        let all: Vec<Kept> = (0..2000)
            .map(|_| {
                let promised = seed.f64();
                let came = f64::from(u8::from(seed.f64() < promised / 2.0));
                Kept { promised, came }
            })
            .collect();
        assert!(calibration_error(&all).expect("there are some") > 0.2);
        let fit = Calibration::fit(&all).expect("there are enough");
        for promised in [0.2, 0.5, 0.8] {
            let means = fit.means(promised);
            assert!(
                (means - promised / 2.0).abs() < 0.08,
                "{promised} means {means}"
            );
        }
        assert!(fit.means(0.1) <= fit.means(0.9));
        assert_eq!(fit.outcomes, 2000);
        assert_eq!(Calibration::fit(&all[..TO_CALIBRATE - 1]), None);
        assert!(near(
            brier(&[Kept {
                promised: 0.8,
                came: 1.0
            }])
            .expect("one"),
            0.04
        ));
    }
    #[test]
    fn where_more_promised_came_to_less_each_promise_means_the_average() {
        let one = |n: usize| Kept {
            promised: if n.is_multiple_of(2) { 0.9 } else { 0.6 },
            came: f64::from(u8::from(n % 2 == 1 && n % 10 != 1)),
        };
        let all: Vec<Kept> = (0..100).map(one).collect();
        let fit = Calibration::fit(&all).expect("there are enough");
        assert!(
            near(fit.means(0.9), 0.4) && near(fit.means(0.6), 0.4),
            "{fit:?}"
        );
    }
}
