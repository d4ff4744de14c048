//! What the packages bring whose update broke the tests, for those who have to adapt code to them.
//!
//! Touches: git, files, processes.
//! Change here: when more should be found out about a package. What is told of it stands in `rules/deps/brings.rs`.

use std::collections::BTreeSet;

use crate::event::{Bisection, Manifest, Step, Update};
use crate::outside::deps::{Clients, DepsError, Files};
use crate::rules::deps::brings;
use crate::rules::run::Run;
use crate::rules::update;
use crate::stages::deps::make;
use crate::stages::{Cx, StageError, failed};

const MOST_STEPS: usize = 3;
/// Shorter words are in every complaint.
const SHORTEST_WORD: usize = 4;

/// None where no update broke anything, or nothing is known of it: a tournament is held all the same. Of tests that
/// strategies are not shown, no word is used.
pub async fn of(cx: &Cx, run: &Run, held_out: &BTreeSet<String>) -> Option<String> {
    let update = run.change.update.as_ref()?;
    if run.is_harmless_update() {
        return None;
    }
    match told(cx, run, update, held_out).await {
        Ok(told) => (!told.is_empty()).then(|| cx.house.redactor.clean(&told)),
        Err(error) => {
            tracing::warn!(run = %run.id, "it cannot be told what the update brings: {error}");
            None
        }
    }
}

async fn told(
    cx: &Cx,
    run: &Run,
    update: &Update,
    held_out: &BTreeSet<String>,
) -> Result<String, StageError> {
    let tree = cx.mirror.tree_of(&run.change.base);
    let tree = tree.map_err(|e| failed("reading what the update stands on", &e))?;
    let Some((manifest, files)) = make::gathered(&cx.mirror, &tree, &update.manifest)? else {
        return Ok(String::new());
    };
    let shelf = Shelf {
        clients: cx.clients()?,
        manifest,
        files,
        words: words(run, held_out),
    };
    let mut told = Vec::new();
    for step in suspects(update, run.bisection.as_ref()) {
        match shelf.brings(step).await {
            Ok(one) => told.push(one),
            Err(error) => {
                tracing::warn!(run = %run.id, "it cannot be told what {} {} brings: {error}", step.name, step.to);
            }
        }
    }
    Ok(told.join("\n"))
}

/// Where packages are had from, and what failures tell of them.
struct Shelf {
    clients: Clients,
    manifest: Manifest,
    files: Files,
    words: Vec<String>,
}

impl Shelf {
    async fn brings(&self, step: &Step) -> Result<String, DepsError> {
        let at = |version| {
            let (files, manifest) = (&self.files, &self.manifest);
            self.clients.contents(files, manifest, &step.name, version)
        };
        let (before, after) = (at(&step.from).await?, at(&step.to).await?);
        Ok(brings::brings(step, &before, &after, &self.words))
    }
}

/// The steps that are known to be guilty; otherwise all are suspected.
fn suspects<'u>(update: &'u Update, bisection: Option<&Bisection>) -> Vec<&'u Step> {
    let guilty = bisection.map(|bisection| update::guilty(update, bisection));
    let mut steps = guilty.unwrap_or_default();
    if steps.is_empty() {
        steps = update.steps().collect();
    }
    steps.truncate(MOST_STEPS);
    steps
}

/// The identifiers of the failing tests' complaints.
fn words(run: &Run, held_out: &BTreeSet<String>) -> Vec<String> {
    let failing = run.triage.as_ref().map(|triage| &triage.failing);
    let is_told =
        |id: &String| failing.is_some_and(|failing| failing.contains(id)) && !held_out.contains(id);
    let failures = run.head().into_iter().flat_map(|head| &head.failures);
    let texts = failures
        .filter(|failure| is_told(&failure.id))
        .flat_map(|failure| [&failure.message, &failure.detail]);
    let words = texts.flat_map(|text| brings::identifiers(text));
    let words: BTreeSet<&str> = words.filter(|word| word.len() >= SHORTEST_WORD).collect();
    words.into_iter().map(str::to_owned).collect()
}
