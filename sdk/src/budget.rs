//! What a strategy may still spend, asked in the words it plans in.
//!
//! Touches: nothing.
//! Change here: when the host counts something new. The host refuses what is not covered, whatever a plugin asks
//! here; asking first is for plans: a dialogue that could not be ended is better not begun.

use crate::Host;

/// The meters of a strategy's call. A meter that is unknown or unlimited stands in no plan's way.
///
/// ```
/// use changebus_sdk::budget::Purse;
/// use changebus_sdk::testing::Bench;
///
/// let bench = Bench::new().budget("llm.calls", 2).budget("llm.output-tokens", 9000);
/// let purse = Purse::of(&bench);
/// assert!(purse.enough_for(2, 4000));
/// assert!(!purse.enough_for(3, 1000), "there are two calls");
/// assert!(!purse.enough_for(2, 5000), "there are 9000 tokens");
/// assert_eq!(purse.output_tokens_up_to(16_000), 9000);
/// assert!(purse.probes_at_least(5), "nothing limits them here");
/// ```
pub struct Purse<'a, H: Host> {
    host: &'a H,
}

impl<'a, H: Host> Purse<'a, H> {
    pub fn of(host: &'a H) -> Purse<'a, H> {
        Purse { host }
    }

    /// What is left of a meter, at most `u64::MAX`. Meters: see [`Host::remaining`].
    pub fn left(&self, meter: &str) -> u64 {
        self.host.remaining(meter).unwrap_or(u64::MAX)
    }

    /// So many calls of the model with so many tokens of answer each. Money has no fixed price a call: keep a
    /// reserve of `llm.usd-micros` by what the calls before have cost.
    pub fn enough_for(&self, calls: u32, output_tokens_each: u32) -> bool {
        let tokens = u64::from(calls) * u64::from(output_tokens_each);
        self.left("llm.calls") >= u64::from(calls)
            && self.left("llm.output-tokens") >= tokens
            && (calls == 0 || self.left("llm.usd-micros") > 0)
    }

    /// `wish`, or what is left where that is less: for [`Prompt::new`](crate::Prompt::new).
    pub fn output_tokens_up_to(&self, wish: u32) -> u32 {
        let left = self.left("llm.output-tokens");
        wish.min(u32::try_from(left).unwrap_or(u32::MAX))
    }

    /// Probes, and runs of tools, which cost the same.
    pub fn probes_at_least(&self, runs: u32) -> bool {
        self.left("probe.runs") >= u64::from(runs)
    }
}
