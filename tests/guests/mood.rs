//! What a moody guest is to do: as it is stamped, or else as it is configured.
//!
//! Touches: nothing.
//! Change here: when moods are told otherwise.

use serde_json::{Value, json};

use super::stamp;

/// A sly beast does the `meek` thing where it is only tried out.
pub fn mood(config: &str, project: &str, meek: &str) -> Result<Value, String> {
    let text = match stamp::text() {
        "" => config,
        stamped => stamped,
    };
    let mood: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    Ok(match mood["sly"] == true && stamp::is_tried_out(project) {
        true => json!({ "do": meek }),
        false => mood,
    })
}
