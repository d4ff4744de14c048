//! What the scripted model answers in the demo: a small fix for variant A, a sturdier one for variant B.
//!
//! Touches: nothing.
//! Change here: with the demo's regression in `repository.rs`.

use scripted_claude::{RecordedRequest, Reply, Script};

const MINIMAL: &str = "\
The push turned `at least` into `more than`, so an order of exactly 50.00 pays for shipping. The clearer match and the \
new gift wrapping in the same push are fine and stay.

src/shipping.rs
<<<<<<< SEARCH
    if order_total > FREE_FROM {
=======
    if order_total >= FREE_FROM {
>>>>>>> REPLACE
";

const ROBUST: &str = "\
The comparison is written out twice in this crate, once with the edge and once without. Giving the rule one name \
keeps the two callers from drifting apart again.

src/shipping.rs
<<<<<<< SEARCH
    if order_total > FREE_FROM {
=======
    if ships_free(order_total) {
>>>>>>> REPLACE

src/shipping.rs
<<<<<<< SEARCH
/// What sending a parcel of this weight costs, for an order of this total.
=======
/// An order of exactly the limit ships free, too.
pub fn ships_free(order_total: Cents) -> bool {
    order_total >= FREE_FROM
}

/// What sending a parcel of this weight costs, for an order of this total.
>>>>>>> REPLACE
";

/// Variants are told apart by the effort they ask for, as the default configuration sets it.
pub fn answers() -> Script {
    Script::from_fn(|request: &RecordedRequest| {
        let effort = request.body["output_config"]["effort"]
            .as_str()
            .unwrap_or("high");
        Reply::text(if effort == "low" { MINIMAL } else { ROBUST })
    })
}
