//! What earlier runs teach about a failure: whose fixes last, what evidence means, what was like it, what people said.
//!
//! Touches: sqlite.
//! Change here: when a tournament should learn something else. What follows from what is read stands in `rules/learn/`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::event::{Attempt, Entry, Event, Fact, FailureClass, Lasting, Learned, RunId, RunResult};
use crate::rules::learn::similar::{self, Earlier};
use crate::rules::learn::stats;
use crate::rules::run::Run;

use crate::stages::{Cx, StageError, failed};

/// What happened longer ago counts next to nothing, see `estimate::HALF_LIFE`.
const LOOK_BACK: SignedDuration = SignedDuration::from_hours(400 * 24);
/// Earlier failures of the project that are held against this one.
const EARLIER: usize = 40;

/// Everything that is learned, and figures for `history.metric`.
pub async fn draw(
    cx: &Cx,
    run: &Run,
    entries: &[Entry],
    held_out: &BTreeSet<String>,
) -> Result<(Learned, BTreeMap<String, f64>), StageError> {
    let since = run
        .opened_at
        .checked_sub(LOOK_BACK)
        .unwrap_or(Timestamp::MIN);
    let read = cx.house.store.results(None, since).await;
    let (results, attempts) = read.map_err(|e| failed("reading outcomes", &e))?;
    let class = run
        .triage
        .as_ref()
        .and_then(|t| t.class)
        .unwrap_or_default();
    let earlier = earlier(cx, run).await?;
    let learned = Learned {
        lasting: lasting(run, class, entries, &results, &attempts),
        calibration: stats::calibration(&results),
        similar: similar::similar(run, &earlier, held_out),
        rejections: similar::rejections(&earlier),
    };
    Ok((
        learned,
        stats::on_class(&results, &attempts, class, &cx.name),
    ))
}

fn lasting(
    run: &Run,
    class: FailureClass,
    entries: &[Entry],
    results: &[RunResult],
    attempts: &[Attempt],
) -> BTreeMap<String, Lasting> {
    let of = |entry: &Entry| {
        let name = &entry.strategy.name;
        let share = stats::lasting(results, attempts, name, class, &run.project, run.opened_at);
        let lasting = Lasting {
            share: share.estimate,
            aged: u32::try_from(stats::aged(results, attempts, name)).unwrap_or(u32::MAX),
        };
        (name.clone(), lasting)
    };
    entries
        .iter()
        .map(of)
        .filter(|(_, lasting)| lasting.aged > 0)
        .collect()
}

/// Newest first.
async fn earlier(cx: &Cx, run: &Run) -> Result<Vec<Earlier>, StageError> {
    let store = &cx.house.store;
    let found = store.earlier(&cx.name, &run.id, EARLIER).await;
    let found = found.map_err(|e| failed("reading earlier failures", &e))?;
    // Whoever decides about a run is heard, whether or not the run could still take it.
    let given = store.reviews_given(&cx.name, 0).await;
    let mut said = by_run(&given.map_err(|e| failed("reading what people decided", &e))?);
    let mut earlier = vec![];
    for (id, fate) in found {
        let events = store.run_events(&id).await;
        let events = events.map_err(|e| failed("reading an earlier run", &e))?;
        match Run::replay(&events) {
            Ok(Some(run)) => earlier.push(Earlier {
                rejections: said.remove(&run.id).unwrap_or_default(),
                run,
                fate,
            }),
            Ok(None) => {}
            // It was told by a host of another version; nothing can be learned from it here.
            Err(error) => tracing::warn!(run = %id.0, "an earlier run cannot be replayed: {error}"),
        }
    }
    Ok(earlier)
}

/// Why people did not want what a run had made.
fn by_run(given: &[Event]) -> BTreeMap<RunId, Vec<String>> {
    let mut said: BTreeMap<RunId, Vec<String>> = BTreeMap::new();
    for event in given {
        if let Fact::ReviewGiven { review } = &event.fact {
            let words = said.entry(review.run.clone()).or_default();
            words.extend(similar::rejection(review));
        }
    }
    said
}
