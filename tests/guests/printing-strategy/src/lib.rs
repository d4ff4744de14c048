//! A strategy for wasm32-wasip2 that prints, panics when its config is not empty, and exits when stamped so.
//!
//! Touches: nothing.
//! Change here: when the little of WASI that the host offers changes.

#![cfg(target_family = "wasm")]

use std::collections::BTreeMap;

use exports::changebus::strategy::fix::{Context, Guest, Outcome, Tree};
use serde_json::Value;

wit_bindgen::generate!({ path: "../../../wit", world: "changebus:strategy/strategy", generate_all });

#[path = "../../stamp.rs"]
mod stamp;

struct Printing;

export!(Printing);

changebus_sdk::manifest!(strategy, asks = [workspace], config = BTreeMap<String, Value>);

impl Guest for Printing {
    fn run(context: Context, _: Tree) -> Result<Outcome, String> {
        println!("looking");
        let config = changebus::host::config::get_json();
        if stamp::text().contains("exit") && !stamp::is_tried_out(&context.project()) {
            std::process::exit(3);
        }
        assert_eq!(config, "{}", "the config should be empty");
        let seen = (
            std::env::args().count(),
            std::env::vars().count(),
            std::env::current_dir().is_ok(),
        );
        Ok(Outcome::Decline(format!("{seen:?}")))
    }
}
