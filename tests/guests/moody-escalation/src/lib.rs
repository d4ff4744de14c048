//! An escalation plugin that behaves as its config says: `{"do": "merge"}` would merge the first contender.
//!
//! Touches: nothing.
//! Change here: when an escalation plugin can misbehave in a new way.

#![cfg(target_family = "wasm")]

use std::collections::BTreeMap;

use changebus::host::config;
use exports::changebus::escalation::gate::{Action, Decision, Guest, Reason, Tournament};
use serde_json::Value;

wit_bindgen::generate!({ path: "../../../wit", world: "changebus:escalation/escalation", generate_all });

struct Moody;

export!(Moody);

changebus_sdk::manifest!(escalation, asks = [], config = BTreeMap<String, Value>);

impl Guest for Moody {
    fn decide(tournament: &Tournament) -> Result<Decision, String> {
        let config: Value =
            serde_json::from_str(&config::get_json()).map_err(|error| error.to_string())?;
        let first = tournament
            .contenders()
            .first()
            .map(|contender| contender.id());
        match config["do"].as_str().unwrap_or_default() {
            "merge" => Ok(decision(Action::Merge, first)),
            "propose" => Ok(decision(Action::PullRequest, first)),
            "human" => Ok(decision(Action::Human, None)),
            "stranger" => Ok(decision(Action::Merge, Some("Z".to_owned()))),
            "give-up" => Err("cannot decide".to_owned()),
            "panic" => panic!("cannot go on"),
            other => Err(format!("no mood `{other}`")),
        }
    }
}

fn decision(action: Action, contender: Option<String>) -> Decision {
    let reasons = vec![Reason {
        code: "mood".to_owned(),
        message: "I was told so".to_owned(),
    }];
    Decision {
        action,
        contender,
        reasons,
    }
}
