//! The report for people: one Markdown file a run, under the state directory.
//!
//! Touches: files.
//! Change here: when the report should stand elsewhere. What it says is in `story.rs`.

use crate::event::Event;
use crate::rules::run::Run;
use crate::story;

use super::{Cx, StageError, failed};

/// Where a run's report stands, whether or not it is written yet.
pub fn path(cx: &Cx, run: &Run) -> String {
    cx.house
        .reports
        .join(format!("{}.md", run.id))
        .display()
        .to_string()
}

/// Writes the report; a reader sees the old one or the new one, never half of it.
pub fn write(cx: &Cx, run: &Run, events: &[Event]) -> Result<(), StageError> {
    let text = story::report(events).ok_or_else(|| StageError::new("the run has no story"))?;
    let path = path(cx, run);
    let fresh = format!("{path}.new");
    std::fs::create_dir_all(&cx.house.reports)
        .and_then(|()| std::fs::write(&fresh, text))
        .and_then(|()| std::fs::rename(&fresh, &path))
        .map_err(|e| failed(&format!("writing {path}"), &e))
}
