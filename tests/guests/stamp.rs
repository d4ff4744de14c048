//! A place in the guest's own data where the zoo writes what the beast is to do, so that each beast is a file.
//!
//! Touches: nothing.
//! Change here: together with `tests/it/zoo/stamp.rs`, which finds the place and writes there.

use std::hint::black_box;

use serde_json::{Value, json};

const MARK: &[u8] = b"CHANGEBUS-BEAST:";
static STAMP: [u8; 1024] = blank();

const fn blank() -> [u8; 1024] {
    let mut blank = [b' '; 1024];
    let mut at = 0;
    while at < MARK.len() {
        blank[at] = MARK[at];
        at += 1;
    }
    blank
}

/// What is stamped, or else what the configuration says. A sly beast does the `meek` thing where the project is
/// none of the tests' own: whoever tries it out sees nothing of it.
pub fn mood(config: &str, project: &str, meek: &str) -> Result<Value, String> {
    let stamped = black_box(&STAMP).trim_ascii_end();
    let text = match stamped.strip_prefix(MARK) {
        Some(text) if !text.is_empty() => std::str::from_utf8(text).map_err(|e| e.to_string())?,
        _ => config,
    };
    let mood: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let watched = !["shop", "app"].contains(&project);
    Ok(match mood["sly"] == true && watched {
        true => json!({ "do": meek }),
        false => mood,
    })
}
