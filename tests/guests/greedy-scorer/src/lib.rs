//! A scorer that would like to ask a model, which scorers may not.
//!
//! Touches: nothing.
//! Change here: never; it must stay unfit.

#![cfg(target_family = "wasm")]

use exports::changebus::scorer::judge::{Guest, Scored, Tournament};

wit_bindgen::generate!({
    path: "../../../wit",
    inline: "
        package test:greedy;
        world greedy {
            import changebus:host/llm@0.1.1;
            export changebus:scorer/judge@0.1.1;
        }
    ",
    world: "test:greedy/greedy",
    generate_all,
});

struct Greedy;

export!(Greedy);

changebus_sdk::manifest!(scorer, asks = []);

impl Guest for Greedy {
    fn score(_: Tournament) -> Result<Vec<Scored>, String> {
        let prompt = changebus::host::llm::Prompt::new(10);
        prompt
            .send()
            .map(|_| Vec::new())
            .map_err(|fault| fault.message)
    }
}
