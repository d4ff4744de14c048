//! What tokens cost, by model and day.
//!
//! Touches: nothing.
//! Change here: when a price changes. Add a row with the day it holds from; older rows stay, so that what was
//! spent before can still be accounted for.

use std::collections::BTreeMap;

use jiff::civil::{Date, date};

use crate::config::Price;
use crate::event::Usage;

use super::models::undated;

/// Prompts longer than this pay the second price of a model that has one, on every token.
const LONG_PROMPT_TOKENS: u64 = 100_000;

struct Row {
    model: &'static str,
    since: Date,
    price: Price,
    long: Option<Price>,
}

/// US dollars for a million tokens: input, output, five-minute cache write, cache read.
const fn price(input: f64, output: f64, cache_write: f64, cache_read: f64) -> Price {
    Price {
        input,
        output,
        cache_write,
        cache_read,
    }
}

const fn row(model: &'static str, since: Date, price: Price) -> Row {
    Row {
        model,
        since,
        price,
        long: None,
    }
}

/// As published by Anthropic; checked on 2026-11-22. The row of a model that holds latest comes last.
const ROWS: [Row; 18] = [
    row(
        "claude-fable-5-2",
        date(2026, 11, 9),
        price(8.0, 40.0, 10.0, 0.20),
    ),
    row(
        "claude-fable-5-1",
        date(2026, 9, 1),
        price(10.0, 50.0, 12.5, 0.25),
    ),
    row(
        "claude-mythos-5-1",
        date(2026, 9, 1),
        price(10.0, 50.0, 12.5, 0.25),
    ),
    row(
        "claude-fable-5",
        date(2026, 6, 9),
        price(10.0, 50.0, 12.5, 1.0),
    ),
    row(
        "claude-mythos-5",
        date(2026, 6, 9),
        price(10.0, 50.0, 12.5, 1.0),
    ),
    row(
        "claude-opus-5-5",
        date(2026, 9, 1),
        price(4.0, 20.0, 5.0, 0.20),
    ),
    row(
        "claude-opus-5",
        date(2026, 7, 24),
        price(5.0, 25.0, 6.25, 0.50),
    ),
    row(
        "claude-opus-4-8",
        date(2026, 1, 1),
        price(5.0, 25.0, 6.25, 0.50),
    ),
    row(
        "claude-opus-4-7",
        date(2026, 1, 1),
        price(5.0, 25.0, 6.25, 0.50),
    ),
    row(
        "claude-opus-4-6",
        date(2026, 1, 1),
        price(5.0, 25.0, 6.25, 0.50),
    ),
    row(
        "claude-opus-4-5",
        date(2025, 11, 1),
        price(5.0, 25.0, 6.25, 0.50),
    ),
    row(
        "claude-sonnet-5-5",
        date(2026, 9, 1),
        price(2.0, 10.0, 2.5, 0.20),
    ),
    row(
        "claude-sonnet-5-5",
        date(2026, 10, 7),
        price(2.0, 10.0, 2.5, 0.10),
    ),
    row(
        "claude-sonnet-5",
        date(2026, 1, 1),
        price(2.0, 10.0, 2.5, 0.20),
    ),
    row(
        "claude-sonnet-4-6",
        date(2026, 1, 1),
        price(3.0, 15.0, 3.75, 0.30),
    ),
    row(
        "claude-sonnet-4-5",
        date(2025, 9, 29),
        price(3.0, 15.0, 3.75, 0.30),
    ),
    Row {
        model: "claude-haiku-5-5",
        since: date(2026, 10, 7),
        price: price(0.10, 0.50, 0.125, 0.01),
        long: Some(price(0.50, 2.50, 0.625, 0.05)),
    },
    row(
        "claude-haiku-4-5",
        date(2025, 10, 1),
        price(1.0, 5.0, 1.25, 0.10),
    ),
];

/// The prices one model is charged at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tariff {
    price: Price,
    long: Option<Price>,
}

/// The tariff of `model` on `day`; the operator's own price wins over the table. None: nobody knows it.
pub fn tariff(model: &str, day: Date, own: &BTreeMap<String, Price>) -> Option<Tariff> {
    if let Some(price) = own.get(model).or_else(|| own.get(undated(model))) {
        return Some(Tariff {
            price: *price,
            long: None,
        });
    }
    let of_model = || ROWS.iter().filter(|row| row.model == undated(model));
    // A clock that stands before a model's first day is wrong; its first price is the best guess.
    let row = of_model()
        .rfind(|row| row.since <= day)
        .or_else(|| of_model().next())?;
    Some(Tariff {
        price: row.price,
        long: row.long,
    })
}

impl Tariff {
    /// US dollars for this usage; `usage.cost_usd` is not looked at.
    pub fn cost_usd(&self, usage: &Usage) -> f64 {
        let price = self.for_prompt_of(usage.input_tokens);
        let plain = usage
            .input_tokens
            .saturating_sub(usage.cache_read_tokens + usage.cache_write_tokens);
        let millionths = plain as f64 * price.input
            + usage.cache_write_tokens as f64 * price.cache_write
            + usage.cache_read_tokens as f64 * price.cache_read
            + usage.output_tokens as f64 * price.output;
        millionths / 1e6
    }

    /// The most `input` and `output` tokens can cost, whatever the cache does.
    pub fn ceiling_usd(&self, input: u64, output: u64) -> f64 {
        let price = self.for_prompt_of(input);
        let dearest = price.input.max(price.cache_write).max(price.cache_read);
        (input as f64 * dearest + output as f64 * price.output) / 1e6
    }

    fn for_prompt_of(&self, tokens: u64) -> Price {
        self.long
            .filter(|_| tokens > LONG_PROMPT_TOKENS)
            .unwrap_or(self.price)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TODAY: Date = date(2026, 11, 22);

    fn usage(
        input_tokens: u64,
        output_tokens: u64,
        cache_read_tokens: u64,
        cache_write_tokens: u64,
    ) -> Usage {
        Usage {
            input_tokens,
            output_tokens,
            cache_read_tokens,
            cache_write_tokens,
            cost_usd: 0.0,
        }
    }

    fn cost(model: &str, day: Date, usage: Usage) -> f64 {
        tariff(model, day, &BTreeMap::new())
            .expect("in the table")
            .cost_usd(&usage)
    }

    fn same(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn every_kind_of_token_has_its_price() {
        let sum = cost(
            "claude-sonnet-5-5",
            TODAY,
            usage(3_000_000, 1_000_000, 1_000_000, 1_000_000),
        );
        assert!(same(sum, 2.0 + 10.0 + 2.5 + 0.10), "{sum}");
    }

    #[test]
    fn a_price_holds_from_its_day() {
        let million_read = usage(1_000_000, 0, 1_000_000, 0);
        assert!(same(
            cost("claude-sonnet-5-5", date(2026, 10, 6), million_read),
            0.20
        ));
        assert!(same(
            cost("claude-sonnet-5-5", date(2026, 10, 7), million_read),
            0.10
        ));
    }

    #[test]
    fn haiku_above_a_hundred_thousand_pays_more_on_every_token() {
        assert!(same(
            cost("claude-haiku-5-5", TODAY, usage(100_000, 1_000, 0, 0)),
            0.0105
        ));
        assert!(same(
            cost("claude-haiku-5-5", TODAY, usage(100_001, 1_000, 0, 0)),
            0.0500005 + 0.0025
        ));
        // What was read from the cache counts into the length.
        assert!(same(
            cost("claude-haiku-5-5", TODAY, usage(120_000, 0, 120_000, 0)),
            0.006
        ));
    }

    #[test]
    fn the_operator_overrules_the_table_and_adds_to_it() {
        let own = BTreeMap::from([("house-model".to_owned(), price(1.0, 1.0, 1.0, 1.0))]);
        assert_eq!(tariff("house-model", TODAY, &BTreeMap::new()), None);
        let tariff = tariff("house-model", TODAY, &own).expect("configured");
        assert!(same(tariff.cost_usd(&usage(1_000_000, 0, 0, 0)), 1.0));
    }

    #[test]
    fn a_dated_name_costs_what_the_plain_name_costs() {
        let plain = cost("claude-haiku-4-5", TODAY, usage(1_000_000, 0, 0, 0));
        assert!(same(
            cost(
                "claude-haiku-4-5-20251001",
                TODAY,
                usage(1_000_000, 0, 0, 0)
            ),
            plain
        ));
    }

    #[test]
    fn the_ceiling_is_never_below_the_cost_of_any_split() {
        for row in &ROWS {
            let tariff = tariff(row.model, TODAY, &BTreeMap::new()).expect("in the table");
            for (read, write) in [(0, 0), (150_000, 0), (0, 150_000), (50_000, 50_000)] {
                let cost = tariff.cost_usd(&usage(150_000, 9_000, read, write));
                assert!(
                    cost <= tariff.ceiling_usd(150_000, 9_000) + 1e-12,
                    "{}",
                    row.model
                );
            }
        }
    }

    #[test]
    fn rows_of_one_model_stand_in_order_of_time() {
        for pair in ROWS
            .windows(2)
            .filter(|pair| pair[0].model == pair[1].model)
        {
            assert!(pair[0].since < pair[1].since, "{}", pair[0].model);
        }
    }
}
