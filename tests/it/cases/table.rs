//! The stories of the real cases as a table for people, `docs/cases.md`.
//!
//! Touches: files.
//! Change here: when the table should say something else.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use changebus::event::{Delivery, Standing, VariantState};
use changebus::story::VariantStory;
use changebus_tests::cases::{Kind, Language};

use super::{Plot, STORIES, Told, standing, table_path};

/// Rows of the stories that ended well, by the story's name.
static ROWS: Mutex<BTreeMap<&'static str, String>> = Mutex::new(BTreeMap::new());

const COLUMNS: &[&str] = &[
    "case",
    "language",
    "releases",
    "the push",
    "failing",
    "finding",
    "model says to A",
    "to B",
    "A",
    "B",
    "C",
    "winner",
    "score",
    "confidence",
    "delivery",
    "diff",
    "seconds",
];

const HEAD: &str = "\
# The real cases

Written by `cargo xtask cases`; do not edit. Every line is one run of the real product on a push that brings back a bug
which the package's author fixed, or brings its tests ahead of the fix. The packages come from their registries; none
of their code is kept here. Everything is real but the model: `A` (`minimal-fix`) and `B` (`robust-refactor`) talk to a
scripted one, which says to each what the table says, and `C` (`revert-culprit`) needs none. `A` probes its answer, `B`
hands it in untried. `failing` counts the tests the push broke, of all the suite has. A run counts only if triage found
exactly the tests that are known to be broken, the right variant won, each wrong one was told why, and the merged tip
passed the whole suite in a fresh clone. Seconds are those of the machine this was written on, two runs side by side.

";

pub fn row(plot: &Plot, told: &Told) -> String {
    let (case, story) = (&told.case, &told.story);
    let winner = story.variants.iter().find(|v| v.state == VariantState::Won);
    let cells = [
        format!("`{}`", case.name),
        language(case.language).to_owned(),
        format!("{} {} / {}", case.package, case.old, case.new),
        push(case.kind, plot.watched),
        format!("{} of {}", told.triage.failing.len(), suite_size(told)),
        finding(told),
        plot.minimal.name().to_owned(),
        plot.robust.name().to_owned(),
        fate(standing(told, "A")),
        fate(standing(told, "B")),
        fate(standing(told, "C")),
        story.winner.clone().unwrap_or_else(|| "nobody".into()),
        format!("{:.1}", story.score),
        format!("{:.2}", story.confidence),
        delivery(&told.delivery),
        winner.map(diff).unwrap_or_default(),
        format!("{:.0}", story.seconds.total),
    ];
    line(&cells.map(|cell| cell.replace('|', "\\|").replace('\n', " ")))
}

fn line(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

/// Keeps the row, and writes the table once every story has been told to its good end.
pub fn keep(name: &str, plot: &Plot, told: &Told) {
    let mut rows = ROWS.lock().unwrap_or_else(PoisonError::into_inner);
    let (name, _) = STORIES
        .iter()
        .find(|(known, _)| *known == name)
        .expect("a story stands in the list it comes from");
    rows.insert(name, row(plot, told));
    let Some(path) = table_path().filter(|_| rows.len() == STORIES.len()) else {
        return;
    };
    let lines: String = STORIES
        .iter()
        .map(|(name, _)| rows[name].as_str())
        .collect();
    let names: Vec<String> = COLUMNS.iter().map(|c| (*c).to_owned()).collect();
    let rule = format!("|{}\n", "---|".repeat(COLUMNS.len()));
    let text = format!("{HEAD}{}{rule}{lines}", line(&names));
    std::fs::write(&path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

fn language(language: Language) -> &'static str {
    match language {
        Language::Python => "Python",
        Language::JavaScript => "JavaScript",
        Language::Rust => "Rust",
    }
}

fn push(kind: Kind, watched: bool) -> String {
    let what = match kind {
        Kind::OldSourcesUnderNewTests => "old sources under new tests",
        Kind::TestsAheadOfSources => "tests ahead of sources",
    };
    let how = if watched { ", seen by the daemon" } else { "" };
    format!("{what}{how}")
}

fn suite_size(told: &Told) -> u32 {
    told.story
        .variants
        .iter()
        .map(|v| v.tests.total)
        .max()
        .unwrap_or(0)
}

fn finding(told: &Told) -> String {
    let apart = match told.triage.red_before.len() {
        0 => String::new(),
        some => format!(", {some} red before"),
    };
    format!("{}{apart}", told.triage.finding.name())
}

fn fate(standing: &Standing) -> String {
    let state = match standing.state {
        VariantState::Won => return "won".into(),
        VariantState::Lost => "lost",
        VariantState::Refused => "refused",
        VariantState::Failed => "failed",
        VariantState::Duplicate => "duplicate",
        VariantState::Stopped => "stopped",
    };
    let why: String = standing.because.chars().take(160).collect();
    format!("{state}: {why}")
}

fn delivery(delivery: &Delivery) -> String {
    match delivery {
        Delivery::Escalated { because, .. } => format!("to a human: {because}"),
        other => other.name().to_owned(),
    }
}

fn diff(winner: &VariantStory) -> String {
    let diff = winner.diff;
    let files = if diff.files == 1 { "file" } else { "files" };
    format!(
        "{} {files} +{} -{}",
        diff.files, diff.insertions, diff.deletions
    )
}
