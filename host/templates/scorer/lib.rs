//! Prefers the contender that changes least, among those that fix what broke and lose nothing.
//!
//! Keep the frame, change the marks: whatever you give adds up to at most 100.

use changebus_sdk::*;
use serde::Deserialize;

/// For making the failing tests pass without losing another.
const TESTS: f64 = 80.0;
/// For changing little.
const SIZE: f64 = 20.0;

/// What `scorer_config` of the policy may hold; the host checks it before the plugin is ever called.
#[derive(Deserialize, Config)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// A change of one line has all the marks for size, one of so many lines more has half of them.
    #[config(min = 1)]
    half_at_lines: u32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { half_at_lines: 20 }
    }
}

#[derive(Default)]
pub struct LeastChange;

// It needs nothing that the operator would have to allow.
export_scorer!(LeastChange, asks = [], config = Settings);

impl Scorer for LeastChange {
    fn score(
        &self,
        tournament: &impl Tournament,
        services: &impl Services,
    ) -> Result<Vec<Scored>, String> {
        let settings: Settings = services.config()?;
        let half_at = f64::from(settings.half_at_lines);
        Ok(tournament
            .contenders()
            .iter()
            .map(|c| score(c, half_at))
            .collect())
    }
}

fn score(contender: &impl Contender, half_at: f64) -> Scored {
    let metric = |name: &str| {
        contender
            .metric(name)
            .filter(|v| v.is_finite())
            .unwrap_or(0.0)
    };
    let (to_fix, fixed) = (metric("tests.to-fix"), metric("tests.fixed"));
    let lost = metric("tests.regressed") + metric("tests.missing");
    let changed = metric("diff.insertions") + metric("diff.deletions");
    let tests = match lost > 0.0 || to_fix == 0.0 {
        true => 0.0,
        false => TESTS * (fixed / to_fix).clamp(0.0, 1.0),
    };
    let size = SIZE * half_at / (half_at + (changed - 1.0).max(0.0));
    Scored {
        id: contender.id(),
        total: tests + size,
        disqualified: (changed == 0.0).then(|| "the patch changes nothing".to_owned()),
        marks: vec![("tests".to_owned(), tests), ("size".to_owned(), size)],
    }
}

#[cfg(test)]
mod tests {
    use changebus_sdk::testing::{Arena, Entrant};

    use super::*;

    fn totals(arena: &Arena) -> Vec<f64> {
        let scored = arena.score(&LeastChange).unwrap();
        scored.into_iter().map(|s| s.total.round()).collect()
    }

    #[test]
    fn of_two_that_fix_it_the_smaller_stands_first() {
        let large = Entrant::fixing("B").metric("diff.insertions", 60.0);
        let arena = Arena::new()
            .contender(Entrant::fixing("A"))
            .contender(large);
        let totals = totals(&arena);
        assert!(totals[0] > totals[1] && totals[1] > TESTS, "{totals:?}");
    }

    #[test]
    fn a_lost_test_costs_more_than_any_size_can_make_good() {
        let careless = Entrant::fixing("A").metric("tests.regressed", 1.0);
        let large = Entrant::fixing("B").metric("diff.insertions", 5000.0);
        let totals = totals(&Arena::new().contender(careless).contender(large));
        assert!(totals[0] < totals[1], "{totals:?}");
    }
}
