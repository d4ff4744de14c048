//! An escalation plugin that behaves as its config says: `{"do": "merge"}` would merge the first contender.
//!
//! Touches: nothing.
//! Change here: when an escalation plugin can misbehave in a new way.

#![cfg(target_family = "wasm")]

use std::collections::BTreeMap;
use std::hint::black_box;

use changebus::host::config;
use exports::changebus::escalation::gate::{Action, Decision, Guest, Reason, Tournament};
use serde_json::Value;

wit_bindgen::generate!({ path: "../../../wit", world: "changebus:escalation/escalation", generate_all });

mod fuzz;
#[path = "../../mood.rs"]
mod mood;
#[path = "../../stamp.rs"]
mod stamp;
#[path = "../../tape.rs"]
pub mod tape;

struct Moody;

export!(Moody);

changebus_sdk::manifest!(escalation, asks = [], config = BTreeMap<String, Value>);

impl Guest for Moody {
    fn decide(tournament: Tournament) -> Result<Decision, String> {
        let config = mood::mood(&config::get_json(), &tournament.project(), "human")?;
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
            "loop" => spin(),
            "allocate" => allocate(),
            "many-reasons" => Ok(many_reasons()),
            "costume" => Ok(dressed()),
            "fuzz" => Ok(fuzz::decision(
                config["tape"].as_str().unwrap_or_default(),
                first,
            )),
            other => Err(format!("no mood `{other}`")),
        }
    }
}

fn spin() -> ! {
    let mut n = 0u64;
    loop {
        n = black_box(n.wrapping_add(1));
    }
}

fn allocate() -> ! {
    let mut hoard = Vec::new();
    loop {
        hoard.push(black_box(vec![1u8; 1 << 20]));
    }
}

fn many_reasons() -> Decision {
    let reason = |n: u32| Reason {
        code: n.to_string(),
        message: "because ".repeat(8),
    };
    Decision {
        action: Action::Human,
        contender: None,
        reasons: (0..20_000).map(reason).collect(),
    }
}

fn dressed() -> Decision {
    let costume = "\u{1b}[2J<script>x</script>\u{202e}\n@everyone";
    Decision {
        action: Action::Human,
        contender: None,
        reasons: vec![Reason {
            code: costume.to_owned(),
            message: costume.to_owned(),
        }],
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
